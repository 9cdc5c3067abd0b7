"""Every form of every page, read from its HTML: sent as it stands, with hostile values in each field, and by the wrong people."""

import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import lxml.html
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from digest.app.acts import Role
from digest.app.consent_wordings import current_wording
from digest.store import staff
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from digest.web.auth.route_rules import ROUTE_RULES
from subscribers.address import read_address
from subscribers.consent.departure_log import DepartureLog
from subscribers.consent.preferences import Preferences
from subscribers.lifecycle import address_change, choice_changes, silent_readers, undo
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import MailRequest
from subscribers.signup.manual_signup import add_subscriber
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store import one_time_tokens
from subscribers.store.one_time_tokens import OneTimePurpose
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.postfix_lines import iso_line, log_text
from tests.web.admin.conftest import move_settings
from tests.web.admin.test_delivery_pages import delivery
from tests.web.admin.test_import_pages import mailchimp_list
from tests.web.conftest import ADA_ADDRESS, RELEASE, WebSetup, draw_picture, sample_evidence
from tests.web.desk.sample_week import SampleWeek
from tests.web.test_fuzzed_routes import path_of

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
SITE = "https://news.example.org"
SENT = "2026-W46"
# A free port of this machine answers nothing, and is refused before it is asked: no test waits for the network.
LOG = log_text([iso_line(NOW - timedelta(days=2), "anvil", "statistics")])
LIST = mailchimp_list(5).encode()
NOWHERE = "http://127.0.0.1:9/feed"
HOSTILE = (
    "", " ", "\0", "\r\nBcc: eve@example.org", "'\"><img src=x onerror=alert(1)>", "{{7*7}}${7*7}", "../../../etc/passwd", "%00%", "-1",
    "0", "9" * 40, "1e309", "NaN", "2026-02-30", "9999-12-31T23:59:59", "javascript:alert(1)", "http://[::1", "a@b@c", "\U0001f600" * 9, "\ud7ff\u202e",
    "null", "[]", '{"$gt": ""}', "' OR 1=1 --", "x" * 3000,
)  # fmt: skip
# Where a field names a host that is asked: what nobody can look up, so that no test waits for the network.
ASKS_HOSTS = frozenset({"admin.look_for_feeds", "admin.add_source", "stories.fetch_story"})
NO_HOSTS = tuple(value for value in HOSTILE if value[:1] in {"", " ", "\0", "\r", "'", "{"} or ":" in value)
QUERY_NAMES = (
    "open",
    "panel",
    "about",
    "tab",
    "view",
    "show",
    "filter",
    "moment",
    "q",
    "since",
    "before",
    "page",
    "edition",
    "state",
    "what",
    "day",
    "ask",
)
MOST_FORMS = {"editing.act": 24, "admin.change_settings": 12}  # of one route; of the others three
ENDINGS = frozenset({"admin.remove_source", "readers.erase_now", "readers.leave_now"})
# What other forms need is there until then: these come at the very end.
DEFERRED = frozenset(
    {"admin.remove_upload", "admin.stop_search", "auth.sign_out", "auth.end_session", "auth.end_other_sessions"}
)
# After these somebody else is signed in, or nobody.
OTHER_SESSIONS = frozenset({"auth.sign_out", "auth.submit_sign_in_link", "auth.submit_invitation"})
SIGN_IN = "/desk/sign-in"
REFUSED = {400, 403, 404}
Field = tuple[str, str, str]  # name, value, type


@dataclass(frozen=True)
class PageForm:
    """A form as a page shows it, with the button that sends it."""

    endpoint: str
    path: str
    fields: tuple[Field, ...]


@dataclass
class FormWorld:
    """An installation where every page has something on it, and what its pages have been found to hold."""

    setup: WebSetup
    week: SampleWeek
    tokens: dict[str, str]


def issue(setup: WebSetup, purpose: OneTimePurpose, person: int | None, serial: str = "") -> str:
    with setup.database.write() as session:
        ends = NOW + timedelta(hours=1)
        return one_time_tokens.issue_token(session, purpose, person, now=NOW, expires_at=ends, serial=serial)


@pytest.fixture
def forms(week: SampleWeek, tmp_path: Path) -> FormWorld:
    """Give the sample's week with readers, an edition that was sent, doubts, an upload, accounts and a link of each kind."""
    keys = week.installation.keys
    with week.installation.database.write() as session:
        evidence = sample_evidence()
        numbers = [
            add_subscriber(session, keys, address, evidence=evidence, now=NOW - timedelta(days=200)).number
            for address in (ADA_ADDRESS, *(f"r{n}@county.example" for n in range(4)))
        ]
    setup = WebSetup(week.installation, week.app, numbers[0])
    text = resources.files("digest").joinpath("sample/digest.toml").read_text("utf-8")
    source = f'\n[[sources]]\nurl = "{NOWHERE}"\nname = "Nowhere"\npublisher = "Nowhere"\n'
    setup = move_settings(setup, tmp_path, text + source, DIGEST_MAIL_URL="outbox:")
    setup.app.config["WTF_CSRF_ENABLED"] = False  # the token has tests of its own
    setup.edition(name=SENT, number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(days=7))
    mailed: list[MailRequest] = []

    def queue(_session: Any, mail: MailRequest) -> None:
        mailed.append(mail)

    with setup.database.write() as session:
        for place, person in enumerate(numbers):
            state = DeliveryState.UNCERTAIN if place % 2 else DeliveryState.ACCEPTED
            session.add(delivery(place, f"edition:{SENT}", state, person))
        session.add(delivery(300, "data:1", DeliveryState.UNCERTAIN, numbers[0]))
        member = staff.add_staff_member(
            session, read_address("bo@newsroom.example"), "editor", queue, actor="test", now=NOW
        ).id
        left = DepartureLog(setup.install.settings.left_log, keys)
        unsubscribe_person(session, left, numbers[1], method="page", now=NOW)
        moved = read_address("moved@county.example")
        address_change.request_address_change(session, keys, numbers[2], moved, queue, SignupLimits(), now=NOW)
        move_token = mailed[-1].context.get("token") or mailed[-2].context["token"]
        choice_changes.save_choices(session, numbers[3], Preferences(text_only=True), queue, now=NOW)
        restore_token = mailed[-1].context["token"]
        undo_token = undo.issue_undo_token(session, numbers[1], now=NOW)
    silent = silent_readers.SilenceQuestion(NOW - timedelta(days=100), takes_off=True)
    wording = current_wording(setup.install.settings)
    silent_readers.queue_silence_questions(
        setup.database, queue, silent, wording=wording, page=f"{SITE}/stay", actor="test", limit=1, now=NOW
    )
    tokens = {
        "u": setup.token("leave", numbers[4]),
        "preferences": setup.token("preferences", numbers[4]),
        "undo": undo_token,
        "my-data": issue(setup, "my data", numbers[4]),
        "confirm": issue(setup, "confirm", None, "1"),
        "address": move_token,
        "restore": restore_token,
        "stay": mailed[-1].context["token"],
        "link": issue(setup, "sign in", None, str(member)),
        "staff": issue(setup, "staff address", None, str(member)),
    }
    return FormWorld(setup, week, tokens)


def kind_of_page(app: Any, path: str) -> tuple[Any, ...] | None:
    """Name what a page is an example of; None where the path is no page of ours."""
    parts = urlsplit(path)
    routes, asked = app.url_map.bind("news.example.org"), dict(parse_qsl(parts.query))
    if not routes.test(parts.path, "GET"):
        return None
    endpoint, named = routes.match(parts.path, "GET")
    if endpoint in {"desk.edition", "previews.show_preview"}:
        return endpoint, asked.get("panel"), asked.get("open", "")[:1]
    return endpoint, named.get("table"), named.get("act"), *sorted(asked)


def read_links(path: str, page: lxml.html.HtmlElement) -> Iterator[str]:
    """Give the addresses of our own that a page links to."""
    for link in page.xpath("//a/@href | //iframe/@src"):
        goal = urlsplit(urljoin(SITE + path, link))
        if goal.netloc == "news.example.org":
            yield goal.path + (f"?{goal.query}" if goal.query else "")


def read_forms(app: Any, path: str, page: lxml.html.HtmlElement) -> Iterator[PageForm]:
    """Give every way to send a form of a page: once for each of its buttons."""
    routes = app.url_map.bind("news.example.org")
    for form in page.forms:
        fields: list[Field] = []
        for element in form.xpath(".//input | .//select | .//textarea"):
            name, kind = element.get("name"), element.get("type", element.tag)
            if kind == "radio" and name in {field[0] for field in fields}:
                continue
            if name and kind not in {"submit", "button"}:
                value = element.get("value") if kind in {"radio", "checkbox"} else element.value
                fields.append((name, value or "", kind))
        name = form.get("id")
        buttons = form.xpath(".//button | .//input[@type='submit']") + (
            page.xpath("//button[@form=$id]", id=name) if name else []
        )
        for button in buttons or [form]:
            method = button.get("formmethod") or form.get("method") or "get"
            action = button.get("formaction") or form.get("action") or path
            if method.lower() != "post":
                continue
            goal = urlsplit(urljoin(SITE + path, action))
            assert goal.netloc == "news.example.org", action
            pressed = [(button.get("name"), button.get("value") or "", "button")] if button.get("name") else []
            yield PageForm(
                routes.match(goal.path, "POST")[0],
                goal.path + (f"?{goal.query}" if goal.query else ""),
                (*fields, *pressed),
            )


class FormRun:
    """One walk through the pages: a page of each kind is opened, and each kind of form that comes up is kept to be sent."""

    def __init__(self, ground: FormWorld) -> None:
        self.app = ground.setup.app
        self.setup = ground.setup
        self.random = random.Random("forms")
        self.client = ground.setup.signed_in_client("admin")
        self.opened: set[Any] = set()
        self.known: set[Any] = set()
        self.kept = Counter[str]()
        self.waiting: list[PageForm] = []
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)
        self.sent: dict[str, PageForm] = {}
        self.paths: dict[str, str] = {}

    def walk(self, *starts: str, client: FlaskClient | None = None) -> None:
        """Open the pages, and what they link to, one of each kind."""
        todo = list(starts)
        while todo:
            path = todo.pop(0)
            kind = kind_of_page(self.app, path)
            if kind is None or kind in self.opened:
                continue
            self.opened.add(kind)
            self.paths.setdefault(kind[0], path)
            answer = (client or self.client).get(path)
            todo += self.read(path, answer)

    def read(self, path: str, answer: TestResponse) -> list[str]:
        """Keep the forms of an answer that are of a new kind; return its links."""
        assert answer.status_code < 500, path
        if answer.mimetype != "text/html" or not answer.text.strip():
            return []
        page = lxml.html.fromstring(answer.text)
        for form in read_forms(self.app, path, page):
            pressed = next(
                ((n, v.split(" ")[0] if n == "act" else "") for n, v, kind in form.fields if kind == "button"), ""
            )
            key = form.endpoint, frozenset(name for name, _, _ in form.fields if not re.search(r"\d", name)), pressed
            if (
                key not in self.known
                and form.endpoint not in DEFERRED | NOT_SENT.keys()
                and self.kept[form.endpoint] < MOST_FORMS.get(form.endpoint, 3)
            ):
                self.known.add(key)
                self.kept[form.endpoint] += 1
                self.waiting.append(form)
        return list(read_links(path, page))

    def send(self, form: PageForm, fields: list[tuple[str, Any]], client: FlaskClient | None = None) -> TestResponse:
        """Send a form; the admin signs in anew where it ended their session."""
        self.sent.setdefault(form.endpoint, form)
        gathered: dict[str, list[Any]] = {}
        for name, value in fields:
            gathered.setdefault(name, []).append(value)
        answer = (client or self.client).post(form.path, data=gathered)
        assert answer.status_code < 500 or answer.status_code == 503, (form.path, fields, answer.text[-2000:])
        self.wait()
        if client is None:
            location = answer.headers.get("Location", "")
            if SIGN_IN in location or form.endpoint in OTHER_SESSIONS:
                self.client = self.setup.signed_in_client("admin")
            if SIGN_IN not in location or form.endpoint == "auth.sign_out":
                self.answers[form.endpoint][answer.status_code] += 1
        return answer

    def send_all(self) -> None:
        """Send what waits: hostile words first, then each form as it is meant; what that leads to is looked at as well."""
        while self.waiting:
            # What ends things comes last.
            forms = sorted(self.waiting, key=lambda form: form.endpoint in ENDINGS)
            self.waiting = []
            for form in forms:
                self.send(
                    form,
                    [
                        (n, v if kind in {"hidden", "button"} else self.hostile(form.endpoint, kind))
                        for n, v, kind in form.fields
                    ],
                )
                if form.fields and form is self.sent[form.endpoint]:
                    spoilt = self.random.randrange(len(form.fields))
                    self.send(
                        form,
                        [
                            (n, self.hostile(form.endpoint, k) if i == spoilt else fill_in(form.endpoint, n, v, k))
                            for i, (n, v, k) in enumerate(form.fields)
                        ],
                    )
            for form in forms:
                answer = self.send(form, [(n, fill_in(form.endpoint, n, v, kind)) for n, v, kind in form.fields])
                self.read(form.path, answer)
                goal = urlsplit(urljoin(SITE + form.path, answer.headers.get("Location", form.path)))
                self.walk(goal.path + (f"?{goal.query}" if goal.query else ""))

    def send_without_page(self, paths: list[str]) -> None:
        """Send what no page has shown: empty, with hostile words, and with the values that such forms mostly have."""
        names = ("edit", "moment", "seq", "reason", "name", "password", "url", "code", "most", "years")
        for path in paths:
            form = PageForm(
                self.app.url_map.bind("").match(path, "POST")[0], path, tuple((n, "1", "text") for n in names)
            )
            self.send(form, [])
            self.send(form, [(name, self.hostile(form.endpoint, kind)) for name, _, kind in form.fields])
            self.send(form, [(name, value) for name, value, _ in form.fields])

    def refuse_others(self) -> None:
        """See that each form of the staff is refused to strangers, and each of an admin to an editor."""
        editor = self.setup.signed_in_client("editor")
        for endpoint, form in self.sent.items():
            role = ROUTE_RULES[endpoint].role
            if role is not None:
                answer = self.send(form, [], self.setup.client)
                assert answer.status_code == 401 or SIGN_IN in answer.headers.get("Location", ""), form.path
            if role is Role.ADMIN:
                assert self.send(form, [], editor).status_code == 403, form.path

    def wait(self) -> None:
        """Wait for what works beside the requests: what a page shows then does not hang on how fast that is."""
        context = self.app.extensions["digest"]
        for name in list(context.uploads._running):
            context.uploads.wait(name)
        for search in list(context.searches._searches.values()):
            search.thread.join(WAIT_TIMEOUT)

    def hostile(self, endpoint: str, kind: str) -> Any:
        value = self.random.choice(NO_HOSTS if endpoint in ASKS_HOSTS else HOSTILE)
        if kind == "file":
            return io.BytesIO(value.encode("utf-8", "replace")), value.replace("\0", "") or "a"
        return value


def fill_in(endpoint: str, name: str, value: str, kind: str) -> Any:
    """Give a value that a field is meant for, where it holds none."""
    if name in MEANT.get(endpoint, {}):
        return MEANT[endpoint][name]
    if kind == "file":
        file = draw_picture() if endpoint == "admin.replace_logos" else LOG if endpoint == "admin.examine_log" else LIST
        return io.BytesIO(file), "mail.csv"
    if value or kind in {"hidden", "button", "select", "radio", "checkbox"}:
        return value
    if kind == "email" or "email" in name or "address" in name:
        return "new.reader@county.example"
    return NOWHERE if kind == "url" or "url" in name else "Words"


# What a form is sent with where its page holds no value, by its route.
MEANT: dict[str, dict[str, str]] = {
    "admin.filter_readers": {"domain": "county.example"},
    "admin.invite": {"email": "cy@newsroom.example", "role": "editor"},
    "admin.find_reader": {"address": "r2@county.example"},
    "admin.look_for_feeds": {"address": NOWHERE},
    "admin.add_reader": {"agreed": "2026-11-18", "on": "2026-11-18"},
    "admin.begin_search": {"part": "county"},
}
# Routes that this walk does not get into, and which test does.
NOT_REACHED = {
    "hooks.receive_events": "a provider's signature is asked for: tests/web/hooks",
    "auth.submit_passkey": "an authenticator has to make the passkey: tests/web/auth",
    "auth.submit_new_password": "an app's code of this minute is asked for: tests/web/auth",
    "admin.allow_address": "a suppressed address is asked for: tests/web/admin/test_list_pages.py",
    "admin.add_source": "a site has to answer: tests/web/admin/test_source_pages.py",
    "signup.submit_confirmation": "a sign-up has to be processed: tests/web/test_reader_life.py",
}
# Their threads ask the network or write archives, whatever the form holds.
NOT_SENT = {
    "admin.begin_examination": "tests/web/admin/test_health_pages.py",
    "admin.back_up_now": "tests/web/admin/test_operation_settings.py",
}


def test_every_post_route_is_reached_and_nothing_is_answered_with_a_fault_of_ours(forms: FormWorld) -> None:
    """Beyond the checks of who asks, of the token and of what there is: so that hostile values come to the views themselves."""
    run = FormRun(forms)
    setup, tokens = forms.setup, forms.tokens
    links = [f"/desk/link/{token}" if first == "link" else f"/{first}/{token}" for first, token in tokens.items()]
    run.walk("/subscribe", "/preferences", "/contact", SIGN_IN, *links, client=setup.client)
    starts = (
        "/desk/",
        "/admin/readers",
        "/admin/import",
        "/admin/deliveries",
        f"/admin/readers/{setup.ada}",
        "/desk/sent",
    )
    run.walk(*starts)
    assert len(run.waiting) > 90
    run.send_all()
    # What stands on a page now that did not before.
    for path in (f"/desk/editions/{forms.week.name}/history", "/desk/security", "/admin/import"):
        run.read(path, run.client.get(path))
    run.send_all()
    run.send_without_page(paths_without_form(run, forms))
    run.refuse_others()
    routes = {rule.endpoint for rule in run.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    refused = {endpoint for endpoint in routes if not run.answers[endpoint].keys() - REFUSED}
    assert refused == NOT_REACHED.keys() | NOT_SENT.keys()


def paths_without_form(run: FormRun, forms: FormWorld) -> list[str]:
    """Give where forms go to that no page of this installation shows, or that a script sends."""
    draft, sent, tokens = f"/desk/editions/{forms.week.name}", f"/desk/editions/{SENT}", forms.tokens
    acts = ("/presence", "/void", "/pause", "/cancel", "/hold", "/history/undo", "/history/bring-back")
    listed, found, log = (
        run.paths[page] for page in ("admin.show_upload", "admin.show_search", "admin.show_log_evidence")
    )
    return [
        *(draft + act for act in acts),
        *(
            f"{sent}/corrections/1",
            f"/admin/deliveries/{SENT}/silence",
            "/admin/sources",
            "/admin/readers/ask",
            "/admin/readers/silent",
        ),
        *("/admin/settings/alerts/test", f"{found}/addresses", f"{found}/stop", log),
        *(
            f"{listed}/rejected",
            f"{listed}/outcomes",
            f"{listed}/stop",
            f"{listed}/remove",
            "/admin/import/unfinished/1/abandon",
        ),
        *("/desk/confirm", "/desk/confirm/passkey", "/desk/security/seen", "/desk/security/recovery-codes"),
        "/hooks/sendgrid",
        *("/desk/security/passkeys/1/rename", "/desk/security/passkeys/1/remove"),
        *("/desk/security/sessions/1/end", "/desk/security/sessions/end-others", "/desk/sign-out"),
        *(f"/confirm/{tokens['confirm']}", f"/u/{tokens['u']}/undo", f"/address/{tokens['address']}"),
    ]


def test_every_route_bears_hostile_paths_and_queries_by_each_of_its_methods(forms: FormWorld) -> None:
    generator = random.Random("routes")
    clients = {
        role: forms.setup.signed_in_client(role) if role else forms.setup.client for role in (None, "editor", "admin")
    }
    segments = [value for value in HOSTILE if value.strip("/") and len(value) < 400 and not value.startswith("..")]
    known = [forms.week.name, SENT, "1", *forms.tokens.values()]
    asked = set()
    for rule in forms.setup.app.url_map.iter_rules():
        if rule.endpoint in NOT_SENT:
            continue
        for method in (*sorted(rule.methods or ()), "DELETE"):
            for role in (None, "admin") if method in {"GET", "POST"} else ("editor",):
                named = {name: generator.choice(segments if method == "GET" else known) for name in rule.arguments}
                query = {generator.choice(QUERY_NAMES): generator.choice(HOSTILE) for _ in range(3)}
                answer = clients[role].open(path_of(rule, named), method=method, query_string=query)
                assert answer.status_code < 500, (method, rule.rule, named, query)
                asked.add((rule.endpoint, method))
    assert len(asked) > 400
