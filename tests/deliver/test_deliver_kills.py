"""A send that is killed, again and again: nobody is lost, nobody gets it twice, every doubt has a name.

The mail server is a process of its own; what it wrote down is the truth that the books are held against.
"""

import random
import signal
import socketserver
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from digest.db import Edition, EditionState
from digest.deliver.planning import Books, books, purpose_of
from digest.delivery_db import Delivery, DeliveryState
from subscribers.roll import readers
from tests.deliver.conftest import NAME, World

READERS = 300
CONNECTIONS = 4
KILLS = 5
SLOW = 0.002  # seconds before and after the server writes a message down: both sides of the final dot are hit
PATIENCE = 60.0  # seconds for one process to get somewhere
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Server:
    """The recording server, as seen from outside."""

    port: int
    folder: Path

    def accepted(self) -> Counter[str]:
        """Count what was accepted by recipient."""
        file = self.folder / "accepted"
        lines = file.read_text("ascii").splitlines() if file.exists() else []
        return Counter(line.partition("\t")[0] for line in lines)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run the recorder for one test."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = int(free.server_address[1])
    recorder = Path(__file__).with_name("recorder.py")
    process = subprocess.Popen([sys.executable, str(recorder), str(port), str(tmp_path), str(SLOW)])
    try:
        _until((tmp_path / "ready").exists, process)
        yield Server(port, tmp_path)
    finally:
        process.kill()
        process.wait()


def _until(there: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while not there() and process.poll() is None:
        assert time.monotonic() < end, "it got nowhere"
        time.sleep(0.001)


def _until_accepted(server: Server, more: int, process: "subprocess.Popen[bytes]") -> None:
    enough = server.accepted().total() + more
    _until(lambda: server.accepted().total() >= enough, process)


def _start(world: World, server: Server) -> "subprocess.Popen[bytes]":
    url = world.database.engine.url.render_as_string(hide_password=False)
    mail = f"smtp://127.0.0.1:{server.port}?starttls=off&connections={CONNECTIONS}"
    command = [sys.executable, "-m", "tests.deliver.send_process", str(world.settings.home), url, mail]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def _books(world: World) -> Books:
    with world.database.read() as session:
        return books(session, purpose_of(NAME))


def _addresses(world: World, state: DeliveryState) -> set[str]:
    with world.database.read() as session:
        numbers = session.scalars(select(Delivery.person).where(Delivery.state == state)).all()
        found = readers(session, [n for n in numbers if n is not None])
    return {reader.address(world.keys) for reader in found.values()}


def test_killed_at_random_moments_it_loses_nobody_and_repeats_nothing(world: World, server: Server) -> None:
    world.readers(*(f"reader{n}@example.org" for n in range(READERS)))
    chance = random.Random(47)  # the same moments in every run, as far as machines allow
    for _ in range(KILLS):
        process = _start(world, server)
        _until_accepted(server, chance.randint(1, READERS // (KILLS + 1)), process)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
        found = _books(world)
        assert found.balanced
        assert found[DeliveryState.HANDING_OVER] <= CONNECTIONS
    process = _start(world, server)
    assert process.wait(PATIENCE) == 0
    _hold_to_account(world, server)


def _hold_to_account(world: World, server: Server) -> None:
    found = _books(world)
    with world.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENT
    assert found.balanced
    assert found.planned == READERS == found[DeliveryState.ACCEPTED] + found[DeliveryState.UNCERTAIN]
    assert found[DeliveryState.UNCERTAIN] <= KILLS * CONNECTIONS
    got = server.accepted()
    accepted, uncertain = (_addresses(world, s) for s in (DeliveryState.ACCEPTED, DeliveryState.UNCERTAIN))
    assert set(got.values()) == {1}, "somebody got it twice"
    assert accepted <= set(got), "somebody is said to have it who has not"
    assert set(got) <= accepted | uncertain
