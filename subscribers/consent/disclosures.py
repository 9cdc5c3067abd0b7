"""Where an address has been: every disclosure of it out of the system that was not a delivery.

Deliveries are their own record, and the newsletter's matter. Here stand exports, views by staff, calls to a
provider. Each is kept 400 days, then counts in a total for the person, the recipient and the reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers.store.models import Disclosure, DisclosureTotal, ListExport, ListExportPart

DISCLOSURE_RETENTION = timedelta(days=400)
BATCH_SIZE = 1000  # rows a transaction


@dataclass(frozen=True, slots=True)
class AddressDisclosure:
    """One disclosure of an address: to whom, why, when, and the id by which the other side knows it.

    `times` is more than 1 for a total of old ones; `at` is then the last of them.
    """

    at: datetime
    to_whom: str
    why: str
    reference: str = ""
    times: int = 1


def record_disclosures(
    session: Session, numbers: Iterable[int | None], *, to_whom: str, why: str, reference: str, now: datetime
) -> None:
    """Write down that the addresses of some people (at most 1,000) pass out of the system.

    Call it in the transaction before the address leaves: a disclosure too many on record is the lesser fault.

    In `numbers`, None stands for somebody who is erased, and is only counted. `to_whom` is written for readers and holds
    no address; `reference` finds the disclosure again: a request's id, a file's hash.
    """
    columns = {"at": now, "to_whom": to_whom[:200], "why": why[:200], "reference": reference[:200]}
    session.add_all(Disclosure(person=number, **columns) for number in numbers)
    session.flush()


def list_disclosures(session: Session, number: int) -> list[AddressDisclosure]:
    """List where the address of person `number` has been, the latest first; whole-list exports are among them."""
    mine = select(Disclosure).where(Disclosure.person == number)
    listed = [AddressDisclosure(d.at, d.to_whom, d.why, d.reference) for d in session.scalars(mine)]
    totals = select(DisclosureTotal).where(DisclosureTotal.person == number)
    listed += [AddressDisclosure(t.last_at, t.to_whom, t.why, times=t.times) for t in session.scalars(totals)]
    listed += [AddressDisclosure(e.at, e.to_whom, e.why, e.reference) for e in _find_exports(session, number)]
    return sorted(listed, key=lambda passage: passage.at, reverse=True)


def _find_exports(session: Session, number: int) -> list[ListExport]:
    """Find the exports of the list that held a person: one bit each, from number `first` on, the lowest first."""
    covering = (
        select(ListExport, ListExportPart.first, ListExportPart.bits)
        .join(ListExportPart, ListExportPart.export == ListExport.id)
        .where(ListExportPart.first <= number, number < ListExportPart.first + 8 * func.length(ListExportPart.bits))
    )
    rows = session.execute(covering)
    return [export for export, first, bits in rows if bits[(number - first) // 8] >> (number - first) % 8 & 1]


def aggregate_disclosures(session: Session, now: datetime) -> int:
    """Fold up to 1,000 disclosures that are older than 400 days into their totals; return how many.

    What an erased person's were stays counted without the person.
    """
    old = select(Disclosure).where(Disclosure.at < now - DISCLOSURE_RETENTION).order_by(Disclosure.at).limit(BATCH_SIZE)
    rows = list(session.scalars(old))
    for row in rows:
        _add_to_total(session, row)
    session.execute(delete(Disclosure).where(Disclosure.id.in_([row.id for row in rows])))
    return len(rows)


def _add_to_total(session: Session, row: Disclosure) -> None:
    same = select(DisclosureTotal).where(
        DisclosureTotal.person.is_not_distinct_from(row.person),
        DisclosureTotal.to_whom == row.to_whom,
        DisclosureTotal.why == row.why,
    )
    total = session.scalars(same.limit(1)).first()
    if total is None:
        session.add(
            DisclosureTotal(
                person=row.person, to_whom=row.to_whom, why=row.why, times=1, first_at=row.at, last_at=row.at
            )
        )
        session.flush()
        return
    total.times += 1
    total.first_at, total.last_at = min(total.first_at, row.at), max(total.last_at, row.at)
