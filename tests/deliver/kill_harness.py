"""Send in processes that are killed, and compare the delivery counts with an independent receiver's record."""

import multiprocessing
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks.sample_installation import EDITION_NAME, KEYS
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs, recover_dead_runs
from digest.settings import SenderSettings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database, open_database
from digest.store.models import Edition, EditionState
from tests.conftest import reserve_port
from tests.deliver.send_process import SendOptions, run_send

WAIT_TIMEOUT = 120.0  # seconds for one process to get somewhere
MAX_KILL_DELAY = 0.02  # seconds within which a random moment falls
POLL_INTERVAL = 0.002  # seconds
OFFICE = SenderSettings().reply_to  # gets the alerts as long as there is no admin
IN_DOUBT_STATES = (DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN)

# A new process in a few milliseconds: forked from a server that has imported everything, has sent once, and has one thread.
process_context = multiprocessing.get_context("forkserver")
process_context.set_forkserver_preload(["pytest", "tests.deliver.warm_sender"])


@dataclass(frozen=True)
class MessageReceiver:
    """The recorder, as seen from outside."""

    kind: str
    port: int
    folder: Path

    def count_by_subscriber(self) -> Counter[int]:
        """Return how many messages each reader got so far, by number."""
        file = self.folder / "accepted"
        whole = file.read_text("ascii").rpartition("\n")[0] if file.exists() else ""
        return Counter(subscriber_number(recipient) for recipient in whole.splitlines() if recipient != OFFICE)

    def resolve(self) -> None:
        """Wait until it has dealt with all that dead senders left on the way."""
        request_file, settled_file = self.folder / "settle", self.folder / "settled"
        request_file.touch()
        wait_until(settled_file.exists)
        settled_file.unlink()

    def count_accepted(self) -> int:
        """Give how many messages it wrote down so far."""
        file = self.folder / "accepted"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    @contextmanager
    def rest(self, after: int = 0) -> Iterator[None]:
        """Let it write nothing down within the block once it has so many messages, so that no send comes to its end."""
        with self._asking("rest", after):
            yield

    @contextmanager
    def hold_next_message(self, when: str, after: int) -> Iterator[Path]:
        """Hold a message `before` or `after` it is written down, the next once there are so many; the path exists while it is held."""
        held_file = self.folder / "held"
        with self._asking(f"hold-{when}", after):
            try:
                yield held_file
            finally:
                held_file.unlink(missing_ok=True)

    def freeze_sender(self, process: BaseProcess, step: str, after: int) -> None:
        """Stop a process (SIGSTOP) at a step of a conversation, once there are so many messages; return when it is stopped."""
        written, frozen = self.folder / "freeze-soon", self.folder / "frozen"
        written.write_text(f"{step} {process.pid} {after}", "ascii")
        written.rename(self.folder / "freeze")
        wait_until(frozen.exists, process.is_alive)
        frozen.unlink()

    @contextmanager
    def _asking(self, name: str, after: int) -> Iterator[None]:
        """Ask for something within the block by a file, which the recorder sees with its number in it."""
        written = self.folder / "asking"
        written.write_text(str(after), "ascii")
        file = written.rename(self.folder / name)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def run_receiver(kind: str, folder: Path, delay: float = 0.0) -> Iterator[MessageReceiver]:
    """Run a recorder of a kind, `smtp_route` or `sendgrid_route`, until the end of the block."""
    recorder = Path(__file__).with_name("message_recorder.py")
    with reserve_port() as port:
        process = subprocess.Popen([sys.executable, str(recorder), kind, str(port), str(folder), str(delay)])
        try:
            wait_until((folder / "ready").exists, lambda: process.poll() is None)
            yield MessageReceiver(kind, port, folder)
        finally:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool], keep_waiting: Callable[[], bool] = lambda: True) -> None:
    """Wait for something as long as something else goes on, and at most for `WAIT_TIMEOUT`."""
    end = time.monotonic() + WAIT_TIMEOUT
    while not condition() and keep_waiting():
        assert time.monotonic() < end, "it got nowhere"
        time.sleep(POLL_INTERVAL)


@dataclass(frozen=True)
class SendRoute:
    """How messages go out: `max_in_doubt` is how many a kill may leave in doubt."""

    kind: str
    mail_url_pattern: str
    max_in_doubt: int

    @property
    def name(self) -> str:
        """A name for tables and tests."""
        connections = "connection" if self.max_in_doubt == 1 else "connections"
        return f"{self.kind}, {self.max_in_doubt} {connections if self.kind == 'smtp' else 'a batch'}"


def smtp_route(connections: int) -> SendRoute:
    """Give the way over so many connections, each with one message at a time."""
    return SendRoute("smtp", f"smtp://127.0.0.1:%d?starttls=off&connections={connections}", connections)


def max_doubts_in_vain(route: SendRoute, kills: int) -> int:
    """Return how many SMTP doubts may have got nothing: one in a hundred of the connections killed, and always one."""
    return max(1, kills * route.max_in_doubt // 100)


def sendgrid_route(batch: int) -> SendRoute:
    """Give the way in batches, each one request."""
    return SendRoute("sendgrid", f"sendgrid:?batch={batch}", batch)


@dataclass(frozen=True)
class KillableSend:
    """One installation with so many readers, a way out, and a receiver at its end."""

    options: SendOptions
    route: SendRoute
    receiver: MessageReceiver
    subscribers: int
    database: Database

    @property
    def boundary_file(self) -> Path:
        """Where a process that kills itself records at which boundary."""
        return self.receiver.folder / "boundaries"

    def start_process(self, **more: Any) -> BaseProcess:
        """Start a process that sends, or goes on with what an earlier one left; `more` are its `SendOptions`."""
        # As a daemon, so that one which a failed test leaves behind does not keep the run from ending.
        process = process_context.Process(target=run_send, args=(replace(self.options, **more),), daemon=True)
        process.start()
        return process

    def finish_send(self, **more: Any) -> None:
        """Send undisturbed until nothing waits; then every reader was accepted or is in doubt."""
        process = self.start_process(**more)
        process.join(WAIT_TIMEOUT)
        assert process.exitcode == 0, f"exit {process.exitcode}: {self.log_tail()}"
        counts = self.check_against_receiver()
        with self.database.read() as session:
            assert session.scalars(select(Edition.state).where(Edition.name == EDITION_NAME)).one() is EditionState.SENT
        assert counts[DeliveryState.ACCEPTED] + counts[DeliveryState.UNCERTAIN] == self.subscribers, "somebody is lost"

    def log_tail(self) -> str:
        """Return the end of what its processes logged."""
        return (self.options.home / "said").read_text("utf-8")[-4000:]

    def delivery_states(self) -> dict[int, DeliveryState]:
        """Return the state of everybody's delivery, by number."""
        with self.database.read() as session:
            rows = session.execute(select(Delivery.person, Delivery.state)).all()
        return {row[0]: row[1] for row in rows if row[0] is not None}

    def check_against_receiver(self) -> DeliveryCounts:
        """Compare the delivery counts with the receiver while nothing sends; return them.

        They balance. Nobody was accepted twice. Every accepted delivery has arrived, and whatever arrived is accepted
        or in doubt: nothing that waits has arrived, so going on can repeat nothing.
        """
        with self.database.read() as session:
            counts = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
            planned_at = session.scalars(select(Edition.planned_at).where(Edition.name == EDITION_NAME)).one()
        assert counts.is_balanced
        assert planned_at is None or counts.planned == self.subscribers
        states, got = self.delivery_states(), self.receiver.count_by_subscriber()
        assert max(got.values(), default=1) == 1, "somebody got it twice"
        wrong = {n: states.get(n) for n in got if states.get(n) not in (*IN_DOUBT_STATES, DeliveryState.ACCEPTED)}
        assert not wrong, "somebody has it whose delivery says otherwise"
        assert {n for n, state in states.items() if state is DeliveryState.ACCEPTED} <= got.keys()
        return counts

    def kill(self, process: BaseProcess) -> None:
        """Kill a process that sends."""
        process.kill()
        process.join(WAIT_TIMEOUT)
        assert process.exitcode == -signal.SIGKILL, f"it was done before it could be killed: {self.log_tail()}"

    def check_after_kill(self) -> None:
        """Check what a kill left, before anybody has looked at the run's file."""
        counts = self.check_against_receiver()
        assert counts[DeliveryState.HANDING_OVER] <= self.route.max_in_doubt + MAX_CLAIM_BUFFER

    def recover(self) -> int:
        """Let the run's file tell what a kill left, and check that; return how many deliveries are in doubt by now."""
        self.receiver.resolve()
        recover_dead_runs(self.database, self.options.settings, KEYS, now=datetime.now(UTC))
        counts = self.check_against_receiver()
        assert counts[DeliveryState.HANDING_OVER] == 0, "a claim of a dead run is left"
        return counts[DeliveryState.UNCERTAIN]

    def take_over_silent_runs(self, lease: float) -> None:
        """Take over the claims of runs that have been silent for `lease` seconds.

        Done here, since a sender with so short a lease of its own loses it on a busy machine.
        """
        time.sleep(lease)
        settings = replace(self.options, send_lease=lease).settings
        recover_dead_and_silent_runs(self.database, settings, KEYS, now=datetime.now(UTC))

    def count_doubts_in_vain(self) -> int:
        """Return how many deliveries are in doubt though the receiver has no message of theirs."""
        got = self.receiver.count_by_subscriber()
        states = self.delivery_states()
        return sum(state is DeliveryState.UNCERTAIN and number not in got for number, state in states.items())


@contextmanager
def open_killable_send(
    route: SendRoute, home: Path, database: str, subscribers: int, delay: float = 0.0
) -> Iterator[KillableSend]:
    """Set one up in a folder."""
    with run_receiver(route.kind, home, delay) as receiver:
        mail = route.mail_url_pattern % receiver.port if "%d" in route.mail_url_pattern else route.mail_url_pattern
        host = f"http://127.0.0.1:{receiver.port}"
        opened = open_database(database)
        try:
            yield KillableSend(SendOptions(home, database, mail, host), route, receiver, subscribers, opened)
        finally:
            opened.close()


def subscriber_number(address: str) -> int:
    """Return the number of the reader whose address this is (see `benchmarks.sample_installation`)."""
    match = re.match(r"reader(\d+)@", address)
    assert match, "nobody of the list"
    return int(match[1])


def is_stopped(process: BaseProcess) -> bool:
    """Return whether a process is stopped by a signal (proc(5): state T)."""
    status = Path(f"/proc/{process.pid}/stat").read_text("ascii")
    return status.rpartition(")")[2].split()[0] == "T"


def kill_at_boundaries(killable: KillableSend) -> list[str]:
    """Let one process after the other die at the next boundary; return the boundaries."""
    while True:
        process = killable.start_process(kill_boundary_file=killable.boundary_file)
        process.join(WAIT_TIMEOUT)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, f"exit {process.exitcode}: {killable.log_tail()}"
        killable.check_after_kill()
    return killable.boundary_file.read_text().splitlines()


def kill_before_answer(killable: KillableSend, when: str) -> None:
    """Kill while a message is with the receiver and unanswered: `before` or `after` it is recorded."""
    doubts_before = killable.recover()
    enough = killable.receiver.count_accepted() + killable.subscribers // 50
    with killable.receiver.hold_next_message(when, after=enough) as held_file:
        process = killable.start_process()
        wait_until(held_file.exists, process.is_alive)
        killable.kill(process)
        killable.check_after_kill()
    assert killable.recover() > doubts_before, "what was held is in doubt"


def kill_at_random(killable: KillableSend, times: int, rng: random.Random) -> Sequence[int]:
    """Kill so many processes at random moments of their lives; return how many messages each left in doubt.

    The moments are spread over three quarters of the send: each comes a random instant after the receiver had so many
    messages. Where it has them when the process starts, the instant falls into the process's first steps. The last messages
    the receiver takes from nobody who is to be killed, so that a machine that is slow to kill still finds a process.
    """
    doubts = [0]
    for enough in sorted(rng.sample(range(killable.subscribers * 3 // 4), times)):
        with killable.receiver.rest(after=killable.subscribers * 7 // 8):
            process = killable.start_process()
            while process.is_alive() and killable.receiver.count_accepted() < enough:
                time.sleep(POLL_INTERVAL)
            time.sleep(rng.uniform(0, MAX_KILL_DELAY))
            killable.kill(process)
        killable.check_after_kill()
        doubts.append(killable.recover())
    in_doubt = [after - before for before, after in pairwise(doubts)]
    assert all(0 <= some <= killable.route.max_in_doubt for some in in_doubt)
    return in_doubt
