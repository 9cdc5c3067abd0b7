"""Ways to sign in, in a real browser: passkeys with Chromium's virtual authenticator, password and code, recovery codes. For
the keyboard, see `tests/web/desk/test_editors_week_in_browser.py`."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from sqlalchemy import select

from digest.app.accounts.sign_in import make_sign_in_link
from digest.installation.opened_installation import Installation
from digest.store.account_models import Passkey, SignInAttempt, StaffSession
from digest.store.models import AuditEntry
from digest.web.app import create_app
from digest.web.server import open_page_server
from tests.actors import ADMIN
from tests.browser import follow, open_all_details, page_faults, show_views, tab_to
from tests.conftest import reserve_port
from tests.moments import DRAFTING as NOW
from tests.moments import Clock
from tests.web.staff_ways import PASSWORD, add_authenticator, read_app_secret

pytestmark = pytest.mark.chromium

EVE = "eve@newsroom.example"


@dataclass
class Served:
    """A served installation, whose address is a name, as passkeys ask for."""

    world: Any
    base: str
    clock: Clock

    def link(self) -> str:
        """Make a sign-in link of Eve's, as the terminal prints it."""
        return make_sign_in_link(self.world.install, ADMIN, EVE, now=self.clock.now)


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path, build_world: Any) -> Iterator[Served]:
    """Serve an installation on SQLite, or on the database that a test names."""
    database = request.getfixturevalue(getattr(request, "param", "sqlite"))
    world = build_world(database, tmp_path)
    world.session_cookie()  # so that Eve is on the staff
    clock = Clock()
    with reserve_port() as port:
        base = f"http://localhost:{port}"
        install = Installation(world.install.settings.model_copy(update={"base_url": base}), database)
        world = replace(world, install=install, app=create_app(install, clock=clock))
        world.edition()
        with open_page_server(world.app, "127.0.0.1", port):
            yield Served(world, base, clock)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


def sign_in_by_link(page: Page, served: Served) -> None:
    page.goto(served.link())
    follow(page.get_by_role("button", name="Sign in"))
    expect(page).to_have_url(f"{served.base}/desk/")


def add_passkey(page: Page, served: Served, name: str = "Laptop at the desk") -> None:
    page.goto(f"{served.base}/desk/security/passkeys/add")
    page.get_by_label("Name").fill(name)
    follow(page.get_by_role("button", name="Create a passkey"))
    expect(page).to_have_url(f"{served.base}/desk/security#passkeys")


def sign_out(page: Page) -> None:
    follow(page.get_by_role("button", name="Sign out").first)


def use_passkey(page: Page) -> None:
    follow(page.get_by_role("button", name="Use a passkey"))


def rows(served: Served, query: Any) -> list[Any]:
    with served.world.database.read() as session:
        return list(session.scalars(query))


@pytest.mark.parametrize("served", ["sqlite", "postgresql"], indirect=True)
def test_a_passkey_is_made_signs_in_and_confirms(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    add_authenticator(page)
    sign_in_by_link(page, served)
    # Whoever has no way in yet is offered one.
    expect(page).to_have_url(f"{served.base}/desk/")
    follow(page.get_by_role("link", name="add a passkey or a password"))
    expect(page).to_have_url(f"{served.base}/desk/security")
    add_passkey(page, served)
    expect(page.get_by_role("rowheader", name="Laptop at the desk")).to_be_visible()
    sign_out(page)
    page.goto(f"{served.base}/desk/sources")
    use_passkey(page)
    expect(page).to_have_url(f"{served.base}/desk/sources")
    served.clock.advance(minutes=20)
    page.goto(f"{served.base}/desk/security/passkeys/add")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in again")
    token = {c["name"]: c["value"] for c in context.cookies()}["desk"]
    use_passkey(page)
    expect(page.get_by_label("Name")).to_be_visible()
    expect(page).to_have_url(f"{served.base}/desk/security/passkeys/add")
    assert {c["name"]: c["value"] for c in context.cookies()}["desk"] != token
    (passkey,) = rows(served, select(Passkey))
    assert (passkey.name, passkey.used_at) == ("Laptop at the desk", served.clock.now)
    methods = [row.method for row in rows(served, select(SignInAttempt).order_by(SignInAttempt.id))]
    assert methods == ["link", "passkey", "passkey"]
    assert [text for text in said if "404" not in text] == []


def test_another_members_passkey_does_not_confirm_and_a_removed_one_signs_nobody_in(
    served: Served, context: BrowserContext
) -> None:
    page = context.new_page()
    add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served, "One")
    follow(page.get_by_role("link", name="Change One"))
    follow(page.get_by_role("button", name="Remove this passkey"))
    expect(page.get_by_role("alert")).to_contain_text("your only way to sign in")
    with served.world.database.write() as session:
        session.delete(session.scalars(select(Passkey)).one())
    sign_out(page)
    use_passkey(page)
    expect(page.get_by_role("alert").first).to_contain_text("isn’t registered here")
    assert "desk" not in {c["name"] for c in context.cookies()}


def test_a_passkeys_answer_works_once(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served)
    sign_out(page)
    with page.expect_request(re.compile("/desk/sign-in/passkey$")) as sent:
        use_passkey(page)
    expect(page).to_have_url(f"{served.base}/desk/")
    body = sent.value.post_data
    assert body is not None
    context.clear_cookies()
    page.goto(f"{served.base}/desk/sign-in")
    token = page.locator("input[name=csrf_token]").first.input_value()
    again = page.request.post(
        f"{served.base}/desk/sign-in/passkey",
        data=re.sub(r"csrf_token=[^&]*", f"csrf_token={token}", body),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        max_redirects=0,
    )
    assert again.status == 401
    assert "has already been used" in again.text()


def test_a_device_that_does_not_know_its_owner_signs_nobody_in(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    commands = add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served)
    sign_out(page)
    commands.send("WebAuthn.disable")
    add_authenticator(page)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("[data-said]")).to_contain_text("The passkey wasn\u2019t used")
    assert "desk" not in {c["name"] for c in context.cookies()}


def test_at_another_name_of_the_machine_the_page_says_where_passkeys_work(
    served: Served, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(served.base.replace("localhost", "127.0.0.1") + "/desk/sign-in")
    expect(page.locator("[data-said]")).to_contain_text(f"Passkeys only work at {served.base}")
    expect(page.get_by_role("button", name="Use a passkey")).to_be_disabled()


def set_up_password(page: Page) -> str:
    """Set up password and code on the page of one's own sign-in; return the app's secret."""
    follow(page.get_by_role("button", name="Set up"))
    assert page.locator("img.qr").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_text("Enter the key instead").click()
    secret = read_app_secret(page)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code from the app").fill(pyotp.TOTP(secret).at(NOW))
    follow(page.get_by_role("button", name="Set up"))
    return secret


@pytest.mark.parametrize(("width", "key"), [(1440, ""), (390, ""), (390, "Enter")])
def test_recovery_codes_can_be_copied_saved_and_printed(served: Served, browser: Browser, width: int, key: str) -> None:
    def press(locator: Locator) -> None:
        if key:
            tab_to(locator).press(key)
        else:
            locator.click()

    context = browser.new_context(
        viewport={"width": width, "height": 844}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    sign_in_by_link(page, served)
    page.goto(f"{served.base}/desk/security")
    set_up_password(page)
    codes = page.locator(".codes code").all_inner_texts()
    assert len(codes) > 5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    press(page.get_by_role("button", name="Copy"))
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(codes)
    with page.expect_download() as download:
        press(page.get_by_role("link", name="Save as a file"))
    assert download.value.suggested_filename.endswith(" recovery codes.txt")
    assert download.value.path().read_text("utf-8") == "".join(f"{code}\n" for code in codes)
    page.evaluate("window.print = () => { document.title = 'Printed' }")
    press(page.get_by_role("button", name="Print"))
    expect(page).to_have_title("Printed")
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    expect(page.locator(".codes code").first).to_be_visible()
    context.close()


def fill_sign_in(page: Page, served: Served, code: str, password: str = PASSWORD, email: str = EVE.upper()) -> None:
    page.goto(f"{served.base}/desk/sign-in")
    page.get_by_label("Your email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Code from your app").fill(code)
    follow(page.get_by_role("button", name="Sign in with password and code"))


@pytest.mark.parametrize("served", ["sqlite", "postgresql"], indirect=True)
def test_password_with_code_and_a_recovery_code_sign_in_without_scripts(served: Served, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    sign_in_by_link(page, served)
    page.goto(f"{served.base}/desk/security")
    follow(page.get_by_role("button", name="Set up"))
    page.get_by_text("Enter the key instead").click()
    secret = read_app_secret(page)
    page.get_by_label("New password").fill("password1234")
    page.get_by_label("Code from the app").fill(pyotp.TOTP(secret).at(NOW))
    follow(page.get_by_role("button", name="Set up"))
    expect(page.get_by_role("alert")).to_contain_text("digits or symbols added")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code from the app").fill(pyotp.TOTP(secret).at(NOW))
    follow(page.get_by_role("button", name="Set up"))
    expect(page.locator(".codes code")).to_have_count(10)
    codes = page.locator(".codes code").all_inner_texts()
    assert len(set(codes)) == 10
    follow(page.get_by_role("link", name="Continue to sign-in settings"))
    sign_out(page)

    # No code works twice.
    fill_sign_in(page, served, pyotp.TOTP(secret).at(NOW))
    expect(page.locator("#code-error")).to_contain_text("has already been used")
    served.clock.advance(seconds=30)
    fill_sign_in(page, served, pyotp.TOTP(secret).at(served.clock.now))
    expect(page).to_have_url(f"{served.base}/desk/")
    page.goto(f"{served.base}/desk/security")
    expect(page.locator("main")).to_contain_text("10 of 10 left")
    sign_out(page)
    fill_sign_in(page, served, codes[3].upper())
    expect(page).to_have_url(f"{served.base}/desk/")
    page.goto(f"{served.base}/desk/security")
    expect(page.locator("main")).to_contain_text("9 of 10 left")
    sign_out(page)
    fill_sign_in(page, served, codes[3])
    expect(page.locator("#code-error")).to_contain_text("has already been used")
    context.close()


def test_sessions_are_listed_and_ended_and_a_new_password_ends_the_others(
    served: Served, browser: Browser, context: BrowserContext
) -> None:
    page, others = context.new_page(), [browser.new_context() for _ in range(3)]
    sign_in_by_link(page, served)
    page.goto(f"{served.base}/desk/security")
    set_up_password(page)
    for other in others:
        sign_in_by_link(other.new_page(), served)
    page.goto(f"{served.base}/desk/security")
    follow(page.get_by_role("button", name=re.compile("^Sign out Chrome|^Sign out A browser|^Sign out .*Linux")).first)
    alive = [other.request.get(f"{served.base}/desk/", max_redirects=0).status for other in others]
    assert sorted(alive) == [200, 200, 303]
    follow(page.get_by_role("link", name="Change password"))
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill("another plum, another window")
    follow(page.get_by_role("button", name="Save"))
    expect(page).to_have_url(f"{served.base}/desk/security#password")
    assert [other.request.get(f"{served.base}/desk/", max_redirects=0).status for other in others] == [303] * 3
    assert len(rows(served, select(StaffSession))) == 1
    assert "password or app set" in rows(served, select(AuditEntry.act))
    for other in others:
        other.close()


def test_failed_sign_ins_are_shown_to_the_member_until_they_have_looked(
    served: Served, browser: Browser, context: BrowserContext
) -> None:
    page, stranger = context.new_page(), browser.new_context(user_agent="Mozilla/5.0 (Windows NT 10.0) Firefox/140.0")
    sign_in_by_link(page, served)
    page.goto(f"{served.base}/desk/security")
    set_up_password(page)
    served.clock.advance(minutes=5)
    for _ in range(3):
        fill_sign_in(stranger.new_page(), served, "123456", "a guess at the password")
    stranger.close()
    page.goto(f"{served.base}/desk/security")
    warning = page.get_by_role("status")
    expect(warning).to_contain_text("Someone tried and failed to sign in as you 3 times")
    expect(warning).to_contain_text("this machine with Firefox on Windows")
    expect(page.locator(".log")).to_contain_text("Failed 3 times")
    follow(page.get_by_role("button", name="Confirm it was me"))
    expect(warning).to_have_count(0)
    expect(page.locator(".log")).to_contain_text("Failed 3 times")


def test_axe_finds_nothing_and_nothing_scrolls_sideways(served: Served, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    found: dict[str, str] = {}

    def look(name: str) -> None:
        open_all_details(page)
        if faults := page_faults(page, widths=WIDTHS):
            found[name] = faults
        if folder := IMAGES:
            for width, scheme in show_views(page, WIDTHS):
                page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png", full_page=True)

    add_authenticator(page)
    page.goto(served.link())
    look("link")
    follow(page.get_by_role("button", name="Sign in"))
    look("desk-offers-a-way-in")
    follow(page.get_by_role("link", name="add a passkey or a password"))
    look("security-empty")
    add_passkey(page, served)
    page.goto(f"{served.base}/desk/security/passkeys/add")
    look("add-passkey")
    page.goto(f"{served.base}/desk/security")
    follow(page.get_by_role("button", name="Set up"))
    look("password")
    page.get_by_role("button", name="Set up").evaluate("button => button.form.noValidate = true")
    follow(page.get_by_role("button", name="Set up"))
    look("password-refused")
    page.goto(f"{served.base}/desk/security")
    set_up_password(page)
    look("recovery-codes")
    sign_in_by_link(browser.new_page(), served)
    fill_sign_in(browser.new_page(), served, "1", "wrong")
    page.goto(f"{served.base}/desk/security")
    look("security")
    follow(page.get_by_role("link", name=re.compile("^Change Laptop")))
    look("passkey")
    served.clock.advance(minutes=52)
    page.goto(f"{served.base}/desk/security/password")
    look("confirm")
    page.goto(f"{served.base}/desk/security")
    sign_out(page)
    look("sign-in")
    fill_sign_in(page, served, "123456")
    look("sign-in-code")
    for _ in range(5):
        fill_sign_in(page, served, "123456", "wrong")
    expect(page.get_by_role("alert").first).to_contain_text("You’ve made 5 failed attempts. Wait 10 minutes")
    look("sign-in-too-many")
    context.close()
    assert found == {}


WIDTHS = (320, 768, 1440)
IMAGES = os.environ.get("PICTURES_FOLDER", "")
