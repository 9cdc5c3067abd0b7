"""SMTP with real servers on loopback: aiosmtpd for correct behavior, a scripted one for faults."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr
from sqlalchemy import select

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.smtp import session as smtp_session
from digest.deliver.providers.smtp.connection import SmtpServer, SmtpTimeouts
from digest.deliver.providers.smtp.provider import SmtpProvider
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.edition.content.slotted_text import SlottedText
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup, write_certificate
from tests.deliver.mark_recorder import MarkRecorder
from tests.deliver.smtp_servers import (
    ACCEPTED,
    LATER,
    REFUSED,
    SAMPLE_TEMPLATE,
    UNCERTAIN,
    UNTOUCHED,
    DrippingReply,
    RecordingHandler,
    ScriptedSmtpServer,
    outgoing_message,
    results_of,
    run_smtp_server,
    send_through,
    server_tls_context,
)


@pytest.mark.parametrize(
    ("script", "result", "reply"),
    [
        ({}, ACCEPTED, "250 taken"),
        ({"MAIL": [b"421 4.3.2 shutting down"]}, UNTOUCHED, "421 4.3.2"),
        ({"MAIL": [b"452 4.3.1 full"]}, UNTOUCHED, "452 4.3.1"),
        ({"RCPT": [b"450 4.7.1 greylisted <ada@example.org>"]}, LATER, "450 4.7.1 greylisted <address>"),
        ({"RCPT": [b"421 4.7.0 too fast"]}, LATER, "421 4.7.0"),
        ({"RCPT": [b"550 5.1.1 no ada at EXAMPLE.org"]}, REFUSED, "550 5.1.1 no <reader> at <domain>"),
        ({"RCPT": [b"251 will forward"]}, ACCEPTED, "250 taken"),
        ({"DATA": [b"554 5.7.1 not from you"]}, REFUSED, "554 5.7.1"),
        ({"DATA": [b"451 4.3.0 try again"]}, LATER, "451 4.3.0"),
        ({"DOT": [b"550 5.7.515 not authenticated"]}, REFUSED, "550 5.7.515"),
        ({"DOT": [b"452 4.2.2 mailbox full"]}, LATER, "452 4.2.2"),
        ({"DOT": [b"421 4.4.2 bye"]}, LATER, "421 4.4.2"),
        ({"DOT": [b"what"]}, UNCERTAIN, "no response"),
        ({"DOT": [None]}, UNCERTAIN, "no response"),
        ({"DATA": [None]}, LATER, "closed the connection before"),
        ({"RCPT": [None]}, LATER, "closed the connection before"),
        ({"MAIL": [b"nonsense"]}, LATER, "-1"),
    ],
)
@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_every_reply_has_its_meaning(
    script: dict[str, list[bytes | None]], result: HandoverStatus, reply: str, offers: bytes
) -> None:
    with ScriptedSmtpServer({verb: list(replies) for verb, replies in script.items()}, offers) as server:
        handed = send_through(server)
    assert results_of(handed) == [result]
    assert reply in handed.outcomes[0].reply
    assert not handed.stop_reason
    assert handed.is_busy == (result is UNTOUCHED)
    assert server.accepted_count == (result is ACCEPTED)


def quick_timeouts(verb: str) -> SmtpTimeouts:
    """Give the reply to a verb little time, and all that is answered before it as much as it needs on a busy machine."""
    if verb in {"GREETING", "EHLO"}:
        return SmtpTimeouts(connect=0.3)
    return SmtpTimeouts(final=0.3) if verb == "DOT" else SmtpTimeouts(command=1.5)


@pytest.mark.parametrize(
    ("verb", "reply", "offers", "result"),
    [
        ("GREETING", b"220-", b"", UNTOUCHED),
        ("EHLO", b"250-here\r\n", b"", UNTOUCHED),
        ("MAIL", b"250 o", b"PIPELINING", LATER),
        ("RCPT", b"250-first\r\n250-second\r\n250", b"", LATER),
        ("RCPT", b"250-first\r\n250-second\r\n250", b"PIPELINING", LATER),
        ("DATA", b"3", b"PIPELINING", LATER),
        ("DOT", b"250 tak", b"", UNCERTAIN),
    ],
)
def test_an_answer_that_drips_is_given_up_when_its_time_is_over(
    verb: str, reply: bytes, offers: bytes, result: HandoverStatus
) -> None:
    with ScriptedSmtpServer({verb: [DrippingReply(reply)]}, offers) as server:
        handed = send_through(server, timeouts=quick_timeouts(verb))
    assert results_of(handed) == [result]
    assert bool(handed.stop_reason) == (result is UNTOUCHED)
    assert server.accepted_count == (result is UNCERTAIN), "who has the whole message may have taken it"


@pytest.mark.parametrize("how", ["hangs_up_in_message", "reads_slowly"])
def test_a_message_that_breaks_off_before_its_final_dot_is_tried_again(how: str) -> None:
    """More than fits into what is under way: else nobody knows which part arrived, and it is in doubt."""
    letter = replace(SAMPLE_TEMPLATE, text=SlottedText("word word word word word word word word word word\n" * 200_000))
    large = replace(outgoing_message(), template=letter)
    with ScriptedSmtpServer({}).shrink_receive_buffer() as server:
        setattr(server, how, True)
        provider = SmtpProvider(SmtpServer("127.0.0.1", server.port, "off", timeouts=quick_timeouts("DATA")))
        assert results_of(provider.send_batch([large], MarkRecorder())) == [LATER]
        setattr(server, how, False)
        assert results_of(provider.send_batch([outgoing_message()], MarkRecorder())) == [ACCEPTED]
        provider.close()
    assert server.accepted_count == 1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"MAIL": [b"550 5.1.8 who are you <digest@news.example.org>"]}, "rejected the sender: 550 5.1.8"),
        ({"RCPT": [b"530 5.7.0 authentication required"]}, "requires a sign-in"),
        ({"GREETING": [b"554 no service"]}, "couldn't connect"),
        ({"GREETING": [None]}, "couldn't connect"),
        ({"EHLO": [None]}, "couldn't connect"),
    ],
)
@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_what_is_about_us_stops_the_run_and_touches_nobody(
    script: dict[str, list[bytes | None]], says: str, offers: bytes
) -> None:
    with ScriptedSmtpServer({verb: list(replies) for verb, replies in script.items()}, offers) as server:
        handed = send_through(server, "ada@example.org", "bo@example.org")
    assert results_of(handed) == [UNTOUCHED, UNTOUCHED]
    assert says in handed.stop_reason
    # The shape of DIGEST_MAIL_URL, which says what to correct, is nobody's address.
    assert "@" not in handed.stop_reason.replace("smtp://USER:PASSWORD@", "")
    assert server.accepted_count == 0


def test_one_connection_serves_many_messages_and_says_goodbye() -> None:
    with ScriptedSmtpServer({"RCPT": [b"250 ok", b"550 5.1.1 unknown"]}) as server:
        handed = send_through(server, "ada@example.org", "bo@example.org", "cy@example.org")
    assert results_of(handed) == [ACCEPTED, REFUSED, ACCEPTED]
    assert (server.connection_count, server.quit_count, server.accepted_count) == (1, 1, 2)


def test_a_connection_is_changed_after_as_many_messages_as_set() -> None:
    with ScriptedSmtpServer({}) as server:
        handed = send_through(server, *(f"r{n}@example.org" for n in range(5)), messages_per_connection=2)
    assert results_of(handed) == [ACCEPTED] * 5
    assert (server.connection_count, server.quit_count) == (3, 3)


def test_a_connection_that_was_closed_meanwhile_is_opened_anew() -> None:
    with ScriptedSmtpServer({"MAIL": [b"250 ok", None]}) as server:
        handed = send_through(server, "ada@example.org", "bo@example.org")
    assert results_of(handed) == [ACCEPTED, ACCEPTED]
    assert (server.connection_count, server.accepted_count) == (2, 2)


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_a_server_that_ends_connections_after_two_messages_gets_two_on_each(offers: bytes) -> None:
    """Exim says 421 in reply to the next MAIL; the message is offered again at once, and the limit is learned."""
    with ScriptedSmtpServer({}, offers) as server:
        server.messages_per_connection = 2
        handed = send_through(server, *(f"r{n}@example.org" for n in range(9)))
    assert results_of(handed) == [ACCEPTED] * 9
    assert (server.accepted_count, server.connection_count, server.quit_count) == (9, 5, 4)


def test_a_421_to_the_recipient_on_a_fresh_connection_slows_the_domain() -> None:
    with ScriptedSmtpServer({"RCPT": [b"421 4.7.0 too fast"]}) as server:
        (outcome,) = send_through(server).outcomes
    assert outcome.slows_domain


def test_a_sign_in_that_fails_for_now_costs_this_connection_only(certificate: Path) -> None:
    with ScriptedSmtpServer({"AUTH": [b"454 4.7.0 temporary failure"] * 9}, b"AUTH PLAIN") as server:
        handed = send_through(server, user="desk", password="secret")
    assert (handed.is_busy, results_of(handed)) == (True, [UNTOUCHED])
    assert "rejected the sign-in: 454" in handed.stop_reason


@pytest.mark.parametrize(
    ("extensions", "cause"),
    [
        (b"", "doesn't offer sign-in on this connection. In DIGEST_MAIL_URL"),
        (b"AUTH XOAUTH2", "offers no way to sign in with a user and password (CRAM-MD5, PLAIN, or LOGIN). Ask"),
    ],
)
def test_a_server_that_offers_no_sign_in_is_named_as_such(extensions: bytes, cause: str) -> None:
    with ScriptedSmtpServer({}, extensions) as server:
        handed = send_through(server, user="desk", password="secret")
    assert results_of(handed) == [UNTOUCHED]
    assert cause in handed.stop_reason


def test_a_server_without_tls_from_the_start_is_named_as_such() -> None:
    with ScriptedSmtpServer({}) as server:
        provider = SmtpProvider(SmtpServer("127.0.0.1", server.port, "implicit"))
        handed = provider.send_batch([outgoing_message()], MarkRecorder())
    assert "doesn't use TLS from the start. In DIGEST_MAIL_URL (digest.env), use smtp://" in handed.stop_reason
    assert "unencrypted" not in handed.stop_reason


def test_nobody_there_stops_the_run() -> None:
    with ScriptedSmtpServer({}) as server:
        port = server.port
    handed = SmtpProvider(SmtpServer("127.0.0.1", port, "off")).send_batch([outgoing_message()], MarkRecorder())
    assert results_of(handed) == [UNTOUCHED]
    assert "Connection refused" in handed.stop_reason


class _MeetingSigner(DkimSigner):
    """Signs a message only while another thread signs one, too."""

    meeting = Barrier(2, timeout=5)  # seconds

    def sign_message(self, message: bytes) -> bytes:
        self.meeting.wait()
        to: bytes = re.findall(rb"^To: (\S+)", message, re.MULTILINE)[0]
        return b"DKIM-Signature: of " + to + b"\r\n"


def test_messages_are_signed_beside_one_another_and_each_gets_its_own_signature() -> None:
    box, addresses = RecordingHandler(), [f"r{n}@example.org" for n in range(6)]
    with run_smtp_server(box) as port:
        provider = SmtpProvider(SmtpServer("127.0.0.1", port, "off"), _MeetingSigner("example.org", ()))
        batch = provider.send_batch([outgoing_message(address) for address in addresses], MarkRecorder())
        provider.close()
    assert results_of(batch) == [ACCEPTED] * 6
    signed = {to: content.partition(b"\r\n")[0] for _, (to,), content in box.messages}
    assert signed == {address: b"DKIM-Signature: of " + address.encode() for address in addresses}


def test_a_message_that_is_given_back_is_not_kept_with_its_signature() -> None:
    """They'd pile up for as long as a send lasts."""
    with ScriptedSmtpServer({"GREETING": [b"421 not now"]}) as server:
        provider = SmtpProvider(SmtpServer("127.0.0.1", server.port, "off"), _MeetingSigner("example.org", ()))
        batch = provider.send_batch([outgoing_message() for _ in range(6)], MarkRecorder())
        provider.close()
    assert results_of(batch) == [UNTOUCHED] * 6
    assert not provider._signing._begun


def test_lines_that_start_with_a_dot_arrive_as_they_were() -> None:
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        provider = SmtpProvider(SmtpServer("127.0.0.1", port, "off"))
        assert results_of(provider.send_batch([outgoing_message()], MarkRecorder())) == [ACCEPTED]
        provider.close()
    ((sender, to, content),) = box.messages
    assert (sender, to) == ("digest@news.example.org", ["ada@example.org"])
    assert content == outgoing_message().to_bytes()


def test_mail_goes_through_starttls_with_a_server_that_we_trust(certificate: Path) -> None:
    box = RecordingHandler()
    with run_smtp_server(box, tls_context=server_tls_context(certificate), require_starttls=True) as port:
        provider = SmtpProvider(SmtpServer("127.0.0.1", port, "starttls", ca_file=certificate))
        assert results_of(provider.send_batch([outgoing_message()], MarkRecorder())) == [ACCEPTED]
        provider.close()
    assert box.tls_flags == [True]


def test_mail_goes_through_implicit_tls(certificate: Path) -> None:
    box = RecordingHandler()
    with run_smtp_server(box, ssl_context=server_tls_context(certificate)) as port:
        provider = SmtpProvider(SmtpServer("127.0.0.1", port, "implicit", ca_file=certificate))
        assert results_of(provider.send_batch([outgoing_message()], MarkRecorder())) == [ACCEPTED]
        provider.close()
    assert len(box.messages) == 1


def test_an_untrusted_certificate_and_a_server_without_tls_get_nothing(certificate: Path) -> None:
    box = RecordingHandler()
    with run_smtp_server(box, tls_context=server_tls_context(certificate)) as port:
        handed = SmtpProvider(SmtpServer("127.0.0.1", port, "starttls")).send_batch(
            [outgoing_message()], MarkRecorder()
        )
    assert "couldn't establish a trusted TLS connection to 127.0.0.1: self-signed certificate" in handed.stop_reason
    assert "If you have your own certificate authority, add ca=FILE" in handed.stop_reason
    with run_smtp_server(box) as port:
        handed = SmtpProvider(SmtpServer("127.0.0.1", port, "starttls")).send_batch(
            [outgoing_message()], MarkRecorder()
        )
    assert "doesn't offer encryption (STARTTLS). In DIGEST_MAIL_URL" in handed.stop_reason
    assert "or add ?starttls=off for a server on this machine" in handed.stop_reason
    assert not box.messages


@pytest.mark.parametrize(
    ("host", "valid_for", "cause", "remedy"),
    [
        ("localhost", timedelta(days=1), "Hostname mismatch", "use the name in the server's certificate"),
        ("127.0.0.1", timedelta(hours=-1), "certificate has expired", "Renew the server's certificate"),
    ],
)
def test_each_fault_of_a_certificate_has_its_own_remedy(
    host: str, valid_for: timedelta, cause: str, remedy: str, tmp_path: Path
) -> None:
    certificate, box = write_certificate(tmp_path / "both.pem", valid_for=valid_for), RecordingHandler()
    with run_smtp_server(box, tls_context=server_tls_context(certificate)) as port:
        provider = SmtpProvider(SmtpServer(host, port, "starttls", ca_file=certificate))
        handed = provider.send_batch([outgoing_message()], MarkRecorder())
    assert cause in handed.stop_reason
    assert remedy in handed.stop_reason
    assert not box.messages


def test_a_server_that_says_nothing_on_port_465_wants_tls_from_the_start(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = RecordingHandler()
    with run_smtp_server(box, ssl_context=server_tls_context(certificate)) as port:
        monkeypatch.setattr(smtp_session, "TLS_PORT", port)  # only root may listen on 465
        provider = SmtpProvider(SmtpServer("127.0.0.1", port, "starttls", timeouts=quick_timeouts("GREETING")))
        handed = provider.send_batch([outgoing_message()], MarkRecorder())
    assert "Use smtps:// in DIGEST_MAIL_URL (digest.env), because servers expect TLS" in handed.stop_reason
    assert not box.messages


def _authenticator(_server: Any, _session: Any, _envelope: Any, _mechanism: str, said: Any) -> AuthResult:
    assert isinstance(said, LoginPassword)
    return AuthResult(success=said.password == b"right", handled=False)


@pytest.mark.parametrize(("password", "accepted"), [("right", True), ("wrong", False)])
def test_a_refused_sign_in_stops_the_run(certificate: Path, password: str, accepted: bool) -> None:  # noqa: FBT001
    box = RecordingHandler()
    options = {"tls_context": server_tls_context(certificate), "authenticator": _authenticator, "auth_required": True}
    with run_smtp_server(box, **options) as port:
        server = SmtpServer("127.0.0.1", port, "starttls", "desk", password, ca_file=certificate)
        provider = SmtpProvider(server)
        handed = provider.send_batch([outgoing_message()], MarkRecorder())
        provider.close()
    assert results_of(handed) == [ACCEPTED if accepted else UNTOUCHED]
    if not accepted:
        assert "rejected the sign-in: 535" in handed.stop_reason
    assert password not in handed.stop_reason + repr(server)


def _send(world: DeliverySetup, port: int, options: str = "") -> SendReport:
    url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off{options}")
    provider = open_provider(world.settings.model_copy(update={"mail_url": url}))
    try:
        return run_edition(
            world.database,
            EDITION_NAME,
            provider,
            world.keys,
            world.settings,
            clock=world.clock,
            sleep=world.clock.sleep,
        )
    finally:
        provider.close()


@pytest.mark.takes_turns
@pytest.mark.parametrize("connections", [1, 4])
def test_an_edition_goes_out_with_one_recipient_amessage(
    world: DeliverySetup, arrived: Callable[[bytes], EmailMessage], connections: int
) -> None:
    addresses = {f"reader{n}@example.org" for n in range(40)}
    world.add_subscribers(*sorted(addresses))
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        report = _send(world, port, f"&connections={connections}")
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, 40)
    assert {to for _, (to,), _ in box.messages} == addresses
    assert len(box.messages) == 40
    assert len(box.peers) <= connections
    for sender, (to,), content in box.messages:
        assert sender == "digest@news.example.org"
        assert str(arrived(content)["To"]) == to
        assert content.count(b"@example.org") == 1


def test_faults_in_mid_send_keep_the_counts_and_repeat_nothing(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers(*(f"reader{n}@example.org" for n in range(12)))
    script: dict[str, list[bytes | None]] = {
        "RCPT": [b"250 ok", b"550 5.1.1 reader at example.org unknown", b"450 4.2.0 later", b"250 ok"],
        "DOT": [b"250 taken", None, b"250 taken", b"552 5.2.2 full"],
    }
    with ScriptedSmtpServer(script) as server:
        report = _send(world, server.port)
        assert (report.delivery_counts[DeliveryState.UNCERTAIN], report.delivery_counts[DeliveryState.REFUSED]) == (
            1,
            2,
        )
        assert (report.delivery_counts[DeliveryState.WAITING], report.state) == (1, EditionState.SENDING)
        assert report.next_due_at is not None
        world.clock.now = report.next_due_at
        report = _send(world, server.port)
    assert (report.state, report.delivery_counts.is_balanced) == (EditionState.SENT, True)
    assert server.accepted_count == report.delivery_counts[DeliveryState.ACCEPTED] == 9
    with world.database.read() as session:
        replies = session.scalars(select(Delivery.reply)).all()
    assert not [r for r in replies if "@" in r or "example.org" in r]
