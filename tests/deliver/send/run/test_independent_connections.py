"""Sending over several connections to one server: none waits for another, and refused ones are tried again."""

from collections import Counter
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from digest.deliver.providers.base import HandoverRecorder, MessageOutcome, OutgoingMessage
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.smtp.connection import SmtpSteps
from digest.deliver.providers.smtp.session import SmtpSession
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.smtp_servers import HeldReply, ScriptedSmtpServer

SUBSCRIBERS = 40


def _send(
    world: DeliverySetup,
    server: ScriptedSmtpServer,
    connections: int,
    report_progress: Callable[[int, int], None] = lambda _done, _planned: None,
) -> SendReport:
    world.add_subscribers(*(f"reader{n}@example.org" for n in range(SUBSCRIBERS)))
    url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections={connections}")
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
            report_progress=report_progress,
        )
    finally:
        provider.close()


@pytest.mark.takes_turns
@pytest.mark.parametrize(("connections", "slow"), [(2, 1), (8, 7)])
def test_slow_recipients_hold_up_nobody_else(world: DeliverySetup, connections: int, slow: int) -> None:
    """All others are recorded while the slow ones are waited for, over a single connection if need be."""
    held = [HeldReply(b"250 taken") for _ in range(slow)]
    recorded = list[int]()

    def release_at_the_end(done: int, _planned: int) -> None:
        recorded.append(done)
        if done == SUBSCRIBERS - slow:
            for reply in held:
                reply.may_come.set()

    with ScriptedSmtpServer({"DOT": list[bytes | None](held)}, b"PIPELINING") as server:
        report = _send(world, server, connections, release_at_the_end)
    assert SUBSCRIBERS - slow in recorded, "nothing held was needed for the others"
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, SUBSCRIBERS)
    assert server.accepted_count == SUBSCRIBERS


@pytest.mark.takes_turns
@pytest.mark.parametrize("connections", [1, 3])
def test_a_limit_on_new_connections_pauses_a_run_and_does_not_end_it(world: DeliverySetup, connections: int) -> None:
    """Once the first connections have ended, each further one is refused for a while."""
    script: dict[str, list[bytes | None]] = {"GREETING": [*[b"220 ready"] * connections, *[b"421 4.7.0 too many"] * 6]}
    began = world.clock()
    with ScriptedSmtpServer(script) as server:
        server.messages_per_connection = 5
        report = _send(world, server, connections)
    assert (report.state, report.stop_reason) == (EditionState.SENT, "")
    assert report.delivery_counts[DeliveryState.ACCEPTED] == server.accepted_count == SUBSCRIBERS
    assert 1 <= (world.clock() - began).total_seconds() <= 63


@pytest.mark.takes_turns
def test_a_server_that_takes_no_connection_for_a_minute_ends_the_run_with_its_reply(world: DeliverySetup) -> None:
    script: dict[str, list[bytes | None]] = {"GREETING": [b"220 ready", *[b"421 4.7.0 closed for today"] * 20]}
    with ScriptedSmtpServer(script) as server:
        server.messages_per_connection = 5
        report = _send(world, server, 1)
    assert "couldn't connect" in report.stop_reason
    assert "closed for today" in report.stop_reason
    assert report.delivery_counts[DeliveryState.ACCEPTED] == server.accepted_count == 5
    assert report.delivery_counts[DeliveryState.WAITING] == SUBSCRIBERS - 5


@pytest.mark.takes_turns
def test_a_server_that_takes_two_connections_of_eight_gets_everything_over_two(world: DeliverySetup) -> None:
    with ScriptedSmtpServer({}) as server:
        server.max_connections = 2
        report = _send(world, server, 8)
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, SUBSCRIBERS)
    assert (server.accepted_count, server.most_open) == (SUBSCRIBERS, 2)


def test_a_fault_ends_the_run_and_leaves_in_doubt_only_what_was_under_way(
    one_world: DeliverySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, sent = one_world, list[str]()
    send_message = SmtpSession.send_message

    def fail_at_the_tenth(
        session: SmtpSession, message: OutgoingMessage, marks: HandoverRecorder
    ) -> SmtpSteps[MessageOutcome]:
        sent.append(message.delivery_id)
        if len(sent) >= 10:
            raise MemoryError
        return send_message(session, message, marks)

    monkeypatch.setattr(SmtpSession, "send_message", fail_at_the_tenth)
    with ScriptedSmtpServer({}) as server, pytest.raises(MemoryError):
        _send(world, server, 4)
    with world.database.read() as session:
        states = {row.id: row.state for row in session.execute(select(Delivery.id, Delivery.state))}
    counts = Counter(states.values())
    assert set(counts) <= {DeliveryState.ACCEPTED, DeliveryState.HANDING_OVER, DeliveryState.WAITING}
    assert counts.total() == SUBSCRIBERS
    assert counts[DeliveryState.ACCEPTED] + counts[DeliveryState.HANDING_OVER] < len(sent)
    assert server.accepted_count <= counts[DeliveryState.ACCEPTED] + counts[DeliveryState.HANDING_OVER]
    assert states[sent[-1]] is DeliveryState.WAITING, "it had not begun"
