"""Recognizing a file's service and columns by its headings, which are declared in `formats.toml`.

The columns of each service are those of its own export: Mailchimp's audience export, MailPoet's
`ImportExportFactory`, listmonk's `export.go`, Ghost's members CSV, Substack's `email_list.csv`, the
subscriber CSV files of Buttondown, beehiiv, and Kit, Constant Contact's contacts CSV, and
GovDelivery's lists of a topic's subscribers and of deleted ones.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from importlib import resources
from typing import Self

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from subscribers.errors import RefusalError
from subscribers.import_names import PLAIN_LIST


class LabeledEnum(StrEnum):
    """The base class of enumerations whose stored values have labels for admin pages."""

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        """Create a member from its value and label."""
        member = str.__new__(cls, value)
        member._value_, member.label = value, label
        return member


class ImportedSubscriberStatus(LabeledEnum):
    """The status of an address, as stated by a row or for a whole file.

    Later members are stronger.
    """

    SUBSCRIBED = "person", "Subscribed"
    # They never confirmed, according to the service itself.
    UNCONFIRMED = "unconfirmed", "Unconfirmed"
    LEFT = "left", "Unsubscribed"
    BOUNCED = "bounced", "Bounced"
    BLOCKED = "blocked", "Blocked"
    COMPLAINED = "complained", "Complained"


DEPARTURE_STATUSES = frozenset(
    {
        ImportedSubscriberStatus.LEFT,
        ImportedSubscriberStatus.BOUNCED,
        ImportedSubscriberStatus.COMPLAINED,
        ImportedSubscriberStatus.BLOCKED,
    }
)


class ColumnMeaning(LabeledEnum):
    """The meaning of a column.

    The names are used in lowercase in `formats.toml`.
    """

    ADDRESS = "address", "Email address"
    REQUESTED_AT = "requested at", "Sign-up time (UTC)"
    REQUESTED_IP = "requested from", "Sign-up IP address"
    CONFIRMED_AT = "confirmed at", "Consent or confirmation time (UTC)"
    CONFIRMED_IP = "confirmed from", "Confirmation IP address"
    STATUS = "status", "Subscription status"
    LEFT_WHERE_SET = "left where set", "Unsubscribed if yes"
    LEFT_WHERE_UNSET = "left where unset", "Unsubscribed if no"
    LEFT_AT = "left at", "Unsubscribe time"
    BOUNCED_AT = "bounced at", "Bounce time"
    ASKED_WHERE = "asked where", "Sign-up source (where: website, event)"
    METHOD = "method", "How they agreed (form, double opt-in, on paper)"
    WORDING = "wording", "Consent text"
    WORDING_VERSION = "wording version", "Consent text version"
    LANGUAGE = "language", "Language (evidence only)"
    TAGS = "tags", "Sections and topics wanted (tags)"
    OMIT = "omit", "Sections not wanted"
    OMIT_TOPICS = "omit topics", "Topics not wanted"
    FREQUENCY = "frequency", "How often"
    ZONE = "zone", "Time zone (with send hour)"
    HOUR = "hour", "Send hour (with time zone)"
    SHORT = "short", "Short edition (yes or no)"
    TEXT_ONLY = "text only", "Text only (yes or no)"
    BREAKING_NEWS = "breaking news", "Breaking news (yes or no)"
    PAUSE_UNTIL = "pause until", "Paused until (date)"
    NOTHING = "nothing", "Don't import"


_SHARED_MEANINGS = frozenset(
    {
        ColumnMeaning.STATUS,
        ColumnMeaning.LEFT_WHERE_SET,
        ColumnMeaning.LEFT_WHERE_UNSET,
        ColumnMeaning.LEFT_AT,
        ColumnMeaning.BOUNCED_AT,
        ColumnMeaning.TAGS,
        ColumnMeaning.NOTHING,
    }
)
_SINGLE_MEANINGS = tuple(meaning for meaning in ColumnMeaning if meaning not in _SHARED_MEANINGS)
_COLUMN_MEANINGS: tuple[ColumnMeaning, ...] = tuple(
    meaning for meaning in ColumnMeaning if meaning is not ColumnMeaning.NOTHING
)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ExportFormat:
    """A service's export format, as declared in `formats.toml`."""

    origin: str
    address: frozenset[str] = frozenset({"email"})
    required: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()
    headings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, ImportedSubscriberStatus] = field(default_factory=dict)
    backslash_quotes: bool = False
    exports_consent: bool = True

    def matches(self, address: str, headings: Collection[str]) -> bool:
        """Return True if a file with these normalized headings has this format.

        `address` is the heading of the address column. If it's in another language, it says nothing
        about the service.
        """
        return (
            self.required.issubset(headings)
            and (address in self.address or address not in _ENGLISH_ADDRESSES)
            and (bool(self.required) or bool(self.any_of))
            and (not self.any_of or not self.any_of.isdisjoint(headings))
        )


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class _Declaration:
    formats: tuple[ExportFormat, ...]
    headings: Mapping[str, tuple[str, ...]]
    words: Mapping[ImportedSubscriberStatus, tuple[str, ...]]
    file_names: Mapping[str, ImportedSubscriberStatus]


_FILE = resources.files("subscribers.transfer").joinpath("formats.toml")
_DECLARED = TypeAdapter(_Declaration).validate_python(tomllib.loads(_FILE.read_text("utf-8")))
EXPORT_FORMATS = _DECLARED.formats
_ENGLISH_ADDRESSES = frozenset().union(*(form.address for form in EXPORT_FORMATS))
STATUS_WORDS = {word: status for status, words in _DECLARED.words.items() for word in words}
MASKED_ADDRESS = "•••@•••"
_BARE_ADDRESS = re.compile(r"\s*[^\s,;@]+@[^\s,;@]+\s*")


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """The columns for each meaning, numbered from 0.

    `file_status` is the status of each row before its own columns are read. `has_heading` is False
    for a bare list of addresses. `width` is the number of columns. `backslash_quotes` means that
    quotation marks inside quotes are escaped with a backslash. `headings` are safe to show.
    `status_words` are the meanings of words in this file only. `part_keys` are the keys
    (`subscribers.part_keys`) of the publication's sections and topics, by tag in lowercase.
    """

    origin: str
    columns: Mapping[ColumnMeaning, tuple[int, ...]]
    width: int
    has_heading: bool = True
    file_status: ImportedSubscriberStatus = ImportedSubscriberStatus.SUBSCRIBED
    backslash_quotes: bool = False
    headings: tuple[str, ...] = ()
    status_words: Mapping[str, ImportedSubscriberStatus] = field(default_factory=dict)
    part_keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def email(self) -> int:
        """The index of the address column."""
        return self.columns[ColumnMeaning.ADDRESS][0]

    @property
    def numbered_columns(self) -> list[str]:
        """The names of columns in a file without headings."""
        return [f"Column {number}" for number in range(1, self.width + 1)]

    @property
    def guessed_heading(self) -> str:
        """The heading of the address column if it was recognized only by its cells, or "" otherwise."""
        heading = self.headings[self.email] if self.headings else ""
        return "" if normalize_heading(heading) in _DECLARED.headings["address"] else heading

    def select_fields(self, row: Sequence[str], *meanings: ColumnMeaning) -> list[str]:
        """Return a row's fields in the columns that have the given meanings."""
        return [row[place] for meaning in meanings for place in self.columns.get(meaning, ())]


def recognize_layout(
    first_row: Sequence[str],
    sample: Sequence[Sequence[str]] = (),
    *,
    file_name: str = "",
    file_status: ImportedSubscriberStatus | None = None,
) -> ColumnLayout | None:
    """Recognize a file's service and columns by its first row and some of the rows that follow.

    Args:
        first_row: fields of the first row; if one is an address, the row isn't a heading.
        sample: fields of the following rows.
        file_name: name of the file; Mailchimp's names say what the file contains.
        file_status: status of every row according to the operator, which overrides the name.

    Returns:
        The layout, or None if no column contains addresses.
    """
    has_heading = not any(map(_BARE_ADDRESS.fullmatch, first_row))
    headings = [normalize_heading(text) for text in first_row] if has_heading else [""] * len(first_row)
    address = _find_address_column(headings, sample if has_heading else [first_row, *sample])
    if address is None:
        return None
    plain = ExportFormat(PLAIN_LIST)
    form = next((form for form in EXPORT_FORMATS if form.matches(headings[address], headings)), plain)
    columns = {meaning: _find_columns(headings, meaning, form) for meaning in _COLUMN_MEANINGS}
    columns[ColumnMeaning.ADDRESS] = (address,)
    return ColumnLayout(
        form.origin,
        {meaning: places for meaning, places in columns.items() if places},
        len(headings),
        has_heading=has_heading,
        file_status=file_status or _read_status_of_file(file_name),
        backslash_quotes=form.backslash_quotes,
        headings=tuple(mask_heading(text) for text in first_row) if has_heading else (),
        status_words=form.words,
    )


def _read_status_of_file(name: str) -> ImportedSubscriberStatus:
    """Return the status that a file's name implies for every row."""
    statuses = (status for start, status in _DECLARED.file_names.items() if name.lower().startswith(start))
    return next(statuses, ImportedSubscriberStatus.SUBSCRIBED)


def _find_address_column(headings: Sequence[str], sample: Sequence[Sequence[str]]) -> int | None:
    """Return the address column, or None if there's none. Pure.

    It's the one with such a heading, unless only other columns contain addresses. In that case,
    it's the one with the most addresses, if at least half of its cells are addresses.
    """
    filled: Counter[int] = Counter()
    addresses: Counter[int] = Counter()
    for fields in sample:
        for place, text in enumerate(fields[: len(headings)]):
            filled[place] += bool(text.strip())
            addresses[place] += bool(_BARE_ADDRESS.fullmatch(text))
    by_heading = [headings.index(each) for each in _DECLARED.headings["address"] if each in headings]
    named = next((place for place in by_heading if addresses[place]), None)
    if named is not None:
        return named
    full = [place for place, count in addresses.most_common() if count and count * 2 >= filled[place]]
    return next(iter([*full, *by_heading]), None)


def _find_columns(
    headings: Sequence[str],
    meaning: ColumnMeaning,
    form: ExportFormat,
) -> tuple[int, ...]:
    """Return the columns that have a meaning, judging by their headings.

    If there can only be one, it's the column with the first known heading.
    """
    name = meaning.name.lower()
    known_headings = (*_DECLARED.headings.get(name, ()), *form.headings.get(name, ()))
    if meaning not in _SINGLE_MEANINGS:
        return tuple(place for place, heading in enumerate(headings) if heading in known_headings)
    return next(((headings.index(heading),) for heading in known_headings if heading in headings), ())


class ColumnMappingError(RefusalError):
    """Raised when a required column meaning is missing, or when one is used twice."""


def list_column_meanings(layout: ColumnLayout) -> tuple[ColumnMeaning, ...]:
    """Return the meanings of all columns, in order."""
    meanings = [ColumnMeaning.NOTHING] * layout.width
    for meaning, places in layout.columns.items():
        for place in places:
            meanings[place] = meaning
    return tuple(meanings)


def check_column_meanings(meanings: Sequence[ColumnMeaning]) -> None:
    """Raise an error unless one column has addresses and no two columns have the same unique meaning.

    Raises:
        ColumnMappingError: a meaning is missing or used twice; the message says which one.
    """
    if ColumnMeaning.ADDRESS not in meanings:
        raise ColumnMappingError("No column was chosen for email addresses. Choose one.")
    if twice := next((meaning for meaning in _SINGLE_MEANINGS if list(meanings).count(meaning) > 1), None):
        raise ColumnMappingError(
            f"Two columns are imported as “{twice}.” Choose one of them, and don't import the other."
        )


def assign_column_meanings(layout: ColumnLayout, meanings: Sequence[ColumnMeaning]) -> ColumnLayout:
    """Return the layout with the meanings of its columns replaced by the given ones.

    Raises:
        ColumnMappingError: the meanings don't fit the file or each other; the message says why.
    """
    if len(meanings) != layout.width:
        raise ColumnMappingError("The file's columns don't match the ones you chose. Choose the columns again.")
    check_column_meanings(meanings)
    columns = {
        meaning: tuple(place for place, each in enumerate(meanings) if each is meaning) for meaning in _COLUMN_MEANINGS
    }
    return replace(layout, columns=columns)


def mask_heading(text: str) -> str:
    """Return a heading that's safe to show. Pure.

    A heading with an @ may be someone's address.
    """
    return MASKED_ADDRESS if "@" in text else text.lstrip("\ufeff").strip()


def normalize_heading(text: str) -> str:
    """Return a heading in a single spelling.

    For example, `OPTIN_TIME`, `Optin-Time`, and ` optin time` become the same.
    """
    return re.sub(r"[\s_-]+", " ", text.lstrip("\ufeff").strip().lower().replace("’", "'"))
