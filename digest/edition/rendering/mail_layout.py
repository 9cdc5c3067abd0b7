"""Where an edition's entries stand in the mail: the first screen, the lead, the dates that come soon, then the sections.

Pure: from content to what the templates loop over. A part is a fragment of its own, named after the sections that it
belongs to (`fragment_names`), so that a reader who left a section out meets nothing of it anywhere.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import combinations

from digest.edition.content.edition_content import EditionContent, EditionSection, EntryDate, SectionEntry
from digest.edition.content.fragment_names import LINES_HEAD, MAX_SHORT_LINES, list_fragment_keys, section_fragment_name
from digest.edition.kinds import SECTION_KINDS, list_lead_sections
from digest.edition.kinds.section_kind import SectionLook
from digest.settings import NEWS_SECTION
from subscribers.part_keys import join_part_key, make_topic_key
from subscribers.subscriber_language import mark_message

SOON = timedelta(days=14)  # after the release; what lies further ahead stays in its section
MAX_EARLY_DATES = 5
CONTENTS_HEADLINES = 2  # besides the lead's, which is right below
MAX_EARLY_LINES = 8  # of the headlines before the lead's first sentence, 390 px wide, with an intro among them
_CONTENTS_WIDTH, _LEAD_WIDTH = 38, 26  # characters in a line there
_BEST_NAMES = ("best_first", "best_second", "best_third")
BEST_FACTS = (
    *(name + part for name in _BEST_NAMES for part in ("", "_url", "_note")),
    "deadline",
    "deadline_when",
    "deadline_url",
)  # of a welcome


@dataclass(frozen=True, slots=True)
class DatedEntry:
    """An entry with a date, and the fragment that it is among the early dates."""

    fragment: str
    section_kind: str
    entry: SectionEntry
    when: EntryDate

    @property
    def is_stated_in_text(self) -> bool:
        """True if it's a deadline that a story's texts state, rather than the story's own date."""
        return self.fragment.endswith("-due")

    @property
    def reminder_fragment(self) -> str:
        """The fragment that names it on the first screen."""
        return section_fragment_name(list_fragment_keys(self.fragment), "or-next")


@dataclass(frozen=True, slots=True)
class UpcomingDates:
    """The deadlines and events of the coming days, in order of date, before the rest of the edition."""

    head_fragment: str  # of the list, below its title
    foot_fragment: str
    last_day: date  # that the title names: nothing of the sections that comes before it is left out
    entries: tuple[DatedEntry, ...]

    @property
    def fragments(self) -> frozenset[str]:
        """The fragments of its entries."""
        return frozenset(dated.fragment for dated in self.entries)

    @property
    def heads(self) -> dict[str, "UpcomingDates"]:
        """The fragments of its title, each with some of its dates: those that an email has to have for that title."""
        pairs = (pair for pair in combinations(self.entries, 2) if _is_mixed(pair))
        heads: dict[str, UpcomingDates] = {}
        for entries in (*pairs, *((dated,) for dated in self.entries)):
            keys = frozenset().union(*(list_fragment_keys(dated.fragment) for dated in entries))
            heads.setdefault(section_fragment_name(keys, "or-dates"), replace(self, entries=entries))
        return heads

    @property
    def title(self) -> str:
        """What the dates hold, as a message: "Deadlines and events"."""
        if _is_mixed(self.entries):
            return mark_message("Deadlines and events")
        is_deadline = self.entries[0].when.kind == "deadline"
        return mark_message("Deadlines") if is_deadline else mark_message("Events")


def _is_mixed(entries: Iterable[DatedEntry]) -> bool:
    """Return whether there are both deadlines and events."""
    return len({dated.when.kind for dated in entries}) == 2


@dataclass(frozen=True, slots=True)
class FirstScreenHeadlines:
    """The headlines of the first screen, which lead to the stories themselves."""

    fragment: str
    entries: tuple[SectionEntry, ...]


@dataclass(frozen=True, slots=True)
class LeadStory:
    """The story that leads, before its section's others."""

    fragment: str
    entry: SectionEntry


@dataclass(frozen=True, slots=True)
class TopicStories:
    """The stories on one topic of a section that lists topics; the title is empty for stories without one."""

    fragment: str
    title: str
    entries: tuple[SectionEntry, ...]


@dataclass(frozen=True, slots=True)
class RemainingSection:
    """A section without what stands earlier in the mail, which may be all of the one that leads.

    `after` is the day after which its dates lie, where earlier ones stand among the early dates.
    """

    fragment: str
    section: EditionSection
    after: date | None = None

    @property
    def look(self) -> SectionLook:
        """How the templates set it."""
        return SECTION_KINDS[self.section.kind].look

    @property
    def topics(self) -> tuple[TopicStories, ...]:
        """Its stories by topic, each a fragment, if it lists topics."""
        groups = _group_by_part(self.section).items()
        named = ((section_fragment_name([key], "topic"), entries) for key, entries in groups)
        return tuple(TopicStories(name, entries[0].kicker, entries) for name, entries in named)

    @property
    def end_fragment(self) -> str:
        """The fragment that ends its list of topics."""
        return f"{self.fragment}.end"


def _lists_topics(section: EditionSection) -> bool:
    return SECTION_KINDS[section.kind].look == "topics"


def find_part_key(section: EditionSection, entry: SectionEntry | None = None) -> str:
    """Return the key of the part that an entry belongs to: its section's, or that of its topic in a list of topics.

    Without an entry, it's that of any topic of the section.
    """
    if _lists_topics(section):
        return join_part_key(section.key, make_topic_key(entry.kicker) if entry else "")
    return section.key


def list_edition_parts(content: EditionContent) -> dict[str, str]:
    """Return the title of each section by its key and, after a section that lists topics, those of its topics; empty without a topic."""
    parts: dict[str, str] = {}
    for section in content.sections:
        parts[section.key] = section.title
        if _lists_topics(section):
            parts |= {key: entries[0].kicker for key, entries in _group_by_part(section).items()}
    return parts


def list_headlines(sections: Sequence[EditionSection]) -> list[tuple[str, SectionEntry]]:
    """List all entries with the keys of their parts, those of the section that leads first."""
    leading_first = sorted(sections, key=lambda section: not SECTION_KINDS[section.kind].leads_edition)
    return [(find_part_key(section, entry), entry) for section in leading_first for entry in section.entries]


def _group_by_part(section: EditionSection) -> dict[str, tuple[SectionEntry, ...]]:
    """Group a section's entries by the keys of their parts, both in the order in which they come."""
    groups: dict[str, tuple[SectionEntry, ...]] = {}
    for entry in section.entries:
        key = find_part_key(section, entry)
        groups[key] = (*groups.get(key, ()), entry)
    return groups


def _name_date_fragment(section: EditionSection, entry: SectionEntry, place: int) -> str:
    return section_fragment_name([find_part_key(section, entry)], f"date-{place}")


@dataclass(frozen=True, slots=True)
class ShortEditionStoryList:
    """What the short edition has besides the lead and the dates: a line for each of the next stories, by their sections.

    There are more than an email has, because those of the parts left out make room for others.
    """

    parts: tuple[RemainingSection, ...]
    fragment: str = LINES_HEAD  # of its head


@dataclass(frozen=True, slots=True)
class MailLayout:
    """One edition as the mail sets it."""

    contents: FirstScreenHeadlines | None
    next_deadlines: tuple[DatedEntry, ...]  # the earliest of each part, in order; an email has the first that it can
    lead: LeadStory | None
    dates: UpcomingDates | None
    sections: tuple[RemainingSection, ...]
    short: ShortEditionStoryList | None
    has_tall_masthead: bool = False

    def is_lead(self, dated: DatedEntry) -> bool:
        """Return whether a date is that of the story that leads."""
        return self.lead is not None and _is_same_story(self.lead.entry, dated.entry)

    @property
    def has_late_intro(self) -> bool:
        """True if the intro is below the lead, because the masthead or the headlines fill the first screen."""
        if self.lead is None:
            return False
        if self.has_tall_masthead:
            return True
        listed = self.contents.entries if self.contents else ()
        return _count_early_lines(self.lead.entry, listed, self.next_deadline) > MAX_EARLY_LINES

    @property
    def next_deadline(self) -> DatedEntry | None:
        """The earliest deadline of the whole edition."""
        return next(iter(self.next_deadlines), None)

    @property
    def lists(self) -> tuple[RemainingSection, ...]:
        """The sections that list their entries, rather than tell them as rows."""
        return tuple(part for part in self.sections if part.look not in {"lead", "rows"})


def _count_lines(headline: str, width: int = _CONTENTS_WIDTH) -> int:
    """Return about how many lines a headline takes if `width` characters fit into one."""
    return math.ceil(len(headline) / width)


def _count_early_lines(lead: SectionEntry, others: Iterable[SectionEntry], due: DatedEntry | None) -> int:
    """Return about how many lines the headlines before the lead's first sentence take, with its own and the deadline's."""
    lines = _count_lines(lead.headline, _LEAD_WIDTH) + sum(_count_lines(entry.headline) for entry in others)
    if due is None:
        return lines
    return lines + (1 if _is_same_story(lead, due.entry) else _count_lines(due.entry.headline))


def _is_same_story(lead: SectionEntry, entry: SectionEntry) -> bool:
    return (lead.headline, lead.url) == (entry.headline, entry.url)


def arrange_email(content: EditionContent, *, has_tall_masthead: bool = False) -> MailLayout:
    """Arrange an edition for the email: every entry is in it once, except for its line on the first screen."""
    dated = sorted(list_dated_entries(content.sections), key=_date_order)
    dates = _choose_upcoming_dates(content, dated)
    leading = next(iter(list_lead_sections(content.sections)), None)
    sections = tuple(_list_sections(content, leading, dates))
    deadlines = _list_next_deadlines(dated)
    return MailLayout(
        contents=_list_contents(leading, next(iter(deadlines), None)),
        next_deadlines=deadlines,
        lead=LeadStory(section_fragment_name([leading.key]), leading.entries[0]) if leading else None,
        dates=dates,
        sections=sections,
        short=_choose_short_rest(sections),
        has_tall_masthead=has_tall_masthead,
    )


def _choose_short_rest(sections: Iterable[RemainingSection]) -> ShortEditionStoryList | None:
    """Take the next stories in their order; what is no news and what lies further ahead stay in the full edition.

    The ten that come first fill an email that nothing is left out of.
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
    """List the earliest deadline of each part. The entries are in order of date."""
    earliest: dict[str, DatedEntry] = {}
    for dated in dated_entries:
        if dated.when.kind == "deadline":
            earliest.setdefault(dated.reminder_fragment, dated)
    return tuple(earliest.values())


def describe_top_stories(content: EditionContent, page: str, today: date) -> dict[str, str]:
    """Describe the stories of an edition's first screen for a welcome: `best_first` to `best_third`, each with `_url` and `_note`, and a deadline.

    A story that has no page of its own is read on the edition's, whose address is `page`.
    """
    layout = arrange_email(content)
    first = (layout.lead.entry,) if layout.lead else ()
    entries = (*first, *(layout.contents.entries if layout.contents else ()))
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
    """Return the earliest deadline of all sections from a day on: a call's own, or one that a story's texts state."""
    coming = (dated for dated in list_dated_entries(sections) if dated.when.day >= today)
    deadlines = (dated for dated in coming if dated.when.kind == "deadline")
    return min(deadlines, key=_date_order, default=None)


def list_dated_entries(sections: Iterable[EditionSection]) -> Iterator[DatedEntry]:
    """List the entries with a date; one whose texts state a deadline is listed with that too, as a line without its summary."""
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
    """Return the key by which dates are sorted; what is due at the same time stays in reading order."""
    moment = dated.when.moment
    seconds = moment.timestamp() if moment else math.inf
    return (dated.when.day, seconds)


def _choose_upcoming_dates(content: EditionContent, dated: list[DatedEntry]) -> UpcomingDates | None:
    """Take the soonest of the coming days, at most five."""
    if content.released_on is None:
        return None
    last_day = content.released_on + SOON
    soon = [d for d in dated if d.when.day <= last_day]
    listed = {d.fragment for d in soon}
    # An event that is listed says itself until when to register.
    soon = [d for d in soon if d.fragment.removesuffix("-due") not in listed - {d.fragment}]
    if len(soon) > MAX_EARLY_DATES:
        soon = soon[:MAX_EARLY_DATES]
        last_day = soon[-1].when.day
    if not soon:
        return None
    keys = frozenset().union(*(list_fragment_keys(d.fragment) for d in soon))
    start, end = section_fragment_name(keys, "dates"), section_fragment_name(keys, "dates-end")
    return UpcomingDates(start, end, last_day, tuple(soon))


def _list_contents(leading: EditionSection | None, due: DatedEntry | None) -> FirstScreenHeadlines | None:
    """List the headlines after the lead's in the section that leads: two, or one if the first screen has no room for another.

    The intro comes before the second one: it's below the lead only if a single headline leaves no room for it.
    """
    if leading is None or len(leading.entries) < 2:
        return None
    lead, *others = leading.entries[: 1 + CONTENTS_HEADLINES]
    has_room = _count_early_lines(lead, others, due) <= MAX_EARLY_LINES
    entries = tuple(others if has_room else others[:1])
    return FirstScreenHeadlines(section_fragment_name([leading.key], "contents"), entries)


def _list_sections(
    content: EditionContent, leading: EditionSection | None, dates: UpcomingDates | None
) -> Iterator[RemainingSection]:
    """List what is left of each section, in order; the one that leads keeps its place with its other stories."""
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
