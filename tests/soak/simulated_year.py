"""A year of the product under a clock that the simulation moves: restarts, kills, two schedulers, jumps of the clock, restores.

    python -m tests.soak.simulated_year [--zone ZONE …] [--database sqlite|postgresql] [--first-week N] [--weeks N] [--seed N] [--record]

The same seed gives the same year where zone, database and number of weeks are the same too. Everything is real but the time: the installation, its database, the scheduler's jobs, a mail server and a site on loopback. When
something is due is reckoned here anew, by looking at clocks (`year_clock`), and compared with what the product did.
"""

import argparse
import heapq
import random
import shutil
import sys
import time as wall
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, time, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from structlog.testing import capture_logs

from digest.app.approval import edition_approval
from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from digest.app.editions.edition_status import read_edition_status
from digest.app.jobs import SLOT_JOBS
from digest.app.sending import uncertain_delivery_actions
from digest.app.subscribers import subscriber_actions
from digest.app.upkeep import backups
from digest.backups import creation
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution
from digest.edition.editing.edits import EditionField
from digest.installation import sending_pause as hold_actions
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState, ScheduleSlot
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.manual_signup import ConsentEvidence
from tests.actors import ADMIN, EDITOR
from tests.deliver.smtp_servers import run_smtp_server
from tests.own_postgresql import run_own_postgresql
from tests.run_database import run_on_server, sibling_database_url
from tests.soak.result_page import describe_origin
from tests.soak.year_arrivals import ArrivalAccount, OwedEdition
from tests.soak.year_clock import SimulatedClock, wall_moment_on
from tests.soak.year_machine import (
    HOSTS,
    KillableTick,
    MachinePlace,
    PublicationPlan,
    SchedulerProcess,
    set_up_machine,
    tick_together,
)
from tests.soak.year_plan import (
    FIRST_MONDAY,
    PLANS,
    SUBSCRIBER_ZONES,
    TIMED_BACKUP,
    ZONES,
    WeekPlan,
    YearIncidents,
    YearSubscriber,
)
from tests.soak.year_report import describe_standstill
from tests.soak.year_results import TABLE_HEAD, YearTally, record_years
from tests.soak.year_world import GrowingSite, YearlongMailbox

DATABASES = ("sqlite", "postgresql")
MEMORY_FOLDER = Path("/dev/shm")  # no machine fails here, so nothing has to reach a disk
YEAR_WEEKS = 53  # as many as 2026 has by ISO 8601
YEAR_SUBSCRIBERS = 44
NIGHTLY = time(3, 30)
LATE_RELEASE = timedelta(hours=1)  # a release that is later counts hours from when it really went
MISSED_RELEASE = timedelta(hours=24)
SEND_TIME = timedelta(minutes=2)  # that one tick may take of the simulated time
RETRY_ROUNDS, RETRY_SECONDS = 3, 65
MAX_SHOWN = 5  # late deliveries that a failure describes
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)


class SimulatedYear:
    """A publication's year. What goes wrong is an `AssertionError` that names the edition and the reader's number here."""

    def __init__(
        self,
        plan: PublicationPlan,
        place: MachinePlace,
        clock: SimulatedClock,
        mailbox: YearlongMailbox,
        site: str,
        *,
        weeks: int,
        subscribers: int,
        seed: int,
        incidents: YearIncidents,
        logged: Sequence[Mapping[str, Any]],
        report: Callable[[str], object],
    ) -> None:
        self.logged = logged  # what the processes have said
        self.report = report  # called with what the year has come to
        self.plan, self.place, self.clock, self.mailbox, self.site = plan, place, clock, mailbox, site
        self.zone = ZoneInfo(plan.zone)
        self.rng = random.Random(seed)
        self.tally = YearTally(plan.zone, "", seed)
        self.incidents = incidents
        self.processes: list[SchedulerProcess] = []
        self.subscribers: list[YearSubscriber] = []
        self.planned_at: dict[str, datetime] = {}
        self.account = ArrivalAccount(mailbox, self.tally)
        self.sent_editions: set[str] = set()
        self.approved: dict[str, datetime] = {}
        self.is_held = False
        self.extra_backups: dict[str, Path] = {}
        self._agenda: list[tuple[datetime, int, Collection[str], Callable[[], object] | None]] = []
        self._due_moments: set[datetime] = set()
        self._numbers = count()
        self.weeks = [self._plan_week(number) for number in range(weeks)]
        self.subscriber_count = subscribers

    # --- the plan ----------------------------------------------------------------------------------------------

    def _plan_week(self, number: int) -> WeekPlan:
        monday = FIRST_MONDAY + timedelta(weeks=self.incidents.first_week + number)
        sunday, rng = monday + timedelta(days=6), self.rng
        release_at = wall_moment_on(sunday, time.fromisoformat(self.plan.release), self.zone)
        saturday = wall_moment_on(sunday - DAY, time(8), self.zone)
        approve_at = saturday + rng.randrange(0, 11 * 60) * MINUTE
        if number in self.incidents.late_approvals:
            approve_at = release_at + rng.randrange(20, 5 * 60) * MINUTE
        return WeekPlan(monday, release_at, approve_at, edits_first=rng.random() < 0.2)

    def _put(self, moment: datetime, action: Callable[[], object] | None = None, *, jobs: Collection[str] = ()) -> None:
        """Put a tick on the agenda, after an action."""
        heapq.heappush(self._agenda, (moment, next(self._numbers), jobs, action))

    def _put_due(self, due_at: datetime) -> None:
        """Put a tick on the agenda right after readers are due, one for all of them."""
        if due_at not in self._due_moments:
            self._due_moments.add(due_at)
            self._put(due_at + timedelta(seconds=self.rng.uniform(0, 5)))

    def _list_job_moments(self, week: WeekPlan) -> dict[str, list[datetime]]:
        """List when the jobs with slots are due in a week, by clocks."""
        days = [week.monday + timedelta(days=number) for number in range(7)]
        plan = self.plan
        wanted = {
            "nightly": (NIGHTLY, range(7)),
            "collect": (time.fromisoformat(plan.collect), (2, 6)),
            "draft": (time.fromisoformat(plan.draft), (4,)),
            "backup": (time.fromisoformat(plan.backup), (3,)),
        }
        return {
            job: [wall_moment_on(days[day], at, self.zone) for day in weekdays]
            for job, (at, weekdays) in wanted.items()
        }

    def _put_week(self, number: int, week: WeekPlan) -> None:
        """Put what a week is to bring on the agenda."""
        rng, incidents = self.rng, self.incidents
        for job, moments in self._list_job_moments(week).items():
            for moment in moments:
                self._put(moment + timedelta(seconds=rng.uniform(0, 5)), jobs=(job, "deadline", "remind"))
        for moment in (week.release_at - 20 * MINUTE, week.release_at, week.approve_at):
            self._put(moment + timedelta(seconds=rng.uniform(0, 5)))
        noon = datetime.combine(week.monday, time(12), tzinfo=UTC)
        self._put(noon + rng.randrange(0, 300) * MINUTE, self._change_list)
        if number in incidents.back_jumps:
            # Right after something happened: it must not happen again.
            moment = rng.choice([week.release_at, *self._list_job_moments(week)["collect"]])
            self._put(moment + 5 * MINUTE, self._set_clock_back)
        if number in incidents.forward_jumps:
            self._put(week.release_at + rng.randrange(-12 * 60, 18 * 60) * MINUTE, self._sleep_for_hours)
        kind = incidents.restores.get(number, "")
        if kind:
            self._put_restore(week, kind)
        folder = self.place.settings_file.parent / "backups" if kind == TIMED_BACKUP else None
        self.place.settings_file.write_text(self.plan.write_settings(self.site, folder), "utf-8")

    def _put_restore(self, week: WeekPlan, kind: str) -> None:
        back_up = lambda: self._back_up(week.name)  # noqa: E731 - named for the three lines below
        restore = lambda: self._restore(self.extra_backups.get(week.name))  # noqa: E731
        if kind == "before release":
            self._put(week.release_at - 90 * MINUTE, back_up)
            self._put(week.release_at + self.rng.randrange(90, 480) * MINUTE, restore)
        elif kind == "during the day":
            self._put(week.release_at + 2 * HOUR, back_up)
            self._put(week.release_at + self.rng.randrange(5 * 60, 12 * 60) * MINUTE, restore)
        else:  # the last one of the timetable, made before the edition was drafted
            self._put(week.release_at + 2 * DAY + 5 * HOUR, restore)

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _start_processes(self) -> None:
        self.processes = [SchedulerProcess(self.place, host, self.clock) for host in HOSTS]

    def _throw_away(self) -> None:
        for process in self.processes:
            process.throw_away()
        self.processes = []

    def _restart(self) -> None:
        self._throw_away()
        self._start_processes()
        self.tally.restarts += 1

    def _set_clock_back(self) -> None:
        """Set the clock back by minutes, and live through these minutes again."""
        before = self.clock()
        back = self.rng.randrange(3, 55) * MINUTE
        self.clock.move_to(before - back)
        for part in range(3):
            self._put(before - back * (2 - part) / 3, jobs=SLOT_JOBS)
        self.tally.jumps += 1

    def _sleep_for_hours(self) -> None:
        """Let the machine sleep for hours: what was due meanwhile comes after that, once."""
        slept_at = self.clock()
        wakes_at = slept_at + self.rng.randrange(90, 9 * 60) * MINUTE
        # What was to be done by people is done when the machine is awake.
        missed = [entry for entry in self._agenda if entry[0] <= wakes_at]
        self._agenda = [entry for entry in self._agenda if entry[0] > wakes_at]
        heapq.heapify(self._agenda)
        for *_, action in missed:
            if action is not None:
                self._put(wakes_at + MINUTE, action)
        self.clock.move_to(wakes_at)
        self._put(wakes_at, jobs=SLOT_JOBS)
        self.account.outages.append((slept_at, wakes_at + SEND_TIME))
        self.tally.jumps += 1

    def _back_up(self, name: str) -> None:
        file = self.place.settings_file.parent / f"{name}.backup"
        creation.create_backup(self._installation.database, file, now=self.clock())
        self.extra_backups[name] = file

    def _restore(self, file: Path | None) -> None:
        """Restore a backup; the installation is released hours later, and nothing may leave before."""
        leaver = next((r for r in self.subscribers if r.left_at is None and r.preferences.hour is not None), None)
        if leaver is not None:
            self._leave(leaver)
        if file is None:
            folder = self.place.settings_file.parent / "backups"
            file = max(path for path in folder.iterdir() if path.suffix != ".log")
        held_at = self.clock()
        self._throw_away()
        result = backups.restore_backup(self.place.read_settings(), ADMIN, file, replace=True, now=held_at)
        assert result.proof.sound
        self._start_processes()
        self.tally.restores += 1
        self.is_held = True
        self._add_lost_subscribers(datetime.fromisoformat(result.manifest.made_at))
        released_at = held_at + self.rng.randrange(60, 240) * MINUTE
        self._put(held_at + 30 * MINUTE, jobs=SLOT_JOBS)
        self._put(released_at, self._release_hold)
        self.account.outages.append((held_at, released_at + SEND_TIME))

    def _release_hold(self) -> None:
        """Say what became of the doubts, by the mail server's word, and let mail leave again."""
        self._resolve_doubts()
        assert hold_actions.resume_all_sending(self._installation, actor=ADMIN, now=self.clock())
        self.is_held = False
        self._tick_round()  # what was not planned in the copy is in doubt only now
        self._resolve_doubts()

    def _add_lost_subscribers(self, made_at: datetime) -> None:
        """Let those sign up again of whom the backup knew nothing."""
        for subscriber in self.subscribers:
            if subscriber.joined_at > made_at and subscriber.left_at is None:
                self._add(subscriber)

    # --- people -----------------------------------------------------------------------------------------------------

    @property
    def _installation(self) -> Installation:
        return self.processes[0].installation

    def _add_subscribers(self) -> None:
        """Add readers of all zones; most chose an hour at which others are due too, some one that clocks leave out or show twice."""
        for name in range(self.subscriber_count):
            zone = SUBSCRIBER_ZONES[name % len(SUBSCRIBER_ZONES)]
            moment = self.weeks[0].release_at + self.rng.randrange(5) * 5 * HOUR
            hour = moment.astimezone(ZoneInfo(zone)).hour if name % 8 else self.rng.randrange(4)
            has_hour = name < len(SUBSCRIBER_ZONES) or name % 3
            self._join(
                YearSubscriber(name, Preferences(hour=hour, zone=zone) if has_hour else Preferences(), self.clock())
            )

    def _join(self, subscriber: YearSubscriber) -> None:
        self.subscribers.append(subscriber)
        self._add(subscriber)

    def _add(self, subscriber: YearSubscriber) -> None:
        now = self.clock()
        agreed_at = now - HOUR
        evidence = ConsentEvidence("Yes.", "of the list", "en", "a fair", "signed list", ADMIN.name, agreed_at)
        signup = subscriber_actions.add_person(self._installation, ADMIN, subscriber.address, evidence, now=now)
        subscriber.number, subscriber.joined_at = signup.number, now
        with self._installation.database.write() as session:
            change_preferences(session, subscriber.number, subscriber.preferences, now)

    def _leave(self, subscriber: YearSubscriber) -> None:
        now = self.clock()
        subscriber_actions.unsubscribe_by_admin(self._installation, ADMIN, subscriber.number, "asked", now=now)
        subscriber.left_at = now
        for owed in self.account.owed.values():
            self.tally.withdrawn += owed.pop(subscriber.address, None) is not None

    def _change_list(self) -> None:
        """Let somebody leave, and somebody join."""
        rng = self.rng
        staying = [subscriber for subscriber in self.subscribers if subscriber.left_at is None]
        self._leave(rng.choice(staying))
        preferences = rng.choice(staying).preferences
        self._join(YearSubscriber(len(self.subscribers), preferences, self.clock()))

    def _act_as_editor(self) -> None:
        """Approve this week's draft, once it is time."""
        now = self.clock()
        for week in self.weeks:
            if not week.approve_at <= now < week.release_at + MISSED_RELEASE:
                continue
            with self._installation.database.read() as session:
                state = session.scalar(select(Edition.state).where(Edition.name == week.name))
            if state is EditionState.DRAFT and week.name not in self.sent_editions:
                if week.edits_first:
                    form = EditForm(week.name, EDITOR, now)
                    editing.set_edition_text(
                        self._installation, form, EditionField.INTRO, f"What happened until {now:%B %d}."
                    )
                marked = read_edition_status(self._installation, week.name, now=now).content_hash
                edition_approval.approve_edition(self._installation, week.name, marked, actor=EDITOR, now=now)
                self.approved[week.name] = now

    def _resolve_doubts(self) -> None:
        """Say of each uncertain delivery what the mail server knows."""
        now, installation = self.clock(), self._installation
        addresses = {subscriber.number: subscriber.address for subscriber in self.subscribers}
        for week in self.weeks:
            if week.release_at > now or week.release_at < now - 7 * DAY:
                continue
            with installation.database.read() as session:
                if session.scalar(select(Edition.id).where(Edition.name == week.name)) is None:
                    continue
            answers: dict[UncertainResolution, list[str]] = {resolution: [] for resolution in UncertainResolution}
            for doubt in uncertain_delivery_actions.list_uncertain(installation, week.name, now=now):
                has_it = doubt.person is None or self.account.got[week.name, addresses[doubt.person]]
                answers[UncertainResolution.ACCEPTED if has_it else UncertainResolution.SEND_AGAIN].append(
                    doubt.delivery_id
                )
            for resolution, ids in answers.items():
                if ids:
                    uncertain_delivery_actions.resolve_uncertain(
                        *(installation, week.name, ids, resolution),
                        reason="the mail server's log",
                        actor=ADMIN,
                        clock=self.clock,
                    )
            if again := answers[UncertainResolution.SEND_AGAIN]:
                self.tally.by_word += len(again)
                self._put(now + MINUTE)

    # --- time -------------------------------------------------------------------------------------------------------

    def run(self) -> YearTally:
        """Live through the year; raise AssertionError at the first thing that is wrong."""
        began = wall.monotonic()
        self._start_processes()
        try:
            self._add_subscribers()
            unchecked: list[WeekPlan] = []
            for number, week in enumerate(self.weeks):
                self._put_week(number, week)
                next_monday = week.monday + timedelta(days=7)
                self._live_until(datetime.combine(next_monday, time(10), tzinfo=UTC))
                # What was planned anew after a restore may still wait for some readers' hours.
                unchecked.append(week)
                for ended in [one for one in unchecked if not self.account.waits_for_hours(one.name, self.clock())]:
                    self._check_week(ended)
                    unchecked.remove(ended)
                self.report(week.name)
            self._live_until(self.clock() + 2 * DAY)
            for week in unchecked:
                self._check_week(week)
            self._check_year()
        finally:
            self._throw_away()
        self.tally.seconds = wall.monotonic() - began
        return self.tally

    def _live_until(self, end: datetime) -> None:
        while self._agenda and self._agenda[0][0] <= end:
            moment, _, jobs, action = heapq.heappop(self._agenda)
            # What was put here meanwhile may lie some seconds back: a clock is set back by `_set_clock_back` alone.
            if moment > self.clock():
                self.clock.move_to(moment)
            if action is not None:
                action()
            self._live_moment(jobs)

    def _live_moment(self, jobs: Collection[str]) -> None:
        """Do what happens at this moment: people act, processes tick, and what came of it is looked at."""
        began_at = self.clock()
        self._act_as_editor()
        self._tick(jobs)
        self.account.take_arrivals()
        self._note_plans()
        self._check_nothing_is_late(began_at)

    def _tick(self, jobs: Collection[str]) -> None:
        rng = self.rng
        week = next((w for w in self.weeks if w.release_at <= self.clock() < w.release_at + DAY), None)
        is_release = week is not None and week.name not in self.account.owed and not self.is_held
        roll = rng.random()
        if is_release and roll < self.incidents.kill_share:
            self._tick_and_kill()
        elif is_release and roll < 0.3:
            self._tick_and_stop()
        elif roll > 1 - self.incidents.restart_share:
            self._restart()
        self._tick_round(jobs)
        if is_release:  # where the last look came after the release in the round
            self._tick_round()

    def _tick_round(self, jobs: Collection[str] = ()) -> None:
        rng = self.rng
        before = len(self.mailbox.arrived)
        if rng.random() < 0.3:
            tick_together(self.processes, [rng.randrange(2**32) for _ in HOSTS], jobs)
        else:
            rng.choice(self.processes).tick(rng, jobs)
        if self.is_held:
            assert len(self.mailbox.arrived) == before, "an edition left an installation that is held"
        self.account.take_arrivals()
        self.clock.advance(rng.uniform(1, 5))

    def _tick_and_kill(self) -> None:
        """Let another process send, and kill it at a message; then start anew."""
        self._throw_away()
        interrupted_at = self.clock()
        tick = KillableTick(self.place, interrupted_at, self.rng.randrange(2**32))
        loses = self.rng.random() < 0.5
        self.mailbox.interrupt_at(self.rng.randrange(1, 6), tick.kill, loses_message=loses)
        was_killed = tick.run()
        self.mailbox.interrupt_never()
        self.clock.advance(self.rng.uniform(20, 200))
        self._start_processes()
        self.tally.restarts += 1
        self.tally.kills += was_killed
        self.account.take_arrivals()
        self._tick_round()
        self._resolve_doubts()
        self.account.outages.append((interrupted_at, self.clock() + SEND_TIME))

    def _tick_and_stop(self) -> None:
        """Tell the processes to end in the middle of a send, and start anew."""
        interrupted_at = self.clock()

        def stop() -> None:
            for process in self.processes:
                process.stopping.set()

        self.mailbox.interrupt_at(self.rng.randrange(1, 6), stop)
        self._tick_round()
        self.mailbox.interrupt_never()
        self.clock.advance(self.rng.uniform(5, 60))
        self._restart()
        self.account.outages.append((interrupted_at, self.clock() + SEND_TIME))

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _note_plans(self) -> None:
        """Reckon for each edition that was planned, anew after a restore too, who is owed it, and when."""
        for week in self.weeks:
            is_done = week.name in self.account.owed and not self.account.owed[week.name]
            if week.release_at > self.clock() or is_done:
                continue
            with self._installation.database.read() as session:
                edition = session.scalar(select(Edition).where(Edition.name == week.name))
                if edition is None or edition.planned_at in {None, self.planned_at.get(week.name)}:
                    continue
                planned_at = edition.planned_at
                deliveries = select(Delivery.person, Delivery.due_at).where(
                    Delivery.purpose == make_edition_delivery_purpose(week.name)
                )
                due = {row.person: row.due_at for row in session.execute(deliveries)}
            assert planned_at >= week.release_at, f"{week.name} was planned before its release"
            self.planned_at[week.name] = planned_at
            start = week.release_at if planned_at - week.release_at <= LATE_RELEASE else planned_at
            if week.name in self.account.owed:  # it goes out late then: to each at the next hour that they chose
                for entry in self.account.owed[week.name].values():
                    self._owe(entry, start)
            else:
                self.account.owed[week.name] = self._reckon_owed(week, planned_at, start, due)
        self.account.judge_arrivals()

    def _reckon_owed(
        self, week: WeekPlan, planned_at: datetime, start: datetime, due: Mapping[int | None, datetime]
    ) -> dict[str, OwedEdition]:
        """Reckon who is owed an edition that goes out at `start`; compare that with what the database has as due, by number."""
        owed = {}
        for subscriber in self.subscribers:
            if subscriber.joined_at <= planned_at and (subscriber.left_at is None or subscriber.left_at > planned_at):
                entry = owed[subscriber.address] = OwedEdition(subscriber, start)
                self._owe(entry, start)
                if not self.account.is_disturbed(week.release_at, planned_at):
                    found = due[subscriber.number]
                    assert found == entry.due_at, f"{week.name}, reader {subscriber.name}: {found}, not {entry.due_at}"
        return owed

    def _owe(self, entry: OwedEdition, start: datetime) -> None:
        entry.due_at = entry.subscriber.find_hour(start)
        self._put_due(entry.due_at)

    def _check_nothing_is_late(self, began_at: datetime) -> None:
        """See that all that was due when this moment began has arrived, unless something holds it up.

        Trouble of the real machine, such as a connection that took too long, may cost a rest of half a minute and of one. What is
        waited for is told, and stands in the year's result: a fault of the product must not hide in a wait.
        """
        for _ in range(RETRY_ROUNDS):
            late = self._find_late(began_at)
            if not late:
                return
            self._note_wait(late, began_at)
            self.clock.advance(RETRY_SECONDS)
            for process in self.processes:
                process.tick(self.rng, ())
            self.account.take_arrivals()
            self.account.judge_arrivals()
        if late := self._find_late(began_at):
            raise AssertionError("\n".join(self._describe_late(late, began_at)))

    def _note_wait(self, late: Sequence[tuple[str, list[OwedEdition]]], began_at: datetime) -> None:
        for line in self._describe_late(late, began_at):
            self.report(f"waited for: {line}")
        self.tally.waits += [f"{self.tally.zone}: {self.account.describe_waiting(*each, began_at)}" for each in late]

    def _describe_late(self, late: Sequence[tuple[str, list[OwedEdition]]], began_at: datetime) -> Iterator[str]:
        """Say of each edition how many wait and for whom, with what the database says of them."""
        for name, entries in late:
            numbers = [entry.subscriber.number for entry in entries[:MAX_SHOWN]]
            with self._installation.database.read() as session:
                rows = describe_standstill(session, name, numbers, self.logged)
            yield f"{self.account.describe_waiting(name, entries, began_at)}; now {self.clock()}\n  {rows}"

    def _find_late(self, began_at: datetime) -> list[tuple[str, list[OwedEdition]]]:
        """Find what was due and has not arrived, by edition; nothing where something holds it up."""
        return [] if self.is_held else self.account.find_late(began_at)

    def _check_week(self, week: WeekPlan) -> None:
        """Check at the end of a week that its edition is sent, to everybody, and that no job ran at a wrong time."""
        with self._installation.database.read() as session:
            edition = session.scalars(select(Edition).where(Edition.name == week.name)).one()
            assert edition.state is EditionState.SENT, f"{week.name} is {edition.state}"
            counts = count_deliveries(session, make_edition_delivery_purpose(week.name))
            slots = session.execute(select(ScheduleSlot.job, ScheduleSlot.at)).all()
        assert counts.is_balanced
        assert counts[DeliveryState.UNCERTAIN] == 0
        assert week.name in self.approved
        lost = self.account.owed[week.name]
        self.tally.losses += len(lost)
        assert not lost, f"{week.name}: {len(lost)} never got it"
        self.sent_editions.add(week.name)
        self.tally.editions += 1
        begins, ends = datetime.combine(week.monday, time(12), tzinfo=UTC), week.release_at
        for job, moments in self._list_job_moments(week).items():
            done = {at for name, at in slots if name == job and begins <= at <= ends}
            assert done <= set(moments), f"{job} ran in {week.name} at a time that is none of its"

    def _check_year(self) -> None:
        assert self.tally.editions == len(self.weeks)
        assert self.tally.repeats == self.tally.losses == 0
        assert max(self.account.got.values()) == 1


def simulate_year(
    plan: PublicationPlan,
    database: str,
    database_url: str,
    *,
    weeks: int,
    subscribers: int,
    seed: int,
    incidents: YearIncidents,
    report: Callable[[str], object] = lambda _: None,
    empty_database: Path | None = None,
) -> YearTally:
    """Simulate a publication's year, in a folder that is deleted at the end; `empty_database` is a migrated file to begin with.

    Raises:
        AssertionError: something was late, lost, repeated or held against the rules, or a job broke off.
    """
    monday = FIRST_MONDAY + timedelta(weeks=incidents.first_week)
    clock = SimulatedClock(datetime.combine(monday, time(11), tzinfo=UTC))
    mailbox = YearlongMailbox(clock)
    with (
        TemporaryDirectory(prefix="digest-year-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None) as folder,
        GrowingSite(clock) as site,
        run_smtp_server(mailbox) as port,
        capture_logs() as logged,
    ):
        if empty_database:
            (Path(folder) / "data").mkdir(mode=0o700)
            shutil.copy(empty_database, Path(folder) / "data" / "digest.db")
        has_timed_backups = TIMED_BACKUP in incidents.restores.values()
        place = set_up_machine(
            *(Path(folder), plan, clock),
            site=site.base,
            mail_url=f"smtp://127.0.0.1:{port}?starttls=off&connections=1",
            database_url=database_url,
            passphrase="a simulated year" if has_timed_backups else "",
        )
        year = SimulatedYear(
            *(plan, place, clock, mailbox, site.base),
            weeks=weeks,
            subscribers=subscribers,
            seed=seed,
            incidents=incidents,
            logged=logged,
            report=report,
        )
        tally = year.run()
    errors = [entry for entry in logged if entry["log_level"] in {"error", "critical"}]
    assert not errors, errors[0]
    tally.database = database
    return tally


def simulate_years(
    zones: list[str],
    databases: list[str],
    *,
    first_week: int = 0,
    weeks: int = YEAR_WEEKS,
    subscribers: int = YEAR_SUBSCRIBERS,
    seed: int,
    report: Callable[[str], object] = lambda _: None,
) -> Iterator[YearTally]:
    """Simulate the years of publications on databases, or some weeks of them from `first_week` on, one after the other."""
    plans = [plan for plan in PLANS if plan.zone in zones]
    with run_own_postgresql() if "postgresql" in databases else nullcontext() as server:
        for number, plan in enumerate(plans):
            for database in databases:
                url = ""
                if server and database == "postgresql":
                    run_on_server(server.url, f"CREATE DATABASE year_{number}")
                    url = sibling_database_url(server.url, f"year_{number}")
                incidents = YearIncidents.spread(weeks, seed + number, first_week=first_week)
                yield simulate_year(
                    plan,
                    {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[database],
                    url,
                    weeks=weeks,
                    subscribers=subscribers,
                    seed=seed + number,
                    incidents=incidents,
                    report=report,
                )


def main() -> None:
    """Simulate what the command line names, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zone", nargs="*", choices=ZONES)
    parser.add_argument("--database", choices=DATABASES)
    parser.add_argument("--first-week", type=int, default=1, help="of 2026; those before it are left out")
    parser.add_argument("--weeks", type=int, default=YEAR_WEEKS, help="how many are simulated")
    parser.add_argument("--subscribers", type=int, default=YEAR_SUBSCRIBERS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/soak.md")
    arguments = parser.parse_args()
    zones = arguments.zone or list(ZONES)
    databases = [arguments.database] if arguments.database else list(DATABASES)
    years = simulate_years(
        *(zones, databases),
        first_week=arguments.first_week - 1,
        weeks=arguments.weeks,
        subscribers=arguments.subscribers,
        seed=arguments.seed,
        report=lambda week: print(week, file=sys.stderr, flush=True),
    )
    if arguments.record:
        record_years(years, describe_origin())
        return
    print(TABLE_HEAD)
    for tally in years:
        print(tally.table_row, flush=True)


if __name__ == "__main__":
    main()
