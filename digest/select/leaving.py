"""Why a story is not in the edition: one reason in words, the one that decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from digest.select.nearness import SAME_TITLE
from digest.select.page import NEWS_KINDS, PER_TOPIC, Page, event_fault, opportunity_fault
from digest.select.values import Candidate, Previous, Scored
from digest.select.words import nearly_equal, overlap, title_words
from digest.settings import SectionSettings

WITHDRAWN = "its page is gone: the publisher took it down"
SAME_TEXT = 0.5  # of the words of two texts of one publisher under one title, for the text to be one


@dataclass(frozen=True, slots=True)
class _Used:
    edition: str
    url: str
    title: str
    words: frozenset[str]


class Earlier:
    """What the last editions held; says which edition had an article already."""

    def __init__(self, previous: Previous) -> None:
        """Index the used stories by URL and by the words of their titles; the newest edition's name wins."""
        self._by_url: dict[str, str] = {}
        self._by_word: dict[str, list[_Used]] = {}
        self._texts = {a.url: a for a in sorted(previous.articles, key=repr)}
        for edition, url, title in sorted(previous.used):
            self._by_url[url] = edition
            used = _Used(edition, url, title, title_words(title))
            for word in sorted(used.words):
                self._by_word.setdefault(word, []).append(used)

    def reason(self, article: Candidate) -> str:
        """Say in which edition an article, or one of its title, was; empty when in none."""
        if edition := self._by_url.get(article.url) or self._by_url.get(article.link):
            return f"was in {edition}"
        words = title_words(article.title)
        near = {u: None for word in sorted(words) for u in self._by_word.get(word, ())}
        hits = [
            u
            for u in near
            if overlap(words, u.words) >= SAME_TITLE and nearly_equal(article.title, u.title, SAME_TITLE)
        ]
        hits = [u for u in hits if not self._is_other_news(article, u)]
        return f"was in {max(u.edition for u in hits)} under much the same title" if hits else ""

    def _is_other_news(self, article: Candidate, used: _Used) -> bool:
        """Say whether one publisher put a new text under an old title, as series do ("CISA Adds One Known …")."""
        old = self._texts.get(used.url)
        if old is None or old.publisher != article.publisher or not (old.summary and article.summary):
            return False
        return not nearly_equal(old.summary, article.summary, SAME_TEXT)


def why_out(scored: Scored, page: Page, sections: Iterable[SectionSettings]) -> str:
    """Give the reason why a story that might have come is not on the page."""
    kind = scored.story.lead.section
    if kind == "news":
        return _why_no_news(
            scored, page, [s for s in sections if s.kind in NEWS_KINDS and s.kind != "most-read"]
        )
    fault = {"events": event_fault, "opportunities": opportunity_fault}.get(kind)
    if fault and (said := fault(scored, page.now)):
        return said
    fit = [s for s in sections if s.kind == kind]
    return f"{fit[-1].title} is full ({fit[-1].most})" if fit else f"no section for {kind}"


def _why_no_news(scored: Scored, page: Page, sections: Sequence[SectionSettings]) -> str:
    if not sections:
        return "no section for news"
    if scored.topic is None:
        return "no topic of ours"
    if last := _missed(scored, page.sections, sections):
        section, score = last
        return f"score {scored.score:.1f}, below the last of {section.title} ({score:.1f})"
    return _why_for_variety(scored, page, sections)


def _why_for_variety(scored: Scored, page: Page, sections: Sequence[SectionSettings]) -> str:
    """Give the reason why a story with points enough gave way to others."""
    publisher = scored.story.lead.publisher
    if page.publisher_is_full(scored):
        led = page.led[publisher]
        return (
            f"{led} stor{'y' if led == 1 else 'ies'} of {publisher} {'is' if led == 1 else 'are'} in already"
        )
    if near := page.nearness.same_matter(scored, page.news):
        return f"a further piece of “{near.story.lead.title}”, which is in"
    full = [s for s in sections if s.kind in {"featured", "topics"} and page.topic_is_full(s, scored)]
    if full:
        return f"{PER_TOPIC} stories on {scored.topic} are in {full[-1].title} already"
    return (
        f"gave way to others, for variety, in {sections[0].title}"
        if sections[0].kind == "featured"
        else "no section for its topic"
    )


def _missed(
    scored: Scored, filled: Mapping[str, Sequence[Scored]], sections: Sequence[SectionSettings]
) -> tuple[SectionSettings, float] | None:
    """Find the full section that a story came nearest to, when its score was too low for every full one."""
    lasts = [
        (min(p.score for p in filled[s.key]), s)
        for s in sections
        if len(filled[s.key]) >= s.most and s.kind != "stories"
    ]
    if not lasts or len(lasts) < sum(s.kind != "stories" for s in sections):
        return None
    least, section = min(lasts, key=lambda pair: pair[0])
    return (section, least) if scored.score <= least else None
