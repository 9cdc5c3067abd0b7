"""Moving to another address: asked for by the owner of the old one, done by the owner of the new one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from subscribers.address import Address, mask_address, read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_lookup_hash
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import STRANGER_MAIL_KINDS, SignupLimits
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, TokenState
from subscribers.store.signup_models import PendingAddressChange

ADDRESS_CHANGE_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class AddressChange:
    """An address change looked up: it has masked addresses while it's open.

    `person` and `undone`, an entry for the unsubscribe log, are there if this very request changed the address.
    """

    stage: ActionLinkState
    old: str = ""
    new: str = ""
    until: datetime | None = None
    person: int | None = None
    undone: PendingUnsubscribeLogEntry | None = None


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
    """Mail a link to the new address and tell the old one; nothing else changes yet.

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
    expires_at = now + ADDRESS_CHANGE_LIFETIME
    one_time_tokens.revoke_tokens(session, number, "change address", now=now)
    session.execute(delete(PendingAddressChange).where(PendingAddressChange.person == number))
    token = one_time_tokens.issue_token(session, "change address", number, now=now, expires_at=expires_at)
    token_hash = one_time_tokens.hash_token(token)
    sealed, key_id = encrypt_json(keys, {"address": new_address.mailbox}, bound_to=_ciphertext_binding(token_hash))
    session.add(
        PendingAddressChange(hash=token_hash, person=number, until=expires_at, ciphertext=sealed, key_id=key_id)
    )
    serial = f"{now:%Y%m%dT%H%M%S%f}"
    notification = {"to": old.mailbox, "masked": mask_address(new_address.mailbox)}
    queue(session, MailRequest("moving", number, serial, notification))
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
    """Return how a link stands; nothing is changed.

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
    row = session.get(PendingAddressChange, one_time_tokens.hash_token(token))
    subscriber = person if person and person.state is PersonState.SUBSCRIBED else None
    old = people.decrypt_person_address(keys, subscriber) if subscriber else None
    if link.state is not TokenState.FRESH or row is None or old is None:
        return AddressChange(ActionLinkState.OVER)
    new = _decrypt_new_address(keys, row)
    if _is_unavailable(session, keys, new, link.person):
        return AddressChange(ActionLinkState.TAKEN)
    return AddressChange(ActionLinkState.OPEN, mask_address(old.mailbox), mask_address(new.mailbox), link.expires_at)


def confirm_address_change(
    session: Session, keys: KeyRing, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> AddressChange:
    """Move a reader to the new address, if the link is open; twice is once.

    The departure log gets an entry for the old address: a copy that is restored from before knows the reader by that
    alone, and would mail it even if they left by the new one meanwhile. The new address's own word (`undone`) is
    added after the commit: an older departure of it is over.

    Raises:
        OSError: the departure log could not be written.
        DecryptionError: an address does not open.
        sqlalchemy.exc.IntegrityError: somebody signed up with the new address in this very moment.
    """
    change = look_up_address_change(session, keys, token, now=now)
    used = (
        one_time_tokens.use_token(session, token, "change address", now=now)
        if change.stage is ActionLinkState.OPEN
        else None
    )
    if used is None or used.person is None:
        return change
    row = session.get_one(PendingAddressChange, one_time_tokens.hash_token(token))
    new = _decrypt_new_address(keys, row)
    person = ledger.lock_person(session, used.person)
    assert person is not None, "the look found them"
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "left"), at=now)
    person.lookup, person.lookup_key = make_lookup_hash(keys, new), keys.current("lookup").id
    people.set_person_address(keys, person, new)
    body = {"method": "link to the new address", "actor": "reader"}
    commitment = people.make_person_address_commitment(keys, person, new)
    ledger.append_event(session, person, ConsentKind.ADDRESS_CHANGED, body, now, commitment=commitment)
    session.delete(row)
    one_time_tokens.revoke_tokens(session, person.number, "my data", now=now)  # these went to the old address
    undone = PendingUnsubscribeLogEntry.of_person(person, "undone")
    return AddressChange(ActionLinkState.DONE, change.old, change.new, person=person.number, undone=undone)


def delete_expired_changes(session: Session, *, now: datetime) -> None:
    """Drop the addresses of moves that nobody confirmed."""
    session.execute(delete(PendingAddressChange).where(PendingAddressChange.until <= now))


def _is_unavailable(session: Session, keys: KeyRing, new_address: Address, number: int) -> bool:
    """Return whether a new address cannot be moved to: it is somebody's on the list, or left it, or is suppressed."""
    owner = people.find_person_number(session, keys, new_address)
    return owner not in {None, number} or suppression.find_suppression(session, keys, new_address) is not None


def _decrypt_new_address(keys: KeyRing, row: PendingAddressChange) -> Address:
    value = decrypt_json(keys, (row.ciphertext, row.key_id), bound_to=_ciphertext_binding(row.hash))
    return read_address(value["address"])


def _ciphertext_binding(token_hash: str) -> str:
    return f"move {token_hash}"
