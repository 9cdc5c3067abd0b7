"""Guarded actions: people confirm who they are first, and all other admins get an email, whatever the settings."""

import re
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from digest.app import background
from digest.deliver.control import installation_hold
from digest.store.delivery_models import Delivery, StaffMember
from digest.store.models import AuditEntry
from tests.web.admin.test_setting_pages import submit
from tests.web.conftest import MEMBERS, NOW

OTHER_ADMIN = "bo@newsroom.example"
STALE = NOW - timedelta(minutes=20)
SETTINGS = {
    "the consent text": ("wordings", {"consent": "Yes, {name} may write to me on Fridays."}, "wordings.consent"),
    "reply_to": ("sender", {"reply_to": "elsewhere@example.com"}, "sender.reply_to"),
    "proxies": ("limits", {"proxies": "1"}, "limits.proxies"),
    "the backup folder": ("backup", {"folder": "/backups/elsewhere"}, "backup.folder"),
    "alerts": ("alerts", {"mail": "off"}, "alerts.mail"),
}


@pytest.fixture
def filed(both: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    return move_settings_to_file(both, tmp_path)


def add_admin(world: Any, email: str = OTHER_ADMIN) -> None:
    with world.database.write() as session:
        session.add(StaffMember(email=email, role="admin", added_at=NOW, added_by="terminal:eve", proven_at=NOW))


def admin_client(world: Any, fresh_at: Any = NOW) -> Any:
    client = world.client
    client.set_cookie(*world.session_cookie("admin", fresh_at=fresh_at))
    return client


def press_pause(client: Any, act: str = "hold") -> Any:
    page = client.get("/admin/deliveries").text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    reason = re.search(r'name="reason" value="([^"]+)"', page)
    return client.post(f"/admin/deliveries/{act}", data=fields | {"reason": reason[1] if reason else "mistake"})


def sent_emails(world: Any) -> list[EmailMessage]:
    background.send_due_notices(world.install, clock=lambda: NOW)
    with world.database.read() as session:
        sent = select(Delivery.id).where(Delivery.handed_at.is_not(None), Delivery.purpose.like("guard:%"))
        files = [world.install.settings.outbox_folder / "notice" / f"{name}.eml" for name in session.scalars(sent)]
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def text_of(email: EmailMessage) -> str:
    body = email.get_body(("plain",))
    assert body is not None
    return " ".join(body.get_content().split())


def actions(world: Any) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(AuditEntry.act).order_by(AuditEntry.id)))


@pytest.mark.parametrize("what", SETTINGS)
def test_a_guarded_setting_takes_a_confirmation_and_tells_the_other_admins(
    filed: Any, tmp_path: Path, what: str
) -> None:
    table, fields, name = SETTINGS[what]
    add_admin(filed)
    file, stale = tmp_path / "digest.toml", admin_client(filed, STALE)
    before = file.read_text("utf-8")
    refused = submit(stale, table, **fields)
    assert (refused.status_code, refused.location) == (303, f"/desk/confirm?next=/admin/settings/{table}")
    assert file.read_text("utf-8") == before
    assert actions(filed) == ["refused: settings changed"]
    assert sent_emails(filed) == []
    assert submit(admin_client(filed), table, **fields).status_code == 303
    assert file.read_text("utf-8") != before
    (email,) = sent_emails(filed)
    assert (email["To"], email["Subject"]) == (OTHER_ADMIN, f"staff 2 changed settings: {name}")
    text = text_of(email)
    assert "at the desk, on November 19, 2026" in text
    assert MEMBERS["admin"] not in email.as_string()
    assert "elsewhere@example.com" not in text


def test_a_setting_that_weakens_nothing_takes_no_confirmation(filed: Any) -> None:
    add_admin(filed)
    stale = admin_client(filed, STALE)
    assert "saved=1" in submit(stale, "publication", tagline="All the news").location
    assert "saved=1" not in submit(stale, "sender", name="HLS.Today").location, "it was so before"
    assert sent_emails(filed) == []


def test_pausing_takes_a_confirmation_and_its_own_email_leaves_all_the_same(both: Any) -> None:
    add_admin(both)
    refused = press_pause(admin_client(both, STALE))
    assert (refused.status_code, refused.location) == (303, "/desk/confirm?next=/admin/deliveries")
    with both.database.read() as session:
        assert installation_hold.current_hold(session) is None
    press_pause(admin_client(both))
    with both.database.read() as session:
        assert installation_hold.current_hold(session) is not None
    (email,) = sent_emails(both)
    assert (email["To"], email["Subject"]) == (OTHER_ADMIN, "staff 2 paused all sending")
    press_pause(admin_client(both), "release")
    assert [str(each["Subject"]) for each in sent_emails(both)][-1:] != []
    assert {str(each["Subject"]) for each in sent_emails(both)} == {
        "staff 2 paused all sending",
        "staff 2 resumed sending",
    }
