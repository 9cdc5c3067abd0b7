"""What we hold of one person, for that person alone: a link to it by mail, the history of their consent."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from subscribers import ledger, onetime
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.notes import Note, Queue
from subscribers.signup_db import OneTime

LIFE = timedelta(hours=24)
EVERY = timedelta(hours=1)  # at most one link: whoever holds a forwarded mail can press the button too
MAY_ASK = frozenset({PersonState.SUBSCRIBED, PersonState.WITHDRAWN})  # a right that leaving does not end


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of a consent, in words. `wording` is what was agreed to, empty where nothing was."""

    at: datetime
    what: str
    how: str
    where: str
    wording: str
    version: str


def ask(session: Session, number: int, queue: Queue, *, now: datetime) -> None:
    """Have a link to their data mailed to a person, unless they got one within the last hour."""
    person = ledger.hold(session, number)
    if not may_ask(person) or _asked_since(session, number, now - EVERY):
        return
    expires_at = now + LIFE
    token = onetime.issue(session, "my data", number, now=now, expires_at=expires_at)
    facts = {"token": token, "expires_at": expires_at.isoformat()}
    queue(session, Note("data", number, f"{now:%Y%m%dT%H%M%S%f}", facts))


def may_ask(person: Person | None) -> bool:
    """Say whether there is somebody who can be mailed a link to their data."""
    return person is not None and person.state in MAY_ASK and person.ciphertext is not None


def _asked_since(session: Session, number: int, since: datetime) -> bool:
    mine = (OneTime.person == number, OneTime.purpose == "my data", OneTime.made_at > since)
    return bool(session.scalar(select(func.count()).select_from(OneTime).where(*mine)))


def history(session: Session, number: int) -> list[Happened]:
    """Give what happened to a person's consent, the first event first."""
    query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
    return [_happened(event) for event in session.scalars(query)]


_WORDS = {
    ConsentKind.REQUESTED: "Somebody asked for the mail with your address",
    ConsentKind.CONFIRMED: "You confirmed that you want the mail",
    ConsentKind.LISTED: "A list named your address, without evidence that you agreed",
    ConsentKind.IMPORTED: "You came with a list from another service",
    ConsentKind.ATTESTED: "An editor vouched for your consent",
    ConsentKind.WITHDRAWN: "You left the list",
    ConsentKind.UNDONE: "You took back that you had left",
    ConsentKind.RE_ASKED: "We asked you whether you want the mail",
    ConsentKind.ADDRESS_CHANGED: "You changed your address",
    ConsentKind.CHOICES_CHANGED: "Your choices changed",
    ConsentKind.BOUNCED: "A mail to you came back",
    ConsentKind.COMPLAINED: "Our mail was reported as unwanted",
    ConsentKind.SUPPRESSED: "We stopped all mail to your address",
    ConsentKind.ERASED: "Your data was erased",
    ConsentKind.EXPIRED: "A request ran out without a confirmation",
}


def _happened(event: ConsentEvent) -> Happened:
    said = json.loads(event.body)
    return Happened(
        at=event.at,
        what=_WORDS[event.kind],
        how=_text(said, "method"),
        where=_text(said, "where") or _text(said, "page"),
        wording=_text(said, "wording"),
        version=_text(said, "wording_version"),
    )


def _text(said: dict[str, object], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""
