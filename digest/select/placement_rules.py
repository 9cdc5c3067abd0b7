"""Why a story stands above one of a higher score: the rule that did it, in words."""

from collections.abc import Sequence

from digest.select.section_filler import SectionFiller
from digest.select.values import ScoredStory
from digest.settings import SectionSettings


def explain_order(
    filler: SectionFiller, sections: Sequence[SectionSettings], section: SectionSettings, place: int
) -> str:
    """Name the best story of a higher score that stands below a placed one, and the rule; empty where none does.

    Args:
        filler: the sections, filled.
        sections: in the order of the edition.
        section: where the story stands; only sections that take from the same sources are held against it.
        place: from 0.
    """
    scored = filler.sections[section.key][place]
    source_section = filler.kinds[section.kind].source_section
    following = [
        s for s in sections[sections.index(section) + 1 :] if filler.kinds[s.kind].source_section == source_section
    ]
    below = [(other, section) for other in filler.sections[section.key][place + 1 :]]
    below += [(other, s) for s in following for other in filler.sections[s.key]]
    higher = [(other, s) for other, s in below if other.score > scored.score]
    if not higher:
        return ""
    other, other_section = min(higher, key=lambda pair: (-pair[0].score, pair[0].story.lead.url))
    rule = _find_rule(filler, scored, other, section, other_section)
    return f"above “{other.story.lead.title}” ({other.score:.1f}): {rule}"


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
        return f"the other is a further piece of “{near.story.lead.title}”"
    if section is not other_section and kind.limits_topics and filler.is_topic_full(section, other):
        return f"{title} has stories enough on {other.topic}"
    return kind.order_rule or f"{title} takes its pick before {other_section.title}"
