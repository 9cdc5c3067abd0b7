"""The loop that sends an edition: record results and claim, check consent again, assign tasks, and wait for workers.

Each connection has a worker, a thread that composes and hands over messages. Only the calling
thread writes to the database. One durable commit records the results of all finished workers, and
reserves their next tasks and some more (`claim_buffer`), so many messages share it. It also marks
the messages that will be sent before the next commit as being handed over. If the process is
killed, at most the workers' messages become uncertain, one per SMTP connection, and the run's file
says how far they got (`run_progress_file`).

Every claim's transaction checks whether the run may continue, and this is checked again, along with
consent, right before messages are sent (`send_gate`). The rate limiter decides how many messages
may be sent at once. During a database outage, the run waits (`database_retry`).
"""

from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from digest.deliver.compose.message import MessageTemplate
from digest.deliver.compose.return_path import make_return_path
from digest.deliver.compose.variants import fill_placeholders
from digest.deliver.control import set_aside_domains
from digest.deliver.control.provider_wait import WAIT_REASON
from digest.deliver.control.set_aside_domains import make_variant_tag
from digest.deliver.plan import canary
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage, list_thread_providers
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER, MAX_CLAIM_BUFFER_SECONDS
from digest.deliver.send.claims.delivery_claims import ClaimedEditionDelivery
from digest.deliver.send.handover import SendTask
from digest.deliver.send.limits.rate_limits import SendAllowance
from digest.deliver.send.refusals import stop_rules
from digest.deliver.send.refusals.failure_attribution import FailureAttribution
from digest.deliver.send.refusals.message_suspicion import PROBE_SIZE
from digest.deliver.send.run.send_gate import HandoverPermission, ask_handover_permission, check_send_gate
from digest.deliver.send.run.send_run_state import MAX_PAUSE_SECONDS, SendRun
from digest.deliver.send.run.send_workers import SendWorker, WorkerPool, WorkerResult
from digest.edition.edition_queries import find_edition
from subscribers.loggers import get_logger
from subscribers.store.database import MAX_TRANSACTION_ROWS

# The seconds to pause when no connection gets a reply, doubled after each probe without a reply.
FIRST_NO_ANSWER_PAUSE = 1.0
# The single messages without a reply after that, before the run ends.
MAX_LOST_PROBES = 6
STOP_RULE_CHECK_INTERVAL = timedelta(seconds=5)
REFUSALS_BEFORE_CHECK = 5  # refusals that trigger an immediate check
_CANARY_WAIT_REASON = "the canary was sent, and the rest follow unless a stop rule is triggered"

_LEFT = frozenset({HandoverStatus.ACCEPTED, HandoverStatus.REFUSED, HandoverStatus.UNCERTAIN})

log = get_logger("sending")


def run_send_loop(run: SendRun) -> None:
    """Hand over due deliveries until none are left or the run has to stop.

    The results are counted in `HandoverRun.results`.
    """
    with closing(WorkerPool(list_thread_providers(run.provider), run.run_file)) as workers, closing(run.queries):
        try:
            while _run_round(run, workers):
                pass
        except BaseException:
            _finish_after_error(run, workers)
            raise


def _run_round(run: SendRun, workers: WorkerPool) -> bool:
    """Record results, assign due deliveries, and wait for a worker. Return False when the run is over."""
    _check_stop_rules(run)
    looked_at = run.clock()
    if run.is_over or run.seconds_paused or run.reserve_is_outdated or run.reserve.is_stale(looked_at):
        run.release_reserve()
    if _is_commit_due(run, workers):
        run.database_retry(lambda: _record_and_claim(run, workers))
    _hand_out(run, workers)
    if run.claims_more and workers.free_capacity:
        return True
    if _is_refill_due(run, workers):
        run.database_retry(lambda: _record_and_claim(run, workers))
    if workers.tasks_in_flight:
        patience = MAX_CLAIM_BUFFER_SECONDS if run.reserve else run.seconds_paused
        _process_results(run, workers, workers.wait_for_results(patience or None))
        return True
    if run.is_over:
        return run.has_unwritten_results
    if run.paused_until is None and not run.has_unwritten_results and _free_capacity(run, workers) > 0:
        run.database_retry(lambda: _pause_until_due(run, looked_at))
    if run.paused_until is None:
        return run.has_unwritten_results
    if run.unsent:
        return True
    run.queries.close()
    run.database_retry.sleep(run.seconds_paused)
    run.paused_until = None
    return True


def _is_commit_due(run: SendRun, workers: WorkerPool) -> bool:
    """Return True if it's time to record results and claim deliveries.

    That can wait while the buffer has tasks for all idle workers.
    """
    if not run.may_reserve or run.unsent or run.database_retry.commit_in_doubt or run.database_retry.stopping():
        return True
    if len(run.refusal_events) >= REFUSALS_BEFORE_CHECK:  # stop rules only count committed refusals
        return True
    return not 0 < workers.free_capacity <= run.reserve.begun


def _is_refill_due(run: SendRun, workers: WorkerPool) -> bool:
    """Return True if it's time to claim deliveries while all workers are busy.

    The next idle worker then doesn't have to wait for a commit.
    """
    if not run.may_reserve or run.unsent or workers.idle_capacity or run.database_retry.stopping():
        return False
    refill_size = workers.handout_size
    return len(run.reserve) < refill_size <= run.reserve.size_for_rate(run.attempted, run.clock())


def _check_stop_rules(run: SendRun) -> None:
    """Set domains aside or pause the edition if too many messages have failed."""
    now = run.clock()
    checked_lately = (
        run.stop_rules_checked_at is not None
        and run.stop_rules_checked_at <= now < run.stop_rules_checked_at + STOP_RULE_CHECK_INTERVAL
    )
    committed_refusals = run.refusal_count - len(run.refusal_events)
    if checked_lately and committed_refusals < run.refusals_at_check + REFUSALS_BEFORE_CHECK:
        return

    def find_stop() -> FailureAttribution:
        with run.database.read() as session:
            edition = find_edition(session, run.edition)
            return stop_rules.find_stop(session, edition, run.settings.file.alerts, run.handed_over)

    stop = run.database_retry(find_stop)
    run.stop_rules_checked_at, run.refusals_at_check = now, committed_refusals
    _apply_stop(run, stop)


def _apply_stop(run: SendRun, stop: FailureAttribution) -> None:
    """Set domains or variants aside, or pause the edition.

    Afterward, a new claim checks the reserved deliveries.
    """
    if stop != FailureAttribution():
        run.database_retry(lambda: stop_rules.apply_stop(run.database, run.edition, stop, now=run.clock()))
        run.reserve_is_outdated = bool(stop.domains)


def _record_and_claim(run: SendRun, workers: WorkerPool) -> None:
    """Record the latest results, reserve deliveries, and mark those to send next, all in one durable commit.

    This is idempotent.
    """
    capacity = min(_free_capacity(run, workers), MAX_TRANSACTION_ROWS)
    run.claims_more = False
    if capacity <= 0 and not run.has_unwritten_results and not run.database_retry.commit_in_doubt:
        return
    now = run.clock()
    capacity = capacity if run.keeps_lease() else 0
    with run.database.write() as session:
        run.write_results(session)
        if run.database_retry.commit_in_doubt:
            own = {*workers.tasks_in_flight, *run.possibly_sent, *run.reserve.ids}
            claims.undo_stray_claims(session, run.purpose, run.lease.owner, own)
        claimed = _claim_allowed(run, session, workers, capacity) if capacity > 0 else ()
        leaving = run.reserve.choose_deliveries_to_begin(claimed, max(workers.idle_capacity, workers.handout_size))
        begun = len(leaving) if run.mark_handing_over(session, leaving) else 0
        if run.progress_writer.is_due(now):
            run.progress_writer.write_progress(session, run.attempted, now, in_flight=len(workers.tasks_in_flight))
    run.note_reserved(claimed, begun)
    workers.note_commit()
    run.database_retry.commit_in_doubt = False


def _free_capacity(run: SendRun, workers: WorkerPool) -> int:
    """Return how many deliveries to claim now, for both the idle workers and the buffer."""
    if not run.is_over and run.database_retry.stopping():
        run.stop_reason = "it was stopped. Send again to finish."
    may_reserve = run.may_reserve and workers.idle_capacity <= MAX_CLAIM_BUFFER
    if run.is_over or run.seconds_paused or not (workers.idle_capacity or may_reserve):
        return 0
    reserved = run.reserve.size_for_rate(run.attempted, run.clock()) if may_reserve else 0
    capacity = workers.idle_capacity + reserved - len(run.reserve)
    if may_reserve:
        # After a power failure, at most the first batches of all workers and a full buffer are uncertain.
        claimed_already = len(workers.tasks_in_flight) + len(run.reserve)
        capacity = min(capacity, workers.first_capacity + MAX_CLAIM_BUFFER - claimed_already)
    if run.limit is not None:
        capacity = min(capacity, run.limit - run.attempted - len(workers.tasks_in_flight) - len(run.reserve))
    return min(capacity, 1) if run.unanswered_rounds else capacity


def _hand_out(run: SendRun, workers: WorkerPool) -> None:
    """Assign reserved deliveries that may still be sent to idle workers.

    If none may be sent, return them to waiting.
    """
    if run.reserve_is_outdated:
        run.release_reserve()
    going = run.reserve.peek_deliveries(min(workers.free_capacity, run.reserve.begun))
    if not going:
        if run.is_over:  # the lease was lost
            run.release_reserve()
        return
    numbers = [delivery.subscriber.number for delivery in going]
    permission = run.database_retry(lambda: _ask_permission(run, numbers))
    if permission.stop_reason:
        run.wait_reason = permission.stop_reason
    else:
        workers.assign_tasks(_make_tasks(run, going, permission.mailable))
    if not run.may_reserve:
        run.release_reserve()


def _ask_permission(run: SendRun, numbers: Sequence[int]) -> HandoverPermission:
    with run.queries.lend() as connection:
        return ask_handover_permission(connection, run.edition, numbers)


def _claim_allowed(
    run: SendRun, session: Session, workers: WorkerPool, capacity: int
) -> tuple[ClaimedEditionDelivery, ...]:
    """Claim the deliveries that may be sent now.

    If there are none, record why and until when.
    """
    now = run.clock()
    gate = check_send_gate(session, run.edition, run.provider.name, now)
    if gate.stop_reason:
        run.wait_reason = gate.stop_reason
        return ()
    run.note_aside(gate)
    if gate.phase.wait_until is not None:
        _pause_until_allowed(run, SendAllowance(0, gate.phase.wait_until, _CANARY_WAIT_REASON))
        return ()
    if gate.provider_wait is not None:
        _pause_until_allowed(run, SendAllowance(0, gate.provider_wait, WAIT_REASON))
        return ()
    allowance = run.rate_limiter.find_allowance(session, capacity, run.clock)
    if not allowance.messages:
        _pause_until_allowed(run, allowance)
        return ()
    now, suspicion = run.clock(), run.suspicion
    if any(domain.returning for domain in gate.aside.values()):
        set_aside_domains.requeue_decided_deliveries(session, run.edition, now=now)
    is_idle = not (run.reserve or workers.tasks_in_flight)
    claimed, run.claims_more = claims.claim_deliveries(
        session,
        run.lease,
        run.variants,
        run.rate_limiter.domain_limits,
        run.keys,
        run.claim_cursor,
        now=now,
        horizon=gate.phase.horizon,
        limit=min(allowance.messages, PROBE_SIZE) if suspicion.is_probing else allowance.messages,
        avoided_domains=suspicion.avoided_domains if suspicion.is_probing else None,
        aside=gate.aside,
        is_idle=is_idle,
    )
    ready_at = run.rate_limiter.count_messages(session, len(claimed), run.clock())
    if ready_at is not None:
        _pause_until_allowed(run, SendAllowance(0, ready_at, allowance.reason))
    is_over = is_idle and not claimed
    if suspicion.is_probing and is_over:
        run.stop_reason = suspicion.stop_reason
    if gate.phase.canary_only and is_over:
        observe_for = timedelta(minutes=run.settings.file.alerts.canary_minutes)
        wait_until = canary.record_canary_end(session, run.edition, now=now, observe_for=observe_for)
        _pause_until_allowed(run, SendAllowance(0, wait_until, _CANARY_WAIT_REASON))
    return claimed


def _pause_until_allowed(run: SendRun, allowance: SendAllowance) -> None:
    """Pause until messages may be sent again, or end the run if that would take too long."""
    assert allowance.available_at is not None, "an allowance of zero says when more may be sent"
    seconds = (allowance.available_at - run.clock()).total_seconds()
    if seconds <= MAX_PAUSE_SECONDS:
        _pause_for(run, max(seconds, 0.01))
    else:
        run.wait_reason, run.resumes_at = allowance.reason, allowance.available_at


def _pause_for(run: SendRun, seconds: float) -> None:
    """Hand over nothing for at least the given number of seconds."""
    until = run.clock() + timedelta(seconds=seconds)
    run.paused_until = max(until, run.paused_until or until)


def _pause_until_due(run: SendRun, looked_at: datetime) -> None:
    """Pause until the next delivery is due, if that's soon.

    Short waits are mostly for a domain's turn. Deliveries that were due at `looked_at` but not
    claimed belong to another process.
    """
    with run.database.read() as session:
        due = claims.find_next_due_time(session, run.purpose)
    if due is not None and looked_at < due <= looked_at + timedelta(seconds=MAX_PAUSE_SECONDS):
        _pause_for(run, max((due - run.clock()).total_seconds(), 0.01))


def _make_tasks(
    run: SendRun,
    going: Sequence[ClaimedEditionDelivery],
    mailable: Collection[int],
) -> list[SendTask]:
    """Remove deliveries from the buffer, and return the tasks for subscribers who may still be emailed."""
    run.reserve.remove(len(going))
    tasks: list[SendTask] = []
    preferences, template, variant = None, None, ""
    for delivery in going:
        if delivery.subscriber.number in mailable:
            # Subscribers with default preferences share one object, so its variant is looked up once.
            if delivery.subscriber.preferences is not preferences:
                preferences = delivery.subscriber.preferences
                template = run.variants.template_for(preferences)
                variant = make_variant_tag(run.variants.find_variant(preferences).as_text())
            assert template is not None, "claims skip subscribers who left out every section"
            tasks.append(SendTask(delivery, partial(_compose_message, run, delivery, template), variant))
    run.note_permitted(going, tasks)
    return tasks


def _compose_message(run: SendRun, delivery: ClaimedEditionDelivery, template: MessageTemplate) -> OutgoingMessage:
    """Compose a subscriber's message. This function is called in the worker's thread."""
    settings = run.settings.file
    return OutgoingMessage(
        delivery_id=delivery.delivery_id,
        outbox_folder="edition",
        template=template,
        placeholders=fill_placeholders(
            delivery.subscriber,
            delivery.message_id,
            delivery.first_handed_at,
            keys=run.keys,
            zone=settings.publication.zone,
            language=run.variants.language,
        ),
        bounce_address=make_return_path(run.keys, delivery.delivery_id, settings.sender.bounce_domain),
    )


def _process_results(run: SendRun, workers: WorkerPool, results: Sequence[WorkerResult]) -> None:
    """Record the results of tasks, and react to results that affect the whole run."""
    for result in results:
        _note_result(run, result)
        if result.batch.error is None:
            _react_to_outcome(run, workers, result.worker, result.batch.outcome)
    errors = [result.batch.error for result in results if result.batch.error is not None]
    if errors:
        raise errors[0]
    if not run.may_reserve:
        run.release_reserve()
    run.report_progress(run.attempted, run.planned_total)


def _note_result(run: SendRun, result: WorkerResult) -> None:
    if result.batch.is_returned:
        run.return_tasks(result.batch.tasks)
        return
    now = run.clock()
    domain_limits = run.rate_limiter.domain_limits
    judged = run.suspicion.judge_batch(result.batch)
    for task, outcome in zip(judged.handed_over, judged.outcome.outcomes, strict=False):
        if outcome.result in _LEFT:
            run.handed_over.add_message(task.delivery.domain_tag)
    for delivery, outcome in run.note_result(judged):
        if outcome.slows_domain and domain_limits.slow_down_domain(delivery.domain_tag, now):
            log.warning(
                "a domain asks for fewer messages, so its rate was halved",
                delivery=delivery.delivery_id,
                said=outcome.reply,
            )


def _react_to_outcome(run: SendRun, workers: WorkerPool, worker: SendWorker, outcome: BatchOutcome) -> None:
    """Stop, pause, or continue the run, depending on a worker's outcome."""
    # A server that accepted messages of this run will accept more. It may be limiting new
    # connections or restarting.
    is_busy = outcome.is_busy and bool(run.attempted or not outcome.stop_reason)
    if outcome.stop_reason and not is_busy:
        run.stop_reason = run.stop_reason or outcome.stop_reason
    elif run.suspicion.is_confirmed:
        run.stop_reason = run.stop_reason or run.suspicion.stop_reason
    else:
        new = {tag: why for tag, why in run.suspicion.domains_at_fault.items() if tag not in run.aside}
        _apply_stop(run, FailureAttribution(new, run.suspicion.pause_reason))
    if is_busy:
        _pause_then_probe(run, workers, outcome.stop_reason)
    if outcome.wait_seconds:
        available_at = run.database_retry(lambda: run.share_provider_wait(outcome.wait_seconds))
        _pause_until_allowed(run, SendAllowance(0, available_at, WAIT_REASON))
    results = {message.result for message in outcome.outcomes}
    if results == {HandoverStatus.UNCERTAIN}:
        worker.is_suspended = not worker.is_streaming
        if run.unanswered_rounds or not (workers.idle_capacity or workers.tasks_in_flight):
            _pause_then_probe(run, workers)
    elif results - {HandoverStatus.UNCERTAIN, HandoverStatus.NOT_TRIED}:  # there was a reply
        workers.resume_workers()
        run.unanswered_rounds = 0


def _pause_then_probe(run: SendRun, workers: WorkerPool, stop_reason: str = "") -> None:
    """Pause because every connection lost its reply or the server is busy, and then send a probe.

    Stop after several probes.
    """
    if run.seconds_paused:
        return
    if run.unanswered_rounds >= MAX_LOST_PROBES:
        run.stop_reason = (
            run.stop_reason
            or stop_reason
            or (
                f"The mail server accepted no message {run.unanswered_rounds + 1} times in a row. Check the server, then send again. "
                "The remaining messages are still waiting."
            )
        )
    _pause_for(run, FIRST_NO_ANSWER_PAUSE * 2**run.unanswered_rounds)
    run.unanswered_rounds += 1
    workers.resume_workers()


def _finish_after_error(run: SendRun, workers: WorkerPool) -> None:
    """Let busy workers finish after an error or interruption, and record their results."""
    while workers.tasks_in_flight:
        for result in workers.wait_for_results():
            _note_result(run, result)
    run.release_reserve()
    run.stop_reason = "a fault"
    run.database_retry(lambda: _record_and_claim(run, workers))
