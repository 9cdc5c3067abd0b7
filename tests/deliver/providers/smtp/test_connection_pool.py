"""Connections driven by one thread: each message has its own result, and each connection its own pace."""

import os
import threading
from collections import Counter

import pytest

from digest.deliver.providers.base import BatchOutcome, FinishedMessages, HandoverStatus
from digest.deliver.providers.smtp.connection import SmtpServer
from digest.deliver.providers.smtp.provider import (
    FIRST_REST,
    MAX_AHEAD_SECONDS,
    MAX_REST,
    ConnectionLimit,
    SmtpProvider,
    choose_messages_ahead,
)
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.mark_recorder import MarkRecorder
from tests.deliver.smtp_servers import (
    ACCEPTED,
    LATER,
    REFUSED,
    UNCERTAIN,
    UNTOUCHED,
    DrippingReply,
    GatheredReply,
    HeldReply,
    ScriptedSmtpServer,
    outgoing_message,
)

ADDRESSES = tuple(f"reader{n}@example.org" for n in range(9))


class SetClock:
    """Goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _connections(server: ScriptedSmtpServer, connections: int = 3, clock: SetClock | None = None) -> SmtpProvider:
    return SmtpProvider(SmtpServer("127.0.0.1", server.port, "off"), connections=connections, clock=clock or SetClock())


def _send(provider: SmtpProvider, messages: int = 9) -> BatchOutcome:
    return provider.send_batch([outgoing_message(a) for a in ADDRESSES[:messages]], MarkRecorder())


def _hand(server: ScriptedSmtpServer, connections: int = 3, messages: int = 9) -> BatchOutcome:
    provider = _connections(server, connections)
    try:
        return _send(provider, messages)
    finally:
        provider.close()


def _count(handed: BatchOutcome) -> Counter[HandoverStatus]:
    return Counter(o.result for o in handed.outcomes)


def _addresses(finished: FinishedMessages) -> set[str]:
    return {message.address for message in finished.messages}


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_every_connection_carries_one_message_at_a_time(offers: bytes) -> None:
    together = threading.Barrier(3, timeout=WAIT_TIMEOUT)
    with ScriptedSmtpServer({"DOT": [GatheredReply(b"250 taken", together) for _ in range(3)]}, offers) as server:
        handed = _hand(server)
    assert _count(handed) == {ACCEPTED: 9}
    assert (server.connection_count, server.accepted_count, server.quit_count) == (3, 9, 3)


def test_connections_are_opened_at_the_same_time() -> None:
    """A greeting after two seconds delays the first message by two seconds, however many connections there are."""
    together = threading.Barrier(9, timeout=WAIT_TIMEOUT)
    with ScriptedSmtpServer({"GREETING": [GatheredReply(b"220 ready", together) for _ in range(9)]}) as server:
        handed = _hand(server, connections=9)
    assert _count(handed) == {ACCEPTED: 9}


@pytest.mark.parametrize("verb", ["GREETING", "MAIL", "DATA", "DOT"])
@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_a_slow_reply_holds_up_no_other_connection(verb: str, offers: bytes) -> None:
    """All others arrive while one is waited for, and are reported."""
    usual = {"GREETING": b"220 ready", "MAIL": b"250 ok", "DATA": b"354 go on", "DOT": b"250 taken"}
    held = HeldReply(usual[verb])
    with ScriptedSmtpServer({verb: [usual[verb], held]}, offers) as server:
        provider = _connections(server, connections=2)
        provider.offer([outgoing_message(a) for a in ADDRESSES], MarkRecorder())
        arrived = set[str]()
        while len(arrived) < len(ADDRESSES) - 1:
            arrived |= _addresses(provider.await_outcomes())
        assert not held.may_come.is_set()
        assert server.accepted_count == 8
        held.may_come.set()
        assert arrived | _addresses(provider.await_outcomes()) == set(ADDRESSES)
        provider.close()


def test_a_few_slow_recipients_leave_the_other_connections_to_all_others() -> None:
    held = [HeldReply(b"250 taken") for _ in range(3)]
    with ScriptedSmtpServer({"DOT": [*held, *([b"250 taken"] * 6)]}, b"PIPELINING") as server:
        provider = _connections(server, connections=4)
        provider.offer([outgoing_message(a) for a in ADDRESSES], MarkRecorder())
        arrived = set[str]()
        while len(arrived) < len(ADDRESSES) - len(held):
            arrived |= _addresses(provider.await_outcomes())
        assert server.connection_count == 4
        for reply in held:
            reply.may_come.set()
        while len(arrived) < len(ADDRESSES):
            arrived |= _addresses(provider.await_outcomes())
        provider.close()
    assert server.accepted_count == 9


def test_a_reply_that_drips_holds_up_no_other_connection() -> None:
    with ScriptedSmtpServer({"RCPT": [DrippingReply(b"250-first\r\n250")]}, b"PIPELINING") as server:
        provider = _connections(server, connections=2)
        provider.offer([outgoing_message(a) for a in ADDRESSES], MarkRecorder())
        arrived = set[str]()
        while len(arrived) < len(ADDRESSES) - 1:
            arrived |= _addresses(provider.await_outcomes())
        provider.close()
    assert server.accepted_count == 8


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_each_message_has_a_fate_of_its_own(offers: bytes) -> None:
    script: dict[str, list[bytes | None]] = {
        "RCPT": [b"550 5.1.1 unknown", b"450 4.2.0 later"],
        "DOT": [*([b"250 taken"] * 4), None],
    }
    with ScriptedSmtpServer(script, offers) as server:
        handed = _hand(server)
    assert _count(handed) == {ACCEPTED: 6, REFUSED: 1, LATER: 1, UNCERTAIN: 1}
    assert server.accepted_count == 6


def test_outcomes_stand_in_the_order_of_the_messages() -> None:
    with ScriptedSmtpServer({}, b"PIPELINING") as server:
        provider = _connections(server)
        handed = provider.send_batch(
            [outgoing_message(a) for a in ("a@example.org", "no address", "c@example.org")], MarkRecorder()
        )
        provider.close()
    assert [o.result for o in handed.outcomes] == [ACCEPTED, REFUSED, ACCEPTED]


def test_a_refused_connection_rests_and_its_message_waits() -> None:
    with ScriptedSmtpServer({}) as server:
        server.max_connections = 2
        provider = _connections(server)
        handed = _send(provider)
        assert (provider.connection_count, handed.stop_reason) == (2, "")
        assert _count(handed) == {ACCEPTED: 8, UNTOUCHED: 1}
        assert (server.accepted_count, server.refused_count) == (8, 1)
        assert _count(_send(provider)) == {ACCEPTED: 9}, "it still rests"
        assert server.refused_count == 1
        provider.close()


def test_refused_connections_come_back_once_the_server_takes_them() -> None:
    clock = SetClock()
    with ScriptedSmtpServer({}) as server:
        server.max_connections = 2
        provider = _connections(server, 6, clock)
        _send(provider)
        assert (provider.connection_count, server.most_open) == (2, 2)
        clock.now += FIRST_REST
        assert _count(_send(provider)) == {ACCEPTED: 8, UNTOUCHED: 1}
        assert provider.connection_count == 2, "one more was tried, and refused"
        server.max_connections = None
        clock.now += 2 * FIRST_REST
        for more in range(3, 7):
            together = threading.Barrier(more, timeout=WAIT_TIMEOUT)
            server.script["DOT"] = [GatheredReply(b"250 taken", together) for _ in range(more)]
            assert _count(_send(provider, more)) == {ACCEPTED: more}
            assert server.open_count == more
        assert provider.connection_count == 6
        provider.close()


def test_a_connection_that_is_replaced_needs_no_rest() -> None:
    with ScriptedSmtpServer({}) as server:
        server.max_connections = 2
        server.messages_per_connection = 2
        provider = _connections(server)
        assert _count(_send(provider)) == {ACCEPTED: 8, UNTOUCHED: 1}
        assert server.connection_count > 4
        provider.close()


def test_rests_double_up_to_a_minute_and_begin_anew_once_all_connections_are_back() -> None:
    clock = SetClock()
    limit = ConnectionLimit(4, clock)
    assert [limit.note_refusal(others) for others in (3, 2)] == [1.0, 1.0], "the others were under way already"
    assert (limit.taken, limit.allowed) == (2, 2)
    rests = []
    for _ in range(8):
        clock.now += 60
        assert limit.allowed == 3
        rests.append(limit.note_refusal(2))
    assert rests == [2, 4, 8, 16, 32, MAX_REST, MAX_REST, MAX_REST]
    clock.now += 60
    for count, allowed in ((2, 3), (3, 4), (4, 4)):
        limit.note_open(count)
        assert limit.allowed == allowed
    assert limit.note_refusal(3) == FIRST_REST


def test_a_server_that_takes_no_connection_any_more_is_asked_with_one_at_a_time() -> None:
    clock = SetClock()
    limit = ConnectionLimit(4, clock)
    for others in (3, 2, 1, 0):
        limit.note_refusal(others)
    assert limit.is_exhausted
    assert limit.allowed == 1
    limit.note_open(1)
    assert not limit.is_exhausted


def test_a_server_that_takes_no_connection_at_all_stops_everything() -> None:
    with ScriptedSmtpServer({"GREETING": [b"421 not now"] * 3}) as server:
        handed = _hand(server)
    assert _count(handed) == {UNTOUCHED: 9}
    assert handed.is_busy
    assert "couldn't connect" in handed.stop_reason


def test_what_is_about_us_stops_everything_and_repeats_nobody() -> None:
    with ScriptedSmtpServer({"MAIL": [b"250 ok", b"550 5.1.8 who are you"]}) as server:
        handed = _hand(server)
    assert "rejected the sender" in handed.stop_reason
    assert not handed.is_busy
    outcomes = _count(handed)
    assert outcomes.total() == 9
    assert outcomes.keys() == {ACCEPTED, UNTOUCHED}
    assert outcomes[ACCEPTED] == server.accepted_count <= 3, "one for each connection, if it came before the refusal"


def test_a_connection_that_was_closed_meanwhile_is_opened_anew() -> None:
    script: dict[str, list[bytes | None]] = {"MAIL": [b"250 ok", b"250 ok", b"250 ok", None]}
    with ScriptedSmtpServer(script, b"PIPELINING") as server:
        handed = _hand(server)
    assert _count(handed) == {ACCEPTED: 9}
    assert (server.connection_count, server.accepted_count) == (4, 9)


@pytest.mark.parametrize(
    ("connections", "seconds", "ahead"),
    [(8, 0.0, 32), (8, 0.001, 32), (8, 0.01, 10), (8, 0.2, 0), (30, 0.001, 20), (50, 0.001, 0), (80, 0.001, 0)],
)
def test_as_many_messages_wait_for_a_connection_as_go_within_a_moment(
    connections: int, seconds: float, ahead: int
) -> None:
    assert choose_messages_ahead(connections, seconds) == ahead


def test_what_waited_too_long_for_a_connection_is_not_tried() -> None:
    """Consent was asked before it began to wait."""
    clock, held = SetClock(), HeldReply(b"250 taken")
    with ScriptedSmtpServer({"DOT": [b"250 taken", held]}) as server:
        provider = _connections(server, 1, clock)
        assert _count(_send(provider, 1)) == {ACCEPTED: 1}
        assert provider.batch_size > 3
        provider.offer([outgoing_message(a) for a in ADDRESSES[:3]], MarkRecorder())
        wake = os.eventfd(1)
        provider.await_outcomes(wake)  # the first one has begun
        os.close(wake)
        clock.now += 2 * MAX_AHEAD_SECONDS
        held.may_come.set()
        finished = provider.await_outcomes()
        assert (_count(finished.batch), len(finished.returned)) == ({ACCEPTED: 1}, 2)
        provider.close()
    assert server.accepted_count == 2


def test_a_connection_that_lost_an_answer_waits_until_another_brings_one() -> None:
    with ScriptedSmtpServer({"DOT": [None] * 3}) as server:
        provider, marks, wake = _connections(server), MarkRecorder(), os.eventfd(0)
        provider.offer([outgoing_message(a) for a in ADDRESSES], marks)
        finished = provider.await_outcomes(wake)
        assert (_count(finished.batch), len(finished.returned)) == ({UNCERTAIN: 3}, 6)
        assert finished.batch.is_busy
        provider.offer([outgoing_message("ada@example.org")], marks)
        assert _count(provider.await_outcomes(wake).batch) == {ACCEPTED: 1}
        assert server.connection_count == 4
        provider.close()
        os.close(wake)


def test_a_wait_for_outcomes_ends_when_there_is_something_else_to_do() -> None:
    held = HeldReply(b"250 taken")
    with ScriptedSmtpServer({"DOT": [held]}) as server:
        provider, wake = _connections(server), os.eventfd(1)
        provider.offer([outgoing_message("ada@example.org")], MarkRecorder())
        assert provider.await_outcomes(wake).messages == ()
        held.may_come.set()
        os.eventfd_read(wake)
        assert _addresses(provider.await_outcomes(wake)) == {"ada@example.org"}
        provider.close()
        os.close(wake)


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_whoever_interrupts_in_the_middle_of_messages_does_not_wait_for_the_server(offers: bytes) -> None:
    """A goodbye would be a line of the message: the server goes on waiting for its end, and we for the answer."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with ScriptedSmtpServer({}, offers) as server:
        provider = _connections(server)
        with pytest.raises(KeyboardInterrupt):
            provider.send_batch([outgoing_message(a) for a in ADDRESSES[:3]], MarkRecorder(on_dot=interrupt))
        provider.close()
        assert b"QUIT\r\n" not in server.message_lines
    assert server.accepted_count == 0
