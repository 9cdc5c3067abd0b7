"""What nobody confirmed goes: an address that somebody typed is not ours to keep."""

from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from subscribers.consent import evidence, ledger, receipts
from subscribers.lifecycle import address_change
from subscribers.signup import rate_limits, request_queue
from subscribers.store import one_time_tokens, people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, PersonState
from subscribers.store.signup_models import OneTimeToken

BATCH_SIZE = 100  # people a transaction


def expire_unconfirmed(database: PeopleDatabase, *, now: datetime) -> int:
    """Expire requests that ran out, and delete what decides nothing any more; return how many ran out."""
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
        address_change.delete_expired_changes(session, now=now)
    return expired


def expire_confirmation_batch(session: Session, *, now: datetime) -> int:
    """Expire up to 100 confirmation links that ran out unused; return how many.

    Of a person who was never on the list nothing remains but an emptied row and its chain, which holds no
    address. Who had left before stays as they were; the address goes again if only this request had brought it.
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
        else:  # with the reminder's link, if there was one: it runs out in the same moment
            one_time_tokens.end_tokens(session, link.person, "confirm", now=now)
            _expire_request(session, link.person, int(link.serial), now)
    return len(links)


def _expire_request(session: Session, number: int, seq: int, now: datetime) -> None:
    person = ledger.lock_person(session, number)
    if person is None or person.state in {PersonState.SUBSCRIBED, PersonState.ERASED}:
        return
    never = person.state in {PersonState.REQUESTED, PersonState.UNVERIFIED}
    if never or receipts.read_event_body(session, number, seq).get("address_sealed_again"):
        # Whoever was asked by us keeps the look-up hash, or a later list would have them asked again.
        keep_lookup = not never or _had_permission_pass(session, number)
        people.empty_people(session, [number], keep_lookup=keep_lookup, keep_preferences=not never)
        evidence.delete_evidence_of(session, number)
    ledger.append_event(session, person, ConsentKind.EXPIRED, {"request": seq}, now)


def _had_permission_pass(session: Session, number: int) -> bool:
    re_asked = (ConsentEvent.person == number, ConsentEvent.kind == ConsentKind.RE_ASKED)
    return session.scalar(select(exists().where(*re_asked))) or False
