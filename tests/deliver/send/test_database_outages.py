"""A send waits while its database is unreachable, and continues in the same process without uncertain messages."""

import resource
import socket
import socketserver
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from digest.store.delivery_models import DeliveryState
from tests.deliver.commit_faults import read_boundaries
from tests.deliver.kill_harness import WAIT_TIMEOUT, KillableSend, open_killable_send, smtp_route, wait_until
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite
from tests.own_postgresql import OwnPostgresql, run_own_postgresql
from tests.threaded_server import ServedInThread

SUBSCRIBERS = 300
MANY = 1100  # some go ahead, and the rest waits for what they bring about
AWAY = 1.0  # seconds for which it stays away after somebody noticed
OUT_OF_REACH, BACK = "can't be reached", "can be reached again"  # what a send says
SLOW = 0.01  # seconds that the receiver takes before it has a message, and again before it answers
BUSY = 0.2  # seconds that a process waits for SQLite's lock
SMALL = 64 * 1024  # octets: no file of the sending process may grow beyond that while its disk is full


class Line(ServedInThread, socketserver.ThreadingTCPServer):
    """A line to a PostgreSQL that listens on a socket in the file system; it can be cut."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Ends)
        self.address = make_url(url)
        self.cut = False
        self.ends: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The database at this end of the line."""
        local_url = self.address.set(host="127.0.0.1", port=int(self.server_address[1])).difference_update_query(
            ["host"]
        )
        return local_url.render_as_string(hide_password=False)

    def verify_request(self, *_: Any) -> bool:
        return not self.cut

    def mend(self) -> None:
        """Let new connections through again."""
        self.cut = False

    def fall(self) -> None:
        """Cut it: whatever is open breaks, and nothing new comes through."""
        self.cut = True
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class _Ends(socketserver.BaseRequestHandler):
    server: Line

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(f"{self.server.address.query['host']}/.s.PGSQL.5432")
            self.server.ends += [self.request, far]
            back = threading.Thread(target=_carry, args=(far, self.request), daemon=True)
            back.start()
            _carry(self.request, far)
            back.join()


def _carry(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while some := here.recv(65536):
            there.sendall(some)
    for end in (here, there):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    return prepare_sqlite(tmp_path_factory.mktemp("crowd"), SUBSCRIBERS, kilobytes=4)


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgresql]:
    """Run a PostgreSQL that may be stopped."""
    with run_own_postgresql() as running:
        yield running


def _count_said(at: KillableSend, words: str) -> int:
    return (at.options.home / "said").read_text("utf-8").count(words)


@contextmanager
def _in_the_middle(at: KillableSend, outages: int = 1, **told: float) -> Iterator[BaseProcess]:
    """Send; the block is what happens in the middle. Then the same process has to come to a good end."""
    with at.receiver.rest(after=SUBSCRIBERS // 12):  # until something has happened to it
        process = at.start_process(**told)
        wait_until(lambda: at.receiver.count_accepted() >= SUBSCRIBERS // 12, process.is_alive)
        yield process
    process.join(WAIT_TIMEOUT)
    assert process.exitcode == 0, at.log_tail()
    counts = at.check_against_receiver()
    assert counts[DeliveryState.ACCEPTED] == SUBSCRIBERS == at.receiver.count_accepted()
    assert _count_said(at, OUT_OF_REACH) == _count_said(at, BACK) == outages, at.log_tail()
    assert _count_said(at, "Traceback") == 0


def _take_away(
    at: KillableSend, process: BaseProcess, take: Callable[[], object], give_back: Callable[[], object]
) -> None:
    """Take the database away until the process has noticed, and a while longer, in which the process has to be there still."""
    outages = _count_said(at, OUT_OF_REACH)
    with at.receiver.rest():
        take()
    wait_until(lambda: _count_said(at, OUT_OF_REACH) > outages, process.is_alive)
    time.sleep(AWAY)
    assert process.is_alive(), at.log_tail()
    give_back()
    wait_until(lambda: _count_said(at, BACK) > outages, process.is_alive)


def test_a_line_to_postgresql_that_is_cut_for_a_while_pauses_the_send(postgresql_url: str, tmp_path: Path) -> None:
    crowd = prepare_postgresql(tmp_path, postgresql_url, SUBSCRIBERS, kilobytes=4)
    with (
        Line(crowd.copy_into(tmp_path)) as line,
        open_killable_send(smtp_route(4), tmp_path, line.url, SUBSCRIBERS, SLOW) as at,
        _in_the_middle(at, outages=2) as process,
    ):
        for _ in range(2):
            _take_away(at, process, line.fall, line.mend)


@pytest.mark.parametrize("mode", ["fast", pytest.param("immediate", marks=pytest.mark.soak)])
def test_a_postgresql_that_is_restarted_in_mid_send_pauses_the_send(
    server: OwnPostgresql, tmp_path: Path, mode: str
) -> None:
    url = prepare_postgresql(tmp_path, server.url, SUBSCRIBERS, kilobytes=4).copy_into(tmp_path)
    with open_killable_send(smtp_route(4), tmp_path, url, SUBSCRIBERS, SLOW) as at, _in_the_middle(at) as process:
        _take_away(at, process, lambda: server.stop(mode), server.start)


def test_a_writer_that_keeps_sqlite_locked_pauses_the_send(on_sqlite: PreparedDatabase, tmp_path: Path) -> None:
    with open_killable_send(smtp_route(4), tmp_path, on_sqlite.copy_into(tmp_path), SUBSCRIBERS, SLOW) as at:
        other = sqlite3.connect(tmp_path / "digest.db", timeout=WAIT_TIMEOUT, isolation_level=None)
        with closing(other), _in_the_middle(at, lock_timeout=BUSY) as process:
            _take_away(at, process, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))


def test_a_full_disk_pauses_the_send(on_sqlite: PreparedDatabase, tmp_path: Path) -> None:
    with (
        open_killable_send(smtp_route(4), tmp_path, on_sqlite.copy_into(tmp_path), SUBSCRIBERS, SLOW) as at,
        _in_the_middle(at) as process,
    ):
        number = process.pid or 0
        _, most = resource.prlimit(number, resource.RLIMIT_FSIZE)
        _take_away(
            at,
            process,
            lambda: resource.prlimit(number, resource.RLIMIT_FSIZE, (SMALL, most)),
            lambda: resource.prlimit(number, resource.RLIMIT_FSIZE, (most, most)),
        )


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_commit_may_fail_or_seem_to_fail_and_nobody_is_in_doubt(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """Each kind of transaction fails once before its commit, and once after it, when it is durable all the same."""
    if database == "sqlite":
        crowd = prepare_sqlite(tmp_path / "crowd", MANY, kilobytes=4)
    else:
        crowd = prepare_postgresql(tmp_path, request.getfixturevalue("postgresql_url"), MANY, kilobytes=4)
    with open_killable_send(smtp_route(4), tmp_path, crowd.copy_into(tmp_path), MANY) as at:
        process = at.start_process(failure_boundary_file=at.boundary_file)
        process.join(WAIT_TIMEOUT)
        assert process.exitcode == 0, at.log_tail()
        counts = at.check_against_receiver()
        assert counts[DeliveryState.ACCEPTED] == MANY == at.receiver.count_accepted()
        for written in ("insert delivery", "planned_at", "handed_at", "tries", "canary_until", "memo", "sent_at"):
            assert {b.rsplit("; ", 1)[1] for b in read_boundaries(at.boundary_file) if written in b} == {
                "before",
                "after",
            }
