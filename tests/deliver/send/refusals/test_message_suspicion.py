"""Over SMTP: a server that refuses the message itself, and readers who are refused one after the other."""

from contextlib import closing
from datetime import timedelta

import pytest
from pydantic import SecretStr

from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_run import SendReport, run_edition
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.smtp_servers import ScriptedSmtpServer

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
def test_a_message_that_the_server_takes_for_nobody_stops_the_run_and_all_its_readers_wait(
    one_world: DeliverySetup, reply: bytes, connections: int
) -> None:
    world = one_world
    world.add_readers(*(f"r{n}@d{n % 9}.example.org" for n in range(40)))
    with ScriptedSmtpServer({}) as server:
        server.default_replies = {**server.default_replies, "DOT": reply}
        report = _send(world, server, connections)
        offered = sum(line == b"DATA\r\n" for line in server.received_lines)
        assert "rejected every message" in report.stop_reason
        assert reply.decode() in report.stop_reason
        assert report.delivery_counts[WAITING] == 40
        assert 10 < offered <= 10 + 2 * connections
        server.default_replies["DOT"] = b"250 taken"  # the server is mended
        world.clock.now += timedelta(hours=1)
        assert _send(world, server, connections).state is EditionState.SENT
    assert server.accepted_count == 40


def test_once_a_message_was_accepted_each_refusal_is_its_readers(world: DeliverySetup) -> None:
    world.add_readers(*(f"r{n}@example.org" for n in range(30)))
    replies = list[bytes | None]([b"554 no"] * 3 + [b"250 taken"] * 5 + [b"554 no"] * 4)
    with ScriptedSmtpServer({"DOT": replies}) as server:
        report = _send(world, server, 1)
        assert (report.delivery_counts[REFUSED], report.delivery_counts[ACCEPTED], report.stop_reason) == (4, 23, "")
        world.clock.now += timedelta(hours=1)
        assert _send(world, server, 1).delivery_counts[ACCEPTED] == 26


def test_refusals_of_dead_addresses_never_blame_the_message(world: DeliverySetup) -> None:
    world.add_readers(*(f"r{n}@example.org" for n in range(8)))
    with ScriptedSmtpServer({"RCPT": [b"550 5.1.1 unknown"] * 8}) as server:
        report = _send(world, server, 1)
    assert (report.delivery_counts[REFUSED], report.stop_reason) == (8, "")
