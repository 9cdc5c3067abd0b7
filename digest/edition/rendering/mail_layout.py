"""The layout of an edition's entries in the email: first screen, lead, upcoming dates, and sections.

These functions turn content into the values that templates loop over, and are pure. Each part is a
separate fragment, named after the sections it belongs to (`fragment_names`), so that omitted
sections leave no trace in the email.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import combinations

from digest.edition.content.edition_content import (
    MAX_OPENING_LENGTH,
    EditionContent,
    EditionSection,
    EntryDate,
    SectionEntry,
)
from digest.edition.content.fragment_names import LINES_HEAD, MAX_SHORT_LINES, list_fragment_keys, section_fragment_name
from digest.edition.kinds import SECTION_KINDS, list_lead_sections
from digest.edition.kinds.section_kind import SectionStyle
from digest.edition.rendering.paragraphs import split_paragraphs
from digest.settings import NEWS_SECTION
from subscribers.part_keys import join_part_key, make_topic_slug
from subscribers.subscriber_language import mark_message

SOON = timedelta(days=14)  # after the release; later dates stay in their section
MAX_EARLY_DATES = 5
CONTENTS_HEADLINES = 2  # in addition to the lead's headline, which is directly below
# Maximum number of lines before the lead's first sentence, in addition to an intro of two lines or its
# link, on a screen 390 px wide.
MAX_EARLY_LINES, SHORT_INTRO_LINES = 8, 2
_CONTENTS_WIDTH, _LEAD_WIDTH, _INTRO_WIDTH = 38, 26, 44  # characters per line on such a screen
_BEST_NAMES = ("best_first", "best_second", "best_third")
# Values for a welcome email.
BEST_FACTS = (
    *(name + part for name in _BEST_NAMES for part in ("", "_url", "_note")),
    "deadline",
    "deadline_when",
    "deadline_url",
)


@dataclass(frozen=True, slots=True)
class DatedEntry:
    """An entry with a date, and its fragment in the list of upcoming dates."""

    fragment: str
    section_kind: str
    entry: SectionEntry
    when: EntryDate

    @property
    def is_stated_in_text(self) -> bool:
        """True if the date is a deadline in a story's texts rather than the story's own date."""
        return self.fragment.endswith("-due")

    @property
    def reminder_fragment(self) -> str:
        """The name of the fragment with the date's reminder on the first screen."""
        return section_fragment_name(list_fragment_keys(self.fragment), "or-next")


@dataclass(frozen=True, slots=True)
class UpcomingDates:
    """The deadlines and events of the next two weeks, by date.

    They precede the rest of the edition.
    """

    head_fragment: str  # the list, below its title
    foot_fragment: str
    last_day: date  # shown in the title; all earlier dates in the sections are listed
    entries: tuple[DatedEntry, ...]

    @property
    def fragments(self) -> frozenset[str]:
        """The names of the fragments of these dates."""
        return frozenset(dated.fragment for dated in self.entries)

    @property
    def heads(self) -> dict[str, "UpcomingDates"]:
        """The fragments for the title's versions, each mapped to the dates that an email must contain to use it."""
        pairs = (pair for pair in combinations(self.entries, 2) if _is_mixed(pair))
        heads: dict[str, UpcomingDates] = {}
        for entries in (*pairs, *((dated,) for dated in self.entries)):
            keys = frozenset().union(*(list_fragment_keys(dated.fragment) for dated in entries))
            heads.setdefault(section_fragment_name(keys, "or-dates"), replace(self, entries=entries))
        return heads

    @property
    def title(self) -> str:
        """The title, as an untranslated message: "Deadlines and events"."""
        if _is_mixed(self.entries):
            return mark_message("Deadlines and events")
        is_deadline = self.entries[0].when.kind == "deadline"
        return mark_message("Deadlines") if is_deadline else mark_message("Events")


def _is_mixed(entries: Iterable[DatedEntry]) -> bool:
    """Return True if there are both deadlines and events."""
    return len({dated.when.kind for dated in entries}) == 2


@dataclass(frozen=True, slots=True)
class FirstScreenHeadlines:
    """The headlines on the first screen, which link to the stories below."""

    fragment: str
    entries: tuple[SectionEntry, ...]


@dataclass(frozen=True, slots=True)
class LeadStory:
    """The lead story, which precedes its section's other stories."""

    fragment: str
    entry: SectionEntry


@dataclass(frozen=True, slots=True)
class TopicStories:
    """The stories on one topic, in a section that lists topics.

    The title is empty for stories without a topic.
    """

    fragment: str
    title: str
    entries: tuple[SectionEntry, ...]


@dataclass(frozen=True, slots=True)
class RemainingSection:
    """The rest of a section after some of its entries have been placed earlier in the email.

    The leading section may have none left. If some of the section's dates are among the upcoming
    dates, `after` is the last day listed there, and the section's remaining dates are later.
    """

    fragment: str
    section: EditionSection
    after: date | None = None

    @property
    def style(self) -> SectionStyle:
        """The section's style in templates."""
        return SECTION_KINDS[self.section.kind].style

    @property
    def topics(self) -> tuple[TopicStories, ...]:
        """The section's stories by topic, each topic with its own fragment, if the section lists topics."""
        groups = _group_by_part(self.section).items()
        named = ((section_fragment_name([key], "topic"), entries) for key, entries in groups)
        return tuple(TopicStories(name, entries[0].kicker, entries) for name, entries in named)

    @property
    def end_fragment(self) -> str:
        """The name of the fragment at the end of the section's list of topics."""
        return f"{self.fragment}.end"


def _lists_topics(section: EditionSection) -> bool:
    return SECTION_KINDS[section.kind].is_grouped_by_topic


def find_part_key(section: EditionSection, entry: SectionEntry | None = None) -> str:
    """Return the key of an entry's part: its section, or its topic in a list of topics.

    Without an entry, return the key for any topic in the section.
    """
    if _lists_topics(section):
        return join_part_key(section.key, make_topic_slug(entry.kicker) if entry else "")
    return section.key


def list_edition_part_titles(content: EditionContent) -> dict[str, str]:
    """Return the titles of sections and their topics by key.

    Topics are included for sections that list them. The title is empty for stories without a topic.
    """
    parts: dict[str, str] = {}
    for section in content.sections:
        parts[section.key] = section.title
        if _lists_topics(section):
            parts |= {key: entries[0].kicker for key, entries in _group_by_part(section).items()}
    return parts


def list_headlines(sections: Sequence[EditionSection]) -> list[tuple[str, SectionEntry]]:
    """Return all entries, starting with the leading section's, each with the key of its part."""
    leading_first = sorted(sections, key=lambda section: not SECTION_KINDS[section.kind].leads_edition)
    return [(find_part_key(section, entry), entry) for section in leading_first for entry in section.entries]


def _group_by_part(section: EditionSection) -> dict[str, tuple[SectionEntry, ...]]:
    """Return a section's entries by the key of their part, preserving their order."""
    groups: dict[str, tuple[SectionEntry, ...]] = {}
    for entry in section.entries:
        key = find_part_key(section, entry)
        groups[key] = (*groups.get(key, ()), entry)
    return groups


def _name_date_fragment(section: EditionSection, entry: SectionEntry, place: int) -> str:
    return section_fragment_name([find_part_key(section, entry)], f"date-{place}")


@dataclass(frozen=True, slots=True)
class ShortEditionStoryList:
    """The short edition's list of the next stories, one line each, after the lead and the dates.

    The list has more lines than an email uses, because the lines of omitted parts make room for others.
    """

    parts: tuple[RemainingSection, ...]
    fragment: str = LINES_HEAD  # fragment of its heading


@dataclass(frozen=True, slots=True)
class MailLayout:
    """The layout of an edition in the email."""

    contents: FirstScreenHeadlines | None
    # The earliest deadline of each part, in order. An email shows the first one available.
    next_deadlines: tuple[DatedEntry, ...]
    lead: LeadStory | None
    dates: UpcomingDates | None
    sections: tuple[RemainingSection, ...]
    short: ShortEditionStoryList | None
    has_tall_masthead: bool = False
    starts_with_lead: bool = False  # True if there's no intro and no other headline to list first

    def is_lead(self, dated: DatedEntry) -> bool:
        """Return True if a date belongs to the lead story."""
        return self.lead is not None and _is_same_story(self.lead.entry, dated.entry)

    @property
    def has_late_intro(self) -> bool:
        """True if the intro is below the lead.

        This is the case if the masthead or the headlines fill the first screen, or if there's no
        intro. The intro's row also has the link to the web edition.
        """
        if self.lead is None:
            return False
        if self.has_tall_masthead or self.starts_with_lead:
            return True
        listed = self.contents.entries if self.contents else ()
        return _count_early_lines(self.lead.entry, listed, self.next_deadline) > MAX_EARLY_LINES

    @property
    def next_deadline(self) -> DatedEntry | None:
        """The earliest deadline in the whole edition."""
        return next(iter(self.next_deadlines), None)

    @property
    def lists(self) -> tuple[RemainingSection, ...]:
        """The sections that have lists instead of rows."""
        return tuple(part for part in self.sections if part.style not in {"lead", "rows"})


def _count_lines(headline: str, width: int = _CONTENTS_WIDTH) -> int:
    """Return the approximate number of lines that a headline takes up at `width` characters per line."""
    return math.ceil(len(headline) / width)


def _count_early_lines(lead: SectionEntry, others: Iterable[SectionEntry], due: DatedEntry | None) -> int:
    """Return the approximate number of lines before the lead's first sentence.

    The lead's headline and the deadline are included.
    """
    lines = _count_lines(lead.headline, _LEAD_WIDTH) + sum(_count_lines(entry.headline) for entry in others)
    if due is None:
        return lines
    return lines + (1 if _is_same_story(lead, due.entry) else _count_lines(due.entry.headline))


def _count_intro_lines(intro: str) -> int:
    """Return the approximate number of lines that an intro takes up in the email, which shows only its beginning."""
    opening = "".join(split_paragraphs(intro)[:1])[:MAX_OPENING_LENGTH]
    return _count_lines(opening, _INTRO_WIDTH)


def _is_same_story(lead: SectionEntry, entry: SectionEntry) -> bool:
    return (lead.headline, lead.url) == (entry.headline, entry.url)


def arrange_email(content: EditionContent, *, has_tall_masthead: bool = False) -> MailLayout:
    """Arrange an edition for the email.

    Every entry appears once, apart from its line on the first screen.
    """
    dated = sorted(list_dated_entries(content.sections), key=_date_order)
    dates = _choose_upcoming_dates(content, dated)
    leading = next(iter(list_lead_sections(content.sections)), None)
    sections = tuple(_list_sections(content, leading, dates))
    deadlines = _list_next_deadlines(dated)
    contents = _list_contents(leading, next(iter(deadlines), None), content.intro)
    return MailLayout(
        contents=contents,
        next_deadlines=deadlines,
        lead=LeadStory(section_fragment_name([leading.key]), leading.entries[0]) if leading else None,
        dates=dates,
        sections=sections,
        short=_choose_short_rest(sections),
        has_tall_masthead=has_tall_masthead,
        starts_with_lead=contents is None and not content.intro,
    )


def _choose_short_rest(sections: Iterable[RemainingSection]) -> ShortEditionStoryList | None:
    """Return the next stories in order, except those that aren't news or are too far down.

    The first ten fill an email that has no omitted parts.
    """
    parts: list[RemainingSection] = []
    room = MAX_SHORT_LINES
    for part in sections:
        if SECTION_KINDS[part.section.kind].source_section != NEWS_SECTION:
            continue
        for key, stories in _group_by_part(part.section).items():
            first, rest = stories[:room], stories[room:][:MAX_SHORT_LINES]
            for word, entries in (("lines", first), ("lines-rest", rest)):
                if entries:
                    name = section_fragment_name([key], f"{word}-{len(entries)}")
                    parts.append(RemainingSection(name, replace(part.section, entries=entries)))
            room -= len(first)
    return ShortEditionStoryList(tuple(parts)) if parts else None


def _list_next_deadlines(dated_entries: Iterable[DatedEntry]) -> tuple[DatedEntry, ...]:
    """Return the earliest deadline of each part. The entries must be sorted by date."""
    earliest: dict[str, DatedEntry] = {}
    for dated in dated_entries:
        if dated.when.kind == "deadline":
            earliest.setdefault(dated.reminder_fragment, dated)
    return tuple(earliest.values())


def describe_top_stories(content: EditionContent, page: str, today: date) -> dict[str, str]:
    """Return an edition's top stories for a welcome email: `best_first` to `best_third`, and the next deadline.

    Each story has a `_url` and a `_note`, and the deadline has a `_when` and a `_url`. Missing
    values are empty. A story without a URL gets `page`, the URL of the edition's page.
    """
    leading = next(iter(list_lead_sections(content.sections)), None)
    entries = leading.entries[: len(_BEST_NAMES)] if leading else ()
    facts = dict.fromkeys(BEST_FACTS, "")
    for name, entry in zip(_BEST_NAMES, entries, strict=False):
        facts[name] = entry.headline
        facts[f"{name}_url"] = entry.url or page
        facts[f"{name}_note"] = " · ".join(filter(None, (entry.kicker, entry.source_and_date)))
    deadline = find_next_deadline(content.sections, today)
    if deadline:
        facts |= {"deadline": deadline.entry.headline, "deadline_when": deadline.when.text}
        facts["deadline_url"] = deadline.entry.url or page
    return facts


def find_next_deadline(sections: Iterable[EditionSection], today: date = date.min) -> DatedEntry | None:
    """Return the earliest deadline on or after a day, or None.

    It's a call's own deadline, or one stated in a story's texts.
    """
    coming = (dated for dated in list_dated_entries(sections) if dated.when.day >= today)
    deadlines = (dated for dated in coming if dated.when.kind == "deadline")
    return min(deadlines, key=_date_order, default=None)


def list_dated_entries(sections: Iterable[EditionSection]) -> Iterator[DatedEntry]:
    """Yield the entries that have a date.

    A deadline stated in an entry's texts is a separate item, without the summary.
    """
    for section in sections:
        for place, entry in enumerate(section.entries, 1):
            if entry.when:
                fragment = _name_date_fragment(section, entry, place)
                yield DatedEntry(fragment, section.kind, entry, entry.when)
            if entry.due:
                fragment = f"{_name_date_fragment(section, entry, place)}-due"
                line = SectionEntry(entry.headline, entry.url, source=entry.source, when=entry.due)
                yield DatedEntry(fragment, section.kind, line, entry.due)


def _date_order(dated: DatedEntry) -> tuple[date, float]:
    """Return the sort key of a dated entry. Entries with equal times stay in reading order."""
    moment = dated.when.moment
    seconds = moment.timestamp() if moment else math.inf
    return (dated.when.day, seconds)


def _choose_upcoming_dates(content: EditionContent, dated: list[DatedEntry]) -> UpcomingDates | None:
    """Return the soonest of the upcoming dates, at most five."""
    last_day = content.released_on + SOON
    soon = [d for d in dated if d.when.day <= last_day]
    listed = {d.fragment for d in soon}
    # A listed event states its registration deadline itself.
    soon = [d for d in soon if d.fragment.removesuffix("-due") not in listed - {d.fragment}]
    if len(soon) > MAX_EARLY_DATES:
        soon = soon[:MAX_EARLY_DATES]
        last_day = soon[-1].when.day
    if not soon:
        return None
    keys = frozenset().union(*(list_fragment_keys(d.fragment) for d in soon))
    start, end = section_fragment_name(keys, "dates"), section_fragment_name(keys, "dates-end")
    return UpcomingDates(start, end, last_day, tuple(soon))


def _list_contents(leading: EditionSection | None, due: DatedEntry | None, intro: str) -> FirstScreenHeadlines | None:
    """Return the headlines that follow the lead's in the leading section.

    There are two, or one if the first screen is full, because the intro is more important than the
    second. A long intro may replace both. A short one is below the lead if a single headline leaves
    no room for it.
    """
    if leading is None or len(leading.entries) < 2:
        return None
    lead, *others = leading.entries[: 1 + CONTENTS_HEADLINES]
    extra_lines = max(_count_intro_lines(intro) - SHORT_INTRO_LINES, 0)
    fewest = 0 if extra_lines else 1
    while len(others) > fewest and _count_early_lines(lead, others, due) + extra_lines > MAX_EARLY_LINES:
        others.pop()
    if not others:
        return None
    return FirstScreenHeadlines(section_fragment_name([leading.key], "contents"), tuple(others))


def _list_sections(
    content: EditionContent, leading: EditionSection | None, dates: UpcomingDates | None
) -> Iterator[RemainingSection]:
    """Yield the rest of each section in order. The leading section keeps its place."""
    early = dates.fragments if dates else frozenset()
    for section in content.sections:
        if section is leading:
            yield RemainingSection(
                section_fragment_name([section.key], "rows"), replace(section, entries=section.entries[1:])
            )
            continue
        entries = tuple(
            entry
            for place, entry in enumerate(section.entries, 1)
            if _name_date_fragment(section, entry, place) not in early
        )
        after = dates.last_day if dates and len(entries) < len(section.entries) else None
        if entries:
            rest = replace(section, entries=entries)
            yield RemainingSection(section_fragment_name([find_part_key(section)]), rest, after)
