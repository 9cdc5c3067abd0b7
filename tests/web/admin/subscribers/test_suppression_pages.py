"""The suppression list is downloaded from a page, and another installation's is uploaded, checked, and adopted."""

import html
import io
import json
from typing import Any

import pytest
from pyrage import passphrase as age
from sqlalchemy import func, select

from digest.installation.audited_actions import CONFIRMATION_LIFETIME
from digest.store.models import AuditEntry
from subscribers.consent import suppression
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Suppression
from tests.moments import DRAFTING as NOW
from tests.subscribers.transfer.suppression_files import ADA, PASSPHRASE, encrypt_file, file_of
from tests.web.conftest import ADA_ADDRESS
from tests.web.forms import fetch_token

PAGE = "/admin/readers/suppressions"


def encrypted_file(tmp_path: Any, **changes: Any) -> bytes:
    return bytes(encrypt_file(file_of(**changes), tmp_path / "theirs.age").read_bytes())


def upload(client: Any, content: bytes) -> str:
    """Upload a suppression file; return its page's path."""
    form = fetch_token(client) | {"file": (io.BytesIO(content), "of ada@example.org.age")}
    answer = client.post(PAGE, data=form, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    path = str(answer.headers["Location"])
    assert "ada@" not in client.get(path).text
    return path


def post_step(world: Any, client: Any, path: str, step: str, **form: str) -> str:
    """Press the button of a step, wait until the work is through, and return the page."""
    answer = client.post(f"{path}/{step}", data=fetch_token(client) | {"passphrase": PASSPHRASE} | form)
    assert answer.status_code == 303, answer.text
    world.app.extensions["digest"].uploads.wait(path.rpartition("/")[2])
    page = read_page(client, path)
    assert PASSPHRASE not in page
    return page


def read_page(client: Any, path: str) -> str:
    return html.unescape(client.get(path).text).replace("’", "'")


def audited(world: Any) -> list[tuple[str, str]]:
    with world.database.read() as session:
        rows = [(row.act, json.dumps(row.detail)) for row in session.scalars(select(AuditEntry))]
    assert PASSPHRASE not in str(rows)
    return [row for row in rows if "suppression" in row[0] or "adoption" in row[0]]


def count_suppressions(world: Any) -> int:
    with world.database.read() as session:
        return session.scalar(select(func.count()).select_from(Suppression)) or 0


def test_a_file_is_checked_and_adopted_and_stays_encrypted_on_disk(both: Any, tmp_path: Any) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, encrypted_file(tmp_path))
    folder = both.install.settings.uploads_folder / path.rpartition("/")[2]
    assert [each.stat().st_mode & 0o777 for each in (folder.parent, folder)] == [0o700, 0o700]
    tried = post_step(both, client, path, "try")
    assert "Bounced, not suppressed here yet" in tried
    assert "You can't undo this." in tried
    assert count_suppressions(both) == 0
    assert client.post(f"{path}/commit", data=fetch_token(client) | {"passphrase": PASSPHRASE}).status_code == 400
    done = post_step(both, client, path, "commit", reason="moved")
    assert "The list is adopted." in done
    with both.database.read() as session:
        row = suppression.find_suppression(session, both.install.keys, ADA)
    assert row is not None
    assert row.reason == "bounced"
    assert not any(PASSPHRASE.encode() in file.read_bytes() for file in folder.iterdir())
    acts = [act for act, _ in audited(both)]
    assert acts == ["adoption tried", "suppressions adopted"]
    again = upload(client, (folder / "suppressions.age").read_bytes())
    post_step(both, client, again, "try")
    assert "adopted before" in post_step(both, client, again, "commit", reason="twice")
    assert client.post(f"{path}/remove", data=fetch_token(client)).status_code == 303
    assert not folder.exists()
    assert count_suppressions(both) == 1


def test_the_list_leaves_encrypted_with_reason_recipient_and_passphrase(both: Any) -> None:
    with both.database.write() as session:
        suppression.suppress_without_unsubscribe_log(
            session, both.install.keys, ADA, reason="by an admin", actor="eve", now=NOW
        )
    client = both.signed_in_client("admin")
    form = {"reason": "moving", "to": "our new server", "passphrase": PASSPHRASE, "repeated": PASSPHRASE}
    for wrong, problem in (
        ({"repeated": "another one"}, "The passphrases differ."),
        ({"passphrase": "short", "repeated": "short"}, "at least 12 characters"),
        ({"reason": "", "to": "x"}, "The reason is missing"),
    ):
        refused = client.post(f"{PAGE}/export", data=fetch_token(client) | form | wrong)
        assert (refused.status_code, problem in html.unescape(refused.text), PASSPHRASE in refused.text) == (
            400,
            True,
            False,
        )
    answer = client.post(f"{PAGE}/export", data=fetch_token(client) | form)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="suppressions-{NOW:%Y-%m-%d}.age"'
    _header, entry, _end = age.decrypt(answer.data, PASSPHRASE).split(b"\n")
    assert json.loads(entry)[2] == "by an admin"
    act, detail = audited(both)[-1]
    assert (act, json.loads(detail)["why"], json.loads(detail)["to"]) == (
        "suppressions exported",
        "moving",
        "our new server",
    )
    assert json.loads(detail)["counts"] == {"suppressed by an admin": 1}


def test_a_wrong_passphrase_and_no_suppression_file_are_said(world: Any, tmp_path: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, encrypted_file(tmp_path))
    assert "The passphrase doesn't decrypt this file." in post_step(world, client, path, "try", passphrase="another")
    assert "Start dry run" in client.get(path).text
    assert client.post(f"{path}/commit", data=fetch_token(client) | {"reason": "moved"}).status_code == 400
    assert "doesn't decrypt" not in post_step(world, client, path, "try")
    no_file = upload(client, f"email\n{ADA_ADDRESS}\n".encode())
    page = post_step(world, client, no_file, "try")
    assert "The file is damaged, or it isn't a suppression file." in page
    assert ADA_ADDRESS not in page
    nothing = client.post(PAGE, data=fetch_token(client), content_type="multipart/form-data")
    assert (nothing.status_code, "Choose a file first." in nothing.text) == (400, True)


def test_lists_and_suppression_files_have_pages_of_their_own(world: Any, tmp_path: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, encrypted_file(tmp_path))
    name = path.rpartition("/")[2]
    assert client.get(f"/admin/import/{name}").status_code == 404
    assert name not in client.get("/admin/import").text
    assert name in client.get(PAGE).text
    assert client.get(f"{PAGE}/{'0' * 16}").status_code == 404


def test_forms_ask_for_a_fresh_sign_in(world: Any, tmp_path: Any) -> None:
    path = upload(world.signed_in_client("admin"), encrypted_file(tmp_path))
    stale = world.client
    stale.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    for page in (PAGE, path):
        shown = stale.get(page).text
        assert "Sign in again" in shown
        assert 'type="password"' not in shown
    step = stale.post(f"{path}/try", data=fetch_token(stale) | {"passphrase": PASSPHRASE})
    assert step.status_code in {303, 403}
    assert PASSPHRASE not in step.text + step.headers.get("Location", "")
    assert audited(world) == []


@pytest.mark.parametrize("kind", ["own keys", "other keys"])
def test_hashes_that_cant_be_used_or_came_from_here_are_counted(world: Any, tmp_path: Any, kind: str) -> None:
    keys = world.install.keys if kind == "own keys" else KeyRing.from_seed(b"another")
    client = world.signed_in_client("admin")
    pair = "b" * 64, keys.current("suppression").id
    if kind == "own keys":
        with world.database.write() as session:
            suppression.suppress_hashes(session, [pair], "erased", NOW)
    foreign = file_of()
    foreign.seek(0, io.SEEK_END)
    foreign.write(f'["{pair[1]}","{pair[0]}","erased","{NOW.isoformat()}"]\n'.encode())
    path = upload(client, encrypt_file(foreign, tmp_path / "mixed.age").read_bytes())
    page = post_step(world, client, path, "try")
    label = (
        "Exported by this installation" if kind == "own keys" else "Can't be used because their key isn't in the file"
    )
    assert label in page
