"""What editors did, in words: for the button that takes it back, the history, and two versions side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import EDITION_TARGET, OWN_STORY_PREFIX, Edit, EditDraft, EditKind
from digest.settings import SectionSettings
from digest.web.desk.outline.story_pool import find_lead_section, find_listed_story
from digest.web.filters import count_with_noun
from subscribers.phrases import join_words

MAX_QUOTED_CHARACTERS = 60
_FIELD_NAMES = {
    "headline": "headline",
    "summary": "summary",
    "kicker": "kicker",
    "why": "“why it leads”",
    "subject": "subject",
    "preheader": "preheader",
    "intro": "intro",
    "editor": "signature",
}


# What each act is called where a word has to do: on the button that takes it back.
_ACT_NAMES: Mapping[str, str] = {
    EditKind.DROP: "drop",
    EditKind.RESTORE: "put back",
    EditKind.LEAD: "leading article",
    EditKind.MERGE: "merge",
    EditKind.SPLIT: "split",
    EditKind.UNDER: "put under",
    EditKind.PICTURE: "picture",
    EditKind.TOPIC: "topic",
    EditKind.ADD: "new story",
    EditKind.BLOCK: "labelled block",
    EditKind.NOTE: "note",
    EditKind.REVERT: "bring back",
}


def name_written(kind: str, value: Mapping[str, Any]) -> str:
    """Name what an edit writes: of a text its field."""
    if kind == EditKind.TEXT:
        return _FIELD_NAMES.get(str(value.get("field")), "text")
    return _ACT_NAMES.get(kind, "change")


@dataclass(frozen=True, slots=True)
class EditWriter:
    """Writes edits as sentences without their subject: "moved “Ports get ten days” to Featured"."""

    arrangement: Arrangement
    section_titles: Mapping[str, str]
    origins: Mapping[int, str] = field(default_factory=dict)  # the section in which a story stood, by the edit's number
    lead_section: str = ""
    came_first: frozenset[int] = (
        frozenset()
    )  # the numbers of the edits after which their story stood first in its section

    def describe(self, edit: Edit | EditDraft, edits: Sequence[Edit] = ()) -> str:
        """Describe an edit; `edits` are all of the edition, for one that takes others back."""
        describe = _DESCRIBED_KINDS.get(str(edit.kind))
        if describe:
            return describe(self, edit)
        if edit.kind == EditKind.UNDO:
            undone = next((e for e in edits if e.seq == edit.undoes), None)
            return f"took back: {self.describe(undone, edits)}" if undone else "took a change back"
        if edit.kind == EditKind.REVERT:
            return "brought back an earlier state" if edit.undoes else "brought back the proposal"
        return "did something that this version does not know"

    def quote(self, target: str) -> str:
        """Quote the headline of the story that an article stands for, else name the address."""
        headline = self.find_headline(target)
        if not headline:
            return "a story" if target.startswith(OWN_STORY_PREFIX) else urlsplit(target).hostname or "a story"
        if len(headline) > MAX_QUOTED_CHARACTERS:
            headline = f"{headline[:MAX_QUOTED_CHARACTERS].rsplit(' ', 1)[0]}…"
        return f"“{headline}”"

    def find_headline(self, target: str) -> str:
        """Find the headline of the story that an article stands for; empty where no story holds it."""
        arranged = self.arrangement.find_story(target)
        if arranged:
            return arranged.texts.get("headline", arranged.original.story.lead.title)
        listed = find_listed_story(self.arrangement, target)
        return listed.story.lead.title if listed else ""

    def _section(self, edit: Edit | EditDraft) -> str:
        key = str(edit.value.get("section", ""))
        return self.section_titles.get(key, key)

    def place(self, edit: Edit | EditDraft) -> str:
        """Say where a story was moved, and from where, as far as that is known."""
        named, section, key = self.quote(edit.target), self._section(edit), edit.value.get("section")
        origin = self.origins.get(edit.seq) if isinstance(edit, Edit) else None
        moved_from = f" from {self.section_titles.get(origin, origin)}" if origin and origin != key else ""
        if isinstance(edit, Edit) and edit.seq in self.came_first and key == self.lead_section:
            return f"made {named} the lead{', moved' if moved_from else ''}{moved_from}"
        if moved_from:
            return f"moved {named}{moved_from} to {section}"
        if origin == "":
            return f"put {named} into {section}"
        position = edit.value.get("position")
        return f"moved {named} {f'to place {position + 1} of' if isinstance(position, int) else 'in'} {section}"

    def drop(self, edit: Edit | EditDraft) -> str:
        """Say what was dropped."""
        others = edit.value.get("others") or ()
        more = f" and {count_with_noun(len(others), 'other')}" if others else ""
        return f"dropped {self.quote(edit.target)}{more}"

    def describe_refill(self, came_up: Sequence[str], unfilled: str, dropped_count: int = 1) -> str:
        """Say which stories took the place of dropped ones: "“Ports get ten days” came up in its place"; or why none did."""
        if not came_up:
            why = f": {unfilled}" if unfilled else ""
            return f"nothing came up in {'its' if dropped_count == 1 else 'their'} place{why}"
        named = join_words([self.quote(url) for url in came_up])
        return f"{named} came up in {'its' if dropped_count == 1 else 'their'} place"

    def restore(self, edit: Edit | EditDraft) -> str:
        """Say what was put back."""
        return f"put {self.quote(edit.target)} back"

    def pin(self, edit: Edit | EditDraft) -> str:
        """Say what was pinned, or let go."""
        verb = "pinned" if edit.value.get("pinned", True) else "unpinned"
        return f"{verb} {self.quote(edit.target)}"

    def lead(self, edit: Edit | EditDraft) -> str:
        """Say which story another article leads."""
        return f"chose another article to lead {self.quote(edit.target)}"

    def merge(self, edit: Edit | EditDraft) -> str:
        """Say what was merged."""
        count = count_with_noun(len(edit.value.get("others") or ()), "story", "stories")
        return f"merged {count} into {self.quote(edit.target)}"

    def split(self, edit: Edit | EditDraft) -> str:
        """Say what was split off."""
        count = count_with_noun(len(edit.value.get("articles") or ()), "article")
        return f"split {count} off {self.quote(edit.target)}"

    def under(self, edit: Edit | EditDraft) -> str:
        """Say what was put under what."""
        return f"put {self.quote(edit.target)} under {self.quote(str(edit.value.get('main', '')))}"

    def text(self, edit: Edit | EditDraft) -> str:
        """Say which text was written."""
        name = _FIELD_NAMES.get(str(edit.value.get("field")), "text")
        of = "" if edit.target == EDITION_TARGET else f" of {self.quote(edit.target)}"
        text = edit.value.get("text")
        verb = "brought back the original" if text is None else "wrote the" if text else "left out the"
        return f"{verb} {name}{of}"

    def picture(self, edit: Edit | EditDraft) -> str:
        """Say whose picture was changed."""
        verb = "hid" if edit.value.get("shown") is False else "changed"
        return f"{verb} the picture of {self.quote(edit.target)}"

    def topic(self, edit: Edit | EditDraft) -> str:
        """Say whose topic was changed."""
        topic = edit.value.get("topic")
        of = self.quote(edit.target)
        return f"gave {of} the topic {topic}" if topic else f"gave {of} its own topic back"

    def add(self, edit: Edit | EditDraft) -> str:
        """Say what was added."""
        article = edit.value.get("article")
        title = str(article.get("title", "")) if isinstance(article, Mapping) else ""
        return f"added {self.quote(edit.target)}" if not title else f"added “{title[:MAX_QUOTED_CHARACTERS]}”"

    def block(self, edit: Edit | EditDraft) -> str:
        """Say which block was written."""
        if edit.value.get("removed"):
            return "took a labelled block out"
        return f"wrote the block “{str(edit.value.get('headline', ''))[:MAX_QUOTED_CHARACTERS]}”"

    def note(self, edit: Edit | EditDraft) -> str:
        """Say whose note was written."""
        verb = "wrote a note under" if edit.value.get("text") else "took the note away from"
        return f"{verb} {self.quote(edit.target)}"


_DESCRIBED_KINDS: Mapping[str, Callable[[EditWriter, Edit | EditDraft], str]] = {
    EditKind.PLACE: EditWriter.place,
    EditKind.DROP: EditWriter.drop,
    EditKind.RESTORE: EditWriter.restore,
    EditKind.PIN: EditWriter.pin,
    EditKind.LEAD: EditWriter.lead,
    EditKind.MERGE: EditWriter.merge,
    EditKind.SPLIT: EditWriter.split,
    EditKind.UNDER: EditWriter.under,
    EditKind.TEXT: EditWriter.text,
    EditKind.PICTURE: EditWriter.picture,
    EditKind.TOPIC: EditWriter.topic,
    EditKind.ADD: EditWriter.add,
    EditKind.BLOCK: EditWriter.block,
    EditKind.NOTE: EditWriter.note,
}


def create_edit_writer(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> EditWriter:
    """Create the writer of an edition's history."""
    origins = {outcome.edit.seq: outcome.stood_in for outcome in arrangement.outcomes if outcome.stood_in is not None}
    came_first = frozenset(outcome.edit.seq for outcome in arrangement.outcomes if outcome.came_first)
    titles = {section.key: section.title for section in sections}
    return EditWriter(arrangement, titles, origins, find_lead_section(sections), came_first)
