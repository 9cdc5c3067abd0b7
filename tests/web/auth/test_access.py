"""Access: every route has a rule, and every rule is enforced wherever a request comes from."""

import re
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import delete, select
from werkzeug.routing import Rule

from digest.app.accounts import staff as staff_actions
from digest.app.accounts.sign_in import make_sign_in_link
from digest.installation.audited_actions import CONFIRMATION_LIFETIME
from digest.store import staff_sessions
from digest.store.account_models import StaffSession
from digest.store.delivery_models import StaffMember
from digest.store.staff import StaffRole
from digest.web.admin.undo_words import check_undo_words
from digest.web.app import create_app
from digest.web.auth.access import build_next_url
from digest.web.auth.route_rules import ROUTE_RULES, AccessRule, check_route_rules
from subscribers.address import read_address
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.row_keys import change_rows
from tests.web.conftest import MEMBERS
from tests.web.forms import hidden_fields

TEMPLATES = Path(__file__).parents[3] / "templates" / "web"
FORM_TAG, ENDPOINT = re.compile(r"<form\b[^>]*>"), re.compile(r"url_for\('([\w.]+)'")
FILLED = {"token": "x" * 22, "name": "2026-W47", "view": "phone", "act": "pause", "number": "1"}
OUTSIDE: dict[str, dict[str, Any]] = {
    "this machine": {"environ_base": {"REMOTE_ADDR": "127.0.0.1"}},
    "another machine": {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}},
    "a name that points here": {"headers": {"Host": "evil.example:8025"}},
    "a proxy that says this machine": {"headers": {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "::1"}},
}


def path_of(rule: Rule) -> str:
    first_choices = re.sub(r"<any\((\w+)[^)]*\):\w+>", r"\1", rule.rule)
    return re.sub(r"<(?:[^:<>]+(?:\([^)]*\))?:)?(\w+)>", lambda part: FILLED.get(part[1], "1"), first_choices)


def staff_rules(world: Any) -> list[tuple[Rule, AccessRule]]:
    """List the routes that ask for a role, with their rules."""
    rules = [(rule, ROUTE_RULES[rule.endpoint]) for rule in world.app.url_map.iter_rules()]
    return [(rule, access) for rule, access in rules if access.role is not None]


def test_every_route_has_a_rule_and_every_rule_a_route(world: Any) -> None:
    assert {rule.endpoint for rule in world.app.url_map.iter_rules()} == set(ROUTE_RULES)


def test_a_route_without_a_rule_keeps_the_application_from_starting(world: Any) -> None:
    with pytest.raises(ValueError, match=r"no rule for desk\.planted"):
        check_route_rules([*ROUTE_RULES, "desk.planted"])
    with pytest.raises(ValueError, match=r"doesn't exist: desk\.index"):
        check_route_rules(set(ROUTE_RULES) - {"desk.index"})
    planted = [*world.app.url_map.iter_rules(), Rule("/admin/planted", endpoint="admin.planted", methods=["POST"])]
    with pytest.raises(ValueError, match=r"differ in admin\.planted$"):
        check_undo_words(planted)


def test_every_form_that_brings_a_file_says_in_its_rule_how_long_it_may_be() -> None:
    forms = [tag for page in sorted(TEMPLATES.rglob("*.html")) for tag in FORM_TAG.findall(page.read_text("utf-8"))]
    with_file = {ENDPOINT.findall(tag)[0] for tag in forms if "multipart/form-data" in tag}
    assert {"editing.save_story", "admin.upload_opml", "admin.upload_list"} <= with_file
    assert with_file == {endpoint for endpoint, rule in ROUTE_RULES.items() if rule.max_bytes is not None}


def test_all_of_desk_and_admin_asks_for_a_role_but_for_the_ways_in(world: Any) -> None:
    open_paths = {
        rule.rule
        for rule in world.app.url_map.iter_rules()
        if rule.rule.startswith(("/desk", "/admin")) and ROUTE_RULES[rule.endpoint].role is None
    }
    assert open_paths == {"/desk/sign-in", "/desk/sign-in/passkey", "/desk/link/<token>"}


@pytest.mark.parametrize("request_", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_whoever_is_not_signed_in_sees_nothing_wherever_they_come_from(world: Any, request_: dict[str, Any]) -> None:
    world.edition()
    before = world.dump()
    for rule, _ in staff_rules(world):
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            answer = world.client.open(path_of(rule), method=method, **request_)
            if method == "POST":
                assert (answer.status_code, "You\u2019re signed out" in answer.text) == (401, True)
            else:
                assert answer.status_code == 303
                assert answer.headers["Location"].startswith("/desk/sign-in?next=")
    assert world.dump() == before


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "ä", "9" * 4000])
def test_a_made_up_cookie_is_nobodys(world: Any, cookie: str) -> None:
    name, _ = world.session_cookie()
    client = world.client
    client.set_cookie(name, cookie)
    assert client.get("/desk/").status_code == 303


def test_an_editor_is_kept_out_of_what_takes_an_admin(world: Any) -> None:
    editor = world.desk
    for rule, access in staff_rules(world):
        if access.role == "admin" and not access.fresh:
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                assert editor.open(path_of(rule), method=method).status_code == 403, rule


def test_what_asks_for_a_fresh_sign_in_asks_after_fifteen_minutes(world: Any) -> None:
    for role in ("editor", "admin"):
        for age, asks in ((CONFIRMATION_LIFETIME - timedelta(seconds=1), False), (CONFIRMATION_LIFETIME, True)):
            name, token = world.session_cookie(role, fresh_at=NOW - age)
            client = world.client
            client.set_cookie(name, token)
            for rule, access in staff_rules(world):
                if access.fresh and (access.role == role):
                    answer = client.get(path_of(rule)) if "GET" in (rule.methods or ()) else client.post(path_of(rule))
                    asked = answer.status_code == 303 and answer.headers["Location"].startswith("/desk/confirm")
                    assert asked is asks, rule


def test_a_session_ends_by_time_by_its_member_going_and_by_another_role(both: Any) -> None:
    client = both.desk
    assert client.get("/desk/").status_code == 200
    with both.database.write() as session:
        change_rows(session, StaffSession, used_at=NOW - staff_sessions.IDLE_LIMIT)
    assert client.get("/desk/").status_code == 303
    with both.database.write() as session:
        change_rows(session, StaffSession, used_at=NOW, began_at=NOW - staff_sessions.SESSION_LIFETIME)
    assert client.get("/desk/").status_code == 303
    eve = read_address("eve@newsroom.example")
    client = both.desk
    staff_actions.change_staff_role(both.install, ADMIN, eve, "admin", now=NOW)
    assert client.get("/desk/").status_code == 303
    client = both.desk
    staff_actions.remove_staff_member(both.install, ADMIN, eve, now=NOW)
    assert client.get("/desk/").status_code == 303
    with both.database.read() as session:
        assert session.scalars(select(StaffSession)).all() == []


def add_to_now(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_the_use_of_a_session_is_noted_once_in_five_minutes(world: Any) -> None:
    name, token = world.session_cookie()
    for minutes, noted in ((4, 0), (5, 5), (9, 5), (10, 10)):
        client = create_app(world.install, clock=partial(add_to_now, minutes)).test_client()
        client.set_cookie(name, token)
        assert client.get("/desk/sources").status_code == 200
        with world.database.read() as session:
            assert session.scalars(select(StaffSession.used_at)).one() == NOW + timedelta(minutes=noted)


def test_signing_out_ends_the_session_itself_and_not_only_the_cookie(world: Any) -> None:
    name, token = world.session_cookie()
    client = world.client
    client.set_cookie(name, token)
    page = client.get("/desk/").text
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    assert client.post("/desk/sign-out").status_code == 400
    assert client.get("/desk/").status_code == 200
    answer = client.post("/desk/sign-out", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/sign-in")
    again = world.client
    again.set_cookie(name, token)
    assert again.get("/desk/").status_code == 303


ELSEWHERE = (
    "//evil.example/desk/",
    "https://evil.example/desk/",
    "/\\evil.example/desk/",
    "/\t/evil.example",
    "/desk/../..//evil.example",
    "javascript:alert(1)",
    "/u/xxxxxxxxxxxxxxxxxxxxxx",
    "/desk/sign-in",
    "/nothing",
    "/desk/\r\nSet-Cookie: a=b",
    "/desk/" + "a" * 600,
    "",
    None,
)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nobody_is_led_elsewhere_after_signing_in(world: Any, path: str | None) -> None:
    with world.app.test_request_context("/desk/"):
        assert build_next_url(path) == "/desk/"


@pytest.mark.parametrize("path", ["/desk/", "/desk/?tab=stories", "/desk/editions/2026-W47", "/desk/sources"])
def test_whoever_had_to_sign_in_comes_back_to_where_they_were(world: Any, path: str) -> None:
    with world.app.test_request_context("/desk/"):
        assert build_next_url(path) == path
    with world.app.test_request_context("/desk/", base_url="http://localhost/weekly"):
        assert build_next_url(path) == f"/weekly{path}"


def test_a_first_sign_in_by_link_leads_to_the_page_that_was_asked_for_and_offers_a_way_to_sign_in(world: Any) -> None:
    world.session_cookie()
    before = "You’re signed in. To sign in without a link next time, "
    offer = "add a passkey or a password</a> within 15 minutes"
    for asked, where in (
        ("/desk/sources", "/desk/sources"),
        ("https://elsewhere.example/", "/desk/"),
        (None, "/desk/"),
    ):
        client, link = world.client, staff_link(world.install)
        if asked:
            client.get("/desk/sign-in", query_string={"next": asked})
        answer = client.post(link, data=hidden_fields(client.get(link).text))
        assert (answer.status_code, answer.location) == (303, where)
        pages = [client.get("/desk/sources").text for _ in range(2)]
        assert [offer in page and before in page for page in pages] == [True, False], "it's offered once"


def test_the_first_of_repeated_fields_counts(world: Any) -> None:
    """ASVS 15.3.7: a second value cannot take the place of the one that was judged."""
    for query, where in (
        ("next=/desk/sources&next=https://elsewhere.example/", "/desk/sources"),
        ("next=https://elsewhere.example/&next=/desk/sources", "/desk/"),
    ):
        assert world.desk.get(f"/desk/sign-in?{query}").headers["Location"] == where


def cookies_of(answer: Any) -> dict[str, str]:
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


@pytest.mark.parametrize(
    ("base_url", "prefix", "path"),
    [
        ("https://news.example.org", "__Host-", "/"),
        ("https://news.example.org/weekly", "__Host-", "/"),
        ("http://localhost:8025", "", "/"),
        ("http://localhost:8025/weekly", "", "/weekly/"),
    ],
)
def test_every_cookie_is_closed_to_scripts_and_other_sites(world: Any, base_url: str, prefix: str, path: str) -> None:
    settings = world.install.settings.model_copy(update={"base_url": base_url})
    install = type(world.install)(settings, world.database)
    client = create_app(install, clock=lambda: NOW).test_client()
    world.session_cookie()
    link = staff_link(install)
    page = client.get(link)
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
    answer = client.post(link, data=form)
    assert answer.status_code == 303, answer.text
    cookies = cookies_of(page) | cookies_of(answer)
    assert {f"{prefix}desk-form", f"{prefix}desk", f"{prefix}desk-known"} == set(cookies)
    for line in cookies.values():
        assert f"Path={path};" in f"{line};"
        assert "HttpOnly" in line
        assert "SameSite=Lax" in line
        assert ("Secure" in line) is (prefix != "")
        assert "Domain" not in line


def staff_link(install: Any, role: StaffRole = "editor") -> str:
    return urlsplit(make_sign_in_link(install, ADMIN, MEMBERS[role], now=NOW)).path


def test_a_sign_in_link_replaces_the_browsers_session_and_leads_to_the_page_asked_for(both: Any) -> None:
    asked = "/admin/readers/export?state=subscribed"
    client, elsewhere = both.client, both.signed_in_client("admin")
    client.set_cookie(*both.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    client.get(client.get(asked).location)
    link = staff_link(both.install, "admin")
    page = client.get(link).text
    assert "Next, you’ll return to the page you asked for." in page
    answer = client.post(link, data=hidden_fields(page))
    assert (answer.status_code, answer.location) == (303, asked)
    assert client.get(asked).status_code == 200
    assert elsewhere.get("/desk/").status_code == 200
    with both.database.read() as session:
        assert len(session.scalars(select(StaffSession)).all()) == 2, "one for each browser"


def test_a_sign_in_link_ends_the_session_of_a_colleague_in_the_same_browser(world: Any) -> None:
    client = world.signed_in_client("admin")
    world.session_cookie()
    link = staff_link(world.install)
    assert client.post(link, data=hidden_fields(client.get(link).text)).location == "/desk/"
    with world.database.read() as session:
        emails = session.scalars(
            select(StaffMember.email).join(StaffSession, StaffSession.staff == StaffMember.id)
        ).all()
    assert emails == [MEMBERS["editor"]] * 2


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/admin/readers/find", "/admin/readers"),
        ("/admin/staff/1/sessions", "/admin/staff/1"),
        ("/desk/editions/2026-W47/pause", "/desk/editions/2026-W47"),
        ("/desk/sign-out", "/desk/"),
    ],
)
def test_whoever_submits_a_form_while_signed_out_comes_back_to_the_nearest_page(
    world: Any, path: str, page: str
) -> None:
    assert f'href="/desk/sign-in?next={page}"' in world.client.post(path).text


def test_a_sign_in_link_signs_in_once_within_an_hour_and_looking_does_nothing(both: Any) -> None:
    both.session_cookie()
    with both.database.write() as session:
        session.execute(delete(StaffSession))
    first, second = staff_link(both.install), staff_link(both.install)
    assert both.client.get(first).status_code == 410, "a newer one takes its place"
    before = both.dump()
    page = both.client.get(second)
    assert "e•••@newsroom.example" in page.text
    assert "eve@" not in page.text
    assert both.client.head(second).status_code == 200
    assert both.dump() == before
    assert both.client.post(second).status_code == 400
    client = both.client
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', client.get(second).text))
    assert client.post(second, data=form).status_code == 303
    assert client.get("/desk/").status_code == 200
    other = both.client
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', other.get("/desk/sign-in").text))
    assert other.post(second, data=form).status_code == 410
    third = staff_link(both.install)
    late = create_app(both.install, clock=lambda: NOW + timedelta(hours=1)).test_client()
    assert late.get(third).status_code == 410


def test_the_pages_of_the_staff_are_stored_by_nobody(world: Any) -> None:
    for path in ("/desk/sign-in", "/desk/", "/desk/link/unknown", "/staff/unknown"):
        for client in (world.client, world.desk):
            answer = client.get(path)
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
