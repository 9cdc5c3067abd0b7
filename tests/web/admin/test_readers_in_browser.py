"""An admin in a real browser, without scripts: finds a reader, sees an address, answers a request, settles a doubt, erases; and as axe sees it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import migrate_schema, open_database
from digest.store.models import AuditEntry, EditionState
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import faulty_pages, follow, sign_in
from tests.web.conftest import ADA_ADDRESS, sample_evidence

pytestmark = pytest.mark.chromium

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
NAME = "2026-W47"
GWEN = "gwen.oduya@hospital.example"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, build_world: Any) -> Iterator[tuple[Any, str]]:
    """Serve an installation with two readers, and an edition of which one mail is in doubt and one was refused."""
    home = tmp_path_factory.mktemp("readers")
    database = open_database(f"sqlite:///{home / 'digest.db'}")
    migrate_schema(database)
    world = build_world(database, home)
    world.edition(state=EditionState.SENT)
    with database.write() as session:
        gwen = add_subscriber(session, world.install.keys, GWEN, evidence=sample_evidence(), now=NOW).number
        handed_at = NOW - timedelta(days=2)
        for number, state in ((world.ada, DeliveryState.UNCERTAIN), (gwen, DeliveryState.REFUSED)):
            fields: dict[str, Any] = {"due_at": handed_at, "next_try_at": handed_at, "handed_at": handed_at}
            fields |= {"transport": "smtp", "reply": "550 5.1.1 unknown", "tries": 1}
            session.add(Delivery(id=f"d{number:025d}", purpose=f"edition:{NAME}", person=number, state=state, **fields))
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
        "/admin/import",
        "/admin/readers/export",
        "/admin/readers/ask",
        "/admin/readers/allow",
    ]
    assert faulty_pages(page, address, paths, widths=(360, 768, 1440)) == {}
    context.close()


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
    expect(page.get_by_role("status")).to_contain_text("1 doubt settled.")
    # They want to be erased.
    page.goto(f"{address}/admin/readers/{world.ada}")
    follow(page.get_by_role("link", name="Erase everything…"))
    page.get_by_label("Why").fill("asked by letter")
    page.get_by_label(f"Type {world.ada}").fill(str(world.ada))
    follow(page.get_by_role("button", name="Erase everything"), "Enter")
    expect(page.get_by_role("status")).to_have_text("This reader is erased.")
    context.close()
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
    ]
