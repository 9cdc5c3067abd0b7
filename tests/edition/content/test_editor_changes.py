"""Editors' changes, counted by story: each action counts as its kind, and its side effects don't count."""

from dataclasses import replace

from hypothesis import given, settings

from digest.collect.documents.parsed_document import SummaryBasis
from digest.edition.content.edition_content import EditionContent, EditionImage, SectionEntry
from digest.edition.content.editor_changes import EditorChangeCounts, count_editor_changes
from digest.edition.drafting.composition import build_proposed_content
from digest.edition.drafting.content_builder import build_content
from digest.edition.editing.edits import Edit, EditDraft, EditKind
from digest.edition.rendering.sanitizer import sanitize_content
from digest.select.selection_types import SummaryOrigin
from digest.settings import Settings
from subscribers.subscriber_language import ENGLISH
from tests.edition.content.test_content_changes import edition
from tests.edition.edited_weeks import (
    FILE,
    IDENTITY,
    GrowingWeek,
    arrange,
    edit_histories,
    grown_weeks,
    make_history,
    weeks,
)

PICTURE = EditionImage("ab" * 32, 560, 315, "A crane")


def counts(**wanted: int) -> EditorChangeCounts:
    return replace(EditorChangeCounts(proposed=0, kept=0, dropped=0, moved=0, added=0, rewritten=0), **wanted)


def with_first(content: EditionContent, **changed: object) -> EditionContent:
    """Change the first story of an edition."""
    section, *others = content.sections
    first: SectionEntry = replace(section.entries[0], **changed)  # type: ignore[arg-type]
    return replace(content, sections=(replace(section, entries=(first, *section.entries[1:])), *others))


def test_each_act_is_counted_as_what_it_is() -> None:
    before = edition("abcd", "ef")
    after = with_first(edition("abx", "fd"), headline="Ours")
    assert count_editor_changes(before, after) == counts(proposed=6, kept=2, dropped=2, moved=1, added=1, rewritten=1)


def test_a_story_that_was_moved_and_rewritten_is_both_and_no_more_than_one() -> None:
    after = with_first(edition("cab"), headline="Ours", note="A word of ours")
    assert count_editor_changes(edition("abc"), after) == counts(proposed=3, kept=2, moved=1, rewritten=1)


def test_what_a_place_brings_with_it_is_not_rewritten_and_what_an_editor_writes_is() -> None:
    written = SummaryOrigin(SummaryBasis.EDITOR)
    for changed, rewritten in (
        ({"why": "Three sources carried it."}, 0),
        ({"why": "We were there.", "why_is_written": True}, 1),
        ({"summary": "On"}, 0),
        ({"summary": "On it goes.", "summary_origin": written}, 1),
        ({"picture": PICTURE}, 0),
        ({"kicker": "Borders"}, 1),
    ):
        found = count_editor_changes(edition("ab"), with_first(edition("ab"), **changed))
        assert found == counts(proposed=2, kept=2 - rewritten, rewritten=rewritten), changed
    shown = with_first(edition("ab"), picture=PICTURE)
    other = with_first(shown, picture=replace(PICTURE, alt="A port"))
    assert count_editor_changes(shown, other).rewritten == 1


def test_the_edition_s_own_texts_are_no_stories() -> None:
    after = edition("ab", subject="Another", intro="Good evening.")
    assert count_editor_changes(edition("ab"), after) == counts(proposed=2, kept=2)


def test_of_nothing_proposed_no_share_is_kept() -> None:
    assert count_editor_changes(edition("", ""), edition("a")).kept_percent is None
    assert count_editor_changes(edition("abc"), edition("ab")).kept_percent == 67


def as_edited(week: GrowingWeek, edits: tuple[Edit, ...]) -> EditionContent:
    return sanitize_content(build_content(arrange(week.last, edits), IDENTITY, FILE, ENGLISH))


def as_proposed(week: GrowingWeek) -> EditionContent:
    return build_proposed_content(week.last, IDENTITY, Settings(file=FILE))


def test_what_makes_room_for_a_story_that_was_moved_to_the_top_is_kept() -> None:
    before = as_proposed(grown_weeks()[-1])
    section = next(section for section in before.sections if len(section.entries) > 2)
    last = section.entries[-1]
    act = EditDraft(EditKind.PLACE, last.url.partition("?")[0], {"section": section.key, "position": 0})
    after = as_edited(grown_weeks()[-1], make_history(act))
    assert next(s for s in after.sections if s.key == section.key).entries[0].headline == last.headline
    found = count_editor_changes(before, after)
    assert found == counts(proposed=found.proposed, kept=found.proposed - 1, moved=1)


@settings(max_examples=60)
@given(weeks, edit_histories())
def test_the_counts_add_up_whatever_editors_did(week: GrowingWeek, edits: tuple[Edit, ...]) -> None:
    before, after = as_proposed(week), as_edited(week, edits)
    found = count_editor_changes(before, after)
    touched = found.proposed - found.kept - found.dropped
    assert max(found.moved, found.rewritten) <= touched <= found.moved + found.rewritten
    assert sum(len(s.entries) for s in after.sections) == found.proposed - found.dropped + found.added
    assert min(found.kept, found.dropped, found.moved, found.added, found.rewritten) >= 0
    untouched = count_editor_changes(before, before)
    assert untouched == counts(proposed=found.proposed, kept=found.proposed)
    assert EditorChangeCounts.from_json(found.as_json()) == found
