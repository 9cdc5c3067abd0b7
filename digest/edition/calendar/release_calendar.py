"""The calendar of releases: the timetable with what editors changed in it, and the steps before each release.

Pure decisions: rules, changes and moments in, named moments out. A wall-clock time that the clock leaves out is the next
minute that exists, one that comes twice is the first, as for the timetable.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from digest.timetable import ScheduleRule, resolve_wall_time

MAX_MOVE = timedelta(days=7)  # how far from its usual day a release may be moved
MIN_DISTANCE = timedelta(hours=6)  # between two releases, so that each can be drafted and approved
MIN_NOTICE = timedelta(hours=1)  # between a change and the release that it brings
MAX_AHEAD = timedelta(days=366)  # how far ahead a release may be changed
DRAFT_DELAY = timedelta(hours=1)  # after the release before, where the usual time of drafting would lie before that
MAX_LATENESS = timedelta(days=1)  # after the release, within which a deadline still decides
_LOOKBACK = timedelta(days=62)  # in which the latest release is looked for: eight weeks may have been skipped
_MAX_SKIPPED = 400  # releases in a row that are looked through for one that is not skipped


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """What editors changed about one release.

    `regular_on` is the day, in the publication's zone, on which the timetable releases it; None for an extra one. `release_at`
    (UTC) is when it is released instead, or the extra one is; None where it is only skipped.
    """

    regular_on: date | None
    release_at: datetime | None
    skipped: bool
    changed_by: str  # an actor's name
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """A release by the calendar. `release_at` is when it is, or would be if it were not skipped; `regular_at` by the timetable."""

    release_at: datetime
    regular_at: datetime | None
    change: CalendarChange | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether nothing is released then."""
        return self.change is not None and self.change.skipped

    @property
    def is_extra(self) -> bool:
        """Whether it stands in no timetable."""
        return self.regular_at is None

    @property
    def is_moved(self) -> bool:
        """Whether it is released at another time than usual."""
        return self.regular_at is not None and self.release_at != self.regular_at


@dataclass(frozen=True, slots=True)
class ReleaseCalendar:
    """The timetable's releases in a zone, with the changes."""

    rule: ScheduleRule
    zone: ZoneInfo
    changes: tuple[CalendarChange, ...] = ()

    def iterate_releases(self, after: datetime) -> Iterator[PlannedRelease]:
        """Yield the releases that lie after a moment in their order, without end, the skipped ones too."""
        if self.rule.period:
            yield from (PlannedRelease(at, at) for at in self.rule.iterate_times(after, self.zone))
            return
        by_day = {change.regular_on: change for change in self.changes if change.regular_on}
        waiting = self._list_extras(after)
        heapify(waiting)
        # A moved release may pass its neighbours, so what is yielded waits until none that follows can come before it.
        for number, regular_at in enumerate(self.rule.iterate_times(after - MAX_MOVE, self.zone)):
            change = by_day.get(regular_at.astimezone(self.zone).date())
            release = PlannedRelease(change.release_at or regular_at if change else regular_at, regular_at, change)
            if release.release_at > after:
                heappush(waiting, (release.release_at, number, release))
            while waiting and waiting[0][0] <= regular_at - MAX_MOVE:
                yield heappop(waiting)[2]

    def _list_extras(self, after: datetime) -> list[tuple[datetime, int, PlannedRelease]]:
        """List the extra releases after a moment; of several at once the last one that was made comes first."""
        extras = enumerate(change for change in self.changes if change.regular_on is None)
        return [
            (extra.release_at, -number - 1, PlannedRelease(extra.release_at, None, extra))
            for number, extra in extras
            if extra.release_at and extra.release_at > after
        ]

    def next_releases(self, after: datetime, count: int) -> tuple[PlannedRelease, ...]:
        """Return the next releases after a moment, the skipped ones too."""
        return tuple(islice(self.iterate_releases(after), count))

    def next_release(self, after: datetime) -> PlannedRelease:
        """Return the first release after a moment that is not skipped."""
        releases = list(islice(self.iterate_releases(after), _MAX_SKIPPED))
        return next((release for release in releases if not release.is_skipped), releases[-1])

    def latest_release(self, moment: datetime) -> PlannedRelease | None:
        """Return the last release that is not after a moment and not skipped; None where there was none for two months."""
        if self.rule.period:
            at = self.rule.latest_time(moment, self.zone)
            return PlannedRelease(at, at)
        past = takewhile(lambda release: release.release_at <= moment, self.iterate_releases(moment - _LOOKBACK))
        return max((r for r in past if not r.is_skipped), key=lambda r: r.release_at, default=None)

    def find_release(self, release_at: datetime) -> PlannedRelease | None:
        """Return the release of a moment, skipped or not; None where the calendar has none then."""
        found = next(self.iterate_releases(release_at - timedelta(microseconds=1)))
        return found if found.release_at == release_at else None

    def find_releases_on(self, day: date, now: datetime) -> tuple[PlannedRelease, ...]:
        """Return the releases to come that are, or would by the timetable be, on a day of the zone."""
        start = max(now, resolve_wall_time(day, datetime.min.time(), self.zone) - MAX_MOVE)
        end = start + 2 * MAX_MOVE + timedelta(days=2)
        near = takewhile(lambda release: release.release_at < end, self.iterate_releases(start))
        return tuple(
            release
            for release in near
            if day in {at.astimezone(self.zone).date() for at in (release.release_at, release.regular_at) if at}
        )

    def is_named_after_another(self, release: PlannedRelease) -> bool:
        """Return whether the plain name of a release's week is another release's: an extra one takes `-2` and so on then."""
        if not release.is_extra:
            return False
        week = _iso_week(release.release_at, self.zone)
        start = release.release_at - timedelta(days=8)
        near = takewhile(lambda r: r.release_at < release.release_at + timedelta(days=8), self.iterate_releases(start))
        return any(not r.is_extra and not r.is_skipped and _iso_week(r.release_at, self.zone) == week for r in near)


def _iso_week(moment: datetime, zone: ZoneInfo) -> tuple[int, int]:
    year, week, _ = moment.astimezone(zone).isocalendar()
    return year, week


@dataclass(frozen=True, slots=True)
class StepRules:
    """When what comes before a release happens: hours of the wall clock, before the usual clock time on its day."""

    draft_rule: ScheduleRule
    deadline_hours: float = 0
    reminder_hours: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseSteps:
    """What happens before a release, in UTC: its drafts, the reminders to editors, and until when it is to be approved.

    Without `drafts` it is drafted by the timetable alone, several times a day.
    """

    drafts: tuple[datetime, ...]
    reminders: tuple[datetime, ...]
    deadline: datetime


def plan_steps(calendar: ReleaseCalendar, release: PlannedRelease, rules: StepRules) -> ReleaseSteps:
    """Decide when a release is drafted, editors are reminded, and its deadline is.

    Drafts keep their distance in days and their clock time, after the release before. A deadline that would lie before the
    last draft, or before the change that brought the release, is the release itself; such reminders fall away.
    """
    if release.is_skipped or calendar.rule.period:
        return ReleaseSteps((), (), release.release_at)
    drafts = () if rules.draft_rule.period else tuple(_plan_drafts(calendar, release, rules.draft_rule))
    changed = [release.change.changed_at] if release.change else []
    earliest = max((*drafts[-1:], *changed), default=datetime.min.replace(tzinfo=UTC))
    deadline = _hours_before(calendar, release, rules.deadline_hours)
    if deadline <= earliest:
        deadline = release.release_at
    reminders = {_hours_before(calendar, release, hours) for hours in rules.reminder_hours}
    kept = sorted(at for at in reminders if earliest < at < release.release_at)
    return ReleaseSteps(drafts, tuple(kept), deadline)


def _plan_drafts(calendar: ReleaseCalendar, release: PlannedRelease, rule: ScheduleRule) -> list[datetime]:
    zone = calendar.zone
    day = release.release_at.astimezone(zone).date()
    usual = [
        resolve_wall_time(day - timedelta(days=n), rule.at, zone) for n in _draft_distances(calendar, release, rule)
    ]
    before = calendar.latest_release(release.release_at - timedelta(microseconds=1))
    drafts = [at for at in usual if at < release.release_at and (before is None or at > before.release_at)]
    if usual and not drafts and before is not None:
        return [min(before.release_at + DRAFT_DELAY, release.release_at - DRAFT_DELAY)]
    return drafts


def _draft_distances(calendar: ReleaseCalendar, release: PlannedRelease, rule: ScheduleRule) -> list[int]:
    """Return how many days before the release each draft is made, the first first; an extra one is drafted once, the day before."""
    zone = calendar.zone
    regular_at = release.regular_at
    if regular_at is None:
        return [1]
    before = calendar.rule.latest_time(regular_at - timedelta(microseconds=1), zone)
    times = takewhile(lambda at: at < regular_at, rule.iterate_times(before, zone))
    return [(regular_at.astimezone(zone).date() - at.astimezone(zone).date()).days for at in times]


def _hours_before(calendar: ReleaseCalendar, release: PlannedRelease, hours: float) -> datetime:
    """Reckon from the usual clock time on the release's day, so that a deadline at 8 p.m. stays one whatever the hour."""
    day = release.release_at.astimezone(calendar.zone).date()
    local = datetime.combine(day, calendar.rule.at) - timedelta(hours=hours)
    return min(resolve_wall_time(local.date(), local.time(), calendar.zone), release.release_at)


def list_step_moments(
    calendar: ReleaseCalendar,
    rules: StepRules,
    now: datetime,
) -> dict[str, list[datetime]]:
    """List the moments around now at which a job of the calendar is due, by the job's name.

    At the deadline, and once more at the release, it is decided what becomes of an edition that is not approved.
    """
    moments: dict[str, list[datetime]] = {"draft": [], "remind": [], "deadline": []}
    if calendar.rule.period:
        return moments
    near = takewhile(lambda r: r.release_at < now + 2 * MAX_MOVE, calendar.iterate_releases(now - 2 * MAX_MOVE))
    for release in near:
        if not release.is_skipped:
            steps = plan_steps(calendar, release, rules)
            moments["draft"] += steps.drafts
            moments["remind"] += steps.reminders
            moments["deadline"] += sorted({steps.deadline, release.release_at})
    return moments


def find_latest_step(
    calendar: ReleaseCalendar, rules: StepRules, now: datetime, job: str
) -> tuple[PlannedRelease, datetime] | None:
    """Return the release that a job of the calendar is due for at `now`, and since when; None where it is due for none.

    `job` is `remind` or `deadline`, which is due at the deadline and once more at the release.
    """
    if calendar.rule.period:
        return None
    near = takewhile(lambda r: r.release_at < now + 2 * MAX_MOVE, calendar.iterate_releases(now - 2 * MAX_MOVE))
    found: list[tuple[PlannedRelease, datetime]] = []
    for release in near:
        steps = plan_steps(calendar, release, rules)
        moments = steps.reminders if job == "remind" else (steps.deadline, release.release_at)
        if not release.is_skipped:
            found += [(release, at) for at in moments if at <= now]
    return max(found, key=lambda step: (step[1], step[0].release_at), default=None)


class DeadlineDecision(StrEnum):
    """What becomes of an edition at its deadline, and again at its release."""

    NOTHING = "nothing"  # it is approved or further, or nothing is drafted
    WAIT = "wait"
    SKIP = "skip"
    SEND_VERSION = "send-last-approved"
    MISSED = "missed"  # its send time was a day ago, or more


def decide_at_deadline(
    rule: str, *, unapproved: bool, has_version: bool, release_at: datetime, now: datetime
) -> DeadlineDecision:
    """Decide by the setting `at_deadline`. `has_version`: it has an approved version that nobody took back.

    Where a version should go and there is none, the edition waits. A day after the release nothing is sent or skipped any
    more: late mail may be wrong mail, as for what is approved.
    """
    if not unapproved:
        return DeadlineDecision.NOTHING
    if now > release_at + MAX_LATENESS:
        return DeadlineDecision.MISSED
    if rule == DeadlineDecision.SKIP:
        return DeadlineDecision.SKIP
    if rule == DeadlineDecision.SEND_VERSION and has_version:
        return DeadlineDecision.SEND_VERSION
    return DeadlineDecision.WAIT


NO_SINGLE_SEND_TIME = (
    "Editions are sent every few hours or minutes, so there's no single send time to change.",
    "Ask an admin to change the schedule.",
)


def explain_unfit_moment(
    calendar: ReleaseCalendar, at: datetime, *, moved: PlannedRelease | None, now: datetime
) -> tuple[str, ...]:
    """Explain why an edition can't be sent at a moment, and what to do; empty if it can. `moved` is the release to put there."""
    return next(_find_obstacles(calendar, at, moved, now), ())


def _find_obstacles(
    calendar: ReleaseCalendar, at: datetime, moved: PlannedRelease | None, now: datetime
) -> Iterator[tuple[str, str]]:
    if calendar.rule.period:
        yield NO_SINGLE_SEND_TIME
    if at < now + MIN_NOTICE:
        yield "This time is in the past or less than an hour from now.", "Choose a later time."
    if at > now + MAX_AHEAD:
        yield "This time is more than a year ahead.", "Choose an earlier time."
        return
    if moved and moved.regular_at and abs(at - moved.regular_at) > MAX_MOVE:
        yield "This is more than seven days from its usual time.", "Skip the edition, and add an extra one then."
    others = [r for r in _releases_near(calendar, at) if moved is None or r.release_at != moved.release_at]
    yield from _find_neighbour_obstacles(others, at, moved)


def _find_neighbour_obstacles(
    others: Iterable[PlannedRelease], at: datetime, moved: PlannedRelease | None
) -> Iterator[tuple[str, str]]:
    if any(r.release_at == at and r.is_skipped for r in others):
        yield "There's a skipped edition at this time.", "Restore it instead."
    live = [r.release_at for r in others if not r.is_skipped]
    if any(abs(other - at) < MIN_DISTANCE for other in live):
        yield "Another edition is sent less than six hours from this time.", "Choose a different time."
    start, end = sorted((at, moved.release_at)) if moved else (at, at)
    if any(start < other < end for other in live):
        yield "This would change the order of editions.", "Choose a time between the previous and the next edition."


def _releases_near(calendar: ReleaseCalendar, at: datetime) -> list[PlannedRelease]:
    span = 3 * MAX_MOVE
    return list(takewhile(lambda r: r.release_at < at + span, calendar.iterate_releases(at - span)))
