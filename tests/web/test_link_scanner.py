"""An email scanner opens every link, and must not change anything."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter
from werkzeug.test import TestResponse

from digest.app.subscribers.consent_texts import build_consent_text
from digest.store import staff
from digest.store.engine import Database
from digest.store.models import EditionState, Source
from subscribers.address import read_address
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle import address_change, my_data, preference_changes, undo
from subscribers.lifecycle.inactivity_questions import InactivityQuestion, queue_inactivity_questions
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import MailRequest
from subscribers.signup import request_queue
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.signup.rate_limits import SignupLimits
from subscribers.signup.request_processor import RequestProcessor
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import one_time_tokens
from subscribers.store.models import Person
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE

CONSENT = ConsentEvidence(
    wording="Yes.",
    wording_version="1",
    language="en",
    page="hls.today",
    method="form",
    actor="a test",
    agreed_at=NOW - timedelta(days=1),
)
MAX_ADDRESSES_OF_A_PAGE = 12
# Pages of what this installation has none of; the tests of what makes it open them.
UNSHOWN = {
    "history.show_history": "an edition that was drafted with its arrangement",
    "history.show_past_state": "an edit",
    "approvals.show_version": "an approved version",
    "approvals.show_version_mail": "an approved version",
    "corrections.show_correction_recipients": "a correction",
    "corrections.show_correction_email": "a correction",
    "admin.confirm_moved_source": "a source that has moved",
    "admin.confirm_source_removal": "a source that the settings file names",
    "admin.show_log_evidence": "an uploaded log",
    "admin.show_import_undo": "a finished import",
    "admin.show_search": "an uploaded list of addresses",
    "admin.show_suppression_upload": "an uploaded suppression file",
    "admin.show_upload": "an uploaded list of readers",
    "auth.draw_authenticator_qr_code": "a sign-in app that is being set up",
    "auth.show_passkey": "a passkey",
    "health.report_metrics": "the token that a monitoring system sends",
}
LINK = re.compile(r'(?:href|src|action)="([^"]*)"')


def open_everything(world: Any, client: FlaskClient, starts: list[str]) -> Iterator[tuple[str, TestResponse]]:
    """Follow every link and form address of our own, as deep as they go; give each path and its answer, once.

    Of one page's addresses, which differ by what it shows, MAX_ADDRESSES_OF_A_PAGE are opened.
    """
    routes, opened = world.app.url_map.bind("news.example.org"), Counter[str]()
    seen, todo = set(), list(starts)
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        page = name_page(routes, path)
        opened[page] += 1
        if page and opened[page] > MAX_ADDRESSES_OF_A_PAGE:
            continue
        answer = client.get(path)
        yield path, answer
        if answer.mimetype != "text/html":
            continue
        for link in LINK.findall(answer.text):
            parts = urlsplit(urljoin(f"https://news.example.org{path}", unescape(link)))
            if parts.netloc == "news.example.org":
                todo.append(parts.path + (f"?{parts.query}" if parts.query else ""))


def name_page(routes: MapAdapter, path: str) -> str:
    """Name the page that an address is of; empty where there is none to be looked at."""
    try:
        endpoint, _ = routes.match(urlsplit(path).path, method="GET")
    except HTTPException:
        return ""
    return str(endpoint)


def open_by(client: FlaskClient, method: str, path: str) -> None:
    """Open a page ahead of its reader, and see that it fails nowhere."""
    answer = client.open(path, method=method, headers={"Sec-Purpose": "prefetch"})
    assert answer.status_code < 500, (method, path)


def find_starts(world: Any) -> list[str]:
    """Give where a scanner that may see everything begins, with two editions in the installation.

    It knows every address of ours that names nothing, every page of an edition, and a link of each kind that is mailed.
    """
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    name = world.edition()
    with world.database.write() as session:
        session.add(Source(url="https://quay.example/feed", name="Quay", publisher="Quay", topics={}))
    plain = [rule.rule for rule in world.app.url_map.iter_rules() if "GET" in rule.methods and not rule.arguments]
    of_edition = [
        rule.rule.replace("<name>", name)
        for rule in world.app.url_map.iter_rules()
        if "GET" in rule.methods and rule.arguments == {"name"} and rule.rule.startswith("/desk/editions/")
    ]
    purposes = {"/u/{}": "leave", "/u/{}/undo": "leave", "/preferences/{}": "preferences"}
    purposes["/preferences/{}/breaking-news"] = "preferences"
    subscribers = [path.format(world.token(purpose)) for path, purpose in purposes.items()]
    subscribers += [f"/u/{world.token('test leave')}", f"/preferences/{world.token('test preferences')}"]
    refused = f"/desk/editions/{name}/refused/all"
    of_edition += [refused, f"{refused}/suppress", f"/admin/deliveries/{name}/recipients"]
    return [*plain, *of_edition, *subscribers, *mail_links(world)]


def mail_links(world: Any) -> list[str]:
    """Have a link of each kind that works once mailed; give their addresses."""
    keys, mailed = world.install.keys, dict[str, str]()

    def queue(_session: Session, mail: MailRequest) -> None:
        mailed[mail.kind] = mail.context.get("token", "")

    with world.database.write() as session:
        bo, cy = (
            add_subscriber(session, keys, f"{name}@county.example", evidence=CONSENT, now=NOW).number for name in "bc"
        )
        unsubscribe_person(session, UnsubscribeLog(world.install.settings.left_log, keys), cy, method="page", now=NOW)
        mailed["undo"] = undo.issue_undo_token(session, cy, now=NOW)
        my_data.request_data_link(session, bo, queue, now=NOW)
        new_address = read_address("bo@okapi.example.org")
        address_change.request_address_change(session, keys, bo, new_address, queue, SignupLimits(), now=NOW)
        preference_changes.save_preferences_by_link(session, bo, Preferences(text_only=True), queue, now=NOW)
        added = staff.add_staff_member(
            session, read_address("sam@news.example.org"), "editor", queue, actor="a test", now=NOW
        )
        mailed["sign in"] = one_time_tokens.issue_token(
            session, "sign in", None, now=NOW, expires_at=NOW + timedelta(hours=1), serial=str(added.id)
        )
        form = FormSubmission(
            *("subscribe", read_address("dee@county.example"), NOW, "/subscribe", "hls.today"),
            *(build_consent_text(world.install.settings), RequestOrigin("192.0.2.7", "Firefox")),
        )
        request_queue.enqueue_request(session, request_queue.prepare_request(keys, form), SignupLimits())
    RequestProcessor(world.database, keys, SignupLimits(), timedelta(days=90), queue).process_pending(lambda: NOW)
    with world.database.write() as session:
        session.get_one(Person, world.ada).asked_at = NOW - timedelta(days=1200)
    question, wording = (
        InactivityQuestion(NOW - timedelta(days=800), takes_off=True),
        build_consent_text(world.install.settings),
    )
    queue_inactivity_questions(
        world.database, queue, question, wording=wording, page="/stay", actor="a test", limit=1, now=NOW
    )
    paths = {
        "/confirm/{}": "confirm",
        "/confirm/{}/preferences": "confirm",
        "/address/{}": "move",
        "/address/stop/{}": "moving",
        "/my-data/{}": "data",
        "/my-data/{}/erase": "data",
        "/undo/{}": "undo",
        "/restore/{}": "choices",
        "/stay/{}": "stay",
        "/staff/{}": "staff",
        "/desk/link/{}": "sign in",
    }
    return [path.format(mailed[kind]) for path, kind in paths.items()]


def test_opening_every_page_in_every_way_changes_no_row(world: Any) -> None:
    starts = find_starts(world)
    client = world.signed_in_client("admin")  # who may open the editors' pages too
    before, left = world.dump(), world.install.settings.left_log.read_bytes()
    found = set()
    routes, shown = world.app.url_map.bind("news.example.org"), set[str]()
    for path, answer in open_everything(world, client, starts):
        found.add(path)
        assert answer.status_code < 500, path
        shown |= {name_page(routes, path)} if answer.status_code < 400 else set()
        open_by(client, "HEAD", path)
        open_by(client, "OPTIONS", path)
    pages = {rule.endpoint for rule in world.app.url_map.iter_rules() if "GET" in rule.methods}
    assert pages - shown == set(UNSHOWN)
    # Twice by each method: what a page does when it is opened again is no less seen. With other queries it was opened again above.
    for path in sorted((path for path in found if "?" not in path), reverse=True):
        for method in ("HEAD", "OPTIONS", "GET"):
            open_by(client, method, path)
    assert world.dump() == before
    assert world.install.settings.left_log.read_bytes() == left


@pytest.mark.soak
def test_on_postgresql_opening_every_page_changes_no_row(
    postgresql: Database, tmp_path: Path, build_world: Callable[..., Any]
) -> None:
    """By GET, once: which method it is, and how often it comes, is nothing that a database has a say in."""
    world = build_world(postgresql, tmp_path)
    starts = find_starts(world)
    client = world.signed_in_client("admin")
    before = world.dump()
    for path, answer in open_everything(world, client, starts):
        assert answer.status_code < 500, path
    assert world.dump() == before


def test_no_link_of_ours_is_dead(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    client, forms_and_pages = world.desk, world.app.url_map.bind("")
    starts = ["/", "/desk/", f"/preferences/{world.token('preferences')}"]
    for path, answer in open_everything(world, client, starts):
        if "/SAMPLE" in path or "GET" not in forms_and_pages.allowed_methods(urlsplit(path).path):
            continue  # an invented reader has no pages, and where a form goes to there is nothing to look at
        assert answer.status_code == 200, path


def test_a_head_of_the_leave_page_is_answered_like_its_get(world: Any) -> None:
    path = f"/u/{world.token('leave')}"
    head, get = world.client.head(path), world.client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert "POST" in world.client.options(path).headers["Allow"]
