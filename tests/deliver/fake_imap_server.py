"""A small IMAP server on loopback, with as much of RFC 3501 as a mailbox reader needs, and ways to misbehave."""

import re
import socket
import socketserver
import ssl
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.threaded_server import ServedInThread

USER, PASSWORD = "bounces", 'pässwörd "quoted"'
_COMMAND_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\([^)]*\)|[^\s]+)')


@dataclass
class ImapFolder:
    """One folder: UID → bytes and flags."""

    uid_validity: int = 1
    uid_next: int = 1
    messages: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, set[str]] = field(default_factory=dict)

    def add_message(self, raw: bytes) -> int:
        self.messages[self.uid_next], self.flags[self.uid_next] = raw, set()
        self.uid_next += 1
        return self.uid_next - 1

    def remove_message(self, uid: int) -> bytes:
        del self.flags[uid]
        return self.messages.pop(uid)


class FakeImapServer(ServedInThread, socketserver.ThreadingTCPServer):
    """Serves the folders in `folders`. It offers `capabilities`, and after the sign-in `capabilities_after_login` too; `hang_up_at` names commands at which it hangs up.

    `command_hooks` is called when a command comes, before it is obeyed. `refusals` says NO to commands, `answer_overrides` puts other words into its answers. `received_lines` is what was said to it, `fetched_uids` the UIDs that were asked for.
    """

    daemon_threads = True

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        implicit_tls: bool = True,
        capabilities: str = "MOVE UIDPLUS AUTH=PLAIN",
    ) -> None:
        super().__init__(("127.0.0.1", 0), _ImapSession)
        self.tls, self.implicit_tls, self.capabilities = tls, implicit_tls, capabilities
        self.capabilities_after_login = ""
        self.folders = {"INBOX": ImapFolder()}
        self.hang_up_at: list[str] = []
        self.refusals: dict[str, str] = {}
        self.answer_overrides: dict[str, str] = {}
        self.command_hooks: dict[str, Callable[[], None]] = {}
        self.namespace = '(("" "/")) NIL NIL'
        self.greeting = "* OK ready"
        self.announces_uid_next = True
        self.received_lines: list[str] = []
        self.fetched_uids: list[int] = []
        self.port = int(self.server_address[1])
        self.separator = "/"

    @property
    def inbox(self) -> ImapFolder:
        return self.folders["INBOX"]

    def get_request(self) -> tuple[socket.socket, object]:
        connection, peer = super().get_request()
        if self.tls is not None and self.implicit_tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, _request: object, _address: object) -> None:
        """Say nothing: a client that hangs up in a handshake is what some tests are about."""


class _ImapSession(socketserver.StreamRequestHandler):
    server: FakeImapServer
    folder: ImapFolder
    signed_in = False
    disable_nagle_algorithm = True  # an answer is several small writes

    def handle(self) -> None:
        self._send_line(self.server.greeting)
        while line := self.rfile.readline().decode("utf-8").rstrip("\r\n"):
            self.server.received_lines.append(line)
            tag, _, rest = line.partition(" ")
            words = [quoted or plain for quoted, plain in _COMMAND_WORDS.findall(rest)]
            verb = words[0].upper()
            if verb == "UID":
                verb, words = f"UID {words[1].upper()}", words[1:]
            if act_first := self.server.command_hooks.pop(verb, None):
                act_first()
            if verb in self.server.hang_up_at:
                self.server.hang_up_at.remove(verb)
                return
            if verb in self.server.refusals:
                self._send_line(f"{tag} {self.server.refusals[verb]}")
                continue
            if verb in self.server.answer_overrides:
                self._send_line(self.server.answer_overrides[verb] + f"\r\n{tag} OK done")
                continue
            act = getattr(self, "_" + verb.lower().replace(" ", "_"))
            self._send_line(f"{tag} {act(words[1:]) or 'OK done'}")
            if verb == "STARTTLS":
                self._start_tls_session()
            if verb == "LOGOUT":
                return

    def _send_line(self, line: str, literal: bytes | None = None) -> None:
        self.wfile.write(line.encode() + (b"\r\n" if literal is None else b"\r\n" + literal + b")\r\n"))

    def _start_tls_session(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.setup()

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _capability(self, _: list[str]) -> None:
        self._send_line(
            f"* CAPABILITY IMAP4rev1 {self.server.capabilities} {self.server.capabilities_after_login * self.signed_in}"
        )

    def _starttls(self, _: list[str]) -> None:
        pass

    def _login(self, words: list[str]) -> str:
        said = [re.sub(r"\\(.)", r"\1", word) for word in words]
        return "OK in" if said == [USER, PASSWORD] else f"NO [AUTHENTICATIONFAILED] not {said[0]} with {said[1]}"

    def _authenticate(self, _: list[str]) -> str:
        self._send_line("+ ")
        user, password = b64decode(self.rfile.readline()).decode().split("\0")[1:]
        self.signed_in = (user, password) == (USER, PASSWORD)
        return "OK in" if self.signed_in else f"NO not {user} with {password}"

    def _namespace(self, _: list[str]) -> None:
        self._send_line(f"* NAMESPACE {self.server.namespace}")

    def _list(self, _: list[str]) -> None:
        self._send_line(f'* LIST (\\Noselect) "{self.server.separator}" ""')

    def _examine(self, words: list[str]) -> str:
        return self._select(words)

    def _select(self, words: list[str]) -> str:
        if words[0] not in self.server.folders:
            return "NO no such folder"
        self.folder = self.server.folders[words[0]]
        self._send_line(f"* {len(self.folder.messages)} EXISTS")
        self._send_line(f"* OK [UIDVALIDITY {self.folder.uid_validity}] valid")
        if self.server.announces_uid_next:
            self._send_line(f"* OK [UIDNEXT {self.folder.uid_next}] next")
        return "OK [READ-WRITE] open"

    def _uid_search(self, words: list[str]) -> None:
        first, _, last = words[1].partition(":")
        there = sorted(self.folder.messages)
        most = max(there, default=0) if last == "*" else int(last)
        low, high = sorted((int(first), most))  # RFC 3501, 9: either end may come first
        self._send_line("* SEARCH " + " ".join(str(uid) for uid in there if low <= uid <= high))

    def _uid_fetch(self, words: list[str]) -> None:
        uid = int(words[0])
        self.server.fetched_uids.append(uid)
        asked = re.fullmatch(r"\(BODY\.PEEK\[\]<0\.(\d+)>\)", words[1])
        assert asked, words
        if uid in self.folder.messages:
            part = self.folder.messages[uid][: int(asked[1])]
            self._send_line(f"* 1 FETCH (UID {uid} BODY[]<0> {{{len(part)}}}", part)

    def _uid_store(self, words: list[str]) -> None:
        self.folder.flags[int(words[0])] |= set(words[2].strip("()").split())

    def _uid_copy(self, words: list[str]) -> str:
        if words[1] not in self.server.folders:
            return "NO [TRYCREATE] no such folder"
        self.server.folders[words[1]].add_message(self.folder.messages[int(words[0])])
        return "OK copied"

    def _uid_move(self, words: list[str]) -> str:
        if (said := self._uid_copy(words)).startswith("OK"):
            self.folder.remove_message(int(words[0]))
        return said

    def _uid_expunge(self, words: list[str]) -> None:
        if r"\Deleted" in self.folder.flags[int(words[0])]:
            self.folder.remove_message(int(words[0]))

    def _create(self, words: list[str]) -> str:
        self.server.folders.setdefault(words[0], ImapFolder())
        return "OK made"

    def _logout(self, _: list[str]) -> None:
        self._send_line("* BYE")
