"""Approved versions: who has to sign, what ends one, and which can still be sent. `test_drafting` covers their verification."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.edition.approval import approval_check
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.settings import ApprovalSettings, Settings, SettingsFileContent
from digest.store.approval_models import Approval, ApprovalSignature, ApprovalState, ApprovedRenderedFragment
from digest.store.engine import Database
from digest.store.models import Edition, EditionState, RenderedEditionFragment
from subscribers.crypto.keys import KeyRing

NOW = datetime(2026, 11, 19, 22, tzinfo=UTC)
KEYS = KeyRing.from_seed(b"approval tests")
ONE = Settings()
TWO = Settings(file=SettingsFileContent(approval=ApprovalSettings(approvers=2)))


@pytest.fixture
def drafted(database: Database) -> Database:
    """Store a draft of two pieces."""
    with database.write() as session:
        edition = Edition(
            slot="s", name="2026-W47", number=1, state=EditionState.DRAFT, opens_at=NOW - timedelta(days=7), cut_off=NOW,
            release_at=NOW + timedelta(hours=13), drafted_at=NOW, subject="Ports reopen", preheader="", content={"subject": "Ports reopen"},
        )  # fmt: skip
        session.add(edition)
        session.flush()
        for position, name in enumerate(("head", "foot")):
            body = f"<p>{name}</p>"
            columns = {"kind": "html", "name": name, "position": position, "body": body, "slots": []}
            session.add(RenderedEditionFragment(edition_id=edition.id, hash=approval.hash_fragment(body), **columns))
    return database


def only_edition(session: Session) -> Edition:
    return session.scalars(select(Edition)).one()


def sign(database: Database, actor: str, settings: Settings = ONE) -> None:
    """Approve the draft as it stands."""
    with database.write() as session:
        edition = only_edition(session)
        mark = approval.read_current_content_hash(session, edition, settings)
        approval.sign_approval(session, edition, mark, settings=settings, keys=KEYS, actor=actor, now=NOW)


def edit(database: Database, body: str, seq: int = 1) -> None:
    """Change the draft, as an edit does."""
    with database.write() as session:
        edition = only_edition(session)
        approval.supersede_approval(session, edition, actor="staff 3", now=NOW, by_edit=seq)
        edition.state = EditionState.DRAFT
        session.scalars(select(RenderedEditionFragment).where(RenderedEditionFragment.name == "head")).one().body = body


def take_back(database: Database) -> None:
    with database.write() as session:
        approval.revoke_all_approvals(
            session, only_edition(session), actor="staff 3", now=NOW, because="the wrong week"
        )


def states(database: Database) -> list[tuple[int, ApprovalState]]:
    """Give the state of each version, the newest first."""
    with database.read() as session:
        return [(a.version, a.state) for a in approval.list_approvals(session, only_edition(session))]


def sendable_head(database: Database) -> str | None:
    """Give the first piece of what a deadline may send, proven; None where there is nothing."""
    with database.read() as session:
        edition = only_edition(session)
        found = approval.find_last_unrevoked_approval(session, edition)
        if found is None:
            return None
        return approval_check.verify_version(session, edition, found, settings=ONE, keys=KEYS).pieces[0].body


@pytest.mark.takes_turns
def test_a_version_that_two_have_to_approve_stands_with_the_second(drafted: Database) -> None:
    sign(drafted, "staff 1", TWO)
    assert states(drafted) == [(1, ApprovalState.WAITING)]
    assert sendable_head(drafted) is None
    with drafted.read() as session:
        assert only_edition(session).state == EditionState.DRAFT
        with pytest.raises(ApprovalError, match="isn't approved"):
            approval_check.verify_approval(session, only_edition(session), settings=TWO, keys=KEYS)
    with pytest.raises(ApprovalError, match="already approved"):
        sign(drafted, "staff 1", TWO)
    sign(drafted, "staff 2", TWO)
    assert states(drafted) == [(1, ApprovalState.VALID)]
    with drafted.read() as session:
        edition = only_edition(session)
        assert (edition.state, edition.approved_by, edition.approved_at) == (EditionState.APPROVED, "staff 2", NOW)
        approval_check.verify_approval(session, edition, settings=TWO, keys=KEYS)


@pytest.mark.parametrize("forged", ["removed", "copied"])
def test_one_signature_does_for_two_in_no_way(drafted: Database, forged: str) -> None:
    sign(drafted, "staff 1", TWO)
    sign(drafted, "staff 2", TWO)
    with drafted.write() as session:
        if forged == "removed":
            session.execute(delete(ApprovalSignature).where(ApprovalSignature.actor == "staff 2"))
        else:
            first, second = session.scalars(select(ApprovalSignature).order_by(ApprovalSignature.id))
            second.signature = first.signature
    with drafted.read() as session, pytest.raises(ApprovalError, match="differs from the approved version"):
        approval_check.verify_approval(session, only_edition(session), settings=TWO, keys=KEYS)


@pytest.mark.takes_turns
def test_a_version_that_an_edit_superseded_stays_and_may_be_sent_at_a_deadline(drafted: Database) -> None:
    sign(drafted, "staff 1")
    edit(drafted, "<p>another</p>", seq=3)
    assert states(drafted) == [(1, ApprovalState.SUPERSEDED)]
    assert sendable_head(drafted) == "<p>head</p>"
    with drafted.read() as session:
        (version,) = approval.list_approvals(session, only_edition(session))
        assert (version.ended_by, version.ended_by_edit, version.ended_at) == ("staff 3", 3, NOW)
        assert approval.find_valid_approval(session, only_edition(session)) is None
    sign(drafted, "staff 1")
    assert states(drafted) == [(2, ApprovalState.VALID), (1, ApprovalState.SUPERSEDED)]
    assert sendable_head(drafted) == "<p>another</p>"


@pytest.mark.takes_turns
def test_approving_the_same_bytes_again_is_another_version(drafted: Database) -> None:
    sign(drafted, "staff 1")
    take_back(drafted)
    assert sendable_head(drafted) is None
    sign(drafted, "staff 1")
    assert states(drafted) == [(2, ApprovalState.VALID), (1, ApprovalState.REVOKED)]
    with drafted.read() as session:
        hashes = {a.content_hash for a in approval.list_approvals(session, only_edition(session))}
    assert len(hashes) == 1


def test_taking_an_approval_back_leaves_no_earlier_version_to_be_sent(drafted: Database) -> None:
    sign(drafted, "staff 1")
    edit(drafted, "<p>another</p>")
    sign(drafted, "staff 1")
    edit(drafted, "<p>a third</p>", seq=2)
    take_back(drafted)
    assert states(drafted) == [(2, ApprovalState.REVOKED), (1, ApprovalState.REVOKED)]
    assert sendable_head(drafted) is None
    with pytest.raises(ApprovalError, match="no approval to revoke"):
        take_back(drafted)


def test_what_only_one_of_two_approved_is_never_sent(drafted: Database) -> None:
    sign(drafted, "staff 1", TWO)
    edit(drafted, "<p>another</p>")
    assert states(drafted) == [(1, ApprovalState.SUPERSEDED)]
    assert sendable_head(drafted) is None


@pytest.mark.takes_turns
def test_the_second_approves_the_draft_as_it_is_now_or_begins_anew(drafted: Database) -> None:
    sign(drafted, "staff 1", TWO)
    with drafted.write() as session:
        only_edition(session).subject = "Ports reopen today"
    sign(drafted, "staff 2", TWO)
    assert states(drafted) == [(2, ApprovalState.WAITING), (1, ApprovalState.SUPERSEDED)]


def test_a_new_draft_ends_what_waits_for_another_approver_unless_nothing_changed(drafted: Database) -> None:
    sign(drafted, "staff 1", TWO)
    with drafted.write() as session:
        approval.supersede_outdated_approval(session, only_edition(session), now=NOW)
    assert states(drafted) == [(1, ApprovalState.WAITING)]
    with drafted.write() as session:
        session.scalars(
            select(RenderedEditionFragment).where(RenderedEditionFragment.name == "head")
        ).one().body = "<p>another</p>"
        session.flush()
        approval.supersede_outdated_approval(session, only_edition(session), now=NOW)
    assert states(drafted) == [(1, ApprovalState.SUPERSEDED)]


def test_no_edition_has_two_versions_that_stand(drafted: Database) -> None:
    sign(drafted, "staff 1")
    edit(drafted, "<p>another</p>")
    sign(drafted, "staff 1")
    with pytest.raises(IntegrityError), drafted.write() as session:
        session.execute(update(Approval).values(state=ApprovalState.VALID))


def test_a_version_has_its_own_copy_of_every_piece(drafted: Database) -> None:
    sign(drafted, "staff 1")
    edit(drafted, "<p>another</p>")
    with drafted.read() as session:
        bodies = list(
            session.scalars(select(ApprovedRenderedFragment.body).order_by(ApprovedRenderedFragment.position))
        )
        (version,) = approval.list_approvals(session, only_edition(session))
        assert version.content == {"subject": "Ports reopen"}
    assert bodies == ["<p>head</p>", "<p>foot</p>"]


def test_a_record_that_asks_for_no_approval_is_not_taken_for_an_approved_one(drafted: Database) -> None:
    sign(drafted, "staff 1")
    with drafted.write() as session:
        version = session.scalars(select(Approval)).one()
        version.statement = version.statement | {"approvals": 0}
        version.content_hash = approval.compute_content_hash(version.statement)
        session.execute(delete(ApprovalSignature))
    with drafted.read() as session, pytest.raises(ApprovalError, match="differs from the approved version"):
        approval_check.verify_approval(session, only_edition(session), settings=ONE, keys=KEYS)
