"""Settings: `digest.toml` for what an operator decides, the environment for secrets and places.

Every problem is reported at once, each with the name of its key. The environment (`DIGEST_…`) wins.
"""

import ipaddress
import os
import re
import tomllib
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from digest.timetable import Rule, parse_rule

FILE_NAME = "digest.toml"


class SettingsError(Exception):
    """The settings cannot be used; the message lists every problem, one a line."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError(f"{name!r} is no time zone; write one such as America/New_York") from exc
    return name


def _rule(text: str) -> str:
    parse_rule(text)
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


def _domain(name: str) -> str:
    if name and not _DOMAIN.fullmatch(name):
        raise ValueError(f"{name!r} is no domain; write one such as news.example.org")
    return name


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_SELECTOR = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{text!r} is no http or https address")
    return text


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, by its name or number alone: nobody is asked."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


# Printable ASCII without what IMAP gives a meaning (RFC 3501, 5.1): no quote, backslash, wildcard or ampersand
_FOLDER = r"^[ !#$'()+-\[\]-~]{1,100}$"
RuleText = Annotated[str, AfterValidator(_rule)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Publication(_Table):
    """What the newsletter is and who makes it."""

    name: str = "HLS.Today"
    tagline: str = "The homeland-security week in one read"
    site: str = "https://hls.today/"
    about: str = (
        "HLS.Today covers news and information on homeland security and public safety "
        "for people in the public and private sectors."
    )
    editor: str = ""
    language: str = "en"
    timezone: Annotated[str, AfterValidator(_zone)] = "America/New_York"
    intro: str = ""
    first_number: int = Field(default=1, ge=1)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which the publication's days and hours are meant."""
        return ZoneInfo(self.timezone)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The writing direction of `language`, for `dir`."""
        rtl = {"ar", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"}
        return "rtl" if self.language.split("-")[0] in rtl else "ltr"


class Sender(_Table):
    """Who the mail comes from. Sending to the world demands `address` and `postal_address`."""

    name: str = "HLS.Today"
    address: str = "digest@news.example.org"
    reply_to: str = "editors@news.example.org"
    postal_address: str = ""
    list_id: str = "weekly.news.example.org"  # RFC 2919: constant for the list's life
    bounce_domain: Annotated[str, AfterValidator(_domain)] = ""  # bounces come back here; empty: to `address`


class Schedule(_Table):
    """When things happen, in the publication's zone; see `digest.timetable` for the form."""

    collect: list[RuleText] = ["daily 05:00", "daily 17:00"]
    draft: RuleText = "thu 17:30"
    release: RuleText = "fri 06:00"

    @property
    def collect_rules(self) -> tuple[Rule, ...]:
        """The times at which the sources are visited."""
        return tuple(parse_rule(text) for text in self.collect)

    @property
    def draft_rule(self) -> Rule:
        """The times at which an edition is drafted."""
        return parse_rule(self.draft)

    @property
    def release_rule(self) -> Rule:
        """The times at which an approved edition is released."""
        return parse_rule(self.release)


SectionKind = Literal["featured", "most-read", "topics", "products", "events", "opportunities", "stories"]


class SectionSettings(_Table):
    """One block of the edition. `kind = "stories"` is the operator's own, filled from `topics`."""

    key: str = Field(pattern=r"^[a-z][a-z0-9-]{0,38}$")
    title: str
    kind: SectionKind
    note: str = ""
    most: int = Field(default=5, ge=1, le=40)
    topics: list[str] = []


DEFAULT_SECTIONS = (
    SectionSettings(key="featured", title="Featured", kind="featured", most=6),
    SectionSettings(key="most-read", title="Most read", kind="most-read", most=5),
    SectionSettings(key="topics", title="Topics", kind="topics", most=8),
    SectionSettings(
        key="products", title="Products", kind="products", most=4, note="Chosen by editors, never paid for"
    ),
    SectionSettings(key="events", title="Events", kind="events", most=5),
    SectionSettings(
        key="opportunities",
        title="Opportunities",
        kind="opportunities",
        most=5,
        note="Soonest deadline first",
    ),
)


class Sponsor(_Table):
    """One labelled, paid block; `name` is who pays."""

    name: str
    headline: str
    text: str
    url: Annotated[str, AfterValidator(_web_address)]


class SourceSettings(_Table):
    """One place that articles come from.

    `own` marks the publication's own site (its stories may lead the Most read list), `primary` an official
    source, `images` what its licence allows: `own` and `licensed` pictures are mailed, `none` are not.
    `topics` maps the publisher's own category words to topics.
    """

    url: Annotated[str, AfterValidator(_web_address)]
    name: str
    publisher: str
    section: Literal["news", "products", "events", "opportunities"] = "news"
    weight: float = Field(default=1.0, ge=0.0, le=3.0)
    primary: bool = False
    own: bool = False
    images: Literal["own", "licensed", "none"] = "none"
    topics: dict[str, str] = {}


class Weights(_Table):
    """How much each term of a story's score counts; they are renormalised where a term is unknown."""

    coverage: float = Field(default=0.30, ge=0)
    readership: float = Field(default=0.25, ge=0)
    editorial: float = Field(default=0.20, ge=0)
    topic: float = Field(default=0.15, ge=0)
    freshness: float = Field(default=0.10, ge=0)


class Select(_Table):
    """How stories are grouped, ranked and chosen."""

    weights: Weights = Weights()
    same_story: float = Field(default=0.24, gt=0, lt=1)  # average-linkage similarity that joins two articles
    per_publisher: int = Field(default=3, ge=1)  # stories led by one publisher in one edition
    minimum: int = Field(default=4, ge=1)  # fewer stories than this: the edition is held
    repeat_editions: int = Field(default=4, ge=0)  # editions looked back on for repeats
    variety: float = Field(default=0.75, ge=0, le=1)  # MMR's lambda: 1 ranks by score alone
    topics: dict[str, list[str]] = {}  # topic → words and phrases; empty: the built-in list
    pins: list[str] = []  # URLs that an editor wants in
    bans: list[str] = []  # URLs that must stay out


class Limits(_Table):
    """Bounds on what the world can make us do."""

    fetch_timeout: float = Field(default=20.0, gt=0, le=300)  # seconds for one whole fetch
    fetch_bytes: int = Field(default=10_000_000, ge=1000)  # after decompression
    fetch_redirects: int = Field(default=5, ge=0, le=20)
    fetch_workers: int = Field(default=8, ge=1, le=64)
    items_per_source: int = Field(default=20_000, ge=1)
    image_bytes: int = Field(default=8_000_000, ge=1000)
    image_pixels: int = Field(default=40_000_000, ge=1000)
    allow_networks: list[
        Annotated[str, AfterValidator(_network)]
    ] = []  # private networks that sources may be in
    proxies: int = Field(
        default=0, ge=0, le=5
    )  # in front of the pages: how many X-Forwarded-For entries are true
    signups_per_address: int = Field(default=5, ge=1)  # forms a day; what is more gets no mail
    signups_per_network: int = Field(
        default=30, ge=1
    )  # forms an hour from one /24 or /48; more are turned away
    signups_alarm: int = Field(default=100, ge=1)  # forms an hour in all: more raise the alarm
    signups_brake: int = Field(
        default=500, ge=1
    )  # forms an hour in all: with more, no form is answered by mail
    signups_waiting: int = Field(default=5000, ge=1)  # forms that wait for an answer: more are turned away
    signup_mails: int = Field(default=200, ge=1)  # mails an hour that forms bring about: more wait
    signup_mails_per_address: int = Field(default=4, ge=1)  # in 30 days, to an address that confirms none
    # Editions, in all that this installation sends; 0: as fast as the server takes them.
    send_per_second: float = Field(default=0.0, ge=0, le=100_000)
    send_per_hour: int = Field(default=0, ge=0)
    warm_up: list[
        Annotated[int, Field(ge=1)]
    ] = []  # a new sender: most messages on its first day, its second …
    domains_per_hour: dict[Annotated[str, AfterValidator(_domain)], Annotated[int, Field(ge=60)]] = {}


class Alerts(_Table):
    """What lets a send rest until somebody has looked. A share counts once the number is reached.

    `canary_minutes` is how long the first few hundred are watched before the rest follows; 0 sends all at once.
    """

    complaints: int = Field(default=3, ge=1)
    complaints_share: float = Field(default=0.001, ge=0, le=1)  # what Gmail wants mail to stay below
    hard_bounces: int = Field(default=10, ge=1)
    hard_bounces_share: float = Field(default=0.05, ge=0, le=1)
    policy_refusals: int = Field(default=5, ge=1)
    policy_refusals_share: float = Field(default=0.01, ge=0, le=1)
    list_drift: float = Field(default=0.25, ge=0)  # against the edition before; 0: any change is fine
    list_drift_people: int = Field(default=100, ge=1)  # fewer people more or less never matter
    canary_minutes: int = Field(default=15, ge=0, le=24 * 60)


class Retention(_Table):
    """How long things are kept."""

    evidence_days: int = Field(default=90, ge=1)  # network address and user agent behind a consent, encrypted
    delivery_days: int = Field(
        default=400, ge=90
    )  # a line for each mail; then totals. Fewer would hide strikes


class Readership(_Table):
    """Where reads of the own site's pages come from: a CSV file (`url,views`) or WordPress Popular Posts."""

    csv: str = ""
    wordpress: str = ""  # the site's address, e.g. https://hls.today


class BounceMailbox(_Table):
    """The mailbox that bounces and complaints come to, read over IMAP. With an empty `host` none is read.

    `done` is the folder that a message goes to once it is stored; empty: it is deleted. What is not ours stays.
    """

    host: str = ""
    port: int = Field(default=0, ge=0, le=65535)  # 0: 993 with implicit TLS, else 143
    tls: Literal["implicit", "starttls", "off"] = "implicit"  # off: to loopback alone
    user: str = ""  # its password is DIGEST_INBOUND_PASSWORD
    authorities: str = ""  # a PEM file of further authorities whose certificates are trusted
    folder: str = Field(default="INBOX", pattern=_FOLDER)
    done: str = Field(default="Digest/Done", pattern=rf"{_FOLDER}|^$")  # a slash stands between folders

    @property
    def where(self) -> str:
        """The server's name and port."""
        return f"{self.host}:{self.port or (993 if self.tls == 'implicit' else 143)}"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.host and not self.user:
            raise ValueError("user is missing; host names a server to sign in to")
        if self.host and self.tls == "off" and not is_loopback(self.host):
            raise ValueError('tls = "off" is for loopback alone: others could read along')
        if self.host and self.folder == self.done:
            raise ValueError("done is the folder that is read; name another")
        return self


class File(_Table):
    """All of `digest.toml`."""

    publication: Publication = Publication()
    sender: Sender = Sender()
    schedule: Schedule = Schedule()
    sections: list[SectionSettings] = list(DEFAULT_SECTIONS)
    sponsor: Sponsor | None = None
    sources: list[SourceSettings] = []
    select: Select = Select()
    limits: Limits = Limits()
    retention: Retention = Retention()
    alerts: Alerts = Alerts()
    readership: Readership = Readership()
    inbound: BounceMailbox = BounceMailbox()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("section key", [s.key for s in self.sections]),
            ("source url", [s.url for s in self.sources]),
        ):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{what} given twice: {', '.join(twice)}")
        return self


class Settings(_Table):
    """Everything a process needs to know, checked. Built once, by `load`."""

    file: File = File()
    home: Path = Path("digest-data")
    database_url: str = ""
    mail_url: SecretStr = SecretStr("outbox:")
    installation: str = (
        ""  # a name that tells this installation from its copies, where machine and file do not
    )
    base_url: str = "http://127.0.0.1:8025"
    sendgrid_api_key: SecretStr | None = None
    sendgrid_host: str = "https://api.sendgrid.com"
    sendgrid_webhook_key: str = ""  # one public key, or two with a comma between; empty: no event is taken
    inbound_password: SecretStr | None = None  # of `inbound.user`
    dkim_domain: str = ""  # with the next two: mail over SMTP is signed (RFC 6376)
    dkim_selector: str = ""  # one for each key in the file, with commas between
    dkim_key_file: Path | None = None  # PEM: an RSA key, and after it perhaps an Ed25519 key
    templates: Path | None = None  # the operator's own templates, looked at first
    origin: Path | None = None  # the digest.toml that was read

    @model_validator(mode="after")
    def _places(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(
                f"DIGEST_BASE_URL: {self.base_url!r} is no web address such as https://news.example.org"
            )
        return self

    @model_validator(mode="after")
    def _signing(self) -> Self:
        given = {
            "DIGEST_DKIM_DOMAIN": self.dkim_domain,
            "DIGEST_DKIM_SELECTOR": self.dkim_selector,
            "DIGEST_DKIM_KEY_FILE": self.dkim_key_file,
        }
        missing = [name for name, value in given.items() if not value]
        if 0 < len(missing) < len(given):
            raise ValueError(f"{' and '.join(missing)} missing: mail is signed with all three or with none")
        if self.dkim_domain and not _DOMAIN.fullmatch(self.dkim_domain):
            raise ValueError(
                f"DIGEST_DKIM_DOMAIN: {self.dkim_domain!r} is no domain such as news.example.org"
            )
        if wrong := [s for s in self.dkim_selectors if not _SELECTOR.fullmatch(s)]:
            raise ValueError(f"DIGEST_DKIM_SELECTOR: {wrong[0]!r} is no selector such as digest-2026")
        return self

    @model_validator(mode="after")
    def _mailbox(self) -> Self:
        if self.file.inbound.host and self.inbound_password is None:
            raise ValueError("DIGEST_INBOUND_PASSWORD: missing; inbound.host names a server to sign in to")
        return self

    @model_validator(mode="after")
    def _webhook(self) -> Self:
        wrong = (
            "DIGEST_SENDGRID_WEBHOOK_KEY: write the verification key of the signed Event Webhook as SendGrid shows it "
            "(base64), or two with a comma between while the key changes"
        )
        try:
            keys = [load_der_public_key(der) for der in self.sendgrid_webhook_keys]
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(wrong) from None
        sound = all(isinstance(k, EllipticCurvePublicKey) and isinstance(k.curve, SECP256R1) for k in keys)
        if not sound or len(keys) > 2:
            raise ValueError(wrong)
        return self

    @property
    def sendgrid_webhook_keys(self) -> tuple[bytes, ...]:
        """The public keys that SendGrid's events are verified with, as DER; none where no event is taken.

        Raises:
            ValueError: it is no base64; settings that were loaded are checked.
        """
        texts = self.sendgrid_webhook_key.split(",") if self.sendgrid_webhook_key.strip() else []
        return tuple(b64decode(text.strip(), validate=True) for text in texts)

    @property
    def dkim_selectors(self) -> tuple[str, ...]:
        """The selectors, one for each key in the key file; none where mail is not signed."""
        return tuple(s.strip() for s in self.dkim_selector.split(",")) if self.dkim_selector else ()

    @property
    def database(self) -> str:
        """The database's URL; by default one SQLite file in the home folder."""
        return self.database_url or f"sqlite:///{(self.home / 'digest.db').absolute()}"

    @property
    def outbox(self) -> Path:
        """Where `.eml` files go: `edition/` and `notice/` below it."""
        return self.home / "outbox"

    @property
    def key_file(self) -> Path:
        """The file that holds every key; never in a backup."""
        return self.home / "keys.json"

    @property
    def left_log(self) -> Path:
        """The journal of departures, outside the database."""
        return self.home / "left.log"

    @property
    def base(self) -> str:
        """The base URL without a slash at its end."""
        return self.base_url.rstrip("/")


_FROM_ENVIRONMENT = {
    "DIGEST_HOME": "home",
    "DIGEST_DATABASE_URL": "database_url",
    "DIGEST_MAIL_URL": "mail_url",
    "DIGEST_INSTALLATION": "installation",
    "DIGEST_BASE_URL": "base_url",
    "DIGEST_SENDGRID_API_KEY": "sendgrid_api_key",
    "DIGEST_SENDGRID_HOST": "sendgrid_host",
    "DIGEST_SENDGRID_WEBHOOK_KEY": "sendgrid_webhook_key",
    "DIGEST_INBOUND_PASSWORD": "inbound_password",
    "DIGEST_DKIM_DOMAIN": "dkim_domain",
    "DIGEST_DKIM_SELECTOR": "dkim_selector",
    "DIGEST_DKIM_KEY_FILE": "dkim_key_file",
    "DIGEST_TEMPLATES": "templates",
}


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `digest.toml` and the environment.

    Args:
        path: the file; None looks for `DIGEST_SETTINGS`, then `./digest.toml`, and does without when absent.
        environ: the environment to read, for tests.

    Raises:
        SettingsError: a key is unknown or has a wrong value; all problems are in the one message.
    """
    wanted = path or (Path(environ["DIGEST_SETTINGS"]) if environ.get("DIGEST_SETTINGS") else None)
    file = wanted or Path(FILE_NAME)
    values: dict[str, Any] = {}
    if file.exists():
        values = {"file": _read_toml(file), "origin": file}
    elif wanted:
        raise SettingsError(
            f"{file}: no such settings file. Write one with 'digest init' or leave the option out."
        )
    unknown = sorted(
        k for k in environ if k.startswith("DIGEST_") and k not in _FROM_ENVIRONMENT and k not in _OURS
    )
    values |= {field: environ[key] for key, field in _FROM_ENVIRONMENT.items() if environ.get(key)}
    return _checked(values, file, [f"{key}: no such setting" for key in unknown])


def reread(settings: Settings) -> Settings:
    """Read the file that settings came from again; what came from the environment stays.

    Raises:
        SettingsError: it cannot be read, or a key is unknown or has a wrong value; all problems are in the message.
    """
    file = settings.origin or Path(FILE_NAME)
    return _checked(dict(settings) | {"file": _read_toml(file)}, file, [])


def _checked(values: dict[str, Any], file: Path, problems: list[str]) -> Settings:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as exc:
        problems += [_problem(dict(e)) for e in exc.errors(include_url=False, include_input=False)]
        raise SettingsError(_report(file, problems)) from None  # the cause would print secrets
    if problems:
        raise SettingsError(_report(file, problems))
    return settings


_OURS = frozenset({"DIGEST_SETTINGS", "DIGEST_TEST_REQUIRE"})  # read elsewhere than in Settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file}: not readable as TOML: {exc}") from exc
    except OSError as exc:
        raise SettingsError(f"{file}: can't be read: {exc.strerror}") from exc


def _problem(error: dict[str, Any]) -> str:
    steps = list(error["loc"])
    names = {field: key for key, field in _FROM_ENVIRONMENT.items()}
    if steps and steps[0] in names:
        steps[0] = names[str(steps[0])]
    elif steps and steps[0] == "file":
        steps.pop(0)
    where = "".join(f"[{s + 1}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = "no such setting"
    return f"{where}: {text}" if where else text


def _report(file: Path, problems: list[str]) -> str:
    lines = "\n".join(f"  {p}" for p in problems)
    return f"{len(problems)} problem(s) in the settings ({file} and the environment):\n{lines}"
