"""Someone other than the author approves each text, link, and image, no matter who edited last."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from digest.app.approval import approval_overviews, deadlines, edition_approval
from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions import drafting as editions
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import send_control as sending
from digest.app.settings import brand_images, setting_changes
from digest.app.sources import configured_sources as sources
from digest.deliver.send.run.edition_sending import SendError
from digest.edition.approval import approval_check
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError, compute_content_hash
from digest.edition.approval.authors import read_draft_authorship
from digest.edition.content.edition_content import EditionContent, LabeledBlock
from digest.edition.editing.edit_log import append_edit, load_proposal
from digest.edition.editing.edits import Edit, EditionField, EditKind, StoryField
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import SCHEDULER, ActionEntryPoint, Actor, Role, make_terminal_actor
from digest.installation.opened_installation import Installation
from digest.settings.values import redact_url
from digest.store.account_models import SignInAttempt
from digest.store.approval_models import Approval, ApprovalSignature, ApprovalState
from digest.store.audit import SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED, record_audit
from digest.store.correction_models import Correction
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry, Edition, EditionState, Source
from tests.actors import ADMIN
from tests.app.approval.test_approvals import (
    DANA,
    LATER,
    PRIYA,
    SAM,
    approve,
    edition_of,
    install,
    install_on_both,
    version_states,
    wants_two,
    write_intro,
)
from tests.app.editing.test_changes import TITLES, agreed, form, url_of
from tests.app.test_approval_laws import with_deadline_rule
from tests.edition.drafting.test_drafts import add, drafted
from tests.moments import DRAFTING as NOW
from tests.query_plans import record_plans
from tests.row_keys import change_rows

__all__ = ["install", "install_on_both"]

OFFER = LabeledBlock("offer", "sponsor", "Anvils", "Anvil & Sons", "Cast iron.", "https://anvil.example.org/")


def pin(install: Installation, actor: Actor) -> None:
    editing.pin_story(install, agreed(install, form(actor=actor)), url_of(TITLES[0]), pinned=True)


def only_dana(install: Installation) -> None:
    """Leave Dana the only one who can sign in."""
    with install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id > 1, proven_at=None)


def test_setting_changes_are_found_by_an_index(install_on_both: Installation) -> None:
    with install_on_both.read() as session, record_plans(session) as plans:
        read_draft_authorship(session, find_edition(session, "current"), install_on_both.settings)
    assert any("ix_audit_act" in plan for plan in plans)
    assert [plan for plan in plans if "SCAN audit" in plan or "Seq Scan on audit" in plan] == []


def sentences(install: Installation, viewer: str = "") -> list[str]:
    return approval_overviews.explain_draft_approvers(
        approval_overviews.read_approval_overview(install, "current"), viewer
    )


def last_audit_row(install: Installation) -> AuditEntry:
    with install.database.read() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()


def void(install: Installation) -> None:
    edition_approval.revoke_approval(install, "current", actor=SAM, now=LATER + timedelta(minutes=5))


def send_back(install: Installation) -> None:
    approval_overviews.send_back_edition(install, "current", "Shorten it.", actor=SAM, now=LATER + timedelta(minutes=5))


@pytest.mark.takes_turns
def test_authors_cannot_approve_their_own_words_after_a_colleague_pinned_a_story(install_on_both: Installation) -> None:
    write_intro(install_on_both, DANA, "Good morning.")
    pin(install_on_both, PRIYA)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install_on_both, DANA)
    assert version_states(install_on_both) == []
    approve(install_on_both, PRIYA)
    assert edition_of(install_on_both).state == EditionState.APPROVED


def test_a_colleagues_headline_copied_to_a_dismissed_duplicate_needs_another_approval(install: Installation) -> None:
    url, other_url = map(url_of, TITLES[:2])
    editing.set_story_text(install, form(actor=DANA), url, StoryField.HEADLINE, "Tunnel found")
    editing.keep_stories_apart(install, form(actor=PRIYA), url, other_url)
    editing.set_story_text(install, form(actor=PRIYA), other_url, StoryField.HEADLINE, "Tunnel found")
    approve(install, PRIYA)
    assert version_states(install) == [ApprovalState.WAITING]
    assert edition_of(install).state == EditionState.DRAFT


@pytest.mark.takes_turns
def test_where_two_wrote_both_sign_and_one_signature_is_no_approval(install_on_both: Installation) -> None:
    write_intro(install_on_both, DANA, "Good morning.")
    editing.set_story_text(install_on_both, form(actor=PRIYA), url_of(TITLES[0]), StoryField.HEADLINE, "Tunnel found")
    approve(install_on_both, DANA)
    assert version_states(install_on_both) == [ApprovalState.WAITING]
    assert edition_of(install_on_both).state == EditionState.DRAFT
    row = last_audit_row(install_on_both)
    assert (row.act, row.actor, row.detail["missing"]) == ("approve", DANA.name, 1)
    assert row.detail["authors"] == [DANA.name, PRIYA.name]
    with install_on_both.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        assert approval.find_last_unrevoked_approval(session, edition) is None
    with pytest.raises(SendError, match="Only approved editions can be sent"):
        sending.send_edition(install_on_both, "current", actor=ADMIN, clock=lambda: edition.release_at)
    approve(install_on_both, PRIYA)
    assert version_states(install_on_both) == [ApprovalState.VALID]
    with install_on_both.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        approval_check.verify_approval(session, edition, settings=install_on_both.settings, keys=install_on_both.keys)
    assert last_audit_row(install_on_both).detail["missing"] == 0


def test_a_third_editor_approves_what_two_wrote_at_once(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    approve(install, SAM)
    assert edition_of(install).state == EditionState.APPROVED


def test_a_deadline_takes_a_half_signed_edition_for_a_draft(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    approve(install, DANA)
    at_deadline = NOW + timedelta(hours=2, minutes=30)
    ruled = with_deadline_rule(install, "send-last-approved")
    assert deadlines.apply_deadline_rule(ruled, now=at_deadline) == "2026-W47: wait"
    with pytest.raises(ApprovalError, match="no approved version"):
        approval_overviews.reinstate_last_approval(install, "current", actor=SCHEDULER, now=at_deadline)


def test_any_edit_ends_a_first_signature(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    approve(install, DANA)
    pin(install, SAM)
    assert version_states(install) == [ApprovalState.SUPERSEDED]
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.DRAFT


def fix_typo_and_undo_first(install: Installation) -> None:
    write_intro(install, DANA, "Good mornign. See https://elsewhere.example/")
    write_intro(install, PRIYA, "Good morning. See https://elsewhere.example/")
    edit_history.undo_edit(install, form(actor=DANA), 1)


def move_block(install: Installation) -> None:
    editing.save_labeled_block(install, form(actor=DANA), OFFER)
    editing.save_labeled_block(install, form(actor=PRIYA), replace(OFFER, after="events"))


def undo_replacement(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    write_intro(install, PRIYA, "Good evening.")
    edit_history.undo_own_last_edit(install, form(actor=PRIYA))


def redo(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    edit_history.undo_edit(install, form(actor=PRIYA), 1)
    edit_history.undo_edit(install, form(actor=PRIYA), 2)


def bring_back(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_edition_text(install, form(actor=DANA), EditionField.INTRO, None)
    edit_history.restore_past_state(install, form(actor=PRIYA), 1)


def place_added_story(install: Installation) -> None:
    article = {"title": "Cranes", "url": "https://elsewhere.example/cranes"}
    editing.add_written_story(install, form(actor=DANA), article)
    editing.place_stories(install, form(actor=PRIYA), article["url"], section="featured", position=0)


@pytest.mark.parametrize(
    "prepare", [fix_typo_and_undo_first, move_block, undo_replacement, redo, bring_back, place_added_story]
)
def test_no_detour_lets_authors_approve_their_own_words(
    install: Installation, prepare: Callable[[Installation], None]
) -> None:
    prepare(install)
    try:
        approve(install, DANA)
    except ApprovalError as exc:
        assert "You wrote" in str(exc)  # noqa: PT017 - some of these take Dana's signature for what Priya wrote
    assert edition_of(install).state == EditionState.DRAFT


def test_a_block_that_runs_on_still_needs_somebody_else_the_week_after(install: Installation) -> None:
    """A block that starts next week is in none of the mails that are approved this week."""
    week = timedelta(days=7)
    starts = replace(OFFER, first_day=date(2026, 11, 24))
    editing.save_labeled_block(install, form(actor=DANA), starts)
    approve(install, DANA)
    assert edition_of(install).state == EditionState.APPROVED
    add(install.database, "Wildfire crosses highway", dated=NOW + timedelta(days=6), found=NOW + timedelta(days=6))
    editions.draft_next_edition(install, actor=SCHEDULER, now=NOW + week)
    mark = read_edition_status(install, "2026-W48", now=NOW + week).content_hash
    with pytest.raises(ApprovalError, match="You wrote"):
        edition_approval.approve_edition(install, "2026-W48", mark, actor=DANA, now=NOW + week)
    assert edition_approval.approve_edition(install, "2026-W48", mark, actor=SAM, now=NOW + week).missing == 0


def test_a_correction_that_the_next_edition_carries_is_its_authors(install: Installation) -> None:
    with install.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        before = Edition(
            slot="before", name="2026-W46", number=1, state=EditionState.SENT, opens_at=edition.opens_at, cut_off=edition.opens_at,
            release_at=NOW - timedelta(days=6), drafted_at=NOW - timedelta(days=7),
            content=EditionContent("2026-W46", 1, "Cranes", "", "Friday", 1, "", "", (), released_on=date(2026, 11, 20)).as_json(),
        )  # fmt: skip
        session.add(before)
        session.flush()
        correction = Correction(
            edition_id=before.id, seq=1, at=NOW, actor=DANA.name, signed="Dana", url="https://a.example.org/1", section="featured",
            headline="Cranes", field="headline", was="Crane", becomes="Cranes", note="See elsewhere.", is_carried=True, mail_asked_by="",
        )  # fmt: skip
        session.add(correction)
    drafted(install)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    approve(install, PRIYA)


@pytest.mark.parametrize("state", [EditionState.SENT, EditionState.DRAFT])
def test_a_correction_that_runs_on_keeps_its_author(install: Installation, state: EditionState) -> None:
    test_a_correction_that_the_next_edition_carries_is_its_authors(install)
    edits = editing_state.read_editing_state(install, "current")
    carried = next(block for block in edits.arrangement.blocks if block.kind == "correction")
    editing.save_labeled_block(
        install, agreed(install, form(actor=PRIYA)), replace(carried, last_day=date(2026, 12, 20))
    )
    week = timedelta(days=7)
    with install.database.write() as session:
        session.execute(update(Edition).where(Edition.name == "2026-W47").values(state=state))
    add(install.database, "Wildfire crosses highway", dated=NOW + week - timedelta(days=1), found=NOW + week)
    editions.draft_next_edition(install, actor=SCHEDULER, now=NOW + week)
    with install.database.read() as session:
        drafted_next = session.scalars(select(Edition).where(Edition.name == "2026-W48")).one()
        parts = read_draft_authorship(session, drafted_next, install.settings).parts
    assert {part.actor for part in parts if part.part == "block"} == {DANA.name, PRIYA.name}


def test_an_only_editor_approves_what_they_wrote_and_is_told_why(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    only_dana(install)
    invited = "You can approve this, because priya and sam haven't accepted the invitation yet."
    assert sentences(install, DANA.name)[-1] == invited
    with install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id > 1, removed_at=NOW - timedelta(days=30))
    assert sentences(install, DANA.name)[0].startswith("You're the only editor, so you can approve your own text")
    approve(install, DANA)
    assert edition_of(install).state == EditionState.APPROVED
    assert last_audit_row(install).detail["alone"] is True


def test_an_admin_is_under_the_same_rule(install: Installation) -> None:
    admin = Actor(DANA.name, Role.ADMIN, ActionEntryPoint.DESK)
    write_intro(install, admin, "Good morning.")
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, admin)


def test_a_colleague_who_signs_in_without_having_proven_an_address_ends_the_exception(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    only_dana(install)
    sign_in(install, 2)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)


def sign_in(install: Installation, member: int) -> None:
    with install.database.write() as session:
        session.add(SignInAttempt(staff=member, at=NOW, method="link", succeeded=True, network="", browser=""))


def test_removing_the_other_editor_does_not_make_one_the_only_editor_of_the_edition_in_progress(
    install: Installation,
) -> None:
    sign_in(install, 2)
    write_intro(install, DANA, "Good morning.")
    only_dana(install)
    with install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id > 1, removed_at=LATER)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    with install.database.write() as session:
        opens_at = session.scalars(select(Edition.opens_at)).one()
        change_rows(session, StaffMember, StaffMember.id > 1, removed_at=opens_at - timedelta(days=7, minutes=1))
    approve(install, DANA)


def prove_and_lose_sign_ins(install: Installation) -> None:
    with install.database.write() as session:
        record_audit(session, "staff address proven", PRIYA.name, {}, actor=PRIYA.name, now=NOW - timedelta(days=200))


def remove_colleagues(install: Installation, at: datetime) -> None:
    with install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id > 1, removed_at=at, proven_at=None)


def change_settings_only(install: Installation) -> None:
    with install.database.write() as session:
        record_audit(session, setting_changes.CHANGE.name, "publication", {}, actor=DANA.name, now=NOW)
    remove_colleagues(install, LATER)


def change_old_settings(install: Installation) -> None:
    long_ago = NOW - timedelta(days=100)
    with install.database.write() as session:
        record_audit(session, setting_changes.CHANGE.name, "publication", {}, actor=DANA.name, now=long_ago)
    remove_colleagues(install, long_ago + timedelta(days=1))


def remove_then_write(install: Installation) -> None:
    remove_colleagues(install, NOW - timedelta(minutes=1))
    write_intro(install, DANA, "Good morning.")


def remove_after_an_old_block(install: Installation) -> None:
    long_ago = NOW - timedelta(days=100)
    with install.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        before = Edition(
            slot="before", name="2026-W40", number=1, state=EditionState.SENT, opens_at=long_ago, cut_off=edition.opens_at,
            release_at=edition.opens_at, drafted_at=long_ago, content={},
        )  # fmt: skip
        session.add(before)
        session.flush()
        words = {name: getattr(OFFER, name) for name in ("kind", "headline", "name", "text", "url")}
        append_edit(session, before, Edit(1, long_ago, DANA.name, EditKind.BLOCK, "block:offer", words))
    drafted(install)
    remove_colleagues(install, long_ago + timedelta(days=1))


@pytest.mark.parametrize(
    "prepare", [change_settings_only, change_old_settings, remove_then_write, remove_after_an_old_block]
)
def test_whoever_removes_a_colleague_since_the_last_edition_or_their_oldest_text_is_no_only_editor(
    install: Installation, prepare: Callable[[Installation], None]
) -> None:
    prove_and_lose_sign_ins(install)
    prepare(install)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)


def test_a_terminal_says_who_approves_once_editors_wrote_something(install: Installation) -> None:
    root = make_terminal_actor("root")
    pin(install, DANA)
    approve(install, root)
    write_intro(install, DANA, "Good morning.")
    with pytest.raises(ApprovalError, match="--as EMAIL"):
        approve(install, root)


def test_what_a_nameless_terminal_wrote_takes_two_signatures(install: Installation) -> None:
    write_intro(install, make_terminal_actor("root"), "Good morning.")
    approve(install, DANA)
    assert edition_of(install).state == EditionState.DRAFT
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED


def test_with_two_approvers_each_part_takes_two_other_people(install: Installation) -> None:
    both = wants_two(install)
    write_intro(both, DANA, "Good morning.")
    editing.set_editor_note(both, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    for actor, state in ((DANA, EditionState.DRAFT), (PRIYA, EditionState.DRAFT), (SAM, EditionState.APPROVED)):
        approve(both, actor)
        assert edition_of(both).state == state


def drop_second_signature(install: Installation) -> None:
    with install.database.write() as session:
        session.execute(delete(ApprovalSignature).where(ApprovalSignature.actor == PRIYA.name))


def rename_second_signature(install: Installation) -> None:
    with install.database.write() as session:
        session.execute(update(ApprovalSignature).where(ApprovalSignature.actor == PRIYA.name).values(actor=SAM.name))


def take_author_out(install: Installation) -> None:
    drop_second_signature(install)
    with install.database.write() as session:
        version = session.scalars(select(Approval)).one()
        version.statement = {**version.statement, "authors": [PRIYA.name]}
        version.content_hash = compute_content_hash(version.statement)


def claim_to_be_alone(install: Installation) -> None:
    drop_second_signature(install)
    with install.database.write() as session:
        version = session.scalars(select(Approval)).one()
        version.statement = {**version.statement, "alone": True}


@pytest.mark.parametrize("tamper", [drop_second_signature, rename_second_signature, take_author_out, claim_to_be_alone])
def test_a_version_whose_signatures_or_authors_were_changed_in_the_database_is_not_sent(
    install: Installation, tamper: Callable[[Installation], None]
) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    approve(install, DANA)
    approve(install, PRIYA)
    tamper(install)
    edition = edition_of(install)
    with install.database.read() as session, pytest.raises(ApprovalError, match="differs from the approved version"):
        approval_check.verify_approval(session, edition, settings=install.settings, keys=install.keys)


def test_a_draft_from_before_authors_were_recorded_is_drafted_again_first(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    with install.database.write() as session:
        session.execute(update(Edition).values(written_parts=None))
    with pytest.raises(ApprovalError, match="Choose “Update the draft” on the edition's review page"):
        approve(install, SAM)
    drafted(install)
    approve(install, DANA)
    assert edition_of(install).state == EditionState.DRAFT
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED


def test_an_admin_who_changed_what_subscribers_see_of_the_settings_is_an_author_until_an_edition_went_out(
    install: Installation,
) -> None:
    with install.database.write() as session:
        for actor, table in ((DANA.name, "publication"), (PRIYA.name, "schedule"), ("terminal:root", "branding")):
            record_audit(session, setting_changes.CHANGE.name, table, {}, actor=actor, now=NOW)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    assert sentences(install)[0].startswith("dana changed the publication settings,")
    approve(install, PRIYA)
    week = timedelta(days=7)
    with install.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT, drafted_at=NOW + timedelta(seconds=1)))
    add(install.database, "Wildfire crosses highway", dated=NOW + week - timedelta(days=1), found=NOW + week)
    editions.draft_next_edition(install, actor=SCHEDULER, now=NOW + week)
    mark = read_edition_status(install, "2026-W48", now=NOW + week).content_hash
    assert edition_approval.approve_edition(install, "2026-W48", mark, actor=DANA, now=NOW + week).missing == 0


@pytest.mark.parametrize("table", ["branding", "sections", "sender"])
def test_whoever_changed_what_every_edition_shows_is_an_author(install: Installation, table: str) -> None:
    with install.database.write() as session:
        record_audit(session, setting_changes.CHANGE.name, table, {}, actor=DANA.name, now=NOW)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    approve(install, PRIYA)


@pytest.mark.parametrize("parts", [[], [{"actor": PRIYA.name, "part": "intro", "item": ""}]])
def test_authors_that_were_taken_out_of_the_database_are_found_in_the_edits(
    install: Installation, parts: list[dict[str, str]]
) -> None:
    write_intro(install, DANA, "Good morning.")
    with install.database.write() as session:
        session.execute(update(Edition).values(written_parts=parts))
    with pytest.raises(
        ApprovalError, match=r"doesn't match its stories, edits.*Choose “Update the draft” on the edition's review page"
    ):
        approve(install, DANA)
    drafted(install)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)


@pytest.mark.parametrize("take_back", [void, send_back])
def test_an_approval_that_was_taken_back_is_not_sent_whatever_its_row_says(
    install: Installation, take_back: Callable[[Installation], None]
) -> None:
    approve(install, PRIYA)
    take_back(install)
    with install.database.write() as session:
        session.execute(update(Approval).values(state=ApprovalState.VALID))
        session.execute(update(Edition).values(state=EditionState.APPROVED))
    edition, settings, keys = edition_of(install), install.settings, install.keys
    with install.database.read() as session, pytest.raises(ApprovalError, match="was revoked"):
        approval_check.verify_approval(session, edition, settings=settings, keys=keys)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET subject = '2026-W01' WHERE act = 'void approval'",
        "UPDATE audit SET act = 'looked' WHERE act = 'void approval'",
        "UPDATE audit SET detail = '{}' WHERE act = 'void approval'",
        "UPDATE audit SET seq = NULL WHERE act = 'void approval'",
        "DELETE FROM audit WHERE act = 'void approval'",
        "UPDATE approval SET made_at = '2031-01-01 00:00:00'",
    ],
)
def test_an_approval_whose_revocation_was_changed_in_the_database_is_not_sent(
    install_on_both: Installation, tampering: str
) -> None:
    install = install_on_both
    approve(install, PRIYA)
    void(install)
    write_intro(install, DANA, "Good morning.")
    with install.database.write() as session:
        session.execute(update(Approval).values(state=ApprovalState.VALID))
        session.execute(update(Edition).values(state=EditionState.APPROVED))
        session.execute(text(tampering))
    edition, settings, keys = edition_of(install), install.settings, install.keys
    with install.database.read() as session:
        with pytest.raises(ApprovalError, match=r"was revoked|fails verification"):
            approval_check.verify_approval(session, edition, settings=settings, keys=keys)
        assert approval_check.read_signed_content(session, edition, keys) is None


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET actor = 'staff 2' WHERE act = 'settings changed'",
        "UPDATE audit SET subject = 'schedule' WHERE act = 'settings changed'",
        "UPDATE audit SET at = '2020-01-01 00:00:00' WHERE act = 'settings changed'",
        "DELETE FROM audit WHERE act = 'settings changed'",
    ],
)
def test_where_the_log_of_settings_was_changed_in_the_database_two_people_approve(
    install_on_both: Installation, tampering: str
) -> None:
    install = install_on_both
    with install.database.write() as session:
        record_audit(session, setting_changes.CHANGE.name, "publication", {}, actor=DANA.name, now=NOW)
    with install.database.write() as session:
        record_audit(session, "looked", "", {}, actor=DANA.name, now=NOW)
    with install.database.write() as session:
        session.execute(text(tampering))
    assert any(
        sentence.startswith("An unknown member changed the publication settings") for sentence in sentences(install)
    )
    approve(install, DANA)
    assert edition_of(install).state == EditionState.DRAFT
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED


@pytest.mark.parametrize(
    ("act", "subject", "detail", "words"),
    [
        ("source changed", "https://a.example.org/feed", {"after": {"publisher": "Free bets"}}, "the sources"),
        ("source changed", "https://a.example.org/feed", {"after": {"primary": True}}, "the sources"),
        ("source changed", "https://a.example.org/feed", {"after": {"images": "licensed"}}, "the sources"),
        ("source added", "https://b.example.org/feed", {"name": "Free bets", "publisher": "", "section": "news"}, "the sources"),
        ("settings changed", "select", {"after": {"topics": {"Free bets": ["bet"]}}}, "the topics"),
        ("logo kept", "logo-1.png", {"hash": "ab"}, "the branding settings"),
    ],
)  # fmt: skip
def test_names_topics_and_logos_that_subscribers_see_have_authors_too(
    install: Installation, act: str, subject: str, detail: dict[str, Any], words: str
) -> None:
    assert act in {sources.CHANGE.name, sources.ADD.name, setting_changes.CHANGE.name, brand_images.KEEP.name}
    with install.database.write() as session:
        unseen = ("source changed", "https://a.example.org/feed", {"after": {"section": "news"}})
        record_audit(session, *unseen, actor=PRIYA.name, now=NOW)
        record_audit(session, "settings changed", "select", {"after": {"minimum": 3}}, actor=PRIYA.name, now=NOW)
        record_audit(session, act, subject, detail, actor=DANA.name, now=NOW)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    assert sentences(install)[0].startswith(f"dana changed {words},")
    approve(install, PRIYA)
    assert edition_of(install).state == EditionState.APPROVED


def go_out_with_an_own_intro(install: Installation) -> None:
    change_intro_setting(install, NOW)
    drafted(install)
    write_intro(install, PRIYA, "")
    approve(install, SAM)


def go_out_as_it_was_before_the_change(install: Installation) -> None:
    approve(install, PRIYA)
    pin(install, DANA)
    change_intro_setting(install, LATER + timedelta(minutes=1))
    with install.database.write() as session:
        session.execute(update(Edition).values(drafted_at=LATER + timedelta(minutes=2)))
        session.execute(update(Approval).values(state=ApprovalState.VALID))


def change_intro_setting(install: Installation, now: datetime) -> None:
    with install.database.write() as session:
        detail = {"before": {"intro": ""}, "after": {"intro": "Buy my coin."}}
        record_audit(session, setting_changes.CHANGE.name, "publication", detail, actor=DANA.name, now=now)


@pytest.mark.parametrize("prepare", [go_out_with_an_own_intro, go_out_as_it_was_before_the_change])
def test_settings_keep_their_author_until_an_edition_that_shows_them_went_out(
    install: Installation, prepare: Callable[[Installation], None]
) -> None:
    prepare(install)
    week = timedelta(days=7)
    with install.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))
    add(install.database, "Wildfire crosses highway", dated=NOW + week - timedelta(days=1), found=NOW + week)
    editions.draft_next_edition(install, actor=SCHEDULER, now=NOW + week)
    mark = read_edition_status(install, "2026-W48", now=NOW + week).content_hash
    with pytest.raises(ApprovalError, match="You wrote"):
        edition_approval.approve_edition(install, "2026-W48", mark, actor=DANA, now=NOW + week)
    assert edition_approval.approve_edition(install, "2026-W48", mark, actor=SAM, now=NOW + week).missing == 0


def change_section(install: Installation) -> str:
    note = "Log in at evil.example"
    section = {"place": 7, "title": "Jobs", "kind": "stories", "note": note}
    log_change(install, SETTINGS_CHANGED, "sections", {"before": {}, "after": {"jobs": section}})
    return note


def change_publisher(install: Installation) -> str:
    log_change(install, SOURCE_CHANGED, "https://a.example.org/feed", {"after": {"publisher": "Free bets"}})
    return "Free bets"


def mark_source_as_official(install: Installation) -> str:
    url = "https://a.example.org/official"
    with install.database.write() as session:
        session.add(Source(url=url, name="The Desk", publisher="The Desk", topics={}))
    log_change(install, SOURCE_CHANGED, url, {"before": {"primary": False}, "after": {"primary": True}})
    return "The Desk"


def add_source_named_by_an_address(install: Installation) -> str:
    log_change(install, SOURCE_ADDED, "https://a.example.org/feed", {"publisher": "https://evil.example/?\u2026"})
    return "https://evil.example/?login"


def change_url_of_source(install: Installation) -> str:
    return log_url_changes(install, "https://desk.example/feed", "https://evil.example/?feed=1")


def change_url_of_source_that_moved_on(install: Installation) -> str:
    return log_url_changes(install, *(f"https://{host}.example/?feed=1" for host in ("desk", "evil", "third", "last")))


def change_url_of_source_and_undo_it(install: Installation) -> str:
    return log_url_changes(
        install, "https://desk.example/feed", "https://evil.example/feed", "https://desk.example/feed"
    )


def log_url_changes(install: Installation, *urls: str) -> str:
    """Log that Dana gave a source its second URL and someone else each later one, and return its publisher."""
    moved_from = None if urls[-1] in urls[:-1] else urls[-2]
    with install.database.write() as session:
        session.add(Source(url=urls[-1], moved_from=moved_from, name="The Desk", publisher="The Desk", topics={}))
        for place, (before, after) in enumerate(pairwise(urls)):
            detail = {"before": {"url": redact_url(before)}, "after": {"url": redact_url(after)}}
            actor = SCHEDULER.name if place else DANA.name
            record_audit(session, SOURCE_CHANGED, before, detail, actor=actor, now=NOW + timedelta(milliseconds=place))
    return "The Desk"


def change_topics_of_source(install: Installation) -> str:
    log_change(install, SOURCE_CHANGED, "https://a.example.org/feed", {"after": {"topics": {"x": "Free bets"}}})
    return "Free bets"


def change_default_topic(install: Installation) -> str:
    log_change(install, SOURCE_CHANGED, "https://a.example.org/feed", {"after": {"default_topic": "Free bets"}})
    return "Free bets"


def change_topic_list(install: Installation) -> str:
    topics: dict[str, Any] = {"before": {"topics": {"Ports": []}}, "after": {"topics": {"Ports": [], "Free bets": []}}}
    log_change(install, SETTINGS_CHANGED, "select", topics)
    return "Free bets"


def log_change(install: Installation, act: str, subject: str, detail: dict[str, Any]) -> None:
    with install.database.write() as session:
        record_audit(session, act, subject, detail, actor=DANA.name, now=NOW)


def show_words(install: Installation, name: str, words: str) -> None:
    with install.database.write() as session:
        edition = session.scalars(select(Edition).where(Edition.name == name)).one()
        edition.content = {**edition.content, "sections": [{"title": words, "entries": []}]}


@pytest.mark.parametrize(
    "change",
    [
        change_section,
        change_publisher,
        mark_source_as_official,
        add_source_named_by_an_address,
        change_url_of_source,
        change_url_of_source_that_moved_on,
        change_url_of_source_and_undo_it,
        change_topics_of_source,
        change_default_topic,
        change_topic_list,
    ],
)
@pytest.mark.parametrize("is_shown_before", [True, False])
def test_words_that_only_some_editions_show_have_an_author_until_one_that_shows_them_went_out(
    install_on_both: Installation, change: Callable[[Installation], str], *, is_shown_before: bool
) -> None:
    install = install_on_both
    words = change(install)
    approve(install, PRIYA)
    if is_shown_before:
        with install.database.write() as session:
            version = session.scalars(select(Approval)).one()
            version.content = {**version.content, "sections": [{"title": words}]}
    with install.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT, drafted_at=NOW + timedelta(seconds=1)))
    for week in range(1, 3):
        at = NOW + week * timedelta(days=7)
        add(install.database, f"Wildfire crosses highway {week}", dated=at - timedelta(days=1), found=at)
        name = editions.draft_next_edition(install, actor=SCHEDULER, now=at).name
        assert list_authors(install, name) == []
        with install.database.write() as session:
            session.execute(update(Edition).where(Edition.name == name).values(state=EditionState.SENT))
    show_words(install, name, words)
    assert list_authors(install, name) == ([] if is_shown_before else [DANA.name])


def list_authors(install: Installation, name: str) -> list[str]:
    with install.database.read() as session:
        edition = session.scalars(select(Edition).where(Edition.name == name)).one()
        return [part.actor for part in read_draft_authorship(session, edition, install.settings).parts]


def test_a_topic_that_no_list_has_is_refused_and_never_becomes_the_storys_own(install: Installation) -> None:
    url, free_text = url_of(TITLES[0]), "Win money: evil.example.net"
    with pytest.raises(EditRefusedError, match="topic isn't in the settings"):
        editing.set_story_topic(install, form(actor=DANA), url, free_text)
    # An edit that was written another way.
    with install.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        append_edit(session, edition, Edit(1, NOW, DANA.name, EditKind.TOPIC, url, {"topic": free_text}, None))
    add(install.database, f"{TITLES[0]}, officials say", dated=NOW - timedelta(minutes=1), found=NOW)
    drafted(install)
    with install.database.read() as session:
        grown = load_proposal(session, session.scalars(select(Edition)).one())
    assert grown
    assert free_text not in repr(grown)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install, DANA)
    editing.set_story_topic(install, form(actor=DANA), url, "Cybersecurity")


def test_who_wrote_what_and_who_still_has_to_approve_it_is_said(install: Installation) -> None:
    write_intro(install, DANA, "Good morning.")
    editing.set_story_text(install, form(actor=PRIYA), url_of(TITLES[0]), StoryField.HEADLINE, "Tunnel found")
    assert sentences(install, DANA.name) == [
        "You wrote the intro, which someone else needs to approve.",
        "priya wrote the headline “Tunnel found,” which someone other than priya needs to approve.",
        "You, priya, and sam can approve this.",
    ]
    approve(install, DANA)
    assert sentences(install, PRIYA.name) == [
        "1 of 2 approvals (by dana).",
        "dana wrote the intro, which someone other than dana needs to approve.",
        "You wrote the headline “Tunnel found,” approved by dana.",
        "You and sam can approve this.",
    ]
