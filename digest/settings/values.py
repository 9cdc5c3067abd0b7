"""The types of values in the settings, each with its checks."""

import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qs, urlsplit
from zoneinfo import ZoneInfo

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from digest.timetable import parse_schedule_rule
from subscribers.address import is_safe_in_angle_brackets

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
DOMAIN_PATTERN = re.compile(rf"{_LABEL}(\.{_LABEL})+")
SELECTOR_PATTERN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_SECTION_KEY_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,38}")
# Printable ASCII without the characters that have a meaning in IMAP (RFC 3501, section 5.1). These
# are quotes, backslashes, wildcards, and ampersands.
FOLDER_PATTERN = r"^[ !#$'()+-\[\]-~]{1,100}$"


class SettingsTable(BaseModel):
    """Base class for tables of the settings.

    Unknown keys are errors, and values can't be changed. The docstring of a table is its text in
    `docs/settings.md`, and the docstring's first paragraph is its comment in the sample file. The
    `title` of a table is the name of its page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(
    default: Any,
    title: str,
    description: str,
    details: str = "",
    *,
    choices: Mapping[str, str] | Mapping[int, str] | None = None,
    empty: str = "",
    **bounds: Any,
) -> Any:
    """Declare a setting for the settings file, its form, and its documentation.

    `make settings` generates the documentation.

    Args:
        default: the value if the file has none; `...` if the file must have one.
        title: the label in the form.
        description: the hint in the form, the comment in the sample file, and the text in
            `docs/settings.md`.
        details: further sentences for `docs/settings.md`.
        choices: the label of each value, if only these are allowed.
        empty: what's in force if the value is empty, for lists of changes.
        bounds: constraints for pydantic, such as `ge` and `le`.
    """
    extra: Any = {"details": details, "choices": choices or {}, "empty": empty}
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def file_only_setting(default: Any, description: str, details: str = "", **bounds: Any) -> Any:
    """Declare a setting that no form shows.

    The arguments are the same as those of `setting`.
    """
    return setting(default, "", description, details, **bounds)


class FieldInputKind(StrEnum):
    """The kind of form field for a value.

    It marks the value's type if the type alone doesn't determine the kind.
    """

    TEXT = "text"
    LINES = "lines"
    NUMBER = "number"
    NUMBERS = "numbers"
    CHOICE = "choice"
    RULE = "rule"
    RULES = "rules"
    AMOUNTS = "amounts"
    COLOR = "color"


def join_lines(text: str) -> str:
    """Return a text as a single line, for email headers, calendar fields, and lists."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def check_filled(text: str) -> str:
    """Return a text after checking that it isn't empty.

    Raises:
        ValueError: the text is empty.
    """
    if not text:
        raise ValueError("can't be empty")
    return text


SingleLine = Annotated[str, AfterValidator(join_lines)]
LongText = Annotated[str, FieldInputKind.LINES]
FilledLine = Annotated[SingleLine, AfterValidator(check_filled)]


def check_mail_address(text: str) -> str:
    """Return an email address for header fields after checking it.

    The address has no display name. It may be empty.

    Raises:
        ValueError: the text contains characters that an address can't have.
    """
    if not is_safe_in_angle_brackets(text):
        raise ValueError(f"{text!r} isn't an email address; use one such as editors@news.example.org, without a name")
    return text


def check_list_id(text: str) -> str:
    """Return a List-Id after checking it (RFC 2919, section 2). It may be empty.

    Raises:
        ValueError: the text contains characters that a List-Id can't have.
    """
    if not is_safe_in_angle_brackets(text) or "@" in text:
        raise ValueError(f"{text!r} isn't a List-Id; use one such as weekly.news.example.org")
    return text


MailAddress = Annotated[str, AfterValidator(check_mail_address)]
ListId = Annotated[str, AfterValidator(check_list_id)]


def check_feedback_sender(name: str) -> str:
    """Return the sender ID for Feedback-ID after checking it. It may be empty.

    Raises:
        ValueError: Gmail wouldn't accept the ID.
    """
    if name and not re.fullmatch(r"[A-Za-z0-9_-]{5,15}", name):
        raise ValueError("use 5 to 15 letters, digits, hyphens, and underscores, such as hls-today")
    return name


def check_section_key(key: str) -> str:
    """Return the key of a section after checking it.

    The key identifies the section permanently, including in URLs.

    Raises:
        ValueError: the text isn't a valid key.
    """
    if not _SECTION_KEY_PATTERN.fullmatch(key):
        raise ValueError(
            "must be a key such as border-security: at most 39 lowercase letters, digits, and hyphens, "
            "beginning with a letter"
        )
    return key


def check_day(text: str) -> str:
    """Return a day in ISO 8601 after checking it. It may be empty.

    Raises:
        ValueError: the text isn't a day.
    """
    if text:
        date.fromisoformat(text)
    return text


def check_time_zone(name: str) -> str:
    """Return the name of a time zone after checking that the IANA database has it.

    Raises:
        ValueError: the name isn't that of a time zone.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError(f"{name!r} isn't a time zone; use one such as America/New_York") from exc
    return name


def make_text_check(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that parses a text to check it, and returns the text unchanged.

    `parse` raises a ValueError if a text is invalid.
    """

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def check_domain(name: str) -> str:
    """Return a domain name after checking it. It may be empty.

    Raises:
        ValueError: the text isn't a domain name.
    """
    if name and not DOMAIN_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r} isn't a domain; use one such as news.example.org")
    return name


def check_web_address(text: str) -> str:
    """Return an http or https URL after checking it.

    Raises:
        ValueError: the text isn't an http or https URL.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    # urlsplit silently removes line breaks.
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable():
        raise ValueError(f"{text!r} isn't an http or https URL")
    return text


def is_local_url(base_url: str) -> bool:
    """Return True if a base URL leads to this machine over http."""
    parts = urlsplit(base_url)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Return True if a host's name or IP address is that of this machine.

    No DNS lookup is made.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


_VERIFIED_TLS = {"verify-ca", "verify-full"}  # of libpq's sslmode; other modes don't verify the server


def explain_insecure_database(url: str) -> str:
    """Return the reason that a database URL is refused, or an empty string if it's accepted.

    A URL is refused if it isn't valid, or if it reaches another machine without verified TLS.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "isn't a URL; use one such as postgresql+psycopg://user:password@host/name"
    if not parts.scheme.startswith("postgresql") or _is_reached_safely(parts):
        return ""
    return (
        "the database is on another machine, so add ?sslmode=verify-full to its URL (for your own certificate "
        "authority, also add &sslrootcert=FILE)"
    )


def _is_reached_safely(parts: SplitResult) -> bool:
    """Return True if a PostgreSQL URL leads only to this machine or uses verified TLS."""
    query = parse_qs(parts.query)
    lists = [parts.hostname or "", *query.get("host", []), *query.get("hostaddr", [])]
    host_names = ",".join(lists).split(",")
    hosts = [host for host in host_names if host and not host.startswith("/")]
    modes = set(query.get("sslmode", []))
    return all(map(is_loopback, hosts)) or (bool(modes) and modes <= _VERIFIED_TLS)


# Marks a setting that pages change only after a second confirmation, because the change affects
# subscribers permanently.
ASKED_TWICE = "asked twice"


@dataclass(frozen=True, slots=True)
class NeverEmptied:
    """A marker for a setting that pages can change but not empty.

    `reason` tells the admin why, and what to do.
    """

    reason: str


# Marks a setting whose value is a URL that's secret except for its host, such as the URL of a
# webhook.
SHOWN_BY_HOST = "shown by its host"
HIDDEN_PART = "…"


def redact_url(address: str, *, host_only: bool = False) -> str:
    """Return a web URL redacted for display and logs.

    Credentials and the query are removed, and with `host_only`, the path is, too. Text that isn't a
    web URL is returned unchanged.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN_PART
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return address
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if host_only:
        return f"{place}/{HIDDEN_PART}"
    return place + parts.path + (f"?{HIDDEN_PART}" if parts.query else "")


NetworkText = Annotated[str, make_text_check(ipaddress.ip_network)]  # such as 10.0.0.0/8
RuleText = Annotated[str, make_text_check(parse_schedule_rule), FieldInputKind.RULE]


def parse_signing_secret(text: str) -> bytes:
    """Return the key in a secret that signs posts.

    In a secret that begins with `whsec_`, the rest is base64, as in Standard Webhooks. Any other
    secret is used as is.

    Raises:
        ValueError: the rest isn't base64, or it's empty.
    """
    if not text.startswith("whsec_"):
        return text.encode()
    key = b64decode(text.removeprefix("whsec_"), validate=True)
    if not key:
        raise ValueError("the key is empty")
    return key


@lru_cache(maxsize=8)
def parse_public_keys(text: str) -> tuple[EllipticCurvePublicKey, ...]:
    """Return the P-256 public keys in a text.

    The text has at most two keys in base64 (SPKI in DER), separated by a comma. An empty text has
    none.

    Raises:
        ValueError: the text contains anything else.
    """
    parts = text.split(",") if text.strip() else []
    try:
        keys = [load_der_public_key(b64decode(part.strip(), validate=True)) for part in parts]
    except UnsupportedAlgorithm as exc:
        raise ValueError("the key's algorithm is unknown") from exc
    sound = [key for key in keys if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)]
    if len(sound) != len(parts) or len(sound) > 2:
        raise ValueError("must contain one or two P-256 keys")
    return tuple(sound)


@dataclass(frozen=True, slots=True)
class PublicKeysValidator:
    """A validator of texts that contain public keys (see `parse_public_keys`).

    `advice` says what to enter.
    """

    advice: str

    def __call__(self, text: str) -> str:
        """Return the text after checking its public keys.

        Raises:
            ValueError: the text isn't a list of public keys.
        """
        try:
            parse_public_keys(text)
        except ValueError:
            raise ValueError(self.advice) from None
        return text
