"""The expiry of requests that aren't confirmed, and of the addresses of people who left.

Someone else may have typed an address, so it can't be kept. Thirty days after a person unsubscribes
or is suppressed, their address is deleted. The keyed hash by which the row is found is kept, so
that imports can't add them again, and a new sign-up finds their history. Suppressed addresses also
have their own hash. If imported people without evidence weren't asked or didn't answer, only an
emptied row and its chain are kept.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, exists, select
from sqlalchemy.orm import Session, aliased

from subscribers.consent import evidence, ledger
from subscribers.signup import rate_limits, request_queue
from subscribers.store import one_time_tokens, people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import EMPTIED_STATES, ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.signup_models import OneTimeToken, StoredAddressChange

BATCH_SIZE = 100  # people per transaction


def expire_unconfirmed_requests(database: PeopleDatabase, *, now: datetime) -> int:
    """Expire overdue requests, delete data that's no longer needed, and return the number of expired links."""
    expired = 0
    while True:
        with database.write() as session:
            batch = expire_confirmation_batch(session, now=now)
        expired += batch
        if batch < BATCH_SIZE:
            break
    with database.write() as session:
        request_queue.delete_old_requests(session, now=now)
        rate_limits.delete_old_signup_counts(session, now=now)
        evidence.delete_old_evidence(session, now=now)
        one_time_tokens.delete_old_tokens(session, now=now)
        session.execute(delete(StoredAddressChange).where(StoredAddressChange.until <= now))
    return expired


def expire_confirmation_batch(session: Session, *, now: datetime) -> int:
    """Expire up to 100 confirmation links that weren't used in time, and return their number.

    If a person was never on the list, an emptied row and its chain, which contains no address, are
    kept. Someone who had unsubscribed remains unsubscribed, and the address is deleted if it was
    only added again by this request.
    """
    query = (
        select(OneTimeToken)
        .where(OneTimeToken.purpose == "confirm", OneTimeToken.ended_at.is_(None), OneTimeToken.expires_at <= now)
        .order_by(OneTimeToken.expires_at, OneTimeToken.id)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    links = list(session.scalars(query))
    handled: set[int | None] = set()
    for link in links:
        if link.person in handled:
            continue
        handled.add(link.person)
        if link.person is None or one_time_tokens.find_open_token(session, link.person, "confirm", now=now) is not None:
            link.ended_at = now
        else:  # including the link in the reminder, which expires at the same moment
            one_time_tokens.revoke_tokens(session, link.person, "confirm", now=now)
            expire_request(session, link.person, int(link.serial), now)
    return len(links)


def expire_request(session: Session, number: int, seq: int, now: datetime) -> None:
    """End a person's unconfirmed request, which event `seq` recorded."""
    person = ledger.lock_person(session, number)
    if person is None or person.state in {PersonState.SUBSCRIBED, *EMPTIED_STATES}:
        return
    never = person.state in {PersonState.REQUESTED, PersonState.UNVERIFIED}
    if never or ledger.read_event_body(session, number, seq).get("address_sealed_again"):
        # People whom we asked keep their lookup hash, so that they aren't asked again because of a
        # later list.
        keep_lookup = not never or was_asked_for_permission(session, number)
        people.clear_personal_data(session, [number], keep_lookup=keep_lookup, keep_preferences=not never)
        evidence.delete_evidence_of(session, [number])
    ledger.append_event(session, person, ConsentKind.EXPIRED, {"request": seq}, now)


def was_asked_for_permission(session: Session, number: int) -> bool:
    """Return True if a person on an imported list has been asked whether they want the newsletter."""
    re_asked = (ConsentEvent.person == number, ConsentEvent.kind == ConsentKind.RE_ASKED)
    return session.scalar(select(exists().where(*re_asked))) or False


ADDRESS_RETENTION = timedelta(days=30)
ADDRESS_BATCH_SIZE = 500  # people per transaction
# The events after which an address is no longer needed.
_RETENTION_START_KINDS = {
    PersonState.WITHDRAWN: (ConsentKind.WITHDRAWN,),
    PersonState.SUPPRESSED: (ConsentKind.WITHDRAWN, ConsentKind.COMPLAINED, ConsentKind.SUPPRESSED),
    PersonState.UNVERIFIED: (ConsentKind.LISTED, ConsentKind.EXPIRED),
}


def find_address_deletion_time(session: Session, person: Person) -> datetime | None:
    """Return when a person's address will be deleted, or None if it won't be."""
    kinds = _RETENTION_START_KINDS.get(person.state)
    departure = ledger.find_last_event(session, person.number, kinds) if kinds else None
    return departure.at + ADDRESS_RETENTION if departure else None


def delete_expired_addresses(database: PeopleDatabase, *, now: datetime) -> int:
    """Delete every address that hasn't been needed for 30 days, and return the number of addresses deleted.

    It can be resumed after an interruption.
    """
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
        query = (
            _query_expired(state, now).where(Person.number > after).order_by(Person.number).limit(ADDRESS_BATCH_SIZE)
        )
        return session.scalars(query).all()


def _query_expired(state: PersonState, now: datetime) -> Select[int]:
    """Return a query for people whose address can be deleted, leaving out those who can still answer a question."""
    permission_asked = (OneTimeToken.person == Person.number) & (OneTimeToken.purpose == "confirm")
    open_ = exists().where(permission_asked, OneTimeToken.ended_at.is_(None), OneTimeToken.expires_at > now)
    return select(Person.number).where(
        Person.state == state, Person.ciphertext.is_not(None), _retention_is_over(state, now), ~open_
    )


def _retention_is_over(state: PersonState, now: datetime) -> ColumnElement[bool]:
    """Return the condition that an event ended the need for the address at least 30 days ago, with no consent since."""
    event, later = aliased(ConsentEvent), aliased(ConsentEvent)
    granted = exists().where(later.person == event.person, later.seq > event.seq, later.kind.in_(ledger.GRANT_KINDS))
    return exists().where(
        event.person == Person.number,
        event.kind.in_(_RETENTION_START_KINDS[state]),
        event.at <= now - ADDRESS_RETENTION,
        ~granted,
    )


def _clear_addresses(session: Session, state: PersonState, numbers: Sequence[int], now: datetime) -> int:
    """Clear rows that are still due and that no other transaction has locked, and return their number."""
    lock = select(Person.number).where(Person.number.in_(numbers)).with_for_update(skip_locked=True)
    locked = session.scalars(lock).all()
    query = _query_expired(state, now).where(Person.number.in_(locked)).order_by(Person.number)
    due = session.scalars(query).all()
    # If people were never on the list, no hash is needed to keep them off it.
    was_listed = state is not PersonState.UNVERIFIED
    if not was_listed:
        for number in due:
            person = ledger.lock_person(session, number)
            assert person is not None, "it is held"
            ledger.append_event(
                session, person, ConsentKind.EXPIRED, {"method": "kept for 30 days without an answer"}, now
            )
    people.clear_personal_data(session, due, keep_lookup=was_listed, keep_preferences=was_listed)
    return len(due)
