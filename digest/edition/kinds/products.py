"""Products: what makers announced, by score."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, plain_entry, summary_note, with_summary
from digest.select.values import PlacedStory
from subscribers.reader_language import ReaderLanguage

SUMMARY_WORDS = 28


class ProductSection(SectionKind):
    """Products with their maker and a short summary."""

    name = source_section = "products"

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage) -> SectionEntry:
        """Write a product, under its maker's name."""
        del zone, language
        article = placed.scored.story.lead
        entry = with_summary(plain_entry(article), placed.scored.story, SUMMARY_WORDS)
        return replace(entry, details=(article.credit or article.publisher,))

    def secondary_lines(self, entry: SectionEntry, language: ReaderLanguage) -> tuple[str, ...]:
        """Return the maker, and whose words the summary is where they are another's."""
        return tuple(
            line for line in (*super().secondary_lines(entry, language), summary_note(entry, language)) if line
        )
