"""The desk's list of the week's stories, computed from the arrangement one page at a time. Pure functions only.

URLs and buttons identify a story by its anchor, which is a hash of its lead article's URL. The
anchors of its other articles also find it, so that a page that was opened before a merge still works.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from heapq import nsmallest
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from digest.edition.content.edition_content import EditionImage
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import EntryContext
from digest.select.selection_types import PlacedStory, ScoredStory
from digest.select.text_similarity import STOP_WORDS
from digest.settings import NEWS_SECTION, SectionSettings
from subscribers.english_text import join_words
from subscribers.subscriber_language import ENGLISH

ANCHOR_LENGTH = 12
# An action hashes the URLs of all articles of the week.
MAX_CACHED_ANCHORS = 16_384
MAX_POOL_STORIES = 24  # stories per page of the list
# The number of stories shown by scrolling, after which there's a link to the next page.
MAX_SCROLLED_STORIES = 90
_FILTER_TITLES = {"unused": "Suggested", "used": "Used", "left-out": "Unused", "all": "All"}
POOL_FILTERS = tuple(_FILTER_TITLES.items())
_LONG_WORD = re.compile(r"\w{4,}")
_WORD = re.compile(r"\w+")
POOL_ORDERS = (("score", "Best score"), ("newest", "Newest"), ("read", "Most read"))


@lru_cache(maxsize=MAX_CACHED_ANCHORS)
def story_anchor(url: str) -> str:
    """Return the anchor of the story led by an article."""
    return f"s{hashlib.sha256(url.encode()).hexdigest()[:ANCHOR_LENGTH]}"


def find_story_urls(arrangement: Arrangement, anchors: Collection[str]) -> dict[str, str]:
    """Return the URLs of articles by anchor, wherever their stories are.

    Unknown anchors are omitted.
    """
    wanted, urls = set(anchors), dict[str, str]()
    for url in arrangement.story_names:
        if (anchor := story_anchor(url)) in wanted:
            urls[anchor] = url
            if len(urls) == len(wanted):
                break
    return urls


class PoolRow(NamedTuple):
    """A story in the list: its place or the reason why it was left out, and the sections that it fits.

    Creating a tuple takes a fifth of the time of a frozen dataclass, and each page creates one for
    every story.
    """

    scored: ScoredStory
    anchor: str = ""
    place: str = ""
    place_anchor: str = ""
    reason: str = ""
    next_in: str = ""  # sections whose next place it would fill: "Featured and Topics"
    fits: tuple[str, ...] = ()  # keys of sections
    fits_title: str = ""
    texts: Mapping[str, str] = MappingProxyType({})  # texts by editors, by field
    joins: str = ""  # the headline of the story that it belongs to
    # It was removed, and isn't kept for the next edition.
    is_removed: bool = False
    is_kept: bool = False  # for the next edition
    image: EditionImage | None = None
    # For example, "Event: Thursday, December 3, 1 p.m. ET, Town Hall"; empty if the story has no
    # date of its own.
    when: str = ""
    word_count: int = 0  # the number of words of the search that it has

    @property
    def headline(self) -> str:
        """The headline written by an editor, or else the lead's title."""
        return self.texts.get(StoryField.HEADLINE) or self.scored.story.lead.title

    @property
    def is_worth_suggesting(self) -> bool:
        """True if the story is offered to editors.

        Others, such as news without a topic, are found in the "All" tab or by searching.
        """
        if self.scored.is_ours or self.scored.lead.section != NEWS_SECTION:
            return True
        return bool(self.next_in or self.scored.story.kept_from)

    @property
    def publishers(self) -> str:
        """The publishers of the story, such as "Perimeter and 2 more"."""
        story = self.scored.story
        other_count = len(story.publishers) - 1
        return f"{story.lead.publisher} and {other_count} more" if other_count else story.lead.publisher

    @property
    def most_page_views(self) -> int | None:
        """The page views of the most-viewed article of the story, or None if they're unknown."""
        views = (article.views for article in self.scored.story.members)
        return max((count for count in views if count is not None), default=None)


@dataclass(frozen=True, slots=True)
class PoolPage:
    """A page of the week's stories, and the number of matches for each filter."""

    rows: tuple[PoolRow, ...]
    count: int
    start: int
    totals: Mapping[str, int]
    publisher_count: int
    topics: tuple[str, ...]
    # False if no story has all the words of the search, and stories with at least half of them are
    # listed instead.
    has_all_words: bool = True

    @property
    def next_start(self) -> int | None:
        """The start of the next page, or None if this is the last one."""
        following = self.start + len(self.rows)
        return following if following < self.count else None

    @property
    def next_count(self) -> int:
        """The number of stories on the next page."""
        return min(MAX_POOL_STORIES, self.count - self.start - len(self.rows))

    @property
    def earlier_start(self) -> int | None:
        """The start of the previous page, or None if this is the first one."""
        return max(0, self.start - MAX_POOL_STORIES) if self.start else None

    @property
    def scrolled_rows(self) -> int | None:
        """The number of stories to request when scrolling further, or None if a link to the next page is needed."""
        more = len(self.rows) + MAX_POOL_STORIES
        return more if more <= MAX_SCROLLED_STORIES else None


@dataclass(frozen=True, slots=True)
class PoolQuery:
    """A search, filter, and position in the list of the week's stories."""

    filter: str = "unused"
    order: str = "score"
    topic: str = ""
    words: str = ""
    start: int = 0
    rows: int = MAX_POOL_STORIES


def list_late_story_rows(arrangement: Arrangement) -> Iterator[PoolRow]:
    """Yield rows for the stories in the tray.

    The values that `add_date_and_sections_to_pool_row` adds are missing.
    """
    for new in arrangement.tray:
        joined = arrangement.find_story(new.joins) if new.joins else None
        joins = joined.placed.scored.story.lead.title if joined else ""
        yield PoolRow(new.scored, joins=joins)


def add_date_and_sections_to_pool_row(row: PoolRow, sections: Sequence[SectionSettings], zone: ZoneInfo) -> PoolRow:
    """Add the date to a row and, if its story isn't placed, the anchor and the sections that it fits."""
    row = row._replace(when=describe_story_date(row.scored, sections, zone))
    if row.place:
        return row
    fits = find_fitting_sections(row.scored, sections)
    titles = [s.title for s in fits]
    return row._replace(
        anchor=story_anchor(row.scored.story.lead.url),
        fits=tuple(s.key for s in fits),
        fits_title=" or ".join(titles[:2]) if row.is_worth_suggesting else "",
    )


def describe_story_date(scored: ScoredStory, sections: Iterable[SectionSettings], zone: ZoneInfo) -> str:
    """Return the time and place of an event, or the deadline of a call, as worded in the edition.

    Return "" for other stories.
    """
    lead = scored.story.lead
    if not (lead.starts_at or lead.deadline):
        return ""
    for section in sections:
        kind = SECTION_KINDS[section.kind]
        if kind.has_own_date and kind.source_section == lead.section:
            when = kind.build_entry(PlacedStory(scored), EntryContext(zone, ENGLISH)).when
            parts = [f"{when.label}: {when.text}" if when else "", lead.place or ""]
            return ", ".join(filter(None, parts))
    return ""


def find_fitting_sections(scored: ScoredStory, sections: Sequence[SectionSettings]) -> list[SectionSettings]:
    """Return the sections that accept a story from an editor, in the edition's order."""
    return [
        section for section in list_manual_sections(sections) if SECTION_KINDS[section.kind].may_take(section, scored)
    ]


def find_lead_section(sections: Iterable[SectionSettings]) -> str:
    """Return the key of the section that leads the edition, or "" if none does."""
    return next((s.key for s in sections if SECTION_KINDS[s.kind].leads_edition), "")


def list_manual_sections(sections: Iterable[SectionSettings]) -> list[SectionSettings]:
    """Return the sections in which editors place stories."""
    return [section for section in sections if SECTION_KINDS[section.kind].is_placed_by_hand]


def find_listed_story(arrangement: Arrangement, url: str) -> ScoredStory | None:
    """Return a story that isn't in a section because it was left out, is in the tray, or was removed."""
    name = arrangement.story_names.get(url)
    if name is None:
        return None
    listed = chain(
        (out.scored for out in arrangement.left_out),
        (new.scored for new in arrangement.tray),
        (removed.scored for removed in arrangement.removed),
    )
    return next((scored for scored in listed if scored.url == name), None)


def map_unplaced_titles(arrangement: Arrangement) -> dict[str, str]:
    """Return the headlines of stories that were left out or are in the tray, by URL.

    Removed stories are omitted.
    """
    removed = {gone.scored.story.lead.url for gone in arrangement.removed}
    unplaced = [out.scored.story.lead for out in arrangement.left_out]
    unplaced += [new.scored.story.lead for new in arrangement.tray]
    return {lead.url: lead.title for lead in unplaced if lead.url not in removed}


def build_story_pool_page(
    arrangement: Arrangement, sections: Sequence[SectionSettings], query: PoolQuery, zone: ZoneInfo
) -> PoolPage:
    """Return a page of the stories that match a query, in its order.

    Only the rows of that page have all their values.
    """
    rows = list(_list_pool(arrangement, sections))
    hits = [row for row in rows if not query.topic or row.scored.topic == query.topic]
    patterns = _compile_words(query.words)
    if patterns:
        hits = [row._replace(word_count=_count_found_words(row, patterns)) for row in hits]
    most_words = max((row.word_count for row in hits), default=0)
    has_all_words = most_words == len(patterns)
    least_words = len(patterns) if has_all_words else (len(patterns) + 1) // 2
    hits = [row for row in hits if row.word_count >= least_words]
    unplaced = [row for row in hits if not row.place]
    kinds = {
        "all": hits,
        "used": [row for row in hits if row.place],
        "unused": [row for row in unplaced if row.is_worth_suggesting and not row.is_removed],
        "left-out": unplaced,
    }
    order_key = _POOL_ORDER_KEYS.get(query.order, _by_score)
    fitting_rows = sorted(kinds.get(query.filter, hits), key=lambda row: (-row.word_count, order_key(row)))
    start = min(max(0, query.start), max(0, len(fitting_rows) - 1))
    row_limit = min(max(query.rows, MAX_POOL_STORIES), MAX_SCROLLED_STORIES)
    publishers = {article.publisher for row in rows for article in row.scored.story.members}
    topics = {row.scored.topic for row in rows if row.scored.topic}
    return PoolPage(
        tuple(
            add_date_and_sections_to_pool_row(row, sections, zone)._replace(
                image=arrangement.find_thumbnail(row.scored)
            )
            for row in fitting_rows[start : start + row_limit]
        ),
        len(fitting_rows),
        start,
        {key: len(kind_rows) for key, kind_rows in kinds.items()},
        len(publishers),
        tuple(sorted(topics)),
        has_all_words=has_all_words or not hits,
    )


@dataclass(frozen=True, slots=True)
class StoryChoice:
    """A story that another one can be merged with or put under.

    `place` is empty if it isn't in the edition.
    """

    anchor: str
    place: str
    headline: str
    publisher: str
    dated_at: datetime


def list_story_choices(
    arrangement: Arrangement, sections: Sequence[SectionSettings], anchor: str, words: str, *, placed_only: bool
) -> list[StoryChoice]:
    """Return up to `MAX_POOL_STORIES` stories that match a search, to be merged with a story or put above it.

    Headlines that contain the most whole words of the search come first, then those that share the
    rarest words with the story, and then the edition's in its order. Stories under another one are
    omitted, and so are removed ones unless they're searched for. If `placed_only` is set, stories
    that aren't in a section are omitted, too.
    """
    rows = list(_list_pool(arrangement, sections))
    own = next((row for row in rows if _find_anchor(row) == anchor), None)
    own_words = frozenset(_LONG_WORD.findall(own.headline.casefold())) - STOP_WORDS if own else frozenset[str]()
    shared_words = [_find_shared_words(row.headline.casefold(), own_words) for row in rows]
    counts, searched = Counter(chain.from_iterable(shared_words)), set(words.casefold().split())

    def rank(choice: tuple[PoolRow, Collection[str]]) -> tuple[int, float]:
        row, shared = choice
        found = searched & set(_WORD.findall(row.headline.casefold())) if searched else ()
        # In the edition's few stories, a single shared word, such as "says", doesn't make two stories similar.
        is_similar = len(shared) >= (2 if placed_only else 1)
        return -len(found), -sum(1 / counts[word] for word in shared if is_similar)

    patterns = _compile_words(words)
    fitting = (
        (row, shared)
        for row, shared in zip(rows, shared_words, strict=True)
        if row is not own
        and row.anchor == row.place_anchor
        and (row.place if placed_only else words or not row.is_removed)
        and _count_found_words(row, patterns) == len(patterns)
    )
    return [_make_choice(row) for row, _ in nsmallest(MAX_POOL_STORIES, fitting, key=rank)]


def _find_shared_words(text: str, words: frozenset[str]) -> Collection[str]:
    # Most texts don't contain any of the words, which is checked first because it's faster.
    return words.intersection(_LONG_WORD.findall(text)) if any(word in text for word in words) else ()


def _find_anchor(row: PoolRow) -> str:
    return row.anchor or story_anchor(row.scored.url)


def _make_choice(row: PoolRow) -> StoryChoice:
    lead = row.scored.lead
    return StoryChoice(_find_anchor(row), row.place, row.headline, lead.publisher, lead.dated_at)


def _list_pool(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> Iterator[PoolRow]:
    """Yield rows for all stories of the week.

    The values that `add_date_and_sections_to_pool_row` adds are missing.
    """
    for settings in sections:
        for number, story in enumerate(arrangement.sections.get(settings.key, ()), 1):
            anchor, place = story_anchor(story.url), f"{settings.title} {number}"
            texts = {**story.texts, "note": story.note}
            yield PoolRow(story.placed.scored, anchor, place=place, place_anchor=anchor, texts=texts)
            for under in story.supporting:
                under_anchor = story_anchor(under.url)
                yield PoolRow(under.placed.scored, under_anchor, place=f"{place}, under the story", place_anchor=anchor)
    titles_by_url: dict[str, list[str]] = {}
    for settings in sections:
        if url := arrangement.next_up.get(settings.key):
            titles_by_url.setdefault(url, []).append(settings.title)
    next_in = {url: join_words(titles) for url, titles in titles_by_url.items()}
    for out in arrangement.left_out:
        yield PoolRow(out.scored, reason=out.reason, next_in=next_in.get(out.scored.story.lead.url, ""))
    for removed in arrangement.removed:
        removal = "kept for the next edition" if removed.is_kept else "removed"
        yield PoolRow(
            removed.scored,
            texts={StoryField.HEADLINE: removed.headline},
            reason=f"{removal} by {removed.edit.actor}",
            is_removed=not removed.is_kept,
            is_kept=removed.is_kept,
        )
    yield from list_late_story_rows(arrangement)


def _compile_words(words: str) -> list[tuple[str, re.Pattern[str]]]:
    """Return the words of a search, each with a pattern that matches it at the start of a word."""
    return [(word, re.compile(rf"(?<!\w){re.escape(word)}")) for word in words.casefold().split()]


def _count_found_words(row: PoolRow, patterns: Sequence[tuple[str, re.Pattern[str]]]) -> int:
    """Return how many words are in a story's texts or in the titles, summaries, or publishers of its articles."""
    if not patterns:
        return 0
    parts = (part for each in row.scored.story.members for part in (each.title, each.summary, each.publisher))
    text = " ".join((*row.texts.values(), *parts)).casefold()
    # Most texts don't contain the words at all, which is checked first because it's faster.
    return sum(word in text and bool(pattern.search(text)) for word, pattern in patterns)


def _by_score(row: PoolRow) -> tuple[bool, float, str]:
    """Return the key that sorts stories by score.

    Stories kept for this edition come first.
    """
    return (not row.scored.story.kept_from, -row.scored.score, row.scored.story.lead.url)


def _by_age(row: PoolRow) -> tuple[float, str]:
    story = row.scored.story
    newest = max(article.dated_at for article in story.members)
    return (-newest.timestamp(), story.lead.url)


def _by_reads(row: PoolRow) -> tuple[float, bool, float, str]:
    return (-(row.most_page_views or 0), *_by_score(row))


_POOL_ORDER_KEYS = {"score": _by_score, "newest": _by_age, "read": _by_reads}
