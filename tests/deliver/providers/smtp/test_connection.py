"""Envelopes sent in one write (RFC 2920), and their contents."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from digest.deliver.providers.smtp.connection import SmtpConnection, SmtpEnvelope, run_steps
from tests.deliver.smtp_servers import ACCEPTED, REFUSED, ScriptedSmtpServer, results_of, send_through


@pytest.mark.parametrize("data", [b"354 go on", b"503 5.5.1 nobody to send it to", b"554 no valid recipients"])
def test_a_refused_recipient_in_a_pipeline_disturbs_nobody_after(data: bytes) -> None:
    script = {"RCPT": [b"550 5.1.1 unknown"], "DATA": [data], "DOT": [b"554 nobody"] if data[:1] == b"3" else []}
    with ScriptedSmtpServer({verb: list[bytes | None](said) for verb, said in script.items()}, b"PIPELINING") as server:
        handed = send_through(server, "ada@example.org", "bo@example.org")
    assert [(o.result, o.reply[:9]) for o in handed.outcomes] == [(REFUSED, "550 5.1.1"), (ACCEPTED, "250 taken")]
    assert (server.connection_count, server.accepted_count, server.quit_count) == (1, 1, 1)


def test_a_server_that_hangs_up_on_a_refused_recipient_has_still_refused() -> None:
    with ScriptedSmtpServer({"RCPT": [b"550 5.1.1 unknown"], "DATA": [None]}, b"PIPELINING") as server:
        handed = send_through(server, "ada@example.org", "bo@example.org")
    assert results_of(handed) == [REFUSED, ACCEPTED]
    assert (server.connection_count, server.accepted_count) == (2, 1)


@contextmanager
def wired(*extensions: str) -> Iterator[tuple[SmtpConnection, socket.socket]]:
    """Lend an open connection to a server that offers extensions, and the server's end, which gets every write by itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        connection = SmtpConnection(local_hostname="here")
        connection.sock, connection.esmtp_features = ours, dict.fromkeys(extensions, "")
        yield connection, theirs


def _writes(server: socket.socket) -> list[bytes]:
    server.setblocking(False)
    written = []
    with suppress(BlockingIOError):
        while True:
            written.append(server.recv(10_000))
    return written


@pytest.mark.parametrize(("offers", "writes"), [("pipelining", 1), ("size", 3)])
def test_an_envelope_goes_out_in_one_write_where_it_may(offers: str, writes: int) -> None:
    with wired(offers) as (connection, server):
        server.send(b"250 ok\r\n250 ok\r\n354 go on\r\n")
        assert run_steps(connection.offer_envelope(SmtpEnvelope("d@example.org", "a@example.org", "x"))).is_expected
        written = _writes(server)
    assert len(written) == writes
    assert b"".join(written) == b"MAIL FROM:<d@example.org>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"


@pytest.mark.parametrize("offers", ["pipelining", "size"])
@pytest.mark.parametrize(
    ("replies", "meaning"),
    [
        (b"250 ok\r\n251 will forward\r\n354 go on\r\n", ("DATA", 354, b"go on")),
        (b"250 \r\n250 \r\n354 \r\n", ("DATA", 354, b"")),
        (b"250-one\r\n250 two\r\n250 ok\r\n354 go on\r\n", ("DATA", 354, b"go on")),
        (b"250 ok\n250 ok\n354 go on\n", ("DATA", 354, b"go on")),
        (b"250\r\n250\r\n354\r\n", ("DATA", 354, b"")),
        (b"250 ok\r\n550 5.1.1 unknown\r\n554 nobody\r\n", ("RCPT", 550, b"5.1.1 unknown")),
        (b"250 ok\r\n250 ok\r\n451 4.3.0 later\r\n", ("DATA", 451, b"4.3.0 later")),
        (b"252 maybe\r\n250 ok\r\n354 go on\r\n", ("MAIL", 252, b"maybe")),
    ],
)
def test_replies_that_arrive_together_mean_what_they_mean_singly(
    offers: str, replies: bytes, meaning: tuple[str, int, bytes]
) -> None:
    with wired(offers) as (connection, server):
        server.send(replies)
        reply = run_steps(connection.offer_envelope(SmtpEnvelope("d@example.org", "a@example.org", "x")))
    assert (reply.command, reply.code, reply.text) == meaning


def test_delivery_reports_are_asked_for_by_id_where_the_server_can_give_them() -> None:
    with ScriptedSmtpServer({}, b"DSN") as server:
        send_through(server)
    assert b"MAIL FROM:<digest@news.example.org> RET=HDRS ENVID=" + b"d" * 26 + b"\r\n" in server.received_lines
    assert b"RCPT TO:<ada@example.org> NOTIFY=FAILURE\r\n" in server.received_lines


@pytest.mark.parametrize(
    "address", ["a@x>\r\nRCPT TO:<b@x", "a b@example.org", "a@example.org>", "nobody", "a\u00e9@x"]
)
def test_an_address_that_would_be_another_command_is_never_said(address: str) -> None:
    with ScriptedSmtpServer({}) as server:
        handed = send_through(server, address, "bo@example.org")
    assert results_of(handed) == [REFUSED, ACCEPTED]
    assert [line for line in server.received_lines if line.startswith(b"RCPT")] == [b"RCPT TO:<bo@example.org>\r\n"]
