"""Asking inactive subscribers, once, whether they still want the newsletter.

Opens and clicks aren't recorded, so only the subscribers' own actions count: consent, changed
preferences or address, or an undone unsubscribe (docs/decisions/0051-silent-readers.md). A positive
answer is a new consent to the current text. People who don't answer stay on the list, unless the
question said that they would be removed.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, select
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
from subscribers.store.database import PeopleDatabase, count_rows
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenLookup, TokenState
from subscribers.store.signup_models import OneTimeToken

ANSWER_PERIOD = timedelta(days=30)
STAY_PURPOSE: OneTimePurpose = "stay"


@dataclass(frozen=True, slots=True)
class InactivityQuestion:
    """A question to subscribers who have been inactive since `silent_since`.

    With `takes_off`, those who don't answer are unsubscribed.
    """

    silent_since: datetime
    takes_off: bool


@dataclass(frozen=True, slots=True)
class StayLink:
    """The state of a question's link and, while the link is open, the facts for its page."""

    stage: ActionLinkState
    wording: str = ""
    where: str = ""
    asked_at: datetime | None = None
    until: datetime | None = None
    takes_off: bool = False
    answered: bool = False  # whether this request answered the question


def count_inactive_subscribers(session: Session, silent_since: datetime) -> int:
    """Count the subscribers who could be asked, by scanning the whole list."""
    return count_rows(session, _query_silent(silent_since).subquery())


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
    """Queue the question for up to `limit` subscribers, lowest numbers first, and return the number of subscribers.

    After an interruption, the people already queued are asked, and the next run continues with the
    others. Subscribers agree to `wording` by pressing the button at `page`.
    """

    def ask(session: Session, number: int) -> bool:
        return _queue_question(session, queue, number, question, wording, page, actor, now)

    return ask_in_batches(database, _query_silent(question.silent_since), ask, limit=limit)


def _query_silent(silent_since: datetime) -> Select[int]:
    """Return a query for subscribers who have been inactive since a given moment.

    They also must not have been asked since they were last active.
    """
    sign_of_life, question, answer = (aliased(ConsentEvent) for _ in range(3))
    has_sign_of_life = exists().where(
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
        audience.build_finished_import_condition(),
        Person.asked_at <= silent_since,
        ~has_sign_of_life,
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
        "method": ledger.SILENCE_METHOD,
        "actor": actor,
        "silent_since": question.silent_since.isoformat(timespec="milliseconds"),
        "takes_off": question.takes_off,
    }
    # The email mentions the day on which they signed up.
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
    """Return the state of a question's link.

    Nothing is changed.
    """
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
    """Record that a subscriber wants to stay if their link is open. Idempotent.

    The time and place of their sign-up don't change, because subscribers remember those.
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


def unsubscribe_nonresponders(database: PeopleDatabase, unsubscribe_log: UnsubscribeLog, *, now: datetime) -> int:
    """Unsubscribe people who didn't answer in time, if the question announced that, and end all expired links.

    Return the number of people unsubscribed. People who have been active since the question stay subscribed.

    Raises:
        OSError: the unsubscribe log couldn't be written; people who were already processed stay
            unsubscribed.
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
                        session, unsubscribe_log, link.person, method=ledger.NO_ANSWER_METHOD, now=now
                    )
        if len(links) < BATCH_SIZE:
            return taken_off


def _is_to_leave(session: Session, number: int, seq: int) -> bool:
    """Return True if a question announced the removal and the person hasn't been active since."""
    later = select(ConsentEvent.seq, ConsentEvent.kind, ConsentEvent.body).where(
        ConsentEvent.person == number, ConsentEvent.seq >= seq
    )
    events = session.execute(later.order_by(ConsentEvent.seq)).all()
    question = json.loads(events[0].body)
    return bool(question["takes_off"]) and not any(
        ledger.is_sign_of_life(event.kind, json.loads(event.body)) for event in events[1:]
    )
