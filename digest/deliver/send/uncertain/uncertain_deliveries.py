"""Resolving uncertain deliveries by an admin's decision: accepted, to be sent again, or lost.

A delivery is uncertain if it was handed over and no answer was received. Events resolve most of
them (`events.event_processor`), and a mail server's log resolves many others (`log_evidence`). For
the rest, a person has to decide between a missing message and a duplicate. A transactional email's
content is deleted after its attempt, so it can't be sent again unless it went to many people
(`BULK_KINDS`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from digest.deliver.control.edition_control import EditionControlError, mark_sent_edition_as_sending
from digest.deliver.plan.delivery_plan import (
    BULK_KINDS,
    IS_UNCERTAIN,
    is_delivery_of_edition,
    make_edition_delivery_purpose,
)
from digest.deliver.providers.registry import load_provider_kinds
from digest.deliver.send.claims.restored_copy import read_restore_gap
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError

# By then, a provider has reported the messages that it accepted.
SILENT_AFTER = timedelta(hours=24)
NEIGHBOR_REACH = timedelta(minutes=10)  # between messages of one run
ACCEPTED_BY_WORD = "taken as accepted, by an admin's word"
LOST_BY_WORD = "taken as lost, by an admin's word"
# This is used instead of an edition's name for all other emails: transactional emails, corrections,
# and tests.
NOTICES = "notices"


class InvalidResolutionError(RefusalError):
    """Raised when an uncertain delivery can't be resolved as requested."""


class UncertainResolution(StrEnum):
    """An admin's decision about an uncertain delivery. Values are the names used in the audit log."""

    ACCEPTED = "taken as accepted"
    SEND_AGAIN = "sent again"
    LOST = "taken as lost"


@dataclass(frozen=True, slots=True)
class UncertainDelivery:
    """An uncertain delivery: when and by which provider it was handed over, and the reply, without the address.

    `is_silent` means that nothing was reported for a day, although the provider reported other
    messages from that time, so it most likely never received this one. `kind` is that of a
    transactional email, a correction, or a test, and is empty for an edition. `is_kept` says
    whether it can be sent again.
    """

    delivery_id: str
    handed_at: datetime | None
    provider_name: str
    reply: str
    person: int | None
    is_silent: bool = False
    kind: str = ""
    is_kept: bool = True


def list_uncertain_deliveries(database: Database, name: str, *, now: datetime) -> list[UncertainDelivery]:
    """Return the uncertain deliveries of an edition, or of `NOTICES`, earliest first."""
    with database.read() as session:
        return read_oldest_uncertain_deliveries(session, name, now=now)


def read_oldest_uncertain_deliveries(
    session: Session, name: str, *, limit: int | None = None, now: datetime
) -> list[UncertainDelivery]:
    """Return up to `limit` uncertain deliveries of an edition, or of `NOTICES`, earliest first.

    If `limit` is None, return all of them. Deliveries of a process that has just died may be missing.
    """
    columns = (Delivery.id, Delivery.handed_at, Delivery.transport, Delivery.reply, Delivery.person)
    query = (
        select(*columns, Delivery.purpose, _IS_KEPT)
        .where(_belongs_to(name), IS_UNCERTAIN)
        .order_by(Delivery.handed_at, Delivery.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    if name == NOTICES:
        return [UncertainDelivery(*row[:5], kind=row[5].partition(":")[0], is_kept=row[6]) for row in rows]
    uncertain = [UncertainDelivery(*row[:5]) for row in rows]
    silent = _find_silent_times(session, make_edition_delivery_purpose(name), uncertain, now)
    return [replace(d, is_silent=(d.provider_name, d.handed_at) in silent) for d in uncertain] if silent else uncertain


# The email's content is still stored.
_IS_KEPT = Delivery.id.in_(select(QueuedNoticeEmail.delivery).where(QueuedNoticeEmail.kind.in_(BULK_KINDS)))


def _belongs_to(name: str) -> ColumnElement[bool]:
    """Return the condition for an edition's deliveries, or for all others as ranges in the state and purpose index."""
    if name != NOTICES:
        return is_delivery_of_edition(name)
    # The semicolon is the character after the colon.
    return or_(Delivery.purpose < make_edition_delivery_purpose(""), Delivery.purpose >= "edition;")


def _find_silent_times(
    session: Session, purpose: str, uncertain: Sequence[UncertainDelivery], now: datetime
) -> set[tuple[str, datetime | None]]:
    """Return the times and providers of handovers about which a lack of reports is significant.

    Events about handovers before a restore may have been lost with the installation.
    """
    gap = read_restore_gap(session)
    reporting = {kind.name for kind in load_provider_kinds() if kind.webhook}

    def is_long_ago(handed_at: datetime) -> bool:
        is_outside = gap is None or handed_at + SILENT_AFTER < gap.made_at or handed_at > gap.restored_at
        return handed_at <= now - SILENT_AFTER and is_outside

    times = {(d.provider_name, d.handed_at) for d in uncertain if d.provider_name in reporting and d.handed_at}
    return {
        (provider, handed_at)
        for provider, handed_at in times
        if is_long_ago(handed_at)
        if _has_reported_neighbors(session, purpose, provider, handed_at)
    }


def _has_reported_neighbors(session: Session, purpose: str, provider: str, handed_at: datetime) -> bool:
    neighbors = (
        Delivery.purpose == purpose,
        Delivery.transport == provider,
        Delivery.handed_at.between(handed_at - NEIGHBOR_REACH, handed_at + NEIGHBOR_REACH),
    )
    reported = select(Delivery.id).where(*neighbors, exists().where(StoredDeliveryEvent.delivery == Delivery.id))
    return session.scalar(select(reported.exists())) or False


def build_resolution_values(resolution: UncertainResolution, due_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the new column values for an uncertain delivery that's resolved in the given way. Pure.

    A message to be sent again becomes due now. Otherwise, a deferral would end it immediately,
    because its time is counted from the due time. If it isn't due yet, as may be the case in a
    restored copy, it waits until `due_at`.
    """
    no_claim = {"owner": None, "lease_until": None}
    if resolution is UncertainResolution.ACCEPTED:
        return {"state": DeliveryState.ACCEPTED, "reply": ACCEPTED_BY_WORD, **no_claim}
    if resolution is UncertainResolution.LOST:
        return {"state": DeliveryState.EXPIRED, "reply": LOST_BY_WORD, **no_claim}
    goes_at = max(due_at, now)
    return {"state": DeliveryState.WAITING, "due_at": goes_at, "next_try_at": goes_at, **no_claim}


def resolve_uncertain(
    session: Session, name: str, delivery_ids: Sequence[str], resolution: UncertainResolution, *, now: datetime
) -> list[str]:
    """Resolve up to 1,000 uncertain deliveries of an edition or of `NOTICES`, and return the IDs of those resolved.

    Only deliveries that are still uncertain are resolved. If messages are to be sent again, a sent
    edition counts as being sent until they're finished, and consent is checked as for all messages.
    A transactional email whose content wasn't kept stays uncertain instead of being sent again.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        EditionControlError: the edition is canceled, so its messages can't be sent again.
        InvalidResolutionError: an edition's deliveries can't count as lost.
    """
    if name != NOTICES and resolution is UncertainResolution.LOST:
        raise InvalidResolutionError(
            "Only transactional emails can be marked as lost.", "Send the edition's messages again instead."
        )
    edition = None if name == NOTICES else _lock_edition(session, name, resolution)
    needs_content = edition is None and resolution is UncertainResolution.SEND_AGAIN
    condition = _belongs_to(name) & _IS_KEPT if needs_content else _belongs_to(name)
    due_times = _lock_uncertain(session, condition, delivery_ids)
    if due_times:
        changes = [{"id": id_, **build_resolution_values(resolution, due_at, now)} for id_, due_at in due_times.items()]
        session.execute(update(Delivery), changes)
        if edition and resolution is UncertainResolution.SEND_AGAIN:
            mark_sent_edition_as_sending(edition)
        elif resolution is not UncertainResolution.SEND_AGAIN:
            session.execute(delete(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery.in_(due_times)))
    return list(due_times)


def _lock_edition(session: Session, name: str, resolution: UncertainResolution) -> Edition:
    edition = find_edition(session, name, lock=True)
    if resolution is UncertainResolution.SEND_AGAIN and edition.state is EditionState.CANCELLED:
        raise EditionControlError(
            f"{name} is canceled, so its messages can't be sent again.", "Mark the messages as accepted instead."
        )
    return edition


def _lock_uncertain(
    session: Session, condition: ColumnElement[bool], delivery_ids: Sequence[str]
) -> dict[str, datetime]:
    """Lock the deliveries that are still uncertain, and return when each is due.

    Rows locked by other processes are omitted.
    """
    uncertain = (condition, IS_UNCERTAIN)
    query = select(Delivery.id, Delivery.due_at).where(Delivery.id.in_(delivery_ids), *uncertain)
    rows = session.execute(query.order_by(Delivery.id).with_for_update(skip_locked=True))
    return {row.id: row.due_at for row in rows}
