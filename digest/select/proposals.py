"""The proposal for an edition: its sections, the stories left out, and the reasons.

A proposal is made in these steps:

1. Duplicates are merged, so that each URL has one article, attributed to its own publisher.
   Articles are left out if an editor excluded them, recent editions used them, or their page is
   gone or superseded.
2. News and product articles are grouped into stories, and events and calls listed by two sources
   are merged. A story that continues one from an earlier edition is marked as such, or left out if
   it has no news.
3. Every story gets a score.
4. The section kinds choose stories in this order: Featured, Most read, the operator's own, Topics,
   then products, events, and opportunities.
5. Related articles are found for the news, and every story that isn't included gets a reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from types import MappingProxyType

from digest.select.earlier_stories import UsedArticleIndex, explain_repeat, find_continuations
from digest.select.exclusion_reasons import WITHDRAWN_REASON, explain_exclusion, explain_order
from digest.select.places import PlaceFinder, compile_place_rules
from digest.select.ranking import StoryRanker, WeekStatistics, make_ranking_key
from digest.select.section_filler import SectionFiller, SectionSelectionRules
from digest.select.selection_types import (
    CandidateArticle,
    Continuation,
    LeftOutStory,
    PlacedStory,
    PreviousEditions,
    Proposal,
    ScoredStory,
    Story,
)
from digest.select.stories import (
    build_story_with_lead,
    build_text_vectorizer,
    group_into_stories,
    merge_by_url,
    name_publishers,
)
from digest.select.story_links import StoryGroupingDecision
from digest.select.story_similarity import StorySimilarity, find_related_articles
from digest.select.text_similarity import TextVectorizer, distinct_words
from digest.select.topics import compile_topic_rules
from digest.select.word_rarity import NO_EARLIER_WORDS, DocumentFrequencies
from digest.settings import NEWS_SECTION, SectionSettings, SelectionSettings
from subscribers.english_text import count_with_noun
from subscribers.garbage_collection import reduce_garbage_collection

_NO_READERSHIP_NOTE = "there's no readership data, so its weight went to the other terms"


@reduce_garbage_collection()
def propose_edition(
    candidates: Iterable[CandidateArticle],
    *,
    select: SelectionSettings,
    sections: Sequence[SectionSettings],
    kinds: Mapping[str, SectionSelectionRules],
    now: datetime,
    previous: PreviousEditions,
    topic_overrides: Mapping[str, str] = MappingProxyType({}),
    words: DocumentFrequencies = NO_EARLIER_WORDS,
    links: Sequence[StoryGroupingDecision] = (),
) -> Proposal:
    """Propose the content of an edition, regardless of the order of the candidates.

    Args:
        candidates: the articles in the edition's window, and all events and opportunities that
            may be announced.
        select: the weights, thresholds, caps, topics, pins, and bans.
        sections: the sections in the order of the edition.
        kinds: the section kinds by name, in the order in which they choose stories.
        now: the time of the draft, in the publication's time zone; it determines what's past.
        previous: the stories of recent editions, and earlier articles.
        topic_overrides: editors' topic corrections by article URL; "" means no topic.
        words: the number of earlier articles that contain each word.
        links: editors' decisions to group or separate articles, in chronological order.

    Returns:
        A proposal that contains each canonical URL once, in a section's story or in one that
            was left out.
    """
    articles = merge_by_url(name_publishers(candidates))
    reader = build_text_vectorizer(words, articles)
    admitted, refused = _admit_articles(articles, select, UsedArticleIndex(previous, reader))
    place_finder = compile_place_rules(select.home_country, tuple(select.home_agencies))
    grouped_stories = _group_stories(admitted, kinds, select.same_story, reader, links, place_finder)
    grouped = [_lead_with_pinned(story, select.pins) for story in grouped_stories]
    similarity = StorySimilarity(reader, select.same_story)
    continuations = find_continuations(
        [s for s in grouped if s.lead.section == NEWS_SECTION], previous.news_stories, similarity, select.same_story
    )
    stories, repeats = _split_repeats(grouped, continuations, _effective_pins(select))
    ranking = StoryRanker(
        WeekStatistics.from_stories(stories, now),
        compile_topic_rules(select.topics),
        place_finder,
        dict(select.weights),
        _effective_pins(select),
        topic_overrides,
        frozenset(select.borderless_topics),
        frozenset(select.local_topics),
    )
    ranked = tuple(_add_continuation(scored, continuations) for scored in ranking.rank_stories(stories))
    filler = SectionFiller(kinds, select, ranking, similarity, now)
    filler.fill_sections(sections, ranked)
    notes = _proposal_notes(articles, ranking, select)
    if len(filler.news_stories) < select.minimum:
        uncapped = select.model_copy(update={"per_publisher": len(articles)})
        relaxed = SectionFiller(kinds, uncapped, ranking, similarity, now)
        relaxed.fill_sections(sections, ranked)
        if len(relaxed.news_stories) > len(filler.news_stories):
            filler = relaxed
            notes += (
                f"the limit per publisher ({select.per_publisher}) doesn't apply, because too few stories fit it",
            )
    return _build_proposal(_SelectionOutcome(ranked, [*refused, *repeats], filler), sections, previous, notes)


def _effective_pins(select: SelectionSettings) -> frozenset[str]:
    return frozenset(select.pins) - frozenset(select.bans)


def _admit_articles(
    articles: Iterable[CandidateArticle], select: SelectionSettings, earlier: UsedArticleIndex
) -> tuple[list[CandidateArticle], list[tuple[Story, str]]]:
    """Split articles into eligible ones, and ineligible ones with the reasons."""
    bans, pins = frozenset(select.bans), _effective_pins(select)
    admitted, refused = [], []
    for article in articles:
        names = {article.url, article.link}
        if names & bans:
            refused.append((Story(article), "an editor excluded it"))
        elif article.withdrawn:
            refused.append((Story(article), WITHDRAWN_REASON))
        elif article.superseded and not names & pins:
            refused.append((Story(article), f"{article.superseded}, according to its page"))
        elif not names & pins and (reason := earlier.explain_repeated_article(article)):
            refused.append((Story(article), reason))
        else:
            admitted.append(article)
    return admitted, refused


def _split_repeats(
    stories: Iterable[Story], continuations: Mapping[str, Continuation], pins: frozenset[str]
) -> tuple[list[Story], list[tuple[Story, str]]]:
    """Split off the stories that continue an earlier story without news, unless an editor pinned them."""
    fresh, repeats = [], []
    for story in stories:
        continuation = continuations.get(story.lead.url)
        is_pinned = any({a.url, a.link} & pins for a in story.members)
        if continuation is None or continuation.news or is_pinned:
            fresh.append(story)
        else:
            repeats.append((story, explain_repeat(continuation)))
    return fresh, repeats


def _group_stories(
    articles: Sequence[CandidateArticle],
    kinds: Mapping[str, SectionSelectionRules],
    threshold: float,
    reader: TextVectorizer,
    links: Sequence[StoryGroupingDecision],
    place_finder: PlaceFinder,
) -> list[Story]:
    """Group the articles of each source section into stories.

    Articles are grouped by text or, if they have a date of their own, by title and date.
    """
    dated_sections = {kind.source_section for kind in kinds.values() if kind.has_own_date}
    by_section: dict[str, list[CandidateArticle]] = {}
    by_date: dict[tuple[object, ...], list[CandidateArticle]] = {}
    for article in articles:
        if article.section in dated_sections:
            by_date.setdefault(_same_date_key(article), []).append(article)
        else:
            by_section.setdefault(article.section, []).append(article)
    stories: list[Story] = []
    for group in by_section.values():
        stories += group_into_stories(group, threshold, reader=reader, links=links, place_finder=place_finder)
    for best, *other_articles in map(_sort_best_first, by_date.values()):
        stories.append(build_story_with_lead(best, other_articles))
    return stories


def _same_date_key(article: CandidateArticle) -> tuple[object, ...]:
    words = distinct_words(article.title)
    day = article.starts_at.date() if article.starts_at else article.deadline and article.deadline.day
    return (article.section, words, day) if words and day else (article.section, article.url)


def _sort_best_first(articles: list[CandidateArticle]) -> list[CandidateArticle]:
    def order_key(article: CandidateArticle) -> tuple[object, ...]:
        return (not article.own, not article.primary, -article.weight, article.dated_at, article.url)

    return sorted(articles, key=order_key)


def _lead_with_pinned(story: Story, pins: Sequence[str]) -> Story:
    """Return the story with its pinned article as the lead."""
    for pin in pins:
        for article in story.members:
            if pin in {article.url, article.link}:
                if article is story.lead:
                    return story
                return build_story_with_lead(article, [a for a in story.members if a is not article])
    return story


@dataclass(frozen=True, slots=True)
class _SelectionOutcome:
    ranked: tuple[ScoredStory, ...]
    refused: list[tuple[Story, str]]
    filler: SectionFiller


def _build_proposal(
    outcome: _SelectionOutcome, sections: Sequence[SectionSettings], previous: PreviousEditions, notes: tuple[str, ...]
) -> Proposal:
    filler = outcome.filler
    in_edition = {
        article.url
        for stories in chain(filler.sections.values(), filler.supporting.values())
        for scored in stories
        for article in scored.story.members
    }
    left_out = _list_left_out(outcome, sections, in_edition)
    related = find_related_articles(
        filler.news_stories, _related_candidates(left_out, previous, filler.select.bans, in_edition), filler.similarity
    )
    return Proposal(
        sections={
            s.key: tuple(
                PlacedStory(
                    replace(p, is_official_action=p.url in filler.official_urls),
                    related.get(p.url, ()),
                    tuple(filler.supporting.get(p.url, ())),
                    explain_order(filler, sections, s, place),
                )
                for place, p in enumerate(filler.sections[s.key])
            )
            for s in sections
            if filler.sections[s.key]
        },
        left_out=tuple(sorted(left_out, key=lambda out: make_ranking_key(out.scored))),
        likely_merges=filler.list_likely_merges(outcome.ranked),
        incomplete_reason=explain_shortage(len(filler.news_stories), filler.select.minimum),
        notes=notes,
        reserves=filler.list_reserves(sections, outcome.ranked),
    )


def _list_left_out(
    outcome: _SelectionOutcome, sections: Sequence[SectionSettings], in_edition: set[str]
) -> list[LeftOutStory]:
    filler = outcome.filler
    passed_over = [scored for scored in outcome.ranked if scored.url not in in_edition]
    refused = [(filler.ranking.score_story(story), reason) for story, reason in outcome.refused]
    return [
        *(LeftOutStory(scored, explain_exclusion(scored, filler, sections)) for scored in passed_over),
        *(LeftOutStory(scored, reason, admitted=False) for scored, reason in refused),
    ]


def _add_continuation(scored: ScoredStory, continuations: Mapping[str, Continuation]) -> ScoredStory:
    continuation = continuations.get(scored.url)
    return replace(scored, continues=continuation) if continuation and continuation.news else scored


def _related_candidates(
    left_out: Iterable[LeftOutStory], previous: PreviousEditions, bans: Sequence[str], in_edition: set[str]
) -> list[CandidateArticle]:
    """Return the candidates for related articles: earlier articles and the news left out of this edition."""
    banned = set(bans)
    news = [out.scored.story for out in left_out if out.scored.lead.section == NEWS_SECTION]
    articles = chain(previous.earlier_articles, *(story.members for story in news))
    unused = [article for article in articles if article.url not in in_edition]
    return [article for article in unused if banned.isdisjoint((article.url, article.link))]


def explain_shortage(count: int, minimum: int) -> str:
    """Explain why an edition with `count` news stories is incomplete, or return "" if it isn't."""
    if count >= minimum:
        return ""
    stories = count_with_noun(count, "news story", "news stories")
    return f"it has {stories} and needs at least {minimum}"


def _proposal_notes(
    articles: Sequence[CandidateArticle], ranking: StoryRanker, select: SelectionSettings
) -> tuple[str, ...]:
    urls = {name for a in articles for name in (a.url, a.link)}
    bans = set(select.bans)
    notes = [] if ranking.week.median_daily_reads is not None else [_NO_READERSHIP_NOTE]
    for pin in select.pins:
        if pin in bans:
            notes.append(f"{pin} is both pinned and banned, so it's left out")
        elif pin not in urls:
            notes.append(f"{pin} is pinned, but it isn't among this edition's articles")
    return tuple(notes)
