"""The edition while it is being filled: what stands in which section, and what still may come in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from digest.select.ranking import StoryRanking
from digest.select.story_similarity import StorySimilarity
from digest.select.values import ScoredStory
from digest.settings import SectionSettings, SelectionSettings

NEWS_SECTION_KINDS = ("featured", "most-read", "stories", "topics")  # in the order in which they take their pick
CAPPED_SECTION_KINDS = ("featured", "stories", "topics")  # Most read shows what readers chose: no cap for one publisher
MAX_STORIES_PER_TOPIC = 2  # stories of one topic in Featured, and again in Topics
EVENT_LOOKAHEAD = timedelta(days=90)


@dataclass(slots=True)
class SectionFiller:
    """The sections filled so far. A story that was taken is gone from the pools of those that come after."""

    select: SelectionSettings
    ranking: StoryRanking
    similarity: StorySimilarity
    now: datetime  # in the publication's zone where days matter
    sections: dict[str, list[ScoredStory]] = field(default_factory=dict)
    lead_counts: Counter[str] = field(default_factory=Counter)  # stories by the lead's publisher, where the cap holds
    news_stories: list[ScoredStory] = field(default_factory=list)
    _taken_urls: set[str] = field(default_factory=set)

    def fill_section(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Fill one section from its pool, best first."""
        free = [s for s in pool if s.story.lead.url not in self._taken_urls]
        fill = {
            "featured": self._fill_featured,
            "most-read": self._fill_most_read,
            "stories": self._fill_stories,
            "topics": self._fill_topics,
            "products": self._fill_in_order,
            "events": self._fill_events,
            "opportunities": self._fill_opportunities,
        }[section.kind]
        self.sections[section.key] = []
        fill(section, free)

    def _take_story(self, section: SectionSettings, scored: ScoredStory) -> None:
        self.sections[section.key].append(scored)
        self._taken_urls.add(scored.story.lead.url)
        if section.kind in NEWS_SECTION_KINDS:
            self.news_stories.append(scored)
        if section.kind in CAPPED_SECTION_KINDS:
            self.lead_counts[scored.story.lead.publisher] += 1

    def _is_section_full(self, section: SectionSettings) -> bool:
        return len(self.sections[section.key]) >= section.most

    def is_publisher_full(self, scored: ScoredStory) -> bool:
        """Say whether the publisher of a story's lead has as many stories as one may have."""
        return self.lead_counts[scored.story.lead.publisher] >= self.select.per_publisher

    def is_topic_full(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Say whether a section has enough of a story's topic."""
        return sum(s.topic == scored.topic for s in self.sections[section.key]) >= MAX_STORIES_PER_TOPIC

    def _pinned_stories(self, pool: Iterable[ScoredStory]) -> list[ScoredStory]:
        """Give the pinned stories of a pool in the order of the pins; they pass every cap."""
        place = {url: n for n, url in reversed(list(enumerate(self.select.pins)))}
        found = []
        for scored in pool:
            places = [place[a] for m in scored.story.members for a in (m.url, m.link) if a in place]
            if places:
                found.append((min(places), scored))
        return [scored for _, scored in sorted(found, key=lambda pair: (pair[0], pair[1].story.lead.url))]

    def _take_pinned(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> list[ScoredStory]:
        pins = self._pinned_stories(pool)
        for scored in pins:
            self._take_story(section, scored)
        chosen = {s.story.lead.url for s in pins}
        return [s for s in pool if s.story.lead.url not in chosen]

    def _fill_featured(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins, then one after the other what adds most: score less likeness (maximal marginal relevance)."""
        others = self._take_pinned(section, pool)
        while not self._is_section_full(section):
            open_ = [s for s in others if self._may_feature(section, s)]
            best = self._best_addition(section, open_)
            if best is None:
                return
            self._take_story(section, best)
            others.remove(best)

    def _may_feature(self, section: SectionSettings, scored: ScoredStory) -> bool:
        return not self.is_publisher_full(scored) and not (scored.topic and self.is_topic_full(section, scored))

    def _best_addition(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> ScoredStory | None:
        """Find the best by score and variety; a further piece of a matter that is in only when there is no other."""
        weight, chosen = self.select.variety, self.sections[section.key]
        best: tuple[float, ScoredStory] | None = None
        for scored in pool:
            if best and weight * scored.score <= best[0]:
                break  # the pool is in order of score, and likeness can only take away
            if self.similarity.find_same_matter(scored, chosen):
                continue
            alike = max((self.similarity.compare_stories(scored, other) for other in chosen), default=0.0)
            value = weight * scored.score - (1 - weight) * 100 * alike
            if best is None or value > best[0]:
                best = (value, scored)
        return best[1] if best else next(iter(pool), None)

    def _fill_most_read(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take what readers of our own site opened most, by reads a day alone."""
        read = [(reads, s) for s in pool if s.story.lead.own and (reads := self._daily_reads(s)) > 0]
        ordered = sorted(read, key=lambda pair: (-pair[0], pair[1].story.lead.dated_at, pair[1].story.lead.url))
        for _, scored in ordered[: section.most]:
            self._take_story(section, scored)

    def _daily_reads(self, scored: ScoredStory) -> float:
        own = [a for a in scored.story.members if a.own and a.views]
        return max((self.ranking.week.daily_reads(a) or 0.0 for a in own), default=0.0)

    def _fill_stories(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the best of the topics that the operator gave the section; of all where none is given."""
        wanted = {t.casefold() for t in section.topics}
        fit = [s for s in pool if not wanted or (s.topic or "").casefold() in wanted]
        for scored in self._new_matter_first(section, self._take_pinned(section, fit)):
            if not self.is_publisher_full(scored):
                self._take_story(section, scored)

    def _fill_topics(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the next best, at most two a topic, and order them by topic, the best topic first."""
        fit = [s for s in self._take_pinned(section, pool) if s.topic]
        for scored in self._new_matter_first(section, fit):
            if not self.is_publisher_full(scored) and not self.is_topic_full(section, scored):
                self._take_story(section, scored)
        chosen = self.sections[section.key]
        first = {s.topic: n for n, s in reversed(list(enumerate(chosen)))}
        chosen.sort(key=lambda s: first[s.topic])

    def _new_matter_first(self, section: SectionSettings, pool: Iterable[ScoredStory]) -> Iterator[ScoredStory]:
        """Give the stories in order until the section is full, further pieces of a matter that is in only at the end.

        Each is held against all that was taken before it.
        """
        later = []
        for scored in pool:
            if self._is_section_full(section):
                return
            if self.similarity.find_same_matter(scored, self.news_stories):
                later.append(scored)
            else:
                yield scored
        for scored in later:
            if self._is_section_full(section):
                return
            yield scored

    def _fill_in_order(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        others = self._take_pinned(section, pool)
        for scored in others[: max(section.most - len(self.sections[section.key]), 0)]:
            self._take_story(section, scored)

    def _fill_events(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        coming = [s for s in pool if not explain_unfit_event(s, self.now)]
        self._fill_in_order(section, sorted(coming, key=_event_order))
        self.sections[section.key].sort(key=_event_order)

    def _fill_opportunities(self, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        still = [s for s in pool if not explain_unfit_opportunity(s, self.now)]
        self._fill_in_order(section, sorted(still, key=_opportunity_order))
        self.sections[section.key].sort(key=_opportunity_order)


def explain_unfit_event(scored: ScoredStory, now: datetime) -> str:
    """Say why an event is none to announce; empty when it may be."""
    lead = scored.story.lead
    if lead.starts_at is None:
        return "an event without a date of its own"
    # An all-day event is a date, kept as midnight UTC.
    past = lead.starts_at.date() < now.date() if lead.all_day else lead.starts_at < now
    if past:
        return f"an event of the past ({_month_and_day(lead.starts_at)})"
    if lead.starts_at > now + EVENT_LOOKAHEAD:
        return f"an event more than {EVENT_LOOKAHEAD.days} days away ({_month_and_day(lead.starts_at)})"
    return ""


def explain_unfit_opportunity(scored: ScoredStory, now: datetime) -> str:
    """Say why an opportunity is none to announce; empty when it may be."""
    closes_on = scored.story.lead.closes_on
    if closes_on and closes_on < now.date():
        return f"closed on {closes_on:%B} {closes_on.day}"
    return ""


def _month_and_day(moment: datetime) -> str:
    return f"{moment:%B} {moment.day}"


def _event_order(scored: ScoredStory) -> tuple[datetime, str]:
    lead = scored.story.lead
    return (lead.starts_at or lead.dated_at, lead.url)


def _opportunity_order(scored: ScoredStory) -> tuple[bool, str, datetime, str]:
    lead = scored.story.lead
    return (lead.closes_on is None, lead.closes_on.isoformat() if lead.closes_on else "", lead.dated_at, lead.url)
