"""Topics: the next best stories, by topic."""

from collections.abc import Sequence

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import (
    EntryContext,
    build_summary_entry,
    format_source_lines,
    format_summary_credit,
)
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from subscribers.subscriber_language import SubscriberLanguage, mark_message


@register_section_kind
class TopicSection(SectionKind):
    """The next best stories, a few per topic, grouped by topic with the best topic first."""

    name = style = "topics"
    pick_order = 4
    contents = mark_message("More stories, grouped by topic")
    order_rule = "stories on the same topic are grouped, with the best topic first"
    capped = limits_topics = shows_reasons = True

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pinned stories, then the best others that have a topic.

        The last places are reserved for official actions. Then the stories are sorted so that those
        on the same topic are together.
        """
        others = filler.take_pinned(section, pool)
        fit = [scored for scored in others if self.may_take(section, scored)]
        unreserved = section.model_copy(update={"most": section.most - filler.select.official_places})
        filler.take_varied(unreserved, fit)
        filler.take_official_actions(section, fit)
        filler.take_varied(section, [scored for scored in fit if not filler.is_taken(scored)])
        chosen = filler.sections[section.key]
        order = [scored.topic for scored in chosen]
        chosen.sort(key=lambda scored: order.index(scored.topic))

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Return True if the kind considers the story and it has a topic."""
        return super().may_take(section, scored) and bool(scored.topic)

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry with a headline, source, date, and summary, and the reason for its placement."""
        return build_summary_entry(placed, context)

    def secondary_lines(self, entry: SectionEntry, language: SubscriberLanguage) -> tuple[str, ...]:
        """Return the source with the date and the reason, then the summary and its publisher.

        If an editor wrote the reason, it gets a separate line.
        """
        written = language.gettext("Why it’s here: %(reason)s", reason=entry.why) if entry.why_is_written else ""
        reason = "" if written else entry.why.removesuffix(".")
        source = " · ".join((*format_source_lines(entry, entry.source_and_date, language), *filter(None, (reason,))))
        return tuple(filter(None, (source, entry.summary, format_summary_credit(entry, language), written)))
