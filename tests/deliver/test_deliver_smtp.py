"""SMTP against real servers on loopback: aiosmtpd where they behave, a scripted one where they do not."""

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from sqlalchemy import select

from digest.db import Delivery, DeliveryState, EditionState
from digest.deliver.handing import Handed, Outgoing, Result
from digest.deliver.letters import Filled, Letter
from digest.deliver.sending import Report, send
from digest.deliver.transports import open_transport
from digest.deliver.transports.smtp import Server, Smtp
from tests.deliver.conftest import NAME, RELEASE, World

LETTER = Letter(
    subject="Hello",
    sender_name="Desk",
    sender_address="digest@news.example.org",
    reply_to="",
    date=RELEASE,
    text="A line.\n.\n.dots\nFrom here.\n" + "word " * 4000,
    html=None,
)


def _message(address: str = "ada@example.org") -> Outgoing:
    return Outgoing("d" * 26, "edition", LETTER, Filled(to=address, message_id="<1@x.example.org>"))


class Box:
    """Takes every message and remembers it with its envelope."""

    def __init__(self) -> None:
        self.taken: list[tuple[str | None, list[str], bytes]] = []
        self.peers: set[Any] = set()
        self.secure: list[bool] = []

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        assert isinstance(envelope.original_content, bytes)
        self.taken.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        self.peers.add(session.peer)
        self.secure.append(session.ssl is not None)
        return "250 2.0.0 taken"


@contextmanager
def _serving(box: Box, **options: Any) -> Iterator[int]:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = int(free.server_address[1])
    controller = Controller(box, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody but we trusts; key and certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(pem))
    return file


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Scripted(socketserver.ThreadingTCPServer):
    """An SMTP server that answers by a script: verb → replies, None to hang up. `taken` counts what it accepted."""

    daemon_threads = True

    def __init__(self, script: dict[str, list[bytes | None]]) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.script = script
        self.taken = self.connections = self.quits = 0
        self.port = int(self.server_address[1])

    def reply(self, verb: str) -> bytes | None:
        """Give the next scripted reply to a verb, else the usual one."""
        planned = self.script.get(verb)
        return planned.pop(0) if planned else _USUAL.get(verb, b"250 ok")

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


_USUAL = {"GREETING": b"220 ready", "DATA": b"354 go on", "DOT": b"250 taken", "QUIT": b"221 bye"}


class _Conversation(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        self.server.connections += 1
        going_on = self._answer("GREETING")
        while going_on and (line := self.rfile.readline()):
            verb = line.split(None, 1)[0].upper().decode() if line.strip() else ""
            self.server.quits += verb == "QUIT"
            going_on = self._answer(verb) and verb != "QUIT"

    def _answer(self, verb: str) -> bool:
        """Say the reply; after a 354 read the message and say what comes after the dot."""
        reply = self.server.reply(verb)
        if reply is None:
            return False
        if verb == "DOT":
            self.server.taken += reply.startswith(b"250")
        self.wfile.write(reply + b"\r\n")
        return self._read_message() if reply.startswith(b"354") else True

    def _read_message(self) -> bool:
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
        return self._answer("DOT")


def _hand(server: Scripted, *addresses: str, **more: Any) -> Handed:
    transport = Smtp(Server("127.0.0.1", server.port, "off", **more))
    try:
        return transport.hand_all([_message(a) for a in addresses or ("ada@example.org",)])
    finally:
        transport.close()


def _results(handed: Handed) -> list[Result]:
    return [o.result for o in handed.outcomes]


ACCEPTED, REFUSED, LATER = Result.ACCEPTED, Result.REFUSED, Result.LATER
UNCERTAIN, UNTOUCHED = Result.UNCERTAIN, Result.UNTOUCHED


@pytest.mark.parametrize(
    ("script", "result", "reply"),
    [
        ({}, ACCEPTED, "250 taken"),
        ({"MAIL": [b"421 4.3.2 shutting down"]}, LATER, "421 4.3.2"),
        ({"MAIL": [b"452 4.3.1 full"]}, LATER, "452 4.3.1"),
        ({"RCPT": [b"450 4.7.1 greylisted <ada@example.org>"]}, LATER, "450 4.7.1 greylisted <address>"),
        ({"RCPT": [b"421 4.7.0 too fast"]}, LATER, "421 4.7.0"),
        ({"RCPT": [b"550 5.1.1 no ada at EXAMPLE.org"]}, REFUSED, "550 5.1.1 no <reader> at <domain>"),
        ({"RCPT": [b"251 will forward"]}, ACCEPTED, "250 taken"),
        ({"DATA": [b"554 5.7.1 not from you"]}, REFUSED, "554 5.7.1"),
        ({"DATA": [b"451 4.3.0 try again"]}, LATER, "451 4.3.0"),
        ({"DOT": [b"550 5.7.515 not authenticated"]}, REFUSED, "550 5.7.515"),
        ({"DOT": [b"452 4.2.2 mailbox full"]}, LATER, "452 4.2.2"),
        ({"DOT": [b"421 4.4.2 bye"]}, LATER, "421 4.4.2"),
        ({"DOT": [b"what"]}, UNCERTAIN, "no answer"),
        ({"DOT": [None]}, UNCERTAIN, "no answer"),
        ({"DATA": [None]}, LATER, "closed the connection before"),
        ({"RCPT": [None]}, LATER, "closed the connection before"),
        ({"MAIL": [b"nonsense"]}, LATER, "-1"),
    ],
)
def test_every_reply_has_its_meaning(
    script: dict[str, list[bytes | None]], result: Result, reply: str
) -> None:
    with Scripted(dict(script)) as server:
        handed = _hand(server)
    assert _results(handed) == [result]
    assert reply in handed.outcomes[0].reply
    assert not handed.stop
    assert server.taken == (result is ACCEPTED)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"MAIL": [b"550 5.1.8 who are you <digest@news.example.org>"]}, "refuses the sender: 550 5.1.8"),
        ({"RCPT": [b"530 5.7.0 authentication required"]}, "wants a sign-in"),
        ({"GREETING": [b"554 no service"]}, "no connection"),
        ({"GREETING": [None]}, "no connection"),
        ({"EHLO": [None]}, "no connection"),
    ],
)
def test_what_is_about_us_stops_the_run_and_touches_nobody(
    script: dict[str, list[bytes | None]], says: str
) -> None:
    with Scripted(dict(script)) as server:
        handed = _hand(server, "ada@example.org", "bo@example.org")
    assert _results(handed) == [UNTOUCHED, UNTOUCHED]
    assert says in handed.stop
    assert "@" not in handed.stop
    assert server.taken == 0


def test_one_connection_serves_many_messages_and_says_goodbye() -> None:
    with Scripted({"RCPT": [b"250 ok", b"550 5.1.1 unknown"]}) as server:
        handed = _hand(server, "ada@example.org", "bo@example.org", "cy@example.org")
    assert _results(handed) == [ACCEPTED, REFUSED, ACCEPTED]
    assert (server.connections, server.quits, server.taken) == (1, 1, 2)


def test_a_connection_is_changed_after_as_many_messages_as_set() -> None:
    with Scripted({}) as server:
        handed = _hand(server, *(f"r{n}@example.org" for n in range(5)), messages=2)
    assert _results(handed) == [ACCEPTED] * 5
    assert (server.connections, server.quits) == (3, 3)


def test_a_connection_that_was_closed_meanwhile_is_opened_anew() -> None:
    with Scripted({"MAIL": [b"250 ok", None]}) as server:
        handed = _hand(server, "ada@example.org", "bo@example.org")
    assert _results(handed) == [ACCEPTED, ACCEPTED]
    assert (server.connections, server.taken) == (2, 2)


def test_nobody_there_stops_the_run() -> None:
    with Scripted({}) as server:
        port = server.port
    handed = Smtp(Server("127.0.0.1", port, "off")).hand_all([_message()])
    assert _results(handed) == [UNTOUCHED]
    assert "Connection refused" in handed.stop


def test_lines_that_start_with_a_dot_arrive_as_they_were() -> None:
    box = Box()
    with _serving(box) as port:
        transport = Smtp(Server("127.0.0.1", port, "off"))
        assert _results(transport.hand_all([_message()])) == [ACCEPTED]
        transport.close()
    ((sender, to, content),) = box.taken
    assert (sender, to) == ("digest@news.example.org", ["ada@example.org"])
    assert content == _message().message()


def test_mail_goes_through_starttls_with_a_server_that_we_trust(certificate: Path) -> None:
    box = Box()
    with _serving(box, tls_context=_tls(certificate), require_starttls=True) as port:
        transport = Smtp(Server("127.0.0.1", port, "starttls", authorities=certificate))
        assert _results(transport.hand_all([_message()])) == [ACCEPTED]
        transport.close()
    assert box.secure == [True]


def test_mail_goes_through_implicit_tls(certificate: Path) -> None:
    box = Box()
    with _serving(box, ssl_context=_tls(certificate)) as port:
        transport = Smtp(Server("127.0.0.1", port, "implicit", authorities=certificate))
        assert _results(transport.hand_all([_message()])) == [ACCEPTED]
        transport.close()
    assert len(box.taken) == 1


def test_an_untrusted_certificate_and_a_server_without_tls_get_nothing(certificate: Path) -> None:
    box = Box()
    with _serving(box, tls_context=_tls(certificate)) as port:
        handed = Smtp(Server("127.0.0.1", port, "starttls")).hand_all([_message()])
    assert "no trusted TLS with 127.0.0.1: self-signed certificate" in handed.stop
    with _serving(box) as port:
        handed = Smtp(Server("127.0.0.1", port, "starttls")).hand_all([_message()])
    assert "Nothing is sent in the clear" in handed.stop
    assert not box.taken


def _authenticator(_server: Any, _session: Any, _envelope: Any, _mechanism: str, said: Any) -> AuthResult:
    assert isinstance(said, LoginPassword)
    return AuthResult(success=said.password == b"right", handled=False)


@pytest.mark.parametrize(("password", "accepted"), [("right", True), ("wrong", False)])
def test_a_refused_sign_in_stops_the_run(certificate: Path, password: str, accepted: bool) -> None:  # noqa: FBT001
    box = Box()
    options = {"tls_context": _tls(certificate), "authenticator": _authenticator, "auth_required": True}
    with _serving(box, **options) as port:
        server = Server("127.0.0.1", port, "starttls", "desk", password, authorities=certificate)
        transport = Smtp(server)
        handed = transport.hand_all([_message()])
        transport.close()
    assert _results(handed) == [ACCEPTED if accepted else UNTOUCHED]
    if not accepted:
        assert "refuses the sign-in: 535" in handed.stop
    assert password not in handed.stop + repr(server)


def _send(world: World, port: int, options: str = "") -> Report:
    url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off{options}")
    transport = open_transport(world.settings.model_copy(update={"mail_url": url}))
    try:
        return send(
            world.database,
            NAME,
            transport,
            world.keys,
            world.settings,
            now_fn=world.clock,
            sleep=world.clock.sleep,
        )
    finally:
        transport.close()


@pytest.mark.parametrize("connections", [1, 4])
def test_an_edition_goes_out_with_one_recipient_a_message(
    world: World, arrived: Callable[[bytes], EmailMessage], connections: int
) -> None:
    addresses = {f"reader{n}@example.org" for n in range(40)}
    world.readers(*sorted(addresses))
    box = Box()
    with _serving(box) as port:
        report = _send(world, port, f"&connections={connections}")
    assert (report.state, report.books[DeliveryState.ACCEPTED]) == (EditionState.SENT, 40)
    assert {to for _, (to,), _ in box.taken} == addresses
    assert len(box.taken) == 40
    assert len(box.peers) <= connections
    for sender, (to,), content in box.taken:
        assert sender == "digest@news.example.org"
        assert str(arrived(content)["To"]) == to
        assert content.count(b"@example.org") == 1


def test_faults_in_mid_send_keep_the_books_and_repeat_nothing(sqlite_world: World) -> None:
    world = sqlite_world
    world.readers(*(f"reader{n}@example.org" for n in range(12)))
    script: dict[str, list[bytes | None]] = {
        "RCPT": [b"250 ok", b"550 5.1.1 reader at example.org unknown", b"450 4.2.0 later", b"250 ok"],
        "DOT": [b"250 taken", None, b"250 taken", b"552 5.2.2 full"],
    }
    with Scripted(script) as server:
        report = _send(world, server.port)
        assert (report.books[DeliveryState.UNCERTAIN], report.books[DeliveryState.REFUSED]) == (1, 2)
        assert (report.books[DeliveryState.WAITING], report.state) == (1, EditionState.SENDING)
        assert report.next_at is not None
        world.clock.now = report.next_at
        report = _send(world, server.port)
    assert (report.state, report.books.balanced) == (EditionState.SENT, True)
    assert server.taken == report.books[DeliveryState.ACCEPTED] == 9
    with world.database.read() as session:
        replies = session.scalars(select(Delivery.reply)).all()
    assert not [r for r in replies if "@" in r or "example.org" in r]
