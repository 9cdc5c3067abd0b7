"""Laws of the fold: whatever editors do in any week, an edition is replayed to the same bytes, without errors."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from digest.edition.drafting.composition import compose_edition, list_story_rows
from digest.edition.drafting.content_builder import build_content
from digest.edition.editing.arrangement import ArrangedStory, Arrangement, EditionFold
from digest.edition.editing.edits import (
    BLOCK_PREFIX,
    EDITION_TARGET,
    Edit,
    EditDraft,
    EditKind,
    StoryField,
    find_edit_conflict,
    find_own_last_edit,
    find_own_last_undo,
    find_undone_edits,
    list_active_edits,
)
from digest.edition.editing.stored_proposal import pack_proposal, unpack_proposal
from digest.edition.rendering.mail_layout import find_part_key
from digest.settings import Settings
from subscribers.subscriber_language import ENGLISH
from tests.edition.edited_weeks import (
    FILE,
    IDENTITY,
    NOW,
    RELEASE_DAY,
    GrowingWeek,
    arrange,
    edit_drafts,
    edit_histories,
    weeks,
    written,
)

RENDERED = Settings(base_url="https://news.example.org")


def all_arranged(arrangement: Arrangement) -> list[ArrangedStory]:
    placed = [story for stories in arrangement.sections.values() for story in stories]
    return placed + [under for story in placed for under in story.supporting]


def article_urls(arrangement: Arrangement) -> Counter[str]:
    """Count where each article stands: in the edition, left out, in the tray, on the shelf."""
    scored = [s.original for s in all_arranged(arrangement)]
    scored += [out.scored for out in arrangement.left_out]
    scored += [waiting.scored for waiting in arrangement.tray]
    scored += [shelved.scored for shelved in arrangement.removed]
    return Counter(a.url for each in scored for a in each.story.members)


@given(weeks, edit_histories())
@settings(max_examples=60, deadline=None)
def test_any_edits_of_any_week_fold_to_an_edition_and_each_has_one_outcome(
    week: GrowingWeek, edits: tuple[Edit, ...]
) -> None:
    arrangement = arrange(week.last, edits)
    assert [o.edit for o in arrangement.outcomes] == list(edits)
    assert list_story_rows(arrangement)
    # The desk lists a section by topic as the email does.
    content = build_content(arrangement, IDENTITY, FILE, ENGLISH)
    for section in content.sections:
        keys = [find_part_key(section, entry) for entry in section.entries]
        assert len(list(groupby(keys))) == len(set(keys))


@given(weeks, edit_histories())
@settings(max_examples=50, deadline=None)
def test_no_article_stands_twice_or_is_invented(week: GrowingWeek, edits: tuple[Edit, ...]) -> None:
    known = {a.url for scored in week.last.list_scored() for a in scored.story.members}
    added = {e.target for e in edits if e.kind == EditKind.ADD}
    counts = article_urls(arrange(week.last, edits))
    assert max(counts.values(), default=1) == 1
    assert counts.keys() <= known | added


@given(weeks, edit_histories())
@settings(max_examples=50, deadline=None)
def test_what_came_after_the_first_edit_changes_nothing_unless_an_edit_names_it(
    week: GrowingWeek, edits: tuple[Edit, ...]
) -> None:
    """Invariant 11: an edit that was made on an early stage gives the same words on every later one."""
    early = {a.url for scored in week.first.list_scored() for a in scored.story.members}
    later = {u for s in week.last.list_scored() for a in s.story.members if a.url not in early for u in (a.url, a.link)}
    untouched = tuple(e for e in edits if not later & set(named_urls(e)))
    assert {str(written(stage, untouched)) for stage in week.stages} == {str(written(week.first, untouched))}


def named_urls(edit: Edit) -> list[str]:
    """List every text in an edit that may name an article."""
    found, waiting = [], [edit.target, dict(edit.value)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return found


@given(weeks, edit_histories(max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_replay_from_what_is_stored_gives_the_same_bytes(week: GrowingWeek, edits: tuple[Edit, ...]) -> None:
    packed = pack_proposal(week.last)
    stored = unpack_proposal(packed)
    assert stored
    assert stored == week.last
    assert pack_proposal(stored) == packed
    first, again = (compose_edition(grown, edits, IDENTITY, RENDERED) for grown in (week.last, stored))
    assert first.content == again.content
    assert first.fragments == again.fragments
    assert first.arrangement == again.arrangement


@given(weeks, edit_histories(), edit_drafts())
@settings(max_examples=50, deadline=None)
def test_undo_is_the_inverse_of_any_edit_and_redo_of_undo(
    week: GrowingWeek, edits: tuple[Edit, ...], draft: EditDraft
) -> None:
    done = followed(edits, draft)
    undone = followed(done, EditDraft(EditKind.UNDO, draft.target, {}, done[-1].seq))
    redone = followed(undone, EditDraft(EditKind.UNDO, draft.target, {}, undone[-1].seq))
    assert written(week.last, undone) == written(week.last, edits)
    assert written(week.last, redone) == written(week.last, done)


@given(weeks, edit_histories(), st.data())
@settings(max_examples=60, deadline=None)
def test_bringing_a_state_back_gives_that_state_and_can_be_undone(
    week: GrowingWeek, edits: tuple[Edit, ...], data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, len(edits)))
    back = followed(edits, EditDraft(EditKind.REVERT, "edition", {}, kept))
    assert written(week.last, back) == written(week.last, edits[:kept])
    again = followed(back, EditDraft(EditKind.UNDO, "edition", {}, back[-1].seq))
    assert written(week.last, again) == written(week.last, edits)


def followed(edits: tuple[Edit, ...], draft: EditDraft, actor: str = "staff 1") -> tuple[Edit, ...]:
    seq = len(edits) + 1
    at = NOW + timedelta(minutes=seq)
    return (*edits, Edit(seq, at, actor, draft.kind, draft.target, draft.value, draft.undoes))


@given(edit_histories(max_size=20))
@settings(max_examples=100, deadline=None)
def test_an_edit_is_out_of_force_only_by_a_later_one_that_is_in_force(edits: tuple[Edit, ...]) -> None:
    undone = find_undone_edits(edits)
    for seq, by in undone.items():
        assert seq < by
        assert by not in undone
    in_force = list_active_edits(edits)
    assert not {e.seq for e in in_force} & undone.keys()


@given(edit_histories(max_size=15, undos=False))
@settings(max_examples=50, deadline=None)
def test_undoing_again_and_again_takes_back_all_of_ones_own_and_nothing_of_others(edits: tuple[Edit, ...]) -> None:
    history = edits
    while own := find_own_last_edit(history, "staff 1"):
        history = followed(history, EditDraft(EditKind.UNDO, own.target, {}, own.seq))
    assert list_active_edits(history) == tuple(e for e in edits if e.actor == "staff 2")
    while undone := find_own_last_undo(history, "staff 1"):
        history = followed(history, EditDraft(EditKind.UNDO, undone.target, {}, undone.seq))
    assert list_active_edits(history) == edits


TEXTS = (StoryField.HEADLINE, StoryField.SUMMARY)
PLAIN_WORDS = st.sampled_from(["Ours", "Theirs", "A third"])


def effective_drafts(urls: list[str]) -> st.SearchStrategy[EditDraft]:
    """Draw acts that show in an edition and seldom miss each other: few stories, few fields, few values."""
    target = st.sampled_from(urls)
    text = st.builds(
        lambda url, name, words: EditDraft(EditKind.TEXT, url, {"field": name, "text": words}),
        target,
        st.sampled_from(TEXTS),
        PLAIN_WORDS,
    )
    moved = st.builds(
        lambda url, position: EditDraft(EditKind.PLACE, url, {"section": "featured", "position": position}),
        target,
        st.integers(0, 2),
    )
    block = st.builds(
        lambda words: EditDraft(
            EditKind.BLOCK,
            f"{BLOCK_PREFIX}offer",
            {"kind": "sponsor", "headline": words, "url": "https://anvil.example.org/"},
        ),
        PLAIN_WORDS,
    )
    return (
        text
        | moved
        | block
        | st.builds(lambda words: EditDraft(EditKind.NOTE, EDITION_TARGET, {"text": words}), PLAIN_WORDS)
    )


def is_swallowed(week: GrowingWeek, history: tuple[Edit, ...], edit: Edit, draft: EditDraft) -> bool:
    """Return whether an act leaves nothing of what an edit has changed: seen in what is written, with and without that edit."""
    without = tuple(e for e in history if e.seq != edit.seq)
    act = Edit(len(history) + 1, NOW, "staff 1", draft.kind, draft.target, draft.value, draft.undoes)
    had_effect = written(week.last, history) != written(week.last, without)
    return had_effect and written(week.last, (*history, act)) == written(week.last, (*without, act))


@given(
    weeks,
    st.lists(
        st.tuples(
            effective_drafts(["story 0", "story 1"]),
            st.sampled_from(["staff 1", "staff 2"]),
            st.integers(0, 3),
            st.booleans(),
        ),
        min_size=4,
        max_size=7,
    ),
)
@settings(max_examples=150, deadline=None)
def test_two_editors_whose_forms_are_late_lose_nothing(
    week: GrowingWeek, acts: list[tuple[EditDraft, str, int, bool]]
) -> None:
    """Each decision is in force, undone by an act that names it, or refused to who made it: none is overwritten unseen."""
    placed = [story.url for stories in arrange(week.last, ()).sections.values() for story in stories]
    named = {f"story {number}": url for number, url in enumerate(placed)}
    history: tuple[Edit, ...] = ()
    for drawn, actor, lateness, is_undo in acts:
        own, based_on = find_own_last_edit(history, actor), max(0, len(history) - lateness)
        if own and is_undo:
            history = followed(history, EditDraft(EditKind.UNDO, own.target, {}, own.seq), actor)
            continue
        draft, unseen = replace(drawn, target=named.get(drawn.target, drawn.target)), history[based_on:]
        conflict = find_edit_conflict(
            draft, history, based_on=based_on, resolve=arrange(week.last, history).name_target
        )
        if conflict:
            assert conflict.current_edit in unseen
            assert conflict.draft is draft
            # What changed another story, or something else of this one, is in nobody's way.
            standing = conflict.current_edit
            assert standing.target == draft.target
            if standing.kind != EditKind.UNDO:
                assert (standing.kind, standing.value.get("field")) == (draft.kind, draft.value.get("field"))
            continue
        for edit in unseen:
            # Two stories at one place stand one below the other, whoever came first.
            if draft.kind == EditKind.PLACE and edit.target != draft.target:
                continue
            same = (edit.kind, edit.target, edit.value) == (draft.kind, draft.target, draft.value)
            assert same or not is_swallowed(week, history, edit, draft), (edit, draft)
        history = followed(history, draft, actor)
    by_number = {edit.seq: edit for edit in history}
    for outcome in arrange(week.last, history).outcomes:
        if outcome.undone_by:
            undo = by_number[outcome.undone_by]
            assert undo.kind == EditKind.UNDO
            assert undo.actor == outcome.edit.actor
            assert undo.undoes == outcome.edit.seq


@given(
    weeks, st.lists(st.tuples(edit_drafts(), st.sampled_from(["staff 1", "staff 2"]), st.integers(0, 4)), max_size=10)
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_posted_late_is_a_conflict_that_holds_both_or_in_force(
    week: GrowingWeek, acts: list[tuple[EditDraft, str, int]]
) -> None:
    history: tuple[Edit, ...] = ()
    for draft, actor, lateness in acts:
        based_on = max(0, len(history) - lateness)
        names = arrange(week.last, history).name_target
        conflict = find_edit_conflict(draft, history, based_on=based_on, resolve=names)
        if conflict:
            assert conflict.current_edit in history
            assert conflict.current_edit.seq > based_on
            assert conflict.draft is draft
        else:
            history = followed(history, draft, actor)
    assert list_active_edits(history) == history
    assert not any(o.undone_by for o in arrange(week.last, history).outcomes)


@given(weeks, edit_histories())
@settings(max_examples=40, deadline=None)
def test_a_fold_that_goes_on_gives_what_one_from_the_beginning_does(week: GrowingWeek, edits: tuple[Edit, ...]) -> None:
    """Invariant 10. An arrangement that was read doesn't change with later edits."""
    fold, read = EditionFold(week.last, FILE), []
    for count in range(len(edits) + 1):
        if not fold.is_continued_by(edits[:count]):
            fold = EditionFold(week.last, FILE)
        fold.apply_edits(edits[:count])
        read.append(fold.read_arrangement(RELEASE_DAY))
    assert read == [arrange(week.last, edits[:count]) for count in range(len(edits) + 1)]


@given(weeks, edit_histories())
@settings(max_examples=40, deadline=None)
def test_rows_that_are_skipped_as_unchanged_are_unchanged(week: GrowingWeek, edits: tuple[Edit, ...]) -> None:
    before, after = arrange(week.last, edits[:-1]), arrange(week.last, edits)
    old, new = list_story_rows(before), list_story_rows(after)
    changed = {url for url in old.keys() | new.keys() if old.get(url) != new.get(url)}
    few_old, few_new = list_story_rows(before, compared_with=after), list_story_rows(after, compared_with=before)
    assert {url for url in few_old.keys() | few_new.keys() if few_old.get(url) != few_new.get(url)} == changed
