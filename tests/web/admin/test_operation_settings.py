"""Alerts and backups in the settings pages: where alerts go, their tests, and the result of the last backup."""

import json
import re
import threading
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app.upkeep import background_backups
from digest.app.upkeep.backups import back_up_into_folder
from digest.backups.encrypted_file import EncryptedReader
from digest.store.models import AuditEntry
from tests.conftest import WAIT_TIMEOUT
from tests.web.admin.settings.test_setting_pages import submit
from tests.web.forms import post_form

SECRETS = {"DIGEST_ALERT_SECRET": "s3cret-of-alerts", "DIGEST_BACKUP_PASSPHRASE": "s3cret-of-backups"}


@pytest.fixture
def filed(world: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    return move_settings_to_file(world, tmp_path, **SECRETS)


def press(client: Any, table: str, path: str, **fields: str) -> Any:
    """Press a button of the page of a table."""
    return post_form(client, f"/admin/settings/{path}", token_page=f"/admin/settings/{table}", **fields)


def acts(world: Any, act: str) -> list[tuple[str, dict[str, Any]]]:
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act.like(f"%{act}")).order_by(AuditEntry.id))
        return [(row.act, row.detail) for row in rows]


def test_a_webhook_is_saved_and_a_signed_test_is_posted_to_it(filed: Any, httpserver: HTTPServer) -> None:
    client = filed.signed_in_client("admin")
    httpserver.expect_ordered_request("/hook", method="POST").respond_with_data(status=204)
    httpserver.expect_ordered_request("/hook", method="POST").respond_with_data(status=410)
    assert "Send test" not in client.get("/admin/settings/alerts").text
    assert press(client, "alerts", "alerts/test", channel="webhook").status_code == 409
    saved = submit(client, "alerts", mail="staff", webhook=httpserver.url_for("/hook"))
    assert saved.status_code == 303
    assert filed.install.settings.file.alerts.mail == "staff"
    taken = press(client, "alerts", "alerts/test", channel="webhook")
    page = client.get(taken.location).text
    assert "Test sent to the webhook." in page
    for shown in (page[page.index("Test the webhook") :], client.get("/admin/audit").text):
        assert f"{httpserver.url_for('/')}…" in shown
        assert "/hook" not in shown, "its path is a secret"
    request = httpserver.log[0][0]
    posted = json.loads(request.data)
    assert (posted["type"], posted["data"]["kind"]) == ("alert.test", "test")
    assert b"@" not in request.data
    assert request.headers["webhook-signature"].startswith("v1,")
    refused = press(client, "alerts", "alerts/test", channel="webhook")
    assert (refused.status_code, "The test failed (status 410)." in unescape(refused.text)) == (409, True)
    assert [act for act, _ in acts(filed, "alert tested")] == [
        "failed: alert tested",
        "alert tested",
        "failed: alert tested",
    ]


@pytest.mark.parametrize(("table", "name"), [("alerts", "webhook"), ("heartbeats", "send")])
def test_a_secret_address_is_shown_by_its_host_and_kept_if_saved_as_shown(
    filed: Any, httpserver: HTTPServer, table: str, name: str
) -> None:
    client = filed.signed_in_client("admin")
    place = httpserver.url_for("/")
    address, shown = f"{place}ping/token-1", f"{place}…"

    def saved_address() -> str:
        saved: str = getattr(getattr(filed.install.settings.file, table), name)
        return saved

    assert submit(client, table, **{name: address}).status_code == 303
    page = client.get(f"/admin/settings/{table}").text
    assert f'value="{shown}"' in page
    assert "token-1" not in page
    assert submit(client, table, **{name: shown}).status_code == 303
    assert saved_address() == address
    refused = submit(client, table, **{name: "https://elsewhere.example.org/…"})
    assert (refused.status_code, "whole URL" in refused.text) == (400, True)
    assert submit(client, table, **{name: ""}).status_code == 303
    assert saved_address() == ""


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://10.1.2.3/hook", "10.1.2.3"),
        ("http://hooks.example.org/x", "isn’t an https URL"),
        ("https://127.0.0.1:25/x", "Port 25 isn’t allowed"),
    ],
)
def test_a_webhook_that_must_not_be_reached_is_refused_at_its_field(filed: Any, address: str, says: str) -> None:
    answer = submit(filed.signed_in_client("admin"), "alerts", mail="admins", webhook=address)
    assert answer.status_code == 400
    (said,) = re.findall(r'<span class="err said-line" id="webhook-said">(.*?)</span>', answer.text)
    assert says in unescape(said)
    assert filed.install.settings.file.alerts.webhook == ""


def test_without_a_secret_the_page_names_the_variable_and_without_a_passphrase_it_asks_for_one(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    bare = move_settings_to_file(world, tmp_path)
    client = bare.signed_in_client("admin")
    refused = submit(client, "alerts", mail="admins", webhook="https://hooks.example.org/x")
    assert (refused.status_code, "so alerts can" in refused.text) == (400, True)
    assert "Enter one and save it first." in press(client, "backup", "backup/now").text
    assert submit(client, "backup", folder=str(tmp_path / "backups")).status_code == 303
    for short in ("", "eleven char"):
        stopped = press(client, "backup", "backup/now", passphrase=short)
        assert (stopped.status_code, "at least 12 characters" in stopped.text) == (409, True)
    assert press(client, "backup", "backup/now", passphrase="what nobody guesses").status_code == 303
    bare.app.extensions["digest"].backups.wait()
    (file,) = (tmp_path / "backups").glob("*.age")
    with file.open("rb") as opened:
        assert EncryptedReader(opened, "what nobody guesses").read(2) == b"PK"


def test_while_a_backup_is_made_the_page_renews_itself_and_lets_nothing_be_typed(
    filed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, backups = filed.signed_in_client("admin"), filed.app.extensions["digest"].backups
    assert submit(client, "backup", folder=str(tmp_path / "backups")).status_code == 303
    may_end = threading.Event()

    def back_up_slowly(*words: Any, progress: Callable[[int, int], None], **named: Any) -> object:
        progress(3, 12)
        assert may_end.wait(WAIT_TIMEOUT)
        return back_up_into_folder(*words, progress=progress, **named)

    monkeypatch.setattr(background_backups, "back_up_into_folder", back_up_slowly)
    press(client, "backup", "backup/now")
    answer = client.get("/admin/settings/backup")
    assert "Refresh" in answer.headers
    assert "<fieldset disabled>" in answer.text
    assert "Save backups" not in answer.text
    may_end.set()
    backups.wait()
    answer = client.get("/admin/settings/backup")
    assert "Refresh" not in answer.headers
    assert "<fieldset disabled>" not in answer.text
    assert "Save backups" in answer.text


def test_a_backup_is_made_in_the_background_and_the_page_says_what_came_of_it(filed: Any, tmp_path: Path) -> None:
    client, folder = filed.signed_in_client("admin"), tmp_path / "backups"
    wrong = submit(client, "backup", folder="backups", at="daily 02:30", daily="7", weekly="4", monthly="0")
    assert (wrong.status_code, "an absolute path. Use one such as" in wrong.text) == (400, True)
    assert "Back up to another disk or machine" in wrong.text, "while no schedule is set"
    assert submit(client, "backup", folder=str(folder), at="daily 03:10", daily="3").status_code == 303
    page = client.get("/admin/settings/backup").text
    assert "No verified backup yet." in page
    assert "No backup has been made yet." in unescape(page), "the doctor says so, once"
    assert "Back up to another disk or machine" not in page
    assert press(client, "backup", "backup/now").status_code == 303
    filed.app.extensions["digest"].backups.wait()
    page = client.get("/admin/settings/backup").text
    (file,) = folder.glob("*.age")
    assert f"<dd>{file.name}</dd>" in page
    assert "restored to a temporary database" in page
    assert "No backup has been made yet." not in unescape(page)
    ((act, detail),) = acts(filed, "backed up")
    assert (act, detail["file"], detail["proved"]) == ("backed up", file.name, True)
    folder.rename(tmp_path / "kept")
    folder.write_text("in the way")
    press(client, "backup", "backup/now")
    filed.app.extensions["digest"].backups.wait()
    page = client.get("/admin/settings/backup").text
    assert page.count("<li>The backup of Nov. 19, 5:30 p.m. ET failed") == 1, "on top of every page"
    assert "backups: File exists. Check backup.folder in digest.toml" in unescape(page), "why, with what to do"
    assert "No backups can be made because" in unescape(page), "the cause, and not what follows from it"
    assert "Scheduled backups don’t work" not in unescape(page)
    assert f"<dd>{file.name}</dd>" in page, "the one that was proved is still named"


def test_no_secret_stands_in_a_page_and_an_editor_gets_neither(filed: Any) -> None:
    client, editor = filed.signed_in_client("admin"), filed.desk
    for table, variable in (("alerts", "DIGEST_ALERT_SECRET"), ("backup", "DIGEST_BACKUP_PASSPHRASE")):
        page = client.get(f"/admin/settings/{table}").text
        assert re.search(rf"<b>set</b><br><small>{variable}, set in <code>digest.env</code> or the environment", page)
        assert "s3cret" not in page
        assert editor.get(f"/admin/settings/{table}").status_code == 403
