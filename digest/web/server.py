"""The web server, which serves the pages with waitress until it's stopped.

Waitress reads requests in one thread and passes complete ones to workers, but it waits for an
incomplete header as long as bytes keep arriving, and stops accepting requests at its limit of
connections. This server therefore has a deadline for requests, and limits each client to a share of
the connections.
"""

import ipaddress
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_cookie
from werkzeug.routing import RequestRedirect

from digest.app.accounts import sign_in
from digest.installation.opened_installation import Installation
from digest.settings import is_loopback
from digest.web.app_state import WebAppState
from digest.web.auth.cookies import CookieScope
from digest.web.auth.route_rules import ROUTE_RULES, AccessRule

# The limit without signing in, for a provider's post (digest.web.hooks.pages). Pages need far less.
MAX_BODY_BYTES = 2_000_000
MAX_CONNECTIONS = 1000
WORKER_THREADS = 8
# How long a busy thread runs while another one waits for the interpreter. The default is five times that.
SWITCH_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits on the seconds within which a request must arrive, and on the connections of one client.

    Behind a proxy, every connection comes from the proxy, so `per_client` is None.
    """

    header_seconds: float = 15.0
    request_seconds: float = 60.0
    file_seconds: float = 1800.0
    per_client: int | None = 50


class _BoundedParser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A parser of requests that limits the size of their bodies.

    Large bodies are rejected early, unless they're from staff members who may upload a file there.
    """

    has_file = False

    def __init__(self, adjustments: Adjustments, server: "_BoundedServer") -> None:
        super().__init__(adjustments)
        self._server = server

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        is_long = self.chunked or self.content_length >= MAX_BODY_BYTES
        limit = self._server.find_upload_size_limit(self.path, self.headers.get("COOKIE", "")) if is_long else 0
        if not limit:
            return
        self.has_file = True
        self.adj = _adjust_waitress(limit + 1)
        if self.content_length > limit:
            self._leave_body()

    def _leave_body(self) -> None:
        """Let the pages reject the form by its length, and close the connection, because the rest isn't a request."""
        self.body_rcv, self.content_length, self.expect_continue = None, 0, False
        self.headers["CONNECTION"] = "close"


class _BoundedChannel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection that records how long it has waited for a complete request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waiting_since = time.monotonic()
        super().__init__(*args, **kwargs)
        self.parser_class = partial(_BoundedParser, server=self.server)

    def received(self, data: bytes) -> bool:
        read = bool(super().received(data))
        if self.request is None:  # a complete request has arrived
            self.waiting_since = time.monotonic()
        return read

    def is_overdue(self, now: float, limits: ConnectionLimits) -> bool:
        """Return True if the expected request took too long to arrive."""
        if self.requests or self.total_outbufs_len:
            self.waiting_since = now  # a response is being written
            return False
        has_header = self.request is not None and self.request.headers_finished
        if has_header and self.request.has_file:
            return now - self.waiting_since > limits.file_seconds
        return now - self.waiting_since > (limits.request_seconds if has_header else limits.header_seconds)


class _BoundedServer(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    channel_class = _BoundedChannel
    limits = ConnectionLimits()
    find_upload_size_limit: Callable[[str, str], int]

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        moment = time.monotonic()
        for channel in self.active_channels.values():
            if channel.is_overdue(moment, self.limits):
                channel.will_close = True

    def set_socket_options(self, conn: socket.socket) -> None:
        """Refuse a connection that exceeds its client's share.

        Waitress treats an OSError as a disconnected client.
        """
        if self.limits.per_client is not None:
            client = _client_network(conn.getpeername()[0])
            open_connections = sum(
                _client_network(channel.addr[0]) == client for channel in self.active_channels.values()
            )
            if open_connections >= self.limits.per_client:
                conn.close()
                raise ConnectionRefusedError
        super().set_socket_options(conn)


def _client_network(address: str) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class PageServer:
    """The web server, bound to its port.

    Call `run` or `start`, or use it as a context manager.
    """

    def __init__(self, app: Flask, host: str, port: int, limits: ConnectionLimits) -> None:
        redact_waitress_log()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        adjustments = _adjust_waitress(MAX_BODY_BYTES)
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(WORKER_THREADS)
        self._socket_map: dict[int, object] = {}
        self._server = _BoundedServer(
            app,
            map=self._socket_map,
            _sock=listener,
            dispatcher=dispatcher,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self._server.limits = limits
        self._server.find_upload_size_limit = partial(find_upload_size_limit, app)
        self.port = int(self._server.effective_port)
        self._stop_requested = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve in this thread until another one calls `stop`, or the process is interrupted.

        A page needs the interpreter a dozen times, after each wait for the network or the database.
        If threads that parse long documents or send emails are running, it would otherwise wait
        five milliseconds for each of them each time.
        """
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            while not self._stop_requested.is_set():
                wasyncore.loop(timeout=1, count=1, map=self._socket_map, use_poll=True)
        finally:
            self._server.task_dispatcher.shutdown()  # lets active requests finish
            wasyncore.loop(timeout=0.02, count=5, map=self._socket_map)  # and sends their responses
            wasyncore.close_all(self._socket_map)

    def start(self) -> None:
        """Serve in a separate thread."""
        self._thread = threading.Thread(target=self.run, name="pages", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let active requests finish, and release the port. Idempotent."""
        if not self._stop_requested.is_set():
            self._stop_requested.set()
            self._server.pull_trigger()
        if self._thread:
            self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _adjust_waitress(max_body_bytes: int) -> Adjustments:
    return Adjustments(
        threads=WORKER_THREADS,
        connection_limit=MAX_CONNECTIONS,
        cleanup_interval=1,  # seconds between checks for overdue requests
        ident=None,  # no `Server` header, because it isn't needed
        max_request_body_size=max_body_bytes,
        clear_untrusted_proxy_headers=False,  # the desk uses these headers to detect a proxy
        log_socket_errors=False,
    )


def find_upload_size_limit(app: Flask, path: str, cookies: str) -> int:
    """Return the maximum size in bytes of an upload to a path.

    It's 0 except for staff members who may upload a file there, and 1 for those who have to sign in
    again first, so that the page can tell them. If the database doesn't respond, no one counts as
    signed in.
    """
    app_state: WebAppState = app.extensions["digest"]
    prefix = urlsplit(app_state.settings.link_base).path.rstrip("/")
    try:
        endpoint, _ = app.url_map.bind("").match(path.removeprefix(prefix) if prefix else path, method="POST")
    except (HTTPException, RequestRedirect, ValueError):
        return 0
    rule = ROUTE_RULES[endpoint]
    token = parse_cookie(cookies).get(CookieScope.from_settings(app_state.settings).session, "")
    if rule.max_bytes is None or not token:
        return 0
    return _find_limit_of_member(app_state, rule, rule.max_bytes, token)


def _find_limit_of_member(app_state: WebAppState, rule: AccessRule, limit: int, token: str) -> int:
    now = app_state.clock()
    try:
        staff = sign_in.find_signed_in_member(app_state.installation, token, now=now, note_use=False)
    except SQLAlchemyError:
        return 0
    if staff is None or rule.role is None or not staff.actor.holds(rule.role):
        return 0
    return limit if not rule.fresh or staff.is_fresh(now) else 1


def open_page_server(app: Flask, host: str, port: int, limits: ConnectionLimits | None = None) -> PageServer:
    """Bind the port, and return a server that can be run.

    Without `limits`, one client may use only a share of the connections, unless the application is
    behind a proxy.

    Raises:
        OSError: the port is in use, or the host isn't this machine's.
        InstallationError: other machines could reach the pages, and the keys are the demo's.
    """
    installation: Installation = app.extensions["digest"].installation
    behind_proxy = installation.settings.file.limits.proxies > 0
    if behind_proxy or not is_loopback(host):
        installation.refuse_demo_keys()
    if limits is None:
        limits = ConnectionLimits(per_client=None) if behind_proxy else ConnectionLimits()
    return PageServer(app, host, port, limits)


class _PathRedactingFilter(logging.Filter):
    """A filter that removes paths from waitress's log lines, because they may contain a subscriber's token."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"(while serving ).*", r"\1a page", str(record.msg), flags=re.DOTALL)
        return True


def redact_waitress_log() -> None:
    """Keep paths out of waitress's log. Idempotent."""
    logger = logging.getLogger("waitress")
    if not any(isinstance(f, _PathRedactingFilter) for f in logger.filters):
        logger.addFilter(_PathRedactingFilter())
