"""Explanations of why stories were left out or placed above stories with higher scores."""

from collections.abc import Iterable, Sequence

from digest.select.ranking import make_ranking_key
from digest.select.section_filler import SectionFiller, SectionSelectionRules
from digest.select.selection_types import ScoredStory
from digest.settings import NEWS_SECTION, SectionSettings
from subscribers.english_text import count_with_noun

WITHDRAWN_REASON = "visitors can't read its page anymore"


def explain_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Iterable[SectionSettings]) -> str:
    """Explain why an eligible story isn't in the edition."""
    source_section = scored.lead.section
    for kind in filler.kinds.values():
        if kind.source_section == source_section and (reason := kind.explain_unfit(scored, filler.now)):
            return reason
    takers = [s for s in sections if _may_take(filler.kinds[s.kind], source_section)]
    if not takers:
        return f"no section takes {source_section}"
    if source_section == NEWS_SECTION:
        return _explain_news_exclusion(scored, filler, takers)
    return f"{takers[-1].title} is full ({takers[-1].most})"


def _may_take(kind: SectionSelectionRules, source_section: str) -> bool:
    return kind.source_section == source_section and (kind.capped or source_section != NEWS_SECTION)


def _explain_news_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    if scored.topic is None:
        return "it doesn't match any of our topics"
    if missed := _find_missed_section(scored, filler, sections):
        section, least_score = missed
        return f"its score of {scored.score:.1f} is below the lowest in {section.title} ({least_score:.1f})"
    return _explain_variety_exclusion(scored, filler, sections)


def _explain_variety_exclusion(scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]) -> str:
    """Explain that a story with a sufficient score was passed over for variety."""
    publisher = scored.lead.publisher
    if filler.is_publisher_full(scored):
        led = filler.lead_counts[publisher]
        return f"{count_with_noun(led, 'story', 'stories')} from {publisher} {'is' if led == 1 else 'are'} already in the edition"
    if near := filler.similarity.find_same_matter(scored, filler.news_stories):
        return f"it covers the same news as “{near.lead.title},” which is in the edition"
    limited = [s for s in sections if filler.kinds[s.kind].limits_topics]
    full = [s for s in limited if filler.is_topic_full(s, scored)]
    if full:
        placed = filler.sections[full[-1].key]
        count = sum(s.topic == scored.topic for s in placed)
        return f"{count_with_noun(count, 'story', 'stories')} on {scored.topic} {'is' if count == 1 else 'are'} already in {full[-1].title}"
    return filler.kinds[sections[0].kind].explain_unchosen(sections[0])


def _find_missed_section(
    scored: ScoredStory, filler: SectionFiller, sections: Sequence[SectionSettings]
) -> tuple[SectionSettings, float] | None:
    """Return the full section that a story came closest to, and that section's lowest score.

    Return None if a section has room, or if the story's score is above the lowest.
    """
    open_to_all = [s for s in sections if filler.kinds[s.kind].takes_every_topic]
    if not open_to_all or not all(filler.is_section_full(s) for s in open_to_all):
        return None
    least_scores = [_find_least_score(filler, s) for s in open_to_all]
    least_score = min(least_scores)
    nearest = open_to_all[least_scores.index(least_score)]
    return (nearest, least_score) if scored.score <= least_score else None


def _find_least_score(filler: SectionFiller, section: SectionSettings) -> float:
    """Return the lowest score in a full section, not counting places reserved for official actions."""
    scores = [placed.score for placed in filler.sections[section.key] if placed.url not in filler.official_urls]
    return min(scores, default=0.0)


# --- order of stories
# ------------------------------------------------------------------------------------------


def explain_order(
    filler: SectionFiller, sections: Sequence[SectionSettings], section: SectionSettings, place: int
) -> str:
    """Explain why a story is above stories with higher scores.

    The text names the best of those stories and the rule. It's empty if no story below has a higher score.

    Args:
        filler: the filled sections.
        sections: the sections in the order of the edition.
        section: the story's section; it's compared only with sections that use the same
            sources.
        place: the story's index in the section.
    """
    scored = filler.sections[section.key][place]
    if scored.url in filler.official_urls:
        return "its place is reserved for official actions that few publishers reported"
    source_section = filler.kinds[section.kind].source_section
    later = sections[sections.index(section) + 1 :]
    following = [s for s in later if filler.kinds[s.kind].source_section == source_section]
    placed_below = filler.sections[section.key][place + 1 :]
    below = [(other, section) for other in placed_below]
    below += [(other, s) for s in following for other in filler.sections[s.key]]
    higher = [(other, s) for other, s in below if other.score > scored.score]
    if not higher:
        return ""
    other, other_section = min(higher, key=lambda pair: make_ranking_key(pair[0]))
    rule = _find_rule(filler, scored, other, section, other_section)
    return f"above “{other.lead.title}” ({other.score:.1f}): {rule}"


def _find_rule(
    filler: SectionFiller,
    scored: ScoredStory,
    other: ScoredStory,
    section: SectionSettings,
    other_section: SectionSettings,
) -> str:
    kind, title = filler.kinds[section.kind], section.title
    if filler.ranking.is_pinned(scored.story):
        return "an editor pinned it"
    earlier = [s for s in filler.sections[section.key] if s is not other]
    if near := filler.similarity.find_same_matter(other, earlier):
        return f"the other story covers the same news as “{near.lead.title}”"
    if section is not other_section and kind.limits_topics and filler.is_topic_full(section, other):
        return f"{title} has enough stories on {other.topic}"
    return kind.order_rule or f"{title} is filled before {other_section.title}"
