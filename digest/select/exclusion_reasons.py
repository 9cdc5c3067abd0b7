"""Why a story is not in the edition: one reason in words, the one that decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from digest.select.section_filler import (
    MAX_STORIES_PER_TOPIC,
    NEWS_SECTION_KINDS,
    SectionFiller,
    explain_unfit_event,
    explain_unfit_opportunity,
)
from digest.select.story_similarity import SAME_TITLE_OVERLAP
from digest.select.text_similarity import is_near_duplicate, jaccard_overlap, title_words
from digest.select.values import CandidateArticle, PreviousEditions, ScoredStory
from digest.settings import SectionSettings

WITHDRAWN_REASON = "its page is gone: the publisher took it down"
SAME_TEXT_OVERLAP = 0.5  # of the words of two texts of one publisher under one title, for the text to be one


@dataclass(frozen=True, slots=True)
class _UsedStory:
    edition: str
    url: str
    title: str
    title_words: frozenset[str]


class EarlierStories:
    """What the last editions held; says which edition had an article already."""

    def __init__(self, previous: PreviousEditions) -> None:
        """Index the used stories by URL and by the words of their titles; the newest edition's name wins."""
        self._by_url: dict[str, str] = {}
        self._by_word: dict[str, list[_UsedStory]] = {}
        self._earlier_articles = {a.url: a for a in sorted(previous.earlier_articles, key=repr)}
        for edition, url, title in sorted(previous.used_stories):
            self._by_url[url] = edition
            used = _UsedStory(edition, url, title, title_words(title))
            for word in sorted(used.title_words):
                self._by_word.setdefault(word, []).append(used)

    def find_repeat(self, article: CandidateArticle) -> str:
        """Say in which edition an article, or one of its title, was; empty when in none."""
        if edition := self._by_url.get(article.url) or self._by_url.get(article.link):
            return f"was in {edition}"
        words = title_words(article.title)
        near = {u: None for word in sorted(words) for u in self._by_word.get(word, ())}
        hits = [
            u
            for u in near
            if jaccard_overlap(words, u.title_words) >= SAME_TITLE_OVERLAP
            and is_near_duplicate(article.title, u.title, SAME_TITLE_OVERLAP)
        ]
        hits = [u for u in hits if not self._is_new_text(article, u)]
        return f"was in {max(u.edition for u in hits)} under much the same title" if hits else ""

    def _is_new_text(self, article: CandidateArticle, earlier: _UsedStory) -> bool:
        """Say whether one publisher put a new text under an old title, as series do ("CISA Adds One Known …")."""
        old = self._earlier_articles.get(earlier.url)
        if old is None or old.publisher != article.publisher or not (old.summary and article.summary):
            return False
        return not is_near_duplicate(old.summary, article.summary, SAME_TEXT_OVERLAP)


def explain_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Iterable[SectionSettings]) -> str:
    """Give the reason why a story that might have come is not on the page."""
    kind = scored.story.lead.section
    if kind == "news":
        return _explain_news_exclusion(
            scored, filler, [s for s in sections if s.kind in NEWS_SECTION_KINDS and s.kind != "most-read"]
        )
    fault = {"events": explain_unfit_event, "opportunities": explain_unfit_opportunity}.get(kind)
    if fault and (said := fault(scored, filler.now)):
        return said
    fit = [s for s in sections if s.kind == kind]
    return f"{fit[-1].title} is full ({fit[-1].most})" if fit else f"no section for {kind}"


def _explain_news_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    if not sections:
        return "no section for news"
    if scored.topic is None:
        return "no topic of ours"
    if last := _find_missed_section(scored, filler.sections, sections):
        section, score = last
        return f"score {scored.score:.1f}, below the last of {section.title} ({score:.1f})"
    return _explain_variety_exclusion(scored, filler, sections)


def _explain_variety_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    """Give the reason why a story with points enough gave way to others."""
    publisher = scored.story.lead.publisher
    if filler.is_publisher_full(scored):
        led = filler.lead_counts[publisher]
        return f"{led} stor{'y' if led == 1 else 'ies'} of {publisher} {'is' if led == 1 else 'are'} in already"
    if near := filler.similarity.find_same_matter(scored, filler.news_stories):
        return f"a further piece of “{near.story.lead.title}”, which is in"
    full = [s for s in sections if s.kind in {"featured", "topics"} and filler.is_topic_full(s, scored)]
    if full:
        return f"{MAX_STORIES_PER_TOPIC} stories on {scored.topic} are in {full[-1].title} already"
    return (
        f"gave way to others, for variety, in {sections[0].title}"
        if sections[0].kind == "featured"
        else "no section for its topic"
    )


def _find_missed_section(
    scored: ScoredStory, filled_sections: Mapping[str, Sequence[ScoredStory]], sections: Sequence[SectionSettings]
) -> tuple[SectionSettings, float] | None:
    """Find the full section that a story came nearest to, when its score was too low for every full one."""
    lasts = [
        (min(p.score for p in filled_sections[s.key]), s)
        for s in sections
        if len(filled_sections[s.key]) >= s.most and s.kind != "stories"
    ]
    if not lasts or len(lasts) < sum(s.kind != "stories" for s in sections):
        return None
    least, section = min(lasts, key=lambda pair: pair[0])
    return (section, least) if scored.score <= least else None
