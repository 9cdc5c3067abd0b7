"""Jobs are called by name, with plain arguments, and can safely run twice."""

import inspect
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select
from structlog.testing import capture_logs

from digest.app import jobs
from digest.app.jobs import JOBS, SLOT_JOBS, JobContext, run_job, run_slot
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState, ScheduleSlot
from digest.store.process_identity import ProcessIdentity
from digest.timetable import JobSlot
from tests.moments import DRAFTING as NOW
from tests.web.conftest import WebSetup, build_web_setup


@pytest.fixture
def world(one_database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation with one subscriber."""
    return build_web_setup(one_database, tmp_path)


@pytest.fixture
def context(world: WebSetup) -> JobContext:
    """Give what an engine's process lends to its jobs."""
    return JobContext(world.install, lambda: NOW)


def test_a_job_is_a_module_function_that_takes_the_context_and_text() -> None:
    for name, job in JOBS.items():
        assert getattr(jobs, name) is job
        first, *others = inspect.signature(job).parameters.values()
        assert first.annotation is JobContext
        assert {parameter.annotation for parameter in others} <= {str}


ARGUMENTS = {"record_unscheduled_pages_seen": [NOW.isoformat()]}


@pytest.mark.parametrize("name", sorted(JOBS.keys() - {"send_edition"}))
def test_a_job_that_is_run_twice_fails_neither_time(context: JobContext, name: str) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            run_job(context, name, *ARGUMENTS.get(name, ()))
    assert [line for line in logs if line["log_level"] == "error"] == []


def test_without_an_edition_a_look_for_pictures_leaves_nothing_in_the_audit_log(
    context: JobContext, world: WebSetup
) -> None:
    with world.database.write() as session:
        session.execute(delete(Edition))
    run_job(context, "fetch_pictures")
    with world.database.read() as session:
        assert session.scalars(select(AuditEntry.act).where(AuditEntry.act.contains("pictures"))).all() == []


def test_a_failure_is_logged_and_ends_nothing(context: JobContext) -> None:
    with capture_logs() as logs:
        assert run_job(context, "send_edition", "2020-W01") == "failed: UnknownEditionError"
    assert [(line["event"], line["job"]) for line in logs] == [("job failed", "send_edition")]


def test_a_slot_runs_once_whoever_asks(context: JobContext, world: WebSetup) -> None:
    slot = JobSlot("draft", datetime(2026, 11, 19, 22, 30, tzinfo=UTC))
    other = JobContext(world.install, lambda: NOW, owner=ProcessIdentity("elsewhere", 7, "x"))
    outcomes = [run_slot(one, slot) for one in (context, other, context)]
    assert [outcome is None for outcome in outcomes] == [False, True, True]
    with world.database.read() as session:
        assert session.scalars(select(ScheduleSlot)).one().outcome == outcomes[0]
        assert session.scalars(select(Edition)).one().state is EditionState.INCOMPLETE
        assert [row.actor for row in session.scalars(select(AuditEntry)) if row.act == "draft"] == ["scheduler"]


def test_every_slot_job_is_a_job() -> None:
    assert SLOT_JOBS.keys() <= JOBS.keys()
