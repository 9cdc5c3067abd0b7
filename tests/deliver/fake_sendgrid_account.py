"""SendGrid's account API on loopback: its suppression lists, and its endpoint for erasure."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.threaded_server import ServedInThread

API_KEY = "SG.a-key-that-must-not-show"
SUPPRESSION_LISTS = ("bounces", "blocks", "spam_reports", "invalid_emails", "unsubscribes")


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, int]
    body: Any


@dataclass
class ScriptedResponse:
    """What is answered instead of looking at the request. `hang_seconds` is seconds of silence, None to hang up."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_seconds: float | None = 0.0


class FakeSendGridAccount(ServedInThread, ThreadingHTTPServer):
    """Keeps lists as SendGrid does: the newest first, by pages, at most 500 a page.

    `override` may answer a request in its place; `erased_addresses` holds the addresses that it was asked to erase.
    """

    daemon_threads = True

    def __init__(self, override: Callable[[RecordedRequest], ScriptedResponse | None] = lambda _: None) -> None:
        super().__init__(("127.0.0.1", 0), _AccountHandler)
        self.lists: dict[str, list[dict[str, Any]]] = {name: [] for name in SUPPRESSION_LISTS}
        self.override = override
        self.closing = threading.Event()
        self.requests: list[RecordedRequest] = []
        self.erased_addresses: list[list[str]] = []
        self.host = f"http://127.0.0.1:{self.server_address[1]}"

    def add_to_list(self, list_name: str, email: str, created: int, **more: Any) -> None:
        """Put an address on a list."""
        self.lists[list_name].append({"created": created, "email": email, **more})

    def respond(self, request: RecordedRequest) -> tuple[int, Any]:
        """Answer as the documents of the API say."""
        where = request.path.removeprefix("/v3/").split("/")
        if where == ["recipients", "erasejob"] and request.method == "POST":
            return self._accept_erasure(request.body)
        if where[0] != "suppression" or len(where) != 2 or where[1] not in SUPPRESSION_LISTS:
            return 404, {"errors": [{"message": "not found", "field": None}]}
        if request.method == "GET":
            return 200, self._list_page(where[1], **request.query)
        if request.method == "DELETE" and where[1] != "unsubscribes":
            gone = {email.lower() for email in request.body["emails"]}
            kept = [one for one in self.lists[where[1]] if one["email"].lower() not in gone]
            self.lists[where[1]] = kept
            return 204, None
        return 405, {"errors": [{"message": "no such method", "field": None}]}

    def _accept_erasure(self, body: Any) -> tuple[int, Any]:
        if set(body) != {"email_addresses"} or not 1 <= len(body["email_addresses"]) <= 5000:
            return 400, {"errors": [{"message": "not valid", "field": "email_addresses"}]}
        self.erased_addresses.append(body["email_addresses"])
        return 202, {"job_id": f"job-{len(self.erased_addresses)}"}

    def _list_page(self, name: str, start_time: int, end_time: int, limit: int, offset: int) -> list[Any]:
        assert 1 <= limit <= 500
        within = [one for one in self.lists[name] if start_time <= one["created"] <= end_time]
        return sorted(within, key=lambda one: -one["created"])[offset : offset + limit]

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        super().__exit__()


class _AccountHandler(BaseHTTPRequestHandler):
    server: FakeSendGridAccount

    def _handle_request(self) -> None:
        url = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        asked = RecordedRequest(self.command, url.path, query, json.loads(raw) if raw else None)
        self.server.requests.append(asked)
        if self.headers.get("Authorization") != f"Bearer {API_KEY}":
            self._send_response_with_body(401, b'{"errors":[{"message":"authorization required","field":null}]}')
            return
        if (instead := self.server.override(asked)) is not None:
            self.close_connection = True
            if not self.server.closing.wait(instead.hang_seconds or 0.0) and instead.hang_seconds is not None:
                self._send_response_with_body(instead.status, instead.body, instead.headers)
            return
        status, said = self.server.respond(asked)
        self._send_response_with_body(status, b"" if said is None else json.dumps(said).encode())

    do_GET = do_POST = do_DELETE = _handle_request  # noqa: N815 - their names

    def _send_response_with_body(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204 and "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...
