"""Laws of authorship: whatever editors do, in any order, an edition never has words without a known author.

Everything written holds a word of its own that names who wrote it (`ink-2-17`). Editors add to what they have before them, which
may be an older state of the edition, as in a form that was open for a while: so words outlive the edits that brought them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from digest.edition.approval.approvers import count_missing_approvals
from digest.edition.content.edition_content import EditionImage, ImageCrops, LabeledBlock
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.authorship import list_written_parts
from digest.edition.editing.edit_values import encode_image_crops
from digest.edition.editing.edits import (
    BLOCK_PREFIX,
    EDITION_TARGET,
    Edit,
    EditDraft,
    EditionField,
    EditKind,
    StoryField,
)
from tests.edition.edited_weeks import NOW, SECTIONS, GrowingWeek, arrange, weeks, written

Each = TypeVar("Each")
NOWHERE = "https://nowhere.example.org/"
EDITORS = ("staff 1", "staff 2", "staff 3")
INK = re.compile(r"ink-(\d)-")


@dataclass
class Desk:
    """An edition that editors work on. `states` are all that it was."""

    week: GrowingWeek = field(repr=False)
    random: Random
    edits: list[Edit] = field(default_factory=list)
    states: list[Arrangement] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.states.append(arrange(self.week.last, ()))

    @property
    def now(self) -> Arrangement:
        return self.states[-1]

    def pick(self, values: Sequence[Each]) -> Each:
        return self.random.choice(values)

    def choose(self, below: int) -> int:
        return self.random.randrange(below)

    def seen(self) -> Arrangement:
        """Give what an editor has before them: the edition as it is, or as it was."""
        return self.now if self.choose(2) else self.pick(self.states)

    def do(self, act: str, actor: str) -> None:
        """Do an act of a name, on stories that are drawn."""
        seq = len(self.edits) + 1
        ink = f"ink-{actor.removeprefix('staff ')}-{seq}x"
        self.add_edit(getattr(self, act.replace(" ", "_"))(ink), actor)

    def add_edit(self, draft: EditDraft, actor: str) -> None:
        seq = len(self.edits) + 1
        at = NOW + timedelta(minutes=seq)
        self.edits.append(Edit(seq, at, actor, draft.kind, draft.target, draft.value, draft.undoes))
        self.states.append(arrange(self.week.last, tuple(self.edits)))

    def urls(self) -> list[str]:
        """Give articles that stories can be named by: few, so that acts meet each other, and what was added."""
        placed = [story for stories in self.states[0].sections.values() for story in stories]
        known = [a.url for story in placed[:2] for a in story.original.story.members]
        return [*known, *(edit.target for edit in self.edits if edit.kind == EditKind.ADD), NOWHERE]

    def pick_member(self, url: str) -> str:
        """Pick an article of the story that holds one."""
        story = self.now.find_story(url)
        return self.pick(story.original.story.members).url if story else url

    # --- what writes ---

    def text(self, ink: str) -> EditDraft:
        url, name, seen = self.pick(self.urls()), self.pick((StoryField.HEADLINE, *StoryField)), self.seen()
        story = seen.find_story(url)
        before = story.texts.get(name, "") if story else ""
        return EditDraft(EditKind.TEXT, url, {"field": name, "text": f"{before} {ink}".strip()})

    def head(self, ink: str) -> EditDraft:
        name, seen = self.pick(list(EditionField)), self.seen()
        value = {"field": name, "text": f"{seen.texts.get(name, '')} {ink}".strip()}
        return EditDraft(EditKind.TEXT, EDITION_TARGET, value)

    def note(self, ink: str) -> EditDraft:
        url, seen = self.pick(self.urls()), self.seen()
        story = seen.find_story(url)
        return EditDraft(EditKind.NOTE, url, {"text": f"{story.note if story else ''} {ink}".strip()})

    def topic(self, ink: str) -> EditDraft:
        return EditDraft(EditKind.TOPIC, self.pick(self.urls()), {"topic": ink})

    def picture(self, ink: str) -> EditDraft:
        shown = EditionImage(ink, 560, 315, alt=ink)
        return EditDraft(
            EditKind.PICTURE, self.pick(self.urls()), {"cuts": encode_image_crops(ImageCrops(shown, shown))}
        )

    def description(self, ink: str) -> EditDraft:
        url, seen = self.pick(self.urls()), self.seen()
        story = seen.find_story(url)
        cuts = story.picture.cuts if story and story.picture else None
        kept = {"cuts": encode_image_crops(cuts)} if cuts else {}
        return EditDraft(EditKind.PICTURE, url, {"alt": f"A crane, {ink}", "credit": "", **kept})

    def add(self, ink: str) -> EditDraft:
        url = f"https://elsewhere.example.org/{ink}"
        value = {"article": {"title": f"Story {ink}", "summary": ink}, "section": self.pick(SECTIONS)}
        return EditDraft(EditKind.ADD, url, value)

    def add_again(self, ink: str) -> EditDraft:
        added = [edit for edit in self.edits if edit.kind == EditKind.ADD]
        if not added:
            return self.add(ink)
        again = self.pick(added)
        return EditDraft(EditKind.ADD, again.target, again.value)

    def block(self, ink: str) -> EditDraft:
        known = [block for block in self.seen().blocks if block.id == "offer"]
        block = known[0] if known else LabeledBlock("offer", "sponsor", "Anvils", url="https://anvil.example.org/")
        changed = (replace(block, headline=ink), replace(block, name=ink), replace(block, text=ink))
        block = self.pick(changed)
        return EditDraft(EditKind.BLOCK, f"{BLOCK_PREFIX}offer", block_value(block))

    # --- what only moves ---

    def place(self, _: str) -> EditDraft:
        value = {"section": self.pick(SECTIONS), "position": self.choose(3)}
        return EditDraft(EditKind.PLACE, self.pick(self.urls()), value)

    def drop(self, _: str) -> EditDraft:
        return EditDraft(EditKind.DROP, self.pick(self.urls()), {})

    def restore(self, _: str) -> EditDraft:
        return EditDraft(EditKind.RESTORE, self.pick(self.urls()), {})

    def pin(self, _: str) -> EditDraft:
        return EditDraft(EditKind.PIN, self.pick(self.urls()), {"pinned": True})

    def lead(self, _: str) -> EditDraft:
        url = self.pick(self.urls())
        return EditDraft(EditKind.LEAD, url, {"article": self.pick_member(url)})

    def merge(self, _: str) -> EditDraft:
        return EditDraft(EditKind.MERGE, self.pick(self.urls()), {"others": [self.pick(self.urls())]})

    def split(self, _: str) -> EditDraft:
        url = self.pick(self.urls())
        return EditDraft(EditKind.SPLIT, url, {"articles": [self.pick_member(url)]})

    def under(self, _: str) -> EditDraft:
        return EditDraft(EditKind.UNDER, self.pick(self.urls()), {"main": self.pick(self.urls())})

    def move_block(self, ink: str) -> EditDraft:
        known = [block for block in self.now.blocks if block.id == "offer"]
        if not known:
            return self.place(ink)
        return EditDraft(EditKind.BLOCK, f"{BLOCK_PREFIX}offer", block_value(replace(known[0], after="events")))

    def original(self, _: str) -> EditDraft:
        return EditDraft(EditKind.TEXT, self.pick(self.urls()), {"field": StoryField.HEADLINE, "text": None})

    def undo(self, _: str) -> EditDraft:
        return EditDraft(EditKind.UNDO, EDITION_TARGET, {}, self.choose(len(self.edits) + 1))

    def revert(self, _: str) -> EditDraft:
        return EditDraft(EditKind.REVERT, EDITION_TARGET, {}, self.choose(len(self.edits) + 1))


def block_value(block: LabeledBlock) -> dict[str, Any]:
    names = ("kind", "headline", "name", "text", "url", "after")
    return {name: getattr(block, name) for name in names}


WRITING = ("text", "head", "note", "topic", "picture", "description", "add", "add again", "block")
MOVING = ("place", "drop", "restore", "pin", "lead", "merge", "split", "under", "move block", "original")
UNDOING = ("undo", "undo", "revert")


def work(week: GrowingWeek, seed: int) -> Desk:
    """Give an edition after some acts of three editors, who write one or two kinds of parts; drawn by a seed."""
    desk = Desk(week, Random(seed))
    writing = desk.random.sample(WRITING, 1 + desk.choose(2))
    for _ in range(2 + desk.choose(10)):
        desk.do(desk.pick(desk.pick((writing, writing, MOVING, UNDOING))), desk.pick(EDITORS))
    return desk


seeds = st.integers(0, 10**9)


def find_ink(desk: Desk) -> set[str]:
    """Name whose words an edition shows."""
    shown = json.dumps(written(desk.week.last, tuple(desk.edits)))
    return {f"staff {number}" for number in INK.findall(shown)}


def authors_of(desk: Desk) -> set[str]:
    return {part.actor for part in list_written_parts(desk.now)}


@given(weeks, seeds)
@settings(max_examples=300, deadline=None)
def test_every_word_that_an_edition_shows_has_its_author_named(week: GrowingWeek, seed: int) -> None:
    desk = work(week, seed)
    assert find_ink(desk) <= authors_of(desk)


@given(weeks, seeds, st.lists(st.sampled_from((*EDITORS, "terminal:root")), min_size=1, max_size=3, unique=True))
@settings(max_examples=150, deadline=None)
def test_no_approved_edition_shows_words_that_only_their_author_signed(
    week: GrowingWeek, seed: int, signers: list[str]
) -> None:
    desk = work(week, seed)
    if count_missing_approvals(1, sorted(authors_of(desk)), signers) == 0:
        for author in find_ink(desk):
            assert set(signers) - {author, "terminal:root"}


@given(weeks, seeds)
@settings(max_examples=80, deadline=None)
def test_an_editor_who_only_moves_or_undoes_is_no_author(week: GrowingWeek, seed: int) -> None:
    desk = work(week, seed)
    for _ in range(6):
        desk.do(desk.pick((*MOVING, *UNDOING)), "staff 9")
    assert "staff 9" not in authors_of(desk)
    assert find_ink(desk) <= authors_of(desk)


@given(weeks, seeds)
@settings(max_examples=60, deadline=None)
def test_an_edition_that_is_brought_back_to_its_proposal_has_no_authors(week: GrowingWeek, seed: int) -> None:
    desk = work(week, seed)
    desk.add_edit(EditDraft(EditKind.REVERT, EDITION_TARGET, {}, 0), "staff 1")
    assert list_written_parts(desk.now) == ()
