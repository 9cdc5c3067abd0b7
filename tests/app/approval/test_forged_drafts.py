"""A draft that was changed in the database without the key file isn't approved until it's drafted again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.operation_checks import check_drafts_match_composition, check_row_seals
from digest.app.editing import changes as editing
from digest.app.editing.edit_application import apply_current_settings_to_draft, is_draft_behind_settings
from digest.app.editing.editing_state import EditRefusedError, read_editing_state
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.slotted_text import pack_slots
from digest.edition.drafting.composition import ComposedEdition, compose_edition
from digest.edition.editing import edit_log
from digest.edition.editing.authorship import list_written_parts
from digest.edition.editing.edit_log import ProposalCache, append_edit
from digest.edition.editing.edits import Edit, EditionField, EditKind
from digest.edition.editing.stored_proposal import ProposalWithLateStories, pack_proposal
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import Edition, EditionEdit, EditionProposal, EditionState, RenderedEditionFragment
from subscribers.store.models import table_of
from tests.app.approval.test_approvals import (
    DANA,
    PRIYA,
    SAM,
    approve,
    draft_for_editors,
    edition_of,
    install,
    install_on_both,
    write_intro,
)
from tests.app.editing.test_changes import TITLES, form, url_of
from tests.app.test_four_eyes import OFFER, last_audit_row, prove_and_lose_sign_ins
from tests.edition.drafting.test_drafts import drafted
from tests.moments import DRAFTING as NOW
from tests.row_keys import change_rows
from tests.run_database import PARAMETER_KINDS, RUN_KIND

__all__ = ["install", "install_on_both"]

EDITION, EDIT, PROPOSAL, FRAGMENT = map(table_of, (Edition, EditionEdit, EditionProposal, RenderedEditionFragment))
WORDS, EVIL = "Good morning.", "Buy my coin."


class Forger:
    """Somebody with write access to the database, and the program's own code to work out what to write."""

    def __init__(self, install: Installation) -> None:
        self.install = install

    def write(self, *statements: Any) -> None:
        with self.install.database.engine.execution_options(immediate=True).begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def compose(self, grown: ProposalWithLateStories, edits: tuple[Edit, ...]) -> ComposedEdition:
        state = read_editing_state(self.install, "current")
        return compose_edition(grown, edits, state.identity, self.install.settings)

    def write_draft(self, composed: ComposedEdition) -> None:
        """Write all that's derived of a draft, so that it agrees with itself."""
        content = composed.content
        parts = [asdict(part) for part in list_written_parts(composed.arrangement)]
        values = {"subject": content.subject, "preheader": content.preheader, "content": content.as_json()}
        self.write(update(EDITION).values(**values, written_parts=parts), delete(FRAGMENT))
        rows = [self._row(number, piece) for number, piece in enumerate(composed.fragments)]
        self.write(insert(FRAGMENT).values(rows))

    def _row(self, position: int, piece: RenderedFragment) -> dict[str, Any]:
        named = {"kind": piece.kind, "name": piece.name, "position": position, "edition_id": 1}
        return {**named, "body": piece.body, "slots": pack_slots(piece.slots), "hash": "0" * 64}


@pytest.fixture
def forger(database: Database, tmp_path: Path) -> Forger:
    """Give a forger of a draft whose intro Dana wrote, whose first headline Priya did, and whose end is Dana's note."""
    return Forger(draft_for_editors(database, tmp_path, write_parts))


def write_parts(install: Installation) -> None:
    write_intro(install, DANA, WORDS)
    editing.set_editor_note(install, form(actor=PRIYA), url_of(TITLES[0]), "Call them.")
    editing.set_edition_text(install, form(actor=DANA), EditionField.EDITOR, "Dana Moss")


def explain_refusal(install: Installation, actor: Actor) -> str:
    try:
        approve(install, actor)
    except ApprovalError as exc:
        return str(exc)
    return ""


def expect_refusal(install: Installation) -> None:
    """Nobody's approval counts, and whoever isn't an author is told why."""
    refusals = [explain_refusal(install, actor) for actor in (DANA, PRIYA, SAM)]
    assert all(refusals)
    assert "it was changed outside this program. Choose “Update the draft”" in refusals[-1]
    assert edition_of(install).state == EditionState.DRAFT


def change_a_piece(forger: Forger) -> None:
    forger.write(update(FRAGMENT).values(body=func.replace(FRAGMENT.c.body, WORDS, EVIL)))


def add_a_piece(forger: Forger) -> None:
    values = {"edition_id": 1, "kind": "html", "name": "more", "position": 99, "body": EVIL, "slots": [], "hash": ""}
    forger.write(insert(FRAGMENT).values(values))


def remove_a_piece(forger: Forger) -> None:
    forger.write(delete(FRAGMENT).where(FRAGMENT.c.position == 2))


def change_the_subject(forger: Forger) -> None:
    forger.write(update(EDITION).values(subject=EVIL))


def change_the_content(forger: Forger) -> None:
    content = edition_of(forger.install).content
    forger.write(update(EDITION).values(content={**content, "intro": EVIL}))


def forget_an_author(forger: Forger) -> None:
    forger.write(update(EDITION).values(written_parts=[{"actor": PRIYA.name, "part": "note", "item": TITLES[0]}]))


def forget_all_authors(forger: Forger) -> None:
    forger.write(update(EDITION).values(written_parts=None))


def edits_of(forger: Forger) -> tuple[Edit, ...]:
    return read_editing_state(forger.install, "current").edits


def give_an_edit_to_somebody_else(forger: Forger) -> None:
    intro, *others = edits_of(forger)
    composed = forger.compose(
        read_editing_state(forger.install, "current").proposal, (replace(intro, actor="staff 9"), *others)
    )
    forger.write(update(EDIT).where(EDIT.c.seq == 1).values(actor="staff 9"))
    forger.write_draft(composed)


def reword_an_edit(forger: Forger) -> None:
    intro, *others = edits_of(forger)
    value = {**intro.value, "text": EVIL}
    composed = forger.compose(
        read_editing_state(forger.install, "current").proposal, (replace(intro, value=value), *others)
    )
    forger.write(update(EDIT).where(EDIT.c.seq == 1).values(value=value))
    forger.write_draft(composed)


def reorder_edits(forger: Forger) -> None:
    one, two, three = edits_of(forger)
    swapped = (replace(two, seq=1), replace(one, seq=2), three)
    composed = forger.compose(read_editing_state(forger.install, "current").proposal, swapped)
    forger.write(*(update(EDIT).where(EDIT.c.seq == seq).values(seq=to) for seq, to in ((1, 9), (2, 1), (9, 2))))
    forger.write_draft(composed)


def insert_an_edit(forger: Forger) -> None:
    edits = edits_of(forger)
    forged = replace(edits[0], seq=4, actor="staff 9", value={**edits[0].value, "text": EVIL})
    composed = forger.compose(read_editing_state(forger.install, "current").proposal, (*edits, forged))
    row = {"edition_id": 1, "seq": 4, "at": NOW, "actor": "staff 9", "kind": forged.kind, "target": forged.target}
    forger.write(insert(EDIT).values(**row, value=forged.value))
    forger.write_draft(composed)


def delete_an_edit_in_the_middle(forger: Forger) -> None:
    intro, _, closing = edits_of(forger)
    composed = forger.compose(read_editing_state(forger.install, "current").proposal, (intro, closing))
    forger.write(delete(EDIT).where(EDIT.c.seq == 2))
    forger.write_draft(composed)


def delete_the_first_edit(forger: Forger) -> None:
    forger.write(delete(EDIT).where(EDIT.c.seq == 1))


def delete_the_last_edit(forger: Forger) -> None:
    """The words stay, and only Priya is their author."""
    forger.write(delete(EDIT).where(EDIT.c.seq == 3))
    forget_an_author(forger)


def delete_all_edits(forger: Forger) -> None:
    forger.write(delete(EDIT), update(EDITION).values(written_parts=[]))


def change_the_proposal(forger: Forger) -> None:
    grown = read_editing_state(forger.install, "current").proposal
    packed = pack_proposal(replace(grown, blocks=(OFFER,)))
    composed = forger.compose(replace(grown, blocks=(OFFER,)), edits_of(forger))
    forger.write(update(PROPOSAL).values(hash=packed.hash, body=packed.body))
    forger.write_draft(composed)


def change_the_proposal_under_its_hash(forger: Forger) -> None:
    grown = read_editing_state(forger.install, "current").proposal
    forger.write(update(PROPOSAL).values(body=pack_proposal(replace(grown, blocks=(OFFER,))).body))
    forger.write_draft(forger.compose(replace(grown, blocks=(OFFER,)), edits_of(forger)))


def delete_the_proposal(forger: Forger) -> None:
    forger.write(delete(PROPOSAL))
    change_a_piece(forger)


PIECES = [change_a_piece, add_a_piece, remove_a_piece, change_the_subject, change_the_content]
AUTHORS = [forget_an_author, forget_all_authors, give_an_edit_to_somebody_else]
EDITS = [
    reword_an_edit, reorder_edits, insert_an_edit, delete_an_edit_in_the_middle, delete_the_first_edit,
    delete_the_last_edit, delete_all_edits,
]  # fmt: skip
PROPOSALS = [change_the_proposal, change_the_proposal_under_its_hash, delete_the_proposal]


def list_cases(*groups: Sequence[Callable[[Forger], None]]) -> list[tuple[str, Callable[[Forger], None]]]:
    """List each forgery on the run's database, and the first of each group on the other: what's compared is the same there."""
    return [
        (kind, forge)
        for kind in PARAMETER_KINDS
        for forges in groups
        for forge in forges[: None if kind == RUN_KIND else 1]
    ]


@pytest.mark.both_databases
@pytest.mark.parametrize(("database", "forge"), list_cases(PIECES, AUTHORS, EDITS, PROPOSALS), indirect=["database"])
def test_a_draft_that_was_changed_in_the_database_is_not_approved_until_it_is_drafted_again(
    forger: Forger, forge: Callable[[Forger], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(forger)
    monkeypatch.setattr(edit_log, "_CACHE", ProposalCache())  # as another process has none
    expect_refusal(forger.install)
    drafted(forger.install)
    assert EVIL not in str(edition_of(forger.install).content)
    for actor in (DANA, PRIYA):
        explain_refusal(forger.install, actor)
    assert edition_of(forger.install).state == EditionState.APPROVED


@pytest.mark.both_databases
@pytest.mark.parametrize(("database", "forge"), list_cases(PIECES, AUTHORS, EDITS), indirect=["database"])
def test_an_update_restores_a_draft_that_was_changed_in_the_database(
    forger: Forger, forge: Callable[[Forger], None]
) -> None:
    assert not is_draft_behind_settings(forger.install, "current")
    forge(forger)
    assert is_draft_behind_settings(forger.install, "current")
    assert apply_current_settings_to_draft(forger.install, "current", actor=SAM, now=NOW) == "2026-W47"
    assert not is_draft_behind_settings(forger.install, "current")
    assert EVIL not in str(edition_of(forger.install).content)
    row = last_audit_row(forger.install)
    assert (row.act, row.actor, row.subject) == ("draft updated", SAM.name, "2026-W47")
    for actor in (DANA, PRIYA):
        explain_refusal(forger.install, actor)
    assert edition_of(forger.install).state == EditionState.APPROVED


@pytest.mark.parametrize(("database", "forge"), list_cases(PROPOSALS), indirect=["database"])
def test_an_update_refuses_a_proposal_that_is_not_genuine(
    forger: Forger, forge: Callable[[Forger], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(forger)
    monkeypatch.setattr(edit_log, "_CACHE", ProposalCache())
    assert is_draft_behind_settings(forger.install, "current")
    with pytest.raises(EditRefusedError, match="'digest draft'"):
        apply_current_settings_to_draft(forger.install, "current", actor=SAM, now=NOW)


@pytest.mark.takes_turns
def test_edits_after_a_forged_one_are_made_again_in_their_place(forger: Forger) -> None:
    forger.write(update(EDIT).where(EDIT.c.seq == 2).values(actor=SAM.name))
    assert [edit.seq for edit in edits_of(forger)] == [1]
    editing.set_edition_text(forger.install, form(actor=PRIYA), EditionField.EDITOR, "Priya Rao")
    assert [(edit.seq, edit.actor) for edit in edits_of(forger)] == [(1, DANA.name), (2, PRIYA.name)]
    assert last_audit_row(forger.install).detail["discarded"] == 2
    approve(forger.install, DANA)
    approve(forger.install, PRIYA)
    assert edition_of(forger.install).state == EditionState.APPROVED


def test_an_edit_that_was_put_back_under_a_later_number_counts_for_nothing(forger: Forger) -> None:
    forger.write(update(EDIT).where(EDIT.c.seq == 3).values(seq=4))
    assert [edit.seq for edit in edits_of(forger)] == [1, 2]


def store_earlier_block(install: Installation) -> None:
    """Have Dana write a block in an edition before, which runs in the coming one."""
    with install.database.write() as session:
        opens_at = session.scalars(select(Edition.opens_at)).one()
        before = Edition(
            slot="before", name="2026-W40", number=1, state=EditionState.SENT, opens_at=opens_at - timedelta(days=7),
            cut_off=opens_at, release_at=opens_at, drafted_at=opens_at, content={},
        )  # fmt: skip
        session.add(before)
        session.flush()
        words = {name: getattr(OFFER, name) for name in ("kind", "headline", "name", "text", "url")}
        append_edit(session, before, Edit(1, opens_at, DANA.name, EditKind.BLOCK, "block:offer", words))


def test_a_block_of_an_earlier_edition_that_was_given_to_somebody_else_does_not_run(
    install_on_both: Installation,
) -> None:
    store_earlier_block(install_on_both)
    drafted(install_on_both)
    assert OFFER.headline in str(coming_content(install_on_both))
    Forger(install_on_both).write(update(EDIT).where(EDIT.c.kind == "block").values(actor=PRIYA.name))
    drafted(install_on_both)
    assert OFFER.headline not in str(coming_content(install_on_both))


def coming_content(install: Installation) -> dict[str, Any]:
    with install.database.read() as session:
        return session.scalars(select(Edition.content).order_by(Edition.release_at.desc()).limit(1)).one()


def test_a_block_whose_edit_was_dated_later_still_leaves_nobody_alone(install_on_both: Installation) -> None:
    prove_and_lose_sign_ins(install_on_both)
    store_earlier_block(install_on_both)
    drafted(install_on_both)
    with install_on_both.database.write() as session:
        removed_at = session.scalars(select(func.min(Edition.opens_at))).one()
        change_rows(session, StaffMember, StaffMember.id > 1, removed_at=removed_at, proven_at=None)
    Forger(install_on_both).write(update(EDIT).where(EDIT.c.kind == "block").values(at=NOW))
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install_on_both, DANA)


def test_doctor_names_forged_edits_and_a_draft_that_is_not_what_they_make(forger: Forger) -> None:
    examined = ExaminedInstallation(forger.install, NOW)
    assert [
        found.level for check in (check_row_seals, check_drafts_match_composition) for found in check(examined)
    ] == ["ok"] * 2
    forger.write(update(EDIT).where(EDIT.c.seq == 2).values(actor=SAM.name))
    (rows,), (draft,) = check_row_seals(examined), check_drafts_match_composition(examined)
    assert "1 of edit" in rows.message
    assert "2026-W47 doesn't match its stories, edits, and settings" in draft.message


@pytest.mark.sqlite
def test_pieces_that_a_trigger_puts_right_while_they_are_signed_are_not_approved(install: Installation) -> None:
    """What's signed is compared, not what the draft's rows are by then."""
    write_intro(install, DANA, WORDS)
    with install.database.engine.execution_options(immediate=True).begin() as connection:
        connection.execute(text("CREATE TABLE genuine AS SELECT id, body FROM fragment"))
        connection.execute(update(FRAGMENT).values(body=func.replace(FRAGMENT.c.body, WORDS, EVIL)))
        heal = "UPDATE fragment SET body = (SELECT body FROM genuine WHERE genuine.id = fragment.id)"
        connection.execute(text(f"CREATE TRIGGER heal AFTER INSERT ON approved_fragment BEGIN {heal}; END"))
    refusal = explain_refusal(install, SAM)
    assert "it was changed outside this program" in refusal
    assert edition_of(install).state == EditionState.DRAFT
