"""Building an import's rows from decisions, including all its cryptography, outside transactions."""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from subscribers.address import Address
from subscribers.consent import ledger
from subscribers.consent.consent_texts import NOT_RECORDED_BY
from subscribers.consent.preferences import Preferences
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import (
    AddressHashes,
    compute_address_commitment,
    encrypt_addresses,
    generate_address_salts,
    make_domain_tag,
)
from subscribers.store.compiled_statements import Columns, transpose_rows
from subscribers.store.models import ConsentKind, PersonState
from subscribers.transfer.decisions import DEPARTURES, EarlierRow, ExistingPerson, RowDecision, RowOutcome, RowReason
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.rows import ImportRow


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """The facts about a running import that its rows and events contain."""

    id: int
    origin: str
    actor: str
    salt: bytes
    options: ImportOptions
    now: datetime


class HashedRow(NamedTuple):
    """A row with its address's hashes, and the earlier row that it may override."""

    row: ImportRow
    hashes: AddressHashes
    earlier: EarlierRow | None = None


class DecidedRow(NamedTuple):
    """A row with the decision about it.

    `overridden` is the reason under which the earlier row has been counted.
    """

    row: ImportRow
    hashes: AddressHashes
    earlier: EarlierRow | None
    existing: ExistingPerson | None
    decision: RowDecision
    overridden: RowReason | None

    @property
    def ends_subscription(self) -> bool:
        """True if the row unsubscribes someone whom this import didn't add."""
        if self.existing is None or self.decision.reason.outcome is not RowOutcome.DEPARTED:
            return False
        return self.existing.state is PersonState.SUBSCRIBED and not self.existing.import_unfinished


@dataclass(frozen=True, slots=True)
class PersonChange:
    """A person's next events, if any, and their new row.

    It's valid only while the head of the chain is `expected_head`.
    """

    number: int
    expected_head: str
    person_values: dict[str, Any]
    events: Sequence[dict[str, Any]]


class ImportRowBuilder:
    """A builder of one import's rows.

    The domain tags of up to 20,000 domains are cached.
    """

    def __init__(self, keys: KeyRing, batch: BatchDetails) -> None:
        self._keys = keys
        self._batch = batch
        self._salt = hmac.digest(keys.current("suppression").secret, b"import\0" + batch.salt, "sha256")
        self._commitment_key = keys.current("commitment")
        self._prepare_shared_json()
        self._domain_tag = lru_cache(maxsize=20_000)(lambda domain: make_domain_tag(keys, Address("x", domain)))

    def build_people(
        self,
        rows: Sequence[DecidedRow],
        numbers: Sequence[int],
    ) -> tuple[Columns, Columns]:
        """Return the rows of new people and the rows of their chains' first events, both by column."""
        addresses = [row.row.address for row in rows]
        ciphertexts, key_id = encrypt_addresses(self._keys, zip(addresses, numbers, strict=True))
        salts = generate_address_salts(len(rows))
        first_links = [
            self._build_first_link(
                number, row, compute_address_commitment(self._commitment_key, row.row.address.mailbox, salt)
            )
            for number, row, salt in zip(numbers, rows, salts, strict=True)
        ]
        chosen = [
            self._build_preference_link(link, row.row, {})
            for link, row in zip(first_links, rows, strict=True)
            if row.row.preferences
        ]
        last_links = {link.event["person"]: link for link in (*first_links, *chosen)}
        people = {
            "number": numbers,
            "lookup": [row.hashes.lookup for row in rows],
            "lookup_key": [row.hashes.lookup_key for row in rows],
            "domain_tag": [self._domain_tag(address.domain) for address in addresses],
            "ciphertext": ciphertexts,
            "key_id": [key_id] * len(rows),
            "salt": salts,
            "choices": [dict(row.row.preferences) for row in rows],
            "asked_at": [self._asked_at(row.row) for row in rows],
            "asked_where": [self._asked_where(row.row) for row in rows],
            "batch": [self._batch.id] * len(rows),
        }
        return {**people, **transpose_rows([link.person for link in last_links.values()])}, transpose_rows(
            [link.event for link in (*first_links, *chosen)]
        )

    def build_change(self, row: DecidedRow) -> PersonChange:
        """Return the change that an import makes to an existing person."""
        existing, kind = row.existing, row.decision.event_kind
        assert existing is not None
        person: dict[str, Any] = {
            "number": existing.number,
            "batch": self._batch.id if row.decision.adopt else existing.batch,
        }
        links: list[ledger.NewChainLink] = []
        if kind is not None:
            last = existing.events[-1] if existing.events else None
            links.append(
                self._build_link(
                    existing.number,
                    existing.state,
                    kind,
                    row.row,
                    seq=last.seq + 1 if last else 1,
                    previous=existing.chain_head,
                    commitment=last.commitment if last else "",
                )
            )
        if links and row.decision.adopt:
            person |= {"asked_at": self._asked_at(row.row), "asked_where": self._asked_where(row.row)}
            before = Preferences.from_stored(existing.choices).as_json()
            if row.row.preferences and row.row.preferences != before:
                links.append(self._build_preference_link(links[0], row.row, before))
                person["choices"] = dict(row.row.preferences)
        for link in links:
            person |= link.person
        return PersonChange(existing.number, existing.chain_head, person, [link.event for link in links])

    def _build_preference_link(
        self, previous: ledger.NewChainLink, row: ImportRow, before: dict[str, Any]
    ) -> ledger.NewChainLink:
        """Return the event with the preferences from a list. It follows the consent event."""
        event = previous.event
        body = {
            "actor": self._batch.actor,
            "after": dict(row.preferences),
            "batch": self._batch.id,
            "before": before,
            "method": f"import: preferences from {self._batch.origin}",
        }
        return ledger.build_chain_link(
            event["person"],
            previous.person["state"],
            ConsentKind.CHOICES_CHANGED,
            ledger.encode_canonical_json(body),
            self._batch.now,
            seq=event["seq"] + 1,
            previous=event["hash"],
            commitment=event["commitment"],
        )

    def _build_first_link(self, number: int, row: DecidedRow, commitment: str) -> ledger.NewChainLink:
        kind = row.decision.event_kind
        assert kind is not None
        return self._build_link(number, PersonState.REQUESTED, kind, row.row, seq=1, previous="", commitment=commitment)

    def _build_link(
        self,
        number: int,
        state: PersonState,
        kind: ConsentKind,
        row: ImportRow,
        *,
        seq: int,
        previous: str,
        commitment: str,
    ) -> ledger.NewChainLink:
        body = self._event_body(number, kind, row)
        return ledger.build_chain_link(
            number, state, kind, body, self._batch.now, seq=seq, previous=previous, commitment=commitment
        )

    def _event_body(self, number: int, kind: ConsentKind, row: ImportRow) -> str:
        """Return an event's body, which contains only what the file proves.

        No service exports the consent text as it was shown.
        """
        if kind in _LISTED_METHODS:
            return self._listed_body(number, kind, row)
        return ledger.encode_canonical_json(
            {
                "actor": self._batch.actor,
                "batch": self._batch.id,
                "method": f"import: {DEPARTURES[row.status].method}, according to {self._batch.origin}",
                "page": self._batch.origin,
                "reason": str(row.status),
                "row": row.number,
                **({"left_at": ledger.format_ledger_time(row.left_at)} if row.left_at else {}),
            }
        )

    def _listed_body(self, number: int, kind: ConsentKind, row: ImportRow) -> str:
        """Return the canonical JSON of the event for a listed person.

        Parts shared by all rows are only encoded once.
        """
        members = [self._actor_json]
        if (
            kind is ConsentKind.LISTED
        ):  # stored in the person's row, so the event must have it, too; its other fields may not include it
            members += [_moment_member("asked_at", self._asked_at(row)), self._batch_json]
        else:
            agreed_at = row.confirmed_at or row.requested_at
            members += [_moment_member("agreed_at", agreed_at), self._batch_json]
            members.append(self._network_member("confirmed_from", number, row.confirmed_ip))
        members += [
            self._methods_json[kind],
            _moment_member("requested_at", row.requested_at),
            self._network_member("requested_from", number, row.requested_ip),
            f'"row":{row.number}',
            self._wording_json,
        ]
        body = f"{{{','.join(filter(None, members))}}}"
        return self._add_evidence(body, kind, row) if row.evidence else body

    def _add_evidence(self, body: str, kind: ConsentKind, row: ImportRow) -> str:
        """Add the file's other evidence to an event's body.

        A text without a hash is claimed by the file, and wasn't shown by us.
        """
        evidence = dict(row.evidence)
        page, method = evidence.pop("asked_where", self._batch.origin), evidence.pop("method", "")
        fields: dict[str, Any] = json.loads(body) | evidence | {"page": page}
        if method and kind is ConsentKind.IMPORTED:
            recorded = method.removeprefix("import: ")
            fields["method"] = f"import: {recorded}"
        return ledger.encode_canonical_json(fields)

    def _prepare_shared_json(self) -> None:
        """Encode the parts of the canonical JSON that all rows share, without braces."""
        batch = self._batch
        self._actor_json = _json_members(actor=batch.actor)
        self._batch_json = _json_members(batch=batch.id)
        self._wording_json = _json_members(wording=f"{NOT_RECORDED_BY}{batch.origin}")
        self._methods_json = {
            kind: _json_members(
                method=how.format(origin=batch.origin, actor=batch.actor, reason=batch.options.attest_reason),
                page=batch.origin,
            )
            for kind, how in _LISTED_METHODS.items()
        }

    def _network_member(self, name: str, number: int, address: str) -> str:
        """Return a digest of an IP address, made with the batch's salt and our key.

        Without both, the address can't be guessed.
        """
        if not address:
            return ""
        digest = keyed_hash(self._salt, b"", b"%d\0" % number + address.lower().encode())[:32]
        return f'"{name}":"{digest}"'

    def _asked_where(self, row: ImportRow) -> str:
        return row.evidence.get("asked_where", self._batch.origin) + ledger.IMPORTED_SUFFIX

    def _asked_at(self, row: ImportRow) -> datetime:
        return row.confirmed_at or row.requested_at or self._batch.now


_LISTED_METHODS = {
    ConsentKind.IMPORTED: "import: confirmed, according to {origin}",
    ConsentKind.ATTESTED: "attested by {actor}: {reason}",
    ConsentKind.LISTED: "import: no evidence of consent",
}


def _json_members(**members: str | int) -> str:
    return ledger.encode_canonical_json(members)[1:-1]


def _moment_member(name: str, moment: datetime | None) -> str:
    return f'"{name}":"{ledger.format_ledger_time(moment)}"' if moment else ""
