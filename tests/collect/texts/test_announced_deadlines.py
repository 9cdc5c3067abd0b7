"""Deadlines in texts are found if the text announces one, with hour and time zone, and nowhere else."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.documents.deadlines import Deadline
from digest.collect.texts import announced_deadlines, event_texts, written_times
from digest.collect.texts.announced_deadlines import find_deadline, find_deadlines, find_weekday_deadlines

PUBLISHED = datetime(2026, 11, 16, tzinfo=UTC)
EASTERN, UTC_NAME = "America/New_York", "UTC"


@pytest.mark.parametrize(
    ("said", "day"),
    [
        ("The call closes Dec 4.", date(2026, 12, 4)),
        ("Deadline: December 12, 2026", date(2026, 12, 12)),
        ("Please apply by 4 December.", date(2026, 12, 4)),
        ("Quotes are due on 2026-12-04", date(2026, 12, 4)),
        ("Applications are due by 5 p.m. ET on Friday, December 4.", date(2026, 12, 4)),
        ("Register before Jan. 5 to get in", date(2027, 1, 5)),
        ("Comments accepted through March 3rd, 2027", date(2027, 3, 3)),
        ("submit proposals no later than 11:59 PM EST on December 1", date(2026, 12, 1)),
        ("The deadline for applications is 12/31/2026", date(2026, 12, 31)),
        ("open until the 4th of December 2026", date(2026, 12, 4)),
        ("Closing date: Fri., 4 December", date(2026, 12, 4)),
        ("Applications open December 1 and close December 15", date(2026, 12, 15)),
        ("The comment period ends Jan. 3", date(2027, 1, 3)),
        ("Response Date: 2026-12-04", date(2026, 12, 4)),
        ("Current Closing Date for Applications: Dec 04, 2026 Electronically submitted", date(2026, 12, 4)),
        ("The deadline has been extended from December 1 to December 15, 2026.", date(2026, 12, 15)),
        ("Comments due December 1. The comment period is extended until Jan. 8, 2027.", date(2027, 1, 8)),
        ("It closed Dec 4.", None),
        ("It closes soon; Dec 4 was mentioned", None),
        ("due diligence took until autumn", None),
        ("Submit the form: the bridge opens before Dec 4", None),
        ("closes February 30", None),
        ("closes Nov 4", None),  # next November is a guess
        ("Deadline: December 12, 2019", None),  # over before it was published
        ("due 4", None),
        ("due December 45", None),
    ],
)
def test_deadlines_are_found_where_the_text_says_so(said: str, day: date | None) -> None:
    deadline = find_deadline(said, PUBLISHED)
    assert (deadline.day if deadline else None) == day


@pytest.mark.parametrize(
    ("said", "clock", "zone"),
    [
        ("applications due by 5 p.m. ET on September 29, 2027", time(17), EASTERN),
        ("closes 30 June 2027 23:59 UTC", time(23, 59), UTC_NAME),
        ("Applications due Dec. 4 at 11:59 p.m. Eastern Standard Time", time(23, 59), EASTERN),
        ("must be received by 11:59:59 PM EST on December 4; submit by 11:59:59 PM EST on December 4", time(23, 59), EASTERN),
        ("Deadline: December 4, 2026, noon Pacific", time(12), "America/Los_Angeles"),
        ("Proposals are due 17:00 (Brussels time) on 3 February 2027.", time(17), "Europe/Brussels"),
        ("Papers due December 4, 2026, 11:59 p.m. AoE", time(23, 59), "UTC-12:00"),
        ("Bids are due December 4 by 14:00 UTC+2", time(14), "UTC+02:00"),
        ("Quotes due 5:00 P.M. local time, December 4", time(17), ""),
        ("Deadline for comments: Dec 9 by 5 p.m.", time(17), ""),
        ("Registration closes at midnight on Dec 4", None, ""),  # of which end of the day?
        ("Registration closes Dec 4 at 25:00 UTC", None, ""),
        ("Applications due December 4. Call 5 p.m. ET", None, ""),
    ],
)  # fmt: skip
def test_the_hour_and_its_zone_are_read_before_or_behind_the_day(said: str, clock: time | None, zone: str) -> None:
    deadline = find_deadline(said, PUBLISHED)
    assert deadline is not None
    assert (deadline.clock, deadline.zone) == (clock, zone)


def test_standard_time_named_in_summer_is_the_clock_on_the_wall() -> None:
    deadline = find_deadline("Applications due 5 p.m. EST on July 1, 2027", PUBLISHED)
    assert deadline is not None
    assert deadline.moment == datetime(2027, 7, 1, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Applications for the grant are due Dec 4", "applications"),
        ("Closing date for nominations: Dec 4", "nominations"),
        ("Proposals are welcome. Register by Dec 4", "registration"),
        ("Submit comments by Dec 4", "submissions"),
        ("Deadline for abstracts: Dec 4", "abstracts"),
        ("Proposals were read last year. The rent is due Dec 4", ""),
        ("It closes Dec 4", ""),
    ],
)
def test_what_is_due_is_named_where_the_sentence_does(said: str, label: str) -> None:
    deadline = find_deadline(said, PUBLISHED)
    assert deadline is not None
    assert deadline.label == label


@pytest.mark.parametrize(
    ("said", "days"),
    [
        (
            "Terminals must send the Harbor Safety Board a list of all the modems on their ship-to-shore cranes by November 30. Then",
            [(11, 30)],
        ),
        ("Free. Register by November 30.", [(11, 30)]),
        ("Observers sign up by December 31.", [(12, 31)]),
        ("$295; the early rate ends December 12.", [(12, 12)]),
        ("Owners have until Dec. 4 to object.", [(12, 4)]),
        ("Agencies were ordered to patch the flaw no later than December 2.", [(12, 2)]),
        ("Letters are due December 9. Plants must reply before Dec 1; the work shall be done by Dec 20.", [(12, 1), (12, 9), (12, 20)]),
        ("Comments, due December 1, were extended: the comment period is extended until December 8.", [(12, 1), (12, 8)]),
        ("The deadline, which had been due December 1, was extended to December 8.", [(12, 8)]),
        ("CISA orders agencies to patch the Citrix flaw by November 30", [(11, 30)]),
        ("The board gives terminals until November 30 to answer.", [(11, 30)]),
        ("The storm is expected to reach land by November 22.", []),
        ("The board must answer. It met before November 18.", []),
        ("Crews had restored power by November 17.", []),
    ],
)  # fmt: skip
def test_every_deadline_and_obligation_is_found(said: str, days: list[tuple[int, int]]) -> None:
    assert [deadline.day for deadline in find_deadlines(said, PUBLISHED)] == [date(2026, *day) for day in days]


@pytest.mark.parametrize(
    ("said", "days"),
    [
        ("Agencies face November 30 deadline", [(11, 30)]),
        ("Congress inches closer to a Dec. 18 funding deadline.", [(12, 18)]),
        ("Agencies face 11/30 deadline", [(11, 30)]),
        ("The board set December 4, 2026, as the deadline.", [(12, 4)]),
        ("December 4 is the last day to apply", [(12, 4)]),
        ("The last day to file is December 4.", [(12, 4)]),
        ("Banks are expected to comply no later than 30 November.", [(11, 30)]),
        ("Submit the form no later than 11/30", [(11, 30)]),
        ("Claims are due 12/4", [(12, 4)]),
        ("Patch no later than 11/30/2026", [(11, 30)]),
        ("Patch before November 30", [(11, 30)]),
        ("CISA: Patch the Citrix flaw before November 30", [(11, 30)]),
        ("Patch Citrix flaws before November 30", [(11, 30)]),
        ("Vote by Nov. 30", [(11, 30)]),
        ("The fund is open. File claims before December 4", [(12, 4)]),
        ("Please return the form by December 4", [(12, 4)]),
        ("Order by December 15 for delivery", [(12, 15)]),
        ("Travelers should renew by December 1", [(12, 1)]),
        ("The public can weigh in until December 4", [(12, 4)]),
        ("Owners can still file claims through December 4.", [(12, 4)]),
        ("The waiver expires December 1", [(12, 1)]),
        ("Their permits are set to expire on Dec. 1.", [(12, 1)]),
        ("CISA gives agencies three weeks, to November 30, to patch", [(11, 30)]),
        ("Agencies have two weeks, until November 30, to patch", [(11, 30)]),
        ("The grace period ends December 4", [(12, 4)]),
        ("The court gave owners until December 4.", [(12, 4)]),
        ("By Nov. 30, agencies must patch the flaw.", [(11, 30)]),
        ("CISA extends the December 1 deadline to December 8.", [(12, 8)]),
        ("The extended deadline for bids is December 8, open to all.", [(12, 8)]),
        ("The December 1 deadline was extended to December 8.", [(12, 8)]),
    ],
)
def test_headlines_and_plain_requests_announce_deadlines(said: str, days: list[tuple[int, int]]) -> None:
    assert [deadline.day for deadline in find_deadlines(said, PUBLISHED)] == [date(2026, *day) for day in days]


@pytest.mark.parametrize(
    "said",
    [
        "before December 2023, Biden had to answer",
        "Shareholders voted by November 30 against the deal",
        "until December 4, 2022, he was in office; he should have paid by then",
        "The waiver expired December 1",
        "The flaw was patched before November 30",
        "The permit was due to be renewed; files were kept until December 4",
        "Drivers can expect delays until December 4",
        "Power should be back by November 30",
        "The storm should reach land by November 22",
        "Return flights run until December 4",
        "Vote expected by Nov. 30",
        "The updates, filed before November 30, fix it",
        "He can stay until December 4.",
        "Votes were counted before November 30",
        "They closed for three weeks, to November 30",
        "Before November 30, the board met. Agencies must answer.",
        "By November 30, the board had met",
        "The deal closed, and by 12/4 the price rose",
        "The plan must cut costs by 2/3",
        "The rules should end by 9/11 attacks",
        "The post must be staffed by 24/7 crews",
        "December 4 was the last day of school",
        "They met on December 4. Deadline pressure grew",
        "They meet on December 4 after missing deadlines",
        "Power should return before November 22",
        "UN report: Return of refugees by December 4",
        "Mail service suspended until December 4",
        "Complete blackout until December 4",
        "Patch rollout halted until December 4",
        "She gave a speech before the December 4 vote",
        "Planes must carry logs; before 11/30/2020 they did not",
    ],
)
def test_reports_and_forecasts_with_a_date_announce_no_deadline(said: str) -> None:
    assert find_deadlines(said, PUBLISHED) == ()


@pytest.mark.parametrize(
    ("said", "published", "day"),
    [
        ("Agencies must patch the flaw by Friday.", 18, 20),
        ("Comments are due Friday at 5 p.m. ET.", 18, 20),
        ("Owners have until Monday to object.", 20, 23),
        ("The call closes this Friday.", 16, 20),
        ("Register by FRIDAY", 17, 20),
        ("Register by Wednesday.", 18, None),  # today, or in a week
        ("Register by Tuesday.", 18, None),  # yesterday, or in six days
        ("Register by next Friday.", 18, None),
        ("Register by the last Friday of the month.", 18, None),
        ("Register by a week from Friday.", 18, None),
        ("Register by Friday week.", 18, None),
        ("Register by Friday of next week.", 18, None),
        ("Register by Friday in two weeks.", 18, None),
        ("Register by Friday the 27th.", 18, None),
        ("Register by Friday, November 27.", 18, None),  # a date, which isn't counted from the publication
        ("The storm is expected to reach land by Friday.", 18, None),
        ("Officials said Friday that it was closed.", 18, None),
    ],
)
def test_a_weekday_is_a_deadline_if_it_can_only_be_the_next_one(said: str, published: int, day: int | None) -> None:
    deadlines = find_weekday_deadlines(said, datetime(2026, 11, published, 14, tzinfo=UTC))
    assert [deadline.day for deadline in deadlines] == ([date(2026, 11, day)] if day else [])


def test_a_weekday_never_gives_an_announced_deadline_by_itself() -> None:
    assert find_deadlines("Agencies must patch the flaw by Friday.", PUBLISHED) == ()


def test_an_obligation_never_hides_the_announced_deadline_of_a_call() -> None:
    text = "Winners must sign by November 20. Applications close December 11."
    deadline = find_deadline(text, PUBLISHED)
    assert deadline is not None
    assert deadline.day == date(2026, 12, 11)


class CountedPattern:
    """A pattern that counts the characters where its matches may begin.

    How far a match reaches is bounded (`test_no_pattern_repeats_without_bound`).
    """

    searched = 0

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        CountedPattern.searched += 1
        return self._pattern.match(text, start)

    def search(self, text: str) -> re.Match[str] | None:
        CountedPattern.searched += len(text)
        return self._pattern.search(text)

    def finditer(self, text: str, start: int = 0, end: int = sys.maxsize) -> Iterator[re.Match[str]]:
        CountedPattern.searched += min(end, len(text)) - start
        return self._pattern.finditer(text, start, end)

    def findall(self, text: str) -> list[str]:
        CountedPattern.searched += len(text)
        return self._pattern.findall(text)

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        CountedPattern.searched += len(text)
        return self._pattern.sub(replacement, text)


def count_searched(text: str) -> int:
    """Return how many characters the patterns search in a text."""
    before = CountedPattern.searched
    find_deadlines(text, PUBLISHED)
    find_weekday_deadlines(text, PUBLISHED)
    return CountedPattern.searched - before


@pytest.mark.parametrize(
    "part",
    [
        *("must ", "must by ", "deadline extended ", "have until ", "due November 30 ", "must " * 30 + "by Dec 4. "),
        *(
            "Nov 30 deadline ",
            "11/30 deadline ",
            ": patch by ",
            "by Nov. 30 must ",
            "no later than ",
            "extend the deadline ",
        ),
    ],
)
@pytest.mark.parametrize("end", ["", "Friday "])
def test_a_hostile_text_of_twice_the_length_takes_at_most_twice_the_work(
    part: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (announced_deadlines, written_times):
        for name, value in list(vars(module).items()):
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, name, CountedPattern(value))
    text = f"{part}{end}" * (5_000 // len(part))
    base = count_searched(text)
    assert base >= len(text)
    assert count_searched(text * 2) <= 2.1 * base


def test_without_a_publication_date_the_year_must_be_written() -> None:
    assert find_deadline("closes Dec 4", None) is None
    assert find_deadline("closes Dec 4, 2026", None) == Deadline(date(2026, 12, 4))


_PHRASES = st.sampled_from(
    (
        *("due", "deadline", "closes", "applications", "submit", "by", "through", "on", "extended", "to", "from"),
        *("December 4, 2026", "Feb 30", "2026-12-04", "12/4/2026", "31", "Sept", "99999", ".", ",", ":", "-"),
        *("5 p.m.", "25:00", "noon", "ET", "UTC+99", "(Brussels time)"),
    )
)


@given(
    st.lists(_PHRASES, max_size=40).map(" ".join) | st.text(max_size=300),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_any_text_gives_a_deadline_or_none(text: str, published: datetime | None) -> None:
    deadline = find_deadline(text, published)
    if deadline is not None and published is not None:
        assert (published.date() - deadline.day).days <= 1
        assert deadline.is_past(datetime(9999, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "module", [announced_deadlines, event_texts, written_times], ids=lambda module: module.__name__
)
def test_no_pattern_repeats_without_bound(module: object) -> None:
    patterns = [p for p in vars(module).values() if isinstance(p, re.Pattern)]
    assert patterns
    for pattern in patterns:
        without_classes = re.sub(r"\[(?:\\.|[^\]])*\]", "x", pattern.pattern)
        assert not re.search(r"(?<!\\)[*+]|\{\d*,\}", without_classes), pattern.pattern
