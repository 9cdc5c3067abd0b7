"""The stored release calendar: loading it, changing it, and shelving drafts whose release is skipped."""

from collections.abc import Collection
from dataclasses import fields
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.calendar.edition_windows import name_edition
from digest.edition.calendar.release_calendar import (
    CalendarChange,
    PlannedRelease,
    ReleaseCalendar,
    StepRules,
    plan_steps,
)
from digest.settings import ScheduleSettings, SettingsFileContent
from digest.store.models import Edition, EditionState, ReleaseScheduleChange


def load_calendar(session: Session, file: SettingsFileContent) -> ReleaseCalendar:
    """Return the calendar: the schedule in the settings, with the editors' changes applied."""
    rows = session.scalars(select(ReleaseScheduleChange).order_by(ReleaseScheduleChange.id))
    names = [field.name for field in fields(CalendarChange)]
    changes = (CalendarChange(*(getattr(row, name) for name in names)) for row in rows)
    return ReleaseCalendar(file.schedule.send_rule, file.publication.zone, tuple(changes))


def build_step_rules(schedule: ScheduleSettings) -> StepRules:
    """Return the rules for the steps before a release."""
    return StepRules(schedule.draft_rule, schedule.deadline_hours, tuple(schedule.reminder_hours))


def find_deadline(session: Session, file: SettingsFileContent, edition: Edition) -> datetime | None:
    """Return the approval deadline of an upcoming edition, or None if it has none.

    It has none if its release is skipped or not in the calendar, if it's breaking news, or if
    editions are sent several times a day.
    """
    planned = load_calendar(session, file)
    is_planned = not (planned.rule.period or edition.is_breaking_news)
    release = planned.find_release(edition.release_at) if is_planned else None
    if release is None or release.is_skipped:
        return None
    return plan_steps(planned, release, build_step_rules(file.schedule)).deadline


def name_planned_edition(calendar: ReleaseCalendar, release: PlannedRelease, taken_names: Collection[str]) -> str:
    """Return the name of the edition planned for a release.

    An extra edition leaves the week's plain name to the scheduled one.
    """
    reserved = name_edition(release.release_at, calendar.zone, ())
    reserved_names = {*taken_names, reserved} if calendar.needs_name_suffix(release) else taken_names
    return name_edition(release.release_at, calendar.zone, reserved_names)


def make_calendar_change(
    calendar: ReleaseCalendar, release: PlannedRelease, release_at: datetime, *, changed_by: str, now: datetime
) -> CalendarChange:
    """Return the change that moves a release, or adds an extra one, to a given time."""
    return CalendarChange(_regular_day(calendar, release), release_at, False, changed_by, now)


def _regular_day(calendar: ReleaseCalendar, release: PlannedRelease) -> date | None:
    return release.regular_at.astimezone(calendar.zone).date() if release.regular_at else None


def store_calendar_change(
    session: Session,
    calendar: ReleaseCalendar,
    release: PlannedRelease,
    *,
    release_at: datetime,
    skipped: bool,
    actor: str,
    now: datetime,
) -> ReleaseScheduleChange | None:
    """Record that a release in the calendar, or a new extra one, is moved to `release_at` or skipped.

    Returns:
        The row, or None if the release is as scheduled again, in which case the row is removed.
    """
    row = _find_row(session, calendar, release)
    is_usual = release.regular_at == release_at and not skipped
    if is_usual:
        if row is not None:
            session.delete(row)
        return None
    if row is None:
        row = ReleaseScheduleChange()
        session.add(row)
    row.regular_on = _regular_day(calendar, release)
    row.release_at = None if release.regular_at == release_at else release_at
    row.skipped = skipped
    row.changed_by, row.changed_at = actor, now
    session.flush()
    return row


def remove_extra_release(session: Session, calendar: ReleaseCalendar, release: PlannedRelease) -> None:
    """Remove an extra release from the calendar. It must not have a draft."""
    session.delete(_find_row(session, calendar, release))


def _find_row(session: Session, calendar: ReleaseCalendar, release: PlannedRelease) -> ReleaseScheduleChange | None:
    changes = select(ReleaseScheduleChange).where(ReleaseScheduleChange.regular_on == _regular_day(calendar, release))
    if release.is_extra:
        changes = changes.where(ReleaseScheduleChange.release_at == release.release_at)
    return session.scalar(changes)


def shelve_draft(edition: Edition, change: ReleaseScheduleChange) -> None:
    """Shelve a draft whose release was skipped, so that the next edition covers its week."""
    edition.state = EditionState.CANCELLED
    change.set_aside = edition.id


def restore_shelved_draft(session: Session, calendar: ReleaseCalendar, release: PlannedRelease) -> Edition | None:
    """Restore and return the draft that was shelved with a release, or return None if there's none."""
    row = _find_row(session, calendar, release)
    edition = session.get(Edition, row.set_aside) if row and row.set_aside else None
    if row is not None:
        row.set_aside = None
    if edition is None or edition.state != EditionState.CANCELLED or edition.planned_at:
        return None
    edition.state = EditionState.INCOMPLETE if edition.held_because else EditionState.DRAFT
    return edition
