"""What events mean: for the delivery that they speak of, and for the person behind it. Pure.

Both are joins: what counts is the highest that was ever said. So any order and any repetition of the same events
ends at the same place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from digest.deliver.causes import Cause
from digest.delivery_db import DeliveryState
from subscribers.heeding import Word


class Kind(StrEnum):
    """What an event says happened."""

    ACCEPTED = "accepted"  # the provider took it and will deliver it
    DELIVERED = "delivered"  # the receiving server took it
    DEFERRED = "deferred"  # the receiving server asked for patience; the provider goes on
    BOUNCED = "bounced"  # the receiving server will not have it
    DROPPED = "dropped"  # the provider did not even try
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    UNKNOWN = "unknown"  # kept, and of no effect


_PROOF = frozenset({Kind.ACCEPTED, Kind.DELIVERED, Kind.DEFERRED, Kind.COMPLAINED, Kind.UNSUBSCRIBED})
_REFUSAL = frozenset({Kind.BOUNCED, Kind.DROPPED})
_MOVABLE = (DeliveryState.WAITING, DeliveryState.UNCERTAIN, DeliveryState.ACCEPTED)


def settle(state: DeliveryState, kinds: Iterable[Kind]) -> DeliveryState:
    """Decide where a delivery stands once all of this was said of it.

    uncertain, waiting < accepted < refused. Uncertain becomes accepted by any proof that the provider has it, and
    refused by a bounce or a drop, which also tells what became of one that was accepted. A message that waits to be
    sent again and turns out to have been taken is not sent again. Every other state is final; one that is being
    handed over is for its owner to settle, and is looked at again afterwards.
    """
    if state not in _MOVABLE:
        return state
    said = frozenset(kinds)
    if said & _REFUSAL:
        return DeliveryState.REFUSED
    return DeliveryState.ACCEPTED if said & _PROOF else state


def word_of(kind: Kind, cause: Cause) -> Word | None:
    """Say what an event means for the person at once; None where it means nothing, or not by itself."""
    if kind is Kind.COMPLAINED or cause is Cause.COMPLAINED:
        return Word.COMPLAINED
    if kind is Kind.UNSUBSCRIBED or cause is Cause.LEFT:
        return Word.LEFT
    if kind in _REFUSAL and cause is Cause.NO_MAILBOX:
        return Word.BOUNCED
    return None


HARD_IN_A_ROW = 2
STRIKES_IN_A_ROW = 3
SPAN = timedelta(days=14)  # a mailbox that is full over a holiday is not gone


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """What became of one message to one person: `cause` is HARD or SOFT, or NONE where it arrived."""

    at: datetime
    delivery: str
    cause: Cause


def struck_out(attempts: Iterable[Attempt]) -> bool:
    """Say whether an address has failed too often without a message that arrived in between.

    Two hard strikes in a row, or three strikes of either kind over more than 14 days. A delivery wipes them out.
    """
    run: list[Attempt] = []
    for attempt in sorted(attempts):
        run = [*run, attempt] if attempt.cause in {Cause.HARD, Cause.SOFT} else []
    hard = sum(attempt.cause is Cause.HARD for attempt in run)
    return hard >= HARD_IN_A_ROW or (len(run) >= STRIKES_IN_A_ROW and run[-1].at - run[0].at > SPAN)
