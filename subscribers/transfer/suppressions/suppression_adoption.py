"""Adopting a suppression file: its hashes are added, and then everyone on the list is checked against them.

Both parts run in short transactions that store their progress, so a second run of the same file
continues. The keys are in effect from the first transaction on. Adopting a file can't be undone,
but a person's own confirmation ends it for them.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.callback_types import Progress
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry
from subscribers.crypto import stored_addresses
from subscribers.crypto.stored_addresses import ADOPTED_MARK, AddressHashes, is_adopted_key_id
from subscribers.store.adopted_keys import encrypt_key_sets, list_suppression_keys, load_key_sets
from subscribers.store.compiled_statements import build_any_hash_condition, insert_many
from subscribers.store.database import MAX_TRANSACTION_ROWS, count_rows
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression, SuppressionAdoption, table_of
from subscribers.transfer import import_store
from subscribers.transfer.decisions import ExistingPerson, has_consented_here_since
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.suppressions.suppression_export import list_departure_hashes, stream_addresses
from subscribers.transfer.suppressions.suppression_file import (
    SuppressedHash,
    SuppressionFileError,
    SuppressionFileHeader,
    read_entries,
    read_header,
)

_ANOTHER_PROCESS = "Another process is adopting this file. Wait until it's done."
_LISTED_STATES = (PersonState.SUBSCRIBED, PersonState.REQUESTED, PersonState.UNVERIFIED)
_KnownEntries = dict[tuple[str, str], list[tuple[str, datetime]]]
# People here for whom the file has these reasons are unsubscribed.
_WITHDRAWING_REASONS = frozenset({"left elsewhere", "erased"})


@dataclass(slots=True)
class AdoptionReport:
    """The result of adopting a file, or of a dry run, as counts.

    For hashes, they're `added` by cause, `present` from an earlier file, `own` if they were made
    here and are still here, and `unusable` if their key isn't in the file. For people on the list,
    they're `removed` by cause, and `consented` if they consented here later and are kept.
    """

    entries: int = 0
    added: Counter[str] = field(default_factory=Counter)
    present: int = 0
    own: int = 0
    unusable: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    consented: int = 0
    adopted_at: datetime | None = None  # if the file was adopted before

    def as_json(self) -> dict[str, Any]:
        """Return the counts as a JSON value."""
        numbers = {name: getattr(self, name) for name in ("entries", "present", "own", "unusable", "consented")}
        return numbers | {"added": dict(self.added), "removed": dict(self.removed)}

    @classmethod
    def from_json(cls, counts: dict[str, Any], adopted_at: datetime | None) -> "AdoptionReport":
        """Parse the result of `as_json`."""
        by_cause = {name: Counter(counts[name]) for name in ("added", "removed")}
        return cls(**(counts | by_cause), adopted_at=adopted_at)


def rehearse_adoption(
    context: ImportContext, file: BinaryIO, *, now: datetime, progress: Progress = lambda *_: None
) -> AdoptionReport:
    """Count what adopting a decrypted file would do.

    Nothing is changed.

    Raises:
        SuppressionFileError: it isn't a suppression file, or it's damaged.
    """
    header, total = _survey(context, file)
    report = AdoptionReport()
    with closing(_PrivateEntries()) as private, closing(_collect_departed(context, header)) as departed:
        for entries in _read_chunks(file):
            with context.database.read() as session:
                private.add(_list_new_entries(session, header, entries, departed, report, now))
            progress(report.entries, total)
        with context.database.read() as session:
            keys = list_suppression_keys([*load_key_sets(session, context.keys), *header.key_sets])
        for page in stream_addresses(context.database, context.keys, _LISTED_STATES):
            addresses = [address for _, address in page]
            hashes = stored_addresses.hash_addresses(context.keys, addresses, keys)
            with context.database.read() as session:
                rows = _list_future_rows(session, private, [each.suppressions for each in hashes])
                for each, rows_of_address in zip(hashes, rows, strict=True):
                    match = _find_adopted_cause(rows_of_address)
                    if match and (existing := _load_existing(session, each)):
                        _count_decision(report, existing, *match)
            progress(report.entries + max((number for number, _ in page), default=0), total)
    return report


def adopt_suppressions(
    context: ImportContext, file: BinaryIO, *, now: datetime, progress: Progress = lambda *_: None
) -> AdoptionReport:
    """Adopt a decrypted file, or continue an interrupted adoption.

    If the file was adopted before, nothing is changed. The whole file is read first, so a damaged
    one has no effect.

    Raises:
        SuppressionFileError: it isn't a suppression file, it's damaged, or another process is
            adopting it.
        ImportUndoError: an import is being undone.
        OSError: the unsubscribe log couldn't be written.
    """
    header, total = _survey(context, file)
    with context.database.write() as session:
        adoption = _open_adoption(session, context, header, now)
    report = AdoptionReport.from_json(adoption.counts, adoption.done_at)
    if report.adopted_at is not None:
        return report
    with closing(_collect_departed(context, header)) as departed:
        for entries in _read_chunks(file, skip=adoption.reached):
            with context.database.write() as session:
                new = _list_new_entries(session, header, entries, departed, report, now)
                _insert_entries(session, new)
                _advance(session, adoption, report, reached=report.entries)
            progress(report.entries, total)
    for page in stream_addresses(context.database, context.keys, _LISTED_STATES, after=adoption.people_reached):
        if page:
            _review_page(context, page, report, now, adoption)
            progress(report.entries + page[-1][0], total)
    with context.database.write() as session:
        _advance(session, adoption, report, done_at=now)
    return report


def review_imported_people(context: ImportContext, batch: int, *, started_at: datetime, now: datetime) -> None:
    """Check an import's people against the files adopted since the import began.

    Its rows may have been checked before then.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    with context.database.read() as session:
        if not count_rows(session, SuppressionAdoption, SuppressionAdoption.started_at >= started_at):
            return
    for page in stream_addresses(context.database, context.keys, _LISTED_STATES, batch=batch):
        _review_page(context, page, AdoptionReport(), now)


def _insert_entries(session: Session, entries: Sequence[SuppressedHash]) -> None:
    if entries:
        insert_many(session, table_of(Suppression), [entry._asdict() for entry in entries])


def _survey(context: ImportContext, file: BinaryIO) -> tuple[SuppressionFileHeader, int]:
    """Read a whole file, checking that it's complete, and return its header and the amount of work."""
    file.seek(0)
    header = read_header(file)
    entries = sum(1 for _ in read_entries(file))
    with context.database.read() as session:
        last = session.scalar(select(func.max(Person.number))) or 0
    return header, entries + last


def _read_chunks(file: BinaryIO, *, skip: int = 0) -> Iterator[list[SuppressedHash]]:
    file.seek(0)
    read_header(file)
    entries = islice(read_entries(file), skip, None)
    return iter(lambda: list(islice(entries, MAX_TRANSACTION_ROWS)), [])


def _open_adoption(
    session: Session, context: ImportContext, header: SuppressionFileHeader, now: datetime
) -> SuppressionAdoption:
    """Return an adoption's row, creating it the first time.

    From then on, the keys of the file are in effect.

    Raises:
        SuppressionFileError: another process began to adopt the file at the same moment.
    """
    adoption = session.scalar(select(SuppressionAdoption).where(SuppressionAdoption.file_id == header.file_id))
    if adoption is not None:
        return adoption
    adoption = SuppressionAdoption(
        file_id=header.file_id,
        actor=context.actor,
        started_at=now,
        counts=AdoptionReport().as_json(),
        reached=0,
        people_reached=0,
        ciphertext=b"",
        key_id="",
    )
    session.add(adoption)
    try:
        session.flush()
    except IntegrityError:
        raise SuppressionFileError(_ANOTHER_PROCESS) from None
    adoption.ciphertext, adoption.key_id = encrypt_key_sets(context.keys, header.key_sets, adoption.id)
    return adoption


def _advance(session: Session, adoption: SuppressionAdoption, report: AdoptionReport, **changes: Any) -> None:
    """Store an adoption's progress.

    Raises:
        SuppressionFileError: another process has made more progress.
    """
    row = session.get_one(SuppressionAdoption, adoption.id, with_for_update=True)
    expected = adoption.reached, adoption.people_reached, None
    if (row.reached, row.people_reached, row.done_at) != expected:
        raise SuppressionFileError(_ANOTHER_PROCESS)
    row.counts = report.as_json()
    for each in (row, adoption):
        for name, value in changes.items():
            setattr(each, name, value)


def _collect_departed(context: ImportContext, header: SuppressionFileHeader) -> "_PrivateEntries":
    """Return the people who left here, as in an export, hashed with those of our own keys that the file also uses."""
    departed = _PrivateEntries()
    in_file = {key.id for each in header.key_sets for key in each.suppression}
    for key in context.keys.of_kind("suppression"):
        if key.id in in_file:
            departed.add(list_departure_hashes(context.database, key))
    return departed


def _list_new_entries(
    session: Session,
    header: SuppressionFileHeader,
    entries: Sequence[SuppressedHash],
    departed: "_PrivateEntries",
    report: AdoptionReport,
    now: datetime,
) -> list[SuppressedHash]:
    """Return the entries (at most 1,000) that add something, marked as adopted, and count all entries."""
    usable = {key.id for each in header.key_sets for key in each.suppression}
    hashes = [entry.hash for entry in entries]
    query = select(Suppression).where(build_any_hash_condition(session, Suppression.hash, hashes))
    known: _KnownEntries = {}
    for row in (*session.scalars(query), *departed.list_rows(hashes)):
        known.setdefault((row.key_id, row.hash), []).append((row.reason, row.at))
    new: list[SuppressedHash] = []
    for entry in (each._replace(at=min(each.at, now)) for each in entries):
        report.entries += 1
        own = known.get((entry.key_id, entry.hash), [])
        adopted = known.setdefault((ADOPTED_MARK + entry.key_id, entry.hash), [])
        if _is_known(own, entry):
            report.own += 1
        elif entry.key_id not in usable:
            report.unusable += 1
        elif _is_known(adopted, entry):
            report.present += 1
        else:
            report.added[entry.reason] += 1
            adopted.append((entry.reason, entry.at))
            new.append(entry._replace(key_id=ADOPTED_MARK + entry.key_id))
    return new


def _is_known(dated_causes: Iterable[tuple[str, datetime]], entry: SuppressedHash) -> bool:
    return any(_says_as_much(reason, at, entry) for reason, at in dated_causes)


def _says_as_much(reason: str, at: datetime, entry: SuppressedHash) -> bool:
    """Return True if a row here is at least as grave and as recent as an entry in the file.

    A later confirmation by the owner ends the entry, and a later permission by an admin outweighs any entry.
    """
    is_as_grave = reason == suppression.ALLOWED_AGAIN or not suppression.outweighs_reason(entry.reason, reason)
    return at >= entry.at and is_as_grave


def _review_page(
    context: ImportContext,
    page: Sequence[tuple[int, Address]],
    report: AdoptionReport,
    now: datetime,
    adoption: SuppressionAdoption | None = None,
) -> None:
    """Unsubscribe or suppress the people on a page whom adopted hashes suppress."""
    with context.database.read() as session:
        hashes = suppression.hash_addresses(session, context.keys, [address for _, address in page])
        rows = suppression.list_suppression_rows(session, [each.suppressions for each in hashes])
    matches = [
        (number, address, each)
        for (number, address), each, rows_of_address in zip(page, hashes, rows, strict=True)
        if _find_adopted_cause(rows_of_address)
    ]
    with context.database.write() as session:
        departures = [_review_person(session, context, *match, report, now) for match in matches]
        if adoption is not None:
            _advance(session, adoption, report, people_reached=page[-1][0])
        context.unsubscribe_log.append_all([each for each in departures if each is not None], at=now)


def _review_person(
    session: Session,
    context: ImportContext,
    number: int,
    address: Address,
    hashes: AddressHashes,
    report: AdoptionReport,
    now: datetime,
) -> PendingUnsubscribeLogEntry | None:
    """Apply the row in effect for a person's address, and return the entry for the unsubscribe log, or None."""
    person, existing = ledger.lock_person(session, number), _load_existing(session, hashes)
    match = _find_adopted_cause(suppression.list_suppression_rows(session, [hashes.suppressions])[0])
    if person is None or person.state not in _LISTED_STATES or existing is None or existing.number != number:
        return None
    if match is None:
        return None
    if not _count_decision(report, existing, *match):
        if person.state is PersonState.SUBSCRIBED:
            suppression.lift_suppression(session, context.keys, address, now=now)
        return None
    reason = suppression.parse_reason(match[0])
    if reason not in _WITHDRAWING_REASONS:
        actor = context.actor
        return suppression.suppress_person(session, context.keys, person, reason=reason, actor=actor, now=now)
    body = {"actor": context.actor, "method": ledger.ADOPTION_METHOD}
    ledger.append_event(session, person, ConsentKind.WITHDRAWN, body, now)
    return PendingUnsubscribeLogEntry.of_person(person, "left")


def _find_adopted_cause(rows: Sequence[Suppression]) -> tuple[str, datetime] | None:
    """Return an address's cause and the latest date in any file, or None if the cause isn't from a file.

    Consent has to be later than the date.
    """
    row = suppression.find_effective_row(rows)
    if row is None or not is_adopted_key_id(row.key_id):
        return None
    return row.reason, max(each.at for each in rows if is_adopted_key_id(each.key_id))


def _list_future_rows(
    session: Session, private: "_PrivateEntries", addresses: Sequence[suppression.SuppressionHashes]
) -> list[list[Suppression]]:
    """Return the rows that addresses would have if a dry run's entries were adopted."""
    by_address = suppression.list_suppression_rows(session, addresses)
    positions = {pair: position for position, pairs in enumerate(addresses) for pair in pairs}
    for row in private.list_rows([address_hash for address_hash, _ in positions]):
        position = positions.get((row.hash, row.key_id))
        if position is not None:
            by_address[position].append(row)
    return by_address


def _load_existing(session: Session, hashes: AddressHashes) -> ExistingPerson | None:
    """Return the person with an address, or None if there's none anymore."""
    existing = import_store.find_existing_people(session, [hashes]).get(hashes.lookup)
    if existing is None:
        return None
    chains = import_store.load_event_chains(session, [existing.number])
    return replace(existing, events=chains[existing.number])


def _count_decision(report: AdoptionReport, existing: ExistingPerson, reason: str, at: datetime) -> bool:
    """Count a person on the list by whether they're removed, and return True if they are.

    Their own later consent keeps them on it, except after a complaint.
    """
    if reason != "complained" and has_consented_here_since(existing, at):
        report.consented += 1
        return False
    report.removed[reason] += 1
    return True


class _PrivateEntries:
    """The entries of a dry run, in an unnamed file that's deleted when it's closed.

    It must be used in one thread.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA cache_size=-8000",
            "CREATE TABLE entry (hash TEXT, key TEXT, reason TEXT, at TEXT)",
            "CREATE INDEX by_hash ON entry (hash)",
        ):
            self._connection.execute(statement)

    def close(self) -> None:
        """Delete the entries."""
        self._connection.close()

    def add(self, entries: Iterable[SuppressedHash]) -> None:
        """Store entries."""
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?)",
            ((entry.hash, entry.key_id, entry.reason, entry.at.isoformat()) for entry in entries),
        )
        self._connection.execute("COMMIT")

    def list_rows(self, hashes: Sequence[str]) -> list[Suppression]:
        """Return the entries for the given hashes as rows that aren't attached to a session."""
        query = "SELECT key, hash, reason, at FROM entry WHERE hash IN (SELECT value FROM json_each(?))"
        rows = self._connection.execute(query, [json.dumps(hashes)])
        return [
            Suppression(key_id=key_id, hash=address_hash, reason=reason, at=datetime.fromisoformat(at))
            for key_id, address_hash, reason, at in rows
        ]
