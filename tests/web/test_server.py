import http.client
import itertools
import logging
import re
import socket
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from digest.deliver.providers.registry import describe_address_recipients
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import Database, open_database
from digest.store.models import EditionState
from digest.web.app import create_app
from digest.web.server import ConnectionLimits, open_page_server
from subscribers.crypto.keys import KeyRing
from tests.conftest import WAIT_TIMEOUT
from tests.moments import DRAFTING as NOW


def test_a_process_is_alive_and_ready_when_its_schema_is_the_newest(both: Any) -> None:
    assert both.client.get("/healthz").text == "alive\n"
    assert both.client.get("/readyz").text == "ready\n"


def test_an_old_schema_is_not_ready_but_alive(both: Any) -> None:
    with both.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    answer = both.client.get("/readyz")
    assert answer.status_code == 503
    assert "Run 'digest doctor'" in answer.text
    assert both.client.get("/healthz").status_code == 200


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    KeyRing.create(settings.key_file)
    database = open_database(settings.effective_database_url)
    answer = create_app(Installation(settings, database)).test_client().get("/readyz")
    assert answer.status_code == 503
    assert "isn't responding" in answer.text
    assert str(tmp_path) not in answer.text
    database.close()


def test_a_server_serves_stops_and_gives_its_port_back(world: Any, one_database: Database) -> None:
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_TIMEOUT)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert answer.read() == b"alive\n"
        assert "Server" not in answer.headers
        connection.close()
        with pytest.raises(OSError, match="in use"):
            open_page_server(world.app, "127.0.0.1", serving.port)
    serving.stop()
    with socket.socket() as holder:  # or another process might take the port meanwhile
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", serving.port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT)


def test_the_desk_asks_for_a_sign_in_through_the_real_server_too(world: Any) -> None:
    signed_in = {"Cookie": "=".join(world.session_cookie())}
    asked: tuple[tuple[dict[str, str], int], ...] = (
        (signed_in, 200),
        ({}, 303),
        ({"X-Forwarded-For": "127.0.0.1"}, 303),
        ({"Host": "localhost"}, 303),
    )
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_TIMEOUT)
        for headers, status in asked:
            connection.request("GET", "/desk/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()


def test_a_long_body_is_taken_from_the_staff_alone_and_where_a_file_may_come(world: Any) -> None:
    name, (cookie, token) = world.edition(), world.session_cookie()
    picture, other = f"/desk/editions/{name}/story/head", f"/desk/editions/{name}/act"
    admin_cookie, admin_token = world.session_cookie("admin")
    _, stale_token = world.session_cookie("admin", fresh_at=NOW - timedelta(hours=1))
    member, made_up = {"Cookie": f"{cookie}={token}"}, {"Cookie": f"{cookie}=made-up"}
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        # What is refused by its length is refused before any of it is sent.
        for path, headers, size in (
            (picture, member, 13_000_000),
            (picture, {}, 11_000_000),
            (other, made_up, 11_000_000),
            (other, member, 11_000_000),
            ("/admin/import", member, 11_000_000),
        ):
            assert _post_file(serving.port, path, headers, size, b"") == 413
        # 303: it leads to signing in again, whatever its length.
        stale = {"Cookie": f"{admin_cookie}={stale_token}"}
        assert _post_file(serving.port, "/admin/import", stale, 11_000_000, b"") == 303
        # 400: it was read, and is without the form's token.
        for path, headers in ((picture, member), ("/admin/import", {"Cookie": f"{admin_cookie}={admin_token}"})):
            head, end = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', b"\r\n--b--\r\n"
            body = head.ljust(11_000_000 - len(end), b"x") + end
            assert _post_file(serving.port, path, headers, len(body), body) == 400


def test_a_file_that_is_too_large_is_refused_by_a_page_that_says_what_to_do(world: Any) -> None:
    headers = {"Cookie": "=".join(world.session_cookie()), "Expect": "100-continue"}
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_TIMEOUT)
        # What comes after the header is body, whatever it looks like.
        _send_form(
            connection, f"/desk/editions/{world.edition()}/story/head", headers, 30_000_000, b"GET / HTTP/1.1\r\n\r\n"
        )
        answer = connection.getresponse()
        page = answer.read().decode()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        connection.close()
    assert "<h1>The file is too large</h1>" in page
    assert "The limit is 12 MB, so the form wasn’t saved." in page
    assert "Go to the edition" in page


def _post_file(port: int, path: str, headers: dict[str, str], size: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT)
    _send_form(connection, path, headers, size, body)
    status = connection.getresponse().status
    connection.close()
    return status


def _send_form(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], size: int, body: bytes
) -> None:
    connection.putrequest("POST", path)
    form = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(size)}
    for field, value in {**headers, **form}.items():
        connection.putheader(field, value)
    connection.endheaders(body)


def test_waitress_writes_no_path_of_a_page(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    with open_page_server(world.app, "127.0.0.1", 0):
        logging.getLogger("waitress").warning(f"Client disconnected while serving {'/u/secret-token'}")  # noqa: G004 - as waitress writes it
    assert "Client disconnected while serving a page" in caplog.text
    assert "secret-token" not in caplog.text


def test_pages_below_a_path_link_within_it_stripped_or_not(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    settings = world.install.settings.model_copy(update={"base_url": "https://example.org/weekly/"})
    client = create_app(Installation(settings, world.database)).test_client()
    for path in ("/weekly/", "/"):
        page = client.get(path)
        assert page.status_code == 200
        assert 'href="/weekly/editions/2026-W47"' in page.text
    assert client.get("/weekly/editions/2026-W47").status_code == 200


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("outbox:", "saves emails to files on our server"),
        ("smtp://user:secret@relay.example:587", "The mail server relay.example"),
        ("sendgrid:", "Twilio SendGrid"),
    ],
)
def test_the_privacy_page_follows_the_transport_and_tells_no_secret(url: str, words: str) -> None:
    said = " ".join(describe_address_recipients(Settings(mail_url=SecretStr(url))))
    assert words in said
    assert "secret" not in said


def _alive_from(source: str, port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT, source_address=(source, 0))
    connection.request("GET", "/healthz")
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_500_unfinished_headers_from_one_address_leave_room_for_another(world: Any) -> None:
    with open_page_server(world.app, "127.0.0.1", 0) as serving, ExitStack() as opened:
        for _ in range(500):
            slow = opened.enter_context(socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT))
            with suppress(OSError):  # beyond the share the server hangs up
                slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert _alive_from("127.0.0.2", serving.port) == b"alive\n"


# Three connections a client, which may send their requests as slowly as the test comes to it.
HELD = ConnectionLimits(header_seconds=600, request_seconds=600, per_client=3)


def test_a_client_that_holds_its_share_of_the_connections_gets_no_more_until_it_lets_one_go(world: Any) -> None:
    with open_page_server(world.app, "127.0.0.1", 0, HELD) as serving, ExitStack() as opened:
        held = [
            opened.enter_context(socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT))
            for _ in range(3)
        ]
        for slow in held:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT) as beyond:
            assert beyond.recv(1000) == b""
        assert _alive_from("127.0.0.2", serving.port) == b"alive\n"
        held[0].sendall(b"1\r\nConnection: close\r\n\r\n")
        while held[0].recv(1000):
            pass
        assert _alive_from("127.0.0.1", serving.port) == b"alive\n"


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", b"POST /subscribe HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"])
def test_a_request_that_does_not_come_to_its_end_is_hung_up_on(world: Any, begun: bytes) -> None:
    limits = ConnectionLimits(header_seconds=0.2, request_seconds=0.2)
    with (
        open_page_server(world.app, "127.0.0.1", 0, limits) as serving,
        socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT) as slow,
        # Where the server hangs up before it has read what was sent, that is told by an error.
        suppress(ConnectionError),
    ):
        slow.sendall(begun)
        assert slow.recv(1000) == b""


def test_a_connection_that_goes_on_asking_is_kept(world: Any) -> None:
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_TIMEOUT)
        for _ in range(3):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"alive\n"
        connection.close()


def test_behind_a_declared_proxy_one_address_is_everybody(world: Any) -> None:
    with (
        open_page_server(world.app, "127.0.0.1", 0, ConnectionLimits(per_client=None)) as serving,
        ExitStack() as opened,
    ):
        for _ in range(120):
            opened.enter_context(socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_TIMEOUT))
        assert _alive_from("127.0.0.1", serving.port) == b"alive\n"


def list_paths(world: Any) -> list[str]:
    """List a path of each route, with and without a slash at its end."""
    filled = {"name": world.edition(), "token": "x" * 22, "view": "phone", "act": "pause"}
    paths = {
        re.sub(r"<(?:[^:<>]+(?:\([^)]*\))?:)?(\w+)>", lambda part: filled.get(part[1], "x"), str(rule))
        for rule in world.app.url_map.iter_rules()
    }
    return sorted(paths | {path.rstrip("/") for path in paths if path != "/"})


def test_no_page_redirects_a_request_over_http_to_https(world: Any) -> None:
    """A secret that was sent in the clear must fail, and not go on unnoticed (ASVS 4.1.2). The proxy redirects browsers."""
    for path, method in itertools.product(list_paths(world), ("GET", "POST")):
        answer = world.client.open(path, method=method, base_url="http://news.example.org")
        location = answer.headers.get("Location", "")
        assert not location.startswith("https:"), (method, path)
        # A redirect to our own host is made relative, so one to https would lead to the same path.
        assert answer.status_code == 303 or location != path, (method, path)


def test_a_strangers_host_is_in_no_answer(world: Any) -> None:
    paths = list_paths(world)
    cookie = {"Cookie": "=".join(world.session_cookie())}
    for path in paths:
        for method, headers in itertools.product(("GET", "POST"), ({}, cookie)):
            answer = world.app.test_client(use_cookies=False).open(
                path, method=method, headers={"Host": "evil.example"} | headers
            )
            assert b"evil.example" not in answer.data, (method, path)
            assert not [value for _, value in answer.headers if "evil.example" in value], (method, path)


def test_a_redirect_to_the_end_of_an_address_still_leads_there(world: Any) -> None:
    answer = world.client.get("/desk?tab=stories")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/desk/?tab=stories")


def test_where_the_pages_are_https_browsers_are_told_to_stay_there(world: Any) -> None:
    header = "Strict-Transport-Security"
    for path in ("/", "/desk/sign-in", "/nothing-here", "/metrics"):
        assert world.client.get(path).headers[header] == "max-age=31536000; includeSubDomains", path
    for change, told in (
        ({"hsts_subdomains": False}, "max-age=31536000"),
        ({"base_url": "http://localhost:8025"}, None),
    ):
        settings = world.install.settings.model_copy(update=change)
        client = create_app(Installation(settings, world.database)).test_client()
        assert client.get("/").headers.get(header) == told


def test_the_debug_mode_stays_off_whatever_the_environment_asks_for(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    assert create_app(world.install).debug is False
