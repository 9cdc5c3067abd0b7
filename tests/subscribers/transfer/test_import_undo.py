"""A finished import is undone within seven days: events are appended, no one is suppressed, and others are kept."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, disclosures, evidence, ledger, seals
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.undo import find_restorable_unsubscribe
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.lifecycle.unsubscribe_log_merge import merge_unsubscribe_log
from subscribers.store import one_time_tokens, people
from subscribers.store.models import (
    ConsentEvent,
    ConsentKind,
    Disclosure,
    ImportBatch,
    Person,
    PersonState,
    Suppression,
)
from subscribers.store.one_time_tokens import TokenState
from subscribers.store.signup_models import RequestEvidence, StoredAddressChange
from subscribers.transfer.decisions import RowOutcome
from subscribers.transfer.formats import ColumnMeaning
from subscribers.transfer.import_batches import list_finished_imports, list_unfinished_imports
from subscribers.transfer.import_report import ignore_reject
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.import_undo import (
    PAGE_SIZE,
    ImportedLink,
    ImportedPerson,
    ImportUndoError,
    UndoOutcome,
    UndoResult,
    abandon_batch,
    count_undo,
    decide_undo,
    undo_batch,
)
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.moments import AFTER_RELEASE as NOW
from tests.subscribers.crashes import Crash, crash_at
from tests.subscribers.ledger_replay import find_ledger_differences

KEYS = KeyRing.from_seed(b"undoing imports")
LATER = NOW + timedelta(days=2)
OPTIONS = ImportOptions(
    columns=(ColumnMeaning.ADDRESS, ColumnMeaning.CONFIRMED_AT, ColumnMeaning.STATUS, ColumnMeaning.SHORT)
)
Kind = ConsentKind


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ImportContext:
    return ImportContext(database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")


def bring_in(context: ImportContext, file: Path, *rows: str, now: datetime = NOW) -> dict[str, int]:
    """Import a list whose rows are a name, a confirmation time, a status, and whether they want the short edition."""
    if rows:
        lines = (f"{name}@example.org,{rest}" for name, _, rest in (row.partition(",") for row in rows))
        file.write_text("\n".join(["email,agreed,status,short", *lines, ""]))
    report = run_import(context, survey_file(file, OPTIONS), OPTIONS, now=now, on_reject=ignore_reject)
    return {str(outcome): report.counts[outcome] for outcome in RowOutcome if report.counts[outcome]}


def number_of(session: Session, name: str) -> int:
    number = people.find_person_number(session, KEYS, read_address(f"{name}@example.org"))
    assert number is not None
    return number


def state_of(context: ImportContext, name: str) -> PersonState | None:
    with context.database.read() as session:
        number = people.find_person_number(session, KEYS, read_address(f"{name}@example.org"))
        return session.get_one(Person, number).state if number else None


def choices_of(context: ImportContext, name: str) -> dict[str, object]:
    with context.database.read() as session:
        return session.get_one(Person, number_of(session, name)).choices


def emailable(context: ImportContext) -> set[str]:
    with context.database.read() as session:
        members = audience.load_audience_page(session, page_size=10_000)
        return {member.decrypt_address(KEYS).partition("@")[0] for member in members}


def check_ledger(context: ImportContext) -> None:
    with context.database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound
        assert list(find_ledger_differences(session)) == []


def test_everyone_whom_the_import_alone_brought_goes_and_everyone_else_stays(
    context: ImportContext, tmp_path: Path
) -> None:
    bring_in(context, tmp_path / "first.csv", "before,,,yes", "waited,,,", "member,2024-01-01,,")
    rows = ["before,2024-01-01,,no", "waited,2024-01-01,,yes", "member,2024-01-01,,", "gone,2024-01-01,unsubscribed,"]
    names = ("stays", "leaves", "confirms", "chooses", "bare")
    rows += [f"{name},{'' if name == 'bare' else '2024-01-01'},," for name in names]
    file = tmp_path / "second.csv"
    bring_in(context, file, *rows)
    with context.database.write() as session:
        unsubscribe_person(session, context.unsubscribe_log, number_of(session, "leaves"), method="page", now=LATER)
        change_preferences(session, number_of(session, "chooses"), Preferences(short=True), LATER)
        confirming = ledger.lock_person(session, number_of(session, "confirms"))
        assert confirming is not None
        ledger.append_event(session, confirming, Kind.CONFIRMED, {}, LATER)
        session.add(Disclosure(person=number_of(session, "stays"), at=LATER, to_whom="us", why="a look", reference=""))
        before = session.scalar(select(func.count()).select_from(ConsentEvent)) or 0
    expected = UndoResult(removed=2, earlier=2, active=2, departed=1, preferences=1)
    assert expected.kept_sentence == (
        "Kept 2 people who were here before the import, 2 people who have confirmed or been active since, and 1 person who has "
        "unsubscribed or was suppressed since."
    )
    assert count_undo(context.database, 2, now=LATER) == expected
    assert undo_batch(context.database, context.unsubscribe_log, 2, actor="eve", now=LATER) == expected
    assert emailable(context) == {"member", "confirms", "chooses"}
    states = {name: state_of(context, name) for name in ("before", "waited", "leaves", "stays", "bare")}
    assert states == {
        "before": PersonState.UNVERIFIED,
        "waited": PersonState.UNVERIFIED,
        "leaves": PersonState.WITHDRAWN,
        "stays": None,
        "bare": None,
    }
    with context.database.read() as session:
        assert (session.scalar(select(func.count()).select_from(ConsentEvent)) or 0) == before + 2 + 2 + 1
        assert [row.reason for row in session.scalars(select(Suppression))] == ["left elsewhere"]
        assert session.scalar(select(func.count()).select_from(Disclosure)) == 1
        (finished, _) = list_finished_imports(session, limit=5)
    assert (finished.batch, finished.is_undone, finished.done_at, finished.undone_at) == (2, True, NOW, LATER)
    log_entries = list(context.unsubscribe_log.read())
    assert [entry.kind for entry in log_entries] == ["left", "import undone"]
    check_ledger(context)
    assert bring_in(context, file) == {"subscribed": 3, "known": 3, "left or suppressed": 2, "unverified": 1}
    assert {"stays", "before"} <= emailable(context)
    assert not {"leaves", "gone"} & emailable(context)
    check_ledger(context)


def test_preferences_that_the_import_overwrote_return_unless_they_were_changed_since(
    context: ImportContext, tmp_path: Path
) -> None:
    bring_in(context, tmp_path / "first.csv", "ada,,,", "bo,,,")
    with context.database.write() as session:
        for name in ("ada", "bo"):
            change_preferences(session, number_of(session, name), Preferences(frequency="monthly"), NOW)
    bring_in(context, tmp_path / "second.csv", "ada,2024-01-01,,yes", "bo,2024-01-01,,yes")
    assert choices_of(context, "ada") == {"short": True}
    with context.database.write() as session:
        change_preferences(session, number_of(session, "bo"), Preferences(text_only=True), LATER)
    result = undo_batch(context.database, context.unsubscribe_log, 2, actor="eve", now=LATER)
    assert (result.earlier, result.active, result.preferences) == (1, 1, 1)
    assert (choices_of(context, "ada"), choices_of(context, "bo")) == ({"frequency": "monthly"}, {"text_only": True})
    assert (state_of(context, "ada"), state_of(context, "bo")) == (PersonState.UNVERIFIED, PersonState.SUBSCRIBED)
    check_ledger(context)


@pytest.mark.takes_turns
def test_an_undo_that_is_cut_short_stops_all_email_and_is_finished_by_the_next(
    context: ImportContext, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    many = [f"r{number},2024-01-01,," for number in range(2 * PAGE_SIZE + 10)]
    bring_in(context, file, *many)
    with pytest.raises(Crash), crash_at(3):
        undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)
    assert emailable(context) == set()
    with context.database.read() as session:
        (unfinished,) = list_unfinished_imports(session)
    assert (unfinished.batch, unfinished.is_undo) == (1, True)
    assert "--undo 1 --reason" in unfinished.sentence
    other = tmp_path / "other.csv"
    for refused_file, rows in ((file, []), (other, [f"r{PAGE_SIZE + 1},2024-01-01,,", "new,2024-01-01,,"])):
        with pytest.raises(ImportUndoError, match="is being undone"):
            bring_in(context, refused_file, *rows)
    long_after = LATER + timedelta(days=30)
    result = undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=long_after)
    assert result.removed == len(many) - PAGE_SIZE
    with context.database.read() as session:
        assert list_unfinished_imports(session) == []
        assert session.scalars(select(Person).where(Person.ciphertext.is_not(None))).all() == []
    assert bring_in(context, file) == {"subscribed": len(many)}
    check_ledger(context)


def test_an_interrupted_undo_that_is_dropped_like_an_unfinished_import_ends_as_an_undo(
    context: ImportContext, tmp_path: Path
) -> None:
    bring_in(context, tmp_path / "list.csv", *[f"r{number},2024-01-01,," for number in range(PAGE_SIZE + 10)])
    with context.database.write() as session:
        change_preferences(session, number_of(session, f"r{PAGE_SIZE + 1}"), Preferences(short=True), LATER)
    with pytest.raises(Crash), crash_at(2):
        undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)
    abandon_batch(context.database, 1, actor="eve", now=LATER)
    assert emailable(context) == {f"r{PAGE_SIZE + 1}"}
    with context.database.read() as session:
        assert session.get_one(ImportBatch, 1).counts["subscribed"] == PAGE_SIZE + 10


@pytest.mark.takes_turns
@pytest.mark.parametrize("days", [0, 6.99])
def test_an_import_can_be_undone_for_seven_days(context: ImportContext, tmp_path: Path, days: float) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,")
    assert (
        undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=NOW + timedelta(days=days)).removed
        == 1
    )


@pytest.mark.takes_turns
@pytest.mark.parametrize(("batch", "after"), [(1, timedelta(days=7, seconds=1)), (7, timedelta(0))])
def test_no_other_import_can_be_undone(context: ImportContext, tmp_path: Path, batch: int, after: timedelta) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,")
    with pytest.raises(ImportUndoError):
        undo_batch(context.database, context.unsubscribe_log, batch, actor="eve", now=NOW + after)
    with pytest.raises(ImportUndoError):
        count_undo(context.database, batch, now=NOW + after)
    assert emailable(context) == {"ada"}


@pytest.mark.takes_turns
def test_an_import_is_undone_once(context: ImportContext, tmp_path: Path) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,")
    undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)
    with pytest.raises(ImportUndoError, match="no finished import 1"):
        undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)


def test_a_record_says_who_undid_the_import(context: ImportContext, tmp_path: Path) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,")
    undo_batch(context.database, context.unsubscribe_log, 1, actor="staff 3", now=LATER)
    with context.database.read() as session:
        last = session.scalars(select(ConsentEvent).order_by(ConsentEvent.seq.desc())).first()
        assert last is not None
        assert (last.kind, last.body) == (Kind.REMOVED, '{"actor":"staff 3","batch":1,"method":"import undone"}')
        assert disclosures.list_disclosures(session, last.person) == []
        counts = audience.count_people_by_state(session)
        assert (counts[PersonState.REMOVED], counts[PersonState.ERASED]) == (1, 0)


def test_everything_that_leads_to_a_removed_person_goes_as_in_an_erasure(
    context: ImportContext, tmp_path: Path
) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,")
    with context.database.write() as session:
        number = number_of(session, "ada")
        until = LATER + timedelta(days=30)
        token = one_time_tokens.issue_token(session, "my data", number, now=NOW, expires_at=until)
        hashes = dict.fromkeys(("hash", "stop_hash", "old_lookup"), "0" * 64)
        session.add(StoredAddressChange(**hashes, person=number, until=until, ciphertext=b"x", key_id="1"))
        first = session.scalars(select(ConsentEvent.id).where(ConsentEvent.person == number)).one()
        origin = evidence.RequestOrigin("203.0.113.9", "Browser")
        evidence.store_evidence(session, KEYS, session.get_one(ConsentEvent, first), origin, salt=b"s", until=until)
    undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)
    with context.database.read() as session:
        assert one_time_tokens.look_up_token(session, token, "my data", now=LATER).state is TokenState.USED
        for table in (StoredAddressChange, RequestEvidence):
            assert session.scalars(select(table)).all() == []


def test_a_copy_from_before_an_undo_emails_nobody_of_the_import_and_a_corrected_one_stays(
    context: ImportContext, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    bring_in(context, file, "ada,2024-01-01,,")
    bring_in(context, tmp_path / "other.csv", "bo,2024-01-01,,")
    with context.database.read() as session:
        before_undo = session.execute(select(ImportBatch.done_at, ImportBatch.options)).first()
        assert before_undo is not None
        done_at, options = before_undo
    undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)

    def merge() -> list[int]:
        with context.database.write() as session:
            merged = merge_unsubscribe_log(
                session, context.unsubscribe_log, KEYS, forget_elsewhere=lambda *_: {}, now=LATER
            )
            assert (merged.unknown_hashes, merged.departed) == (0, {})
            return merged.undone_imports

    assert merge() == []
    assert bring_in(context, file, now=LATER) == {"subscribed": 1}
    assert merge() == []
    assert emailable(context) == {"ada", "bo"}, "the corrected import counts"
    with context.database.write() as session:  # as in a copy of before the undo
        row = session.get_one(ImportBatch, 1)
        row.done_at, row.options = done_at, options
        session.get_one(Person, number_of(session, "ada")).batch = 1
    assert merge() == [1]
    assert emailable(context) == {"bo"}
    with context.database.read() as session:
        assert [unfinished.is_undo for unfinished in list_unfinished_imports(session)] == [True]
    assert merge() == []


@pytest.mark.parametrize("since", [None, Preferences(text_only=True)])
def test_an_admins_unsubscribe_is_not_restored_on_a_consent_that_was_taken_back(
    context: ImportContext, tmp_path: Path, since: Preferences | None
) -> None:
    bring_in(context, tmp_path / "list.csv", "ada,2024-01-01,,", "bare,,,")
    with context.database.write() as session:
        numbers = [number_of(session, name) for name in ("ada", "bare")]
        if since is not None:
            change_preferences(session, numbers[0], since, NOW)
        for number in numbers:
            unsubscribe_person(session, context.unsubscribe_log, number, method="admin: slip", now=LATER, actor="eve")

    def restorable() -> list[bool]:
        with context.database.read() as session:
            people_ = [session.get_one(Person, number) for number in numbers]
            return [find_restorable_unsubscribe(session, row, "eve", now=LATER) is not None for row in people_]

    assert restorable() == [True, False]
    undo_batch(context.database, context.unsubscribe_log, 1, actor="eve", now=LATER)
    assert restorable() == [since is not None, False]


def _person(state: PersonState, *links: tuple[ConsentKind, int | None]) -> ImportedPerson:
    chain = [
        ImportedLink(seq, kind, "", {} if batch is None else {"batch": batch})
        for seq, (kind, batch) in enumerate(links, start=1)
    ]
    return ImportedPerson(1, state, "", chain)


@pytest.mark.parametrize(
    ("person", "outcome"),
    [
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5)), UndoOutcome.REMOVED),
        (_person(PersonState.UNVERIFIED, (Kind.LISTED, 5)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.CHOICES_CHANGED, 5)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.BOUNCED, None)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.LINKS_RENEWED, None)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.LISTED, 4), (Kind.IMPORTED, 5)), UndoOutcome.EARLIER),
        (_person(PersonState.SUBSCRIBED, (Kind.REQUESTED, None), (Kind.IMPORTED, 5)), UndoOutcome.EARLIER),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.CHOICES_CHANGED, None)), UndoOutcome.ACTIVE),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.ADDRESS_CHANGED, None)), UndoOutcome.ACTIVE),
        (_person(PersonState.REQUESTED, (Kind.LISTED, 5), (Kind.RE_ASKED, None)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.RE_ASKED, None)), UndoOutcome.REMOVED),
        (_person(PersonState.UNVERIFIED, (Kind.LISTED, 5), (Kind.REQUESTED, None)), UndoOutcome.EARLIER),
        (
            _person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.WITHDRAWN, None), (Kind.RESTORED, None)),
            UndoOutcome.REMOVED,
        ),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.CHOICES_CHANGED, 4)), UndoOutcome.REMOVED),
        (
            _person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 5), (Kind.WITHDRAWN, None), (Kind.UNDONE, None)),
            UndoOutcome.ACTIVE,
        ),
        (_person(PersonState.WITHDRAWN, (Kind.IMPORTED, 5), (Kind.WITHDRAWN, None)), UndoOutcome.DEPARTED),
        (_person(PersonState.SUPPRESSED, (Kind.IMPORTED, 5), (Kind.SUPPRESSED, None)), UndoOutcome.DEPARTED),
        (_person(PersonState.WITHDRAWN, (Kind.IMPORTED, 5), (Kind.WITHDRAWN, 5)), UndoOutcome.DEPARTED_BY_FILE),
        (_person(PersonState.SUBSCRIBED, (Kind.IMPORTED, 4)), UndoOutcome.REMOVED),
        (_person(PersonState.SUBSCRIBED, (Kind.LISTED, 3), (Kind.IMPORTED, 4)), UndoOutcome.EARLIER),
    ],
)
def test_what_becomes_of_a_person_is_decided_by_their_chain(person: ImportedPerson, outcome: UndoOutcome) -> None:
    assert decide_undo(person, 5) is outcome
    unfinished = UndoOutcome.EARLIER if outcome is UndoOutcome.ACTIVE else outcome
    assert decide_undo(replace(person, number=2), 5, was_finished=False) is unfinished
