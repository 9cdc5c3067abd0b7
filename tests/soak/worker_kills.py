"""Four workers on PostgreSQL send one large edition while workers and the scheduler are killed and the database restarts.

    python -m tests.soak.worker_kills [--subscribers 50000] [--rate 300] [--kill-every 4] [--seed N] [--no-page]

Every few seconds one of the workers (`digest work --only send`) is killed with SIGKILL and another started. Of two processes that
follow the timetable, on machines of their own by their names, the one that holds a slot is killed in the middle of its job. Twice PostgreSQL is stopped, once in good order and
once at once, and started again: no process is told. It ends with exit code 1, and writes nothing, where a bar does not hold.
"""

import argparse
import logging
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from benchmarks.sample_installation import EDITION_NAME, KEYS
from digest import logs
from digest.app.calendar.upcoming_steps import NIGHTLY_RULE
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState, ScheduleSlot
from digest.store.schedule_slots import find_or_record_schedule_start
from tests.deliver.kill_harness import KillableSend, max_doubts_in_vain, open_killable_send, smtp_route, wait_until
from tests.deliver.prepared_databases import prepare_postgresql
from tests.deliver.worker_server import WorkerServer, run_worker_server
from tests.own_postgresql import STOP_SIGNALS, OwnPostgresql, run_own_postgresql
from tests.soak.handover_moments import DoubtPlace, HandoverMoments, window_rates
from tests.soak.result_page import describe_origin, write_section

SUBSCRIBERS, RATE_LIMIT, KILL_INTERVAL = 50_000, 300.0, 4.0  # messages a second; seconds
WORKERS, CONNECTIONS = 4, 8
RECEIVER_DELAY = 0.002  # seconds that the receiver takes before it has a message, and again before it answers
DOWN_SECONDS = 3.0  # for which PostgreSQL is away
SETTLE_SECONDS = 6.0  # after it is back, in which nothing is killed, all processes find out, and no rate is counted
SLOT_KILL_SHARE, RESTART_SHARES = 0.12, (0.46, 0.54)  # of the readers who have it, when that happens
MAX_TAKEOVER_SECONDS = 60.0
MIN_RATE_SHARE, MAX_RATE_SHARE = 0.95, 1.02  # of the limit, in every window of 60 seconds
OUT_OF_REACH = "can't be reached"  # in the log, during an outage of the database


@dataclass
class WorkerKillResult:
    """What came of it; `problems` is empty where every bar holds."""

    subscribers: int
    rate_limit: float
    seed: int
    kills: list[float] = field(default_factory=list)  # moments, in seconds since 1970
    restarts: list[str] = field(default_factory=list)
    took_over_after: float = 0.0  # seconds
    slot_job: str = ""
    doubts: Counter[DoubtPlace] = field(default_factory=Counter)
    max_doubts: int = 0
    rates: list[float] = field(default_factory=list)  # of the windows without a restart
    rates_across: list[float] = field(default_factory=list)  # of those with one
    log_lines: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What does not hold, in words. Lost and repeated messages ended the run before."""
        low, high = MIN_RATE_SHARE * self.rate_limit, MAX_RATE_SHARE * self.rate_limit
        said = {
            f"it took {self.took_over_after:.0f} s to take over": self.took_over_after >= MAX_TAKEOVER_SECONDS,
            "a doubt that no kill explains": self.doubts[DoubtPlace.UNEXPLAINED] > 0,
            "no full window of 60 s": not self.rates,
            "a window of 60 s was too slow": min(self.rates, default=low) < low,
            "a window of 60 s was too fast": max((*self.rates, *self.rates_across), default=high) > high,
            "a process answered a restart with a traceback": self.log_lines["Traceback"] > 0,
        }
        return [words for words, wrong in said.items() if wrong]

    @property
    def table(self) -> str:
        """What was done and what came of it, a line each."""
        places = "; ".join(f"{count}: {place}" for place, count in sorted(self.doubts.items()) if count)
        across = f"{_share(max(self.rates_across), self.rate_limit)} at most" if self.rates_across else "none"
        rows = {
            "subscribers": f"{self.subscribers:,}",
            "workers, connections of each": f"{WORKERS}, {CONNECTIONS}",
            "rate limit in the settings, messages per second": f"{self.rate_limit:g}",
            "workers killed (SIGKILL)": f"{len(self.kills) - 2}",
            "restarts of PostgreSQL": " and ".join(self.restarts),
            "lost": "0",  # anything else would have ended the run
            "repeated": "0",
            "uncertain, of at most": f"{sum(self.doubts.values())} of {self.max_doubts}",
            "state of the uncertain ones": places or "there are none",
            f"rate in {len(self.rates)} windows of 60 s, kills among them": (
                f"{_share(min(self.rates, default=0.0), self.rate_limit)} to {_share(max(self.rates, default=0.0), self.rate_limit)} of the limit"
            ),
            f"rate in {len(self.rates_across)} windows of 60 s with a restart": across,
            f"the process that held the slot `{self.slot_job}` was killed; another took over after": f"{self.took_over_after:.1f} s",
            "tracebacks in the logs of all processes": f"{self.log_lines['Traceback']}",
            "lines in them about an unreachable database": f"{self.log_lines[OUT_OF_REACH]}",
            "seed": str(self.seed),
            "seconds": f"{self.seconds:.0f}",
        }
        return "\n".join(["| what | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows.items())])


def _share(rate: float, limit: float) -> str:
    return f"{100 * rate / limit:.1f} %"


@dataclass
class WorkerKillRun:
    """One such send, under way: what runs, and what happened to it."""

    at: KillableSend
    server: WorkerServer
    postgresql: OwnPostgresql
    result: WorkerKillResult
    kill_interval: float
    chance: random.Random
    workers: list[int] = field(default_factory=list)
    schedulers: list[int] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)  # between restarts: from and until when

    def send_all(self) -> None:
        """Do it from the first message to the last."""
        self._begin()
        self._pass_time(SETTLE_SECONDS)
        started = time.time()
        self._kill_until(SLOT_KILL_SHARE)
        self._kill_slot_holder()
        for share, mode in zip(RESTART_SHARES, STOP_SIGNALS, strict=True):
            self._kill_until(share)
            self.spans.append((started, time.time()))
            self._restart(mode)
            self._pass_time(SETTLE_SECONDS)
            started = time.time()
        self._kill_until(0.98)
        self.spans.append((started, time.time()))
        self._end()

    def _begin(self) -> None:
        # The release was missed by a week, so somebody sends it by hand.
        begun = self.at.start_process()
        wait_until(lambda: self.at.receiver.count_accepted() > 0, begun.is_alive)
        self.at.kill(begun)
        self.result.kills.append(time.time())
        self.workers = [self.server.start_worker() for _ in range(WORKERS)]

    def _kill_until(self, share: float) -> None:
        """Kill a worker every few seconds, and start another, until so many of the readers have it."""
        enough, next_kill = share * self.at.subscribers, time.monotonic() + self.kill_interval
        end = time.monotonic() + 2 * self.at.subscribers / self.result.rate_limit + 120
        while self.at.receiver.count_accepted() < enough:
            assert time.monotonic() < end, f"it got nowhere: {self.at.log_tail()}"
            if time.monotonic() >= next_kill:
                self._kill_worker()
                next_kill += self.kill_interval
            time.sleep(0.1)

    def _kill_worker(self) -> None:
        victim = self.workers.pop(self.chance.randrange(len(self.workers)))
        time.sleep(self.chance.uniform(0, 0.1))
        self.server.kill_worker(victim)
        self.result.kills.append(time.time())
        self.workers.append(self.server.start_worker())

    def _kill_slot_holder(self) -> None:
        """Start two processes that follow the timetable, kill the one that takes the night's slot, and see the other take it."""
        self.schedulers = [self.server.start_scheduler(f"machine-{number}") for number in (1, 2)]
        job, moment, holder = self._wait_for_slot()
        self.server.kill_worker(holder)
        self.result.kills.append(time.time())
        killed = time.monotonic()
        self.schedulers.remove(holder)
        self.result.slot_job = job
        wait_until(lambda: self._slot_holder(job, moment) != holder)
        self.result.took_over_after = time.monotonic() - killed

    def _wait_for_slot(self) -> tuple[str, datetime, int]:
        """Wait until a process is doing what a slot owes; return the slot and the process's number."""
        held = select(ScheduleSlot).where(ScheduleSlot.done_at.is_(None))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with self.at.database.read() as session:
                for slot in session.scalars(held):
                    if (holder := _process_number(slot.owner)) in self.schedulers:
                        return slot.job, slot.at, holder
            time.sleep(0.001)
        raise AssertionError("no slot was caught in the middle")

    def _slot_holder(self, job: str, moment: datetime) -> int:
        with self.at.database.read() as session:
            query = select(ScheduleSlot.owner).where(ScheduleSlot.job == job, ScheduleSlot.at == moment)
            return _process_number(session.scalars(query).one())

    def _restart(self, mode: str) -> None:
        self.postgresql.stop(mode)
        self._pass_time(DOWN_SECONDS)
        self.postgresql.start()
        self.at.database.close()  # its connections are dead
        self.result.restarts.append(mode)

    def _pass_time(self, seconds: float) -> None:
        time.sleep(seconds)
        for process in (*self.workers, *self.schedulers):
            assert _is_running(process), f"a process ended by itself: {self.at.log_tail()}"

    def _end(self) -> None:
        wait_until(self._is_sent)
        processes = (*self.workers, *self.schedulers)
        assert [self.server.stop_worker(process) for process in processes] == [0] * len(processes), self.at.log_tail()
        self.at.recover()
        self.at.finish_send()

    def _is_sent(self) -> bool:
        with self.at.database.read() as session:
            query = select(Edition.state).where(Edition.name == EDITION_NAME)
            return session.scalars(query).one() is EditionState.SENT

    def hold_to_account(self) -> None:
        """Compare the delivery counts with the receiver, and note where each doubt stood and how fast it all went."""
        at, result = self.at, self.result
        doubts = at.check_against_receiver()[DeliveryState.UNCERTAIN]
        result.max_doubts = len(result.kills) * CONNECTIONS
        assert doubts <= result.max_doubts, f"{doubts} are in doubt"
        assert at.count_doubts_in_vain() <= max_doubts_in_vain(at.route, len(result.kills))
        moments = HandoverMoments.from_folder(at.receiver.folder)
        with at.database.read() as session:
            uncertain = session.scalars(select(Delivery.person).where(Delivery.state == DeliveryState.UNCERTAIN)).all()
        result.doubts = Counter(moments.place_doubt(person, result.kills) for person in uncertain if person)
        came = sorted(moments.dots.values())
        for start, end in self.spans:
            result.rates += window_rates(came, start, end)
        for (_, before), (after, _) in zip(self.spans, self.spans[1:], strict=False):
            result.rates_across += window_rates(came, before - 59, after + 59)
        said = (at.options.home / "said").read_text("utf-8")
        result.log_lines = Counter({word: said.count(word) for word in ("Traceback", OUT_OF_REACH)})


def _process_number(owner: str) -> int:
    """Return the number of the process that an owner's name tells (`digest.store.process_identity`)."""
    return int(owner.split("/")[1])


def _is_running(process: int) -> bool:
    """Return whether a process runs: not one that ended and that nobody has asked for (proc(5): state Z)."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text("ascii").rpartition(")")[2].split()[0] != "Z"


def run_worker_kills(subscribers: int, rate_limit: float, kill_interval: float, seed: int) -> WorkerKillResult:
    """Send to so many readers, at `rate_limit` messages a second, and kill a worker every `kill_interval` seconds."""
    began, result = time.monotonic(), WorkerKillResult(subscribers, rate_limit, seed)
    with TemporaryDirectory(prefix="digest-soak-") as folder, run_own_postgresql() as postgresql:
        home, route = Path(folder), smtp_route(CONNECTIONS)
        url = prepare_postgresql(home, postgresql.url, subscribers, kilobytes=4).copy_into(home)
        with open_killable_send(route, home, url, subscribers, RECEIVER_DELAY) as opened:
            limits = UsageLimitSettings(send_per_second=rate_limit)
            at = replace(opened, options=replace(opened.options, limits=limits, canary_minutes=0))
            at.options.settings.key_file.touch(mode=0o600)
            at.options.settings.key_file.write_text(KEYS.to_json())
            night = NIGHTLY_RULE.latest_time(datetime.now(UTC), at.options.settings.file.publication.zone)
            find_or_record_schedule_start(at.database, night - timedelta(seconds=1))  # it is owed
            with run_worker_server(at.options) as server:
                run = WorkerKillRun(at, server, postgresql, result, kill_interval, random.Random(seed))
                run.send_all()
            run.hold_to_account()
    result.seconds = time.monotonic() - began
    return result


SECTION = """\
Four processes (`digest work --only send`) send one edition over PostgreSQL at the rate limit in the settings. Every few seconds, one of them is
killed (SIGKILL) and another one is started. Of two processes that follow the schedule, each under its own host name, the one that holds a slot is killed in the middle of its
job. The other one can't see that it's dead, and waits for its lease. Both send, too. PostgreSQL is stopped twice, once cleanly (fast) and once so that it has to recover (immediate), and returns after
some seconds. The processes aren't told, and none may end. The receiver notes when each dot arrived and when it answered. The rate is
counted there, in every window of 60 seconds that begins at least six seconds after the start and after each return of PostgreSQL. To repeat it, run `python -m tests.soak.worker_kills`.

{table}
"""


def record_result(result: WorkerKillResult, origin: str) -> None:
    """Write the section of the page; raise SystemExit, and write nothing, where a bar does not hold."""
    if result.problems:
        raise SystemExit("\n".join([result.table, *result.problems]))
    write_section("Workers", SECTION.format(table=result.table), origin)


def main() -> None:
    """Run it, print the table, and write the section of the page where every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=SUBSCRIBERS)
    parser.add_argument("--rate", type=float, default=RATE_LIMIT)
    parser.add_argument("--kill-every", type=float, default=KILL_INTERVAL)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--no-page", action="store_true", help="leave benchmarks/soak.md as it is")
    arguments = parser.parse_args()
    logs.configure_logging(logging.WARNING)
    origin = describe_origin()
    result = run_worker_kills(arguments.subscribers, arguments.rate, arguments.kill_every, arguments.seed)
    print(result.table)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.no_page:
        print("\n".join(result.problems))
    else:
        record_result(result, origin)


if __name__ == "__main__":
    main()
