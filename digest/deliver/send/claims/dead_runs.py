"""What runs that are over had claimed.

Their files tell what came of it. Of a run that is silent (`run_lease`), what's reserved waits again, and what was being handed
over becomes uncertain. If its file is on another machine or in another folder, that waits until its file could be read there.
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
from digest.deliver.send.claims.run_lease import database_clock, make_run_folder_id
from digest.deliver.send.claims.run_progress_file import DeadRun, read_database_instance_id, take_dead_runs
from digest.settings import Settings
from digest.store.delivery_models import CLAIMED_STATES, Delivery, DeliveryState, QueuedNoticeEmail, RunLease
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from digest.store.process_identity import identify_current_process
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger

GRACE_LEASES = 4  # further leases in which another home's processes may read its file
_NOT_BEGUN = MessageOutcome(HandoverStatus.NOT_TRIED)
_NO_WORD = "the process sending it ended unexpectedly"

log = get_logger("sending")


class RunVerdict(Enum):
    """What a run is, as far as others can tell."""

    ALIVE = auto()
    SILENT = auto()  # it may hand over nothing more, and its file may still tell what became of its messages
    OVER = auto()


def judge_run(silence: float, lease: float, *, is_dead: bool, at_home: bool) -> RunVerdict:
    """Judge a run that didn't renew its lease for some seconds; `lease` is in seconds as well.

    A clock that was set back makes the silence negative. `is_dead` says that its process is known to be gone, `at_home` that its
    file would be among ours, and was read.
    """
    silence = abs(silence)
    if silence <= lease and not is_dead:
        return RunVerdict.ALIVE
    return RunVerdict.OVER if at_home or silence > lease * (1 + GRACE_LEASES) else RunVerdict.SILENT


def recover_dead_and_silent_runs(database: Database, settings: Settings, keys: KeyRing, *, now: datetime) -> None:
    """Take over what runs that are dead or silent had claimed. It may be repeated."""
    recover_dead_runs(database, settings, keys, now=now)
    _end_silent_runs(database, settings)


def recover_dead_runs(database: Database, settings: Settings, keys: KeyRing, *, now: datetime) -> None:
    """Record what the files of dead runs tell: answers as such, and what had not left waits again. It may be repeated."""
    unsubscribe_log = UnsubscribeLog(settings.left_log, keys)
    for dead_run in take_dead_runs(settings.runs_folder, read_database_instance_id(database)):
        with database.write() as session:
            rows = _lock_claimed(session, dead_run)
            results = _record_outcomes(session, dead_run, rows, keys, unsubscribe_log, now)
            cancelled = _reopen_editions(session, _list_purposes(session, dead_run) | {row.purpose for row in rows})
            session.execute(delete(RunLease).where(RunLease.owner == dead_run.owner))
        for name in cancelled:
            edition_control.cancel_waiting_deliveries(database, name)
        log.warning("a run ended without a word; its file tells what became of its messages", **results)


def _lock_claimed(session: Session, dead_run: DeadRun) -> Sequence[Any]:
    """Lock what a dead run had claimed and recorded no result of, also where its lease ran out meanwhile."""
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
    """Record the outcomes of a dead run; count them."""
    results, changes, events, unsent = Counter[str](), [], [], []
    for row in rows:
        # A reserved one hasn't begun: what a slot says of it is of an earlier try.
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
    """List the purposes of what a dead run had handed over last: some may wait again by a result that it recorded itself."""
    purposes = select(Delivery.purpose).where(Delivery.id.in_(dead_run.outcomes))
    return set(session.scalars(purposes))


def _reopen_editions(session: Session, purposes: Collection[str]) -> list[str]:
    """Let editions go on that were sent, as it seemed, and of which something waits; return the cancelled ones."""
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


def list_silent_runs(session: Session, settings: Settings, kept: Collection[str]) -> list[tuple[Any, RunVerdict]]:
    """List the leases of silent runs whose claims weren't taken away yet, with what the runs are.

    This process's own runs (`kept`) aren't silent: after an outage of the database they renew their leases.
    """
    this_process, home = identify_current_process(), make_run_folder_id(settings)
    silence = (database_clock(session) - RunLease.beat_at).label("silence")
    leases = session.execute(select(RunLease.owner, RunLease.epoch, RunLease.beat_at, RunLease.home, silence)).all()

    def judge(lease: Any) -> RunVerdict:
        is_dead, at_home = this_process.knows_dead(lease.owner), lease.home == home
        return judge_run(lease.silence, settings.send_lease, is_dead=is_dead, at_home=at_home)

    judged = [(lease, judge(lease)) for lease in leases if lease.owner not in kept]
    return [(lease, v) for lease, v in judged if v is RunVerdict.OVER or (v is RunVerdict.SILENT and lease.epoch == 1)]


def _take_claims(database: Database, lease: Any, verdict: RunVerdict) -> None:
    """Take the claims of a silent run away, as it was seen; what other processes have locked is left for the next time."""
    unchanged = (RunLease.owner == lease.owner, RunLease.epoch == lease.epoch, RunLease.beat_at == lease.beat_at)
    own = Delivery.owner == lease.owner
    with database.write() as session:
        row = session.scalar(select(RunLease).where(*unchanged).with_for_update(skip_locked=True))
        if row is None:
            return
        purposes = set(session.scalars(select(Delivery.purpose).where(own, IS_RESERVED).distinct()))
        row.epoch += 1
        # A test email is tried once, and has no one to wait for.
        is_test = Delivery.purpose.startswith(TEST_PURPOSE_PREFIX)
        waiting = case((is_test, DeliveryState.CANCELLED.value), else_=DeliveryState.WAITING.value)
        _change_claims(session, own & IS_RESERVED, state=waiting, owner=None, lease_until=None)
        if verdict is RunVerdict.OVER:
            _change_claims(session, own & IS_HANDING_OVER, state=DeliveryState.UNCERTAIN, reply=_NO_WORD)
            # What they were written from goes with their try.
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
