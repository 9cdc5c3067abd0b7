"""Addresses that are not to be mailed, as keyed hashes: they outlive the person's row and stop a later import."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from subscribers import ledger, people
from subscribers.addresses import Address
from subscribers.db import ConsentKind, PersonState, Suppression
from subscribers.journal import Journal
from subscribers.vault import Keys, lookup, suppression_hash, suppression_hashes

Reason = Literal["bounced", "complained", "erased", "left elsewhere", "by an admin"]


_GRAVEST: tuple[Reason, ...] = ("complained", "by an admin", "erased", "bounced", "left elsewhere")


def find(session: Session, keys: Keys, address: Address) -> Suppression | None:
    """Say whether, and why, an address is suppressed, by whichever key its row was made with.

    After a restore there may be two rows, one of them by the journal's hash: then the graver reason counts.
    """
    query = select(Suppression).where(
        tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    )
    return min(session.scalars(query.order_by(Suppression.id)), key=_gravity, default=None)


def _gravity(row: Suppression) -> int:
    return next((place for place, reason in enumerate(_GRAVEST) if reason == row.reason), len(_GRAVEST))


def suppress(
    session: Session,
    keys: Keys,
    address: Address,
    *,
    reason: Reason,
    actor: str,
    now: datetime,
    journal: Journal | None = None,
) -> None:
    """Suppress an address, and the person behind it if there is one. Doing it twice changes nothing.

    A complaint outweighs what was there: it takes the place of a bounce. It is a departure, so whoever reports one
    gives the journal too, and answers only after the commit (see `leaving.leave`); a bounce is none.

    Raises:
        OSError: the journal could not be written.
    """
    there = find(session, keys, address)
    complaint = reason == "complained" and (there is None or there.reason != reason)
    if there is None:
        key = keys.current("suppression")
        session.add(Suppression(hash=suppression_hash(key, address), key_id=key.id, reason=reason, at=now))
    elif complaint:
        there.reason, there.at = reason, now
    session.flush()
    number = people.number_of(session, keys, address)
    person = ledger.hold(session, number) if number else None
    settled = {PersonState.ERASED} if complaint else {PersonState.ERASED, PersonState.SUPPRESSED}
    if person is not None and person.state not in settled:
        kind = ConsentKind.COMPLAINED if reason == "complained" else ConsentKind.SUPPRESSED
        ledger.append(session, person, kind, {"reason": reason, "actor": actor}, now)
    if complaint and journal is not None:
        named = (person.lookup, person.lookup_key) if person is not None else (None, None)
        current = lookup(keys, address), keys.current("lookup").id
        journal.append(named[0] or current[0], named[1] or current[1], kind="complained", at=now)


# Stands in place of a reason that an admin has lifted: not mailed yet, but asked when a form comes.
ALLOWED = "may ask again"


def allow(session: Session, keys: Keys, address: Address) -> bool:
    """Let somebody who complained, or whom an admin barred, sign up again by their own form and confirmation.

    Nobody is on the list by this: the suppression stays until they confirm. False: the address is not suppressed.
    """
    named = tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    rows = list(session.scalars(select(Suppression).where(named)))
    for row in rows:
        row.reason = ALLOWED
    return bool(rows)
