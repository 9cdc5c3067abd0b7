"""Connections that one thread moves in step: each message has its own fate, and each connection too."""

from collections import Counter

import pytest

from digest.deliver.providers.base import GROWN_BATCH_SIZE, BatchOutcome, HandoverResult
from digest.deliver.providers.smtp.connection import SmtpServer
from digest.deliver.providers.smtp.provider import (
    SmtpConnectionPool,
    SmtpProvider,
    choose_messages_per_round,
    split_into_pools,
)
from tests.deliver.mark_recorder import MarkRecorder
from tests.deliver.smtp_servers import (
    ACCEPTED,
    LATER,
    REFUSED,
    UNCERTAIN,
    UNTOUCHED,
    ScriptedSmtpServer,
    outgoing_message,
)

ADDRESSES = tuple(f"reader{n}@example.org" for n in range(9))


def _crew(server: ScriptedSmtpServer, connections: int = 3) -> SmtpConnectionPool:
    return SmtpConnectionPool([SmtpProvider(SmtpServer("127.0.0.1", server.port, "off")) for _ in range(connections)])


def _hand(server: ScriptedSmtpServer, connections: int = 3, messages: int = 9) -> BatchOutcome:
    crew = _crew(server, connections)
    try:
        return crew.send_batch([outgoing_message(a) for a in ADDRESSES[:messages]], MarkRecorder())
    finally:
        crew.close()


def _count(handed: BatchOutcome) -> Counter[HandoverResult]:
    return Counter(o.result for o in handed.outcomes)


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_every_connection_carries_one_message_at_a_time(offers: bytes) -> None:
    with ScriptedSmtpServer({}, offers) as server:
        handed = _hand(server)
    assert _count(handed) == {ACCEPTED: 9}
    assert (server.connection_count, server.accepted_count, server.quit_count) == (3, 9, 3)


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
        crew = _crew(server)
        handed = crew.send_batch(
            [outgoing_message(a) for a in ("a@example.org", "no address", "c@example.org")], MarkRecorder()
        )
        crew.close()
    assert [o.result for o in handed.outcomes] == [ACCEPTED, REFUSED, ACCEPTED]


def test_a_connection_too_many_is_given_up_and_its_message_waits() -> None:
    script: dict[str, list[bytes | None]] = {"GREETING": [b"220 ready", b"421 too many connections"]}
    with ScriptedSmtpServer(script) as server:
        crew = _crew(server)
        handed = crew.send_batch([outgoing_message(a) for a in ADDRESSES], MarkRecorder())
        assert (crew.connection_count, handed.stop_reason) == (2, "")
        crew.close()
    assert _count(handed) == {ACCEPTED: 8, UNTOUCHED: 1}
    assert server.accepted_count == 8


def test_a_server_that_takes_no_connection_at_all_stops_the_pool() -> None:
    with ScriptedSmtpServer({"GREETING": [b"421 not now"] * 3}) as server:
        handed = _hand(server)
    assert _count(handed) == {UNTOUCHED: 9}
    assert handed.this_connection_only
    assert "couldn't connect" in handed.stop_reason


def test_what_is_about_us_stops_the_pool_and_repeats_nobody() -> None:
    with ScriptedSmtpServer({"MAIL": [b"250 ok", b"550 5.1.8 who are you"]}) as server:
        handed = _hand(server)
    assert "rejected the sender" in handed.stop_reason
    assert not handed.this_connection_only
    assert _count(handed) == {ACCEPTED: 2, UNTOUCHED: 7}
    assert server.accepted_count == 2


def test_a_connection_that_was_closed_meanwhile_is_opened_anew() -> None:
    script: dict[str, list[bytes | None]] = {"MAIL": [b"250 ok", b"250 ok", b"250 ok", None]}
    with ScriptedSmtpServer(script, b"PIPELINING") as server:
        handed = _hand(server)
    assert _count(handed) == {ACCEPTED: 9}
    assert (server.connection_count, server.accepted_count) == (4, 9)


class SteppingClock:
    """Goes on by so many seconds at each look."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("connections", "seconds", "rounds"),
    [(4, 0.0, 4), (4, 0.001, 4), (4, 0.02, 2), (4, 1.0, 1), (1, 0.001, 16), (16, 0.001, 1), (25, 0.001, 1)],
)
def test_few_connections_take_as_many_rounds_at_once_as_go_within_a_moment(
    connections: int, seconds: float, rounds: int
) -> None:
    assert choose_messages_per_round(connections, seconds) == rounds


@pytest.mark.parametrize("trouble", ["a lost answer", "a server that has become slow"])
def test_a_pool_that_took_several_rounds_leaves_the_rest_untried_where_something_is_wrong(trouble: str) -> None:
    clock = SteppingClock(0.0)
    script: dict[str, list[bytes | None]] = {"DOT": [*([b"250 taken"] * 3), None]} if trouble == "a lost answer" else {}
    with ScriptedSmtpServer(script, b"PIPELINING") as server:
        crew = SmtpConnectionPool([SmtpProvider(SmtpServer("127.0.0.1", server.port, "off")) for _ in range(2)], clock)
        assert crew.batch_size == 2
        assert _count(crew.send_batch([outgoing_message(a) for a in ADDRESSES[:2]], MarkRecorder())) == {ACCEPTED: 2}
        assert crew.batch_size == GROWN_BATCH_SIZE
        clock.step = 0.0 if script else 1.0
        handed = crew.send_batch([outgoing_message(a) for a in ADDRESSES], MarkRecorder())
        crew.close()
    assert handed.stop_reason == ""
    assert _count(handed) == ({ACCEPTED: 1, UNCERTAIN: 1, UNTOUCHED: 7} if script else {ACCEPTED: 2, UNTOUCHED: 7})
    assert (crew.batch_size == 2) == (trouble == "a server that has become slow")


@pytest.mark.parametrize(("connections", "shares"), [(1, [1]), (2, [1, 1]), (5, [3, 2]), (50, [25, 25])])
def test_connections_are_shared_out_over_two_pools(connections: int, shares: list[int]) -> None:
    server = SmtpServer("127.0.0.1", 25, "off")
    assert [crew.batch_size for crew in split_into_pools([SmtpProvider(server) for _ in range(connections)])] == shares


@pytest.mark.parametrize("offers", [b"", b"PIPELINING"])
def test_whoever_interrupts_in_the_middle_of_messages_does_not_wait_for_the_server(offers: bytes) -> None:
    """A goodbye would be a line of the message: the server goes on waiting for its end, and we for the answer."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with ScriptedSmtpServer({}, offers) as server:
        crew = _crew(server)
        with pytest.raises(KeyboardInterrupt):
            crew.send_batch([outgoing_message(a) for a in ADDRESSES[:3]], MarkRecorder(on_dot=interrupt))
        crew.close()
        assert b"QUIT\r\n" not in server.message_lines
    assert (server.connection_count, server.accepted_count, server.quit_count) == (3, 0, 0)
