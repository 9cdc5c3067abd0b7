"""Settings: `digest.toml` for what an operator decides, the environment for secrets and places.

`edition` and `running` hold the tables of the file, `whole` puts them together with the environment, `loading`
reads and reports. All that others need is taken from here.
"""

from digest.settings.edition import (
    DEFAULT_SECTIONS,
    Publication,
    Readership,
    Schedule,
    SectionKind,
    SectionSettings,
    Select,
    Sender,
    SourceSettings,
    Sponsor,
    Weights,
)
from digest.settings.loading import FILE_NAME, SettingsError, load, reread
from digest.settings.running import Alerts, BounceMailbox, Limits, Retention
from digest.settings.values import is_loopback
from digest.settings.whole import File, Settings

__all__ = [
    "DEFAULT_SECTIONS",
    "FILE_NAME",
    "Alerts",
    "BounceMailbox",
    "File",
    "Limits",
    "Publication",
    "Readership",
    "Retention",
    "Schedule",
    "SectionKind",
    "SectionSettings",
    "Select",
    "Sender",
    "Settings",
    "SettingsError",
    "SourceSettings",
    "Sponsor",
    "Weights",
    "is_loopback",
    "load",
    "reread",
]
