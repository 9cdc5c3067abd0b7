"""What others say about a person: their mailbox is gone, they complained, they left at the provider's page.

In whatever order such words come, a person ends at the same place: the gravest word counts, and none counts that
is older than the person's own last word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import ledger, suppression
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.journal import Departed
from subscribers.vault import Keys

_OWN_WORD = (ConsentKind.CONFIRMED, ConsentKind.UNDONE)  # no import is one: see `subscribers.restoring`
_GONE = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


class Word(StrEnum):
    """What is said, the gravest last."""

    LEFT = "left"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


@dataclass(frozen=True, slots=True)
class Report:
    """One word about one person. `at` is when it was said; of a bounce, when the message went out.

    `by` names who said it ("sendgrid"), `detail` what is kept in the chain: no address.
    """

    person: int
    word: Word
    at: datetime
    by: str
    detail: Mapping[str, str]


def heed(session: Session, keys: Keys, report: Report, *, now: datetime) -> tuple[bool, Departed | None]:
    """Do to a person what was said; give whether anything changed, and what the journal has to know.

    Args:
        session: inside a write transaction; the caller writes the journal, then commits.
        keys: the keys of the installation.
        report: who, what, when.
        now: the moment.

    Raises:
        VaultError: the person's address does not open.
    """
    person = ledger.hold(session, report.person)
    if person is None or person.state is PersonState.ERASED:
        return False, None
    spoke = last_word(session, report.person, report.word)
    if spoke is not None and report.at < spoke:
        return False, None
    if report.word is Word.LEFT:
        return _left(session, person, report, now)
    if report.word is Word.BOUNCED:
        return _bounced(session, keys, person, report, now)
    return _complained(session, keys, person, report, now)


def last_word(session: Session, person: int, word: Word) -> datetime | None:
    """Give the moment before which `word` counts no more: the person has spoken since, or moved away from a bounce.

    Others' clocks tell whole seconds, so the moment is the beginning of the second.
    """
    kinds = _OWN_WORD + ((ConsentKind.ADDRESS_CHANGED,) if word is Word.BOUNCED else ())
    query = (
        select(ConsentEvent.at)
        .where(ConsentEvent.person == person, ConsentEvent.kind.in_(kinds))
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    spoke = session.scalar(query)
    return spoke.replace(microsecond=0) if spoke else None


def _left(session: Session, person: Person, report: Report, now: datetime) -> tuple[bool, Departed | None]:
    if person.state in _GONE:
        return False, None
    said = {"method": f"provider: {report.by}", **report.detail}
    ledger.append(session, person, ConsentKind.WITHDRAWN, said, now)
    if person.lookup is None or person.lookup_key is None:
        return True, None
    return True, Departed(person.lookup, person.lookup_key, "left")


def _bounced(
    session: Session, keys: Keys, person: Person, report: Report, now: datetime
) -> tuple[bool, Departed | None]:
    if person.state is PersonState.SUPPRESSED:
        return False, None
    ledger.append(session, person, ConsentKind.BOUNCED, {"by": report.by, **report.detail}, now)
    return True, suppression.bar_person(session, keys, person, reason="bounced", actor=report.by, now=now)


def _complained(
    session: Session, keys: Keys, person: Person, report: Report, now: datetime
) -> tuple[bool, Departed | None]:
    last = session.scalar(
        select(ConsentEvent.kind)
        .where(ConsentEvent.person == person.number)
        .where(ConsentEvent.kind.in_((*_OWN_WORD, ConsentKind.COMPLAINED)))
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    if person.state is PersonState.SUPPRESSED and last is ConsentKind.COMPLAINED:
        return False, None
    return True, suppression.bar_person(session, keys, person, reason="complained", actor=report.by, now=now)
