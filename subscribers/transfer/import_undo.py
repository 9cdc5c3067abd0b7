"""Taking an import back: one that was not finished, at any time; a finished one, within seven days.

Events are only appended. Nobody is suppressed, so that a corrected list can bring the same people, and what the file said of people who
had unsubscribed stays. From the first moment on, nobody of the import is in the audience: it counts as unfinished until it's taken back.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.errors import RefusalError
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.people import clear_personal_data

PAGE_SIZE = 500  # people a transaction
UNDO_PERIOD = timedelta(days=7)
UNDO_METHOD = "import undone"
UNDONE_OPTION = "undone"  # among a batch's options, so that its file isn't taken for one that came in before
_IMPORTED_STATES = frozenset({PersonState.SUBSCRIBED, PersonState.UNVERIFIED})
# Not a person's word on being subscribed.
_SILENT_KINDS = frozenset({ConsentKind.BOUND, ConsentKind.LINKS_RENEWED, ConsentKind.BOUNCED})

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
    if person.state not in _IMPORTED_STATES or spoken[-1].seq > own[-1]:
        return UndoOutcome.ACTIVE if was_finished else UndoOutcome.EARLIER
    return UndoOutcome.EARLIER if spoken[0].seq < own[0] else UndoOutcome.REMOVED


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


def undo_batch(database: PeopleDatabase, batch: int, *, actor: str, now: datetime) -> UndoResult:
    """Take a finished import back, or go on with that. Nobody of it is emailed from the first moment on.

    Raises:
        ImportUndoError: there's no such import, it isn't finished, or it was finished more than seven days ago.
    """
    with database.write() as session:
        row = session.get(ImportBatch, batch, with_for_update=True, populate_existing=True)
        if not is_undo_interrupted(row):
            check_undoable(row, batch, now=now)
            assert row is not None
            row.done_at, row.options = None, {**row.options, UNDONE_OPTION: ledger.format_ledger_time(now)}
    return _take_back(database, batch, actor=actor, now=now, is_undo=True)


def is_undo_interrupted(row: ImportBatch | None) -> bool:
    """Return whether taking an import back was begun and not finished."""
    return row is not None and row.done_at is None and UNDONE_OPTION in row.options


def check_undoable(row: ImportBatch | None, batch: int, *, now: datetime) -> None:
    """Check that a finished import can be taken back.

    Raises:
        ImportUndoError: it can't.
    """
    if row is None or row.done_at is None or TAKEN_BACK_OPTIONS & row.options.keys():
        raise ImportUndoError(f"There's no finished import {batch} to undo. Check its number in the list of imports.")
    if now > row.done_at + UNDO_PERIOD:
        raise ImportUndoError(
            f"Import {batch} was finished more than {UNDO_PERIOD.days} days ago, so it can't be undone. Unsubscribe people "
            "one by one instead."
        )


def count_undo(database: PeopleDatabase, batch: int, *, now: datetime) -> UndoResult:
    """Count what taking an import back would do.

    Raises:
        ImportUndoError: see `undo_batch`.
    """
    result, after = UndoResult(), 0
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        if not is_undo_interrupted(row):
            check_undoable(row, batch, now=now)
        while people := _load_people(session, batch, after):
            for person in people:
                outcome = decide_undo(person, batch)
                result.count(outcome, restores=_restores_preferences(person, outcome, batch))
            after = people[-1].number
    return result


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


def _load_people(session: Session, batch: int, after: int, *, lock: bool = False) -> list[ImportedPerson]:
    columns = (Person.number, Person.state, Person.chain_head)
    query = (
        select(*columns).where(Person.batch == batch, Person.number > after).order_by(Person.number).limit(PAGE_SIZE)
    )
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
    clear_personal_data(session, changes.removed)


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
        return [(ConsentKind.ERASED, body)]
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
    row.done_at = now
    if not is_undo:  # what a finished import did to addresses that aren't here stays, and so do its counts
        row.counts, row.salt = {}, None
        row.options = {**row.options, ABANDONED_OPTION: True}


def count_batch_people(session: Session, batch: int) -> int:
    """Count the people who stand in an import."""
    query = select(func.count()).select_from(Person).where(Person.batch == batch)
    return session.scalar(query) or 0
