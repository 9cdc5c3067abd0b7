"""What runs that are over had claimed: their files tell what came of it. Without a file it becomes uncertain (`claims`)."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from digest.deliver.control import edition_control
from digest.deliver.events import processor
from digest.deliver.plan.delivery_plan import IS_WAITING, edition_purpose
from digest.deliver.providers.base import HandoverResult, MessageOutcome
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims import retry_policy
from digest.deliver.send.claims.retry_policy import decide_state_change
from digest.deliver.send.claims.run_file import DeadRun, read_database_number, take_dead_runs
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing

_NOT_BEGUN = MessageOutcome(HandoverResult.NOT_TRIED)

log = structlog.get_logger("sending")


def recover_dead_runs(database: Database, settings: Settings, keys: KeyRing, *, now: datetime) -> None:
    """Record what the files of dead runs tell: answers as such, and what had not left waits again.

    Call it before `delivery_claims.mark_orphans_uncertain`. It may be repeated.
    """
    unsubscribe_log = UnsubscribeLog(settings.left_log, keys)
    for dead_run in take_dead_runs(settings.runs_folder, read_database_number(database)):
        with database.write() as session:
            rows = _lock_claimed(session, dead_run)
            results = _record_outcomes(session, dead_run, rows, keys, unsubscribe_log, now)
            cancelled = _reopen_editions(session, _list_purposes(session, dead_run) | {row.purpose for row in rows})
        for name in cancelled:
            edition_control.cancel_waiting_deliveries(database, name)
        log.warning("a run ended without a word; its file tells what became of its messages", **results)


def _lock_claimed(session: Session, dead_run: DeadRun) -> Sequence[Any]:
    """Lock what a dead run had claimed and recorded no result of, also where its lease ran out meanwhile."""
    unrecorded = Delivery.state.in_((DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN))
    columns = (
        *(Delivery.id, Delivery.purpose, Delivery.tries, Delivery.due_at),
        *(Delivery.first_handed_at, Delivery.transport),
    )
    query = select(*columns).where(unrecorded, Delivery.owner == dead_run.owner).order_by(Delivery.id)
    return session.execute(query.with_for_update()).all()


def _record_outcomes(
    session: Session,
    dead_run: DeadRun,
    rows: Sequence[Any],
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    now: datetime,
) -> Counter[str]:
    """Record the outcomes of a dead run; count them."""
    results, changes, events, unsent = Counter[str](), [], [], []
    for row in rows:
        outcome = dead_run.outcomes.get(row.id, _NOT_BEGUN)
        results[outcome.result] += 1
        if outcome.result is HandoverResult.NOT_TRIED:
            unsent.append(row.id)
            continue
        change = decide_state_change(
            outcome,
            delivery_id=row.id,
            tries=row.tries,
            due_at=row.due_at,
            first_tried_at=row.first_handed_at or now,
            now=now,
        )
        changes.append((row.id, change))
        event = retry_policy.refusal_event(row.id, row.tries, change, now)
        if event is not None and row.transport == retry_policy.REPORTED_BY:
            events.append(event)
    claims.record_results(session, dead_run.owner, changes)
    claims.undo_claims(session, dead_run.owner, unsent, withdrawn=False)
    processor.process_events(session, events, keys=keys, unsubscribe_log=unsubscribe_log, now=now)
    return results


def _list_purposes(session: Session, dead_run: DeadRun) -> set[str]:
    """List the purposes of what a dead run had handed over last: some may wait again by a result that it recorded itself."""
    purposes = select(Delivery.purpose).where(Delivery.id.in_(dead_run.outcomes))
    return set(session.scalars(purposes))


def _reopen_editions(session: Session, purposes: Collection[str]) -> list[str]:
    """Let editions go on that were sent, as it seemed, and of which something waits; return the cancelled ones."""
    waiting = select(Delivery.purpose).where(IS_WAITING, Delivery.purpose.in_(purposes))
    of_edition = literal(edition_purpose("")).concat(Edition.name).in_(waiting)
    editions = session.scalars(select(Edition).where(of_edition).with_for_update()).all()
    for edition in editions:
        edition_control.reopen_sent_edition(edition)
    return [edition.name for edition in editions if edition.state is EditionState.CANCELLED]
