"""Dates, hours, and lists in sentences."""

from datetime import datetime

import pytest

from subscribers.english_text import (
    clock_time,
    curl_quotes,
    full_date,
    join_words,
    month_day,
    short_month_day,
    weekday_date,
)

EARLY = datetime(2026, 12, 4, 0, 5)  # noqa: DTZ001 - the functions write what they are given


def test_a_date_is_written_as_subscribers_of_english_write_it() -> None:
    assert weekday_date(EARLY) == "Friday, December 4, 2026"
    assert full_date(EARLY.date()) == "December 4, 2026"
    assert month_day(EARLY) == "December 4"
    assert short_month_day(EARLY) == "Dec. 4"


@pytest.mark.parametrize(
    ("hour", "expected"), [(0, "12:05 a.m."), (6, "6:05 a.m."), (12, "12:05 p.m."), (23, "11:05 p.m.")]
)
def test_an_hour_is_one_of_twelve(hour: int, expected: str) -> None:
    assert clock_time(EARLY.replace(hour=hour)) == expected


@pytest.mark.parametrize(
    ("names", "more", "expected"),
    [
        (["A"], 0, "A"),
        (["A", "B"], 0, "A and B"),
        (["A", "B"], 4, "A, B, and 4 more"),
        (["A"], 1, "A and 1 more"),
        (["A", "B", "C"], 0, "A, B, and C"),
    ],
)
def test_names_are_listed_as_a_sentence_does(names: list[str], more: int, expected: str) -> None:
    assert join_words(names, more) == expected


def test_choices_are_listed_with_a_serial_comma() -> None:
    assert join_words(["A", "B", "C"], conjunction="or") == "A, B, or C"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It isn't the team's, but its subscribers' (it's \"new\").",
            "It isn’t the team’s, but its subscribers’ (it’s “new”).",
        ),
        ("Run 'digest draft', if it isn't running.", "Run 'digest draft', if it isn’t running."),
        ('It\'s in `{ "a.org" = 60 }`.', 'It’s in `{ "a.org" = 60 }`.'),
        ('Don\'t write address = "a@b.org" twice.', 'Don’t write address = "a@b.org" twice.'),
        ("It's “the port's gates” again.", "It’s “the port's gates” again."),
        ('It\'s TXT "v=DMARC1; p=none".', 'It’s TXT "v=DMARC1; p=none".'),
        ("'s address", "’s address"),
        ('An unclosed quotation mark (")', 'An unclosed quotation mark (")'),
    ],
)
def test_quotes_are_curly_outside_code_and_quotations(text: str, expected: str) -> None:
    assert curl_quotes(text) == expected
