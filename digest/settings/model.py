"""All settings of a process, from `digest.toml` and the environment."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, SecretStr, create_model, model_validator

from digest.catalogs import CatalogError, load_language
from digest.settings import values
from digest.settings.branding import BrandingSettings, HeaderImage, LightAndDarkLogo
from digest.settings.edition import (
    DEFAULT_SECTIONS,
    ReadershipSettings,
    SectionSettings,
    SelectionSettings,
    SourceSettings,
    SponsorSettings,
)
from digest.settings.environment_file import ENVIRONMENT_FILE_NAME
from digest.settings.mail_frequency import MailFrequency
from digest.settings.operations import (
    AlertSettings,
    BackupSettings,
    BounceMailboxSettings,
    HeartbeatSettings,
    RelaySettings,
    RetentionSettings,
    UsageLimitSettings,
)
from digest.settings.publication import (
    ApprovalSettings,
    ConsentSettings,
    PreferenceSettings,
    PublicationSettings,
    ScheduleSettings,
    SenderSettings,
)
from subscribers.subscriber_language import SubscriberLanguage

SETTINGS_FILE_NAME = "digest.toml"


class SettingsFileContent(values.SettingsTable):
    """All of `digest.toml`."""

    publication: PublicationSettings = PublicationSettings()
    branding: BrandingSettings = BrandingSettings()
    consent: ConsentSettings = ConsentSettings()
    preferences: PreferenceSettings = PreferenceSettings()
    sender: SenderSettings = SenderSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    approval: ApprovalSettings = ApprovalSettings()
    sections: list[SectionSettings] = list(DEFAULT_SECTIONS)
    sponsor: SponsorSettings | None = None
    sources: list[SourceSettings] = []
    select: SelectionSettings = SelectionSettings()
    limits: UsageLimitSettings = UsageLimitSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    heartbeats: HeartbeatSettings = HeartbeatSettings()
    backup: BackupSettings = BackupSettings()
    readership: ReadershipSettings = ReadershipSettings()
    inbound: BounceMailboxSettings = BounceMailboxSettings()
    relay: RelaySettings = RelaySettings()

    @model_validator(mode="after")
    def _check_unique_keys(self) -> Self:
        for key_kind, names in (
            ("section key", [s.key for s in self.sections]),
            ("source url", [s.url for s in self.sources]),
        ):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{key_kind} used more than once: {', '.join(twice)}")
        return self


MIN_TOKEN_LENGTH = 16  # characters, in a shared secret that authenticates requests


PROVIDERS_FOLDER = Path(__file__).parents[1] / "deliver" / "providers"


def _read_provider_fields() -> dict[str, Any]:
    """Return a field for each variable in the providers' `variables.toml` files.

    The files contain data rather than code, so that this module doesn't import from a higher layer.
    """
    fields = dict[str, Any]()
    for file in sorted(PROVIDERS_FOLDER.glob("*/variables.toml")):
        for name, facts in tomllib.loads(file.read_text("utf-8")).items():
            fields[f"{file.parent.name}_{name}"] = _make_provider_field(**facts)
    return fields


def _make_provider_field(
    *, is_secret: bool = False, default: str = "", form: Literal["text", "public keys"] = "text", advice: str = ""
) -> tuple[Any, str | None]:
    if is_secret:
        return SecretStr | None, None
    if form == "text":
        return str, default
    return Annotated[str, AfterValidator(values.PublicKeysValidator(advice))], default


if TYPE_CHECKING:
    _ProviderFields = values.SettingsTable
else:
    _ProviderFields = create_model("_ProviderFields", __base__=values.SettingsTable, **_read_provider_fields())


class Settings(_ProviderFields):
    """All settings of a process, after validation.

    `load_settings` creates them once.
    """

    file: SettingsFileContent = SettingsFileContent()
    home: Path = Path("digest-data")
    database_url: str = ""
    mail_url: SecretStr = SecretStr("outbox:")
    key_passphrase: SecretStr | None = None  # decrypts the key file, if that's encrypted
    backup_passphrase: SecretStr | None = None  # encrypts backups
    metrics_token: SecretStr | None = None  # required by /metrics, which is unavailable if there's no token
    log_format: Literal["text", "json"] = "text"
    alert_secret: SecretStr | None = None  # signs requests to `alerts.webhook`
    installation: str = ""  # distinguishes this installation from its copies if the machine and the file don't
    base_url: str = "http://localhost:8025"
    hsts_subdomains: bool = True  # browsers must also use https for all hosts below the base URL's
    inbound_password: SecretStr | None = None  # of `inbound.user`
    dkim_domain: str = ""  # together with the next two, for signing email sent by SMTP (RFC 6376, section 5)
    dkim_selector: str = ""  # one for each key in the file, separated by commas
    dkim_key_file: Path | None = None  # PEM, with an RSA key that an Ed25519 key may follow
    send_lease: Annotated[float, Field(ge=1, le=3600)] = (
        30.0  # seconds of silence after which another run may take over the messages of a run
    )
    templates: Path | None = None  # the operator's custom templates, which override ours
    origin: Path | None = None  # the digest.toml that was read
    environment_overrides: Mapping[
        str, str
    ] = {}  # the variables of `digest.settings.environment_overrides` that are set, by name
    # The images named by `branding.logo` and `branding.logo_dark`, once they're loaded.
    logo: LightAndDarkLogo | None = None
    header: HeaderImage | None = None  # the image named by `branding.header`, once it's loaded

    @model_validator(mode="after")
    def _check_base_url(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(
                f"DIGEST_BASE_URL: {self.base_url!r} isn't a URL; use one such as https://news.example.org"
            )
        return self

    @model_validator(mode="after")
    def _check_language(self) -> Self:
        try:
            load_language(self.file.publication.language, self.templates)
        except CatalogError as exc:
            raise ValueError(f"publication.language: {exc}") from exc
        return self

    @model_validator(mode="after")
    def _check_dkim(self) -> Self:
        values_by_name = {
            "DIGEST_DKIM_DOMAIN": self.dkim_domain,
            "DIGEST_DKIM_SELECTOR": self.dkim_selector,
            "DIGEST_DKIM_KEY_FILE": self.dkim_key_file,
        }
        missing = [name for name, value in values_by_name.items() if not value]
        if 0 < len(missing) < len(values_by_name):
            raise ValueError(f"to sign email, also set {' and '.join(missing)} (or remove all three DKIM settings)")
        if self.dkim_domain and not values.DOMAIN_PATTERN.fullmatch(self.dkim_domain):
            raise ValueError(
                f"DIGEST_DKIM_DOMAIN: {self.dkim_domain!r} isn't a domain; use one such as news.example.org"
            )
        if wrong := [s for s in self.dkim_selectors if not values.SELECTOR_PATTERN.fullmatch(s)]:
            raise ValueError(f"DIGEST_DKIM_SELECTOR: {wrong[0]!r} isn't a selector; use one such as digest-2026")
        return self

    @model_validator(mode="after")
    def _check_mailbox_password(self) -> Self:
        if self.file.inbound.host and self.inbound_password is None:
            raise ValueError("DIGEST_INBOUND_PASSWORD is required when inbound.host is set")
        return self

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        if problem := values.explain_insecure_database(self.database_url):
            raise ValueError(f"DIGEST_DATABASE_URL: {problem}")
        return self

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        """Reject line breaks and outer spaces, which may have been copied together with a secret.

        Passphrases may contain them.
        """
        for name, value in self:
            text = value.get_secret_value() if isinstance(value, SecretStr) else ""
            if not name.endswith("passphrase") and (text != text.strip() or not text.isprintable()):
                raise ValueError(f"DIGEST_{name.upper()} contains a line break, or begins or ends with a space")
        return self

    @model_validator(mode="after")
    def _check_metrics_token(self) -> Self:
        if self.metrics_token is not None and len(self.metrics_token.get_secret_value().strip()) < MIN_TOKEN_LENGTH:
            raise ValueError(f"DIGEST_METRICS_TOKEN: use at least {MIN_TOKEN_LENGTH} characters")
        return self

    @model_validator(mode="after")
    def _check_alert_secret(self) -> Self:
        if not self.file.alerts.webhook:
            return self
        if self.alert_secret is None:
            raise ValueError("DIGEST_ALERT_SECRET is required when alerts.webhook is set")
        try:
            values.parse_signing_secret(self.alert_secret.get_secret_value())
        except ValueError:
            raise ValueError(
                "DIGEST_ALERT_SECRET: the part after whsec_ isn't base64; make one with: "
                "echo whsec_$(openssl rand -base64 32)"
            ) from None
        return self

    def provider_variable(self, name: str) -> str:
        """Return the value of a provider's variable, or an empty string if it isn't set.

        `name` is the name of the variable in lowercase, without `DIGEST_`.
        """
        value: SecretStr | str | None = getattr(self, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else value or ""

    @property
    def unsubscribe_mail_domain(self) -> str:
        """The domain of the addresses that unsubscribe people by email.

        It's empty unless their mailbox is read.
        """
        return self.file.sender.bounce_domain if self.file.inbound.host else ""

    @property
    def dkim_selectors(self) -> tuple[str, ...]:
        """The selectors, one for each key in the key file, or an empty tuple if email isn't signed."""
        return tuple(s.strip() for s in self.dkim_selector.split(",")) if self.dkim_selector else ()

    @property
    def zone(self) -> ZoneInfo:
        """The publication's time zone, used for the settings and editors' pages."""
        return self.file.publication.zone

    @property
    def subscriber_language(self) -> SubscriberLanguage:
        """The language of texts for subscribers, with its translations, as set by `publication.language`."""
        return load_language(self.file.publication.language, self.templates)

    @property
    def section_titles(self) -> tuple[tuple[str, str], ...]:
        """The key and the title of each section, as subscribers see them."""
        return tuple((section.key, section.title_in(self.subscriber_language)) for section in self.file.sections)

    @property
    def mail_frequency(self) -> MailFrequency:
        """The frequency of emails that subscribers are promised, in their language.

        It follows from the schedule.
        """
        return MailFrequency(tuple(sorted(self.file.schedule.send_rule.days)), self.subscriber_language)

    @property
    def effective_database_url(self) -> str:
        """The URL of the database, by default that of a SQLite file in the home folder."""
        return self.database_url or f"sqlite:///{(self.home / 'digest.db').absolute()}"

    @property
    def outbox_folder(self) -> Path:
        """The folder for `.eml` files, with the subfolders `edition/` and `notice/`."""
        return self.home / "outbox"

    @property
    def uploads_folder(self) -> Path:
        """The folder for uploaded lists.

        The lists contain addresses, so the folder is pruned and never backed up.
        """
        return self.home / "uploads"

    @property
    def runs_folder(self) -> Path:
        """The folder for run files (see `digest.deliver.send.claims.run_progress_file`)."""
        return self.home / "runs"

    @property
    def key_file(self) -> Path:
        """The file that contains all keys. Backups never include it."""
        return self.home / "keys.json"

    @property
    def key_passphrase_text(self) -> str | None:
        """The passphrase of the key file in plaintext, or None if there's none."""
        return self.key_passphrase.get_secret_value() if self.key_passphrase else None

    @property
    def backup_passphrase_text(self) -> str | None:
        """The passphrase of backups in plaintext, or None if there's none."""
        return self.backup_passphrase.get_secret_value() if self.backup_passphrase else None

    @property
    def settings_place(self) -> Path:
        """The absolute path of `digest.toml`, for messages.

        The file may not exist.
        """
        return (self.origin or Path(SETTINGS_FILE_NAME)).absolute()

    @property
    def environment_place(self) -> Path:
        """The absolute path of `digest.env`.

        The file may not exist, and the environment of a process overrides it.
        """
        return self.settings_place.parent / ENVIRONMENT_FILE_NAME

    @property
    def private_places(self) -> tuple[Path, ...]:
        """The folders and files that contain keys, addresses, or secrets.

        Document parsers never open them.
        """
        backups = Path(self.file.backup.folder) if self.file.backup.folder else None
        places = self.home, self.settings_place, self.environment_place, self.dkim_key_file, backups
        return tuple(place.absolute() for place in places if place)

    @property
    def left_log(self) -> Path:
        """The unsubscribe log, which is kept outside the database."""
        return self.home / "left.log"

    @property
    def link_base(self) -> str:
        """The base URL without a trailing slash."""
        return self.base_url.rstrip("/")
