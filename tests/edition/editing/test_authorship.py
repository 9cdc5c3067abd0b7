"""The authors of an edition's content, edit by edit."""

from dataclasses import replace
from typing import Any

import pytest

from digest.edition.content.edition_content import EditionImage, ImageCrops, LabeledBlock
from digest.edition.editing.authorship import list_written_parts
from digest.edition.editing.edit_values import encode_image_crops
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditKind
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from tests.edition.edited_weeks import NOW, arrange, grown_weeks

WEEK = grown_weeks()[3].last
PLACED = [story for stories in arrange(WEEK, ()).sections.values() for story in stories]
FIRST, SECOND = PLACED[0], PLACED[1]
URL, OTHER_URL = FIRST.url, SECOND.url
MEMBER = FIRST.original.story.members[-1].url
ADDED = "https://elsewhere.example.org/1"
BLOCK = LabeledBlock("offer", "sponsor", "Anvils", "Anvil & Sons", "Cast iron.", "https://anvil.example.org/")
CUTS = encode_image_crops(ImageCrops(*2 * (EditionImage("a" * 64, 560, 315, alt="A crane"),)))

Step = tuple[str, str, str, dict[str, Any]]


def text(actor: str, words: str | None, field: str = "headline", target: str = URL) -> Step:
    return (actor, EditKind.TEXT, target, {"field": field, "text": words})


def block(actor: str, **changed: str) -> Step:
    words = {name: getattr(BLOCK, name) for name in ("kind", "headline", "name", "text", "url")}
    return (actor, EditKind.BLOCK, "block:offer", words | changed)


def undo(actor: str, seq: int) -> Step:
    return (actor, EditKind.UNDO, EDITION_TARGET, {"undoes": seq})


def act(actor: str, kind: EditKind, target: str = URL, **value: Any) -> Step:
    return (actor, kind, target, value)


INTRO = text("A", "Good morning.", "intro", EDITION_TARGET)
ADD = act("A", EditKind.ADD, ADDED, article={"title": "Cranes"}, section="featured")


def authors(*steps: Step, grown: ProposalWithLateStories = WEEK) -> set[str]:
    """Name the authors of what an edition shows after some edits."""
    edits = tuple(
        Edit(seq, NOW, actor, kind, target, value, value.get("undoes"))
        for seq, (actor, kind, target, value) in enumerate(steps, 1)
    )
    arrangement = arrange(grown, edits)
    assert not [outcome.idle_reason for outcome in arrangement.outcomes if outcome.idle_reason]
    return {part.actor for part in list_written_parts(arrangement)}


@pytest.mark.parametrize(
    "moves",
    [
        (act("A", EditKind.PLACE, section="featured", position=2),),
        (act("A", EditKind.PIN, pinned=True),),
        (act("A", EditKind.DROP),),
        (act("A", EditKind.DROP), act("A", EditKind.RESTORE)),
        (act("A", EditKind.LEAD, article=MEMBER),),
        (act("A", EditKind.MERGE, others=[OTHER_URL]),),
        (act("A", EditKind.SPLIT, articles=[MEMBER]),),
        (act("A", EditKind.UNDER, main=OTHER_URL),),
        (act("A", EditKind.PICTURE, shown=False),),
        (act("A", EditKind.PICTURE),),
        (act("A", EditKind.TOPIC, topic=""),),
        (act("A", EditKind.NOTE, text=" "),),
        (text("A", "", "intro", EDITION_TARGET),),
        (INTRO, text("A", None, "intro", EDITION_TARGET)),
        (INTRO, undo("A", 1)),
        (block("A"), act("A", EditKind.BLOCK, "block:offer", removed=True)),
        (text("A", "Ours"), act("A", EditKind.DROP)),
        (ADD, act("A", EditKind.DROP, ADDED)),
    ],
)
def test_moving_dropping_resetting_and_emptying_make_nobody_an_author(moves: tuple[Step, ...]) -> None:
    assert authors(*moves) == set()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((INTRO,), {"A"}),
        ((INTRO, act("B", EditKind.PIN, pinned=True)), {"A"}),
        ((INTRO, text("B", "Ours")), {"A", "B"}),
        ((text("A", "Ours"), text("B", "Ours!")), {"A", "B"}),
        ((text("A", "Ours"), text("B", "Ours!"), undo("A", 1)), {"A", "B"}),
        ((text("A", "Ours"), text("B", "Ours!"), undo("B", 2)), {"A"}),
        ((text("A", "Ours"), undo("A", 1), text("B", "Ours")), {"A", "B"}),
        ((text("A", "Ours"), undo("A", 1), undo("B", 2)), {"A"}),
        ((text("A", "Ours"), text("B", None)), set()),
        ((text("A", "Ours"), act("B", EditKind.LEAD, article=MEMBER)), {"A"}),
        ((text("A", "Ours"), act("B", EditKind.SPLIT, articles=[MEMBER]), text("C", "Ours!", target=URL)), {"A", "C"}),
        ((text("A", "Ours", target=OTHER_URL), act("B", EditKind.UNDER, OTHER_URL, main=URL)), {"A"}),
        ((act("A", EditKind.NOTE, text="Call them."),), {"A"}),
        ((act("A", EditKind.TOPIC, topic="Cranes"),), {"A"}),
        ((act("A", EditKind.PICTURE, cuts=CUTS), act("B", EditKind.PICTURE, cuts=CUTS, alt="Two cranes")), {"A", "B"}),
        ((act("A", EditKind.PICTURE, alt="Two cranes"),), {"A"}),
        ((act("A", EditKind.PICTURE, cuts=CUTS), act("B", EditKind.PICTURE, shown=False)), set()),
        ((ADD,), {"A"}),
        ((ADD, act("B", EditKind.PLACE, ADDED, section="featured", position=0)), {"A"}),
        ((ADD, act("B", EditKind.MERGE, URL, others=[ADDED])), {"A"}),
        ((ADD, act("B", EditKind.MERGE, URL, others=[ADDED]), act("B", EditKind.LEAD, URL, article=ADDED)), {"A"}),
        ((ADD, act("B", EditKind.UNDER, ADDED, main=URL)), {"A"}),
        ((block("A"), block("B", after="events")), {"A"}),
        ((block("A"), block("B", url="https://other.example.org/")), {"A", "B"}),
    ],
)
def test_who_wrote_what_is_shown(steps: tuple[Step, ...], expected: set[str]) -> None:
    assert authors(*steps) == expected


def test_words_that_came_over_by_a_merge_keep_their_author_when_it_is_undone() -> None:
    merge = act("B", EditKind.MERGE, OTHER_URL, others=[URL])
    steps = (text("A", "Ours"), merge, text("B", "Ours!", target=OTHER_URL), undo("B", 2), act("B", EditKind.DROP, URL))
    assert authors(*steps) == {"A", "B"}


@pytest.mark.parametrize(
    "between",
    [
        (act("C", EditKind.APART, others=[OTHER_URL]),),
        (act("C", EditKind.MERGE, OTHER_URL, others=[URL]), undo("C", 2)),
    ],
)
def test_the_same_words_in_another_story_have_an_author_of_their_own(between: tuple[Step, ...]) -> None:
    """Else an editor could name a story after another's and approve it alone."""
    steps = (text("A", "Ours"), *between, text("B", "Ours", target=OTHER_URL))
    assert "B" in authors(*steps, act("C", EditKind.DROP, URL))


def test_the_same_words_in_a_story_that_was_split_off_have_an_author_of_their_own() -> None:
    split = act("C", EditKind.SPLIT, articles=[MEMBER])
    place = act("C", EditKind.PLACE, MEMBER, section="featured", position=0)
    assert authors(split, place, text("A", "Ours"), text("B", "Ours", target=MEMBER)) == {"A", "B"}


def test_a_dismissed_pair_keeps_its_authors_apart() -> None:
    steps = (text("A", "Ours"), text("B", "Theirs", target=OTHER_URL), act("C", EditKind.APART, others=[OTHER_URL]))
    assert authors(*steps, act("C", EditKind.DROP, URL)) == {"B"}
    assert authors(*steps, act("C", EditKind.DROP, OTHER_URL)) == {"A"}


def test_a_block_that_runs_on_keeps_the_authors_that_it_had() -> None:
    running = replace(WEEK, blocks=(BLOCK,), block_authors={"offer": ("A", "B")})
    assert authors(grown=running) == {"A", "B"}
    assert authors(block("C", after="events"), grown=running) == {"A", "B"}
    assert authors(block("C", text="Cast steel."), grown=running) == {"A", "B", "C"}
    assert authors(act("C", EditKind.BLOCK, "block:offer", removed=True), grown=running) == set()
