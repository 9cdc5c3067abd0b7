"""A form that requires a recent sign-in is kept until the sender signs in again, and is then submitted as filled in."""

import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyotp
import pytest
from lxml import html as lxml_html
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from digest.installation.audited_actions import CONFIRMATION_LIFETIME
from digest.settings import load_settings
from digest.store.models import AuditEntry
from digest.web.kept_forms import KeptForm, KeptForms
from digest.web.server import open_page_server
from tests.app.settings.test_brand_images import draw_logo
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard
from tests.moments import DRAFTING as NOW
from tests.web.admin.settings.test_setting_pages import submit
from tests.web.conftest import ADA_ADDRESS
from tests.web.forms import fetch_token, hidden_fields, post_form
from tests.web.staff_ways import PASSWORD, confirm_by_keyboard, give_password

STALE = NOW - timedelta(minutes=20)
YESTERDAY = NOW - timedelta(days=1)
FORM_PAGE = "/desk/confirm/form"


@pytest.fixture
def filed(world: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    return move_settings_to_file(world, tmp_path)


def stale_admin(world: Any) -> tuple[Any, str]:
    """Return an admin's client whose sign-in is too old, and the secret of the app that makes codes."""
    secret = give_password(world, world.session_cookie("admin", fresh_at=YESTERDAY)[1], YESTERDAY)
    client = world.client
    client.set_cookie(*world.session_cookie("admin", fresh_at=STALE))
    return client, secret


def confirm(client: Any, secret: str, asked: Any) -> Any:
    """Sign in again where a form led to."""
    path, _, next_path = asked.location.partition("?next=")
    code = pyotp.TOTP(secret).at(NOW)
    fields = {"password": PASSWORD, "code": code, "next": unquote(next_path)}
    return client.post(path, data=fetch_token(client, "/desk/sources") | fields)


def test_a_settings_form_is_submitted_after_signing_in_again(filed: Any, tmp_path: Path) -> None:
    client, secret = stale_admin(filed)
    asked = submit(client, "publication", about="News for the border county.", tagline='Ports & "ships"')
    assert asked.location == "/desk/confirm?next=/admin/settings/publication"
    assert "Your form is kept" in client.get(asked.location).text
    confirmed = confirm(client, secret, asked)
    assert (confirmed.status_code, confirmed.location) == (303, FORM_PAGE)
    page = client.get(FORM_PAGE)
    assert page.headers["Cache-Control"] == "no-store"
    assert 'value="Ports &amp; &#34;ships&#34;"' in page.text
    assert 'action="/admin/settings/publication"' in page.text
    kept = hidden_fields(page.text) | {"tagline": 'Ports & "ships"'}
    assert "saved=1" in client.post("/admin/settings/publication", data=kept).location
    publication = load_settings(tmp_path / "digest.toml", {}).file.publication
    assert (publication.about, publication.tagline) == ("News for the border county.", 'Ports & "ships"')


def test_an_address_that_was_typed_is_kept_in_memory_alone(world: Any) -> None:
    client, secret = stale_admin(world)
    before = world.dump()
    asked = post_form(client, "/admin/readers/find", address=ADA_ADDRESS)
    after = world.dump()
    assert {name for name in after if after[name] != before[name]} <= {"staff_session"}
    assert ADA_ADDRESS not in asked.location + asked.text + asked.headers.get("Set-Cookie", "")
    assert confirm(client, secret, asked).location == FORM_PAGE
    assert f'name="address" value="{ADA_ADDRESS}"' in client.get(FORM_PAGE).text
    other = world.signed_in_client("admin")
    assert other.get(FORM_PAGE).location == "/desk/", "it's only that sign-in's"


def test_a_form_of_another_page_is_not_offered(world: Any) -> None:
    client, secret = stale_admin(world)
    post_form(client, "/admin/readers/find", address=ADA_ADDRESS)
    asked = client.get("/admin/readers/add")
    assert "Your form is kept" not in client.get(asked.location).text
    assert confirm(client, secret, asked).location == "/admin/readers/add"


def kept_forms(world: Any) -> dict[str, Any]:
    forms: dict[str, Any] = world.app.extensions["digest"].kept_forms._forms
    return forms


def test_a_form_is_dropped_once_it_is_submitted(filed: Any) -> None:
    client, secret = stale_admin(filed)
    asked = submit(client, "publication", about="News for the border county.")
    confirm(client, secret, asked)
    page = client.get(FORM_PAGE).text
    client.post("/admin/sources/look", data=fetch_token(client) | {"address": "ftp://port.example.org/"})
    assert len(kept_forms(filed)) == 1, "another form's submission drops nothing"
    assert "saved=1" in client.post("/admin/settings/publication", data=hidden_fields(page)).location
    assert kept_forms(filed) == {}
    assert client.get(FORM_PAGE).location == "/desk/"


def test_its_page_says_what_is_submitted_without_secrets_and_discards_it(filed: Any) -> None:
    client, secret = stale_admin(filed)
    asked = submit(client, "publication", about="News for the border county.", some_secret="s3cret")
    assert confirm(client, secret, asked).location == FORM_PAGE
    page = lxml_html.fromstring(client.get(FORM_PAGE).text)
    rows = {row.findtext("th"): str(row.find("td").xpath("string()")) for row in page.iter("tr")}
    assert rows["About"] == "News for the border county."
    assert rows["Action"].endswith("/admin/settings/publication")
    assert not {"Fingerprint", "Back", "Some secret"} & rows.keys()
    assert "Your form from " in page.xpath("string()")
    discarded = post_form(client, "/desk/confirm/form/discard")
    assert discarded.location == "/admin/settings/publication"
    assert kept_forms(filed) == {}


def test_a_form_is_dropped_on_sign_out(world: Any) -> None:
    client, _ = stale_admin(world)
    post_form(client, "/admin/readers/find", address=ADA_ADDRESS)
    assert len(kept_forms(world)) == 1
    post_form(client, "/desk/sign-out")
    assert kept_forms(world) == {}


def test_an_old_form_is_dropped_when_someone_looks_for_one() -> None:
    forms = KeptForms()
    forms.keep("one", KeptForm("/admin/readers/find", (), "/admin/readers", NOW))
    late = NOW + CONFIRMATION_LIFETIME
    assert forms.find("another", now=late - timedelta(seconds=1)) is None
    assert "one" in forms._forms
    assert forms.find("one", now=late) is None
    assert forms._forms == {}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"csrf_token": "forged", "address": ADA_ADDRESS}, id="another site sent it"),
        pytest.param({"file": (io.BytesIO(b"x"), "x.csv")}, id="a file"),
        pytest.param({"passphrase": "plum tractor window nine"}, id="a secret"),
    ],
)
def test_some_forms_are_not_kept(world: Any, fields: dict[str, Any]) -> None:
    client, secret = stale_admin(world)
    asked = client.post("/admin/readers/find", data=fetch_token(client) | fields)
    assert confirm(client, secret, asked).location == "/admin/readers", "the nearest page"
    assert client.get(FORM_PAGE).location == "/desk/"


@pytest.mark.parametrize(
    ("page", "path", "field"),
    [
        ("/admin/import", "/admin/import", "file"),
        ("/admin/readers/suppressions", "/admin/readers/suppressions", "file"),
        ("/admin/settings/branding", "/admin/settings/branding/logos", "header"),
    ],
)
def test_a_file_that_was_lost_has_to_be_chosen_again(filed: Any, page: str, path: str, field: str) -> None:
    client, secret = stale_admin(filed)
    token = fetch_token(client, "/desk/sources")
    fingerprint = re.findall(r'name="fingerprint" value="([^"]+)"', client.get("/admin/settings/branding").text)[0]
    asked = client.post(
        path, data=token | {"fingerprint": fingerprint, field: (io.BytesIO(draw_logo("#123456", (1120, 200))), "x.png")}
    )
    assert unquote(asked.location) == f"/desk/confirm?next={page}?file=again"
    assert "Your file wasn’t uploaded. Choose it again afterward." in client.get(asked.location).text
    back = confirm(client, secret, asked)
    assert back.location == f"{page}?file=again"
    assert "<b>Your file wasn’t uploaded,</b>" in client.get(back.location).text
    assert "Your file wasn’t uploaded" not in client.get(page).text


def test_a_form_of_ones_own_account_is_not_kept(world: Any) -> None:
    client, secret = stale_admin(world)
    asked = client.post("/desk/security/password", data=fetch_token(client) | {"password": "new plum tractor window"})
    assert asked.location.startswith("/desk/confirm?")
    confirm(client, secret, asked)
    assert client.get(FORM_PAGE).location == "/desk/"


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "way"), [(390, "pointer"), (1440, "keyboard")])
def test_someone_signs_in_again_and_goes_on_with_their_form(
    browser: Browser, filed: Any, tmp_path: Path, width: int, way: str
) -> None:
    secret = give_password(filed, filed.session_cookie("admin", fresh_at=YESTERDAY)[1], YESTERDAY)
    with open_page_server(filed.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 844}, java_script_enabled=way == "pointer")
        sign_in(context, filed, address, "admin", fresh_at=STALE)
        page = context.new_page()
        page.goto(f"{address}/admin/settings/publication")
        field, save = page.get_by_label("About"), page.get_by_role("button", name="Save publication")
        if way == "pointer":
            field.fill("News for the border county.")
            follow(save)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_label("Code from your app").fill(pyotp.TOTP(secret).at(NOW))
            follow(page.get_by_role("button", name="Use password and code"))
        else:
            write_by_keyboard(field, "News for the border county.")
            press_by_keyboard(save)
            confirm_by_keyboard(page, secret, NOW)
        expect(page.get_by_role("heading", level=1)).to_have_text("You’re signed in again")
        faults = page_faults(page) if way == "pointer" else ""
        again = page.get_by_role("button", name="Submit form")
        follow(again) if way == "pointer" else press_by_keyboard(again)
        expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
        context.close()
    assert faults == ""
    assert load_settings(tmp_path / "digest.toml", {}).file.publication.about == "News for the border county."
    with filed.database.read() as session:
        acts = session.scalars(select(AuditEntry.act).where(AuditEntry.act.like("%settings changed"))).all()
    assert acts == ["refused: settings changed", "settings changed"]
