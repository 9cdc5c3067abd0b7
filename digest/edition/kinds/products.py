"""Products: what makers announced, by score."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.collect.text_cleanup import shorten_text
from digest.edition.content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, plain_entry
from digest.select.values import PlacedStory

SUMMARY_WORDS = 28


class ProductSection(SectionKind):
    """Products with their maker and a short summary."""

    name = source_section = "products"

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
        """Write a product, under its maker's name."""
        del zone
        article = placed.scored.story.lead
        return replace(
            plain_entry(article),
            summary=shorten_text(article.summary, SUMMARY_WORDS),
            details=(article.credit or article.publisher,),
        )
