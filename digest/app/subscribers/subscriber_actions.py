"""Admins' actions on individual subscribers, and the verification of the consent ledger."""

from datetime import datetime

from sqlalchemy.orm import Session

from digest.app.subscribers.consent_texts import build_consent_text
from digest.app.subscribers.signup_settings import build_signup_limits
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.store.audit_chain import AuditProof, verify_audit_log
from subscribers.address import Address, read_address
from subscribers.callback_types import Progress
from subscribers.consent import audience, seals, suppression
from subscribers.consent.ledger import ADMIN_METHOD
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.lifecycle import address_change, my_data, undo
from subscribers.lifecycle.address_change import AddressCorrection, AddressCorrectionOutcome
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import ConsentEvidence, ManualSignup, add_subscriber
from subscribers.store import people
from subscribers.store.models import EMPTIED_STATES, Person
from subscribers.subscriber_language import mark_message
from subscribers.transfer.import_report import find_likely_domain

ADD = Action("subscriber added")
FIND = Action("subscriber looked up")
WITHDRAW = Action("subscriber withdrawn")
RESTORE = Action("subscriber restored")
CORRECT_ADDRESS = Action("address correction requested")
WITHDRAW_CORRECTION = Action("address correction withdrawn")
ERASE = Action("subscriber erased")
SUPPRESS = Action("address suppressed")
ALLOW = Action("sign-up allowed")
COUNT = Action("people counted")
RENEW_LINKS = Action("links renewed")
VERIFY = Action("ledger verified")

STAFF_RECIPIENT = mark_message("our staff")  # as shown to subscribers whose address was viewed
# The subject of an audit row about a person whose number isn't known.
AN_ADDRESS = "an address"


class UnknownPersonError(RefusalError):
    """Raised if no subscriber has the address or number."""


class NotRestorableError(RefusalError):
    """Raised if someone else unsubscribed the person, or it's too late to restore the subscription."""


class CorrectionRefusedError(RefusalError):
    """Raised if an address can't be corrected as requested.

    The message says why.
    """


class NotSuppressedError(RefusalError):
    """Raised if an address can't be allowed because it isn't suppressed."""


def add_person(
    installation: Installation, actor: Actor, address: str, evidence: ConsentEvidence, *, now: datetime
) -> ManualSignup:
    """Add a person with evidence of their consent. No email is sent.

    Raises:
        NotPermittedError: the actor isn't an admin.
        AddressError: the text isn't an email address.
        SignupRefusedError: the address is suppressed or unsubscribed, or the evidence is dated in
            the future.
    """
    with ADD.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        signup = add_subscriber(session, installation.keys, address, evidence=evidence, now=now)
        draft.subject, draft.detail = f"person {signup.number}", {"why": evidence.method}
        draft.changed = not signup.already_subscribed
        return signup


def find_intended_domain(address_text: str) -> str:
    """Return the domain that a mistyped address was probably meant to have.

    Return an empty string if the address probably isn't mistyped.

    Raises:
        AddressError: the text isn't an email address.
    """
    return find_likely_domain(read_address(address_text).domain)


def find_person(installation: Installation, actor: Actor, address_text: str, *, now: datetime) -> int:
    """Return the number of the person who has an address.

    The audit log records the lookup without the address.

    Raises:
        NotPermittedError: the actor isn't an admin.
        AddressError: the text isn't an email address.
        UnknownPersonError: no subscriber has this address. The message says whether it's
            suppressed.
    """
    address = read_address(address_text)
    with FIND.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        number = find_person_row(session, installation.keys, address).number
        draft.subject = f"person {number}"
        return number


def unsubscribe_by_admin(
    installation: Installation, actor: Actor, whom: Address | int, reason: str, *, now: datetime
) -> tuple[int, bool]:
    """Unsubscribe a person, as if they had done it themselves.

    Return their number, and True if they were subscribed. `whom` is their address or number.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address.
        OSError: the unsubscribe log couldn't be written.
    """
    with WITHDRAW.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        number = find_person_row(session, installation.keys, whom).number
        draft.changed = unsubscribe_person(
            session,
            installation.unsubscribe_log,
            number,
            method=f"{ADMIN_METHOD}{reason}",
            now=now,
            actor=actor.name,
        )
        draft.subject, draft.detail = f"person {number}", {"why": reason}
        return number, draft.changed


def restore_subscriber(
    installation: Installation, actor: Actor, whom: Address | int, reason: str, *, now: datetime
) -> tuple[int, bool]:
    """Resubscribe a person whom the actor unsubscribed, and tell the person by email.

    Return the person's number and True.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address.
        NotRestorableError: someone else unsubscribed the person, or it's too late.
    """
    keys = installation.keys
    with RESTORE.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        number = find_person_row(session, keys, whom).number
        draft.subject, draft.detail = f"person {number}", {"why": reason}
        queue = make_mail_queue(installation, now)
        undone = undo.restore_by_admin(session, keys, number, actor=actor.name, reason=reason, queue=queue, now=now)
        if undone is None:
            raise NotRestorableError(
                "This subscription can't be restored. Only the admin who unsubscribed someone can undo it, within seven days, "
                "and only if that person hasn't unsubscribed, reported spam, bounced, or been erased since.",
                "Ask them to sign up again.",
            )
    installation.unsubscribe_log.append_after_commit(
        undone, problem="a restored subscription isn't in the unsubscribe log", at=now
    )
    return number, True


_CORRECTION_REFUSALS = {
    AddressCorrectionOutcome.NOT_SUBSCRIBED: "You can correct only the address of a subscriber, or of someone whose mailbox bounced in the last 30 days.",
    AddressCorrectionOutcome.SAME_ADDRESS: "This is already the subscriber's address.",
    AddressCorrectionOutcome.UNAVAILABLE: "This address is subscribed, was in the past, or is suppressed. Its owner can sign up with it.",
    AddressCorrectionOutcome.TOO_MANY: "The limit on emails to this subscriber, mailbox, or domain has been reached. Try again in a week.",
}


def request_address_correction(
    installation: Installation, actor: Actor, number: int, address_text: str, reason: str, *, now: datetime
) -> bool:
    """Email a confirmation link to a subscriber's new address, and return True.

    The address changes only once it's confirmed.

    Raises:
        NotPermittedError: the actor isn't an admin.
        AddressError: the text isn't an email address.
        UnknownPersonError: no subscriber has this number.
        CorrectionRefusedError: the address can't be corrected like this.
    """
    settings, wording = installation.settings, build_consent_text(installation.settings)
    address = read_address(address_text)
    with CORRECT_ADDRESS.transaction(installation, actor, f"person {number}", now=now) as (session, draft):
        find_person_row(session, installation.keys, number)
        draft.detail = {"why": reason}
        outcome = address_change.request_address_correction(
            session,
            installation.keys,
            number,
            address,
            AddressCorrection(actor.name, reason, wording.language, wording.text),
            make_mail_queue(installation, now),
            build_signup_limits(settings),
            now=now,
        )
        if outcome is not AddressCorrectionOutcome.REQUESTED:
            raise CorrectionRefusedError(_CORRECTION_REFUSALS[outcome])
    return True


def withdraw_address_correction(
    installation: Installation, actor: Actor, number: int, reason: str, *, now: datetime
) -> bool:
    """Cancel an unconfirmed address correction, and return False if there's none.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this number.
    """
    with WITHDRAW_CORRECTION.transaction(installation, actor, f"person {number}", now=now) as (session, draft):
        find_person_row(session, installation.keys, number)
        draft.detail = {"why": reason}
        draft.changed = address_change.withdraw_correction(session, installation.keys, number, now=now)
        return draft.changed


def erase_subscriber(
    installation: Installation, actor: Actor, whom: Address | int, reason: str, *, now: datetime
) -> tuple[int, bool]:
    """Erase a person, and return their number and True if anything was erased.

    `whom` is their address or number. A keyed hash of the address prevents it from being imported
    again.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address.
        OSError: the unsubscribe log couldn't be written.
    """
    with ERASE.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        keys = installation.keys
        number = find_person_row(session, keys, whom).number
        draft.subject, draft.detail = f"person {number}", {"why": reason}
        draft.changed = erase_person(
            session,
            keys,
            installation.unsubscribe_log,
            number,
            method=f"{ADMIN_METHOD}{reason}",
            forget_elsewhere=make_delivery_erasure_callback(keys, lambda: now),
            now=now,
            address=whom if isinstance(whom, Address) else None,
        )
        return number, draft.changed


def suppress_address(
    installation: Installation, actor: Actor, whom: Address | int, reason: str, *, now: datetime
) -> bool:
    """Suppress an address, so that it can't be imported again.

    `whom` is the address, subscribed or not, or the number of the person who has it. Return True if
    the address was emailed or could have been added until now.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no one has the number, or their address is no longer stored.
        OSError: the unsubscribe log couldn't be written.
    """
    with SUPPRESS.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        address = whom if isinstance(whom, Address) else _decrypt_address_of(session, installation.keys, whom)
        number = people.find_person_number(session, installation.keys, address)
        draft.changed = suppression.suppress_address(
            session,
            installation.keys,
            address,
            reason="by an admin",
            actor=actor.name,
            now=now,
            unsubscribe_log=installation.unsubscribe_log,
            method=f"{ADMIN_METHOD}{reason}",
        )
        draft.subject = AN_ADDRESS if number is None else f"person {number}"
        draft.detail = {"why": reason}
        return draft.changed


def allow_signup_again(
    installation: Installation, actor: Actor, address: Address | str, reason: str, *, now: datetime
) -> None:
    """Allow the owner of a suppressed address to sign up again. They must still confirm.

    Raises:
        NotPermittedError: the actor isn't an admin.
        NotSuppressedError: the address isn't suppressed.
        AddressError: the text isn't an email address.
    """
    address = read_address(address) if isinstance(address, str) else address
    with ALLOW.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        if not suppression.allow_suppressed_signup(session, installation.keys, address, now=now):
            raise NotSuppressedError("This address isn't suppressed. Its owner can sign up.")
        draft.detail = {"why": reason}


def renew_person_links(
    installation: Installation, actor: Actor, whom: Address | int, reason: str, *, now: datetime
) -> tuple[int, bool]:
    """Renew a person's links, so that links in earlier emails can only unsubscribe.

    Return the person's number, and True if links were renewed. Erased people have no links. `whom`
    is the person's address or number.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address.
    """
    with RENEW_LINKS.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        person = find_person_row(session, installation.keys, whom)
        draft.changed = person.state not in EMPTIED_STATES
        if draft.changed:
            method = f"{ADMIN_METHOD}{reason}"
            my_data.start_new_link_generation(session, person.number, now=now, method=method, actor=actor.name)
        draft.subject, draft.detail = f"person {person.number}", {"why": reason}
        return person.number, draft.changed


def count_people_by_state(installation: Installation, actor: Actor, *, now: datetime) -> dict[str, int]:
    """Return the number of people in each state.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    COUNT.check_role(installation, actor, "the list", now=now)
    with installation.read() as session:
        return {str(state): count for state, count in audience.count_people_by_state(session).items()}


def verify_ledger(
    installation: Installation, actor: Actor, *, kept_hashes: tuple[str, ...], now: datetime, progress: Progress
) -> tuple[seals.LedgerProof, AuditProof]:
    """Verify the audit log and all chains, addresses, and seals of the consent ledger.

    Each of `kept_hashes` must be that of a seal.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: there's no key file.
    """
    VERIFY.check_role(installation, actor, "ledger", now=now)
    with installation.read() as session:
        proof = seals.verify_ledger(
            session, installation.keys, tables=SEALED_TABLES, kept_hashes=kept_hashes, progress=progress
        )
        return proof, verify_audit_log(session)


def _decrypt_address_of(session: Session, keys: KeyRing, number: int) -> Address:
    address = people.decrypt_person_address(keys, find_person_row(session, keys, number))
    if address is None:
        raise UnknownPersonError("This subscriber's address is no longer stored, so the number can't be used here.")
    return address


def find_person_row(session: Session, keys: KeyRing, whom: Address | int) -> Person:
    """Return a person by address or number.

    Raises:
        UnknownPersonError: there's no such person. The message says whether the address is
            suppressed.
    """
    number = whom if isinstance(whom, int) else people.find_person_number(session, keys, whom)
    person = session.get(Person, number) if number else None
    if person is not None:
        return person
    if isinstance(whom, int):
        raise UnknownPersonError("No subscriber has this number.")
    suppressed = suppression.find_suppression(session, keys, whom)
    status = (
        "" if suppressed is None else f" The address is suppressed ({suppressed.reason}, {suppressed.at:%Y-%m-%d})."
    )
    raise UnknownPersonError(f"No subscriber has this address.{status}")
