"""When things happen: APScheduler ticks, a pure `due` decides, and a slot's row is the lock.

APScheduler alone forgets what was missed while the process was down and runs 01:30 twice when the clock
goes back. So it only ticks here. Each job looks at what the timetable owes (`digest.timetable.due`), takes
the slot's row (unique, whatever the number of schedulers) and runs an idempotent step of `digest.weekly`.
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

from digest import errands, logs, nightly, weekly
from digest.db import FIRST_LOOK, Database, Slot
from digest.deliver.inbound.imap import MailboxError
from digest.deliver.sending import Report
from digest.edition.drafting import DraftError
from digest.edition.rendering import RenderingError
from digest.install import Install, InstallError, opened
from digest.owner import Owner, this_process
from digest.settings import SettingsError, load
from digest.timetable import Due, Rule, due, parse_rule
from subscribers.vault import KeyFileError

LEASE = timedelta(minutes=30)  # longer than any collection takes: 20 s a fetch, eight at a time
TICK = 1  # second between two looks at the timetable: three small reads
NIGHTLY = parse_rule(
    "daily 03:30"
)  # a quiet hour; where the clock leaves it out, the next minute that exists
AGAIN = timedelta(minutes=5)  # between two tries of a slot whose step stumbled
FIRST_REST, LONGEST_REST = timedelta(seconds=30), timedelta(minutes=15)  # after trouble with sending

log = structlog.get_logger("scheduler")


def timetable(install: Install) -> dict[str, tuple[Rule, ...]]:
    """Give the jobs that have slots: collecting, drafting, and what every night owes."""
    schedule = install.settings.file.schedule
    return {"collect": schedule.collect_rules, "draft": (schedule.draft_rule,), "nightly": (NIGHTLY,)}


def take(database: Database, owed: Due, owner: Owner, now: datetime) -> bool:
    """Take a slot, or take it over from a process that died with it. False: somebody has it, or it is done."""
    lease = now + LEASE
    try:
        with database.write() as session:
            session.add(Slot(job=owed.job, at=owed.at, owner=str(owner), lease_until=lease))
    except IntegrityError:
        pass
    else:
        return True
    with database.write() as session:
        slot = session.scalars(select(Slot).where(Slot.job == owed.job, Slot.at == owed.at)).one()
        if slot.done_at or not (slot.lease_until < now or owner.knows_dead(slot.owner)):
            return False
        mine = (
            update(Slot)
            .where(Slot.id == slot.id, Slot.owner == slot.owner, Slot.done_at.is_(None))
            .values(owner=str(owner), lease_until=lease)
        )
        return session.connection().execute(mine).rowcount == 1


def finish(database: Database, owed: Due, outcome: str, now: datetime) -> None:
    """Mark a slot as done, with what came of it in words."""
    with database.write() as session:
        done = (
            update(Slot).where(Slot.job == owed.job, Slot.at == owed.at).values(done_at=now, outcome=outcome)
        )
        session.execute(done)


def rest(database: Database, owed: Due, outcome: str, until: datetime) -> None:
    """Leave a slot undone after trouble: whoever looks after `until` takes it up again."""
    with database.write() as session:
        undone = update(Slot).where(Slot.job == owed.job, Slot.at == owed.at)
        session.execute(undone.values(lease_until=until, outcome=outcome))


def followed_since(database: Database, now: datetime) -> datetime:
    """Give the moment since which the timetable is followed: nothing is owed for the time before."""
    query = select(Slot.at).where(Slot.job == FIRST_LOOK).order_by(Slot.at).limit(1)
    with database.read() as session:
        since = session.scalar(query)
    if since is None:
        with database.write() as session:
            session.add(Slot(job=FIRST_LOOK, at=now, owner="-", lease_until=now, done_at=now))
        return now
    return since


def owed(install: Install, job: str, now: datetime) -> tuple[Due, ...]:
    """Ask the timetable what is owed of one job now."""
    rules = {job: timetable(install)[job]}
    since, zone = followed_since(install.database, now), install.settings.file.publication.zone
    latest = [slot.at for slot in due(now, rules, (), zone=zone, since=since)]
    with install.database.read() as session:
        done = session.scalars(
            select(Slot.at).where(Slot.job == job, Slot.at.in_(latest), Slot.done_at.is_not(None))
        )
        return due(now, rules, {Due(job, at) for at in done}, zone=zone, since=since)


def run_job(install: Install, job: str, owner: Owner, clock: Callable[[], datetime]) -> list[str]:
    """Run what is owed of one job. A step that stumbles ends neither the process nor its slot: it is tried again."""
    slots = owed(install, job, clock())
    return [_run_slot(install, slot, clock) for slot in slots if take(install.database, slot, owner, clock())]


def _run_slot(install: Install, slot: Due, clock: Callable[[], datetime]) -> str:
    try:
        outcome = STEPS[slot.job](install, clock())
    except Exception as exc:  # a locked database, a full disk: the slot stays owed until its next one is due
        outcome = f"failed: {type(exc).__name__}"
        log.exception("job failed", job=slot.job, again_in=str(AGAIN))
        rest(install.database, slot, outcome, clock() + AGAIN)
        return outcome
    finish(install.database, slot, outcome, clock())
    log.info("slot done", job=slot.job, at=slot.at.isoformat(), outcome=outcome)
    return outcome


def _collect(install: Install, now: datetime) -> str:
    reports = weekly.collect(install, now=now)
    failed = [r for r in reports if r.error]
    return f"{sum(r.new for r in reports)} new from {len(reports)} sources, {len(failed)} failed"


def _draft(install: Install, now: datetime) -> str:
    try:
        drafted = weekly.draft(install, now=now, actor="scheduler")
    except (DraftError, RenderingError) as exc:  # approved already, or something that only a person can mend
        log.warning("nothing drafted", why=str(exc))
        return str(exc)
    return f"{drafted.name}: {drafted.held_because or f'drafted from {drafted.articles} articles'}"


STEPS: dict[str, Callable[[Install, datetime], str]] = {
    "collect": _collect,
    "draft": _draft,
    "nightly": nightly.run,
}


def _guarded(job: str, step: Callable[[], str]) -> str:
    try:
        return step()
    except Exception as exc:  # a job's surprise must end neither the scheduler nor the other jobs
        log.exception("job failed", job=job)
        return f"failed: {type(exc).__name__}"


@dataclass(slots=True)
class Pace:
    """When each edition that is being sent is looked at again. It lives as long as the process."""

    looks: dict[str, datetime] = field(default_factory=dict)
    troubles: dict[str, int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # the missed ones that were logged

    def ready(self, name: str, now: datetime) -> bool:
        """Say whether to look at an edition now."""
        return self.looks.get(name, now) <= now

    def after(self, name: str, report: Report | None, now: datetime) -> None:
        """Learn from a run of sending; None is one that broke off with an error."""
        trouble = report is None or bool(report.stopped)
        self.troubles[name] = self.troubles.get(name, 0) + 1 if trouble else 0
        self.looks[name] = next_look(now, self.troubles[name], report.next_at if report else None)

    def untold(self, missed: Iterable[str]) -> list[str]:
        """Give the names that were not asked about before: what is said of them is said once."""
        fresh = sorted(set(missed) - self.told)
        self.told.update(fresh)
        return fresh


def next_look(now: datetime, troubles: int, next_at: datetime | None) -> datetime:
    """Decide when to look again: when the next message is due; after trouble later and later, to 15 minutes."""
    if troubles:
        return now + min(LONGEST_REST, FIRST_REST * (1 << min(troubles - 1, 10)))
    return min(next_at, now + LONGEST_REST) if next_at else now


def release(install: Install, clock: Callable[[], datetime], pace: Pace, stopping: threading.Event) -> None:
    """Send what is approved and due, and go on with what was cut short, each at its pace."""
    found = weekly.releases(install, now=clock())
    for name in pace.untold(found.missed):
        log.warning("release missed", edition=name, what=found.missed[name])
    for name in found.ready:
        if pace.ready(name, clock()) and not stopping.is_set():
            pace.after(name, _send(install, name, clock, stopping), clock())


def _send(
    install: Install, name: str, clock: Callable[[], datetime], stopping: threading.Event
) -> Report | None:
    try:
        return weekly.send(install, name, clock=clock, sleep=stopping.wait, stopping=stopping.is_set)
    except Exception:  # a server that is down, a setting that is wrong: said now, tried again later
        log.exception("sending failed", edition=name)
        return None


def answer(install: Install, clock: Callable[[], datetime]) -> None:
    """Answer the sign-up forms that wait, and hand over the mails that they and the pages have queued."""
    _guarded("answer", lambda: str(errands.answer_requests(install, clock=clock)))
    _guarded("notices", lambda: str(errands.send_notices(install, clock=clock)))


def apply_events(install: Install, clock: Callable[[], datetime]) -> None:
    """Apply what providers have posted, and say what came of it."""
    outcome = _guarded("events", lambda: json.dumps(errands.apply_events(install, clock=clock)))
    if outcome != "{}":
        log.info("events applied", outcome=outcome)


def read_mailbox(install: Install, clock: Callable[[], datetime], stopping: threading.Event) -> None:
    """Look into the bounce mailbox when it is time; trouble with it is logged where it begins."""

    def look() -> str:
        if errands.mailbox_due(install, now=clock()):
            with suppress(MailboxError):
                return str(errands.read_mailbox(install, clock=clock, stopping=stopping.is_set))
        return ""

    _guarded("mailbox", look)


class Clockwork:
    """The running timetable. It lives as long as the process that serves or schedules."""

    def __init__(
        self,
        install: Install,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        answers_only: bool = False,
    ) -> None:
        """Make ready to tick. `answers_only`: another process follows the timetable, this one serves its own pages."""
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._stopping = threading.Event()
        self._owner = this_process()
        self._every_tick("answer", lambda: answer(install, clock))
        if answers_only:
            return
        followed_since(install.database, clock())
        for job in timetable(install):
            self._every_tick(job, lambda job=job: run_job(install, job, self._owner, clock))  # type: ignore[misc]
        self._every_tick("events", lambda: apply_events(install, clock))
        if install.settings.file.inbound.host:
            self._every_tick("mailbox", lambda: read_mailbox(install, clock, self._stopping))
        pace = Pace()
        self._every_tick("release", lambda: release(install, clock, pace, self._stopping))

    def _every_tick(self, name: str, act: Callable[[], object]) -> None:
        # coalesce and max_instances: a slow job delays its own next look and nothing else.
        self._scheduler.add_job(
            act,
            "interval",
            seconds=TICK,
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
        sys.exit(
            "usage: hls-scheduler [SETTINGS-FILE]\n\nFollows the timetable of the settings until stopped."
        )
    logs.configure()
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        settings = load(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
        with opened(settings) as install:
            _ = install.keys  # a missing key file is said now, not at the first release
            clockwork = Clockwork(install)
            clockwork.start()
            log.info("following the timetable", **settings.file.schedule.model_dump())
            stopping.wait()
            clockwork.stop()
    except (SettingsError, InstallError, KeyFileError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
