"""Most read: what readers of our own site opened most in the week."""

from collections.abc import Sequence
from datetime import datetime

from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import ScoredStory
from digest.settings import SectionSettings
from subscribers.subscriber_language import SubscriberLanguage, mark_message


@register_section_kind
class MostReadSection(SectionKind):
    """Stories of the own site by reads a day alone: no cap for a publisher, no pins, and nothing that an editor puts there.

    Its heading says what readers did, so it would be untrue of a story that somebody else chose.
    """

    name = "most-read"
    pick_order = 2
    contents = mark_message("The most-read stories on our website that aren’t in another section")
    look = "ranking"
    order_rule = "this section is sorted by page views"
    is_placed_by_hand = False

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the most read; ties go to the earliest, then by URL."""
        fit = [s for s in pool if self.may_take(section, s)]
        for scored in self.order_reserve(filler, fit)[: section.most]:
            filler.take_story(section, scored)

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Take what the own site published."""
        return super().may_take(section, scored) and scored.lead.own

    def order_reserve(self, filler: SectionFiller, pool: Sequence[ScoredStory]) -> list[ScoredStory]:
        """Order by reads a day; what nobody is known to have read does not come."""
        reads = {scored.url: _daily_reads(filler, scored) for scored in pool}
        read = [scored for scored in pool if reads[scored.url]]
        read.sort(key=lambda scored: (scored.lead.dated_at, scored.url))
        return sorted(read, key=lambda scored: -reads[scored.url])

    def section_note(self, section: SectionSettings, release_at: datetime, language: SubscriberLanguage) -> str:
        """Say which week was counted and what is left out, unless the operator wrote a note."""
        day = language.short_month_day(release_at)
        return section.note or language.gettext("Week ending %(day)s, except stories in other sections", day=day)


def _daily_reads(filler: SectionFiller, scored: ScoredStory) -> float:
    own = (article for article in scored.story.members if article.own and article.views)
    reads = map(filler.ranking.week.daily_reads, own)
    return max(filter(None, reads), default=0.0)
