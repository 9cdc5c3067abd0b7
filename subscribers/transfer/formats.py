"""Whose export a file is, told by its headings, and which column means what.

The columns of each service are those of its own export: Mailchimp's audience export, MailPoet's
`ImportExportFactory`, listmonk's `export.go`, Ghost's members CSV, Substack's `email_list.csv`, Buttondown's
subscribers CSV, beehiiv's subscribers CSV, Kit's subscribers CSV.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from subscribers.errors import RefusalError


class RowStatus(StrEnum):
    """What a row, or a whole file, says of an address; the later ones are the stronger."""

    SUBSCRIBED = "person"
    UNCONFIRMED = "unconfirmed"  # the service itself says that they never confirmed
    LEFT = "left"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    COMPLAINED = "complained"


DEPARTURE_STATUSES = frozenset({RowStatus.LEFT, RowStatus.BOUNCED, RowStatus.COMPLAINED, RowStatus.BLOCKED})

# A word in a status column, whatever the service. A word that stands nowhere here is no guess of ours: the
# row is rejected. An empty status (the last word of the first line) is one of a service that keeps none.
_WORDS_BY_STATUS = {
    RowStatus.SUBSCRIBED: "subscribed;active;enabled;confirmed;regular;premium;gifted;free;paid;comped;trial;trialed;"
    "churning;churned;past due;paused;inactive;true;1;",
    RowStatus.UNCONFIRMED: "unconfirmed;unactivated;pending;nonsubscribed;non subscribed;transactional",
    RowStatus.LEFT: "unsubscribed;removed;withdrawn;cancelled;canceled;opted out;disabled;deleted;archived;false;0",
    RowStatus.BOUNCED: "bounced;cleaned;hard bounce;undeliverable",
    RowStatus.COMPLAINED: "complained;spam;spam complaint;abuse",
    RowStatus.BLOCKED: "blocklisted;blacklisted;blocked;suppressed;spammy",
}
STATUS_WORDS = {word: status for status, words in _WORDS_BY_STATUS.items() for word in words.split(";")}
MASKED_ADDRESS = "•••@•••"
_BARE_ADDRESS = re.compile(r"\s*[^\s,;@]+@[^\s,;@]+\s*")
_EMAIL_HEADINGS = ("email address", "email", "e mail", "e mail address", "mail", "address")
_STATUS_HEADINGS = ("status", "global status", "list status", "subscriber type", "subscription status")
# By the fields of `ColumnLayout`: where the first of some headings that is there counts, and where all do.
_HEADINGS_OF_ONE = {
    "requested_at": (
        *("optin time", "subscription time", "created at", "creation date", "subscribed at", "requested at"),
        *("signup date", "signed up at"),
    ),
    "requested_ip": ("optin ip", "subscription ip", "subscribed ip", "signup ip", "ip address"),
    "confirmed_at": ("confirm time", "confirmation time", "confirmed at", "confirmed on", "confirmation date"),
    "confirmed_ip": ("confirm ip", "confirmation ip", "confirmed ip"),
}
_HEADINGS_OF_SEVERAL = {
    "set_when_left": ("email disabled", "unsubscribed", "opted out"),
    "unset_when_left": ("subscribed to emails", "subscribed"),
    "left_at": ("unsub time", "unsubscribed at", "unsubscription date", "deleted at", "opt out date"),
    "bounced_at": ("clean time", "bounced at"),
}


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One service's export: it has all headings of `required_headings` and one of `optional_headings` (where there are any)."""

    origin: str
    required_headings: frozenset[str]
    optional_headings: frozenset[str] = frozenset()
    status_headings: tuple[str, ...] = ()
    confirmed_headings: tuple[str, ...] = ()
    status_words: Mapping[str, RowStatus] = field(default_factory=dict)
    backslash_quotes: bool = False

    def matches(self, headings: frozenset[str]) -> bool:
        """Return whether a file with these headings, normalised, is such an export."""
        return self.required_headings <= headings and (
            not self.optional_headings or bool(self.optional_headings & headings)
        )


PLAIN_LIST = "a plain list"
EXPORT_FORMATS = (
    ExportFormat(
        "Mailchimp",
        frozenset({"email address"}),
        frozenset({"optin time", "confirm time", "unsub time", "clean time", "member rating", "leid", "euid"}),
    ),
    ExportFormat(
        "MailPoet",
        frozenset({"email"}),
        frozenset({"subscription ip", "subscription time", "confirmation time", "global status", "list status"}),
        backslash_quotes=True,  # MailPoet writes \" for a quotation mark inside quotes, not ""
    ),
    ExportFormat("listmonk", frozenset({"uuid", "email", "attributes", "status"})),
    ExportFormat("Ghost", frozenset({"email", "subscribed to emails"})),
    # Who paid has asked for it by that act, and Substack names its time; of free readers it records no confirmation.
    ExportFormat(
        "Substack",
        frozenset({"email", "active subscription"}),
        confirmed_headings=("first payment at", "first paid at"),
    ),
    *(
        ExportFormat(
            "Buttondown",
            frozenset({email, "creation date"}),
            frozenset({"metadata", "tags", "notes", "subscriber type", "type"}),
            status_headings=("type",),
        )
        for email in ("email", "email address")
    ),
    # beehiiv calls inactive who left, and needs attention or validating whose sign-up is not through.
    ExportFormat(
        "beehiiv",
        frozenset({"email", "status"}),
        frozenset(
            {
                "acquisition source",
                "referral code",
                "referring site",
                "subscription id",
                "subscription tier",
                "utm channel",
            }
        ),
        status_words={
            "inactive": RowStatus.LEFT,
            "validating": RowStatus.UNCONFIRMED,
            "needs attention": RowStatus.UNCONFIRMED,
            "invalid": RowStatus.BOUNCED,
        },
    ),
    # Kit calls inactive who never confirmed.
    *(
        ExportFormat(
            "Kit",
            frozenset({email, "first name", "state"}),
            status_headings=("state",),
            status_words={"inactive": RowStatus.UNCONFIRMED},
        )
        for email in ("email", "email address")
    ),
)

# Mailchimp puts what a file holds into its name: unsubscribed_segment_export_0123abcdef.csv
_MAILCHIMP_FILE_PREFIXES = (
    ("unsubscribed", RowStatus.LEFT),
    ("cleaned", RowStatus.BOUNCED),
    ("nonsubscribed", RowStatus.UNCONFIRMED),
    ("non-subscribed", RowStatus.UNCONFIRMED),
)


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """Which column (from 0) means what. `file_status` is what every row says before its own columns are read.

    `has_heading` is False for a bare list of addresses; `width` is the number of columns; `backslash_quotes` tells that
    quotation marks inside quotes are written with a backslash. `headings` are those of the file as a page may show them,
    `status_words` what words mean in this file alone.
    """

    origin: str
    email: int
    width: int
    has_heading: bool = True
    file_status: RowStatus = RowStatus.SUBSCRIBED
    requested_at: int | None = None
    requested_ip: int | None = None
    confirmed_at: int | None = None
    confirmed_ip: int | None = None
    status_columns: tuple[int, ...] = ()
    set_when_left: tuple[int, ...] = ()
    unset_when_left: tuple[int, ...] = ()
    left_at: tuple[int, ...] = ()
    bounced_at: tuple[int, ...] = ()
    backslash_quotes: bool = False
    headings: tuple[str, ...] = ()
    status_words: Mapping[str, RowStatus] = field(default_factory=dict)

    @property
    def has_status_columns(self) -> bool:
        """Whether a row's own columns say where its person stands."""
        columns = (self.status_columns, self.set_when_left, self.unset_when_left, self.left_at, self.bounced_at)
        return any(columns)


def recognise_layout(
    first_row: Sequence[str], *, file_name: str = "", file_status: RowStatus | None = None
) -> ColumnLayout | None:
    """Tell from a file's first row whose export it is.

    Args:
        first_row: the fields of the first row.
        file_name: the file's name: Mailchimp says in it what the file holds.
        file_status: what the operator says that every row is; it wins over the name.

    Returns:
        The layout, or None where no column holds addresses.
    """
    headings = [normalise_heading(text) for text in first_row]
    heading_set = frozenset(headings)
    form = next((form for form in EXPORT_FORMATS if form.matches(heading_set)), ExportFormat(PLAIN_LIST, frozenset()))
    email = _find_column(headings, _EMAIL_HEADINGS)
    if email is None:
        if len(first_row) != 1 or not _BARE_ADDRESS.fullmatch(first_row[0].lstrip("\ufeff")):
            return None
        return ColumnLayout(PLAIN_LIST, 0, 1, has_heading=False, file_status=file_status or RowStatus.SUBSCRIBED)
    columns: dict[str, Any] = {name: _find_column(headings, wanted) for name, wanted in _HEADINGS_OF_ONE.items()}
    columns |= {name: _find_columns(headings, wanted) for name, wanted in _HEADINGS_OF_SEVERAL.items()}
    if columns["confirmed_at"] is None:
        columns["confirmed_at"] = _find_column(headings, form.confirmed_headings)
    return ColumnLayout(
        form.origin,
        email,
        len(headings),
        file_status=file_status or _status_from_file_name(form.origin, file_name),
        status_columns=_find_columns(headings, (*_STATUS_HEADINGS, *form.status_headings)),
        backslash_quotes=form.backslash_quotes,
        headings=tuple(mask_heading(text) for text in first_row),
        status_words=form.status_words,
        **columns,
    )


class ColumnMeaning(StrEnum):
    """What a column says of its row's person."""

    ADDRESS = "address"
    REQUESTED_AT = "requested at"
    REQUESTED_IP = "requested from"
    CONFIRMED_AT = "confirmed at"
    CONFIRMED_IP = "confirmed from"
    STATUS = "status"
    LEFT_WHERE_SET = "left where set"
    LEFT_WHERE_UNSET = "left where unset"
    LEFT_AT = "left at"
    BOUNCED_AT = "bounced at"
    NOTHING = "nothing"


_FIELDS_OF_ONE = {
    ColumnMeaning.ADDRESS: "email",
    ColumnMeaning.REQUESTED_AT: "requested_at",
    ColumnMeaning.REQUESTED_IP: "requested_ip",
    ColumnMeaning.CONFIRMED_AT: "confirmed_at",
    ColumnMeaning.CONFIRMED_IP: "confirmed_ip",
}
_FIELDS_OF_SEVERAL = {
    ColumnMeaning.STATUS: "status_columns",
    ColumnMeaning.LEFT_WHERE_SET: "set_when_left",
    ColumnMeaning.LEFT_WHERE_UNSET: "unset_when_left",
    ColumnMeaning.LEFT_AT: "left_at",
    ColumnMeaning.BOUNCED_AT: "bounced_at",
}


class ColumnMappingError(RefusalError):
    """The meanings do not make a list: no column, or several, hold what one must."""


def list_column_meanings(layout: ColumnLayout) -> tuple[ColumnMeaning, ...]:
    """Return what each column means, from the first."""
    meanings = [ColumnMeaning.NOTHING] * layout.width
    for meaning, name in _FIELDS_OF_ONE.items():
        place = getattr(layout, name)
        if place is not None:
            meanings[place] = meaning
    for meaning, name in _FIELDS_OF_SEVERAL.items():
        for place in getattr(layout, name):
            meanings[place] = meaning
    return tuple(meanings)


def check_column_meanings(meanings: Sequence[ColumnMeaning]) -> None:
    """Check that the meanings of all columns make a list.

    Raises:
        ColumnMappingError: no column, or several, hold what one must; the message says which.
    """
    if ColumnMeaning.ADDRESS not in meanings:
        raise ColumnMappingError("No column is the address: choose one.")
    if twice := next((meaning for meaning in _FIELDS_OF_ONE if list(meanings).count(meaning) > 1), None):
        raise ColumnMappingError(f"Two columns are “{twice}”: choose one of them, and nothing for the other.")


def assign_column_meanings(layout: ColumnLayout, meanings: Sequence[ColumnMeaning]) -> ColumnLayout:
    """Return the layout with other meanings of its columns.

    Raises:
        ColumnMappingError: they do not make a list; the message says why.
    """
    if len(meanings) != layout.width:
        raise ColumnMappingError("The file has other columns than those that were mapped: map them again.")
    check_column_meanings(meanings)
    places = {meaning: tuple(n for n, each in enumerate(meanings) if each is meaning) for meaning in ColumnMeaning}
    columns: dict[str, Any] = {name: next(iter(places[each]), None) for each, name in _FIELDS_OF_ONE.items()}
    columns |= {name: places[each] for each, name in _FIELDS_OF_SEVERAL.items()}
    return replace(layout, **columns)


def mask_heading(text: str) -> str:
    """Return a heading as a page, a note or a message may show it: one with an @ may be somebody's address. Pure."""
    return MASKED_ADDRESS if "@" in text else text.lstrip("\ufeff").strip()


def normalise_heading(text: str) -> str:
    """Bring a heading to one spelling: `OPTIN_TIME`, `Optin-Time` and ` optin time` are the same."""
    return re.sub(r"[\s_-]+", " ", text.lstrip("\ufeff").strip().lower())


def _find_column(headings: list[str], wanted: Sequence[str]) -> int | None:
    return next((headings.index(name) for name in wanted if name in headings), None)


def _find_columns(headings: list[str], wanted: Sequence[str]) -> tuple[int, ...]:
    return tuple(place for place, name in enumerate(headings) if name in wanted)


def _status_from_file_name(origin: str, file_name: str) -> RowStatus:
    if origin != "Mailchimp":
        return RowStatus.SUBSCRIBED
    low = file_name.lower()
    return next((claim for start, claim in _MAILCHIMP_FILE_PREFIXES if low.startswith(start)), RowStatus.SUBSCRIBED)
