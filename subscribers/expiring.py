"""What nobody confirmed goes: an address that somebody typed is not ours to keep."""

from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from subscribers import ledger, limits, moving, onetime, receipts, requests, traces
from subscribers.asking import Books
from subscribers.db import ConsentEvent, ConsentKind, PersonState
from subscribers.signup_db import OneTime

PAGE = 100  # people a transaction


def tidy(books: Books, *, now: datetime) -> int:
    """Settle what ran out and forget what decides nothing any more; give how many requests ran out."""
    settled = 0
    while True:
        with books.write() as session:
            done = settle(session, now=now)
        settled += done
        if done < PAGE:
            break
    with books.write() as session:
        requests.tidy(session, now=now)
        limits.tidy(session, now=now)
        traces.tidy(session, now=now)
        onetime.tidy(session, now=now)
        moving.tidy(session, now=now)
    return settled


def settle(session: Session, *, now: datetime) -> int:
    """Settle up to 100 confirmation links that ran out unused; give how many.

    Of a person who was never on the list nothing remains but an emptied row and its chain, which holds no
    address. Who had left before stays as they were; the address goes again if only this request had brought it.
    """
    query = (
        select(OneTime)
        .where(OneTime.purpose == "confirm", OneTime.ended_at.is_(None), OneTime.expires_at <= now)
        .order_by(OneTime.expires_at, OneTime.id)
        .limit(PAGE)
        .with_for_update(skip_locked=True)
    )
    links = list(session.scalars(query))
    handled: set[int | None] = set()
    for link in links:
        if link.person in handled:
            continue
        handled.add(link.person)
        if link.person is None or onetime.open_for(session, link.person, "confirm", now=now) is not None:
            link.ended_at = now
        else:  # with the reminder's link, if there was one: it runs out in the same moment
            onetime.end(session, link.person, "confirm", now=now)
            _expire(session, link.person, int(link.serial), now)
    return len(links)


def _expire(session: Session, number: int, seq: int, now: datetime) -> None:
    person = ledger.hold(session, number)
    if person is None or person.state in {PersonState.SUBSCRIBED, PersonState.ERASED}:
        return
    never = person.state in {PersonState.REQUESTED, PersonState.UNVERIFIED}
    if never or receipts.link(session, number, seq).get("address_sealed_again"):
        person.ciphertext = person.key_id = person.domain_tag = None
        traces.forget(session, number)
    if never and not _asked_by_us(session, number):  # or a later list would have them asked again
        person.lookup = person.lookup_key = None
    ledger.append(session, person, ConsentKind.EXPIRED, {"request": seq}, now)


def _asked_by_us(session: Session, number: int) -> bool:
    asked = (ConsentEvent.person == number, ConsentEvent.kind == ConsentKind.RE_ASKED)
    return session.scalar(select(exists().where(*asked))) or False
