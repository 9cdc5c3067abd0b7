"""The pages for admins as axe sees them, and in three widths."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser

from digest.app.maintenance import count_growth
from digest.collect.sources import sync_sources
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import open_database
from digest.store.models import EditionState, Source, SourceDay, SourceHealth
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import ConsentDay
from tests.browser import faulty_pages, sign_in
from tests.run_database import HomeDatabases
from tests.web.admin.conftest import SETTINGS
from tests.web.conftest import sample_evidence

pytestmark = pytest.mark.chromium

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
NAME = "2026-W47"
SOURCES = "".join(
    f'[[sources]]\nurl = "https://alpha.example/{section}"\nname = "Alpha {section}"\npublisher = "Alpha"\nsection = "{section}"\n'
    for section in ("news", "products", "events", "opportunities")
)
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
