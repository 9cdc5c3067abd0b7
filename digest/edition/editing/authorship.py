"""The authors of an edition's parts: every text, link, and image by editors. All functions are pure.

The authors of a part are all those who wrote it, up to the edit whose words are shown. Edits that
were undone later count, too, because the next author's form may have contained their words. Saving
words that an edit in effect already gave the same story doesn't make anyone an author, nor does an
edit that only moves, drops, merges, splits, or dismisses a story.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from digest.edition.editing.edits import BLOCK_PREFIX, EDITION_TARGET, Edit, EditKind, StoryField

if TYPE_CHECKING:
    # Arranging imports grouping and ranking, which takes half a second. Sending doesn't need them.
    from digest.edition.editing.arrangement import ArrangedStory, Arrangement

# Names of parts in addition to those in `EditionField` and `StoryField`.
STORY_PART, BLOCK_PART, PICTURE_PART, TOPIC_PART, NOTE_PART = "story", "block", "picture", "topic", "note"
CORRECTION_PART = "correction"  # of a sent edition, as in its email
SETTINGS_PART = "settings"  # of the publication; `item` is the table
_BLOCK_WORDS = ("kind", "headline", "name", "text", "url", "picture")


@dataclass(frozen=True, slots=True, order=True)
class WrittenPart:
    """A part of an edition, and the name of one of its authors in the audit log.

    `part` is an `EditionField`, a `StoryField`, or one of the names above. `item` is the headline
    of the story or block that contains the part, the name of the settings table, or empty.
    """

    actor: str
    part: str
    item: str = ""


@dataclass(frozen=True, slots=True)
class _Writing:
    """The text that an edit wrote in one place, or "" if it removed the text.

    `story` is the current name of the edit's target.
    """

    actors: tuple[str, ...]
    words: str
    in_force: bool
    story: str = ""


def list_written_parts(arrangement: "Arrangement") -> tuple[WrittenPart, ...]:
    """Return the parts of an edition that editors wrote, repeated for each author."""
    return tuple(sorted(set(_PartFinder(arrangement).list_parts())))


def find_block_authors(block_edits: Iterable[tuple[Edit, bool]]) -> tuple[str, ...]:
    """Return the authors of a block, given its edits in order and whether each is in effect."""
    writings = []
    for edit, in_force in block_edits:
        writings.append(_Writing((edit.actor,), _read_block_words(edit), in_force))
    return _find_authors(writings)


class _PartFinder:
    """A finder of the authors of an arrangement's parts."""

    def __init__(self, arrangement: "Arrangement") -> None:
        self._arrangement = arrangement
        self._places = _PlaceNames(arrangement)
        self._writings: dict[tuple[str, str], list[_Writing]] = defaultdict(list)
        for block, authors in arrangement.given_blocks:
            target = f"{BLOCK_PREFIX}{block.id}"
            writing = _Writing(authors, _dump_block(asdict(block)), in_force=True, story=target)
            self._writings[BLOCK_PART, target].append(writing)
        for outcome in arrangement.outcomes:
            if written_text := _read_words(outcome.edit):
                part, words = written_text
                place_name = self._places.name_place(part, outcome.edit.target)
                story = arrangement.name_target(outcome.edit.target)
                writing = _Writing((outcome.edit.actor,), words, outcome.undone_by is None, story)
                self._writings[part, place_name].append(writing)

    def list_parts(self) -> Iterator[WrittenPart]:
        for name, text in self._arrangement.texts.items():
            if text.strip():
                yield from self._name_authors(name, EDITION_TARGET)
        for block in self._arrangement.blocks:
            yield from self._name_authors(BLOCK_PART, f"{BLOCK_PREFIX}{block.id}", block.headline)
        for stories in self._arrangement.sections.values():
            for story in stories:
                yield from self._list_story_parts(story)
                for under in story.supporting:
                    # Readers see its headline as a link.
                    yield from self._list_added(under)
                    if StoryField.HEADLINE in under.texts:
                        yield from self._name_story_authors(StoryField.HEADLINE, under)

    def _list_story_parts(self, story: "ArrangedStory") -> Iterator[WrittenPart]:
        yield from self._list_added(story)
        picture = story.picture
        is_part_shown = [name for name, text in story.texts.items() if text.strip()]
        if story.note.strip():
            is_part_shown.append(NOTE_PART)
        if story.placed.scored.topic != story.original.topic:
            is_part_shown.append(TOPIC_PART)
        if picture is not None and picture.is_described:
            is_part_shown.append(PICTURE_PART)
        for part in is_part_shown:
            yield from self._name_story_authors(part, story)

    def _list_added(self, story: "ArrangedStory") -> Iterator[WrittenPart]:
        for article in story.original.story.members:
            yield from self._name_authors(STORY_PART, article.url, _headline_of(story))

    def _name_story_authors(self, part: str, story: "ArrangedStory") -> Iterator[WrittenPart]:
        return self._name_authors(part, self._places.name_place(part, story.url), _headline_of(story))

    def _name_authors(self, part: str, place: str, item: str = "") -> Iterator[WrittenPart]:
        writings = self._writings.get((part, place), ())
        return (WrittenPart(actor, part, item) for actor in _find_authors(writings))


def _headline_of(story: "ArrangedStory") -> str:
    return story.texts.get(StoryField.HEADLINE, story.original.lead.title)


def _find_authors(writings: Sequence[_Writing]) -> tuple[str, ...]:
    """Return the authors of the text displayed in a place.

    These are all the authors up to the last edit in effect that wrote something new.
    """
    ends = [number for number, writing in enumerate(writings, 1) if writing.in_force and writing.words]
    authors: dict[str, None] = {}
    in_force: set[tuple[str, str]] = set()
    for writing in writings[: max(ends, default=0)]:
        said = (writing.story, writing.words)
        if writing.words and said not in in_force:
            authors |= dict.fromkeys(writing.actors)
            in_force |= {said} if writing.in_force else set()
    return tuple(authors)


def _read_words(edit: Edit) -> tuple[str, str] | None:
    """Return the part that an edit writes, and its text in comparable form.

    Return None if the edit doesn't write anything.
    """
    read = _WORD_READERS.get(edit.kind)
    return read(edit) if read else None


def _read_words_of(edit: Edit, name: str) -> str:
    return edit.text(name).strip()


def _read_image(edit: Edit) -> str:
    described = [edit.value.get(name) or None for name in ("cuts", "alt", "credit")]
    return _dump(described) if edit.flag("shown", default=True) and any(described) else ""


def _read_block_words(edit: Edit) -> str:
    is_removed = edit.flag("removed", default=False)
    return "" if is_removed else _dump_block(edit.value)


def _dump_block(value: Mapping[str, object]) -> str:
    return _dump([value.get(name) or "" for name in _BLOCK_WORDS])


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


# For each kind of edit, the part that it writes and its text.
_WORD_READERS: Mapping[str, Callable[[Edit], tuple[str, str]]] = {
    EditKind.TEXT: lambda edit: (edit.text("field"), _read_words_of(edit, "text")),
    EditKind.NOTE: lambda edit: (NOTE_PART, _read_words_of(edit, "text")),
    EditKind.TOPIC: lambda edit: (TOPIC_PART, _read_words_of(edit, "topic")),
    EditKind.PICTURE: lambda edit: (PICTURE_PART, _read_image(edit)),
    EditKind.ADD: lambda edit: (STORY_PART, _dump(edit.value.get("article"))),
    EditKind.BLOCK: lambda edit: (BLOCK_PART, _read_block_words(edit)),
}


class _PlaceNames:
    """A mapping from articles that were ever in the same story to a common name.

    This way, merges and splits don't lose authors.
    """

    def __init__(self, arrangement: "Arrangement") -> None:
        self._names: dict[str, str] = dict(arrangement.story_names)
        for story in arrangement.list_stories():
            for article in story.original.story.members:
                self._join(article.link, story.url)
        for link in arrangement.links:
            first, *other_urls = sorted(link.urls | link.apart_from if link.is_split else link.urls)
            for other_url in other_urls:
                self._join(first, other_url)
        for edit in (outcome.edit for outcome in arrangement.outcomes):
            # Undone merges count, too, because a text may have moved while they were in effect.
            for other_url in edit.texts("others") if edit.kind == EditKind.MERGE else ():
                self._join(edit.target, other_url)

    def name_place(self, part: str, target: str) -> str:
        """Return the name of the place in which an edit writes.

        Merges and splits don't affect an added story, which is named by its own article.
        """
        return target if part in {STORY_PART, BLOCK_PART} else self._find(target)

    def _find(self, name: str) -> str:
        while (parent := self._names.get(name, name)) != name:
            name = parent
        return name

    def _join(self, name_a: str, name_b: str) -> None:
        first, second = self._find(name_a), self._find(name_b)
        if first != second:
            self._names[first] = second


def read_written_parts(stored: Sequence[Mapping[str, str]]) -> tuple[WrittenPart, ...]:
    """Return parts from their stored form, which is created by `dataclasses.asdict`."""
    return tuple(WrittenPart(**part) for part in stored)
