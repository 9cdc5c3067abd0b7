"""Backfill of old consent chains: a `bound` event for the address, and an event for renewed links.

A person whose chain already has a commitment is never bound again. If its salt is missing, it was removed, and
`chain_verification` reports that. An interrupted run continues with the remaining people.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, exists, func, select, text
from sqlalchemy.orm import Session

from subscribers.callback_types import Progress
from subscribers.consent import ledger
from subscribers.crypto.keys import DecryptionError, KeyFileError, KeyRing
from subscribers.crypto.stored_addresses import commit_address, decrypt_address, new_address_salt
from subscribers.loggers import get_logger
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import UNSALTED_ADDRESS, ConsentEvent, ConsentKind, Person

BATCH_SIZE = 500  # people per transaction
_BODY = ledger.canonical_json({"actor": "the product", "method": "upgrade: links carry commitments from here on"})

log = get_logger("consent")


def add_missing_link_renewal_events(session: Session, *, now: datetime) -> int:
    """Add an event for the current link generation to each chain without one; return the number of chains."""
    has_renewal = exists().where(ConsentEvent.person == Person.number, ConsentEvent.kind == ConsentKind.LINKS_RENEWED)
    numbers = session.scalars(select(Person.number).where(Person.link_generation != 0, ~has_renewal)).all()
    for number in numbers:
        person = ledger.lock_person(session, number)
        assert person is not None, "nobody is deleted"
        ledger.append_event(session, person, ConsentKind.LINKS_RENEWED, {"generation": person.link_generation}, now)
    return len(numbers)


def has_unsalted_addresses(session: Session) -> bool:
    """Return whether an address has no salt. An index answers this, and it's empty after the upgrade."""
    query = select(Person.number).where(text(UNSALTED_ADDRESS)).limit(1)
    return session.scalar(query) is not None


def add_missing_address_commitments(
    database: PeopleDatabase, keys: KeyRing, *, now: datetime, progress: Progress = lambda *_: None
) -> int:
    """Bind every chain without a commitment to its person's address; return the number of chains bound.

    Addresses that can't be decrypted are skipped and logged. `progress` is called with (people bound, people to bind).
    """
    with database.read() as session:
        query = select(func.count()).select_from(Person).where(text(UNSALTED_ADDRESS))
        total = session.scalar(query) or 0
    bound = after = 0
    while True:
        with database.read() as session:
            numbers = session.scalars(_query_unsalted(after)).all()
            rows = session.execute(_query_unbound(numbers)).all()
        if not numbers:
            return bound
        links = [link for row in rows if (link := _build_bound_link(keys, row, now)) is not None]
        with database.write() as session:
            bound += _write_bound_links(session, links)
        after = numbers[-1]
        progress(bound, total)


def _query_unsalted(after: int) -> Select[int]:
    unsalted = select(Person.number).where(text(UNSALTED_ADDRESS), Person.number > after)
    return unsalted.order_by(Person.number).limit(BATCH_SIZE)


def _query_unbound(numbers: Sequence[int]) -> Select[Any]:
    """Return the query for people whose chain has no commitment, each with the position of their last event."""
    ends = (
        select(ConsentEvent.person, func.max(ConsentEvent.seq).label("seq"))
        .where(ConsentEvent.person.in_(numbers))
        .group_by(ConsentEvent.person)
        .having(func.max(ConsentEvent.commitment).is_(None))
        .subquery()
    )
    columns = (Person.number, Person.ciphertext, Person.key_id, Person.state, Person.chain_head, ends.c.seq)
    return select(*columns).join(ends, ends.c.person == Person.number)


def _build_bound_link(keys: KeyRing, row: Any, now: datetime) -> ledger.NewChainLink | None:
    try:
        mailbox = decrypt_address(keys, (row.ciphertext, row.key_id), row.number)
    except (DecryptionError, KeyFileError) as exc:
        log.error("a consent couldn't be bound to its address", person=row.number, error=str(exc))  # noqa: TRY400 - no trace needed
        return None
    salt = new_address_salt()
    commitment = commit_address(keys.current("commitment"), mailbox, salt)
    link = ledger.build_chain_link(
        row.number,
        row.state,
        ConsentKind.BOUND,
        _BODY,
        now,
        seq=row.seq + 1,
        previous=row.chain_head,
        commitment=commitment,
    )
    return ledger.NewChainLink(link.event, {"number": row.number, "salt": salt, **link.person})


def _write_bound_links(session: Session, links: Sequence[ledger.NewChainLink]) -> int:
    """Append events for people whose chain hasn't changed since. The others are retried at the next start."""
    numbers = [link.event["person"] for link in links]
    lock = select(Person.number, Person.chain_head).where(Person.number.in_(numbers), text(UNSALTED_ADDRESS))
    query = lock.order_by(Person.number).with_for_update()
    heads = {row.number: row.chain_head for row in session.execute(query)}
    fresh = [link for link in links if heads.get(link.event["person"]) == link.event["previous"]]
    ledger.insert_chain_links(session, [link.event for link in fresh], changed_people=[link.person for link in fresh])
    return len(fresh)
