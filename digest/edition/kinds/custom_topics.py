"""The operator's own sections, with news on the topics given in the settings."""

from collections.abc import Sequence

from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, build_image_row_entry
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from subscribers.subscriber_language import SubscriberLanguage, mark_message


@register_section_kind
class StorySection(SectionKind):
    """The best stories on the section's topics, or on any topic if the operator set none."""

    name = "stories"
    pick_order = 3
    contents = mark_message("More top stories")
    capped = shows_images = shows_reasons = True
    takes_every_topic = False

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pinned stories, then the best others by score."""
        fit = [s for s in pool if self.may_take(section, s)]
        filler.take_varied(section, filler.take_pinned(section, fit))

    def may_take(self, section: SectionSettings, scored: ScoredStory) -> bool:
        """Return True if the kind considers the story and it has one of the section's topics, if there are any."""
        topics = {topic.casefold() for topic in section.topics}
        fits = not topics or (scored.topic or "").casefold() in topics
        return super().may_take(section, scored) and fits

    def describe_contents(self, section: SectionSettings, language: SubscriberLanguage) -> str:
        """Return "Stories about" and the section's topics, or a general description if it has none."""
        topics = language.join_words([language.translate_text(topic) for topic in section.topics])
        return (
            language.gettext("Stories about %(topics)s", topics=topics)
            if topics
            else language.translate_text(self.contents)
        )

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry for a row with a small image."""
        return build_image_row_entry(placed, context)
