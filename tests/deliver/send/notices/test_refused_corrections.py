"""A correction that the mail server refuses waits, and isn't blamed on a subscriber."""

from contextlib import closing
from datetime import timedelta
from math import inf

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text, update

from digest.deliver.control.correction_waits import read_correction_waits, start_correction_wait
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.smtp import provider
from digest.deliver.send.notices import correction_sending
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from tests.deliver.conftest import KEYS, DeliverySetup
from tests.deliver.smtp_servers import ScriptedSmtpServer
from tests.deliver.stored_corrections import store_correction
from tests.moments import RELEASE

ACCEPTED, REFUSED, WAITING = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.WAITING
TAKEN, TOO_BIG = b"250 taken", b"552 5.3.4 message too big"


def add_recipients(world: DeliverySetup, count: int) -> None:
    store_correction(world, world.add_subscribers(*(f"r{n}@d{n % 9}.example.org" for n in range(count))))


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no message postponed because it waited for its connection, as happens on a busy machine."""
    monkeypatch.setattr(provider, "MAX_AHEAD_SECONDS", inf)


def send(world: DeliverySetup, server: ScriptedSmtpServer) -> None:
    mail_url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections=1")
    settings = world.settings.model_copy(update={"mail_url": mail_url})
    with closing(open_provider(settings)) as connections:
        correction_sending.send_due_corrections(
            world.database, connections, KEYS, settings, clock=world.clock, sleep=world.clock.sleep
        )


def is_due(world: DeliverySetup) -> bool:
    with world.database.read() as session:
        return correction_sending.has_due_corrections(session, now=world.clock())


def states(world: DeliverySetup) -> dict[DeliveryState, int]:
    with world.database.read() as session:
        return dict(session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())


def count_tries(server: ScriptedSmtpServer) -> int:
    return sum(line == b"DATA\r\n" for line in server.received_lines)


def test_a_correction_that_the_server_takes_for_nobody_waits_after_two_probes(world: DeliverySetup) -> None:
    add_recipients(world, 60)
    with ScriptedSmtpServer({}) as server:
        server.default_replies = {**server.default_replies, "DOT": TOO_BIG}
        send(world, server)
        assert states(world) == {WAITING: 60}
        assert count_tries(server) <= 30  # a batch and two probes
        assert not is_due(world)
        server.default_replies["DOT"] = TAKEN  # the server is mended
        world.clock.now += timedelta(hours=5)
        send(world, server)
    assert states(world) == {ACCEPTED: 60}


@pytest.mark.takes_turns
def test_a_correction_that_the_server_begins_to_refuse_waits(world: DeliverySetup) -> None:
    add_recipients(world, 100)
    with ScriptedSmtpServer({"DOT": list[bytes | None]([TAKEN] * 45)}) as server:
        server.default_replies = {**server.default_replies, "DOT": TOO_BIG}
        send(world, server)
        assert states(world) == {ACCEPTED: 45, WAITING: 55}
        assert not is_due(world)
        world.clock.now += timedelta(minutes=30)
        send(world, server)
        assert count_tries(server) <= 60
        server.default_replies["DOT"] = TAKEN
        world.clock.now += timedelta(hours=5)
        send(world, server)
    assert states(world) == {ACCEPTED: 100}


def test_a_wait_ends_with_a_correction_of_which_nothing_is_accepted(world: DeliverySetup) -> None:
    add_recipients(world, 30)
    with ScriptedSmtpServer({}) as server:
        server.default_replies = {**server.default_replies, "DOT": TOO_BIG}
        send(world, server)
        with world.database.write() as session:
            assert read_correction_waits(session)
            expire = update(Delivery).where(Delivery.state == WAITING)
            session.execute(expire.values(state=DeliveryState.EXPIRED))
        send(world, server)
    with world.database.read() as session:
        assert not read_correction_waits(session)


def test_corrections_refused_at_once_by_two_processes_both_wait(postgresql: Database) -> None:
    with postgresql.write() as first, postgresql.write() as second:
        second.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert start_correction_wait(first, "correction:1", "552", now=RELEASE)
        assert start_correction_wait(second, "correction:2", "552", now=RELEASE)
    with postgresql.read() as session:
        assert set(read_correction_waits(session)) == {"correction:1", "correction:2"}


@pytest.mark.parametrize("reply", [TOO_BIG, b"550 rejected as spam"])
def test_who_is_refused_a_message_is_not_held_to_have_no_mailbox(world: DeliverySetup, reply: bytes) -> None:
    add_recipients(world, 20)
    with ScriptedSmtpServer({"DOT": list[bytes | None]([TAKEN] * 15 + [reply] * 2 + [TAKEN] * 3)}) as server:
        send(world, server)
        assert states(world) == {ACCEPTED: 18, WAITING: 2}
    with world.database.read() as session:
        assert not session.scalars(select(StoredDeliveryEvent)).all()
