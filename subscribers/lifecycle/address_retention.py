"""Thirty days after somebody left, their address is deleted.

What stays is the keyed hash by which the row is found: no import revives them, and a sign-up of their own finds their
history. The same holds for who was suppressed: what keeps mail from them is a hash of its own. Of people whom a list
named without evidence, and who were not asked or did not answer, nothing stays but an emptied row and its chain.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import Session, aliased

from subscribers.consent import ledger
from subscribers.store import people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.signup_models import OneTimeToken

ADDRESS_RETENTION = timedelta(days=30)
BATCH_SIZE = 500  # people a transaction
_RETENTION_START_KINDS = {
    PersonState.WITHDRAWN: (ConsentKind.WITHDRAWN,),
    PersonState.SUPPRESSED: (ConsentKind.WITHDRAWN, ConsentKind.COMPLAINED, ConsentKind.SUPPRESSED),
    PersonState.UNVERIFIED: (ConsentKind.LISTED, ConsentKind.EXPIRED),
}  # the events from which on an address serves nothing


def delete_expired_addresses(database: PeopleDatabase, *, now: datetime) -> int:
    """Delete every address that has served nothing for 30 days; return how many. Cut short, the next run goes on."""
    deleted = 0
    for state in _RETENTION_START_KINDS:
        after = 0
        while page := _load_batch(database, state, after, now):
            with database.write() as session:
                deleted += _clear_addresses(session, state, page, now)
            after = page[-1]
    return deleted


def _load_batch(database: PeopleDatabase, state: PersonState, after: int, now: datetime) -> Sequence[int]:
    with database.read() as session:
        query = _query_expired(state, now).where(Person.number > after).order_by(Person.number).limit(BATCH_SIZE)
        return session.scalars(query).all()


def _query_expired(state: PersonState, now: datetime) -> Select[int]:
    """Ask for people whose address may go: not of whoever was asked again and can still answer."""
    permission_asked = (OneTimeToken.person == Person.number) & (OneTimeToken.purpose == "confirm")
    open_ = exists().where(permission_asked, OneTimeToken.ended_at.is_(None), OneTimeToken.expires_at > now)
    return select(Person.number).where(
        Person.state == state, Person.ciphertext.is_not(None), _retention_is_over(state, now), ~open_
    )


def _retention_is_over(state: PersonState, now: datetime) -> ColumnElement[bool]:
    """Say that the first event after the last consent, from which on the address serves nothing, is long past."""
    event, later = aliased(ConsentEvent), aliased(ConsentEvent)
    granted = exists().where(later.person == event.person, later.seq > event.seq, later.kind.in_(ledger.GRANT_KINDS))
    return exists().where(
        event.person == Person.number,
        event.kind.in_(_RETENTION_START_KINDS[state]),
        event.at <= now - ADDRESS_RETENTION,
        ~granted,
    )


def _clear_addresses(session: Session, state: PersonState, numbers: Sequence[int], now: datetime) -> int:
    """Empty the rows that nobody else holds at this moment, and that are still due now that we hold them."""
    lock = select(Person.number).where(Person.number.in_(numbers)).with_for_update(skip_locked=True)
    locked = session.scalars(lock).all()
    due = session.scalars(_query_expired(state, now).where(Person.number.in_(locked)).order_by(Person.number)).all()
    # Who never was on the list needs nothing that keeps them off it.
    was_listed = state is not PersonState.UNVERIFIED
    if not was_listed:
        for number in due:
            person = ledger.lock_person(session, number)
            assert person is not None, "it is held"
            ledger.append_event(
                session, person, ConsentKind.EXPIRED, {"method": "kept for 30 days without an answer"}, now
            )
    people.empty_people(session, due, keep_lookup=was_listed, keep_preferences=was_listed)
    return len(due)
