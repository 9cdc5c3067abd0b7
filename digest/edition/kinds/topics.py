"""Topics: the next best stories, by topic."""

from collections.abc import Sequence

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, source_lines
from digest.select.section_filler import SectionFiller
from digest.select.values import ScoredStory
from digest.settings import SectionSettings
from subscribers.reader_language import ReaderLanguage


class TopicSection(SectionKind):
    """The next best, few a topic, ordered by topic, the best topic first."""

    name = "topics"
    order_rule = "stories of one topic stand together, the best topic first"
    capped = limits_topics = True

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins, then the best that have a topic."""
        fit = [s for s in filler.take_pinned(section, pool) if self.may_take(section, s)]
        for scored in filler.new_matter_first(section, fit):
            if not filler.is_publisher_full(scored) and not filler.is_topic_full(section, scored):
                filler.take_story(section, scored)
        chosen = filler.sections[section.key]
        first_place = {s.topic: n for n, s in reversed(list(enumerate(chosen)))}
        chosen.sort(key=lambda s: first_place[s.topic])

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Take what has a topic."""
        return SectionKind.may_take(self, section, scored) and bool(scored.topic)

    def secondary_lines(self, entry: SectionEntry, language: ReaderLanguage) -> tuple[str, ...]:
        """Return the source with the date."""
        return source_lines(entry, ", ".join(part for part in (entry.source, entry.date) if part), language)
