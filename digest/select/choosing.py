"""The choice of an edition: articles in; sections, what was left out, and every reason out.

1. One article a URL; what an editor banned, whose page is gone, and what the last editions had, is left out.
2. News and products are grouped into stories; the same event or call from two sources is one.
3. Every story gets its score.
4. The sections take their pick: Featured, Most read, the operator's own, Topics; then products, events, opportunities.
5. Related articles are found for the news; whatever is not in gets the reason why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from digest.select.leaving import WITHDRAWN, Earlier, why_out
from digest.select.nearness import Nearness, related
from digest.select.page import NEWS_KINDS, Page
from digest.select.ranking import Ranking, Week, order
from digest.select.reasons import why_it_leads
from digest.select.stories import group, led_by, unique
from digest.select.topics import compile_rules
from digest.select.values import Candidate, Choice, LeftOut, Placed, Previous, Scored, Story
from digest.select.words import title_words
from digest.settings import SectionSettings, Select

__all__ = ["choose", "why_it_leads"]

_UNREAD = "nothing is known of readership: its weight went to the other terms"


def choose(
    candidates: Iterable[Candidate],
    *,
    select: Select,
    sections: Sequence[SectionSettings],
    now: datetime,
    previous: Previous,
) -> Choice:
    """Choose what an edition holds. Pure: the same values give the same choice in any order of the candidates.

    Args:
        candidates: the articles of the window, and all events and opportunities that may be announced.
        select: weights, threshold, caps, topics, pins and bans.
        sections: in the order of the edition; the order in which they take their pick is fixed.
        now: the moment of the draft; in the publication's zone, where its days decide what is past.
        previous: what the last editions held, and earlier articles.

    Returns:
        Every canonical URL stands once: in a section's story (leading or not), or in one that was left out.
    """
    articles = unique(candidates)
    admitted, refused = _admit(articles, select, previous)
    stories = [_pin_leads(story, select.pins) for story in _stories(admitted, select.same_story)]
    ranking = Ranking(Week.of(stories, now), compile_rules(select.topics), select.weights, _pinned(select))
    ranked = ranking.rank(stories)
    page = Page(select, ranking, Nearness(articles, select.same_story), now)
    for section in sorted(sections, key=_turn):
        page.fill(section, [s for s in ranked if s.story.lead.section == _feeds(section)])
    return _choice(_Outcome(ranked, refused, page), sections, previous, _notes(articles, ranking, select))


def _pinned(select: Select) -> frozenset[str]:
    return frozenset(select.pins) - frozenset(select.bans)


def _admit(
    articles: Iterable[Candidate], select: Select, previous: Previous
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """Part the articles into those that may come and those that must not, with the reason."""
    bans, pins, earlier = frozenset(select.bans), _pinned(select), Earlier(previous)
    admitted, refused = [], []
    for article in articles:
        names = {article.url, article.link}
        if names & bans:
            refused.append((article, "banned by an editor"))
        elif article.withdrawn:
            refused.append((article, WITHDRAWN))
        elif not names & pins and (reason := earlier.reason(article)):
            refused.append((article, reason))
        else:
            admitted.append(article)
    return admitted, refused


def _stories(articles: Sequence[Candidate], threshold: float) -> list[Story]:
    """Group each section's articles after its kind: news by its text, what has a date by title and date."""
    by_text = [
        s
        for kind in ("news", "products")
        for s in group((a for a in articles if a.section == kind), threshold)
    ]
    dated: dict[tuple[object, ...], list[Candidate]] = {}
    for article in articles:
        if article.section not in {"news", "products"}:
            dated.setdefault(_same_date(article), []).append(article)
    return by_text + [led_by(found[0], found[1:]) for found in map(_best_first, dated.values())]


def _same_date(article: Candidate) -> tuple[object, ...]:
    words = title_words(article.title)
    day = article.starts_at.date() if article.starts_at else article.closes_on
    return (article.section, words, day) if words and day else (article.section, article.url)


def _best_first(articles: list[Candidate]) -> list[Candidate]:
    return sorted(articles, key=lambda a: (not a.own, not a.primary, -a.weight, a.dated_at, a.url))


def _pin_leads(story: Story, pins: Sequence[str]) -> Story:
    """Let the article that an editor pinned speak for its story."""
    for pin in pins:
        for article in story.members:
            if pin in {article.url, article.link}:
                return (
                    story
                    if article is story.lead
                    else led_by(article, [a for a in story.members if a is not article])
                )
    return story


def _feeds(section: SectionSettings) -> str:
    return "news" if section.kind in NEWS_KINDS else section.kind


def _turn(section: SectionSettings) -> int:
    return NEWS_KINDS.index(section.kind) if section.kind in NEWS_KINDS else len(NEWS_KINDS)


@dataclass(frozen=True, slots=True)
class _Outcome:
    ranked: tuple[Scored, ...]
    refused: list[tuple[Candidate, str]]
    page: Page


def _choice(
    outcome: _Outcome, sections: Sequence[SectionSettings], previous: Previous, notes: tuple[str, ...]
) -> Choice:
    page = outcome.page
    in_edition = {s.story.lead.url for placed in page.sections.values() for s in placed}
    left = [
        LeftOut(s, why_out(s, page, sections)) for s in outcome.ranked if s.story.lead.url not in in_edition
    ]
    left += [LeftOut(page.ranking.score(Story(article)), reason) for article, reason in outcome.refused]
    beside = related(page.news, _earlier(left, previous, page.select.bans, in_edition), page.nearness)
    return Choice(
        sections={
            s.key: tuple(Placed(p, beside.get(p.story.lead.url, ())) for p in page.sections[s.key])
            for s in sections
            if page.sections[s.key]
        },
        left_out=tuple(sorted(left, key=lambda out: order(out.scored))),
        held_because=_held(page),
        notes=notes,
    )


def _earlier(
    left: Iterable[LeftOut], previous: Previous, bans: Sequence[str], in_edition: set[str]
) -> list[Candidate]:
    """Gather what may be offered as related: earlier articles, and the news that was left out this time."""
    barred = set(bans)
    found = [
        *previous.articles,
        *(a for out in left if out.scored.story.lead.section == "news" for a in out.scored.story.members),
    ]
    return [a for a in found if a.url not in in_edition and not {a.url, a.link} & barred]


def _held(page: Page) -> str:
    found, least = len(page.news), page.select.minimum
    if found >= least:
        return ""
    have = {0: "there is no news story", 1: "one news story is too little"}.get(
        found, f"{found} news stories are too few"
    )
    return f"{have}: an edition has at least {least} (select.minimum)"


def _notes(articles: Sequence[Candidate], ranking: Ranking, select: Select) -> tuple[str, ...]:
    known = {name for a in articles for name in (a.url, a.link)}
    bans = set(select.bans)
    notes = [] if ranking.week.daily_median is not None else [_UNREAD]
    for pin in select.pins:
        if pin in bans:
            notes.append(f"{pin} is both pinned and banned: it stays out")
        elif pin not in known:
            notes.append(f"{pin} is pinned, but is not among the articles of this edition")
    return tuple(notes)
