import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count as count_forever
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

import scheduler
from digest.app import jobs
from digest.app.jobs import JobContext
from digest.app.sending import send_control as sending
from digest.app.upkeep import nightly_steps
from digest.collect.sources.source_rows import sync_sources
from digest.installation.opened_installation import Installation
from digest.settings import RelaySettings, ScheduleSettings, Settings, SettingsFileContent, SourceSettings
from digest.store import schedule_slots
from digest.store.engine import Database, DatabaseChangeDetector, open_database
from digest.store.models import AuditEntry, DailySourceVisitCounts, Edition, EditionState, ScheduleSlot, Source
from digest.store.process_identity import ProcessIdentity
from digest.timetable import JobSlot
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import DailyConsentCount
from tests.conftest import reserve_port
from tests.moments import THURSDAY_NOON as NOON

SLOT = JobSlot("draft", NOON)


@pytest.fixture
def install(database: Database, tmp_path: Path) -> Installation:
    schedule = ScheduleSettings(collect=["every 1h"], draft="thu 17:30", send="fri 06:00", final_check_minutes=0)
    return Installation(Settings(file=SettingsFileContent(schedule=schedule), home=tmp_path), database)


def due_slots(install: Installation, job: str, now: datetime) -> tuple[JobSlot, ...]:
    return jobs.find_due_slots(JobContext(install, lambda: now), job, scheduler.read_schedule_rules(install)[job])


def slots(database: Database, job: str) -> list[ScheduleSlot]:
    with database.read() as session:
        return list(session.scalars(select(ScheduleSlot).where(ScheduleSlot.job == job)))


def test_of_many_takers_one_gets_the_slot(database: Database) -> None:
    taken = [schedule_slots.claim_slot(database, SLOT, ProcessIdentity(f"machine{n}"), NOON) for n in range(5)]
    assert taken == [True, False, False, False, False]
    assert len(slots(database, "draft")) == 1


def test_a_slot_that_is_done_is_never_taken_again(database: Database) -> None:
    owner = ProcessIdentity()
    assert schedule_slots.claim_slot(database, SLOT, owner, NOON)
    schedule_slots.complete_slot(database, SLOT, "drafted", NOON)
    later = NOON + timedelta(days=9)
    assert not schedule_slots.claim_slot(database, SLOT, ProcessIdentity(nonce="another"), later)


def test_the_slot_of_a_process_that_died_here_is_taken_over_at_once(database: Database) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(pid=int(gone.stdout)), NOON)
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(), NOON)


def test_the_slot_of_a_process_that_lives_is_left_to_it(database: Database) -> None:
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(pid=os.getppid()), NOON)
    assert not schedule_slots.claim_slot(
        database, SLOT, ProcessIdentity(), NOON + schedule_slots.SLOT_LEASE - timedelta(seconds=1)
    )
    assert schedule_slots.claim_slot(
        database, SLOT, ProcessIdentity(), NOON + schedule_slots.SLOT_LEASE + timedelta(seconds=1)
    )


def test_a_restarted_container_knows_that_its_number_was_another_process(database: Database) -> None:
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(nonce="before"), NOON)
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(nonce="after"), NOON)


def test_of_another_machine_nobody_knows_before_the_lease_is_over(database: Database) -> None:
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity("elsewhere", 999_999_999), NOON)
    assert not schedule_slots.claim_slot(database, SLOT, ProcessIdentity(), NOON + schedule_slots.SLOT_LEASE)
    assert schedule_slots.claim_slot(
        database, SLOT, ProcessIdentity(), NOON + schedule_slots.SLOT_LEASE + timedelta(seconds=1)
    )


def test_the_slot_of_another_machine_that_died_is_taken_over_within_a_minute_and_that_of_a_long_job_is_not(
    database: Database,
) -> None:
    elsewhere, beats = ProcessIdentity("elsewhere", 7), count_forever(1)
    assert schedule_slots.claim_slot(database, SLOT, elsewhere, NOON)
    with schedule_slots.keep_slot_renewed(
        database, SLOT, elsewhere, lambda: NOON + timedelta(minutes=next(beats)), interval=0.001
    ):
        long_after = NOON + timedelta(minutes=3)
        while slots(database, "draft")[0].lease_until < long_after:
            pass
        assert not schedule_slots.claim_slot(database, SLOT, ProcessIdentity(), long_after)
    died_at = slots(database, "draft")[0].lease_until - schedule_slots.SLOT_LEASE
    assert schedule_slots.claim_slot(database, SLOT, ProcessIdentity(), died_at + timedelta(seconds=59))
    schedule_slots.renew_slot(database, SLOT, elsewhere, died_at + timedelta(hours=1))
    assert slots(database, "draft")[0].lease_until < died_at + timedelta(hours=1), "it is another's by now"


def test_a_database_that_is_away_is_one_line_for_all_jobs_and_another_when_it_is_back(install: Installation) -> None:
    with reserve_port() as port:
        away = Installation(install.settings, open_database(f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"))
        outage, ticks = scheduler.StorageOutage(away.database), scheduler.build_tick_jobs(JobContext(away))
        with capture_logs() as logs:
            for action in (*ticks.values(), *ticks.values()):
                outage.guard(action)
        assert [line["event"] for line in logs] == ["storage is unavailable, so jobs are waiting"]
        assert "The database isn't responding" in logs[0]["why"]
        outage.database = install.database
        with capture_logs() as logs:
            for _ in range(2):
                outage.guard(scheduler.build_tick_jobs(JobContext(install))["release"])
        assert [line["event"] for line in logs] == ["storage is available again, so jobs continue"]


def test_a_database_that_is_away_is_no_failure_of_an_edition(install: Installation) -> None:
    an_approved_edition(install.database, datetime.now(UTC))
    backoff = scheduler.EditionSendBackoff()
    # Its first steps read the keys, of which there is no file: that is a failure, and the next try waits.
    scheduler.send_due_editions(JobContext(install), backoff)
    assert backoff.failure_counts == {"2026-W47": 1}
    with reserve_port() as port:
        away = Installation(install.settings, open_database(f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"))
        with pytest.raises(OperationalError):
            jobs.run_job(JobContext(away), "send_edition", "2026-W47")


MakeScheduler = Callable[[], scheduler.JobScheduler]


def test_a_log_that_cannot_be_followed_is_logged_once_and_ends_nothing(install: Installation, tmp_path: Path) -> None:
    KeyRing.create(install.settings.key_file)
    relay = RelaySettings(log=str(tmp_path / "mail.log"))
    file = install.settings.file.model_copy(update={"relay": relay})
    followed = Installation(install.settings.model_copy(update={"file": file}), install.database)
    context = JobContext(followed, lambda: NOON)
    with capture_logs() as logs:
        assert [jobs.run_job(context, "follow_mail_log") for _ in range(2)] == [False, False]
        (tmp_path / "mail.log").touch()
        assert jobs.run_job(context, "follow_mail_log") is False
    assert [line["event"] for line in logs] == ["the mail server's log can't be followed"]
    assert jobs.run_job(JobContext(install, lambda: NOON), "follow_mail_log") is False, "none is set"


class CountedJobs:
    """Jobs that count how often they look. One of them may take its time, and one may have more to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.counts, self.has_more, self.moment = Counter[str](), False, 1_800_000_000.0
        self.go_on = threading.Event()
        self.go_on.set()
        actions = {name: partial(self.look, name) for name in names}
        monkeypatch.setattr(scheduler, "build_tick_jobs", lambda _context: actions)
        monkeypatch.setattr(time, "time", lambda: self.moment)

    def look(self, name: str) -> bool:
        self.counts[name] += 1
        if name == "slow":
            self.go_on.wait(10)
        return name == "release" and self.has_more


def look_once(clockwork: scheduler.JobScheduler) -> None:
    """Let every job look, and wait for it."""
    clockwork._periods.clear()
    clockwork.tick()
    while clockwork._running:
        time.sleep(0.001)


@pytest.fixture
def make_scheduler(install: Installation) -> Iterator[MakeScheduler]:
    """Give a function that prepares the running timetable; the test ticks."""
    made: list[scheduler.JobScheduler] = []

    def make() -> scheduler.JobScheduler:
        made.append(scheduler.JobScheduler(JobContext(install)))
        return made[-1]

    yield make
    for clockwork in made:
        clockwork._threads.shutdown(wait=True)
        clockwork._watch.close()


def test_pages_without_the_schedule_record_that_it_is_off_by_choice(install: Installation) -> None:
    pages = scheduler.JobScheduler.for_pages(JobContext(install))
    pages.tick()
    pages._threads.shutdown(wait=True)
    pages._watch.close()
    with install.read() as session:
        assert schedule_slots.is_schedule_off_by_choice(session, NOON)
        assert schedule_slots.find_schedule_start(session) is None


def write_something(database: Database) -> None:
    with database.write() as session:
        session.add(AuditEntry(at=NOON, actor="eve", act="wrote", subject="x", detail={}))


def test_an_idle_scheduler_asks_one_question_a_tick(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "answer", "alerts")
    clockwork = make_scheduler()
    clockwork.tick()
    asked: list[str] = []
    listener = partial(lambda *arguments: asked.append(arguments[2]))
    event.listen(install.database.engine, "before_cursor_execute", listener)
    for _ in range(5):
        clockwork.tick()
    event.remove(install.database.engine, "before_cursor_execute", listener)
    assert len([statement for statement in asked if statement != "BEGIN"]) == 5
    assert counted.counts == {"answer": 1, "alerts": 1}


def test_jobs_look_after_something_was_written_and_at_set_seconds(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "answer", "alerts")
    clockwork = make_scheduler()
    clockwork.tick()
    write_something(install.database)
    clockwork.tick()
    assert counted.counts == {"answer": 2, "alerts": 1}, "alerts have a pace of their own"
    counted.moment += scheduler.LOOK_SECONDS - 1
    clockwork.tick()
    assert counted.counts == {"answer": 2, "alerts": 1}
    counted.moment += 1
    clockwork.tick()
    assert counted.counts == {"answer": 3, "alerts": 1}
    counted.moment += 60
    clockwork.tick()
    assert counted.counts == {"answer": 4, "alerts": 2}


def test_real_jobs_that_find_nothing_to_do_write_nothing(make_scheduler: MakeScheduler, install: Installation) -> None:
    KeyRing.create(install.settings.key_file)
    clockwork = make_scheduler()
    del clockwork._actions["seen"]  # which records every minute that the scheduler runs
    for _ in range(3):  # the first looks may note something
        look_once(clockwork)
    watch = DatabaseChangeDetector(install.database)
    watch.has_changed()
    look_once(clockwork)
    assert not watch.has_changed()


@pytest.mark.takes_turns
def test_a_slow_job_holds_up_no_other_and_looks_again_when_it_is_through(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "slow", "answer")
    counted.go_on.clear()
    clockwork = make_scheduler()
    clockwork.tick()
    write_something(install.database)
    clockwork.tick()
    assert counted.counts == {"slow": 1, "answer": 2}
    counted.go_on.set()
    while clockwork._running:
        time.sleep(0.001)
    clockwork.tick()
    assert counted.counts == {"slow": 2, "answer": 2}


def test_while_an_edition_goes_out_its_job_looks_at_every_tick(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "release", "answer")
    counted.has_more = True
    clockwork = make_scheduler()
    for _ in range(3):
        clockwork.tick()
    assert counted.counts == {"release": 3, "answer": 1}
    counted.has_more = False
    for _ in range(3):
        clockwork.tick()
    assert counted.counts == {"release": 4, "answer": 1}


def test_once_the_process_is_told_to_stop_no_job_begins(
    make_scheduler: MakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, stopping would wait for all jobs of a tick that has just begun."""
    counted = CountedJobs(monkeypatch, "answer", "release")
    clockwork = make_scheduler()
    look = counted.look

    def look_and_stop(name: str) -> bool:
        clockwork._stopping.set()
        return look(name)

    monkeypatch.setitem(clockwork._actions, "answer", partial(look_and_stop, "answer"))
    clockwork.tick()
    assert counted.counts == {"answer": 1}


def test_of_jobs_that_follow_each_other_none_begins_once_the_process_is_told_to_stop(install: Installation) -> None:
    context = JobContext(install)
    with patch.object(jobs, "run_job", side_effect=lambda *_: context.stopping.set()) as run_job:
        scheduler.run_in_order(context, "look_for_alerts", "send_alert_notifications")
    run_job.assert_called_once_with(context, "look_for_alerts")


def test_a_job_that_breaks_off_is_logged_and_looks_again(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "answer")
    monkeypatch.setattr(counted, "counts", None)
    clockwork = make_scheduler()
    with capture_logs() as logs:
        clockwork.tick()
        counted.moment += scheduler.LOOK_SECONDS
        clockwork.tick()
    assert [(line["event"], line["job"]) for line in logs] == [("job failed", "answer")] * 2


def test_a_database_that_is_away_ends_no_tick(
    make_scheduler: MakeScheduler, install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedJobs(monkeypatch, "answer")
    clockwork = make_scheduler()
    with reserve_port() as port, capture_logs() as logs:
        clockwork._watch = DatabaseChangeDetector(open_database(f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"))
        for _ in range(2):
            clockwork.tick()
        assert counted.counts == {}
        clockwork._watch = DatabaseChangeDetector(install.database)
        clockwork.tick()
    assert counted.counts == {"answer": 1}
    assert [line["event"] for line in logs] == [
        "storage is unavailable, so jobs are waiting",
        "storage is available again, so jobs continue",
    ]


def test_a_new_timetable_owes_nothing_for_the_time_before_it(install: Installation) -> None:
    assert due_slots(install, "collect", NOON) == ()
    following = NOON + timedelta(hours=1)
    assert due_slots(install, "collect", following) == (JobSlot("collect", following),)


def test_a_slot_that_is_done_among_many_is_owed_no_more(install: Installation) -> None:
    schedule_slots.find_or_record_schedule_start(install.database, NOON - timedelta(days=9))
    with install.database.write() as session:
        for hours in range(200):
            at = NOON - timedelta(hours=hours)
            session.add(ScheduleSlot(job="collect", at=at, owner="-", lease_until=at, done_at=at))
    assert due_slots(install, "collect", NOON) == ()
    following = NOON + timedelta(hours=1)
    assert due_slots(install, "collect", following) == (JobSlot("collect", following),)


def test_old_slots_go_at_night_but_not_since_when_the_timetable_is_followed(install: Installation) -> None:
    long_ago = NOON - timedelta(days=200)
    since = schedule_slots.find_or_record_schedule_start(install.database, long_ago)
    for at in (long_ago, NOON - timedelta(days=91), NOON - timedelta(days=89)):
        with install.database.write() as session:
            session.add(ScheduleSlot(job="draft", at=at, owner="-", lease_until=at, done_at=at))
    assert nightly_steps.delete_old_slots(install, NOON) == "2 old scheduled times deleted"
    assert [slot.at for slot in slots(install.database, "draft")] == [NOON - timedelta(days=89)]
    assert schedule_slots.find_or_record_schedule_start(install.database, NOON) == since


def test_counts_of_days_that_no_page_shows_go_at_night(install: Installation) -> None:
    source = Source(url="https://a.example/feed", name="A", publisher="A", topics=[])
    today = NOON.date()
    with install.database.write() as session:
        session.add(source)
        session.flush()
        for days in (0, 400, 401, 3000):
            day = today - timedelta(days=days)
            session.add_all(
                [
                    DailySourceVisitCounts(source_id=source.id, day=day),
                    DailyConsentCount(day=day, kind="readers", way="", count=5),
                ]
            )
    assert nightly_steps.delete_old_daily_counts(install, NOON) == "4 old daily counts deleted"
    with install.database.read() as session:
        for model in (DailySourceVisitCounts, DailyConsentCount):
            assert sorted(session.scalars(select(model.day))) == [today - timedelta(days=400), today]
    assert nightly_steps.delete_old_daily_counts in nightly_steps.NIGHTLY_STEPS


def test_what_a_job_stumbles_over_is_its_outcome(install: Installation) -> None:
    schedule_slots.find_or_record_schedule_start(install.database, NOON - timedelta(minutes=1))
    owner = ProcessIdentity()
    # No key file, no sources: drafting finds nothing and holds the edition, collecting has nothing to visit.
    outcomes = scheduler.run_due_slots(JobContext(install, lambda: NOON, owner=owner), "collect")
    assert outcomes == ["0 new from 0 sources, 0 failed"]
    assert scheduler.run_due_slots(JobContext(install, lambda: NOON, owner=owner), "collect") == []
    (slot,) = slots(install.database, "collect")
    assert (slot.done_at, slot.outcome) == (NOON, outcomes[0])


def test_a_collection_that_is_stopped_stays_owed_and_another_process_does_the_rest(one_database: Database) -> None:
    nowhere = SourceSettings(url="http://127.0.0.1:9/feed", name="Nowhere", publisher="P")
    schedule = ScheduleSettings(collect=["every 1h"])
    install = Installation(Settings(file=SettingsFileContent(schedule=schedule, sources=[nowhere])), one_database)
    schedule_slots.find_or_record_schedule_start(one_database, NOON - timedelta(hours=1))
    stopped = JobContext(install, lambda: NOON)
    stopped.stopping.set()
    assert scheduler.run_due_slots(stopped, "collect") == ["stopped before visiting all sources (remaining: 1)"]
    assert slots(one_database, "collect")[0].done_at is None
    other = JobContext(install, lambda: NOON + timedelta(seconds=1), owner=ProcessIdentity("elsewhere", 7, "x"))
    assert scheduler.run_due_slots(other, "collect") == ["0 new from 1 source, 1 failed"]


def test_a_process_visits_sources_for_the_collection_of_another(one_database: Database) -> None:
    nowhere = SourceSettings(url="http://127.0.0.1:9/feed", name="Nowhere", publisher="P")
    schedule = ScheduleSettings(collect=["every 1h"])
    install = Installation(Settings(file=SettingsFileContent(schedule=schedule, sources=[nowhere])), one_database)
    schedule_slots.find_or_record_schedule_start(one_database, NOON - timedelta(hours=1))
    assert jobs.join_running_collection(JobContext(install, lambda: NOON)) == ""
    with one_database.write() as session:
        sync_sources(session, install.settings)
    assert schedule_slots.claim_slot(one_database, JobSlot("collect", NOON), ProcessIdentity("elsewhere", 7, "x"), NOON)
    sharing = JobContext(install, lambda: NOON + timedelta(seconds=1))
    with capture_logs() as logs:
        assert scheduler.run_due_slots(sharing, "collect") == scheduler.run_due_slots(sharing, "collect") == []
    shared = [(line["at"], line["outcome"]) for line in logs if line["event"] == "shared the collection"]
    assert shared == [(NOON.isoformat(), "0 new from 1 source, 1 failed")]
    schedule_slots.complete_slot(one_database, JobSlot("collect", NOON), "done", NOON)
    assert schedule_slots.find_open_slot(one_database, "collect") is None


def test_a_surprise_in_a_job_ends_neither_the_job_list_nor_the_process(install: Installation) -> None:
    schedule_slots.find_or_record_schedule_start(install.database, NOON - timedelta(days=8))
    with install.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE story")
    outcomes = scheduler.run_due_slots(JobContext(install, lambda: NOON, owner=ProcessIdentity()), "draft")
    assert len(outcomes) == 1
    assert outcomes[0].startswith("failed: ")


def test_a_step_that_stumbled_is_tried_again_after_a_rest_until_it_succeeds(install: Installation) -> None:
    schedule_slots.find_or_record_schedule_start(install.database, NOON - timedelta(days=8))
    owner = ProcessIdentity()
    with install.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE story RENAME TO story_away")
    assert scheduler.run_due_slots(JobContext(install, lambda: NOON, owner=owner), "draft")[0].startswith("failed: ")
    with install.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE story_away RENAME TO story")
    soon, later = NOON + timedelta(minutes=1), NOON + jobs.SLOT_RETRY_DELAY + timedelta(seconds=1)
    assert scheduler.run_due_slots(JobContext(install, lambda: soon, owner=owner), "draft") == []
    assert "2026-W47" in scheduler.run_due_slots(JobContext(install, lambda: later, owner=owner), "draft")[0]
    assert scheduler.run_due_slots(JobContext(install, lambda: later + timedelta(hours=1), owner=owner), "draft") == []


def test_after_trouble_an_edition_rests_longer_and_longer_and_after_success_not_at_all() -> None:
    rests = [scheduler.next_attempt_at(NOON, troubles, None) - NOON for troubles in range(1, 9)]
    assert rests[0] == scheduler.FIRST_BACKOFF
    assert rests == sorted(rests)
    assert rests[-1] == scheduler.MAX_BACKOFF
    assert scheduler.next_attempt_at(NOON, 0, None) == NOON


def test_an_edition_that_waits_for_a_retry_is_looked_at_when_it_is_due() -> None:
    soon = NOON + timedelta(minutes=3)
    assert scheduler.next_attempt_at(NOON, 0, soon) == soon
    assert scheduler.next_attempt_at(NOON, 0, NOON + timedelta(hours=5)) == NOON + scheduler.MAX_BACKOFF


def test_an_edition_that_cannot_be_sent_is_not_tried_at_every_tick(install: Installation) -> None:
    pace = scheduler.EditionSendBackoff()
    pace.record_attempt("2026-W47", None, NOON)
    assert not pace.is_due("2026-W47", NOON + timedelta(seconds=29))
    assert pace.is_due("2026-W47", NOON + timedelta(seconds=30))
    assert pace.is_due("2026-W48", NOON)


def test_an_edition_does_not_rest_until_a_clock_that_was_set_back_comes_there_again() -> None:
    pace, set_back = scheduler.EditionSendBackoff(), NOON - timedelta(hours=6)
    for failures in range(1, 8):
        pace.record_attempt("2026-W47", None, NOON)
        assert not pace.is_due("2026-W47", NOON), failures
        assert pace.is_due("2026-W47", set_back), failures


def an_approved_edition(database: Database, release_at: datetime) -> None:
    with database.write() as session:
        session.add(
            Edition(
                slot="s", name="2026-W47", number=1, state=EditionState.APPROVED, content={}, approved_at=release_at,
                opens_at=release_at, cut_off=release_at, release_at=release_at, drafted_at=release_at,
            )
        )  # fmt: skip


def test_a_missed_release_is_not_sent_and_is_logged_once_with_what_to_do(install: Installation) -> None:
    an_approved_edition(install.database, NOON)
    pace = scheduler.EditionSendBackoff()
    late = NOON + timedelta(days=2)
    with capture_logs() as logged:
        scheduler.send_due_editions(JobContext(install, lambda: late), pace)
        scheduler.send_due_editions(JobContext(install, lambda: late + timedelta(seconds=1)), pace)
    (line,) = logged
    assert (line["event"], line["log_level"], line["edition"]) == ("missed a send time", "warning", "2026-W47")
    assert "digest send 2026-W47" in line["what"]
    assert "digest cancel 2026-W47" in line["what"]


def test_a_release_is_missed_a_day_after_it_was_due_or_approved_whichever_came_later(install: Installation) -> None:
    an_approved_edition(install.database, NOON)
    edge = NOON + timedelta(hours=24)
    assert sending.find_pending_sends(install, now=edge) == sending.PendingSends(("2026-W47",), {})
    after = sending.find_pending_sends(install, now=edge + timedelta(seconds=1))
    assert (after.ready_to_send, list(after.missed)) == ((), ["2026-W47"])
    with install.database.write() as session:
        session.scalars(select(Edition)).one().approved_at = edge
    assert sending.find_pending_sends(install, now=edge + timedelta(hours=1)).ready_to_send == ("2026-W47",)


def test_a_process_that_cannot_begin_says_why_in_a_sentence(one_database: Database, tmp_path: Path) -> None:
    with one_database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    one_database.close()
    refused = subprocess.run(
        [sys.executable, "-m", "scheduler"],
        env={**os.environ, "DIGEST_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "belongs to a newer version" in refused.stderr
