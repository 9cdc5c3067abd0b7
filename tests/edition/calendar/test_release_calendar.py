from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.edition.calendar.calendar_store import name_planned_edition
from digest.edition.calendar.release_calendar import (
    CalendarChange,
    PlannedRelease,
    ReleaseCalendar,
    StepRules,
    explain_unusable_time,
    list_calendar_job_times,
    plan_steps,
)
from digest.timetable import parse_schedule_rule
from tests.moments import MONDAY_MORNING as MONDAY

NEW_YORK = ZoneInfo("America/New_York")
FRIDAYS = parse_schedule_rule("fri 06:00")
RULES = StepRules(parse_schedule_rule("thu 17:30"), 10, (11,))
DAY = timedelta(days=1)


def local(text: str) -> datetime:
    """Read a moment of New York, such as 2026-11-20T06:00."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def changed(day: str | None, to: str | None = None, *, skipped: bool = False) -> CalendarChange:
    """Make a change of the release of a day, or an extra one."""
    return CalendarChange(
        date.fromisoformat(day) if day else None, local(to) if to else None, skipped, "staff 1", MONDAY - 9 * DAY
    )


def calendar_with(*changes: CalendarChange, rule: str = "fri 06:00") -> ReleaseCalendar:
    return ReleaseCalendar(parse_schedule_rule(rule), NEW_YORK, changes)


def days(releases: Iterable[PlannedRelease]) -> list[str]:
    """Write when releases are, in New York; of a skipped one in brackets."""
    written = [(f"{r.release_at.astimezone(NEW_YORK):%m-%d %H:%M}", r.is_skipped) for r in releases]
    return [f"({text})" if skipped else text for text, skipped in written]


def written(moments: Iterable[datetime]) -> list[str]:
    return [f"{at.astimezone(NEW_YORK):%a %m-%d %H:%M}" for at in moments]


def test_without_changes_the_calendar_is_the_timetable() -> None:
    assert days(calendar_with().next_releases(MONDAY, 3)) == ["11-20 06:00", "11-27 06:00", "12-04 06:00"]
    last = local("2026-11-13T06:00")
    assert calendar_with().latest_release(MONDAY) == PlannedRelease(last, last)


def test_a_skipped_a_moved_and_an_extra_release_stand_in_their_order() -> None:
    calendar = calendar_with(
        changed("2026-11-27", skipped=True),
        changed("2026-12-04", "2026-12-03T09:00"),
        changed(None, "2026-12-08T12:00"),
    )
    releases = calendar.next_releases(MONDAY, 5)
    assert days(releases) == ["11-20 06:00", "(11-27 06:00)", "12-03 09:00", "12-08 12:00", "12-11 06:00"]
    assert [(r.is_moved, r.is_extra) for r in releases[2:4]] == [(True, False), (False, True)]
    assert days([calendar.next_release(releases[0].release_at)]) == ["12-03 09:00"]
    latest = calendar.latest_release(local("2026-12-01T00:00"))
    assert latest == releases[0]


def test_drafts_reminders_and_deadline_follow_a_release_that_is_moved() -> None:
    calendar = calendar_with(changed("2027-01-01", "2026-12-31T06:00"))
    (moved,) = [r for r in calendar.next_releases(MONDAY, 8) if r.is_moved]
    steps = plan_steps(calendar, moved, RULES)
    assert written([*steps.drafts, *steps.reminders, steps.deadline]) == [
        "Wed 12-30 17:30",
        "Wed 12-30 19:00",
        "Wed 12-30 20:00",
    ]


def test_an_extra_release_is_drafted_the_day_before_and_after_the_release_before_it() -> None:
    tuesday, evening = changed(None, "2026-12-08T12:00"), changed(None, "2026-12-11T18:00")
    calendar = calendar_with(tuesday, evening)
    steps = [plan_steps(calendar, r, RULES) for r in calendar.next_releases(local("2026-12-05T00:00"), 3)]
    assert written(steps[0].drafts) == ["Mon 12-07 17:30"]
    assert written([steps[0].deadline]) == ["Mon 12-07 20:00"]
    assert written(steps[1].drafts) == ["Thu 12-10 17:30"]
    # Twelve hours after a release: drafted an hour after it, and to be approved until it goes out.
    assert written(steps[2].drafts) == ["Fri 12-11 07:00"]
    assert written([steps[2].deadline]) == ["Fri 12-11 18:00"]


def test_a_skipped_release_has_no_steps_and_takes_none_of_the_next() -> None:
    calendar = calendar_with(changed("2026-11-20", skipped=True))
    moments = list_calendar_job_times(calendar, RULES, MONDAY)
    assert [text for text in written(moments["draft"]) if "11-19" in text or "11-26" in text] == ["Thu 11-26 17:30"]


def test_a_change_that_comes_after_its_deadline_has_until_the_release() -> None:
    late = CalendarChange(date(2026, 11, 20), local("2026-11-19T18:00"), False, "staff 1", local("2026-11-19T09:00"))
    calendar = calendar_with(late)
    steps = plan_steps(calendar, calendar.next_release(MONDAY), RULES)
    assert steps.deadline == local("2026-11-19T18:00")
    assert steps.reminders == ()


@pytest.mark.parametrize(
    ("rule", "around", "release", "deadline"),
    [
        # 02:30 does not exist on March 14, 2027: the next minute that does. Hours are reckoned from the usual clock time.
        ("sun 02:30", "2027-03-10T00:00", "2027-03-14T03:00", "2027-03-13T16:30"),
        # 01:30 comes twice on November 7, 2027: the first.
        ("sun 01:30", "2027-11-03T00:00", "2027-11-07T01:30", "2027-11-06T15:30"),
        ("sun 20:00", "2027-11-03T00:00", "2027-11-07T20:00", "2027-11-07T10:00"),
    ],
)
def test_hours_that_a_clock_change_leaves_out_or_repeats(rule: str, around: str, release: str, deadline: str) -> None:
    calendar = calendar_with(rule=rule)
    planned = calendar.next_release(local(around))
    assert planned.release_at == local(release)
    steps = plan_steps(calendar, planned, StepRules(parse_schedule_rule("sat 12:00"), 10))
    assert steps.deadline == local(deadline)


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("2026-11-16T10:30", "less than an hour"),
        ("2028-11-16T10:00", "a year"),
        ("2026-11-20T11:00", "six hours"),
        ("2026-12-05T06:00", "seven days"),
        ("2026-11-24T09:00", "order of editions"),
        ("2026-12-04T06:00", "skipped edition"),
        ("2026-12-03T06:00", ""),
        ("2026-11-25T18:00", ""),
    ],
)
def test_a_release_moves_within_bounds_that_keep_the_order(to: str, why: str) -> None:
    calendar = calendar_with(changed("2026-12-04", skipped=True), changed(None, "2026-11-25T06:00"))
    second = calendar.next_releases(MONDAY, 3)[2]
    reason = explain_unusable_time(calendar, local(to), moved_release=second, now=MONDAY)
    assert why in " ".join(reason)
    assert bool(why) == bool(reason)


def test_an_extra_edition_leaves_the_plain_name_of_its_week_to_the_usual_one() -> None:
    calendar = calendar_with(changed(None, "2026-12-08T12:00"))
    extra, usual = calendar.next_releases(local("2026-12-05T00:00"), 2)
    assert name_planned_edition(calendar, extra, ()) == "2026-W50-2"
    assert name_planned_edition(calendar, usual, {"2026-W50-2"}) == "2026-W50"
    alone = calendar_with(changed(None, "2026-12-08T12:00"), changed("2026-12-11", skipped=True))
    assert name_planned_edition(alone, alone.next_release(local("2026-12-05T00:00")), ()) == "2026-W50"


moments_near = st.integers(-5 * 24, 5 * 24).map(lambda hours: timedelta(hours=hours))
rules = st.sampled_from(["fri 06:00", "mon,thu 17:30", "sun 02:30", "sun 01:30"])


@settings(deadline=None)
@given(
    rules,
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["skip", "move", "add"]), moments_near)),
    st.sampled_from(["2026-10-20T12:00", "2027-03-01T12:00"]),
)
def test_whatever_is_changed_each_release_has_its_steps_in_order_and_after_the_one_before(
    rule: str, acts: list[tuple[int, str, timedelta]], season: str
) -> None:
    """Changes that are admitted, in a spring or autumn with a clock change: nothing overlaps, nothing is lost."""
    start = local(season)
    calendar = calendar_with(rule=rule)
    for place, act, distance in acts:
        release = calendar.next_releases(start, 10)[place]
        calendar = apply_action(calendar, release, act, release.release_at + distance, start)
    end = start + timedelta(days=60)
    releases = list(takewhile(lambda r: r.release_at < end, calendar.iterate_releases(start)))
    assert [r.release_at for r in releases] == sorted(r.release_at for r in releases)
    live = [r for r in releases if not r.is_skipped]
    usual = (
        list(takewhile(lambda at: at < end - timedelta(days=8), FRIDAYS.iterate_times(start, NEW_YORK)))
        if "fri" in rule
        else []
    )
    assert {r.regular_at for r in releases} >= set(usual)
    for before, release in pairwise(live):
        assert release.release_at - before.release_at >= timedelta(hours=6)
        steps = plan_steps(calendar, release, RULES)
        assert list(steps.drafts) == sorted(steps.drafts)
        assert all(before.release_at < at < release.release_at for at in steps.drafts)
        assert steps.drafts or rule == "mon,thu 17:30"
        assert all(at < release.release_at for at in steps.reminders)
        assert max((*steps.drafts, before.release_at)) < steps.deadline <= release.release_at or not steps.drafts


def apply_action(
    calendar: ReleaseCalendar, release: PlannedRelease, act: str, to: datetime, now: datetime
) -> ReleaseCalendar:
    """Do an act where the calendar admits it."""
    day = release.regular_at.astimezone(NEW_YORK).date() if release.regular_at else None
    others = tuple(c for c in calendar.changes if c != release.change)
    if act == "skip" and not release.is_skipped:
        moved_to = release.release_at if release.is_moved or release.is_extra else None
        return ReleaseCalendar(calendar.rule, NEW_YORK, (*others, CalendarChange(day, moved_to, True, "", now)))
    if (
        act == "move"
        and not release.is_skipped
        and not explain_unusable_time(calendar, to, moved_release=release, now=now)
    ):
        return ReleaseCalendar(calendar.rule, NEW_YORK, (*others, CalendarChange(day, to, False, "", now)))
    if act == "add" and not explain_unusable_time(calendar, to, moved_release=None, now=now):
        return ReleaseCalendar(calendar.rule, NEW_YORK, (*calendar.changes, CalendarChange(None, to, False, "", now)))
    return calendar
