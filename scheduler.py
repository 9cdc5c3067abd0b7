"""The schedule, and the APScheduler process that starts jobs by name.

By itself, APScheduler forgets jobs that were missed while the process was down, and runs a 01:30
job twice when clocks are set back. Here, it only ticks. `digest.app.jobs` finds the slots that are
due and runs each of them once.
"""

import atexit
import gc
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import select

from digest import logs
from digest.app import jobs
from digest.app.calendar.upcoming_steps import list_schedule_rules
from digest.app.sending import send_control as sending
from digest.deliver.send.run.edition_sending import SendReport
from digest.folder_owner import continue_as_owner
from digest.installation.opened_installation import Installation, open_installation
from digest.installation.storage_errors import explain_storage_error
from digest.settings import load_settings
from digest.stop_signals import stop_on_signal
from digest.store.engine import Database
from digest.timetable import ScheduleRule
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

TICK_SECONDS = 1  # between two checks for writes to the database, each of which is a small query
# Seconds after which a job runs even if nothing was written to the database, aligned to the minute.
LOOK_SECONDS = 15
# Jobs that ignore writes to the database, because each run writes to it or is expensive. The alerts
# take about 20 queries.
SLOW_LOOK_SECONDS = {"seen": 60, "pages": 60, "alerts": 60, "mail_servers": 600}
# Jobs that finish within this time pass their database connection to the next job. Others run
# beside it.
QUICK_SECONDS = 0.05
FIRST_BACKOFF, MAX_BACKOFF = timedelta(seconds=30), timedelta(minutes=15)  # after a failed send

log = get_logger("scheduler")


def read_schedule_rules(installation: Installation) -> dict[str, tuple[ScheduleRule, ...]]:
    """Return the schedule rules in the settings, by job.

    The calendar of releases adds more slots.
    """
    return list_schedule_rules(installation.settings.file)


def run_due_slots(context: jobs.JobContext, job: str) -> list[str]:
    """Run the slots of a job that are due, and return their outcomes."""
    slots = jobs.find_due_slots(context, job, read_schedule_rules(context.installation)[job])
    outcomes = [jobs.run_slot(context, slot) for slot in slots]
    return [outcome for outcome in outcomes if outcome is not None]


@dataclass(slots=True)
class StorageOutage:
    """A storage outage, tracked by all jobs of a process.

    The start and the end of an outage are each logged once.
    """

    database: Database
    reason: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def guard(self, action: Callable[[], object]) -> object:
        """Call `action` and return its result, or record an outage if storage is unavailable.

        If storage is unavailable, record an outage and return None. Exceptions that have other
        causes propagate.
        """
        try:
            result = action()
            if not self.reason:
                return result
            with self.database.read() as session:  # an action may succeed without using the database
                session.execute(select(1))
        except Exception as exc:
            explained = explain_storage_error(exc)
            if explained is None:
                raise
            self._note(str(explained))
            return None
        self._note("")
        return result

    def _note(self, reason: str) -> None:
        with self._lock:
            before, self.reason = self.reason, reason
        if reason and not before:
            log.warning("storage is unavailable, so jobs are waiting", why=reason)
        elif before and not reason:
            log.info("storage is available again, so jobs continue", after=before)


@dataclass(slots=True)
class EditionSendBackoff:
    """The time at which each edition that's being sent is next checked.

    It's kept in memory. The wait of an edition in `idle_editions` ends as soon as a message is due,
    because an admin's decision, a mail log, or the file of a dead run can make messages due
    immediately.
    """

    next_attempts: dict[str, datetime] = field(default_factory=dict)
    idle_editions: set[str] = field(default_factory=set)
    failure_counts: dict[str, int] = field(default_factory=dict)
    reported_missed: set[str] = field(default_factory=set)  # names that were already logged

    def is_due(self, name: str, now: datetime) -> bool:
        """Return True if an edition should be checked now.

        If the clock was set back, it always should be.
        """
        return not now < self.next_attempts.get(name, now) <= now + MAX_BACKOFF

    def record_attempt(self, name: str, report: SendReport | None, now: datetime) -> None:
        """Update the time of the next check after a run.

        `report` is None if the run ended with an error.
        """
        failed = report is None or bool(report.stop_reason)
        self.failure_counts[name] = self.failure_counts.get(name, 0) + 1 if failed else 0
        next_due_at = report.next_due_at if report else None
        self.next_attempts[name] = next_attempt_at(now, self.failure_counts[name], next_due_at)
        if report is None or report.stop_reason or report.wait_reason:
            self.idle_editions.discard(name)
        else:
            self.idle_editions.add(name)

    def list_newly_missed(self, missed: Iterable[str]) -> list[str]:
        """Return the missed editions that no earlier call returned, so that each is logged once."""
        unreported = sorted(set(missed) - self.reported_missed)
        self.reported_missed.update(unreported)
        return unreported


def next_attempt_at(now: datetime, failures: int, next_due_at: datetime | None) -> datetime:
    """Return the time of the next attempt at sending.

    After failures, the delay doubles from 30 seconds to at most 15 minutes. Otherwise, the next
    attempt is when the next message is due, but at most 15 minutes from now. If no message is going
    to be due, it's now.
    """
    if failures:
        return now + min(MAX_BACKOFF, FIRST_BACKOFF * (1 << min(failures - 1, 10)))
    return min(next_due_at, now + MAX_BACKOFF) if next_due_at else now


def send_due_editions(context: jobs.JobContext, backoff: EditionSendBackoff) -> bool:
    """Send editions that are due, and resume interrupted ones.

    Return True if there are any, even if all of them are waiting for their next attempt.
    """
    sending.pause_doubtful_breaking_news(context.installation, now=context.clock())
    pending = sending.find_pending_sends(context.installation, now=context.clock())
    for name in backoff.list_newly_missed(pending.missed):
        log.warning("missed a send time", edition=name, what=pending.missed[name])
    for name in pending.ready_to_send:
        if _is_turn_of(name, context, backoff) and not context.stopping.is_set():
            outcome = jobs.run_job(context, "send_edition", name)
            report = outcome if isinstance(outcome, SendReport) else None
            backoff.record_attempt(name, report, context.clock())
            jobs.record_send_end(context, report)
    return bool(pending.ready_to_send)


def _is_turn_of(name: str, context: jobs.JobContext, backoff: EditionSendBackoff) -> bool:
    now = context.clock()
    return backoff.is_due(name, now) or (
        name in backoff.idle_editions and sending.has_due_messages(context.installation, name, now=now)
    )


def run_in_order(context: jobs.JobContext, *names: str) -> None:
    """Run jobs one after the other until the process is stopping.

    Once the process is stopping, no more of them are started.
    """
    for name in names:
        if not context.stopping.is_set():
            jobs.run_job(context, name)


# The tick jobs for each type of work that `digest work --only` accepts.
WORKER_JOBS = dict(zip(jobs.WORKER_PARTS, (("release", "corrections"), ("answer",), ("collect",)), strict=True))


def build_tick_jobs(context: jobs.JobContext) -> dict[str, Callable[[], object]]:
    """Return the actions that a tick can start, by name."""
    installation, backoff = context.installation, EditionSendBackoff()
    ticks: dict[str, Callable[[], object]] = {
        "runs": partial(run_in_order, context, "check_schema", "recover_runs"),
        "seen": lambda: jobs.run_job(context, "record_scheduler_seen"),
        "answer": partial(run_in_order, context, "answer_signups", "send_due_transactional_emails"),
    }
    ticks["schedule"] = lambda: jobs.run_job(context, "follow_schedule")  # before the slots, which look for the draft
    ticks |= {job: partial(run_due_slots, context, job) for job in read_schedule_rules(installation)}
    ticks |= {
        "pictures": lambda: jobs.run_job(context, "fetch_pictures"),
        "look": lambda: jobs.run_job(context, "recheck_articles_before_sending"),
        "alarms": lambda: jobs.run_job(context, "email_automatic_pauses"),
        "alerts": partial(run_in_order, context, "look_for_alerts", "send_alert_notifications"),
        "mail_servers": lambda: jobs.run_job(context, "look_up_mail_servers"),
        "heartbeats": lambda: jobs.run_job(context, "send_heartbeats"),
        "corrections": partial(run_in_order, context, "plan_corrections", "send_corrections"),
        "mail-log": lambda: jobs.run_job(context, "follow_mail_log"),
        "events": lambda: jobs.run_job(context, "apply_inbound_events"),
        "release": lambda: send_due_editions(context, backoff),
    }
    if installation.settings.file.inbound.host:
        ticks["mailbox"] = lambda: jobs.run_job(context, "read_mailbox")
    return ticks


class JobScheduler:
    """The running schedule of a process that serves, schedules, or works.

    Jobs run after a write to the database and at fixed intervals. Between these, a tick costs a
    single query.
    """

    def __init__(self, context: jobs.JobContext, names: Collection[str] | None = None) -> None:
        """Prepare all tick actions.

        If other processes run the rest, prepare only those in `names`.
        """
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._stopping = context.stopping
        self._context = context
        self._watch = jobs.make_database_change_detector(context)
        self._outage = StorageOutage(context.installation.database)
        if names is None:
            jobs.record_schedule_start(context)
        wanted = {"runs", *names} if names is not None else None
        self._actions = {name: do for name, do in build_tick_jobs(context).items() if wanted is None or name in wanted}
        self._threads = ThreadPoolExecutor(len(self._actions), "job")
        self._periods: dict[str, int] = {}  # the period of each job's last run that the clock started
        self._due: set[str] = set()
        self._running: set[str] = set()

    @classmethod
    def for_pages(cls, context: jobs.JobContext) -> "JobScheduler":
        """Return the scheduler for a process that serves pages and leaves the schedule to another process."""
        scheduler, since = cls(context, ("answer",)), context.clock().isoformat()
        scheduler._actions["pages"] = lambda: jobs.run_job(context, "record_unscheduled_pages_seen", since)
        return scheduler

    @classmethod
    def for_worker(cls, context: jobs.JobContext, only: Iterable[str]) -> "JobScheduler":
        """Return the scheduler for a worker that does the types of work in `only` (see `WORKER_JOBS`).

        Raises:
            WorkerError: the database is SQLite, which supports only one writer.
        """
        jobs.require_postgresql_for_workers(context.installation)
        return cls(context, {name for part in only for name in WORKER_JOBS[part]})

    def tick(self) -> None:
        """Start the jobs that are due, unless the process is stopping.

        A job that's still running is started again when it's finished.
        """
        self._outage.guard(self._note_due)
        for name in [name for name in self._actions if name in self._due - self._running]:
            if self._stopping.is_set():
                return
            self._due.discard(name)
            self._running.add(name)
            wait([self._threads.submit(self._run, name)], QUICK_SECONDS)

    def _note_due(self) -> None:
        is_changed, moment = self._watch.has_changed(), time.time()
        for name in self._actions:
            period = int(moment // SLOW_LOOK_SECONDS.get(name, LOOK_SECONDS))
            if (is_changed and name not in SLOW_LOOK_SECONDS) or period != self._periods.get(name):
                self._periods[name] = period
                self._due.add(name)
        if jobs.has_abandoned_runs(self._context):  # the database doesn't show it
            self._due.add("runs")

    def _run(self, name: str) -> None:
        try:
            if self._outage.guard(self._actions[name]) is True:  # the database doesn't show that there's more to do
                self._due.add(name)
        except Exception:
            log.exception("job failed", job=name)
        finally:
            self._running.discard(name)

    def start(self) -> None:
        """Start ticking in background threads."""
        # On a busy machine, a tick can be late. By default, APScheduler would skip it.
        once = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler.add_job(self.tick, "interval", seconds=TICK_SECONDS, next_run_time=datetime.now(UTC), **once)
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking, let sends finish their current messages, and wait for running jobs.

        Raises:
            UnsupportedSchemaError: the database belongs to a newer version, which may be the reason
                that this process is stopping.
        """
        self._stopping.set()
        self._scheduler.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        self._watch.close()
        jobs.require_known_schema(self._context)


def main() -> None:
    """Run the schedule without serving pages until SIGINT or SIGTERM.

    The command line is `hls-scheduler [digest.toml]`.
    """
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and sys.argv[1].startswith("-")):
        sys.exit("usage: hls-scheduler [SETTINGS-FILE]\n\nRun scheduled jobs until stopped.")
    logs.configure_logging()
    atexit.register(gc.freeze)  # as in `digest.cli.main`
    try:
        settings = load_settings(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
        continue_as_owner(settings.home)
        logs.configure_logging(log_format=settings.log_format)
        with stop_on_signal() as stopping, open_installation(settings) as installation:
            _ = installation.keys  # reports a missing key file now rather than at the first send
            scheduler = JobScheduler(jobs.JobContext(installation, stopping=stopping))
            scheduler.start()
            log.info("started the schedule", **settings.file.schedule.model_dump())
            stopping.wait()
            scheduler.stop()
    except ApplicationError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
