"""What events mean: for the delivery that they speak of, and for the person behind it. Pure.

Both are joins: what counts is the highest that was ever said. So any order and any repetition of the same events
ends at the same place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from digest.deliver.events.failure_causes import FailureCause
from digest.store.delivery_models import DeliveryState
from subscribers.lifecycle.feedback import FeedbackKind


class EventKind(StrEnum):
    """What an event says happened."""

    ACCEPTED = "accepted"  # the provider took it and will deliver it
    DELIVERED = "delivered"  # the receiving server took it
    DEFERRED = "deferred"  # the receiving server asked for patience; the provider goes on
    BOUNCED = "bounced"  # the receiving server will not have it
    DROPPED = "dropped"  # the provider did not even try
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    UNKNOWN = "unknown"  # kept, and of no effect


_ACCEPTANCE_KINDS = frozenset(
    {EventKind.ACCEPTED, EventKind.DELIVERED, EventKind.DEFERRED, EventKind.COMPLAINED, EventKind.UNSUBSCRIBED}
)
_REFUSAL_KINDS = frozenset({EventKind.BOUNCED, EventKind.DROPPED})
_CHANGEABLE_STATES = (DeliveryState.WAITING, DeliveryState.UNCERTAIN, DeliveryState.ACCEPTED)


def state_after_events(state: DeliveryState, kinds: Iterable[EventKind]) -> DeliveryState:
    """Decide where a delivery stands once all of this was said of it.

    uncertain, waiting < accepted < refused. Uncertain becomes accepted by any proof that the provider has it, and
    refused by a bounce or a drop, which also tells what became of one that was accepted. A message that waits to be
    sent again and turns out to have been taken is not sent again. Every other state is final; one that is being
    handed over is for its owner to settle, and is looked at again afterwards.
    """
    if state not in _CHANGEABLE_STATES:
        return state
    said = frozenset(kinds)
    if said & _REFUSAL_KINDS:
        return DeliveryState.REFUSED
    return DeliveryState.ACCEPTED if said & _ACCEPTANCE_KINDS else state


def feedback_of_event(kind: EventKind, cause: FailureCause) -> FeedbackKind | None:
    """Say what an event means for the person at once; None where it means nothing, or not by itself."""
    if kind is EventKind.COMPLAINED or cause is FailureCause.COMPLAINED:
        return FeedbackKind.COMPLAINED
    if kind is EventKind.UNSUBSCRIBED or cause is FailureCause.LEFT:
        return FeedbackKind.UNSUBSCRIBED
    if kind in _REFUSAL_KINDS and cause is FailureCause.NO_MAILBOX:
        return FeedbackKind.BOUNCED
    return None


HARD_BOUNCE_LIMIT = 2
BOUNCE_LIMIT = 3
BOUNCE_SPAN = timedelta(days=14)  # a mailbox that is full over a holiday is not gone


@dataclass(frozen=True, slots=True, order=True)
class DeliveryAttempt:
    """What became of one message to one person: `cause` is HARD or SOFT, or NONE where it arrived."""

    handed_at: datetime
    delivery_id: str
    cause: FailureCause


def has_failed_too_often(attempts: Iterable[DeliveryAttempt]) -> bool:
    """Say whether an address has failed too often without a message that arrived in between.

    Two hard strikes in a row, or three strikes of either kind over more than 14 days. A delivery wipes them out.
    """
    run: list[DeliveryAttempt] = []
    for attempt in sorted(attempts):
        run = [*run, attempt] if attempt.cause in {FailureCause.HARD, FailureCause.SOFT} else []
    hard = sum(attempt.cause is FailureCause.HARD for attempt in run)
    return hard >= HARD_BOUNCE_LIMIT or (
        len(run) >= BOUNCE_LIMIT and run[-1].handed_at - run[0].handed_at > BOUNCE_SPAN
    )
