"""A normalized delivery event, and its effects on the delivery and the person. All functions are pure.

Both effects are joins: the highest value ever reported applies. Therefore, events result in the
same state in any order, even if they're repeated.
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
    """The kind of a delivery event."""

    ACCEPTED = "accepted"  # the provider accepted it and will deliver it
    DELIVERED = "delivered"  # the recipient's server accepted it
    DEFERRED = "deferred"  # the recipient's server deferred it, and the provider keeps trying
    BOUNCED = "bounced"  # the recipient's server rejected it
    DROPPED = "dropped"  # the provider didn't try to deliver it
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUPERSEDED = "superseded"  # a refusal of a message that was sent again; stored but ignored
    UNKNOWN = "unknown"  # stored but ignored


@dataclass(frozen=True, slots=True)
class EventEffect:
    """The effect of a kind of event. `feedback_by_cause` adds feedback that depends on the failure's cause."""

    state: DeliveryState | None = None  # state of the delivery; see `find_state_after_events`
    feedback: DeliveryFeedbackKind | None = None  # feedback about the person
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


def find_state_after_events(state: DeliveryState, kinds: Iterable[EventKind]) -> DeliveryState:
    """Return a delivery's state after events of the given kinds.

    States are ordered: unknown and waiting, then accepted, then refused. Evidence that the provider
    has the message changes an uncertain or waiting delivery to accepted, so that a waiting one isn't
    sent again. A bounce or drop changes any of the three to refused. All other states are final,
    except that a delivery being handed over is left to its owner and checked again afterward.
    """
    if state not in _CHANGEABLE_STATES:
        return state
    reported = {EVENT_CONSEQUENCES[kind].state for kind in kinds}
    return next((s for s in (DeliveryState.REFUSED, DeliveryState.ACCEPTED) if s in reported), state)


def is_refusal(kind: EventKind) -> bool:
    """Return True if an event of this kind means that the message won't arrive."""
    return EVENT_CONSEQUENCES[kind].state is DeliveryState.REFUSED


def convert_event_to_feedback_kind(kind: EventKind, cause: FailureCause) -> DeliveryFeedbackKind | None:
    """Return the feedback about the person that an event gives on its own, or None if it gives none."""
    consequence = EVENT_CONSEQUENCES[kind]
    return consequence.feedback or consequence.feedback_by_cause.get(cause)


HARD_BOUNCE_LIMIT = 2
BOUNCE_LIMIT = 3
BOUNCE_SPAN = timedelta(days=14)  # a mailbox may be full during a vacation


@dataclass(frozen=True, slots=True, order=True)
class DeliveryAttempt:
    """The result of sending one message to one person. `cause` is HARD or SOFT, or NONE if the message arrived."""

    handed_at: datetime
    delivery_id: str
    cause: FailureCause


def has_failed_too_often(attempts: Iterable[DeliveryAttempt]) -> bool:
    """Return True if an address has bounced too often without a message arriving in between.

    That means two hard bounces in a row, or three bounces of either kind over more than 14 days.
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
    """A normalized event.

    `reported_by` is its source, and `detail` contains texts without addresses.

    `fingerprint` is a hash of the content, and `provider_mark` is a hash of the provider's ID for
    the event. If either is already stored, the event is a duplicate. If the event says nothing
    about a delivery, `person` is the subscriber whom it concerns.
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


def validate_delivery_id(text: str) -> str | None:
    """Return the text if it has the form of a delivery ID, or None otherwise."""
    return text if _DELIVERY_ID.fullmatch(text) else None


def hash_event_parts(*parts: str) -> str:
    """Return a hash of an event's identifying parts.

    Different lists of parts have different hashes.
    """
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
