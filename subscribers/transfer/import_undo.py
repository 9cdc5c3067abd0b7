"""Taking an import back: one that was not finished, at any time; a finished one, within seven days.

Events are only appended. Nobody is suppressed, so that a corrected list can bring the same people, and what the file said of people who
had unsubscribed stays. From the first moment on, nobody of the import is in the audience: it counts as unfinished until it's taken back.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.personal_data import clear_all_traces
from subscribers.consent.unsubscribe_log import IMPORT_UNDONE, PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.errors import RefusalError
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState

PAGE_SIZE = 500  # people a transaction
UNDO_METHOD = "import undone"
UNDONE_OPTION = "undone"  # among a batch's options, so that its file isn't taken for one that came in before
# Not a person's word on being subscribed.
_SILENT_KINDS = frozenset({ConsentKind.BOUND, ConsentKind.LINKS_RENEWED, ConsentKind.BOUNCED})

FINISHED_OPTION = "finished"  # of an undone batch: when it had been finished
ABANDONED_OPTION = "abandoned"
TAKEN_BACK_OPTIONS = frozenset({UNDONE_OPTION, ABANDONED_OPTION})


class ImportUndoError(RefusalError):
    """The import can't be undone; the message says why."""


class UndoOutcome(StrEnum):
    """The outcome of undoing an import for one person."""

    REMOVED = "removed"  # the import alone brought them
    EARLIER = "here before"  # they stay, without the consent and the preferences that the import brought
    ACTIVE = "active since"
    DEPARTED = "unsubscribed since"


class ImportedLink(NamedTuple):
    """One link of a chain, as far as the decision needs it."""

    seq: int
    kind: ConsentKind
    commitment: str | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImportedPerson:
    """A person of an import with their chain."""

    number: int
    state: PersonState
    chain_head: str
    links: Sequence[ImportedLink]


@dataclass(slots=True)
class UndoResult:
    """The number of people by outcome, and the number whose earlier preferences are restored."""

    removed: int = 0
    earlier: int = 0
    active: int = 0
    departed: int = 0
    preferences: int = 0

    @property
    def kept(self) -> int:
        """The number of people kept."""
        return self.earlier + self.active + self.departed

    def count(self, outcome: UndoOutcome, *, restores: bool) -> None:
        """Count one person."""
        self.removed += outcome is UndoOutcome.REMOVED
        self.earlier += outcome is UndoOutcome.EARLIER
        self.active += outcome is UndoOutcome.ACTIVE
        self.departed += outcome is UndoOutcome.DEPARTED
        self.preferences += restores


@dataclass(slots=True)
class _Changes:
    """The changes of one transaction."""

    events: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


def decide_undo(person: ImportedPerson, batch: int, *, was_finished: bool = True) -> UndoOutcome:
    """Decide what becomes of a person when an import that they count with is taken back. Pure.

    Of an import that was never finished, nobody got email, so nothing since then speaks for its consent.
    """
    if person.state in ledger.DEPARTED_STATES:
        return UndoOutcome.DEPARTED
    spoken = [link for link in person.links if link.kind not in _SILENT_KINDS]
    own = [link.seq for link in spoken if link.body.get("batch") == batch]
    if not own:  # it took over what another import that was never finished had begun
        return UndoOutcome.REMOVED if len(spoken) == 1 else UndoOutcome.EARLIER
    later = [link for link in spoken if link.seq > own[-1]]
    is_active = any(ledger.is_sign_of_life(link.kind, link.body) for link in later)
    if is_active and was_finished:
        return UndoOutcome.ACTIVE
    # Anyone can type an address into the form, so a request isn't yet the person's act, but it waits for their answer.
    has_requested = any(link.kind is ConsentKind.REQUESTED for link in spoken)
    is_earlier = is_active or has_requested or spoken[0].seq < own[0]
    return UndoOutcome.EARLIER if is_earlier else UndoOutcome.REMOVED


def find_overwritten_preferences(person: ImportedPerson, batch: int) -> dict[str, Any] | None:
    """Return the preferences from before an import, if it changed them and nobody has since; else None. Pure."""
    changes = [link for link in person.links if link.kind is ConsentKind.CHOICES_CHANGED]
    if not changes or changes[-1].body.get("batch") != batch:
        return None
    before: dict[str, Any] = changes[-1].body["before"]
    return before


def abandon_batch(database: PeopleDatabase, batch: int, *, actor: str, now: datetime) -> UndoResult | None:
    """Drop an import that was not finished; None where there is no such one. Cut short, it is finished by the next run.

    Departures that the file told of stay: they were ours to heed. The file can be imported again afterwards.
    """
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        if row is None or row.done_at is not None:
            return None
        is_undo = UNDONE_OPTION in row.options
    return _take_back(database, batch, actor=actor, now=now, is_undo=is_undo)


def undo_batch(
    database: PeopleDatabase, unsubscribe_log: UnsubscribeLog, batch: int, *, actor: str, now: datetime
) -> UndoResult:
    """Take a finished import back, or go on with that. Nobody of it is emailed from the first moment on.

    The unsubscribe log gets one entry, before the commit as for those who leave: a copy restored from before the undo
    learns of it (`repeat_lost_undos`).

    Raises:
        ImportUndoError: there's no such import, it isn't finished, or it was finished more than seven days ago.
        OSError: the unsubscribe log couldn't be written.
    """
    with database.write() as session:
        row = session.get(ImportBatch, batch, with_for_update=True, populate_existing=True)
        if not is_undo_interrupted(row):
            check_undoable(row, batch, now=now)
            assert row is not None
            unsubscribe_log.append(_make_log_entry(row), at=now)
            _mark_undone(row, now)
    return _take_back(database, batch, actor=actor, now=now, is_undo=True)


def _mark_undone(row: ImportBatch, now: datetime) -> None:
    finished = {FINISHED_OPTION: ledger.format_ledger_time(row.done_at)} if row.done_at else {}
    row.options = {**row.options, UNDONE_OPTION: ledger.format_ledger_time(now), **finished}
    row.done_at = None


def _make_log_entry(row: ImportBatch) -> PendingUnsubscribeLogEntry:
    """Make the entry that an import is undone. It names the import by its file and start: a restored copy counts anew."""
    name = f"{row.file_hash} {ledger.format_ledger_time(row.started_at)}"
    return PendingUnsubscribeLogEntry(name, "", IMPORT_UNDONE)


def repeat_lost_undos(session: Session, unsubscribe_log: UnsubscribeLog, *, now: datetime) -> list[int]:
    """Begin to undo the imports of a restored copy that were undone after it was made; return their numbers.

    Nobody of them is emailed. They're listed as interrupted undos, which an admin finishes.

    Raises:
        UnsubscribeLogError: the unsubscribe log is damaged.
        KeyFileError: it names a key that isn't in the key file.
    """
    entries = [entry for entry in unsubscribe_log.read() if entry.kind == IMPORT_UNDONE]
    numbers = []
    for row in session.scalars(select(ImportBatch).order_by(ImportBatch.id)) if entries else ():
        lookup = _make_log_entry(row).lookup
        is_named = any(unsubscribe_log.hash_lookup(lookup, entry.key_id) == entry.person_hash for entry in entries)
        if is_named and not is_taken_back(row):
            _mark_undone(row, now)
            numbers.append(row.id)
    session.flush()
    return numbers


def is_undo_interrupted(row: ImportBatch | None) -> bool:
    """Return whether taking an import back was begun and not finished."""
    return row is not None and row.done_at is None and UNDONE_OPTION in row.options


def is_taken_back(row: ImportBatch) -> bool:
    """Return whether an import was taken back, or that was begun."""
    return not TAKEN_BACK_OPTIONS.isdisjoint(row.options)


def read_option_time(row: ImportBatch, option: str) -> datetime | None:
    """Return a moment that a batch's options have; None if they don't."""
    moment = row.options.get(option)
    return datetime.fromisoformat(moment) if moment else None


def check_no_undo_interrupted(session: Session) -> None:
    """Check that no import is being taken back: its people would be taken for those of an import that goes on.

    Raises:
        ImportUndoError: one is.
    """
    unfinished = session.scalars(select(ImportBatch).where(ImportBatch.done_at.is_(None)))
    row = next(filter(is_undo_interrupted, unfinished), None)
    if row is not None:
        raise ImportUndoError(f"Import {row.id} is being undone. Finish undoing it, then import the file again.")


def check_can_begin(row: ImportBatch | None, batch: int, *, now: datetime) -> None:
    """Check that taking an import back can begin, or go on.

    Raises:
        ImportUndoError: it can't.
    """
    if not is_undo_interrupted(row):
        check_undoable(row, batch, now=now)


def check_undoable(row: ImportBatch | None, batch: int, *, now: datetime) -> None:
    """Check that a finished import can be taken back.

    Raises:
        ImportUndoError: it can't.
    """
    if row is None or row.done_at is None or is_taken_back(row):
        raise ImportUndoError(f"There's no finished import {batch} to undo. Check its number in the list of imports.")
    if now > row.done_at + ledger.UNDO_PERIOD:
        raise ImportUndoError(
            f"Import {batch} was finished more than {ledger.UNDO_PERIOD.days} days ago, so it can't be undone. Unsubscribe people "
            "one by one instead."
        )


def count_undo(database: PeopleDatabase, batch: int, *, now: datetime) -> UndoResult:
    """Count what taking an import back would do.

    Raises:
        ImportUndoError: see `undo_batch`.
    """
    after = 0
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        check_can_begin(row, batch, now=now)
        result = UndoResult(removed=_count_people_without_other_events(session, batch))
        while people := _load_people(session, batch, after, where=_has_other_events(batch)):
            for person in people:
                outcome = decide_undo(person, batch)
                result.count(outcome, restores=_restores_preferences(person, outcome, batch))
            after = people[-1].number
    return result


def _has_other_events(batch: int) -> ColumnElement[bool]:
    """Return the condition for people who have an event that an import didn't append, or who have departed."""
    by_import = ConsentEvent.body.contains(f'"batch":{batch},')  # canonical JSON; more fields follow this one
    return Person.state.in_(ledger.DEPARTED_STATES) | exists().where(ConsentEvent.person == Person.number, ~by_import)


def _count_people_without_other_events(session: Session, batch: int) -> int:
    """Count the people whom `decide_undo` removes by their import's events alone: most of them, so they aren't loaded."""
    query = select(func.count()).select_from(Person).where(Person.batch == batch, ~_has_other_events(batch))
    return session.scalar(query) or 0


def _restores_preferences(person: ImportedPerson, outcome: UndoOutcome, batch: int) -> bool:
    return outcome is UndoOutcome.EARLIER and find_overwritten_preferences(person, batch) is not None


def _take_back(database: PeopleDatabase, batch: int, *, actor: str, now: datetime, is_undo: bool) -> UndoResult:
    result, after = UndoResult(), 0
    body = {"actor": actor, "batch": batch, "method": UNDO_METHOD if is_undo else "import abandoned"}
    while True:
        with database.write() as session:
            # No import goes on with this batch while we look: it takes the same row at every step.
            session.execute(select(ImportBatch.id).where(ImportBatch.id == batch).with_for_update())
            people = _load_people(session, batch, after, lock=True)
            if not people and not after:
                _close_batch(session, batch, now, is_undo=is_undo)
                return result
            _take_people_back(session, people, body, result, now)
            after = people[-1].number if people else 0  # once more from the start: an import may run on beside us


def _load_people(
    session: Session, batch: int, after: int, *, where: ColumnElement[bool] | None = None, lock: bool = False
) -> list[ImportedPerson]:
    columns = (Person.number, Person.state, Person.chain_head)
    query = (
        select(*columns).where(Person.batch == batch, Person.number > after).order_by(Person.number).limit(PAGE_SIZE)
    )
    query = query if where is None else query.where(where)
    rows = session.execute(query.with_for_update() if lock else query).all()
    links: dict[int, list[ImportedLink]] = {row.number: [] for row in rows}
    events = select(
        ConsentEvent.person, ConsentEvent.seq, ConsentEvent.kind, ConsentEvent.commitment, ConsentEvent.body
    ).where(ConsentEvent.person.in_(links))
    for person, seq, kind, commitment, body in session.execute(events.order_by(ConsentEvent.person, ConsentEvent.seq)):
        links[person].append(ImportedLink(seq, kind, commitment, json.loads(body)))
    return [ImportedPerson(row.number, row.state, row.chain_head, links[row.number]) for row in rows]


def _take_people_back(
    session: Session, people: Sequence[ImportedPerson], body: dict[str, Any], result: UndoResult, now: datetime
) -> None:
    """Empty those whom this import alone brought; take its word back from those who were here before."""
    changes = _Changes()
    for person in people:
        outcome = decide_undo(person, body["batch"], was_finished=body["method"] == UNDO_METHOD)
        _append_changes(changes, person, outcome, body, now)
        result.count(outcome, restores=_restores_preferences(person, outcome, body["batch"]))
    ledger.insert_chain_links(session, changes.events, changed_people=changes.people)
    clear_all_traces(session, changes.removed, now=now)


def _append_changes(
    changes: _Changes, person: ImportedPerson, outcome: UndoOutcome, body: dict[str, Any], now: datetime
) -> None:
    values: dict[str, Any] = {"number": person.number, "batch": None}
    last = person.links[-1]
    state, seq, head = person.state, last.seq, person.chain_head
    for kind, fields in _list_new_links(person, outcome, body):
        text = ledger.canonical_json(fields)
        seq += 1
        link = ledger.build_chain_link(
            person.number, state, kind, text, now, seq=seq, previous=head, commitment=last.commitment
        )
        state, head = link.person["state"], link.event["hash"]
        changes.events.append(link.event)
        values |= link.person
        if kind is ConsentKind.CHOICES_CHANGED:
            values["choices"] = fields["after"]
    if outcome is UndoOutcome.REMOVED:
        changes.removed.append(person.number)
    changes.people.append(values)


def _list_new_links(
    person: ImportedPerson, outcome: UndoOutcome, body: dict[str, Any]
) -> list[tuple[ConsentKind, dict[str, Any]]]:
    """List the links that taking the import back appends to a person's chain, each with what it says."""
    if outcome is UndoOutcome.REMOVED:
        return [(ConsentKind.REMOVED, body)]
    if outcome is not UndoOutcome.EARLIER:
        return []
    links = [(ConsentKind.EXPIRED, body)] if person.state is PersonState.SUBSCRIBED else []
    before = find_overwritten_preferences(person, body["batch"])
    if before is not None:
        current = [link for link in person.links if link.kind is ConsentKind.CHOICES_CHANGED][-1].body["after"]
        links.append((ConsentKind.CHOICES_CHANGED, {**body, "before": current, "after": before}))
    return links


def _close_batch(session: Session, batch: int, now: datetime, *, is_undo: bool) -> None:
    """Mark the batch as over, so that its file is not taken for one that came in before."""
    row = session.get_one(ImportBatch, batch)
    row.done_at = read_option_time(row, FINISHED_OPTION) or now
    if not is_undo:  # what a finished import did to addresses that aren't here stays, and so do its counts
        row.counts, row.salt = {}, None
        row.options = {**row.options, ABANDONED_OPTION: True}


def count_batch_people(session: Session, batch: int) -> int:
    """Count the people who stand in an import."""
    query = select(func.count()).select_from(Person).where(Person.batch == batch)
    return session.scalar(query) or 0
