"""The base class of section kinds.

A kind determines which articles a section takes and how its entries are built.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Literal

from sqlalchemy import ColumnElement, and_

from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.story_entry import EntryContext, build_headline_entry, format_source_lines
from digest.select.section_filler import SectionSelectionRules
from digest.select.selection_types import PlacedStory
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.subscriber_language import SubscriberLanguage

# Styles of sections: lead and rows, only rows, a numbered list, a list by topic, pairs, or a list by date.
SectionStyle = Literal["lead", "rows", "ranking", "topics", "pairs", "dates"]


class SectionKind(SectionSelectionRules):
    """A kind of section. It's stateless, so one instance serves all sections of its kind."""

    pick_order: ClassVar[int]  # kinds with lower values choose stories first
    contents: ClassVar[str]  # message that describes the section to subscribers
    style: ClassVar[SectionStyle] = "rows"
    leads_edition: ClassVar[bool] = False  # True if its first entry leads the edition, which every edition needs
    shows_images: ClassVar[bool] = False
    shows_reasons: ClassVar[bool] = False  # True if it shows why a story is included; editors can change that text
    is_placed_by_hand: ClassVar[bool] = True  # True if editors can add and reorder stories

    @property
    def is_grouped_by_topic(self) -> bool:
        """True if stories on one topic are together, and each topic is a part that subscribers can leave out."""
        return self.style == "topics"

    def build_candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Return the condition for articles to load from this kind's sources.

        By default, these are the articles of a window and those that arrived late for it.
        """
        del release_at
        return and_(Article.dated_at > window.late_from, Article.dated_at <= window.cut_off)

    def describe_contents(self, section: SectionSettings, language: SubscriberLanguage) -> str:
        """Return a description of the section's content, for the preferences page."""
        del section
        return language.translate_text(self.contents)

    def format_section_note(self, section: SectionSettings, release_at: datetime, language: SubscriberLanguage) -> str:
        """Return the line next to the section's title.

        `release_at` is in the publication's time zone.
        """
        del release_at
        return language.translate_text(section.note)

    def build_entries(self, placed: Sequence[PlacedStory], context: EntryContext) -> Iterable[SectionEntry]:
        """Yield the section's entries in order."""
        return (self.build_entry(story, context) for story in placed)

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry. By default, it has a headline with its topic, source, and date."""
        return build_headline_entry(placed, context)

    def secondary_lines(self, entry: SectionEntry, language: SubscriberLanguage) -> tuple[str, ...]:
        """Return the lines under an entry's headline: by default, its details or else its source."""
        return entry.details or format_source_lines(entry, entry.source, language)


REGISTERED_KINDS: list[SectionKind] = []


def register_section_kind(kind: type[SectionKind]) -> type[SectionKind]:
    """Register a class as a kind of section. Its name must be in the settings' `SectionKindName`."""
    REGISTERED_KINDS.append(kind())
    return kind
