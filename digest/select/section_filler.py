"""The sections of an edition while they're being filled, and the rules for filling them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any, ClassVar

from digest.select.advisories import find_advisory
from digest.select.penalties import (
    find_penalties,
    is_agency_action,
    is_case_title,
    is_sentence_title,
    is_title_repeated,
)
from digest.select.ranking import COVERAGE_TERM, PENALTY_TERM, StoryRanker
from digest.select.selection_types import CandidateArticle, ScoredStory, Story
from digest.select.stories import build_story_with_lead
from digest.select.story_similarity import StorySimilarity
from digest.settings import NEWS_SECTION, SectionSettings, SelectionSettings
from digest.settings.edition import find_source_section

MAX_STORIES_PER_TOPIC = 2  # maximum number of stories on one topic, in sections that limit them
# A story is exempt from the topic limit if it has this many times the publishers of a placed story
# on its topic.
FAR_HIGHER_COVERAGE = 2.0
MIN_FAR_COVERAGE = 5  # minimum number of publishers of an exempt story
MAX_SUPPORTING = 2  # maximum number of supporting stories under one story
MIN_SUPPORTING_SHARE = 0.5  # minimum score of a supporting story, as a share of the main story's
# Maximum number of publishers of an official action with a reserved place. Others have enough
# coverage without one.
MAX_ACTION_PUBLISHERS = 3
MAX_COMPARED = 100  # number of best news stories to compare with those in the edition, to find the same matter
MAX_RESERVE = 20  # maximum number of replacements for a section's dropped stories


class SectionSelectionRules:
    """The rules by which one kind of section selects its stories. Instances are stateless.

    A kind with `has_own_date` takes items with a date of their own, such as an event or a deadline.
    Two items with the same title and day are merged, and an item is eligible until its day,
    whatever the edition's window.
    """

    name: ClassVar[str]
    has_own_date: ClassVar[bool] = False
    # Whether stories are chosen by score and count toward the limit of stories per publisher.
    capped: ClassVar[bool] = False
    limits_topics: ClassVar[bool] = False  # at most `MAX_STORIES_PER_TOPIC` on one topic
    takes_every_topic: ClassVar[bool] = True
    order_rule: ClassVar[str] = ""  # why a story may be placed above one with a higher score

    @property
    def source_section(self) -> str:
        """The source section whose articles this kind takes."""
        return find_source_section(self.name)

    def fill(self, filler: "SectionFiller", section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Fill a section from a pool that's sorted by score.

        By default, take the pinned stories, then the first ones in the kind's order.
        """
        filler.take_in_order(section, sorted(pool, key=self.order_key))
        filler.sections[section.key].sort(key=self.order_key)

    def is_offered(self, scored: ScoredStory) -> bool:
        """Return True if this kind considers a story.

        By default, it considers all stories from its sources.
        """
        return scored.lead.section == self.source_section

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Return True if a story fits the section.

        By default, all stories that the kind considers do.
        """
        del section
        return self.is_offered(scored)

    def order_reserve(self, filler: "SectionFiller", pool: Sequence[ScoredStory]) -> list[ScoredStory]:
        """Return replacements for dropped stories.

        They're in the kind's order. If it has none, they're sorted by score, with repeated news last.
        """
        if pool and self.order_key(pool[0]):
            return sorted(pool, key=self.order_key)
        best = pool[: 3 * MAX_RESERVE]
        return sorted(best, key=filler.repeats_placed_news)

    def order_key(self, scored: ScoredStory) -> tuple[Any, ...]:
        """Return the sort key of a story in this kind of section, or () if the kind has no order."""
        del scored
        return ()

    def find_ordered_position(self, scored: ScoredStory, stories: Sequence[ScoredStory]) -> int:
        """Return the position at which to insert a story so that the section stays in order.

        If the kind has no order, it's the end.
        """
        own = self.order_key(scored)
        later = (n for n, story in enumerate(stories) if own and self.order_key(story) > own)
        return next(later, len(stories))

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why a story isn't eligible for this kind, or return "" if it is."""
        del scored, now
        return ""

    def explain_unchosen(self, section: SectionSettings) -> str:
        """Explain why a section with room passed over a story with a sufficient score."""
        del section
        return "no section takes its topic"


@dataclass(slots=True)
class SectionFiller:
    """The sections filled so far. A story placed in one isn't available to later ones."""

    kinds: Mapping[str, SectionSelectionRules]  # by name, in the order in which they choose stories
    select: SelectionSettings
    ranking: StoryRanker
    similarity: StorySimilarity
    now: datetime  # in the publication's time zone if days matter
    sections: dict[str, list[ScoredStory]] = field(default_factory=dict)
    lead_counts: Counter[str] = field(default_factory=Counter)  # by the lead's publisher, in kinds with a cap
    news_stories: list[ScoredStory] = field(default_factory=list)
    supporting: dict[str, list[ScoredStory]] = field(default_factory=dict)  # by the lead's URL of the main story
    official_urls: set[str] = field(default_factory=set)  # leads of the stories in reserved places
    _capped_stories: list[ScoredStory] = field(default_factory=list)
    _taken_urls: set[str] = field(default_factory=set)

    def fill_sections(self, sections: Iterable[SectionSettings], ranked: Sequence[ScoredStory]) -> None:
        """Fill the sections from the ranked stories, in the order in which the kinds choose."""
        pick_order = list(self.kinds)
        for section in sorted(sections, key=lambda s: pick_order.index(s.kind)):
            kind = self.kinds[section.kind]
            offered = [s for s in ranked if kind.is_offered(s) and s.url not in self._taken_urls]
            pool = [s for s in offered if not kind.explain_unfit(s, self.now)]
            self.sections[section.key] = []
            kind.fill(self, section, pool)
        self._take_supporting(ranked)

    def _take_supporting(self, ranked: Sequence[ScoredStory]) -> None:
        """Put the best remaining stories about a placed story's matter under that story.

        Each matter therefore appears only once.
        """
        least_score = MIN_SUPPORTING_SHARE * min((s.score for s in self._capped_stories), default=math.inf)
        for scored in ranked:
            main = self._find_main_story(scored) if self._may_support(scored, least_score) else None
            if main is None:
                continue
            under = self.supporting.setdefault(main.url, [])
            told = (article.title for other in (main, *under) for article in other.story.members)
            if len(under) < MAX_SUPPORTING and not is_title_repeated(scored.lead.title, told):
                under.append(scored)
                self._taken_urls.add(scored.url)

    def _may_support(self, scored: ScoredStory, least_score: float) -> bool:
        lead = scored.lead
        is_free = lead.section == NEWS_SECTION and lead.url not in self._taken_urls
        fits = bool(scored.topic) and scored.score >= least_score
        return is_free and fits and not is_sentence_title(lead.title)

    def _find_main_story(self, scored: ScoredStory) -> ScoredStory | None:
        """Return the placed story that another story may be put under, or None.

        The two must share a rare name.
        """
        main = self._find_same_matter(scored, self._capped_stories)
        if main is None or scored.score < MIN_SUPPORTING_SHARE * main.score or find_penalties(scored.lead):
            return None
        return main if self.similarity.share_rare_name(scored.story, main.story) else None

    def _find_same_matter(self, scored: ScoredStory, placed: Iterable[ScoredStory]) -> ScoredStory | None:
        """Return the placed story about the same matter, or None.

        Two advisories are different matters, however similar their wording.
        """
        main = self.similarity.find_same_matter(scored, placed)
        return None if main and find_advisory(scored.lead) and find_advisory(main.lead) else main

    def list_likely_merges(self, ranked: Sequence[ScoredStory]) -> tuple[tuple[str, str], ...]:
        """Return pairs of stories about the same matter: one in the edition, and one that isn't.

        Each story is identified by its lead's URL.
        """
        supporting_urls = {scored.url for under in self.supporting.values() for scored in under}
        pairs = []
        news = (scored for scored in ranked if scored.lead.section == NEWS_SECTION)
        for scored in islice(news, MAX_COMPARED):
            # A story in the edition may have a different lead.
            has_lead = [scored.lead in placed.story.members for placed in self._capped_stories]
            place = has_lead.index(True) if True in has_lead else None
            main = self._find_same_matter(scored, self._capped_stories[:place])
            if main and scored.url not in supporting_urls:
                pairs.append((main.url, scored.url))
        return tuple(pairs)

    def list_reserves(
        self, sections: Iterable[SectionSettings], ranked: Sequence[ScoredStory]
    ) -> dict[str, tuple[str, ...]]:
        """Return the lead URLs of the replacements for dropped stories, in order, by section key."""
        unplaced = [s for s in ranked if s.url not in self._taken_urls]
        reserves = {}
        for section in sections:
            kind = self.kinds[section.kind]
            offered = [s for s in unplaced if kind.may_take(section, s)]
            fit = [s for s in offered if not kind.explain_unfit(s, self.now)]
            ready = kind.order_reserve(self, fit)[:MAX_RESERVE]
            reserves[section.key] = tuple(scored.url for scored in ready)
        return reserves

    def take_story(self, section: SectionSettings, scored: ScoredStory) -> None:
        """Add a story to the end of a section."""
        kind = self.kinds[section.kind]
        self.sections[section.key].append(scored)
        self._taken_urls.update(article.url for article in scored.story.members)
        if kind.source_section == NEWS_SECTION:
            self.news_stories.append(scored)
        if kind.capped:
            self._capped_stories.append(scored)
            self.lead_counts[scored.lead.publisher] += 1

    def is_taken(self, scored: ScoredStory) -> bool:
        """Return True if a story is already in a section."""
        return scored.url in self._taken_urls

    def is_section_full(self, section: SectionSettings) -> bool:
        """Return True if a section has as many stories as its settings allow."""
        return len(self.sections[section.key]) >= section.most

    def take_within_cap(self, section: SectionSettings, scored: ScoredStory) -> None:
        """Append a story to a section, led by the best article whose publisher is below its limit."""
        self.take_story(section, self._lead_within_cap(scored))

    def _lead_within_cap(self, scored: ScoredStory) -> ScoredStory:
        """Return a story led by the best article whose publisher is below its limit."""
        leads = self._find_leads_within_cap(scored.story)
        if scored.lead in leads:
            return scored
        lead = self.similarity.order_leads(leads)[0]
        others = [article for article in scored.story.members if article is not lead]
        led_anew = self.ranking.score_story(build_story_with_lead(lead, others))
        return replace(led_anew, continues=scored.continues, topic_rank=scored.topic_rank)

    def is_publisher_full(self, scored: ScoredStory) -> bool:
        """Return True if every publisher that could lead a story is at its limit."""
        return not self._find_leads_within_cap(scored.story)

    def _find_leads_within_cap(self, story: Story) -> list[CandidateArticle]:
        pages = (story.lead, *story.also_reported)
        return [a for a in pages if self.lead_counts[a.publisher] < self.select.per_publisher]

    def repeats_placed_news(self, scored: ScoredStory) -> bool:
        """Return True if a story reports nearly the same news as one in the news sections."""
        return self.similarity.find_same_news(scored, self.news_stories) is not None

    def is_topic_full(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Return True if a section has enough stories on a story's topic."""
        return is_topic_full(self.sections[section.key], scored)

    def _pinned_stories(self, pool: Iterable[ScoredStory]) -> list[ScoredStory]:
        """Return the pinned stories in a pool, in the order of the pins.

        They're exempt from all caps.
        """
        pins = list(dict.fromkeys(self.select.pins))
        pinned = []
        for scored in pool:
            urls = {url for article in scored.story.members for url in (article.url, article.link)}
            places = [place for place, url in enumerate(pins) if url in urls]
            if places:
                pinned.append((places[0], scored.story.lead.url, scored))
        return [scored for *_, scored in sorted(pinned, key=itemgetter(0, 1))]

    def take_pinned(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> list[ScoredStory]:
        """Add the pinned stories of a pool to a section, and return the others."""
        pins = self._pinned_stories(pool)
        for scored in pins:
            self.take_story(section, scored)
        chosen = {s.url for s in pins}
        return [s for s in pool if s.url not in chosen]

    def iterate_new_matter_first(self, section: SectionSettings, pool: Iterable[ScoredStory]) -> Iterator[ScoredStory]:
        """Yield a pool's stories until the section is full, with repeats of placed news last.

        Each story is compared with all stories taken before it's yielded.
        """
        later = []
        for scored in pool:
            if self.is_section_full(section):
                return
            if self.repeats_placed_news(scored):
                later.append(scored)
            else:
                yield scored
        for scored in later:
            if self.is_section_full(section):
                return
            yield scored

    def take_varied(self, section: SectionSettings, pool: Iterable[ScoredStory]) -> None:
        """Fill a section from a pool, within the limits on stories per publisher and per topic."""
        limits_topics = self.kinds[section.kind].limits_topics
        for scored in self.iterate_new_matter_first(section, pool):
            is_topic_full = limits_topics and self.is_topic_full(section, scored)
            if not is_topic_full and not self.is_publisher_full(scored):
                self.take_within_cap(section, scored)

    def take_official_actions(self, section: SectionSettings, pool: Iterable[ScoredStory]) -> None:
        """Fill a section's reserved places with official actions that aren't covered yet.

        Actions with the most points, not counting coverage, come first.
        """
        free_places = max(section.most - len(self.sections[section.key]), 0)
        unplaced = [scored for scored in pool if not self.is_taken(scored)]
        fit = filter(self._may_have_reserved_place, sorted(unplaced, key=_uncovered_key))
        official = filter(self.is_official_action, map(self._lead_within_cap, fit))
        for scored in islice(official, min(self.select.official_places, free_places)):
            self.take_story(section, scored)
            self.official_urls.add(scored.url)

    def _may_have_reserved_place(self, scored: ScoredStory) -> bool:
        """Return True if a story is an official action on a matter that the news sections don't cover yet."""
        if not self.is_official_action(scored) or self.is_publisher_full(scored):
            return False
        return self.similarity.find_same_matter(scored, self.news_stories) is None

    def is_official_action(self, scored: ScoredStory) -> bool:
        """Return True if a story is an action by an official source or home agency and has few publishers.

        The country itself may act as well ("U.S. charges hackers"), but naming it makes no case official.
        """
        lead, rules = scored.lead, self.ranking.place_finder
        if len(scored.story.publishers) > MAX_ACTION_PUBLISHERS or scored.points(PENALTY_TERM):
            return False
        at_home = (name for name in rules.find_names(lead.title) if name.country == rules.home_country)
        actors = [name.tokens for name in at_home if not name.state]
        if any(is_agency_action(_cut_name(lead.title, tokens)) for tokens in actors):
            return True
        is_official = lead.primary or not rules.agencies.isdisjoint(actors)
        return is_official and (is_case_title(lead.title) or find_advisory(lead) is not None)

    def take_in_order(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Fill a section with the pinned stories, then with the first others in the pool."""
        unpinned = self.take_pinned(section, pool)
        room = section.most - len(self.sections[section.key])
        for scored in unpinned[: max(room, 0)]:
            self.take_story(section, scored)


def is_topic_full(placed: Iterable[ScoredStory], scored: ScoredStory) -> bool:
    """Return True if there are enough placed stories on a story's topic.

    Stories with far higher coverage are exempt from the limit.
    """
    publishers = [len(other.story.publishers) for other in placed if other.topic == scored.topic]
    if len(publishers) < MAX_STORIES_PER_TOPIC:
        return False
    return len(scored.story.publishers) < max(FAR_HIGHER_COVERAGE * min(publishers), MIN_FAR_COVERAGE)


def _cut_name(title: str, tokens: Iterable[str]) -> str:
    """Return what follows a name in a title."""
    found = re.search(r"\W+".join(tokens) + r"\b[ .]*", title)
    return title[found.end() :] if found else ""


def _uncovered_key(scored: ScoredStory) -> tuple[float, datetime, str]:
    """Return a sort key that orders stories by their points without coverage, best first."""
    uncovered = round(scored.score - scored.points(COVERAGE_TERM), 2)
    return (-uncovered, scored.lead.dated_at, scored.url)
