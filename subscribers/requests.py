"""Forms that wait: appended by a page without a look at who it is, answered later by a worker (`asking`).

A page that looked would tell, by its words or by its time, who is on the list. So a page only counts, and writes
one row of one size, in the same statements for everybody.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers import limits
from subscribers.addresses import Address, read_address
from subscribers.limits import Bounds
from subscribers.sealed import open_json, seal_json
from subscribers.signup_db import SignupRequest
from subscribers.traces import MOST, Machine
from subscribers.vault import Keys
from subscribers.wordings import Wording

Kind = Literal["subscribe", "lost link"]
PATIENCE = timedelta(hours=24)  # an answer that comes later than that would puzzle more than help


class Taken(StrEnum):
    """What came of a form. None of them says anything of the address."""

    TAKEN = "taken"
    NETWORK_FULL = "too many from one network"
    CLOSED = "too many wait"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form said. `page` is where it stood, `where` how a reader would say that, both from a list of ours."""

    kind: Kind
    address: Address
    at: datetime
    page: str
    where: str
    wording: Wording | None
    machine: Machine


@dataclass(frozen=True, slots=True)
class Ready:
    """A form made ready to be written: all cryptography is done before the transaction."""

    row: SignupRequest
    network_tag: str


def ready(keys: Keys, asked: Asked) -> Ready:
    """Encrypt what a form said, and compute the hashes that it is counted by."""
    tag = limits.address_tag(keys, asked.address)
    value = {
        "address": asked.address.mailbox,
        "page": asked.page,
        "where": asked.where,
        "wording": asked.wording.as_json() if asked.wording else None,
        "network": asked.machine.network,
        "agent": asked.machine.agent[:MOST],
    }
    ciphertext, key_id = seal_json(keys, value, bound_to=_bond(asked.kind, tag))
    row = SignupRequest(at=asked.at, kind=asked.kind, address_tag=tag, ciphertext=ciphertext, key_id=key_id)
    network = limits.network_of(asked.machine.network)
    return Ready(row, limits.network_tag(keys, network, asked.at))


def _bond(kind: str, tag: str) -> str:
    return f"request {kind} {tag}"


def append(session: Session, form: Ready, bounds: Bounds) -> Taken:
    """Count a form and append it, unless its network or the whole house sent too many.

    What one address may ask is counted here and judged by the worker: a page says the same to everybody.
    """
    now = form.row.at
    from_network = limits.count(session, "network", form.network_tag, now=now, window=limits.HOUR)
    limits.count(session, "address", form.row.address_tag, now=now, window=limits.DAY)
    limits.count(session, "all", "", now=now, window=limits.TENTH)
    waiting = session.scalar(select(func.count()).select_from(SignupRequest)) or 0
    if form.network_tag and from_network > bounds.per_network_hour:
        return Taken.NETWORK_FULL
    if waiting >= bounds.queue:
        return Taken.CLOSED
    session.add(form.row)
    session.flush()
    return Taken.TAKEN


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row that waits, still sealed."""

    id: int
    kind: Kind
    at: datetime
    address_tag: str
    sealed: tuple[bytes, str]


def waiting(session: Session, *, after: int = 0, most: int = 100) -> list[Waiting]:
    """Give the forms that wait, the oldest first, from the one that follows `after`."""
    query = select(SignupRequest).where(SignupRequest.id > after).order_by(SignupRequest.id).limit(most)
    return [
        Waiting(r.id, _kind(r.kind), r.at, r.address_tag, (r.ciphertext, r.key_id))
        for r in session.scalars(query)
    ]


def _kind(text: str) -> Kind:
    return "lost link" if text == "lost link" else "subscribe"


def opened(keys: Keys, form: Waiting) -> Asked:
    """Open a form.

    Raises:
        VaultError: it was changed.
        KeyFileError: its key is not in the key file.
    """
    value = open_json(keys, form.sealed, bound_to=_bond(form.kind, form.address_tag))
    said = value["wording"]
    return Asked(
        kind=form.kind,
        address=read_address(value["address"]),
        at=form.at,
        page=value["page"],
        where=value["where"],
        wording=Wording(said["wording_version"], said["language"], said["wording"]) if said else None,
        machine=Machine(value["network"], value["agent"]),
    )


def take(session: Session, form: Waiting) -> bool:
    """Remove a form that is answered in this transaction. False: another worker was faster."""
    gone = delete(SignupRequest).where(SignupRequest.id == form.id).returning(SignupRequest.id)
    return session.scalar(gone) is not None


def forget(session: Session, keys: Keys, address: Address) -> None:
    """Drop the forms that wait with an address: its owner is erased, and is asked nothing more."""
    tags = limits.address_tags(keys, address)
    session.execute(delete(SignupRequest).where(SignupRequest.address_tag.in_(tags)))


def tidy(session: Session, *, now: datetime) -> None:
    """Drop forms that nobody answered in a day."""
    session.execute(delete(SignupRequest).where(SignupRequest.at < now - PATIENCE))
