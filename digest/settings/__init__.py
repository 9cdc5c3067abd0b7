"""Settings: the operator's choices in `digest.toml`, and secrets and locations in the environment.

`edition`, `publication`, `branding`, and `operations` define the tables of the file. `model`
combines them with the environment, and `loader` reads them and reports problems.
"""

from digest.settings.branding import BrandingSettings as BrandingSettings
from digest.settings.branding import HeaderImage as HeaderImage
from digest.settings.branding import LightAndDarkLogo as LightAndDarkLogo
from digest.settings.edition import DEFAULT_SECTIONS as DEFAULT_SECTIONS
from digest.settings.edition import NEWS_SECTION as NEWS_SECTION
from digest.settings.edition import SECTION_FIELD_TITLES as SECTION_FIELD_TITLES
from digest.settings.edition import SOURCE_FIELD_TITLES as SOURCE_FIELD_TITLES
from digest.settings.edition import SOURCE_SECTIONS as SOURCE_SECTIONS
from digest.settings.edition import RankingWeights as RankingWeights
from digest.settings.edition import ReadershipSettings as ReadershipSettings
from digest.settings.edition import SectionKindName as SectionKindName
from digest.settings.edition import SectionSettings as SectionSettings
from digest.settings.edition import SelectionSettings as SelectionSettings
from digest.settings.edition import SourceSettings as SourceSettings
from digest.settings.edition import SponsorSettings as SponsorSettings
from digest.settings.loader import ExposedSettingsError as ExposedSettingsError
from digest.settings.loader import SettingsError as SettingsError
from digest.settings.loader import load_settings as load_settings
from digest.settings.loader import reload_settings as reload_settings
from digest.settings.model import SETTINGS_FILE_NAME as SETTINGS_FILE_NAME
from digest.settings.model import Settings as Settings
from digest.settings.model import SettingsFileContent as SettingsFileContent
from digest.settings.operations import AlertSettings as AlertSettings
from digest.settings.operations import BackupSettings as BackupSettings
from digest.settings.operations import BounceMailboxSettings as BounceMailboxSettings
from digest.settings.operations import HeartbeatSettings as HeartbeatSettings
from digest.settings.operations import RelaySettings as RelaySettings
from digest.settings.operations import RetentionSettings as RetentionSettings
from digest.settings.operations import UsageLimitSettings as UsageLimitSettings
from digest.settings.publication import ApprovalSettings as ApprovalSettings
from digest.settings.publication import ConsentSettings as ConsentSettings
from digest.settings.publication import PreferenceSettings as PreferenceSettings
from digest.settings.publication import PublicationSettings as PublicationSettings
from digest.settings.publication import ScheduleSettings as ScheduleSettings
from digest.settings.publication import SenderSettings as SenderSettings
from digest.settings.values import explain_insecure_database as explain_insecure_database
from digest.settings.values import is_local_url as is_local_url
from digest.settings.values import is_loopback as is_loopback
