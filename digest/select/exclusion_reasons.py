"""Why a story is not in the edition: the reason that decided, as the words that follow "left out, because"."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from digest.select.advisories import find_advisory
from digest.select.section_filler import NEWS_SECTION, SectionFiller
from digest.select.story_similarity import SAME_TITLE_OVERLAP
from digest.select.text_similarity import TextReader, is_near_duplicate, jaccard_overlap, title_words
from digest.select.values import CandidateArticle, PreviousEditions, ScoredStory, UsedStory
from digest.settings import SectionSettings

WITHDRAWN_REASON = "visitors can't read its page anymore"
# As editions have it that were drafted before, too.
WITHDRAWN_REASONS = frozenset({WITHDRAWN_REASON, "its page is gone: the publisher took it down"})
SAME_TEXT_OVERLAP = 0.5  # of the words of two texts of one publisher under one title, for the text to be one


@dataclass(frozen=True, slots=True)
class _IndexedStory:
    story: UsedStory
    title_words: frozenset[str]


class EarlierStories:
    """What the last editions held; says which edition had an article already."""

    def __init__(self, previous: PreviousEditions, reader: TextReader) -> None:
        """Index the used stories by URL and by the words of their titles; the newest edition's name wins."""
        self._reader = reader
        self._by_url: dict[str, UsedStory] = {}
        self._by_word: dict[str, list[_IndexedStory]] = {}
        # Those alone that `_is_new_text` may ask for; of two versions of one the order of arrival must not choose.
        used_urls = {used.url for used in previous.used_stories}
        self._earlier_articles = {
            a.url: a for a in sorted((a for a in previous.earlier_articles if a.url in used_urls), key=repr)
        }
        for used in sorted(previous.used_stories, key=lambda used: used[:3]):
            self._by_url[used.url] = used
            indexed = _IndexedStory(used, title_words(used.title))
            for word in sorted(indexed.title_words):
                self._by_word.setdefault(word, []).append(indexed)

    def find_repeat(self, article: CandidateArticle) -> str:
        """Say in which edition an article, or one of its title, was; empty when in none."""
        if used := self._by_url.get(article.url) or self._by_url.get(article.link):
            return f"it was in {used.edition_called}"
        words = self._reader.read_text(article.title, article.summary).title_words
        near = {u: None for word in sorted(words) for u in self._by_word.get(word, ())}
        hits = [
            u.story
            for u in near
            if jaccard_overlap(words, u.title_words) >= SAME_TITLE_OVERLAP
            and is_near_duplicate(article.title, u.story.title, SAME_TITLE_OVERLAP)
        ]
        hits = [used for used in hits if not self._is_new_text(article, used)]
        if not hits:
            return ""
        last = max(hits, key=lambda used: used.edition)
        return f"it was in {last.edition_called} under much the same title"

    def _is_new_text(self, article: CandidateArticle, earlier: UsedStory) -> bool:
        """Return whether one publisher put a new text under an old title, as series do ("CISA Adds One Known …")."""
        old = self._earlier_articles.get(earlier.url)
        if advisory := find_advisory(article):  # an agency gives different advisories one title
            told = find_advisory(old) if old else None
            return not (told and told.numbers & advisory.numbers)
        if old is None or old.publisher != article.publisher or not (old.summary and article.summary):
            return False
        return not is_near_duplicate(old.summary, article.summary, SAME_TEXT_OVERLAP)


def explain_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Iterable[SectionSettings]) -> str:
    """Return the reason why a story that might have come is not on the page."""
    source_section = scored.story.lead.section
    for kind in filler.kinds.values():
        if kind.source_section == source_section and (reason := kind.explain_unfit(scored, filler.now)):
            return reason
    takers = [s for s in sections if filler.kinds[s.kind].source_section == source_section]
    if source_section == NEWS_SECTION:
        takers = [s for s in takers if filler.kinds[s.kind].capped]
    if not takers:
        return f"no section takes {source_section}"
    if source_section == NEWS_SECTION:
        return _explain_news_exclusion(scored, filler, takers)
    return f"{takers[-1].title} is full ({takers[-1].most})"


def _explain_news_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    if scored.topic is None:
        return "it has no topic of ours"
    if missed := _find_missed_section(scored, filler, sections):
        section, least_score = missed
        return f"its score of {scored.score:.1f} is below the last of {section.title} ({least_score:.1f})"
    return _explain_variety_exclusion(scored, filler, sections)


def _explain_variety_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    """Return the reason why a story with points enough gave way to others."""
    publisher = scored.story.lead.publisher
    if filler.is_publisher_full(scored):
        led = filler.lead_counts[publisher]
        return f"{led} stor{'y' if led == 1 else 'ies'} of {publisher} {'is' if led == 1 else 'are'} in already"
    if near := filler.similarity.find_same_matter(scored, filler.news_stories):
        return f"it is a further piece of “{near.story.lead.title}”, which is in"
    full = [s for s in sections if filler.kinds[s.kind].limits_topics and filler.is_topic_full(s, scored)]
    if full:
        count = sum(s.topic == scored.topic for s in filler.sections[full[-1].key])
        return f"{count} stories on {scored.topic} are in {full[-1].title} already"
    return filler.kinds[sections[0].kind].explain_unchosen(sections[0])


def _find_missed_section(
    scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]
) -> tuple[SectionSettings, float] | None:
    """Find the full section that a story came nearest to, when its score was too low for every full one."""
    open_to_all = [s for s in sections if filler.kinds[s.kind].takes_every_topic]
    if not open_to_all or not all(filler.is_section_full(s) for s in open_to_all):
        return None
    least_score, section = min(
        ((min(p.score for p in filler.sections[s.key]), s) for s in open_to_all), key=lambda pair: pair[0]
    )
    return (section, least_score) if scored.score <= least_score else None
