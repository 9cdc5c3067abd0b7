"""Serve the pages with waitress, until told to stop."""

import logging
import re
import socket
import threading
from types import TracebackType
from typing import Self

from flask import Flask
from waitress import wasyncore
from waitress.server import create_server

MAX_BODY_BYTES = 2_000_000  # octets: a provider's post (digest.web.hooks.sendgrid); the pages take far less
WORKER_THREADS = 8


class PageServer:
    """A server that has taken its port. `run` it, `start` it, or use it as a context manager."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        redact_waitress_log()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket_map: dict[int, object] = {}
        self._server = create_server(
            app,
            map=self._socket_map,
            sockets=[socket.create_server((host, port), family=family)],
            threads=WORKER_THREADS,
            ident=None,  # no `Server` header: nobody needs to know
            max_request_body_size=MAX_BODY_BYTES,
            clear_untrusted_proxy_headers=False,  # the desk looks at them to know that a proxy is there
        )
        self.port = int(self._server.effective_port)
        self._stop_requested = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve in this thread until `stop` is called in another, or the process is interrupted."""
        try:
            while not self._stop_requested.is_set():
                wasyncore.loop(timeout=1, count=1, map=self._socket_map)
        finally:
            self._server.task_dispatcher.shutdown()  # lets the running answers end
            wasyncore.loop(timeout=0.02, count=5, map=self._socket_map)  # and hands over what they wrote
            wasyncore.close_all(self._socket_map)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="pages", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the answers that are being written end, then give the port back. Stopping twice is fine."""
        if not self._stop_requested.is_set():
            self._stop_requested.set()
            self._server.pull_trigger()
        if self._thread:
            self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.stop()


def open_page_server(app: Flask, host: str, port: int) -> PageServer:
    """Take the port, and give the server that `run` or `start` sets going.

    Raises:
        OSError: the port is taken, or the host is none of this machine's.
    """
    return PageServer(app, host, port)


class _PathRedactingFilter(logging.Filter):
    """Take the paths out of waitress's own lines: a reader's token may stand in them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"(while serving ).*", r"\1a page", str(record.msg), flags=re.DOTALL)
        return True


def redact_waitress_log() -> None:
    """Keep readers' paths out of waitress's log; asking twice changes nothing."""
    logger = logging.getLogger("waitress")
    if not any(isinstance(f, _PathRedactingFilter) for f in logger.filters):
        logger.addFilter(_PathRedactingFilter())
