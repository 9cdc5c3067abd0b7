"""Products: what makers announced, by score."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.edition.content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, plain_entry, with_summary
from digest.select.values import PlacedStory

SUMMARY_WORDS = 28


class ProductSection(SectionKind):
    """Products with their maker and a short summary."""

    name = source_section = "products"

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
        """Write a product, under its maker's name."""
        del zone
        article = placed.scored.story.lead
        entry = with_summary(plain_entry(article), placed.scored.story, SUMMARY_WORDS)
        return replace(entry, details=(article.credit or article.publisher,))

    def secondary_lines(self, entry: SectionEntry) -> tuple[str, ...]:
        """Return the maker, and whose words the summary is where they are another's."""
        return tuple(line for line in (*super().secondary_lines(entry), entry.summary_note) if line)
