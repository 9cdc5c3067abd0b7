"""Asking those whom a list named without evidence, once, whether they want the mail.

Without their yes nothing is ever sent to them. Who does not answer in seven days is emptied, and the keyed hash that
stays keeps every later list from having them asked again.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from subscribers import ledger, limits, onetime, roll, suppression
from subscribers.addresses import read_address
from subscribers.asking import COUNTED, LIFE, Books
from subscribers.db import ConsentKind, Person, PersonState
from subscribers.notes import Note, Queue
from subscribers.receipts import BY_US
from subscribers.vault import Keys, open_
from subscribers.wordings import Wording

PAGE = 50  # people a transaction: each is a consent event, a link and a queued mail


def candidates(session: Session) -> int:
    """Count the people who could be asked; some of them may turn out to be barred, or asked of late."""
    return session.scalar(select(func.count()).select_from(_unasked().subquery())) or 0


def ask(
    books: Books,
    keys: Keys,
    queue: Queue,
    *,
    wording: Wording,
    page: str,
    actor: str,
    most: int,
    now: datetime,
) -> int:
    """Queue the question for up to `most` people, in the order in which they came; give for how many.

    Cut short, those who are queued are asked, and the next run goes on with the others.

    Args:
        books: the database.
        keys: the keys of the installation.
        queue: has a mail sent.
        wording: the words that they agree to by pressing the button.
        page: where the words and the button stand.
        actor: who has them asked.
        most: how many at most: a new sender does well to begin with few.
        now: the moment.

    Raises:
        VaultError: an address does not open.
    """
    asked, after = 0, 0
    while asked < most:
        with books.write() as session:
            query = _unasked().where(Person.number > after).order_by(Person.number).limit(PAGE)
            numbers: Sequence[int] = session.scalars(query).all()
            for number in numbers:
                if asked < most:
                    asked += _ask(session, keys, queue, number, wording, page, actor, now)
        if not numbers:
            break
        after = numbers[-1]
    return asked


def _unasked() -> Select[int]:
    return select(Person.number).where(
        Person.state == PersonState.UNVERIFIED, Person.ciphertext.is_not(None), roll.of_finished_imports()
    )


def _ask(
    session: Session,
    keys: Keys,
    queue: Queue,
    number: int,
    wording: Wording,
    page: str,
    actor: str,
    now: datetime,
) -> bool:
    person = ledger.hold(session, number)
    if person is None or person.state is not PersonState.UNVERIFIED or person.ciphertext is None:
        return False
    address = read_address(open_(keys, (person.ciphertext, person.key_id or ""), number))
    tag = limits.address_tag(keys, address)
    lately = any(kind in COUNTED for kind, _ in limits.mails_to(session, tag, now=now))
    if lately or suppression.find(session, keys, address) is not None:
        return False
    body = {
        **wording.as_json(),
        "page": page,
        "where": person.asked_where,
        "method": BY_US,
        "actor": actor,
        "asked_at": now.isoformat(timespec="milliseconds"),
    }
    seq = ledger.append(session, person, ConsentKind.RE_ASKED, body, now).seq
    expires_at = now + LIFE
    token = onetime.issue(session, "confirm", number, now=now, expires_at=expires_at, serial=str(seq))
    facts = {
        "token": token,
        "wording": wording.text,
        "where": person.asked_where,
        "asked_at": body["asked_at"],
        "expires_at": expires_at.isoformat(),
    }
    limits.note_mail(session, tag, "ask", now)
    queue(session, Note("ask", number, str(seq), facts))
    return True
