"""Moving to another address: asked for by the owner of the old one, done by the owner of the new one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers import ledger, onetime, people, suppression
from subscribers.addresses import Address, mask, read_address
from subscribers.db import ConsentKind, Person, PersonState
from subscribers.journal import Journal
from subscribers.notes import Note, Queue
from subscribers.onetime import Standing
from subscribers.sealed import open_json, seal_json
from subscribers.signup_db import AddressMove, OneTime
from subscribers.vault import Keys, domain_tag, lookup, open_, seal

LIFE = timedelta(days=7)
A_DAY = 3  # requests of one reader: each mails a stranger's address


class Stage(StrEnum):
    """How the link that was mailed to a new address stands."""

    UNKNOWN = "unknown"
    OPEN = "open"  # the button works
    DONE = "done"
    TAKEN = "taken"  # the new address has a history of its own with us
    OVER = "over"  # it ran out, or the reader has left since


@dataclass(frozen=True, slots=True)
class Move:
    """A move looked up: the masked addresses stand there while it is open. `lookup` is for the journal once done."""

    stage: Stage
    old: str = ""
    new: str = ""
    until: datetime | None = None
    lookup: tuple[str, str] | None = None


def ask(session: Session, keys: Keys, number: int, address: Address, queue: Queue, *, now: datetime) -> None:
    """Mail a link to the new address and tell the old one; nothing else changes yet.

    Nothing is said of whether the new address is known. One that is barred, or that is the old one, gets no mail,
    and neither does a fourth one in a day.
    """
    person = ledger.hold(session, number)
    if person is None or person.state is not PersonState.SUBSCRIBED or person.ciphertext is None:
        return
    old = _address_of(keys, person)
    if old.canonical == address.canonical or _asked_today(session, number, now) >= A_DAY:
        return
    expires_at = now + LIFE
    onetime.end(session, number, "change address", now=now)
    session.execute(delete(AddressMove).where(AddressMove.person == number))
    token = onetime.issue(session, "change address", number, now=now, expires_at=expires_at)
    named = onetime.hashed(token)
    sealed, key_id = seal_json(keys, {"address": address.mailbox}, bound_to=_bond(named))
    session.add(AddressMove(hash=named, person=number, until=expires_at, ciphertext=sealed, key_id=key_id))
    serial = f"{now:%Y%m%dT%H%M%S%f}"
    told = {"to": old.mailbox, "masked": mask(address.mailbox)}
    queue(session, Note("moving", number, serial, told))
    if suppression.find(session, keys, address) is None:
        facts = {"token": token, "expires_at": expires_at.isoformat(), "masked": mask(old.mailbox)}
        queue(session, Note("move", number, serial, {**facts, "to": address.mailbox}))


def _asked_today(session: Session, number: int, now: datetime) -> int:
    mine = (OneTime.person == number, OneTime.purpose == "change address")
    lately = OneTime.made_at > now - timedelta(days=1)
    return session.scalar(select(func.count()).select_from(OneTime).where(*mine, lately)) or 0


def look(session: Session, keys: Keys, token: str, *, now: datetime) -> Move:
    """Say how a link stands; nothing is changed.

    Raises:
        VaultError: an address does not open.
    """
    found = onetime.look(session, token, "change address", now=now)
    if found.standing is Standing.UNKNOWN or found.person is None:
        return Move(Stage.UNKNOWN)
    if found.standing is Standing.USED:
        return Move(Stage.DONE)
    person = session.get(Person, found.person, populate_existing=True)
    row = session.get(AddressMove, onetime.hashed(token))
    there = person is not None and person.state is PersonState.SUBSCRIBED and person.ciphertext is not None
    if found.standing is not Standing.FRESH or row is None or person is None or not there:
        return Move(Stage.OVER)
    new = _new_address(keys, row)
    if _taken(session, keys, new, person.number):
        return Move(Stage.TAKEN)
    return Move(Stage.OPEN, mask(_address_of(keys, person).mailbox), mask(new.mailbox), found.expires_at)


def confirm(session: Session, keys: Keys, journal: Journal, token: str, *, now: datetime) -> Move:
    """Move a reader to the new address, if the link is open; twice is once.

    The journal gets a departure of the old address: a copy that is restored from before knows the reader by that
    alone, and would mail it even if they left by the new one meanwhile. The new address's own word is added with
    `note_moved`, after the commit.

    Raises:
        OSError: the journal could not be written.
        VaultError: an address does not open.
        sqlalchemy.exc.IntegrityError: somebody signed up with the new address in this very moment.
    """
    found = look(session, keys, token, now=now)
    used = onetime.use(session, token, "change address", now=now) if found.stage is Stage.OPEN else None
    if used is None or used.person is None:
        return found
    row = session.get_one(AddressMove, onetime.hashed(token))
    new = _new_address(keys, row)
    person = ledger.hold(session, used.person)
    assert person is not None, "the look found them"
    if person.lookup and person.lookup_key:
        journal.append(person.lookup, person.lookup_key, kind="left", at=now)
    person.lookup, person.lookup_key = lookup(keys, new), keys.current("lookup").id
    person.domain_tag = domain_tag(keys, new)
    person.ciphertext, person.key_id = seal(keys, new, person.number)
    said = {"method": "link to the new address", "actor": "reader"}
    ledger.append(session, person, ConsentKind.ADDRESS_CHANGED, said, now)
    session.delete(row)
    onetime.end(session, person.number, "my data", now=now)  # these went to the old address
    return Move(Stage.DONE, found.old, found.new, lookup=(person.lookup, person.lookup_key))


def note_moved(journal: Journal, move: Move, *, at: datetime) -> None:
    """Tell the journal, after the commit, that the new address is the reader's: an older departure of it is over.

    Raises:
        OSError: it could not be written; a restored copy then holds the reader to be gone.
    """
    if move.lookup is not None:
        journal.append(*move.lookup, kind="undone", at=at)


def tidy(session: Session, *, now: datetime) -> None:
    """Drop the addresses of moves that nobody confirmed."""
    session.execute(delete(AddressMove).where(AddressMove.until <= now))


def _taken(session: Session, keys: Keys, new: Address, number: int) -> bool:
    """Say whether a new address cannot be moved to: it is somebody's on the list, or left it, or is barred."""
    known = people.number_of(session, keys, new)
    return known not in {None, number} or suppression.find(session, keys, new) is not None


def _address_of(keys: Keys, person: Person) -> Address:
    assert person.ciphertext is not None
    assert person.key_id is not None
    return read_address(open_(keys, (person.ciphertext, person.key_id), person.number))


def _new_address(keys: Keys, row: AddressMove) -> Address:
    value = open_json(keys, (row.ciphertext, row.key_id), bound_to=_bond(row.hash))
    return read_address(value["address"])


def _bond(named: str) -> str:
    return f"move {named}"
