"""The machine of the simulated year: one installation, opened by the processes that follow its schedule."""

import multiprocessing
import os
import random
import signal
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import scheduler
from digest.app import jobs
from digest.app.jobs import JobContext
from digest.installation.opened_installation import Installation, create_key_file, open_installation
from digest.settings import Settings, load_settings
from digest.store.process_identity import ProcessIdentity
from tests.shared_statements import share_compiled_statements
from tests.soak.year_clock import SimulatedClock, SimulatedStop
from tests.soak.year_world import FEED_NAMES

HOSTS = ("north", "south")  # where the two schedulers run: neither knows whether the other's processes live
CHILD_TIMEOUT = 300.0  # seconds
_processes = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class PublicationPlan:
    """A publication of the year: its zone, and its timetable in that zone's wall-clock time."""

    zone: str
    release: str  # on Sundays, the day on which most clocks change
    collect: str = "01:30"  # on Wednesdays and Sundays
    draft: str = "17:30"  # on Fridays
    backup: str = "02:30"  # on Thursdays

    def write_settings(self, site: str, backup_folder: Path | None) -> str:
        """Write the settings file; without a folder no backups are made by the timetable."""
        sources = "".join(
            f'[[sources]]\nurl = "{site}/{name}"\nname = "{name}"\npublisher = "{name}"\n' for name in FEED_NAMES
        )
        return f"""\
[publication]
name = "The Year"
tagline = "Every week"
site = "https://www.example.org"
about = "A newsletter of a simulated year."
timezone = "{self.zone}"
[sender]
name = "The Year"
postal_address = "1 Example Street, Springfield"
[schedule]
collect = ["wed {self.collect}", "sun {self.collect}"]
draft = "fri {self.draft}"
send = "sun {self.release}"
[select]
minimum = 1
[limits]
allow_networks = ["127.0.0.0/8"]
[alerts]
mail = "off"
[backup]
folder = "{backup_folder or ""}"
at = ["thu {self.backup}"]
daily = 3
weekly = 0
{sources}"""


@dataclass(frozen=True)
class MachinePlace:
    """Where the installation is: enough for a process to open it."""

    settings_file: Path
    environment: Mapping[str, str]

    def read_settings(self) -> Settings:
        """Read the settings, as a process does that starts."""
        return load_settings(self.settings_file, self.environment)


def set_up_machine(
    folder: Path,
    plan: PublicationPlan,
    clock: SimulatedClock,
    *,
    site: str,
    mail_url: str,
    database_url: str,
    passphrase: str,
) -> MachinePlace:
    """Write settings and keys into a folder, and make the database; backups are encrypted where there is a passphrase."""
    file = folder / "digest.toml"
    file.write_text(plan.write_settings(site, None), "utf-8")
    environment = {
        "DIGEST_HOME": str(folder / "data"),
        "DIGEST_BASE_URL": "https://news.example.org",
        "DIGEST_MAIL_URL": mail_url,
        "DIGEST_BACKUP_PASSPHRASE": passphrase,
        "DIGEST_DATABASE_URL": database_url,
    }
    place = MachinePlace(file, environment)
    with open_installation(place.read_settings(), may_create=True, clock=clock) as installation:
        create_key_file(installation)
    return place


class SchedulerProcess:
    """What a process that follows the timetable has of its own, from its start until it is thrown away."""

    def __init__(self, place: MachinePlace, host: str, clock: SimulatedClock) -> None:
        self._opened = ExitStack()
        installation = self._opened.enter_context(open_installation(place.read_settings(), clock=clock))
        share_compiled_statements(installation.database)
        self.stopping = SimulatedStop(clock)
        self._context = JobContext(installation, clock, self.stopping, ProcessIdentity(host=host))
        jobs.record_schedule_start(self._context)
        self._jobs = scheduler.build_tick_jobs(self._context)

    @property
    def installation(self) -> Installation:
        """The installation as this process has it open."""
        return self._context.installation

    def tick(self, rng: random.Random, due_jobs: Collection[str]) -> None:
        """Let jobs look, in whatever order the threads of a real process come to it: those that are due, the send and a few others.

        Each job of a real process has a thread and an interval of its own.
        """
        names = sorted({"look", "release", *due_jobs, *rng.sample(list(self._jobs), 2)})
        rng.shuffle(names)
        for name in names:
            self._jobs[name]()

    def tick_all(self) -> None:
        """Let every job look, in the order in which a process has them."""
        for look in self._jobs.values():
            look()

    def throw_away(self) -> None:
        """End it without a word to anybody."""
        self._opened.close()


def tick_together(processes: Collection[SchedulerProcess], seeds: Collection[int], due_jobs: Collection[str]) -> None:
    """Let processes tick at the same time."""
    with ThreadPoolExecutor(len(processes)) as threads:
        ticking = [
            threads.submit(process.tick, random.Random(seed), due_jobs)
            for process, seed in zip(processes, seeds, strict=True)
        ]
    for tick in ticking:
        tick.result()


class KillableTick:
    """A tick in a process of its own."""

    def __init__(self, place: MachinePlace, now: datetime, seed: int) -> None:
        self._process = _processes.Process(target=_tick_once, args=(place, now, seed), daemon=True)

    def kill(self) -> None:
        """Kill it, as the kernel does where memory runs out."""
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGKILL)

    def run(self) -> bool:
        """Let it tick; return whether it was killed.

        Raises:
            AssertionError: it ended in another way.
        """
        self._process.start()
        self._process.join(CHILD_TIMEOUT)
        assert self._process.exitcode in {0, -signal.SIGKILL}, f"exit {self._process.exitcode}"
        return self._process.exitcode != 0


def _tick_once(place: MachinePlace, now: datetime, seed: int) -> None:
    SchedulerProcess(place, HOSTS[0], SimulatedClock(now)).tick(random.Random(seed), ())
