"""The meaning of a deadline of which only a part is known."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.documents.deadlines import Deadline, load_deadline_zone

NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2026, 9, 29)


def test_an_hour_with_its_zone_is_a_moment() -> None:
    eastern = Deadline(DAY, time(17), "America/New_York")
    assert eastern.moment == datetime(2026, 9, 29, 21, tzinfo=UTC)
    assert Deadline(DAY, time(23, 59), "UTC+02:00").moment == datetime(2026, 9, 29, 21, 59, tzinfo=UTC)
    assert Deadline(DAY, time(23, 59), "UTC-12:00").moment == datetime(2026, 9, 30, 11, 59, tzinfo=UTC)


@pytest.mark.parametrize("known", [Deadline(DAY), Deadline(DAY, time(17)), Deadline(DAY, zone="America/New_York")])
def test_a_bare_day_and_an_hour_without_a_zone_are_no_moment(known: Deadline) -> None:
    assert known.moment is None


def test_a_moment_is_past_when_it_has_come() -> None:
    eastern = Deadline(DAY, time(17), "America/New_York")
    assert not eastern.is_past(datetime(2026, 9, 29, 20, 59, tzinfo=UTC))
    assert eastern.is_past(datetime(2026, 9, 29, 21, tzinfo=UTC))


def test_a_bare_day_lasts_to_its_end_by_the_calendar_of_the_publication() -> None:
    late_evening = datetime(2026, 9, 29, 23, 59, tzinfo=NEW_YORK)
    assert not Deadline(DAY).is_past(late_evening)
    assert not Deadline(DAY, time(17)).is_past(late_evening)  # 5 p.m. of nobody knows where
    assert Deadline(DAY).is_past(late_evening + timedelta(minutes=1))


def test_a_bare_day_with_a_zone_lasts_to_its_end_there() -> None:
    in_tokyo = Deadline(DAY, zone="Asia/Tokyo")
    assert not in_tokyo.is_past(datetime(2026, 9, 29, 10, 59, tzinfo=NEW_YORK))
    assert in_tokyo.is_past(datetime(2026, 9, 29, 11, tzinfo=NEW_YORK))


@pytest.mark.parametrize("name", ["", "Nowhere/Town", "../etc/passwd", "UTC+25:00", "UTC+2", "EST5\0"])
def test_an_unknown_zone_is_none(name: str) -> None:
    assert load_deadline_zone(name) is None


_CLOCKS = st.none() | st.times().map(lambda t: t.replace(second=0, microsecond=0))
_ZONES = st.sampled_from(["", "America/New_York", "UTC", "UTC-12:00", "UTC+14:00", "Europe/London"])
_HOURS = st.integers(0, 24 * 500)


@given(st.builds(Deadline, st.dates(date(2000, 1, 2), date(2100, 1, 1)), _CLOCKS, _ZONES), _HOURS, _HOURS)
def test_what_is_past_stays_past_and_every_deadline_passes(deadline: Deadline, hours: int, later: int) -> None:
    noon = datetime.combine(deadline.day, time(12), UTC)
    now = noon + timedelta(hours=hours - 24 * 250)
    if deadline.is_past(now):
        assert deadline.is_past(now + timedelta(hours=later))
    assert deadline.is_past(noon + timedelta(days=3))
    assert not deadline.is_past(noon - timedelta(days=2))
