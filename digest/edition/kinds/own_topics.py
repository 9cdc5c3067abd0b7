"""The operator's own sections: news of the topics that the settings name."""

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from digest.edition.content.edition_content import PictureCuts, SectionEntry
from digest.edition.kinds.section_kind import SectionKind
from digest.edition.kinds.story_entry import write_row
from digest.select.section_filler import SectionFiller
from digest.select.values import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from subscribers.reader_language import ReaderLanguage


class OwnTopicsSection(SectionKind):
    """The best stories of the topics that the operator gave the section; of all where none is given."""

    name = "stories"
    capped = shows_pictures = True
    takes_every_topic = False

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins, then the best by score."""
        fit = [s for s in pool if self.may_take(section, s)]
        for scored in filler.new_matter_first(section, filler.take_pinned(section, fit)):
            if not filler.is_publisher_full(scored):
                filler.take_story(section, scored)

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Take what has one of the section's topics."""
        topics = {t.casefold() for t in section.topics}
        fits = not topics or (scored.topic or "").casefold() in topics
        return SectionKind.may_take(self, section, scored) and fits

    def write_entries(
        self,
        placed: tuple[PlacedStory, ...],
        zone: ZoneInfo,
        language: ReaderLanguage,
        pictures: Mapping[str, PictureCuts],
    ) -> tuple[SectionEntry, ...]:
        """Write rows."""
        return tuple(write_row(story, zone, language, pictures) for story in placed)
