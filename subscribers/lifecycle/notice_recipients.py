"""Permission to send a transactional email, checked when the email is claimed and again when it's submitted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import audience, suppression
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import address_change, my_data, undo
from subscribers.signup.request_processor import BLOCKING_REASONS
from subscribers.store import one_time_tokens, people
from subscribers.store.models import Person

# These ask people who haven't consented yet whether they do.
PRE_CONSENT_KINDS = frozenset({"confirm", "remind", "ask"})


def find_permitted_recipients(
    session: Session, keys: KeyRing, requested: Sequence[tuple[int, str]], *, now: datetime
) -> dict[tuple[int, str], str]:
    """Return the pairs in `requested` (person, kind of email) that may be emailed now, each with the address in ASCII.

    A confirmation requires an open link and no complaint. Most other kinds require that the person
    is in the audience. People who are gone, or whose address can't be decrypted, are omitted.
    """
    permitted = {}
    for number, kind in requested:
        address = _load_address(session, keys, number)
        if address is not None and _may_receive(session, keys, number, address, kind, now=now):
            permitted[number, kind] = address.mailbox
    return permitted


def _load_address(session: Session, keys: KeyRing, number: int) -> Address | None:
    columns = (Person.number, Person.ciphertext, Person.key_id, Person.lookup, Person.lookup_key, Person.salt)
    row: Any = session.execute(select(*columns).where(Person.number == number)).one_or_none()
    return people.read_address_matching_commitment(session, keys, row) if row is not None else None


def _may_receive(
    session: Session,
    keys: KeyRing,
    number: int,
    address: Address,
    kind: str,
    *,
    now: datetime,
) -> bool:
    if kind == "data":  # unsubscribing doesn't end this right
        return my_data.may_request_data(session.get(Person, number))
    if kind == "undo":
        return undo.find_undo_deadline(session, number, now=now) is not None
    # This goes to the new address of a person whose old one may have bounced.
    if kind == "move":
        person = session.get(Person, number)
        return person is not None and address_change.may_correct_address(session, person)
    if kind not in PRE_CONSENT_KINDS:
        return audience.may_email_person(session, number)
    if one_time_tokens.find_open_token(session, number, "confirm", now=now) is None:
        return False
    suppressed = suppression.find_suppression(session, keys, address)
    return suppressed is None or suppressed.reason not in BLOCKING_REASONS
