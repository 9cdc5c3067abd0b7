"""A fake of SendGrid's v3/mail/send on loopback with the real one's checks."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from email_validator import EmailNotValidError, validate_email

from tests.threaded_server import ServedInThread

API_KEY = "SG.a-key-that-must-not-show"
RESERVED_HEADERS = {"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"}
RESERVED_HEADERS |= {"to", "from", "subject", "reply-to", "cc", "bcc"}
GATHERING_TIMEOUT = 60.0  # seconds after which a request that is still alone is not answered at all
KNOWN_KEYS = {"personalizations", "from", "reply_to", "subject", "content", "headers", "tracking_settings"}


@dataclass
class PlannedAnswer:
    """What the fake answers instead of looking at the request. `hang_seconds` is seconds of silence, None to hang up."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_seconds: float | None = 0.0


def find_request_fault(body: dict[str, Any], authorization: str) -> tuple[int, str | None, str] | None:
    """Find what SendGrid would refuse: (status, field, message)."""
    kinds = [c["type"] for c in body["content"]]
    people = body["personalizations"]
    seen: set[str] = set()
    wrong = [f"personalizations.{n}.{w}" for n, one in enumerate(people) if (w := _personalization_fault(one, seen))]
    named = {name.lower() for one in [body, *people] for name in one.get("headers", {})}
    table = (
        (authorization != f"Bearer {API_KEY}", 401, None, "The provided authorization grant is invalid"),
        (bool(body.keys() - KNOWN_KEYS), 400, "unknown", "an unknown key"),
        (not body.get("subject"), 400, "subject", "The subject is required"),
        (not body["from"].get("email"), 400, "from", "The from address is required"),
        (kinds not in (["text/plain", "text/html"], ["text/plain"]), 400, "content", "text/plain must be first"),
        (not all(c["value"] for c in body["content"]), 400, "content", "must not be empty"),
        (not 1 <= len(people) <= 1000, 400, "personalizations", "from 1 to 1000 personalizations"),
        (bool(wrong), 400, wrong[0] if wrong else None, "Does not contain a valid address or value"),
        (bool(named & RESERVED_HEADERS), 400, "headers", "a reserved header"),
    )
    return next(((status, where, said) for holds, status, where, said in table if holds), None)


def _personalization_fault(personalization: dict[str, Any], seen_addresses: set[str]) -> str | None:
    if personalization.keys() - {"to", "substitutions", "headers", "custom_args"}:
        return "unknown"
    if len(personalization["to"]) != 1 or personalization["to"][0].keys() - {"email"}:
        return "to"
    address = personalization["to"][0]["email"]
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return "to.0.email"
    if address.lower() in seen_addresses or address.startswith("bad"):
        return "to.0.email"
    seen_addresses.add(address.lower())
    groups = [personalization["substitutions"], personalization["custom_args"], personalization.get("headers", {})]
    if not all(isinstance(v, str) for g in groups for v in g.values()):
        return "substitutions"
    return None if len(json.dumps(personalization["substitutions"])) <= 10_000 else "substitutions"


class FakeSendGrid(ServedInThread, ThreadingHTTPServer):
    """Remembers what it accepted; `planned_answers` are given first, one a request.

    With a `gathering` no request is answered before so many are there at a time.
    """

    daemon_threads = True

    def __init__(self, *planned_answers: PlannedAnswer) -> None:
        super().__init__(("127.0.0.1", 0), _MailSendHandler)
        self.planned_answers = list(planned_answers)
        self.closing = threading.Event()
        self.accepted_bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.max_body_bytes = 30_000_000
        self.gathering = threading.Barrier(1)
        self.host = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def recipients(self) -> list[str]:
        """Everybody who got a message, in order."""
        return [p["to"][0]["email"] for body in self.accepted_bodies for p in body["personalizations"]]

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        super().__exit__()


class _MailSendHandler(BaseHTTPRequestHandler):
    server: FakeSendGrid

    def do_GET(self) -> None:
        self.server.requests.append(("GET", self.path, self.headers.get("Authorization", "")))
        self._respond(200, b"welcome")

    def do_POST(self) -> None:
        authorization = self.headers.get("Authorization", "")
        self.server.requests.append(("POST", self.path, authorization))
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.server.gathering.wait(GATHERING_TIMEOUT)
        if self.server.planned_answers:
            planned = self.server.planned_answers.pop(0)
            if planned.status == 202:
                self.server.accepted_bodies.append(body)
            self.close_connection = True
            if not self.server.closing.wait(planned.hang_seconds or 0.0) and planned.hang_seconds is not None:
                self._respond(planned.status, planned.body, planned.headers)
            return
        if len(raw) > self.server.max_body_bytes:
            self._respond(413, b'{"errors":[{"message":"too large","field":null}]}')
            return
        if wrong := find_request_fault(body, authorization):
            status, named, message = wrong
            self._respond(status, json.dumps({"errors": [{"message": message, "field": named}]}).encode())
            return
        self.server.accepted_bodies.append(body)
        self._respond(202, b"", {"X-Message-Id": f"id-{len(self.server.accepted_bodies)}"})

    def _respond(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...
