"""Confirming: the one act that puts somebody on the list by their own word.

The link in the mail opens a page that only looks; the button on it confirms. It works on any device, for as long
as the token lives, once: what comes afterwards with the same token is told how things stand and changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, tuple_
from sqlalchemy.orm import Session

from subscribers import ledger, onetime, receipts, roll, suppression, traces
from subscribers.addresses import read_address
from subscribers.asking import CLOSED_FOR
from subscribers.db import ConsentKind, Person, PersonState, Suppression
from subscribers.notes import Note, Queue
from subscribers.onetime import Looked, Standing
from subscribers.traces import Machine
from subscribers.vault import Keys, open_, suppression_hashes


class Stage(StrEnum):
    """How a confirmation link stands, as a page says it."""

    UNKNOWN = "unknown"
    OPEN = "open"  # the button works
    CONFIRMED = "confirmed"  # the person is on the list
    USED = "used"  # it was used, and the person has left since
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Link:
    """A confirmation link looked up. The address is there only while the link is open, for the page to mask."""

    stage: Stage
    address: str = ""
    wording: str = ""
    where: str = ""
    asked_at: datetime | None = None
    day: datetime | None = None  # when it ran out, or was used
    new: bool = False  # it was this very request that confirmed
    by_us: bool = False  # nobody asked for it: a list named them, and we asked


def look(session: Session, keys: Keys, token: str, *, now: datetime) -> Link:
    """Say how a confirmation link stands; nothing is changed.

    Raises:
        VaultError: the person's address does not open.
    """
    return _link(session, keys, onetime.look(session, token, "confirm", now=now))


def confirm(
    session: Session,
    keys: Keys,
    token: str,
    *,
    machine: Machine,
    evidence_for: timedelta,
    queue: Queue,
    now: datetime,
) -> Link:
    """Confirm, if the link is open: consent, receipt and the end of all other open links are one commit.

    A suppression for a bounce or an erasure ends here: this is the own new consent that it waits for. Twice is
    once, and a link that was used never brings back who has left since.

    Raises:
        VaultError: the person's address does not open.
    """
    found = _link(session, keys, onetime.look(session, token, "confirm", now=now))
    if found.stage is not Stage.OPEN:
        return found
    used = onetime.use(session, token, "confirm", now=now)
    if (
        used.standing is not Standing.FRESH or used.person is None
    ):  # somebody pressed twice, and we are second
        return _link(session, keys, onetime.look(session, token, "confirm", now=now))
    person = ledger.hold(session, used.person)
    assert person is not None, "people are emptied, never removed"
    _consent(session, keys, person, int(used.serial), machine, evidence_for, queue, now=now)
    onetime.end(session, person.number, "confirm", now=now, used=True)
    return Link(Stage.CONFIRMED, found.address, found.wording, found.where, found.asked_at, now, new=True)


def _link(session: Session, keys: Keys, found: Looked) -> Link:
    person = session.get(Person, found.person, populate_existing=True) if found.person else None
    if found.standing is Standing.UNKNOWN or person is None:
        return Link(Stage.UNKNOWN)
    if found.standing is Standing.FRESH:
        return _open(session, keys, found, person)
    if roll.may_mail(session, person.number):
        return Link(Stage.CONFIRMED, day=found.ended_at)
    if found.standing is Standing.USED:
        return Link(Stage.USED, day=found.ended_at)
    return Link(Stage.EXPIRED, day=found.expires_at)


def _open(session: Session, keys: Keys, found: Looked, person: Person) -> Link:
    """Look at a link that has not run out: an erasure or a complaint since the request shuts it all the same."""
    if person.ciphertext is None or person.key_id is None:
        return Link(Stage.EXPIRED, day=found.expires_at)
    address = open_(keys, (person.ciphertext, person.key_id), person.number)
    barred = suppression.find(session, keys, read_address(address))
    if barred is not None and barred.reason in CLOSED_FOR:
        return Link(Stage.EXPIRED, day=found.expires_at)
    said = receipts.link(session, person.number, int(found.serial))
    asked_at = datetime.fromisoformat(said["asked_at"])
    by_us = said["method"] == receipts.BY_US
    return Link(Stage.OPEN, address, said["wording"], said["where"], asked_at, found.expires_at, by_us=by_us)


_WORDS = ("wording", "wording_version", "wording_hash", "language", "page", "where", "asked_at")


def _consent(
    session: Session,
    keys: Keys,
    person: Person,
    seq: int,
    machine: Machine,
    evidence_for: timedelta,
    queue: Queue,
    *,
    now: datetime,
) -> None:
    request = receipts.link(session, person.number, seq)
    salt = traces.new_salt()
    body: dict[str, Any] = {
        **{key: request[key] for key in _WORDS},
        "method": "double opt-in",
        "actor": "reader",
        "request": seq,
        **traces.digests(machine, salt),
    }
    _lift(session, keys, person)
    event = ledger.append(session, person, ConsentKind.CONFIRMED, body, now)
    traces.keep(session, keys, event, machine, salt=salt, until=now + evidence_for)
    person.asked_at, person.asked_where = datetime.fromisoformat(request["asked_at"]), request["where"][:200]
    facts = {**{key: request[key] for key in _WORDS}, "confirmed_at": now.isoformat()}
    queue(session, Note("welcome", person.number, str(event.seq), facts))


def _lift(session: Session, keys: Keys, person: Person) -> None:
    assert person.state is not PersonState.ERASED, "an erased person has no open link"
    assert person.ciphertext is not None
    assert person.key_id is not None
    address = read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
    named = suppression_hashes(keys, address)
    lifted = delete(Suppression).where(tuple_(Suppression.hash, Suppression.key_id).in_(named))
    session.execute(lifted)
