"""Two versions of the same thing, side by side: a form's version and one that was saved first. Pure functions only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from digest.app.editing.edit_application import EditResult
from digest.collect.imaging.encoded_image import FocusPoint
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.arrangement import ArrangedStory, Arrangement
from digest.edition.editing.edits import BLOCK_PREFIX, EDITION_TARGET, Edit, EditConflict, EditDraft, EditKind
from digest.web.desk.outline.block_lines import list_block_lines
from digest.web.desk.outline.changed_texts import mark_new_words
from digest.web.desk.outline.edit_sentences import EditSentenceWriter

Texts = Mapping[str, str]  # texts by title


@dataclass(frozen=True, slots=True)
class RefusedEdit:
    """An edit that wasn't saved because of a conflict.

    `names` are its fields in the form, or empty for the whole form. `base_edit` is the number of
    the last edit that the form was based on.
    """

    names: tuple[str, ...]
    base_edit: int
    result: EditResult

    @property
    def conflict(self) -> EditConflict:
        """The conflict between this edit and the saved one."""
        assert self.result.conflict is not None
        return self.result.conflict


@dataclass(frozen=True, slots=True)
class LabeledVersionLine:
    """A line of one of two versions, with its title.

    `title` is empty if it's the only line. Some of the words are marked as new.
    """

    title: str
    words: tuple[tuple[str, bool], ...]  # each with whether it's new

    @property
    def text(self) -> str:
        """The words of the line as one text."""
        return " ".join(words for words, _ in self.words)


@dataclass(frozen=True, slots=True)
class SavedAndRefusedVersions:
    """Two versions of the same thing, as lines.

    Versions that aren't text, such as a position or a story's articles, have no lines.
    """

    refused_edit: RefusedEdit
    place: str
    current_lines: tuple[LabeledVersionLine, ...]
    draft_lines: tuple[LabeledVersionLine, ...]
    before: tuple[LabeledVersionLine, ...]

    @property
    def allows_new_version(self) -> bool:
        """True if a third version can be written instead, because this is a single text."""
        return self.refused_edit.conflict.draft.kind in {EditKind.TEXT, EditKind.NOTE}

    @property
    def marks_new(self) -> bool:
        """True if any words in either version are marked as new."""
        lines = (*self.current_lines, *self.draft_lines)
        return any(is_new for line in lines for _, is_new in line.words)

    @property
    def wanted_text(self) -> str:
        """The rejected version as one text."""
        return " / ".join(line.text for line in self.draft_lines if line.text)


@dataclass(frozen=True, slots=True)
class ConflictPageData:
    """The rejected edits, the saved version of each, and other people's later edits of the same things."""

    pairs: tuple[SavedAndRefusedVersions, ...]
    other_edits: tuple[Edit, ...]


def build_conflict_page_data(
    refused: Sequence[RefusedEdit], content: EditionContent, writer: EditSentenceWriter, *, actor: str, was: Texts
) -> ConflictPageData:
    """Return the rejected edits next to the current edition.

    Args:
        refused: the rejected edits, at least one.
        content: the current edition.
        writer: writes sentences about the edition's edits.
        actor: the author of the form.
        was: the values that the fields had when the page was created, by name, if known.
    """
    pairs = tuple(_pair_versions(each, content, writer, was) for each in refused)
    edits = refused[-1].result.state.arrangement.edits_in_force
    other_edits = (edit for edit in edits if edit.actor != actor)
    return ConflictPageData(pairs, tuple(edit for edit in other_edits if _touches(edit, refused, writer.arrangement)))


def _touches(edit: Edit, refused: Sequence[RefusedEdit], arrangement: Arrangement) -> bool:
    """Return True if an edit changes the same things as a form's edits.

    It must also be later than the form's state, and not be shown yet.
    """
    name_target = arrangement.name_target
    targets = {name_target(url) for each in refused for url in each.conflict.draft.targets}
    shown_edits = {each.conflict.current_edit.seq for each in refused}
    is_later = edit.seq > min(each.base_edit for each in refused)
    return is_later and edit.seq not in shown_edits and not targets.isdisjoint(map(name_target, edit.targets))


def _pair_versions(
    each: RefusedEdit, content: EditionContent, writer: EditSentenceWriter, was: Texts
) -> SavedAndRefusedVersions:
    draft, state = each.conflict.draft, each.result.state
    stood = _read_version(draft, each.result.before or state.arrangement, None)
    if draft.kind == EditKind.TEXT and each.names and each.names[0] in was:
        stood = {"": was[each.names[0]]}
    return SavedAndRefusedVersions(
        refused_edit=each,
        place=name_story_position(writer, draft.target),
        current_lines=_mark_lines(stood, _read_version(draft, state.arrangement, content)),
        draft_lines=_mark_lines(stood, _read_wanted(draft, state.arrangement)),
        before=_mark_lines(stood, stood),
    )


def name_story_position(writer: EditSentenceWriter, target: str) -> str:
    """Return the position of a story, such as "Featured 1", or its headline if it isn't in a section.

    Return "" for anything else.
    """
    if target == EDITION_TARGET or target.startswith(BLOCK_PREFIX):
        return ""
    url = writer.arrangement.name_target(target)
    for key, stories in writer.arrangement.sections.items():
        for number, story in enumerate(stories, 1):
            if story.url == url:
                return f"{writer.find_section_title(key)} {number}"
    return writer.quote(target)


def _read_version(draft: EditDraft, arrangement: Arrangement, content: EditionContent | None) -> dict[str, str]:
    """Return the texts in an arrangement that an edit is about, by title.

    `content` is the edition composed from the arrangement, if known. It contains the texts that
    weren't written by editors.
    """
    field = str(draft.value.get("field", ""))
    if draft.target == EDITION_TARGET and draft.kind == EditKind.TEXT:
        written = getattr(content, field, "") if content else arrangement.texts.get(field, "")
        return {"": str(written)}
    if draft.kind == EditKind.BLOCK:
        return _read_block(draft.target, arrangement)
    story = arrangement.find_story(draft.target)
    return _read_story(draft, story, arrangement) if story else {}


def _read_story(draft: EditDraft, story: ArrangedStory, arrangement: Arrangement) -> dict[str, str]:
    match draft.kind:
        case EditKind.TEXT:
            field = str(draft.value.get("field", ""))
            return {"": story.texts.get(field, _find_original(story, field))}
        case EditKind.NOTE:
            return {"": story.note}
        case EditKind.TOPIC:
            return {"": story.placed.scored.topic or ""}
        case EditKind.PICTURE:
            cuts = arrangement.pictures.get(story.placed.scored.story.lead.image or "")
            if cuts is None:
                return {"Image": "none"}
            image = cuts.lead
            return {"Description": image.alt, "Credit": image.credit, **_list_focus(image.focus)}
    return {}


def _find_original(story: ArrangedStory, field: str) -> str:
    originals = {"headline": story.original.story.lead.title, "summary": story.original_summary.text}
    return originals.get(field, "")


def _read_block(target: str, arrangement: Arrangement) -> dict[str, str]:
    in_force = arrangement.edits_in_force
    written = [edit.value for edit in in_force if edit.kind == EditKind.BLOCK and edit.target == target]
    if written:
        return list_block_lines(written[-1])
    known_blocks = (*arrangement.blocks, *arrangement.resting_blocks)
    block = next((b for b in known_blocks if f"{BLOCK_PREFIX}{b.id}" == target), None)
    return list_block_lines(asdict(block)) if block else {}


def _read_wanted(draft: EditDraft, arrangement: Arrangement) -> dict[str, str]:
    """Return the texts that a rejected edit would have set, by title."""
    value = draft.value
    match draft.kind:
        case EditKind.TEXT:
            return {"": _read_wanted_text(draft, arrangement)}
        case EditKind.NOTE:
            return {"": str(value.get("text") or "")}
        case EditKind.TOPIC:
            return {"": str(value.get("topic") or "default")}
        case EditKind.BLOCK:
            return list_block_lines(value)
        case EditKind.PICTURE:
            return _read_wanted_image(value)
    return {}


def _read_wanted_text(draft: EditDraft, arrangement: Arrangement) -> str:
    if (text := draft.value.get("text")) is not None:
        return str(text)
    story = arrangement.find_story(draft.target)
    original = _find_original(story, str(draft.value.get("field"))) if story else ""
    return original or "the original text"


def _read_wanted_image(value: Mapping[str, object]) -> dict[str, str]:
    if value.get("shown") is False:
        return {"Image": "none"}
    if "alt" in value or "credit" in value:
        alt, credit = value.get("alt"), value.get("credit")
        cuts = value.get("cuts")
        lead = cuts["lead"] if isinstance(cuts, Mapping) else {}
        return {"Description": str(alt or ""), "Credit": str(credit or ""), **_list_focus(lead.get("focus"))}
    return {"Image": "another image" if value.get("cuts") else "original image"}


def _list_focus(focus: FocusPoint | None) -> dict[str, str]:
    return {"Focus point": f"{focus[0]:.0%} from the left, {focus[1]:.0%} from the top"} if focus else {}


def _mark_lines(before: Texts, after: Texts) -> tuple[LabeledVersionLine, ...]:
    lines = []
    for title, text in after.items():
        words = mark_new_words(before.get(title, ""), text)
        lines.append(LabeledVersionLine(title, words))
    return tuple(lines)
