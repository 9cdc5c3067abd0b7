"""Events in texts: the time and place, if the text announces an event, and nowhere else."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.texts.event_texts import AnnouncedEvent, find_event, is_event_title

PUBLISHED = datetime(2026, 11, 16, tzinfo=UTC)


def noon(month: int, day: int, year: int = 2026) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("title", "text", "event"),
    [
        ("Agency to host webinar", "It will host a webinar on Tuesday, December 8, 2026, from 1 p.m. to 3 p.m. EST.",
         AnnouncedEvent(datetime(2026, 12, 8, 18, tzinfo=UTC), None, all_day=False, zone="America/New_York", place="Online")),
        ("Advisory Council; Meeting", ("The council will meet in Arlington, Va., on December 9 and 10, 2026, from 9 a.m. to 5 p.m. "
         "Eastern Time."), AnnouncedEvent(datetime(2026, 12, 9, 14, tzinfo=UTC), noon(12, 10), all_day=False,
                                         zone="America/New_York", place="Arlington, Va.")),
        ("Chemical Safety Summit, August 20-22, 2027", "",
         AnnouncedEvent(noon(8, 20, 2027), noon(8, 22, 2027), all_day=True, zone="", place="")),
        ("Briefing on plans", "WHEN: Tuesday, December 1, 2026, from 6:00 - 8:30 p.m. CT. WHERE: Port Ellery School.",
         AnnouncedEvent(datetime(2026, 12, 2, 0, tzinfo=UTC), None, all_day=False, zone="America/Chicago",
                        place="Port Ellery School")),
        ("Forum on lights", "The forum will be held 11-1 p.m. CT on Dec. 4 in Baton Rouge, Louisiana",
         AnnouncedEvent(datetime(2026, 12, 4, 17, tzinfo=UTC), None, all_day=False, zone="America/Chicago",
                        place="Baton Rouge, Louisiana")),
        ("Workshop", "The workshop will take place on January 12 at 9 a.m. in Washington, D.C.",
         AnnouncedEvent(noon(1, 12, 2027), None, all_day=True, zone="", place="Washington, D.C.")),  # 9 a.m. of which zone?
        ("Hearing on ports", "Date: 2026-12-03 Location: 310 Cannon", AnnouncedEvent(noon(12, 3), None, all_day=True, zone="",
                                                                                  place="310 Cannon")),
    ],
)  # fmt: skip
def test_when_and_where_an_event_is_is_read_from_its_text(title: str, text: str, event: AnnouncedEvent) -> None:
    assert find_event(title, text, PUBLISHED) == event


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Storm hits coast", "The new bridge will open on December 2, 2026."),  # no kind of event is named
        ("Summit was a success", "The summit was held on December 2, 2026."),  # not announced
        ("Storm meeting", "Officials will meet. The bridge fell on December 2, 2026."),  # another sentence
        ("Workshop", "The workshop will be held on November 2, 2026."),  # over when it appeared
        ("Workshop", "The workshop will be held on February 30, 2027."),
        ("Workshop of 2027", "It will be held soon."),
    ],
)
def test_a_day_that_announces_no_event_is_none(title: str, text: str) -> None:
    assert find_event(title, text, PUBLISHED) is None


def test_without_a_publication_date_the_year_must_be_written() -> None:
    assert find_event("Workshop", "It will be held on December 4.", None) is None
    assert find_event("Workshop", "It will be held on December 4, 2026.", None) is not None


@pytest.mark.parametrize(
    ("title", "names"), [("Listening session on 911", True), ("Gunman at a forum", True), ("Gang trained dogs", False)]
)
def test_a_title_names_an_event_or_none(title: str, *, names: bool) -> None:
    assert is_event_title(title) is names


_PHRASES = st.sampled_from(
    (
        *(
            "workshop",
            "will be held",
            "When:",
            "on",
            "from",
            "to",
            "in",
            "Arlington, Va.",
            "Where:",
            "online",
            ".",
            ",",
        ),
        *(
            "December 4, 2026",
            "Feb 30",
            "Dec 9-10",
            "2026-12-04",
            "1-3 p.m.",
            "99 p.m.",
            "9 a.m.",
            "25:00",
            "ET",
            "UTC+99",
        ),
    )
)


@given(
    st.lists(_PHRASES, max_size=40).map(" ".join) | st.text(max_size=300),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_any_text_gives_an_event_or_none(text: str, published: datetime | None) -> None:
    event = find_event("A workshop", text, published)
    if event is not None:
        assert event.ends_at is None or event.ends_at.date() > event.starts_at.date()
        assert len(event.place) <= 130
        if published is not None:
            assert (published - (event.ends_at or event.starts_at)).days <= 3
