"""Adding a person to the list as an admin, with evidence of their consent."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from subscribers.address import read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.consent_texts import ConsentText, find_consent_text_version, hash_consent_text
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.store import people
from subscribers.store.models import ConsentKind, PersonState


class SignupRefusedError(RefusalError):
    """Raised when an address can't be added.

    The message says why and what to do, without the address.
    """


@dataclass(frozen=True, slots=True)
class ConsentEvidence:
    """Evidence of a person's consent.

    `wording` is the exact consent text. `wording_version` is its version if one is stated, or else
    the register's. `page` is where it was ("hls.today", "paper list, Denver expo"), `method` is how
    they agreed ("double opt-in", "signed list"), `actor` is who vouches for it, and `agreed_at` is
    when they agreed. `kind` is `confirmed` if they confirmed by email, or `attested` if an admin
    vouches for them.
    """

    wording: str
    wording_version: str
    language: str
    page: str
    method: str
    actor: str
    agreed_at: datetime
    kind: Literal[ConsentKind.CONFIRMED, ConsentKind.ATTESTED] = ConsentKind.ATTESTED

    def as_json(self) -> dict[str, Any]:
        """Return the evidence in the form that's stored in the ledger, with the hash of the consent text."""
        fields = asdict(self)
        del fields["kind"]
        return fields | {
            "wording_hash": hash_consent_text(self.wording),
            "agreed_at": self.agreed_at.isoformat(timespec="milliseconds"),
        }


@dataclass(frozen=True, slots=True)
class ManualSignup:
    """The result of adding a person, including their number.

    If they were `already_subscribed`, nothing was changed.
    """

    number: int
    already_subscribed: bool


def add_subscriber(
    session: Session, keys: KeyRing, address: str, *, evidence: ConsentEvidence, now: datetime
) -> ManualSignup:
    """Add a person as an admin, with evidence of their consent.

    The result reveals whether they were known.

    Raises:
        AddressError: the text isn't an address.
        SignupRefusedError: the address is suppressed, its owner left, or the evidence has a future
            or implausibly early date, or another version of the consent text.
    """
    if evidence.agreed_at > now:
        raise SignupRefusedError("The date of consent is in the future. Enter the date the person agreed.")
    if evidence.agreed_at < ledger.EARLIEST_CONSENT:
        raise SignupRefusedError("The date of consent is from before email existed. Enter the date the person agreed.")
    parsed = read_address(address)
    if (suppressed := suppression.find_suppression(session, keys, parsed)) is not None:
        raise SignupRefusedError(
            f"This address is suppressed ({suppressed.reason}, {suppressed.at:%Y-%m-%d}). Ask its owner to sign up "
            "again."
        )
    evidence = _find_version(session, evidence)
    source = evidence.page[:200]
    number = people.find_person_number(session, keys, parsed)
    person, commitment = ledger.lock_person(session, number) if number else None, ""
    if person is None:
        person = people.create_person(session, keys, parsed, asked_at=evidence.agreed_at, asked_where=source)
        commitment = people.make_person_address_commitment(keys, person, parsed)
    elif person.state == PersonState.SUBSCRIBED:
        return ManualSignup(person.number, already_subscribed=True)
    elif person.state not in {PersonState.REQUESTED, PersonState.UNVERIFIED}:
        raise SignupRefusedError(
            f"This address is {person.state} because its owner unsubscribed or didn't respond to a request. Ask them "
            "to sign up again."
        )
    person.asked_at, person.asked_where = evidence.agreed_at, source
    ledger.append_event(session, person, evidence.kind, evidence.as_json(), now, commitment=commitment)
    return ManualSignup(person.number, already_subscribed=False)


def _find_version(session: Session, evidence: ConsentEvidence) -> ConsentEvidence:
    """Return the evidence with its consent text's version: the stated one, or else the one in the register."""
    words, stated = ConsentText(evidence.language, evidence.wording), evidence.wording_version
    try:
        version = find_consent_text_version(session, words, stated)
    except ValueError:
        raise SignupRefusedError(
            f"This isn't version {stated} of your consent text in that language. Leave the version out, or enter the "
            "exact text of that version."
        ) from None
    return replace(evidence, wording_version=version)
