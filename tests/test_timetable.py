from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.timetable import JobSlot, find_due_jobs, parse_schedule_rule, resolve_wall_time

NEW_YORK = ZoneInfo("America/New_York")
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
RULES = st.sampled_from(
    ["daily 06:00", "fri 06:00", "mon,thu 17:30", "sun 01:30", "sun 02:30", "every 5m", "every 36h"]
)
ZONES = st.sampled_from(
    ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"]
)


@given(RULES, MOMENTS, ZONES)
def test_last_and_next_enclose_the_moment(text: str, moment: datetime, zone: str) -> None:
    rule, where = parse_schedule_rule(text), ZoneInfo(zone)
    last, following = rule.latest_time(moment, where), rule.next_time(moment, where)
    assert last <= moment < following
    assert rule.next_time(last, where) == following
    assert rule.latest_time(following - timedelta(microseconds=1), where) == last


@given(MOMENTS, ZONES, st.times())
def test_a_wall_time_happens_once_a_day_and_in_order(moment: datetime, zone: str, at: time) -> None:
    at = at.replace(second=0, microsecond=0, fold=0)
    day = moment.date()
    assert resolve_wall_time(day, at, ZoneInfo(zone)) < resolve_wall_time(day + timedelta(days=2), at, ZoneInfo(zone))


def test_where_the_clock_jumps_over_a_time_the_next_minute_that_exists_is_taken() -> None:
    # 2026-03-08 02:00 EST is followed by 03:00 EDT.
    assert resolve_wall_time(date(2026, 3, 8), time(2, 30), NEW_YORK) == datetime(2026, 3, 8, 7, 0, tzinfo=UTC)


def test_where_an_hour_comes_twice_the_first_is_taken() -> None:
    # 2026-11-01 01:30 happens at 05:30Z (EDT) and at 06:30Z (EST).
    assert resolve_wall_time(date(2026, 11, 1), time(1, 30), NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "friday 06:00", "fri 6:00", "fri 24:00", "every 0m", "every 5d", "fri", "daily 06:60"]
)
def test_what_is_no_rule_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="every 5m"):
        parse_schedule_rule(text)


def test_a_machine_that_slept_owes_a_job_once() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    timetable = {"collect": (parse_schedule_rule("daily 05:00"), parse_schedule_rule("daily 17:00"))}
    due_jobs = find_due_jobs(now, timetable, (), zone=NEW_YORK, since=now - timedelta(days=9))
    assert due_jobs == (JobSlot("collect", datetime(2026, 11, 20, 10, tzinfo=UTC)),)
    assert find_due_jobs(now, timetable, due_jobs, zone=NEW_YORK, since=now - timedelta(days=9)) == ()


def test_nothing_is_owed_for_the_time_before_the_timetable_was_followed() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    timetable = {"draft": (parse_schedule_rule("thu 17:30"),)}
    assert find_due_jobs(now, timetable, (), zone=NEW_YORK, since=now - timedelta(hours=1)) == ()


def test_a_clock_that_is_set_back_owes_nothing_twice() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    timetable = {"collect": (parse_schedule_rule("every 1h"),)}
    since = now - timedelta(days=1)
    finished = find_due_jobs(now, timetable, (), zone=NEW_YORK, since=since)
    assert find_due_jobs(now + timedelta(minutes=59), timetable, finished, zone=NEW_YORK, since=since) == ()
