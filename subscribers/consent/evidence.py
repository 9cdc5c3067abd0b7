"""Evidence of consent: the IP address and user agent, stored as permanent digests and as temporary encrypted values.

Each digest has 16 random bytes of salt. While the row with the salt exists, we can show which IP address
a request came from. Once it's deleted, the IP address can't be found, even by trying all of them.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from subscribers.crypto.encrypted_values import encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import ConsentEvent
from subscribers.store.signup_models import RequestEvidence

MAX_AGENT_LENGTH = 300  # the number of stored characters of a user agent


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """The IP address and user agent that a form was sent from. Either may be empty."""

    ip_address: str
    user_agent: str

    def __repr__(self) -> str:
        return "RequestOrigin(…)"


def hash_request_origin(origin: RequestOrigin, salt: bytes) -> dict[str, str]:
    """Return the salted digests of the IP address and user agent, for the chain.

    Empty values have none.
    """
    values = {"network_digest": origin.ip_address, "agent_digest": origin.user_agent[:MAX_AGENT_LENGTH]}
    return {name: hashlib.sha256(salt + value.encode()).hexdigest() for name, value in values.items() if value}


def make_evidence_salt() -> bytes:
    """Return a random salt for one event."""
    return secrets.token_bytes(16)


def store_evidence(
    session: Session, keys: KeyRing, event: ConsentEvent, origin: RequestOrigin, *, salt: bytes, until: datetime
) -> None:
    """Store the encrypted values whose digests are in an event."""
    value = {"network": origin.ip_address, "agent": origin.user_agent[:MAX_AGENT_LENGTH]}
    ciphertext, key_id = encrypt_json(keys, value, bound_to=f"trace {event.id}")
    session.add(RequestEvidence(event=event.id, salt=salt, ciphertext=ciphertext, key_id=key_id, keep_until=until))


def delete_evidence_of(session: Session, numbers: Collection[int]) -> None:
    """Delete the evidence for events of the given people (at most 1,000), whose addresses are being deleted."""
    events = select(ConsentEvent.id).where(ConsentEvent.person.in_(numbers))
    session.execute(delete(RequestEvidence).where(RequestEvidence.event.in_(events)))


def delete_old_evidence(session: Session, *, now: datetime) -> None:
    """Delete the evidence whose retention period has ended."""
    session.execute(delete(RequestEvidence).where(RequestEvidence.keep_until <= now))
