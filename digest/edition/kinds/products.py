"""Products: what makers announced, by score."""

from dataclasses import replace

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, write_summary, write_summary_credit
from digest.select.selection_types import PlacedStory
from subscribers.subscriber_language import SubscriberLanguage, mark_message

SUMMARY_WORDS = 28


@register_section_kind
class ProductSection(SectionKind):
    """Products with their maker and a short summary."""

    name = "products"
    pick_order = 5
    contents = mark_message("New products and tools")
    look = "pairs"

    def write_entry(self, placed: PlacedStory, page: EntryContext) -> SectionEntry:
        """Write a product, under its maker's name."""
        del page
        article = placed.scored.lead
        return replace(write_summary(placed, SUMMARY_WORDS), details=(article.credit or article.publisher,))

    def secondary_lines(self, entry: SectionEntry, language: SubscriberLanguage) -> tuple[str, ...]:
        """Return the maker, and whose words the summary is where they are another's."""
        lines = (*super().secondary_lines(entry, language), write_summary_credit(entry, language))
        return tuple(filter(None, lines))
