"""Workers for a test: a process that has imported everything forks one for each line `start ROLE`, and writes its PID.

A `worker` is what `digest work --only PART` is, a `scheduler` what `hls-scheduler` is. `wait NUMBER` writes how one ended.
So it begins in milliseconds, and may be killed like any process. `start ROLE@MACHINE` gives it another host name, by which
processes tell each other's machines: nobody there can see that it is dead.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from digest import logs
from digest.app.jobs import JobContext
from digest.installation.opened_installation import Installation
from digest.settings import Settings, UsageLimitSettings, load_settings
from digest.stop_signals import stop_on_signal
from digest.store.engine import open_database
from scheduler import JobScheduler
from tests.deliver.send_process import SendOptions

# unshare(2): a host name of its own, and for who is not root also users of its own, among whom it may set one.
_CLONE_NEWUTS, _CLONE_NEWUSER = 0x04000000, 0x10000000


@dataclass(frozen=True)
class WorkerServer:
    """The process that forks, as seen from outside."""

    orders: IO[str]
    answers: IO[str]

    def start_worker(self) -> int:
        """Start a worker; return its process number."""
        return self._ask("start worker")

    def start_scheduler(self, machine: str) -> int:
        """Start a process that follows the timetable, on a machine of this name; return its number."""
        return self._ask(f"start scheduler@{machine}")

    def kill_worker(self, number: int) -> None:
        """Kill one, which must be running."""
        os.kill(number, signal.SIGKILL)
        assert self._ask(f"wait {number}") == -signal.SIGKILL

    def stop_worker(self, number: int) -> int:
        """Stop one as a service manager does; return its exit code."""
        os.kill(number, signal.SIGTERM)
        return self._ask(f"wait {number}")

    def _ask(self, order: str) -> int:
        print(order, file=self.orders, flush=True)
        return int(self.answers.readline())


@contextmanager
def run_worker_server(options: SendOptions | None = None, *, part: str = "send") -> Iterator[WorkerServer]:
    """Run one for an installation until the end of the block; it ends with its workers.

    Without options the installation is that of this folder and the environment. `part` is what the workers are for.
    """
    places: tuple[str, ...] = ()
    if options:
        canary, limits = str(options.canary_minutes), options.limits.model_dump_json()
        places = (str(options.home), options.database_url, options.mail_url, canary, limits)
    command = [sys.executable, "-m", "tests.deliver.worker_server", part, *places]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield WorkerServer(process.stdin, process.stdout)
        process.stdin.close()


def _name_machine(machine: str) -> None:
    """Give this process a host name of its own. Raises OSError where the kernel allows none."""
    flags = _CLONE_NEWUTS | (_CLONE_NEWUSER if os.geteuid() else 0)
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    socket.sethostname(machine)


def _work(settings: Settings, role: str) -> None:
    with (settings.home / "said").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    logs.configure_logging()
    context = JobContext(Installation(settings, open_database(settings.effective_database_url)))
    scheduler = JobScheduler(context) if role == "scheduler" else JobScheduler.for_worker(context, (role,))
    with stop_on_signal() as stopping:
        scheduler.start()
        stopping.wait()
        scheduler.stop()


def _read_options(home: str, database: str, mail: str, canary: str, limits: str) -> SendOptions:
    bounds = UsageLimitSettings.model_validate_json(limits)
    return SendOptions(Path(home), database, mail, limits=bounds, canary_minutes=int(canary))


def _follow_orders(settings: Settings, part: str) -> None:
    workers = set[int]()
    for line in sys.stdin:
        order, argument = line.split()
        if order == "start":
            child = os.fork()
            if not child:
                sys.stdin.close()
                role, _, machine = argument.partition("@")
                if machine:
                    _name_machine(machine)
                _work(settings, part if role == "worker" else role)
                os._exit(0)
            workers.add(child)
            print(child, flush=True)
        else:
            workers.remove(int(argument))
            print(os.waitstatus_to_exitcode(os.waitpid(int(argument), 0)[1]), flush=True)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


if __name__ == "__main__":
    _part, *_places = sys.argv[1:]
    _follow_orders(_read_options(*_places).settings if _places else load_settings(), _part)
