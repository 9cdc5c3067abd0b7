"""Recognizing whose export a file is by its headings, and what its columns mean. `formats.toml` declares both.

The columns of each service are those of its own export: Mailchimp's audience export, MailPoet's
`ImportExportFactory`, listmonk's `export.go`, Ghost's members CSV, Substack's `email_list.csv`, Buttondown's
subscribers CSV, beehiiv's subscribers CSV, Kit's subscribers CSV.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from importlib import resources
from typing import Self

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from subscribers.errors import RefusalError


class LabeledEnum(StrEnum):
    """Values that are stored, each with the label that pages for admins show."""

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        """Make a member of its value and label."""
        member = str.__new__(cls, value)
        member._value_, member.label = value, label
        return member


class ImportedSubscriberStatus(LabeledEnum):
    """What a row, or a whole file, says of an address; the later ones are the stronger."""

    SUBSCRIBED = "person", "A reader"
    UNCONFIRMED = "unconfirmed", "Never confirmed"  # the service itself says that they never confirmed
    LEFT = "left", "Left"
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
    """What a column says of its row's person. `formats.toml` and `ColumnLayout` use the names in lower case."""

    ADDRESS = "address", "Email address"
    REQUESTED_AT = "requested at", "Sign-up time (UTC)"
    REQUESTED_IP = "requested from", "Sign-up IP address"
    CONFIRMED_AT = "confirmed at", "Confirmation time (UTC)"
    CONFIRMED_IP = "confirmed from", "Confirmation IP address"
    STATUS = "status", "Subscription status"
    LEFT_WHERE_SET = "left where set", "Unsubscribed if yes"
    LEFT_WHERE_UNSET = "left where unset", "Unsubscribed if no"
    LEFT_AT = "left at", "Unsubscribe time"
    BOUNCED_AT = "bounced at", "Bounce time"
    NOTHING = "nothing", "Don't import"


_SINGLE_MEANINGS = (
    ColumnMeaning.ADDRESS,
    ColumnMeaning.REQUESTED_AT,
    ColumnMeaning.REQUESTED_IP,
    ColumnMeaning.CONFIRMED_AT,
    ColumnMeaning.CONFIRMED_IP,
)
_COLUMN_MEANINGS: tuple[ColumnMeaning, ...] = tuple(
    meaning for meaning in ColumnMeaning if meaning is not ColumnMeaning.NOTHING
)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ExportFormat:
    """One service's export, as `formats.toml` declares it."""

    origin: str
    address: frozenset[str] = frozenset({"email"})
    required: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()
    headings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, ImportedSubscriberStatus] = field(default_factory=dict)
    file_names: Mapping[str, ImportedSubscriberStatus] = field(default_factory=dict)
    backslash_quotes: bool = False
    exports_consent: bool = True

    def matches(self, headings: Collection[str]) -> bool:
        """Return whether a file with these headings, normalized, is such an export."""
        return (
            self.required.issubset(headings)
            and not self.address.isdisjoint(headings)
            and (not self.any_of or not self.any_of.isdisjoint(headings))
        )

    def status_of_file(self, file_name: str) -> ImportedSubscriberStatus:
        """Return what the file's name says of every row."""
        low = file_name.lower()
        return next(
            (status for start, status in self.file_names.items() if low.startswith(start)),
            ImportedSubscriberStatus.SUBSCRIBED,
        )


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class _Declaration:
    formats: tuple[ExportFormat, ...]
    headings: Mapping[str, tuple[str, ...]]
    words: Mapping[ImportedSubscriberStatus, tuple[str, ...]]


_FILE = resources.files("subscribers.transfer").joinpath("formats.toml")
_DECLARED = TypeAdapter(_Declaration).validate_python(tomllib.loads(_FILE.read_text("utf-8")))
EXPORT_FORMATS = _DECLARED.formats
STATUS_WORDS = {word: status for status, words in _DECLARED.words.items() for word in words}
PLAIN_LIST = "a plain list"
MASKED_ADDRESS = "•••@•••"
_BARE_ADDRESS = re.compile(r"\s*[^\s,;@]+@[^\s,;@]+\s*")


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """Which columns (from 0) mean what. `file_status` is what every row says before its own columns are read.

    `has_heading` is False for a bare list of addresses; `width` is the number of columns; `backslash_quotes` tells that
    quotation marks inside quotes are written with a backslash. `headings` are those of the file as a page may show them,
    `status_words` what words mean in this file alone.
    """

    origin: str
    address: tuple[int, ...]
    width: int
    has_heading: bool = True
    file_status: ImportedSubscriberStatus = ImportedSubscriberStatus.SUBSCRIBED
    requested_at: tuple[int, ...] = ()
    requested_ip: tuple[int, ...] = ()
    confirmed_at: tuple[int, ...] = ()
    confirmed_ip: tuple[int, ...] = ()
    status: tuple[int, ...] = ()
    left_where_set: tuple[int, ...] = ()
    left_where_unset: tuple[int, ...] = ()
    left_at: tuple[int, ...] = ()
    bounced_at: tuple[int, ...] = ()
    backslash_quotes: bool = False
    headings: tuple[str, ...] = ()
    status_words: Mapping[str, ImportedSubscriberStatus] = field(default_factory=dict)

    @property
    def email(self) -> int:
        """The column of the address."""
        return self.address[0]

    @property
    def has_status_columns(self) -> bool:
        """Whether a row's own columns say where its person stands."""
        columns = (self.status, self.left_where_set, self.left_where_unset, self.left_at, self.bounced_at)
        return any(columns)

    def columns_of(self, meaning: ColumnMeaning) -> tuple[int, ...]:
        """Return the columns that have a meaning."""
        columns: tuple[int, ...] = getattr(self, meaning.name.lower())
        return columns


def recognize_layout(
    first_row: Sequence[str], *, file_name: str = "", file_status: ImportedSubscriberStatus | None = None
) -> ColumnLayout | None:
    """Tell from a file's first row whose export it is.

    Args:
        first_row: the fields of the first row.
        file_name: the file's name: Mailchimp says in it what the file holds.
        file_status: what the operator says that every row is; it wins over the name.

    Returns:
        The layout, or None where no column holds addresses.
    """
    headings = [normalize_heading(text) for text in first_row]
    if not _find_columns(headings, ColumnMeaning.ADDRESS, ExportFormat(PLAIN_LIST)):
        return _bare_list_layout(first_row, file_status)
    form = next((form for form in EXPORT_FORMATS if form.matches(headings)), ExportFormat(PLAIN_LIST))
    layout = ColumnLayout(
        form.origin,
        (),
        len(headings),
        file_status=file_status or form.status_of_file(file_name),
        backslash_quotes=form.backslash_quotes,
        headings=tuple(mask_heading(text) for text in first_row),
        status_words=form.words,
    )
    return _with_columns(layout, {meaning: _find_columns(headings, meaning, form) for meaning in _COLUMN_MEANINGS})


def _bare_list_layout(first_row: Sequence[str], file_status: ImportedSubscriberStatus | None) -> ColumnLayout | None:
    """Return the layout of a file with nothing but addresses, one a line; None for other files."""
    if len(first_row) != 1 or not _BARE_ADDRESS.fullmatch(first_row[0].lstrip("\ufeff")):
        return None
    return ColumnLayout(
        PLAIN_LIST, (0,), 1, has_heading=False, file_status=file_status or ImportedSubscriberStatus.SUBSCRIBED
    )


def _find_columns(headings: Sequence[str], meaning: ColumnMeaning, form: ExportFormat) -> tuple[int, ...]:
    """Find the columns of a meaning by their headings: for one that a single column has, by the first heading that is there."""
    name = meaning.name.lower()
    known_headings = (*_DECLARED.headings[name], *form.headings.get(name, ()))
    if meaning not in _SINGLE_MEANINGS:
        return tuple(place for place, heading in enumerate(headings) if heading in known_headings)
    return next(((headings.index(heading),) for heading in known_headings if heading in headings), ())


def _with_columns(layout: ColumnLayout, columns: Mapping[ColumnMeaning, tuple[int, ...]]) -> ColumnLayout:
    return replace(layout, **{meaning.name.lower(): places for meaning, places in columns.items()})  # type: ignore[arg-type]  # names of fields with columns


class ColumnMappingError(RefusalError):
    """The meanings do not make a list: no column, or several, hold what one must."""


def list_column_meanings(layout: ColumnLayout) -> tuple[ColumnMeaning, ...]:
    """Return what each column means, from the first."""
    meanings = [ColumnMeaning.NOTHING] * layout.width
    for meaning in _COLUMN_MEANINGS:
        for place in layout.columns_of(meaning):
            meanings[place] = meaning
    return tuple(meanings)


def check_column_meanings(meanings: Sequence[ColumnMeaning]) -> None:
    """Check that the meanings of all columns make a list.

    Raises:
        ColumnMappingError: no column, or several, hold what one must; the message says which.
    """
    if ColumnMeaning.ADDRESS not in meanings:
        raise ColumnMappingError("No column was chosen for email addresses. Choose one.")
    if twice := next((meaning for meaning in _SINGLE_MEANINGS if list(meanings).count(meaning) > 1), None):
        raise ColumnMappingError(
            f"Two columns are imported as “{twice}”. Choose one of them, and don't import the other."
        )


def assign_column_meanings(layout: ColumnLayout, meanings: Sequence[ColumnMeaning]) -> ColumnLayout:
    """Return the layout with other meanings of its columns.

    Raises:
        ColumnMappingError: they do not make a list; the message says why.
    """
    if len(meanings) != layout.width:
        raise ColumnMappingError("The file's columns don't match the ones you chose. Choose the columns again.")
    check_column_meanings(meanings)
    columns = {
        meaning: tuple(place for place, each in enumerate(meanings) if each is meaning) for meaning in _COLUMN_MEANINGS
    }
    return _with_columns(layout, columns)


def mask_heading(text: str) -> str:
    """Return a heading as a page, a note or a message may show it: one with an @ may be somebody's address. Pure."""
    return MASKED_ADDRESS if "@" in text else text.lstrip("\ufeff").strip()


def normalize_heading(text: str) -> str:
    """Bring a heading to one spelling: `OPTIN_TIME`, `Optin-Time` and ` optin time` are the same."""
    return re.sub(r"[\s_-]+", " ", text.lstrip("\ufeff").strip().lower())
