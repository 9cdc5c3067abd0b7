"""An admin in a real browser, without scripts: readers, doubts, a source, the schedule; and as axe sees the pages."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app.maintenance import count_growth
from digest.collect.sources import sync_sources
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import open_database
from digest.store.models import AuditEntry, EditionState, Source, SourceDay, SourceHealth
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import ConsentDay
from tests.browser import faulty_pages, follow, sign_in
from tests.run_database import HomeDatabases
from tests.web.admin.conftest import SETTINGS
from tests.web.conftest import ADA_ADDRESS, sample_evidence

pytestmark = pytest.mark.chromium

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
NAME = "2026-W47"
SOURCES = "".join(
    f'[[sources]]\nurl = "https://alpha.example/{section}"\nname = "Alpha {section}"\npublisher = "Alpha"\nsection = "{section}"\n'
    for section in ("news", "products", "events", "opportunities")
)
SITE = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/feed"></head></html>'
FEED = """<rss version="2.0"><channel><title>Port News</title><item><title>Port reopens</title>
<link>https://port.example.org/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""
GWEN = "gwen.oduya@hospital.example"

TOLD = '[alerts]\nwebhook = "https://hooks.example.org/x"\n'


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    home_databases: HomeDatabases,
    build_world: Any,
    move_settings_to_file: Any,
) -> Iterator[tuple[Any, str]]:
    """Serve an installation with two readers, a source, and an edition of which one mail is in doubt and one was refused."""
    home = tmp_path_factory.mktemp("readers")
    database = open_database(home_databases.create(home))
    world = move_settings_to_file(build_world(database, home), home, SETTINGS + SOURCES + TOLD, DIGEST_ALERT_SECRET="s")
    world.edition(state=EditionState.SENT)
    with database.write() as session:
        sync_sources(session, world.install.settings)
        first = session.get_one(Source, 1)
        first.health, first.moved_to = (
            SourceHealth.GOOD,
            "https://alpha.example/a-path-without-any-place-to-break-it/feed.xml",
        )
        session.add(SourceDay(source_id=1, day=NOW.date(), good=1, bad=1, found=2))
        gwen = add_subscriber(session, world.install.keys, GWEN, evidence=sample_evidence(), now=NOW).number
        handed_at = NOW - timedelta(days=2)
        for number, state in ((world.ada, DeliveryState.UNCERTAIN), (gwen, DeliveryState.REFUSED)):
            fields: dict[str, Any] = {"due_at": handed_at, "next_try_at": handed_at, "handed_at": handed_at}
            fields |= {"transport": "smtp", "reply": "550 5.1.1 unknown", "tries": 1}
            session.add(Delivery(id=f"d{number:025d}", purpose=f"edition:{NAME}", person=number, state=state, **fields))
        for number, readers in enumerate((1, 1, 2)):
            day = NOW.date() - timedelta(days=14 - 7 * number)
            session.add(ConsentDay(day=day, kind="readers", way="", count=readers))
        way = "https://alpha.example.org/a-path-without-any-place-to-break-it"
        session.add(ConsentDay(day=NOW.date(), kind="requested", way=way, count=1234))
    count_growth(world.install, NOW)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        yield world, f"http://127.0.0.1:{serving.port}"
    database.close()


def test_pages_for_admins_fit_every_width_and_axe_finds_nothing(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    context = browser.new_context()
    sign_in(context, world, address, "admin")
    page = context.new_page()
    record = f"/admin/readers/{world.ada}"
    paths = ["/admin/readers", record, f"{record}/address", f"{record}/erase", f"{record}/request"]
    paths += [
        "/admin/readers/add",
        "/admin/readers?state=erased",
        "/admin/deliveries",
        "/admin/audit",
        "/admin/audit/export",
        "/admin/processing",
        "/admin/import",
        "/admin/readers/export",
        "/admin/readers/ask",
        "/admin/readers/allow",
        "/admin/settings/schedule",
        "/admin/settings/look",
        "/admin/settings/sections",
        "/admin/settings/alerts",
        "/admin/settings/backup",
        "/desk/sources",
        "/admin/sources/1",
        "/admin/sources/add",
        "/admin/growth",
        "/admin/health",
    ]
    assert faulty_pages(page, address, paths, widths=(360, 768, 1440)) == {}
    context.close()


def erase_a_reader(page: Page, record: str, number: int) -> None:
    page.goto(record)
    follow(page.get_by_role("link", name="Erase everything…"))
    page.get_by_label("Why").fill("asked by letter")
    page.get_by_label(f"Type {number}").fill(str(number))
    follow(page.get_by_role("button", name="Erase everything"), "Enter")
    expect(page.get_by_role("status")).to_have_text("This reader is erased.")


def import_a_list(page: Page) -> None:
    """Bring a Mailchimp export in of which one row in twenty is no address, by the keyboard alone."""
    evidence = "2024-03-02 14:11:05,192.0.2.17,2024-03-02 14:12:00,192.0.2.17"
    rows = [f"person{n}{'' if n % 20 == 0 else '@county.example'},{evidence}" for n in range(100)]
    text = "\n".join(["Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP", *rows])
    follow(page.get_by_role("link", name="Import"), "Enter")
    file = {"name": "subscribed_members.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
    follow(page.get_by_role("button", name="Upload and look at it"), "Enter")
    expect(page.locator(".lede")).to_contain_text("100 rows. It looks like an export from Mailchimp.")
    expect(page.get_by_text("@county.example")).to_have_count(0)
    page.get_by_label("Leave out rows").press("Space")
    follow(page.get_by_role("button", name="Try it: nothing is written"), "Enter")
    # The page comes again by itself until it is through.
    expect(page.get_by_role("row", name="Cannot be taken")).to_contain_text("5")
    expect(page.get_by_role("row", name="Agreed, with evidence")).to_contain_text("95")
    follow(page.get_by_role("button", name="Import it"), "Enter")
    expect(page.locator(".note.ok")).to_contain_text("Import 1 is in. 95 readers")
    with page.expect_download() as rejected:
        page.get_by_role("button", name="Get the rows left out").press("Enter")
    assert rejected.value.path().read_text().count("there is no @") == 5


def export_the_list(page: Page) -> None:
    follow(page.get_by_role("link", name="Readers", exact=True), "Enter")
    follow(page.get_by_role("link", name="Export with a reason…"), "Enter")
    page.get_by_label("Why").fill("moving house")
    with page.expect_download() as exported:
        page.get_by_role("button", name="Get the file").press("Enter")
    assert exported.value.path().read_text().count("@county.example") == 95


def invite_an_editor(page: Page) -> None:
    follow(page.get_by_role("link", name="Staff"), "Enter")
    page.get_by_label("Email").fill("sam.okafor@newsroom.example")
    page.get_by_label("Editor").press("Space")
    follow(page.get_by_role("button", name="Mail an invitation"), "Enter")
    expect(page.get_by_role("row", name="sam.okafor")).to_contain_text("Editor")


def end_a_session(page: Page) -> None:
    follow(page.get_by_role("link", name="ann", exact=True), "Enter")
    follow(page.get_by_role("button", name="End the other"), "Enter")
    expect(page.locator("#sessions")).to_contain_text("1 place")


def read_the_log(page: Page) -> None:
    """Find what the morning did in the audit log, check its chain, and take it along."""
    follow(page.get_by_role("link", name="Admin"), "Enter")
    follow(page.get_by_role("link", name="Audit log"), "Enter")
    for act in (
        "ann ended sessions of ann",
        "ann invited sam.okafor",
        "ann exported the list “moving house”",
        "ann imported a list: import 1",
        "ann erased reader 1 “asked by letter”",
        "ann took uncertain mails of 2026-W47 as arrived “the server's log has it”",
        "ann mailed reader 1 the link to their data",
        "ann looked at the address of reader 1 “wrote a letter”",
        "ann looked reader 1 up by the whole address",
        "ann searched addresses by a part of them “A reader asked”",
    ):
        expect(page.get_by_role("row", name=act)).to_have_count(1)
    follow(page.get_by_role("button", name=re.compile("Check (again )?now")), "Enter")
    expect(page.get_by_role("status")).to_contain_text("Unbroken from row 1 to")
    page.get_by_label("What").select_option("addresses")
    follow(page.get_by_role("button", name="Show", exact=True), "Enter")
    expect(page.get_by_role("row", name="ann invited")).to_have_count(0)
    follow(page.get_by_role("link", name="Export with a reason…"), "Enter")
    page.get_by_label("Why").fill("yearly audit")
    with page.expect_download() as exported:
        page.get_by_role("button", name="Get the file").press("Enter")
    assert "list exported" in exported.value.path().read_text()


def test_an_admin_does_a_morning_of_work_without_scripts(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, world, address, "admin")
    page = context.new_page()
    page.goto(f"{address}/desk/sent")
    follow(page.get_by_role("link", name="Admin"))
    expect(page.get_by_role("heading", level=1)).to_have_text("2 readers on the list")
    # By part of the address: numbers first, the address on a click.
    page.get_by_label("Part").fill("hospital")
    page.get_by_label("A reader asked").check()
    follow(page.get_by_role("button", name="Search slowly"), "Enter")
    # The page comes again by itself until the search is over.
    expect(page.get_by_role("status")).to_contain_text("2 of 2 addresses looked at. 1 found.")
    expect(page.get_by_text(GWEN)).to_have_count(0)
    follow(page.get_by_role("button", name="Show this address"))
    expect(page.locator("mark")).to_have_text("hospital")
    # By the whole address, and their record.
    follow(page.get_by_role("link", name="All readers"))
    page.get_by_label("Address", exact=True).fill(ADA_ADDRESS)
    follow(page.get_by_role("button", name="Find", exact=True))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Reader {world.ada}")
    follow(page.get_by_role("link", name="Show the address…"))
    page.get_by_label("Something else:").check()
    page.get_by_label("Something else, in a few words").fill("wrote a letter")
    follow(page.get_by_role("button", name="Show the address"))
    expect(page.locator(".lede b")).to_have_text(ADA_ADDRESS)
    follow(page.get_by_role("link", name="Hide it now"))
    expect(page.get_by_text(ADA_ADDRESS)).to_have_count(0)
    follow(page.get_by_role("link", name="Answer a data request…"))
    follow(page.get_by_role("button", name="Mail them a link to their data"))
    expect(page.get_by_role("status")).to_contain_text("A link to their data is on its way")
    # The doubt about their mail.
    follow(page.get_by_role("link", name="Deliveries"))
    page.get_by_label("It arrived").check()
    page.get_by_label("Why for the audit log").first.fill("the server's log has it")
    follow(page.get_by_role("button", name="Settle those with a word"))
    expect(page.get_by_role("status")).to_contain_text("1 uncertain mail settled.")
    # They want to be erased.
    erase_a_reader(page, f"{address}/admin/readers/{world.ada}", world.ada)
    import_a_list(page)
    export_the_list(page)
    invite_an_editor(page)
    other_cookie, other_token = world.session_cookie("admin")
    end_a_session(page)
    read_the_log(page)
    context.close()
    other = world.client
    other.set_cookie(other_cookie, other_token, domain="localhost")
    assert other.get("/admin/readers").status_code == 303
    with world.database.read() as session:
        acts = session.scalars(select(AuditEntry.act).order_by(AuditEntry.id)).all()
    assert acts == [
        "addresses searched",
        "subscriber address shown",
        "subscriber looked up",
        "subscriber address shown",
        "data link mailed",
        "uncertain taken as accepted",
        "subscriber erased",
        "list uploaded",
        "import tried",
        "list imported",
        "rejected rows taken",
        "list exported",
        "staff added",
        "sessions ended",
        "audit log exported",
    ]


def test_an_admin_adds_a_source_by_its_sites_address_and_changes_the_schedule_by_keyboard(
    browser: Browser, served: tuple[Any, str], httpserver: HTTPServer
) -> None:
    world, address = served
    httpserver.expect_request("/").respond_with_data(SITE, content_type="text/html")
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, world, address, "admin")
    page = context.new_page()
    page.goto(f"{address}/desk/sources")
    field = page.get_by_label("Address of a site or feed")
    field.press_sequentially(httpserver.url_for("/"))
    follow(field, "Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Found: Port News")
    expect(page.get_by_text("Port reopens")).to_be_visible()
    page.get_by_label("Weight").fill("1.5")
    page.get_by_label("A licence allows us to mail them").press("Space")
    follow(page.get_by_role("button", name="Add it", exact=True), "Enter")
    expect(page.get_by_role("status")).to_have_text("Added. The next collection reads it.")
    follow(page.get_by_role("link", name="Admin"), "Enter")
    follow(page.get_by_role("link", name="Settings"), "Enter")
    follow(page.get_by_role("link", name="Schedule"), "Enter")
    day = page.get_by_label("Goes out on")
    day.press_sequentially("Thu")
    expect(day).to_have_value("thu")
    follow(page.get_by_role("button", name="See the dates first"), "Enter")
    expect(page.get_by_text("If you save, 10 dates change.")).to_be_visible()
    expect(page.get_by_label("Goes out on")).to_have_value("thu")
    follow(page.get_by_role("button", name="Save the schedule"), "Enter")
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_text("release: fri 06:00 thu 06:00")).to_be_visible()
    context.close()
    file = world.install.settings.file
    assert (file.schedule.release, file.sources[4].name, file.sources[4].images) == (
        "thu 06:00",
        "Port News",
        "licensed",
    )
    with world.database.read() as session:
        newest = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(2)).all()
    assert [(row.act, row.subject) for row in reversed(newest)] == [
        ("source added", httpserver.url_for("/feed")),
        ("settings changed", "schedule"),
    ]
