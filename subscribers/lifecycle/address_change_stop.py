"""Stopping an address change with a link sent to the old address, up to seven days after the change is confirmed.

Anyone with a link to a subscriber's data can request a change. The link in the email to the old
address cancels the change or restores the old address.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from subscribers.address import Address, mask_two_addresses
from subscribers.consent import ledger
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import address_change, expiry
from subscribers.lifecycle.address_change import STOP_PURPOSE, AddressChangeLink
from subscribers.store import one_time_tokens, people
from subscribers.store.models import EMPTIED_STATES, ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, TokenState
from subscribers.store.signup_models import StoredAddressChange


def look_up_stop_link(session: Session, keys: KeyRing, token: str, *, now: datetime) -> AddressChangeLink:
    """Return the state of a link that was sent to the old address.

    Nothing is changed.

    Raises:
        DecryptionError: an address can't be decrypted.
    """
    link = one_time_tokens.look_up_token(session, token, STOP_PURPOSE, now=now)
    person = session.get(Person, int(link.serial), populate_existing=True) if link.serial else None
    if person is None:
        return AddressChangeLink(ActionLinkState.UNKNOWN)
    if person.state in EMPTIED_STATES:
        return AddressChangeLink(address_change.find_ended_link_state(person))
    if link.state is TokenState.USED:
        return AddressChangeLink(ActionLinkState.DONE)
    row = _find_stoppable(session, keys, person, token, now) if link.state is TokenState.FRESH else None
    addresses = address_change.decrypt_addresses(keys, row) if row is not None else None
    if row is None or addresses is None or addresses.old is None:
        return AddressChangeLink(ActionLinkState.OVER)
    is_confirmed = row.changed_at is not None
    if is_confirmed and address_change.is_unavailable(
        session, keys, addresses.old, person.number, unless=partial(_is_unconfirmed_sign_up, session)
    ):
        return AddressChangeLink(ActionLinkState.TAKEN)
    old, new = mask_two_addresses(addresses.old.mailbox, addresses.new.mailbox)
    return AddressChangeLink(ActionLinkState.OPEN, old, new, row.until, is_confirmed=is_confirmed)


def stop_address_change(
    session: Session, keys: KeyRing, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> AddressChangeLink:
    """Cancel or undo an address change if the link sent to the old address is open. Idempotent.

    The links to the subscriber's data are revoked as well, because whoever requested the change has one.

    Raises:
        OSError: the unsubscribe log couldn't be written.
        DecryptionError: an address can't be decrypted.
        sqlalchemy.exc.IntegrityError: someone signed up with the old address at the same
            moment.
    """
    serial = one_time_tokens.look_up_token(session, token, STOP_PURPOSE, now=now).serial
    person = ledger.lock_person(session, int(serial)) if serial else None
    change = look_up_stop_link(session, keys, token, now=now)
    row = _find_stoppable(session, keys, person, token, now) if person else None
    if person is None or row is None or change.stage is not ActionLinkState.OPEN:
        return change
    one_time_tokens.use_token(session, token, STOP_PURPOSE, now=now)
    old = address_change.decrypt_addresses(keys, row).old
    assert old is not None, "the link is open"
    undone = None
    if row.changed_at is None:
        address_change.revoke_data_links(session, person, now)
    else:
        _clear_unconfirmed_sign_up(session, keys, old, now)
        body = {"method": ledger.STOPPED_CHANGE_METHOD, "actor": "reader"}
        undone = address_change.change_person_address(session, keys, unsubscribe_log, person, old, body, now)
    _end_later_changes(session, keys, row, old, now)
    return replace(change, stage=ActionLinkState.DONE, until=None, person=person.number, undone=undone)


def _find_stoppable(
    session: Session, keys: KeyRing, person: Person, token: str, now: datetime
) -> StoredAddressChange | None:
    """Return the change that a link can stop, or None if it can't stop any.

    The person must be subscribed and have the address from the change, because the row may belong
    to someone else by now (decision 0063).
    """
    stop_hash = one_time_tokens.hash_token(token)
    row = next(
        (row for row in address_change.list_changes(session, person.number, now) if row.stop_hash == stop_hash), None
    )
    if row is None or person.state is not PersonState.SUBSCRIBED:
        return None
    addresses, current = (
        address_change.decrypt_addresses(keys, row),
        people.read_address_matching_commitment(session, keys, person),
    )
    expected = addresses.new if row.changed_at else addresses.old
    return row if current and expected and current.canonical == expected.canonical else None


def _end_later_changes(
    session: Session, keys: KeyRing, stopped: StoredAddressChange, old: Address, now: datetime
) -> None:
    """Delete a stopped change and any later ones.

    An earlier one can still be undone, from the restored address.
    """
    for row in address_change.list_changes(session, stopped.person, now):
        is_earlier = row.changed_at and (stopped.changed_at is None or row.changed_at < stopped.changed_at)
        if is_earlier:
            address_change.encrypt_addresses(
                keys, row, address_change.ChangedAddresses(old, address_change.decrypt_addresses(keys, row).old)
            )
        else:
            session.delete(row)


def _is_unconfirmed_sign_up(session: Session, number: int) -> bool:
    """Return True if someone has only signed up, which anyone can do by typing the address into a form."""
    person = session.get(Person, number)
    if person is None or person.state is not PersonState.REQUESTED:
        return False
    return not expiry.was_asked_for_permission(session, person.number)


def _clear_unconfirmed_sign_up(session: Session, keys: KeyRing, address: Address, now: datetime) -> None:
    """End a sign-up that uses an address that belongs to a subscriber again."""
    number = people.find_person_number(session, keys, address)
    request = ledger.find_last_event(session, number, {ConsentKind.REQUESTED}) if number else None
    if number is None or request is None:
        return
    one_time_tokens.revoke_tokens(session, number, "confirm", now=now)
    expiry.expire_request(session, number, request.seq, now)
    session.flush()
