"""An installation with a marker in every field, from its forms and from outside, after its week has passed."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes, policy
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from PIL import Image
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from werkzeug.test import TestResponse

from digest.app import jobs
from digest.app.approval import approval_overviews, correction_emails, edition_approval
from digest.app.editing import changes as editing
from digest.app.editing import corrections
from digest.app.editing.edit_application import EditForm
from digest.app.editions import drafting as editions
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import read_edition
from digest.app.editions.sample_emails import STAFF_MAILS, SUBSCRIBER_MAILS
from digest.app.sending import background_tasks
from digest.app.sending import send_control as sending
from digest.app.settings.setting_changes import EDITABLE_TABLES
from digest.deliver.events.mailbox import incoming_mail
from digest.deliver.inbound import payloads
from digest.edition.editing.edit_log import load_edits
from digest.edition.edition_queries import find_edition
from digest.installation import sending_pause
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.store import staff
from digest.store.account_models import Passkey
from digest.store.approval_models import SentBackNote
from digest.store.delivery_models import Delivery
from digest.store.engine import Database
from digest.web.app import create_app
from subscribers.crypto.keys import KeyRing
from tests.actors import ADMIN, EDITOR
from tests.deliver.returned_mails import sent_message
from tests.injected_markers import EXPRESSION, MarkerJudge, make_marker, make_script_address, make_short_marker
from tests.moments import DRAFTING as NOW
from tests.moments import Clock
from tests.web.admin.subscribers.test_import_pages import EVIDENCE
from tests.web.conftest import ADA_ADDRESS, BASE_URL, WebSetup, draw_image
from tests.web.desk.page_forms import (
    ENDINGS,
    LOG,
    NOT_SENT,
    SENT,
    SIGN_IN,
    SITE,
    FormRun,
    FormWorld,
    PageForm,
    build_form_world,
    fill_in,
    kind_of_page,
)

TEXT_KINDS = frozenset({"text", "search", "url", "email", "textarea", "file", "password", "tel"})
# What was written to be refused.
WHOLE, RUNS = ", a whole marker", ", an address that would run"
# In the place of KEY stands the key of the field.
SHORT = make_short_marker("KEY")
PERSON = "Ruth'\"><img src=x onerror=alert()>"  # a person's name has no digit, so a marker's key isn't in it
ADDRESS = f"https://KEY.example/'\"><script>alert(1)</script>{{{{{EXPRESSION}}}}}"
MAILBOX = f"KEY'{{{{{EXPRESSION}}}}}$@news.example.org"
NUMBERS = {
    "limits": (
        *("send_per_second", "send_per_hour", "signups_per_network", "signups_per_domain", "signups_first"),
        *("signups_further", "signups_alert", "signups_waiting", "contact_per_network", "proxies"),
    ),
    "branding": (
        "accent",
        "accent_dark",
        "label",
        "label_dark",
        "tint",
        "tint_dark",
        "background",
        "bar",
        "logo_height",
    ),
    "schedule": ("collect", "deadline_hours", "final_check_minutes", "reminder_hours"),
    "backup": ("at", "daily", "weekly", "monthly"),
    "publication": ("language", "timezone", "first_number"),
    "sections": ("#.place", "#.most"),
}
# What a field takes whose rule refuses a whole marker; None: what its page holds there, or what it is meant for.
ACCEPTED: dict[str, str | None] = {
    **{f"settings {table}: {name}": None for table, names in NUMBERS.items() for name in names},
    "settings limits: warm_up": "",
    "settings limits: domains_per_hour": "KEY.example = 10",
    "settings branding: logo": "",
    "settings branding: logo_dark": "",
    "settings branding: header": "",
    "settings publication: site": ADDRESS,
    "settings sections: #.key": "own",
    "settings consent: text": "=KEY'\">--> < script> Send me the weekly mail; I can leave by the link in each.",
    "settings sender: address": MAILBOX,
    "settings sender: reply_to": MAILBOX,
    "settings sender: list_id": f"KEY'{{{{{EXPRESSION}}}}}.news.example.org",
    "settings sender: bounce_domain": "KEY.example",
    "settings sender: feedback_id": "KEY",
    "settings alerts: webhook": ADDRESS,
    "settings backup: folder": f"/KEY'\"><script>alert(1)</script>{{{{{EXPRESSION}}}}}",
    "auth.submit_name: name": PERSON,
    "auth.submit_passkey: name": SHORT,
    "auth.rename_passkey: name": SHORT,
    "admin.invite_member: name": f"Sam {PERSON}",
    "admin.find_subscriber: address": None,
    "admin.open_subscriber: number": "1",
    "admin.begin_search: part": None,
    "admin.filter_subscribers: domain": None,
    "admin.remove_suppression: address": ADA_ADDRESS,
    "admin.submit_source_changes: weight": None,
    "admin.submit_source_changes: url": None,
    "admin.submit_new_source: weight": None,
    "editing.save_block: url": ADDRESS,
    "stories.add_story: url": ADDRESS,
    "editing.save_subject_and_intro: subject": SHORT,
    "editing.save_subject_and_intro: preheader": SHORT,
    "subscribers.write_to_the_editors: website": "",
    "signup.submit_signup: website": "",
    "signup.request_lost_link: website": "",
}
# A choice that its page does not make, so that the text beside it counts.
CHOICES = {"why": "other"}
# Not sent: they would end what others need, their time comes later, or their pages show them only while something runs.
HELD_BACK = frozenset(
    {
        *("corrections.email_correction", "admin.stop_upload", "admin.resolve_deliveries_by_mail_log"),
        *("desk.submit_approval", "auth.sign_out", "auth.end_session", "auth.end_other_sessions"),
        *("admin.remove_upload", "admin.stop_search", "admin.submit_source_removal", "auth.remove_passkey"),
    }
)
# Forms without a text that lead to one, or to what shows it.
LEADS_ON = frozenset(
    {
        *(
            "auth.begin_authenticator_setup",
            "auth.submit_sign_in_link",
            "admin.download_row_outcomes",
            "subscribers.download_my_data",
            "subscribers.download_portable_copy",
            "subscribers.show_my_record",
        )
    }
)
# What their pages say afterwards is new, and so are their forms.
GROWS = frozenset({"admin.add_subscriber", "admin.upload_list", "admin.run_upload_step"})
LAST = (
    "admin.resolve_uncertain_deliveries",
    "admin.change_subscriber",
    "admin.remove_suppression",
    "admin.export_list",
    "admin.export_audit_log",
    *sorted(ENDINGS),
)
# The pages that read their address's query, and what they read of it.
QUERIES = {
    "archive.search": ("q", "topic", "sort", "page"),
    "auth.show_sign_in": ("next",),
    "admin.list_subscribers": ("state", "signup_source", "import", "domain", "since", "below"),
    "admin.show_audit_log": ("who", "what", "about", "from", "to", "row", "at"),
    "admin.list_deliveries": ("edition",),
    "admin.show_subscriber": ("done",),
    "admin.show_source": ("saved",),
    "admin.list_imports": ("taken_back", "undoing"),
    "desk.edition": ("tab", "view", "filter", "order", "topic_filter", "q", "start", "open", "panel", "about", "omit", "show"),
    "desk.show_sources": ("removed",),
    "desk.list_sent_editions": ("before",),
    "calendar.show_calendar": ("ask", "release", "day", "clock"),
    "history.show_history": ("moment", "back"),
    "previews.show_preview": ("view", "omit"),
}  # fmt: skip
NEWS = (
    ("Ports list the modems on their cranes", "Terminal operators have ten days to say which cranes answer to the network."),
    ("Flood maps move homes into the high-risk zone", "Insurance will be asked for in spring, and counties may object."),
    ("Hospital works a week without its network", "Paper charts and runners carried it through, says the report."),
    ("Border crossing opens a second lane for trucks", "Waiting fell by half in the first month of the trial."),
    ("Water plants close an open door", "Two hundred small plants could be reached from any browser."),
    ("Wildfire crews share one radio channel", "Six counties agreed on it after last summer's losses."),
)  # fmt: skip
DRAFT = "2026-W47"
SETTINGS = """
[publication]
name = "HLS.Today"
[sender]
postal_address = "200 Example Street, Washington, DC 20001"
[select]
minimum = 1
[limits]
allow_networks = ["127.0.0.0/8"]
"""
LAYERS = {"feed": 3, "atom": 3, "page": 3, "event": 2, "json": 2}
SOURCES = (
    ("feed.rss", "news"),
    ("products.atom", "products"),
    ("events.ics", "events"),
    ("calls.json", "opportunities"),
)


class Marks:
    """Which key was written into which field."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def make_key(self, field: str) -> str:
        """Give a key of its own to what is written into a field."""
        key = f"mk{len(self.fields):04d}x"
        self.fields[key] = field
        return key


def name_field(form: PageForm, name: str) -> str:
    """Name a field by its route, or by the table of the settings."""
    table = form.path.removeprefix("/admin/settings/") if form.endpoint == "admin.change_settings" else ""
    return f"{f'settings {table}' if table else form.endpoint}: {re.sub(r'^[0-9]+', '#', name)}"


class MarkedRun(FormRun):
    """A walk that writes markers into every field, and has every answer looked at."""

    def __init__(self, setup: WebSetup, site: str) -> None:
        super().__init__(setup, left_out=NOT_SENT.keys() | HELD_BACK)
        self.marks, self.judge, self.site = Marks(), MarkerJudge(), site
        self.edition = ""
        # Of each address the page with the most keys of those that stood there, and how many those are.
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.looked: set[str] = set()
        self.taken: set[str] = set()
        self.refused: set[str] = set()
        self.client.environ_base["HTTP_USER_AGENT"] = make_marker(self.marks.make_key("outside: user agent"))[:200]

    def read(self, path: str, answer: TestResponse) -> list[str]:
        """Have an answer looked at, then read its forms."""
        self.looked.add(path)
        kind = answer.mimetype or ""
        keys = self.judge.look_at_answer(path, kind, answer.headers, answer.data)
        if kind == "text/html" and keys > self.pages.get(path, (0, b""))[0]:
            self.pages[path] = keys, answer.data
        return super().read(path, answer)

    def tell_apart(self, form: PageForm) -> tuple[Any, ...]:
        """Name what a form is an example of: by its texts, if it has any, whatever button sends it."""
        texts = {name_field(form, name) for name, _, kind in form.fields if kind in TEXT_KINDS}
        return (form.endpoint, frozenset(texts)) if texts else super().tell_apart(form)

    def fill_all(self) -> None:
        """Write markers into every form that waits, and into those that come up by that."""
        while self.waiting:
            forms = sorted(self.waiting, key=lambda form: LAST.index(form.endpoint) if form.endpoint in LAST else -1)
            self.waiting = []
            for form in forms:
                if any(kind in TEXT_KINDS for _, _, kind in form.fields) or form.endpoint in LEADS_ON:
                    self.fill(form)

    def fill(self, form: PageForm) -> None:
        """Send a form with whole markers, with addresses that would run, and with what each field takes; follow it."""
        texts = [(name_field(form, name), kind) for name, _, kind in form.fields if kind in TEXT_KINDS]
        if any(field in ACCEPTED or kind == "email" for field, kind in texts):
            self.send_with(form, self.whole_marker)
            if any(kind in TEXT_KINDS and self.takes_address(name, kind) for name, _, kind in form.fields):
                self.send_with(form, self.script_address)
        answer = self.send_with(form, self.accepted_marker)
        (self.refused if answer.status_code >= 400 else self.taken).add(form.endpoint)
        if not self.edition:
            return  # there is little to see yet, and no page is opened twice
        goal = urlsplit(urljoin(SITE + form.path, answer.headers.get("Location", form.path)))
        path = goal.path + (f"?{goal.query}" if goal.query else "")
        if form.endpoint in GROWS:
            self.look(path)
        self.walk(path)

    def send_with(self, form: PageForm, write: Callable[[PageForm, str, str, str], Any]) -> TestResponse:
        """Send a form with what is written into its texts, and read the answer."""
        fields = []
        for name, value, kind in form.fields:
            if kind in TEXT_KINDS:
                fields.append((name, write(form, name, value, kind)))
            elif re.fullmatch(r"\d+\.out", name):
                continue  # the sections stay
            elif name == "seq":
                fields.append((name, str(self.read_last_edit())))
            else:
                chosen = CHOICES.get(name) if kind == "radio" else None
                fields.append((name, chosen or fill_in(form.endpoint, name, value, kind)))
        if form.path == "/admin/settings/sender":
            fields.append(("list_id-sure", "1"))  # the answer to the question that comes back
        answer = self.send(form, fields)
        self.read(form.path, answer)
        return answer

    def read_last_edit(self) -> int:
        """Give the number of the edition's last edit: that of a form is old by then."""
        with self.setup.database.read() as session:
            edits = load_edits(session, find_edition(session, self.edition))
        return edits[-1].seq if edits else 0

    def whole_marker(self, form: PageForm, name: str, _value: str, kind: str) -> Any:
        """Write a whole marker: most fields refuse it, and their pages say so."""
        marker = make_marker(self.marks.make_key(f"{name_field(form, name)}{WHOLE}"))
        return (io.BytesIO(marker.encode()), marker.replace("\r\n", "")) if kind == "file" else marker

    def takes_address(self, name: str, kind: str) -> bool:
        """Return whether a field asks for a web address."""
        return kind == "url" or name in {"site", "webhook", "url"}

    def script_address(self, form: PageForm, name: str, value: str, kind: str) -> Any:
        """Write an address that would run where one is asked for."""
        if self.takes_address(name, kind):
            return make_script_address(self.marks.make_key(f"{name_field(form, name)}{RUNS}"))
        return fill_in(form.endpoint, name, value, kind)

    def accepted_marker(self, form: PageForm, name: str, value: str, kind: str) -> Any:
        """Write what a field takes of a marker."""
        field = name_field(form, name)
        key = self.marks.make_key(field)
        if field in {"admin.preview_new_source: address", "stories.show_story_found_at_url: url"}:
            return f"{self.site}{'site' if form.endpoint.startswith('admin') else 'page'}?{key}"
        if kind == "file":
            return io.BytesIO(self.write_file(form.endpoint, name)), make_marker(key).replace("\r\n", "")
        if field in {"admin.change_subscriber: number", "admin.change_member: number"}:
            return form.path.split("/")[3]
        if re.match(r"[0-5]\.topics", name):
            return value  # a section of these is filled from what its kind says
        if field in ACCEPTED:
            taken = ACCEPTED[field]
            return fill_in(form.endpoint, name, value, kind) if taken is None else taken.replace("KEY", key)
        return f"{key}'{{{{{EXPRESSION}}}}}$@county.example" if kind == "email" else make_marker(key)

    def write_file(self, endpoint: str, name: str) -> bytes:
        """Write a file that a form takes, with markers in it."""
        if endpoint in {"editing.save_story", "editing.save_block"}:
            return draw_image()
        if endpoint == "admin.replace_brand_images":
            return draw_logo(0 if name == "logo" else 255, (1120, 200) if name == "header" else (400, 80))
        if endpoint == "admin.upload_opml":
            text, url = (
                make_marker(self.marks.make_key(f"outside: list of feeds, {what}")) for what in ("name", "link")
            )
            line = f'<outline text="{escape(text)}" type="rss" xmlUrl="{self.site}list?{escape(url)}"/>'
            return f'<opml version="2.0"><head><title>x</title></head><body>{line}</body></opml>'.encode()
        if endpoint == "admin.upload_mail_log":
            return LOG
        cell = {column: self.write_cell(column) for column in ("heading", "name", "status", "address")}
        rows = [f"person{n}@county.example,{cell['name']},{EVIDENCE},subscribed" for n in range(3)]
        rows += [f"{cell['address']},x,{EVIDENCE},subscribed", f"vic@county.example,x,{EVIDENCE},{cell['status']}"]
        headings = f"Email Address,{cell['heading']},OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,STATUS"
        return "\r\n".join([headings, *rows, ""]).encode()

    def write_cell(self, name: str) -> str:
        """Write a cell of a list of readers."""
        make = make_short_marker if name == "status" else make_marker
        text = make(self.marks.make_key(f"outside: list of readers, {name}"))
        return '"' + text.replace('"', '""') + '"'

    def ask_queries(self) -> None:
        """Open the pages that read a query with a marker in each of its parts; and pages that are not there."""
        for endpoint, names in QUERIES.items():
            query = {name: make_marker(self.marks.make_key(f"query: {name}")) for name in names}
            path = f"{self.paths[endpoint].partition('?')[0]}?{urlencode(query)}"
            self.look(path)
        for place in ("/", "/topics/", "/editions/", "/desk/editions/", "/desk/mails/", "/admin/settings/", "/u/"):
            path = place + urlencode({"": make_marker(self.marks.make_key(f"path: {place}"))})[1:]
            self.look(path)

    def look(self, *paths: str) -> None:
        """Have pages looked at, and nothing that they lead to."""
        for path in paths:
            self.read(path, self.client.get(path))


def draw_logo(shade: int, size: tuple[int, int]) -> bytes:
    """Draw a logo or header image in one shade, as a PNG."""
    buffer = io.BytesIO()
    Image.new("L", size, shade).save(buffer, "PNG")
    return buffer.getvalue()


def serve_marked_feeds(server: HTTPServer, marks: Marks) -> None:
    """Serve feeds of four kinds, a site, a page and a picture, with markers in all their words."""
    site = server.url_for("/")

    def words(field: str) -> str:
        """Escape a marker so often that its mark-up stands there as it is when all is decoded that feeds escape."""
        text = make_marker(marks.make_key(f"outside: {field}"))
        for _ in range(1 if field in {"json, text", "event, description"} else LAYERS[field.partition(",")[0]]):
            text = escape(text)
        return text

    def link(name: str) -> str:
        key = marks.make_key("outside: feed, link")
        return escape(f"{site}{name}?'\"><script>{{{{{EXPRESSION}}}}}{key}")

    items = "".join(
        f"<item><title>{title} {words('feed, title')}</title><link>{link(f'story{n}')}</link><guid>{words('feed, id')}</guid>"
        f"<pubDate>Wed, 18 Nov 2026 0{n}:00:00 GMT</pubDate><description>{summary} {words('feed, summary')}</description>"
        f"<author>{words('feed, author')}</author><category>{words('feed, category')}</category>"
        f"<source url='https://credit.example/'>{words('feed, credit')}</source><media:content url='{site}picture{n}.jpg' medium='image'/></item>"
        for n, (title, summary) in enumerate(NEWS, 1)
    )
    rss = f'<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel><title>{words("feed, name")}</title>{items}</channel></rss>'
    entry = (
        f"<entry><title type='html'>A lamp for turnout coats {words('atom, title')}</title><id>{words('atom, id')}</id><link href='{site}product'/>"
        f"<updated>2026-11-18T09:00:00Z</updated><author><name>{words('atom, author')}</name></author>"
        f"<summary type='html'>It runs for thirty hours. {words('atom, summary')}</summary></entry>"
    )
    atom = f"<feed xmlns='http://www.w3.org/2005/Atom'><title>{words('atom, name')}</title>{entry}</feed>"
    event = "\r\n".join(
        [
            *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", f"UID:{words('event, id')}"),
            *("DTSTAMP:20261118T090000Z", "DTSTART:20261203T170000Z", "DTEND:20261203T180000Z", f"URL:{site}event"),
            f"SUMMARY:Exercise in the harbor {words('event, title')}".replace("\r\n", "\\n"),
            f"LOCATION:{words('event, place')}".replace("\r\n", "\\n"),
            f"DESCRIPTION:Open to all. {words('event, description')}".replace("\r\n", "\\n"),
            *("END:VEVENT", "END:VCALENDAR", ""),
        ]
    )
    call = {
        "id": words("json, id"),
        "url": f"{site}call",
        "title": f"Comments wanted on drones above stadiums {words('json, title')}",
        "content_text": f"There is no fee. Deadline: December 4, 2026. {words('json, text')}",
        "date_published": "2026-11-18T09:00:00Z",
        "authors": [{"name": words("json, author")}],
        "tags": [words("json, tag")],
    }
    calls = {"version": "https://jsonfeed.org/version/1.1", "title": words("json, name"), "items": [call]}
    text = "What the page says of it is long enough to be the text of an article. " * 20
    page = (
        f"<html><head><title>{words('page, title')}</title><meta name='description' content='{words('page, description')}'>"
        f"<meta name='author' content='{words('page, author')}'></head>"
        f"<body><article><h1>{words('page, headline')}</h1><p>{text}{words('page, text')}</p></article></body></html>"
    )
    home = (
        "<html><head><title>x</title><link rel='alternate' type='application/rss+xml' href='/other.rss'></head></html>"
    )
    documents: tuple[tuple[str, str | bytes, str], ...] = (
        ("/feed.rss", rss, "application/rss+xml"),
        ("/other.rss", rss, "application/rss+xml"),
        ("/products.atom", atom, "application/atom+xml"),
        ("/events.ics", event, "text/calendar"),
        ("/calls.json", json.dumps(calls), "application/feed+json"),
        ("/page", page, "text/html"),
        ("/site", home, "text/html"),
        ("/robots.txt", "", "text/plain"),
        *(
            (f"/{name}", page, "text/html")
            for name in ("product", "event", "call", *(f"story{n}" for n in range(1, 7)))
        ),
        *((f"/picture{n}.jpg", draw_image(), "image/jpeg") for n in range(1, 7)),
    )
    for path, body, kind in documents:
        server.expect_request(path).respond_with_data(body, content_type=kind)


@dataclass
class MarkedInstallation:
    """What was written where, and what was seen of it; `mails` are the messages that left."""

    run: MarkedRun
    ground: FormWorld
    clock: Clock
    mails: dict[str, bytes]

    @property
    def marked_fields(self) -> set[str]:
        """The fields that were written into, but for what was written to be refused."""
        return {field for field in self.run.marks.fields.values() if not field.endswith((WHOLE, RUNS))}

    @property
    def seen_fields(self) -> set[str]:
        """Those whose markers stand somewhere."""
        return {self.run.marks.fields[key] for key in self.run.judge.seen} & self.marked_fields

    @property
    def opened_routes(self) -> set[str]:
        """The routes of the pages that were looked at."""
        routes = self.run.app.url_map.bind("news.example.org")
        return {
            routes.match(urlsplit(path).path, "GET")[0]
            for path in self.run.looked
            if routes.test(urlsplit(path).path, "GET")
        }

    def find_richest_pages(self, most: int) -> dict[str, bytes]:
        """Give the pages in which the most keys stand, by their addresses: one of each route."""
        found: dict[str, bytes] = {}
        routes: set[str] = set()
        for path, (_, body) in sorted(self.run.pages.items(), key=lambda page: -page[1][0]):
            kind = kind_of_page(self.run.app, path)
            if kind is not None and kind[0] not in routes and len(found) < most:
                routes.add(kind[0])
                found[path] = body
        return found

    def read_mail_pages(self) -> list[str]:
        """Give the HTML of the messages that left, one for each subject."""
        messages = (message_from_bytes(raw, policy=policy.default) for raw in self.mails.values())
        pages = {str(mail["Subject"]): mail.get_body(("html",)) for mail in messages}
        return [str(part.get_content()) for part in pages.values() if part is not None]


def open_marked_installation(home: Path, database: Database, server: HTTPServer) -> tuple[MarkedRun, Clock]:
    """Open an installation with its settings in a file and sources that a test serves; nothing is collected yet."""
    site = server.url_for("/")
    sources = "".join(
        f'[[sources]]\nurl = "{site}{path}"\nname = "{section}"\npublisher = "{section}"\nsection = "{section}"\nimages = "own"\n'
        for path, section in SOURCES
    )
    file = home / "digest.toml"
    file.write_text(SETTINGS + sources, "utf-8")
    places = {"DIGEST_HOME": str(home), "DIGEST_BASE_URL": BASE_URL, "DIGEST_MAIL_URL": "outbox:"}
    url = database.engine.url.render_as_string(hide_password=False)
    settings = load_settings(file, places | {"DIGEST_DATABASE_URL": url, "DIGEST_ALERT_SECRET": "secret" * 8})
    KeyRing.create(settings.key_file)
    clock = Clock(NOW)
    install = Installation(settings, database)
    app = create_app(install, clock=clock)
    app.testing = True
    app.config["WTF_CSRF_ENABLED"] = False  # the token has tests of its own
    run = MarkedRun(WebSetup(install, app, 0), site)
    serve_marked_feeds(server, run.marks)
    return run, clock


def live_through_a_week(run: MarkedRun, clock: Clock) -> MarkedInstallation:
    """Write markers into the settings, draft from marked feeds, edit, approve, send, correct and mail; look at every page before and after."""
    install = run.setup.install
    run.look(*(f"/admin/settings/{table}" for table in EDITABLE_TABLES))
    run.fill_all()
    editions.collect_articles(install, actor=ADMIN, now=clock())
    # Before the draft: an edition follows on the one before.
    ground = build_form_world(run.setup, DRAFT)
    run.setup = ground.setup
    run.edition = editions.draft_next_edition(install, actor=ADMIN, now=clock()).name
    assert run.edition == DRAFT
    with install.database.write() as session:
        ann = staff.require_staff_member(session, "ann@newsroom.example").id
        session.add(Passkey(staff=ann, credential=b"c", public_key=b"k", sign_count=0, name="Key", made_at=NOW))
    hear_from_outside(run)
    walk_everywhere(run, ground)
    run.fill_all()
    run.ask_queries()
    release(run, clock)
    mails = {file.name: file.read_bytes() for file in sorted(install.settings.outbox_folder.rglob("*.eml"))}
    for name, raw in mails.items():
        run.judge.look_at_answer(f"mail {name}", "message/rfc822", (), raw)
    look_at_exports(run)
    name, value = run.setup.session_cookie("admin", fresh_at=clock())
    run.client.set_cookie(name, value, domain="localhost")
    run.opened.clear()
    sent = f"/editions/{run.edition}"
    run.look(sent, f"{sent}/as-sent", f"{sent}.ics", "/search?q=flood", "/search?q=script")
    pages = ("sending", "corrections", "history", "versions/1", "versions/1/mail")
    run.look(*(f"/desk{sent}/{page}" for page in pages))
    run.look(f"/desk{sent}/corrections/1/email")
    run.look(*(f"/desk/mails/{mail.key}/frame" for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS)))
    walk_everywhere(run, ground)
    run.fill_all()
    return MarkedInstallation(run, ground, clock, mails)


def walk_everywhere(run: MarkedRun, ground: FormWorld) -> None:
    """Open the pages of readers, the archive, the desk and the admins, one of each kind: the first are those with the most on them."""
    draft, sent = f"/desk/editions/{run.edition}", f"/editions/{run.edition}"
    archive = ("/", sent, f"/editions/{SENT}", "/calendar.ics", "/feed.json", "/sitemap.xml")
    subscribers = ("/subscribe", "/preferences", "/contact", SIGN_IN, *ground.link_paths)
    run.walk(*archive, *subscribers, client=run.setup.client)
    ada = ground.setup.ada
    # Ada unsubscribes on the way, and the last one doesn't.
    people = (f"/admin/readers/{ada}", f"/admin/readers/{ada + 4}/preferences", "/admin/staff/2", "/admin/readers")
    desk = ("/desk/", draft, f"{draft}/history", "/desk/security", "/desk/sent", "/desk/sources")
    run.walk(*people, *desk, "/admin/import", "/admin/deliveries", "/admin/audit")


def hear_from_outside(run: MarkedRun) -> None:
    """Have a provider and a mail server say of the edition that was sent what they like."""
    install = run.setup.install
    with install.database.write() as session:
        rows = list(
            session.scalars(select(Delivery).where(Delivery.purpose == f"edition:{SENT}").order_by(Delivery.id))
        )
        sent = [sent_message(install.keys, row.person or 0, row.purpose) for row in rows]
        for row, message in zip(rows, sent, strict=True):
            row.id = message.delivery  # as sending makes it: what comes back names it
        rows[3].transport = "smtp"  # which reports nothing, so that its silence says nothing
    words = {
        name: make_marker(run.marks.make_key(f"outside: webhook, {name}")) for name in ("reason", "response", "status")
    }
    moment = int((NOW - timedelta(hours=1)).timestamp())
    event = {"email": "x@county.example", "timestamp": moment} | words
    events = [
        event | {"event": kind, "sg_event_id": kind, "delivery_id": message.delivery}
        for message, kind in zip((sent[2], sent[4]), ("bounce", "deferred"), strict=True)
    ]
    payloads.store_payload(install.database, install.keys, json.dumps(events).encode(), origin="sendgrid", now=NOW)
    returned = sent[0].returned_mail("postfix").decode()
    said = make_marker(run.marks.make_key("outside: bounce")).replace("\r\n", " ")
    returned = returned.replace("550 5.1.1", f"550 5.1.1 {said}")
    origin = incoming_mail.REPORTED_BY
    payloads.store_payload(install.database, install.keys, returned.encode(), origin=origin, now=NOW)
    applied = background_tasks.apply_inbound_events(install, clock=lambda: NOW)
    assert {"bounced", "deferred"} <= applied.keys()


def release(run: MarkedRun, clock: Clock) -> None:
    """Approve the edition, send it at its time, and hand over all other mail that waits."""
    install, name = run.setup.install, run.edition
    sending_pause.resume_all_sending(install, actor=ADMIN, now=clock())
    with install.database.read() as session:
        notes = list(session.scalars(select(SentBackNote.id)))
        release_at = find_edition(session, name).release_at
    for note in notes:
        approval_overviews.mark_note_done(install, name, note, actor=ADMIN, now=clock())
    own = {field: make_marker(run.marks.make_key(f"stories.add_story: {field}")) for field in ("title", "summary")}
    editing.add_written_story(install, EditForm(name, ADMIN, clock()), own, section="featured")  # without a link
    wanted = read_edition_status(install, name, now=clock()).content_hash
    context = jobs.JobContext(install, clock)
    jobs.remind(context)
    jobs.look_for_alerts(context)
    colleague = replace(EDITOR, name="staff 3")
    for approver in (EDITOR, colleague):  # a terminal without a name wrote some of it, so two have to
        edition_approval.approve_edition(install, name, wanted, actor=approver, now=clock())
    clock.now = release_at
    sending.send_edition(install, name, actor=ADMIN, clock=clock)
    background_tasks.process_signup_requests(install, clock=clock)
    becomes, why = (
        make_marker(run.marks.make_key(f"corrections.submit_correction: {name}")) for name in ("becomes", "note")
    )
    url = corrections.view_corrections(install, name).stories[0].url
    form = corrections.CorrectionForm(url, "headline", becomes, why)
    made = corrections.correct_story(install, name, form, actor=EDITOR, now=clock())
    mark = correction_emails.read_correction_email(install, name, made.seq).content_hash
    correction_emails.approve_correction_email(install, name, made.seq, mark, actor=colleague, now=clock())
    correction_emails.queue_approved_correction_emails(install, clock=clock)
    background_tasks.send_due_transactional_emails(install, clock=clock)
    background_tasks.send_due_corrections(install, clock=clock)


def look_at_exports(run: MarkedRun) -> None:
    """Look at the edition as commands give it out."""
    for kind, media_type in (
        ("html", "text/html"),
        ("text", "text/plain"),
        ("eml", "message/rfc822"),
        ("json", "application/json"),
    ):
        body = editions.render_edition_bytes(run.setup.install, read_edition(run.setup.install, run.edition), kind)  # type: ignore[arg-type]
        run.judge.look_at_answer(f"digest show --as {kind}", media_type, (), body)
