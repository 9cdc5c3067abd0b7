"""Envelopes in one write (RFC 2920), and what is said in them."""

import pytest

from digest.deliver.providers.smtp.connection import SmtpConnection, SmtpEnvelope
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


def test_an_envelope_goes_out_in_one_write_where_it_may() -> None:
    for offers, writes in ((b"PIPELINING", 1), (b"SIZE 0", 3)):
        wire = Recording()
        wire.offered = {offers.decode().split()[0].lower(): ""}
        wire.offer_envelope(SmtpEnvelope("d@example.org", "a@example.org", "x"))
        assert wire.read_envelope_reply().is_expected
        assert len(wire.written) == writes
        assert b"".join(wire.written) == b"MAIL FROM:<d@example.org>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"


class Recording(SmtpConnection):
    """A connection without a server: it remembers what is written and hears what is usual."""

    def __init__(self) -> None:
        super().__init__(local_hostname="here")
        self.offered: dict[str, str] = {}
        self.written: list[bytes] = []
        self.heard = [(250, b"ok"), (250, b"ok"), (354, b"go on")]

    def has_extn(self, opt: str) -> bool:
        return opt in self.offered

    def send(self, s: bytes | str) -> None:  # type: ignore[override]
        assert isinstance(s, bytes)
        self.written.append(s)

    def getreply(self) -> tuple[int, bytes]:
        return self.heard.pop(0)


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
