"""Run a random send (`send_scenario`), and compare the counts with the relay's record after every step.

All times are those of a clock that the scenario moves; the relay is real, over loopback.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, select

from digest.app.approval import correction_emails
from digest.app.sending import refusal_actions, send_control, set_aside_domains, uncertain_delivery_actions
from digest.app.upkeep import backups
from digest.backups import creation
from digest.deliver.control import edition_control
from digest.deliver.control.set_aside_domains import SetAsideDecision
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.retention.repeated_bounces import suppress_repeated_bounces
from digest.deliver.send.refusals.refused_deliveries import ALL_REASONS
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, list_uncertain_deliveries
from digest.edition.approval import approved_versions
from digest.edition.edition_queries import find_edition
from digest.installation import sending_pause
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.installation.storage_errors import explain_storage_error
from digest.settings import ScheduleSettings, Settings, UsageLimitSettings
from digest.store.correction_models import Correction
from digest.store.delivery_models import OPEN_STATES, Delivery, DeliveryState, StaffMember
from digest.store.models import Edition, EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.models import Person, PersonState
from tests.actors import ADMIN
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup, delivery_settings, store_approved_edition
from tests.deliver.faulty_relay import FaultyRelay, RelayServer, names_address, says_no_mailbox
from tests.deliver.send_scenario import (
    NO_EVENTS,
    Mishap,
    ProcessLife,
    SendScenario,
    choose_preferences,
    draw_scenario,
    read_variant,
)
from tests.deliver.simulated_process import (
    InterruptionError,
    KilledError,
    SimulatedProcess,
    open_simulated_database,
    simulated_processes,
)
from tests.deliver.stored_editions import store_rows_once
from tests.moments import RELEASE, Clock

BEFORE_DEADLINE, BEFORE_RELEASE = timedelta(hours=11), timedelta(minutes=5)
MAX_FINISHING_STEPS = 60
FINISHING_STEP = timedelta(hours=12)
PURPOSE = make_edition_delivery_purpose(EDITION_NAME)
EDITOR = Actor("staff 1", Role.EDITOR, ActionEntryPoint.DESK)
MIN_LOSSES, MIN_LOST_SHARE = 5, 0.02

ACCEPTED, REFUSED, UNCERTAIN = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN
MAY_BE_ACCEPTED = {ACCEPTED, UNCERTAIN, DeliveryState.HANDING_OVER}
TRIED = {ACCEPTED, REFUSED, UNCERTAIN, DeliveryState.EXPIRED}

_SELECT_EDITION = select(
    *(Edition.state, Edition.planned, Edition.planned_at, Edition.paused_at, Edition.set_aside),
    *(Edition.refusals, Edition.acknowledged_refusals),
).where(Edition.name == EDITION_NAME)
_SELECT_DELIVERIES = select(
    *(Delivery.id, Delivery.purpose, Delivery.person, Delivery.state, Delivery.message_id, Delivery.reply),
).where(Delivery.person.is_not(None))


@dataclass
class SimulatedSend:
    """The send of one scenario: its installation, its relay, and what people decided about it."""

    scenario: SendScenario
    home: Path
    url: str
    server: RelayServer
    clock: Clock = field(init=False)
    process: SimulatedProcess | None = None
    step: int = 0
    is_corrected: bool = False
    left: dict[str, int] = field(default_factory=dict)  # addresses of those who unsubscribed, and in which step
    repeats: Counter[str] = field(
        default_factory=Counter
    )  # how often an admin had a delivery sent again that was uncertain
    sent_again: set[str] = field(default_factory=set)  # deliveries that an admin had sent again for any reason
    taken_as_accepted: set[str] = field(default_factory=set)
    dropped: bool = False
    events: Counter[str] = field(default_factory=Counter)  # what came to pass, of what was drawn
    backup: Path | None = None
    latest: datetime = RELEASE

    def __post_init__(self) -> None:
        is_early = bool(self.scenario.at_deadline)
        self.clock = Clock(RELEASE - (BEFORE_DEADLINE if is_early else BEFORE_RELEASE))
        self.relay = FaultyRelay(
            offers_pipelining=self.scenario.offers_pipelining,
            messages_per_connection=self.scenario.messages_per_connection,
            read_variant=read_variant,
        )
        self.relay.faults = self.scenario.faults
        self.server.relay = self.relay
        self.settings = self._make_settings()

    # --- what there is at the beginning ------------------------------------------------------------------------

    def _make_settings(self) -> Settings:
        scenario = self.scenario
        settings = delivery_settings(
            self.home, f"smtp://127.0.0.1:{self.server.port}?starttls=off&connections={scenario.connections}"
        )
        file = settings.file
        limits = UsageLimitSettings(
            send_per_hour=scenario.per_hour,
            domains_per_hour={"a.example": scenario.per_domain} if scenario.per_domain else {},
        )
        schedule = ScheduleSettings(final_check_minutes=0, at_deadline=scenario.at_deadline or "wait")  # type: ignore[arg-type]
        stops = dict.fromkeys(("policy_refusals", "hard_bounces"), scenario.refusals_to_stop)
        canary_minutes = {"canary_minutes": 15 if scenario.has_canary else 0}
        alerts = file.alerts.model_copy(update=canary_minutes | (stops if scenario.refusals_to_stop else {}))
        changes = {"limits": limits, "schedule": schedule, "alerts": alerts}
        return settings.model_copy(update={"database_url": self.url, "file": file.model_copy(update=changes)})

    def prepare(self) -> None:
        """Store the list, the edition, and the editor who corrects it."""
        self.settings.key_file.write_text(KEYS.to_json())
        self.settings.key_file.chmod(0o600)
        self._open()
        key = self.settings.model_dump_json(include={"base_url"}) + "random sends"
        store_rows_once(
            self.database, key, lambda: store_approved_edition(self.database, self.settings, EDITION_NAME, RELEASE)
        )
        setup = DeliverySetup(self.database, self.settings, KEYS, self.clock)
        self.addresses: dict[int, str] = {}
        self.variants = {address: variant for address, variant, _ in self.scenario.subscribers}
        groups: dict[tuple[str, int | None], list[str]] = {}
        for address, variant, hour in self.scenario.subscribers:
            groups.setdefault((variant, hour), []).append(address)
        for (variant, hour), addresses in groups.items():
            numbers = setup.add_subscribers(*addresses, choices=choose_preferences(variant, hour))
            self.addresses |= dict(zip(numbers, addresses, strict=True))
        self.numbers = {address: number for number, address in self.addresses.items()}
        with self.database.write() as session:
            times = {"added_at": RELEASE, "proven_at": RELEASE}
            session.add(StaffMember(email="dana@news.example.org", role="editor", added_by="t", **times))
            if self.scenario.at_deadline:
                edition = find_edition(session, EDITION_NAME, lock=True)
                approved_versions.supersede_approval(session, edition, actor=None, now=self.clock(), because="edited")
                edition.state = EditionState.DRAFT

    def _open(self) -> None:
        """Open the installation for what people do."""
        self.database = open_simulated_database(self.url)
        self.installation = Installation(self.settings, self.database)

    # --- the story ---------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Live through the scenario, and check all of it."""
        self.prepare()
        try:
            for life in self.scenario.lives:
                self._live_process(life)
                self._do_between(life)
            self._finish()
            self._check_end()
            if self.scenario.corrected_section:
                self._correct()
                self._check_correction()
            self._check_suppressions()
        finally:
            self.database.close()

    @contextmanager
    def _begin_process(self, mishaps: tuple[Mishap, ...] = ()) -> Iterator[SimulatedProcess]:
        """Begin a process, and end it at the end of the block, if it wasn't killed before."""
        process = self.process = SimulatedProcess(self.settings, self.scenario, self.clock, mishaps, self._note_mishap)
        self.relay.reach = self._reach_at_relay
        self.relay.is_cut_off = lambda: process.is_dead
        try:
            yield process
        except (KilledError, InterruptionError):
            pass
        finally:
            process.end()
        self.check()

    def _live_process(self, life: ProcessLife) -> None:
        with self._begin_process(life.mishaps) as process:
            for _ in range(life.steps):
                self._run_step(process, timedelta(minutes=self.scenario.step_minutes))
                if process.stopping.is_set():
                    break

    def _run_step(self, process: SimulatedProcess, length: timedelta) -> None:
        """Let a process do what it owes now, compare the books, and turn the clock on."""
        self._begin_step()
        try:
            process.run_step(is_corrected=self.is_corrected)
        except Exception as exc:
            if explain_storage_error(exc) is None:
                raise
        self.check()
        self.clock.now += length

    def _reach_at_relay(self, point: str) -> None:
        if point == "RCPT":
            self.clock.sleep(self.scenario.seconds_per_message)
        assert self.process is not None
        self.process.reach(point)

    def _note_mishap(self, mishap: Mishap) -> None:
        self.events[mishap.what] += 1
        if mishap.what == "pause":
            self.pause()
        elif mishap.what == "leave":
            self.let_subscriber_leave(mishap.amount)

    def _begin_step(self) -> None:
        self.latest = max(self.latest, self.clock.now)
        self.step += 1
        self.relay.time = self.step

    def _do_between(self, life: ProcessLife) -> None:
        match life.then:
            case "jump":
                self.clock.sleep(life.amount)
            case "backup":
                self._back_up()
            case "restore":
                self._restore()
            case "resume":
                self._resume()
            case "decide":
                self._decide_aside()
            case "resolve":
                self._resolve_uncertain()
            case "leave":
                self.let_subscriber_leave(life.amount)
            case "approve":
                self._approve()

    def _finish(self) -> None:
        """Let an admin do what is asked of one, until nothing waits."""
        self._approve()
        with self._begin_process() as process:
            for number in range(MAX_FINISHING_STEPS):
                if number == self.scenario.heals_after:
                    self.relay.heal()
                self._resume()
                self._decide_aside()
                self._run_step(process, FINISHING_STEP)
                if not self._is_open():
                    self._check_losses()
                    if not (self._resolve_uncertain() or self._send_refused_again()):
                        return
            raise AssertionError("it doesn't come to an end")

    def _is_open(self) -> bool:
        is_over = self._read_edition().state in {EditionState.SENT, EditionState.CANCELLED}
        return not is_over or any(row.state in OPEN_STATES for row in self._read_deliveries())

    # --- what people do ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause the edition."""
        with suppress(edition_control.EditionControlError), self.database.write() as session:
            edition_control.pause_edition(session, EDITION_NAME, "wait", now=self.clock())

    def let_subscriber_leave(self, place: int) -> None:
        """Let someone unsubscribe."""
        address = self.scenario.subscribers[place % len(self.scenario.subscribers)][0]
        log = UnsubscribeLog(self.settings.left_log, KEYS)
        with self.database.write() as session:
            if unsubscribe_person(session, log, self.numbers[address], method="page", now=self.clock()):
                self.left.setdefault(address, self.step)

    def _approve(self) -> None:
        """Approve a draft, and send by hand what missed its send time by more than a day."""
        with self.database.write() as session:
            edition = find_edition(session, EDITION_NAME, lock=True)
            if edition.state is EditionState.DRAFT:
                mark = approved_versions.read_current_content_hash(session, edition, self.settings)
                approved_versions.sign_approval(
                    session, edition, mark, settings=self.settings, keys=KEYS, actor="eve", now=self.clock()
                )
        if EDITION_NAME in send_control.find_pending_sends(self.installation, now=self.clock()).missed:
            self._begin_step()
            send_control.send_edition(
                self.installation, EDITION_NAME, actor=ADMIN, clock=self.clock, sleep=self.clock.sleep
            )
            self.check()

    def _resume(self) -> None:
        if self._read_edition().paused_at:
            self.events["resume"] += 1
            with self.database.write() as session:
                edition_control.resume_edition(session, EDITION_NAME, now=self.clock())

    def _decide_aside(self) -> None:
        if not self._read_edition().set_aside:
            return
        if listed := set_aside_domains.list_domains_awaiting_decision(self.installation, EDITION_NAME):
            self.events["set aside"] += 1
            decision = SetAsideDecision.DROP if self.scenario.drops_aside else SetAsideDecision.SEND
            tags = [domain.tag for domain in listed]
            set_aside_domains.decide_set_aside_domains(
                self.installation, EDITION_NAME, tags, decision, actor=ADMIN, now=self.clock()
            )
            self.dropped |= self.scenario.drops_aside

    def _resolve_uncertain(self) -> int:
        if self._read_edition().state is EditionState.CANCELLED:
            return 0
        listed = list_uncertain_deliveries(self.database, EDITION_NAME, now=self.clock())
        ids = [delivery.delivery_id for delivery in listed]
        if not ids:
            return 0
        self.events["status unknown"] += len(ids)
        word = UncertainResolution.SEND_AGAIN if self.scenario.resends_uncertain else UncertainResolution.ACCEPTED
        uncertain_delivery_actions.resolve_uncertain(
            self.installation, EDITION_NAME, ids, word, reason="the log", actor=ADMIN, clock=self.clock
        )
        if word is UncertainResolution.SEND_AGAIN:
            self.repeats.update(ids)
            self.sent_again.update(ids)
        else:
            self.taken_as_accepted.update(ids)
        return len(ids)

    def _send_refused_again(self) -> int:
        """Send again what was refused for doubtful reasons, once; else acknowledge it."""
        overview = refusal_actions.read_refusals(self.installation, EDITION_NAME, ADMIN)
        edition = overview.edition
        many = sum(group.recipients for group in overview.choose_resendable([ALL_REASONS]))
        if self.scenario.resends_refused and many and not self.has_sent_refused_again:
            self.has_sent_refused_again = True
            self.events["sent again"] += 1
            with self.database.read() as session:
                refused = Delivery.state.in_((REFUSED, DeliveryState.EXPIRED))
                self.sent_again.update(session.scalars(select(Delivery.id).where(refused)))
            return refusal_actions.send_refused_again(
                self.installation, EDITION_NAME, [ALL_REASONS], confirmed=many, reason="", actor=ADMIN, clock=self.clock
            )
        if edition.has_refusals:
            refusal_actions.acknowledge_refusals(
                self.installation, EDITION_NAME, confirmed=edition.refusals, reason="", actor=ADMIN, now=self.clock()
            )
        return 0

    has_sent_refused_again = False

    def _back_up(self) -> None:
        self.backup = self.home / f"backup-{self.step}-{len(list(self.home.iterdir()))}.zip"
        creation.create_backup(self.database, self.backup, now=self.clock())

    def _restore(self) -> None:
        """Restore the last backup, on a machine whose clock is right; nothing leaves until sending is resumed."""
        if self.backup is None:
            return
        self.events["restore"] += 1
        self.clock.now = max(self.clock.now, self.latest)
        self.database.close()
        backups.restore_backup(self.settings, ADMIN, self.backup, replace=True, now=self.clock())
        self._open()
        accepted = len(self.relay.record.accepted)
        with self._begin_process() as process:
            self._run_step(process, timedelta(minutes=1))
        assert len(self.relay.record.accepted) == accepted, "a restored copy sent by itself"
        sending_pause.resume_all_sending(self.installation, actor=ADMIN, now=self.clock())

    # --- what has to be true -----------------------------------------------------------------------------------

    def _read_edition(self) -> Any:
        return self._read(_SELECT_EDITION)[0]

    def _read_deliveries(self) -> list[Any]:
        return self._read(_SELECT_DELIVERIES)

    def _read(self, query: Executable) -> list[Any]:
        with self.database.engine.connect() as connection:
            return list(connection.execute(query))

    def check(self) -> None:
        """Compare the books with the relay's record."""
        edition, rows = self._read_edition(), self._read_deliveries()
        planned = sum(row.purpose == PURPOSE for row in rows)
        self.events["planning cut short"] += bool(planned) and edition.planned_at is None
        assert edition.planned_at is None or edition.planned == planned, "the books don't balance"
        accepted = self.relay.record.count_accepted()
        for row in rows:
            times = accepted.pop((row.message_id, self.addresses[row.person]), 0)
            assert times <= 1 + self.repeats[row.id], f"delivered {times} times"
            is_in_order = row.state in MAY_BE_ACCEPTED or row.id in self.sent_again
            assert not times or is_in_order, f"accepted by the relay, but {row.state}: {row.reply}"
            is_known = times or row.id in self.taken_as_accepted
            assert row.state is not ACCEPTED or is_known, "accepted, but the relay hasn't got it"
        # What left after a backup is in no row of its restored copy until it's planned again.
        assert not accepted or self.backup is not None, "the relay got what no row knows"
        for message in self.relay.record.accepted:
            assert message.time <= self.left.get(message.address, message.time), "sent to someone who had left"

    def _check_losses(self) -> None:
        """No edition is just sent that lost more than a few."""
        edition = self._read_edition()
        if edition.state is not EditionState.SENT:
            return
        rows = [row for row in self._read_deliveries() if row.purpose == PURPOSE and row.state in TRIED]
        losses = sum(self._is_loss(row) for row in rows) - edition.acknowledged_refusals
        if losses >= MIN_LOSSES and losses >= MIN_LOST_SHARE * len(rows):
            self.events["sent with refusals"] += 1
            assert edition.refusals, f"{losses} of {len(rows)} are lost, and the edition is just sent"

    def _is_loss(self, row: Any) -> bool:
        if row.state is DeliveryState.EXPIRED:
            return True
        replies = self.relay.record.replies.get(self.addresses[row.person])
        return row.state is REFUSED and not (replies and says_no_mailbox(replies[-1]))

    def _check_end(self) -> None:
        """Everyone on the list has an end of their own."""
        edition, rows = self._read_edition(), self._read_deliveries()
        if edition.state is EditionState.CANCELLED:
            self.events["skipped"] += 1
            assert self.scenario.at_deadline == "skip"
            assert not self.relay.record.accepted, "sent although it was skipped"
            return
        assert edition.state is EditionState.SENT
        states = {self.addresses[row.person]: row.state for row in rows if row.purpose == PURPOSE}
        self.events.update(states.values())
        with self.database.read() as session:
            is_suppressed = Person.state == PersonState.SUPPRESSED
            suppressed = {self.addresses[n] for n in session.scalars(select(Person.number).where(is_suppressed))}
        for address in self.variants:
            state = states.get(address)
            if state in {None, DeliveryState.WITHDRAWN}:
                assert address in self.left or address in suppressed, f"lost: {state}"
            elif state is DeliveryState.CANCELLED:
                assert self.dropped, "canceled by nobody"
            else:
                assert state in TRIED, f"lost: {state}"

    def _check_suppressions(self) -> None:
        """No one is suppressed unless a reply named their address."""
        log = UnsubscribeLog(self.settings.left_log, KEYS)
        later = self.clock() + timedelta(days=30)
        suppress_repeated_bounces(self.database, KEYS, log, now=later, lookback=timedelta(days=400))
        with self.database.read() as session:
            is_suppressed = Person.state == PersonState.SUPPRESSED
            for number in session.scalars(select(Person.number).where(is_suppressed)):
                self.events["suppressed"] += 1
                replies = self.relay.record.replies.get(self.addresses[number], [])
                assert any(map(names_address, replies)), f"suppressed by {replies}"

    # --- a correction ------------------------------------------------------------------------------------------

    def _correct(self) -> None:
        """Correct a section, and send the correction to those who got the error, with the same faults and mishaps as before."""
        if self._read_edition().state is not EditionState.SENT:
            return
        section = self.scenario.corrected_section
        texts = {"headline": "Maps", "was": f"{section}: café", "becomes": "A café", "note": "Wrong."}
        of_story = {"url": "https://fema.example/", "section": section, "field": "headline", "is_carried": False}
        with self.database.write() as session:
            edition = find_edition(session, EDITION_NAME)
            made = {"edition_id": edition.id, "seq": 1, "at": self.clock(), "actor": EDITOR.name, "signed": "Dana"}
            session.add(Correction(**made, **of_story, **texts))
        email = correction_emails.read_correction_email(self.installation, EDITION_NAME, 1)
        correction_emails.approve_correction_email(
            self.installation, EDITION_NAME, 1, email.content_hash, actor=EDITOR, now=self.clock()
        )
        got = {self.addresses[row.person] for row in self._read_deliveries() if row.state in {ACCEPTED, UNCERTAIN}}
        self.owed = {a for a in got - self.left.keys() if section != "events" or self.variants[a] != NO_EVENTS}
        self.is_corrected = True
        self.events["correction"] += 1
        self.relay.faults = self.scenario.faults
        self._live_process(self.scenario.lives[0])
        self.relay.heal()
        with self._begin_process() as process:
            for _ in range(MAX_FINISHING_STEPS):
                self._run_step(process, FINISHING_STEP)
                if not self._is_open():
                    return
            raise AssertionError("the correction doesn't come to an end")

    def _check_correction(self) -> None:
        if not self.is_corrected:
            return
        rows = [row for row in self._read_deliveries() if row.purpose.startswith("correction:")]
        addresses = {self.addresses[row.person] for row in rows}
        # Of what was sent before a restore, the variant isn't known: rather one correction too many.
        assert addresses <= self.owed or self.events["restore"], "corrected for someone who never saw the error"
        with self.database.read() as session:
            on_list = set(session.scalars(select(Person.number).where(Person.state == PersonState.SUBSCRIBED)))
        missing = self.owed - addresses
        assert not {self.numbers[address] for address in missing} & on_list, (
            "someone saw the error and gets no correction"
        )


def run_random_send(seed: int, home: Path, url: str, server: RelayServer) -> Counter[str]:
    """Live through the scenario of a seed on an empty database; return what came to pass. An error names the seed."""
    scenario = draw_scenario(seed)
    send = SimulatedSend(scenario, home, url, server)
    try:
        with simulated_processes(scenario, lambda: send.process):
            send.live()
    except BaseException as exc:
        exc.add_note(f"Again: python -m tests.soak.random_sends --runs 1 --seed {seed}\n{scenario}")
        raise
    return send.events
