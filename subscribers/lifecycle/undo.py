"""Undoing an unsubscribe. The person who unsubscribed and the address's owner can do so, but an edition's link can't.

Emails are easily forwarded, and their link lets anyone unsubscribe the owner. It can't undo that.
The response to the unsubscribe form contains a one-time token for undoing it, and anyone else can
only have one emailed to the owner.

An admin can undo their own mistake, but nothing that was done by the subscriber or anyone else.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe import find_unsubscribe_by_admin
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenLookup, TokenState
from subscribers.transfer.import_undo import is_undone

# Subscribers can undo what they did, but not an admin's action.
UNDOABLE_METHODS = frozenset({"one-click", "page"})
# The prefix of the method of a reported departure. Anyone who has a forwarded email can forge such
# a report by email.
REPORTED_METHOD = "provider: "
# If "Unsubscribe" is pressed again, the token of the first response ends, but not the one emailed
# to the owner.
_ON_PAGE: OneTimePurpose = "undo on page"
_BY_MAIL: OneTimePurpose = "undo by mail"
_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class UndoLink:
    """The state of a link that undoes an unsubscribe.

    `until` is set while it's open, `preferences` once the person is subscribed, and `undone`, an
    entry for the unsubscribe log, if this request resubscribed them.
    """

    stage: ActionLinkState
    until: datetime | None = None
    preferences: Preferences = _NO_PREFERENCES
    undone: PendingUnsubscribeLogEntry | None = None


def find_undo_deadline(session: Session, number: int, *, now: datetime) -> datetime | None:
    """Return the time until which a person's unsubscribe can be undone, or None if it can't be undone now.

    It can be undone for 7 days if they unsubscribed themselves or it was reported, unless they have been
    erased or have complained since then. Erasures and complaints permanently end the state `withdrawn`.
    """
    departure = _find_undoable_departure(session, number, now=now)
    return departure.at + ledger.UNDO_PERIOD if departure else None


def _find_undoable_departure(session: Session, number: int, *, now: datetime) -> ConsentEvent | None:
    person = session.get(Person, number)
    if person is None or person.state != PersonState.WITHDRAWN or person.ciphertext is None:
        return None
    last = ledger.find_last_event(session, number, {ConsentKind.WITHDRAWN})
    method = json.loads(last.body).get("method", "") if last is not None else ""
    if last is None or not (method in UNDOABLE_METHODS or method.startswith(REPORTED_METHOD)):
        return None
    return last if now < last.at + ledger.UNDO_PERIOD else None


def issue_undo_token(session: Session, number: int, *, now: datetime) -> str:
    """Return a token for the page that confirms an unsubscribe made within this transaction."""
    departure = _find_undoable_departure(session, number, now=now)
    assert departure is not None, "they have just left"
    return _issue_token(session, _ON_PAGE, departure, now)


def revoke_undo_token_shown_on_page(session: Session, number: int, *, now: datetime) -> None:
    """End the token that a person was shown when they unsubscribed.

    Unsubscribing was requested again, perhaps by someone else.
    """
    one_time_tokens.revoke_tokens(session, number, _ON_PAGE, now=now)


def request_undo_link(session: Session, number: int, queue: QueueMail, *, now: datetime) -> None:
    """Email the owner a link that undoes their unsubscribe, once per unsubscribe and at most three times a week."""
    person = ledger.lock_person(session, number)
    departure = _find_undoable_departure(session, number, now=now) if person is not None else None
    if departure is None or _was_mailed(session, departure):
        return
    # Otherwise, someone with a forwarded email could undo and unsubscribe repeatedly.
    if not one_time_tokens.may_email_link(session, number, _BY_MAIL, now=now):
        return
    token = _issue_token(session, _BY_MAIL, departure, now)
    facts = {"token": token, "expires_at": (departure.at + ledger.UNDO_PERIOD).isoformat()}
    queue(session, MailRequest("undo", number, str(departure.seq), facts))


def _issue_token(session: Session, purpose: OneTimePurpose, departure: ConsentEvent, now: datetime) -> str:
    return one_time_tokens.issue_token(
        session,
        purpose,
        departure.person,
        now=now,
        expires_at=departure.at + ledger.UNDO_PERIOD,
        serial=str(departure.seq),
    )


def _was_mailed(session: Session, departure: ConsentEvent) -> bool:
    return one_time_tokens.was_token_issued(session, departure.person, _BY_MAIL, serial=str(departure.seq))


def look_up_undo_link(session: Session, token: str, *, now: datetime) -> UndoLink:
    """Return the state of a link that undoes an unsubscribe.

    Nothing is changed.
    """
    _, link = _find_token(session, token, now)
    return _describe_link(session, link, now)


def undo_unsubscribe(session: Session, keys: KeyRing, token: str, *, now: datetime) -> UndoLink:
    """Resubscribe a person if the link is open. Idempotent.

    The `undone` entry is written to the unsubscribe log afterward. If the log had an undo that was
    lost from the database, someone who left would be subscribed again.
    """
    purpose, link = _find_token(session, token, now)
    person = ledger.lock_person(session, link.person) if link.person is not None else None
    described = _describe_link(session, link, now)
    if person is None or described.stage is not ActionLinkState.OPEN:
        return described
    if one_time_tokens.use_token(session, token, purpose, now=now).state is not TokenState.FRESH:
        return look_up_undo_link(session, token, now=now)
    address = people.decrypt_person_address(keys, person)
    if address is None or suppression.find_suppression(session, keys, address) is not None:
        return UndoLink(ActionLinkState.OVER)
    body = {"method": "page" if purpose == _ON_PAGE else "link mailed to the owner", "actor": "reader"}
    ledger.append_event(session, person, ConsentKind.UNDONE, body, now)
    for other in (_ON_PAGE, _BY_MAIL):
        one_time_tokens.revoke_tokens(session, person.number, other, now=now, used=True)
    undone = PendingUnsubscribeLogEntry.of_person(person, "undone")
    preferences = Preferences.from_stored(person.choices)
    return UndoLink(ActionLinkState.DONE, preferences=preferences, undone=undone)


def find_restorable_unsubscribe(
    session: Session,
    person: Person,
    actor: str,
    *,
    now: datetime,
) -> ConsentEvent | None:
    """Return the event by which the admin `actor` unsubscribed a person if they can still undo it, or None.

    They can undo it for 7 days, and once in that time, unless the person has since unsubscribed,
    bounced, complained, or been erased, or the import that subscribed them was undone.
    """
    by_admin = find_unsubscribe_by_admin(session, person)
    if by_admin is None or by_admin[1] != actor or not may_admin_undo_unsubscribe(session, person, now=now):
        return None
    return by_admin[0] if now < by_admin[0].at + ledger.UNDO_PERIOD else None


def may_admin_undo_unsubscribe(session: Session, person: Person, *, now: datetime) -> bool:
    """Return True if an admin who unsubscribed a person now would be able to undo it.

    Restoring is possible once in 7 days, if the earlier consent still counts.
    """
    restored = ledger.find_last_event(session, person.number, {ConsentKind.RESTORED})
    had_one = restored is not None and now < restored.at + ledger.UNDO_PERIOD
    return person.ciphertext is not None and not had_one and _has_valid_grant(session, person)


def _has_valid_grant(session: Session, person: Person) -> bool:
    """Return True if the consent from before an unsubscribe still counts.

    A restoration isn't consent.
    """
    kinds = (ledger.GRANT_KINDS | ledger.SIGN_OF_LIFE_KINDS) - {ConsentKind.RESTORED}
    last = ledger.find_last_event(session, person.number, kinds)
    number = json.loads(last.body).get("batch") if last is not None else None
    batch = session.get(ImportBatch, number) if number is not None else None
    return last is not None and (batch is None or not is_undone(batch))


def restore_by_admin(
    session: Session,
    keys: KeyRing,
    number: int,
    *,
    actor: str,
    reason: str,
    queue: QueueMail,
    now: datetime,
) -> PendingUnsubscribeLogEntry | None:
    """Resubscribe a person whom the admin `actor` unsubscribed by mistake, and email them.

    Return the entry that the caller has to write to the unsubscribe log after the commit, as for
    `undo_unsubscribe`. Return None if that isn't possible.
    """
    person = ledger.lock_person(session, number)
    departure = find_restorable_unsubscribe(session, person, actor, now=now) if person is not None else None
    address = people.decrypt_person_address(keys, person) if person is not None else None
    if person is None or departure is None or address is None:
        return None
    if suppression.find_suppression(session, keys, address) is not None:
        return None
    body = {"method": f"{ledger.ADMIN_METHOD}{reason}", "actor": actor, "undoes": departure.seq}
    ledger.append_event(session, person, ConsentKind.RESTORED, body, now)
    queue(session, MailRequest("restored", number, str(departure.seq), {"since": departure.at.isoformat()}))
    return PendingUnsubscribeLogEntry.of_person(person, "undone")


def _find_token(session: Session, token: str, now: datetime) -> tuple[OneTimePurpose, TokenLookup]:
    on_page = one_time_tokens.look_up_token(session, token, _ON_PAGE, now=now)
    if on_page.state is not TokenState.UNKNOWN:
        return _ON_PAGE, on_page
    return _BY_MAIL, one_time_tokens.look_up_token(session, token, _BY_MAIL, now=now)


def _describe_link(session: Session, link: TokenLookup, now: datetime) -> UndoLink:
    """Return the state of a link, which undoes only the unsubscribe that it was made for."""
    person = session.get(Person, link.person) if link.person is not None else None
    if link.state is TokenState.UNKNOWN or person is None:
        return UndoLink(ActionLinkState.UNKNOWN)
    if person.state is PersonState.SUBSCRIBED:
        return UndoLink(ActionLinkState.DONE, preferences=Preferences.from_stored(person.choices))
    departure = _find_undoable_departure(session, person.number, now=now)
    if link.state is TokenState.FRESH and departure is not None and link.serial == str(departure.seq):
        return UndoLink(ActionLinkState.OPEN, departure.at + ledger.UNDO_PERIOD)
    return UndoLink(ActionLinkState.OVER)
