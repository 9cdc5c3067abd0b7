"""A long list is written by a separate process, with the same result. It ends with the process that started it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from digest.store.engine import Database, open_database
from subscribers.address import read_address
from subscribers.consent import audience, ledger, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import is_postgresql
from subscribers.store.models import ImportBatch, Person
from subscribers.transfer import import_run, imports
from subscribers.transfer.decisions import RowOutcome
from subscribers.transfer.import_report import ImportReport
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import rehearse_import, run_import
from subscribers.transfer.list_file import ListFileError, survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.writer_process import WriterProcess
from tests.conftest import ROOT
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"writer process tests")
CONFIRMED = "2019-04-05 10:00:00,192.0.2.1,2019-04-05 10:01:00,192.0.2.1,subscribed"
LEFT = ",,,,unsubscribed"
STEP_ROWS = 200  # a fifth of what is shipped: as many steps with fewer rows
ROWS = 3 * STEP_ROWS


@pytest.fixture
def context(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImportContext:
    """An import's context, in which every list is long enough for a process that writes, and steps are short."""
    monkeypatch.setattr(import_run, "_PROCESS_ROWS", 1)
    for module in (import_run, imports):
        monkeypatch.setattr(module, "MAX_STEP_ROWS", STEP_ROWS)
    url = database.engine.url.render_as_string(hide_password=False)
    log = UnsubscribeLog(tmp_path / "left.log", KEYS)
    return ImportContext(database, KEYS, log, "terminal:eve", partial(open_database, url))


def _list(folder: Path, rows: int = ROWS) -> Path:
    """Write a list of people of whom every tenth left there; one row is none, and one comes twice."""
    lines = [f"r{n}@example.org,{CONFIRMED if n % 10 else LEFT}" for n in range(rows)]
    lines[7], lines[STEP_ROWS + 3] = "nobody,,,,,", lines[3]
    path = folder / "list.csv"
    path.write_text("\n".join(["email,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,status", *lines]) + "\n")
    return path


def _import(context: ImportContext, path: Path, progress: Callable[[int], None] = lambda _: None) -> ImportReport:
    return run_import(
        context, survey_file(path), ImportOptions(), now=NOW, on_reject=lambda *_: None, progress=progress
    )


def _counts(report: ImportReport) -> dict[str, int]:
    return {name: number for name, number in report.as_json().items() if number}


def _assert_sound(context: ImportContext) -> None:
    with context.database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound


def test_a_list_comes_in_as_it_does_without_the_process(context: ImportContext, tmp_path: Path) -> None:
    path = _list(tmp_path)
    expected = _counts(rehearse_import(context, survey_file(path), ImportOptions(), now=NOW))
    report = _import(context, path)
    assert _counts(report) == expected
    assert report.longest_write > 0
    with context.database.read() as session:
        assert audience.count_audience(session) == expected["subscribed"]
        assert session.scalar(select(ImportBatch.reached)) == ROWS + 1
    _assert_sound(context)


class StopError(Exception):
    """Somebody ends an import in the middle."""


def _suppress_slowly(context: ImportContext, *, then: Callable[[], None] = lambda: None) -> Callable[[int], None]:
    """Return a progress callback by which somebody of the second step is suppressed in a transaction that ends with the third.

    The writer waits for it meanwhile. So three steps are in its hands when the second no longer holds.
    """
    stack, calls = ExitStack(), 0

    def act(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            suppression.suppress_address(
                stack.enter_context(context.database.write()),
                KEYS,
                read_address(f"r{2 * STEP_ROWS - 101}@example.org"),
                reason="complained",
                actor="hook",
                now=NOW,
                unsubscribe_log=context.unsubscribe_log,
            )
        if calls == 3:
            stack.close()
            then()

    return act


def _assert_complete(context: ImportContext, report: ImportReport, rows: int) -> None:
    """All of a list are in but a tenth that left, one that is none, one that came twice, and the one that was suppressed."""
    assert report.counts["subscribed"] == rows * 9 // 10 - 3
    with context.database.read() as session:
        assert audience.count_audience(session) == report.counts["subscribed"]
    _assert_sound(context)


def test_steps_behind_one_that_was_overtaken_are_judged_again_with_it(context: ImportContext, tmp_path: Path) -> None:
    """Whatever is committed, its counts are those of the people who are in."""
    rows, suppress_slowly = 6 * STEP_ROWS, _suppress_slowly(context)
    people = select(func.count()).select_from(Person).scalar_subquery()

    def look(row: int) -> None:
        suppress_slowly(row)
        with context.database.read() as session:
            counts, added = session.execute(select(ImportBatch.counts, people)).one()
        assert counts.get("subscribed", 0) == added

    report = _import(context, _list(tmp_path, rows), look)
    assert report.counts["left or suppressed"] == 1
    _assert_complete(context, report, rows)


@pytest.mark.takes_turns
def test_an_import_that_ends_while_a_step_no_longer_holds_passes_nobody_over(
    context: ImportContext, tmp_path: Path
) -> None:
    """Were the step behind it written, the next run would begin after both."""

    def stop() -> None:
        raise StopError

    path = _list(tmp_path)
    with pytest.raises(StopError):
        _import(context, path, _suppress_slowly(context, then=stop))
    _assert_complete(context, _import(context, path), ROWS)


def test_an_error_of_the_database_is_raised_where_the_list_is_read(context: ImportContext, tmp_path: Path) -> None:
    def break_schema(row: int) -> None:
        with context.database.write() as session, suppress(DBAPIError):
            session.execute(text("ALTER TABLE consent_event RENAME TO gone"))

    with pytest.raises(DBAPIError, match="consent_event"):
        _import(context, _list(tmp_path), break_schema)


def test_a_writer_that_is_killed_ends_the_import_which_the_next_run_completes(
    context: ImportContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _list(tmp_path)
    expected = _counts(rehearse_import(context, survey_file(path), ImportOptions(), now=NOW))
    writers = _note_writers(monkeypatch)
    with pytest.raises(ListFileError, match=r"was killed.*to continue the import"):
        _import(context, path, lambda _: writers[0].kill())
    with context.database.read() as session:
        assert audience.count_audience(session) == 0
    assert _counts(_import(context, path)) == expected
    _assert_sound(context)


@pytest.mark.takes_turns
def test_a_writer_that_breaks_off_is_told_apart_from_one_that_was_killed(
    context: ImportContext, tmp_path: Path
) -> None:
    opener: Any = partial(int, "no database")
    with pytest.raises(ListFileError, match=r"crashed \(exit code 1\)"):
        _import(replace(context, open_database=opener), _list(tmp_path))


def _note_writers(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Return a list that gets the process of each writer that is started from now on."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **more: Any) -> WriterProcess:
        writer = WriterProcess(*arguments, **more)
        processes.append(writer._process)
        return writer

    monkeypatch.setattr(import_run, "WriterProcess", start)
    return processes


# Imports, and is killed by a signal that nobody catches at the row that its last argument names. Its writer's number comes out first.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from digest.store.engine import open_database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.transfer import import_run
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.writer_process import WriterProcess
url, path, log, last = sys.argv[1:]
keys = KeyRing.from_seed(b"writer process tests")
import_run._PROCESS_ROWS, import_run.MAX_STEP_ROWS = 1, 200
class Named(WriterProcess):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        print(self._process.pid, flush=True)
import_run.WriterProcess = Named
opener = partial(open_database, url)
context = import_run.ImportContext(opener(), keys, UnsubscribeLog(Path(log), keys), "terminal:eve", opener)
def end(row):
    if row >= int(last):
        os.kill(os.getpid(), signal.SIGKILL)
run_import(context, survey_file(Path(path)), ImportOptions(), now=datetime(2026, 11, 20, 12, tzinfo=UTC),
           on_reject=lambda *_: None, progress=end)
"""


def test_a_writer_ends_with_the_process_that_started_it(context: ImportContext, tmp_path: Path) -> None:
    path = _list(tmp_path)
    expected = _counts(rehearse_import(context, survey_file(path), ImportOptions(), now=NOW))
    url = context.database.engine.url.render_as_string(hide_password=False)  # type: ignore[attr-defined]
    for last in (STEP_ROWS, 2 * STEP_ROWS):
        command = [sys.executable, "-c", KILLED, url, str(path), str(context.unsubscribe_log.path), str(last)]
        killed = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL
        _wait_for_end(int(killed.stdout))
        with context.database.read() as session:
            assert audience.count_audience(session) == 0
    assert _counts(_import(context, path)) == expected
    _assert_sound(context)


def _wait_for_end(process: int) -> None:
    """Wait until a process that is no child of ours has ended; a zombie counts as one that has."""
    status = Path(f"/proc/{process}/stat")
    for _ in range(2000):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError("the writer is still there")


def test_two_processes_never_work_on_one_import(context: ImportContext, tmp_path: Path) -> None:
    path = _list(tmp_path)

    def go_further(row: int) -> None:
        with context.database.write() as session:
            for batch in session.scalars(select(ImportBatch)):
                batch.reached = 2  # as another process would that took the same import up

    with pytest.raises(ListFileError, match="Another process is working on this import"):
        _import(context, path, go_further)


def test_looks_are_planned_anew_and_rows_are_written_by_plans_that_are_kept(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would else plan the check of a foreign key anew for each row: that took a third of its time."""
    modes: dict[str, set[str]] = {}

    def note_modes(module: Any, name: str) -> None:
        function = getattr(module, name)

        def noted(session: Any, *arguments: Any, **more: Any) -> Any:
            if is_postgresql(session):
                modes.setdefault(name, set()).add(session.scalar(text("SHOW plan_cache_mode")))
            return function(session, *arguments, **more)

        monkeypatch.setattr(module, name, noted)

    note_modes(ledger, "insert_people_with_first_links")
    note_modes(suppression, "find_suppressions")
    note_modes(suppression, "store_suppressions")
    context = ImportContext(database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")
    report = _import(context, _list(tmp_path))
    assert report.counts["subscribed"]
    assert report.counts[RowOutcome.DEPARTED]
    anew = {"force_custom_plan"}
    expected = {"insert_people_with_first_links": {"auto"}, "find_suppressions": anew, "store_suppressions": anew}
    with database.read() as session:
        assert modes == (expected if is_postgresql(session) else {})
