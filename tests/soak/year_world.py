"""The surroundings of a simulated year's installation: a site with feeds that grow with its clock, and a mail server."""

import asyncio
import random
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.threaded_server import ServedInThread

FEED_NAMES = ("harbor", "coast", "valley")
SETTLE_TIMEOUT = 60.0  # seconds
_SYLLABLES = ("bar", "dor", "fen", "gal", "hul", "kem", "lor", "mir", "nos", "pel", "rav", "sut", "tig", "vel", "wex")
_MESSAGE_ID = re.compile(rb"^Message-ID: <(\d{4}-W\d\d)\.[a-z2-7]{20}@", re.MULTILINE | re.IGNORECASE)


class GrowingSite(ServedInThread, ThreadingHTTPServer):
    """Serves a feed for each of `FEED_NAMES`, with what was published in the eight days before, and a page for each item."""

    daemon_threads = True

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(("127.0.0.1", 0), _SiteRequest)
        self.clock = clock
        self.base = f"http://127.0.0.1:{self.server_address[1]}"

    def write_feed(self, name: str) -> bytes:
        """Write a feed as it is now."""
        now, day = self.clock(), timedelta(days=1)
        items = [self._write_item(name, now - number * day) for number in range(8)]
        return f'<rss version="2.0"><channel><title>{name}</title>{"".join(items)}</channel></rss>'.encode()

    def _write_item(self, name: str, moment: datetime) -> str:
        published = moment.replace(hour=0, minute=5, second=0, microsecond=0)
        if published > self.clock():
            published -= timedelta(days=1)
        rng = random.Random(f"{name} {published:%Y-%m-%d}")
        words = ["".join(rng.choices(_SYLLABLES, k=3)) for _ in range(24)]
        title = " ".join(words[:6]).capitalize()
        link = f"{self.base}/{name}/{published:%Y-%m-%d}"
        return (
            f"<item><title>{title}</title><link>{link}</link><guid>{link}</guid><pubDate>{format_datetime(published)}</pubDate>"
            f"<description>{' '.join(words[6:]).capitalize()}.</description></item>"
        )


class _SiteRequest(BaseHTTPRequestHandler):
    server: GrowingSite

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name in FEED_NAMES:
            self._answer(200, "application/rss+xml", self.server.write_feed(name))
        elif name == "robots.txt":
            self._answer(404, "text/plain", b"")
        else:
            self._answer(200, "text/html", b"<!doctype html><title>An article</title><p>An article.")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


class ArrivedEdition(NamedTuple):
    """An edition that somebody's mail server took: whose, which, and when by the simulated clock."""

    address: str
    edition: str
    at: datetime


class YearlongMailbox:
    """A mail server that takes everything, and can interrupt whoever sends at a message of its choice."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.arrived: list[ArrivedEdition] = []
        self.other_mails = 0
        self.rejects_all = False
        self._countdown = 0
        self._interrupt: Callable[[], object] = lambda: None
        self._loses_message = False
        self._is_settled = threading.Event()  # it is known what became of the message at which it interrupted
        self._is_settled.set()

    def interrupt_at(self, message: int, interrupt: Callable[[], object], *, loses_message: bool = False) -> None:
        """Call `interrupt` when the message of this number comes, counted from now; it is taken down after that, or lost."""
        self._countdown, self._interrupt, self._loses_message = message, interrupt, loses_message

    def interrupt_never(self) -> bool:
        """Let all messages through again, once the one at which it interrupted is taken or lost; return whether that had come.

        Who sends may be dead before it is, on a busy machine long before.
        """
        assert self._is_settled.wait(SETTLE_TIMEOUT), "an interrupted message was neither taken nor lost"
        had_come, self._countdown = self._countdown == 0, 0
        return had_come

    async def handle_MAIL(  # noqa: N802 - its name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept a sender, unless everything is rejected."""
        if self.rejects_all:
            return "530 5.7.0 sign in first"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Take a message."""
        assert isinstance(envelope.original_content, bytes)
        (address,) = envelope.rcpt_tos
        found = _MESSAGE_ID.search(envelope.original_content)
        if found is None:
            self.other_mails += 1
            return "250 2.0.0 taken"
        arrived = ArrivedEdition(address, found[1].decode("ascii"), self._clock())
        if self._countdown:
            self._countdown -= 1
            if not self._countdown:
                return await self._take_interrupted(arrived)
        self.arrived.append(arrived)
        return "250 2.0.0 taken"

    async def _take_interrupted(self, arrived: ArrivedEdition) -> str:
        self._is_settled.clear()
        try:
            await asyncio.to_thread(self._interrupt)
            if self._loses_message:
                return "451 4.3.0 lost"
            self.arrived.append(arrived)
            return "250 2.0.0 taken"
        finally:
            self._is_settled.set()
