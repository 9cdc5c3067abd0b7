"""Handing an edition over, in rounds: record and claim, ask again, send couriers off, wait for one to return.

Every connection has a courier, a thread that makes and hands over; the calling thread keeps the books. One durable
commit carries what came of the errands of all couriers who are back, and the claims for their next: under load many
share it. Nothing is handed over before its claim is durable, so a crash leaves at most what the couriers carry, one
message a connection over SMTP, without a word; those rows become `uncertain`.

What the run may do is asked in the transaction of every claim (`orders`), how much at once is the pace's to say
(`pace`), and while the database is away the run waits for it (`patience`).
"""

from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from digest.deliver.compose import return_path
from digest.deliver.compose.personalisation import fill_placeholders
from digest.deliver.control import edition_control
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.events import processor
from digest.deliver.plan import canary
from digest.deliver.providers.base import HandoverResult, OutgoingMessage
from digest.deliver.providers.parallel import providers_per_thread
from digest.deliver.send import alarms, claims, smtp_refusals
from digest.deliver.send.claims import ClaimedDelivery
from digest.deliver.send.rate_limits import SendAllowance, asks_to_slow_down
from digest.deliver.send.retry_policy import StateChange, decide_state_change
from digest.deliver.send.run_state import SendRun
from digest.deliver.send.send_gate import check_send_gate
from digest.deliver.send.smtp_refusals import refusal_event
from digest.deliver.send.workers import SendTask, WorkerPool, WorkerResult
from digest.store.delivery_models import DeliveryState
from subscribers.consent import audience

MAX_PAUSE_SECONDS = 60.0  # seconds that a run sleeps; for longer it ends, and says from when it may go on
NO_ANSWER_PAUSE = 30.0  # seconds of rest when no connection got an answer; a second such round ends the run
ALARM_CHECK_INTERVAL = timedelta(seconds=5)  # between two looks at what was said of the edition
REFUSALS_BEFORE_CHECK = 5  # refusals that make the run look at once

log = structlog.get_logger("sending")


def run_send_loop(run: SendRun) -> None:
    """Hand over whatever is due, until nothing is or the run has to stop; the run's counts tell what came of it."""
    with closing(
        WorkerPool(providers_per_thread(run.provider), lambda errand: _compose_message(run, errand))
    ) as couriers:
        try:
            while _run_round(run, couriers):
                pass
        except BaseException:
            _finish_after_error(run, couriers)
            raise


def _run_round(run: SendRun, workers: WorkerPool) -> bool:
    """Write down what is known, send couriers off with what is due, wait for one to return; False at the end."""
    _check_alarms(run)
    owed = run.database_retry(lambda: _record_and_claim(run, workers))
    workers.assign_tasks(run.database_retry(lambda: _recheck_consent(run, owed)))
    if workers.busy_count:
        _process_results(run, workers, workers.wait_for_results())
        return True
    if workers.suspended_workers and not workers.idle_workers:
        _pause_without_answers(run, workers)
    if run.pause_seconds and not run.is_over:
        run.database_retry.sleep(run.pause_seconds)
        run.pause_seconds = 0.0
        return True
    return run.has_unwritten_results


def _check_alarms(run: SendRun) -> None:
    """Let the edition rest if too much was said against it."""
    now = run.clock()
    lately = (
        run.alarms_checked_at is not None
        and run.alarms_checked_at <= now < run.alarms_checked_at + ALARM_CHECK_INTERVAL
    )
    if lately and run.refusals_since_check < REFUSALS_BEFORE_CHECK:
        return

    def found() -> str:
        with run.database.read() as session:
            said = alarms.count_failures(session, run.lease.purpose, run.failures_counted_since)
        return alarms.pause_reason(said, run.handed_over_before + run.attempted, run.settings.file.alerts)

    because = run.database_retry(found)
    run.alarms_checked_at, run.refusals_since_check = now, 0
    if because:
        with suppress(EditionControlError), run.database.write() as session:  # it may be over meanwhile
            if edition_control.pause_by_alarm(session, run.edition, because, now=now):
                log.error("sending paused", edition=run.edition, why=because)


def _record_and_claim(run: SendRun, workers: WorkerPool) -> tuple[ClaimedDelivery, ...]:
    """Write what came of the last errands and claim the next, in one durable commit. It may be taken twice."""
    room = _free_capacity(run, workers)
    if room <= 0 and not run.has_unwritten_results and not run.database_retry.commit_in_doubt:
        return ()
    now = run.clock()
    with run.database.write() as session:
        _record_results(run, session, workers)
        owed = _claim_allowed(run, session, workers, room) if room > 0 else ()
        run.rate_limiter.count_messages(session, len(owed), now)
        if run.progress_writer.is_due(now):
            run.progress_writer.write_progress(session, run.attempted + len(workers.tasks_in_flight), now)
    run.state_changes, run.refusal_events, run.withdrawn, run.unsent = ([], [], [], [o.delivery_id for o in owed])
    run.database_retry.commit_in_doubt = False
    return owed


def _free_capacity(run: SendRun, workers: WorkerPool) -> int:
    """Say how many errands could be given out now."""
    if not run.is_over and run.database_retry.stopping():
        run.stop_reason = "it was told to stop. Send again: the rest still waits."
    if run.is_over or run.pause_seconds:
        return 0
    if run.limit is None:
        return workers.free_capacity
    return min(workers.free_capacity, run.limit - run.attempted - len(workers.tasks_in_flight))


def _record_results(run: SendRun, session: Session, workers: WorkerPool) -> None:
    owner = run.lease.owner
    claims.record_results(session, owner, run.state_changes)
    claims.undo_claims(session, owner, run.withdrawn, withdrawn=True)
    claims.undo_claims(session, owner, run.unsent, withdrawn=False)
    if run.database_retry.commit_in_doubt:
        claims.undo_stray_claims(session, run.lease, workers.tasks_in_flight.keys() | run.possibly_sent)
    if run.refusal_events:
        processor.process_events(
            session, run.refusal_events, keys=run.keys, departure_log=run.departure_log, now=run.clock()
        )


def _claim_allowed(run: SendRun, session: Session, workers: WorkerPool, capacity: int) -> tuple[ClaimedDelivery, ...]:
    """Claim what may go now; where nothing may, note why and until when."""
    now = run.clock()
    told = check_send_gate(session, run.edition, now)
    if told.stop_reason:
        run.wait_reason = told.stop_reason
        return ()
    if told.phase.wait_until is not None:
        _pause_until_allowed(run, SendAllowance(0, told.phase.wait_until, _CANARY_WAIT_REASON))
        return ()
    allowed = run.rate_limiter.current_allowance(session, capacity, now)
    if not allowed.messages:
        _pause_until_allowed(run, allowed)
        return ()
    found = claims.claim_deliveries(
        session,
        run.lease,
        run.variants,
        run.rate_limiter.domain_limits,
        now=now,
        horizon=told.phase.horizon,
        limit=allowed.messages,
    )
    if told.phase.canary_only and not found and not workers.busy_count:
        watch = timedelta(minutes=run.settings.file.alerts.canary_minutes)
        _pause_until_allowed(
            run,
            SendAllowance(0, canary.end_canary(session, run.edition, now=now, observe_for=watch), _CANARY_WAIT_REASON),
        )
    return found


_CANARY_WAIT_REASON = "the first readers have it, and the rest follows unless something goes wrong"


def _pause_until_allowed(run: SendRun, allowance: SendAllowance) -> None:
    """Rest until messages may leave again; end the run where that is far off."""
    assert allowance.available_at is not None, "where there is no room, it is known from when there will be"
    seconds = (allowance.available_at - run.clock()).total_seconds()
    if seconds <= MAX_PAUSE_SECONDS:
        run.pause_seconds = max(run.pause_seconds, seconds, 0.01)
    else:
        run.wait_reason, run.resumes_at = allowance.reason, allowance.available_at


def _recheck_consent(run: SendRun, claimed: Sequence[ClaimedDelivery]) -> list[SendTask]:
    """Ask for consent at the moment of handing over; give the errands for those who are still there."""
    if not claimed:
        return []
    with run.database.read() as session:
        still = audience.filter_mailable(session, [o.reader.number for o in claimed])
    errands = []
    for o in claimed:
        if o.reader.number in still:
            letter = run.variants.template_for(o.reader.preferences)
            assert letter is not None, "the claim puts aside whom no section is left for"
            errands.append(SendTask(o, letter))
    run.unsent = []
    run.withdrawn = [o.delivery_id for o in claimed if o.reader.number not in still]
    return errands


def _compose_message(run: SendRun, task: SendTask) -> OutgoingMessage:
    """Make a message; the courier calls it, in its own thread."""
    owed, file = task.delivery, run.variants.settings.file
    domain = file.sender.bounce_domain
    return OutgoingMessage(
        delivery_id=owed.delivery_id,
        outbox_folder="edition",
        template=task.template,
        placeholders=fill_placeholders(owed.reader, owed.message_id, keys=run.keys, zone=file.publication.zone),
        bounce_address=return_path.make_return_path(run.keys, owed.delivery_id, domain) if domain else "",
    )


def _process_results(run: SendRun, workers: WorkerPool, results: Sequence[WorkerResult]) -> None:
    """Learn what came of errands, and do for the whole run what the answers ask for."""
    for done in results:
        if done.error is None:
            _note_outcomes(run, done)
            _react_to_outcome(run, workers, done)
        else:
            _note_worker_error(run, done)
    errors = [done.error for done in results if done.error is not None]
    if errors:
        raise errors[0]
    run.report_progress(run.attempted, run.planned_total)


def _note_worker_error(run: SendRun, result: WorkerResult) -> None:
    """After a fault: what had not left waits again. What may have left stays as it is, and its lease runs out."""
    deliveries = [e.delivery.delivery_id for e in result.tasks]
    if result.may_have_left:
        run.possibly_sent.update(deliveries)
    else:
        run.unsent += deliveries


def _note_outcomes(run: SendRun, result: WorkerResult) -> None:
    """Note what came of one courier's errands: the moves of deliveries, and what servers said of addresses."""
    now = run.clock()
    for owed, outcome in zip(result.handed_over, result.batch_outcome.outcomes, strict=True):
        moved = decide_state_change(
            outcome, delivery_id=owed.delivery_id, tries=owed.tries, due_at=owed.due_at, now=now
        )
        run.results[outcome.result] += 1
        run.state_changes.append((owed.delivery_id, moved))
        if outcome.result in _NOT_ACCEPTED:
            _note_refusal(run, owed, moved, now)
    run.state_changes += [
        (id_, StateChange(DeliveryState.REFUSED, why, attempted=False)) for id_, why in result.compose_errors.items()
    ]


_NOT_ACCEPTED = frozenset({HandoverResult.REFUSED, HandoverResult.TRY_LATER})


def _note_refusal(run: SendRun, delivery: ClaimedDelivery, change: StateChange, now: datetime) -> None:
    over_smtp = run.lease.provider_name == smtp_refusals.REPORTED_BY
    said = refusal_event(delivery.delivery_id, delivery.tries, change, now) if over_smtp else None
    if said is not None:
        run.refusal_events.append(said)
        run.refusals_since_check += 1
    elif asks_to_slow_down(change.reply) and run.rate_limiter.domain_limits.slow_down_domain(
        delivery.reader.domain_tag, now
    ):
        log.warning("a domain asks for less; it gets half as many", delivery=delivery.delivery_id, said=change.reply)


def _react_to_outcome(run: SendRun, workers: WorkerPool, result: WorkerResult) -> None:
    """Stop, rest, or go on, as one courier's answer asks for."""
    handed = result.batch_outcome
    if handed.stop_reason and handed.this_connection_only and workers.worker_count > 1:
        workers.dismiss_worker(result.worker)  # many a server takes fewer connections than we would like
        log.warning("one connection fewer", why=handed.stop_reason, left=workers.worker_count)
    elif handed.stop_reason:
        run.stop_reason = run.stop_reason or handed.stop_reason
    if handed.wait_seconds:
        _pause_until_allowed(
            run,
            SendAllowance(0, run.clock() + timedelta(seconds=handed.wait_seconds), "the provider asks for patience"),
        )
    results = {outcome.result for outcome in handed.outcomes}
    if results == {HandoverResult.UNCERTAIN}:
        workers.suspend_worker(result.worker)
    elif results - {HandoverResult.UNCERTAIN, HandoverResult.NOT_TRIED}:  # an answer
        workers.resume_workers()
        run.had_no_answers = False


def _pause_without_answers(run: SendRun, workers: WorkerPool) -> None:
    """Rest when every connection lost its answer; stop when it is no better after that."""
    if run.had_no_answers:
        run.stop_reason = run.stop_reason or (
            "twice in a row there was no answer after a message was sent. "
            "Look at the mail server, then send again: the rest still waits."
        )
    run.had_no_answers, run.pause_seconds = True, max(run.pause_seconds, NO_ANSWER_PAUSE)
    workers.resume_workers()


def _finish_after_error(run: SendRun, workers: WorkerPool) -> None:
    """After a fault or an interruption: let those who are out come back, and write down what came of it."""
    while workers.busy_count:
        for done in workers.wait_for_results():
            if done.error is None:
                _note_outcomes(run, done)
            else:
                _note_worker_error(run, done)
    run.stop_reason = "a fault"
    run.database_retry(lambda: _record_and_claim(run, workers))
