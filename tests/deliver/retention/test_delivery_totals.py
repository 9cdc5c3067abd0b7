"""Old deliveries become totals, without changing any count."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select, text, update

from digest.app.upkeep import nightly_steps
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.retention.delivery_disclosures import (
    ROWS_PER_TRANSACTION,
    add_old_deliveries_to_totals,
    find_delivery_total_purpose,
    list_delivery_disclosures,
    make_delivery_erasure_callback,
)
from digest.deliver.retention.provider_erasures import queue_provider_erasures
from digest.installation.opened_installation import Installation
from digest.settings import RetentionSettings, Settings
from digest.store.delivery_models import Delivery, DeliveryState, DeliveryTotal, QueuedNoticeEmail, StoredDeliveryEvent
from digest.store.engine import Database, open_database
from digest.store.models import Edition, EditionState
from subscribers.address import read_address
from subscribers.consent import disclosures
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import erase_person
from subscribers.store.models import DisclosureTotal, Person, PersonState
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup, delivery_settings
from tests.moments import RELEASE
from tests.shared_statements import share_compiled_statements

KEPT = timedelta(days=400)
LATE = RELEASE + KEPT + timedelta(days=1)
HANDED = {DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN}
OPEN = {DeliveryState.WAITING, DeliveryState.RESERVED, DeliveryState.HANDING_OVER}


def _sent(world: DeliverySetup, states: Sequence[DeliveryState], *, over: str = "smtp") -> list[int]:
    """Send an edition to as many readers, with what came of each."""
    people = world.add_subscribers(*(f"r{n}@example.org" for n in range(len(states))))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        for number, state in zip(people, states, strict=True):
            handed = RELEASE if state in HANDED else None
            values = {"state": state, "transport": over if handed else "", "handed_at": handed}
            session.execute(update(Delivery).where(Delivery.person == number).values(**values))
        session.execute(update(Edition).values(state=EditionState.SENT, sent_at=RELEASE))
    return people


def _counts(database: Database) -> DeliveryCounts:
    with database.read() as session:
        return count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))


def _count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _disclosure_count(world: DeliverySetup, number: int) -> int:
    """Count what a reader sees, in sum."""
    with world.database.read() as session:
        rows = [
            *list_delivery_disclosures(session, number, world.settings),
            *disclosures.list_disclosures(session, number),
        ]
    return sum(disclosure.times for disclosure in rows)


def _notice(session: Any, number: int | None, serial: int, kind: str = "confirm", **more: Any) -> str:
    said: dict[str, Any] = {"state": DeliveryState.ACCEPTED, "handed_at": RELEASE, "transport": "smtp"} | more
    named = f"{kind[:4]}{serial:x}".ljust(26, "x")
    purpose = f"{kind}:{serial}"
    row = Delivery(id=named, purpose=purpose, person=number, due_at=RELEASE, next_try_at=RELEASE, **said)
    session.add(row)
    session.flush()
    return named


def test_the_counts_of_an_old_edition_balance_as_before(world: DeliverySetup) -> None:
    states = [*DeliveryState] * 3
    _sent(world, states)
    before = _counts(world.database)
    assert before.is_balanced
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == len(
        [s for s in states if s not in OPEN]
    )
    after = _counts(world.database)
    assert after.by_state == before.by_state
    assert after.planned == before.planned == len(states)
    assert after.is_balanced
    assert _count(world.database, Delivery) == len([s for s in states if s in OPEN])
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == 0
    assert _counts(world.database) == after


def test_a_subscriber_sees_as_many_disclosures_as_before(world: DeliverySetup) -> None:
    ada, bo = _sent(world, [DeliveryState.ACCEPTED, DeliveryState.SKIPPED], over="sendgrid")
    with world.database.write() as session:
        for serial in range(3):
            _notice(session, ada, serial, handed_at=RELEASE + timedelta(hours=serial))
        _notice(session, bo, 7, "welcome")
    before = [_disclosure_count(world, number) for number in (ada, bo)]
    assert before == [4, 1]
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == 6
    assert [_disclosure_count(world, number) for number in (ada, bo)] == before
    with world.database.read() as session:
        assert list_delivery_disclosures(session, ada, world.settings) == ()
        rows = {p.why: p for p in disclosures.list_disclosures(session, ada)}
        first = session.scalars(select(DisclosureTotal).where(DisclosureTotal.times == 3)).one().first_at
    asked = rows["To ask you to confirm your sign-up"]
    assert (asked.times, first, asked.at) == (3, RELEASE, RELEASE + timedelta(hours=2))
    assert rows["To send you an edition"].to_whom.startswith("Twilio SendGrid")


def test_totals_grow_from_night_to_night(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers("ada@example.org")
    for night in range(3):
        with world.database.write() as session:
            _notice(session, ada, night, handed_at=RELEASE + timedelta(days=night))
        add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE + timedelta(days=night))
    with world.database.read() as session:
        total = session.scalars(select(DisclosureTotal)).one()
        kept = session.scalars(select(DeliveryTotal)).one()
    assert (total.times, total.first_at, total.last_at) == (3, RELEASE, RELEASE + timedelta(days=2))
    assert (kept.purpose, kept.state, kept.count) == ("confirm", DeliveryState.ACCEPTED, 3)


def test_what_was_said_goes_with_its_delivery_and_what_is_young_stays(world: DeliverySetup) -> None:
    _sent(world, [DeliveryState.ACCEPTED, DeliveryState.REFUSED])
    with world.database.write() as session:
        old = list(session.scalars(select(Delivery.id)))
        young = _notice(session, None, 1, "contact", handed_at=LATE)
        for place, of in enumerate([*old, young, None, None]):
            at = LATE if of == young or place == 4 else RELEASE
            values = {"kind": "delivered", "detail": {}, "fingerprint": f"{place}"}
            session.add(StoredDeliveryEvent(delivery=of, at=at, received_at=at, **values))
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == 2
    with world.database.read() as session:
        assert set(session.scalars(select(Delivery.id))) == {young}
        assert set(session.scalars(select(StoredDeliveryEvent.fingerprint))) == {"2", "4"}


@pytest.mark.takes_turns
@pytest.mark.parametrize("state", [EditionState.APPROVED, EditionState.SENDING])
def test_an_edition_that_goes_on_keeps_its_deliveries_however_old(world: DeliverySetup, state: EditionState) -> None:
    _sent(world, [DeliveryState.ACCEPTED])
    with world.database.write() as session:
        session.execute(update(Edition).values(state=state))
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == 0
    assert _count(world.database, Delivery) == 1


@pytest.mark.takes_turns
def test_a_day_more_or_less_decides_and_the_settings_say_which(world: DeliverySetup) -> None:
    _sent(world, [DeliveryState.ACCEPTED])
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=RELEASE + KEPT) == 0
    short = world.settings.file.model_copy(update={"retention": RetentionSettings(delivery_days=90)})
    sooner = world.settings.model_copy(update={"file": short})
    assert add_old_deliveries_to_totals(world.database, world.keys, sooner, now=RELEASE + timedelta(days=89)) == 0
    assert add_old_deliveries_to_totals(world.database, world.keys, sooner, now=RELEASE + timedelta(days=91)) == 1


def test_a_notice_that_was_left_behind_goes_too(world: DeliverySetup) -> None:
    with world.database.write() as session:
        named = _notice(session, None, 1, "contact", state=DeliveryState.WITHDRAWN)
        session.add(QueuedNoticeEmail(delivery=named, kind="contact", ciphertext=b"x", key_id="1"))
    assert add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE) == 1
    assert _count(world.database, QueuedNoticeEmail) == 0


def test_erasure_keeps_the_counts_before_and_after_they_are_totals(world: DeliverySetup) -> None:
    ada, bo = _sent(world, [DeliveryState.ACCEPTED, DeliveryState.ACCEPTED], over="sendgrid")
    unsubscribe_log = UnsubscribeLog(world.settings.left_log, world.keys)
    forget = make_delivery_erasure_callback(world.keys, lambda: LATE)
    with world.database.write() as session:
        erase_person(session, world.keys, unsubscribe_log, ada, method="page", forget_elsewhere=forget, now=LATE)
    add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=LATE)
    assert _counts(world.database)[DeliveryState.ACCEPTED] == 2
    with world.database.write() as session:
        assert queue_provider_erasures(session, world.keys, bo, read_address("r1@example.org"), now=LATE)
        erase_person(session, world.keys, unsubscribe_log, bo, method="page", forget_elsewhere=forget, now=LATE)
        assert list(session.scalars(select(DisclosureTotal.person))) == [None]
    assert _counts(world.database).is_balanced


def test_a_row_that_somebody_holds_is_left_to_the_next_night(postgresql: Database, tmp_path: Path) -> None:
    with postgresql.write() as session:
        held, free = (_notice(session, None, n, "contact") for n in range(2))
    with postgresql.write() as session:
        session.execute(select(Delivery.id).where(Delivery.id == held).with_for_update())
        assert add_old_deliveries_to_totals(postgresql, KEYS, delivery_settings(tmp_path), now=LATE) == 1
    with postgresql.read() as session:
        assert list(session.scalars(select(Delivery.id))) == [held]
        assert free != held
    assert add_old_deliveries_to_totals(postgresql, KEYS, delivery_settings(tmp_path), now=LATE) == 1


def _somebody_waits(database: Database) -> bool:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with database.read() as session:
        return bool(session.scalar(waiting))


def test_an_erasure_at_that_moment_comes_first_and_its_person_stands_in_no_total(
    postgresql: Database, tmp_path: Path
) -> None:
    ours = delivery_settings(tmp_path)
    unsubscribe_log = UnsubscribeLog(ours.left_log, KEYS)
    with postgresql.write() as session:
        person = Person(state=PersonState.SUBSCRIBED, choices={}, asked_at=RELEASE, asked_where="")
        session.add(person)
        session.flush()
        _notice(session, person.number, 1)
    with ThreadPoolExecutor(1) as pool:
        with postgresql.write() as session:
            forget = make_delivery_erasure_callback(KEYS, lambda: LATE)
            erase_person(
                session, KEYS, unsubscribe_log, person.number, method="page", forget_elsewhere=forget, now=LATE
            )
            folded = pool.submit(add_old_deliveries_to_totals, postgresql, KEYS, ours, now=LATE)
            while not (folded.done() or _somebody_waits(postgresql)):
                time.sleep(0.02)
        assert folded.result(60) == 1
    assert _count(postgresql, DisclosureTotal) == 0
    assert _count(postgresql, Delivery) == 0


def test_a_large_table_is_folded_in_pages_of_few_rows(database: Database, tmp_path: Path) -> None:
    many = 2 * ROWS_PER_TRANSACTION + 3
    with database.write() as session:
        for n in range(many):
            _notice(session, None, n, "contact")
    deleted: list[int] = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def _watch(_conn: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("DELETE FROM delivery"):
            deleted.append(cursor.rowcount)

    assert add_old_deliveries_to_totals(database, KEYS, delivery_settings(tmp_path), now=LATE) == many
    event.remove(database.engine, "after_cursor_execute", _watch)
    assert deleted == [ROWS_PER_TRANSACTION, ROWS_PER_TRANSACTION, 3]
    assert ROWS_PER_TRANSACTION <= 1000
    with database.read() as session:
        assert session.scalar(select(DeliveryTotal.count)) == many


_ROW = st.tuples(
    st.sampled_from(["edition:2026-W01", "edition:2026-W02", "edition:2026-W03", "confirm", "welcome"]),
    st.sampled_from(list(DeliveryState)),
    st.integers(0, 3),  # whose, 0 is nobody's
    st.integers(-40, 40),  # days around the limit
    st.booleans(),  # handed over
    st.sampled_from(["smtp", "sendgrid", "outbox"]),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(_ROW, max_size=30), nights=st.lists(st.integers(0, 90), min_size=1, max_size=3))
def test_no_count_changes_whatever_is_folded_when(sqlite_template: Path, rows: list[Any], nights: list[int]) -> None:
    with TemporaryDirectory() as folder:
        shutil.copy(sqlite_template, f"{folder}/digest.db")
        _law(Path(folder), rows, nights)


def _law(folder: Path, rows: list[Any], nights: list[int]) -> None:
    database = share_compiled_statements(open_database(f"sqlite:///{folder / 'digest.db'}"))
    ours = delivery_settings(folder)
    _write(database, rows)
    before = _counted(database, ours)
    for night in sorted(nights):
        add_old_deliveries_to_totals(database, KEYS, ours, now=RELEASE + timedelta(days=night))
        assert _counted(database, ours) == before
    old = [r for r in rows if r[3] < max(nights) and r[1] not in OPEN and r[0] != "edition:2026-W03"]
    assert _count(database, Delivery) == len(rows) - len(old)
    database.close()


def _write(database: Database, rows: list[Any]) -> None:
    """Three editions, of which the last is still being sent, and three readers."""
    with database.write() as session:
        people = [
            Person(state=PersonState.SUBSCRIBED, choices={}, asked_at=RELEASE, asked_where="", lookup=str(n))
            for n in range(3)
        ]
        session.add_all(people)
        for n in range(1, 4):
            name = f"2026-W0{n}"
            state = EditionState.SENDING if n == 3 else EditionState.SENT
            when = dict.fromkeys(("opens_at", "cut_off", "release_at", "drafted_at"), RELEASE - KEPT)
            planned = sum(row[0] == f"edition:{name}" for row in rows)
            session.add(Edition(slot=name, name=name, number=n, state=state, content={}, planned=planned, **when))
        session.flush()
        for place, (purpose, state, whose, days, handed, over) in enumerate(rows):
            at = RELEASE - KEPT + timedelta(days=days)
            person = people[whose - 1].number if whose and not purpose.startswith("edition") else None
            session.add(
                Delivery(
                    id=f"{place}".ljust(26, "x"),
                    purpose=purpose if purpose.startswith("edition") else f"{purpose}:{place}",
                    person=person,
                    state=state,
                    due_at=at,
                    next_try_at=at,
                    handed_at=at if handed else None,
                    transport=over,
                )
            )


def _counted(database: Database, ours: Settings) -> tuple[Any, ...]:
    """All that anybody can count: counts, mails of a kind, what each reader sees by recipient."""
    with database.read() as session:
        kept = [count_deliveries(session, f"edition:2026-W0{n}") for n in range(1, 4)]
        assert all(one.is_balanced for one in kept)
        kinds: Counter[tuple[str, DeliveryState]] = Counter()
        for purpose, state in session.execute(select(Delivery.purpose, Delivery.state)):
            kinds[find_delivery_total_purpose(purpose), state] += 1
        for total in session.scalars(select(DeliveryTotal)):
            kinds[total.purpose, total.state] += total.count
        seen: Counter[tuple[int, str, str]] = Counter()
        for number in session.scalars(select(Person.number)):
            for disclosure in (
                *list_delivery_disclosures(session, number, ours),
                *disclosures.list_disclosures(session, number),
            ):
                seen[number, disclosure.to_whom, disclosure.why] += disclosure.times
    return [replace(one) for one in kept], kinds, seen


def _bounce(world: DeliverySetup, number: int, serial: int, at: datetime) -> None:
    with world.database.write() as session:
        named = _notice(session, number, serial, "welcome", handed_at=at)
        values = {"kind": "bounced", "cause": "hard", "detail": {}, "fingerprint": f"{serial}"}
        session.add(StoredDeliveryEvent(delivery=named, at=at, received_at=at, **values))


@pytest.mark.parametrize("totals_first", [True, False])
def test_bounces_are_judged_alike_before_and_after_they_are_totals(
    one_world: DeliverySetup, *, totals_first: bool
) -> None:
    world = one_world
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    _bounce(world, ada, 1, RELEASE)
    _bounce(world, ada, 2, RELEASE + timedelta(days=300))
    for serial, days in ((3, 200), (4, 300)):
        _bounce(world, bo, serial, RELEASE + timedelta(days=days))
    world.settings.key_file.write_text(KeyRing.to_json(KEYS))
    world.settings.key_file.chmod(0o600)
    steps = [nightly_steps.aggregate_old_deliveries, nightly_steps.suppress_bouncing_addresses]
    install = Installation(world.settings, world.database)
    for step in steps if totals_first else reversed(steps):
        step(install, LATE)
    with world.database.read() as session:
        states = [session.get_one(Person, number).state for number in (ada, bo)]
    assert states == [PersonState.SUBSCRIBED, PersonState.SUPPRESSED]
