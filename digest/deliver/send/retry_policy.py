"""How a delivery moves on: pure decisions over an outcome, the tries so far and the time."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from digest.deliver.providers.base import HandoverResult, MessageOutcome
from digest.store.delivery_models import DeliveryState

FIRST_RETRY_DELAY = timedelta(minutes=15)
MAX_RETRY_DELAY = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=72)  # from the moment it was due; providers give deferrals as long

_FINAL_STATES = {
    HandoverResult.ACCEPTED: DeliveryState.ACCEPTED,
    HandoverResult.REFUSED: DeliveryState.REFUSED,
    HandoverResult.UNCERTAIN: DeliveryState.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class StateChange:
    """The new state of a delivery. `next_try_at` counts where it waits; `attempted` says whether a try was made."""

    state: DeliveryState
    reply: str
    attempted: bool
    next_try_at: datetime | None = None


def decide_state_change(
    outcome: MessageOutcome, *, delivery_id: str, tries: int, due_at: datetime, now: datetime
) -> StateChange:
    """Decide how a delivery moves on; `tries` counts those before this one."""
    if outcome.result is HandoverResult.NOT_TRIED:
        return StateChange(DeliveryState.WAITING, outcome.reply, attempted=False, next_try_at=now)
    if outcome.result is not HandoverResult.TRY_LATER:
        return StateChange(_FINAL_STATES[outcome.result], outcome.reply, attempted=True)
    next_try_at = now + retry_delay(delivery_id, tries)
    if next_try_at > due_at + GIVE_UP_AFTER:
        return StateChange(DeliveryState.EXPIRED, outcome.reply, attempted=True)
    return StateChange(DeliveryState.WAITING, outcome.reply, attempted=True, next_try_at=next_try_at)


def end_without_retry(change: StateChange) -> StateChange:
    """Return the change of a delivery that gets one try: instead of waiting it is `expired`, untried `cancelled`."""
    if change.state is not DeliveryState.WAITING:
        return change
    state = DeliveryState.EXPIRED if change.attempted else DeliveryState.CANCELLED
    return StateChange(state, change.reply, change.attempted)


def retry_delay(delivery_id: str, tries: int) -> timedelta:
    """Return the wait before the next try: 15 minutes, doubling up to 4 hours, plus up to as much again by chance.

    The chance is computed from the delivery's id, so that a thousand readers of one greylisting server do not
    come back in one minute, and the same delivery always waits the same.
    """
    step = min(FIRST_RETRY_DELAY * (1 << min(tries, 10)), MAX_RETRY_DELAY)
    share = int.from_bytes(hashlib.sha256(f"{delivery_id} {tries}".encode()).digest()[:4]) / 2**32
    return min(step * (1 + share), MAX_RETRY_DELAY)
