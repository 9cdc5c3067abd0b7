"""Exporting the suppression list without addresses: all hashes in effect, with their causes, dates, and keys."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, tuple_
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.callback_types import Progress
from subscribers.consent import suppression
from subscribers.consent.suppression import LIFTED, SuppressionReason
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.crypto.stored_addresses import ADOPTED_MARK, make_departure_hash
from subscribers.store import people
from subscribers.store.adopted_keys import SuppressionKeySet, load_key_sets
from subscribers.store.database import PeopleDatabase, count_rows
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from subscribers.transfer.suppressions.suppression_file import SuppressedHash, SuppressionFileHeader

PAGE_SIZE = 1000
# The states whose people may not be in the suppression table, with the cause. Suppressed people are
# in the table.
_CAUSES: dict[PersonState, SuppressionReason] = {PersonState.WITHDRAWN: "left elsewhere", PersonState.ERASED: "erased"}
# Expired requests aren't included, because anyone can type an address into the form.
_DEPARTURE_KINDS = (ConsentKind.WITHDRAWN, ConsentKind.ERASED)


def export_suppressions(
    database: PeopleDatabase,
    keys: KeyRing,
    write: Callable[[bytes], object],
    *,
    progress: Progress = lambda *_: None,
) -> Counter[str]:
    """Write the hashes of all addresses that must not be emailed, line by line, and return their number by cause."""
    with database.read() as session:
        adopted = load_key_sets(session, keys)
        total = count_rows(session, Suppression) + count_rows(session, Person)
    write(SuppressionFileHeader.make([SuppressionKeySet.of_ring(keys), *adopted]).as_line())
    counts: Counter[str] = Counter()
    for source in (_list_suppressed(database, keys), list_departure_hashes(database, keys.current("suppression"))):
        for entry in source:
            write(entry.as_line())
            counts[entry.reason] += 1
            if counts.total() % PAGE_SIZE == 0:
                progress(counts.total(), total)
    return counts


def _list_suppressed(database: PeopleDatabase, keys: KeyRing) -> Iterator[SuppressedHash]:
    """Yield the suppressions in effect, ordered by hash.

    Those that were lifted by an admin are included, so that the next installation can also let the
    owner sign up.
    """
    lifted = _find_lifted_hashes(database, keys)
    by_hash = groupby(_stream_rows(database), key=attrgetter("hash", "key_id"))
    for (address_hash, key_id), rows in by_hash:
        row = suppression.find_effective_row(rows)
        if row is None or (address_hash, key_id) in lifted:
            continue
        reason = suppression.parse_reason(row.reason)
        yield SuppressedHash(key_id.removeprefix(ADOPTED_MARK), address_hash, reason, row.at)


def _stream_rows(database: PeopleDatabase) -> Iterator[Suppression]:
    after: tuple[Any, ...] = ("", "", 0)
    columns = (Suppression.hash, Suppression.key_id, Suppression.id)
    while True:
        query = select(Suppression).where(tuple_(*columns) > tuple_(*after))
        with database.read() as session:
            page = session.scalars(query.order_by(*columns).limit(PAGE_SIZE)).all()
        yield from page
        if len(page) < PAGE_SIZE:
            return
        after = page[-1].hash, page[-1].key_id, page[-1].id


def _find_lifted_hashes(database: PeopleDatabase, keys: KeyRing) -> set[tuple[str, str]]:
    """Return hashes of subscribed people that were lifted by a row with another hash, such as that of a newer key."""
    lifted: set[tuple[str, str]] = set()
    with database.read() as session:
        if not session.scalar(select(exists().where(Suppression.reason == LIFTED))):
            return lifted
    for page in stream_addresses(database, keys, (PersonState.SUBSCRIBED,)):
        with database.read() as session:
            hashes = suppression.hash_addresses(session, keys, [address for _, address in page])
            for rows in suppression.list_suppression_rows(session, [each.suppressions for each in hashes]):
                if suppression.find_effective_row(rows) is None:
                    lifted |= {(row.hash, row.key_id) for row in rows}
    return lifted


def stream_addresses(
    database: PeopleDatabase,
    keys: KeyRing,
    states: Sequence[PersonState],
    *,
    after: int = 0,
    batch: int | None = None,
) -> Iterator[list[tuple[int, Address]]]:
    """Yield pages of people in these states (and in this import, if given), by number, with their addresses.

    People whose address is deleted or damaged are omitted. A page may be empty.
    """
    columns = (Person.number, Person.ciphertext, Person.key_id, Person.lookup, Person.lookup_key)
    conditions: list[ColumnElement[bool]] = [Person.state.in_(states), Person.ciphertext.is_not(None)]
    conditions += [] if batch is None else [Person.batch == batch]
    query = select(*columns).where(*conditions).order_by(Person.number).limit(PAGE_SIZE // 2)
    while True:
        with database.read() as session:
            rows: Sequence[Any] = session.execute(query.where(Person.number > after)).all()
        if not rows:
            return
        opened = [(row.number, people.decrypt_person_address(keys, row)) for row in rows]
        yield [(number, address) for number, address in opened if address is not None]
        after = rows[-1].number


def list_departure_hashes(database: PeopleDatabase, key: SecretKey) -> Iterator[SuppressedHash]:
    """Yield the people who left, represented by their hashes in the unsubscribe log made with a key.

    No address is needed for that.
    """
    after = 0
    columns = (Person.number, Person.state, Person.lookup)
    query = select(*columns).where(Person.state.in_(_CAUSES), Person.lookup.is_not(None))
    query = query.order_by(Person.number).limit(PAGE_SIZE)
    while True:
        with database.read() as session:
            page = session.execute(query.where(Person.number > after)).all()
            dates = _load_departure_dates(session, [row.number for row in page])
        if not page:
            return
        for row in page:
            if departed_at := dates.get(row.number):
                departure_hash = make_departure_hash(key, row.lookup)
                yield SuppressedHash(key.id, departure_hash, _CAUSES[row.state], departed_at)
        after = page[-1].number


def _load_departure_dates(session: Session, numbers: Sequence[int]) -> dict[int, datetime]:
    query = (
        select(ConsentEvent.person, func.max(ConsentEvent.at).label("at"))
        .where(ConsentEvent.person.in_(numbers), ConsentEvent.kind.in_(_DEPARTURE_KINDS))
        .group_by(ConsentEvent.person)
    )
    return {row.person: row.at for row in session.execute(query)}
