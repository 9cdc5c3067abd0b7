"""An admin's morning in a real browser, by keyboard alone and without scripts, all of it recorded in the audit log."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.collect.sources.source_rows import sync_sources
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, EditionState
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import (
    choose_by_keyboard,
    download_by_keyboard,
    press_by_keyboard,
    select_by_keyboard,
    tab_to,
    tick_by_keyboard,
    write_by_keyboard,
    write_day_by_keyboard,
)
from tests.conftest import reserve_port
from tests.moments import DRAFTING as NOW
from tests.moments import Clock
from tests.web.admin.conftest import SETTINGS
from tests.web.conftest import ADA_ADDRESS, MEMBERS, sample_evidence
from tests.web.staff_ways import confirm_by_keyboard, give_password, sign_in_by_keyboard

pytestmark = pytest.mark.chromium

SOURCES = "".join(
    f'[[sources]]\nurl = "https://alpha.example/{section}"\nname = "Alpha {section}"\npublisher = "Alpha"\nsection = "{section}"\n'
    for section in ("news", "products", "events", "opportunities")
)
SITE = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/feed"></head></html>'
FEED = """<rss version="2.0"><channel><title>Port News</title><item><title>Port reopens</title>
<link>https://port.example.org/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""
GWEN = "gwen.oduya@hospital.example"


@dataclass(frozen=True)
class Desk:
    """A served installation, the hour that it goes by, and what Ann, an admin, signs in with."""

    world: Any
    base: str
    clock: Clock
    secret: str


@pytest.fixture
def desk(one_database: Any, tmp_path: Path, build_world: Any, move_settings_to_file: Any) -> Iterator[Desk]:
    """Serve an installation with two readers, a source, and an edition of which one mail is in doubt."""
    clock = Clock(NOW)
    with reserve_port() as port:
        base = f"http://localhost:{port}"
        world = build_world(one_database, tmp_path)
        world = move_settings_to_file(world, tmp_path, SETTINGS + SOURCES, base_url=base, clock=clock)
        name = world.edition(state=EditionState.SENT)
        with world.database.write() as session:
            sync_sources(session, world.install.settings)
            add_subscriber(session, world.install.keys, GWEN, evidence=sample_evidence(), now=NOW)
            handed_at = NOW - timedelta(days=2)
            fields: dict[str, Any] = {"due_at": handed_at, "next_try_at": handed_at, "handed_at": handed_at}
            fields |= {"purpose": f"edition:{name}", "person": world.ada, "state": DeliveryState.UNCERTAIN}
            session.add(Delivery(id=f"d{1:025d}", transport="smtp", reply="", tries=1, **fields))
        _, token = world.session_cookie("admin", fresh_at=NOW - timedelta(days=1))
        secret = give_password(world, token, NOW - timedelta(days=1))
        with open_page_server(world.app, "127.0.0.1", port):
            yield Desk(world, base, clock, secret)


def follow_place(page: Page, name: str) -> None:
    """Follow one of the links of the head of every page for admins."""
    press_by_keyboard(page.get_by_role("banner").or_(page.get_by_label("Admin")).get_by_role("link", name=name))


def import_a_list(page: Page) -> None:
    """Bring a Mailchimp export in of which one row in twenty is no address, and a column says who left."""
    evidence = "2024-03-02 14:11:05,192.0.2.17,2024-03-02 14:12:00,192.0.2.17"
    rows = [f"person{n}{'' if n % 20 == 0 else '@county.example'},{evidence},{'yes' * (n == 1)}" for n in range(100)]
    text = "\n".join(["Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,Gone", *rows])
    follow_place(page, "Import")
    file = {"name": "subscribed_members.csv", "mimeType": "text/csv", "buffer": text.encode()}
    # From here on the dialog is the browser's own.
    tab_to(page.get_by_label("File")).set_input_files(file)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
    press_by_keyboard(page.get_by_role("button", name="Upload file"))
    expect(page.locator(".lede")).to_contain_text("100 rows. This file looks like an export from Mailchimp.")
    expect(page.get_by_text("@county.example")).to_have_count(0)
    select_by_keyboard(page.get_by_label("Import Gone as"), "Unsubscribed if yes")
    press_by_keyboard(page.get_by_role("button", name="Start dry run"))
    # The page comes again by itself until it is through.
    expect(page.get_by_role("row", name="Invalid")).to_contain_text("5")
    expect(page.get_by_role("row", name="Unsubscribed or bounced elsewhere")).to_contain_text("1")
    expect(page.get_by_role("row", name="Consent with evidence")).to_contain_text("94")
    press_by_keyboard(page.get_by_role("button", name="Import subscribers"))
    expect(page.locator(".note.ok")).to_contain_text("Import 1 is finished. 94 subscribers")
    rejected = download_by_keyboard(page.get_by_role("button", name="Download skipped rows"))
    assert rejected.count("the address has no @") == 5


def search_by_part(page: Page, desk: Desk) -> None:
    """Find a reader by a part of the address: by number first, the address on a further press."""
    follow_place(page, "Subscribers")
    expect(page.get_by_role("heading", level=1)).to_have_text("96 subscribers")
    # The sign-in was longer ago than a quarter of an hour.
    press_by_keyboard(page.get_by_role("link", name="Sign in again").last)
    confirm_by_keyboard(page, desk.secret, desk.clock.now)
    write_by_keyboard(page.get_by_label("Part of the address"), "hospital")
    choose_by_keyboard(page.get_by_label("The subscriber asked"))
    press_by_keyboard(page.get_by_role("button", name="Search addresses"))
    # The page comes again by itself until the search is over.
    expect(page.get_by_role("status")).to_contain_text("Searched 96 of 96 addresses. 1 match.")
    expect(page.get_by_text(GWEN)).to_have_count(0)
    press_by_keyboard(page.get_by_role("button", name="Show this address"))
    expect(page.locator("mark")).to_have_text("hospital")


def find_by_address(page: Page, desk: Desk) -> None:
    """Find a reader by the whole address, read their record, look at the address with a reason, and hide it again."""
    press_by_keyboard(page.get_by_role("link", name="All subscribers"))
    write_by_keyboard(page.get_by_label("Email", exact=True), ADA_ADDRESS)
    press_by_keyboard(page.get_by_role("button", name="Find subscriber", exact=True))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Subscriber {desk.world.ada}")
    expect(page.get_by_role("row", name="p.m. ET No. 147")).to_contain_text("Status unknown")
    expect(page.get_by_text("Record verified (1 event)")).to_be_visible()
    press_by_keyboard(page.get_by_role("link", name="Show address…"))
    choose_by_keyboard(page.get_by_label("Other", exact=True))
    write_by_keyboard(page.get_by_label("Other reason, in a few words"), "wrote a letter")
    press_by_keyboard(page.get_by_role("button", name="Show address"))
    expect(page.locator(".lede b")).to_have_text(ADA_ADDRESS)
    press_by_keyboard(page.get_by_role("link", name="Hide address"))
    expect(page.get_by_text(ADA_ADDRESS)).to_have_count(0)


def answer_a_data_request(page: Page) -> None:
    press_by_keyboard(page.get_by_role("link", name="Respond to a data request…"))
    press_by_keyboard(page.get_by_role("button", name="Email a link to their data"))
    expect(page.get_by_role("status")).to_contain_text("A link to their data is on its way")


def erase_the_subscriber(page: Page, number: int) -> None:
    press_by_keyboard(page.get_by_role("link", name="Erase subscriber…"))
    write_by_keyboard(page.get_by_label("Reason"), "asked by letter")
    write_by_keyboard(page.get_by_label(f"Type {number}"), str(number))
    press_by_keyboard(page.get_by_role("button", name="Erase subscriber"))
    expect(page.get_by_role("status")).to_have_text("This subscriber was erased.")


def export_the_list(page: Page) -> None:
    press_by_keyboard(page.get_by_role("link", name="All subscribers"))
    press_by_keyboard(page.get_by_role("link", name="Export subscribers…"))
    write_by_keyboard(page.get_by_label("Reason"), "moving house")
    write_by_keyboard(page.get_by_label("Recipient"), "a backup")
    assert download_by_keyboard(page.get_by_role("button", name="Download CSV")).count("@county.example") == 94


def resolve_the_doubt(page: Page) -> None:
    follow_place(page, "Deliveries")
    choose_by_keyboard(page.get_by_label("Arrived"))
    write_by_keyboard(page.get_by_label("Reason for the audit log").first, "the server's log has it")
    press_by_keyboard(page.get_by_role("button", name="Resolve deliveries"))
    expect(page.get_by_role("status")).to_contain_text("1 delivery resolved.")


def add_a_source(page: Page, site: str) -> None:
    follow_place(page, "Sources")
    write_by_keyboard(page.get_by_label("URL of a site or feed"), site)
    press_by_keyboard(page.get_by_role("button", name="Find feeds"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Found: Port News")
    expect(page.get_by_text("Port reopens")).to_be_visible()
    write_by_keyboard(page.get_by_label("Weight"), "1.5")
    choose_by_keyboard(page.get_by_label("Licensed for use in email"))
    tick_by_keyboard(page.get_by_label("An official source"))
    press_by_keyboard(page.get_by_role("button", name="Add source", exact=True))
    expect(page.get_by_role("status")).to_have_text(
        re.compile(r"Source added\. The next collection \(.*\) will read it\.")
    )


def change_the_schedule(page: Page) -> None:
    follow_place(page, "Admin")
    follow_place(page, "Settings")
    press_by_keyboard(page.get_by_role("link", name="Schedule"))
    select_by_keyboard(page.get_by_label("Send time on"), "Thursday")
    press_by_keyboard(page.get_by_role("button", name="Preview dates"))
    expect(page.get_by_text("If you save, 10 dates change.")).to_be_visible()
    expect(page.get_by_label("Send time on")).to_have_value("thu")
    press_by_keyboard(page.get_by_role("button", name="Save schedule"))
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_text("Send time: Friday, 6:00 a.m. Thursday, 6:00 a.m.")).to_be_visible()


def invite_an_editor(page: Page) -> None:
    follow_place(page, "Team")
    write_by_keyboard(page.get_by_label("Email"), "sam.okafor@newsroom.example")
    write_by_keyboard(page.get_by_label("Name shown to the team"), "Sam Okafor")
    choose_by_keyboard(page.get_by_label("Editor"))
    press_by_keyboard(page.get_by_role("button", name="Send invitation"))
    expect(page.get_by_role("row", name="Sam Okafor")).to_contain_text("Not accepted")


def end_a_session(page: Page) -> None:
    follow_place(page, "ann")
    expect(page.locator("#sessions")).to_contain_text("2 devices")
    press_by_keyboard(page.get_by_role("button", name="Sign out Firefox on Linux"))
    expect(page.locator("#sessions")).to_contain_text("1 device")


# What the morning was, as the log says it, with the act that is filed.
ACTIONS = {
    "ann (team member 1) signed in": "signed in",
    "ann (team member 1) uploaded a list": "list uploaded",
    "ann (team member 1) started a dry run of an import": "import tried",
    "ann (team member 1) imported a list: import 1": "list imported",
    "ann (team member 1) downloaded an import’s skipped rows": "rejected rows taken",
    "ann (team member 1) searched subscriber addresses. “The subscriber asked”": "addresses searched",
    "ann (team member 1) viewed subscriber 2’s address. “The subscriber asked”": "subscriber address shown",
    "ann (team member 1) looked up subscriber 1 by address": "subscriber looked up",
    "ann (team member 1) viewed subscriber 1’s address. “wrote a letter”": "subscriber address shown",
    "ann (team member 1) emailed subscriber 1 a link to their data": "data link mailed",
    "ann (team member 1) erased subscriber 1. “asked by letter”": "subscriber erased",
    "ann (team member 1) exported the subscriber list. “moving house”": "list exported",
    "ann (team member 1) marked emails of edition 2026-W47 with unknown status as arrived. “the server's log has it”": "uncertain taken as accepted",
    "ann (team member 1) added the source": "source added",
    "ann (team member 1) changed settings: Schedule": "settings changed",
    "ann (team member 1) invited Sam Okafor": "staff added",
    "ann (team member 1) ended sessions of ann (team member 1)": "sessions ended",
}


def read_the_log(page: Page, desk: Desk) -> None:
    """Find what the morning did in the audit log, check its chain, and take it along."""
    follow_place(page, "Admin")
    follow_place(page, "Audit log")
    # Below them stands how Ann got her password, a day before.
    acts = page.locator("main tbody tr").filter(has_not_text="set their own password")
    expect(acts).to_contain_text([*reversed(ACTIONS)])
    press_by_keyboard(page.get_by_role("button", name=re.compile("Verify (again|log)")))
    expect(page.get_by_role("status")).to_contain_text("Rows 1 to")
    # By name: the label of a list of choices holds the words of all of them.
    select_by_keyboard(page.locator("select[name=who]"), "ann (team member 1)")
    select_by_keyboard(page.locator("select[name=what]"), "Access to addresses: all")
    write_by_keyboard(page.locator("input[name=about]"), f"reader {desk.world.ada}")
    write_day_by_keyboard(page.locator("input[name=from]"), NOW.date())
    write_day_by_keyboard(page.locator("input[name=to]"), NOW.date())
    press_by_keyboard(page.get_by_role("button", name="Filter", exact=True))
    rows = page.locator("main tbody tr")
    expect(rows).to_contain_text(
        ["emailed subscriber 1 a link", "viewed subscriber 1’s address", "looked up subscriber 1"]
    )
    press_by_keyboard(page.get_by_role("link", name="Export log…"))
    write_by_keyboard(page.get_by_label("Reason"), "yearly audit")
    exported = download_by_keyboard(page.get_by_role("button", name="Download CSV"))
    assert exported.count(f"person {desk.world.ada}") == 3


def test_an_admin_does_a_morning_of_work_by_keyboard_alone_without_scripts(
    browser: Browser, desk: Desk, httpserver: HTTPServer
) -> None:
    world = desk.world
    httpserver.expect_request("/").respond_with_data(SITE, content_type="text/html")
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    other_cookie, other_token = world.session_cookie("admin")
    context = browser.new_context(java_script_enabled=False, locale="en-US")
    page = context.new_page()
    page.goto(f"{desk.base}/desk/sent")
    sign_in_by_keyboard(page, MEMBERS["admin"], desk.secret, desk.clock.now)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sent")
    follow_place(page, "Admin")
    import_a_list(page)
    desk.clock.advance(minutes=16)
    search_by_part(page, desk)
    find_by_address(page, desk)
    answer_a_data_request(page)
    erase_the_subscriber(page, world.ada)
    export_the_list(page)
    resolve_the_doubt(page)
    add_a_source(page, httpserver.url_for("/"))
    change_the_schedule(page)
    invite_an_editor(page)
    end_a_session(page)
    read_the_log(page, desk)
    context.close()
    other = world.client
    other.set_cookie(other_cookie, other_token, domain="localhost")
    assert other.get("/admin/readers").status_code == 303
    file = world.install.settings.file
    added = file.sources[4]
    assert (file.schedule.send, added.name, added.weight) == ("thu 06:00", "Port News", 1.5)
    assert (added.images, added.primary) == ("licensed", True)
    with world.database.read() as session:
        acts = session.scalars(select(AuditEntry.act).where(AuditEntry.at >= NOW).order_by(AuditEntry.id)).all()
    assert acts == [*ACTIONS.values(), "audit log exported"]
