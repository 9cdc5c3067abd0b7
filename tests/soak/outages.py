"""A year with an outage at one step of each week: `python -m tests.soak.outages [--weeks 52] [--seed N] [--no-page]`.

The service stops a minute before the step and stays away for more than an hour, or its mail server rejects everything for as long. Within
an hour of the step, two things must have noticed: inside, what a doctor, the desk of another process, and the alerts share; outside, a watch
that expects the step's heartbeat. After the outage, the service makes up for the step, the heartbeat comes, and nothing is reported anymore.
"""

import argparse
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from zoneinfo import ZoneInfo

from sqlalchemy import select
from structlog.testing import capture_logs

from digest.app.alerts.problem_detection import detect_problems
from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.collect.fetch import guarded_request
from digest.installation.opened_installation import open_installation
from digest.settings import Settings
from digest.store.models import Edition, EditionState
from subscribers.signup.manual_signup import ConsentEvidence
from tests.actors import EDITOR
from tests.cheap_hashing import make_hashing_cheap
from tests.deliver.many_subscribers import add_many_subscribers
from tests.deliver.smtp_servers import run_smtp_server
from tests.migrated_databases import write_migrated_file
from tests.soak.result_page import describe_origin, write_section
from tests.soak.year_clock import SimulatedClock, wall_moment_on
from tests.soak.year_machine import HOSTS, MachinePlace, PublicationPlan, SchedulerProcess, set_up_machine
from tests.soak.year_plan import FIRST_MONDAY
from tests.soak.year_world import GrowingSite, YearlongMailbox

WEEKS = 52
PLAN = PublicationPlan("America/New_York", "06:00")
NIGHTLY_AT = time(3, 30)
APPROVED_AT = time(12)  # on Saturdays
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# The step at which the service is away, with the weekday (0 is Monday) and the wall-clock time, and the heartbeat that's missing outside.
STEPS = {
    "collection": ("collect", 2, time.fromisoformat(PLAN.collect)),
    "backup": ("backup", 3, time.fromisoformat(PLAN.backup)),
    "draft": ("draft", 4, time.fromisoformat(PLAN.draft)),
    "nightly maintenance": ("nightly", 5, NIGHTLY_AT),
    "reminder": ("remind", 5, time(19)),  # 11 and 10 hours before the send time, as the settings have it by default
    "deadline": ("deadline", 5, time(20)),
    "send": ("send", 6, time.fromisoformat(PLAN.release)),
    "send, rejected by the mail server": ("send", 6, time.fromisoformat(PLAN.release)),
}
MAIL_SERVER_OUTAGES = {"send, rejected by the mail server"}
READERS = ["ada@example.org", "ben@example.org"]
SECTION = """\
A year of a weekly publication on SQLite, under a clock that the simulation moves. In each week, the service stops a minute before one of its steps
and stays away for one to three hours, or its mail server rejects everything for as long. "Inside" is the time until the doctor, the desk, and the
alerts of another process report the missed step. "Outside" means that a monitoring service with a grace period of an hour reports the missing heartbeat. After the outage,
the step is made up for, the reports end, and both subscribers got every edition once. To repeat it, run `python -m tests.soak.outages`.

| step | outages | reported inside within, minutes | missed outside | made up for | ended inside |
|---|---|---|---|---|---|
{rows}

Seed {seed}.
"""


@dataclass
class StepResult:
    """What came of the outages at one step; `inside` has the minutes after which each was reported."""

    inside: list[int] = field(default_factory=list)
    outages: int = 0
    missed_outside: int = 0
    made_up_for: int = 0
    ended: int = 0


class OutageYear:
    """The publication, its machine, and the watch outside."""

    def __init__(self, place: MachinePlace, clock: SimulatedClock, mailbox: YearlongMailbox, seed: int) -> None:
        self.place, self.clock, self.mailbox, self.rng = place, clock, mailbox, random.Random(seed)
        self.zone = ZoneInfo(PLAN.zone)
        self.pings: defaultdict[str, list[datetime]] = defaultdict(list)
        self.results = {step: StepResult() for step in STEPS}
        self.process = self._start()
        evidence = ConsentEvidence("Yes.", "1", "en", "example.org", "form", "test", agreed_at=clock())
        with self.process.installation.write() as session:
            add_many_subscribers(session, self.process.installation.keys, READERS, evidence=evidence, now=clock())

    def _start(self) -> SchedulerProcess:
        return SchedulerProcess(self.place, HOSTS[0], self.clock)

    def take_heartbeat(self, _settings: Settings, url: str, *_: object) -> str:
        """Take a heartbeat, as the watch does."""
        self.pings[url.rpartition("/")[2]].append(self.clock())
        return ""

    def live_until(self, moments: list[datetime]) -> None:
        """Have the service do what's due at moments, and look again a minute and ten minutes later."""
        for moment in moments:
            for later in (timedelta(), MINUTE, 10 * MINUTE):
                self.clock.move_to(max(moment + later, self.clock()))
                self._approve()
                self.process.tick_all()

    def _approve(self) -> None:
        now, installation = self.clock(), self.process.installation
        with installation.read() as session:
            drafts = session.execute(
                select(Edition.name, Edition.release_at).where(Edition.state == EditionState.DRAFT)
            ).all()
        for name, release_at in drafts:
            if release_at - 18 * HOUR <= now < release_at:
                marked = read_edition_status(installation, name, now=now).content_hash
                edition_approval.approve_edition(installation, name, marked, actor=EDITOR, now=now)

    def find_reports(self) -> set[tuple[str, str]]:
        """Return what doctor, the desk, and the alerts report now, in a process of its own."""
        with open_installation(self.place.read_settings(), clock=self.clock) as installation:
            return {(found.kind, found.subject) for found in detect_problems(installation, now=self.clock())}

    def live_week(self, monday: date, outage: str) -> None:
        """Live through a week, with an outage at a step."""
        job, weekday, at = STEPS[outage]
        steps = {
            wall_moment_on(monday + timedelta(days=day), clock_time, self.zone)
            for _, day, clock_time in (*STEPS.values(), ("collect", 6, time.fromisoformat(PLAN.collect)))
        }
        steps |= {wall_moment_on(monday + timedelta(days=day), NIGHTLY_AT, self.zone) for day in range(7)}
        steps.add(wall_moment_on(monday + timedelta(days=5), APPROVED_AT, self.zone))
        moment = wall_moment_on(monday + timedelta(days=weekday), at, self.zone)
        self.live_until(sorted(step for step in steps if step < moment))
        back_at = self._stay_away(outage, job, moment)
        self.live_until(sorted({back_at, back_at + 15 * MINUTE, *(step for step in steps if step > moment)}))

    def _stay_away(self, outage: str, job: str, moment: datetime) -> datetime:
        """Have an outage at a moment; count what's reported, and return when the service works again."""
        result, is_up = self.results[outage], outage in MAIL_SERVER_OUTAGES
        self.clock.move_to(max(moment - MINUTE, self.clock()))
        before = self.find_reports()
        self.mailbox.rejects_all = is_up
        if not is_up:
            self.process.throw_away()
        result.outages += 1
        for minutes in range(5, 61, 5):
            self.clock.move_to(moment + minutes * MINUTE)
            if is_up:
                self.process.tick_all()
            if self.find_reports() - before:
                result.inside.append(minutes)
                break
        result.missed_outside += not any(moment <= ping <= moment + HOUR for ping in self.pings[job])
        back_at = moment + HOUR + self.rng.randrange(5, 120) * MINUTE
        self.clock.move_to(back_at)
        self.mailbox.rejects_all = False
        if not is_up:
            self.process = self._start()
        self.live_until([back_at, back_at + 15 * MINUTE])
        result.made_up_for += any(ping >= back_at for ping in self.pings[job])
        result.ended += not self.find_reports() - before
        return self.clock()


@contextmanager
def run_outage_year(seed: int) -> Iterator[OutageYear]:
    """Set the year up, in a folder that's deleted at the end."""
    clock = SimulatedClock(datetime.combine(FIRST_MONDAY, time(11), tzinfo=UTC))
    mailbox = YearlongMailbox(clock)
    with (
        TemporaryDirectory(prefix="digest-outages-") as name,
        GrowingSite(clock) as site,
        run_smtp_server(mailbox) as port,
        capture_logs(),
        ExitStack() as stack,
    ):
        folder = Path(name)
        (folder / "data").mkdir(mode=0o700)
        write_migrated_file(folder / "empty.db")
        make_hashing_cheap()  # a third of the time went into the backups' passphrase
        shutil.copy(folder / "empty.db", folder / "data" / "digest.db")
        place = set_up_machine(
            *(folder, PLAN, clock),
            site=site.base,
            mail_url=f"smtp://127.0.0.1:{port}?starttls=off&connections=1",
            database_url="",
            passphrase="a simulated year",
        )
        heartbeats = "".join(
            f'{job} = "https://watch.example.org/{job}"\n' for job in {job for job, _, _ in STEPS.values()}
        )
        settings = PLAN.write_settings(site.base, folder / "backups")
        place.settings_file.write_text(f"{settings}\n[heartbeats]\n{heartbeats}", "utf-8")
        year = OutageYear(place, clock, mailbox, seed)
        stack.enter_context(patch.object(guarded_request, "send_guarded_request", year.take_heartbeat))
        yield year


def describe_outages(results: dict[str, StepResult], seed: int) -> str:
    """Write the section."""
    rows = (
        f"| {step} | {found.outages} | {max(found.inside, default=0)} | {found.missed_outside} | {found.made_up_for} | {found.ended} |"
        for step, found in results.items()
    )
    return SECTION.format(rows="\n".join(rows), seed=seed)


def find_problems(results: dict[str, StepResult]) -> list[str]:
    """Return what wasn't noticed, or not made up for, in words."""
    expected = ("missed_outside", "made_up_for", "ended")
    problems = [
        f"{step}: {getattr(found, name)} of {found.outages} {name.replace('_', ' ')}"
        for step, found in results.items()
        for name in expected
        if getattr(found, name) != found.outages
    ]
    inside = (
        f"{step}: {len(found.inside)} of {found.outages} reported inside"
        for step, found in results.items()
        if len(found.inside) != found.outages
    )
    return [*problems, *inside]


def simulate_outages(weeks: int, seed: int) -> dict[str, StepResult]:
    """Live through so many weeks, after one without an outage; every reader gets every edition once."""
    with run_outage_year(seed) as year:
        for number in range(weeks):
            year.live_week(FIRST_MONDAY + timedelta(weeks=number + 1), list(STEPS)[number % len(STEPS)])
        editions = {edition for _, edition, _ in year.mailbox.arrived}
        assert len(editions) >= weeks
        assert sorted(got[:2] for got in year.mailbox.arrived) == sorted(product(READERS, editions))
        return year.results


def record_outages(origin: str, weeks: int = WEEKS, seed: int = 1) -> None:
    """Simulate the year, and write its section; raise `SystemExit` if an outage wasn't noticed."""
    results = simulate_outages(weeks, seed)
    if problems := find_problems(results):
        raise SystemExit("\n".join(problems))
    write_section("Outages", describe_outages(results, seed), origin)


def main() -> None:
    """Simulate it by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=WEEKS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-page", action="store_true", help="print the results instead of writing benchmarks/soak.md"
    )
    arguments = parser.parse_args()
    if arguments.no_page:
        results = simulate_outages(arguments.weeks, arguments.seed)
        print(describe_outages(results, arguments.seed), *find_problems(results), sep="\n")
    else:
        record_outages(describe_origin(), arguments.weeks, arguments.seed)


if __name__ == "__main__":
    main()
