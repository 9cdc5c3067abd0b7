"""A mail server that refuses, defers, and hangs up according to its faults, and records what it accepted and replied.

It's what random sends (`simulated_send`) go to: real SMTP over loopback. What it replies to an address depends on that address and on how
often it was tried, never on the time.
"""

import hashlib
import re
import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.threaded_server import ServedInThread

HANG_UP = ""
ACCEPT_AND_HANG_UP = "250 and gone"
FOREVER = 1_000_000
_DEFAULT_REPLIES = {
    "GREETING": "220 relay",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "DOT": "250 2.0.0 queued",
}
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(<[^>]+>)", re.MULTILINE | re.IGNORECASE)
PIPELINING_OFFER = "250-relay\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES"
_TOO_MANY = "421 4.4.2 too many messages on this connection"


@dataclass(frozen=True)
class ReplyFault:
    """What the relay replies at one stage instead of taking the message.

    It concerns a domain, a variant, a share of the addresses, or all. It's given `times` times after `skipped`, for each address if it's `by_address`.
    """

    stage: str  # GREETING, EHLO, MAIL, RCPT, DATA, or DOT
    reply: str
    domain: str = ""
    variant: str = ""
    share: float = 1.0
    skipped: int = 0
    times: int = FOREVER
    by_address: bool = False

    def concerns(self, stage: str, address: str, variant: str) -> bool:
        """Return whether it may be the reply."""
        if stage != self.stage or (self.variant and self.variant != variant):
            return False
        if self.domain and address.rpartition("@")[2] != self.domain:
            return False
        if self.share == 1.0:
            return True
        digest = hashlib.sha256(f"{self.stage} {self.reply} {address}".encode()).digest()
        return int.from_bytes(digest[:4]) < self.share * 2**32


class AcceptedMessage(NamedTuple):
    """A message that the relay accepted; `time` counts the caller's steps."""

    address: str
    message_id: str
    variant: str
    time: int


class GivenReply(NamedTuple):
    """A reply that refused or deferred a message, or the recipient of one."""

    stage: str
    text: str


@dataclass
class RelayRecord:
    """What a relay did in one simulated send."""

    accepted: list[AcceptedMessage] = field(default_factory=list)
    replies: dict[str, list[GivenReply]] = field(default_factory=dict)  # by address: what it was refused with

    def count_accepted(self) -> Counter[tuple[str, str]]:
        """Count what was accepted, by Message-ID and address."""
        return Counter((message.message_id, message.address) for message in self.accepted)


class FaultyRelay:
    """The relay of one simulated send. `reach` is called with the name of each point that a conversation comes to."""

    def __init__(
        self, *, offers_pipelining: bool, messages_per_connection: int | None, read_variant: Callable[[bytes], str]
    ) -> None:
        self.record = RelayRecord()
        self.faults: tuple[ReplyFault, ...] = ()
        self.offers_pipelining = offers_pipelining
        self.messages_per_connection = messages_per_connection
        self.read_variant = read_variant
        self.reach: Callable[[str], object] = lambda _point: None
        self.is_cut_off: Callable[[], bool] = lambda: (
            False
        )  # whether the client is dead: nothing that it wrote last counts
        self.time = 0
        self.port = 0
        self._lock = threading.Lock()
        self._given: Counter[tuple[int, str]] = Counter()

    def choose_reply(self, stage: str, address: str = "", variant: str = "") -> str:
        """Return the reply of the first fault that has one, else the usual one."""
        with self._lock:
            reply = self._choose_fault(stage, address, variant)
            if reply is None:
                return _DEFAULT_REPLIES.get(stage, "250 ok")
            if address:
                self.record.replies.setdefault(address, []).append(GivenReply(stage, reply))
            return reply

    def _choose_fault(self, stage: str, address: str, variant: str) -> str | None:
        for number, fault in enumerate(self.faults):
            if fault.concerns(stage, address, variant):
                key = (number, address if fault.by_address else "")
                self._given[key] += 1
                if fault.skipped < self._given[key] <= fault.skipped + fault.times:
                    return fault.reply
        return None

    def accept(self, address: str, message_id: str, variant: str) -> None:
        """Record a message, durably as it were, before the reply."""
        with self._lock:
            self.record.accepted.append(AcceptedMessage(address, message_id, variant, self.time))

    def heal(self) -> None:
        """Take every message from now on."""
        with self._lock:
            self.faults = ()


class RelayServer(ServedInThread, socketserver.ThreadingTCPServer):
    """The socket that all simulated sends of a process go to, one after the other."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RelaySession)
        self.relay: FaultyRelay | None = None
        self.port = int(self.server_address[1])


class _RelaySession(socketserver.StreamRequestHandler):
    server: RelayServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        relay = self.server.relay
        if relay is None:
            return
        self.relay, self.is_cut_off = relay, relay.is_cut_off
        self.message_count, self.address, self.is_open = 0, "", True
        with suppress(OSError):
            self._reply("GREETING")
            while self.is_open and (line := self.rfile.readline()):
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        match line[:4].upper():
            case b"EHLO":
                self._reply("EHLO", ok=PIPELINING_OFFER if self.relay.offers_pipelining else "250 relay")
            case b"MAIL":
                self._begin_message()
            case b"RCPT":
                self._take_recipient(line.decode("ascii").partition("<")[2].partition(">")[0])
            case b"DATA" if not self.address:
                self._write("554 5.5.1 no valid recipients")
            case b"DATA":
                if self._reply("DATA", self.address):
                    self._take_message()
            case b"QUIT":
                self._write("221 bye")
                self.is_open = False
            case _:
                self._write("250 ok")

    def _begin_message(self) -> None:
        self.address = ""
        if self.message_count == self.relay.messages_per_connection:
            self._write(_TOO_MANY)
            self.is_open = False
        else:
            self.has_sender = self._reply("MAIL")

    def _take_recipient(self, address: str) -> None:
        if not self.has_sender:
            self._write("503 5.5.1 MAIL first")
        elif self._reply("RCPT", address):
            self.address = address

    def _reply(self, stage: str, address: str = "", variant: str = "", *, ok: str = "") -> bool:
        """Give the reply to a stage; return whether the next one may follow."""
        self.relay.reach(stage)
        if self.is_cut_off():
            self.is_open = False
            return False
        reply = self.relay.choose_reply(stage, address, variant)
        if reply == HANG_UP:
            self.is_open = False
            return False
        is_fine = reply[0] in "23"
        self._write(ok if ok and is_fine else reply)
        if reply.startswith("421"):
            self.is_open = False
        return is_fine

    def _write(self, reply: str) -> None:
        self.wfile.write(reply.encode("ascii") + b"\r\n")

    def _take_message(self) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                self.is_open = False
                return
            lines.append(line)
        data = b"".join(lines)
        found = _MESSAGE_ID.search(data)
        assert found is not None, "a message without Message-ID"
        variant = self.relay.read_variant(data)
        self.relay.reach("DOT")
        # A dot that has arrived counts, whatever became of its sender.
        reply = self.relay.choose_reply("DOT", self.address, variant)
        if reply.startswith("250"):
            self.relay.accept(self.address, found[1].decode("ascii"), variant)
        self.message_count += 1
        if reply in {HANG_UP, ACCEPT_AND_HANG_UP} or self.is_cut_off():
            self.is_open = False
            return
        self._write(reply)
        self.relay.reach("REPLIED")
        self.is_open = not reply.startswith("421")


def _split_reply(reply: GivenReply) -> tuple[str, str]:
    code, _, rest = reply.text.partition(" ")
    enhanced = rest.partition(" ")[0]
    return code, enhanced if enhanced.count(".") == 2 else ""


def says_no_mailbox(reply: GivenReply) -> bool:
    """Return whether a reply says that the address doesn't exist."""
    code, enhanced = _split_reply(reply)
    if enhanced:
        return enhanced in {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4"}
    return reply.stage == "RCPT" and code in {"550", "551", "553"}


def names_address(reply: GivenReply) -> bool:
    """Return whether a reply is about the address, so that it may be suppressed for it."""
    _, enhanced = _split_reply(reply)
    is_about_sender = enhanced in {"5.1.7", "5.1.8"}
    return says_no_mailbox(reply) or (enhanced.startswith(("5.1.", "5.2.")) and not is_about_sender)
