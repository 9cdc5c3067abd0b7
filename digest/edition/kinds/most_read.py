"""Most read: the stories on the publication's own site with the most page views during the week."""

from collections.abc import Sequence
from datetime import datetime

from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import ScoredStory, Story
from digest.settings import SectionSettings
from subscribers.subscriber_language import SubscriberLanguage, mark_message


@register_section_kind
class MostReadSection(SectionKind):
    """The publication's own stories, by page views.

    There are no caps per publisher, no pins, and no stories placed by editors. The section's title
    says what readers did, which wouldn't be true of a story that an editor chose.
    """

    name = "most-read"
    pick_order = 2
    contents = mark_message("The most-read stories on our website")
    style = "ranking"
    order_rule = "this section is sorted by page views"
    is_placed_by_hand = False

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the stories with the most page views, up to the section's maximum."""
        fit = [s for s in pool if self.may_take(section, s)]
        for scored in self.order_reserve(filler, fit)[: section.most]:
            filler.take_story(section, scored)

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Return True if the kind considers the story and its lead is from the publication's own site."""
        return super().may_take(section, scored) and scored.lead.own

    def order_reserve(self, filler: SectionFiller, pool: Sequence[ScoredStory]) -> list[ScoredStory]:
        """Return the stories with enough page views, most viewed first."""
        read = [s for s in pool if find_max_own_views(s.story) >= filler.select.minimum_reads]
        return sorted(read, key=make_reading_order_key)

    def format_section_note(self, section: SectionSettings, release_at: datetime, language: SubscriberLanguage) -> str:
        """Return the operator's note, or else a line that states which week was counted."""
        day = language.short_month_day(release_at)
        return section.note or language.gettext("Week ending %(day)s", day=day)


def find_max_own_views(story: Story) -> int:
    """Return the page views of a story's most viewed article on the publication's own site, or 0."""
    return max((article.views or 0 for article in story.members if article.own), default=0)


def make_reading_order_key(scored: ScoredStory) -> tuple[int, datetime, str]:
    """Return a sort key for the publication's own stories.

    They're sorted by page views (most first), then by date, then by URL.
    """
    return (-find_max_own_views(scored.story), scored.lead.dated_at, scored.url)
