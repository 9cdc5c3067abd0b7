"""Actions on editions and sending: who can take them, and what the audit log says about refused and failed ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from digest.app.approval import edition_approval
from digest.app.editions import drafting as editions
from digest.app.editions import edition_checks
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import send_control as sending
from digest.app.sending import uncertain_delivery_actions
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.send.run.edition_sending import SendError
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.edition_queries import UnknownEditionError
from digest.installation import sending_pause
from digest.installation.audited_actions import SCHEDULER, Actor, NotPermittedError
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.signup import manual_signup
from tests.actors import ADMIN, EDITOR
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import WebSetup, build_web_setup, sample_evidence

pytestmark = pytest.mark.usefixtures("stored_as_composed")

Attempt = Callable[[Installation, str, Actor], object]

ADMINS_ACTIONS: dict[str, Attempt] = {
    "send": lambda i, name, actor: sending.send_edition(i, name, actor=actor, clock=lambda: RELEASE),
    "cancelled": lambda i, name, actor: sending.cancel_edition(i, name, actor=actor, now=NOW),
    "held": lambda i, _, actor: sending_pause.pause_all_sending(i, reason="a doubt", actor=actor, now=NOW),
    "released": lambda i, _, actor: sending_pause.resume_all_sending(i, actor=actor, now=NOW),
    "uncertain taken as accepted": lambda i, name, actor: uncertain_delivery_actions.resolve_uncertain(
        i, name, ["a" * 26], UncertainResolution.ACCEPTED, reason="the log", actor=actor, clock=lambda: NOW
    ),
    "uncertain sent again": lambda i, name, actor: uncertain_delivery_actions.resolve_uncertain(
        i, name, ["a" * 26], UncertainResolution.SEND_AGAIN, reason="the log", actor=actor, clock=lambda: NOW
    ),
}


@pytest.fixture
def both(database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation with one subscriber, once on SQLite and once on PostgreSQL."""
    return build_web_setup(database, tmp_path)


@pytest.fixture
def approved(both: WebSetup) -> WebSetup:
    """Give an installation whose edition is approved, with one uncertain message of it."""
    return approve_edition(both)


@pytest.fixture
def approved_once(one_database: Database, tmp_path: Path) -> WebSetup:
    """Give the same on one database: for who may do what, in which a database has no say."""
    return approve_edition(build_web_setup(one_database, tmp_path))


def approve_edition(world: WebSetup) -> WebSetup:
    name = world.edition()
    content_hash = read_edition_status(world.install, name, now=NOW).content_hash
    edition_approval.approve_edition(world.install, name, content_hash, actor=EDITOR, now=NOW)
    with world.database.write() as session:
        session.add(
            Delivery(id="a" * 26, purpose=f"edition:{name}", state=DeliveryState.UNCERTAIN, due_at=NOW, next_try_at=NOW)
        )
        session.execute(delete(AuditEntry))
    return world


def audit_rows(database: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
    with database.read() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(row.act, row.actor, row.subject, row.detail) for row in rows]


@pytest.mark.takes_turns
def test_before_approval_it_is_said_when_the_warm_up_spreads_it_over_days(both: WebSetup) -> None:
    with both.database.write() as session:
        for address in ("bo@county.example", "cy@county.example"):
            manual_signup.add_subscriber(session, both.install.keys, address, evidence=sample_evidence(), now=NOW)
    file = both.install.settings.file
    limits = file.limits.model_copy(update={"warm_up": [1, 1]})
    slow = Installation(
        both.install.settings.model_copy(update={"file": file.model_copy(update={"limits": limits})}), both.database
    )
    name = both.edition()
    found = {finding.rule: finding.message for finding in edition_checks.check_edition(slow, name, now=NOW)}
    assert "sending to 3 subscribers takes about 3 days" in found["sending-days"]
    assert "sending-days" not in {finding.rule for finding in edition_checks.check_edition(both.install, name, now=NOW)}


@pytest.mark.parametrize("act", ADMINS_ACTIONS)
def test_what_an_editor_may_not_do_leaves_only_its_refusal(approved_once: WebSetup, act: str) -> None:
    before = approved_once.dump()
    with pytest.raises(NotPermittedError, match="only an admin can do this"):
        ADMINS_ACTIONS[act](approved_once.install, "2026-W47", EDITOR)
    after = approved_once.dump()
    subject = "installation" if act in {"held", "released"} else "2026-W47"
    assert audit_rows(approved_once.database) == [
        (f"refused: {act}", EDITOR.name, subject, {"role": "editor", "needed": "admin"})
    ]
    assert after | {"audit": []} == before
    assert not approved_once.install.settings.outbox_folder.exists()


@pytest.mark.parametrize("act", ADMINS_ACTIONS)
def test_what_an_admin_does_stands_in_the_audit_log_by_name(approved_once: WebSetup, act: str) -> None:
    if act == "released":
        sending_pause.pause_all_sending(approved_once.install, reason="a doubt", actor=ADMIN, now=NOW)
    ADMINS_ACTIONS[act](approved_once.install, "2026-W47", ADMIN)
    assert audit_rows(approved_once.database)[-1][:2] == (act, ADMIN.name)


def test_an_editor_drafts_checks_approves_voids_pauses_resumes_and_sends_tests(both: WebSetup) -> None:
    name = both.edition()
    with both.database.write() as session:
        session.add(
            StaffMember(email="sam@news.example.org", role="editor", added_at=NOW, added_by="eve", proven_at=NOW)
        )
    install = both.install
    content_hash = read_edition_status(install, name, now=NOW).content_hash
    assert edition_checks.check_edition(install, name, now=NOW) == ()
    edition_approval.approve_edition(install, "current", content_hash, actor=EDITOR, now=NOW)
    assert sending.pause_edition(install, name, reason="a doubt", actor=EDITOR, now=NOW).changed
    assert not sending.pause_edition(install, name, reason="another", actor=EDITOR, now=NOW).changed
    assert sending.resume_edition(install, name, actor=EDITOR, now=NOW).changed
    assert not sending.resume_edition(install, name, actor=EDITOR, now=NOW).changed
    assert sending.send_test_email(install, name, actor=EDITOR, clock=lambda: NOW).arrived
    edition_approval.revoke_approval(install, name, actor=EDITOR, now=NOW)
    assert audit_rows(both.database) == [
        (
            "approve",
            EDITOR.name,
            name,
            {"mark": content_hash, "version": 1, "missing": 0, "authors": [], "alone": False},
        ),
        ("paused", EDITOR.name, name, {"because": "a doubt"}),
        ("resumed", EDITOR.name, name, {}),
        ("test", EDITOR.name, name, {"to": ["staff 1"]}),
        ("void approval", EDITOR.name, name, {"taken back": [1]}),
    ]
    drafted = editions.draft_next_edition(install, actor=EDITOR, now=NOW)
    assert audit_rows(both.database)[-1] == ("draft", EDITOR.name, drafted.name, {"articles": 0})


@pytest.mark.takes_turns
def test_no_test_email_is_sent_or_logged_as_sent_while_all_sending_is_paused(approved: WebSetup) -> None:
    sending_pause.pause_all_sending(approved.install, reason="a doubt", actor=ADMIN, now=NOW)
    with pytest.raises(SendError, match=r"All sending is paused, so the test wasn't sent\. Ask an admin to resume"):
        sending.send_test_email(approved.install, "2026-W47", actor=EDITOR, clock=lambda: NOW)
    assert audit_rows(approved.database)[-1][:2] == ("failed: test", EDITOR.name)


@pytest.mark.takes_turns
def test_a_failed_act_is_written_as_failed_and_changes_nothing(approved: WebSetup) -> None:
    install, name = approved.install, "2026-W47"
    before = approved.dump()
    with pytest.raises(ApprovalError):
        edition_approval.approve_edition(install, name, "0000000", actor=EDITOR, now=NOW)
    with approved.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))
    with pytest.raises(EditionControlError, match=r"already been sent\. Correct the edition in the archive instead\."):
        sending.cancel_edition(install, name, actor=ADMIN, now=NOW)
    with approved.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.APPROVED))
    (approve, cancel) = audit_rows(approved.database)
    assert approve[:3] == ("failed: approve", EDITOR.name, name)
    assert (approve[3]["error"], approve[3]["message"].startswith("2026-W47")) == ("ApprovalError", True)
    assert cancel[:3] == ("failed: cancelled", ADMIN.name, name)
    assert cancel[3] == {
        "error": "EditionControlError",
        "message": "2026-W47 has already been sent.",
    }
    assert approved.dump() | {"audit": []} == before


@pytest.mark.takes_turns
def test_an_unknown_edition_is_no_act(approved: WebSetup) -> None:
    with pytest.raises(UnknownEditionError, match="Choose one of the latest: 2026-W47"):
        sending.pause_edition(approved.install, "2020-W01", reason="", actor=EDITOR, now=NOW)
    assert audit_rows(approved.database) == []


def test_cancelling_and_holding_twice_is_written_once(approved: WebSetup) -> None:
    for _ in range(2):
        sending.cancel_edition(approved.install, "2026-W47", actor=ADMIN, now=NOW)
        assert sending_pause.pause_all_sending(approved.install, reason="a", actor=ADMIN, now=NOW).reason == "a"
    assert [sending_pause.resume_all_sending(approved.install, actor=ADMIN, now=NOW) for _ in range(2)] == [True, False]
    assert [(row[0], row[3]) for row in audit_rows(approved.database)] == [
        ("cancelled", {"was": "approved"}),
        ("held", {"because": "a"}),
        ("released", {}),
    ]


@pytest.mark.takes_turns
def test_the_timetable_sends_in_its_own_name_and_only_what_it_handed_over_is_written(approved: WebSetup) -> None:
    for _ in range(2):
        sending.send_edition(approved.install, "2026-W47", actor=SCHEDULER, clock=lambda: RELEASE)
    assert audit_rows(approved.database) == [("send", "scheduler", "2026-W47", {"handed over": 1})]


@pytest.mark.takes_turns
def test_a_base_url_that_changed_after_drafting_says_what_to_do(both: WebSetup) -> None:
    name = both.edition()
    settings = both.install.settings
    moved = Installation(settings.model_copy(update={"base_url": "https://elsewhere.example.org/news"}), both.database)
    content_hash = read_edition_status(moved, name, now=NOW).content_hash
    with pytest.raises(ApprovalError) as caught:
        edition_approval.approve_edition(moved, name, content_hash, actor=EDITOR, now=NOW)
    assert f"links point to {settings.link_base}, but DIGEST_BASE_URL is now" in str(caught.value)
    assert "Ask an admin to update the draft on its review page, or restore DIGEST_BASE_URL." in str(caught.value)
    assert "because of 1 error" in str(caught.value)

    content_hash = read_edition_status(both.install, name, now=NOW).content_hash
    edition_approval.approve_edition(both.install, name, content_hash, actor=EDITOR, now=NOW)
    with pytest.raises(ApprovalError) as caught:
        sending.send_edition(moved, name, actor=ADMIN, clock=lambda: RELEASE)
    assert f"the links point to {settings.link_base}, but DIGEST_BASE_URL is now" in str(caught.value)
    assert "draft the edition again" in str(caught.value)
    assert sending.send_edition(both.install, name, actor=ADMIN, clock=lambda: RELEASE).handed_over == 1
