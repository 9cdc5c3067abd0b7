"""Answering the forms that wait: who is it, what are they owed, and one transaction that says and queues it.

`decide` is the rule, over values; `answer` looks up, writes the consent event and queues the mail, together.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from subscribers import ledger, limits, onetime, people, receipts, requests, roll, suppression, traces
from subscribers.addresses import Address
from subscribers.db import ConsentKind, Person, PersonState, Suppression
from subscribers.limits import Bounds
from subscribers.notes import Note, Queue
from subscribers.requests import Asked, Waiting
from subscribers.signup_db import OneTime
from subscribers.vault import Keys, VaultError, domain_tag, seal, suppression_hash

LIFE = timedelta(days=7)  # of a confirmation link, and so of what nobody confirms
KNOWN_EVERY = timedelta(days=7)
SUPPRESSED_EVERY = timedelta(days=30)
BEFORE_A_REMINDER = timedelta(
    minutes=15
)  # sooner, the form was sent twice by one press, or the mail is on its way
CLOSED_FOR = frozenset(
    {"complained", "by an admin"}
)  # nobody's form brings these back, unless an admin allows it
COUNTED = frozenset({"confirm", "remind", "ask"})

log = structlog.get_logger("signup")


class Books(Protocol):
    """Where people are kept: sessions for looking, and sessions that commit at the end of their block."""

    def read(self) -> AbstractContextManager[Session]:
        """Lend a session for looking only."""

    def write(self) -> AbstractContextManager[Session]:
        """Lend a session that commits."""


class Answer(StrEnum):
    """What a form is answered with: a mail of that kind, or none."""

    CONFIRM = "confirm"
    REMIND = "remind"
    KNOWN = "known"
    LINK = "link"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an address: whether it is mailed now, waits for its confirmation, is suppressed and why.

    `mails` is what it got in the last 30 days because of forms, `asked_today` how often it was typed today.
    """

    subscribed: bool
    pending: bool
    suppressed: str
    mails: tuple[tuple[str, datetime], ...]
    asked_today: int


def decide(kind: requests.Kind, known: Known, bounds: Bounds, *, now: datetime) -> Answer:
    """Decide what a form is answered with.

    A subscriber gets their link, once a week. Somebody who waits gets one reminder. All others get one
    confirmation, as often as the limits allow: who bounced or was erased once in 30 days, who complained never.
    """
    if known.asked_today > bounds.per_address_day:
        return Answer.NOTHING
    if known.subscribed:
        wanted = Answer.LINK if kind == "lost link" else Answer.KNOWN
        return Answer.NOTHING if _lately(known, {"known", "link"}, now - KNOWN_EVERY) else wanted
    if kind == "lost link" or known.suppressed in CLOSED_FOR:
        return Answer.NOTHING
    if known.suppressed:
        return Answer.NOTHING if _lately(known, COUNTED, now - SUPPRESSED_EVERY) else Answer.CONFIRM
    if known.pending:
        reminded = known.mails and known.mails[-1][0] != "confirm"
        too_soon = _lately(known, COUNTED, now - BEFORE_A_REMINDER)
        return Answer.NOTHING if reminded or too_soon else Answer.REMIND
    unconfirmed = sum(kind in COUNTED for kind, _ in known.mails)
    return Answer.NOTHING if unconfirmed >= bounds.per_address_month else Answer.CONFIRM


def _lately(known: Known, kinds: frozenset[str] | set[str], since: datetime) -> bool:
    return any(kind in kinds and at > since for kind, at in known.mails)


@dataclass(frozen=True, slots=True)
class Worker:
    """What answers forms: it lives as long as the process that it works in.

    `evidence_for` is how long the network address and user agent behind a request are kept.
    """

    books: Books
    keys: Keys
    bounds: Bounds
    evidence_for: timedelta
    queue: Queue

    def answer_all(self, clock: Callable[[], datetime]) -> dict[Answer, int]:
        """Answer what waits, as fast as the limits allow; give how many got which answer."""
        given = dict.fromkeys(Answer, 0)
        after, room = 0, self._room(clock())
        while room > 0 and (forms := self._waiting(after)):
            for form in forms:
                after = form.id
                answer = self._answer(form, clock())
                given[answer] += 1
                room -= answer is not Answer.NOTHING
                if room <= 0:
                    break
        return given

    def _waiting(self, after: int) -> list[Waiting]:
        with self.books.read() as session:
            return requests.waiting(session, after=after)

    def _room(self, now: datetime) -> int:
        """Give how many mails may still go out in this hour, and keep the alarm as things stand."""
        with self.books.read() as session:
            if limits.open_alarm(session) is None and not requests.waiting(session, most=1):
                return 0  # the usual case, once a second: nothing is written
            found, asked = self._pace(session, now)
            rings = found.alarm or limits.open_alarm(session) is not None
        if rings:
            with self.books.write() as session:
                changed = limits.ring(session, found, asked, now=now)
            if changed is not None:
                log.warning("sign-up surge", forms_last_hour=asked, alarm=found.alarm, brake=found.brake)
        return found.mails

    def _pace(self, session: Session, now: datetime) -> tuple[limits.Pace, int]:
        asked = limits.counted_last_hour(session, "all", now=now)
        return limits.pace(asked, limits.mails_last_hour(session, now=now), self.bounds), asked

    def _answer(self, form: Waiting, now: datetime) -> Answer:
        """Answer one form, in one transaction. One that cannot be read is dropped: nobody could ever answer it."""
        asked = None
        try:
            asked = requests.opened(self.keys, form) if now - form.at <= requests.PATIENCE else None
        except VaultError as exc:
            log.error("a sign-up form does not open", form=form.id, error=str(exc))  # noqa: TRY400 - no trace needed
        try:
            with self.books.write() as session:
                if not requests.take(session, form) or asked is None:
                    return Answer.NOTHING
                return self._decided(session, asked, form, now)
        except (
            IntegrityError
        ):  # another worker made the same person in this moment: the form waits for the next look
            return Answer.NOTHING

    def _decided(self, session: Session, asked: Asked, form: Waiting, now: datetime) -> Answer:
        number = people.number_of(session, self.keys, asked.address)
        person = ledger.hold(session, number) if number else None
        barred = suppression.find(session, self.keys, asked.address)
        known = self._known(session, person, barred, form, now)
        answer = decide(asked.kind, known, self.bounds, now=now)
        note = None
        if answer is Answer.CONFIRM:
            note = self._ask(session, asked, person, now)
        elif person is not None and answer is Answer.REMIND:
            note = self._remind(session, person, now)
        elif person is not None and answer is not Answer.NOTHING:
            note = Note("known" if answer is Answer.KNOWN else "link", person.number, f"{now:%Y-%m-%d}")
        if note is not None:
            limits.note_mail(session, form.address_tag, answer, now)
            self.queue(session, note)
        return answer

    def _known(
        self,
        session: Session,
        person: Person | None,
        barred: Suppression | None,
        form: Waiting,
        now: datetime,
    ) -> Known:
        number = person.number if person is not None else 0
        erased = person is not None and person.state is PersonState.ERASED
        return Known(
            subscribed=barred is None and roll.may_mail(session, number),
            pending=_theirs(session, number, now) is not None,
            suppressed=barred.reason if barred else "erased" if erased else "",
            mails=tuple(limits.mails_to(session, form.address_tag, now=now)),
            asked_today=limits.counted(session, "address", form.address_tag, now=form.at, window=limits.DAY),
        )

    def _ask(self, session: Session, asked: Asked, person: Person | None, now: datetime) -> Note:
        """Write down that somebody asked, and give the mail that asks them whether it was they."""
        assert asked.wording is not None, "a form to subscribe has its words"
        if person is not None and person.state is PersonState.ERASED:
            _leave_the_bar(session, self.keys, person, asked.address, now)
            person = None
        if person is None:
            person = people.create(
                session, self.keys, asked.address, asked_at=asked.at, asked_where=asked.where
            )
        again = person.ciphertext is None
        if again:  # the vault let it go 30 days after they left
            person.ciphertext, person.key_id = seal(self.keys, asked.address, person.number)
            person.domain_tag = domain_tag(self.keys, asked.address)
        salt = traces.new_salt()
        body = {
            **asked.wording.as_json(),
            "page": asked.page,
            "where": asked.where,
            "method": "form",
            "actor": "reader",
            "asked_at": asked.at.isoformat(timespec="milliseconds"),
            "address_sealed_again": again,
            **traces.digests(asked.machine, salt),
        }
        event = ledger.append(session, person, ConsentKind.REQUESTED, body, now)
        traces.keep(session, self.keys, event, asked.machine, salt=salt, until=now + self.evidence_for)
        expires_at = asked.at + LIFE
        return Note(
            "confirm", person.number, str(event.seq), self._facts(session, person, event.seq, expires_at, now)
        )

    def _remind(self, session: Session, person: Person, now: datetime) -> Note:
        """Give the one reminder: a second token, for the first cannot be read back, which runs out with it."""
        first = _theirs(session, person.number, now)
        assert first is not None, "who is reminded waits"
        facts = self._facts(session, person, int(first.serial), first.expires_at, now)
        return Note("remind", person.number, first.serial, facts)

    def _facts(
        self, session: Session, person: Person, seq: int, expires_at: datetime, now: datetime
    ) -> dict[str, str]:
        token = onetime.issue(
            session, "confirm", person.number, now=now, expires_at=expires_at, serial=str(seq)
        )
        request = receipts.link(session, person.number, seq)
        return {
            "token": token,
            "wording": request["wording"],
            "where": request["where"],
            "asked_at": request["asked_at"],
            "expires_at": expires_at.isoformat(),
        }


def _theirs(session: Session, number: int, now: datetime) -> OneTime | None:
    """Give the first open link that a form of theirs brought about: a question of ours does not stand in its way."""
    links = onetime.all_open_for(session, number, "confirm", now=now)
    method = {link.serial: receipts.link(session, number, int(link.serial))["method"] for link in links}
    return next((link for link in links if method[link.serial] != receipts.BY_US), None)


def _leave_the_bar(session: Session, keys: Keys, person: Person, address: Address, now: datetime) -> None:
    """Move the bar from an erased row, whose look-up was all that was left, to a suppression: now we know the address."""
    key = keys.current("suppression")
    hashed = suppression_hash(key, address)
    session.add(Suppression(hash=hashed, key_id=key.id, reason="erased", at=now))
    person.lookup = person.lookup_key = None
    session.flush()
