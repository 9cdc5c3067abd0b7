"""A small IMAP server on loopback: as much of RFC 3501 as a mailbox reader needs, and ways to misbehave."""

import re
import socket
import socketserver
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

USER, PASSWORD = "bounces", 'pässwörd "quoted"'
_ATOMS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\([^)]*\)|[^\s]+)')


@dataclass
class Kept:
    """One folder: UID → bytes and flags."""

    validity: int = 1
    next: int = 1
    messages: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, set[str]] = field(default_factory=dict)

    def add(self, raw: bytes) -> int:
        self.messages[self.next], self.flags[self.next] = raw, set()
        self.next += 1
        return self.next - 1

    def take(self, uid: int) -> bytes:
        del self.flags[uid]
        return self.messages.pop(uid)


class Imap(socketserver.ThreadingTCPServer):
    """Serves the folders in `folders`. It offers `offers`, and after the sign-in `offers_inside` too; `breaks` names commands at which it hangs up.

    `meets` is called when a command comes, before it is obeyed. `refuses` says NO to commands, `says` puts other words into its answers. `lines` is what was said to it, `fetched` the UIDs that were asked for.
    """

    daemon_threads = True

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        implicit: bool = True,
        offers: str = "MOVE UIDPLUS AUTH=PLAIN",
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.tls, self.implicit, self.offers = tls, implicit, offers
        self.offers_inside = ""
        self.folders = {"INBOX": Kept()}
        self.breaks: list[str] = []
        self.refuses: dict[str, str] = {}
        self.says: dict[str, str] = {}
        self.meets: dict[str, Callable[[], None]] = {}
        self.namespace = '(("" "/")) NIL NIL'
        self.greeting = "* OK ready"
        self.says_next = True
        self.lines: list[str] = []
        self.fetched: list[int] = []
        self.port = int(self.server_address[1])
        self.separator = "/"

    @property
    def inbox(self) -> Kept:
        return self.folders["INBOX"]

    def get_request(self) -> tuple[socket.socket, object]:
        connection, peer = super().get_request()
        if self.tls is not None and self.implicit:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, _request: object, _address: object) -> None:
        """Say nothing: a client that hangs up in a handshake is what some tests are about."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    server: Imap
    folder: Kept
    inside = False
    disable_nagle_algorithm = True  # an answer is several small writes

    def handle(self) -> None:
        self._say(self.server.greeting)
        while line := self.rfile.readline().decode("utf-8").rstrip("\r\n"):
            self.server.lines.append(line)
            tag, _, rest = line.partition(" ")
            words = [quoted or plain for quoted, plain in _ATOMS.findall(rest)]
            verb = words[0].upper()
            if verb == "UID":
                verb, words = f"UID {words[1].upper()}", words[1:]
            if act_first := self.server.meets.pop(verb, None):
                act_first()
            if verb in self.server.breaks:
                self.server.breaks.remove(verb)
                return
            if verb in self.server.refuses:
                self._say(f"{tag} {self.server.refuses[verb]}")
                continue
            if verb in self.server.says:
                self._say(self.server.says[verb] + f"\r\n{tag} OK done")
                continue
            act = getattr(self, "_" + verb.lower().replace(" ", "_"))
            self._say(f"{tag} {act(words[1:]) or 'OK done'}")
            if verb == "STARTTLS":
                self._secure()
            if verb == "LOGOUT":
                return

    def _say(self, line: str, literal: bytes | None = None) -> None:
        self.wfile.write(line.encode() + (b"\r\n" if literal is None else b"\r\n" + literal + b")\r\n"))

    def _secure(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.setup()

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _capability(self, _: list[str]) -> None:
        self._say(f"* CAPABILITY IMAP4rev1 {self.server.offers} {self.server.offers_inside * self.inside}")

    def _starttls(self, _: list[str]) -> None:
        pass

    def _login(self, words: list[str]) -> str:
        said = [re.sub(r"\\(.)", r"\1", word) for word in words]
        return (
            "OK in" if said == [USER, PASSWORD] else f"NO [AUTHENTICATIONFAILED] not {said[0]} with {said[1]}"
        )

    def _authenticate(self, _: list[str]) -> str:
        self._say("+ ")
        user, password = b64decode(self.rfile.readline()).decode().split("\0")[1:]
        self.inside = (user, password) == (USER, PASSWORD)
        return "OK in" if self.inside else f"NO not {user} with {password}"

    def _namespace(self, _: list[str]) -> None:
        self._say(f"* NAMESPACE {self.server.namespace}")

    def _list(self, _: list[str]) -> None:
        self._say(f'* LIST (\\Noselect) "{self.server.separator}" ""')

    def _select(self, words: list[str]) -> str:
        if words[0] not in self.server.folders:
            return "NO no such folder"
        self.folder = self.server.folders[words[0]]
        self._say(f"* {len(self.folder.messages)} EXISTS")
        self._say(f"* OK [UIDVALIDITY {self.folder.validity}] valid")
        if self.server.says_next:
            self._say(f"* OK [UIDNEXT {self.folder.next}] next")
        return "OK [READ-WRITE] open"

    def _uid_search(self, words: list[str]) -> None:
        first, _, last = words[1].partition(":")
        there = sorted(self.folder.messages)
        most = max(there, default=0) if last == "*" else int(last)
        low, high = sorted((int(first), most))  # RFC 3501, 9: either end may come first
        self._say("* SEARCH " + " ".join(str(uid) for uid in there if low <= uid <= high))

    def _uid_fetch(self, words: list[str]) -> None:
        uid = int(words[0])
        self.server.fetched.append(uid)
        asked = re.fullmatch(r"\(BODY\.PEEK\[\]<0\.(\d+)>\)", words[1])
        assert asked, words
        if uid in self.folder.messages:
            part = self.folder.messages[uid][: int(asked[1])]
            self._say(f"* 1 FETCH (UID {uid} BODY[]<0> {{{len(part)}}}", part)

    def _uid_store(self, words: list[str]) -> None:
        self.folder.flags[int(words[0])] |= set(words[2].strip("()").split())

    def _uid_copy(self, words: list[str]) -> str:
        if words[1] not in self.server.folders:
            return "NO [TRYCREATE] no such folder"
        self.server.folders[words[1]].add(self.folder.messages[int(words[0])])
        return "OK copied"

    def _uid_move(self, words: list[str]) -> str:
        if (said := self._uid_copy(words)).startswith("OK"):
            self.folder.take(int(words[0]))
        return said

    def _uid_expunge(self, words: list[str]) -> None:
        if r"\Deleted" in self.folder.flags[int(words[0])]:
            self.folder.take(int(words[0]))

    def _create(self, words: list[str]) -> str:
        self.server.folders.setdefault(words[0], Kept())
        return "OK made"

    def _logout(self, _: list[str]) -> None:
        self._say("* BYE")
