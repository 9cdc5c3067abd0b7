"""Events and opportunities are written with date, hour, time zone, and place, as precisely as they're known."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from digest.collect.documents.deadlines import Deadline
from digest.edition.content.edition_content import EntryDate, SectionEntry
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import EntryContext
from digest.select.selection_types import CandidateArticle, PlacedStory, ScoredStory, Story
from subscribers.subscriber_language import ENGLISH

NEW_YORK = ZoneInfo("America/New_York")
URL = "https://calls.example.org/1"


def written(kind: str, **more: object) -> SectionEntry:
    article = CandidateArticle(URL, URL, "Port grant", "", "Calls", "Calls", datetime(2026, 11, 18, tzinfo=UTC), **more)  # type: ignore[arg-type]
    return SECTION_KINDS[kind].build_entry(
        PlacedStory(ScoredStory(Story(article), 50.0, ())), EntryContext(NEW_YORK, ENGLISH)
    )


@pytest.mark.parametrize(
    ("deadline", "label", "text"),
    [
        (Deadline(date(2026, 12, 4)), "Deadline", "Friday, December 4"),
        (Deadline(date(2026, 12, 4), label="applications"), "Applications due", "Friday, December 4"),
        (
            Deadline(date(2026, 12, 4), time(17), "America/New_York", "applications"),
            "Applications due",
            "Friday, December 4, 5 p.m. ET",
        ),
        (Deadline(date(2026, 12, 4), time(23, 59), "UTC"), "Deadline", "Friday, December 4, 11:59 p.m. UTC"),
        (Deadline(date(2026, 7, 1), time(12), "Europe/Brussels"), "Deadline", "Wednesday, July 1, noon CEST"),
        (Deadline(date(2026, 12, 4), time(9, 30), "UTC+05:30"), "Deadline", "Friday, December 4, 9:30 a.m. UTC+05:30"),
        (Deadline(date(2026, 12, 4), time(0)), "Deadline", "Friday, December 4, 12 a.m. (zone not stated)"),
    ],
)
def test_a_deadline_is_written_with_what_is_known_of_it(deadline: Deadline, label: str, text: str) -> None:
    when = written("opportunities", deadline=deadline).when
    assert when == EntryDate("deadline", deadline.day, text, label, deadline.moment)


def test_a_call_without_a_deadline_says_none() -> None:
    assert written("opportunities").when is None


@pytest.mark.parametrize(
    ("is_offered", "facts"),
    [
        (True, {"primary": True, "deadline": Deadline(date(2026, 12, 4), label="applications")}),
        (True, {"own": True, "deadline": Deadline(date(2026, 12, 4), label="comments")}),
        (True, {"section": "opportunities"}),
        (False, {"deadline": Deadline(date(2026, 12, 4), label="applications")}),
        (False, {"primary": True, "deadline": Deadline(date(2026, 12, 4), label="registration")}),
        (
            False,
            {"primary": True, "deadline": Deadline(date(2026, 12, 4), label="applications"), "section": "products"},
        ),
        (False, {"primary": True}),
    ],
)
def test_only_official_or_own_news_that_calls_for_something_is_offered_as_an_opportunity(
    *, is_offered: bool, facts: dict[str, object]
) -> None:
    day = datetime(2026, 11, 18, tzinfo=UTC)
    article = CandidateArticle(URL, URL, "Port grant", "", "Calls", "Calls", day, **facts)  # type: ignore[arg-type]
    assert SECTION_KINDS["opportunities"].is_offered(ScoredStory(Story(article), 50.0, ())) is is_offered


def test_an_event_has_its_place_and_hour() -> None:
    starts_at = datetime(2026, 12, 3, 14, tzinfo=UTC)
    entry = written("events", starts_at=starts_at, place="Port Ellery")
    assert entry.details == ("Port Ellery",)
    assert entry.when == EntryDate("event", date(2026, 12, 3), "Thursday, December 3, 9 a.m. ET", "Event", starts_at)


def test_an_event_has_the_hour_of_its_own_zone_and_its_last_day() -> None:
    starts_at, ends_at = datetime(2026, 12, 4, 4, 30, tzinfo=UTC), datetime(2026, 12, 5, 12, tzinfo=UTC)
    hours = written("events", starts_at=starts_at, ends_at=ends_at, event_zone="America/Los_Angeles").when
    text = "Thursday, December 3, 8:30 p.m. PT, to December 5"
    assert hours == EntryDate("event", date(2026, 12, 3), text, "Event", starts_at, ends_at, last_day=date(2026, 12, 5))
    days = written("events", starts_at=starts_at.replace(hour=12), ends_at=ends_at, all_day=True).when
    text = "Friday, December 4, to December 5"
    assert days == EntryDate("event", date(2026, 12, 4), text, "Event", last_day=date(2026, 12, 5))
