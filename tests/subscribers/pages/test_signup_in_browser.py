"""Sign-up in a real browser, on a phone without scripts, with its pages and emails checked by axe."""

import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.store.engine import open_database
from digest.store.models import EditionState
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.address import read_address
from subscribers.store import people
from subscribers.store.models import Person, PersonState
from tests.browser import AXE_MAIL, enter_by_keyboard, follow, page_faults, show_views, write_by_keyboard
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.run_database import HomeDatabases

pytestmark = pytest.mark.chromium

ADA = "ada.lovelace@analytical.example"  # subscribed, see conftest
KINDS = ("confirm", "remind", "welcome", "known", "link")


class Town:
    """A served installation, the same one eight days later, and its mail by kind."""

    def __init__(self, world: Any, address: str, later: str) -> None:
        self.world, self.address, self.later = world, address, later
        self.mails: dict[str, EmailMessage] = {}
        self._seen: set[Path] = set()

    def work(self, after: timedelta = timedelta(0)) -> EmailMessage:
        """Answer what waits, hand it over, and give the one new mail."""
        process_signup_requests(self.world.install, clock=lambda: NOW + after)
        send_due_transactional_emails(self.world.install, clock=lambda: NOW + after)
        files = set((self.world.install.settings.outbox_folder / "notice").glob("*.eml"))
        (new,) = files - self._seen
        self._seen |= files
        message = message_from_bytes(new.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    def ask(self, address: str, path: str = "/subscribe", after: timedelta = timedelta(0)) -> EmailMessage:
        client = create_app(self.world.install, clock=lambda: NOW + after).test_client()
        client.post(path, data={"email": address, "agree": "yes", "wording": "1"})
        return self.work(after)


def link_in(message: EmailMessage) -> str:
    match = re.search(r"/confirm/[\w-]{22}", html_of(message))
    assert match
    return match[0]


def html_of(message: EmailMessage) -> str:
    part = message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases, build_world: Any) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("town")
    database = open_database(home_databases.create(home))
    world = build_world(database, home)
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    afterwards = create_app(world.install, clock=lambda: NOW + timedelta(days=8))
    with open_page_server(world.app, "127.0.0.1", 0) as here, open_page_server(afterwards, "127.0.0.1", 0) as then:
        town = Town(world, f"http://127.0.0.1:{here.port}", f"http://127.0.0.1:{then.port}")
        town.mails["confirm"] = town.ask("open@county.example")
        town.mails["remind"] = town.ask("open@county.example", after=timedelta(hours=1))
        used = town.ask("used@county.example")
        world.client.post(link_in(used))
        town.mails["used"], town.mails["welcome"] = used, town.work()
        town.mails["known"] = town.ask(ADA)
        town.mails["link"] = town.ask("used@county.example", "/preferences")
        yield town
    database.close()


def each_page(page: Page, town: Town) -> Iterator[str]:
    """Bring up every page of sign-up, in every standing."""
    opened, used = link_in(town.mails["confirm"]), link_in(town.mails["used"])
    for url in (
        f"{town.address}/subscribe",
        f"{town.address}/preferences",
        town.address + opened,
        town.address + used,
        town.later + opened,
        f"{town.address}/confirm/{'A' * 22}",
    ):
        page.goto(url)
        yield page.title()
    for path, button in (("/subscribe", "Email me the link"), ("/preferences", "Email me the link")):
        page.goto(town.address + path)
        page.locator("form").evaluate("form => { form.noValidate = true }")
        follow(page.get_by_role("button", name=button))
        yield page.title()


def test_axe_finds_nothing_on_the_pages(browser: Browser, town: Town) -> None:
    context = browser.new_context()
    page = context.new_page()
    found, seen = {}, []
    for title in each_page(page, town):
        seen.append(title)
        if faults := page_faults(page, widths=(390,)):
            found[title] = faults
    context.close()
    assert found == {}
    assert len(set(seen)) == 8, seen


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_in_the_mails_which_fit_a_phone(browser: Browser, town: Town, kind: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(html_of(town.mails[kind]), wait_until="load")
    for _, scheme in show_views(page, (320,)):
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(18, 22, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
        assert page_faults(page, AXE_MAIL) == ""
    assert asked == []
    page.close()


def test_the_whole_way_without_scripts_at_320_pixels_and_by_keyboard(browser: Browser, town: Town) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 640}, java_script_enabled=False)
    page = context.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith(town.address) else None)
    page.goto(f"{town.address}/subscribe")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link that skips what stands on every page
    page.keyboard.press("Tab")
    expect(page.get_by_label("Your email")).to_be_focused()
    page.keyboard.type("key.board@county.example")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()
    message = town.work()
    page.goto(town.address + link_in(message))
    expect(page.get_by_text("k•••@county.example")).to_be_visible()
    button = page.get_by_role("button", name="Yes, email me HLS.Today")
    box = button.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 320
    assert box["height"] >= 44
    follow(button)
    expect(page.get_by_role("heading", name="You’re subscribed")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("No. 147 arrives")
    assert town.work()["Subject"] == "You’re subscribed to HLS.Today"
    assert context.cookies() == []
    assert elsewhere == []
    context.close()
    install = town.world.install
    with install.database.read() as session:
        number = people.find_person_number(session, install.keys, read_address("key.board@county.example"))
        person = session.get(Person, number)
        assert person is not None
        assert person.state is PersonState.SUBSCRIBED


def test_no_page_scrolls_sideways_at_320_pixels(browser: Browser, town: Town) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 640})
    wide = [t for t in each_page(page, town) if page.evaluate("document.documentElement.scrollWidth") > 320]
    page.close()
    assert wide == []


def test_the_browser_asks_for_an_address_before_it_sends(browser: Browser, town: Town) -> None:
    page = browser.new_page()
    page.goto(f"{town.address}/subscribe")
    sent: list[str] = []
    # The page's icon may still be asked for: only what leads to another page is looked at.
    page.on("request", lambda request: sent.append(request.method) if request.is_navigation_request() else None)
    page.get_by_role("button", name="Email me the link").click()
    expect(page.locator("#email:invalid")).to_have_count(1)
    assert sent == []
    page.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_someone_corrects_a_typo_in_their_domain_by_keyboard(browser: Browser, world: Any, width: int) -> None:
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{serving.port}/subscribe")
        field = page.get_by_label("Your email address").first
        write_by_keyboard(field, "bo.peep@gmial.com")
        enter_by_keyboard(page)
        expect(page.get_by_text("Did you mean gmail.com?")).to_be_visible()
        assert page_faults(page) == ""
        write_by_keyboard(page.get_by_label("Your email address").first, "bo.peep@gmail.com")
        enter_by_keyboard(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("Check your inbox")
        context.close()
