"""Approval with colleagues: an author can't approve alone, a note prevents approval, and a deadline can restore the last version."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editing import changes as editing
from digest.app.editing import edit_history
from digest.app.editing.edit_application import (
    ApprovedEditionError,
    apply_current_settings_to_draft,
    is_draft_behind_settings,
)
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions.edition_status import read_edition_status
from digest.edition.approval import approval_check
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.approval.sent_back_notes import SentBackError
from digest.edition.editing.edits import EditionField
from digest.installation.audited_actions import SCHEDULER, ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings import ApprovalSettings
from digest.store.approval_models import ApprovalSignature, ApprovalState, SentBackNote
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState, EditionStory
from subscribers.crypto.keys import KeyRing
from tests.app.editing.test_changes import ROOMY, TITLES, agreed, form, headlines, url_of
from tests.deliver.stored_editions import ALL_TABLES, store_rows_once
from tests.edition.drafting.test_drafts import add, bodies, drafted
from tests.moments import DRAFTING as NOW

LATER = NOW + timedelta(hours=1)
KEYS = KeyRing.from_seed(b"editors")  # the same in each test, as the rows that they seal are
DANA, PRIYA, SAM = (Actor(f"staff {number}", Role.EDITOR, ActionEntryPoint.DESK) for number in (1, 2, 3))


@pytest.fixture
def install(one_database: Database, tmp_path: Path) -> Installation:
    """Give an installation with a draft of five stories and three editors, where one has to approve."""
    return draft_for_editors(one_database, tmp_path)


@pytest.fixture
def install_on_both(database: Database, tmp_path: Path) -> Installation:
    """Give the same on each database: for what the rows of versions and notes say later."""
    return draft_for_editors(database, tmp_path)


def draft_for_editors(
    database: Database, home: Path, store_more: Callable[[Installation], object] | None = None
) -> Installation:
    """Open an installation with the draft, and what `store_more` adds to it: both are done once for all tests."""
    sender = ROOMY.file.sender.model_copy(update={"postal_address": "1 Main St, Springfield"})
    file = ROOMY.file.model_copy(update={"sender": sender})
    installation = Installation(ROOMY.model_copy(update={"home": home, "file": file}), database)
    installation.settings.key_file.write_text(KEYS.to_json())
    installation.settings.key_file.chmod(0o600)

    def store() -> None:
        store_draft_for_editors(installation)
        if store_more:
            store_more(installation)

    key = f"draft for editors and {store_more.__qualname__}" if store_more else "draft for editors"
    store_rows_once(database, key, store, ALL_TABLES)
    return installation


def store_draft_for_editors(install: Installation) -> None:
    for hours, title in enumerate(TITLES, 1):
        add(install.database, title, dated=NOW - timedelta(hours=hours), found=NOW)
    drafted(install)
    with install.database.write() as session:
        for name in ("dana", "priya", "sam"):
            session.add(
                StaffMember(
                    email=f"{name}@news.example.org", role="editor", added_at=NOW, added_by="test", proven_at=NOW
                )
            )
            session.flush()


def wants_two(install: Installation) -> Installation:
    file = install.settings.file.model_copy(update={"approval": ApprovalSettings(approvers=2)})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


def approve(install: Installation, actor: Actor) -> None:
    mark = read_edition_status(install, "current", now=LATER).content_hash
    edition_approval.approve_edition(install, "current", mark, actor=actor, now=LATER)


def write_intro(install: Installation, actor: Actor, text: str) -> None:
    editing.set_edition_text(install, agreed(install, form(actor=actor)), EditionField.INTRO, text)


def edition_of(install: Installation) -> Edition:
    with install.database.read() as session:
        return session.scalars(select(Edition)).one()


def version_states(install: Installation) -> list[ApprovalState]:
    with install.database.read() as session:
        return [a.state for a in approval.list_approvals(session, session.scalars(select(Edition)).one())]


def test_an_author_may_not_approve_and_a_colleague_may(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    with pytest.raises(ApprovalError, match="You wrote what still needs approval"):
        approve(install, DANA)
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED


@pytest.mark.takes_turns
def test_two_approve_and_neither_is_the_author(install_on_both: Installation) -> None:
    both = wants_two(install_on_both)
    write_intro(both, DANA, "Good morning.")
    approve(both, PRIYA)
    assert edition_of(both).state == EditionState.DRAFT
    for actor, why in ((PRIYA, "already"), (DANA, "You wrote")):
        with pytest.raises(ApprovalError, match=why):
            approve(both, actor)
    approve(both, SAM)
    assert edition_of(both).state == EditionState.APPROVED
    write_intro(both, SAM, "Good evening.")
    assert version_states(both) == [ApprovalState.SUPERSEDED]
    # Two wrote the intro, so two others have to approve what each of them wrote.
    for actor, state in ((SAM, EditionState.DRAFT), (DANA, EditionState.DRAFT), (PRIYA, EditionState.APPROVED)):
        approve(both, actor)
        assert edition_of(both).state == state


def test_a_note_takes_the_approval_back_and_stops_the_next_until_it_is_done(install_on_both: Installation) -> None:
    approve(install_on_both, DANA)
    approval_overviews.send_back_edition(
        install_on_both, "current", " Check the <b>cranes</b>\nwith Sam. ", actor=PRIYA, now=LATER
    )
    assert edition_of(install_on_both).state == EditionState.DRAFT
    assert version_states(install_on_both) == [ApprovalState.REVOKED]
    with pytest.raises(ApprovalError, match="sent back with a note that isn't marked as done"):
        approve(install_on_both, DANA)
    with install_on_both.database.read() as session:
        note = session.scalars(select(SentBackNote)).one()
        assert (note.text, note.actor, note.done_at) == ("Check the cranes with Sam.", PRIYA.name, None)
        assert [a.detail for a in session.scalars(select(AuditEntry)) if a.act == "sent back"] == [
            {"note": note.id, "taken back": [1]}
        ]
    approval_overviews.mark_note_done(install_on_both, "current", note.id, actor=SAM, now=LATER)
    approve(install_on_both, DANA)
    with install_on_both.database.read() as session:
        note = session.scalars(select(SentBackNote)).one()
        assert (note.done_by, note.done_at) == (SAM.name, LATER)
    with pytest.raises(SentBackError, match="already marked as done"):
        approval_overviews.mark_note_done(install_on_both, "current", note.id, actor=SAM, now=LATER)


def test_sending_back_what_only_one_approved_ends_that_and_leaves_what_was_approved_before(
    install: Installation,
) -> None:
    approve(install, DANA)
    write_intro(install, SAM, "Good morning.")
    both = wants_two(install)
    approve(both, DANA)
    approval_overviews.send_back_edition(both, "current", "The intro is cold.", actor=PRIYA, now=LATER)
    assert version_states(both) == [ApprovalState.REVOKED, ApprovalState.SUPERSEDED]


@pytest.mark.parametrize(
    ("text", "why"), [("  ", "The note is empty"), ("<p></p>", "The note is empty"), ("x" * 1001, "1,001 characters")]
)
def test_a_note_that_says_nothing_or_too_much_is_refused(install: Installation, text: str, why: str) -> None:
    approve(install, DANA)
    with pytest.raises(SentBackError, match=why):
        approval_overviews.send_back_edition(install, "current", text, actor=PRIYA, now=LATER)
    assert edition_of(install).state == EditionState.APPROVED


def test_what_has_gone_out_is_not_sent_back(install: Installation) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition)).one().state = EditionState.SENDING
    with pytest.raises(SentBackError, match="can't be sent back"):
        approval_overviews.send_back_edition(install, "current", "Too late", actor=PRIYA, now=LATER)


def test_the_last_approved_version_stands_again_with_the_draft_that_it_was_made_of(
    install_on_both: Installation,
) -> None:
    editing.drop_stories(install_on_both, form(actor=DANA), url_of(TITLES[4]))
    approve(install_on_both, PRIYA)
    approved, said, before = bodies(install_on_both.database), headlines(install_on_both), edition_of(install_on_both)
    write_intro(install_on_both, DANA, "After all")
    editing.drop_stories(install_on_both, agreed(install_on_both, form(actor=DANA)), url_of(TITLES[0]))
    assert bodies(install_on_both.database) != approved
    assert approval_overviews.reinstate_last_approval(install_on_both, "current", actor=SCHEDULER, now=LATER) == 1
    assert (bodies(install_on_both.database), headlines(install_on_both)) == (approved, said)
    after = edition_of(install_on_both)
    assert (after.state, after.approved_by, after.approved_at) == (EditionState.APPROVED, before.approved_by, LATER)
    with install_on_both.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        approval_check.verify_approval(session, edition, settings=install_on_both.settings, keys=install_on_both.keys)
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert last is not None
    assert (last.act, last.actor, last.detail["version"]) == ("reinstated an approval", "scheduler", 1)
    write_intro(install_on_both, DANA, "Once more")
    assert version_states(install_on_both) == [ApprovalState.SUPERSEDED]


def slip(install: Installation) -> None:
    """Drop a story of an approved edition by mistake."""
    write_intro(install, DANA, "Good mourning.")
    edit_history.undo_own_last_edit(install, form(actor=DANA))
    assert edition_of(install).state == EditionState.APPROVED
    editing.drop_stories(install, agreed(install, form(actor=DANA)), url_of(TITLES[0]))
    assert edition_of(install).state == EditionState.DRAFT


@pytest.mark.takes_turns
def test_undoing_a_slip_reinstates_the_approval_in_the_same_transaction(install_on_both: Installation) -> None:
    approve(install_on_both, DANA)
    before = edition_of(install_on_both)
    slip(install_on_both)
    result = edit_history.undo_own_last_edit(install_on_both, form(actor=DANA))
    after = edition_of(install_on_both)
    assert (after.state, after.approved_by, after.approved_at) == (before.state, before.approved_by, before.approved_at)
    assert version_states(install_on_both) == [ApprovalState.VALID]
    with install_on_both.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        keys, settings = install_on_both.keys, install_on_both.settings
        approval_check.verify_approval(session, edition, settings=settings, keys=keys)
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert result.state.approved
    assert entry is not None
    assert (entry.act, entry.detail["approval"], entry.detail["version"]) == ("edited", "reinstated", 1)
    # The next slip is asked about again.
    with pytest.raises(ApprovedEditionError):
        editing.drop_stories(install_on_both, form(actor=DANA), url_of(TITLES[0]))


def revoke(install: Installation) -> None:
    edition_approval.revoke_approval(install, "current", actor=DANA, now=LATER)


def send_back(install: Installation) -> None:
    approval_overviews.send_back_edition(install, "current", "The intro is cold.", actor=PRIYA, now=LATER)


def move_send_time(install: Installation) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition)).one().release_at += timedelta(days=1)


def leave_gap(install: Installation) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition)).one().opens_at += timedelta(days=1)


def forge_signature(install: Installation) -> None:
    with install.database.write() as session:
        session.execute(update(ApprovalSignature).values(actor="staff 4"))


@pytest.mark.parametrize("hindrance", [revoke, send_back, move_send_time, leave_gap, forge_signature])
def test_an_approval_isnt_reinstated_if_it_was_revoked_or_the_edition_cant_be_sent(
    install: Installation, hindrance: Callable[[Installation], None]
) -> None:
    approve(install, DANA)
    slip(install)
    hindrance(install)
    edit_history.undo_own_last_edit(install, form(actor=DANA))
    assert edition_of(install).state == EditionState.DRAFT


def test_what_was_taken_back_does_not_stand_again(install: Installation) -> None:
    approve(install, DANA)
    write_intro(install, SAM, "Good morning.")
    edition_approval.revoke_approval(install, "current", actor=DANA, now=LATER)
    with pytest.raises(ApprovalError, match="no approved version"):
        approval_overviews.reinstate_last_approval(install, "current", actor=SCHEDULER, now=LATER)
    assert edition_of(install).state == EditionState.DRAFT


def recolored(install: Installation) -> Installation:
    """Give the same installation where links have had another color since the draft."""
    look = install.settings.file.branding.model_copy(update={"accent": "#00606B"})
    file = install.settings.file.model_copy(update={"branding": look})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


@pytest.mark.takes_turns
def test_a_draft_of_earlier_settings_is_updated_reviewed_again_and_approved(install_on_both: Installation) -> None:
    write_intro(install_on_both, DANA, "Good morning.")
    mark = read_edition_status(install_on_both, "current", now=LATER).content_hash
    changed = recolored(install_on_both)
    assert is_draft_behind_settings(changed, "current")
    with pytest.raises(ApprovalError, match=r"Choose “Update the draft”.*'digest draft --update 2026-W47'"):
        approve(changed, PRIYA)
    assert apply_current_settings_to_draft(changed, "current", actor=PRIYA, now=LATER) == "2026-W47"
    assert "Good morning." in str(edition_of(changed).content)
    assert "#00606B" in str(bodies(changed.database))
    with pytest.raises(ApprovalError, match="changed"):
        edition_approval.approve_edition(changed, "current", mark, actor=PRIYA, now=LATER)
    approve(changed, PRIYA)
    assert edition_of(changed).state == EditionState.APPROVED


def story_rows(install: Installation) -> list[tuple[object, ...]]:
    query = select(EditionStory.url, EditionStory.section, EditionStory.position, EditionStory.reason)
    with install.database.read() as session:
        return sorted(tuple(row) for row in session.execute(query))


def test_an_update_stores_the_rows_of_its_stories_again(install_on_both: Installation) -> None:
    before, changed = story_rows(install_on_both), recolored(install_on_both)
    with install_on_both.database.write() as session:
        session.execute(delete(EditionStory).where(EditionStory.position > 1))
        session.execute(update(EditionStory).values(reason="a forged one"))
    apply_current_settings_to_draft(changed, "current", actor=DANA, now=LATER)
    assert story_rows(changed) == before


def test_an_update_of_what_is_up_to_date_changes_nothing(install: Installation) -> None:
    with install.database.read() as session:
        before = session.scalars(select(AuditEntry.id)).all()
    assert not is_draft_behind_settings(install, "current")
    assert apply_current_settings_to_draft(install, "current", actor=DANA, now=LATER) == ""
    with install.database.read() as session:
        assert session.scalars(select(AuditEntry.id)).all() == before


def test_an_update_supersedes_an_approval_that_waits_for_another(install_on_both: Installation) -> None:
    both = wants_two(install_on_both)
    apply_current_settings_to_draft(both, "current", actor=DANA, now=LATER)
    approve(both, DANA)
    apply_current_settings_to_draft(both, "current", actor=DANA, now=LATER)
    assert version_states(both) == [ApprovalState.WAITING]
    changed = recolored(both)
    apply_current_settings_to_draft(changed, "current", actor=DANA, now=LATER)
    assert version_states(changed) == [ApprovalState.SUPERSEDED]


@pytest.mark.parametrize("state", [s for s in EditionState if s not in {EditionState.DRAFT, EditionState.INCOMPLETE}])
def test_an_update_refuses_what_is_approved_or_further(install: Installation, state: EditionState) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition)).one().state = state
    before, changed = bodies(install.database), recolored(install)
    assert not is_draft_behind_settings(changed, "2026-W47")
    with pytest.raises(EditRefusedError, match="can't be updated"):
        apply_current_settings_to_draft(changed, "2026-W47", actor=DANA, now=LATER)
    assert (edition_of(changed).state, bodies(install.database)) == (state, before)
