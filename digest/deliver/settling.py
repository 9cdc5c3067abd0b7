"""Settling what is uncertain by an admin's word: it was accepted, or it is sent again.

A message is uncertain where it was handed over and nobody said what became of it. Events settle most (`judging`); for
the rest only a person can weigh a message that never came against one that comes twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.db import Audit, Database, Edition, EditionState
from digest.deliver import claims
from digest.deliver.planning import purpose_of
from digest.deliver.steering import SteeringError
from digest.delivery_db import Delivery, DeliveryState
from digest.owner import this_process

PAGE = 1000  # rows of one write transaction


class Word(StrEnum):
    """What an admin says of an uncertain message; so it stands in the audit log."""

    ACCEPTED = "taken as accepted"
    AGAIN = "sent again"


@dataclass(frozen=True, slots=True)
class Doubt:
    """An uncertain message: when it was handed over, over what, and what was said. It names nobody."""

    delivery: str
    handed_at: datetime | None
    over: str
    said: str


def doubts(database: Database, edition: str, *, now: datetime) -> list[Doubt]:
    """List what is uncertain of an edition, the earliest first; what a dead process left in the air is, too."""
    purpose = purpose_of(edition)
    with database.write() as session:
        claims.release_the_dead(session, purpose, this_process(), now=now)
        query = (
            select(Delivery.id, Delivery.handed_at, Delivery.transport, Delivery.reply)
            .where(Delivery.purpose == purpose, Delivery.state == DeliveryState.UNCERTAIN)
            .order_by(Delivery.handed_at, Delivery.id)
        )
        return [Doubt(*row) for row in session.execute(query)]


def settled(word: Word, now: datetime) -> dict[str, Any]:
    """Decide what becomes of an uncertain delivery by an admin's word. Pure.

    One that is sent again is owed from now on: counted from when it was first due, a server that asks for patience
    days later would end it at once.
    """
    free = {"owner": None, "lease_until": None}
    if word is Word.ACCEPTED:
        return {"state": DeliveryState.ACCEPTED, "reply": "taken as accepted, by an admin's word", **free}
    return {"state": DeliveryState.WAITING, "due_at": now, "next_try_at": now, **free}


def settle(
    database: Database,
    edition: str,
    deliveries: Sequence[str],
    word: Word,
    *,
    because: str,
    actor: str,
    clock: Callable[[], datetime],
) -> int:
    """Settle deliveries of an edition; give how many. One that is not uncertain any more is left as it is.

    An edition that was sent is being sent again until those are out; consent is asked as with every message.

    Raises:
        SteeringError: there is no such edition, or it is cancelled and nothing of it may be sent again.
    """
    done = 0
    for start in range(0, len(deliveries), PAGE):
        with database.write() as session:
            held = _hold(session, edition, word)
            ids = _still(session, edition, deliveries[start : start + PAGE])
            if ids:
                session.execute(update(Delivery), [{"id": id_, **settled(word, clock())} for id_ in ids])
                if word is Word.AGAIN and held.state is EditionState.SENT:
                    held.state, held.sent_at = EditionState.SENDING, None
                said = {"because": because, "deliveries": ids}
                session.add(
                    Audit(at=clock(), actor=actor, act=f"uncertain {word}", subject=edition, detail=said)
                )
        done += len(ids)
    return done


def _hold(session: Session, name: str, word: Word) -> Edition:
    edition = session.scalar(select(Edition).where(Edition.name == name).with_for_update())
    if edition is None:
        raise SteeringError(f"No edition is called {name}. See 'digest status'.")
    if word is Word.AGAIN and edition.state is EditionState.CANCELLED:
        raise SteeringError(f"{name} is cancelled: nothing of it is sent again. You can take it as accepted.")
    return edition


def _still(session: Session, edition: str, deliveries: Sequence[str]) -> list[str]:
    """Hold those that are uncertain at this moment. Somebody else who has a row in hand knows better."""
    uncertain = (Delivery.purpose == purpose_of(edition), Delivery.state == DeliveryState.UNCERTAIN)
    query = select(Delivery.id).where(Delivery.id.in_(deliveries), *uncertain).order_by(Delivery.id)
    return list(session.scalars(query.with_for_update(skip_locked=True)))
