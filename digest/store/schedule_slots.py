"""The slots of the schedule.

There's one row per job and moment. It serves first as a lock, then as a record of the outcome.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from digest.store.delivery_models import StoredInstallationValue
from digest.store.engine import Database
from digest.store.models import FIRST_LOOK_JOB, ScheduleSlot
from digest.store.process_identity import ProcessIdentity
from digest.timetable import JobSlot
from subscribers.callback_types import Clock
from subscribers.store.database import upsert

SLOT_LEASE = timedelta(seconds=45)  # how long to wait for an unresponsive process on another machine
MAX_JOB_LATENESS = timedelta(minutes=45)  # how late a job may be before an alert is sent
RENEWAL_SECONDS = 10.0  # seconds between renewals of a lease while the job runs


def claim_slot(database: Database, slot: JobSlot, owner: ProcessIdentity, now: datetime) -> bool:
    """Claim a slot, possibly taking it over from a dead process, and return True if that succeeds.

    Return False if another process has the slot or the slot is done.
    """
    lease = now + SLOT_LEASE
    try:
        with database.write() as session:
            taken = {"owner": str(owner), "lease_until": lease, "taken_at": now}
            session.add(ScheduleSlot(job=slot.job, at=slot.at, **taken))
    except IntegrityError:
        pass
    else:
        return True
    with database.write() as session:
        locked = select(ScheduleSlot).where(*_is_slot(slot)).with_for_update()
        row = session.scalars(locked).one()
        if row.done_at or not (row.lease_until < now or owner.knows_dead(row.owner)):
            return False
        row.owner, row.lease_until, row.taken_at = str(owner), lease, now
        return True


def is_job_running(session: Session, job: str, now: datetime) -> bool:
    """Return True if a live process is running a job."""
    is_held = (ScheduleSlot.job == job, ScheduleSlot.done_at.is_(None), ScheduleSlot.lease_until > now)
    return session.scalar(select(ScheduleSlot.at).where(*is_held).limit(1)) is not None


def renew_slot(database: Database, slot: JobSlot, owner: ProcessIdentity, now: datetime) -> None:
    """Renew the lease on a slot if `owner` still has the lease."""
    is_own = (*_is_slot(slot), ScheduleSlot.owner == str(owner), ScheduleSlot.done_at.is_(None))
    with database.write() as session:
        session.execute(update(ScheduleSlot).where(*is_own).values(lease_until=now + SLOT_LEASE))


@contextmanager
def keep_slot_renewed(
    database: Database, slot: JobSlot, owner: ProcessIdentity, clock: Clock, *, interval: float = RENEWAL_SECONDS
) -> Iterator[None]:
    """Renew the lease of a claimed slot every `interval` seconds until the end of the block."""
    is_over = threading.Event()

    def renew_until_over() -> None:
        while not is_over.wait(interval):
            with suppress(DBAPIError):  # if the database is down, the first process to claim the slot afterward gets it
                renew_slot(database, slot, owner, clock())

    thread = threading.Thread(target=renew_until_over, name=f"slot of {slot.job}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def complete_slot(database: Database, slot: JobSlot, outcome: str, now: datetime) -> None:
    """Mark a slot as done, storing a description of the outcome."""
    with database.write() as session:
        of_slot = update(ScheduleSlot).where(*_is_slot(slot))
        session.execute(of_slot.values(done_at=now, outcome=outcome))


def postpone_slot(database: Database, slot: JobSlot, outcome: str, until: datetime) -> None:
    """Leave a slot open after a failure, so that it can be claimed again from `until` on."""
    with database.write() as session:
        of_slot = update(ScheduleSlot).where(*_is_slot(slot))
        session.execute(of_slot.values(lease_until=until, outcome=outcome))


def find_completed_slots(database: Database, job: str, moments: Collection[datetime]) -> set[JobSlot]:
    """Return those of a job's slots at `moments` that are completed."""
    query = select(ScheduleSlot.at).where(
        ScheduleSlot.job == job, ScheduleSlot.at.in_(moments), ScheduleSlot.done_at.is_not(None)
    )
    with database.read() as session:
        return {JobSlot(job, at) for at in session.scalars(query)}


def find_open_slot(database: Database, job: str) -> datetime | None:
    """Return the time of a job's latest slot, or None if there's no slot or the slot is done."""
    query = select(ScheduleSlot.at, ScheduleSlot.done_at).where(ScheduleSlot.job == job)
    with database.read() as session:
        newest_first = query.order_by(ScheduleSlot.at.desc())
        newest = session.execute(newest_first.limit(1)).one_or_none()
    return newest.at if newest and newest.done_at is None else None


def find_schedule_start(session: Session) -> datetime | None:
    """Return the time since which the schedule has been followed, or None if it never has been."""
    looks = select(ScheduleSlot.at).where(ScheduleSlot.job == FIRST_LOOK_JOB)
    query = looks.order_by(ScheduleSlot.at).limit(1)
    return session.scalar(query)


def find_or_record_schedule_start(database: Database, now: datetime) -> datetime:
    """Return the time since which the schedule has been followed, recording `now` as that time if there's none.

    Jobs from before that time aren't due.
    """
    with database.read() as session:
        since = find_schedule_start(session)
    if since is None:
        with database.write() as session:
            session.add(ScheduleSlot(job=FIRST_LOOK_JOB, at=now, owner="-", lease_until=now, done_at=now))
        return now
    return since


SCHEDULER_STATE_KEY = "scheduler"
PAGES_STATE_KEY = "pages without schedule"
MAX_UNSEEN = timedelta(minutes=5)  # running processes are recorded every minute


def record_scheduler_seen(database: Database, now: datetime) -> None:
    """Record that the scheduler is running, replacing the previous such record."""
    _record_seen(database, SCHEDULER_STATE_KEY, {}, now)


def record_unscheduled_pages_seen(database: Database, since: datetime, now: datetime) -> None:
    """Record that a process without a scheduler, which started at `since`, is serving pages."""
    _record_seen(database, PAGES_STATE_KEY, {"since": since.isoformat()}, now)


def _record_seen(database: Database, name: str, value: dict[str, str], now: datetime) -> None:
    values = {"value": value, "at": now}
    with database.write() as session:
        statement = upsert(session, StoredInstallationValue).values(name=name, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def find_scheduler_seen(session: Session) -> datetime | None:
    """Return when the scheduler was last known to be running, or None if it never has been."""
    of_scheduler = StoredInstallationValue.name == SCHEDULER_STATE_KEY
    return session.scalar(select(StoredInstallationValue.at).where(of_scheduler))


def is_schedule_off_by_choice(session: Session, now: datetime) -> bool:
    """Return True if the schedule was turned off on purpose.

    This is the case if a process that serves pages without a scheduler was just seen, and no
    scheduler was seen after that process started. A scheduler seen later must have stopped for
    another reason.
    """
    pages = session.get(StoredInstallationValue, PAGES_STATE_KEY)
    if pages is None or now - pages.at > MAX_UNSEEN:
        return False
    scheduler_seen_at = find_scheduler_seen(session)
    return scheduler_seen_at is None or scheduler_seen_at < datetime.fromisoformat(pages.value["since"])


def _is_slot(slot: JobSlot) -> tuple[ColumnElement[bool], ...]:
    return ScheduleSlot.job == slot.job, ScheduleSlot.at == slot.at
