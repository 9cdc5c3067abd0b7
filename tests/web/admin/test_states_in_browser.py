"""Every admin page in every state, checked by axe in three widths, light and dark."""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html
from playwright.sync_api import Browser, Page
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app.doctor.health_reports import DoctorRunner
from digest.app.doctor.network_access import NetworkAccess
from digest.app.sending.background_tasks import send_due_transactional_emails
from digest.app.settings.setting_changes import EDITABLE_TABLES
from digest.app.subscribers.upload_files import UploadStage, save_upload_state
from digest.app.upkeep.nightly_steps import count_growth
from digest.collect.sources.source_rows import sync_sources
from digest.collect.sources.source_visit_counts import count_source_visit
from digest.installation.audited_actions import Role
from digest.installation.opened_installation import Installation
from digest.store.engine import open_database
from digest.store.models import Article, EditionStory, Source, SourceHealth
from digest.web.app import create_app
from digest.web.auth.route_rules import ROUTE_RULES
from digest.web.server import open_page_server
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import DailyConsentCount
from tests.app.doctor.fake_name_server import FakeNameServer
from tests.browser import open_all_details, page_faults, show_in_place, show_views, sign_in
from tests.conftest import WAIT_TIMEOUT
from tests.moments import DRAFTING as NOW
from tests.run_database import HomeDatabases
from tests.web.admin.conftest import SETTINGS
from tests.web.admin.subscribers.test_import_pages import cut_short, fields_of, mailchimp_list
from tests.web.admin.subscribers.test_search_pages import await_end
from tests.web.admin.subscribers.test_suppression_pages import encrypted_file
from tests.web.admin.subscribers.test_suppression_pages import post_step as run_suppression_step
from tests.web.admin.subscribers.test_suppression_pages import upload as upload_suppressions
from tests.web.admin.test_doctor import wait_for_end
from tests.web.admin.test_sending import NEW, fill, write_log
from tests.web.conftest import ADA_ADDRESS, WebSetup, web_settings
from tests.web.forms import fetch_token
from tests.web.staff_ways import PASSWORD, give_password

pytestmark = pytest.mark.chromium

WIDTHS = (360, 768, 1440)
# Which states to take pictures of, and where: to look at them.
IMAGES, PICTURES_FOLDER = os.environ.get("PICTURES", ""), os.environ.get("PICTURES_FOLDER", "")
# What is no page of its own, by the route that a browser gets it from.
NO_PAGES = {
    "admin.download_opml": "a file",
    "admin.redirect_to_first_page": "leads to the first page",
    "admin.redirect_to_first_table": "leads to the first table",
    "sending.ask_before_resending": "takes refusals: tests/web/desk/sending/test_refusals.py",
    "sending.ask_before_suppressing": "takes refusals: tests/web/desk/sending/test_refusals.py",
}
SOURCES = "".join(
    f'[[sources]]\nurl = "https://alpha.example/{section}"\nname = "Alpha {section}"\npublisher = "Alpha"\nsection = "{section}"\n'
    for section in ("news", "products", "events", "opportunities")
)
TOLD = '[alerts]\nwebhook = "https://hooks.example.org/x"\n'
SITE = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/feed"></head></html>'
SECTIONS = SITE.replace("</head>", '<link rel="alternate" type="application/rss+xml" href="/ships/feed"></head>')
FEED = """<rss version="2.0"><channel><title>Port News</title><item><title>Port reopens</title>
<link>https://port.example.org/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""
OPML = """<opml version="2.0"><body><outline text="Beta" xmlUrl="https://beta.example/feed"/>
<outline text="No address" xmlUrl="ftp://beta.example/feed"/></body></opml>"""
FAR_AWAY = "https://alpha.example/a-path-without-any-place-to-break-it/feed.xml"


@dataclass
class Tour:
    """An admin's way through the pages of an installation: what each request is answered with, and which routes were looked at."""

    world: Any
    client: Any = None
    token: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.client = self.client or self.world.signed_in_client("admin")
        self.token = fetch_token(self.client)

    def get(self, path: str) -> str:
        """Return a page, and note its route."""
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        endpoint, _ = self.world.app.url_map.bind("localhost").match(path.partition("?")[0].partition("#")[0])
        self.seen.add(endpoint)
        return str(answer.text)

    def post(self, path: str, **fields: Any) -> str:
        """Return what a form is answered with, or the page that it leads to."""
        answer = self.client.post(path, data=self.token | fields)
        if answer.status_code == 303:
            assert "/confirm" not in answer.location, path
            return self.get(answer.location)
        assert answer.status_code in {200, 400, 401, 404, 409}, (path, answer.status_code)
        return str(answer.text)

    def form(self, path: str) -> dict[str, str]:
        """Return what the form of a settings page holds."""
        form = lxml_html.fromstring(self.get(path)).get_element_by_id("settings")
        return dict(form.form_values())


def stale(tour: Tour) -> Tour:
    """Come as somebody whose sign-in is a day old."""
    client = tour.world.client
    name, value = tour.world.session_cookie("admin", fresh_at=NOW - timedelta(days=1))
    client.set_cookie(name, value, domain="localhost")
    return Tour(tour.world, client)


State = tuple[str, str]  # its name, and the page


def build_empty_world(database: Any, home: Path) -> WebSetup:
    """Set up an installation where nobody is and nothing was done."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = web_settings(home).model_copy(update={"database_url": url})
    KeyRing.create(settings.key_file)
    install = Installation(settings, database)
    app = create_app(install, clock=lambda: NOW)
    app.testing = True
    return WebSetup(install, app, 0)


def empty_states(tour: Tour) -> Iterator[State]:
    """Where nothing is yet: each page says what is missing."""
    for path in ("readers", "deliveries", "import", "growth", "audit", "health", "readers/ask", "staff", "processing"):
        yield f"empty-{path}", tour.get(f"/admin/{path}")
    yield "empty-sources", tour.get("/desk/sources")
    yield "no-file", tour.get("/admin/settings/schedule")


def subscriber_states(tour: Tour) -> Iterator[State]:
    """The list, one reader's record in each state, and what is asked before each act."""
    ada = f"/admin/readers/{tour.world.ada}"
    people = range(tour.world.ada + 1, tour.world.ada + 7)
    yield "readers", tour.get("/admin/readers")
    yield "readers-stale", stale(tour).get("/admin/readers")
    yield "readers-none-match", tour.get("/admin/readers?state=erased")
    yield "readers-not-found", tour.post("/admin/readers/find", address="nobody@county.example")
    yield "readers-domain-refused", tour.post("/admin/readers/filter", domain="no domain")
    yield "readers-of-a-domain", tour.post("/admin/readers/filter", domain="gmail.com")
    yield "record", tour.post("/admin/readers/find", address=ADA_ADDRESS)
    yield "why-look", tour.get(f"{ada}/address")
    yield "why-look-refused", tour.post(f"{ada}/address")
    yield "record-with-address", tour.post(f"{ada}/address", why="The subscriber asked")
    yield "data-request", tour.get(f"{ada}/request")
    yield "data-request-answered", tour.post(f"{ada}/request/mail")
    for place, act in enumerate(("leave", "stop", "links", "erase")):
        path = f"/admin/readers/{people[place]}"
        yield f"ask-{act}", tour.get(f"{path}/{act}")
        yield f"done-{act}", tour.post(f"{path}/{act}", reason="asked by letter", number=str(people[place]))
    yield "ask-restore", tour.get(f"/admin/readers/{people[0]}/restore")
    yield "done-restore", tour.post(f"/admin/readers/{people[0]}/restore", reason="wrong person")
    yield "correct", tour.get(f"{ada}/correct")
    yield "correct-refused", tour.post(f"{ada}/correct", address="nobody", reason="new job")
    yield "pause", tour.get(f"{ada}/pause")
    yield "pause-refused", tour.post(f"{ada}/pause", asks="pause_until", pause_until="2026-01-01", reason="phone")
    yield "preferences", tour.get(f"{ada}/preferences")
    yield "preferences-refused", tour.post(f"{ada}/preferences", asks="omit frequency", frequency="weekly", reason="x")
    yield "done-pause", tour.post(f"{ada}/pause", asks="pause_until", pause_until="2026-12-31", reason="phone")
    yield "ask-erase-refused", tour.post(f"{ada}/erase", reason="x", number="9")
    yield "add-reader", tour.get("/admin/readers/add")
    yield "add-reader-refused", tour.post("/admin/readers/add", address="nobody")
    evidence = {
        "where": "a fair",
        "method": "a list",
        "wording": "Yes",
        "on": "2026-11-01",
        "address": "bo@county.example",
    }
    yield "add-reader-done", tour.post("/admin/readers/add", **evidence)
    yield "export", tour.get("/admin/readers/export")
    yield "export-refused", tour.post("/admin/readers/export")
    yield "allow", tour.get("/admin/readers/allow")
    yield "allow-refused", tour.post("/admin/readers/allow", address=ADA_ADDRESS, reason="a slip")
    yield "silent", tour.get("/admin/readers/silent")
    yield "silent-counted", tour.post("/admin/readers/silent/count", years="2")
    yield "ask-unproven", tour.get("/admin/readers/ask")
    yield "ask-unproven-done", tour.post("/admin/readers/ask", most="2")


def search_states(tour: Tour) -> Iterator[State]:
    """A search for a part of an address: refused, running, through, with the addresses, and without a result."""
    yield "search-refused", tour.post("/admin/readers/search", part="ab", why="The subscriber asked")
    for part in ("gmail", "hopsital"):
        answer = tour.client.post(
            "/admin/readers/search", data=tour.token | {"part": part, "why": "The subscriber asked"}
        )
        running = tour.get(answer.location)
        assert "<progress" in running
        yield f"search-running-{part}", running
        await_end(tour.world, answer.location)
        yield f"search-{part}", tour.get(answer.location)
        if part == "gmail":
            yield "search-addresses", tour.post(f"{answer.location}/addresses")


def import_states(tour: Tour) -> Iterator[State]:
    """A list that is refused, mapped, tried, imported; one that broke off, and one that was cut short."""

    def upload(text: str) -> str:
        file = {"file": (io.BytesIO(text.encode()), "audience.csv")}
        answer = tour.client.post("/admin/import", data=tour.token | file, content_type="multipart/form-data")
        return str(answer.location if answer.status_code == 303 else answer.text)

    def work(path: str, step: str, **changed: str) -> tuple[str, str]:
        form = fields_of(tour.get(path)) | changed
        running = tour.post(f"{path}/{step}", **form)
        assert "<progress" in running
        tour.world.app.extensions["digest"].uploads.wait(path.rpartition("/")[2])
        return running, tour.get(path)

    yield "import-refused", upload("name,city\nAda,London\n")
    path = upload(mailchimp_list(60))
    yield "mapping", tour.get(path)
    yield "mapping-refused", tour.post(f"{path}/try", **{"column-0": "nothing"})
    running, tried = work(path, "try", leave_out_slips="1")
    yield "trying", running
    yield "dry-run", tried
    yield "dry-run-stale", stale(tour).get(path)
    running, done = work(path, "commit")
    yield "importing", running
    yield "imported", done
    (finished,) = re.findall(r"Import (\d+) is finished", done)
    undo = f"/admin/import/finished/{finished}/undo"
    yield "import-undo", tour.get(undo)
    yield "import-undo-stale", stale(tour).get(undo)
    yield "import-undo-refused", tour.post(undo, reason="")
    other = upload("email,confirmed_at\n" + "".join(f"p{n}@county.example,2024-01-01\n" for n in range(1100)))
    there = cut_short(tour.world, other)
    yield "import-stopped", tour.get(other)
    yield "imports", tour.get("/admin/import")
    save_upload_state(replace(there, stage=UploadStage.FAILED, problem="Row 7 is longer than a row may be."))
    yield "import-failed", tour.get(other)


def suppression_states(tour: Tour, folder: Path) -> Iterator[State]:
    """The forms of the suppression list; a file that's uploaded, checked, and adopted, and one that can't be decrypted."""
    lists = "/admin/readers/suppressions"
    yield "suppressions", tour.get(lists)
    yield "suppressions-export-refused", tour.post(f"{lists}/export", reason="")
    path = upload_suppressions(tour.client, encrypted_file(folder))
    yield "suppressions-uploaded", tour.get(path)
    run_suppression_step(tour.world, tour.client, path, "try", passphrase="another")
    yield "suppressions-wrong-passphrase", tour.get(path)
    run_suppression_step(tour.world, tour.client, path, "try")
    yield "suppressions-tried", tour.get(path)
    yield "suppressions-without-reason", tour.post(f"{path}/commit", reason="")
    run_suppression_step(tour.world, tour.client, path, "commit", reason="moved")
    yield "suppressions-adopted", tour.get(path)
    yield "suppression-files", tour.get(lists)


def delivery_states(tour: Tour) -> Iterator[State]:
    """Counts and doubts; what a log says; doubts settled; the hold."""
    yield "deliveries", tour.get("/admin/deliveries")
    doubts = f"/admin/deliveries/{NEW}"
    refused = f"{doubts}/recipients?result=refused"
    yield "recipients", tour.get(refused)
    yield "recipients-none", tour.get(f"{doubts}/recipients?result=expired")
    yield "recipients-stale", stale(tour).get(refused)
    yield "recipients-without-reason", tour.post(refused)
    yield "recipients-with-addresses", tour.post(refused, why="An email bounced or was reported as spam")
    yield "doubts-refused", tour.post(f"{doubts}/doubts", reason="")
    log = {"file": (io.BytesIO(write_log(tour.world)), "mail.log")}
    yield "log-evidence", tour.post(f"{doubts}/log", **log)
    words = {f"word-d{3:025d}": "arrived", f"word-d{4:025d}": "again", "reason": "looked into the log"}
    yield "doubts-settled", tour.post(f"{doubts}/doubts", **words)
    yield "held", tour.post("/admin/deliveries/hold", reason="a fault at the provider")
    yield "held-sending", tour.get(f"/desk/editions/{NEW}/sending")
    tour.post("/admin/deliveries/release")


def source_states(tour: Tour, site: str) -> Iterator[State]:
    """Sources: listed, found by a site's address, added, tried, changed, removed; many at once."""
    yield "sources", tour.get("/desk/sources")
    yield "add-source", tour.get("/admin/sources/add")
    yield "add-source-refused", tour.post("/admin/sources/look", address="ftp://port.example.org/")
    yield "source-found", tour.post("/admin/sources/look", address=site)
    yield "source-feeds", tour.post("/admin/sources/look", address=f"{site}sections")
    described = {"name": "Port News", "publisher": "Port", "section": "news", "weight": "9", "images": "licensed"}
    yield "source-wrong", tour.post("/admin/sources", url=f"{site}feed", **described)
    yield "source-added", tour.post("/admin/sources", url=f"{site}feed", **described | {"weight": "1.5"})
    yield "source", tour.get("/admin/sources/1")
    tokens = {"fingerprint": re.findall(r'name="fingerprint" value="([^"]+)"', tour.get("/admin/sources/1"))[0]}
    yield "source-changed-wrong", tour.post("/admin/sources/1", **described, **tokens)
    described["weight"] = "1"
    yield "source-url-refused", tour.post("/admin/sources/1", **described, **tokens, url="ftp://port.example.org/")
    yield "source-url-feeds", tour.post("/admin/sources/1", **described, **tokens, url=f"{site}sections")
    yield "source-paused", tour.post("/admin/sources/1", **described, **tokens, paused="1")
    with tour.world.database.read() as session:
        added = session.scalars(select(Source.id).where(Source.url == f"{site}feed")).one()
    yield "source-tried", tour.post(f"/admin/sources/{added}/test")
    yield "source-failed", tour.post("/admin/sources/2/test")
    yield "source-moved", tour.get("/admin/sources/1/address")
    yield "source-removal", tour.get("/admin/sources/1/remove")
    yield "source-removed", tour.post("/admin/sources/2/remove")
    yield "source-not-named", tour.get("/admin/sources/2")
    yield "opml", tour.post("/admin/sources/opml", section="news", file=(io.BytesIO(OPML.encode()), "a.opml"))


def setting_states(tour: Tour, folder: Path) -> Iterator[State]:
    """Every table as it stands, with what cannot be taken at its field, and what is more than a form in it."""
    for table in EDITABLE_TABLES:
        path = f"/admin/settings/{table}"
        yield f"settings-{table}", tour.get(path)
        typed = {name: value for name, value in tour.form(path).items() if name not in {"fingerprint", "csrf_token"}}
        kept = tour.form(path)["fingerprint"]
        wrong = tour.post(path, **{name: _spoil(name, value) for name, value in typed.items()}, fingerprint=kept)
        assert "Your changes weren" in wrong, table
        yield f"settings-{table}-wrong", wrong
    schedule = "/admin/settings/schedule"
    changed = tour.form(schedule) | {"send-day": "thu"}
    yield "schedule-dates", tour.post(schedule, **changed | {"act": "preview"})
    yield "schedule-saved", tour.post(schedule, **changed)
    yield "sign-up-form", tour.get("/admin/settings/sign-up-form")
    yield "alert-refused", tour.post("/admin/settings/alerts/test", channel="webhook")
    tour.post("/admin/settings/backup", **tour.form("/admin/settings/backup") | {"folder": str(folder)})
    running = tour.post("/admin/settings/backup/now")
    assert "<progress" in running
    yield "backup-running", running
    tour.world.app.extensions["digest"].backups.wait()
    yield "backup-done", tour.get("/admin/settings/backup")


def _spoil(name: str, value: str) -> str:
    """Return what a field does not take: no number and no moment, and too long for a text; a key and a day stay as they are."""
    if name.endswith(("key", "-day")):
        return value
    return "\u00b6" * (3 if "." in name else 300)


def staff_states(tour: Tour) -> Iterator[State]:
    """The staff, an invitation, a member's page after each act, one's own page and sessions, and the fresh sign-in."""
    world = tour.world
    world.session_cookie("editor")
    yield "staff", tour.get("/admin/staff")
    yield "staff-refused", tour.post("/admin/staff", email="nobody", role="editor")
    invited = {"email": "sam.okafor@newsroom.example", "role": "editor", "name": "Sam Okafor"}
    yield "staff-invited", tour.post("/admin/staff", **invited)
    numbers = dict(re.findall(r"(ann|eve|Sam)\b[^\n]*?team member (\d+)", tour.get("/admin/staff")))
    yield "member-invited", tour.get(f"/admin/staff/{numbers['Sam']}")
    yield "member-invited-again", tour.post(f"/admin/staff/{numbers['Sam']}/invitation")
    yield "member-self", tour.get(f"/admin/staff/{numbers['ann']}")
    yield "member-self-refused", tour.post(f"/admin/staff/{numbers['ann']}/removal")
    eve = f"/admin/staff/{numbers['eve']}"
    yield "member", tour.get(eve)
    for act in ("reset", "removal"):
        yield f"ask-member-{act}", tour.get(f"{eve}/{act}")
        yield f"ask-member-{act}-refused", tour.post(f"{eve}/{act}", number="0")
    for act, typed in (("link", {}), ("sessions", {}), ("role", {"role": "admin"}), ("reset", {"number": eve[-1]})):
        yield f"member-{act}", tour.post(f"{eve}/{act}", **typed)
    yield "staff-removed", tour.post(f"{eve}/removal", number=eve[-1])
    send_due_transactional_emails(world.install, clock=lambda: NOW)
    mails = [file.read_text("utf-8") for file in (world.install.settings.outbox_folder / "notice").glob("*.eml")]
    (invitation,) = {found for mail in mails for found in re.findall(r"/staff/[\w-]{22}", mail)[-1:]}
    yield "invitation", tour.get(invitation)
    yield "sessions", tour.get("/desk/security")
    yield "step-up", tour.get("/desk/confirm?next=/admin/readers")
    yield "step-up-refused", tour.post("/desk/confirm", password=PASSWORD, code="000000", next="/admin/readers")


def audit_states(tour: Tour) -> Iterator[State]:
    """The log as it is, checked, filtered, without a match; before it is exported; the record of processing."""
    yield "audit", tour.get("/admin/audit")
    yield "audit-checked", tour.post("/admin/audit/check")
    yield "audit-filtered", tour.get("/admin/audit?what=addresses&about=reader+1&from=2026-11-19&to=2026-11-19")
    yield "audit-refusals", tour.get("/admin/audit?what=refused")
    yield "audit-none", tour.get("/admin/audit?about=nothing")
    yield "audit-export", tour.get("/admin/audit/export?what=addresses")
    yield "audit-export-refused", tour.post("/admin/audit/export", what="addresses")
    yield "processing", tour.get("/admin/processing")


def health_states(tour: Tour) -> Iterator[State]:
    """The doctor's findings: nobody looked, while they are looked for, here and outside."""
    yield "health-unseen", tour.get("/admin/health")
    with FakeNameServer({}) as names:
        names.answering.clear()
        outside = NetworkAccess(("127.0.0.1", int(names.server_address[1])), answer_timeout=WAIT_TIMEOUT)
        context = replace(tour.world.app.extensions["digest"], health=DoctorRunner(outside))
        tour.world.app.extensions["digest"] = context
        running = tour.post("/admin/health", online="yes")
        assert "<progress" in running
        yield "health-running", running
        names.answering.set()
        wait_for_end(context.health)
    yield "health", tour.get("/admin/health")


def add_history(world: Any) -> None:
    """Give a source visits, a move and a story that rests on it, and the list some weeks of counts."""
    with world.database.write() as session:
        sync_sources(session, world.install.settings)
        first = session.get_one(Source, 1)
        first.health, first.moved_to = SourceHealth.GOOD, FAR_AWAY
        for days in (0, 7, 14):
            count_source_visit(session, first, NOW.date() - timedelta(days=days), is_good=days != 7, item_count=3)
        article = Article(source_id=1, key="1", url="https://x.example/1", title="Cranes", link="")
        article.dated_at = article.found_at = article.seen_at = NOW
        article.categories, article.date_basis = [], "stated"
        session.add(article)
        story = session.scalars(select(EditionStory).order_by(EditionStory.id.desc()).limit(1)).one()
        story.members = [article.url]
        for week, subscribers in enumerate((1, 4, 7)):
            day = NOW.date() - timedelta(days=14 - 7 * week)
            session.add(DailyConsentCount(day=day, kind="readers", way="", count=subscribers))
    count_growth(world.install, NOW)


def take_pictures(page: Page, name: str) -> None:
    for width, scheme in show_views(page, WIDTHS):
        page.screenshot(path=f"{PICTURES_FOLDER}/{name.replace('/', '-')}-{width}-{scheme}.png", full_page=True)


@pytest.fixture
def worlds(
    tmp_path: Path, home_databases: HomeDatabases, build_world: Any, move_settings_to_file: Any
) -> Iterator[tuple[Any, Any]]:
    """Set up an empty installation, and one that has seen some weeks."""
    homes = tmp_path / "empty", tmp_path / "full"
    databases = []
    for home in homes:
        home.mkdir()
        databases.append(open_database(home_databases.create(home)))
    empty = build_empty_world(databases[0], homes[0])
    full = build_world(databases[1], homes[1])
    secrets = {"DIGEST_ALERT_SECRET": "s", "DIGEST_BACKUP_PASSPHRASE": "a long enough passphrase"}
    full = move_settings_to_file(full, homes[1], SETTINGS + SOURCES + TOLD, **secrets)
    fill(full)
    full.edition(name="2026-W48", number=148, release_at=NOW + timedelta(days=8))
    add_history(full)
    yesterday = NOW - timedelta(days=1)
    give_password(full, full.session_cookie("admin", fresh_at=yesterday)[1], yesterday)
    yield empty, full
    for database in databases:
        database.close()


def test_axe_finds_nothing_in_any_state_of_any_page_for_admins_and_each_fits_its_width(
    browser: Browser, worlds: tuple[Any, Any], tmp_path: Path, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data(SITE, content_type="text/html")
    httpserver.expect_request("/sections").respond_with_data(SECTIONS, content_type="text/html")
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    empty, tour = Tour(worlds[0]), Tour(worlds[1])
    states = [
        *empty_states(empty),
        *health_states(tour),
        *source_states(tour, httpserver.url_for("/")),
        *search_states(tour),
        *import_states(tour),
        *suppression_states(tour, tmp_path),
        *delivery_states(tour),
        *subscriber_states(tour),
        *setting_states(tour, tmp_path / "backups"),
        ("growth", tour.get("/admin/growth")),
        *staff_states(tour),
        *audit_states(tour),
    ]
    context, found = browser.new_context(), {}
    with open_page_server(tour.world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        sign_in(context, tour.world, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/staff")
        kinds = set()
        for name, text in states:
            show_in_place(page, text)
            open_all_details(page)
            kind = page.title().partition(" ")[0]
            if kind in kinds:
                # What stands on every page was looked at.
                page.evaluate("document.querySelectorAll('header, header ~ nav').forEach(known => known.remove())")
            if faults := page_faults(page, widths=WIDTHS, in_another_state=kind in kinds):
                found[name] = faults
            kinds.add(kind)
            if re.fullmatch(IMAGES, name):
                take_pictures(page, name)
    context.close()
    assert found == {}
    rules = tour.world.app.url_map.iter_rules()
    pages = {rule.endpoint for rule in rules if "GET" in rule.methods and ROUTE_RULES[rule.endpoint].role is Role.ADMIN}
    assert pages - empty.seen - tour.seen == NO_PAGES.keys()
