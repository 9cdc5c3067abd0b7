"""A person's deliveries as disclosures: listed, aggregated when they're old, and anonymized by erasure.

Each delivery that was handed over says who got an address, for what, when, and under which ID.
After the retention period, deliveries become totals: by purpose for the delivery counts, and by
subscriber for their own page. Their events are deleted with them. The counts of an old edition and
of a subscriber's disclosures don't change; see docs/decisions/0019-the-provider.md. An erased
person's deliveries are still counted, but don't identify anyone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_WAITING, make_edition_delivery_purpose
from digest.deliver.providers.registry import describe_data_recipient
from digest.deliver.retention import provider_erasures
from digest.deliver.retention.delivery_seals import DELIVERIES
from digest.edition.content.edition_names import format_issue
from digest.settings import Settings
from digest.store.delivery_models import (
    OPEN_STATES,
    Delivery,
    DeliveryState,
    DeliveryTotal,
    QueuedNoticeEmail,
    StoredDeliveryEvent,
)
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.address import Address
from subscribers.consent import disclosures, sealed_rows
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import ErasureCallback
from subscribers.store.database import upsert
from subscribers.store.models import Person
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage, mark_message

_PURPOSE_TEXTS = {
    "correction": mark_message("To send you a correction to an edition you received"),
    "edition": mark_message("To send you an edition"),
    "confirm": mark_message("To ask you to confirm your sign-up"),
    "remind": mark_message("To remind you to confirm your sign-up"),
    "ask": mark_message(
        "To ask you once whether you want to subscribe, because your address was on a list we received"
    ),
    "stay": mark_message("To ask whether you want to stay subscribed"),
    "known": mark_message("To tell you that you’re already subscribed"),
    "link": mark_message("To send you the link to your preferences"),
    "welcome": mark_message("To tell you that you’re subscribed"),
    "data": mark_message("To send you the link to your data"),
    "move": mark_message("To verify your new address"),
    "moving": mark_message("To tell you that your address is about to change"),
    "choices": mark_message("To tell you that your preferences changed"),
    "leave": mark_message("To answer your request to unsubscribe"),
    "undo": mark_message("To send you a link to resubscribe"),
    "restored": mark_message("To tell you that your subscription was restored"),
}

NOTICE_KINDS = tuple(kind for kind in _PURPOSE_TEXTS if kind != "edition")  # transactional emails to subscribers


def list_delivery_disclosures(
    session: Session, person_number: int, settings: Settings, language: SubscriberLanguage = ENGLISH
) -> tuple[AddressDisclosure, ...]:
    """Return the disclosures of a person's address to mail servers and providers, latest first.

    There's one for each email. Emails past the retention period are only part of the totals in
    `subscribers.consent.disclosures`.
    """
    handed_over = select(Delivery).where(Delivery.person == person_number, Delivery.handed_at.is_not(None))
    rows = list(session.scalars(handed_over.order_by(Delivery.handed_at.desc())))
    names = {row.purpose.partition(":")[2] for row in rows}
    editions = session.execute(select(Edition.name, Edition.number).where(Edition.name.in_(names)))
    numbers = {row.name: row.number for row in editions}
    return tuple(
        AddressDisclosure(
            row.handed_at,
            describe_data_recipient(row.transport, settings, language),
            _describe_delivery(row.purpose, numbers, language),
            row.message_id,
        )
        for row in rows
        if row.handed_at is not None
    )


def _describe_delivery(purpose: str, numbers: Mapping[str, int], language: SubscriberLanguage) -> str:
    kind, _, name = purpose.partition(":")
    if kind == "edition":
        issue = format_issue(numbers[name], language) if name in numbers else name
        return language.gettext("To send you %(issue)s", issue=issue)
    return language.translate_text(describe_email_purpose(purpose))


def describe_email_purpose(purpose: str) -> str:
    """Return a delivery's purpose in words, which are the same for all emails of one kind."""
    kind = purpose.partition(":")[0]
    return _PURPOSE_TEXTS.get(kind, f"To send you an email ({kind})")


def make_delivery_erasure_callback(keys: KeyRing, clock: Callable[[], datetime]) -> ErasureCallback:
    """Return the callback that erases a person from deliveries.

    It also queues the erasure at their providers.
    """

    def erase(session: Session, number: int, address: Address | None) -> dict[str, int]:
        if address is not None:
            provider_erasures.queue_provider_erasures(session, keys, number, address, now=clock())
        return erase_from_deliveries(session, number, address)

    return erase


def erase_from_deliveries(session: Session, number: int, address: Address | None) -> dict[str, int]:
    """Detach a person's deliveries, withdraw waiting ones, and clear the details of their events.

    Return the number of sealed rows that lost their salt, by table, as `ErasureCallback` does. A
    run that's handing over a message at this moment still records its result. The address isn't
    needed here; see `subscribers.lifecycle.erasure.ErasureCallback`.
    """
    del address
    released = sealed_rows.delete_row_salts(session, DELIVERIES, number)
    mine = Delivery.person == number
    ids = select(Delivery.id).where(mine)
    waiting = ids.where(IS_WAITING)
    emptied_events = update(StoredDeliveryEvent).where(StoredDeliveryEvent.delivery.in_(ids)).values(detail={})
    session.execute(
        delete(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery.in_(waiting)), execution_options=_UNSYNCHRONIZED
    )
    session.execute(emptied_events, execution_options=_UNSYNCHRONIZED)
    withdrawn = case((IS_WAITING, DeliveryState.WITHDRAWN.value), else_=Delivery.state)
    emptied = {"person": None, "state": withdrawn, "domain_tag": None, "reply": "", "message_id": ""}
    session.execute(update(Delivery).where(mine).values(**emptied), execution_options=_UNSYNCHRONIZED)
    return {DELIVERIES.name: released}


_UNSYNCHRONIZED = {"synchronize_session": False}  # the session has no objects for these rows
# Deliveries per table scan, oldest first, because there's no index by age.
ROWS_PER_SCAN = 20_000
ROWS_PER_TRANSACTION = 500  # takes about 30 ms on SQLite
_ONGOING_STATES = (EditionState.APPROVED, EditionState.SENDING)


def add_old_deliveries_to_totals(database: Database, keys: KeyRing, settings: Settings, *, now: datetime) -> int:
    """Add finished deliveries past the retention period to the totals, and delete them.

    Return the number of deliveries. None is counted twice: a page is counted, deleted, and recorded
    in the disclosure log in a single transaction. After an interruption, the next run does the rest.
    """
    before = now - timedelta(days=settings.file.retention.delivery_days)
    aggregated = 0
    while True:
        with database.read() as session:
            old = _is_old_and_finished(session, before)
            scan = select(Delivery.id, Delivery.person, Delivery.sealed_in).where(old).limit(ROWS_PER_SCAN)
            # In order of batches, so that a page touches few batches.
            rows = sorted(session.execute(scan), key=lambda row: row.sealed_in or 0)
        count = 0
        for start in range(0, len(rows), ROWS_PER_TRANSACTION):
            with database.write() as session:
                page = rows[start : start + ROWS_PER_TRANSACTION]
                count += _aggregate_page(session, keys, page, old, settings, now)
        aggregated += count
        if len(rows) < ROWS_PER_SCAN or not count:
            # Delete events of the same age that aren't about any delivery of ours.
            unmatched = StoredDeliveryEvent.delivery.is_(None) & (StoredDeliveryEvent.received_at < before)
            database.delete_in_batches(StoredDeliveryEvent, unmatched, size=ROWS_PER_TRANSACTION)
            return aggregated


def _is_old_and_finished(session: Session, before: datetime) -> ColumnElement[bool]:
    """Return the condition for deliveries that may be deleted.

    It excludes editions that aren't finished.
    """
    ongoing = session.scalars(select(Edition.name).where(Edition.state.in_(_ONGOING_STATES)))
    purposes = [make_edition_delivery_purpose(name) for name in ongoing]
    long_ago = func.coalesce(Delivery.handed_at, Delivery.due_at) < before
    return long_ago & Delivery.state.not_in(OPEN_STATES) & Delivery.purpose.not_in(purposes)


def _aggregate_page(
    session: Session,
    keys: KeyRing,
    page: Sequence[Any],
    condition: ColumnElement[bool],
    settings: Settings,
    now: datetime,
) -> int:
    """Count and delete the unlocked rows of a page. The next run handles the others."""
    # Lock people first, as an erasure does: a total's foreign key locks them anyway, and the
    # opposite order could cause a deadlock.
    people = select(Person.number).where(Person.number.in_({row.person for row in page} - {None}))
    session.execute(people.order_by(Person.number).with_for_update())
    columns = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.state, Delivery.transport)
    on_page = Delivery.id.in_([row.id for row in page])
    query = select(*columns, Delivery.handed_at).where(condition, on_page)
    locked = {row.id: row for row in session.execute(query.with_for_update(skip_locked=True))}
    sealed = sealed_rows.read_rows_by_id(session, DELIVERIES, list(locked))
    plan = sealed_rows.plan_adding_rows_to_totals(session, keys, DELIVERIES, sealed)
    ids = sorted(plan.ids)
    rows = [locked[delivery] for delivery in ids]
    _add_purpose_totals(session, rows)
    added = disclosures.add_to_totals(session, keys, _collect_disclosures(rows, settings))
    sealed_rows.record_row_aggregation(session, keys, plan, added=added, now=now)
    for column in (QueuedNoticeEmail.delivery, StoredDeliveryEvent.delivery, Delivery.id):
        session.execute(delete(column.class_).where(column.in_(ids)), execution_options=_UNSYNCHRONIZED)
    return len(ids)


def find_delivery_total_purpose(purpose: str) -> str:
    """Return the purpose under which a delivery is totaled.

    It's an edition's own, or one shared by all emails of a kind.
    """
    kind = purpose.partition(":")[0]
    return purpose if purpose == make_edition_delivery_purpose(purpose.partition(":")[2]) else kind


def _add_purpose_totals(session: Session, rows: Iterable[Any]) -> None:
    counts = Counter((find_delivery_total_purpose(row.purpose), row.state) for row in rows)
    insert = upsert(session, DeliveryTotal)
    key = [DeliveryTotal.purpose, DeliveryTotal.state]
    total = DeliveryTotal.count + insert.excluded.count
    ordered = sorted(counts.items())
    values = [{"purpose": p, "state": s, "count": n} for (p, s), n in ordered]
    if values:
        session.execute(insert.on_conflict_do_update(index_elements=key, set_={"count": total}), values)


def _collect_disclosures(
    rows: Iterable[Any],
    settings: Settings,
) -> dict[disclosures.TotalKey, list[datetime]]:
    """Return the times of handovers, grouped by the totals shown to each subscriber and leaving out erased people."""
    times: dict[disclosures.TotalKey, list[datetime]] = {}
    for row in rows:
        if row.person is not None and row.handed_at is not None:
            key = (row.person, describe_data_recipient(row.transport, settings), describe_email_purpose(row.purpose))
            times.setdefault(key, []).append(row.handed_at)
    return dict(sorted(times.items()))
