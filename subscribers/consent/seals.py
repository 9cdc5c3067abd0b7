"""Seals: chained nightly hashes that cover the heads of all chains, the suppression list, and the consent texts.

A chain shows that its events belong together. Only an outside witness can show that no whole chain
was replaced or removed. Seals are that witness. They're in the audit log, are emailed to the
admins, and can be recomputed from the ledger later. See docs/decisions/0012-what-a-chain-proves.md.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from subscribers.callback_types import Progress
from subscribers.consent import chain_verification, consent_texts, disclosure_log, ledger
from subscribers.consent.disclosure_proof import OWN_TABLES, verify_disclosures
from subscribers.consent.sealed_rows import SealedTable
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentEvent, PublishedConsentText, Seal, Suppression

PAGE_SIZE = 1000  # rows per read
# The number of people who are listed because their address fails verification. The others are counted.
MAX_ADDRESS_FAULTS = 20


@dataclass(frozen=True, slots=True)
class TableSummary:
    """An append-only table up to row `through`: the number of rows, and the rows' hash."""

    through: int
    rows: int
    root: str


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """The ledger up to event `through`: the number of people and events, and the hash of the chain heads."""

    through: int
    people: int
    links: int
    root: str
    suppressions: TableSummary
    wordings: TableSummary


@dataclass(frozen=True, slots=True)
class LogHead:
    """The latest row of a chained log that's sealed with the ledger: its position and hash.

    The log belongs to the caller. `verify_ledger` checks that a seal includes this head, not that
    it's still in the log.
    """

    through: int
    hash: str


@dataclass(frozen=True, slots=True)
class LastFullyCommittedRows:
    """The last event, suppression, and consent text up to which no open transaction can add any."""

    link: int
    suppression: int
    wording: int


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """The result of verifying chains, addresses, and seals.

    `fault` describes the first faulty seal or consent text. `address_faults` describes the first of
    `address_fault_count` people whose address fails verification. `disclosures` is the number of
    sealed disclosure rows.
    """

    people: int
    links: int
    seals: int
    suppressions: int
    broken: chain_verification.BrokenLink | None
    fault: str
    address_fault_count: int = 0
    address_faults: tuple[chain_verification.StoredAddressFault, ...] = ()
    summary: LedgerSummary | None = None
    disclosures: int = 0
    disclosure_faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """True if everything passed verification."""
        return not (self.broken or self.fault or self.address_fault_count or self.disclosure_faults)


def find_last_fully_committed_rows(database: PeopleDatabase) -> LastFullyCommittedRows:
    """Return the last event, suppression, and consent text up to which no open transaction can add any.

    Each is found in its own transaction, because code that writes several of them locks them in its
    own order.
    """
    numbers = (ConsentEvent.id, Suppression.id, PublishedConsentText.version)
    return LastFullyCommittedRows(*(_find_last_fully_committed_row(database, number) for number in numbers))


def _find_last_fully_committed_row(database: PeopleDatabase, number: InstrumentedAttribute[int]) -> int:
    with database.write() as session:
        if is_postgresql(session):
            # IDs are assigned before a transaction commits. This waits until every writer has
            # finished, and blocks new ones for that moment
            # (https://www.postgresql.org/docs/current/explicit-locking.html).
            session.execute(text(f"LOCK TABLE {number.class_.__tablename__} IN SHARE MODE"))
        return session.scalar(select(func.max(number))) or 0


def append_seal(
    session: Session,
    summary: LedgerSummary,
    now: datetime,
    *,
    log_head: LogHead | None = None,
) -> Seal:
    """Append a seal.

    It also covers the disclosure log and, if `log_head` is given, another log up to that row.

    Raises:
        sqlalchemy.exc.IntegrityError: another process appended a seal at the same moment.
    """
    query = select(Seal).order_by(Seal.id.desc()).limit(1)
    last = session.scalar(query)
    at = ledger.truncate_to_millisecond(now)
    previous = last.hash if last else ""
    disclosures = LogHead(*disclosure_log.read_log_head(session))
    seal_hash = hash_seal(ledger.format_ledger_time(at), summary, previous, log_head, disclosures)
    fields = _sealed_fields(summary, log_head, disclosures)
    seal = Seal(at=at, previous=previous, hash=seal_hash, **fields)
    session.add(seal)
    session.flush()
    return seal


def hash_seal(
    moment: str,
    summary: LedgerSummary,
    previous: str,
    log_head: LogHead | None,
    disclosures: LogHead,
) -> str:
    """Return the hash of a seal as 64 hex digits.

    `moment` has the form 2026-11-20T08:30:00.000+00:00.
    """
    fields = {"at": moment, "previous": previous, **_sealed_fields(summary, log_head, disclosures)}
    return hashlib.sha256(ledger.encode_canonical_json(fields).encode()).hexdigest()


def _sealed_fields(summary: LedgerSummary, log_head: LogHead | None, disclosures: LogHead) -> dict[str, Any]:
    """Return the fields of a seal, which are named like its columns and contain the values to be hashed."""
    fields = {"through": summary.through, "people": summary.people, "links": summary.links, "root": summary.root}
    for name, covered in (("suppressions", summary.suppressions), ("wordings", summary.wordings)):
        fields |= {f"{name}_through": covered.through, name: covered.rows, f"{name}_root": covered.root}
    if log_head is not None:
        fields |= {"log_through": log_head.through, "log_head": log_head.hash}
    return fields | {"disclosures_through": disclosures.through, "disclosures_head": disclosures.hash}


def verify_ledger(
    session: Session,
    keys: KeyRing,
    *,
    tables: Sequence[SealedTable] = OWN_TABLES,
    kept_hashes: Sequence[str] = (),
    through: LastFullyCommittedRows | None = None,
    night: datetime | None = None,
    progress: Progress = lambda *_: None,
) -> LedgerProof:
    """Verify all chains, addresses, and seals in one pass.

    Seals are checked against the chains and suppressions of their time. Consent texts that
    subscribers were asked to agree to are checked against the register. At most 1,000 people and
    two hashes per seal are kept in memory.

    Args:
        session: new read session; everything is read as of one moment.
        keys: keys for decrypting each address and checking it against its chain.
        tables: disclosure tables; each row is checked against the disclosure log.
        kept_hashes: hashes of seals, or their first digits, that someone saved; they must
            exist.
        through: if given, also summarize the ledger up to this point, for a new seal.
        night: time of a nightly check, which checks a seventh of the older disclosure rows;
            None checks all of them.
        progress: called with (people checked, people).
    """
    walk = chain_verification.iterate_chains(session, progress)
    first = next(walk, None)  # this begins the snapshot
    seals = _read_seals(session)
    points = _list_points(seals, through)
    roots = [_RootHash(link) for link, _, _ in points]
    tally = _tally_chains(keys, chain([first] if first else [], walk), roots)
    suppressions, barred = _summarize_table(session, "suppression", _SUPPRESSION_COLUMNS, [row for _, row, _ in points])
    _, registered = _summarize_table(session, "wording", _WORDING_COLUMNS, [version for _, _, version in points])
    pairs = zip(roots, points, strict=True)
    summaries = [root.summarize(barred[row], registered[version]) for root, (_, row, version) in pairs]
    heads = {seal.disclosures_through: seal.disclosures_hash for seal in seals}
    proven = verify_disclosures(session, keys, tables, sealed_heads=heads, erased=tally.erased, night=night)
    return LedgerProof(
        people=tally.people,
        links=tally.links,
        seals=len(seals),
        suppressions=suppressions,
        broken=tally.broken or chain_verification.find_stray_rows(session, tally.people, tally.links),
        address_fault_count=tally.address_fault_count,
        address_faults=tuple(tally.address_faults),
        fault=_find_seal_fault(seals, summaries)
        or _find_missing_seal(seals, kept_hashes)
        or consent_texts.find_register_fault(session, tally.wording_hashes),
        summary=None if through is None else summaries[-1],
        disclosures=proven.rows,
        disclosure_faults=proven.faults,
    )


@dataclass(slots=True)
class _ChainTally:
    """Counts and faults from a pass over all chains, updated batch by batch."""

    keys: KeyRing
    people: int = 0
    links: int = 0
    broken: chain_verification.BrokenLink | None = None
    wording_hashes: set[str] = field(default_factory=set)
    erased: Counter[str] = field(default_factory=Counter)
    address_fault_count: int = 0
    address_faults: list[chain_verification.StoredAddressFault] = field(default_factory=list)

    def add(self, chunk: chain_verification.EventChainBatch) -> None:
        self.people += len(chunk.owners)
        self.links += len(chunk.links)
        self.wording_hashes |= chain_verification.list_consent_text_hashes(chunk)
        self.erased.update(chain_verification.count_erased_rows(chunk))
        self.broken = self.broken or chain_verification.find_broken_link(chunk)
        faults = chain_verification.find_stored_address_faults(self.keys, chunk)
        self.address_fault_count += len(faults)
        self.address_faults += faults[: MAX_ADDRESS_FAULTS - len(self.address_faults)]


def _as_number(stored: object) -> int:
    """Return a stored value if it's a number, or 0 if it isn't, because SQLite stores any type in any column."""
    return stored if isinstance(stored, int) else 0


class _StoredSeal(NamedTuple):
    """A seal as stored."""

    id: int
    at: str
    through: int
    people: int
    links: int
    root: str
    previous: str
    hash: str
    suppressions_through: int
    suppressions: int
    suppressions_root: str
    log_through: int | None
    log_hash: str
    disclosures_through: int
    disclosures_hash: str
    wordings_through: int
    wordings: int
    wordings_root: str

    @property
    def disclosure_head(self) -> LogHead:
        """The latest entry of the disclosure log that the seal covers."""
        return LogHead(self.disclosures_through, self.disclosures_hash)

    @property
    def log_head(self) -> LogHead | None:
        """The head of the log that the seal covers, or None."""
        return None if self.log_through is None else LogHead(self.log_through, self.log_hash)

    @property
    def covered_suppressions(self) -> TableSummary:
        """The summary of the suppressions that the seal covers."""
        return TableSummary(self.suppressions_through, self.suppressions, self.suppressions_root)

    @property
    def covered_consent_texts(self) -> TableSummary:
        """The summary of the consent text register that the seal covers."""
        return TableSummary(self.wordings_through, self.wordings, self.wordings_root)


def _read_seals(session: Session) -> list[_StoredSeal]:
    rows = chain_verification.read_raw_rows(session, "seal", _SEAL_COLUMNS, "true ORDER BY id", {})
    return [_StoredSeal(*row) for row in rows]


_SEAL_COLUMNS = (
    *("id", "@at", "through", "people", "links", "'root", "'previous", "'hash"),
    *("suppressions_through", "suppressions", "'suppressions_root", "log_through", "'log_head"),
    *("disclosures_through", "'disclosures_head", "wordings_through", "wordings", "'wordings_root"),
)


def _list_points(seals: Sequence[_StoredSeal], through: LastFullyCommittedRows | None) -> list[tuple[int, int, int]]:
    """Return the last event, suppression, and consent text covered by each seal, and `through` for a new seal."""
    stored = ((seal.through, seal.suppressions_through, seal.wordings_through) for seal in seals)
    points = [(_as_number(link), _as_number(row), _as_number(version)) for link, row, version in stored]
    return points if through is None else [*points, (through.link, through.suppression, through.wording)]


@dataclass(slots=True)
class _RootHash:
    """The hash of all chain heads as of event `through`, updated batch by batch."""

    through: int
    people: int = 0
    links: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def summarize(self, suppressions: TableSummary, wordings: TableSummary) -> LedgerSummary:
        return LedgerSummary(self.through, self.people, self.links, self.digest.hexdigest(), suppressions, wordings)


def _tally_chains(
    keys: KeyRing, chunks: Iterable[chain_verification.EventChainBatch], roots: Sequence[_RootHash]
) -> _ChainTally:
    """Verify and count all chains in one pass, and update the hashes of the chain heads."""
    tally = _ChainTally(keys)
    in_order = sorted(roots, key=lambda root: root.through)
    for chunk in chunks:
        tally.add(chunk)
        _add_chunk(in_order, chunk)
    return tally


def _add_chunk(roots: Sequence[_RootHash], chunk: chain_verification.EventChainBatch) -> None:
    """Add a batch to all root hashes, which are in order of `through`.

    The people of a chunk are hashed together, and that hash is added to the root. It isn't computed
    again if none of them had an event between two seals.
    """
    links = sorted(chunk.links, key=lambda link: link.id)
    heads: dict[int, str] = {}
    counted, digest = 0, ""
    for root in roots:
        before = counted
        while counted < len(links) and links[counted].id <= root.through:
            heads[links[counted].person] = links[counted].hash
            counted += 1
        if counted > before:
            digest = _digest_heads(heads)
        if heads:
            root.digest.update(f"{chunk.first_number} {digest}\n".encode())
            root.people += len(heads)
            root.links += counted


def _digest_heads(heads: dict[int, str]) -> str:
    lines = "".join(f"{number} {head}\n" for number, head in sorted(heads.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _summarize_table(
    session: Session, table: str, columns: Sequence[str], places: Iterable[int]
) -> tuple[int, dict[int, TableSummary]]:
    """Hash all rows of a table in order, and return their number and a summary up to each row in `places`."""
    summaries: dict[int, TableSummary] = {}
    waiting = sorted(set(places), reverse=True)
    digest, count = hashlib.sha256(), 0
    rows = chain_verification.stream_raw_rows(session, table, columns, page_size=PAGE_SIZE)
    for row in rows:
        while waiting and waiting[-1] < row[0]:
            place = waiting.pop()
            summaries[place] = TableSummary(place, count, digest.hexdigest())
        digest.update(f"{json.dumps(row)}\n".encode())
        count += 1
    summaries |= {place: TableSummary(place, count, digest.hexdigest()) for place in waiting}
    return count, summaries


_SUPPRESSION_COLUMNS = ("id", "'hash", "'key_id", "'reason", "@at")
_WORDING_COLUMNS = ("version", "'language", "'hash", "@first_used_at")


def _find_seal_fault(seals: Sequence[_StoredSeal], summaries: Sequence[LedgerSummary]) -> str:
    previous = ""
    for seal, summary in zip(seals, summaries, strict=False):
        name = f"the seal of {seal.at[:16] or 'an unreadable time'} UTC"
        if seal.previous != previous:
            return f"{name} doesn't match the one before it; a seal was changed or removed"
        if (seal.people, seal.links, seal.root) != (summary.people, summary.links, summary.root):
            return f"{name} doesn't match the ledger; events before it were changed, swapped, or removed"
        if seal.covered_suppressions != summary.suppressions:
            return f"{name} doesn't match the suppression list; rows before it were changed or removed"
        if seal.covered_consent_texts != summary.wordings:
            return f"{name} doesn't match the consent texts; rows before it were changed, added, or removed"
        moment = chain_verification.convert_to_hashed_time(seal.at)
        if moment is None or seal.hash != hash_seal(moment, summary, previous, seal.log_head, seal.disclosure_head):
            return f"{name} doesn't match its hash"
        previous = seal.hash
    return ""


def _find_missing_seal(seals: Sequence[_StoredSeal], kept_hashes: Sequence[str]) -> str:
    missing = (
        kept_hash for kept_hash in kept_hashes if not any(seal.hash.startswith(kept_hash.lower()) for seal in seals)
    )
    return next(
        (f"there is no seal {kept_hash}; seals, or the whole ledger, were replaced" for kept_hash in missing), ""
    )
