"""The result of every row of a list, and its reason: the same in a dry run and an import, by row number, without addresses."""

import csv
import io
import stat
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from digest.store.engine import Database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.transfer.decisions import RowReason
from subscribers.transfer.import_report import ImportReport
from subscribers.transfer.import_run import MAX_STEP_ROWS, ImportContext
from subscribers.transfer.imports import rehearse_import, run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import (
    OUTCOME_COLUMNS,
    ImportRowResult,
    OutcomeFile,
    describe_reason,
    read_outcomes,
    write_outcomes,
)
from tests.moments import AFTER_RELEASE as NOW

ON_PAPER = ConsentEvidence("Yes.", "1", "en", "expo", "paper", "eve", NOW)
HEADINGS = "Email Address,CONFIRM_TIME,CONFIRM_IP,UNSUB_TIME,STATUS"
EVIDENCE = "2024-01-01,192.0.2.1"
ROWS_AND_REASONS = [
    (f"new@example.org,{EVIDENCE},,subscribed", RowReason.CONFIRMED, ""),
    ("bare@example.org,,,,subscribed", RowReason.NO_EVIDENCE, ""),
    ("apart@example.org,2024-01-01,,,subscribed", RowReason.NO_NETWORK, ""),
    ("pending@example.org,,,,pending", RowReason.UNCONFIRMED, ""),
    (",,,,", RowReason.BLANK, ""),
    (f"new@example.org,{EVIDENCE},,subscribed", RowReason.DUPLICATE, "2"),
    (f"ada@example.org,{EVIDENCE},,subscribed", RowReason.ON_THE_LIST, ""),
    (f"left@example.org,{EVIDENCE},,subscribed", RowReason.LEFT_HERE, ""),
    ("gone@example.org,,,2023-01-01,unsubscribed", RowReason.LEFT_THERE, ""),
    (f"gone@example.org,{EVIDENCE},,subscribed", RowReason.LEFT_BY_ANOTHER_ROW, "10"),
    ("back@example.org,,,,cleaned", RowReason.BOUNCED_THERE, ""),
    ("nowhere,,,,subscribed", RowReason.REJECTED, "the address has no @"),
    ("twice@example.org,2024-01-01,,,subscribed", RowReason.LEFT_BY_ANOTHER_ROW, "15"),
    ("twice@example.org,,,,unsubscribed", RowReason.LEFT_THERE, ""),
    ("vouched@example.org,,,2023-01-01,unsubscribed", RowReason.LEFT_THERE, ""),
]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> ImportContext:
    keys = KeyRing.from_seed(b"row outcomes")
    desk = ImportContext(database, keys, UnsubscribeLog(tmp_path / "left.log", keys), "eve")
    with database.write() as session:
        add_subscriber(session, keys, "ada@example.org", evidence=ON_PAPER, now=NOW)
        add_subscriber(session, keys, "vouched@example.org", evidence=ON_PAPER, now=NOW)
        left = add_subscriber(session, keys, "left@example.org", evidence=ON_PAPER, now=NOW).number
        unsubscribe_person(session, desk.unsubscribe_log, left, method="page", now=NOW)
    return desk


def list_of(folder: Path, rows: list[str]) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join([HEADINGS, *rows]) + "\n")
    return path


def try_list(desk: ImportContext, path: Path, account: Path, options: ImportOptions) -> ImportReport:
    with OutcomeFile(account) as outcomes:
        return rehearse_import(desk, survey_file(path, options), options, now=NOW, outcomes=outcomes)


def bring_in(
    desk: ImportContext, path: Path, account: Path, options: ImportOptions, stop_after: int = 0
) -> ImportReport:
    def stop(row: int) -> None:
        if 0 < stop_after < row:
            raise KeyboardInterrupt

    with OutcomeFile(account) as outcomes:
        survey = survey_file(path, options)
        return run_import(desk, survey, options, now=NOW, on_reject=lambda *_: None, outcomes=outcomes, progress=stop)


@pytest.mark.takes_turns
def test_every_row_has_its_reason_and_a_dry_run_says_what_the_import_then_does(
    desk: ImportContext, tmp_path: Path
) -> None:
    options = ImportOptions(need_network=True)
    path = list_of(tmp_path, [row for row, _, _ in ROWS_AND_REASONS])
    tried = try_list(desk, path, tmp_path / "tried", options)
    expected = [
        ImportRowResult(number, reason, why) for number, (_, reason, why) in enumerate(ROWS_AND_REASONS, start=2)
    ]
    assert list(read_outcomes(tmp_path / "tried")) == expected
    counts = Counter(str(account.reason.outcome) for account in expected)
    assert {name: count for name, count in tried.as_json().items() if name in counts} == counts
    assert tried.as_json()["subscribers unsubscribed"] == 1
    done = bring_in(desk, path, tmp_path / "done", options)
    assert list(read_outcomes(tmp_path / "done")) == expected
    assert done.as_json() == tried.as_json()


@pytest.mark.takes_turns
def test_an_admin_who_vouches_is_the_reason_and_is_counted_apart(desk: ImportContext, tmp_path: Path) -> None:
    path = list_of(tmp_path, [f"new@example.org,{EVIDENCE},,subscribed", "bare@example.org,,,,subscribed"])
    tried = try_list(desk, path, tmp_path / "tried", ImportOptions("signed paper list"))
    assert [account.reason for account in read_outcomes(tmp_path / "tried")] == ["confirmed", "attested"]
    assert (tried.as_json()["subscribed"], tried.as_json()["vouched for"]) == (2, 1)


@pytest.mark.takes_turns
def test_the_account_of_an_import_that_was_cut_short_goes_on_with_it(desk: ImportContext, tmp_path: Path) -> None:
    people = [f"p{n}@example.org,{EVIDENCE},,subscribed" for n in range(2 * MAX_STEP_ROWS)]
    path = list_of(tmp_path, [*people, "nowhere,,,,", people[0], "p7@example.org,,,,unsubscribed"])
    with pytest.raises(KeyboardInterrupt):
        bring_in(desk, path, tmp_path / "done", ImportOptions(), stop_after=MAX_STEP_ROWS)
    report = bring_in(desk, path, tmp_path / "done", ImportOptions())
    accounts = list(read_outcomes(tmp_path / "done"))
    assert [account.row for account in accounts] == list(range(2, len(people) + 5))
    reasons = {"confirmed": len(people) - 1, "left by another row": 1, "left there": 1, "rejected": 1, "duplicate": 1}
    assert Counter(account.reason for account in accounts) == reasons
    assert (accounts[-2].detail, accounts[7].detail) == ("2", str(accounts[-1].row))
    assert report.counts["subscribed"] == len(people) - 1


@pytest.mark.takes_turns
def test_of_a_run_that_kept_no_account_the_next_says_so(desk: ImportContext, tmp_path: Path) -> None:
    people = [f"p{n}@example.org,{EVIDENCE},,subscribed" for n in range(2 * MAX_STEP_ROWS)]
    path = list_of(tmp_path, people)
    with pytest.raises(KeyboardInterrupt):
        bring_in(desk, path, tmp_path / "lost", ImportOptions(), stop_after=MAX_STEP_ROWS)
    bring_in(desk, path, tmp_path / "done", ImportOptions())
    reasons = Counter(account.reason for account in read_outcomes(tmp_path / "done"))
    assert reasons.total() == len(people)
    assert reasons[RowReason.EARLIER_RUN] >= MAX_STEP_ROWS


@pytest.mark.takes_turns
def test_an_account_is_for_its_owner_alone_and_holds_no_address(desk: ImportContext, tmp_path: Path) -> None:
    rows = [row for row, _, _ in ROWS_AND_REASONS] + [f"x@example.org,{EVIDENCE},,x@example.org"]
    try_list(desk, list_of(tmp_path, rows), tmp_path / "tried", ImportOptions())
    assert stat.S_IMODE((tmp_path / "tried").stat().st_mode) == 0o600
    assert b"@example" not in (tmp_path / "tried").read_bytes()
    with pytest.raises(IsADirectoryError):
        OutcomeFile(tmp_path)


def test_an_account_is_written_as_csv_with_the_words_of_its_face() -> None:
    file = io.StringIO(newline="")
    accounts = [
        ImportRowResult(2, RowReason.CONFIRMED),
        ImportRowResult(3, RowReason.REJECTED, "no “=x” is known;=1+1"),
    ]
    write_outcomes(file, accounts, lambda reason: f"({reason})")
    assert list(csv.reader(io.StringIO(file.getvalue()))) == [
        list(OUTCOME_COLUMNS),
        ["2", "(confirmed)", "the list shows when they confirmed"],
        ["3", "(rejected)", "no “=x” is known;'=1+1"],
    ]


@pytest.mark.parametrize("reason", RowReason)
def test_every_reason_has_words(reason: RowReason) -> None:
    assert describe_reason(ImportRowResult(1, reason, "17"))
    assert (reason.outcome is None) == (reason is RowReason.EARLIER_RUN)


def test_a_long_account_is_noted_and_read_in_little_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with OutcomeFile(tmp_path / "account") as outcomes:
            for row in range(100_000):
                outcomes.note(row, RowReason.REJECTED, f"a reason of its own, {row}")
        assert sum(1 for _ in read_outcomes(tmp_path / "account")) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
