"""Every route and every form, made from the route table, with random contents: no response is a server error."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.routing import Rule

from digest.store import staff
from digest.store.models import EditionState
from digest.web.auth.access import STAFF_BLUEPRINTS
from subscribers.address import read_address
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle import address_change, my_data, preference_changes, undo
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import MailRequest
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store import one_time_tokens
from tests.moments import DRAFTING as NOW

PEOPLE = 12
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get")
TYPES = (
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=xyz",
    "multipart/form-data",
    "application/json",
    "text/plain; charset=utf-16",
    "application/x-www-form-urlencoded; charset=nonsense",
    "",
)
NAME = re.compile(r'\sname="([^"]+)"')
texts = st.text(max_size=30) | st.sampled_from(["", "\0", "\U0001f600", "../../etc/passwd", "%", "{{ 7*7 }}", "9" * 30])
values = texts | st.sampled_from(
    ["yes", "page", "4w", "often", "fortnightly", "6", "UTC", "2026-12-24", "featured", "a@b.example", "1"]
)


def subscribers(world: Any) -> list[int]:
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=NOW - timedelta(days=1),
    )
    with world.database.write() as session:
        return [
            add_subscriber(session, world.install.keys, f"r{n}@example.org", evidence=evidence, now=NOW).number
            for n in range(PEOPLE)
        ]


def secrets_of(world: Any) -> list[str]:
    """Make links of every kind to several people: what was pressed by one example is spent for the next."""
    kept: list[str] = []
    numbers = subscribers(world)

    def queue(_session: Any, note: MailRequest) -> None:
        kept.extend([note.context["token"]] if "token" in note.context else [])

    with world.database.write() as session:
        for n in range(PEOPLE):
            staff.add_staff_member(session, read_address(f"s{n}@example.org"), "editor", queue, actor="test", now=NOW)
        for number in numbers:
            my_data.request_data_link(session, number, queue, now=NOW)
            address = read_address(f"new{number}@example.org")
            address_change.request_address_change(
                session, world.install.keys, number, address, queue, SignupLimits(), now=NOW
            )
        unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
        for number in numbers:
            preference_changes.save_preferences_by_link(session, number, Preferences(text_only=True), queue, now=NOW)
        for number in numbers[: PEOPLE // 2]:
            unsubscribe_person(session, unsubscribe_log, number, method="page", now=NOW)
            kept.append(undo.issue_undo_token(session, number, now=NOW))
        over = NOW - timedelta(hours=1)
        kept += [
            one_time_tokens.issue_token(session, purpose, numbers[0], now=over, expires_at=over)
            for purpose in ("my data", "change address", "erase")
        ]
        for member in staff.list_staff_members(session)[: PEOPLE // 2]:
            kept.append(
                one_time_tokens.issue_token(
                    session,
                    staff.SIGN_IN_PURPOSE,
                    None,
                    now=NOW,
                    expires_at=NOW + timedelta(hours=1),
                    serial=str(member.id),
                )
            )
    purposes = ("leave", "preferences", "test leave", "test preferences")
    kept += [world.token(purpose, number) for number in [*numbers, 99_999] for purpose in purposes]
    return kept


def path_of(rule: Rule, arguments: dict[str, str]) -> str:
    """Fill a rule by hand: its own builder refuses what a stranger may well ask for."""
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda m: quote(arguments[m[1]], safe=""), rule.rule)


def fields_of(world: Any) -> list[str]:
    """Name every field of every form that the pages show."""
    preferences, leave = world.token("preferences"), world.token("leave")
    shown = ["/subscribe", "/preferences", "/contact", "/desk/", "/desk/sources"]
    shown += [f"/preferences/{preferences}", f"/u/{leave}", f"/u/{leave}/pause"]
    pages = [world.desk.get(path).text for path in shown] + [world.client.get("/desk/sign-in").text]
    return sorted({"reason", "email", "List-Unsubscribe", *(n for page in pages for n in NAME.findall(page))})


@pytest.fixture
def ground(world: Any) -> tuple[Any, list[Rule], list[str], list[str]]:
    """Give a world with editions, its route table, all kinds of links, and the names of its forms' fields."""
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=NOW - timedelta(7))
    world.edition()
    world.app.config["WTF_CSRF_ENABLED"] = False  # so that the desk's forms are reached too
    rules = list(world.app.url_map.iter_rules())
    assert len(rules) > 30
    return world, rules, secrets_of(world), fields_of(world)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_no_request_is_answered_with_a_fault_of_ours(
    ground: tuple[Any, list[Rule], list[str], list[str]], data: st.DataObject
) -> None:
    world, rules, secrets, fields = ground
    role = data.draw(st.sampled_from([None, "editor", "admin"]), label="role")
    client = world.signed_in_client(role) if role else world.client
    rule = data.draw(st.sampled_from(rules), label="rule")
    named = st.sampled_from([*secrets, "2026-W46", "2026-W47"]) | texts.filter(lambda text: text not in {"", ".", ".."})
    damaged = st.sampled_from(secrets).map(lambda secret: secret[:-1]) | st.sampled_from(secrets).map(str.swapcase)
    arguments = {name: data.draw(named | damaged, label=name) for name in rule.arguments}
    form = st.lists(st.tuples(st.sampled_from(fields) | texts, values), max_size=8)
    body: Any = data.draw(st.binary(max_size=200) | form, label="body")
    kind: dict[str, Any] = {"content_type": data.draw(st.sampled_from(TYPES), label="type")}
    if isinstance(body, list):
        gathered: dict[str, list[str]] = {}
        for name, value in body:
            gathered.setdefault(name, []).append(value)
        body, kind = gathered, {}
    query = data.draw(st.lists(st.tuples(texts, texts), max_size=3), label="query")
    answer = client.open(
        path_of(rule, arguments),
        method=data.draw(st.sampled_from(METHODS), label="method"),
        data=body,
        query_string=dict(query),
        headers={"User-Agent": "fuzz", "X-Forwarded-For": "8.8.8.8"} if data.draw(st.booleans()) else {},
        **kind,
    )
    # 503 is said where too much waits; everything else from 500 on would be a fault.
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if rule.endpoint.partition(".")[0] not in STAFF_BLUEPRINTS:
        assert "Set-Cookie" not in answer.headers
        assert "Content-Security-Policy" in answer.headers


def test_every_form_of_a_subscriber_posts_to_a_route_of_ours(
    ground: tuple[Any, list[Rule], list[str], list[str]],
) -> None:
    world, _, _, _ = ground
    adapter = world.app.url_map.bind("news.example.org")
    preferences, leave = world.token("preferences"), world.token("leave")
    with world.database.write() as session:
        secret = one_time_tokens.issue_token(
            session, "my data", world.ada, now=NOW, expires_at=NOW + timedelta(hours=1)
        )
    paths = [f"/preferences/{preferences}", f"/u/{leave}", f"/u/{leave}/pause", "/contact", "/subscribe"]
    paths += ["/preferences", f"/my-data/{secret}", f"/my-data/{secret}/erase"]
    seen = set()
    for path in paths:
        for action in re.findall(r'<form method="post" action="([^"]+)"', world.client.get(path).text):
            endpoint, _ = adapter.match(action, method="POST")
            seen.add(endpoint)
    assert len(seen) >= 9


@pytest.mark.both_databases  # each has limits of its own
@pytest.mark.parametrize("number", [2**31, 2**63, 10**40])
def test_a_number_that_no_row_can_have_has_no_page(both: Any, number: int) -> None:
    admin = both.signed_in_client("admin")
    numbered = [rule for rule in both.app.url_map.iter_rules() if "<int:" in rule.rule]
    assert len(numbered) > 10
    for rule in numbered:
        path = path_of(rule, {name: str(number) for name in rule.arguments} | {"name": "2026-W47", "act": "role"})
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            assert admin.open(path, method=method).status_code in {404, 405}, (method, rule)
