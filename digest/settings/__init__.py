"""Settings: `digest.toml` for what an operator decides, the environment for secrets and places.

`edition` and `operations` hold the tables of the file, `model` puts them together with the environment, `loader`
reads and reports. All that others need is imported from here.
"""

from digest.settings.edition import (
    DEFAULT_SECTIONS,
    PublicationSettings,
    RankingWeights,
    ReadershipSettings,
    ScheduleSettings,
    SectionKindName,
    SectionSettings,
    SelectionSettings,
    SenderSettings,
    SourceSettings,
    SponsorSettings,
)
from digest.settings.loader import SETTINGS_FILE_NAME, SettingsError, load_settings, reload_settings
from digest.settings.model import Settings, SettingsFile
from digest.settings.operations import AlertSettings, BounceMailboxSettings, LimitSettings, RetentionSettings
from digest.settings.values import is_loopback

__all__ = [
    "DEFAULT_SECTIONS",
    "SETTINGS_FILE_NAME",
    "AlertSettings",
    "BounceMailboxSettings",
    "LimitSettings",
    "PublicationSettings",
    "RankingWeights",
    "ReadershipSettings",
    "RetentionSettings",
    "ScheduleSettings",
    "SectionKindName",
    "SectionSettings",
    "SelectionSettings",
    "SenderSettings",
    "Settings",
    "SettingsError",
    "SettingsFile",
    "SourceSettings",
    "SponsorSettings",
    "is_loopback",
    "load_settings",
    "reload_settings",
]
