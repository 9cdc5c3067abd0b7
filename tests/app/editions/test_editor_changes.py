"""Editors' changes are counted once, at approval, and shown for recent editions. They can also grade drafts."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from digest.app.editing import changes as editing
from digest.app.editions.editor_changes import (
    MAX_COUNTED_EDITIONS,
    find_editor_change_counts,
    list_edition_change_counts,
)
from digest.app.evaluation.drafts import derive_grades_from_edits, evaluate_redraft
from digest.app.evaluation.labeled_files import EvaluationError
from digest.edition.approval.approved_versions import ApprovalError, list_approvals
from digest.edition.content.editor_changes import EditorChangeCounts
from digest.edition.editing.edits import StoryField
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation
from digest.store.approval_models import Approval, ApprovalState
from digest.store.models import Edition, EditionProposal, EditionState
from tests.app.approval.test_approvals import DANA, PRIYA, approve, edition_of, install, install_on_both
from tests.app.editing.test_changes import agreed, form, headlines, url_of
from tests.edition.drafting.test_drafts import drafted
from tests.moments import DRAFTING as NOW

__all__ = ["install", "install_on_both"]


def counts_of(installation: Installation) -> list[EditorChangeCounts | None]:
    """Give the counts of every version, the newest first."""
    with installation.database.read() as session:
        versions = list_approvals(session, find_edition(session, "current"))
        return [EditorChangeCounts.from_json(v.editor_counts) if v.editor_counts else None for v in versions]


def test_each_version_keeps_what_editors_had_changed_when_it_was_approved(install_on_both: Installation) -> None:
    proposed = headlines(install_on_both)
    approve(install_on_both, PRIYA)
    untouched = EditorChangeCounts(len(proposed), len(proposed), dropped=0, moved=0, added=0, rewritten=0)
    assert counts_of(install_on_both) == [untouched]
    editing.drop_stories(install_on_both, agreed(install_on_both, form(actor=DANA)), url_of(proposed[0]))
    editing.set_story_text(
        install_on_both, form(actor=DANA), url_of(proposed[1]), StoryField.HEADLINE, "A headline of ours"
    )
    approve(install_on_both, PRIYA)
    edited = EditorChangeCounts(len(proposed), len(proposed) - 2, dropped=1, moved=0, added=0, rewritten=1)
    assert counts_of(install_on_both) == [edited, untouched]
    with install_on_both.database.read() as session:
        assert find_editor_change_counts(session, find_edition(session, "current")) == edited
        assert list_edition_change_counts(session) == []
    with install_on_both.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))
    with install_on_both.database.read() as session:
        assert [(one.name, one.counts) for one in list_edition_change_counts(session)] == [
            (edition_of(install_on_both).name, edited)
        ]


def delete_proposal(install: Installation) -> None:
    with install.database.write() as session:
        session.delete(session.get_one(EditionProposal, edition_of(install).id))


def test_an_edition_of_before_proposals_is_approved_once_it_is_drafted_again(install: Installation) -> None:
    proposed = headlines(install)
    delete_proposal(install)
    with pytest.raises(
        ApprovalError,
        match=r"^2026-W47 doesn't match its stories, .* Choose “Update the draft” on the edition's review page, or run 'digest draft --update 2026-W47'",
    ):
        approve(install, PRIYA)
    assert (edition_of(install).state, counts_of(install)) == (EditionState.DRAFT, [])
    drafted(install)
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED
    assert counts_of(install) == [
        EditorChangeCounts(len(proposed), len(proposed), dropped=0, moved=0, added=0, rewritten=0)
    ]


@pytest.mark.usefixtures("stored_as_composed")
def test_an_edition_whose_proposal_is_missing_is_not_counted(install: Installation) -> None:
    delete_proposal(install)
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED
    assert counts_of(install) == [None]
    with pytest.raises(EvaluationError, match="changed outside the program"):
        derive_grades_from_edits(install, "current")


def test_the_newest_editions_are_listed_and_no_more_than_a_page_shows(install_on_both: Installation) -> None:
    row = edition_of(install_on_both)
    with install_on_both.database.write() as session:
        for week in range(MAX_COUNTED_EDITIONS + 3):
            release_at = row.release_at - timedelta(weeks=week + 1)
            older = Edition(
                slot=release_at.isoformat(), name=f"old-{week}", number=1, state=EditionState.SENT, content=row.content,
                opens_at=NOW, cut_off=NOW, release_at=release_at, drafted_at=NOW,
            )  # fmt: skip
            session.add(older)
            session.flush()
            # The second newest was approved by a version that counted nothing.
            counted = None if week == 1 else EditorChangeCounts(week, week, 0, 0, 0, 0).as_json()
            session.add(
                Approval(
                    edition_id=older.id, version=1, state=ApprovalState.VALID, content_hash="ab" * 32, statement={},
                    content=row.content, edit_seq=0, made_at=NOW, editor_counts=counted,
                )
            )  # fmt: skip
    with install_on_both.database.read() as session:
        names = [one.name for one in list_edition_change_counts(session)]
    assert names == [f"old-{week}" for week in range(MAX_COUNTED_EDITIONS + 1) if week != 1]


def test_what_editors_did_grades_the_draft(install: Installation) -> None:
    first, second, *_ = proposed = headlines(install)
    editing.drop_stories(install, form(actor=DANA), url_of(first))
    editing.set_story_text(install, form(actor=DANA), url_of(second), StoryField.HEADLINE, "A headline of ours")
    picks = derive_grades_from_edits(install, "current")
    assert {pick["url"]: pick["grade"] for pick in picks} == {
        url_of(title): 0 if title == first else 2 for title in proposed
    }
    assert [pick["why"] for pick in picks if pick["grade"] == 0] == ["an editor dropped it"]
    file = install.settings.home / "picks.jsonl"
    file.write_text("\n".join(map(json.dumps, picks)), "utf-8")
    again = evaluate_redraft(file, install, "current")
    assert sorted(story.headline for story in again.stories) == sorted(proposed)
    assert (again.scores[0].changes, again.scores[0].ungraded, again.missing) == (1, 0, ())
    select = install.settings.file.select.model_copy(update={"per_publisher": 1})
    narrow = install.settings.model_copy(update={"file": install.settings.file.model_copy(update={"select": select})})
    narrowed = evaluate_redraft(file, Installation(narrow, install.database), "current")
    assert len(narrowed.stories) + len(narrowed.missing) >= len(proposed) - 1
    assert narrowed.missing


def test_a_story_that_was_put_under_another_was_not_dropped(install: Installation) -> None:
    first, second, *_ = headlines(install)
    editing.add_supporting_stories(install, form(actor=DANA), url_of(second), main=url_of(first))
    picks = derive_grades_from_edits(install, "current")
    assert url_of(second) not in {pick["url"] for pick in picks}
    (main,) = [pick for pick in picks if pick["url"] == url_of(first)]
    assert main["members"] == [url_of(second)]
