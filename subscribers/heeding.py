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

from subscribers import journal, ledger, suppression
from subscribers.addresses import Address, read_address
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from subscribers.vault import Keys, left_hash, open_

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


@dataclass(frozen=True, slots=True)
class Departed:
    """Somebody who is mailed no more. The caller writes it into the journal before the commit."""

    lookup: str
    lookup_key: str
    kind: journal.Kind


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
    act = {Word.LEFT: _left, Word.BOUNCED: _bounced, Word.COMPLAINED: _complained}[report.word]
    if not act(session, keys, person, report, now):
        return False, None
    if not person.lookup or not person.lookup_key:
        return True, None
    kind: journal.Kind = "complained" if report.word is Word.COMPLAINED else "left"
    return True, Departed(person.lookup, person.lookup_key, kind)


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


def _left(session: Session, keys: Keys, person: Person, report: Report, now: datetime) -> bool:
    del keys
    if person.state in _GONE:
        return False
    said = {"method": f"provider: {report.by}", **report.detail}
    ledger.append(session, person, ConsentKind.WITHDRAWN, said, now)
    return True


def _bounced(session: Session, keys: Keys, person: Person, report: Report, now: datetime) -> bool:
    if person.state is PersonState.SUPPRESSED:
        return False
    ledger.append(session, person, ConsentKind.BOUNCED, {"by": report.by, **report.detail}, now)
    _suppress(session, keys, person, "bounced", report.by, now=now)
    return True


def _complained(session: Session, keys: Keys, person: Person, report: Report, now: datetime) -> bool:
    last = session.scalar(
        select(ConsentEvent.kind)
        .where(ConsentEvent.person == person.number)
        .where(ConsentEvent.kind.in_((*_OWN_WORD, ConsentKind.COMPLAINED)))
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    if person.state is PersonState.SUPPRESSED and last is ConsentKind.COMPLAINED:
        return False
    _suppress(session, keys, person, "complained", report.by, now=now)
    return True


def _suppress(
    session: Session, keys: Keys, person: Person, reason: suppression.Reason, by: str, *, now: datetime
) -> None:
    """Suppress the address; where only its look-up is left, by the hash that the journal knows it by."""
    address = _address_of(keys, person)
    if address is not None:
        suppression.suppress(session, keys, address, reason=reason, actor=by, now=now)
        return
    kind = ConsentKind.COMPLAINED if reason == "complained" else ConsentKind.SUPPRESSED
    ledger.append(session, person, kind, {"reason": reason, "actor": by}, now)
    if person.lookup is not None:
        key = keys.current("suppression")
        known = left_hash(key, person.lookup)
        same = select(Suppression).where(Suppression.hash == known, Suppression.key_id == key.id)
        there = session.scalars(same).first()
        if there is None:
            session.add(Suppression(hash=known, key_id=key.id, reason=reason, at=now))
        elif reason == "complained":
            there.reason = reason
        session.flush()


def _address_of(keys: Keys, person: Person) -> Address | None:
    if person.ciphertext is None or person.key_id is None:
        return None
    return read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
