"""A person's own data: an emailed link to it, the history of their consent, and renewed links."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.consent_texts import read_consent_text_of_event
from subscribers.consent.readable_record import describe_method, rephrase_import
from subscribers.crypto.link_tokens import next_generation
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import one_time_tokens
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.subscriber_language import SubscriberLanguage, mark_message

DATA_LINK_LIFETIME = timedelta(hours=24)
# Unsubscribing doesn't end the right to access one's data.
DATA_ACCESS_STATES = frozenset({PersonState.SUBSCRIBED, PersonState.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class ConsentHistoryEntry:
    """A consent event, described in words.

    `wording` is the consent text, and `words_unknown` means that it wasn't recorded.
    """

    at: datetime
    what: str
    how: str
    where: str
    wording: str
    words_unknown: bool
    version: str


class DataLinkOutcome(StrEnum):
    """The outcome of a request for a link to one's own data."""

    QUEUED = "queued"
    UNREACHABLE = "unreachable"  # the person doesn't exist, or has no address
    STILL_OPEN = "still open"  # an earlier link still works
    TOO_MANY = "too many"  # more than three in seven days


def request_data_link(
    session: Session, number: int, queue: QueueMail, *, by_editor: bool = False, now: datetime
) -> DataLinkOutcome:
    """Queue an email with a link to a person's data.

    That's possible three times in seven days, and not while an earlier link works. With
    `by_editor`, the team requests it, because the person asked by phone or letter.
    """
    person = ledger.lock_person(session, number)
    if not may_request_data(person):
        return DataLinkOutcome.UNREACHABLE
    if not one_time_tokens.may_email_link(session, number, "my data", now=now):
        return DataLinkOutcome.TOO_MANY
    if one_time_tokens.find_open_token(session, number, "my data", now=now) is not None:
        return DataLinkOutcome.STILL_OPEN
    expires_at = now + DATA_LINK_LIFETIME
    token = one_time_tokens.issue_token(session, "my data", number, now=now, expires_at=expires_at)
    facts = {"token": token, "expires_at": expires_at.isoformat(), "by_editor": "yes" if by_editor else ""}
    queue(session, MailRequest("data", number, f"{now:%Y%m%dT%H%M%S%f}", facts))
    return DataLinkOutcome.QUEUED


def may_request_data(person: Person | None) -> bool:
    """Return True if a person can be emailed a link to their data."""
    return person is not None and person.state in DATA_ACCESS_STATES and person.ciphertext is not None


def list_consent_history(session: Session, number: int, language: SubscriberLanguage) -> list[ConsentHistoryEntry]:
    """Return descriptions of a person's consent events, oldest first."""
    query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
    return [_history_entry(event, language) for event in session.scalars(query)]


_UNDONE_IMPORT_SENTENCE = mark_message("The import of your address was undone")
_KIND_SENTENCES = {
    ConsentKind.REQUESTED: mark_message("Someone signed up with your address"),
    ConsentKind.CONFIRMED: mark_message("You confirmed your subscription"),
    ConsentKind.LISTED: mark_message("Your address was on a list, without proof that you agreed"),
    ConsentKind.IMPORTED: mark_message("You were added from another service’s list"),
    ConsentKind.ATTESTED: mark_message("Our team vouched for your consent"),
    ConsentKind.WITHDRAWN: mark_message("You unsubscribed"),
    ConsentKind.UNDONE: mark_message("You resubscribed"),
    ConsentKind.WITHDRAWN_AGAIN: mark_message("You unsubscribed (our team had already unsubscribed you)"),
    ConsentKind.RESTORED: mark_message("Our team restored your subscription, which it had ended by mistake"),
    ConsentKind.RE_ASKED: mark_message("We asked whether you want this newsletter"),
    ConsentKind.ADDRESS_CHANGED: mark_message("Your address changed"),
    ConsentKind.CHOICES_CHANGED: mark_message("Your preferences changed"),
    ConsentKind.BOUNCED: mark_message("An email to you bounced"),
    ConsentKind.COMPLAINED: mark_message("Our email was reported as spam"),
    ConsentKind.SUPPRESSED: mark_message("We stopped all email to your address"),
    ConsentKind.ERASED: mark_message("Your data was erased"),
    ConsentKind.REMOVED: _UNDONE_IMPORT_SENTENCE,
    ConsentKind.LINKS_RENEWED: mark_message("The links in your emails were renewed"),
    ConsentKind.EXPIRED: mark_message("A request expired without confirmation"),
}

_BY_EDITOR_SENTENCES = {
    ConsentKind.WITHDRAWN: mark_message("Our team unsubscribed you"),
    ConsentKind.CHOICES_CHANGED: mark_message("Our team changed your preferences"),
    ConsentKind.LINKS_RENEWED: mark_message("Our team renewed the links in your emails"),
    ConsentKind.SUPPRESSED: mark_message("Our team stopped all email to your address"),
    ConsentKind.ERASED: mark_message("Our team erased your data"),
}


def _history_entry(event: ConsentEvent, language: SubscriberLanguage) -> ConsentHistoryEntry:
    body = json.loads(event.body)
    is_undone_import = event.kind is ConsentKind.EXPIRED and "batch" in body
    sentences = _KIND_SENTENCES | (_BY_EDITOR_SENTENCES if ledger.is_by_admin(body) else {})
    what = _UNDONE_IMPORT_SENTENCE if is_undone_import else sentences[event.kind]
    return ConsentHistoryEntry(
        at=event.at,
        what=language.translate_text(what),
        how=describe_method(_text_value(body, "method"), language),
        where=rephrase_import(_text_value(body, "where") or _text_value(body, "page")),
        wording=read_consent_text_of_event(body),
        words_unknown=event.kind in ledger.GRANT_KINDS and bool(body.get("wording")) and not body.get("wording_hash"),
        version=_text_value(body, "wording_version"),
    )


def _text_value(event_body: dict[str, object], name: str) -> str:
    value = event_body.get(name)
    return value if isinstance(value, str) else ""


def start_new_link_generation(session: Session, number: int, *, now: datetime, **origin: str) -> int:
    """Start a new generation of a subscriber's links, record it in their chain, and return its number.

    `origin` contains the other fields of the event: the `method`, and the `actor` if it's an admin.
    A restored copy doesn't know about later renewals.

    Raises:
        LookupError: the person doesn't exist.
    """
    person = ledger.lock_person(session, number)
    if person is None:
        raise LookupError(f"no person has the number {number}")
    person.link_generation = next_generation(person.link_generation)
    body = {"generation": person.link_generation, **origin}
    ledger.append_event(session, person, ConsentKind.LINKS_RENEWED, body, now)
    return person.link_generation
