"""The forms of every page, read from its HTML, and an installation with content on every page, for tests that submit them all."""

import io
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import lxml.html
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from digest.app.subscribers.consent_texts import build_consent_text
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState
from subscribers.address import read_address
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle import address_change, inactivity_questions, preference_changes, undo
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import MailRequest
from subscribers.signup.manual_signup import add_subscriber
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store import one_time_tokens
from subscribers.store.one_time_tokens import OneTimePurpose
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.postfix_lines import iso_line, log_text
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.subscribers.transfer.suppression_files import PASSPHRASE
from tests.web.admin.subscribers.test_import_pages import mailchimp_list
from tests.web.admin.test_sending import delivery
from tests.web.conftest import ADA_ADDRESS, WebSetup, draw_image, sample_evidence

SITE = "https://news.example.org"
SENT = "2026-W46"
SIGN_IN = "/desk/sign-in"
LOG = log_text([iso_line(NOW - timedelta(days=2), "anvil", "statistics")])
LIST = mailchimp_list(5).encode()
# A free port of this machine answers nothing, and is refused before it is asked: no test waits for the network.
NOWHERE = "http://127.0.0.1:9/feed"
# Their threads ask the network or write archives, whatever the form holds.
NOT_SENT = {
    "admin.start_health_check": "tests/web/admin/test_doctor.py",
    "admin.back_up_now": "tests/web/admin/test_operation_settings.py",
}
MOST_FORMS = {"editing.perform_desk_action": 24, "admin.change_settings": 12}  # of one route; of the others three
# What other forms need is there until then: these come last.
ENDINGS = frozenset({"admin.submit_source_removal", "subscribers.erase_now", "subscribers.leave_now"})
# After these somebody else is signed in, or nobody.
OTHER_SESSIONS = frozenset({"auth.sign_out", "auth.submit_sign_in_link", "auth.submit_invitation"})
Field = tuple[str, str, str]  # name, value, type


@dataclass(frozen=True)
class PageForm:
    """A form as a page shows it, with the button that sends it."""

    endpoint: str
    path: str
    fields: tuple[Field, ...]


def issue(setup: WebSetup, purpose: OneTimePurpose, person: int | None, serial: str = "") -> str:
    with setup.database.write() as session:
        ends = NOW + timedelta(hours=1)
        return one_time_tokens.issue_token(session, purpose, person, now=NOW, expires_at=ends, serial=serial)


@dataclass
class FormWorld:
    """An installation where every page has something on it."""

    setup: WebSetup
    edition: str
    tokens: dict[str, str]

    @property
    def link_paths(self) -> list[str]:
        """The pages that its mails lead to."""
        return [
            f"/desk/link/{token}" if first == "link" else f"/{first}/{token}" for first, token in self.tokens.items()
        ]


def build_form_world(setup: WebSetup, edition: str) -> FormWorld:
    """Add to an installation with a draft: readers, an edition that was sent, doubts about it and about a notice, accounts and a link of each kind."""
    keys = setup.install.keys
    with setup.database.write() as session:
        evidence = sample_evidence()
        numbers = [
            add_subscriber(session, keys, address, evidence=evidence, now=NOW - timedelta(days=200)).number
            for address in (ADA_ADDRESS, *(f"r{n}@county.example" for n in range(4)))
        ]
    setup = replace(setup, ada=numbers[0])
    setup.edition(name=SENT, number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(days=7))
    mailed: list[MailRequest] = []

    def queue(_session: Any, mail: MailRequest) -> None:
        mailed.append(mail)

    with setup.database.write() as session:
        for place, person in enumerate(numbers):
            state = DeliveryState.UNCERTAIN if place % 2 else DeliveryState.ACCEPTED
            session.add(delivery(place, f"edition:{SENT}", state, person))
        refused = session.get_one(Delivery, f"d{2:025d}")
        refused.state, refused.reply = DeliveryState.REFUSED, "550 5.7.1 blocked"
        session.execute(update(Edition).where(Edition.name == SENT).values(refusals=5))
        session.add(delivery(len(numbers), "welcome:1", DeliveryState.UNCERTAIN, numbers[4]))
        member = staff.add_staff_member(
            session, read_address("bo@newsroom.example"), "editor", queue, actor="test", now=NOW
        ).id
        left = UnsubscribeLog(setup.install.settings.left_log, keys)
        unsubscribe_person(session, left, numbers[1], method="page", now=NOW)
        moved = read_address("moved@county.example")
        address_change.request_address_change(session, keys, numbers[2], moved, queue, SignupLimits(), now=NOW)
        move_token = mailed[-1].context.get("token") or mailed[-2].context["token"]
        preference_changes.save_preferences_by_link(session, numbers[3], Preferences(text_only=True), queue, now=NOW)
        restore_token = mailed[-1].context["token"]
        undo_token = undo.issue_undo_token(session, numbers[1], now=NOW)
    silent = inactivity_questions.InactivityQuestion(NOW - timedelta(days=100), takes_off=True)
    wording = build_consent_text(setup.install.settings)
    inactivity_questions.queue_inactivity_questions(
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
    return FormWorld(setup, edition, tokens)


def kind_of_page(app: Any, path: str) -> tuple[Any, ...] | None:
    """Name what a page is an example of; None where the path is no page of ours."""
    parts = urlsplit(path)
    routes, asked = app.url_map.bind("news.example.org"), dict(parse_qsl(parts.query))
    if not routes.test(parts.path, "GET"):
        return None
    endpoint, named = routes.match(parts.path, "GET")
    if endpoint in {"desk.edition", "previews.show_preview"}:
        # What is open beside a panel changes nothing of it.
        return endpoint, asked.get("panel") or asked.get("open", "")[:1]
    return endpoint, named.get("table"), named.get("act"), *sorted(asked)


def read_links(path: str, page: lxml.html.HtmlElement) -> Iterator[str]:
    """Give the addresses of our own that a page links to; a template's links lead nowhere until a script fills them in."""
    for link in page.xpath("//a[not(ancestor::template)]/@href | //iframe/@src"):
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

    def __init__(self, setup: WebSetup, *, left_out: Collection[str] = NOT_SENT) -> None:
        self.app = setup.app
        self.setup = setup
        self.left_out = left_out
        self.client = setup.signed_in_client("admin")
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
            key = self.tell_apart(form)
            if (
                key not in self.known
                and form.endpoint not in self.left_out
                and self.kept[form.endpoint] < MOST_FORMS.get(form.endpoint, 3)
            ):
                self.known.add(key)
                self.kept[form.endpoint] += 1
                self.waiting.append(form)
        return list(read_links(path, page))

    def tell_apart(self, form: PageForm) -> tuple[Any, ...]:
        """Name what a form is an example of; it begins with the route."""
        pressed = next(
            ((n, v.split(" ")[0] if n == "act" else "") for n, v, kind in form.fields if kind == "button"), ("", "")
        )
        return form.endpoint, frozenset(name for name, _, _ in form.fields if not re.search(r"\d", name)), pressed

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

    def wait(self) -> None:
        """Wait for what works beside the requests: what a page shows then does not hang on how fast that is."""
        context = self.app.extensions["digest"]
        for name in list(context.uploads._running):
            context.uploads.wait(name)
        for search in list(context.searches._searches.values()):
            search.thread.join(WAIT_TIMEOUT)


def fill_in(endpoint: str, name: str, value: str, kind: str) -> Any:
    """Give a value that a field is meant for, where it holds none."""
    if name in MEANT.get(endpoint, {}):
        return MEANT[endpoint][name]
    if kind == "file":
        file = (
            draw_image(height=200 if name == "header" else 630)
            if endpoint == "admin.replace_brand_images"
            else LOG
            if endpoint == "admin.upload_mail_log"
            else LIST
        )
        return io.BytesIO(file), "mail.csv"
    if value or kind in {"hidden", "button", "select", "radio", "checkbox", "date"}:
        return value
    if kind == "email" or "email" in name or "address" in name:
        return "new.reader@county.example"
    return NOWHERE if kind == "url" or "url" in name else "Words"


# What a form is sent with where its page holds no value, by its route.
MEANT: dict[str, dict[str, str]] = {
    "admin.filter_subscribers": {"domain": "county.example"},
    "admin.invite_member": {"email": "cy@newsroom.example", "name": "Cy Lark", "role": "editor"},
    "admin.find_subscriber": {"address": "r2@county.example"},
    "admin.preview_new_source": {"address": NOWHERE},
    "admin.add_subscriber": {"agreed": "2026-11-18", "on": "2026-11-18"},
    "admin.begin_search": {"part": "county"},
    "admin.export_suppression_list": {"passphrase": PASSPHRASE, "repeated": PASSPHRASE},
    "auth.submit_name": {"name": "Ida Lark"},
    "corrections.submit_correction": {"becomes": "Ports get two weeks", "note": "The order says two weeks."},
}
