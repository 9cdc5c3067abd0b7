"""Confirmation, the only action by which people can subscribe themselves.

Opening the emailed link changes nothing. Pressing the button on its page confirms the subscription.
It works on any device, once, while the token is valid. Using the same token again shows the current
state and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from subscribers.consent import audience, evidence, ledger, suppression
from subscribers.consent.breaking_news import mentions_breaking_news
from subscribers.consent.consent_texts import read_consent_text_of_event
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup.request_processor import BLOCKING_REASONS
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import TokenLookup, TokenState
from subscribers.store.signup_models import StoredAddressChange
from subscribers.subscriber_language import SubscriberLanguage

CONFIRMATION_METHOD = "double opt-in"
WELCOME_PERIOD = timedelta(hours=1)


class ConfirmationLinkState(StrEnum):
    """The state of a confirmation link, as displayed on its page."""

    UNKNOWN = "unknown"
    OPEN = "open"  # the button works
    CONFIRMED = "confirmed"  # the person is on the list
    USED = "used"  # it was used, and the person has left since then
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ConfirmationLink:
    """A confirmation link and its state.

    The address is only set while the link is open, to be masked on the page.
    """

    stage: ConfirmationLinkState
    address: str = ""
    wording: str = ""
    where: str = ""
    asked_at: datetime | None = None
    day: datetime | None = None  # when it expired or was used
    new: bool = False  # whether it was confirmed by this request
    by_us: bool = False  # for people on an imported list whom we asked
    # The preferences after confirming, if the form had any.
    chosen: Preferences | None = None


def look_up_confirmation(
    session: Session, keys: KeyRing, token: str, *, language: SubscriberLanguage, now: datetime
) -> ConfirmationLink:
    """Return the state of a confirmation link.

    Nothing is changed. `language` is the same as for `confirm_subscription`.
    """
    return _describe_link(session, keys, one_time_tokens.look_up_token(session, token, "confirm", now=now), language)


def confirm_subscription(
    session: Session,
    keys: KeyRing,
    token: str,
    *,
    origin: evidence.RequestOrigin,
    evidence_retention: timedelta,
    queue: QueueMail,
    language: SubscriberLanguage,
    now: datetime,
) -> ConfirmationLink:
    """Confirm a subscription if the link is open. Idempotent.

    The consent, the welcome email, and the end of other links are committed together. Preferences
    chosen in the form take effect. A consent text that mentions breaking news, in the subscribers'
    `language`, turns it on. Any other text turns off an earlier choice of someone who had left.

    A suppression for a bounce or an erasure ends, because this is the new consent that it requires.
    A used link never resubscribes someone who has left since then.
    """
    link = look_up_confirmation(session, keys, token, language=language, now=now)
    if link.stage is not ConfirmationLinkState.OPEN:
        return link
    used = one_time_tokens.use_token(session, token, "confirm", now=now)
    # The button was pressed twice, and the other request was first.
    if used.state is not TokenState.FRESH or used.person is None:
        return look_up_confirmation(session, keys, token, language=language, now=now)
    person = ledger.lock_person(session, used.person)
    assert person is not None, "people are emptied, never removed"
    request = ledger.read_event_body(session, person.number, int(used.serial))
    preferences = _merge_preferences(person, request, language)
    _record_consent(session, keys, person, int(used.serial), origin, evidence_retention, queue, now=now)
    if preferences.is_readable:
        change_preferences(session, person.number, preferences, now, method=CONFIRMATION_METHOD)
    one_time_tokens.revoke_tokens(session, person.number, "confirm", now=now, used=True)
    return ConfirmationLink(
        ConfirmationLinkState.CONFIRMED, link.address, link.wording, link.where, link.asked_at, now, new=True
    )


def _merge_preferences(person: Person, request: Mapping[str, Any], language: SubscriberLanguage) -> Preferences:
    """Return a person's preferences after they confirm.

    Earlier preferences that can't be read are kept. Breaking news depends on the consent text,
    because a new consent doesn't cover more than that. Current subscribers keep their choice.
    """
    earlier = Preferences.from_stored(person.choices)
    if not earlier.is_readable:
        return earlier
    preferences = Preferences.from_json({**earlier.as_json(), **request.get("choices", {})})
    is_kept = preferences.breaking_news and person.state is PersonState.SUBSCRIBED
    is_agreed = mentions_breaking_news(read_consent_text_of_event(request), language)
    return replace(preferences, breaking_news=is_kept or is_agreed)


def find_new_subscriber(
    session: Session,
    token: str,
    *,
    now: datetime,
    for_update: bool = False,
) -> Person | None:
    """Return the person who confirmed with a link within the last `WELCOME_PERIOD`, or None.

    They can still change their preferences there. Return None if their preferences can't be read,
    because the page doesn't ask for all of them, such as a pause that may be lost.
    """
    used = one_time_tokens.look_up_token(session, token, "confirm", now=now)
    is_recent = used.state is TokenState.USED and used.ended_at is not None and now < used.ended_at + WELCOME_PERIOD
    person = session.get(Person, used.person, with_for_update=for_update or None) if is_recent and used.person else None
    if person is None or not audience.may_email_person(session, person.number):
        return None
    return person if Preferences.from_stored(person.choices).is_readable else None


def _describe_link(
    session: Session, keys: KeyRing, token_lookup: TokenLookup, language: SubscriberLanguage
) -> ConfirmationLink:
    person = session.get(Person, token_lookup.person, populate_existing=True) if token_lookup.person else None
    if token_lookup.state is TokenState.UNKNOWN or person is None:
        return ConfirmationLink(ConfirmationLinkState.UNKNOWN)
    if token_lookup.state is TokenState.FRESH:
        return _describe_open_link(session, keys, token_lookup, person, language)
    if audience.may_email_person(session, person.number):
        return ConfirmationLink(ConfirmationLinkState.CONFIRMED, day=token_lookup.ended_at)
    if token_lookup.state is TokenState.USED:
        return ConfirmationLink(ConfirmationLinkState.USED, day=token_lookup.ended_at)
    return ConfirmationLink(ConfirmationLinkState.EXPIRED, day=token_lookup.expires_at)


def _describe_open_link(
    session: Session, keys: KeyRing, token_lookup: TokenLookup, person: Person, language: SubscriberLanguage
) -> ConfirmationLink:
    """Return the state of a link that hasn't expired.

    It's also closed by an erasure or a complaint since the request.
    """
    address = people.decrypt_person_address(keys, person)
    suppressed = suppression.find_suppression(session, keys, address) if address else None
    if address is None or (suppressed is not None and suppressed.reason in BLOCKING_REASONS):
        return ConfirmationLink(ConfirmationLinkState.EXPIRED, day=token_lookup.expires_at)
    request = ledger.read_event_body(session, person.number, int(token_lookup.serial))
    asked_at = datetime.fromisoformat(request["asked_at"])
    return ConfirmationLink(
        ConfirmationLinkState.OPEN,
        address.mailbox,
        request["wording"],
        request["where"],
        asked_at,
        token_lookup.expires_at,
        by_us=request["method"] == ledger.PERMISSION_METHOD,
        chosen=_merge_preferences(person, request, language) if request.get("choices") else None,
    )


REQUEST_FIELDS = ("wording", "wording_version", "wording_hash", "language", "page", "where", "asked_at")


def _record_consent(
    session: Session,
    keys: KeyRing,
    person: Person,
    seq: int,
    origin: evidence.RequestOrigin,
    evidence_retention: timedelta,
    queue: QueueMail,
    *,
    now: datetime,
) -> None:
    request = ledger.read_event_body(session, person.number, seq)
    salt = evidence.make_evidence_salt()
    body: dict[str, Any] = {
        **{key: request[key] for key in REQUEST_FIELDS},
        "method": CONFIRMATION_METHOD,
        "actor": "reader",
        "request": seq,
        **evidence.hash_request_origin(origin, salt),
    }
    address = people.decrypt_person_address(keys, person)
    assert address is not None, "an emptied person has no open link"
    suppression.lift_suppression(session, keys, address, now=now)
    # Someone who changed their address from this one can't restore it anymore.
    changed_from = StoredAddressChange.old_lookup.in_(people.list_lookup_hashes(keys, address))
    session.execute(delete(StoredAddressChange).where(changed_from, StoredAddressChange.person != person.number))
    event = ledger.append_event(session, person, ConsentKind.CONFIRMED, body, now)
    evidence.store_evidence(session, keys, event, origin, salt=salt, until=now + evidence_retention)
    person.asked_at, person.asked_where = datetime.fromisoformat(request["asked_at"]), request["where"][:200]
    facts = {**{key: request[key] for key in REQUEST_FIELDS}, "confirmed_at": now.isoformat()}
    queue(session, MailRequest("welcome", person.number, str(event.seq), facts))
