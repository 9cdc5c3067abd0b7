"""The tables of `digest.toml` about operations: limits, alerts, backups, retention, and bounces."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from digest.settings import values
from digest.settings.guarded_areas import GuardedArea
from digest.settings.values import file_only_setting, setting
from digest.timetable import ScheduleRule, parse_schedule_rule

_MORE_WAIT = "Any more wait for up to 24 hours."
_NO_LIMIT = "Use 0 for no limit."


class UsageLimitSettings(values.SettingsTable, title="Limits"):
    """Limits on sending, sign-ups, messages to the editors, and downloads."""

    guarded_area: ClassVar = GuardedArea.LIMITS

    send_per_second: float = setting(
        0.0,
        "Messages per second",
        _NO_LIMIT,
        "All processes together. Transactional emails count but don't wait.",
        ge=0,
        le=100_000,
    )
    send_per_hour: int = setting(0, "Messages in any 60 minutes", _NO_LIMIT, ge=0)
    warm_up: list[Annotated[int, Field(ge=1)]] = setting(
        [],
        "A new sender's first days",
        "The limit for each day, such as 500, 1000, 2000.",
    )
    domains_per_hour: dict[Annotated[str, AfterValidator(values.check_domain)], Annotated[int, Field(ge=1)]] = setting(
        {},
        "Messages per hour to one domain",
        "Domains with the same mail servers share a limit.",
        'For example: `{ "gmail.com" = 6000 }`.',
    )
    signups_per_network: int = setting(
        30,
        "Sign-ups per hour from one network",
        "Any more are rejected. Networks are /24 (IPv4) or /48 (IPv6).",
        ge=1,
    )
    signups_per_domain: int = setting(
        40,
        "Sign-ups in 7 days for one domain",
        "Any more are rejected, except for large mailbox providers.",
        ge=1,
    )
    signups_first: int = setting(
        500,
        "Sign-ups per hour, counting one per large network",
        f"{_MORE_WAIT} A large network is a /16 (IPv4) or /32 (IPv6).",
        ge=1,
    )
    signups_further: int = setting(200, "All other sign-ups, per hour", _MORE_WAIT, ge=1)
    signups_alert: int = setting(100, "Sign-ups per hour that trigger an alert", "All sign-ups count.", ge=1)
    signups_waiting: int = setting(
        5000,
        "Sign-ups in the queue",
        "If it's full, a sign-up from the network with the most is dropped.",
        ge=1,
    )
    signup_mails_per_address: int = file_only_setting(
        4, "Maximum emails in 30 days to an address that doesn't confirm.", ge=1
    )
    contact_per_network: int = setting(
        5,
        "Messages to the editors per hour from one network",
        "Any more are rejected.",
        ge=1,
    )
    contact_first: int = file_only_setting(
        250,
        "Messages to the editors per hour, counting the first from each /16 or /32.",
        ge=1,
    )
    contact_further: int = file_only_setting(50, "All other messages to the editors per hour.", ge=1)
    proxies: Annotated[int, GuardedArea.NETWORK] = setting(
        0,
        "Proxies in front of the pages",
        "The number of trusted entries in X-Forwarded-For.",
        ge=0,
        le=5,
    )
    allow_networks: Annotated[list[values.NetworkText], GuardedArea.NETWORK] = file_only_setting(
        [], "Private networks with sources, such as 10.1.0.0/16, or 127.0.0.0/8 for this machine."
    )
    fetch_timeout: float = file_only_setting(20.0, "Maximum seconds for one fetch.", gt=0, le=300)
    fetch_bytes: int = file_only_setting(10_000_000, "Maximum bytes of a decompressed document.", ge=1000)
    fetch_redirects: int = file_only_setting(5, "Maximum redirects.", ge=0, le=20)
    fetch_workers: int = file_only_setting(8, "Maximum sources visited at the same time.", ge=1, le=64)
    items_per_source: int = file_only_setting(20_000, "Maximum items read from one document.", ge=1)
    image_bytes: int = file_only_setting(8_000_000, "Maximum bytes of a downloaded image.", ge=1000)
    image_pixels: int = file_only_setting(40_000_000, "Maximum pixels of a downloaded image.", ge=1000)


def _check_webhook(text: str) -> str:
    """Return the URL of a webhook after checking it.

    The URL must use https or be on this machine. It may be empty.

    Raises:
        ValueError: the URL isn't valid, or was copied from where it's shown in redacted form.
    """
    if values.HIDDEN_PART in text:
        raise ValueError(f"{text!r} is shortened; enter the whole URL")
    if text and not text.startswith("https://") and not values.is_local_url(text):
        raise ValueError(f"{text!r} isn't an https URL")
    return text


class AlertSettings(values.SettingsTable, title="Alerts"):
    """Limits that pause an edition or set a mailbox provider's emails aside. A share counts once the number is reached.

    See [how alerts are sent](maintenance.md#alerts).
    """

    guarded_area: ClassVar = GuardedArea.ALERTS

    complaints: int = file_only_setting(3, "Complaints about one edition.", ge=1)
    complaints_share: float = file_only_setting(  # Gmail asks senders to stay below this share
        0.001, "Their share of accepted messages.", ge=0, le=1
    )
    hard_bounces: int = file_only_setting(10, "Addresses that don't exist.", ge=1)
    hard_bounces_share: float = file_only_setting(0.05, "Their share of attempted messages.", ge=0, le=1)
    policy_refusals: int = file_only_setting(5, "Policy refusals (DKIM, DMARC, reputation).", ge=1)
    policy_refusals_share: float = file_only_setting(0.01, "Their share of attempted messages.", ge=0, le=1)
    list_drift: float = file_only_setting(
        0.25, "Maximum change in list size between editions. Use 0 for no limit.", ge=0
    )
    list_drift_people: int = file_only_setting(100, "Smaller changes are always allowed.", ge=1)
    canary_minutes: int = file_only_setting(
        15,
        "Minutes to watch the first few hundred messages before sending the rest. Use 0 to skip this.",
        ge=0,
        le=24 * 60,
    )
    seal_mail_days: int = file_only_setting(
        7,
        "Days between integrity emails to admins. Use 0 for none.",
        "Problems are emailed immediately.",
        ge=0,
        le=366,
    )
    mail: Literal["admins", "staff", "off"] = setting(
        "admins",
        "Send alerts to",
        "Only people with a verified address get alerts.",
        choices={"admins": "Admins", "staff": "The whole team", "off": "No one"},
    )
    webhook: Annotated[str, AfterValidator(_check_webhook), values.SHOWN_BY_HOST] = setting(
        "",
        "Webhook",
        "Alerts are posted to this https URL. Leave empty for none.",
    )


Heartbeat = Annotated[str, AfterValidator(_check_webhook), values.SHOWN_BY_HOST]


class HeartbeatSettings(values.SettingsTable, title="Heartbeats"):
    """The https URLs to request after each job, so that a monitoring service notices if this one stops.

    See [heartbeats](maintenance.md#heartbeats).
    """

    guarded_area: ClassVar = GuardedArea.ALERTS

    collect: Heartbeat = setting("", "Collection", "After sources are collected.")
    draft: Heartbeat = setting("", "Draft", "After each draft.")
    remind: Heartbeat = setting("", "Reminder", "After editors are reminded.")
    deadline: Heartbeat = setting("", "Deadline", "After each deadline.")
    send: Heartbeat = setting("", "Sending", "After an edition is sent.")
    nightly: Heartbeat = setting("", "Nightly maintenance", "After nightly maintenance.")
    backup: Heartbeat = setting("", "Backup", "After each scheduled backup.")


class RetentionSettings(values.SettingsTable):
    """Retention periods."""

    guarded_area: ClassVar = GuardedArea.RETENTION

    evidence_days: int = file_only_setting(
        90,
        "Days to keep a sign-up's encrypted IP address and user agent.",
        "Their hashes stay.",
        ge=1,
    )
    delivery_days: int = file_only_setting(  # a shorter period would hide repeated bounces
        400,
        "Days to keep each delivery and its events. Totals stay.",
        ge=90,
    )


class BackupSettings(values.SettingsTable, title="Backups"):
    """Scheduled backups, encrypted with `DIGEST_BACKUP_PASSPHRASE` and verified by restoring them.

    See [how to back up](maintenance.md#backups).
    """

    guarded_area: ClassVar = GuardedArea.BACKUPS

    folder: str = setting(
        "",
        "Folder",
        "An absolute path on another disk, such as /backups/digest. Leave empty for no backups.",
    )
    copied: bool = file_only_setting(
        False, "Backups may be on this disk, because a program copies them to another machine."
    )
    at: list[values.RuleText] = setting(["daily 02:30"], "Back up", "As in `[schedule]`.")
    daily: int = setting(7, "Daily backups to keep", "The newest of each day.", ge=1, le=366)
    weekly: int = setting(4, "Weekly backups to keep", "The newest of each week.", ge=0, le=520)
    monthly: int = setting(
        0,
        "Monthly backups to keep",
        "They keep addresses for more than 30 days after people unsubscribe.",
        ge=0,
        le=240,
    )

    @property
    def rules(self) -> tuple[ScheduleRule, ...]:
        """The times at which backups are made.

        It's empty if no folder is set.
        """
        return tuple(parse_schedule_rule(text) for text in self.at) if self.folder else ()


def _check_log(text: str) -> str:
    """Return the location of a log after checking it.

    The location is `journal`, an absolute path, or empty for no log.

    Raises:
        ValueError: the location isn't valid.
    """
    if text not in {"", "journal"} and not text.startswith("/"):
        raise ValueError(f'{text!r} isn\'t "journal" or an absolute path, such as /var/log/mail.log')
    return text


def check_dkim_record(text: str) -> str:
    """Return the DNS name of a DKIM key after checking it (RFC 6376, section 3.6.2.1). It may be empty.

    Raises:
        ValueError: the text isn't the name of a DKIM key.
    """
    selector, _, domain = text.partition("._domainkey.")
    if text and not (values.SELECTOR_PATTERN.fullmatch(selector) and values.DOMAIN_PATTERN.fullmatch(domain)):
        raise ValueError(f"{text!r} isn't the name of a DKIM record, such as mail._domainkey.news.example.org")
    return text


class RelaySettings(values.SettingsTable):
    """Your own mail server.

    Its log shows each message's result ([how to follow it](bounces.md#following-the-mail-servers-log)), and it can
    [sign messages](operating.md#let-the-mail-server-sign).
    """

    guarded_area: ClassVar = GuardedArea.ALERTS

    log: Annotated[str, AfterValidator(_check_log)] = file_only_setting(
        "",
        "The log to follow: `journal` (systemd) or a file such as /var/log/mail.log. Leave empty for none.",
    )
    dkim_record: Annotated[str, AfterValidator(check_dkim_record), GuardedArea.SENDER] = file_only_setting(
        "",
        "If your mail server signs all email, its key's DNS name, such as mail._domainkey.news.example.org.",
    )

    @property
    def dkim_domain(self) -> str:
        """The domain that the mail server signs for, or an empty string if it doesn't sign."""
        return self.dkim_record.partition("._domainkey.")[2]


class BounceMailboxSettings(values.SettingsTable):
    """The IMAP mailbox for bounces, complaints, and optionally replies.

    It requires `sender.bounce_domain`. See [how to set it up](bounces.md#with-a-mail-server).
    """

    guarded_area: ClassVar = GuardedArea.ALERTS

    host: str = file_only_setting("", "The IMAP server, such as imap.example.org. Leave empty for no mailbox.")
    port: int = file_only_setting(0, "0 for 993, or 143 if tls is starttls or off.", ge=0, le=65535)
    tls: Literal["implicit", "starttls", "off"] = file_only_setting(
        "implicit", "Use off only for a server on this machine."
    )
    user: str = file_only_setting("", "The user name. Its password is `DIGEST_INBOUND_PASSWORD`.")
    authorities: str = file_only_setting("", "A PEM file with your own certificate authority.")
    folder: str = file_only_setting("INBOX", "The folder to read.", pattern=values.FOLDER_PATTERN)
    done: str = file_only_setting(  # a slash separates folders
        "Digest/Done",
        "Stored bounces move here. Leave empty to delete them.",
        pattern=rf"{values.FOLDER_PATTERN}|^$",
    )

    @property
    def host_and_port(self) -> str:
        """The server's name and port.

        If the port is 0, it's the default port for `tls`.
        """
        return f"{self.host}:{self.port or (993 if self.tls == 'implicit' else 143)}"

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.host and not self.user:
            raise ValueError("user is required when host is set")
        if self.host and self.tls == "off" and not values.is_loopback(self.host):
            raise ValueError(
                'tls = "off" is allowed only for a server on this machine; otherwise, others could read the traffic'
            )
        if self.host and self.folder == self.done:
            raise ValueError(
                "the folder for processed bounces (done) can't be the one that bounces are read from; choose another folder"
            )
        return self
