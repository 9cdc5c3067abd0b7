"""How subscribers' languages write dates, hours, numbers, and lists."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.catalogs import load_language
from subscribers import english_text
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage

FRENCH = load_language("fr")
ZONES = ("America/New_York", "America/Anchorage", "Europe/Paris", "Asia/Kolkata", "Etc/UTC")


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is drawn beside it
    zone=st.sampled_from(ZONES),
    words=st.lists(st.sampled_from(["a", "bc", "d e"]), max_size=4),
    more=st.integers(0, 900),
)
def test_english_for_subscribers_is_the_english_of_the_desk(
    moment: datetime, zone: str, words: list[str], more: int
) -> None:
    local = moment.replace(tzinfo=ZoneInfo(zone))
    for name in ("weekday_date", "full_date", "month_day", "weekday_month_day"):
        assert getattr(ENGLISH, name)(local) == getattr(english_text, name)(local)
    assert ENGLISH.clock_hour(local) == english_text.clock_hour(local)
    assert ENGLISH.hour_in_zone(local) == english_text.hour_in_zone(local)
    assert ENGLISH.join_words(words, more) == english_text.join_words(words, more)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_french_writes_a_date_as_french_subscribers_do() -> None:
    day = date(2026, 12, 4)
    assert plain(FRENCH.weekday_date(day)) == "vendredi 4 décembre 2026"
    assert plain(FRENCH.short_month_day(day)) == "4 déc."
    assert FRENCH.short_month(day) == "déc."
    assert plain(FRENCH.month_day(day.replace(day=1))) == "1er décembre"
    assert plain(FRENCH.weekday_month_day(day.replace(day=11))) == "vendredi 11 décembre"
    assert "4\N{NO-BREAK SPACE}d" in FRENCH.month_day(day), "a day and its month stay on one line"


@pytest.mark.parametrize(
    ("hour", "minute", "zone", "expected"),
    [
        (17, 0, "America/New_York", "17 h, heure de l\N{RIGHT SINGLE QUOTATION MARK}Est"),
        (9, 30, "Europe/Paris", "9 h 30 (Paris)"),
        (12, 0, "Europe/Paris", "12 h (Paris)"),
        (0, 5, "America/Mexico_City", "0 h 05 (Mexico)"),
    ],
)
def test_french_writes_an_hour_as_french_subscribers_do(hour: int, minute: int, zone: str, expected: str) -> None:
    written = FRENCH.hour_in_zone(datetime(2026, 12, 4, hour, minute, tzinfo=ZoneInfo(zone)))
    assert plain(written) == expected
    assert "\N{NO-BREAK SPACE}h" in written


def test_a_zone_without_a_place_keeps_its_name_in_every_language() -> None:
    offset = timezone(timedelta(hours=2))
    assert FRENCH.hour_in_zone(datetime(2026, 12, 4, 6, tzinfo=offset)).endswith("h, UTC+02:00")
    assert FRENCH.hour_in_zone(datetime(2026, 12, 4, 6, tzinfo=UTC)).endswith("h, UTC")


def test_french_lists_and_counts() -> None:
    assert FRENCH.join_words(["a", "b", "c"]) == "a, b et c"
    assert FRENCH.join_words(["a", "b"], 4) == "a, b et 4 autres"
    assert FRENCH.join_words(["a"], 1) == "a et 1 autre"
    assert FRENCH.format_number(12000) == "12\N{NARROW NO-BREAK SPACE}000"
    assert FRENCH.ngettext("%(num)s more", "%(num)s more", 0) == "0 autre"


def test_two_languages_in_one_process_do_not_mix() -> None:
    day = date(2026, 12, 4)
    written = [plain(language.weekday_date(day)) for language in (FRENCH, ENGLISH, FRENCH)]
    assert written == ["vendredi 4 décembre 2026", "Friday, December 4, 2026", "vendredi 4 décembre 2026"]


def test_a_percent_sign_is_written_twice_and_a_value_once() -> None:
    assert ENGLISH.gettext("%(share)s %% of all", share="5") == "5 % of all"
    assert SubscriberLanguage("he").direction == "rtl"
