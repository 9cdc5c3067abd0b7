"""Upcoming steps of the calendar and the schedule, and jobs that were missed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.calendar import calendar_store, release_calendar
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseSteps, plan_steps
from digest.edition.edition_queries import IS_REGULAR
from digest.settings import SettingsFileContent
from digest.store.models import Edition, ScheduleSlot
from digest.store.schedule_slots import MAX_JOB_LATENESS, find_schedule_start, is_job_running
from digest.timetable import JobSlot, ScheduleRule, find_due_jobs, parse_schedule_rule
from subscribers.english_text import clock_hour, short_month_day, weekday_month_day

# A quiet time. If a clock change skips it, the job runs at the next minute that exists.
NIGHTLY_RULE = parse_schedule_rule("daily 03:30")
LOOK_AHEAD = timedelta(days=14)
JOB_NAMES = {
    "collect": "collection",
    "draft": "draft",
    "remind": "approval reminder",
    "deadline": "deadline check",
    "nightly": "nightly maintenance",
}


def list_schedule_rules(file: SettingsFileContent) -> dict[str, tuple[ScheduleRule, ...]]:
    """Return the rules of each scheduled job, by job name.

    Their times are in addition to those of the release calendar.
    """
    schedule = file.schedule
    # Drafts for specific days follow the calendar. Several drafts a day follow only the schedule.
    by_rule = (schedule.draft_rule,) if schedule.draft_rule.period or schedule.send_rule.period else ()
    return {
        "collect": schedule.collect_rules,
        "draft": by_rule,
        "remind": (),
        "deadline": (),
        "nightly": (NIGHTLY_RULE,),
        "backup": file.backup.rules,
    }


@dataclass(frozen=True, slots=True)
class UpcomingStep:
    """A step described in words, and its time in UTC."""

    at: datetime
    what: str

    def describe(self, file: SettingsFileContent) -> str:
        """Return the step's day and hour in the publication's time zone, followed by its description."""
        local = self.at.astimezone(file.publication.zone)
        return f"{local:%a} {short_month_day(local)}, {clock_hour(local)}: {self.what}"


def list_upcoming_steps(session: Session, file: SettingsFileContent, now: datetime) -> list[UpcomingStep]:
    """Return the steps of editions in the next 14 days, and the next collection and backup."""
    calendar = calendar_store.load_calendar(session, file)
    rules = calendar_store.build_step_rules(file.schedule)
    names = set(session.scalars(select(Edition.name)))
    steps: list[UpcomingStep] = []
    end = now + LOOK_AHEAD
    # A release can be later than the end of the period and still have steps within it.
    near = takewhile(lambda r: r.release_at < end + release_calendar.MAX_MOVE, calendar.iterate_releases(now))
    for release in near if not calendar.rule.period else ():
        name = _find_name(session, release) or calendar_store.name_planned_edition(calendar, release, names)
        names.add(name)
        steps += _describe_release(name, release, plan_steps(calendar, release, rules))
    for job, description in (("collect", "sources are collected"), ("backup", "a backup is created")):
        at = _find_next_run(file, job, now)
        steps += [UpcomingStep(at, description)] if at else []
    coming = [step for step in steps if now < step.at <= end]
    return sorted(coming, key=lambda step: (step.at, step.what))


def find_next_collection(file: SettingsFileContent, now: datetime) -> datetime | None:
    """Return the time of the next scheduled collection, or None if there's none."""
    return _find_next_run(file, "collect", now)


def _find_next_run(file: SettingsFileContent, job: str, now: datetime) -> datetime | None:
    zone = file.publication.zone
    return min((rule.next_time(now, zone) for rule in list_schedule_rules(file)[job]), default=None)


def _find_name(session: Session, release: PlannedRelease) -> str | None:
    return session.scalar(select(Edition.name).where(IS_REGULAR, Edition.release_at == release.release_at))


def _describe_release(name: str, release: PlannedRelease, steps: ReleaseSteps) -> Iterator[UpcomingStep]:
    if release.is_skipped:
        yield UpcomingStep(release.release_at, f"{name} is skipped")
        return
    yield from (UpcomingStep(at, f"{name} is drafted") for at in steps.drafts)
    yield from (UpcomingStep(at, f"editors are reminded of {name} if it isn't approved") for at in steps.reminders)
    if steps.deadline < release.release_at:
        yield UpcomingStep(steps.deadline, f"approval deadline of {name}")
    yield UpcomingStep(release.release_at, f"{name} is sent if it's approved")


def find_missed_runs(session: Session, file: SettingsFileContent, now: datetime) -> Iterator[JobSlot]:
    """Yield overdue slots whose jobs haven't finished a run since the slot and aren't running now."""
    since = find_schedule_start(session)
    if since is None:
        return  # the scheduler has never run
    calendar = calendar_store.load_calendar(session, file)
    moment = now - MAX_JOB_LATENESS
    planned = release_calendar.list_calendar_job_times(calendar, calendar_store.build_step_rules(file.schedule), moment)
    for job in JOB_NAMES:
        rules = {job: list_schedule_rules(file)[job]}
        for slot in find_due_jobs(moment, rules, (), zone=calendar.zone, since=since, planned=planned):
            is_later_run_done = (ScheduleSlot.job == job, ScheduleSlot.at >= slot.at, ScheduleSlot.done_at.is_not(None))
            later_run = select(ScheduleSlot.at).where(*is_later_run_done).limit(1)
            if session.scalar(later_run) is None and not is_job_running(session, job, now):
                yield slot


def explain_missed_run(slot: JobSlot, file: SettingsFileContent) -> str:
    """Return a sentence about a missed job and what to check."""
    local = slot.at.astimezone(file.publication.zone)
    return (
        f"The {JOB_NAMES[slot.job]} due {weekday_month_day(local)}, {clock_hour(local)}, didn't run. "
        "Check that 'digest serve' or 'hls-scheduler' is running, and read its log."
    )
