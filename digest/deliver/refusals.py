"""What mail servers said no to in the conversation itself, as events: they pass the same door as all others."""

import hashlib
from datetime import datetime

from digest.deliver.causes import Cause, cause_of, codes
from digest.deliver.events import Said
from digest.deliver.judging import Kind
from digest.deliver.moves import Move
from digest.delivery_db import DeliveryState

BY = "smtp"
_FINAL = frozenset({DeliveryState.REFUSED, DeliveryState.EXPIRED})


def said_by_server(delivery: str, tries: int, move: Move, now: datetime) -> Said | None:
    """Give the event that a final refusal is; None where it says nothing about address, message or standing.

    A message that was put off until it expired counts once, by the last reply: a mailbox that stays full is a strike.
    `tries` is how often it had been tried before.
    """
    if move.state not in _FINAL:
        return None
    code, statuses = codes("", move.reply)
    cause = cause_of(code, statuses)
    if cause in {None, Cause.NONE}:
        return None
    assert cause is not None
    mark = f"{BY}\0{delivery}\0{tries}"
    return Said(
        by=BY,
        delivery=delivery,
        kind=Kind.BOUNCED,
        cause=cause,
        at=now,
        received_at=now,
        fingerprint=hashlib.sha256(mark.encode()).hexdigest(),
        provider_mark=None,
        detail={"by": BY, "status": " ".join(filter(None, (code, *sorted(statuses)))), "reason": move.reply},
    )
