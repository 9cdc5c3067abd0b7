"""The calendar of releases, and the actions that skip, move, add, and restore them.

Each action can be undone until the send time. When a release is skipped or restored, its draft is
shelved or restored with it. When a release is moved, its draft is rendered again for the new time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.calendar.release_drafts import (
    CalendarError,
    compose_moved_draft,
    find_movable_draft,
    is_draft_unchanged,
    refuse_release_before_draft,
    refuse_taken_slot,
    store_moved_draft,
)
from digest.edition.approval.approved_versions import supersede_approval
from digest.edition.calendar import calendar_store, release_calendar
from digest.edition.calendar.release_calendar import (
    MAX_AHEAD,
    NO_SINGLE_SEND_TIME,
    PlannedRelease,
    ReleaseCalendar,
    ReleaseSteps,
    explain_unusable_time,
    plan_steps,
)
from digest.edition.editing.edit_log import load_edits
from digest.edition.edition_queries import (
    COMING_STATES,
    IS_REGULAR,
    OUTGOING_STATES,
    UNAPPROVED_STATES,
    find_next_release,
    make_release_slot_key,
    next_edition_number,
)
from digest.installation.audited_actions import SCHEDULER, Action, Actor, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.store.models import Edition
from digest.timetable import resolve_wall_time
from subscribers.english_text import clock_time, weekday_month_day

SKIP = Action("skipped release")
MOVE = Action("moved release")
ADD = Action("added release")
RESTORE = Action("restored release")
LISTED_RELEASES = 10
_MAX_ATTEMPTS = 5  # to move a draft that colleagues are editing


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """A release as listed in the calendar, with its draft, if any.

    `number` is None if the release is skipped. `edition` is its draft, if any, and `edit_count` the
    number of edits to it. `is_due` is True if the send time has passed and the edition hasn't been
    sent.
    """

    release: PlannedRelease
    steps: ReleaseSteps
    name: str
    number: int | None
    edition: Edition | None
    edit_count: int
    is_due: bool = False

    @property
    def is_drafted(self) -> bool:
        """True if the release has a draft that isn't shelved."""
        return self.edition is not None and not self.release.is_skipped


def read_calendar(installation: Installation, *, now: datetime, count: int = LISTED_RELEASES) -> list[CalendarEntry]:
    """Return the overdue editions, then the next `count` releases, including skipped ones."""
    file = installation.settings.file
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
        late = select(Edition).where(IS_REGULAR, Edition.state.in_(COMING_STATES), Edition.release_at <= now)
        due = [
            calendar.find_release(edition.release_at) or PlannedRelease(edition.release_at, edition.release_at)
            for edition in session.scalars(late.order_by(Edition.release_at))
        ]
        entries = _list_entries(session, installation, calendar, (*due, *calendar.next_releases(now, count)))
        return [replace(entry, is_due=entry.release.release_at <= now) for entry in entries]


def _list_entries(
    session: Session, installation: Installation, calendar: ReleaseCalendar, releases: tuple[PlannedRelease, ...]
) -> Iterator[CalendarEntry]:
    file = installation.settings.file
    rules = calendar_store.build_step_rules(file.schedule)
    slots = [make_release_slot_key(release.release_at) for release in releases]
    editions = session.scalars(select(Edition).where(Edition.slot.in_(slots)))
    drafted = {edition.slot: edition for edition in editions}
    names = set(session.scalars(select(Edition.name)))
    number = next_edition_number(session, file.publication.first_number)
    for release in releases:
        edition = drafted.get(make_release_slot_key(release.release_at))
        name = edition.name if edition else calendar_store.name_planned_edition(calendar, release, names)
        own_number: int | None = None
        if not release.is_skipped:
            names.add(name)
            own_number = edition.number if edition and edition.state in OUTGOING_STATES else number
            number = max(number, own_number + 1)
        yield CalendarEntry(
            release=release,
            steps=plan_steps(calendar, release, rules),
            name=name,
            number=own_number,
            edition=edition,
            edit_count=len(load_edits(session, edition)) if edition else 0,
        )


def list_calendar_job_times(installation: Installation, *, now: datetime) -> dict[str, list[datetime]]:
    """Return the times near `now` at which the calendar makes jobs due, by job name."""
    file = installation.settings.file
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
    return release_calendar.list_calendar_job_times(calendar, calendar_store.build_step_rules(file.schedule), now)


@dataclass(frozen=True, slots=True)
class MovePreview:
    """A release and its steps as they would be after a move."""

    release: PlannedRelease
    steps: ReleaseSteps


def preview_move(
    installation: Installation, release_at: datetime, day: date, clock: time, *, now: datetime
) -> MovePreview:
    """Return what a release and its steps would be after a move to a local day and time.

    Nothing is changed.

    Raises:
        CalendarError: there's no such release, or it can't be moved to that time.
    """
    file = installation.settings.file
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
    release = _require_release(calendar, release_at)
    at = _check_moment(calendar, day, clock, release, now)
    change = calendar_store.make_calendar_change(calendar, release, at, changed_by="", now=now)
    other_changes = [other for other in calendar.changes if other != release.change]
    changed = replace(calendar, changes=(*other_changes, change))
    moved_release = _require_release(changed, at)
    return MovePreview(
        moved_release, plan_steps(changed, moved_release, calendar_store.build_step_rules(file.schedule))
    )


def find_release(installation: Installation, text: str, *, now: datetime) -> PlannedRelease:
    """Return the upcoming release that `text` identifies.

    `text` is `next`, a day such as 2026-11-27, a day and time, or an edition's name.

    Raises:
        CalendarError: `text` has another form, or no release or more than one matches.
    """
    file = installation.settings.file
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
    if text == "next":
        return calendar.next_release(now)
    entries = read_calendar(installation, now=now, count=LISTED_RELEASES)
    if same_name := [entry.release for entry in entries if entry.name == text and not entry.is_due]:
        return same_name[0]
    releases = _find_releases_on(calendar, *_read_day(text), now)
    if len(releases) == 1:
        return releases[0]
    if not releases:
        raise CalendarError(f"No edition is scheduled for {text}.", "Choose an edition from 'digest calendar list'.")
    raise CalendarError(f"{len(releases)} editions are scheduled for {text}.", f"Add the time, such as {text}T06:00.")


def _find_releases_on(
    calendar: ReleaseCalendar, day: date, clock: time | None, now: datetime
) -> Sequence[PlannedRelease]:
    """Return a day's releases, or only the one at `clock`, if given.

    Return an empty sequence if the day is too far away.
    """
    if not now - MAX_AHEAD < datetime.combine(day, time(0), calendar.zone) < now + MAX_AHEAD:
        return ()
    releases = calendar.find_releases_on(day, now)
    clocks = [release.release_at.astimezone(calendar.zone).time() for release in releases]
    return [release for release, at in zip(releases, clocks, strict=True) if clock in (None, at)]


def _read_day(text: str) -> tuple[date, time | None]:
    try:
        if "T" in text:
            moment = datetime.fromisoformat(text)
            return moment.date(), moment.time()
        return date.fromisoformat(text), None
    except ValueError:
        raise CalendarError(
            f"{text} isn't a scheduled edition.", "Enter the edition's day (2026-11-27) or name (2026-W48), or 'next'."
        ) from None


def _start_of(calendar: ReleaseCalendar, day: date) -> datetime:
    return datetime.combine(day, time(0), calendar.zone)


# --- actions -------------------------------------------------------------------------------------------------


def skip_release(installation: Installation, release_at: datetime, *, actor: Actor, now: datetime) -> PlannedRelease:
    """Skip a release, so that its week is added to the next edition.

    Its draft is shelved. An extra release without a draft is removed.

    Raises:
        CalendarError: there's no such release, it's already skipped, its edition is approved or
            sent, or the schedule sends several times a day.
    """
    with SKIP.transaction(installation, actor, _subject(installation, release_at), now=now) as (session, audit):
        calendar = calendar_store.load_calendar(session, installation.settings.file)
        release = _require_release(calendar, release_at)
        _refuse_period(calendar)
        if release.is_skipped:
            raise CalendarError("This edition has already been skipped.", "Reload the calendar.")
        edition = find_movable_draft(session, release)
        if release.is_extra and edition is None:
            calendar_store.remove_extra_release(session, calendar, release)
            return release
        change = calendar_store.store_calendar_change(
            session, calendar, release, release_at=release.release_at, skipped=True, actor=actor.name, now=now
        )
        if edition is not None and change is not None:
            supersede_approval(session, edition, actor=actor.name, now=now, because="the edition was skipped")
            calendar_store.shelve_draft(edition, change)
            audit.detail = {"set aside": edition.name}
    return release


def add_release(installation: Installation, day: date, clock: time, *, actor: Actor, now: datetime) -> PlannedRelease:
    """Add an extra release on a given day and time in the publication's time zone, and return it.

    Raises:
        CalendarError: the send time can't be used.
    """
    with ADD.transaction(installation, actor, "calendar", now=now) as (session, audit):
        calendar = calendar_store.load_calendar(session, installation.settings.file)
        at = _check_moment(calendar, day, clock, None, now)
        refuse_release_before_draft(session, at, None)
        refuse_taken_slot(session, at)
        extra = PlannedRelease(at, None)
        calendar_store.store_calendar_change(
            session, calendar, extra, release_at=at, skipped=False, actor=actor.name, now=now
        )
        audit.subject = _subject(installation, at)
    return extra


def move_release(
    installation: Installation, release_at: datetime, day: date, clock: time, *, actor: Actor, now: datetime
) -> PlannedRelease:
    """Move a release to another day or time in the publication's time zone, and return it.

    Its draft is rendered again for the new time.

    Raises:
        CalendarError: there's no such release, it's skipped, its edition is approved or sent, or
            the new send time can't be used.
    """
    with MOVE.steps(installation, actor, _subject(installation, release_at), now=now) as audit:
        with installation.read() as session:
            calendar = calendar_store.load_calendar(session, installation.settings.file)
        release = _require_release(calendar, release_at)
        if release.is_skipped:
            raise CalendarError("This edition was skipped.", "Restore the edition first.")
        at = _check_moment(calendar, day, clock, release, now)
        if at == release.release_at:
            raise CalendarError("The edition already has this send time.", "Choose a different time.")
        return _relocate(installation, release, at, audit, actor=actor, now=now)


def restore_release(installation: Installation, release_at: datetime, *, actor: Actor, now: datetime) -> PlannedRelease:
    """Restore a skipped release with its shelved draft, or move a moved release back to its usual time.

    Raises:
        CalendarError: there's no such release, it has no usual time or is already at it, or the
            time can't be used.
    """
    with RESTORE.steps(installation, actor, _subject(installation, release_at), now=now) as audit:
        with installation.read() as session:
            calendar = calendar_store.load_calendar(session, installation.settings.file)
        release = _require_release(calendar, release_at)
        if release.is_skipped:
            _bring_back(installation, release, audit, actor=actor, now=now)
            return release
        if release.regular_at is None:
            raise CalendarError("Extra editions don't have a usual send time.", "To remove the edition, skip it.")
        if not release.is_moved:
            raise CalendarError("The edition is already scheduled for its usual time.", "Reload the calendar.")
        if reason := explain_unusable_time(calendar, release.regular_at, moved_release=release, now=now):
            raise CalendarError(*reason)
        return _relocate(installation, release, release.regular_at, audit, actor=actor, now=now)


def _bring_back(
    installation: Installation, release: PlannedRelease, audit: PendingAuditEntry, *, actor: Actor, now: datetime
) -> None:
    with installation.write() as session:
        calendar = calendar_store.load_calendar(session, installation.settings.file)
        if reason := explain_unusable_time(calendar, release.release_at, moved_release=release, now=now):
            raise CalendarError(*reason)
        refuse_release_before_draft(session, release.release_at, None)
        if edition := calendar_store.restore_shelved_draft(session, calendar, release):
            audit.detail = {"brought back": edition.name}
        calendar_store.store_calendar_change(
            session, calendar, release, release_at=release.release_at, skipped=False, actor=actor.name, now=now
        )
        audit.record(session)


def _relocate(
    installation: Installation,
    release: PlannedRelease,
    at: datetime,
    audit: PendingAuditEntry,
    *,
    actor: Actor,
    now: datetime,
) -> PlannedRelease:
    file = installation.settings.file
    for _ in range(_MAX_ATTEMPTS):
        with installation.read() as session:
            calendar = calendar_store.load_calendar(session, file)
            moved_draft = compose_moved_draft(session, installation, calendar, release, at)
        with installation.write() as session:
            if not is_draft_unchanged(session, calendar, installation, release, moved_draft):
                continue
            refuse_release_before_draft(session, at, release)
            refuse_taken_slot(session, at)
            calendar_store.store_calendar_change(
                session, calendar, release, release_at=at, skipped=False, actor=actor.name, now=now
            )
            if moved_draft:
                store_moved_draft(session, moved_draft, now)
            audit.detail = {"to": at.isoformat()}
            audit.record(session)
        return PlannedRelease(at, release.regular_at)
    raise CalendarError("Someone else is changing the edition.", "Try again.")


def follow_schedule(installation: Installation, *, now: datetime) -> str:
    """Move a draft whose send time is gone from the schedule to the next one, with its edits, and return its name.

    Return "" if there's none, it's approved, or it's being edited. If drafting it again moved it
    instead, the deadline and the reminders for the next send time would miss it until then.
    """
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, installation.settings.file)
        following, edition = find_next_release(session, calendar, now)
        at = following.release_at
        if (
            calendar.rule.period
            or edition is None
            or edition.state not in UNAPPROVED_STATES
            or edition.release_at == at
        ):
            return ""
        outdated = replace(following, release_at=edition.release_at)
        try:
            moved_draft = compose_moved_draft(session, installation, calendar, outdated, at)
        except CalendarError:  # the doctor reports a draft that was changed outside the program
            return ""
    subject = _subject(installation, outdated.release_at)
    with MOVE.transaction(installation, SCHEDULER, subject, now=now) as (session, audit):
        audit.changed = is_draft_unchanged(session, calendar, installation, outdated, moved_draft)
        if moved_draft is None or not audit.changed:
            return ""
        store_moved_draft(session, moved_draft, now)
        audit.detail = {"to": at.isoformat()}
    return moved_draft.identity.name


# --- checks --------------------------------------------------------------------------------------------------


def _subject(installation: Installation, release_at: datetime) -> str:
    local = release_at.astimezone(installation.settings.zone)
    return f"release {local:%Y-%m-%d %H:%M}"


def _require_release(calendar: ReleaseCalendar, release_at: datetime) -> PlannedRelease:
    release = calendar.find_release(release_at)
    if release is None:
        local = release_at.astimezone(calendar.zone)
        raise CalendarError(
            f"No edition is scheduled for {weekday_month_day(local)}, {clock_time(local)} anymore.",
            "Reload the calendar.",
        )
    return release


def _refuse_period(calendar: ReleaseCalendar) -> None:
    if calendar.rule.period:
        raise CalendarError(*NO_SINGLE_SEND_TIME)


def _check_moment(
    calendar: ReleaseCalendar, day: date, clock: time, moved_release: PlannedRelease | None, now: datetime
) -> datetime:
    if not now - MAX_AHEAD < _start_of(calendar, day) < now + MAX_AHEAD + timedelta(days=1):
        raise CalendarError("The day is in the past or more than a year ahead.", "Choose another day.")
    at = resolve_wall_time(day, clock, calendar.zone).astimezone(UTC)
    if reason := explain_unusable_time(calendar, at, moved_release=moved_release, now=now):
        raise CalendarError(*reason)
    return at
