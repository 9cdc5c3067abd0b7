"""Permission emails, which ask people from an imported list without evidence, once, whether they want the newsletter.

Unless they agree, nothing else is ever sent to them. If they don't answer within seven days, their
row is emptied. The remaining keyed hash prevents them from being asked again because of a later list.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from subscribers.consent import audience, ledger, suppression
from subscribers.consent.consent_texts import ConsentText, register_consent_text
from subscribers.consent.ledger import PERMISSION_METHOD
from subscribers.crypto.keys import KeyRing
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import STRANGER_MAIL_KINDS
from subscribers.signup.request_processor import CONFIRMATION_LIFETIME
from subscribers.store import one_time_tokens, people
from subscribers.store.database import PeopleDatabase, count_rows
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import OneTimePurpose

# The people per transaction, each with a consent event, a link, and an email.
BATCH_SIZE = 50


def count_permission_candidates(session: Session) -> int:
    """Count the people who could be sent a permission email.

    Some of them may be suppressed or may have been asked recently.
    """
    return count_rows(session, _query_candidates().subquery())


def queue_permission_emails(
    database: PeopleDatabase,
    keys: KeyRing,
    queue: QueueMail,
    *,
    wording: ConsentText,
    page: str,
    actor: str,
    limit: int,
    now: datetime,
) -> int:
    """Queue permission emails for up to `limit` people, lowest numbers first, and return the number of people.

    After an interruption, the people already queued are asked, and the next run continues with the
    others. People agree to `wording` by pressing the button at `page`. New senders should begin
    with a low `limit`.
    """

    def ask(session: Session, number: int) -> bool:
        return _queue_permission_mail(session, keys, queue, number, wording, page, actor, now)

    return ask_in_batches(database, _query_candidates(), ask, limit=limit)


def ask_in_batches(
    database: PeopleDatabase,
    candidates: Select[int],
    ask: Callable[[Session, int], bool],
    *,
    limit: int,
) -> int:
    """Call `ask` for candidates in order of number until it has returned True for `limit` of them.

    Return the number of people for whom it returned True.
    """
    asked_count = after = 0
    while asked_count < limit:
        with database.write() as session:
            batch = candidates.where(Person.number > after).order_by(Person.number)
            numbers = session.scalars(batch.limit(min(BATCH_SIZE, limit - asked_count))).all()
            asked_count += sum(ask(session, number) for number in numbers)
        if not numbers:
            break
        after = numbers[-1]
    return asked_count


def _query_candidates() -> Select[int]:
    return select(Person.number).where(
        Person.state == PersonState.UNVERIFIED,
        Person.ciphertext.is_not(None),
        audience.build_finished_import_condition(),
    )


def _queue_permission_mail(
    session: Session,
    keys: KeyRing,
    queue: QueueMail,
    number: int,
    wording: ConsentText,
    page: str,
    actor: str,
    now: datetime,
) -> bool:
    person = ledger.lock_person(session, number)
    if person is None or person.state is not PersonState.UNVERIFIED:
        return False
    address = people.decrypt_person_address(keys, person)
    if address is None:
        return False
    tag = rate_limits.hash_mailbox(keys, address)
    was_recently_asked = any(
        kind in STRANGER_MAIL_KINDS for kind, _ in rate_limits.list_recent_mails(session, tag, now=now)
    )
    if was_recently_asked or suppression.find_suppression(session, keys, address) is not None:
        return False
    body = {"method": PERMISSION_METHOD, "actor": actor}
    queue_consent_question(
        session, queue, person, "ask", "confirm", CONFIRMATION_LIFETIME, wording, page, body_facts=body, now=now
    )
    rate_limits.record_signup_mail(session, tag, "ask", now)
    return True


def queue_consent_question(
    session: Session,
    queue: QueueMail,
    person: Person,
    kind: Literal["ask", "stay"],
    purpose: OneTimePurpose,
    lifetime: timedelta,
    wording: ConsentText,
    page: str,
    *,
    body_facts: Mapping[str, Any],
    facts: Mapping[str, str] | None = None,
    now: datetime,
) -> None:
    """Ask someone who didn't sign up for their consent by appending an event and queuing an email.

    The email contains a token that's valid for `lifetime`. `body_facts` are the fields of the event
    in addition to the consent text and its place. `facts` are values for the email, which are added
    to the standard ones or replace them.
    """
    body = {
        **register_consent_text(session, wording, now).as_json(),
        "page": page,
        "where": person.asked_where,
        "asked_at": now.isoformat(timespec="milliseconds"),
        **body_facts,
    }
    serial = str(ledger.append_event(session, person, ConsentKind.RE_ASKED, body, now).seq)
    expires_at = now + lifetime
    token = one_time_tokens.issue_token(session, purpose, person.number, now=now, expires_at=expires_at, serial=serial)
    email_facts = {"token": token, "wording": wording.text, "where": person.asked_where, "asked_at": body["asked_at"]}
    email_facts |= {"expires_at": expires_at.isoformat()} | dict(facts or {})
    queue(session, MailRequest(kind, person.number, serial, email_facts))
