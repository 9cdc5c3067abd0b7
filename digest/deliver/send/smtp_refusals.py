"""Refusals in the SMTP conversation itself as events, which are processed like all others."""

import hashlib
from datetime import datetime

from digest.deliver.events.consequences import EventKind
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.events.failure_causes import FailureCause, failure_cause, parse_reply_codes
from digest.deliver.send.retry_policy import StateChange
from digest.store.delivery_models import DeliveryState

REPORTED_BY = "smtp"
_FINAL_STATES = frozenset({DeliveryState.REFUSED, DeliveryState.EXPIRED})


def refusal_event(delivery_id: str, tries: int, change: StateChange, now: datetime) -> DeliveryEvent | None:
    """Return the event that a final refusal is; None where it says nothing about address, message or reputation.

    A message that was deferred until it expired counts once, by the last reply: a mailbox that stays full is a
    repeated bounce. `tries` counts those before this one.
    """
    if change.state not in _FINAL_STATES:
        return None
    code, statuses = parse_reply_codes("", change.reply)
    cause = failure_cause(code, statuses)
    if cause in {None, FailureCause.NONE}:
        return None
    assert cause is not None
    identity = f"{REPORTED_BY}\0{delivery_id}\0{tries}"
    return DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery_id,
        kind=EventKind.BOUNCED,
        cause=cause,
        occurred_at=now,
        received_at=now,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        provider_mark=None,
        detail={"by": REPORTED_BY, "status": " ".join(filter(None, (code, *sorted(statuses)))), "reason": change.reply},
    )
