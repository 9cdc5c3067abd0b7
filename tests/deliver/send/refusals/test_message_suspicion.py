"""Over SMTP: a server that refuses the message itself, and subscribers who are refused one by one."""

from contextlib import closing
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from digest.deliver.control import edition_control, set_aside_domains
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.refusals.message_suspicion import MAX_TRIES
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import EditionState
from subscribers.consent.preferences import Preferences
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.smtp_servers import ScriptedSmtpServer
from tests.moments import Clock

WAITING, ACCEPTED, REFUSED = DeliveryState.WAITING, DeliveryState.ACCEPTED, DeliveryState.REFUSED


def _send(world: DeliverySetup, server: ScriptedSmtpServer, connections: int) -> SendReport:
    mail_url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections={connections}")
    settings = world.settings.model_copy(update={"mail_url": mail_url})
    with closing(open_provider(settings)) as provider:
        return run_edition(
            world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock, sleep=world.clock.sleep
        )


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize(
    "reply", [b"552 5.3.4 message too big", b"554 transaction failed", b"550 5.6.0 not conforming"]
)
def test_a_message_that_the_server_takes_for_nobody_stops_the_run_and_all_its_subscribers_wait(
    one_world: DeliverySetup, reply: bytes, connections: int
) -> None:
    world = one_world
    world.add_subscribers(*(f"r{n}@d{n % 9}.example.org" for n in range(40)))
    with ScriptedSmtpServer({}) as server:
        server.default_replies = {**server.default_replies, "DOT": reply}
        report = _send(world, server, connections)
        offered = sum(line == b"DATA\r\n" for line in server.received_lines)
        assert "refused every message" in report.stop_reason
        assert reply.decode() in report.stop_reason
        assert report.delivery_counts[WAITING] == 40
        assert 10 < offered <= 10 + 2 * connections
        server.default_replies["DOT"] = b"250 taken"  # the server is mended
        world.clock.now += timedelta(hours=1)
        assert _send(world, server, connections).state is EditionState.SENT
    assert server.accepted_count == 40


def test_a_few_refusals_among_accepted_messages_are_tried_again_and_then_end(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(30)))
    with ScriptedSmtpServer({"DOT": list[bytes | None]([b"250 taken"] * 10 + [b"554 no"] * 4)}) as server:
        report = _send(world, server, 1)
        assert (report.delivery_counts[WAITING], report.delivery_counts[ACCEPTED], report.stop_reason) == (4, 26, "")
        server.default_replies["DOT"] = b"554 no"
        for _ in range(MAX_TRIES - 1):
            world.clock.now += timedelta(hours=5)
            report = _send(world, server, 1)
    assert (report.delivery_counts[REFUSED], report.delivery_counts[ACCEPTED]) == (4, 26)
    with world.database.read() as session:
        assert set(session.scalars(select(StoredDeliveryEvent.cause))) == {FailureCause.POLICY}


@pytest.mark.takes_turns
def test_a_variant_that_the_server_begins_to_refuse_pauses_the_edition_and_loses_nobody(
    world: DeliverySetup,
) -> None:
    """One acceptance doesn't clear a message for good: after 61 messages a filter may take it for spam."""
    world.add_subscribers(*(f"r{n}@d{n % 9}.example.org" for n in range(313)))
    replies = list[bytes | None]([b"250 taken"] * 60 + [b"554 Transaction failed: spam message rejected"] * 253)
    with ScriptedSmtpServer({"DOT": replies}) as server:
        report = _send(world, server, 8)
        assert (report.delivery_counts[REFUSED], report.delivery_counts[ACCEPTED]) == (0, 60)
        assert (report.delivery_counts.is_balanced, report.state) == (True, EditionState.SENDING)
        with world.database.write() as session:
            edition = find_edition(session, EDITION_NAME)
            assert "refused" in edition.paused_because
            assert "554 Transaction failed" in edition.paused_because
            edition_control.resume_edition(session, EDITION_NAME, now=world.clock.now)
        server.script.clear()  # the server is mended
        world.clock.now += timedelta(hours=1)
        report = _send(world, server, 8)
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 313)
    assert server.accepted_count == 313


@pytest.mark.parametrize("reply", [b"554 5.6.0 bad content", b"550 Message rejected as spam", b"552 too large"])
def test_a_server_that_refuses_one_in_five_pauses_the_edition(world: DeliverySetup, reply: bytes) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(313)))
    replies = list[bytes | None]([b"250 taken"] * 4 + [reply]) * 63
    with ScriptedSmtpServer({"DOT": replies}) as server:
        report = _send(world, server, 1)
    assert report.delivery_counts[REFUSED] == 0
    assert report.delivery_counts[WAITING] > 250
    with world.database.read() as session:
        assert find_edition(session, EDITION_NAME).paused_at
        assert not session.scalars(select(StoredDeliveryEvent.id)).all()


@pytest.mark.takes_turns
def test_a_short_variant_that_is_accepted_does_not_clear_the_full_one(world: DeliverySetup) -> None:
    world.add_subscribers("short1@example.org", "short2@example.org", choices=Preferences(text_only=True))
    world.add_subscribers(*(f"r{n}@example.org" for n in range(60)))
    with SizeLimitedServer({}) as server:
        report = _send(world, server, 1)
        assert (report.delivery_counts[REFUSED], report.delivery_counts[ACCEPTED]) == (0, 2)
        assert report.delivery_counts[WAITING] == 60
    with world.database.read() as session:
        (aside,) = set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME))
        assert "552 5.3.4" in aside.reason


class SizeLimitedServer(ScriptedSmtpServer):
    """Refuses messages that have an HTML part."""

    def next_reply(self, verb: str) -> bytes | None:
        if verb == "DOT" and any(b"text/html" in line for line in self.message_lines):
            self.message_lines.clear()
            return b"552 5.3.4 message too big"
        return super().next_reply(verb)


class BusyServer(ScriptedSmtpServer):
    """Takes no message until a moment, as a server whose disk is full."""

    def __init__(self, clock: Clock, until: timedelta) -> None:
        super().__init__({})
        self._clock, self._until = clock, clock.now + until

    def next_reply(self, verb: str) -> bytes | None:
        if verb == "MAIL" and self._clock.now < self._until:
            return b"452 4.3.1 insufficient system storage"
        return super().next_reply(verb)


@pytest.mark.parametrize("connections", [1, 8])
def test_a_server_that_is_full_for_some_seconds_delays_nobody_longer(
    one_world: DeliverySetup, connections: int
) -> None:
    world = one_world
    world.add_subscribers(*(f"r{n}@example.org" for n in range(100)))
    began = world.clock.now
    with BusyServer(world.clock, timedelta(seconds=12)) as server:
        report = _send(world, server, connections)
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 100)
    assert world.clock.now - began < timedelta(seconds=30)
    with world.database.read() as session:
        assert set(session.scalars(select(Delivery.tries))) == {1}


@pytest.mark.parametrize("connections", [1, 8])
def test_a_server_that_ends_connections_early_delays_and_slows_nobody(
    one_world: DeliverySetup, connections: int
) -> None:
    world = one_world
    world.add_subscribers(*(f"r{n}@example.org" for n in range(100)))
    began = world.clock.now
    with ScriptedSmtpServer({}) as server:
        server.messages_per_connection = 10
        report = _send(world, server, connections)
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 100)
    assert world.clock.now == began


@pytest.mark.takes_turns
def test_refusals_of_dead_addresses_never_blame_the_message(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(8)))
    with ScriptedSmtpServer({"RCPT": [b"550 5.1.1 unknown"] * 8}) as server:
        report = _send(world, server, 1)
    assert (report.delivery_counts[REFUSED], report.stop_reason) == (8, "")
