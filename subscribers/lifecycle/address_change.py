"""Changing an address: requested by the owner of the old one, confirmed by the owner of the new one.

The owner of the old one is emailed a link that stops it: until the change is confirmed, the link cancels it, and for seven days
after, it puts the old address back. So whoever got hold of a link to a subscriber's data can't take the subscription away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.address import Address, mask_address, read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_lookup_hash
from subscribers.lifecycle import expiry
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import STRANGER_MAIL_KINDS, SignupLimits
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenState
from subscribers.store.signup_models import StoredAddressChange

ADDRESS_CHANGE_LIFETIME = timedelta(days=7)
UNDO_PERIOD = timedelta(days=7)  # from the confirmation on
_STOP_PURPOSE: OneTimePurpose = "stop address change"


@dataclass(frozen=True, slots=True)
class AddressChange:
    """An address change looked up: it has masked addresses while it's open.

    `until` is when its link ends, `is_confirmed` says whether the new address has replaced the old one. `person` and `undone`, an
    entry for the unsubscribe log, are there if this very request changed the address.
    """

    stage: ActionLinkState
    old: str = ""
    new: str = ""
    until: datetime | None = None
    is_confirmed: bool = False
    person: int | None = None
    undone: PendingUnsubscribeLogEntry | None = None


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Both addresses of a change; `old` is None in a change requested before schema 0076."""

    new: Address
    old: Address | None


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
    """Mail a link to the new address, and one that stops the change to the old address; nothing else changes yet.

    Nothing is said of whether the new address is known. One that is suppressed, that is the old one, or whose mailbox or
    domain was named by as many forms as may name it, gets no mail, and neither does a fourth one in a week.
    """
    person = ledger.lock_person(session, number)
    if person is None or person.state is not PersonState.SUBSCRIBED:
        return
    old = people.decrypt_person_address(keys, person)
    if old is None or old.canonical == new_address.canonical:
        return
    if not one_time_tokens.may_email_link(session, number, "change address", now=now):
        return
    # A change that this one replaces keeps its row: the link to stop it, in an earlier email, stops this one.
    one_time_tokens.revoke_tokens(session, number, "change address", now=now)
    expires_at = now + ADDRESS_CHANGE_LIFETIME
    token = one_time_tokens.issue_token(session, "change address", number, now=now, expires_at=expires_at)
    stop_ends_at = expires_at + UNDO_PERIOD
    # It belongs to the old address, and has to work when that isn't the person's anymore: `_find_stoppable` compares.
    stop_token = one_time_tokens.issue_token(
        session, _STOP_PURPOSE, None, now=now, expires_at=stop_ends_at, serial=str(number)
    )
    row = StoredAddressChange(
        hash=one_time_tokens.hash_token(token),
        person=number,
        until=expires_at,
        stop_hash=one_time_tokens.hash_token(stop_token),
        old_lookup=make_lookup_hash(keys, old),
    )
    _encrypt_addresses(keys, row, _Addresses(new_address, old))
    session.add(row)
    serial = f"{now:%Y%m%dT%H%M%S%f}"
    notification = {"to": old.mailbox, "masked": mask_address(new_address.mailbox)}
    stop_link = {"token": stop_token, "expires_at": stop_ends_at.isoformat()}
    queue(session, MailRequest("moving", number, serial, notification | stop_link))
    has_room = _count_mail_to_stranger(session, keys, new_address, signup_limits, now)
    if has_room and suppression.find_suppression(session, keys, new_address) is None:
        facts = {"token": token, "expires_at": expires_at.isoformat(), "masked": mask_address(old.mailbox)}
        queue(session, MailRequest("move", number, serial, {**facts, "to": new_address.mailbox}))


def _count_mail_to_stranger(
    session: Session, keys: KeyRing, address: Address, signup_limits: SignupLimits, now: datetime
) -> bool:
    """Count a mail to an address that somebody typed; return False, and count nothing, where its limits are reached.

    They are those of sign-up forms, and count together with them.
    """
    mailbox_tag = rate_limits.hash_mailbox(keys, address)
    domain = rate_limits.DomainHashes(rate_limits.hash_domain_unless_large_provider(keys, address))
    kinds = [kind for kind, _ in rate_limits.list_recent_mails(session, mailbox_tag, now=now)]
    if sum(kind in STRANGER_MAIL_KINDS for kind in kinds) >= signup_limits.per_address_month:
        return False
    if rate_limits.is_domain_over_limit(session, domain, signup_limits, now=now):
        return False
    rate_limits.count_domain(session, domain, now=now)
    rate_limits.record_signup_mail(session, mailbox_tag, "move", now)
    return True


def look_up_address_change(session: Session, keys: KeyRing, token: str, *, now: datetime) -> AddressChange:
    """Return how a link to the new address stands; nothing is changed.

    Raises:
        DecryptionError: an address does not open.
    """
    link = one_time_tokens.look_up_token(session, token, "change address", now=now)
    if link.state is TokenState.UNKNOWN or link.person is None:
        return AddressChange(ActionLinkState.UNKNOWN)
    person = session.get(Person, link.person, populate_existing=True)
    if person is not None and person.state is PersonState.ERASED:
        return AddressChange(ActionLinkState.ERASED)
    if link.state is TokenState.USED:
        return AddressChange(ActionLinkState.DONE)
    row = session.get(StoredAddressChange, one_time_tokens.hash_token(token))
    subscriber = person if person and person.state is PersonState.SUBSCRIBED else None
    old = people.decrypt_person_address(keys, subscriber) if subscriber else None
    if link.state is not TokenState.FRESH or row is None or old is None:
        return AddressChange(ActionLinkState.OVER)
    new = _decrypt_addresses(keys, row).new
    if _is_unavailable(session, keys, new, link.person):
        return AddressChange(ActionLinkState.TAKEN)
    return AddressChange(ActionLinkState.OPEN, mask_address(old.mailbox), mask_address(new.mailbox), link.expires_at)


def confirm_address_change(
    session: Session, keys: KeyRing, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> AddressChange:
    """Move a reader to the new address, if the link is open; twice is once.

    From now on, every link emailed to an address that the reader had in the last days, to stop this change or one that it
    replaced, puts that address back.

    Raises:
        OSError: the departure log could not be written.
        DecryptionError: an address does not open.
        sqlalchemy.exc.IntegrityError: somebody signed up with the new address in this very moment.
    """
    number = one_time_tokens.look_up_token(session, token, "change address", now=now).person
    person = ledger.lock_person(session, number) if number is not None else None
    change = look_up_address_change(session, keys, token, now=now)
    if person is None or change.stage is not ActionLinkState.OPEN:
        return change
    one_time_tokens.use_token(session, token, "change address", now=now)
    new = _decrypt_addresses(keys, session.get_one(StoredAddressChange, one_time_tokens.hash_token(token))).new
    undone = _set_address(session, keys, unsubscribe_log, person, new, "link to the new address", now)
    for row in _list_changes(session, person.number, now):
        old = _decrypt_addresses(keys, row).old
        if old is None or old.canonical == new.canonical:  # its owner has just confirmed that it's theirs again
            session.delete(row)
            continue
        if row.changed_at is None:
            row.changed_at, row.until = now, now + UNDO_PERIOD
        _encrypt_addresses(keys, row, _Addresses(new, old))
    return AddressChange(ActionLinkState.DONE, change.old, change.new, person=person.number, undone=undone)


def look_up_stop_link(session: Session, keys: KeyRing, token: str, *, now: datetime) -> AddressChange:
    """Return how a link to the old address stands; nothing is changed.

    Raises:
        DecryptionError: an address does not open.
    """
    link = one_time_tokens.look_up_token(session, token, _STOP_PURPOSE, now=now)
    person = session.get(Person, int(link.serial), populate_existing=True) if link.serial else None
    if person is None:
        return AddressChange(ActionLinkState.UNKNOWN)
    if person.state is PersonState.ERASED:
        return AddressChange(ActionLinkState.ERASED)
    if link.state is TokenState.USED:
        return AddressChange(ActionLinkState.DONE)
    row = _find_stoppable(session, keys, person, token, now) if link.state is TokenState.FRESH else None
    addresses = _decrypt_addresses(keys, row) if row is not None else None
    if row is None or addresses is None or addresses.old is None:
        return AddressChange(ActionLinkState.OVER)
    is_confirmed = row.changed_at is not None
    if is_confirmed and _is_unavailable(session, keys, addresses.old, person.number, may_make_way=True):
        return AddressChange(ActionLinkState.TAKEN)
    old, new = mask_address(addresses.old.mailbox), mask_address(addresses.new.mailbox)
    return AddressChange(ActionLinkState.OPEN, old, new, row.until, is_confirmed)


def stop_address_change(
    session: Session, keys: KeyRing, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> AddressChange:
    """Cancel or undo a reader's address change, if the link to the old address is open; twice is once.

    The links to their data end as well: whoever requested the change has one.

    Raises:
        OSError: the departure log could not be written.
        DecryptionError: an address does not open.
        sqlalchemy.exc.IntegrityError: somebody signed up with the old address in this very moment.
    """
    serial = one_time_tokens.look_up_token(session, token, _STOP_PURPOSE, now=now).serial
    person = ledger.lock_person(session, int(serial)) if serial else None
    change = look_up_stop_link(session, keys, token, now=now)
    row = _find_stoppable(session, keys, person, token, now) if person else None
    if person is None or row is None or change.stage is not ActionLinkState.OPEN:
        return change
    one_time_tokens.use_token(session, token, _STOP_PURPOSE, now=now)
    old = _decrypt_addresses(keys, row).old
    assert old is not None, "the link is open"
    undone = None
    if row.changed_at is None:
        _revoke_data_links(session, person, now)
    else:
        _clear_unconfirmed_sign_up(session, keys, old, now)
        undone = _set_address(session, keys, unsubscribe_log, person, old, "link to the old address", now)
    _end_later_changes(session, keys, row, old, now)
    return AddressChange(ActionLinkState.DONE, change.old, change.new, None, change.is_confirmed, person.number, undone)


def _find_stoppable(
    session: Session, keys: KeyRing, person: Person, token: str, now: datetime
) -> StoredAddressChange | None:
    """Find the change that a link stops.

    The person must be subscribed, and have the address that the change left them with: a row may be another's by now
    (decision 0063).
    """
    stop_hash = one_time_tokens.hash_token(token)
    row = next((row for row in _list_changes(session, person.number, now) if row.stop_hash == stop_hash), None)
    if row is None or person.state is not PersonState.SUBSCRIBED:
        return None
    addresses, current = _decrypt_addresses(keys, row), people.read_address_matching_commitment(session, keys, person)
    expected = addresses.new if row.changed_at else addresses.old
    return row if current and expected and current.canonical == expected.canonical else None


def _end_later_changes(
    session: Session, keys: KeyRing, stopped: StoredAddressChange, old: Address, now: datetime
) -> None:
    """Delete a stopped change and those after it. One before it can still be undone, from the address that is back."""
    for row in _list_changes(session, stopped.person, now):
        is_earlier = row.changed_at and (stopped.changed_at is None or row.changed_at < stopped.changed_at)
        if is_earlier:
            _encrypt_addresses(keys, row, _Addresses(old, _decrypt_addresses(keys, row).old))
        else:
            session.delete(row)


def _set_address(
    session: Session,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    person: Person,
    address: Address,
    method: str,
    now: datetime,
) -> PendingUnsubscribeLogEntry | None:
    """Give a reader another address; return what the departure log has to be told of it after the commit.

    The log gets an entry for the address before: a copy that is restored from before knows the reader by that
    alone, and would mail it even if they left by the other one meanwhile. The other one's own word (`undone`) is
    added after the commit: an older departure of it is over.
    """
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "left"), at=now)
    person.lookup, person.lookup_key = make_lookup_hash(keys, address), keys.current("lookup").id
    people.set_person_address(keys, person, address)
    commitment = people.make_person_address_commitment(keys, person, address)
    body = {"method": method, "actor": "reader"}
    ledger.append_event(session, person, ConsentKind.ADDRESS_CHANGED, body, now, commitment=commitment)
    _revoke_data_links(session, person, now)
    return PendingUnsubscribeLogEntry.of_person(person, "undone")


def _revoke_data_links(session: Session, person: Person, now: datetime) -> None:
    for purpose in ("my data", "change address"):
        one_time_tokens.revoke_tokens(session, person.number, purpose, now=now)


def _list_changes(session: Session, number: int, now: datetime) -> Sequence[StoredAddressChange]:
    mine = (StoredAddressChange.person == number, StoredAddressChange.until > now)
    return session.scalars(select(StoredAddressChange).where(*mine).order_by(StoredAddressChange.hash)).all()


def _is_unavailable(
    session: Session, keys: KeyRing, address: Address, number: int, *, may_make_way: bool = False
) -> bool:
    """Return whether an address can't be a person's: it's somebody else's on the list, or left it, or is suppressed.

    With `may_make_way`, a sign-up that wasn't confirmed doesn't count: anybody can type an address into a form.
    """
    owner = people.find_person_number(session, keys, address)
    is_free = owner in {None, number} or (may_make_way and _is_unconfirmed_sign_up(session, owner))
    return not is_free or suppression.find_suppression(session, keys, address) is not None


def _is_unconfirmed_sign_up(session: Session, number: int | None) -> bool:
    person = session.get(Person, number) if number else None
    if person is None or person.state is not PersonState.REQUESTED:
        return False
    return not expiry.had_permission_pass(session, person.number)


def _clear_unconfirmed_sign_up(session: Session, keys: KeyRing, address: Address, now: datetime) -> None:
    """End a sign-up with an address that is a reader's again."""
    number = people.find_person_number(session, keys, address)
    request = ledger.find_last_event(session, number, {ConsentKind.REQUESTED}) if number else None
    if number is None or request is None:
        return
    one_time_tokens.revoke_tokens(session, number, "confirm", now=now)
    expiry.expire_request(session, number, request.seq, now)
    session.flush()


def _encrypt_addresses(keys: KeyRing, row: StoredAddressChange, addresses: _Addresses) -> None:
    values = {
        "address": addresses.new.mailbox,
        "old": addresses.old.mailbox if addresses.old else "",
        "person": row.person,
    }
    row.ciphertext, row.key_id = encrypt_json(keys, values, bound_to=_ciphertext_binding(row.hash))


def _decrypt_addresses(keys: KeyRing, row: StoredAddressChange) -> _Addresses:
    """Return the addresses of a change; the old one only where the ciphertext was made for this person."""
    values = decrypt_json(keys, (row.ciphertext, row.key_id), bound_to=_ciphertext_binding(row.hash))
    is_theirs = values.get("person") == row.person and values.get("old")
    return _Addresses(read_address(values["address"]), read_address(values["old"]) if is_theirs else None)


def _ciphertext_binding(token_hash: str) -> str:
    return f"move {token_hash}"
