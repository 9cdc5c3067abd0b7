"""Handing claimed deliveries over and recording what came of it: one path for editions, notices and test mails.

1. The caller reserves rows (`claims`).
2. It asks again who may still get the message, and makes a `SendTask` of each delivery that may go.
3. `HandoverRun.mark_handing_over` marks them as being handed over, in a commit that is durable before anything leaves.
4. `compose_and_hand_over_batch` composes the messages and gives them to the provider. It may run in another thread.
5. `HandoverRun.note_result` decides what becomes of each delivery; a refusal is an event too.
6. `HandoverRun.write_results` writes that down, in the transaction of the next claim.

After a fault, messages that had not left wait again. What may have left stays claimed until it is `uncertain`.
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
from digest.deliver.send.claims.run_progress_file import RunFile, RunFileSlots
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
    """A claimed delivery that may go, and what composes its message; `variant` is the tag of its variant, if it has one."""

    delivery: ClaimedDelivery
    compose_message: Callable[[], OutgoingMessage]
    variant: str = ""


@dataclass(frozen=True, slots=True)
class FinishedTaskBatch:
    """What came of a batch of tasks.

    `compose_errors` are the outcomes, by delivery, of messages that could not be composed; `outcome` speaks of the others, in their
    order. With an `error`, `may_have_left` says whether some may have left all the same. A batch that `is_returned` was not tried,
    and may go once consent was asked again.
    """

    tasks: Sequence[SendTask]
    outcome: BatchOutcome = field(default_factory=lambda: BatchOutcome(()))
    compose_errors: Mapping[str, MessageOutcome] = field(default_factory=dict)
    error: BaseException | None = None
    may_have_left: bool = False
    is_returned: bool = False

    @property
    def handed_over(self) -> list[SendTask]:
        """The tasks whose messages were given to the provider."""
        return [task for task in self.tasks if task.delivery.delivery_id not in self.compose_errors]

    @property
    def ended(self) -> list[str]:
        """The deliveries of which nothing leaves any more."""
        return [] if self.may_have_left else [task.delivery.delivery_id for task in self.tasks]


def compose_and_hand_over_batch(
    provider: Provider, tasks: Sequence[SendTask], slots: RunFileSlots
) -> FinishedTaskBatch:
    """Compose the messages of a batch and hand them over; a fault is part of the result. No database is touched.

    The batch has begun in `slots`.
    """
    may_have_left = False
    try:
        untried, messages = compose_tasks(tasks, slots)
        may_have_left = bool(messages)
        outcome = provider.send_batch(messages, slots) if messages else untried.outcome
    except BaseException as exc:  # noqa: BLE001 - raised again by the thread that writes to the database
        return FinishedTaskBatch(tasks, error=exc, may_have_left=may_have_left)
    return FinishedTaskBatch(tasks, outcome, untried.compose_errors)


def compose_tasks(tasks: Sequence[SendTask], slots: RunFileSlots) -> tuple[FinishedTaskBatch, list[OutgoingMessage]]:
    """Compose messages right before they leave; return what came of the tasks that do not, and the messages of the others."""
    if not slots.may_leave():
        untried = MessageOutcome(HandoverStatus.NOT_TRIED, LEASE_EXPIRED)
        return FinishedTaskBatch(tasks, BatchOutcome((untried,) * len(tasks))), []
    messages, errors = _compose_messages(tasks)
    return FinishedTaskBatch(
        [task for task in tasks if task.delivery.delivery_id in errors], compose_errors=errors
    ), messages


def _compose_messages(tasks: Sequence[SendTask]) -> tuple[list[OutgoingMessage], dict[str, MessageOutcome]]:
    """Compose what can be: a damaged row, or one whose key is missing, must not hold up everybody behind it."""
    messages, errors = [], {}
    for task in tasks:
        try:
            messages.append(task.compose_message())
        except (DecryptionError, KeyFileError) as exc:
            delivery = task.delivery
            log.error("address does not open", person=delivery.person, delivery=delivery.delivery_id)  # noqa: TRY400 - no trace needed
            # A key that's missing may be put back; what doesn't open under its own key never will.
            result = HandoverStatus.TRY_LATER if isinstance(exc, KeyFileError) else HandoverStatus.REFUSED
            errors[delivery.delivery_id] = MessageOutcome(result, str(exc))
    return messages, errors


@dataclass(kw_only=True)
class HandoverRun:
    """One run over one provider, kept by one thread, and what its next commit writes down.

    `state_changes` and `refusal_events` are what came of deliveries, `withdrawn` those whose recipients may not get
    them any more, `unsent` those that were claimed and never left.
    """

    database: Database
    provider: Provider
    keys: KeyRing
    settings: Settings
    clock: Callable[[], datetime]
    run_file: RunFile
    run_lease: LeaseKeeper
    retries: bool = True  # False: a delivery gets one try
    untried_pause: timedelta = timedelta()  # before the next try of what the provider did not even try
    stop_reason: str = ""  # why nothing more is handed over
    lease: LeaseTerms = field(init=False)
    unsubscribe_log: UnsubscribeLog = field(init=False)
    results: Counter[HandoverStatus] = field(default_factory=Counter)
    refusal_count: int = 0
    state_changes: list[tuple[str, StateChange]] = field(default_factory=list)
    refusal_events: list[DeliveryEvent] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    possibly_sent: set[str] = field(default_factory=set)  # a fault struck while they were handed over

    def __post_init__(self) -> None:
        self.lease = LeaseTerms.for_provider(self.provider, self.run_file.owner)
        self.run_file.may_leave = lambda: self.run_lease.is_valid
        self.unsubscribe_log = UnsubscribeLog(self.settings.left_log, self.keys)

    def note_claimed(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Note that a commit wrote everything down and claimed these, which have not left yet."""
        self.state_changes, self.refusal_events, self.withdrawn = [], [], []
        self.unsent = [delivery.delivery_id for delivery in claimed]

    def keeps_lease(self) -> bool:
        """Return whether this run may go on; if not, it ends."""
        self.run_lease.ensure_valid()
        if self.run_lease.is_lost:
            self.stop_reason = self.stop_reason or LEASE_LOST
        return not self.run_lease.is_lost

    def mark_handing_over(self, session: Session, deliveries: Sequence[ClaimedDelivery]) -> bool:
        """Mark reserved deliveries as being handed over, in the caller's transaction. It may be repeated.

        Return False unless all are still this run's. Then the run ends, and none of them may leave.
        """
        if not deliveries or claims.mark_handing_over(session, self.lease, self.run_lease.epoch, deliveries):
            return True
        self.stop_reason = self.stop_reason or LEASE_LOST
        return False

    def note_permitted(self, claimed: Sequence[ClaimedDelivery], tasks: Sequence[SendTask]) -> None:
        """Note which of the claimed deliveries go now, as tasks; the recipients of the others are gone."""
        going = {task.delivery.delivery_id for task in tasks}
        self.unsent = []
        self.withdrawn += [d.delivery_id for d in claimed if d.delivery_id not in going]

    def note_result(self, result: FinishedTaskBatch) -> list[tuple[ClaimedDelivery, MessageOutcome]]:
        """Note what came of a batch; return the deliveries that were not accepted and gave no event."""
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
        """Note the event that a refusal in the SMTP conversation is; return whether it is one."""
        if self.lease.provider_name != retry_policy.REPORTED_BY:
            return False
        event = retry_policy.build_refusal_event(delivery.delivery_id, delivery.tries, change, now)
        if event is None:
            return False
        self.refusal_events.append(event)
        self.refusal_count += 1
        return True

    def write_results(self, session: Session) -> None:
        """Record what was noted, in the caller's transaction. It may be repeated after a failed commit."""
        owner = self.lease.owner
        claims.record_results(session, owner, self.state_changes)
        claims.undo_claims(session, owner, self.withdrawn, withdrawn=True)
        claims.undo_claims(session, owner, self.unsent, withdrawn=False)
        if self.refusal_events:
            event_processor.process_events(
                session, self.refusal_events, keys=self.keys, unsubscribe_log=self.unsubscribe_log, now=self.clock()
            )

    def share_provider_wait(self, seconds: float) -> datetime:
        """Note for all processes that the provider asks to wait for so long; return until when."""
        now = self.clock()
        wait_until = now + timedelta(seconds=seconds)
        with self.database.write() as session:
            provider_wait.note_provider_wait(session, self.provider.name, wait_until, now=now)
        return wait_until

    def may_claim(self, session: Session) -> bool:
        """Return whether anything may still be claimed; `stop_reason` says why not."""
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
    """Hand over batch after batch in this thread, until nothing is claimed or the provider asks to stop.

    One commit records what came of a batch and claims the next.

    Args:
        run: the run; its `stop_reason` says why it ended early.
        claim_next: claims the next batch, none where `HandoverRun.may_claim` forbids it.
        permit: asks again who may get a message, and makes a task for each of those.
        wait_for_more: called where nothing was claimed; it may wait, and says whether to claim again.
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
                continue  # what was claimed waits again
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
    """Return why the others wait for the next run, too; empty if they needn't: each would be turned away like these."""
    if outcome.is_busy:
        return "the mail server isn't accepting email for now"
    return f"the provider asks to wait for {outcome.wait_seconds:.0f} seconds" if outcome.wait_seconds else ""


def _record_and_claim(run: HandoverRun, claim_next: Callable[[Session], Sequence[ClaimT]]) -> Sequence[ClaimT]:
    with run.database.write() as session:
        run.write_results(session)
        claimed = claim_next(session)
    run.note_claimed(claimed)
    return claimed


def _hand_over_tasks(run: HandoverRun, tasks: Sequence[SendTask]) -> bool:
    with run.database.write() as session:
        return run.mark_handing_over(session, [task.delivery for task in tasks])


def _hand_over_batch(run: HandoverRun, tasks: Sequence[SendTask], slots: RunFileSlots) -> BatchOutcome:
    slots.begin_batch([task.delivery.delivery_id for task in tasks])
    result = compose_and_hand_over_batch(run.provider, tasks, slots)
    run.note_result(result)
    slots.end_batch(result.ended)
    if result.error is not None:
        raise result.error
    return result.outcome
