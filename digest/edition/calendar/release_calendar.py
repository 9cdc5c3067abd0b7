"""The release calendar: the schedule with editors' changes, and the steps before each release.

All functions are pure. As in the schedule, a wall-clock time that's skipped becomes the next
existing minute, and the first of two occurrences counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile
from operator import attrgetter, itemgetter
from zoneinfo import ZoneInfo

from digest.timetable import ScheduleRule, resolve_wall_time

MAX_MOVE = timedelta(days=7)  # how far a release may be moved from its scheduled day
MIN_DISTANCE = timedelta(hours=6)  # between two releases, so that each can be drafted and approved
MIN_NOTICE = timedelta(hours=1)  # between a change and the resulting release
MAX_AHEAD = timedelta(days=366)  # how far in advance a release may be changed
DRAFT_DELAY = timedelta(hours=1)  # after the previous release, if drafting would otherwise precede it
MAX_LATENESS = timedelta(days=1)  # how long after the release a deadline still takes effect
_LOOKBACK = timedelta(days=62)  # how far back to look for the latest release; eight weeks may have been skipped
_MAX_SKIPPED = 400  # number of skipped releases in a row after which the search for another one ends


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """The editors' changes to one release.

    `regular_on` is its scheduled day in the publication's time zone, or None for an extra release.
    `release_at` (UTC) is the time of a moved or extra release, or None if it's only skipped.
    """

    regular_on: date | None
    release_at: datetime | None
    skipped: bool
    changed_by: str  # an actor's name
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """A release in the calendar.

    `release_at` is its time, even if it's skipped. `regular_at` is its scheduled time.
    """

    release_at: datetime
    regular_at: datetime | None
    change: CalendarChange | None = None

    @property
    def is_skipped(self) -> bool:
        """True if editors skipped the release."""
        return self.change is not None and self.change.skipped

    @property
    def is_extra(self) -> bool:
        """True if editors added the release to those in the schedule."""
        return self.regular_at is None

    @property
    def is_moved(self) -> bool:
        """True if editors moved the release from its scheduled time."""
        return self.regular_at is not None and self.release_at != self.regular_at


@dataclass(frozen=True, slots=True)
class ReleaseCalendar:
    """The scheduled releases in a time zone, with the editors' changes applied."""

    rule: ScheduleRule
    zone: ZoneInfo
    changes: tuple[CalendarChange, ...] = ()

    def iterate_releases(self, after: datetime) -> Iterator[PlannedRelease]:
        """Yield all releases after a time, including skipped ones, in order. The iterator never ends."""
        if self.rule.period:
            yield from (PlannedRelease(at, at) for at in self.rule.iterate_times(after, self.zone))
            return
        by_day = {change.regular_on: change for change in self.changes if change.regular_on}
        waiting = self._list_extras(after)
        heapify(waiting)
        # A moved release may pass its neighbors, so hold each back until no later one can precede it.
        for number, regular_at in enumerate(self.rule.iterate_times(after - MAX_MOVE, self.zone)):
            change = by_day.get(regular_at.astimezone(self.zone).date())
            release = _change_release(regular_at, change)
            if release.release_at > after:
                heappush(waiting, (release.release_at, number, release))
            while waiting and waiting[0][0] <= regular_at - MAX_MOVE:
                yield heappop(waiting)[2]

    def _list_extras(self, after: datetime) -> list[tuple[datetime, int, PlannedRelease]]:
        """Return the extra releases after a time.

        If several are at the same time, the latest change comes first.
        """
        extras = enumerate(change for change in self.changes if change.regular_on is None)
        return [
            (extra.release_at, -number - 1, PlannedRelease(extra.release_at, None, extra))
            for number, extra in extras
            if extra.release_at and extra.release_at > after
        ]

    def next_releases(self, after: datetime, count: int) -> tuple[PlannedRelease, ...]:
        """Return the next `count` releases after a time, including skipped ones."""
        return tuple(islice(self.iterate_releases(after), count))

    def next_release(self, after: datetime) -> PlannedRelease:
        """Return the first unskipped release after a time.

        If the next 400 are all skipped, return the last of them.
        """
        releases = list(islice(self.iterate_releases(after), _MAX_SKIPPED))
        return next((release for release in releases if not release.is_skipped), releases[-1])

    def latest_release(self, moment: datetime) -> PlannedRelease | None:
        """Return the last unskipped release in the two months up to a given time, or None if there was none."""
        if self.rule.period:
            at = self.rule.latest_time(moment, self.zone)
            return PlannedRelease(at, at)
        past = self.releases_between(moment - _LOOKBACK, moment + timedelta(microseconds=1))
        live = (release for release in past if not release.is_skipped)
        return max(live, key=attrgetter("release_at"), default=None)

    def releases_between(self, after: datetime, before: datetime) -> list[PlannedRelease]:
        """Return the releases strictly between two times, including skipped ones."""
        return list(takewhile(lambda release: release.release_at < before, self.iterate_releases(after)))

    def find_release(self, release_at: datetime) -> PlannedRelease | None:
        """Return the release at a given time, skipped or not, or None if there's none."""
        following = next(self.iterate_releases(release_at - timedelta(microseconds=1)))
        return following if following.release_at == release_at else None

    def find_releases_on(self, day: date, now: datetime) -> tuple[PlannedRelease, ...]:
        """Return the upcoming releases that take place, or were scheduled to, on a given local day.

        Skipped releases are included.
        """
        start = max(now, resolve_wall_time(day, datetime.min.time(), self.zone) - MAX_MOVE)
        near = self.releases_between(start, start + 2 * MAX_MOVE + timedelta(days=2))
        return tuple(release for release in near if day in self._list_days(release))

    def _list_days(self, release: PlannedRelease) -> list[date]:
        moments = filter(None, (release.release_at, release.regular_at))
        return [moment.astimezone(self.zone).date() for moment in moments]

    def needs_name_suffix(self, release: PlannedRelease) -> bool:
        """Return True if an extra release's name needs a suffix such as "-2".

        It does if a scheduled release has the week's plain name.
        """
        if not release.is_extra:
            return False
        at, span = release.release_at, timedelta(days=8)
        near = self.releases_between(at - span, at + span)
        regular = (other.release_at for other in near if not other.is_extra and not other.is_skipped)
        return self._iso_week(at) in map(self._iso_week, regular)

    def _iso_week(self, moment: datetime) -> tuple[int, int]:
        year, week, _ = moment.astimezone(self.zone).isocalendar()
        return year, week


def _change_release(regular_at: datetime, change: CalendarChange | None) -> PlannedRelease:
    release_at = (change and change.release_at) or regular_at
    return PlannedRelease(release_at, regular_at, change)


@dataclass(frozen=True, slots=True)
class StepRules:
    """The schedule of the steps before a release.

    `deadline_hours` and `reminder_hours` are in wall-clock hours before the usual time on the day
    of the release.
    """

    draft_rule: ScheduleRule
    deadline_hours: float = 0
    reminder_hours: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseSteps:
    """The times, in UTC, of the steps before a release: drafts, reminders to editors, and the approval deadline.

    `drafts` is empty if drafts are made several times a day.
    """

    drafts: tuple[datetime, ...]
    reminders: tuple[datetime, ...]
    deadline: datetime


def plan_steps(calendar: ReleaseCalendar, release: PlannedRelease, rules: StepRules) -> ReleaseSteps:
    """Return the times of a release's drafts, reminders, and deadline.

    Drafts keep their distance in days and their time of day, but come after the previous release. A
    deadline that would precede the last draft, or the change that caused the release, is moved to
    the release itself. Reminders that would precede either are dropped.
    """
    if release.is_skipped or calendar.rule.period:
        return ReleaseSteps((), (), release.release_at)
    drafts = () if rules.draft_rule.period else tuple(_plan_drafts(calendar, release, rules.draft_rule))
    changed = [release.change.changed_at] if release.change else []
    always = datetime.min.replace(tzinfo=UTC)
    earliest = max((always, *drafts[-1:], *changed))
    deadline = _hours_before(calendar, release, rules.deadline_hours)
    if deadline <= earliest:
        deadline = release.release_at
    reminders = {_hours_before(calendar, release, hours) for hours in rules.reminder_hours}
    reminder_times = sorted(at for at in reminders if earliest < at < release.release_at)
    return ReleaseSteps(drafts, tuple(reminder_times), deadline)


def _plan_drafts(calendar: ReleaseCalendar, release: PlannedRelease, rule: ScheduleRule) -> list[datetime]:
    day = release.release_at.astimezone(calendar.zone).date()
    days = (day - timedelta(days=distance) for distance in _draft_distances(calendar, release, rule))
    usual = [resolve_wall_time(day, rule.at, calendar.zone) for day in days]
    drafts = [at for at in usual if at < release.release_at]
    before = calendar.latest_release(release.release_at - timedelta(microseconds=1))
    if before is None:
        return drafts
    drafts = [at for at in drafts if at > before.release_at]
    if usual and not drafts:
        return [min(before.release_at + DRAFT_DELAY, release.release_at - DRAFT_DELAY)]
    return drafts


def _draft_distances(calendar: ReleaseCalendar, release: PlannedRelease, rule: ScheduleRule) -> list[int]:
    """Return the number of days from each draft to the release, first draft first.

    An extra edition is drafted the day before.
    """
    zone = calendar.zone
    regular_at = release.regular_at
    if regular_at is None:
        return [1]
    before = calendar.rule.latest_time(regular_at - timedelta(microseconds=1), zone)
    times = takewhile(lambda at: at < regular_at, rule.iterate_times(before, zone))
    release_day = regular_at.astimezone(zone).date()
    return [(release_day - at.astimezone(zone).date()).days for at in times]


def _hours_before(calendar: ReleaseCalendar, release: PlannedRelease, hours: float) -> datetime:
    """Return the time that's `hours` before the usual time on the day of the release.

    This way, an 8 p.m. deadline stays at 8 p.m. if the release is moved.
    """
    day = release.release_at.astimezone(calendar.zone).date()
    local = datetime.combine(day, calendar.rule.at) - timedelta(hours=hours)
    moment = resolve_wall_time(local.date(), local.time(), calendar.zone)
    return min(moment, release.release_at)


def list_calendar_job_times(
    calendar: ReleaseCalendar,
    rules: StepRules,
    now: datetime,
) -> dict[str, list[datetime]]:
    """Return, by job name, the times in the next two weeks when each calendar job is due.

    An unapproved edition's fate is decided at the deadline and again at the release.
    """
    moments: dict[str, list[datetime]] = {"draft": [], "remind": []}
    moments["deadline"] = []
    for release, steps in _list_near_steps(calendar, rules, now):
        moments["draft"] += steps.drafts
        moments["remind"] += steps.reminders
        moments["deadline"] += sorted({steps.deadline, release.release_at})
    return moments


def _list_near_steps(
    calendar: ReleaseCalendar,
    rules: StepRules,
    now: datetime,
) -> Iterator[tuple[PlannedRelease, ReleaseSteps]]:
    if not calendar.rule.period:
        for release in calendar.releases_between(now - 2 * MAX_MOVE, now + 2 * MAX_MOVE):
            if not release.is_skipped:
                yield release, plan_steps(calendar, release, rules)


def find_latest_step(
    calendar: ReleaseCalendar, rules: StepRules, now: datetime, job: str
) -> tuple[PlannedRelease, datetime] | None:
    """Return the release that a calendar job was last due for, and when it was due.

    `job` is "remind" or "deadline", which is due at the deadline and again at the release. Return
    None if the job wasn't due in the two weeks before `now`.
    """
    due: list[tuple[PlannedRelease, datetime]] = []
    for release, steps in _list_near_steps(calendar, rules, now):
        moments = steps.reminders if job == "remind" else (steps.deadline, release.release_at)
        due += [(release, at) for at in moments if at <= now]
    # If several are at the same time, the one of the last release.
    return max(reversed(due), key=itemgetter(1), default=None)


class DeadlineDecision(StrEnum):
    """What happens to an edition at its deadline and again at its release."""

    NOTHING = "nothing"  # it's approved, being sent, or sent, or there's no draft
    WAIT = "wait"
    SKIP = "skip"
    SEND_VERSION = "send-last-approved"
    MISSED = "missed"  # the send time was more than a day ago


def decide_at_deadline(
    rule: str, *, unapproved: bool, has_version: bool, release_at: datetime, now: datetime
) -> DeadlineDecision:
    """Decide what happens to an edition at its deadline.

    `rule` is the setting `at_deadline`, and `has_version` is whether there's an unrevoked approved
    version. If the rule is to send one but there's none, the edition waits. More than a day after the
    release, an unapproved edition is neither sent nor skipped, because its news may be out of date.
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


def explain_unusable_time(
    calendar: ReleaseCalendar, at: datetime, *, moved_release: PlannedRelease | None, now: datetime
) -> tuple[str, ...]:
    """Explain why an edition can't be sent at a given time, and what to do, or return () if it can.

    `moved_release` is the release that would be moved to this time, or None for an extra one.
    """
    return next(_find_obstacles(calendar, at, moved_release, now), ())


def _find_obstacles(
    calendar: ReleaseCalendar, at: datetime, moved_release: PlannedRelease | None, now: datetime
) -> Iterator[tuple[str, str]]:
    if calendar.rule.period:
        yield NO_SINGLE_SEND_TIME
    if at < now + MIN_NOTICE:
        yield "This time is in the past or less than an hour from now.", "Choose a later time."
    if at > now + MAX_AHEAD:
        yield "This time is more than a year ahead.", "Choose an earlier time."
        return
    if moved_release and moved_release.regular_at and abs(at - moved_release.regular_at) > MAX_MOVE:
        yield "This time is more than seven days from the usual one.", "Skip the edition, and add an extra one then."
    near = calendar.releases_between(at - 3 * MAX_MOVE, at + 3 * MAX_MOVE)
    other_releases = [
        release for release in near if moved_release is None or release.release_at != moved_release.release_at
    ]
    yield from _find_neighbor_obstacles(other_releases, at, moved_release)


def _find_neighbor_obstacles(
    other_releases: Iterable[PlannedRelease],
    at: datetime,
    moved_release: PlannedRelease | None,
) -> Iterator[tuple[str, str]]:
    skipped, live = set[datetime](), set[datetime]()
    for release in other_releases:
        (skipped if release.is_skipped else live).add(release.release_at)
    if at in skipped:
        yield "There's a skipped edition at this time.", "Restore the skipped edition instead."
    if any(abs(neighbor - at) < MIN_DISTANCE for neighbor in live):
        yield "Another edition is sent less than six hours from this time.", "Choose a different time."
    start, end = sorted((at, moved_release.release_at if moved_release else at))
    if any(start < neighbor < end for neighbor in live):
        yield "This would change the order of editions.", "Choose a time between the previous and the next edition."
