"""Heartbeats: the URL requested after each job, without making the job wait."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from digest.app import jobs
from digest.app.doctor.examination import run_local_checks
from digest.app.jobs import SLOT_JOBS, JobContext, run_slot
from digest.app.upkeep import nightly_steps
from digest.app.upkeep.heartbeats import build_heartbeat_url, record_job_end, send_heartbeats
from digest.deliver.control.installation_hold import pause_all_sending
from digest.deliver.plan.delivery_plan import DeliveryCounts
from digest.deliver.send.run.edition_sending import SendReport
from digest.installation.opened_installation import Installation
from digest.settings import HeartbeatSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import EditionState
from digest.timetable import JobSlot
from tests.moments import DRAFTING as NOW
from tests.web.conftest import build_web_setup

MINUTE = timedelta(minutes=1)


class Watcher:
    """A service outside that records the requests for its URLs. `before_answer` is called with each."""

    def __init__(self, server: HTTPServer) -> None:
        self.requests: list[Request] = []
        self.status = 204
        self.before_answer: Callable[[], object] = lambda: None
        self.url = server.url_for("/ping/0123")
        for ending in ("", "/fail"):
            server.expect_request(f"/ping/0123{ending}").respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.before_answer()
        self.requests.append(request)
        return Response(status=self.status)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@pytest.fixture
def watcher(httpserver: HTTPServer) -> Watcher:
    return Watcher(httpserver)


@pytest.fixture
def install(database: Database, tmp_path: Path, watcher: Watcher) -> Installation:
    """Give an installation whose jobs all have the same heartbeat URL."""
    urls = HeartbeatSettings(**dict.fromkeys(HeartbeatSettings.model_fields, watcher.url))
    tables = {"heartbeats": urls, "limits": UsageLimitSettings(allow_networks=["127.0.0.1/32"])}
    return change_settings(build_web_setup(database, tmp_path).install, tables)


def change_settings(install: Installation, tables: Mapping[str, object]) -> Installation:
    file = install.settings.file.model_copy(update=tables)
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


def find_problems(install: Installation) -> list[tuple[str, str]]:
    findings = run_local_checks(install, now=NOW)
    return [(finding.level, finding.message) for finding in findings if finding.check == "heartbeats"]


def fail(_context: JobContext) -> str:
    raise RuntimeError("no luck")


def test_every_kind_of_slot_has_a_heartbeat_and_so_does_sending() -> None:
    assert HeartbeatSettings.model_fields.keys() == SLOT_JOBS.keys() | {"send"}


@pytest.mark.parametrize(
    ("job", "path"),
    [
        pytest.param(lambda _context: "done", "/ping/0123", id="done"),
        pytest.param(fail, "/ping/0123/fail", id="raised"),
        pytest.param(lambda _context: jobs.FailedOutcome("failed: no room"), "/ping/0123/fail", id="given up"),
    ],
)
def test_a_heartbeat_follows_a_slot_and_no_slot_waits_for_it(
    install: Installation,
    watcher: Watcher,
    monkeypatch: pytest.MonkeyPatch,
    job: Callable[[JobContext], str],
    path: str,
) -> None:
    monkeypatch.setitem(SLOT_JOBS, "nightly", job)
    context = JobContext(install, lambda: NOW)
    run_slot(context, JobSlot("nightly", NOW))
    assert watcher.paths == [], "the slot itself requests nothing"
    assert jobs.run_job(context, "send_heartbeats") == "1 heartbeats, 0 failed"
    assert jobs.run_job(context, "send_heartbeats") == ""
    assert watcher.paths == [path]


@pytest.mark.takes_turns
@pytest.mark.parametrize(
    ("state", "refusals", "stop_reason", "paths"),
    [
        (EditionState.SENT, 0, "", ["/ping/0123"]),
        (EditionState.SENT, 5, "", ["/ping/0123/fail"]),
        (EditionState.SENDING, 0, "the server is away", ["/ping/0123/fail"]),
        (EditionState.SENDING, 0, "", []),
    ],
)
def test_sending_has_a_heartbeat_at_its_end_and_when_it_fails(
    install: Installation, watcher: Watcher, state: EditionState, refusals: int, stop_reason: str, paths: list[str]
) -> None:
    context = JobContext(install, lambda: NOW)
    report = SendReport("2026-W47", state, Counter(), DeliveryCounts(0, {}), refusals, stop_reason)
    jobs.record_send_end(context, report)
    send_heartbeats(install, now=NOW)
    assert watcher.paths == paths


@pytest.mark.takes_turns
def test_a_send_that_a_stopping_process_put_down_did_not_fail(install: Installation, watcher: Watcher) -> None:
    context = JobContext(install, lambda: NOW)
    context.stopping.set()
    jobs.record_send_end(context, None)
    send_heartbeats(install, now=NOW)
    assert watcher.paths == []


@pytest.mark.takes_turns
def test_a_nightly_step_that_fails_and_a_backup_that_fails_are_failures(
    install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = JobContext(install, lambda: NOW)
    assert isinstance(jobs.backup(context), jobs.FailedOutcome)
    monkeypatch.setattr(nightly_steps, "NIGHTLY_STEPS", (lambda _install, _now: "sealed",))
    assert not isinstance(jobs.nightly(context), jobs.FailedOutcome)
    monkeypatch.setattr(nightly_steps, "NIGHTLY_STEPS", (lambda _install, _now: "sealed", fail))
    assert isinstance(jobs.nightly(context), jobs.FailedOutcome)


@pytest.mark.takes_turns
def test_a_request_has_no_address_and_no_body(install: Installation, watcher: Watcher) -> None:
    record_job_end(install, "nightly", failed=True, now=NOW)
    send_heartbeats(install, now=NOW)
    (request,) = watcher.requests
    assert (request.method, request.data, request.query_string) == ("GET", b"", b"")
    assert "@" not in str(request.headers)


@pytest.mark.takes_turns
def test_a_request_that_fails_is_tried_again_and_reported_without_its_path(
    install: Installation, watcher: Watcher
) -> None:
    watcher.status = 503
    record_job_end(install, "collect", failed=False, now=NOW)
    tried_at = [minute for minute in range(120) if send_heartbeats(install, now=NOW + minute * MINUTE)]
    assert tried_at == [0, 1, 6, 36]
    ((level, message),) = find_problems(install)
    assert (level, "status 503" in message, "0123" in message) == ("warning", True, False)
    watcher.status = 200
    record_job_end(install, "collect", failed=False, now=NOW + 120 * MINUTE)
    send_heartbeats(install, now=NOW + 120 * MINUTE)
    assert find_problems(install) == [("ok", "1 heartbeat succeeded")]


@pytest.mark.takes_turns
def test_a_job_that_ends_during_a_request_is_requested_next(install: Installation, watcher: Watcher) -> None:
    record_job_end(install, "backup", failed=True, now=NOW)
    watcher.before_answer = lambda: record_job_end(install, "backup", failed=False, now=NOW + MINUTE)
    send_heartbeats(install, now=NOW)
    watcher.before_answer = lambda: None
    send_heartbeats(install, now=NOW + MINUTE)
    assert watcher.paths == ["/ping/0123/fail", "/ping/0123"]


@pytest.mark.takes_turns
def test_a_copy_requests_nothing(install: Installation, watcher: Watcher) -> None:
    with install.write() as session:
        pause_all_sending(session, "It may be a copy.", actor="digest", now=NOW, may_be_copy=True)
    record_job_end(install, "nightly", failed=False, now=NOW)
    assert send_heartbeats(install, now=NOW) == ""
    assert watcher.paths == []


def test_a_private_network_that_is_not_allowed_is_not_reached(install: Installation, watcher: Watcher) -> None:
    guarded = change_settings(install, {"limits": UsageLimitSettings()})
    record_job_end(guarded, "nightly", failed=False, now=NOW)
    assert send_heartbeats(guarded, now=NOW) == "0 heartbeats, 1 failed"
    assert watcher.paths == []
    assert "can't be reached from here" in find_problems(guarded)[0][1]


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("https://hc.example/ping/1", "https://hc.example/ping/1/fail"),
        ("https://hc.example/ping/1/", "https://hc.example/ping/1/fail"),
        ("https://hc.example/ping/1?rid=2", "https://hc.example/ping/1/fail?rid=2"),
    ],
)
def test_the_url_of_a_failure(url: str, failure: str) -> None:
    assert build_heartbeat_url(url, failed=False) == url
    assert build_heartbeat_url(url, failed=True) == failure
