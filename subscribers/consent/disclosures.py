"""Disclosures: every time that an address left the system other than through a delivery.

Deliveries have their own records, which belong to the newsletter. This module covers exports, views
by staff, and calls to a provider. Each disclosure is kept for 400 days, and then added to a total
per person, recipient, and reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from subscribers.consent import sealed_rows
from subscribers.consent.sealed_rows import DISCLOSURES
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Disclosure, DisclosureTotal, ListExport, ListExportPart, Person, table_of

DISCLOSURE_RETENTION = timedelta(days=400)
TotalKey = tuple[int | None, str, str]  # person, recipient, and reason


@dataclass(frozen=True, slots=True)
class AddressDisclosure:
    """A disclosure of an address: when, to whom, and why it was disclosed, and the ID by which the recipient knows it.

    For a total of old disclosures, `times` can be more than 1, and `at` is the time of the last one.
    """

    at: datetime
    to_whom: str
    why: str
    reference: str = ""
    times: int = 1


def record_disclosures(
    session: Session,
    numbers: Iterable[int | None],
    *,
    to_whom: str,
    why: str,
    reference: str,
    now: datetime,
) -> None:
    """Record that the addresses of the given people (at most 1,000) are leaving the system.

    Call this in a transaction before the address leaves, because recording one too many is better
    than missing one. None in `numbers` is an erased person, who is only counted. `to_whom` is shown
    to subscribers and doesn't contain an address. `reference` identifies the disclosure, such as
    the ID of a request or the hash of a file.
    """
    columns = {"at": now, "to_whom": to_whom[:200], "why": why[:200], "reference": reference[:200]}
    session.add_all(Disclosure(person=number, **columns) for number in numbers)
    session.flush()


def list_disclosures(session: Session, number: int) -> list[AddressDisclosure]:
    """Return the disclosures of a person's address, newest first, including exports of the whole list."""
    mine = select(Disclosure).where(Disclosure.person == number)
    rows = session.scalars(mine)
    listed = [AddressDisclosure(d.at, d.to_whom, d.why, d.reference) for d in rows]
    totals = select(DisclosureTotal).where(DisclosureTotal.person == number)
    listed += [AddressDisclosure(t.last_at, t.to_whom, t.why, times=t.times) for t in session.scalars(totals)]
    listed += [AddressDisclosure(e.at, e.to_whom, e.why, e.reference) for e in _find_exports(session, number)]
    return sorted(listed, key=lambda disclosure: disclosure.at, reverse=True)


def _find_exports(session: Session, number: int) -> list[ListExport]:
    """Return the list exports that include a person.

    A part has one bit per person, lowest first, beginning with the person `first`.
    """
    covering = (
        select(ListExport, ListExportPart.first, ListExportPart.bits)
        .join(ListExportPart, ListExportPart.export == ListExport.id)
        .where(ListExportPart.first <= number, number < ListExportPart.first + 8 * func.length(ListExportPart.bits))
    )
    rows = session.execute(covering)
    return [export for export, first, bits in rows if bits[(number - first) // 8] >> (number - first) % 8 & 1]


def aggregate_disclosures(session: Session, keys: KeyRing, now: datetime) -> int:
    """Add up to 500 disclosures older than 400 days to their totals, and return their number.

    Disclosures of erased people are counted without the person.
    """
    old = select(Disclosure.id, Disclosure.person).where(Disclosure.at < now - DISCLOSURE_RETENTION)
    query = old.order_by(Disclosure.at).limit(sealed_rows.BATCH_SIZE)
    page = session.execute(query).all()
    # Lock the people first, as in an erasure, because the foreign key of a total locks them anyway.
    people = select(Person.number).where(Person.number.in_({row.person for row in page if row.person is not None}))
    session.execute(people.order_by(Person.number).with_for_update())
    stored = sealed_rows.read_rows_by_id(session, DISCLOSURES, [row.id for row in page], lock=True)
    plan = sealed_rows.plan_adding_rows_to_totals(session, keys, DISCLOSURES, stored)
    statement = select(Disclosure).where(Disclosure.id.in_(plan.ids))
    rows = {row.id: row for row in session.scalars(statement)}
    times: dict[TotalKey, list[datetime]] = {}
    for row in (rows[number] for number in sorted(plan.ids)):
        times.setdefault((row.person, row.to_whom, row.why), []).append(row.at)
    added = add_to_totals(session, keys, times)
    session.execute(delete(Disclosure).where(Disclosure.id.in_(plan.ids)))
    sealed_rows.record_row_aggregation(session, keys, plan, added=added, now=now)
    return len(plan.ids)


def add_to_totals(
    session: Session,
    keys: KeyRing,
    times: Mapping[TotalKey, Sequence[datetime]],
) -> int:
    """Add disclosures to at most 500 totals, which are shown to each person, and return the number of disclosures.

    Each total gets a new commitment, including totals without a person.
    """
    numbers = {number for number, _, _ in times if number is not None}
    own = session.scalars(select(DisclosureTotal).where(DisclosureTotal.person.in_(numbers)))
    totals: dict[TotalKey, DisclosureTotal] = {(row.person, row.to_whom, row.why): row for row in own}
    for key, moments in times.items():
        person, to_whom, why = key
        total = _find_anonymous_total(session, to_whom, why) if person is None else totals.get(key)
        if total is None:
            total = DisclosureTotal(person=person, to_whom=to_whom, why=why, times=0, first_at=moments[0])
            total.last_at = moments[0]
            session.add(total)
        totals[key] = total
        total.times += len(moments)
        total.first_at, total.last_at = min(total.first_at, *moments), max(total.last_at, *moments)
    session.flush()
    sealed_rows.write_commitments_without_batch(session, keys, sealed_rows.TOTALS, [totals[key].id for key in times])
    return sum(map(len, times.values()))


def _find_anonymous_total(session: Session, to_whom: str, why: str) -> DisclosureTotal | None:
    """Return the matching total that has no person, or None.

    Totals of erased people remain as they were after the erasure.
    """
    erased = DisclosureTotal.commitment.is_not(None) & DisclosureTotal.salt.is_(None)
    anonymous = select(DisclosureTotal).where(DisclosureTotal.person.is_(None), ~erased)
    query = anonymous.where(DisclosureTotal.to_whom == to_whom, DisclosureTotal.why == why)
    return session.scalars(query).first()


def detach_disclosures(session: Session, person: int) -> dict[str, int]:
    """Detach an erased person's disclosures from them, and return the number of sealed rows, by table."""
    released = {}
    for table in (DISCLOSURES, sealed_rows.TOTALS):
        released[table.name] = sealed_rows.delete_row_salts(session, table, person)
        columns = table_of(table.model).c
        change = update(table_of(table.model)).where(columns.person == person).values(person=None)
        session.connection().execute(change)
    return released
