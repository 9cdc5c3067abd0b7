"""When things happen: APScheduler ticks, a pure `due` decides, and a slot's row is the lock.

APScheduler alone forgets what was missed while the process was down and runs 01:30 twice when the clock
goes back. So it only ticks here. Each job looks at what the timetable owes (`digest.timetable.find_due_jobs`), takes
the slot's row (unique, whatever the number of schedulers) and runs an idempotent step of `digest.app.editions`.
Releasing needs no slot: an approved edition whose time has come is its own work list, and sending it is
resumable.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from digest import logs
from digest.app import background, editions, maintenance, sending
from digest.app.actor import SCHEDULER
from digest.app.installation import Installation, InstallationError, open_installation
from digest.deliver.events.mailbox.imap import MailboxError
from digest.deliver.send.edition_run import SendReport
from digest.edition.drafting import DraftError
from digest.edition.rendering.fragments import RenderingError
from digest.settings import SettingsError, load_settings
from digest.store.engine import Database
from digest.store.models import FIRST_LOOK_JOB, TimetableSlot
from digest.store.process_owner import ProcessOwner, this_process_owner
from digest.timetable import DueJob, ScheduleRule, find_due_jobs, parse_schedule_rule
from subscribers.crypto.keys import KeyFileError

SLOT_LEASE = timedelta(minutes=30)  # longer than any collection takes: 20 s a fetch, eight at a time
TICK_SECONDS = 1  # second between two looks at the timetable: three small reads
NIGHTLY_RULE = parse_schedule_rule(
    "daily 03:30"
)  # a quiet hour; where the clock leaves it out, the next minute that exists
SLOT_RETRY_DELAY = timedelta(minutes=5)  # between two tries of a slot whose step stumbled
FIRST_BACKOFF, MAX_BACKOFF = timedelta(seconds=30), timedelta(minutes=15)  # after trouble with sending

log = structlog.get_logger("scheduler")


def job_rules(install: Installation) -> dict[str, tuple[ScheduleRule, ...]]:
    """Give the jobs that have slots: collecting, drafting, and what every night owes."""
    schedule = install.settings.file.schedule
    return {"collect": schedule.collect_rules, "draft": (schedule.draft_rule,), "nightly": (NIGHTLY_RULE,)}


def claim_slot(database: Database, due_slot: DueJob, owner: ProcessOwner, now: datetime) -> bool:
    """Take a slot, or take it over from a process that died with it. False: somebody has it, or it is done."""
    lease = now + SLOT_LEASE
    try:
        with database.write() as session:
            session.add(TimetableSlot(job=due_slot.job, at=due_slot.at, owner=str(owner), lease_until=lease))
    except IntegrityError:
        pass
    else:
        return True
    with database.write() as session:
        slot = session.scalars(
            select(TimetableSlot).where(TimetableSlot.job == due_slot.job, TimetableSlot.at == due_slot.at)
        ).one()
        if slot.done_at or not (slot.lease_until < now or owner.knows_dead(slot.owner)):
            return False
        mine = (
            update(TimetableSlot)
            .where(TimetableSlot.id == slot.id, TimetableSlot.owner == slot.owner, TimetableSlot.done_at.is_(None))
            .values(owner=str(owner), lease_until=lease)
        )
        return session.connection().execute(mine).rowcount == 1


def complete_slot(database: Database, due_slot: DueJob, outcome: str, now: datetime) -> None:
    """Mark a slot as done, with what came of it in words."""
    with database.write() as session:
        done = (
            update(TimetableSlot)
            .where(TimetableSlot.job == due_slot.job, TimetableSlot.at == due_slot.at)
            .values(done_at=now, outcome=outcome)
        )
        session.execute(done)


def postpone_slot(database: Database, due_slot: DueJob, outcome: str, until: datetime) -> None:
    """Leave a slot undone after trouble: whoever looks after `until` takes it up again."""
    with database.write() as session:
        undone = update(TimetableSlot).where(TimetableSlot.job == due_slot.job, TimetableSlot.at == due_slot.at)
        session.execute(undone.values(lease_until=until, outcome=outcome))


def ensure_timetable_start(database: Database, now: datetime) -> datetime:
    """Give the moment since which the timetable is followed: nothing is owed for the time before."""
    query = select(TimetableSlot.at).where(TimetableSlot.job == FIRST_LOOK_JOB).order_by(TimetableSlot.at).limit(1)
    with database.read() as session:
        since = session.scalar(query)
    if since is None:
        with database.write() as session:
            session.add(TimetableSlot(job=FIRST_LOOK_JOB, at=now, owner="-", lease_until=now, done_at=now))
        return now
    return since


def find_due_slots(install: Installation, job: str, now: datetime) -> tuple[DueJob, ...]:
    """Ask the timetable what is owed of one job now."""
    rules = {job: job_rules(install)[job]}
    since, zone = ensure_timetable_start(install.database, now), install.settings.file.publication.zone
    latest = [slot.at for slot in find_due_jobs(now, rules, (), zone=zone, since=since)]
    with install.database.read() as session:
        done = session.scalars(
            select(TimetableSlot.at).where(
                TimetableSlot.job == job, TimetableSlot.at.in_(latest), TimetableSlot.done_at.is_not(None)
            )
        )
        return find_due_jobs(now, rules, {DueJob(job, at) for at in done}, zone=zone, since=since)


def run_due_slots(install: Installation, job: str, owner: ProcessOwner, clock: Callable[[], datetime]) -> list[str]:
    """Run what is owed of one job. A step that stumbles ends neither the process nor its slot: it is tried again."""
    slots = find_due_slots(install, job, clock())
    return [_run_slot(install, slot, clock) for slot in slots if claim_slot(install.database, slot, owner, clock())]


def _run_slot(install: Installation, slot: DueJob, clock: Callable[[], datetime]) -> str:
    try:
        outcome = SLOT_STEPS[slot.job](install, clock())
    except Exception as exc:  # a locked database, a full disk: the slot stays owed until its next one is due
        outcome = f"failed: {type(exc).__name__}"
        log.exception("job failed", job=slot.job, again_in=str(SLOT_RETRY_DELAY))
        postpone_slot(install.database, slot, outcome, clock() + SLOT_RETRY_DELAY)
        return outcome
    complete_slot(install.database, slot, outcome, clock())
    log.info("slot done", job=slot.job, at=slot.at.isoformat(), outcome=outcome)
    return outcome


def _collect_step(install: Installation, now: datetime) -> str:
    reports = editions.collect_articles(install, actor=SCHEDULER, now=now).sources
    failed = [r for r in reports if r.error]
    return f"{sum(r.new for r in reports)} new from {len(reports)} sources, {len(failed)} failed"


def _draft_step(install: Installation, now: datetime) -> str:
    try:
        drafted = editions.draft_next_edition(install, now=now, actor=SCHEDULER)
    except (DraftError, RenderingError) as exc:  # approved already, or something that only a person can mend
        log.warning("nothing drafted", why=str(exc))
        return str(exc)
    return f"{drafted.name}: {drafted.incomplete_reason or f'drafted from {drafted.article_count} articles'}"


SLOT_STEPS: dict[str, Callable[[Installation, datetime], str]] = {
    "collect": _collect_step,
    "draft": _draft_step,
    "nightly": maintenance.run_nightly_steps,
}


def _run_guarded(job: str, step: Callable[[], str]) -> str:
    try:
        return step()
    except Exception as exc:  # a job's surprise must end neither the scheduler nor the other jobs
        log.exception("job failed", job=job)
        return f"failed: {type(exc).__name__}"


@dataclass(slots=True)
class ReleaseBackoff:
    """When each edition that is being sent is looked at again. It lives as long as the process."""

    next_attempts: dict[str, datetime] = field(default_factory=dict)
    failure_counts: dict[str, int] = field(default_factory=dict)
    reported_missed: set[str] = field(default_factory=set)  # the missed ones that were logged

    def is_due(self, name: str, now: datetime) -> bool:
        """Say whether to look at an edition now."""
        return self.next_attempts.get(name, now) <= now

    def record_attempt(self, name: str, report: SendReport | None, now: datetime) -> None:
        """Learn from a run of sending; None is one that broke off with an error."""
        trouble = report is None or bool(report.stop_reason)
        self.failure_counts[name] = self.failure_counts.get(name, 0) + 1 if trouble else 0
        self.next_attempts[name] = next_attempt_at(
            now, self.failure_counts[name], report.next_due_at if report else None
        )

    def take_unreported(self, missed: Iterable[str]) -> list[str]:
        """Give the names that were not asked about before: what is said of them is said once."""
        fresh = sorted(set(missed) - self.reported_missed)
        self.reported_missed.update(fresh)
        return fresh


def next_attempt_at(now: datetime, failures: int, next_at: datetime | None) -> datetime:
    """Decide when to look again: when the next message is due; after trouble later and later, to 15 minutes."""
    if failures:
        return now + min(MAX_BACKOFF, FIRST_BACKOFF * (1 << min(failures - 1, 10)))
    return min(next_at, now + MAX_BACKOFF) if next_at else now


def send_due_editions(
    install: Installation, clock: Callable[[], datetime], backoff: ReleaseBackoff, stopping: threading.Event
) -> None:
    """Send what is approved and due, and go on with what was cut short, each at its pace."""
    found = sending.find_pending_releases(install, now=clock())
    for name in backoff.take_unreported(found.missed):
        log.warning("release missed", edition=name, what=found.missed[name])
    for name in found.ready_to_send:
        if backoff.is_due(name, clock()) and not stopping.is_set():
            backoff.record_attempt(name, _send_edition(install, name, clock, stopping), clock())


def _send_edition(
    install: Installation, name: str, clock: Callable[[], datetime], stopping: threading.Event
) -> SendReport | None:
    try:
        return sending.send_edition(
            install, name, actor=SCHEDULER, clock=clock, sleep=stopping.wait, stopping=stopping.is_set
        )
    except Exception:  # a server that is down, a setting that is wrong: said now, tried again later
        log.exception("sending failed", edition=name)
        return None


def process_signups_and_notices(install: Installation, clock: Callable[[], datetime]) -> None:
    """Answer the sign-up forms that wait, and hand over the mails that they and the pages have queued."""
    _run_guarded("answer", lambda: str(background.process_signup_requests(install, clock=clock)))
    _run_guarded("notices", lambda: str(background.send_due_notices(install, clock=clock)))


def apply_and_log_events(install: Installation, clock: Callable[[], datetime]) -> None:
    """Apply what providers have posted, and say what came of it."""
    outcome = _run_guarded("events", lambda: json.dumps(background.apply_inbound_events(install, clock=clock)))
    if outcome != "{}":
        log.info("events applied", outcome=outcome)


def poll_bounce_mailbox(install: Installation, clock: Callable[[], datetime], stopping: threading.Event) -> None:
    """Look into the bounce mailbox when it is time; trouble with it is logged where it begins."""

    def look() -> str:
        if background.claim_mailbox_turn(install, now=clock()):
            with suppress(MailboxError):
                return str(background.read_bounce_mailbox(install, clock=clock, stopping=stopping.is_set))
        return ""

    _run_guarded("mailbox", look)


class JobScheduler:
    """The running timetable. It lives as long as the process that serves or schedules."""

    def __init__(
        self,
        install: Installation,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        without_timetable: bool = False,
    ) -> None:
        """Make ready to tick. `without_timetable`: another process follows the timetable, this one serves its own pages."""
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._stopping = threading.Event()
        self._owner = this_process_owner()
        self._add_tick_job("answer", lambda: process_signups_and_notices(install, clock))
        if without_timetable:
            return
        ensure_timetable_start(install.database, clock())
        for job in job_rules(install):
            self._add_tick_job(job, lambda job=job: run_due_slots(install, job, self._owner, clock))  # type: ignore[misc]
        self._add_tick_job("events", lambda: apply_and_log_events(install, clock))
        if install.settings.file.inbound.host:
            self._add_tick_job("mailbox", lambda: poll_bounce_mailbox(install, clock, self._stopping))
        pace = ReleaseBackoff()
        self._add_tick_job("release", lambda: send_due_editions(install, clock, pace, self._stopping))

    def _add_tick_job(self, name: str, action: Callable[[], object]) -> None:
        # coalesce and max_instances: a slow job delays its own next look and nothing else.
        self._scheduler.add_job(
            action,
            "interval",
            seconds=TICK_SECONDS,
            id=name,
            coalesce=True,
            max_instances=1,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """Begin to tick, in threads of its own."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking, let a send put down what it carries, and wait for the step that runs."""
        self._stopping.set()
        self._scheduler.shutdown(wait=True)


def main() -> None:
    """Run the timetable alone, until SIGINT or SIGTERM (`hls-scheduler [digest.toml]`)."""
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and sys.argv[1].startswith("-")):
        sys.exit("usage: hls-scheduler [SETTINGS-FILE]\n\nFollows the timetable of the settings until stopped.")
    logs.configure_logging()
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        settings = load_settings(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
        with open_installation(settings) as install:
            _ = install.keys  # a missing key file is said now, not at the first release
            clockwork = JobScheduler(install)
            clockwork.start()
            log.info("following the timetable", **settings.file.schedule.model_dump())
            stopping.wait()
            clockwork.stop()
    except (SettingsError, InstallationError, KeyFileError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
