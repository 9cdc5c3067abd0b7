"""Whose export a file is, told by its headings, and which column means what.

The columns of each service are those of its own export: Mailchimp's audience export, MailPoet's
`ImportExportFactory`, listmonk's `export.go`, Ghost's members CSV, Substack's `email_list.csv`, Buttondown's
subscribers CSV.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


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
    RowStatus.LEFT: "unsubscribed;removed;withdrawn;opted out;disabled;deleted;archived;false;0",
    RowStatus.BOUNCED: "bounced;cleaned;hard bounce;undeliverable",
    RowStatus.COMPLAINED: "complained;spam;spam complaint;abuse",
    RowStatus.BLOCKED: "blocklisted;blacklisted;blocked;suppressed;spammy",
}
STATUS_WORDS = {word: status for status, words in _WORDS_BY_STATUS.items() for word in words.split(";")}
_BARE_ADDRESS = re.compile(r"\s*[^\s,;@]+@[^\s,;@]+\s*")
_EMAIL_HEADINGS = ("email address", "email", "e mail", "e mail address", "mail", "address")
_REQUESTED_AT_HEADINGS = (
    *("optin time", "subscription time", "created at", "creation date", "subscribed at", "requested at"),
    *("signup date", "signed up at"),
)
_REQUESTED_IP_HEADINGS = ("optin ip", "subscription ip", "subscribed ip", "signup ip", "ip address")
_CONFIRMED_AT_HEADINGS = ("confirm time", "confirmation time", "confirmed at", "confirmed on", "confirmation date")
_CONFIRMED_IP_HEADINGS = ("confirm ip", "confirmation ip", "confirmed ip")
_STATUS_HEADINGS = ("status", "global status", "list status", "subscriber type", "subscription status")
_SET_WHEN_LEFT_HEADINGS = ("email disabled", "unsubscribed", "opted out")
_UNSET_WHEN_LEFT_HEADINGS = ("subscribed to emails", "subscribed")
_LEFT_AT_HEADINGS = ("unsub time", "unsubscribed at", "unsubscription date", "deleted at", "opt out date")
_BOUNCED_AT_HEADINGS = ("clean time", "bounced at")


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One service's export: it has all headings of `required_headings` and one of `optional_headings` (where there are any)."""

    origin: str
    required_headings: frozenset[str]
    optional_headings: frozenset[str] = frozenset()
    status_headings: tuple[str, ...] = ()
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
    ExportFormat("Substack", frozenset({"email", "active subscription"})),
    *(
        ExportFormat(
            "Buttondown",
            frozenset({email, "creation date"}),
            frozenset({"metadata", "tags", "notes", "subscriber type", "type"}),
            status_headings=("type",),
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
    quotation marks inside quotes are written with a backslash.
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
    form = next((form for form in EXPORT_FORMATS if form.matches(heading_set)), None)
    email = _find_column(headings, _EMAIL_HEADINGS)
    if email is None:
        bare = len(first_row) == 1 and _BARE_ADDRESS.fullmatch(first_row[0].lstrip("\ufeff"))
        return (
            ColumnLayout(PLAIN_LIST, 0, 1, has_heading=False, file_status=file_status or RowStatus.SUBSCRIBED)
            if bare
            else None
        )
    if form is not None:
        return _build_layout(form, headings, email, file_status or _status_from_file_name(form.origin, file_name))
    return _build_layout(ExportFormat(PLAIN_LIST, frozenset()), headings, email, file_status or RowStatus.SUBSCRIBED)


def _build_layout(export_format: ExportFormat, headings: list[str], email: int, file_status: RowStatus) -> ColumnLayout:
    return ColumnLayout(
        export_format.origin,
        email,
        len(headings),
        file_status=file_status,
        requested_at=_find_column(headings, _REQUESTED_AT_HEADINGS),
        requested_ip=_find_column(headings, _REQUESTED_IP_HEADINGS),
        confirmed_at=_find_column(headings, _CONFIRMED_AT_HEADINGS),
        confirmed_ip=_find_column(headings, _CONFIRMED_IP_HEADINGS),
        status_columns=_find_columns(headings, (*_STATUS_HEADINGS, *export_format.status_headings)),
        set_when_left=_find_columns(headings, _SET_WHEN_LEFT_HEADINGS),
        unset_when_left=_find_columns(headings, _UNSET_WHEN_LEFT_HEADINGS),
        left_at=_find_columns(headings, _LEFT_AT_HEADINGS),
        bounced_at=_find_columns(headings, _BOUNCED_AT_HEADINGS),
        backslash_quotes=export_format.backslash_quotes,
    )


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
