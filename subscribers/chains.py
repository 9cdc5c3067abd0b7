"""The ledger read back as it is stored, a thousand people at a time, and judged link by link."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from subscribers import ledger
from subscribers.db import ConsentKind, PersonState

THOUSAND = 1000
Progress = Callable[[int, int], None]
_KINDS = {str(kind): kind for kind in ConsentKind}
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})000", re.ASCII
)  # as stored: whole milliseconds


class Holder(NamedTuple):
    """What a person's row says of their chain."""

    number: int
    state: str
    head: str


class Link(NamedTuple):
    """One link, each column as the text that stands in the database; "" where it is no text at all."""

    id: int
    person: int
    seq: int
    kind: str
    at: str
    body: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Thousand:
    """The people with the numbers `first` to `first` + 999, and their links by person and place."""

    first: int
    people: Sequence[Holder]
    links: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Broken:
    """The first link that does not hold: whose chain, which link (from 1), and what is wrong with it."""

    person: int
    seq: int
    fault: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the chains found."""

    people: int
    links: int
    broken: Broken | None


def verify(session: Session, progress: Progress | None = None) -> Verified:
    """Check every link of every chain, its place, the head that the person's row names, and their state.

    What it cannot show: a whole chain, with its person, replaced by another that is sound in itself. The seals
    show that (`subscribers.seals`). Memory is that of a thousand people.

    Args:
        session: a fresh session for looking; all is read as of one moment.
        progress: called with (people looked at, people).
    """
    people = links = 0
    broken: Broken | None = None
    for thousand in thousands(session, progress):
        people += len(thousand.people)
        links += len(thousand.links)
        broken = broken or examine(thousand)
    return Verified(people, links, broken or stray(session, links))


def thousands(session: Session, progress: Progress | None = None) -> Iterator[Thousand]:
    """Walk people by number, with their links; those that belong to nobody come along too."""
    _as_of_one_moment(session)
    total = session.scalar(text("SELECT count(*) FROM person")) or 0
    last = done = 0
    while (found := session.scalar(_NEXT, {"after": last})) is not None:
        first = (found - 1) // THOUSAND * THOUSAND + 1
        last = first + THOUSAND - 1
        between = {"first": first, "last": last}
        people = [Holder(*row) for row in stored(session, "person", _HOLDER, _WHO, between)]
        links = [Link(*row) for row in stored(session, "consent_event", _LINK, _WHOSE, between)]
        yield Thousand(first, people, links)
        done += len(people)
        if progress:
            progress(done, total)


_NEXT = text(
    "SELECT min(number) FROM (SELECT min(number) AS number FROM person WHERE number > :after "
    "UNION ALL SELECT min(person) AS number FROM consent_event WHERE person > :after) AS there"
)
_HOLDER = ("number", "'state", "'chain_head")
_LINK = ("id", "person", "seq", "'kind", "@at", "'body", "'previous", "'hash")
_WHO = "number BETWEEN :first AND :last ORDER BY number"
_WHOSE = "person BETWEEN :first AND :last ORDER BY person, seq"


def stored(
    session: Session, table: str, columns: Sequence[str], where: str, values: dict[str, Any]
) -> list[list[Any]]:
    """Read rows as they are stored, whatever stands in them: a broken row is to be reported, not to raise.

    A column's name begins with ' where it holds text, and with @ where it holds a moment, which comes as text
    of the form 2026-11-20 12:00:00.123000.
    """
    sqlite = session.get_bind().dialect.name == "sqlite"
    wanted = ", ".join(_as_text(name, sqlite=sqlite) for name in columns)
    query = text(f"SELECT {wanted} FROM {table} WHERE {where}")  # noqa: S608 - our own names only
    texts = [place for place, name in enumerate(columns) if name[0] in "'@"]
    rows = [list(row) for row in session.execute(query, values)]
    if sqlite:
        for row in rows:
            for place in texts:
                row[place] = _decoded(row[place])
    return rows


def _as_text(name: str, *, sqlite: bool) -> str:
    if name[0] not in "'@":
        return name
    if (
        sqlite
    ):  # as bytes: the driver raises at a text that is no UTF-8, before anybody can say which row it was
        return f"CAST({name[1:]} AS BLOB)"
    return (
        f"to_char({name[1:]} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')" if name[0] == "@" else name[1:]
    )


def _decoded(value: bytes | None) -> str:
    try:
        return value.decode("utf-8") if value is not None else ""
    except UnicodeDecodeError:
        return ""


def moment_as_hashed(stored_moment: str) -> str | None:
    """Turn a moment as it is stored into the text that was hashed; None where it is no moment of ours."""
    found = _MOMENT.fullmatch(stored_moment)
    return f"{found[1]}T{found[2]}+00:00" if found else None


def _as_of_one_moment(session: Session) -> None:
    """Have all be read from one snapshot. On SQLite a transaction is that already."""
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def examine(thousand: Thousand) -> Broken | None:
    """Give the first link of a thousand people that does not hold."""
    chains: dict[int, list[Link]] = {holder.number: [] for holder in thousand.people}
    for link in thousand.links:
        if link.person not in chains:
            return Broken(link.person, link.seq, "it belongs to nobody: the person's row is gone")
        chains[link.person].append(link)
    found = (_check(holder, chains[holder.number]) for holder in thousand.people)
    return next((broken for broken in found if broken), None)


def _check(holder: Holder, links: Sequence[Link]) -> Broken | None:
    head, state = "", PersonState.REQUESTED
    for place, link in enumerate(links, start=1):
        fault = _fault(link, place, head)
        if fault:
            return Broken(holder.number, place, fault)
        head, state = link.hash, ledger.standing(state, _KINDS[link.kind])
    if head != holder.head:
        fault = "the chain's last link is not the one that the person names"
        return Broken(holder.number, len(links) + 1, fault)
    if state != holder.state:
        fault = f"by the chain the person is {state}, the row says {holder.state}"
        return Broken(holder.number, len(links), fault)
    return None


def _fault(link: Link, place: int, head: str) -> str:
    if link.seq != place:
        return f"link {place} is missing; the next there is {link.seq}"
    if link.previous != head:
        return "it does not follow from the link before it"
    moment = moment_as_hashed(link.at)
    if moment is None or link.kind not in _KINDS or link.hash != _hash(link, moment):
        return "its content is not what was hashed"
    return ""


def _hash(link: Link, moment: str) -> str:
    said = {"body": link.body, "previous": link.previous}
    return ledger.hash_as_written(link.person, link.seq, link.kind, moment, **said)


def stray(session: Session, walked: int) -> Broken | None:
    """Find links that no walk by numbers comes by, once `walked` links were looked at."""
    there = session.scalar(text("SELECT count(*) FROM consent_event")) or 0
    if there == walked:
        return None
    return Broken(0, 0, f"{there - walked:,} link(s) are of no person's number")
