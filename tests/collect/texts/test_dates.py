"""Dates are parsed, checked, and stored with their basis."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.documents.parsed_document import DateBasis
from digest.collect.texts.dates import parse_date, parse_event_time, parse_item_dates
from tests.moments import AFTER_RELEASE as NOW


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("Thu, 13 Aug 26 12:00:00 +0000", datetime(2026, 8, 13, 12, tzinfo=UTC)),  # a year of two digits
        ("Thu, 13 Aug 2026 12:00:00 EDT", datetime(2026, 8, 13, 16, tzinfo=UTC)),
        ("Fri, 13 Nov 2026 12:00:00 EST", datetime(2026, 11, 13, 17, tzinfo=UTC)),
        ("Jul 23, 2025 00:00:00-0500", datetime(2025, 7, 23, 5, tzinfo=UTC)),
        ("2026-11-19T23:30:00-05:00", datetime(2026, 11, 20, 4, 30, tzinfo=UTC)),
        ("2026-11-19T23:30:00.123Z", datetime(2026, 11, 19, 23, 30, tzinfo=UTC)),
        ("20261119T101500Z", datetime(2026, 11, 19, 10, 15, tzinfo=UTC)),
        ("Thu, 19 Nov 2026 10:00 CET", datetime(2026, 11, 19, 9, tzinfo=UTC)),
        ("Thu, 13 Aug 2026 12:00:00 BST", datetime(2026, 8, 13, 11, tzinfo=UTC)),
        (" \n Thu, 19 Nov 2026\t10:00:00 GMT ", datetime(2026, 11, 19, 10, tzinfo=UTC)),
    ],
)
def test_dates_are_read_as_publishers_write_them(written: str, moment: datetime) -> None:
    assert parse_date(written, NOW) == (moment, DateBasis.PUBLISHED)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-19T10:00:00", datetime(2026, 11, 19, 10, tzinfo=UTC)),
        ("Thu, 19 Nov 2026 10:00:00", datetime(2026, 11, 19, 10, tzinfo=UTC)),
        ("2026-11-19", datetime(2026, 11, 19, 12, tzinfo=UTC)),
        ("Monday, January 22, 2024", datetime(2024, 1, 22, 12, tzinfo=UTC)),
        ("22 January 2024", datetime(2024, 1, 22, 12, tzinfo=UTC)),
    ],
)
def test_a_missing_zone_is_taken_for_utc_and_said(written: str, moment: datetime) -> None:
    assert parse_date(written, NOW) == (moment, DateBasis.ZONE_ASSUMED)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (None, DateBasis.FIRST_SEEN_NO_DATE),
        ("  ", DateBasis.FIRST_SEEN_NO_DATE),
        ("yesterday", DateBasis.FIRST_SEEN_UNREADABLE),
        ("10:30", DateBasis.FIRST_SEEN_UNREADABLE),
        ("2024", DateBasis.FIRST_SEEN_UNREADABLE),
        ("January 2024", DateBasis.FIRST_SEEN_UNREADABLE),
        ("30 Feb 2024", DateBasis.FIRST_SEEN_UNREADABLE),
        ("1700000000", DateBasis.FIRST_SEEN_UNREADABLE),
        ("1" * 5000, DateBasis.FIRST_SEEN_UNREADABLE),
        ("Thu, 01 Jan 1970 00:00:00 GMT", DateBasis.FIRST_SEEN_ANCIENT),
        ("0001-01-01T00:00:00Z", DateBasis.FIRST_SEEN_ANCIENT),
        ("2099-01-01T00:00:00Z", DateBasis.FIRST_SEEN_FUTURE),
        ("2026-11-23T00:00:00Z", DateBasis.FIRST_SEEN_FUTURE),
    ],
)
def test_a_refused_date_says_why(written: str | None, why: DateBasis) -> None:
    assert parse_date(written, NOW) == (None, why)


def test_two_days_ahead_are_a_clock_that_runs_wrong() -> None:
    assert parse_date("2026-11-22T11:00:00Z", NOW)[1] is DateBasis.PUBLISHED


def test_the_change_stands_in_for_a_missing_or_refused_publication() -> None:
    changed = datetime(2026, 11, 1, tzinfo=UTC)
    assert parse_item_dates(None, "2026-11-01T00:00:00Z", NOW) == (None, changed, DateBasis.UPDATED)
    assert parse_item_dates("1970-01-01T00:00:00Z", "2026-11-01T00:00:00Z", NOW) == (None, changed, DateBasis.UPDATED)
    assert parse_item_dates("2099-01-01T00:00:00Z", None, NOW) == (None, None, DateBasis.FIRST_SEEN_FUTURE)
    assert parse_item_dates(None, None, NOW) == (None, None, DateBasis.FIRST_SEEN_NO_DATE)


@given(st.text(max_size=120))
def test_any_text_is_a_plausible_date_or_refused(written: str) -> None:
    moment, basis = parse_date(written, NOW)
    assert (moment is None) == basis.name.startswith("FIRST_SEEN")
    if moment:
        assert moment.tzinfo is UTC
        assert 1990 <= moment.year <= 2026


@given(st.integers(631_238_400, 1_795_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_a_date_written_by_the_standards_comes_back(moment: datetime) -> None:
    assert parse_date(moment.isoformat(), NOW)[0] == moment
    assert parse_date(moment.strftime("%a, %d %b %Y %H:%M:%S +0000"), NOW)[0] == moment


def test_an_event_may_lie_ahead_and_a_bare_day_is_day_long() -> None:
    assert parse_event_time("2027-05-04") == (datetime(2027, 5, 4, 12, tzinfo=UTC), True)
    assert parse_event_time("2027-05-04T09:00:00-04:00") == (datetime(2027, 5, 4, 13, tzinfo=UTC), False)
    assert parse_event_time("soon") == (None, False)
