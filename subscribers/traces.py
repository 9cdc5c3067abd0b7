"""From where somebody asked and confirmed: digests in the chain for good, the values encrypted and for a set time.

The digests are salted with 16 random bytes each. While the row of the salt is there, we can show which network
address a request came from; once it is gone, nobody can guess it back, not even by trying all addresses.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from subscribers.db import ConsentEvent
from subscribers.sealed import open_json, seal_json
from subscribers.signup_db import ConsentTrace
from subscribers.vault import Keys

MOST = 300  # characters of a user agent that are kept


@dataclass(frozen=True, slots=True)
class Machine:
    """The network address and the user agent that a form came from; either may be empty."""

    network: str
    agent: str

    def __repr__(self) -> str:
        return "Machine(…)"


def digests(machine: Machine, salt: bytes) -> dict[str, str]:
    """Give what goes into the chain."""
    said = {"network_digest": machine.network, "agent_digest": machine.agent[:MOST]}
    return {name: hashlib.sha256(salt + value.encode()).hexdigest() for name, value in said.items() if value}


def new_salt() -> bytes:
    """Draw the salt of one event."""
    return secrets.token_bytes(16)


def keep(
    session: Session, keys: Keys, event: ConsentEvent, machine: Machine, *, salt: bytes, until: datetime
) -> None:
    """Keep, encrypted, what the digests of an event stand for."""
    value = {"network": machine.network, "agent": machine.agent[:MOST]}
    ciphertext, key_id = seal_json(keys, value, bound_to=f"trace {event.id}")
    session.add(
        ConsentTrace(event=event.id, salt=salt, ciphertext=ciphertext, key_id=key_id, keep_until=until)
    )


def of_event(session: Session, keys: Keys, event: int) -> Machine | None:
    """Open what is kept of an event; None once it is gone."""
    row = session.get(ConsentTrace, event)
    if row is None:
        return None
    value = open_json(keys, (row.ciphertext, row.key_id), bound_to=f"trace {event}")
    return Machine(value["network"], value["agent"])


def forget(session: Session, person: int) -> None:
    """Drop what is kept of a person's events: their address goes, and so does this."""
    events = select(ConsentEvent.id).where(ConsentEvent.person == person)
    session.execute(delete(ConsentTrace).where(ConsentTrace.event.in_(events)))


def tidy(session: Session, *, now: datetime) -> None:
    """Drop what has been kept for its time."""
    session.execute(delete(ConsentTrace).where(ConsentTrace.keep_until <= now))
