"""The ways in, in a real browser: passkeys with Chromium's virtual authenticator, password and code, recovery codes, by keyboard too."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import select

from digest.app import background
from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.installation import Installation
from digest.store.account_models import Passkey, SignIn, StaffSession
from digest.store.models import AuditEntry
from digest.web.app import create_app
from digest.web.server import open_page_server
from tests.actors import ADMIN

pytestmark = pytest.mark.chromium

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
EVE = "eve@newsroom.example"
PASSWORD = "plum tractor window nine"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Clock:
    """The hour that the served pages go by."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: int) -> None:
        self.now += timedelta(**by)


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = build_world(database, tmp_path)
    world.session_cookie()  # so that Eve is on the staff
    base = f"http://localhost:{port}"
    install = Installation(world.install.settings.model_copy(update={"base_url": base}), database)
    clock = Clock()
    world = replace(world, install=install, app=create_app(install, clock=clock))
    world.edition()
    with open_page_server(world.app, "127.0.0.1", port):
        yield Served(world, base, clock)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


def add_authenticator(page: Page) -> Any:
    """Give the page a device that makes passkeys; return the session that commands it."""
    commands = page.context.new_cdp_session(page)
    commands.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    commands.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return commands


def sign_in_by_link(page: Page, served: Served) -> None:
    page.goto(served.link())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile("/desk/(security)?$"))


def add_passkey(page: Page, served: Served, name: str = "Laptop at the desk") -> None:
    page.goto(f"{served.base}/desk/security/passkeys/add")
    page.get_by_label("Its name").fill(name)
    page.get_by_role("button", name="Make a passkey").click()
    page.wait_for_url(f"{served.base}/desk/security#passkeys")


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
    assert page.url.endswith("/desk/security"), "whoever has no way in yet is led to where one is made"
    add_passkey(page, served)
    assert page.get_by_role("rowheader", name="Laptop at the desk").is_visible()
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{served.base}/desk/sources")
    page.get_by_role("button", name="Use my passkey").click()
    page.wait_for_url(f"{served.base}/desk/sources")
    served.clock.advance(minutes=20)
    page.goto(f"{served.base}/desk/security/passkeys/add")
    assert page.get_by_role("heading", level=1).inner_text() == "Sign in again"
    token = {c["name"]: c["value"] for c in context.cookies()}["desk"]
    page.get_by_role("button", name="Use my passkey").click()
    page.wait_for_url(f"{served.base}/desk/security/passkeys/add")
    assert {c["name"]: c["value"] for c in context.cookies()}["desk"] != token
    (passkey,) = rows(served, select(Passkey))
    assert (passkey.name, passkey.used_at) == ("Laptop at the desk", served.clock.now)
    methods = [row.method for row in rows(served, select(SignIn).order_by(SignIn.id))]
    assert methods == ["link", "passkey", "passkey"]
    assert [text for text in said if "404" not in text] == []


def test_another_members_passkey_does_not_confirm_and_a_removed_one_signs_nobody_in(
    served: Served, context: BrowserContext
) -> None:
    page = context.new_page()
    add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served, "One")
    page.get_by_role("link", name="Change One").click()
    page.get_by_role("button", name="Remove this passkey").click()
    assert "your only way to sign in" in page.get_by_role("alert").inner_text()
    with served.world.database.write() as session:
        session.delete(session.scalars(select(Passkey)).one())
    page.get_by_role("button", name="Sign out").first.click()
    page.get_by_role("button", name="Use my passkey").click()
    assert "not known here" in page.get_by_role("alert").first.inner_text()
    assert "desk" not in {c["name"] for c in context.cookies()}


def test_a_passkeys_answer_works_once(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served)
    page.get_by_role("button", name="Sign out").first.click()
    with page.expect_request(re.compile("/desk/sign-in/passkey$")) as sent:
        page.get_by_role("button", name="Use my passkey").click()
    page.wait_for_url(f"{served.base}/desk/")
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
    assert "was used" in again.text()


def test_a_device_that_does_not_know_its_owner_signs_nobody_in(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    commands = add_authenticator(page)
    sign_in_by_link(page, served)
    add_passkey(page, served)
    page.get_by_role("button", name="Sign out").first.click()
    commands.send("WebAuthn.disable")
    add_authenticator(page)
    page.get_by_role("button", name="Use my passkey").click()
    page.locator("[data-said]").filter(has_text="No passkey was used").wait_for()
    assert "desk" not in {c["name"] for c in context.cookies()}


def test_at_another_name_of_the_machine_the_page_says_where_passkeys_work(
    served: Served, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(served.base.replace("localhost", "127.0.0.1") + "/desk/sign-in")
    assert f"Passkeys work at {served.base} alone" in page.locator("[data-said]").inner_text()
    assert page.get_by_role("button", name="Use my passkey").is_disabled()


def set_up_password(page: Page) -> str:
    """Set up password and code on the page of one's own sign-in; return the app's secret."""
    page.get_by_role("button", name="Set up").click()
    assert page.locator("img.qr").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_text("Type it instead").click()
    secret = page.locator("code.secret").inner_text().replace(" ", "")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).at(NOW))
    page.get_by_role("button", name="Set up").click()
    return secret


def fill_sign_in(page: Page, served: Served, code: str, password: str = PASSWORD, email: str = EVE.upper()) -> None:
    page.goto(f"{served.base}/desk/sign-in")
    page.get_by_label("Your email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Code from your app").fill(code)
    page.get_by_role("button", name="Sign in with password and code").click()


@pytest.mark.parametrize("served", ["sqlite", "postgresql"], indirect=True)
def test_password_with_code_and_a_recovery_code_sign_in_without_scripts(served: Served, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    sign_in_by_link(page, served)
    page.get_by_role("button", name="Set up").click()
    page.get_by_text("Type it instead").click()
    secret = (page.locator("code.secret").text_content() or "").replace(" ", "")
    page.get_by_label("New password").fill("password1234")
    page.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).at(NOW))
    page.get_by_role("button", name="Set up").click()
    assert "very common password" in page.get_by_role("alert").inner_text()
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).at(NOW))
    page.get_by_role("button", name="Set up").click()
    expect(page.locator(".codes code")).to_have_count(10)
    codes = page.locator(".codes code").all_inner_texts()
    assert len(set(codes)) == 10
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_role("button", name="Sign out").first.click()

    fill_sign_in(page, served, pyotp.TOTP(secret).at(NOW))
    assert "was used" in page.locator("#code-error").inner_text(), "no code works twice"
    served.clock.advance(seconds=30)
    fill_sign_in(page, served, pyotp.TOTP(secret).at(served.clock.now))
    page.wait_for_url(f"{served.base}/desk/")
    page.goto(f"{served.base}/desk/security")
    assert "10 of 10 left" in page.locator("main").inner_text()
    page.get_by_role("button", name="Sign out").first.click()
    fill_sign_in(page, served, codes[3].upper())
    page.wait_for_url(f"{served.base}/desk/")
    page.goto(f"{served.base}/desk/security")
    assert "9 of 10 left" in page.locator("main").inner_text()
    page.get_by_role("button", name="Sign out").first.click()
    fill_sign_in(page, served, codes[3])
    assert "was used" in page.locator("#code-error").inner_text()
    context.close()


def test_sessions_are_listed_and_ended_and_a_new_password_ends_the_others(
    served: Served, browser: Browser, context: BrowserContext
) -> None:
    page, others = context.new_page(), [browser.new_context() for _ in range(3)]
    sign_in_by_link(page, served)
    set_up_password(page)
    for other in others:
        sign_in_by_link(other.new_page(), served)
    page.goto(f"{served.base}/desk/security")
    page.get_by_role("button", name=re.compile("^End Chrome|^End A browser|^End .*Linux")).first.click()
    alive = [other.request.get(f"{served.base}/desk/", max_redirects=0).status for other in others]
    assert sorted(alive) == [200, 200, 303]
    page.get_by_role("link", name="Change it").click()
    page.get_by_label("New password").fill("another plum, another window")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"{served.base}/desk/security#password")
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
    set_up_password(page)
    served.clock.advance(minutes=5)
    for _ in range(3):
        fill_sign_in(stranger.new_page(), served, "123456", "a guess at the password")
    stranger.close()
    page.goto(f"{served.base}/desk/security")
    warning = page.get_by_role("status").inner_text()
    assert "Somebody tried to sign in as you 3 times" in warning
    assert "this machine with Firefox on Windows" in warning
    assert "Failed 3 times" in page.locator(".log").inner_text()
    page.get_by_role("button", name="That was me").click()
    assert page.get_by_role("status").count() == 0
    assert "Failed 3 times" in page.locator(".log").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1440])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    served: Served, browser: Browser, width: int, scheme: Any, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    found: dict[str, Any] = {}

    def look(name: str) -> None:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        result = Axe().run(page, options={"resultTypes": ["violations"]})
        if result.violations_count:
            found[name] = result.generate_report()
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[f"{name} is wide"] = width
        if folder := PICTURES:
            page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png", full_page=True)

    add_authenticator(page)
    page.goto(served.link())
    look("link")
    page.get_by_role("button", name="Sign in").click()
    look("security-empty")
    add_passkey(page, served)
    page.goto(f"{served.base}/desk/security/passkeys/add")
    look("add-passkey")
    page.goto(f"{served.base}/desk/security")
    page.get_by_role("button", name="Set up").click()
    look("password")
    page.get_by_role("button", name="Set up").evaluate("button => button.form.noValidate = true")
    page.get_by_role("button", name="Set up").click()
    look("password-refused")
    page.goto(f"{served.base}/desk/security")
    set_up_password(page)
    look("recovery-codes")
    sign_in_by_link(browser.new_page(), served)
    fill_sign_in(browser.new_page(), served, "1", "wrong")
    page.goto(f"{served.base}/desk/security")
    look("security")
    page.get_by_role("link", name=re.compile("^Change Laptop")).click()
    look("passkey")
    served.clock.advance(minutes=52)
    page.goto(f"{served.base}/desk/security/password")
    look("confirm")
    page.goto(f"{served.base}/desk/security")
    page.get_by_role("button", name="Sign out").first.click()
    look("sign-in")
    fill_sign_in(page, served, "123456")
    look("sign-in-code")
    for _ in range(5):
        fill_sign_in(page, served, "123456", "wrong")
    assert "Those were 5 tries" in page.get_by_role("alert").first.inner_text()
    look("sign-in-too-many")
    context.close()
    assert found == {}


PICTURES = os.environ.get("PICTURES_FOLDER", "")


def read_invitations(served: Served) -> dict[str, str]:
    """Hand the invitations over, and give the path of each by the address it went to."""
    background.send_due_notices(served.world.install, clock=served.clock)
    paths = {}
    for file in (served.world.install.settings.outbox_folder / "notice").glob("*.eml"):
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        assert body is not None
        paths[str(mail["To"])] = re.findall(r"/staff/[\w-]{22}", body.get_content())[0]
    return paths


def test_two_editors_are_invited_and_come_by_passkey_and_by_password(served: Served, browser: Browser) -> None:
    served.world.session_cookie("admin")
    admin = browser.new_context().new_page()
    admin.goto(make_sign_in_link(served.world.install, ADMIN, "ann@newsroom.example", now=NOW))
    admin.get_by_role("button", name="Sign in").click()
    for name in ("Kim", "Lou"):
        admin.goto(f"{served.base}/admin/staff")
        admin.get_by_label("Email").fill(f"{name.lower()}@newsroom.example")
        admin.get_by_label("Name").fill(name)
        admin.get_by_label("Editor", exact=True).check()
        admin.get_by_role("button", name="Mail an invitation").click()
        admin.get_by_role("rowheader", name=name).wait_for()
    paths = read_invitations(served)
    assert set(paths) == {"kim@newsroom.example", "lou@newsroom.example"}

    kim, lou = browser.new_context().new_page(), browser.new_context().new_page()
    add_authenticator(kim)
    for page, path in ((kim, paths["kim@newsroom.example"]), (lou, paths["lou@newsroom.example"])):
        page.goto(served.base + path)
        page.get_by_role("button", name="This is my address").click()
        page.wait_for_url(f"{served.base}/desk/security")
    add_passkey(kim, served)
    kim.get_by_role("button", name="Sign out").first.click()
    kim.get_by_role("button", name="Use my passkey").click()
    kim.wait_for_url(f"{served.base}/desk/")
    secret = set_up_password(lou)
    lou.goto(f"{served.base}/desk/security")
    lou.get_by_role("button", name="Sign out").first.click()
    served.clock.advance(minutes=1)
    fill_sign_in(lou, served, pyotp.TOTP(secret).at(served.clock.now), email="lou@newsroom.example")
    lou.wait_for_url(f"{served.base}/desk/")

    kim.goto(f"{served.base}/desk/editions/2026-W47/test")
    kim.get_by_role("button", name="Send the test").click()
    kim.get_by_role("heading", name="The test is out").wait_for()
    (tested,) = [row for row in rows(served, select(AuditEntry)) if row.act == "test"]
    assert tested.actor == served.world.name_member("kim@newsroom.example")
    admin.goto(f"{served.base}/admin/staff")
    table = admin.locator("main table").inner_text()
    assert "1 passkey" in table
    assert "password and code" in table
    for page in (admin, kim, lou):
        page.context.close()


def test_signing_in_needs_no_mouse(served: Served, context: BrowserContext) -> None:
    page = context.new_page()
    sign_in_by_link(page, served)
    secret = set_up_password(page)
    page.goto(f"{served.base}/desk/security")
    page.get_by_role("button", name="Sign out").first.press("Enter")
    served.clock.advance(minutes=1)
    page.wait_for_url(f"{served.base}/desk/sign-in")
    for text in (EVE, PASSWORD, pyotp.TOTP(secret).at(served.clock.now)):
        while page.evaluate("document.activeElement.tagName") != "INPUT" or page.evaluate(
            "document.activeElement.value"
        ):
            page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{served.base}/desk/")
    assert urlsplit(page.url).path == "/desk/"
