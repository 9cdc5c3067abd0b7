"""Asking readers from whom nothing has been heard for long, once, whether they still want the mail.

No opening and no click is recorded, so silence is told by their own acts alone: consent, a choice, a move, a departure taken back
(docs/decisions/0051-silent-readers.md). A yes is a consent of its own, to the words of today. Who does not answer stays on
the list, or is taken off it where the question said so.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from subscribers.consent import audience, evidence, ledger
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import QueueMail
from subscribers.signup.confirmation import REQUEST_FIELDS
from subscribers.signup.permission_requests import BATCH_SIZE, ask_in_batches, queue_consent_question
from subscribers.store import one_time_tokens
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenLookup, TokenState
from subscribers.store.signup_models import OneTimeToken

ANSWER_PERIOD = timedelta(days=30)
SILENCE_METHOD = "question after a long silence"
NO_ANSWER_METHOD = "no answer to a question after a long silence"
STAY_PURPOSE: OneTimePurpose = "stay"


@dataclass(frozen=True, slots=True)
class InactivityQuestion:
    """A question to be asked: of whom nothing was heard since `silent_since`, and whether who does not answer is taken off."""

    silent_since: datetime
    takes_off: bool


@dataclass(frozen=True, slots=True)
class StayLink:
    """The link of a question looked up, with what its page says while it is open."""

    stage: ActionLinkState
    wording: str = ""
    where: str = ""
    asked_at: datetime | None = None
    until: datetime | None = None
    takes_off: bool = False
    answered: bool = False  # it was this very request that answered


def count_inactive_subscribers(session: Session, silent_since: datetime) -> int:
    """Count the readers who could be asked; it goes through the whole list."""
    query = select(func.count()).select_from(_query_silent(silent_since).subquery())
    return session.scalar(query) or 0


def queue_inactivity_questions(
    database: PeopleDatabase,
    queue: QueueMail,
    question: InactivityQuestion,
    *,
    wording: ConsentText,
    page: str,
    actor: str,
    limit: int,
    now: datetime,
) -> int:
    """Queue the question for up to `limit` readers, who came first, first; return for how many.

    Cut short, those who are queued are asked, and the next run goes on with the others. They agree to `wording` by
    pressing the button at `page`.
    """

    def ask(session: Session, number: int) -> bool:
        return _queue_question(session, queue, number, question, wording, page, actor, now)

    return ask_in_batches(database, _query_silent(question.silent_since), ask, limit=limit)


def _query_silent(silent_since: datetime) -> Select[int]:
    """Ask for readers who consented and spoke before a moment alone, and were not asked since they last spoke."""
    sign_of_life, question, answer = (aliased(ConsentEvent) for _ in range(3))
    has_spoken = exists().where(
        sign_of_life.person == Person.number,
        ledger.match_signs_of_life(sign_of_life),
        sign_of_life.at > silent_since,
    )
    has_answered = exists().where(
        answer.person == question.person, answer.seq > question.seq, ledger.match_signs_of_life(answer)
    )
    was_asked = exists().where(question.person == Person.number, question.kind == ConsentKind.RE_ASKED, ~has_answered)
    conditions: tuple[ColumnElement[bool], ...] = (
        Person.state == PersonState.SUBSCRIBED,
        audience.exclude_unfinished_imports(),
        Person.asked_at <= silent_since,
        ~has_spoken,
        ~was_asked,
    )
    return select(Person.number).where(*conditions)


def _queue_question(
    session: Session,
    queue: QueueMail,
    number: int,
    question: InactivityQuestion,
    wording: ConsentText,
    page: str,
    actor: str,
    now: datetime,
) -> bool:
    person = ledger.lock_person(session, number)
    still_silent = session.scalar(_query_silent(question.silent_since).where(Person.number == number))
    if person is None or still_silent is None:
        return False
    body = {
        "method": SILENCE_METHOD,
        "actor": actor,
        "silent_since": question.silent_since.isoformat(timespec="milliseconds"),
        "takes_off": question.takes_off,
    }
    # The mail names the day on which they first asked for it.
    facts = {"asked_at": person.asked_at.isoformat(), "takes_off": "yes" if question.takes_off else ""}
    queue_consent_question(
        session,
        queue,
        person,
        "stay",
        STAY_PURPOSE,
        ANSWER_PERIOD,
        wording,
        page,
        body_facts=body,
        facts=facts,
        now=now,
    )
    return True


def look_up_stay_link(session: Session, token: str, *, now: datetime) -> StayLink:
    """Return how the link of a question stands; nothing is changed."""
    return _describe_link(session, one_time_tokens.look_up_token(session, token, STAY_PURPOSE, now=now))


def keep_subscription(
    session: Session,
    keys: KeyRing,
    token: str,
    *,
    origin: evidence.RequestOrigin,
    evidence_retention: timedelta,
    now: datetime,
) -> StayLink:
    """Write down that a reader wants the mail, if their link is open; twice is once.

    Where and when they first asked for it stays as it is: that is what they know it by.
    """
    link = look_up_stay_link(session, token, now=now)
    if link.stage is not ActionLinkState.OPEN:
        return link
    used = one_time_tokens.use_token(session, token, STAY_PURPOSE, now=now)
    person = ledger.lock_person(session, used.person) if used.person is not None else None
    if used.state is not TokenState.FRESH or person is None or person.state is not PersonState.SUBSCRIBED:
        return look_up_stay_link(session, token, now=now)
    question, salt = ledger.read_event_body(session, person.number, int(used.serial)), evidence.make_evidence_salt()
    body: dict[str, Any] = {
        **{key: question[key] for key in REQUEST_FIELDS},
        "method": ledger.SILENCE_ANSWER_METHOD,
        "actor": "reader",
        "request": int(used.serial),
        **evidence.hash_request_origin(origin, salt),
    }
    event = ledger.append_event(session, person, ConsentKind.CONFIRMED, body, now)
    evidence.store_evidence(session, keys, event, origin, salt=salt, until=now + evidence_retention)
    return StayLink(ActionLinkState.DONE, answered=True)


def _describe_link(session: Session, token: TokenLookup) -> StayLink:
    person = session.get(Person, token.person, populate_existing=True) if token.person is not None else None
    if token.state is TokenState.UNKNOWN or person is None:
        return StayLink(ActionLinkState.UNKNOWN)
    if person.state is not PersonState.SUBSCRIBED or token.state is TokenState.EXPIRED:
        return StayLink(ActionLinkState.OVER)
    if token.state is TokenState.USED:
        return StayLink(ActionLinkState.DONE)
    question = ledger.read_event_body(session, person.number, int(token.serial))
    return StayLink(
        ActionLinkState.OPEN,
        question["wording"],
        person.asked_where,
        person.asked_at,
        token.expires_at,
        question["takes_off"],
    )


def resolve_unanswered_questions(database: PeopleDatabase, unsubscribe_log: UnsubscribeLog, *, now: datetime) -> int:
    """End the links whose time is over, and take off the list who was told so and has not spoken since; return how many those are.

    Raises:
        OSError: the departure log could not be written; what was settled before stays so.
    """
    taken_off = 0
    while True:
        with database.write() as session:
            query = (
                select(OneTimeToken)
                .where(
                    OneTimeToken.purpose == STAY_PURPOSE,
                    OneTimeToken.ended_at.is_(None),
                    OneTimeToken.expires_at <= now,
                )
                .order_by(OneTimeToken.expires_at, OneTimeToken.id)
                .limit(BATCH_SIZE)
                .with_for_update(skip_locked=True)
            )
            links = session.scalars(query).all()
            for link in links:
                link.ended_at = now
                if link.person is not None and _is_to_leave(session, link.person, int(link.serial)):
                    taken_off += unsubscribe_person(
                        session, unsubscribe_log, link.person, method=NO_ANSWER_METHOD, now=now
                    )
        if len(links) < BATCH_SIZE:
            return taken_off


def _is_to_leave(session: Session, number: int, seq: int) -> bool:
    """Say whether the question of a link said that they would be taken off, and they did nothing since that shows them there."""
    later = select(ConsentEvent.seq, ConsentEvent.kind, ConsentEvent.body).where(
        ConsentEvent.person == number, ConsentEvent.seq >= seq
    )
    events = session.execute(later.order_by(ConsentEvent.seq)).all()
    question = json.loads(events[0].body)
    return bool(question["takes_off"]) and not any(
        ledger.is_sign_of_life(event.kind, json.loads(event.body)) for event in events[1:]
    )
