"""Handing over claimed deliveries and recording the results, for editions, transactional emails, and test emails.

1. The caller reserves rows (`delivery_claims`).
2. It checks again who may receive the message, and creates a `SendTask` for each delivery that may
   be sent.
3. `HandoverRun.mark_handing_over` marks these as being handed over, in a durable commit before
   anything is sent.
4. `compose_and_hand_over_batch` composes the messages and passes them to the provider, possibly in
   another thread.
5. `HandoverRun.note_result` decides each delivery's new state. A refusal also creates an event.
6. `HandoverRun.write_results` stores the results, in the transaction of the next claim.

After an error, unsent messages return to waiting. Messages that may have been sent stay claimed
until they become `uncertain`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold, provider_wait
from digest.deliver.events import event_processor
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.providers.base import (
    LEASE_EXPIRED,
    BatchOutcome,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
    Provider,
)
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims import retry_policy
from digest.deliver.send.claims.delivery_claims import ClaimedDelivery, LeaseTerms
from digest.deliver.send.claims.retry_policy import StateChange, decide_state_change, end_without_retry
from digest.deliver.send.claims.run_lease import LeaseKeeper
from digest.deliver.send.claims.run_progress_file import HandoverSlots, RunFile
from digest.settings import Settings
from digest.store.delivery_models import DeliveryState
from digest.store.engine import Database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import DecryptionError, KeyFileError, KeyRing
from subscribers.loggers import get_logger

_NOT_ACCEPTED = frozenset({HandoverStatus.REFUSED, HandoverStatus.TRY_LATER})

LEASE_LOST = "it was silent for too long, so other processes took over its messages. Send again to finish."

ClaimT = TypeVar("ClaimT", bound=ClaimedDelivery)

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class SendTask:
    """A claimed delivery that may be sent, the function that composes it, and its variant's tag, if any."""

    delivery: ClaimedDelivery
    compose_message: Callable[[], OutgoingMessage]
    variant: str = ""


@dataclass(frozen=True, slots=True)
class FinishedTaskBatch:
    """The results of processing a batch of tasks.

    `compose_errors` maps deliveries to the outcomes of messages that couldn't be composed.
    `outcome` has those of the other messages, in order. If there was an `error`, `may_have_left`
    says whether messages may have been sent anyway. A batch that `is_returned` wasn't tried, and
    may be sent after consent is checked again.
    """

    tasks: Sequence[SendTask]
    outcome: BatchOutcome = field(default_factory=lambda: BatchOutcome(()))
    compose_errors: Mapping[str, MessageOutcome] = field(default_factory=dict)
    error: BaseException | None = None
    may_have_left: bool = False
    is_returned: bool = False

    @property
    def handed_over(self) -> list[SendTask]:
        """The tasks whose messages were passed to the provider."""
        return [task for task in self.tasks if task.delivery.delivery_id not in self.compose_errors]

    @property
    def ended(self) -> list[str]:
        """The IDs of the deliveries that the provider has finished, or none if an error left their status unknown."""
        return [] if self.may_have_left else [task.delivery.delivery_id for task in self.tasks]


def compose_and_hand_over_batch(
    provider: Provider, tasks: Sequence[SendTask], slots: HandoverSlots
) -> FinishedTaskBatch:
    """Compose the messages of a batch, hand them over, and return the results, including any error.

    The slots of the batch must have begun. The database isn't used.
    """
    may_have_left = False
    try:
        untried, messages = compose_tasks(tasks, slots)
        may_have_left = bool(messages)
        outcome = provider.send_batch(messages, slots) if messages else untried.outcome
    except BaseException as exc:  # noqa: BLE001 - reraised by the thread that writes to the database
        return FinishedTaskBatch(tasks, error=exc, may_have_left=may_have_left)
    return FinishedTaskBatch(tasks, outcome, untried.compose_errors)


def compose_tasks(tasks: Sequence[SendTask], slots: HandoverSlots) -> tuple[FinishedTaskBatch, list[OutgoingMessage]]:
    """Compose messages right before they're sent.

    Return the results of the tasks without a message, and the messages.
    """
    if not slots.may_send():
        untried = MessageOutcome(HandoverStatus.NOT_TRIED, LEASE_EXPIRED)
        return FinishedTaskBatch(tasks, BatchOutcome((untried,) * len(tasks))), []
    messages, errors = _compose_messages(tasks)
    return FinishedTaskBatch(
        [task for task in tasks if task.delivery.delivery_id in errors], compose_errors=errors
    ), messages


def _compose_messages(
    tasks: Sequence[SendTask],
) -> tuple[list[OutgoingMessage], dict[str, MessageOutcome]]:
    """Compose messages, and return them along with the outcomes of those that couldn't be composed.

    A damaged row or a missing key doesn't prevent the others from being composed.
    """
    messages, errors = [], {}
    for task in tasks:
        try:
            messages.append(task.compose_message())
        except (DecryptionError, KeyFileError) as exc:
            delivery = task.delivery
            log.error("an address can't be decrypted", person=delivery.person, delivery=delivery.delivery_id)  # noqa: TRY400 - no trace needed
            # A missing key may be restored, but a row that its own key can't decrypt remains unreadable.
            result = HandoverStatus.TRY_LATER if isinstance(exc, KeyFileError) else HandoverStatus.REFUSED
            errors[delivery.delivery_id] = MessageOutcome(result, str(exc))
    return messages, errors


@dataclass(kw_only=True)
class HandoverRun:
    """A run that hands over messages through one provider, used by one thread, and the data for its next commit.

    `state_changes` and `refusal_events` are the results of deliveries. `withdrawn` contains the deliveries
    whose recipients may no longer receive them, and `unsent` those that were claimed but not sent.
    """

    database: Database
    provider: Provider
    keys: KeyRing
    settings: Settings
    clock: Callable[[], datetime]
    run_file: RunFile
    run_lease: LeaseKeeper
    retries: bool = True  # if False, a delivery gets one attempt
    # The time before the next attempt for messages that the provider didn't try.
    untried_pause: timedelta = timedelta()
    stop_reason: str = ""  # why nothing more is handed over
    lease: LeaseTerms = field(init=False)
    unsubscribe_log: UnsubscribeLog = field(init=False)
    results: Counter[HandoverStatus] = field(default_factory=Counter)
    refusal_count: int = 0
    state_changes: list[tuple[str, StateChange]] = field(default_factory=list)
    refusal_events: list[DeliveryEvent] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    possibly_sent: set[str] = field(default_factory=set)  # because an error occurred while they were being handed over

    def __post_init__(self) -> None:
        self.lease = LeaseTerms.for_provider(self.provider, self.run_file.owner)
        self.run_file.may_send = lambda: self.run_lease.is_valid
        self.unsubscribe_log = UnsubscribeLog(self.settings.left_log, self.keys)

    def note_claimed(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Record that a commit stored all results and claimed these deliveries, which haven't been sent yet."""
        self.state_changes, self.refusal_events, self.withdrawn = [], [], []
        self.unsent = [delivery.delivery_id for delivery in claimed]

    def keeps_lease(self) -> bool:
        """Renew the lease if it isn't valid, and return True if the run still has it.

        If it doesn't, set `stop_reason`.
        """
        self.run_lease.ensure_valid()
        if self.run_lease.is_lost:
            self.stop_reason = self.stop_reason or LEASE_LOST
        return not self.run_lease.is_lost

    def mark_handing_over(self, session: Session, deliveries: Sequence[ClaimedDelivery]) -> bool:
        """Mark reserved deliveries as being handed over, in the caller's transaction. Idempotent.

        Return False if another process has taken over any of them. The run then ends, and none of
        the deliveries may be sent.
        """
        if not deliveries or claims.mark_handing_over(session, self.lease, self.run_lease.epoch, deliveries):
            return True
        self.stop_reason = self.stop_reason or LEASE_LOST
        return False

    def note_permitted(self, claimed: Sequence[ClaimedDelivery], tasks: Sequence[SendTask]) -> None:
        """Record that `tasks` are being sent, and that the other claimed deliveries' recipients may not be emailed."""
        going = {task.delivery.delivery_id for task in tasks}
        self.unsent = []
        self.withdrawn += [d.delivery_id for d in claimed if d.delivery_id not in going]

    def note_result(self, result: FinishedTaskBatch) -> list[tuple[ClaimedDelivery, MessageOutcome]]:
        """Record a batch's results, and return the refused or deferred deliveries that caused no event.

        After an error, return none.
        """
        if result.error is not None:
            deliveries = [task.delivery.delivery_id for task in result.tasks]
            if result.may_have_left:
                self.possibly_sent.update(deliveries)
            else:
                self.unsent += deliveries
            return []
        now, deferred = self.clock(), []
        for task, outcome in zip(result.handed_over, result.outcome.outcomes, strict=True):
            delivery = task.delivery
            if outcome.result is HandoverStatus.NOT_TRIED and not outcome.reply:
                outcome = replace(outcome, reply=result.outcome.stop_reason)  # noqa: PLW2901 - kept for the doctor
            change = self._decide_change(delivery, outcome, result.outcome.wait_seconds, now)
            self.results[outcome.result] += 1
            self.state_changes.append((delivery.delivery_id, change))
            if outcome.result in _NOT_ACCEPTED and not self._note_refusal(delivery, change, now):
                deferred.append((delivery, outcome))
        for task in result.tasks:
            if error := result.compose_errors.get(task.delivery.delivery_id):
                change = self._decide_change(task.delivery, error, 0.0, now)
                waits = change.state is DeliveryState.WAITING
                self.state_changes.append((task.delivery.delivery_id, replace(change, attempted=waits)))
        return deferred

    def _decide_change(
        self, delivery: ClaimedDelivery, outcome: MessageOutcome, wait_seconds: float, now: datetime
    ) -> StateChange:
        change = decide_state_change(
            outcome,
            delivery_id=delivery.delivery_id,
            tries=delivery.tries,
            due_at=delivery.due_at,
            first_tried_at=delivery.first_handed_at,
            now=now,
        )
        if not self.retries:
            return end_without_retry(change)
        if self.untried_pause and outcome.result is HandoverStatus.NOT_TRIED:
            return replace(change, next_try_at=now + max(self.untried_pause, timedelta(seconds=wait_seconds)))
        return change

    def _note_refusal(self, delivery: ClaimedDelivery, change: StateChange, now: datetime) -> bool:
        """Record the event for a refusal during the SMTP conversation, and return True if there is one."""
        if self.lease.provider_name != retry_policy.REPORTED_BY:
            return False
        event = retry_policy.build_refusal_event(delivery.delivery_id, delivery.tries, change, now)
        if event is None:
            return False
        self.refusal_events.append(event)
        self.refusal_count += 1
        return True

    def write_results(self, session: Session) -> None:
        """Store the recorded results in the caller's transaction.

        This can be repeated if the commit fails.
        """
        owner = self.lease.owner
        claims.record_results(session, owner, self.state_changes)
        claims.undo_claims(session, owner, self.withdrawn, withdrawn=True)
        claims.undo_claims(session, owner, self.unsent, withdrawn=False)
        if self.refusal_events:
            event_processor.process_events(
                session, self.refusal_events, keys=self.keys, unsubscribe_log=self.unsubscribe_log, now=self.clock()
            )

    def share_provider_wait(self, seconds: float) -> datetime:
        """Tell all processes that the provider asked senders to wait, and return when the wait ends."""
        now = self.clock()
        wait_until = now + timedelta(seconds=seconds)
        with self.database.write() as session:
            provider_wait.note_provider_wait(session, self.provider.name, wait_until, now=now)
        return wait_until

    def may_claim(self, session: Session) -> bool:
        """Return True if deliveries may still be claimed, or set `stop_reason` and return False."""
        hold = installation_hold.read_current_hold(session)
        if hold is not None and not self.stop_reason:
            self.stop_reason = str(hold)
        return not self.stop_reason


def hand_over_batches(
    run: HandoverRun,
    claim_next: Callable[[Session], Sequence[ClaimT]],
    permit: Callable[[Sequence[ClaimT]], Sequence[SendTask]],
    wait_for_more: Callable[[], bool] = lambda: False,
) -> None:
    """Hand over batches in this thread until nothing is claimed or the provider asks to stop.

    One commit stores the results of a batch and claims the next one.

    Args:
        run: the run; its `stop_reason` says why it ended early.
        claim_next: claims the next batch, which is empty if `HandoverRun.may_claim` forbids it.
        permit: checks again who may receive a message, and returns a task for each.
        wait_for_more: called if nothing was claimed; may wait, and returns whether to claim
            again.
    """
    slots = run.run_file.take_slots()
    try:
        while True:
            claimed = _record_and_claim(run, claim_next)
            slots.free_ended()
            if not claimed and wait_for_more():
                continue
            if not claimed:
                return
            tasks = permit(claimed)
            if not (run.keeps_lease() and _hand_over_tasks(run, tasks)):
                continue  # the claimed deliveries return to waiting
            run.note_permitted(claimed, tasks)
            outcome = _hand_over_batch(run, tasks, slots)
            if outcome.wait_seconds:
                run.share_provider_wait(outcome.wait_seconds)
            run.stop_reason = outcome.stop_reason or _explain_wait(outcome)
    except BaseException:
        with run.database.write() as session:
            run.write_results(session)
        raise


def _explain_wait(outcome: BatchOutcome) -> str:
    """Return why all other messages must wait for the next run, or "" if they don't have to."""
    if outcome.is_busy:
        return "the mail server isn't accepting email for now"
    return f"the provider asked senders to wait {outcome.wait_seconds:.0f} seconds" if outcome.wait_seconds else ""


def _record_and_claim(
    run: HandoverRun,
    claim_next: Callable[[Session], Sequence[ClaimT]],
) -> Sequence[ClaimT]:
    with run.database.write() as session:
        run.write_results(session)
        claimed = claim_next(session)
    run.note_claimed(claimed)
    return claimed


def _hand_over_tasks(run: HandoverRun, tasks: Sequence[SendTask]) -> bool:
    with run.database.write() as session:
        return run.mark_handing_over(session, [task.delivery for task in tasks])


def _hand_over_batch(run: HandoverRun, tasks: Sequence[SendTask], slots: HandoverSlots) -> BatchOutcome:
    slots.begin_batch([task.delivery.delivery_id for task in tasks])
    result = compose_and_hand_over_batch(run.provider, tasks, slots)
    run.note_result(result)
    slots.end_batch(result.ended)
    if result.error is not None:
        raise result.error
    return result.outcome
