"""One event about a delivery, normalised, and what it means for the delivery and for the person behind it. Pure.

Both are joins: the highest that was ever reported counts. So any order and any repetition of the same events ends in
the same state.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from digest.deliver.compose.identifiers import DELIVERY_ID_LENGTH
from digest.deliver.events.failure_causes import FailureCause
from digest.store.delivery_models import DeliveryState
from subscribers.lifecycle.feedback import DeliveryFeedbackKind

ABOUT_MESSAGE = "message"  # `about` in the detail of a refusal that blames the message or its variant


class EventKind(StrEnum):
    """What an event says happened."""

    ACCEPTED = "accepted"  # the provider took it and will deliver it
    DELIVERED = "delivered"  # the receiving server took it
    DEFERRED = "deferred"  # the receiving server asked for patience; the provider goes on
    BOUNCED = "bounced"  # the receiving server will not have it
    DROPPED = "dropped"  # the provider did not even try
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUPERSEDED = "superseded"  # a refusal of a message that was sent again: kept, and of no effect anymore
    UNKNOWN = "unknown"  # kept, and of no effect


@dataclass(frozen=True, slots=True)
class EventEffect:
    """What an event of one kind means. `feedback_by_cause` adds to `feedback` what only some causes mean for the person."""

    state: DeliveryState | None = None  # of the delivery, see `state_after_events`
    feedback: DeliveryFeedbackKind | None = None  # about the person
    feedback_by_cause: Mapping[FailureCause, DeliveryFeedbackKind] = field(default_factory=dict)


_FEEDBACK_BY_CAUSE = {
    FailureCause.NO_MAILBOX: DeliveryFeedbackKind.BOUNCED,
    FailureCause.COMPLAINED: DeliveryFeedbackKind.COMPLAINED,
    FailureCause.LEFT: DeliveryFeedbackKind.UNSUBSCRIBED,
}
EVENT_CONSEQUENCES = {
    EventKind.ACCEPTED: EventEffect(DeliveryState.ACCEPTED),
    EventKind.DELIVERED: EventEffect(DeliveryState.ACCEPTED),
    EventKind.DEFERRED: EventEffect(DeliveryState.ACCEPTED),
    EventKind.BOUNCED: EventEffect(DeliveryState.REFUSED, feedback_by_cause=_FEEDBACK_BY_CAUSE),
    EventKind.DROPPED: EventEffect(DeliveryState.REFUSED, feedback_by_cause=_FEEDBACK_BY_CAUSE),
    EventKind.COMPLAINED: EventEffect(DeliveryState.ACCEPTED, DeliveryFeedbackKind.COMPLAINED),
    EventKind.UNSUBSCRIBED: EventEffect(DeliveryState.ACCEPTED, DeliveryFeedbackKind.UNSUBSCRIBED),
    EventKind.SUPERSEDED: EventEffect(),
    EventKind.UNKNOWN: EventEffect(),
}
_CHANGEABLE_STATES = (DeliveryState.WAITING, DeliveryState.UNCERTAIN, DeliveryState.ACCEPTED)


def state_after_events(state: DeliveryState, kinds: Iterable[EventKind]) -> DeliveryState:
    """Return the state of a delivery after all events of these kinds.

    uncertain, waiting < accepted < refused. Uncertain becomes accepted by any proof that the provider has it, and
    refused by a bounce or a drop, which also applies to one that was accepted. A message that waits for another try
    and turns out to have been taken is not sent again. Every other state is final; one that is being handed over is
    left to its owner, and looked at again afterwards.
    """
    if state not in _CHANGEABLE_STATES:
        return state
    reported = {EVENT_CONSEQUENCES[kind].state for kind in kinds}
    return next((s for s in (DeliveryState.REFUSED, DeliveryState.ACCEPTED) if s in reported), state)


def is_refusal(kind: EventKind) -> bool:
    """Whether an event of this kind says that the message will not arrive."""
    return EVENT_CONSEQUENCES[kind].state is DeliveryState.REFUSED


def convert_event_to_feedback_kind(kind: EventKind, cause: FailureCause) -> DeliveryFeedbackKind | None:
    """Return what an event means for the person at once; None where it means nothing, or not by itself."""
    consequence = EVENT_CONSEQUENCES[kind]
    return consequence.feedback or consequence.feedback_by_cause.get(cause)


HARD_BOUNCE_LIMIT = 2
BOUNCE_LIMIT = 3
BOUNCE_SPAN = timedelta(days=14)  # a mailbox that is full over a holiday is not gone


@dataclass(frozen=True, slots=True, order=True)
class DeliveryAttempt:
    """The result of one message to one person: `cause` is HARD or SOFT, or NONE where it arrived."""

    handed_at: datetime
    delivery_id: str
    cause: FailureCause


def has_failed_too_often(attempts: Iterable[DeliveryAttempt]) -> bool:
    """Whether an address has failed too often without a message that arrived in between.

    Two hard bounces in a row, or three bounces of either kind over more than 14 days.
    """
    bounces: list[DeliveryAttempt] = []
    for attempt in sorted(attempts):
        bounces = [*bounces, attempt] if attempt.cause in {FailureCause.HARD, FailureCause.SOFT} else []
    hard_count = sum(attempt.cause is FailureCause.HARD for attempt in bounces)
    return hard_count >= HARD_BOUNCE_LIMIT or (
        len(bounces) >= BOUNCE_LIMIT and bounces[-1].handed_at - bounces[0].handed_at > BOUNCE_SPAN
    )


_DELIVERY_ID = re.compile(rf"[a-z2-7]{{{DELIVERY_ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One event, normalised. `detail` holds texts that are scrubbed of addresses; `reported_by` names the source.

    `fingerprint` is a hash of the content, `provider_mark` one of the provider's id for the event: it is a repetition
    if either is known. `person` is the subscriber whom the event is about if it proves nothing about any of their deliveries.
    """

    reported_by: str
    delivery_id: str | None
    kind: EventKind
    cause: FailureCause
    occurred_at: datetime
    received_at: datetime
    fingerprint: str
    provider_mark: str | None
    detail: Mapping[str, str]
    person: int | None = None


def parse_delivery_id(text: str) -> str | None:
    """Return the text if it has the form of a delivery's id, else None."""
    return text if _DELIVERY_ID.fullmatch(text) else None


def hash_event_parts(*parts: str) -> str:
    """Hash what identifies an event; no two lists of parts give the same hash."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
