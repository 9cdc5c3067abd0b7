"""Take the screenshots for docs/admins.md: a list before its import, a record, the audit log, and the demo's pages."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.demo.sample_week import DEMO_ACTOR, SAMPLE_ADMIN, SAMPLE_NOW
from digest.app.subscribers import data_requests, subscriber_actions
from digest.app.upkeep import audit_log
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from digest.store.audit import record_audit
from digest.store.engine import migrate_schema, open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from tests.browser import follow, sign_in
from tests.moments import DRAFTING as NOW
from tests.tools.guide_pictures import WIDE, save_image
from tests.web.conftest import ADA_ADDRESS, build_web_setup

HEADINGS = "Email Address,First Name,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,STATUS"
ROWS = 5240


def take_admin_pictures(browser: Browser, home: Path, folder: Path) -> None:
    """Take the pictures of an installation with invented people, whose addresses are masked or not shown."""
    database = open_database(f"sqlite:///{home / 'admins.db'}")
    migrate_schema(database)
    world = build_web_setup(database, home)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport=WIDE, reduced_motion="reduce")  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
        sign_in(context, world, address, "admin")
        page = context.new_page()
        _record_a_morning(world)
        _take_import(page, address, folder)
        page.goto(f"{address}/admin/audit")
        _take(page, folder / "audit-log.png", height=900)
        page.goto(f"{address}/admin/readers/{world.ada}")
        _take(page, folder / "reader.png", height=900)
        context.close()
    database.close()


def take_demo_pictures(browser: Browser, home: Path, folder: Path) -> None:
    """Take pictures of what `digest demo` made in `home`, as its admin sees it: a year's growth, what went out, sources, dates."""
    now = SAMPLE_NOW + timedelta(days=7, hours=1)
    settings = load_settings(home / "digest.toml", {"DIGEST_HOME": str(home)})
    with open_installation(settings) as installation:
        app = create_app(installation, clock=lambda: now)
        link = make_sign_in_link(installation, DEMO_ACTOR, SAMPLE_ADMIN, now=now)
        with open_page_server(app, "127.0.0.1", 0) as serving:
            address = f"http://127.0.0.1:{serving.port}"
            context = browser.new_context(viewport=WIDE, reduced_motion="reduce")  # type: ignore[arg-type]  # as above
            page = context.new_page()
            page.goto(address + urlsplit(link).path)
            follow(page.get_by_role("main").get_by_role("button", name="Sign in"))
            for name, path, height in (
                ("growth", "/admin/growth", 1100),
                ("deliveries", "/admin/deliveries", 900),
                ("sources", "/desk/sources", 900),
                ("schedule", "/admin/settings/schedule", 1000),
            ):
                page.goto(address + path)
                _take(page, folder / f"{name}.png", height=height)
            context.close()


def _take_import(page: Page, address: str, folder: Path) -> None:
    page.goto(f"{address}/admin/import")
    file = {"name": "audience-export.csv", "mimeType": "text/csv", "buffer": _write_list().encode()}
    page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]  # as above
    follow(page.get_by_role("button", name="Upload file"))
    follow(page.get_by_role("button", name="Start dry run"))
    expect(page.get_by_role("row", name="Invalid")).to_be_visible()
    _take(page, folder / "import.png", height=1700)


def _write_list() -> str:
    """Write a list of which some rows are no address, some mistyped, some without evidence, some of an unknown word."""
    rows = []
    for n in range(ROWS):
        address = f"reader{n}{'' if n % 40 == 7 else '@gmial.com' if n % 900 == 5 else '@county.example'}"
        confirmed = "" if n % 13 == 3 else "2024-03-02 14:12:00"
        status = "vip" if n % 380 == 11 else "unsubscribed" if n % 40 == 9 else "subscribed"
        rows.append(f"{address},Ann,2024-03-02 14:11:05,192.0.2.17,{confirmed},192.0.2.17,{status}")
    return "\n".join([HEADINGS, *rows])


def _record_a_morning(world: Any) -> None:
    """Do some of what a morning brings, and write down some of what came before."""
    with world.database.write() as session:
        for hours, actor, act, subject, detail in (
            (14, "scheduler", "ledger sealed", "ledger", {"people": 12408, "links": 25120, "suppressions": 131}),
            (9, "staff 1", "refused: list exported", "the list", {"role": "editor", "needed": "admin"}),
            (6, "staff 1", "approve", "2026-W47", {}),
        ):
            record_audit(session, act, subject, detail, actor=actor, now=NOW - timedelta(hours=hours))
    ann = Actor("staff 1", Role.ADMIN, ActionEntryPoint.DESK, confirmed_at=NOW - timedelta(minutes=50))
    subscriber_actions.find_person(world.install, ann, ADA_ADDRESS, now=NOW - timedelta(hours=1))
    data_requests.send_data_link(world.install, ann, world.ada, "asked by phone", now=NOW - timedelta(minutes=40))
    audit_log.check_audit_log(world.install, ann, now=NOW)


def _take(page: Page, file: Path, *, height: int) -> None:
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled")))
    save_image(picture.crop((0, 0, picture.width, min(picture.height, height))), file)
