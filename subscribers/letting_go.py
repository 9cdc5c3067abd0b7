"""Thirty days after somebody left, the vault lets go of their address.

What stays is the keyed hash by which the row is found: no import revives them, and a sign-up of their own finds their
history. The same holds for who was suppressed: what keeps mail from them is a hash of its own. Of people whom a list
named without evidence, and who were not asked or did not answer, nothing stays but an emptied row and its chain.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, exists, select, update
from sqlalchemy.orm import Session, aliased

from subscribers import ledger
from subscribers.asking import Books
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.signup_db import OneTime

KEPT = timedelta(days=30)
PAGE = 500  # people a transaction
_SINCE = {
    PersonState.WITHDRAWN: (ConsentKind.WITHDRAWN,),
    PersonState.SUPPRESSED: (ConsentKind.WITHDRAWN, ConsentKind.COMPLAINED, ConsentKind.SUPPRESSED),
    PersonState.UNVERIFIED: (ConsentKind.LISTED, ConsentKind.EXPIRED),
}  # the events from which on an address serves nothing


def let_go(books: Books, *, now: datetime) -> int:
    """Let go of every address that has served nothing for 30 days; give how many. Cut short, the next run goes on."""
    gone = 0
    for state in _SINCE:
        after = 0
        while page := _page(books, state, after, now):
            with books.write() as session:
                gone += _empty(session, state, page, now)
            after = page[-1]
    return gone


def _page(books: Books, state: PersonState, after: int, now: datetime) -> Sequence[int]:
    with books.read() as session:
        query = _due(state, now).where(Person.number > after).order_by(Person.number).limit(PAGE)
        return session.scalars(query).all()


def _due(state: PersonState, now: datetime) -> Select[int]:
    """Ask for people whose address may go: not of whoever was asked again and can still answer."""
    asked = (OneTime.person == Person.number) & (OneTime.purpose == "confirm")
    open_ = exists().where(asked, OneTime.ended_at.is_(None), OneTime.expires_at > now)
    return select(Person.number).where(
        Person.state == state, Person.ciphertext.is_not(None), _since(state, now), ~open_
    )


def _since(state: PersonState, now: datetime) -> ColumnElement[bool]:
    """Say that the first event after the last consent, from which on the address serves nothing, is long past."""
    event, later = aliased(ConsentEvent), aliased(ConsentEvent)
    granted = exists().where(
        later.person == event.person, later.seq > event.seq, later.kind.in_(ledger.GRANTS)
    )
    return exists().where(
        event.person == Person.number, event.kind.in_(_SINCE[state]), event.at <= now - KEPT, ~granted
    )


def _empty(session: Session, state: PersonState, page: Sequence[int], now: datetime) -> int:
    """Empty the rows that nobody else holds at this moment, and that are still due now that we hold them."""
    lock = select(Person.number).where(Person.number.in_(page)).with_for_update(skip_locked=True)
    held = session.scalars(lock).all()
    due = session.scalars(_due(state, now).where(Person.number.in_(held)).order_by(Person.number)).all()
    emptied = {"ciphertext": None, "key_id": None, "domain_tag": None}
    if state is PersonState.UNVERIFIED:  # they never were on the list: nothing has to keep them off it
        emptied |= {"lookup": None, "lookup_key": None}
        for number in due:
            person = ledger.hold(session, number)
            assert person is not None, "it is held"
            ledger.append(
                session, person, ConsentKind.EXPIRED, {"method": "kept for 30 days without an answer"}, now
            )
    session.execute(update(Person).where(Person.number.in_(due)).values(**emptied))
    return len(due)
