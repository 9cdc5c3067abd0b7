"""The places of entries in the email: the first screen, the upcoming dates, and each entry only once."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.edition.content.edition_content import EditionContent, EditionSection, EntryDate, SectionEntry
from digest.edition.content.fragment_names import (
    list_excluded_fragments,
    list_fragment_sections,
    list_part_keys,
    section_fragment_name,
)
from digest.edition.rendering.mail_layout import MAX_EARLY_DATES, SOON, MailLayout, arrange_email, describe_top_stories

RELEASE = date(2026, 11, 20)
KEYS = ("featured", "events", "opportunities")


def entry(name: str, kind: str = "event", days: int | None = None) -> SectionEntry:
    day = RELEASE + timedelta(days=days or 0)
    when = EntryDate(kind, day, f"{day:%B} {day.day}", kind.title()) if days is not None else None  # type: ignore[arg-type]
    return SectionEntry(name, f"https://example.org/{name}", when=when)


def edition(
    featured: int = 3, events: tuple[int | None, ...] = (), calls: tuple[int | None, ...] = ()
) -> EditionContent:
    entries = {
        "featured": tuple(entry(f"story-{n}") for n in range(featured)),
        "events": tuple(entry(f"event-{n}", "event", days) for n, days in enumerate(events)),
        "opportunities": tuple(entry(f"call-{n}", "deadline", days) for n, days in enumerate(calls)),
    }
    sections = tuple(EditionSection(key, key, key.title(), "", some) for key, some in entries.items() if some)
    return EditionContent(
        "2026-W47", 147, "Ports", "", "Friday, November 20, 2026", 5, "", "", sections, released_on=RELEASE
    )


def all_entries(layout: MailLayout) -> list[SectionEntry]:
    """The entries of a layout in reading order, without the lines of the first screen."""
    early = [dated.entry for dated in layout.dates.entries] if layout.dates else []
    rest = [e for part in layout.sections for e in part.section.entries]
    return [*([layout.lead.entry] if layout.lead else []), *early, *rest]


@given(
    st.integers(0, 6),
    st.lists(st.none() | st.integers(0, 60), max_size=8),
    st.lists(st.none() | st.integers(0, 60), max_size=8),
)
def test_every_entry_stands_once(featured: int, events: list[int | None], calls: list[int | None]) -> None:
    content = edition(featured, tuple(events), tuple(calls))
    layout = arrange_email(content)
    expected = [e.headline for section in content.sections for e in section.entries]
    assert sorted(e.headline for e in all_entries(layout)) == sorted(expected)
    if layout.dates:
        days = [dated.when.day for dated in layout.dates.entries]
        assert days == sorted(days)
        assert len(days) <= MAX_EARLY_DATES
        assert days[-1] <= layout.dates.last_day <= RELEASE + SOON
        left = [e.when.day for part in layout.sections for e in part.section.entries if e.when]
        assert all(day >= layout.dates.last_day for day in left)


def test_deadlines_and_events_of_two_weeks_stand_in_one_list_by_date() -> None:
    layout = arrange_email(edition(3, events=(12, 30, 3), calls=(9, 20, None)))
    assert layout.dates is not None
    assert [d.entry.headline for d in layout.dates.entries] == ["event-2", "call-0", "event-0"]
    assert (layout.dates.title, layout.dates.last_day) == ("Deadlines and events", date(2026, 12, 4))
    rows, events, calls = layout.sections
    assert [e.headline for e in rows.section.entries] == ["story-1", "story-2"]
    assert ([e.headline for e in events.section.entries], events.after) == (["event-1"], date(2026, 12, 4))
    assert ([e.headline for e in calls.section.entries], calls.after) == (["call-1", "call-2"], date(2026, 12, 4))


def test_of_more_than_five_dates_the_title_names_the_day_of_the_last() -> None:
    layout = arrange_email(edition(1, events=(1, 2, 3, 4, 5, 6)))
    assert layout.dates is not None
    assert (layout.dates.title, layout.dates.last_day) == ("Events", date(2026, 11, 25))
    assert [e.headline for e in layout.sections[-1].section.entries] == ["event-5"]


def test_without_dates_that_come_soon_nothing_moves() -> None:
    layout = arrange_email(edition(3, events=(15,), calls=(None, 60)))
    assert layout.dates is None
    assert [part.after for part in layout.sections] == [None] * 3
    assert layout.next_deadline is not None
    assert layout.next_deadline.entry.headline == "call-1"


def test_the_first_screen_has_two_headlines_besides_the_leads_and_the_next_deadline() -> None:
    layout = arrange_email(edition(6, events=(1,), calls=(40, 30)))
    assert layout.contents is not None
    assert [e.headline for e in layout.contents.entries] == ["story-1", "story-2"]
    assert layout.next_deadline is not None
    assert layout.next_deadline.entry.headline == "call-1"
    assert not layout.is_lead(layout.next_deadline)
    assert arrange_email(edition(1)).contents is None, "there's no other headline"


def with_due(content: EditionContent, place: tuple[int, int], days: int) -> EditionContent:
    """Give the entry at a place (section, entry) a deadline that its texts state."""
    stated = entry("stated", "deadline", days).when
    sections = [list(section.entries) for section in content.sections]
    sections[place[0]][place[1]] = replace(sections[place[0]][place[1]], due=stated)
    kept = zip(content.sections, sections, strict=True)
    return replace(content, sections=tuple(replace(section, entries=tuple(entries)) for section, entries in kept))


def test_a_deadline_that_a_story_states_is_the_next_one_and_a_line_among_the_dates() -> None:
    content = with_due(edition(3, events=(20,), calls=(12,)), (0, 0), 10)
    layout = arrange_email(content)
    assert layout.next_deadline is not None
    assert layout.next_deadline.when.day == date(2026, 11, 30)
    assert layout.next_deadline.entry.headline == "story-0"
    assert layout.dates is not None
    assert [d.entry.headline for d in layout.dates.entries] == ["story-0", "call-0"]
    assert layout.dates.entries[0].is_stated_in_text
    assert layout.is_lead(layout.dates.entries[0])
    assert not layout.is_lead(layout.dates.entries[1])
    assert layout.lead is not None
    assert layout.lead.entry.headline == "story-0", "the story keeps its place"
    facts = describe_top_stories(content, "https://news.example.org", RELEASE)
    assert facts["deadline_when"] == "November 30"
    assert [facts[name] for name in ("best_first", "best_second", "best_third")] == ["story-0", "story-1", "story-2"]
    facts = describe_top_stories(content, "https://news.example.org", date(2026, 12, 1))
    assert facts["deadline_when"] == "December 2", "a welcome names none that is over"


def test_an_event_in_the_list_is_not_listed_again_for_its_registration() -> None:
    layout = arrange_email(with_due(edition(1, events=(12,), calls=(13,)), (1, 0), 10))
    assert layout.dates is not None
    assert [d.entry.headline for d in layout.dates.entries] == ["event-0", "call-0"]
    assert layout.next_deadline is not None
    assert layout.next_deadline.entry.headline == "event-0"
    later = arrange_email(with_due(edition(1, events=(40,), calls=(13,)), (1, 0), 10))
    assert later.dates is not None
    assert [d.entry.headline for d in later.dates.entries] == ["event-0", "call-0"]
    assert [e.headline for part in later.sections for e in part.section.entries] == ["event-0"]


def test_headlines_that_fill_the_first_screen_leave_room_for_the_first_fact() -> None:
    short, long = "Ports get ten days to list every modem on their cranes", "word " * 20

    def layout_of(*headlines: str, calls: tuple[int | None, ...] = ()) -> MailLayout:
        featured, *others = edition(1, calls=calls).sections
        entries = tuple(SectionEntry(headline, "https://example.org/") for headline in headlines)
        return arrange_email(replace(edition(), sections=(replace(featured, entries=entries), *others)))

    contents = [layout_of(short, *others).contents for others in ((short, short), (long, short), (long, long))]
    assert [len(listed.entries) for listed in contents if listed] == [2, 2, 1]
    assert not layout_of(short, long, short).has_late_intro
    assert not layout_of(short, short, short, calls=(30,)).has_late_intro
    assert layout_of(short, long * 2, short).has_late_intro


def test_a_long_intro_takes_the_place_of_headlines() -> None:
    short, long = "w" * 26, "w" * 104

    def layout_of(headline: str, length: int) -> MailLayout:
        content = edition(3)
        entries = (SectionEntry(headline, "https://example.org/"),) * 3
        return arrange_email(
            replace(content, intro="w" * length, sections=(replace(content.sections[0], entries=entries),))
        )

    layouts = [layout_of(headline, length) for headline, length in ((long, 88), (long, 132), (long, 133), (long, 240))]
    assert [len(layout.contents.entries) if layout.contents else 0 for layout in layouts] == [1, 1, 0, 0]
    assert not any(layout.has_late_intro for layout in layouts), "the editor chose the intro's length"
    roomy = layout_of(short, 240).contents
    assert roomy is not None
    assert len(roomy.entries) == 2, "short headlines leave room for it"


def test_a_headline_is_left_out_before_the_intro_moves_below_the_lead(full_content: EditionContent) -> None:
    layout = arrange_email(full_content)
    assert layout.contents is not None
    assert [entry.headline for entry in layout.contents.entries] == [full_content.sections[0].entries[1].headline]
    assert not layout.has_late_intro
    assert not arrange_email(edition(0, events=(1,))).has_late_intro


def test_of_two_deadlines_on_one_day_the_first_in_the_edition_is_named() -> None:
    layout = arrange_email(with_due(with_due(edition(2, events=(12,)), (1, 0), 10), (0, 1), 10))
    assert layout.next_deadline is not None
    assert layout.next_deadline.entry.headline == "story-1"


@pytest.mark.parametrize(
    ("omitted", "gone"),
    [
        ({"events"}, {"section:events", "section:events.date-1"}),
        (
            {"events", "opportunities"},
            {"section:events", "section:events.date-1", "section:events+opportunities.dates"},
        ),
        ({"featured"}, {"section:featured", "section:featured.contents"}),
        (set(), set()),
    ],
)
def test_a_part_goes_with_the_last_of_its_sections(omitted: set[str], gone: set[str]) -> None:
    names = [
        *("head", "section:featured", "section:featured.contents", "section:events", "section:events.date-1"),
        *("section:events+opportunities.dates", "block:events", "foot"),
    ]
    assert list_excluded_fragments(names, omitted) == gone
    assert list_part_keys(names) == set(KEYS)


@given(
    st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True), min_size=1),
    st.sampled_from(["", "dates", "date-12"]),
)
def test_a_fragments_name_tells_its_sections(keys: set[str], part: str) -> None:
    assert list_fragment_sections(section_fragment_name(keys, part)) == keys
