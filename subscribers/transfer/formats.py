"""Whose export a file is, told by its headings, and which column means what.

The columns of each service are those of its own export: Mailchimp's audience export, MailPoet's
`ImportExportFactory`, listmonk's `export.go`, Ghost's members CSV, Substack's `email_list.csv`, Buttondown's
subscribers CSV.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Claim(StrEnum):
    """What a row, or a whole file, says of an address."""

    PERSON = "person"
    UNCONFIRMED = "unconfirmed"  # the service itself says that they never confirmed
    LEFT = "left"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    BLOCKED = "blocked"


DEPARTURES = frozenset({Claim.LEFT, Claim.BOUNCED, Claim.COMPLAINED, Claim.BLOCKED})

# A word in a status column, whatever the service. A word that stands nowhere here is no guess of ours: the
# row is rejected.
STATUSES: dict[str, Claim] = {
    **dict.fromkeys(
        ("subscribed", "active", "enabled", "confirmed", "regular", "premium", "gifted", "free", "paid"),
        Claim.PERSON,
    ),
    **dict.fromkeys(
        (
            "comped",
            "trial",
            "trialed",
            "churning",
            "churned",
            "past due",
            "paused",
            "inactive",
            "true",
            "1",
            "",
        ),
        Claim.PERSON,
    ),
    **dict.fromkeys(
        ("unconfirmed", "unactivated", "pending", "nonsubscribed", "non subscribed", "transactional"),
        Claim.UNCONFIRMED,
    ),
    **dict.fromkeys(
        (
            "unsubscribed",
            "removed",
            "withdrawn",
            "opted out",
            "disabled",
            "deleted",
            "archived",
            "false",
            "0",
        ),
        Claim.LEFT,
    ),
    **dict.fromkeys(("bounced", "cleaned", "hard bounce", "undeliverable"), Claim.BOUNCED),
    **dict.fromkeys(("complained", "spam", "spam complaint", "abuse"), Claim.COMPLAINED),
    **dict.fromkeys(("blocklisted", "blacklisted", "blocked", "suppressed", "spammy"), Claim.BLOCKED),
}

_BARE = re.compile(r"\s*[^\s,;@]+@[^\s,;@]+\s*")
_EMAIL = ("email address", "email", "e mail", "e mail address", "mail", "address")
_REQUESTED_AT = (
    *("optin time", "subscription time", "created at", "creation date", "subscribed at", "requested at"),
    *("signup date", "signed up at"),
)
_REQUESTED_IP = ("optin ip", "subscription ip", "subscribed ip", "signup ip", "ip address")
_CONFIRMED_AT = ("confirm time", "confirmation time", "confirmed at", "confirmed on", "confirmation date")
_CONFIRMED_IP = ("confirm ip", "confirmation ip", "confirmed ip")
_STATUS = ("status", "global status", "list status", "subscriber type", "subscription status")
_SET_WHEN_LEFT = ("email disabled", "unsubscribed", "opted out")
_UNSET_WHEN_LEFT = ("subscribed to emails", "subscribed")
_LEFT_AT = ("unsub time", "unsubscribed at", "unsubscription date", "deleted at", "opt out date")
_BOUNCED_AT = ("clean time", "bounced at")


@dataclass(frozen=True, slots=True)
class Format:
    """One service's export: it has all headings of `every` and one of `some` (where there are any)."""

    origin: str
    every: frozenset[str]
    some: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    backslash: bool = False

    def fits(self, headings: frozenset[str]) -> bool:
        """Say whether a file with these headings, normalised, is such an export."""
        return self.every <= headings and (not self.some or bool(self.some & headings))


PLAIN = "a plain list"
FORMATS = (
    Format(
        "Mailchimp",
        frozenset({"email address"}),
        frozenset(
            {"optin time", "confirm time", "unsub time", "clean time", "member rating", "leid", "euid"}
        ),
    ),
    Format(
        "MailPoet",
        frozenset({"email"}),
        frozenset(
            {"subscription ip", "subscription time", "confirmation time", "global status", "list status"}
        ),
        backslash=True,  # MailPoet writes \" for a quotation mark inside quotes, not ""
    ),
    Format("listmonk", frozenset({"uuid", "email", "attributes", "status"})),
    Format("Ghost", frozenset({"email", "subscribed to emails"})),
    Format("Substack", frozenset({"email", "active subscription"})),
    *(
        Format(
            "Buttondown",
            frozenset({email, "creation date"}),
            frozenset({"metadata", "tags", "notes", "subscriber type", "type"}),
            status=("type",),
        )
        for email in ("email", "email address")
    ),
)

# Mailchimp puts what a file holds into its name: unsubscribed_segment_export_0123abcdef.csv
_MAILCHIMP_FILES = (
    ("unsubscribed", Claim.LEFT),
    ("cleaned", Claim.BOUNCED),
    ("nonsubscribed", Claim.UNCONFIRMED),
    ("non-subscribed", Claim.UNCONFIRMED),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column (from 0) means what. `whole` is what every row says before its own columns are read.

    `headed` is False for a bare list of addresses; `width` is the number of columns; `backslash` tells that
    quotation marks inside quotes are written with a backslash.
    """

    origin: str
    email: int
    width: int
    headed: bool = True
    whole: Claim = Claim.PERSON
    requested_at: int | None = None
    requested_ip: int | None = None
    confirmed_at: int | None = None
    confirmed_ip: int | None = None
    statuses: tuple[int, ...] = ()
    set_when_left: tuple[int, ...] = ()
    unset_when_left: tuple[int, ...] = ()
    left_at: tuple[int, ...] = ()
    bounced_at: tuple[int, ...] = ()
    backslash: bool = False

    @property
    def telling(self) -> bool:
        """Whether a row's own columns say where its person stands."""
        columns = (self.statuses, self.set_when_left, self.unset_when_left, self.left_at, self.bounced_at)
        return any(columns)


def recognise(first: Sequence[str], *, name: str = "", whole: Claim | None = None) -> Layout | None:
    """Tell from a file's first row whose export it is.

    Args:
        first: the fields of the first row.
        name: the file's name: Mailchimp says in it what the file holds.
        whole: what the operator says that every row is; it wins over the name.

    Returns:
        The layout, or None where no column holds addresses.
    """
    headings = [heading(text) for text in first]
    known = frozenset(headings)
    form = next((form for form in FORMATS if form.fits(known)), None)
    email = _first(headings, _EMAIL)
    if email is None:
        bare = len(first) == 1 and _BARE.fullmatch(first[0].lstrip("\ufeff"))
        return Layout(PLAIN, 0, 1, headed=False, whole=whole or Claim.PERSON) if bare else None
    if form is not None:
        return _layout(form, headings, email, whole or _by_name(form.origin, name))
    return _layout(Format(PLAIN, frozenset()), headings, email, whole or Claim.PERSON)


def _layout(form: Format, headings: list[str], email: int, whole: Claim) -> Layout:
    return Layout(
        form.origin,
        email,
        len(headings),
        whole=whole,
        requested_at=_first(headings, _REQUESTED_AT),
        requested_ip=_first(headings, _REQUESTED_IP),
        confirmed_at=_first(headings, _CONFIRMED_AT),
        confirmed_ip=_first(headings, _CONFIRMED_IP),
        statuses=_all(headings, (*_STATUS, *form.status)),
        set_when_left=_all(headings, _SET_WHEN_LEFT),
        unset_when_left=_all(headings, _UNSET_WHEN_LEFT),
        left_at=_all(headings, _LEFT_AT),
        bounced_at=_all(headings, _BOUNCED_AT),
        backslash=form.backslash,
    )


def heading(text: str) -> str:
    """Bring a heading to one spelling: `OPTIN_TIME`, `Optin-Time` and ` optin time` are the same."""
    return re.sub(r"[\s_-]+", " ", text.lstrip("\ufeff").strip().lower())


def _first(headings: list[str], wanted: Sequence[str]) -> int | None:
    return next((headings.index(name) for name in wanted if name in headings), None)


def _all(headings: list[str], wanted: Sequence[str]) -> tuple[int, ...]:
    return tuple(place for place, name in enumerate(headings) if name in wanted)


def _by_name(origin: str, name: str) -> Claim:
    if origin != "Mailchimp":
        return Claim.PERSON
    low = name.lower()
    return next((claim for start, claim in _MAILCHIMP_FILES if low.startswith(start)), Claim.PERSON)
