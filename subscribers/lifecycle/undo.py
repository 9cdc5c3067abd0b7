"""Taking back that one left: a right of whoever left, and of the owner of the address, never of a link in a mail.

A mail is easily forwarded, and its link leaves for whoever has it. So the link takes nothing back: the answer to the form
that made the reader leave holds a one-time token, and anybody else can at most have one mailed to the owner.

An admin can undo their own slip, and nothing that the reader or anybody else did.
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
from subscribers.transfer.import_undo import is_taken_back

UNDOABLE_METHODS = frozenset({"one-click", "page"})  # what a reader did, a reader may take back; an admin's act not
# Begins the method of a departure that was reported: whoever holds a forwarded mail can forge such a report by mail.
REPORTED_METHOD = "provider: "
# A second press of "Unsubscribe" ends what the first was answered with, and not what was mailed to the owner.
_ON_PAGE: OneTimePurpose = "undo on page"
_BY_MAIL: OneTimePurpose = "undo by mail"
_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class UndoLink:
    """A link looked up.

    `until` is there while it's open, `preferences` once the person is subscribed, and `undone`, an entry for the
    unsubscribe log, if this very request resubscribed them.
    """

    stage: ActionLinkState
    until: datetime | None = None
    preferences: Preferences = _NO_PREFERENCES
    undone: PendingUnsubscribeLogEntry | None = None


def find_undo_deadline(session: Session, number: int, *, now: datetime) -> datetime | None:
    """Return until when a person's leaving can be taken back; None where it cannot, or no longer.

    Who left by their own hand, or by somebody's report, may for 7 days, unless they were erased or complained since: both move a person on
    from `withdrawn`, for good.
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
    """Make the token for the answer to the form by which a person has left in this very transaction."""
    departure = _find_undoable_departure(session, number, now=now)
    assert departure is not None, "they have just left"
    return _issue_token(session, _ON_PAGE, departure, now)


def revoke_undo_token_shown_on_page(session: Session, number: int, *, now: datetime) -> None:
    """End the token of an earlier answer: somebody wants this person to leave, whoever pressed the button before."""
    one_time_tokens.revoke_tokens(session, number, _ON_PAGE, now=now)


def request_undo_link(session: Session, number: int, queue: QueueMail, *, now: datetime) -> None:
    """Have the owner mailed a link that takes their leaving back: one mail for each time that they left, three a week."""
    person = ledger.lock_person(session, number)
    departure = _find_undoable_departure(session, number, now=now) if person is not None else None
    if departure is None or _was_mailed(session, departure):
        return
    # Who leaves by a forwarded mail can undo and leave again, time after time.
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
    """Return how a link stands; nothing is changed."""
    _, link = _find_token(session, token, now)
    return _describe_link(session, link, now)


def undo_unsubscribe(session: Session, keys: KeyRing, token: str, *, now: datetime) -> UndoLink:
    """Put a person back who left, if the link is open; twice is once.

    The departure log is told afterwards, of `undone`: a departure log that knows of an undoing which the database
    lost would bring somebody back who is gone.
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


def find_restorable_unsubscribe(session: Session, person: Person, actor: str, *, now: datetime) -> ConsentEvent | None:
    """Return the event by which an admin unsubscribed a person, while that admin can undo it.

    They can for 7 days, once in that time, unless the person has unsubscribed, bounced, complained, or been erased since, or
    the import that they were subscribed by was undone.
    """
    by_admin = find_unsubscribe_by_admin(session, person)
    if by_admin is None or by_admin[1] != actor or not can_be_restored(session, person, now=now):
        return None
    return by_admin[0] if now < by_admin[0].at + ledger.UNDO_PERIOD else None


def can_be_restored(session: Session, person: Person, *, now: datetime) -> bool:
    """Return whether an admin who unsubscribes a person now could undo it: once in 7 days, if the earlier consent counts."""
    restored = ledger.find_last_event(session, person.number, {ConsentKind.RESTORED})
    had_one = restored is not None and now < restored.at + ledger.UNDO_PERIOD
    return person.ciphertext is not None and not had_one and _has_standing_grant(session, person)


def _has_standing_grant(session: Session, person: Person) -> bool:
    """Return whether the consent from before a person was unsubscribed still counts: restoring gives none of its own."""
    kinds = (ledger.GRANT_KINDS | ledger.SIGN_OF_LIFE_KINDS) - {ConsentKind.RESTORED}
    last = ledger.find_last_event(session, person.number, kinds)
    number = json.loads(last.body).get("batch") if last is not None else None
    batch = session.get(ImportBatch, number) if number is not None else None
    return last is not None and (batch is None or not is_taken_back(batch))


def restore_by_admin(
    session: Session, keys: KeyRing, number: int, *, actor: str, reason: str, queue: QueueMail, now: datetime
) -> PendingUnsubscribeLogEntry | None:
    """Put a person back whom the admin `actor` had unsubscribed by mistake, and email them; None where that can't be.

    The caller tells the departure log what this returns after the commit, as with `undo_unsubscribe`.
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
    """Look at a link: it takes back the departure that it was made for, and no later one."""
    person = session.get(Person, link.person) if link.person is not None else None
    if link.state is TokenState.UNKNOWN or person is None:
        return UndoLink(ActionLinkState.UNKNOWN)
    if person.state is PersonState.SUBSCRIBED:
        return UndoLink(ActionLinkState.DONE, preferences=Preferences.from_stored(person.choices))
    departure = _find_undoable_departure(session, person.number, now=now)
    if link.state is TokenState.FRESH and departure is not None and link.serial == str(departure.seq):
        return UndoLink(ActionLinkState.OPEN, departure.at + ledger.UNDO_PERIOD)
    return UndoLink(ActionLinkState.OVER)
