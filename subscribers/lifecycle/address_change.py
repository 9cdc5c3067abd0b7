"""Address changes, requested by a subscriber or an admin and confirmed by the owner of the new address.

A link that stops the change is emailed to the old address. Until the change is confirmed, the link
cancels it. For seven days afterward, it restores the old address. Someone who has obtained a link
to a subscriber's data therefore can't take over the subscription.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.address import Address, mask_two_addresses, read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.consent_texts import ConsentText, register_consent_text
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.crypto.stored_addresses import make_lookup_hash
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import STRANGER_MAIL_KINDS, SignupLimits
from subscribers.store import one_time_tokens, people
from subscribers.store.models import EMPTIED_STATES, ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenState
from subscribers.store.signup_models import StoredAddressChange

ADDRESS_CHANGE_LIFETIME = timedelta(days=7)
STOP_PURPOSE: OneTimePurpose = "stop address change"


@dataclass(frozen=True, slots=True)
class AddressChangeLink:
    """The state of a link to confirm or stop an address change. While it's open, it includes the masked addresses.

    `until` is when the link expires. `wording` is the consent text if it was requested by an admin.
    `is_confirmed` says whether the new address has replaced the old one. `person` and `undone`, an
    entry for the unsubscribe log, are set if this request changed the address.
    """

    stage: ActionLinkState
    old: str = ""
    new: str = ""
    until: datetime | None = None
    wording: str = ""
    is_confirmed: bool = False
    person: int | None = None
    undone: PendingUnsubscribeLogEntry | None = None


@dataclass(frozen=True, slots=True)
class AddressCorrection:
    """An admin's correction: who requested it, why, and the consent text shown to the owner of the new address."""

    by: str
    reason: str
    language: str
    wording: str


class AddressCorrectionOutcome(StrEnum):
    """The outcome of an admin's request to correct an address."""

    REQUESTED = "requested"
    NOT_SUBSCRIBED = "not subscribed"
    SAME_ADDRESS = "same address"
    UNAVAILABLE = "unavailable"  # the new address is already in the database or suppressed
    TOO_MANY = "too many"


@dataclass(frozen=True, slots=True)
class ChangedAddresses:
    """The old and new addresses of a change.

    `old` is None if it was encrypted for a different person than that of the row.
    """

    new: Address
    old: Address | None
    correction: AddressCorrection | None = None


def request_address_change(
    session: Session,
    keys: KeyRing,
    number: int,
    new_address: Address,
    queue: QueueMail,
    signup_limits: SignupLimits,
    *,
    now: datetime,
) -> None:
    """Email the new address a link that confirms the change, and the old address a link that stops it.

    Nothing else changes yet. The answer doesn't reveal whether the new address is known. A new
    address isn't emailed if it's suppressed, if its mailbox or domain has reached the limits of
    forms, or if this is the person's fourth request in a week. Nothing happens if it's the same as
    the old one (`has_address`).
    """
    person = ledger.lock_person(session, number)
    if person is None or person.state is not PersonState.SUBSCRIBED:
        return
    old = people.decrypt_person_address(keys, person)
    if old is None or old.canonical == new_address.canonical:
        return
    if not one_time_tokens.may_email_link(session, number, "change address", now=now):
        return
    has_room = _count_mail_to_stranger(session, keys, new_address, signup_limits, now)
    is_emailed = has_room and suppression.find_suppression(session, keys, new_address) is None
    _begin_change(session, keys, person, ChangedAddresses(new_address, old), queue, now, is_emailed=is_emailed)


def has_address(keys: KeyRing, person: Person, address: Address) -> bool:
    """Return True if a person already has the given address."""
    current = people.decrypt_person_address(keys, person)
    return current is not None and current.canonical == address.canonical


def request_address_correction(
    session: Session,
    keys: KeyRing,
    number: int,
    new_address: Address,
    correction: AddressCorrection,
    queue: QueueMail,
    signup_limits: SignupLimits,
    *,
    now: datetime,
) -> AddressCorrectionOutcome:
    """Request a change, as an admin, for a subscriber or for someone who was subscribed until their mailbox bounced.

    The limits of `request_address_change` apply. Addresses that are or were someone else's are
    rejected, because an admin must neither email someone who unsubscribed nor transfer one person's
    consent to another. The new owner agrees to the consent text again.
    """
    person = ledger.lock_person(session, number)
    old = people.decrypt_person_address(keys, person) if person is not None else None
    if person is None or old is None or not may_correct_address(session, person):
        return AddressCorrectionOutcome.NOT_SUBSCRIBED
    if old.canonical == new_address.canonical:
        return AddressCorrectionOutcome.SAME_ADDRESS
    if is_unavailable(session, keys, new_address, number):
        return AddressCorrectionOutcome.UNAVAILABLE
    has_room = one_time_tokens.may_email_link(session, number, "change address", now=now)
    if not has_room or not _count_mail_to_stranger(session, keys, new_address, signup_limits, now):
        return AddressCorrectionOutcome.TOO_MANY
    _begin_change(session, keys, person, ChangedAddresses(new_address, old, correction), queue, now, is_emailed=True)
    return AddressCorrectionOutcome.REQUESTED


def may_correct_address(session: Session, person: Person) -> bool:
    """Return True if an admin may correct a person's address.

    The person must be subscribed, or have been subscribed until a bounce.
    """
    return person.number in find_correctable_people(session, [person])


def find_correctable_people(session: Session, candidates: Collection[Person]) -> set[int]:
    """Return the numbers of the people whose address an admin may correct (`may_correct_address`)."""
    with_address = [person for person in candidates if person.ciphertext is not None]
    suppressed = [person.number for person in with_address if person.state is PersonState.SUPPRESSED]
    endings = {ConsentKind.SUPPRESSED, ConsentKind.COMPLAINED}
    kinds = endings | ledger.GRANT_KINDS | {ConsentKind.WITHDRAWN, ConsentKind.EXPIRED}
    query = select(ConsentEvent).where(ConsentEvent.person.in_(suppressed), ConsentEvent.kind.in_(kinds))
    last_endings: dict[int, ConsentEvent] = {}
    last_others: dict[int, ConsentEvent] = {}
    for event in session.scalars(query.order_by(ConsentEvent.person, ConsentEvent.seq)) if suppressed else ():
        (last_endings if event.kind in endings else last_others)[event.person] = event
    bounced = {number for number, event in last_endings.items() if json.loads(event.body).get("reason") == "bounced"}
    granted = {number for number, event in last_others.items() if event.kind in ledger.GRANT_KINDS}
    subscribed = {person.number for person in with_address if person.state is PersonState.SUBSCRIBED}
    return subscribed | bounced & granted


def _begin_change(
    session: Session,
    keys: KeyRing,
    person: Person,
    addresses: ChangedAddresses,
    queue: QueueMail,
    now: datetime,
    *,
    is_emailed: bool,
) -> None:
    """Store a requested change, and queue the emails to the old address and, if `is_emailed`, to the new one."""
    number, old = person.number, addresses.old
    assert old is not None, "it's the person's address"
    # If this change replaces another one, the row of the other is kept, because the stop link in
    # the earlier email stops this one, too.
    one_time_tokens.revoke_tokens(session, number, "change address", now=now)
    expires_at = now + ADDRESS_CHANGE_LIFETIME
    token = one_time_tokens.issue_token(session, "change address", number, now=now, expires_at=expires_at)
    stop_ends_at = expires_at + ledger.UNDO_PERIOD
    # The token belongs to the old address, and must work when that's no longer the person's.
    # `address_change_stop` compares them.
    stop_token = one_time_tokens.issue_token(
        session, STOP_PURPOSE, None, now=now, expires_at=stop_ends_at, serial=str(number)
    )
    row = StoredAddressChange(
        hash=one_time_tokens.hash_token(token),
        person=number,
        until=expires_at,
        stop_hash=one_time_tokens.hash_token(stop_token),
        old_lookup=make_lookup_hash(keys, old),
    )
    encrypt_addresses(keys, row, addresses)
    session.add(row)
    serial = f"{now:%Y%m%dT%H%M%S%f}"
    by_editor = {"by_editor": "yes"} if addresses.correction else {}
    masked_old, masked_new = mask_two_addresses(old.mailbox, addresses.new.mailbox)
    notification = {"to": old.mailbox, "masked": masked_new}
    stop_link = {"token": stop_token, "expires_at": stop_ends_at.isoformat()}
    if person.state is PersonState.SUBSCRIBED:  # a bounced mailbox isn't emailed again
        queue(session, MailRequest("moving", number, serial, notification | stop_link | by_editor))
    if is_emailed:
        facts = {"token": token, "expires_at": expires_at.isoformat(), "masked": masked_old}
        queue(session, MailRequest("move", number, serial, {**facts, "to": addresses.new.mailbox, **by_editor}))


def _count_mail_to_stranger(
    session: Session, keys: KeyRing, address: Address, signup_limits: SignupLimits, now: datetime
) -> bool:
    """Count an email to an address that someone typed and return True, or return False if a limit is reached.

    The limits and counts are those of sign-up forms. If a limit is reached, the email isn't counted.
    """
    mailbox_tag = rate_limits.hash_mailbox(keys, address)
    domain = rate_limits.DomainHashes(rate_limits.hash_domain_unless_large_provider(keys, address))
    kinds = [kind for kind, _ in rate_limits.list_recent_mails(session, mailbox_tag, now=now)]
    if sum(kind in STRANGER_MAIL_KINDS for kind in kinds) >= signup_limits.per_address_month:
        return False
    if rate_limits.is_domain_over_limit(session, domain, signup_limits, now=now):
        return False
    rate_limits.count_domain_form(session, domain, now=now)
    rate_limits.record_signup_mail(session, mailbox_tag, "move", now)
    return True


def look_up_address_change_link(session: Session, keys: KeyRing, token: str, *, now: datetime) -> AddressChangeLink:
    """Return the state of a link that was sent to the new address.

    Nothing is changed.

    Raises:
        DecryptionError: an address can't be decrypted.
    """
    link = one_time_tokens.look_up_token(session, token, "change address", now=now)
    if link.state is TokenState.UNKNOWN or link.person is None:
        return AddressChangeLink(ActionLinkState.UNKNOWN)
    person = session.get(Person, link.person, populate_existing=True)
    if person is not None and person.state in EMPTIED_STATES:
        return AddressChangeLink(find_ended_link_state(person))
    if link.state is TokenState.USED:
        return AddressChangeLink(
            ActionLinkState.OVER if _is_undone(session, keys, person, token) else ActionLinkState.DONE
        )
    row = session.get(StoredAddressChange, one_time_tokens.hash_token(token))
    if link.state is not TokenState.FRESH or row is None or person is None:
        return AddressChangeLink(ActionLinkState.OVER)
    return _describe_confirmable_change(session, keys, row, person)


def find_ended_link_state(person: Person) -> ActionLinkState:
    """Return the state of an address change's link once the person's record has been emptied.

    Undoing an import isn't an erasure that someone asked for.
    """
    return ActionLinkState.ERASED if person.state is PersonState.ERASED else ActionLinkState.OVER


def _is_undone(session: Session, keys: KeyRing, person: Person | None, token: str) -> bool:
    """Return True if a person has the same address again as when a used link was created."""
    current = people.decrypt_person_address(keys, person) if person is not None else None
    return current is not None and one_time_tokens.is_token_made_for(session, token, current.mailbox)


def _describe_confirmable_change(
    session: Session, keys: KeyRing, row: StoredAddressChange, person: Person
) -> AddressChangeLink:
    addresses, old = decrypt_addresses(keys, row), people.decrypt_person_address(keys, person)
    new, correction = addresses.new, addresses.correction
    is_correctable = correction is not None and may_correct_address(session, person)
    if old is None or not (person.state is PersonState.SUBSCRIBED or is_correctable):
        return AddressChangeLink(ActionLinkState.OVER)
    if is_unavailable(session, keys, new, person.number):
        return AddressChangeLink(ActionLinkState.TAKEN)
    masked = mask_two_addresses(old.mailbox, new.mailbox)
    return AddressChangeLink(ActionLinkState.OPEN, *masked, row.until, correction.wording if correction else "")


def confirm_address_change(
    session: Session, keys: KeyRing, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> AddressChangeLink:
    """Change a subscriber's address if the link is open. Idempotent.

    Afterward, each link that was emailed to a recent address of the subscriber for stopping this
    change, or one that it replaced, restores that address.

    Raises:
        OSError: the unsubscribe log couldn't be written.
        DecryptionError: an address can't be decrypted.
        sqlalchemy.exc.IntegrityError: someone signed up with the new address at the same
            moment.
    """
    number = one_time_tokens.look_up_token(session, token, "change address", now=now).person
    person = ledger.lock_person(session, number) if number is not None else None
    change = look_up_address_change_link(session, keys, token, now=now)
    if person is None or change.stage is not ActionLinkState.OPEN:
        return change
    one_time_tokens.use_token(session, token, "change address", now=now)
    confirmed = decrypt_addresses(keys, session.get_one(StoredAddressChange, one_time_tokens.hash_token(token)))
    new, correction = confirmed.new, confirmed.correction
    undone = change_person_address(session, keys, unsubscribe_log, person, new, _describe_change(correction), now)
    if correction is not None:
        wording = register_consent_text(session, ConsentText(correction.language, correction.wording), now).as_json()
        ledger.append_event(session, person, ConsentKind.CONFIRMED, wording | _describe_change(correction), now)
    for row in list_changes(session, person.number, now):
        old = decrypt_addresses(keys, row).old
        # Its owner has just confirmed that it belongs to them again.
        if old is None or old.canonical == new.canonical:
            session.delete(row)
            continue
        if row.changed_at is None:
            row.changed_at, row.until = now, now + ledger.UNDO_PERIOD
        encrypt_addresses(keys, row, ChangedAddresses(new, old))
    return AddressChangeLink(ActionLinkState.DONE, change.old, change.new, person=person.number, undone=undone)


def change_person_address(
    session: Session,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    person: Person,
    address: Address,
    body: dict[str, Any],
    now: datetime,
) -> PendingUnsubscribeLogEntry | None:
    """Change a person's address, and return the entry to be written to the unsubscribe log after the commit.

    An entry for the old address is written immediately. An older restored copy only knows the person
    by that address, and would email it even if they have since unsubscribed with the new one. The
    `undone` entry of the new address is added after the commit and ends its earlier departure.
    """
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "left"), at=now)
    person.lookup, person.lookup_key = make_lookup_hash(keys, address), keys.current("lookup").id
    people.encrypt_person_address(keys, person, address)
    commitment = people.make_person_address_commitment(keys, person, address)
    ledger.append_event(session, person, ConsentKind.ADDRESS_CHANGED, body, now, commitment=commitment)
    revoke_data_links(session, person, now)
    return PendingUnsubscribeLogEntry.of_person(person, "undone")


def _describe_change(correction: AddressCorrection | None) -> dict[str, Any]:
    """Return the event's body: how the new address was confirmed, and which admin requested the change."""
    body = {"method": "link to the new address", "actor": "reader"}
    return body | ({"requested_by": correction.by, "reason": correction.reason} if correction else {})


def revoke_data_links(session: Session, person: Person, now: datetime) -> None:
    """Revoke the links to a person's data and to an unconfirmed new address."""
    for purpose in ("my data", "change address"):
        one_time_tokens.revoke_tokens(session, person.number, purpose, now=now)


def list_changes(session: Session, number: int, now: datetime) -> Sequence[StoredAddressChange]:
    """Return a person's address changes that haven't ended, including those superseded by a later one."""
    mine = (StoredAddressChange.person == number, StoredAddressChange.until > now)
    return session.scalars(select(StoredAddressChange).where(*mine).order_by(StoredAddressChange.hash)).all()


@dataclass(frozen=True, slots=True)
class PendingCorrection:
    """A correction that the owner of the new address can confirm until `until`.

    `correction` and `new` are None if they can't be read.
    """

    correction: AddressCorrection | None
    new: Address | None
    requested_at: datetime
    until: datetime


def find_pending_correction(
    session: Session,
    keys: KeyRing,
    number: int,
    *,
    now: datetime,
) -> PendingCorrection | None:
    """Return the pending correction of a person's address, or None if there's none."""
    token = one_time_tokens.find_open_token(session, number, "change address", now=now)
    row = session.get(StoredAddressChange, token.hash) if token is not None else None
    if token is None or row is None:
        return None
    try:
        addresses = decrypt_addresses(keys, row)
    except DecryptionError:
        return PendingCorrection(None, None, token.made_at, token.expires_at)
    if addresses.correction is None:
        return None
    return PendingCorrection(addresses.correction, addresses.new, token.made_at, token.expires_at)


def withdraw_correction(session: Session, keys: KeyRing, number: int, *, now: datetime) -> bool:
    """Cancel the pending correction of a person's address, along with its emailed links.

    Return False if there's none.
    """
    ledger.lock_person(session, number)
    if find_pending_correction(session, keys, number, now=now) is None:
        return False
    one_time_tokens.revoke_tokens(session, number, "change address", now=now)
    for row in list_changes(session, number, now):
        if row.changed_at is None:
            session.delete(row)
    return True


def is_unavailable(
    session: Session,
    keys: KeyRing,
    address: Address,
    number: int,
    *,
    unless: Callable[[int], bool] | None = None,
) -> bool:
    """Return True if a person can't have an address because it's suppressed or belongs to someone else.

    A person for whom `unless` returns True doesn't count.
    """
    owner = people.find_person_number(session, keys, address)
    is_free = owner is None or owner == number or (unless is not None and unless(owner))
    return not is_free or suppression.find_suppression(session, keys, address) is not None


def encrypt_addresses(keys: KeyRing, row: StoredAddressChange, addresses: ChangedAddresses) -> None:
    """Encrypt a change's addresses into its row, bound to the change's token and person."""
    values: dict[str, Any] = {"address": addresses.new.mailbox, "person": row.person}
    values |= {"old": addresses.old.mailbox} if addresses.old else {}
    values |= {"correction": asdict(addresses.correction)} if addresses.correction else {}
    row.ciphertext, row.key_id = encrypt_json(keys, values, bound_to=_ciphertext_binding(row.hash))


def decrypt_addresses(keys: KeyRing, row: StoredAddressChange) -> ChangedAddresses:
    """Return a change's addresses, or only the new one if the ciphertext was made for another person."""
    values = decrypt_json(keys, (row.ciphertext, row.key_id), bound_to=_ciphertext_binding(row.hash))
    new = read_address(values["address"])
    if values.get("person") != row.person or "old" not in values:
        return ChangedAddresses(new, None)
    correction = AddressCorrection(**values["correction"]) if "correction" in values else None
    return ChangedAddresses(new, read_address(values["old"]), correction)


def _ciphertext_binding(token_hash: str) -> str:
    return f"move {token_hash}"
