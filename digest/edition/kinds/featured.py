"""Featured: the week's best stories, chosen for variety. The first one leads the edition."""

from collections.abc import Iterable, Iterator, Sequence

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, build_image_row_entry, build_lead_entry
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from subscribers.subscriber_language import mark_message


@register_section_kind
class FeaturedSection(SectionKind):
    """The pinned stories, followed by those that add the most.

    In each step, the story with the highest score less its similarity to those chosen is added
    (maximal marginal relevance).
    """

    name = "featured"
    pick_order = 1
    contents = mark_message("The lead story and the top stories after it")
    style = "lead"
    order_rule = "variety, because the other story is more similar to those above"
    capped = limits_topics = leads_edition = shows_images = shows_reasons = True

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pinned stories, then the best additions, until the section is full or none are left."""
        unpinned = filler.take_pinned(section, pool)
        while not filler.is_section_full(section):
            pools = _list_pools(filler, section, unpinned)
            best = next(filter(None, (_best_addition(filler, section, pool) for pool in pools)), None)
            if best is None:
                return
            filler.take_within_cap(section, best)
            unpinned.remove(best)

    def explain_unchosen(self, section: SectionSettings) -> str:
        """Explain that a story was passed over for the sake of variety."""
        return f"it made way for other stories, for variety, in {section.title}"

    def build_entries(self, placed: Sequence[PlacedStory], context: EntryContext) -> Iterable[SectionEntry]:
        """Yield the lead's entry, then a row with a small image for each of the other stories."""
        yield from (build_lead_entry(story, context) for story in placed[:1])
        yield from (build_image_row_entry(story, context) for story in placed[1:])


def _list_pools(
    filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]
) -> Iterator[Iterator[ScoredStory]]:
    """Yield pools of eligible stories in the order in which to try them.

    They are the stories on our topics that have room, then those on any of our topics, then all
    stories. Stories are checked one by one, because few of them are needed.
    """
    yield (s for s in _list_free(filler, pool) if s.is_ours and not (s.topic and filler.is_topic_full(section, s)))
    yield (s for s in _list_free(filler, pool) if s.is_ours)
    yield _list_free(filler, pool)


def _list_free(filler: SectionFiller, pool: Iterable[ScoredStory]) -> Iterator[ScoredStory]:
    return (scored for scored in pool if not filler.is_publisher_full(scored))


def _best_addition(filler: SectionFiller, section: SectionSettings, pool: Iterable[ScoredStory]) -> ScoredStory | None:
    """Return the best story by score and variety, or None.

    If all stories repeat placed news, return the first.
    """
    weight, chosen = filler.select.variety, filler.sections[section.key]
    first: ScoredStory | None = None
    best: tuple[float, ScoredStory] | None = None
    for scored in pool:
        first = first or scored
        if best and weight * scored.score <= best[0]:
            break  # the pool is sorted by score, and similarity can only lower it
        if filler.similarity.find_same_matter(scored, chosen):
            continue
        similarity = max((filler.similarity.compare_stories(scored, other) for other in chosen), default=0.0)
        value = weight * scored.score - (1 - weight) * 100 * similarity
        if best is None or value > best[0]:
            best = (value, scored)
    return best[1] if best else first
