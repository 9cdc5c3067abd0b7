"""From decisions to rows: addresses sealed, links hashed. All the cryptography of an import, outside any transaction."""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from subscribers import ledger
from subscribers.addresses import Address
from subscribers.db import ConsentKind, PersonState
from subscribers.transfer.deciding import Decision, Known, Options
from subscribers.transfer.formats import Claim
from subscribers.transfer.rows import Row
from subscribers.vault import Keys, domain_tag, left_hash, lookup, seal, suppression_hash


@dataclass(frozen=True, slots=True)
class Batch:
    """One import under way: what its rows and events say of it."""

    id: int
    origin: str
    actor: str
    salt: bytes
    options: Options
    now: datetime


class Hashes(NamedTuple):
    """An address's keyed hashes: by the current look-up key, by older ones, and for each suppression key."""

    lookup: str
    lookup_key: str
    older: tuple[str, ...]
    suppressions: tuple[tuple[str, str], ...]  # hash and key id


class Settled(NamedTuple):
    """A row with all that was decided of it."""

    row: Row
    hashes: Hashes
    known: Known | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Change:
    """A person's next link, and the row as it is to be after it; it holds only while the head is `expected`."""

    number: int
    expected: str
    person: dict[str, Any]
    event: dict[str, Any] | None


def hashes_of(keys: Keys, addresses: Iterable[Address]) -> list[Hashes]:
    """Compute the hashes by which addresses are found."""
    *older, current = [key.id for key in keys.of("lookup")]
    suppression_keys = [(key, key.id) for key in keys.of("suppression")]
    found = []
    for address in addresses:
        now, before = (
            lookup(keys, address, key_id=current),
            tuple(lookup(keys, address, key_id=k) for k in older),
        )
        # As `vault.suppression_hashes`, which computes the look-ups by itself: by the journal first, then by address.
        by_journal = [
            (left_hash(key, one), key_id) for key, key_id in suppression_keys for one in (now, *before)
        ]
        by_address = [(suppression_hash(key, address), key_id) for key, key_id in suppression_keys]
        found.append(Hashes(now, current, before, (*by_journal, *by_address)))
    return found


class Sealer:
    """Makes the rows of one import. It remembers domain tags, of 20,000 domains at most."""

    def __init__(self, keys: Keys, batch: Batch) -> None:
        self._keys = keys
        self._batch = batch
        self._salt = hmac.digest(keys.current("suppression").secret, b"import\0" + batch.salt, "sha256")
        self._at = ledger.to_the_millisecond(batch.now)
        self._shared()
        self._tag = lru_cache(maxsize=20_000)(self._domain_tag)

    def people(
        self, settled: Sequence[Settled], numbers: Iterator[int]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Make the rows of people who are new, each with the first link of their chain."""
        people, events = [], []
        for one in settled:
            kind = one.decision.kind
            assert kind is not None
            number = next(numbers)
            event = self._event(number, 1, kind, one.row, previous="")
            people.append(self._person(number, one, kind, event["hash"]))
            events.append(event)
        return people, events

    def change(self, one: Settled) -> Change:
        """Make what an import does to a person who is there already."""
        known, kind = one.known, one.decision.kind
        assert known is not None
        person: dict[str, Any] = {"state": known.state, "chain_head": known.chain_head, "batch": known.batch}
        event = None
        if kind is not None:
            seq = known.links[-1].seq + 1 if known.links else 1
            event = self._event(known.number, seq, kind, one.row, previous=known.chain_head)
            person |= {"state": ledger.standing(known.state, kind), "chain_head": event["hash"]}
        if one.decision.adopt:
            person["batch"] = self._batch.id
        if one.decision.adopt and kind is not None:
            person |= {"asked_at": self._asked_at(one.row), "asked_where": self._where()}
        return Change(known.number, known.chain_head, person, event)

    def _person(self, number: int, one: Settled, kind: ConsentKind, head: str) -> dict[str, Any]:
        ciphertext, key_id = seal(self._keys, one.row.address, number)
        return {
            "number": number,
            "lookup": one.hashes.lookup,
            "lookup_key": one.hashes.lookup_key,
            "domain_tag": self._tag(one.row.address.domain),
            "ciphertext": ciphertext,
            "key_id": key_id,
            "state": ledger.standing(PersonState.REQUESTED, kind),
            "choices": _NONE_MADE,
            "chain_head": head,
            "asked_at": self._asked_at(one.row),
            "asked_where": self._where(),
            "batch": self._batch.id,
        }

    def _event(self, number: int, seq: int, kind: ConsentKind, row: Row, *, previous: str) -> dict[str, Any]:
        body = self._body(number, kind, row)
        return {
            "person": number,
            "seq": seq,
            "kind": kind,
            "at": self._at,
            "body": body,
            "previous": previous,
            "hash": ledger.hash_of(number, seq, kind, self._at, body=body, previous=previous),
        }

    def _body(self, number: int, kind: ConsentKind, row: Row) -> str:
        """Say what the file proves, and no more: no service hands out the words that people agreed to."""
        if kind in _METHODS:
            return self._named(number, kind, row)
        return ledger.canonical(
            {
                "actor": self._batch.actor,
                "batch": self._batch.id,
                "method": f"import: {_LEFT_HOW[row.claim]} {self._batch.origin}",
                "page": self._batch.origin,
                "reason": str(row.claim),
                "row": row.number,
                **({"left_at": _time(row.left_at)} if row.left_at else {}),
            }
        )

    def _named(self, number: int, kind: ConsentKind, row: Row) -> str:
        """Write the canonical JSON of somebody whom a list names; what all rows share is written once."""
        requested_from = self._network(number, row.requested_ip) if row.requested_ip else ""
        confirmed_from = requested_from
        if row.confirmed_ip != row.requested_ip:
            confirmed_from = self._network(number, row.confirmed_ip) if row.confirmed_ip else ""
        agreed_at, granted = row.confirmed_at or row.requested_at, kind is not ConsentKind.LISTED
        said = [self._actor]
        if agreed_at and granted:
            said.append(f'"agreed_at":"{_time(agreed_at)}"')
        said.append(self._number)
        if confirmed_from and granted:
            said.append(f'"confirmed_from":"{confirmed_from}"')
        said.append(self._methods[kind])
        if row.requested_at:
            said.append(f'"requested_at":"{_time(row.requested_at)}"')
        if requested_from:
            said.append(f'"requested_from":"{requested_from}"')
        said.append(f'"row":{row.number}')
        said.append(self._wording)
        return f"{{{','.join(said)}}}"

    def _shared(self) -> None:
        """Write the pieces of canonical JSON that all rows share, without their braces."""
        batch = self._batch
        self._actor = _members(actor=batch.actor)
        self._number = _members(batch=batch.id)
        self._wording = _members(wording=f"not recorded by {batch.origin}")
        self._methods = {
            kind: _members(
                method=how.format(origin=batch.origin, actor=batch.actor, reason=batch.options.attest),
                page=batch.origin,
            )
            for kind, how in _METHODS.items()
        }

    def _network(self, number: int, address: str) -> str:
        """Digest a network address with the batch's salt and our key: with neither can it be guessed back."""
        return hmac.digest(self._salt, b"%d\0" % number + address.lower().encode(), "sha256").hex()[:32]

    def _asked_at(self, row: Row) -> datetime:
        return row.confirmed_at or row.requested_at or self._batch.now

    def _where(self) -> str:
        return f"{self._batch.origin} (imported)"

    def _domain_tag(self, domain: str) -> str:
        return domain_tag(self._keys, Address("x", domain))


_NONE_MADE: dict[str, Any] = {}
_LEFT_HOW = {
    Claim.LEFT: "unsubscribed at",
    Claim.BOUNCED: "bounced at",
    Claim.COMPLAINED: "complained at",
    Claim.BLOCKED: "blocked at",
}


_METHODS = {
    ConsentKind.IMPORTED: "import: confirmed, by the record of {origin}",
    ConsentKind.ATTESTED: "attested by {actor}: {reason}",
    ConsentKind.LISTED: "import: no evidence of consent",
}


def _members(**said: str | int) -> str:
    return ledger.canonical(said)[1:-1]


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
