"""Drafting again after an edit: no story is added without an editor, and nothing is lost."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from digest.app.editions import drafting as weekly
from digest.collect.fetch.fetcher import FolderFetcher
from digest.edition.approval.approved_versions import revoke_all_approvals
from digest.edition.editing.edit_log import append_edit, load_edits, load_proposal
from digest.edition.editing.edits import Edit, EditDraft, EditionField, EditKind
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.installation.opened_installation import Installation
from digest.store.engine import Database
from digest.store.models import Edition, EditionEdit, EditionProposal, EditionStory
from tests.actors import ADMIN
from tests.edition.drafting.test_drafts import SAMPLE, WEEKLY, add, approve_now, bodies, considered, drafted
from tests.moments import DRAFTING as NOW

INTRO = EditDraft(EditKind.TEXT, "edition", {"field": EditionField.INTRO, "text": "Good morning."})


def edit(database: Database, edition: Edition, draft: EditDraft) -> None:
    with database.write() as session:
        row = session.get_one(Edition, edition.id)
        seq = len(load_edits(session, row)) + 1
        append_edit(session, row, Edit(seq, NOW, "staff 2", draft.kind, draft.target, draft.value))


def stored(database: Database, edition: Edition) -> ProposalWithLateStories:
    with database.read() as session:
        grown = load_proposal(session, session.get_one(Edition, edition.id))
    assert grown is not None
    return grown


def test_an_untouched_draft_grows_by_itself(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    add(database, "second border news", dated=NOW, found=NOW + timedelta(hours=1))
    drafted(install, NOW + timedelta(hours=1))
    assert considered(database, first.name) == {"early-border-news", "second-border-news"}
    assert stored(database, first).tray == ()


@pytest.mark.takes_turns
def test_after_the_first_edit_what_is_new_waits_in_the_tray_and_nothing_else_changes(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    edit(database, first, INTRO)
    again = drafted(install, NOW + timedelta(minutes=1))
    assert again.content["intro"] == "Good morning."
    before = bodies(database)
    add(database, "second border news", dated=NOW + timedelta(minutes=2), found=NOW + timedelta(minutes=3))
    later = drafted(install, NOW + timedelta(hours=1))
    assert bodies(database) == before
    assert (later.id, later.cut_off, later.opens_at) == (first.id, first.cut_off, first.opens_at)
    (waiting,) = stored(database, first).tray
    assert waiting.scored.story.lead.title == "second border news"
    assert waiting.arrived_at == NOW + timedelta(hours=1)
    assert considered(database, first.name) == {"early-border-news"}


def test_what_waits_in_the_tray_belongs_to_the_next_edition_unless_somebody_placed_it(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    edit(database, first, INTRO)
    # One that is dated after the cut-off, and two that only came after it, of which one is placed.
    add(database, "fresh border news", dated=NOW + timedelta(minutes=2), found=NOW + timedelta(minutes=3))
    late, placed = "late border news", "flood on the coast"
    add(database, late, placed, dated=NOW - timedelta(hours=2), found=NOW + timedelta(minutes=3))
    drafted(install, NOW + timedelta(hours=1))
    assert len(stored(database, first).tray) == 3
    url = "https://a.example.org/flood-on-the-coast"
    edit(database, first, EditDraft(EditKind.PLACE, url, {"section": "featured"}))
    edition = drafted(install, NOW + timedelta(hours=2))
    assert considered(database, first.name) == {"early-border-news", "flood-on-the-coast"}
    approve_now(install, edition, NOW + timedelta(hours=2))
    second = drafted(install, NOW + timedelta(days=7))
    assert considered(database, second.name) == {"fresh-border-news", "late-border-news"}
    with database.write() as session:  # and the first can be taken back and approved again
        revoke_all_approvals(session, session.get_one(Edition, first.id), actor="eve", now=NOW)


def test_stories_that_were_kept_are_offered_once_in_the_next_edition_and_marked(database: Database) -> None:
    install = Installation(WEEKLY, database)
    titles = "early border news", "port cranes counted", "measles closes camps", "flood on the coast"
    add(database, *titles, dated=NOW - timedelta(days=6), found=NOW)
    first = drafted(install)
    border, port, camps, flood = (f"https://a.example.org/{title.replace(' ', '-')}" for title in titles)
    kept = {"kept": True}
    edit(database, first, EditDraft(EditKind.DROP, border, kept | {"others": [port, camps]}))
    edit(database, first, EditDraft(EditKind.RESTORE, port, {}))
    edit(database, first, EditDraft(EditKind.DROP, flood, {}))
    edit(database, first, EditDraft(EditKind.DROP, flood, kept))
    edit(database, first, EditDraft(EditKind.DROP, camps, {}))
    edition = drafted(install, NOW + timedelta(hours=1))
    approve_now(install, edition, NOW + timedelta(hours=1))
    week_later = NOW + timedelta(days=7)
    add(database, "fresh border news", dated=week_later, found=week_later)
    second = drafted(install, week_later)
    assert considered(database, second.name) == {
        "early-border-news",
        "measles-closes-camps",
        "flood-on-the-coast",
        "fresh-border-news",
    }
    articles = [article for scored in stored(database, second).list_scored() for article in scored.story.members]
    assert {article.kept_from for article in articles if article.url == border} == {f"No. {first.number}"}
    assert {article.kept_from for article in articles if article.url.endswith("fresh-border-news")} == {""}
    approve_now(install, second, week_later)
    third = drafted(install, NOW + timedelta(days=14))
    assert considered(database, third.name) == set()


def test_an_edit_that_is_made_while_a_draft_is_prepared_is_in_what_is_stored(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    add(database, "second border news", dated=NOW - timedelta(minutes=2), found=NOW)

    class EditingFetcher(FolderFetcher):
        """Makes the first edit while the pages of the new draft are checked."""

        def may_read(self, url: str) -> bool:
            with database.read() as session:
                made = session.scalar(select(EditionEdit.id).limit(1))
            if made is None:
                edit(database, first, INTRO)
            return super().may_read(url)

    result = weekly.draft_next_edition(
        install, now=NOW + timedelta(hours=1), actor=ADMIN, fetcher=EditingFetcher(SAMPLE)
    )
    with database.read() as session:
        edition = session.get_one(Edition, first.id)
        stories = session.scalars(select(EditionStory.title).where(EditionStory.edition_id == first.id)).all()
    assert edition.content["intro"] == "Good morning."
    assert stories == ["early border news"]
    assert [t.scored.story.lead.title for t in stored(database, first).tray] == ["second border news"]
    assert result.state == edition.state


def test_an_edition_of_before_stored_proposals_is_drafted_anew(one_database: Database) -> None:
    install = Installation(WEEKLY, one_database)
    add(one_database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    with one_database.write() as session:
        session.execute(delete(EditionProposal).where(EditionProposal.id == first.id))
    drafted(install, NOW + timedelta(minutes=1))
    assert stored(one_database, first).proposal.sections


def test_what_editors_merged_or_split_is_grouped_so_when_the_draft_is_made_again(one_database: Database) -> None:
    install = Installation(WEEKLY, one_database)
    titles = ("Hurricane Nadia turns toward Bermuda", "Port cranes counted by hand", "Measles closes summer camps")
    add(one_database, *titles, dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    storm, port, camps = (f"https://a.example.org/{title.replace(' ', '-')}" for title in titles)
    edit(one_database, first, EditDraft(EditKind.MERGE, storm, {"others": [port, camps]}))
    assert {storm, port, camps} in proposed_stories(install)
    edit(one_database, first, EditDraft(EditKind.SPLIT, storm, {"articles": [camps]}))
    assert {camps} in (stories := proposed_stories(install))
    assert {storm, port} in stories


def proposed_stories(install: Installation) -> list[set[str]]:
    result = weekly.draft_next_edition(
        install, now=NOW + timedelta(hours=1), actor=ADMIN, fetcher=FolderFetcher(SAMPLE)
    )
    scored = [p.scored for placed in result.proposal.sections.values() for p in placed]
    scored += [out.scored for out in result.proposal.left_out]
    return [{a.url for a in each.story.members} for each in scored]
