"""Parsing a row according to the layout of its file. All functions are pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from email_validator import EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from subscribers.address import MAX_ADDRESS_LENGTH, Address, AddressError, read_address
from subscribers.consent.consent_texts import MAX_CHARACTERS
from subscribers.consent.ledger import EARLIEST_CONSENT, IMPORTED_SUFFIX, MAX_WHERE_LENGTH
from subscribers.consent.preferences import Preferences, PreferencesError, list_known_zones
from subscribers.errors import ApplicationError
from subscribers.part_keys import split_part_key
from subscribers.transfer.formats import STATUS_WORDS, ColumnLayout, ColumnMeaning, ImportedSubscriberStatus
from subscribers.transfer.spreadsheet_csv import unescape_address, unescape_formulas

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
_CASE_INSENSITIVE_NAMES = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


def read_address_fast(text: str) -> Address:
    """Return the same result as `read_address`, but faster.

    Raises:
        AddressError: under the same conditions as for `read_address`.
    """
    typed = text.strip()
    local, _, domain = typed.partition("@")
    if typed.isascii() and _DOT_ATOM.fullmatch(local):
        checked_domain = _check_domain(domain)
        if checked_domain is not None and len(local) + 1 + checked_domain[1] <= MAX_ADDRESS_LENGTH:
            return Address(local.lower() if local.lower() in _CASE_INSENSITIVE_NAMES else local, checked_domain[0])
    return read_address(text)


@lru_cache(maxsize=20_000)
def _check_domain(typed: str) -> tuple[str, int] | None:
    """Return a domain as an A-label and the length of its longest form, or None if the domain is invalid."""
    try:
        validated = validate_email(f"x@{typed}", check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        return None
    ascii_domain = (validated.ascii_domain or validated.domain).lower()
    return ascii_domain, max(len(typed), len(ascii_domain), len(validated.domain.encode()))


# The number of characters of a word that's quoted in a message.
MAX_WORD_LENGTH = 30


class ImportRow(NamedTuple):
    """The content of a row.

    A tuple is created four times as fast as a dataclass, and there are a million of them. `number`
    is the number of the row in a spreadsheet, with the heading as row 1. Times are in UTC. Invalid
    IP addresses are empty. `evidence` is further evidence of consent, by the names of the event's
    fields, and `preferences` are in their stored form (`Preferences.as_json`).
    """

    number: int
    address: Address
    status: ImportedSubscriberStatus
    requested_at: datetime | None
    requested_ip: str
    confirmed_at: datetime | None
    confirmed_ip: str
    left_at: datetime | None
    evidence: Mapping[str, str] = MappingProxyType({})
    preferences: Mapping[str, Any] = MappingProxyType({})

    @property
    def lacks_network(self) -> bool:
        """True if the row is confirmed but has no IP address."""
        return self.confirmed_at is not None and not self.confirmed_ip


class RowError(ApplicationError):
    """Raised when a row can't be imported.

    The message says why, without quoting the row.
    """


def may_quote(word: str) -> bool:
    """Return True if a value from the file may be shown because it's short and can't be an address."""
    return len(word) <= MAX_WORD_LENGTH and "@" not in word and word.isprintable()


class UnknownStatusWordError(RowError):
    """Raised when a status column contains an unknown word.

    It's quoted if it can't be an address.
    """

    def __init__(self, column: str, word: str) -> None:
        self.column = column
        self.word = word if may_quote(word) else ""
        super().__init__(
            f"unknown status “{self.word}” in column “{column}”; map it to a status, or correct the row"
            if self.word
            else f"the value in column “{column}” is long text or an address, not a status; correct the row"
        )


class LikelyTypoError(RowError):
    """Raised when a row's domain is probably mistyped and such rows have to be rejected."""


_TRUE_WORDS = frozenset({"true", "yes", "1", "t", "y", "text", "ja", "oui", "sí", "si"})
_EMPTY_WORDS = frozenset({"", "null", "none", "nil", "n/a", "-", "\\n", "0000-00-00 00:00:00", "0000-00-00", "0"})
_FALSE_WORDS = frozenset({"false", "no", "0", "f", "n"})
_IP_PATTERN = re.compile(r"[0-9A-Fa-f.:]{2,45}")
_DOTTED_TIME = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,? (\d{1,2}:\d\d))?(?::\d\d)?")  # day first, as in German
_GO_TIME = re.compile(r"(\S+ [\d:.]+) ?([+-]\d{4}|Z)(?: [A-Z]{1,5})?")  # listmonk, which uses Go's Time.String()
_STATUS_RANK = {status: place for place, status in enumerate(ImportedSubscriberStatus)}


def parse_row(
    layout: ColumnLayout,
    fields: Sequence[str],
    number: int,
    *,
    now: datetime,
) -> ImportRow:
    """Parse the fields of a row according to the layout of its file.

    Raises:
        RowError: it has no valid address, or something in it is ambiguous.
    """
    if len(fields) != layout.width:
        fields = _fit_to_width(fields, layout)
    status = _strongest_status(layout, fields)
    try:
        address = read_address_fast(unescape_address(fields[layout.email]))
    except AddressError as exc:
        raise RowError(str(exc)) from None
    is_staying = status is ImportedSubscriberStatus.SUBSCRIBED
    return ImportRow(
        number,
        address,
        status,
        _first_known_time(layout.select_fields(fields, ColumnMeaning.REQUESTED_AT), now),
        _ip_address(layout.select_fields(fields, ColumnMeaning.REQUESTED_IP)),
        _confirmation_time(layout.select_fields(fields, ColumnMeaning.CONFIRMED_AT), now) if is_staying else None,
        _ip_address(layout.select_fields(fields, ColumnMeaning.CONFIRMED_IP)),
        _first_known_time(layout.select_fields(fields, ColumnMeaning.LEFT_AT, ColumnMeaning.BOUNCED_AT), now),
        _read_evidence(layout, fields, address),
        read_preferences(layout, fields, now) if is_staying else {},
    )


def is_blank_row(fields: Sequence[str]) -> bool:
    """Return True if a row is blank.

    Blank rows are skipped.
    """
    return not any(map(str.strip, fields))


def parse_row_time(text: str) -> datetime | None:
    """Parse a time, or return None if the field is empty or contains a database's null value.

    Times without a zone are in UTC. A date without a time is at noon, which is the same day in
    nearly all time zones.

    Raises:
        ValueError: the field isn't a time that can be read unambiguously.
    """
    stripped = text.strip()
    try:
        moment = _parse_iso_time(stripped)
    except ValueError:
        if stripped.lower() in _EMPTY_WORDS:
            return None
        if dotted := _DOTTED_TIME.fullmatch(stripped):
            day, month, year, hours = dotted.groups()
            moment = _parse_iso_time(f"{year}-{month:0>2}-{day:0>2}{f' {hours:0>5}' if hours else ''}")
        elif match := _GO_TIME.fullmatch(stripped):
            moment = _parse_iso_time("".join(match.groups()))
        else:
            raise
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment if moment >= EARLIEST_CONSENT else None


def _parse_iso_time(text: str) -> datetime:
    is_date = len(text) == len("2026-03-04")
    return datetime.fromisoformat(f"{text} 12:00" if is_date else text)


def _fit_to_width(fields: Sequence[str], layout: ColumnLayout) -> Sequence[str]:
    """Return a row with any missing fields at its end added, because some programs omit them.

    Rows with extra fields are rejected.
    """
    if len(fields) < layout.width:
        if len(fields) <= layout.email:
            raise RowError("the row ends before the email address column")
        return [*fields, *[""] * (layout.width - len(fields))]
    if any(field.strip() for field in fields[layout.width :]):
        raise RowError(
            f"the row has {len(fields)} fields instead of {layout.width}; check for an extra comma or quotation mark"
        )
    return fields[: layout.width]


def _strongest_status(layout: ColumnLayout, fields: Sequence[str]) -> ImportedSubscriberStatus:
    """Return the strongest of the statuses in a row's columns.

    Departures are stronger than subscriptions.
    """
    status_columns = layout.columns.get(ColumnMeaning.STATUS, ())
    claims = [layout.file_status, *(_read_status(layout, fields, place) for place in status_columns)]
    if _says_they_left(layout, fields):
        claims.append(ImportedSubscriberStatus.LEFT)
    if any(not _says(text, _EMPTY_WORDS) for text in layout.select_fields(fields, ColumnMeaning.BOUNCED_AT)):
        claims.append(ImportedSubscriberStatus.BOUNCED)
    return max(claims, key=_STATUS_RANK.__getitem__)


def _says_they_left(layout: ColumnLayout, fields: Sequence[str]) -> bool:
    flags = layout.select_fields(fields, ColumnMeaning.LEFT_WHERE_SET)
    subscribed_flags = layout.select_fields(fields, ColumnMeaning.LEFT_WHERE_UNSET)
    times = layout.select_fields(fields, ColumnMeaning.LEFT_AT)
    return (
        any(not _says(text, _EMPTY_WORDS | _FALSE_WORDS) for text in flags)
        or any(_says(text, _FALSE_WORDS) for text in subscribed_flags)
        or any(not _says(text, _EMPTY_WORDS) for text in times)
    )


def _says(field: str, words: frozenset[str]) -> bool:
    return field.strip().lower() in words


def _read_status(layout: ColumnLayout, fields: Sequence[str], place: int) -> ImportedSubscriberStatus:
    word = fields[place].strip().lower()
    for spelling in (word, word.replace("_", " ").replace("-", " ")):
        if status := layout.status_words.get(spelling) or STATUS_WORDS.get(spelling):
            return status
    heading = layout.headings[place] if place < len(layout.headings) else str(place + 1)
    raise UnknownStatusWordError(heading, word)


_CLOCK_TOLERANCE = timedelta(days=1)  # a later time is wrong; an earlier one may be today's date, or of a fast clock


def _confirmation_time(texts: Sequence[str], now: datetime) -> datetime | None:
    if not texts:
        return None
    try:
        confirmed_at = parse_row_time(texts[0])
    except (ValueError, OverflowError):
        raise RowError(
            "the confirmation time can't be read; use 2026-03-04 or 4.3.2026, with or without a time, or 2026-03-04T10:20:30Z"
        ) from None
    if confirmed_at is not None and confirmed_at > now + _CLOCK_TOLERANCE:
        raise RowError("the confirmation time is in the future")
    return confirmed_at and min(confirmed_at, now)


def _first_known_time(texts: Sequence[str], now: datetime) -> datetime | None:
    return next((moment for text in texts if (moment := _optional_time(text, now))), None)


def _optional_time(field: str, now: datetime) -> datetime | None:
    """Parse a time that isn't needed as proof, or return None if it's invalid or in the future."""
    if not field:
        return None
    try:
        moment = parse_row_time(field)
    except (ValueError, OverflowError):
        return None
    return min(moment, now) if moment is not None and moment <= now + _CLOCK_TOLERANCE else None


def _ip_address(texts: Sequence[str]) -> str:
    text = texts[0].strip() if texts else ""
    return text if _IP_PATTERN.fullmatch(text) else ""


_LANGUAGE = re.compile(r"[^\W\d_]{2,20}([-_ ][^\W_]{2,10}){0,2}")
_EVIDENCE_LENGTHS = {
    ColumnMeaning.ASKED_WHERE: MAX_WHERE_LENGTH - len(IMPORTED_SUFFIX),
    ColumnMeaning.METHOD: 300,
    ColumnMeaning.WORDING: MAX_CHARACTERS,
    ColumnMeaning.WORDING_VERSION: 20,
    ColumnMeaning.LANGUAGE: 40,
}


def _read_evidence(
    layout: ColumnLayout,
    fields: Sequence[str],
    address: Address,
) -> dict[str, str]:
    """Return the evidence in a row's columns.

    Text that's too long or may contain an address is omitted.
    """
    evidence: dict[str, str] = {}
    for meaning in _EVIDENCE_LENGTHS:
        for field in layout.select_fields(fields, meaning):
            text = unescape_formulas(" ".join(field.split()))
            if text and _is_evidence(meaning, text, address):
                evidence[meaning.name.lower()] = text
    return evidence


def _is_evidence(meaning: ColumnMeaning, text: str, address: Address) -> bool:
    if len(text) > _EVIDENCE_LENGTHS[meaning] or not text.isprintable():
        return False
    # The text may contain the publisher's own address.
    if meaning is ColumnMeaning.WORDING:
        return address.mailbox.lower() not in text.lower()
    return "@" not in text and (meaning is not ColumnMeaning.LANGUAGE or bool(_LANGUAGE.fullmatch(text)))


def read_preferences(
    layout: ColumnLayout,
    fields: Sequence[str],
    now: datetime,
) -> dict[str, Any]:
    """Return the preferences in a row's columns, in their stored form.

    Raises:
        RowError: a value can't be read; it may be a pause, so it isn't skipped.
    """
    values: dict[str, Any] = {}
    for meaning, read in PREFERENCE_READERS.items():
        for text in map(str.strip, layout.select_fields(fields, meaning)):
            if text.lower() not in _EMPTY_WORDS or (meaning is ColumnMeaning.HOUR and text == "0"):
                values |= read(layout, text, values, now)
    if not values:
        return {}
    # Neither has a meaning without the other.
    if "zone" not in values or "hour" not in values:
        values = {name: value for name, value in values.items() if name not in ("zone", "hour")}
    try:
        return Preferences.from_json(values).as_json()
    except PreferencesError:
        raise RowError("the preferences can't be read; correct them, or don't import their columns") from None


def _unreadable(meaning: ColumnMeaning, example: str) -> RowError:
    return RowError(f"the column for “{meaning.label}” can't be read; use a value such as {example}")


def _split_tags(text: str) -> list[str]:
    return [tag for part in re.split(r"[,;|]", text) if (tag := part.strip(" \"'[]"))]


def list_tags(layout: ColumnLayout, fields: Sequence[str]) -> list[tuple[str, str]]:
    """Return a row's tags, each with the key of its section or topic, or "" if it has none."""
    columns = (fields[place] for place in layout.columns.get(ColumnMeaning.TAGS, ()) if place < len(fields))
    return [match for text in columns for match in _match_tags(layout, text)]


def _match_tags(layout: ColumnLayout, text: str) -> list[tuple[str, str]]:
    return [(tag, layout.part_keys.get(tag.lower(), "")) for tag in _split_tags(text)]


def _read_tags(
    layout: ColumnLayout,
    text: str,
    values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    """Return preferences that omit all sections, or all topics, except for the tagged ones.

    Other tags are ignored.
    """
    chosen = {split_part_key(part) for _, part in _match_tags(layout, text) if part}
    offered = {split_part_key(part) for part in layout.part_keys.values()}
    choices: dict[str, Any] = {}
    if any(not topic for _, topic in chosen):
        already = values.get("omit", (section for section, _ in offered))
        choices["omit"] = sorted(set(already) - {section for section, _ in chosen})
    if any(topic for _, topic in chosen):
        already = values.get("omit_topics", (topic for _, topic in offered))
        choices["omit_topics"] = sorted(set(already) - {topic for _, topic in chosen} - {""})
    return choices


def _read_omitted_topics(
    layout: ColumnLayout,
    text: str,
    _values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    """Return the topics to omit, which are given by key or by their name in an export."""
    return {"omit_topics": sorted({split_part_key(part)[1] or tag for tag, part in _match_tags(layout, text)})}


def _read_omitted(
    layout: ColumnLayout,
    text: str,
    values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    omitted = {tag if not part or split_part_key(part)[1] else part for tag, part in _match_tags(layout, text)}
    return {"omit": sorted(omitted | set(values.get("omit", ())))}


_FREQUENCIES = {
    "weekly": "weekly",
    "fortnightly": "fortnightly",
    "biweekly": "fortnightly",
    "every other week": "fortnightly",
    "monthly": "monthly",
}
_FREQUENCY = re.compile(r"(\D+?)(?: (\d{4}-\d\d-\d\d))?")


def _read_frequency(
    _layout: ColumnLayout,
    text: str,
    _values: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    match = _FREQUENCY.fullmatch(text.lower())
    frequency = _FREQUENCIES.get(match[1]) if match else None
    if match is None or frequency is None:
        raise _unreadable(ColumnMeaning.FREQUENCY, "weekly, fortnightly, or monthly")
    start = {"start": match[2] or now.date().isoformat()} if frequency == "fortnightly" else {}
    return {"frequency": frequency, **start}


def _read_zone(
    _layout: ColumnLayout,
    text: str,
    _values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    if text not in list_known_zones():
        raise _unreadable(ColumnMeaning.ZONE, "America/New_York")
    return {"zone": text}


_HOUR = re.compile(r"([01]?\d|2[0-3])(:00){0,2}")


def _read_hour(
    _layout: ColumnLayout,
    text: str,
    _values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    match = _HOUR.fullmatch(text)
    if match is None:
        raise _unreadable(ColumnMeaning.HOUR, "7 or 17:00")
    return {"hour": int(match[1])}


def _read_choice(
    meaning: ColumnMeaning, _layout: ColumnLayout, text: str, _values: Mapping[str, Any], _now: datetime
) -> dict[str, Any]:
    if text.lower() in _TRUE_WORDS:
        return {meaning.name.lower(): True}
    if text.lower() in _FALSE_WORDS | {"html", "nein", "non"}:
        return {}
    raise _unreadable(meaning, "yes or no")


def _read_pause(
    _layout: ColumnLayout,
    text: str,
    _values: Mapping[str, Any],
    _now: datetime,
) -> dict[str, Any]:
    try:
        return {"pause_until": date.fromisoformat(text[:10]).isoformat()}
    except ValueError:
        raise _unreadable(ColumnMeaning.PAUSE_UNTIL, "2026-12-31") from None


_PreferenceReader = Callable[[ColumnLayout, str, Mapping[str, Any], datetime], dict[str, Any]]
# To add a preference, add a meaning with its name, and a line here.
PREFERENCE_READERS: Mapping[ColumnMeaning, _PreferenceReader] = {
    ColumnMeaning.TAGS: _read_tags,
    ColumnMeaning.OMIT: _read_omitted,
    ColumnMeaning.OMIT_TOPICS: _read_omitted_topics,
    ColumnMeaning.FREQUENCY: _read_frequency,
    ColumnMeaning.ZONE: _read_zone,
    ColumnMeaning.HOUR: _read_hour,
    ColumnMeaning.SHORT: partial(_read_choice, ColumnMeaning.SHORT),
    ColumnMeaning.TEXT_ONLY: partial(_read_choice, ColumnMeaning.TEXT_ONLY),
    ColumnMeaning.BREAKING_NEWS: partial(_read_choice, ColumnMeaning.BREAKING_NEWS),
    ColumnMeaning.PAUSE_UNTIL: _read_pause,
}
