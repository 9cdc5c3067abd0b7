"""Products: announcements by their makers, sorted by score."""

from dataclasses import replace

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, build_brief_entry, format_summary_credit
from digest.select.selection_types import PlacedStory
from subscribers.subscriber_language import SubscriberLanguage, mark_message

SUMMARY_WORDS = 28


@register_section_kind
class ProductSection(SectionKind):
    """Products, each with its maker and a short summary."""

    name = "products"
    pick_order = 5
    contents = mark_message("New products and tools")
    style = "pairs"

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry for a product, with its maker's name."""
        del context
        article = placed.scored.lead
        return replace(build_brief_entry(placed, SUMMARY_WORDS), details=(article.credit or article.publisher,))

    def secondary_lines(self, entry: SectionEntry, language: SubscriberLanguage) -> tuple[str, ...]:
        """Return the product's maker, and the summary's publisher if it's a different one."""
        lines = (*super().secondary_lines(entry, language), format_summary_credit(entry, language))
        return tuple(filter(None, lines))
