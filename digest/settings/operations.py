"""The tables of `digest.toml` that say how the installation is run: bounds, alerts, how long things are kept."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from digest.settings import values
from digest.settings.concerns import Concern
from digest.timetable import ScheduleRule, parse_schedule_rule


class LimitSettings(values.SettingsTable):
    """Bounds on what the world can make us do."""

    concern: ClassVar = Concern.LIMITS

    fetch_timeout: float = Field(default=20.0, gt=0, le=300)  # seconds for one whole fetch
    fetch_bytes: int = Field(default=10_000_000, ge=1000)  # after decompression
    fetch_redirects: int = Field(default=5, ge=0, le=20)
    fetch_workers: int = Field(default=8, ge=1, le=64)
    items_per_source: int = Field(default=20_000, ge=1)
    image_bytes: int = Field(default=8_000_000, ge=1000)
    image_pixels: int = Field(default=40_000_000, ge=1000)
    # Private networks that sources may be in.
    allow_networks: Annotated[list[values.NetworkText], Concern.NETWORK] = []
    proxies: Annotated[int, Concern.NETWORK] = Field(
        default=0, ge=0, le=5
    )  # in front of the pages: how many X-Forwarded-For entries are true
    # Forms in 7 days for one registered domain, except large mailbox providers; more are rejected.
    signups_per_domain: int = Field(default=40, ge=1)
    signups_per_network: int = Field(default=30, ge=1)  # forms per hour from one /24 or /48; more are rejected
    # Forms answered per hour: the first ones in an hour from their /16 or /32, and all others; more wait.
    signups_first: int = Field(default=500, ge=1)
    signups_further: int = Field(default=200, ge=1)
    signups_alarm: int = Field(default=100, ge=1)  # forms an hour in all: more raise the alarm
    signups_waiting: int = Field(default=5000, ge=1)  # forms in the queue: then the largest network loses one
    signup_mails_per_address: int = Field(default=4, ge=1)  # in 30 days, to a mailbox that confirms none
    # Messages to the editors in an hour: the same limits.
    contact_per_network: int = Field(default=5, ge=1)
    contact_first: int = Field(default=250, ge=1)
    contact_further: int = Field(default=50, ge=1)
    # Editions, in all that this installation sends; 0: as fast as the server takes them.
    send_per_second: float = Field(default=0.0, ge=0, le=100_000)
    send_per_hour: int = Field(default=0, ge=0)
    warm_up: list[Annotated[int, Field(ge=1)]] = []  # a new sender: most messages on its first day, its second …
    domains_per_hour: dict[Annotated[str, AfterValidator(values.check_domain)], Annotated[int, Field(ge=1)]] = {}


def _check_webhook(text: str) -> str:
    """Check the address of a webhook: https, or this machine's; empty is none.

    Raises:
        ValueError: it is neither.
    """
    if text and not text.startswith("https://") and not values.leads_to_this_machine(text):
        raise ValueError(f"{text!r} is no https address")
    return text


class AlertSettings(values.SettingsTable):
    """What lets a send rest until somebody has looked, and how alerts are told. A share counts once the number is reached.

    `mail` says who gets them by mail, `webhook` where they are posted to. `canary_minutes` is how long the first few hundred are watched before the rest follows; 0 sends all at once.
    `seal_mail_days` is every how many days the admins get the newest seal of the consent ledger; 0: never.
    """

    concern: ClassVar = Concern.ALERTS

    complaints: int = Field(default=3, ge=1)
    complaints_share: float = Field(default=0.001, ge=0, le=1)  # what Gmail wants mail to stay below
    hard_bounces: int = Field(default=10, ge=1)
    hard_bounces_share: float = Field(default=0.05, ge=0, le=1)
    policy_refusals: int = Field(default=5, ge=1)
    policy_refusals_share: float = Field(default=0.01, ge=0, le=1)
    list_drift: float = Field(default=0.25, ge=0)  # against the edition before; 0: any change is fine
    list_drift_people: int = Field(default=100, ge=1)  # fewer people more or less never matter
    canary_minutes: int = Field(default=15, ge=0, le=24 * 60)
    seal_mail_days: int = Field(default=7, ge=0, le=366)
    mail: Literal["admins", "staff", "off"] = "admins"
    # What it is sent is signed with DIGEST_ALERT_SECRET.
    webhook: Annotated[str, AfterValidator(_check_webhook), values.SHOWN_BY_HOST] = ""


class RetentionSettings(values.SettingsTable):
    """How long things are kept."""

    concern: ClassVar = Concern.RETENTION

    evidence_days: int = Field(default=90, ge=1)  # network address and user agent behind a consent, encrypted
    delivery_days: int = Field(default=400, ge=90)  # a line for each mail; then totals. Fewer would hide strikes


class BackupSettings(values.SettingsTable):
    """Backups by the clock. With an empty `folder` none is made; they are encrypted to DIGEST_BACKUP_PASSPHRASE.

    The newest of each of so many days, weeks and months is kept.
    """

    concern: ClassVar = Concern.BACKUPS

    folder: str = ""
    at: list[values.RuleText] = ["daily 02:30"]
    daily: int = Field(default=7, ge=1, le=366)
    weekly: int = Field(default=4, ge=0, le=520)
    monthly: int = Field(default=0, ge=0, le=240)  # older than 30 days: they hold the addresses of who left since

    @property
    def rules(self) -> tuple[ScheduleRule, ...]:
        """The times at which a backup is made; none without a folder."""
        return tuple(parse_schedule_rule(text) for text in self.at) if self.folder else ()


class BounceMailboxSettings(values.SettingsTable):
    """The mailbox that bounces and complaints come to, read over IMAP. With an empty `host` none is read.

    `done` is the folder that a message goes to once it is stored; empty: it is deleted. What is not ours stays.
    """

    concern: ClassVar = Concern.ALERTS

    host: str = ""
    port: int = Field(default=0, ge=0, le=65535)  # 0: 993 with implicit TLS, else 143
    tls: Literal["implicit", "starttls", "off"] = "implicit"  # off: to loopback alone
    user: str = ""  # its password is DIGEST_INBOUND_PASSWORD
    authorities: str = ""  # a PEM file of further authorities whose certificates are trusted
    folder: str = Field(default="INBOX", pattern=values.FOLDER_PATTERN)
    done: str = Field(default="Digest/Done", pattern=rf"{values.FOLDER_PATTERN}|^$")  # a slash stands between folders

    @property
    def host_and_port(self) -> str:
        """The server's name and port."""
        return f"{self.host}:{self.port or (993 if self.tls == 'implicit' else 143)}"

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.host and not self.user:
            raise ValueError("user is missing; host names a server to sign in to")
        if self.host and self.tls == "off" and not values.is_loopback(self.host):
            raise ValueError('tls = "off" is for loopback alone: others could read along')
        if self.host and self.folder == self.done:
            raise ValueError("done is the folder that is read; name another")
        return self
