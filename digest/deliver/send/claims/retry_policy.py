"""Pure functions that decide a delivery's next state and its retries, and the event for a final refusal."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from digest.deliver.events.delivery_event import ABOUT_MESSAGE, DeliveryEvent, EventKind
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, format_reply_codes, parse_reply_codes
from digest.deliver.providers.base import HandoverStatus, MessageOutcome
from digest.store.delivery_models import DeliveryState

FIRST_RETRY_DELAY = timedelta(minutes=15)
MAX_RETRY_DELAY = timedelta(hours=4)
# The time after the first attempt during which deferred messages are retried.
GIVE_UP_AFTER = timedelta(hours=72)

_FINAL_STATES = {
    HandoverStatus.ACCEPTED: DeliveryState.ACCEPTED,
    HandoverStatus.REFUSED: DeliveryState.REFUSED,
    HandoverStatus.UNCERTAIN: DeliveryState.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class StateChange:
    """A delivery's new state.

    `next_try_at` applies if it's waiting, and `attempted` says whether an attempt was made. `cause`
    is what a refusal says about the address, or None if it has to be inferred from the reply's
    codes. `blames_message` means that the refusal is about the message.
    """

    state: DeliveryState
    reply: str
    attempted: bool
    next_try_at: datetime | None = None
    cause: FailureCause | None = None
    blames_message: bool = False


def decide_state_change(
    outcome: MessageOutcome, *, delivery_id: str, tries: int, due_at: datetime, first_tried_at: datetime, now: datetime
) -> StateChange:
    """Return the state change that results from an attempt to send a delivery.

    `tries` is the number of earlier attempts. A delivery expires some time after its first attempt
    or its due time, whichever is later: a rate limit may delay the first attempt for days, and a
    delivery that an admin sends again gets a new due time.
    """
    if outcome.result is HandoverStatus.NOT_TRIED:
        return StateChange(DeliveryState.WAITING, outcome.reply, attempted=False, next_try_at=now)
    if outcome.result is not HandoverStatus.TRY_LATER:
        return _end_delivery(_FINAL_STATES[outcome.result], outcome)
    next_try_at = now + compute_retry_delay(delivery_id, tries)
    if next_try_at > max(due_at, first_tried_at) + GIVE_UP_AFTER:
        return _end_delivery(DeliveryState.EXPIRED, outcome)
    return StateChange(DeliveryState.WAITING, outcome.reply, attempted=True, next_try_at=next_try_at)


def _end_delivery(state: DeliveryState, outcome: MessageOutcome) -> StateChange:
    blames_message = outcome.may_blame_message and not outcome.blames_domain
    return StateChange(state, outcome.reply, attempted=True, cause=outcome.cause, blames_message=blames_message)


def end_without_retry(change: StateChange) -> StateChange:
    """Return a final state change for a delivery that gets only one attempt.

    Instead of waiting, it becomes `expired`, or `cancelled` if it wasn't tried.
    """
    if change.state is not DeliveryState.WAITING:
        return change
    state = DeliveryState.EXPIRED if change.attempted else DeliveryState.CANCELLED
    return replace(change, state=state, next_try_at=None)


def decide_admin_warning_state_change(
    change: StateChange, outcome: MessageOutcome, *, delivery_id: str, tries: int, now: datetime
) -> StateChange:
    """Return the state change for a warning to an admin. Only a missing mailbox ends its retries.

    Other refusals are retried, because the settings may have caused them. If a warning wasn't tried
    because the server accepts nothing from its sender, it's postponed so that others can go first.
    """
    if outcome.result is HandoverStatus.NOT_TRIED:
        return StateChange(DeliveryState.WAITING, outcome.reply, attempted=True, next_try_at=now + FIRST_RETRY_DELAY)
    missing = find_failure_cause(*parse_reply_codes("", outcome.reply)) is FailureCause.NO_MAILBOX
    if outcome.result is not HandoverStatus.REFUSED or missing:
        return change
    next_try_at = now + compute_retry_delay(delivery_id, tries)
    return StateChange(DeliveryState.WAITING, outcome.reply, attempted=True, next_try_at=next_try_at)


def compute_retry_delay(delivery_id: str, tries: int) -> timedelta:
    """Return the delay before the next attempt.

    It's 15 minutes, doubled after each attempt up to 4 hours, plus a random part of up to the same
    length; the total is at most 4 hours. The random part is derived from the delivery's ID, so that
    a delivery's delay is always the same, but a thousand subscribers of one greylisting server
    aren't retried in the same minute.
    """
    step = min(FIRST_RETRY_DELAY * (1 << min(tries, 10)), MAX_RETRY_DELAY)
    digest = hashlib.sha256(f"{delivery_id} {tries}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return min(step * (1 + share), MAX_RETRY_DELAY)


REPORTED_BY = "smtp"
_REFUSED_STATES = frozenset({DeliveryState.REFUSED, DeliveryState.EXPIRED})


def build_refusal_event(delivery_id: str, tries: int, change: StateChange, now: datetime) -> DeliveryEvent | None:
    """Return the event for a final refusal, or None if it says nothing about the address, message, or reputation.

    `tries` is the number of earlier attempts. A message deferred until it expired counts once, by
    its last reply. For example, a mailbox that stays full is a repeated bounce.
    """
    if change.state not in _REFUSED_STATES:
        return None
    code, statuses = parse_reply_codes("", change.reply)
    cause = change.cause or find_failure_cause(code, statuses)
    if cause in {None, FailureCause.NONE}:
        return None
    assert cause is not None
    identity = f"{REPORTED_BY}\0{delivery_id}\0{tries}".encode()
    return DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery_id,
        kind=EventKind.BOUNCED,
        cause=cause,
        occurred_at=now,
        received_at=now,
        fingerprint=hashlib.sha256(identity).hexdigest(),
        provider_mark=None,
        detail={"by": REPORTED_BY, "status": format_reply_codes(code, statuses), "reason": change.reply}
        | ({"about": ABOUT_MESSAGE} if change.blames_message else {}),
    )
