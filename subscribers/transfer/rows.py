"""One row: read by the layout of its file, and judged. Pure: the fields and `now` in, a value out."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from subscribers.addresses import Address, AddressError
from subscribers.transfer.formats import STATUSES, Claim, Layout
from subscribers.transfer.quickly import read_quickly


class Row(NamedTuple):
    """What a row says. A tuple, not a dataclass: there are a million of them, and it is made four times faster.

    `number` is the row's as a spreadsheet counts, the heading being row 1. Times are UTC; a network address
    that is none is left out ("").
    """

    number: int
    address: Address
    claim: Claim
    requested_at: datetime | None
    requested_ip: str
    confirmed_at: datetime | None
    confirmed_ip: str
    left_at: datetime | None


class RowError(Exception):
    """The row cannot be taken; the message says why, and holds nothing of the row."""


_NOTHING = frozenset({"", "null", "none", "nil", "n/a", "-", "\\n", "0000-00-00 00:00:00", "0000-00-00", "0"})
_FALSE = frozenset({"false", "no", "0", "f", "n"})
_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}")
_GO_TIME = re.compile(r"(\S+ [\d:.]+) ?([+-]\d{4}|Z)(?: [A-Z]{1,5})?")  # listmonk: Go's Time.String()
_RANK = {
    claim: place
    for place, claim in enumerate(
        (Claim.PERSON, Claim.UNCONFIRMED, Claim.LEFT, Claim.BOUNCED, Claim.BLOCKED, Claim.COMPLAINED)
    )
}


def judge(layout: Layout, fields: Sequence[str], number: int, *, now: datetime) -> Row:
    """Read one row.

    Raises:
        RowError: there is no address that mail can go to, or something in the row leaves in doubt what it says.
    """
    width = layout.width
    if len(fields) != width:
        fields = _fitted(fields, layout)
    claim = _claim(layout, fields)
    try:
        address = read_quickly(fields[layout.email])
    except AddressError as exc:
        raise RowError(str(exc)) from None
    confirmed_at = None
    if layout.confirmed_at is not None and claim is Claim.PERSON:
        confirmed_at = _confirmed(fields[layout.confirmed_at], now)
    return Row(
        number,
        address,
        claim,
        _time_or_none(fields, layout.requested_at, now),
        _network(fields, layout.requested_ip),
        confirmed_at,
        _network(fields, layout.confirmed_ip),
        _first_time(fields, (*layout.left_at, *layout.bounced_at), now)
        if layout.left_at or layout.bounced_at
        else None,
    )


def blank(fields: Sequence[str]) -> bool:
    """Say whether a row holds nothing: such rows are passed over."""
    return not any(fields) or not any(field.strip() for field in fields)


def moment(text: str) -> datetime | None:
    """Read a time; None where the field is empty or a database's word for that. Without a zone UTC is meant.

    Raises:
        ValueError: something stands there, and it is no time that can be read in one way only.
    """
    said = text.strip()
    if said.lower() in _NOTHING:
        return None
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        match = _GO_TIME.fullmatch(said)
        if match is None:
            raise ValueError("no time") from None
        found = datetime.fromisoformat("".join(match.groups()))
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found if found.year > 1970 else None  # 1970-01-01 is a computer's zero, nobody's consent


def _fitted(fields: Sequence[str], layout: Layout) -> Sequence[str]:
    """Fill up a row whose last fields are missing, as some programs write it; refuse one with fields too many."""
    if len(fields) < layout.width:
        if len(fields) <= layout.email:
            raise RowError("the row ends before the column of the address")
        return [*fields, *[""] * (layout.width - len(fields))]
    if any(field.strip() for field in fields[layout.width :]):
        raise RowError(
            f"{len(fields)} fields, and the heading has {layout.width}: a comma or a quotation mark is astray"
        )
    return fields[: layout.width]


def _claim(layout: Layout, fields: Sequence[str]) -> Claim:
    """Give the strongest of all that the row's columns say; leaving beats staying."""
    if not layout.telling:
        return layout.whole
    claims = [layout.whole]
    for place in layout.statuses:
        word = fields[place].strip().lower()
        claim = STATUSES.get(word) or STATUSES.get(word.replace("_", " ").replace("-", " "))
        if claim is None:
            raise RowError(
                "its status is a word that we do not know: see the table of statuses in the manual"
            )
        claims.append(claim)
    if any(fields[place].strip().lower() not in _NOTHING | _FALSE for place in layout.set_when_left):
        claims.append(Claim.LEFT)
    if any(fields[place].strip().lower() in _FALSE for place in layout.unset_when_left):
        claims.append(Claim.LEFT)
    if any(fields[place].strip().lower() not in _NOTHING for place in layout.left_at):
        claims.append(Claim.LEFT)
    if any(fields[place].strip().lower() not in _NOTHING for place in layout.bounced_at):
        claims.append(Claim.BOUNCED)
    return max(claims, key=_RANK.__getitem__) if len(claims) > 1 else claims[0]


def _confirmed(text: str, now: datetime) -> datetime | None:
    try:
        found = moment(text)
    except (ValueError, OverflowError):
        raise RowError(
            "its confirmation time cannot be read; write it like 2026-03-04 10:20:30 or 2026-03-04T10:20:30Z"
        ) from None
    if found is not None and found > now + timedelta(days=1):
        raise RowError("its confirmation lies in the future")
    return found


def _time_or_none(fields: Sequence[str], place: int | None, now: datetime) -> datetime | None:
    """Read a time that proves nothing by itself: one that cannot be read, or of the future, is left out."""
    if place is None or not fields[place]:
        return None
    try:
        found = moment(fields[place])
    except (ValueError, OverflowError):
        return None
    return found if found is not None and found <= now else None


def _first_time(fields: Sequence[str], places: tuple[int, ...], now: datetime) -> datetime | None:
    return next((found for place in places if (found := _time_or_none(fields, place, now))), None)


def _network(fields: Sequence[str], place: int | None) -> str:
    if place is None:
        return ""
    text = fields[place].strip()
    return text if _NETWORK.fullmatch(text) else ""
