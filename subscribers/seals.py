"""Seals: each night one hash over the heads of all chains, chained to the night before.

A chain shows that its links belong together; that no whole chain was swapped or dropped, only a witness outside
can show. The witness is the seal: it goes to the audit log and to the admins by mail, and can be computed again
from the ledger at any later time. See docs/decisions/0012-what-a-chain-proves.md.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from subscribers import chains, ledger
from subscribers.chains import Broken, Progress, Thousand
from subscribers.db import ConsentEvent, Seal


@dataclass(frozen=True, slots=True)
class Survey:
    """The ledger up to link `through`: how many people have links in it, how many links, the hash over their heads."""

    through: int
    people: int
    links: int
    root: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What a check of chains and seals found. `fault` says what is wrong with the first seal that does not hold."""

    people: int
    links: int
    seals: int
    broken: Broken | None
    fault: str
    survey: Survey | None = None

    @property
    def sound(self) -> bool:
        """Whether everything holds."""
        return self.broken is None and not self.fault


def horizon(session: Session) -> int:
    """Give the highest link that is there for good: no link with a lower id can still turn up.

    Args:
        session: inside a write transaction of its own, that ends right after.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Ids are given out before a transaction commits. This waits until every writer has ended, and holds new
        # ones up for that moment (https://www.postgresql.org/docs/current/explicit-locking.html).
        session.execute(text("LOCK TABLE consent_event IN SHARE MODE"))
    return session.scalar(select(func.max(ConsentEvent.id))) or 0


def append(session: Session, survey: Survey, now: datetime) -> Seal:
    """Append a seal.

    Raises:
        sqlalchemy.exc.IntegrityError: another process sealed in this very moment.
    """
    last = session.scalar(select(Seal).order_by(Seal.id.desc()).limit(1))
    at = ledger.to_the_millisecond(now)
    previous = last.hash if last else ""
    counted = {"people": survey.people, "links": survey.links}
    found = hash_of(_moment(at), survey, previous)
    seal = Seal(at=at, through=survey.through, root=survey.root, previous=previous, hash=found, **counted)
    session.add(seal)
    session.flush()
    return seal


def hash_of(moment: str, survey: Survey, previous: str) -> str:
    """Compute a seal's hash (64 hex digits); `moment` as 2026-11-20T08:30:00.000+00:00."""
    said: dict[str, Any] = {
        "at": moment,
        "previous": previous,
        "root": survey.root,
        "through": survey.through,
    }
    said |= {"links": survey.links, "people": survey.people}
    return hashlib.sha256(ledger.canonical(said).encode()).hexdigest()


def letter(seal: Seal) -> str:
    """Write what admins get by mail and keep: the seal, and how to hold it against the ledger later."""
    return (
        f"Seal of the consent ledger, {seal.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC\n\n"
        f"{seal.people:,} people, {seal.links:,} links.\n"
        f"Root:     {seal.root}\n"
        f"Previous: {seal.previous or '(the first seal)'}\n"
        f"Seal:     {seal.hash}\n\n"
        "Keep this mail. Whoever changes, removes or swaps a consent that was recorded before this moment cannot\n"
        "make the ledger give this seal again. To check:\n\n"
        f"    digest subscribers verify --seal {seal.hash}\n"
    )


def prove(
    session: Session,
    *,
    kept: Sequence[str] = (),
    through: int | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Check every chain, and every seal against the chains as they stood then, in one walk.

    Memory is that of a thousand people and of one hash a seal.

    Args:
        session: a fresh session for looking; all is read as of one moment.
        kept: hashes of seals, or their first digits, that somebody kept: they must be there.
        through: survey the ledger up to this link too, for a new seal.
        progress: called with (people looked at, people).
    """
    people = links = 0
    broken: Broken | None = None
    walk = chains.thousands(session, progress)
    first = next(walk, None)  # the snapshot begins with it
    seals = [_Kept(*row) for row in chains.stored(session, "seal", _SEAL, "true ORDER BY id", {})]
    wanted = [_number(seal.through) for seal in seals]
    wanted += [] if through is None else [through]
    roots = [_Root(one) for one in wanted]
    in_order = sorted(roots, key=lambda root: root.through)
    while first is not None:
        people += len(first.people)
        links += len(first.links)
        broken = broken or chains.examine(first)
        _count(in_order, first)
        first = next(walk, None)
    found = [root.survey() for root in roots]
    return Proof(
        people=people,
        links=links,
        seals=len(seals),
        broken=broken or chains.stray(session, links),
        fault=_first_fault(seals, found) or _missing(seals, kept),
        survey=None if through is None else found[-1],
    )


def _number(stored: object) -> int:
    """Take a number as a number, whatever stands in its place: SQLite keeps any type in any column."""
    return stored if isinstance(stored, int) else 0


class _Kept(NamedTuple):
    """A seal as it is stored."""

    id: int
    at: str
    through: int
    people: int
    links: int
    root: str
    previous: str
    hash: str


_SEAL = ("id", "@at", "through", "people", "links", "'root", "'previous", "'hash")


@dataclass(slots=True)
class _Root:
    """The hash over all heads as they stood at link `through`, while it grows thousand by thousand."""

    through: int
    people: int = 0
    links: int = 0
    grown: Any = field(default_factory=hashlib.sha256)

    def survey(self) -> Survey:
        return Survey(self.through, self.people, self.links, self.grown.hexdigest())


def _count(roots: Sequence[_Root], thousand: Thousand) -> None:
    """Bring a thousand people into all roots, which come by rising `through`.

    The people of a thousand are hashed together, and that hash goes into the root: where nothing happened to
    them between two seals, it is the same and need not be computed again.
    """
    links = sorted(thousand.links, key=lambda link: link.id)
    heads: dict[int, str] = {}
    counted, digest = 0, ""
    for root in roots:
        before = counted
        while counted < len(links) and links[counted].id <= root.through:
            heads[links[counted].person] = links[counted].hash
            counted += 1
        if counted > before:
            digest = _digest(heads)
        if heads:
            root.grown.update(f"{thousand.first} {digest}\n".encode())
            root.people += len(heads)
            root.links += counted


def _digest(heads: dict[int, str]) -> str:
    lines = "".join(f"{number} {head}\n" for number, head in sorted(heads.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _first_fault(seals: Sequence[_Kept], found: Sequence[Survey]) -> str:
    previous = ""
    for seal, survey in zip(seals, found, strict=False):
        name = f"the seal of {seal.at[:16] or 'an unreadable time'} UTC"
        if seal.previous != previous:
            return f"{name} does not follow from the one before it: a seal was changed or removed"
        if (seal.people, seal.links, seal.root) != (survey.people, survey.links, survey.root):
            return f"{name} is not what the ledger gives: links of before it were changed, swapped or removed"
        moment = chains.moment_as_hashed(seal.at)
        if moment is None or seal.hash != hash_of(moment, survey, previous):
            return f"{name} is not what was hashed"
        previous = seal.hash
    return ""


def _missing(seals: Sequence[_Kept], kept: Sequence[str]) -> str:
    for one in kept:
        if not any(seal.hash.startswith(one.lower()) for seal in seals):
            return f"no seal {one} is there: seals, or the whole ledger, were replaced"
    return ""


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
