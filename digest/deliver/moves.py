"""How a delivery moves on: pure decisions over an outcome, the tries so far and the time."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from digest.deliver.handing import Outcome, Result
from digest.delivery_db import DeliveryState

FIRST_TRY_AFTER = timedelta(minutes=15)
LONGEST_WAIT = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=72)  # from the moment it was due; SendGrid gives deferrals as long

_FINAL = {
    Result.ACCEPTED: DeliveryState.ACCEPTED,
    Result.REFUSED: DeliveryState.REFUSED,
    Result.UNCERTAIN: DeliveryState.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class Move:
    """The new state of a delivery. `next_try_at` counts where it waits; `tried` says whether a try was made."""

    state: DeliveryState
    reply: str
    tried: bool
    next_try_at: datetime | None = None


def move(outcome: Outcome, *, delivery: str, tries: int, due_at: datetime, now: datetime) -> Move:
    """Decide how a delivery moves on; `tries` counts those before this one."""
    if outcome.result is Result.UNTOUCHED:
        return Move(DeliveryState.WAITING, outcome.reply, tried=False, next_try_at=now)
    if outcome.result is not Result.LATER:
        return Move(_FINAL[outcome.result], outcome.reply, tried=True)
    again = now + pause(delivery, tries)
    if again > due_at + GIVE_UP_AFTER:
        return Move(DeliveryState.EXPIRED, outcome.reply, tried=True)
    return Move(DeliveryState.WAITING, outcome.reply, tried=True, next_try_at=again)


def pause(delivery: str, tries: int) -> timedelta:
    """Give the wait before the next try: 15 minutes, doubling up to 4 hours, and up to as much again by chance.

    The chance comes out of the delivery's id, so that a thousand readers of one greylisting server do not
    come back in one minute, and the same delivery always waits the same.
    """
    step = min(FIRST_TRY_AFTER * (1 << min(tries, 10)), LONGEST_WAIT)
    share = int.from_bytes(hashlib.sha256(f"{delivery} {tries}".encode()).digest()[:4]) / 2**32
    return min(step * (1 + share), LONGEST_WAIT)
