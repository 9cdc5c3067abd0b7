"""Undoing an import, which is possible at any time while it's unfinished, and for seven days after it's finished.

Events are only appended. People aren't suppressed, so a corrected list can add them again, and
departures from the file are kept. From the start, no one in the import is in the audience, because
it counts as unfinished until it's undone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.personal_data import clear_all_personal_data
from subscribers.consent.unsubscribe_log import IMPORT_UNDONE, PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.english_text import count_with_noun, join_words
from subscribers.errors import RefusalError
from subscribers.store.database import PeopleDatabase, count_rows
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.signup_models import StoredAddressChange

PAGE_SIZE = 500  # people per transaction
UNDO_METHOD = "import undone"
# An option of a batch, so that its file doesn't count as imported.
UNDONE_OPTION = "undone"
# These don't show that a person wants to be subscribed.
_PASSIVE_KINDS = frozenset({ConsentKind.LINKS_RENEWED, ConsentKind.BOUNCED})
_DEPARTURE_KINDS = frozenset(
    {ConsentKind.WITHDRAWN, ConsentKind.COMPLAINED, ConsentKind.SUPPRESSED, ConsentKind.ERASED}
)

# An option of an undone batch with the time when it was finished.
FINISHED_OPTION = "finished"
ABANDONED_OPTION = "abandoned"
REVERSED_OPTIONS = frozenset({UNDONE_OPTION, ABANDONED_OPTION})


class ImportUndoError(RefusalError):
    """Raised when the import can't be undone.

    The message says why.
    """


class UndoOutcome(StrEnum):
    """The outcome of undoing an import for one person."""

    REMOVED = "removed"  # only this import had added them
    # They're kept, without the import's consent and preferences.
    EARLIER = "here before"
    ACTIVE = "confirmed or active since"
    DEPARTED = "unsubscribed since"
    DEPARTED_BY_FILE = "unsubscribed by the file"  # counted among the rows of the import, not here


# Why people are kept, in the singular and the plural.
_KEPT_WORDS = {
    UndoOutcome.EARLIER: ("was here before the import", "were here before the import"),
    UndoOutcome.ACTIVE: ("has confirmed or been active since", "have confirmed or been active since"),
    UndoOutcome.DEPARTED: ("has unsubscribed or was suppressed since", "have unsubscribed or were suppressed since"),
}


class ImportedLink(NamedTuple):
    """An event in a chain, reduced to what decisions require."""

    seq: int
    kind: ConsentKind
    commitment: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImportedPerson:
    """A person in an import, and their chain."""

    number: int
    state: PersonState
    chain_head: str
    links: Sequence[ImportedLink]


@dataclass(slots=True)
class UndoResult:
    """The number of people by outcome, and the number of people whose earlier preferences are restored."""

    removed: int = 0
    earlier: int = 0
    active: int = 0
    departed: int = 0
    preferences: int = 0

    @property
    def kept(self) -> int:
        """The number of people who stay because they were here before, or have been active or have left since."""
        return sum(self.kept_counts.values())

    @property
    def kept_counts(self) -> dict[UndoOutcome, int]:
        """The numbers of people who are kept, by the reason for keeping them."""
        counts = {
            UndoOutcome.EARLIER: self.earlier,
            UndoOutcome.ACTIVE: self.active,
            UndoOutcome.DEPARTED: self.departed,
        }
        return {outcome: count for outcome, count in counts.items() if count}

    @property
    def kept_sentence(self) -> str:
        """A sentence that says who is kept and why, or an empty string if no one is."""
        people = [
            f"{count_with_noun(count, 'person', 'people')} who {_KEPT_WORDS[outcome][count != 1]}"
            for outcome, count in self.kept_counts.items()
        ]
        return f"Kept {join_words(people)}." if people else ""

    def count(self, outcome: UndoOutcome, *, restores: bool) -> None:
        """Count one person by outcome, and by whether their earlier preferences are restored."""
        self.removed += outcome is UndoOutcome.REMOVED
        self.earlier += outcome is UndoOutcome.EARLIER
        self.active += outcome is UndoOutcome.ACTIVE
        self.departed += outcome is UndoOutcome.DEPARTED
        self.preferences += restores


@dataclass(slots=True)
class _Changes:
    """The changes made in one transaction."""

    events: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


def decide_undo(person: ImportedPerson, batch: int, *, was_finished: bool = True) -> UndoOutcome:
    """Return the outcome for a person when an import that they belong to is undone. Pure.

    No one was emailed because of an import that was never finished, so later activity isn't
    evidence for its consent.
    """
    if person.state in ledger.DEPARTED_STATES:
        departures = [link for link in person.links if link.kind in _DEPARTURE_KINDS]
        is_by_file = bool(departures) and departures[-1].body.get("batch") == batch
        return UndoOutcome.DEPARTED_BY_FILE if is_by_file else UndoOutcome.DEPARTED
    active_links = [link for link in person.links if link.kind not in _PASSIVE_KINDS]
    own = [link.seq for link in active_links if link.body.get("batch") == batch]
    if not own:  # adopted from another import that was never finished
        return UndoOutcome.REMOVED if len(active_links) == 1 else UndoOutcome.EARLIER
    later = [link for link in active_links if link.seq > own[-1]]
    is_active = any(ledger.is_sign_of_life(link.kind, link.body) for link in later)
    if is_active and was_finished:
        return UndoOutcome.ACTIVE
    # Anyone can type an address into the form, so a request isn't the person's own action yet, but
    # is waiting for their answer.
    has_requested = any(link.kind is ConsentKind.REQUESTED for link in active_links)
    is_earlier = is_active or has_requested or active_links[0].seq < own[0]
    return UndoOutcome.EARLIER if is_earlier else UndoOutcome.REMOVED


def find_overwritten_preferences(person: ImportedPerson, batch: int) -> dict[str, Any] | None:
    """Return the preferences from before an import, or None if it didn't overwrite any. Pure.

    Return None if the import didn't change them, or if they have been changed since then.
    """
    changes = [link for link in person.links if link.kind is ConsentKind.CHOICES_CHANGED]
    if not changes or changes[-1].body.get("batch") != batch:
        return None
    before: dict[str, Any] = changes[-1].body["before"]
    return before


def abandon_batch(
    database: PeopleDatabase,
    batch: int,
    *,
    actor: str,
    now: datetime,
) -> UndoResult | None:
    """Undo an unfinished import, or return None if there's no such import.

    An interrupted undo can be run again. Departures from the file are kept, because they had to be
    respected. The file can be imported again afterward.
    """
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        if row is None or row.done_at is not None:
            return None
        is_undo = UNDONE_OPTION in row.options
    return _reverse_import(database, batch, actor=actor, now=now, is_undo=is_undo)


def undo_batch(
    database: PeopleDatabase,
    unsubscribe_log: UnsubscribeLog,
    batch: int,
    *,
    actor: str,
    reason: str = "",
    now: datetime,
) -> UndoResult:
    """Undo a finished import, or continue undoing it after an interruption.

    Its people receive no email once it begins. An entry is written to the unsubscribe log, before
    the commit as for departures, so that a copy that's restored from before the undo can find out
    about it (`repeat_lost_undos`). The reason is recorded with each change.

    Raises:
        ImportUndoError: there's no such import, it isn't finished, or it was finished more than
            seven days ago.
        OSError: the unsubscribe log couldn't be written.
    """
    with database.write() as session:
        row = session.get(ImportBatch, batch, with_for_update=True, populate_existing=True)
        if not is_undo_interrupted(row):
            check_undoable(row, batch, now=now)
            assert row is not None
            unsubscribe_log.append(_make_log_entry(row), at=now)
            _mark_undone(row, now)
    return _reverse_import(database, batch, actor=actor, reason=reason, now=now, is_undo=True)


def _mark_undone(row: ImportBatch, now: datetime) -> None:
    finished = {FINISHED_OPTION: ledger.format_ledger_time(row.done_at)} if row.done_at else {}
    row.options = {**row.options, UNDONE_OPTION: ledger.format_ledger_time(now), **finished}
    row.done_at = None


def _make_log_entry(row: ImportBatch) -> PendingUnsubscribeLogEntry:
    """Return the log entry for the undoing of an import.

    It refers to the file and start of the import, because a restored copy may reuse numbers.
    """
    name = f"{row.file_hash} {ledger.format_ledger_time(row.started_at)}"
    return PendingUnsubscribeLogEntry(name, "", IMPORT_UNDONE)


def repeat_lost_undos(session: Session, unsubscribe_log: UnsubscribeLog, *, now: datetime) -> list[int]:
    """Begin to undo the imports in a restored copy that were undone after the backup, and return their numbers.

    Their people aren't emailed. The undos are listed as interrupted, and have to be finished by an admin.

    Raises:
        UnsubscribeLogError: the unsubscribe log is damaged.
        KeyFileError: it has a key ID that isn't in the key file.
    """
    entries = [entry for entry in unsubscribe_log.read() if entry.kind == IMPORT_UNDONE]
    numbers = []
    for row in session.scalars(select(ImportBatch).order_by(ImportBatch.id)) if entries else ():
        lookup = _make_log_entry(row).lookup
        is_named = any(unsubscribe_log.hash_lookup(lookup, entry.key_id) == entry.person_hash for entry in entries)
        if is_named and not is_undone(row):
            _mark_undone(row, now)
            numbers.append(row.id)
    session.flush()
    return numbers


def is_undo_interrupted(row: ImportBatch | None) -> bool:
    """Return True if undoing an import has begun but hasn't been finished."""
    return row is not None and row.done_at is None and UNDONE_OPTION in row.options


def is_undone(row: ImportBatch) -> bool:
    """Return True if an import was undone, or its undo has begun."""
    return not REVERSED_OPTIONS.isdisjoint(row.options)


def read_option_time(row: ImportBatch, option: str) -> datetime | None:
    """Return a moment from a batch's options, or None if it isn't set."""
    moment = row.options.get(option)
    return datetime.fromisoformat(moment) if moment else None


def check_no_undo_interrupted(session: Session) -> None:
    """Raise an error if an import is being undone.

    Its people would look like those of a running import.

    Raises:
        ImportUndoError: an import is being undone.
    """
    unfinished = session.scalars(select(ImportBatch).where(ImportBatch.done_at.is_(None)))
    row = next(filter(is_undo_interrupted, unfinished), None)
    if row is not None:
        raise ImportUndoError(f"Import {row.id} is being undone. Finish undoing it, then import the file again.")


def check_undo_can_begin(row: ImportBatch | None, batch: int, *, now: datetime) -> None:
    """Raise an error unless undoing an import can begin or continue.

    Raises:
        ImportUndoError: it can't; the message says why.
    """
    if not is_undo_interrupted(row):
        check_undoable(row, batch, now=now)


def check_undoable(row: ImportBatch | None, batch: int, *, now: datetime) -> None:
    """Raise an error unless a finished import can be undone.

    Raises:
        ImportUndoError: it can't be undone.
    """
    if row is None or row.done_at is None or is_undone(row):
        raise ImportUndoError(f"There's no finished import {batch} to undo. Check its number in the list of imports.")
    if now > row.done_at + ledger.UNDO_PERIOD:
        raise ImportUndoError(
            f"Import {batch} was finished more than {ledger.UNDO_PERIOD.days} days ago, so it can't be undone. Unsubscribe people "
            "one by one instead."
        )


def count_undo(database: PeopleDatabase, batch: int, *, now: datetime) -> UndoResult:
    """Count the people whom undoing an import would affect, by outcome.

    Raises:
        ImportUndoError: see `undo_batch`.
    """
    after = 0
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        check_undo_can_begin(row, batch, now=now)
        result = _count_confirmed_since(session, batch)
        result.removed += _count_people_without_other_events(session, batch)
        while people := _load_people(session, batch, after, where=_has_other_events(batch)):
            for person in people:
                outcome = decide_undo(person, batch)
                result.count(outcome, restores=_restores_preferences(person, outcome, batch))
            after = people[-1].number
    return result


def count_canceled_address_changes(database: PeopleDatabase, batch: int, *, now: datetime) -> int:
    """Count the unconfirmed address changes that undoing an import ends, because it ends their subscriptions."""
    is_pending = exists().where(
        StoredAddressChange.person == Person.number,
        StoredAddressChange.changed_at.is_(None),
        StoredAddressChange.until > now,
    )
    after = count = 0
    with database.read() as session:
        while people := _load_people(session, batch, after, where=is_pending):
            outcomes = [decide_undo(person, batch) for person in people]
            count += sum(outcome in {UndoOutcome.REMOVED, UndoOutcome.EARLIER} for outcome in outcomes)
            after = people[-1].number
    return count


def _has_other_events(batch: int) -> ColumnElement[bool]:
    """Return the condition for people who have events other than those of the import, or who have left."""
    # This is canonical JSON, in which other fields follow.
    by_import = ConsentEvent.body.contains(f'"batch":{batch},')
    return Person.state.in_(ledger.DEPARTED_STATES) | exists().where(ConsentEvent.person == Person.number, ~by_import)


def _count_people_without_other_events(session: Session, batch: int) -> int:
    """Count the people whom `decide_undo` removes because all of their events belong to the import.

    Most people do.
    """
    return count_rows(session, Person, Person.batch == batch, ~_has_other_events(batch))


def _count_confirmed_since(session: Session, batch: int) -> UndoResult:
    """Count the people who confirmed after an import, also with a corrected address.

    They no longer belong to it, so undoing it doesn't change them.
    """
    imported = ledger.select_import_events(batch).subquery()
    has_confirmed = exists().where(
        ConsentEvent.person == Person.number,
        ConsentEvent.kind == ConsentKind.CONFIRMED,
        ConsentEvent.seq > imported.c.seq,
    )
    is_elsewhere = or_(Person.batch.is_(None), Person.batch != batch)
    query = select(Person.state, func.count(Person.number.distinct())).join(
        imported, imported.c.person == Person.number
    )
    rows = session.execute(query.where(is_elsewhere, has_confirmed).group_by(Person.state))
    counts = {row[0]: row[1] for row in rows}
    departed = sum(count for state, count in counts.items() if state in ledger.DEPARTED_STATES)
    return UndoResult(active=sum(counts.values()) - departed, departed=departed)


def _restores_preferences(person: ImportedPerson, outcome: UndoOutcome, batch: int) -> bool:
    return outcome is UndoOutcome.EARLIER and find_overwritten_preferences(person, batch) is not None


def _reverse_import(
    database: PeopleDatabase,
    batch: int,
    *,
    actor: str,
    reason: str = "",
    now: datetime,
    is_undo: bool,
) -> UndoResult:
    after = 0
    with database.read() as session:
        result = _count_confirmed_since(session, batch)
    body: dict[str, Any] = {"actor": actor, "batch": batch, "method": UNDO_METHOD if is_undo else "import abandoned"}
    body |= {"reason": reason} if reason else {}
    while True:
        with database.write() as session:
            # Lock the row that an import locks at every step, so that it can't continue with this batch.
            session.execute(select(ImportBatch.id).where(ImportBatch.id == batch).with_for_update())
            people = _load_people(session, batch, after, lock=True)
            if not people and not after:
                _close_batch(session, batch, now, is_undo=is_undo)
                return result
            _reverse_people(session, people, body, result, now)
            # Start again, because an import may be running at the same time.
            after = people[-1].number if people else 0


def _load_people(
    session: Session,
    batch: int,
    after: int,
    *,
    where: ColumnElement[bool] | None = None,
    lock: bool = False,
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


def _reverse_people(
    session: Session,
    people: Sequence[ImportedPerson],
    body: dict[str, Any],
    result: UndoResult,
    now: datetime,
) -> None:
    """Clear the people whom only this import added, and undo its changes to others."""
    changes = _Changes()
    for person in people:
        outcome = decide_undo(person, body["batch"], was_finished=body["method"] == UNDO_METHOD)
        _append_changes(changes, person, outcome, body, now)
        result.count(outcome, restores=_restores_preferences(person, outcome, body["batch"]))
    ledger.insert_chain_links(session, changes.events, changed_people=changes.people)
    clear_all_personal_data(session, changes.removed, now=now)


def _append_changes(
    changes: _Changes, person: ImportedPerson, outcome: UndoOutcome, body: dict[str, Any], now: datetime
) -> None:
    values: dict[str, Any] = {"number": person.number, "batch": None}
    last = person.links[-1]
    state, seq, head = person.state, last.seq, person.chain_head
    for kind, fields in _list_new_links(person, outcome, body):
        text = ledger.encode_canonical_json(fields)
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
    """Return the events, with their bodies, that undoing an import appends to a person's chain."""
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
    """Mark the batch as ended, so that its file no longer counts as imported."""
    row = session.get_one(ImportBatch, batch)
    row.done_at = read_option_time(row, FINISHED_OPTION) or now
    # The effects of a finished import on addresses that aren't here are kept, and so are its counts.
    if not is_undo:
        row.counts, row.salt = {}, None
        row.options = {**row.options, ABANDONED_OPTION: True}


def count_batch_people(session: Session, batch: int) -> int:
    """Return the number of people in an import."""
    return count_rows(session, Person, Person.batch == batch)


def has_more_people(session: Session, batch: int, people: int) -> bool:
    """Return True if an import has more than the given number of people.

    They aren't all counted.
    """
    query = select(Person.number).where(Person.batch == batch).order_by(Person.number)
    return session.scalar(query.offset(people).limit(1)) is not None
