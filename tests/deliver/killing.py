"""Sends in processes that are killed, and the books held against what an independent receiver wrote down."""

import multiprocessing
import random
import re
import signal
import socketserver
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select

from benchmarks.people import NAME
from digest.db import Database, Edition, EditionState, open_database
from digest.deliver.planning import Books, books, purpose_of
from digest.delivery_db import Delivery, DeliveryState
from tests.deliver.send_process import Sending, main

PATIENCE = 120.0  # seconds for one process to get somewhere
LATER = 0.02  # seconds within which a random moment falls
PAUSE = 0.002  # seconds between two looks
IN_THE_AIR = (DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN)

# A new process in a few milliseconds: forked from a server that has imported everything and has one thread.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", "tests.deliver.send_process"])


class Taken(NamedTuple):
    """One message that the receiver accepted."""

    recipient: str
    return_path: str
    at: float
    hash: str


@dataclass(frozen=True)
class Receiver:
    """The recorder, as seen from outside."""

    kind: str
    port: int
    folder: Path

    def taken(self) -> list[Taken]:
        """Give what it wrote down so far."""
        file = self.folder / "accepted"
        whole = file.read_text("ascii").rpartition("\n")[0] if file.exists() else ""
        fields = [line.split("\t") for line in whole.splitlines()]
        return [Taken(recipient, path, float(at), digest) for recipient, path, at, digest in fields]

    def count(self) -> int:
        """Give how many messages it wrote down so far."""
        file = self.folder / "accepted"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    @contextmanager
    def holding(self, when: str) -> Iterator[Path]:
        """Hold the next message `before` or `after` it is written down; the path exists once it is held."""
        wanted, held = self.folder / f"hold-{when}", self.folder / "held"
        wanted.touch()
        try:
            yield held
        finally:
            wanted.unlink(missing_ok=True)
            held.unlink(missing_ok=True)


@contextmanager
def receiving(kind: str, folder: Path, delay: float = 0.0) -> Iterator[Receiver]:
    """Run a recorder of a kind, `smtp` or `sendgrid`, until the end of the block."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = int(free.server_address[1])
    recorder = Path(__file__).with_name("recorder.py")
    process = subprocess.Popen([sys.executable, str(recorder), kind, str(port), str(folder), str(delay)])
    try:
        until((folder / "ready").exists, lambda: process.poll() is None)
        yield Receiver(kind, port, folder)
    finally:
        process.kill()
        process.wait()


def until(there: Callable[[], bool], going_on: Callable[[], bool] = lambda: True) -> None:
    """Wait for something as long as something else goes on, and at most for `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not there() and going_on():
        assert time.monotonic() < end, "it got nowhere"
        time.sleep(PAUSE)


@dataclass(frozen=True)
class Way:
    """How messages go out: `open_at_once` is how many a kill may leave in doubt."""

    kind: str
    mail: str
    open_at_once: int

    @property
    def name(self) -> str:
        """A name for tables and tests."""
        connections = "connection" if self.open_at_once == 1 else "connections"
        return f"{self.kind}, {self.open_at_once} {connections if self.kind == 'smtp' else 'a batch'}"


def smtp(connections: int) -> Way:
    """Give the way over so many connections, each with one message at a time."""
    return Way("smtp", f"smtp://127.0.0.1:%d?starttls=off&connections={connections}", connections)


def sendgrid(batch: int) -> Way:
    """Give the way in batches, each one request."""
    return Way("sendgrid", f"sendgrid:?batch={batch}", batch)


@dataclass(frozen=True)
class Ground:
    """One installation with so many readers, a way out, and a receiver at its end."""

    sending: Sending
    way: Way
    receiver: Receiver
    readers: int
    database: Database

    @property
    def ledger(self) -> Path:
        """Where a process that kills itself writes down at which boundary."""
        return self.receiver.folder / "boundaries"

    def start(self, **more: Any) -> BaseProcess:
        """Start a process that sends, or goes on with what an earlier one left; `more` is told to it (`Sending`)."""
        process = _processes.Process(target=main, args=(replace(self.sending, **more),))
        process.start()
        return process

    def finish(self) -> None:
        """Go on, undisturbed, until nothing waits; then every reader has a fate."""
        process = self.start()
        process.join(PATIENCE)
        assert process.exitcode == 0, f"exit {process.exitcode}: {self.said()}"
        found = self.hold_to_account()
        with self.database.read() as session:
            assert session.scalars(select(Edition.state)).one() is EditionState.SENT
        assert found[DeliveryState.ACCEPTED] + found[DeliveryState.UNCERTAIN] == self.readers, (
            "somebody is lost"
        )

    def said(self) -> str:
        """Give the end of what its processes have logged."""
        return (self.sending.home / "said").read_text("utf-8")[-4000:]

    def states(self) -> dict[int, DeliveryState]:
        """Give the state of everybody's delivery, by number."""
        with self.database.read() as session:
            rows = session.execute(select(Delivery.person, Delivery.state)).all()
        return {row[0]: row[1] for row in rows if row[0] is not None}

    def hold_to_account(self) -> Books:
        """Hold the books against the receiver at this moment, while nothing sends; give them.

        The books balance. Nobody was accepted twice. Who is said to have it has it, and whoever has it is said to
        have it or to be in the air: nobody who waits has got it, so nobody can get it twice by going on.
        """
        with self.database.read() as session:
            found = books(session, purpose_of(NAME))
            planned_at = session.scalars(select(Edition.planned_at)).one()
        assert found.balanced
        assert planned_at is None or found.planned == self.readers
        states, got = self.states(), Counter(number_of(taken.recipient) for taken in self.receiver.taken())
        assert max(got.values(), default=1) == 1, "somebody got it twice"
        wrong = {n: states.get(n) for n in got if states.get(n) not in (*IN_THE_AIR, DeliveryState.ACCEPTED)}
        assert not wrong, "somebody has it of whom the books say otherwise"
        assert {n for n, state in states.items() if state is DeliveryState.ACCEPTED} <= got.keys()
        return found

    def killed(self, process: BaseProcess) -> int:
        """Kill a process that sends, and hold to account what it left; give how many are in doubt by now."""
        process.kill()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL, f"it was done before it could be killed: {self.said()}"
        return self.after_a_kill()

    def after_a_kill(self) -> int:
        """Hold to account what a kill left; give how many are in doubt by now, from this kill and earlier ones."""
        found = self.hold_to_account()
        assert found[DeliveryState.HANDING_OVER] <= self.way.open_at_once
        return sum(found[state] for state in IN_THE_AIR)


@contextmanager
def ground(way: Way, home: Path, database: str, readers: int, delay: float = 0.0) -> Iterator[Ground]:
    """Lay one out in a folder."""
    with receiving(way.kind, home, delay) as receiver:
        mail = way.mail % receiver.port if "%d" in way.mail else way.mail
        host = f"http://127.0.0.1:{receiver.port}"
        opened = open_database(database)
        try:
            yield Ground(Sending(home, database, mail, host), way, receiver, readers, opened)
        finally:
            opened.close()


def number_of(address: str) -> int:
    """Give the number of the reader whose address this is (see `benchmarks.people`)."""
    found = re.match(r"reader(\d+)@", address)
    assert found, "nobody of the list"
    return int(found[1])


def kill_at_boundaries(at: Ground) -> list[str]:
    """Let one process after the other die at the next boundary; give the boundaries."""
    while True:
        process = at.start(ledger=at.ledger)
        process.join(PATIENCE)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, f"exit {process.exitcode}: {at.said()}"
        at.after_a_kill()
    return at.ledger.read_text().splitlines()


def kill_between_hand_and_word(at: Ground, when: str) -> None:
    """Kill while a message is with the receiver and unanswered: `before` or `after` it is written down."""
    process = at.start()
    before = at.receiver.count()
    until(lambda: at.receiver.count() > before, process.is_alive)
    with at.receiver.holding(when) as held:
        until(held.exists, process.is_alive)
        at.killed(process)
    until(lambda: not held.exists())


def kill_at_random(at: Ground, times: int, chance: random.Random) -> Sequence[int]:
    """Kill so many processes at random moments of their lives; give how many messages each left in the air.

    The moments are spread over three quarters of the send, so that a machine that is slow to kill still finds a process:
    each comes a random instant after the receiver had so many messages.
    Where it has them when the process starts, the instant falls into the process's first steps.
    """
    doubts = [0]
    for enough in sorted(chance.sample(range(at.readers * 3 // 4), times)):
        process = at.start()
        while process.is_alive() and at.receiver.count() < enough:
            time.sleep(PAUSE)
        time.sleep(chance.uniform(0, LATER))
        doubts.append(at.killed(process))
    left = [after - before for before, after in pairwise(doubts)]
    assert all(0 <= some <= at.way.open_at_once for some in left)
    return left
