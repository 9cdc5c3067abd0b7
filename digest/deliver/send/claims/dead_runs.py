"""Recovering the claims of dead and silent runs.

A dead run's file says what happened to its messages. If a run is silent (`run_lease`), its reserved
deliveries go back to waiting, and those being handed over become uncertain. If its file is on a different
machine or in a different folder, this happens only after processes there have had time to read it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, case, delete, literal, select, update
from sqlalchemy.orm import Session

from digest.deliver.control import edition_control
from digest.deliver.events import event_processor
from digest.deliver.plan.delivery_plan import (
    BULK_KINDS,
    IS_CLAIMED,
    IS_HANDING_OVER,
    IS_RESERVED,
    IS_UNCERTAIN,
    IS_WAITING,
    TEST_PURPOSE_PREFIX,
    make_edition_delivery_purpose,
)
from digest.deliver.providers.base import HandoverStatus, MessageOutcome
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims import retry_policy
from digest.deliver.send.claims.retry_policy import decide_state_change
from digest.deliver.send.claims.run_lease import make_run_folder_id, select_database_time
from digest.deliver.send.claims.run_progress_file import DeadRun, read_database_instance_id, take_dead_runs
from digest.settings import Settings
from digest.store.delivery_models import CLAIMED_STATES, Delivery, DeliveryState, QueuedNoticeEmail, RunLease
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from digest.store.process_identity import identify_current_process
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger

GRACE_LEASES = 4  # further leases during which processes at the file's location can read it
_NOT_BEGUN = MessageOutcome(HandoverStatus.NOT_TRIED)
_NO_WORD = "the process sending it ended unexpectedly"

log = get_logger("sending")


class RunVerdict(Enum):
    """The state of a run, as far as other runs can tell."""

    ALIVE = auto()
    # The run may not hand over anything more. Its file may still say what happened to its messages.
    SILENT = auto()
    OVER = auto()


def judge_run(silence: float, lease: float, *, is_dead: bool, at_home: bool) -> RunVerdict:
    """Return the state of a run that hasn't renewed its lease in `silence` seconds.

    `silence` is negative if the clock was set back. `lease` is in seconds, too. `is_dead` is
    whether its process is known to have ended. `at_home` is whether its file would be among ours
    and so have been read.
    """
    silence = abs(silence)
    if silence <= lease and not is_dead:
        return RunVerdict.ALIVE
    return RunVerdict.OVER if at_home or silence > lease * (1 + GRACE_LEASES) else RunVerdict.SILENT


def recover_dead_and_silent_runs(database: Database, settings: Settings, keys: KeyRing, *, now: datetime) -> None:
    """Take over the claims of dead or silent runs. Idempotent."""
    recover_dead_runs(database, settings, keys, now=now)
    _end_silent_runs(database, settings)


def recover_dead_runs(database: Database, settings: Settings, keys: KeyRing, *, now: datetime) -> None:
    """Record the outcomes in dead runs' files, and return unsent messages to waiting. Idempotent."""
    unsubscribe_log = UnsubscribeLog(settings.left_log, keys)
    for dead_run in take_dead_runs(settings.runs_folder, read_database_instance_id(database)):
        with database.write() as session:
            rows = _lock_claimed(session, dead_run)
            results = _record_outcomes(session, dead_run, rows, keys, unsubscribe_log, now)
            cancelled = _reopen_editions(session, _list_purposes(session, dead_run) | {row.purpose for row in rows})
            session.execute(delete(RunLease).where(RunLease.owner == dead_run.owner))
        for name in cancelled:
            edition_control.cancel_waiting_deliveries(database, name)
        log.warning("a run ended unexpectedly; its messages were resolved from its progress file", **results)


def _lock_claimed(session: Session, dead_run: DeadRun) -> Sequence[Any]:
    """Lock a dead run's deliveries that have no recorded result, including those whose lease has expired."""
    unrecorded = Delivery.state.in_((*CLAIMED_STATES, DeliveryState.UNCERTAIN))
    columns = (
        *(Delivery.id, Delivery.purpose, Delivery.state, Delivery.tries, Delivery.due_at),
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
    """Record the outcomes of a dead run's deliveries, and count them by status."""
    results, changes, events, unsent = Counter[str](), [], [], []
    for row in rows:
        # A reserved delivery hasn't started, so its slot is from an earlier attempt.
        is_reserved = row.state is DeliveryState.RESERVED
        outcome = _NOT_BEGUN if is_reserved else dead_run.outcomes.get(row.id, _NOT_BEGUN)
        results[outcome.result] += 1
        if outcome.result is HandoverStatus.NOT_TRIED:
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
        event = retry_policy.build_refusal_event(row.id, row.tries, change, now)
        if event is not None and row.transport == retry_policy.REPORTED_BY:
            events.append(event)
    claims.record_results(session, dead_run.owner, changes)
    claims.undo_claims(session, dead_run.owner, unsent, withdrawn=False)
    event_processor.process_events(session, events, keys=keys, unsubscribe_log=unsubscribe_log, now=now)
    return results


def _list_purposes(session: Session, dead_run: DeadRun) -> set[str]:
    """Return the purposes of the last messages of a dead run.

    Some may be waiting again because of a result that the run recorded.
    """
    purposes = select(Delivery.purpose).where(Delivery.id.in_(dead_run.outcomes))
    return set(session.scalars(purposes))


def _reopen_editions(session: Session, purposes: Collection[str]) -> list[str]:
    """Change the state of sent editions that have waiting deliveries back to sending.

    Return the names of those that were canceled.
    """
    waiting = select(Delivery.purpose).where(IS_WAITING, Delivery.purpose.in_(purposes))
    of_edition = literal(make_edition_delivery_purpose("")).concat(Edition.name).in_(waiting)
    editions = session.scalars(select(Edition).where(of_edition).with_for_update()).all()
    for edition in editions:
        edition_control.mark_sent_edition_as_sending(edition)
    return [edition.name for edition in editions if edition.state is EditionState.CANCELLED]


def _end_silent_runs(database: Database, settings: Settings) -> None:
    with database.read() as session:
        silent = list_silent_runs(session, settings, database.kept_leases)
    for lease, verdict in silent:
        _take_claims(database, lease, verdict)


def list_silent_runs(
    session: Session,
    settings: Settings,
    kept: Collection[str],
) -> list[tuple[Any, RunVerdict]]:
    """Return the leases and states of silent runs whose claims haven't been revoked yet.

    This process's own runs (`kept`) aren't silent: they renew their leases after a database outage.
    """
    this_process, home = identify_current_process(), make_run_folder_id(settings)
    silence = (select_database_time(session) - RunLease.beat_at).label("silence")
    leases = session.execute(select(RunLease.owner, RunLease.epoch, RunLease.beat_at, RunLease.home, silence)).all()

    def judge(lease: Any) -> RunVerdict:
        is_dead, at_home = this_process.knows_dead(lease.owner), lease.home == home
        return judge_run(lease.silence, settings.send_lease, is_dead=is_dead, at_home=at_home)

    judged = [(lease, judge(lease)) for lease in leases if lease.owner not in kept]
    return [(lease, v) for lease, v in judged if v is RunVerdict.OVER or (v is RunVerdict.SILENT and lease.epoch == 1)]


def _take_claims(database: Database, lease: Any, verdict: RunVerdict) -> None:
    """Revoke a silent run's claims if its lease hasn't changed.

    Rows locked by others are left for the next time.
    """
    unchanged = (RunLease.owner == lease.owner, RunLease.epoch == lease.epoch, RunLease.beat_at == lease.beat_at)
    own = Delivery.owner == lease.owner
    with database.write() as session:
        row = session.scalar(select(RunLease).where(*unchanged).with_for_update(skip_locked=True))
        if row is None:
            return
        purposes = set(session.scalars(select(Delivery.purpose).where(own, IS_RESERVED).distinct()))
        row.epoch += 1
        # A test email is tried only once, and no one resolves its status.
        is_test = Delivery.purpose.startswith(TEST_PURPOSE_PREFIX)
        waiting = case((is_test, DeliveryState.CANCELLED.value), else_=DeliveryState.WAITING.value)
        _change_claims(session, own & IS_RESERVED, state=waiting, owner=None, lease_until=None)
        if verdict is RunVerdict.OVER:
            _change_claims(session, own & IS_HANDING_OVER, state=DeliveryState.UNCERTAIN, reply=_NO_WORD)
            # Their queued content is deleted with their attempt.
            uncertain = select(Delivery.id).where(own, IS_UNCERTAIN)
            session.execute(
                delete(QueuedNoticeEmail).where(
                    QueuedNoticeEmail.delivery.in_(uncertain), QueuedNoticeEmail.kind.not_in(BULK_KINDS)
                )
            )
        if not session.scalar(select(select(Delivery.id).where(own, IS_CLAIMED).exists())):
            session.delete(row)
        cancelled = _reopen_editions(session, purposes)
    for name in cancelled:
        edition_control.cancel_waiting_deliveries(database, name)


def _change_claims(session: Session, condition: ColumnElement[bool], **values: Any) -> None:
    claimed = select(Delivery.id).where(condition).with_for_update(skip_locked=True)
    changed = update(Delivery).where(Delivery.id.in_(claimed)).values(**values)
    session.execute(changed, execution_options={"synchronize_session": False})
