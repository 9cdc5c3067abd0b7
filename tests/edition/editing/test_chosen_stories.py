"""The reason under a story that an editor added or made the lead: that editors chose it."""

from digest.edition.drafting.content_builder import build_content
from digest.edition.editing.edits import EditDraft, EditKind
from subscribers.subscriber_language import ENGLISH
from tests.edition.edited_weeks import FILE, IDENTITY, arrange, grown_weeks, make_history

WEEK = grown_weeks()[-1].last
REMOVED, SECOND = (placed.scored.url for placed in WEEK.proposal.sections["featured"][:2])
LEFT_OUT = next(out.scored.url for out in WEEK.proposal.left_out if out.admitted)


def explain(url: str, *drafts: EditDraft) -> str:
    content = build_content(arrange(WEEK, make_history(*drafts)), IDENTITY, FILE, ENGLISH)
    (entry,) = [entry for section in content.sections for entry in section.entries if entry.url.startswith(url)]
    return entry.why


def place(url: str) -> EditDraft:
    return EditDraft(EditKind.PLACE, url, {"section": "featured", "position": 0})


def test_an_added_story_is_one_that_editors_chose() -> None:
    assert explain(LEFT_OUT, place(LEFT_OUT)).startswith("Our editors chose it")


def test_a_story_that_an_editor_made_the_lead_is_chosen_but_not_one_that_became_it() -> None:
    assert "editors" not in explain(SECOND)
    assert explain(SECOND, place(SECOND)).startswith("Our editors chose it")
    assert "editors" not in explain(SECOND, EditDraft(EditKind.DROP, REMOVED, {}))


def test_a_moved_or_restored_story_keeps_its_reason() -> None:
    proposed = explain(REMOVED)
    assert "editors" not in proposed
    assert explain(REMOVED, place(REMOVED)) == proposed
    restored = (EditDraft(EditKind.DROP, REMOVED, {}), EditDraft(EditKind.RESTORE, REMOVED, {}), place(REMOVED))
    assert explain(REMOVED, *restored) == proposed
