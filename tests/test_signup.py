"""Sign-up below the pages: forms in sealed rows, their answers, confirming, and what nobody confirmed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from digest.db import Database
from subscribers import (
    chains,
    confirming,
    erasing,
    expiring,
    limits,
    onetime,
    people,
    requests,
    roll,
    signup,
    suppression,
    traces,
    wordings,
)
from subscribers.addresses import read_address
from subscribers.asking import Answer, Worker
from subscribers.confirming import Link, Stage
from subscribers.db import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState, Suppression
from subscribers.journal import Journal
from subscribers.leaving import leave
from subscribers.limits import Bounds
from subscribers.notes import Note
from subscribers.requests import Asked, Kind, Taken
from subscribers.signup import Evidence, SignupRefusedError
from subscribers.signup_db import Alarm, ConsentTrace, LimitCount, OneTime, SignupMail, SignupRequest
from subscribers.traces import Machine
from subscribers.vault import Keys
from tests.conftest import NOBODY_ELSE

KEYS = Keys.fixed(b"sign-up tests")
NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
ADA = "Ada.Lovelace@analytical.example"
MACHINE = Machine("93.184.216.34", "Browser/1")


@dataclass
class House:
    """People, a worker, a clock, and what it queued."""

    database: Database
    journal: Journal
    now: datetime = NOW
    bounds: Bounds = field(default_factory=Bounds)
    notes: list[Note] = field(default_factory=list)
    queue: Callable[[Session, Note], None] | None = None

    def ask(self, address: str = ADA, *, kind: Kind = "subscribe", machine: Machine = MACHINE) -> Taken:
        wording = wordings.current("HLS.Today") if kind == "subscribe" else None
        page = "https://hls.today/"
        asked = Asked(kind, read_address(address), self.now, page, "hls.today", wording, machine)
        form = requests.ready(KEYS, asked)
        with self.database.write() as session:
            return requests.append(session, form, self.bounds)

    def work(self) -> dict[Answer, int]:
        queue = self.queue or (lambda _session, note: self.notes.append(note))
        worker = Worker(self.database, KEYS, self.bounds, timedelta(days=90), queue)
        given = worker.answer_all(lambda: self.now)
        return {answer: count for answer, count in given.items() if count}

    def asked(self, address: str = ADA, **by: float) -> dict[Answer, int]:
        """Let time pass, send a form, and have it answered."""
        self.now += timedelta(**by)
        assert self.ask(address) is Taken.TAKEN
        return self.work()

    def confirm(self, token: str | None = None) -> Link:
        with self.database.write() as session:
            return confirming.confirm(
                session,
                KEYS,
                token or self.token,
                machine=Machine("93.184.216.99", "Phone/2"),
                evidence_for=timedelta(days=90),
                queue=lambda _session, note: self.notes.append(note),
                now=self.now,
            )

    def look(self, token: str | None = None) -> Link:
        with self.database.read() as session:
            return confirming.look(session, KEYS, token or self.token, now=self.now)

    @property
    def token(self) -> str:
        return str([n for n in self.notes if "token" in n.facts][-1].facts["token"])

    @property
    def kinds(self) -> list[str]:
        return [note.kind for note in self.notes]

    def person(self, address: str = ADA) -> Person | None:
        with self.database.read() as session:
            number = people.number_of(session, KEYS, read_address(address))
            return session.get(Person, number) if number else None

    def subscribe(self, address: str = ADA) -> int:
        self.asked(address)
        assert self.confirm().stage is Stage.CONFIRMED
        person = self.person(address)
        assert person is not None
        return person.number

    def leave(self, number: int) -> None:
        with self.database.write() as session:
            leave(session, self.journal, number, method="page", now=self.now)

    def suppress(self, reason: suppression.Reason, address: str = ADA) -> None:
        with self.database.write() as session:
            suppression.suppress(
                session,
                KEYS,
                read_address(address),
                reason=reason,
                actor="webhook",
                now=self.now,
                journal=self.journal,
            )

    def events(self, number: int) -> list[tuple[ConsentKind, dict[str, object]]]:
        with self.database.read() as session:
            query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
            return [(e.kind, json.loads(e.body)) for e in session.scalars(query)]

    def count(self, table: type) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def sound(self) -> bool:
        with self.database.read() as session:
            return chains.verify(session).broken is None

    def may_mail(self, number: int) -> bool:
        with self.database.read() as session:
            return roll.may_mail(session, number)


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, Journal(tmp_path / "left.log", KEYS))


def test_a_form_is_written_sealed_and_of_one_size(house: House) -> None:
    house.ask()
    house.ask("x@y.example", kind="lost link")
    house.ask(f"{'l' * 60}@{'d' * 60}.example", machine=Machine("2606:2800:220::1", "Agent" * 200))
    with house.database.read() as session:
        rows = list(session.scalars(select(SignupRequest).order_by(SignupRequest.id)))
    assert (
        len({len(r.ciphertext) for r in rows if r.kind == "subscribe"}) <= 2
    )  # the agent alone may add a step
    for row in rows:
        whole = repr(vars(row)).lower()
        for clear in ("lovelace", "analytical", "93.184", "browser"):
            assert clear not in whole


def test_a_form_opens_only_in_its_own_row(house: House) -> None:
    house.ask()
    house.ask("bo@example.org")
    with house.database.write() as session:
        first, second = session.scalars(select(SignupRequest).order_by(SignupRequest.id))
        first.ciphertext, second.ciphertext = second.ciphertext, first.ciphertext
    assert house.work() == {Answer.NOTHING: 2}
    assert house.count(SignupRequest) == house.count(Person) == 0


def test_consent_event_token_and_queued_mail_commit_together(house: House) -> None:
    def broken(_session: Session, _note: Note) -> None:
        raise RuntimeError("the disk is full")

    house.ask()
    house.queue = broken
    with pytest.raises(RuntimeError):
        house.work()
    assert house.count(SignupRequest) == 1
    assert [house.count(t) for t in (Person, ConsentEvent, OneTime, SignupMail, ConsentTrace)] == [0] * 5
    house.queue = None
    assert house.work() == {Answer.CONFIRM: 1}
    assert house.count(SignupRequest) == 0


def test_the_request_is_recorded_with_its_words_and_what_must_go_later_as_digests(house: House) -> None:
    house.asked()
    person = house.person()
    assert person is not None
    assert person.state is PersonState.REQUESTED
    assert not house.may_mail(person.number)
    ((kind, said),) = house.events(person.number)
    wording = wordings.current("HLS.Today")
    assert kind is ConsentKind.REQUESTED
    assert (said["wording"], said["wording_hash"], said["wording_version"], said["language"]) == (
        wording.text,
        wording.hash,
        "1",
        "en",
    )
    assert (said["page"], said["method"], said["asked_at"]) == (
        "https://hls.today/",
        "form",
        NOW.isoformat(timespec="milliseconds"),
    )
    assert "93.184" not in json.dumps(said)
    with house.database.read() as session:
        event = session.scalars(select(ConsentEvent)).one()
        row = session.scalars(select(ConsentTrace)).one()
        assert traces.of_event(session, KEYS, event.id) == MACHINE
        digest = traces.digests(MACHINE, row.salt)
    assert {k: said[k] for k in digest} == digest


def test_confirming_puts_a_person_on_the_roll_with_a_receipt(house: House) -> None:
    house.asked()
    assert house.look().stage is Stage.OPEN
    house.now += timedelta(days=2)
    found = house.confirm()
    assert (found.stage, found.new, found.address) == (Stage.CONFIRMED, True, ADA)
    person = house.person()
    assert person is not None
    assert house.may_mail(person.number)
    (_, asked), (kind, said) = house.events(person.number)
    assert kind is ConsentKind.CONFIRMED
    assert said["wording_hash"] == asked["wording_hash"]
    assert said["network_digest"] != asked["network_digest"]
    assert (person.asked_at, person.asked_where) == (NOW, "hls.today")
    welcome = house.notes[-1]
    assert (welcome.kind, welcome.serial) == ("welcome", "2")
    assert welcome.facts["wording"] == asked["wording"]
    assert house.sound()


def test_confirming_twice_is_once_on_any_device(house: House) -> None:
    house.subscribe()
    again = house.confirm()
    assert (again.stage, again.new) == (Stage.CONFIRMED, False)
    assert house.kinds == ["confirm", "welcome"]
    assert house.count(ConsentEvent) == 2


def test_of_two_links_each_confirms_and_both_are_spent(house: House) -> None:
    house.asked()
    first = house.token
    assert house.asked(hours=2) == {Answer.REMIND: 1}
    assert house.confirm(first).new
    assert not house.confirm().new
    assert house.look().stage is Stage.CONFIRMED
    assert house.kinds == ["confirm", "remind", "welcome"]


def test_a_spent_link_brings_nobody_back(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    assert house.confirm().stage is Stage.USED
    assert not house.may_mail(number)


def test_a_link_that_ran_out_says_when_and_confirms_nothing(house: House) -> None:
    house.asked()
    house.now += timedelta(days=7)
    found = house.confirm()
    assert (found.stage, found.day, found.address) == (Stage.EXPIRED, NOW + timedelta(days=7), "")
    assert house.kinds == ["confirm"]


def test_an_unknown_link_is_unknown_and_one_for_another_purpose_too(house: House) -> None:
    number = house.subscribe()
    with house.database.write() as session:
        erase = onetime.issue(session, "erase", number, now=NOW, expires_at=NOW + timedelta(days=1))
    assert house.look("A" * 22).stage is Stage.UNKNOWN
    assert house.confirm(erase).stage is Stage.UNKNOWN


def test_who_waits_gets_one_confirmation_and_one_reminder(house: House) -> None:
    for hours in (0, 0.1, 2, 3, 3):
        house.asked(hours=hours)
    assert house.kinds == ["confirm", "remind"]


def test_who_is_subscribed_is_told_so_once_a_week(house: House) -> None:
    number = house.subscribe()
    for days in (1, 1, 3, 4, 5):
        house.asked(days=days)
    assert house.kinds == ["confirm", "welcome", "known", "known"]
    assert [kind for kind, _ in house.events(number)] == [ConsentKind.REQUESTED, ConsentKind.CONFIRMED]


def test_a_lost_link_is_sent_to_subscribers_only(house: House) -> None:
    house.ask(kind="lost link")
    assert house.work() == {Answer.NOTHING: 1}
    assert house.person() is None
    house.subscribe()
    house.ask(kind="lost link")
    assert house.work() == {Answer.LINK: 1}


def test_who_left_stays_away_until_their_own_word_whatever_anybody_types(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    assert house.asked(days=1) == {Answer.CONFIRM: 1}
    person = house.person()
    assert person is not None
    assert (person.number, person.state) == (number, PersonState.WITHDRAWN)
    evidence = Evidence("Yes.", "1", "en", "a list", "list", "eve", NOW)
    with pytest.raises(SignupRefusedError, match="left"), house.database.write() as session:
        signup.add(session, KEYS, ADA, evidence=evidence, now=house.now)
    assert house.confirm().new
    assert house.may_mail(number)
    assert house.sound()


def test_whose_address_the_vault_let_go_is_sealed_again_only_while_they_are_asked(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    with house.database.write() as session:
        session.execute(update(Person).values(ciphertext=None, key_id=None, domain_tag=None))
    assert house.asked(days=40) == {Answer.CONFIRM: 1}
    assert (person := house.person()) is not None
    assert person.ciphertext is not None
    house.now += timedelta(days=8)
    assert expiring.tidy(house.database, now=house.now) == 1
    assert (person := house.person()) is not None
    assert (person.state, person.ciphertext, person.key_id) == (PersonState.WITHDRAWN, None, None)
    assert house.sound()


def test_who_bounced_comes_back_by_their_own_word_and_is_asked_once_in_30_days(house: House) -> None:
    number = house.subscribe()
    house.suppress("bounced")
    assert house.asked(days=31) == {Answer.CONFIRM: 1}
    assert house.asked(hours=5) == {Answer.NOTHING: 1}
    house.now += timedelta(days=8)
    expiring.tidy(house.database, now=house.now)
    assert house.asked() == {Answer.NOTHING: 1}
    assert house.asked(days=25) == {Answer.CONFIRM: 1}
    assert not house.may_mail(number)
    assert house.confirm().new
    assert house.may_mail(number)
    assert house.count(Suppression) == 0
    assert house.sound()


@pytest.mark.parametrize("known", [True, False])
def test_who_was_erased_comes_back_as_somebody_new(house: House, known: bool) -> None:  # noqa: FBT001
    number = house.subscribe()
    if not known:  # erased after the vault had let the address go: the look-up alone bars the way
        house.leave(number)
        with house.database.write() as session:
            session.execute(update(Person).values(ciphertext=None, key_id=None))
    with house.database.write() as session:
        erasing.erase(session, KEYS, house.journal, number, method="page", forget=NOBODY_ELSE, now=house.now)
    assert house.asked(days=31) == {Answer.CONFIRM: 1}
    assert house.count(Suppression) == 1
    person = house.person()
    assert person is not None
    assert person.number != number
    assert house.confirm().new
    assert house.count(Suppression) == 0
    assert house.may_mail(person.number)
    assert not house.may_mail(number)
    assert house.sound()


@pytest.mark.parametrize("reason", ["complained", "by an admin"])
def test_who_complained_gets_nothing_until_an_admin_allows_it(
    house: House, reason: suppression.Reason
) -> None:
    house.subscribe()
    house.suppress(reason)
    assert house.asked(days=40) == {Answer.NOTHING: 1}
    with house.database.write() as session:
        assert suppression.allow(session, KEYS, read_address(ADA))
        assert not suppression.allow(session, KEYS, read_address("nobody@example.org"))
    assert house.asked(days=1) == {Answer.CONFIRM: 1}
    assert (person := house.person()) is not None
    assert not house.may_mail(person.number)
    assert house.confirm().new
    assert house.may_mail(person.number)


def test_a_complaint_after_the_request_shuts_the_link(house: House) -> None:
    house.asked()
    house.suppress("complained")
    assert house.look().stage is Stage.EXPIRED
    assert house.confirm().stage is Stage.EXPIRED


def test_what_nobody_confirms_is_gone_after_seven_days(house: House) -> None:
    house.asked()
    house.asked(hours=3)
    number = (house.person() or Person()).number
    house.now = NOW + timedelta(days=7) - timedelta(seconds=1)
    assert expiring.tidy(house.database, now=house.now) == 0
    house.now = NOW + timedelta(days=7)
    assert expiring.tidy(house.database, now=house.now) == 2
    assert house.person() is None
    with house.database.read() as session:
        person = session.get(Person, number)
        assert person is not None
        assert (person.lookup, person.ciphertext, person.domain_tag) == (None, None, None)
    assert [kind for kind, _ in house.events(number)] == [ConsentKind.REQUESTED, ConsentKind.EXPIRED]
    assert house.count(ConsentTrace) == 0
    assert house.look().stage is Stage.EXPIRED
    assert house.sound()
    assert expiring.tidy(house.database, now=house.now) == 0
    assert house.asked() == {Answer.CONFIRM: 1}


def test_traces_counts_and_old_forms_go_after_their_time(house: House) -> None:
    house.subscribe()
    house.ask("late@example.org")
    house.now += timedelta(days=1, seconds=1)
    assert house.work() == {Answer.NOTHING: 1}  # a day too late: nobody is puzzled by mail
    house.now = NOW + timedelta(days=90)
    expiring.tidy(house.database, now=house.now)
    assert [house.count(t) for t in (ConsentTrace, LimitCount, SignupMail, SignupRequest)] == [0] * 4
    assert house.sound()  # the digests stay, and prove what they are shown


def test_one_network_is_turned_away_and_others_are_not(house: House) -> None:
    house.bounds = Bounds(per_network_hour=3)
    taken = [house.ask(f"r{n}@example.org") for n in range(5)]
    assert taken == [Taken.TAKEN] * 3 + [Taken.NETWORK_FULL] * 2
    assert house.ask(machine=Machine("93.184.217.1", "")) is Taken.TAKEN
    assert house.ask(machine=Machine("127.0.0.1", "")) is Taken.TAKEN  # no network that we know
    house.now += timedelta(hours=1)
    assert house.ask() is Taken.TAKEN
    assert house.count(SignupRequest) == 6


def test_one_address_gets_no_more_than_it_may_ask_in_a_day(house: House) -> None:
    house.bounds = Bounds(per_address_day=2)
    number = house.subscribe()
    house.leave(number)
    assert house.asked() == {Answer.CONFIRM: 1}
    assert house.asked(hours=0.5) == {Answer.NOTHING: 1}
    assert house.kinds == ["confirm", "welcome", "confirm"]


def test_when_too_many_wait_the_door_is_shut(house: House) -> None:
    house.bounds = Bounds(queue=2)
    assert [house.ask(f"r{n}@example.org") for n in range(3)] == [Taken.TAKEN, Taken.TAKEN, Taken.CLOSED]


def test_a_surge_rings_then_brakes_and_is_over_by_itself(house: House) -> None:
    house.bounds = Bounds(per_network_hour=10**6, alarm_hour=3, brake_hour=5, mails_hour=100)
    for n in range(4):
        house.ask(f"r{n}@example.org")
    assert house.work() == {Answer.CONFIRM: 4}
    for n in range(4, 7):
        house.ask(f"r{n}@example.org")
    assert house.work() == {}
    assert house.count(SignupRequest) == 3
    with house.database.read() as session:
        alarm = limits.open_alarm(session)
        assert alarm is not None
        assert (alarm.at, alarm.detail) == (NOW, {"most": 7, "brake": True})
    house.now += timedelta(hours=1, minutes=1)
    assert house.work() == {Answer.CONFIRM: 3}
    with house.database.read() as session:
        assert limits.open_alarm(session) is None
    assert house.count(Alarm) == 1


def test_mails_that_are_over_the_pace_wait_for_the_next_hour(house: House) -> None:
    house.bounds = Bounds(mails_hour=2)
    for n in range(3):
        house.ask(f"r{n}@example.org")
    assert house.work() == {Answer.CONFIRM: 2}
    assert house.work() == {}
    house.now += timedelta(hours=1, seconds=1)
    assert house.work() == {Answer.CONFIRM: 1}


def test_neither_address_nor_machine_stands_in_any_table(house: House) -> None:
    house.asked()
    house.confirm()
    house.ask("second.reader@county.example")
    with house.database.engine.connect() as connection:
        names = [row[0] for row in connection.execute(text(_TABLES[connection.dialect.name]))]
        dump = "".join(repr(connection.execute(text(f'SELECT * FROM "{n}"')).all()) for n in names).lower()
    for clear in ("lovelace", "analytical", "second.reader", "county.example", "93.184", "browser/1"):
        assert clear not in dump


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


def test_a_person_of_an_unfinished_import_is_asked_for_their_own_word(house: House) -> None:
    number = house.subscribe()
    with house.database.write() as session:
        batch = ImportBatch(origin="x", file_hash="y", options={}, actor="eve", started_at=NOW, counts={})
        session.add(batch)
        session.flush()
        session.execute(update(Person).values(batch=batch.id))
    assert not house.may_mail(number)
    house.now += timedelta(days=1)
    assert house.asked() == {Answer.CONFIRM: 1}
    assert house.confirm().new
    assert house.may_mail(number)
