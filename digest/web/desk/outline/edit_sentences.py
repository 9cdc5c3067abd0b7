"""The names and headlines used in sentences about edits.

The sentences are in `edit_sentences.html`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import OWN_STORY_PREFIX, Edit
from digest.settings import SectionSettings
from digest.web.desk.outline.story_pool import find_lead_section, find_listed_story
from subscribers.english_text import join_words

MAX_QUOTED_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class EditSentenceWriter:
    """The data for sentences about an edition's edits.

    `origins` maps the numbers of edits to the sections that the stories were in before.
    `first_placed` contains the numbers of edits after which the story was first in its section.
    """

    arrangement: Arrangement
    edits: Sequence[Edit]
    section_titles: Mapping[str, str]
    origins: Mapping[int, str]
    lead_section: str
    first_placed: frozenset[int]

    def find_edit(self, seq: int | None) -> Edit | None:
        """Return the edit numbered `seq`, or None if there's none."""
        return next((edit for edit in self.edits if edit.seq == seq), None)

    def quote(self, *targets: str) -> str:
        """Quote the headlines of the stories with these articles.

        Without a headline, the name of the site is used.
        """
        return join_words([self._quote(target) for target in targets])

    def quote_article(self, url: str) -> str:
        """Quote the headline of an article, regardless of the story that it's in now."""
        arranged = self.arrangement.find_story(url)
        scored = arranged.original if arranged else find_listed_story(self.arrangement, url)
        articles = scored.story.members if scored else ()
        return self._quote(url, next((article.title for article in articles if article.url == url), ""))

    def _quote(self, target: str, headline: str = "") -> str:
        headline = headline or self.find_headline(target)
        if not headline:
            return "a story" if target.startswith(OWN_STORY_PREFIX) else urlsplit(target).hostname or "a story"
        if len(headline) > MAX_QUOTED_CHARACTERS:
            headline = f"{headline[:MAX_QUOTED_CHARACTERS].rsplit(' ', 1)[0]}…"
        return f"“{headline}”"

    def find_headline(self, target: str) -> str:
        """Return the headline of the story with an article, or ""."""
        arranged = self.arrangement.find_story(target)
        if arranged:
            return arranged.texts.get("headline", arranged.original.story.lead.title)
        removed_headlines = {gone.scored.url: gone.headline for gone in self.arrangement.removed}
        listed = find_listed_story(self.arrangement, target)
        return removed_headlines.get(listed.url, listed.story.lead.title) if listed else ""

    def find_section_title(self, key: str) -> str:
        """Return the title of a section, or its key if it isn't in the settings anymore."""
        return self.section_titles.get(key, key)


def create_sentence_writer(
    arrangement: Arrangement, edits: Sequence[Edit], sections: Sequence[SectionSettings]
) -> EditSentenceWriter:
    """Create the sentence writer for an edition's edits."""
    outcomes = arrangement.outcomes
    return EditSentenceWriter(
        arrangement,
        edits,
        section_titles={section.key: section.title for section in sections},
        origins={
            outcome.edit.seq: outcome.previous_section for outcome in outcomes if outcome.previous_section is not None
        },
        lead_section=find_lead_section(sections),
        first_placed=frozenset(outcome.edit.seq for outcome in outcomes if outcome.is_first),
    )
