"""Addresses that are not to be mailed, as keyed hashes: they outlive the person's row and stop a later import."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from subscribers import ledger, people
from subscribers.addresses import Address
from subscribers.db import ConsentKind, PersonState, Suppression
from subscribers.vault import Keys, suppression_hash

Reason = Literal["bounced", "complained", "erased", "left elsewhere", "by an admin"]


def find(session: Session, keys: Keys, address: Address) -> Suppression | None:
    """Say whether, and why, an address is suppressed, by whichever key its row was made with."""
    named = [(suppression_hash(key, address), key.id) for key in keys.of("suppression")]
    query = select(Suppression).where(tuple_(Suppression.hash, Suppression.key_id).in_(named))
    return session.scalars(query.order_by(Suppression.id).limit(1)).first()


def suppress(
    session: Session, keys: Keys, address: Address, *, reason: Reason, actor: str, now: datetime
) -> None:
    """Suppress an address, and the person behind it if there is one. Doing it twice changes nothing."""
    if find(session, keys, address) is None:
        key = keys.current("suppression")
        session.add(Suppression(hash=suppression_hash(key, address), key_id=key.id, reason=reason, at=now))
        session.flush()
    number = people.number_of(session, keys, address)
    person = ledger.hold(session, number) if number else None
    if person is not None and person.state not in {PersonState.SUPPRESSED, PersonState.ERASED}:
        kind = ConsentKind.COMPLAINED if reason == "complained" else ConsentKind.SUPPRESSED
        ledger.append(session, person, kind, {"reason": reason, "actor": actor}, now)
