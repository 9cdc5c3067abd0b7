"""Editors' actions: their effects on the edition, its approval, and a colleague's actions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.edit_application import ApprovedEditionError, EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.edits import EditionField, StoryField
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings import SelectionSettings
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionEdit, EditionState, EditionStory, RenderedEditionFragment
from subscribers.store.models import table_of
from tests.actors import EDITOR
from tests.deliver.stored_editions import ALL_TABLES, store_rows_once
from tests.edition.drafting.test_drafts import WEEKLY, add, approve_now, bodies, drafted
from tests.moments import DRAFTING as NOW

ROOMY = WEEKLY.model_copy(
    update={"file": WEEKLY.file.model_copy(update={"select": SelectionSettings(minimum=1, per_publisher=9)})}
)
COLLEAGUE = Actor("staff 3", Role.EDITOR, ActionEntryPoint.DESK)
TITLES = (
    "Border Patrol finds tunnel under Nogales",
    "Hurricane Nadia turns toward Bermuda",
    "Ransomware gang shuts hospitals in Harlow",
    "Coast Guard boards tanker off Guam",
    "Measles outbreak closes summer camps",
)


@pytest.fixture
def install(database: Database) -> Installation:
    """Give an installation with a draft of five stories, the newest first."""
    return draft_five_stories(database)


@pytest.fixture
def one_install(one_database: Database) -> Installation:
    """Give the same on one database: for what the fold of edits decides, or what is refused before a row is written."""
    return draft_five_stories(one_database)


def draft_five_stories(database: Database) -> Installation:
    installation = Installation(ROOMY, database)
    store_rows_once(database, "five stories", lambda: store_five_stories(installation), ALL_TABLES)
    return installation


def store_five_stories(install: Installation) -> None:
    for hours, title in enumerate(TITLES, 1):
        add(install.database, title, dated=NOW - timedelta(hours=hours), found=NOW)
    drafted(install)


@pytest.mark.takes_turns
def test_the_first_author_of_an_intro_signs_it(install: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {EDITOR.name: "Ann Ames", COLLEAGUE.name: "Ben Bell"}
    monkeypatch.setattr(editing, "find_entered_staff_name", lambda _, actor: names.get(actor.name, ""))

    def write(text: str | None, actor: Actor = EDITOR) -> str:
        editing.set_edition_text(install, form(actor=actor), EditionField.INTRO, text)
        with install.read() as session:
            return str(session.scalars(select(Edition)).one().content["editor"])

    assert write("Radios failed.") == "Ann Ames"
    assert write("Radios failed for hours.", COLLEAGUE) == "Ann Ames", "a colleague's changes leave it"
    assert write("") == ""
    assert write("Ports reopened.", COLLEAGUE) == "Ben Bell"
    assert write(None) == "", "the publication's own intro, which has no signature"
    unnamed = Actor("staff 9", Role.EDITOR, ActionEntryPoint.DESK)
    assert write("Roads closed.", unnamed) == ""


def url_of(title: str) -> str:
    return f"https://a.example.org/{title.replace(' ', '-')}"


def form(state: EditingState | None = None, actor: Actor = EDITOR) -> EditForm:
    return EditForm("current", actor, NOW + timedelta(minutes=1), state.last_seq if state else None)


def agreed(install: Installation, form: EditForm) -> EditForm:
    """Return a form whose editor agreed that the change ends the approval."""
    return replace(form, supersedes=editing_state.read_editing_state(install, form.edition).approval)


def headlines(installation: Installation) -> list[str]:
    with installation.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        return [entry["headline"] for section in edition.content["sections"] for entry in section["entries"]]


def rows(installation: Installation) -> list[tuple[str | None, int, str]]:
    with installation.database.read() as session:
        stories = session.scalars(select(EditionStory).where(EditionStory.section.is_not(None)))
        return sorted((s.section, s.position, s.title) for s in stories if s.section)


def test_an_act_is_in_the_edition_its_rows_its_bytes_and_the_audit_log(install: Installation) -> None:
    first, second, *others = headlines(install)
    result = editing.move_story(install, form(), url_of(second), steps=-1)
    assert headlines(install) == [second, first, *others]
    assert [title for _, _, title in rows(install)] == [second, first, *others]
    assert result.edit is not None
    assert (result.edit.seq, result.edit.actor, result.state.last_seq) == (1, EDITOR.name, 1)
    html = "".join(
        body
        for kind, name, body in bodies(install.database)
        if kind == "html" and name.startswith("section:featured") and not name.endswith(".or-preheader")
    )
    assert html.index(second) < html.index(first)
    with install.database.read() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.act, entry.actor, entry.detail["kind"], entry.detail["seq"]) == ("edited", EDITOR.name, "place", 1)


@pytest.mark.takes_turns
def test_what_is_stored_is_what_a_replay_gives(install: Installation) -> None:
    first, second, third, *_ = (url_of(title) for title in headlines(install))
    editing.set_story_text(install, form(), first, StoryField.HEADLINE, "  <b>Tunnel</b>, \n of course ")
    editing.add_supporting_stories(install, form(), third, main=first)
    editing.drop_stories(install, form(), second)
    editing.set_edition_text(install, form(), EditionField.SUBJECT, "What a week")
    replayed = editing_state.render_edition_preview(install, "current")
    assert bodies(install.database) == [(f.kind, f.name, f.body) for f in replayed.fragments]
    assert replayed.content.subject == "What a week"
    assert replayed.content.sections[0].entries[0].headline == "Tunnel, of course"
    assert replayed.content == stored_content(install)


def test_an_edit_writes_only_the_fragments_that_changed_and_those_that_were_damaged(install: Installation) -> None:
    _, _, third, *_ = (url_of(title) for title in headlines(install))
    before = fragment_ids(install)
    with install.database.write() as session:
        damaged = session.get_one(RenderedEditionFragment, before["text", "foot"])
        damaged.body = "not as rendered"
    editing.set_story_text(install, form(), third, StoryField.HEADLINE, "A third headline")
    after = fragment_ids(install)
    written = {place for place, row_id in after.items() if before.get(place) != row_id}
    assert ("text", "foot") in written
    assert ("html", "foot") not in written
    assert 1 < len(written) < len(after) / 2
    assert bodies(install.database) == [
        (f.kind, f.name, f.body) for f in editing_state.render_edition_preview(install, "current").fragments
    ]


def fragment_ids(install: Installation) -> dict[tuple[str, str], int]:
    with install.database.read() as session:
        return {(row.kind, row.name): row.id for row in session.scalars(select(RenderedEditionFragment))}


def test_an_edit_that_was_read_before_is_ignored_once_its_row_is_forged(install: Installation) -> None:
    first, *_ = (url_of(title) for title in headlines(install))
    editing.set_story_text(install, form(), first, StoryField.HEADLINE, "Tunnel")
    assert len(editing_state.read_editing_state(install, "current").edits) == 1
    with install.database.write() as session:
        session.execute(update(table_of(EditionEdit)).values(value={"field": "headline", "text": "Forged"}))
    assert not editing_state.read_editing_state(install, "current").edits


def stored_content(install: Installation) -> EditionContent:
    with install.database.read() as session:
        return EditionContent.from_json(session.scalars(select(Edition)).one().content)


def test_a_removed_storys_place_stays_empty_and_an_undo_restores_the_story(one_install: Installation) -> None:
    file = ROOMY.file.model_copy(
        update={"sections": [s.model_copy(update={"most": 3}) for s in ROOMY.file.sections[:1]]}
    )
    small = Installation(ROOMY.model_copy(update={"file": file}), one_install.database)
    drafted(small, NOW)
    before = headlines(small)
    editing.drop_stories(small, form(), url_of(before[0]))
    assert headlines(small) == before[1:]
    edit_history.undo_own_last_edit(small, form())
    assert headlines(small) == before


def test_undo_takes_back_ones_own_acts_one_after_the_other_and_redo_brings_them_again(
    one_install: Installation,
) -> None:
    before = bodies(one_install.database)
    editing.set_edition_text(one_install, form(), EditionField.INTRO, "One")
    editing.set_edition_text(one_install, form(actor=COLLEAGUE), EditionField.PREHEADER, "A colleague's")
    only_colleague = stored_content_after_undo(one_install)
    editing.set_edition_text(one_install, form(), EditionField.INTRO, "Two")
    both = bodies(one_install.database)
    edit_history.undo_own_last_edit(one_install, form())
    edit_history.undo_own_last_edit(one_install, form())
    assert stored_content(one_install) == only_colleague
    with pytest.raises(EditRefusedError, match="no changes to undo"):
        edit_history.undo_own_last_edit(one_install, form())
    edit_history.redo_own_last_undo(one_install, form())
    edit_history.redo_own_last_undo(one_install, form())
    assert bodies(one_install.database) == both
    edit_history.restore_past_state(one_install, form(), 0)
    assert bodies(one_install.database) == before
    with pytest.raises(EditRefusedError, match="hasn't changed since that version"):
        edit_history.restore_past_state(one_install, form(), 0)


def stored_content_after_undo(install: Installation) -> EditionContent:
    edit_history.undo_own_last_edit(install, form())
    content = stored_content(install)
    edit_history.redo_own_last_undo(install, form())
    return content


@pytest.mark.takes_turns
def test_an_edit_after_approval_makes_a_draft_of_it_in_its_own_transaction(install: Installation) -> None:
    with install.database.read() as session:
        edition = session.scalars(select(Edition)).one()
    approve_now(install, edition, NOW)
    with pytest.raises(ApprovedEditionError, match="Confirm that you want to revoke"):
        editing.set_edition_text(install, form(), EditionField.INTRO, "After all")
    editing.set_edition_text(install, agreed(install, form()), EditionField.INTRO, "After all")
    with install.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert (edition.state, edition.approved_by, edition.approved_at) == (EditionState.DRAFT, None, None)
    assert entry is not None
    assert entry.detail["approval"] == "superseded"
    approve_now(install, edition, NOW)


@pytest.mark.parametrize("state", [EditionState.SENDING, EditionState.SENT, EditionState.CANCELLED])
def test_what_went_out_or_was_cancelled_is_not_edited(install: Installation, state: EditionState) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition)).one().state = state
    before = bodies(install.database)
    with pytest.raises(EditRefusedError, match="can no longer be edited"):
        editing.set_edition_text(install, form(), EditionField.INTRO, "Too late")
    assert bodies(install.database) == before
    with install.database.read() as session:
        assert session.scalars(select(EditionEdit)).all() == []


def test_too_few_stories_left_make_an_edition_incomplete_and_enough_a_draft_again(one_install: Installation) -> None:
    file = ROOMY.file.model_copy(update={"select": ROOMY.file.select.model_copy(update={"minimum": 5})})
    strict = Installation(ROOMY.model_copy(update={"file": file}), one_install.database)
    dropped = editing.drop_stories(strict, form(), url_of(TITLES[0]))
    assert dropped.state.arrangement.incomplete_reason.startswith("it has 4 news stories")
    with one_install.database.read() as session:
        assert session.scalars(select(Edition)).one().state == EditionState.INCOMPLETE
    editing.restore_story(strict, form(), url_of(TITLES[0]))
    with one_install.database.read() as session:
        assert session.scalars(select(Edition)).one().state == EditionState.DRAFT


def test_the_second_to_change_the_same_text_is_shown_both_and_nothing_is_overwritten(one_install: Installation) -> None:
    state = editing_state.read_editing_state(one_install, "current")
    url = url_of(TITLES[0])
    editing.set_story_text(one_install, form(state), url, StoryField.HEADLINE, "Mine")
    result = editing.set_story_text(one_install, form(state, COLLEAGUE), url, StoryField.HEADLINE, "Theirs")
    assert result.edit is None
    assert result.conflict is not None
    assert (result.conflict.current_edit.text("text"), result.conflict.draft.value["text"]) == ("Mine", "Theirs")
    assert result.before is not None
    assert StoryField.HEADLINE not in (story.texts if (story := result.before.find_story(url)) else {})
    assert "Mine" in headlines(one_install)
    chosen = editing.set_story_text(one_install, form(result.state, COLLEAGUE), url, StoryField.HEADLINE, "Theirs")
    assert chosen.edit is not None
    assert "Theirs" in headlines(one_install)


def test_changes_of_different_things_on_one_state_are_merged(one_install: Installation) -> None:
    state = editing_state.read_editing_state(one_install, "current")
    url = url_of(TITLES[0])
    results = [
        editing.set_story_text(one_install, form(state), url, StoryField.HEADLINE, "A headline"),
        editing.set_story_text(one_install, form(state, COLLEAGUE), url, StoryField.SUMMARY, "A summary"),
        editing.move_story(one_install, form(state), url_of(headlines(one_install)[-1]), steps=-2),
        editing.pin_story(one_install, form(state, COLLEAGUE), url, pinned=True),
    ]
    assert [r.edit.seq for r in results if r.edit] == [1, 2, 3, 4]
    story = results[-1].state.arrangement.find_story(url)
    assert story is not None
    assert (dict(story.texts), story.pinned) == ({"headline": "A headline", "summary": "A summary"}, True)


@pytest.mark.takes_turns
def test_two_editors_at_the_same_moment_lose_nothing(install: Installation) -> None:
    def write(number: int) -> EditResult:
        actor = (EDITOR, COLLEAGUE)[number % 2]
        return editing.set_story_text(
            install, form(actor=actor), url_of(TITLES[number % 5]), StoryField.SUMMARY, f"Summary {number}"
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(write, range(8)))
    state = editing_state.read_editing_state(install, "current")
    assert sorted(r.edit.seq for r in results if r.edit) == list(range(1, 9)) == [e.seq for e in state.edits]
    assert {e.text("text") for e in state.edits} == {f"Summary {n}" for n in range(8)}
    replayed = editing_state.render_edition_preview(install, "current")
    assert bodies(install.database) == [(f.kind, f.name, f.body) for f in replayed.fragments]


def test_a_text_that_stands_already_is_no_edit(one_install: Installation) -> None:
    url = url_of(TITLES[0])
    assert editing.set_story_text(one_install, form(), url, StoryField.KICKER, None).edit is None
    assert editing.set_story_text(one_install, form(), url, StoryField.KICKER, "Tunnels").edit is not None
    assert editing.set_story_text(one_install, form(), url, StoryField.KICKER, " Tunnels ").edit is None
    assert editing.set_story_text(one_install, form(), url, StoryField.KICKER, None).edit is not None


IDLE_ACTIONS: dict[str, Callable[[Installation], EditResult]] = {
    "isn't in any of this edition's stories": lambda i: editing.place_stories(
        i, form(), "https://b.example.org/", section="topics"
    ),
    "section gone doesn't exist": lambda i: editing.place_stories(i, form(), url_of(TITLES[0]), section="gone"),
    "wasn't removed": lambda i: editing.restore_story(i, form(), url_of(TITLES[0])),
    "no other story": lambda i: editing.merge_stories(i, form(), url_of(TITLES[0]), url_of(TITLES[0])),
    "at least one article": lambda i: editing.split_story(i, form(), url_of(TITLES[0]), url_of(TITLES[0])),
    "under itself": lambda i: editing.add_supporting_stories(i, form(), url_of(TITLES[0]), main=url_of(TITLES[0])),
}


@pytest.mark.parametrize("why", IDLE_ACTIONS)
def test_an_act_that_would_do_nothing_is_refused_with_the_reason(one_install: Installation, why: str) -> None:
    with pytest.raises(EditRefusedError, match=f"Couldn't change the edition: .*{why}"):
        IDLE_ACTIONS[why](one_install)
    assert editing_state.read_editing_state(one_install, "current").edits == ()


def test_a_story_of_ones_own_is_placed_merged_and_taken_back(one_install: Installation) -> None:
    url = "https://elsewhere.example.org/flood"
    article = {"url": url, "title": "Flood <b>seen</b> from above", "publisher": "Elsewhere", "summary": "Water."}
    editing.add_written_story(one_install, form(), article, section="featured")
    assert headlines(one_install)[-1] == "Flood seen from above"
    merged = editing.merge_stories(one_install, form(), url_of("Hurricane Nadia turns toward Bermuda"), url)
    story = merged.state.arrangement.find_story(url)
    assert story is not None
    assert [a.publisher for a in story.original.story.members] == ["A Press", "Elsewhere"]
    assert "Flood seen from above" not in headlines(one_install)
    split = editing.split_story(one_install, form(), url_of("Hurricane Nadia turns toward Bermuda"), url)
    assert url in {out.scored.story.lead.url for out in split.state.arrangement.left_out}
    for _ in range(3):
        edit_history.undo_own_last_edit(one_install, form())
    assert sorted(headlines(one_install)) == sorted(TITLES)
