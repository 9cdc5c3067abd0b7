"""A backup reads finished editions before its snapshot, and has later changes as of the snapshot."""

import sqlite3
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from digest.app.upkeep.backups import rehearse_restore
from digest.app.upkeep.nightly_steps import NIGHTLY_STEPS
from digest.backups import creation, early_rows
from digest.backups.archive import BackupError
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.event_processor import process_events
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.retention.delivery_disclosures import add_old_deliveries_to_totals, erase_from_deliveries
from digest.deliver.retention.delivery_seals import seal_deliveries, unseal_deliveries
from digest.store.delivery_models import ChangedRow, Delivery, DeliveryState, RunningBackup, StoredDeliveryEvent
from digest.store.engine import Database, open_database
from digest.store.models import Edition, EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.erasure import erase_person
from subscribers.signup.manual_signup import add_subscriber
from tests.backups.test_backups import dump, put_back, settings_of, sound
from tests.moments import RELEASE
from tests.web.conftest import WebSetup, build_web_setup, sample_evidence, store_edition

SENT = RELEASE - timedelta(7)
OLD = SENT - timedelta(500)  # its deliveries become totals in the next night
NOW = RELEASE + timedelta(1)
PEOPLE = 7
PASSPHRASE = SecretStr("what nobody guesses")
CHANGING = {"running_backup", "changed_row"}


def store_finished_edition(world: WebSetup, name: str, number: int, sent: Any, people: list[int | None]) -> None:
    store_edition(world.install, name=name, number=number, state=EditionState.SENT, release_at=sent)
    rows = [
        {
            "id": f"{name} {place}",
            "purpose": f"edition:{name}",
            "person": person,
            "state": DeliveryState.ACCEPTED,
            "due_at": sent,
            "next_try_at": sent,
            "handed_at": sent,
            "first_handed_at": sent,
            "message_id": f"<{name}-{place}@news.example>",
            "transport": "sendgrid",
            "reply": "250 ok",
        }
        for place, person in enumerate(people)
    ]
    delivered = [
        {
            "delivery": row["id"],
            "kind": "delivered",
            "at": sent,
            "received_at": sent,
            "fingerprint": f"f {row['id']}",
            "detail": {"said": "250"},
        }
        for row in rows
    ]
    with world.database.write() as session:
        session.execute(update(Edition).where(Edition.name == name).values(planned_at=sent))
        session.execute(insert(Delivery), rows)
        session.execute(insert(StoredDeliveryEvent), delivered)


@pytest.fixture
def world(database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation with two finished editions, one of which is old, and one that is being sent."""
    world = build_web_setup(database, tmp_path / "home")
    with database.write() as session:
        people: list[int | None] = [
            add_subscriber(
                session, world.install.keys, f"reader{n}@county.example", evidence=sample_evidence(), now=SENT
            ).number
            for n in range(PEOPLE)
        ]
    store_finished_edition(world, "2025-W28", 128, OLD, people)
    store_finished_edition(world, "2026-W46", 146, SENT, people)
    seal_deliveries(database, world.install.keys, now=SENT)
    store_finished_edition(world, "2026-W47", 147, RELEASE, people)
    with database.write() as session:
        session.execute(update(Edition).where(Edition.name == "2026-W47").values(state=EditionState.SENDING))
    return world


@dataclass
class Interruption:
    """An action right before a backup's snapshot, with the database's contents then and the rows that the snapshot read."""

    act: Callable[[], None] = lambda: None
    measure: Callable[[Session], int] = lambda _: 0
    held: dict[str, list[Any]] = field(default_factory=dict)
    was_read: list[int] = field(default_factory=list)


@pytest.fixture
def before_snapshot(monkeypatch: pytest.MonkeyPatch) -> Interruption:
    interruption, take_snapshot = Interruption(), Database.snapshot

    @contextmanager
    def interrupted(database: Database) -> Iterator[Session]:
        interruption.act()
        interruption.held = dump(database)
        with take_snapshot(database) as session:
            start = interruption.measure(session)
            yield session
            interruption.was_read.append(interruption.measure(session) - start)

    monkeypatch.setattr(Database, "snapshot", interrupted)
    return interruption


def assert_restores_as_held(world: WebSetup, file: Path, held: dict[str, list[Any]], home: Path, **more: Any) -> None:
    """Restore a backup into another database: it holds the same, row for row, and proves it."""
    settings = settings_of(home, world.install.keys).model_copy(update=more)
    assert put_back(settings, file).proof.sound
    restored = open_database(settings.effective_database_url)
    copied = dump(restored)
    assert held.keys() == copied.keys()
    for name in held.keys() - CHANGING:
        assert copied[name] == held[name], name
    assert not any(copied[name] for name in CHANGING)
    sound(restored, world.install.keys)
    restored.close()


def bounce(world: WebSetup, delivery: str) -> None:
    heard = DeliveryEvent(
        "sendgrid", delivery, EventKind.BOUNCED, FailureCause.HARD, NOW, NOW, f"bounce {delivery}", None, {}
    )
    with world.database.write() as session:
        log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
        process_events(session, [heard], keys=world.install.keys, unsubscribe_log=log, now=NOW)
        query = select(Delivery.state).where(Delivery.id == delivery)
        assert session.scalars(query).one() is DeliveryState.REFUSED


def person_of(world: WebSetup, delivery: str) -> int:
    with world.database.read() as session:
        person = session.scalars(select(Delivery.person).where(Delivery.id == delivery)).one()
    assert person is not None
    return person


def erase(world: WebSetup, delivery: str) -> None:
    """Erase the person to whom a delivery went, with all their deliveries."""
    keys, person = world.install.keys, person_of(world, delivery)
    log = UnsubscribeLog(world.install.settings.left_log, keys)
    with world.database.write() as session:
        erase_person(session, keys, log, person, method="page", forget_elsewhere=erase_from_deliveries, now=NOW)


def run_retention(world: WebSetup) -> None:
    folded = add_old_deliveries_to_totals(world.database, world.install.keys, world.install.settings, now=NOW)
    assert folded == PEOPLE


def send_again(world: WebSetup) -> None:
    """Take a delivery out of its seal, send it again, and seal it anew, so that its last change is one of a row without a seal."""
    with world.database.write() as session:
        assert unseal_deliveries(session, world.install.keys, ["2026-W46 3"], now=NOW) == ["2026-W46 3"]
    with world.database.write() as session:
        again = {"state": DeliveryState.REFUSED, "handed_at": NOW, "tries": 2}
        session.execute(update(Delivery).where(Delivery.id == "2026-W46 3").values(again))


def finish_edition(world: WebSetup) -> None:
    with world.database.write() as session:
        session.execute(update(Edition).where(Edition.name == "2026-W47").values(state=EditionState.SENT))
    assert seal_deliveries(world.database, world.install.keys, now=NOW) >= PEOPLE


def do_all(world: WebSetup) -> None:
    bounce(world, "2026-W46 0")
    bounce(world, "2026-W47 1")
    erase(world, "2026-W46 0")
    erase(world, "2026-W46 2")
    run_retention(world)
    send_again(world)
    finish_edition(world)


@pytest.mark.parametrize(
    ("change", "page"),
    [
        (lambda world: bounce(world, "2026-W46 1"), 2),
        (lambda world: erase(world, "2026-W46 2"), 2),
        (run_retention, 2),
        (send_again, 2),
        (finish_edition, 2),
        (do_all, 2),
        (do_all, 2000),
    ],
    ids=["bounce", "erasure", "retention", "again", "finished", "all", "all in one page"],
)
def test_what_changes_after_the_early_rows_were_read_is_in_a_backup_as_in_its_snapshot(
    world: WebSetup,
    before_snapshot: Interruption,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[WebSetup], None],
    page: int,
) -> None:
    monkeypatch.setattr(early_rows, "READ_BATCH_SIZE", page)
    erase(world, "2026-W46 6")
    erase(world, "2026-W46 5")  # more than a page of deliveries without a person, with the next one
    erase(world, "2026-W46 4")
    before_snapshot.act = lambda: change(world)
    file = tmp_path / "b.zip"
    creation.create_backup(world.database, file, passphrase=PASSPHRASE.get_secret_value(), now=NOW)
    held = before_snapshot.held
    assert held["running_backup"]
    assert_restores_as_held(world, file, held, tmp_path / "other", backup_passphrase=PASSPHRASE)
    assert not any(dump(world.database)[name] for name in CHANGING)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.takes_turns
def test_an_erased_person_is_in_no_row_of_the_file(
    world: WebSetup, before_snapshot: Interruption, tmp_path: Path
) -> None:
    before_snapshot.act = lambda: erase(world, "2026-W46 2")
    creation.create_backup(world.database, tmp_path / "b.zip", now=NOW)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        lines = archive.read("rows/delivery.jsonl")
    assert b"2026-W46-3@news.example" in lines
    assert b"2026-W46-2@news.example" not in lines


def count_pages(session: Session) -> int:
    """Count the pages of deliveries, events, and their indexes that a transaction has read on PostgreSQL."""
    query = """
        SELECT CAST(sum(pg_stat_get_xact_blocks_fetched(oid)) AS integer)
        FROM (SELECT indexrelid AS oid FROM pg_index WHERE indrelid IN ('delivery'::regclass, 'event'::regclass)
              UNION ALL SELECT unnest(ARRAY['delivery'::regclass, 'event'::regclass])) AS of_sending"""
    return session.scalar(text(query)) or 0


class StepCounter:
    """Counts the steps of SQLite's virtual machine, by the hundred."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, session: Session) -> int:
        driver: Any = session.connection().connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_progress_handler(self._count, 100)
        return self.steps

    def _count(self) -> int:
        self.steps += 1
        return 0


def test_the_snapshot_reads_no_more_with_more_deliveries_in_finished_editions(
    world: WebSetup, before_snapshot: Interruption, tmp_path: Path
) -> None:
    is_sqlite = world.database.engine.dialect.name == "sqlite"
    before_snapshot.measure = StepCounter() if is_sqlite else count_pages
    creation.create_backup(world.database, tmp_path / "few.zip", now=NOW)
    store_finished_edition(world, "2026-W45", 145, SENT - timedelta(7), [None] * 4000)
    assert seal_deliveries(world.database, world.install.keys, now=SENT) == 4000
    with world.database.write() as session:
        session.execute(text("ANALYZE"))  # as PostgreSQL does by itself, long before an edition is finished
    creation.create_backup(world.database, tmp_path / "many.zip", now=NOW)
    few, many = before_snapshot.was_read
    assert 0 < many < few + 100, "an edition has more than 100 pages, and takes more than 100,000 steps"


def test_a_change_that_began_before_the_backup_is_waited_for(postgresql: Database, tmp_path: Path) -> None:
    world = build_web_setup(postgresql, tmp_path / "home")
    store_finished_edition(world, "2026-W46", 146, SENT, [world.ada])
    seal_deliveries(postgresql, world.install.keys, now=SENT)

    def begin_changing() -> None:
        with postgresql.write() as session:
            session.execute(update(Delivery).values(state=DeliveryState.REFUSED))
            begun.set()
            while not count_rows(postgresql, RunningBackup):
                time.sleep(0.01)
            time.sleep(0.3)

    begun = threading.Event()
    thread = threading.Thread(target=begin_changing)
    thread.start()
    assert begun.wait(10)
    creation.create_backup(postgresql, tmp_path / "b.zip", now=NOW)
    thread.join()
    assert_restores_as_held(world, tmp_path / "b.zip", dump(postgresql), tmp_path / "other")


def test_without_the_end_of_an_old_transaction_all_is_read_in_the_snapshot(
    postgresql: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_snapshot: Interruption
) -> None:
    monkeypatch.setattr(early_rows, "WRITERS_TIMEOUT", 0.0)
    world = build_web_setup(postgresql, tmp_path / "home")
    store_finished_edition(world, "2026-W46", 146, SENT, [world.ada])
    seal_deliveries(postgresql, world.install.keys, now=SENT)
    with Session(postgresql.engine) as old:
        old.execute(update(Delivery).values(state=DeliveryState.REFUSED))
        before_snapshot.act = old.commit
        creation.create_backup(postgresql, tmp_path / "b.zip", now=NOW)
    assert_restores_as_held(world, tmp_path / "b.zip", before_snapshot.held, tmp_path / "other")


@contextmanager
def turned_off_trigger(database: Database) -> Iterator[None]:
    """Turn off a trigger: for good on SQLite, where each test has a database of its own."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    switch = "ALTER TABLE delivery {} TRIGGER delivery_changed"
    with database.write() as session:
        session.execute(text("DROP TRIGGER delivery_changed" if is_sqlite else switch.format("DISABLE")))
    yield
    if not is_sqlite:
        with database.write() as session:
            session.execute(text(switch.format("ENABLE")))


def test_without_its_triggers_all_is_read_in_the_snapshot(
    world: WebSetup, before_snapshot: Interruption, tmp_path: Path
) -> None:
    before_snapshot.act = lambda: erase(world, "2026-W46 2")
    with turned_off_trigger(world.database):
        creation.create_backup(world.database, tmp_path / "b.zip", now=NOW)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        lines = archive.read("rows/delivery.jsonl")
    assert b"2026-W46-3@news.example" in lines
    assert b"2026-W46-2@news.example" not in lines


def count_rows(database: Database, model: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def test_a_backup_that_was_killed_is_forgotten_after_some_days(world: WebSetup, tmp_path: Path) -> None:
    with world.database.write() as session:
        session.add(RunningBackup(started_at=NOW, last_event=1000))
    bounce(world, "2026-W46 1")
    noted = count_rows(world.database, ChangedRow)
    assert noted
    creation.create_backup(world.database, tmp_path / "b.zip", now=NOW + timedelta(days=1))
    assert count_rows(world.database, ChangedRow) == noted, "another backup may be under way"
    (forget,) = [step for step in NIGHTLY_STEPS if step.__name__ == "forget_killed_backups"]
    assert forget(world.install, NOW + timedelta(days=4)) == "cleaned up after 1 killed backup"
    assert count_rows(world.database, ChangedRow) == count_rows(world.database, RunningBackup) == 0


@pytest.mark.takes_turns
def test_a_backup_whose_changes_are_not_noted_anymore_fails(
    world: WebSetup, before_snapshot: Interruption, tmp_path: Path
) -> None:
    def forget() -> None:
        early_rows.delete_stale_backup_records(world.database, now=NOW + timedelta(days=4))

    before_snapshot.act = forget
    with pytest.raises(BackupError, match="took too long"):
        creation.create_backup(world.database, tmp_path / "b.zip", now=NOW)
    assert not list(tmp_path.glob("*b.zip*"))


def test_backups_are_sound_while_deliveries_change(world: WebSetup, tmp_path: Path) -> None:
    def change() -> None:
        for place in range(PEOPLE):
            bounce(world, f"2026-W46 {place}")
            erase(world, f"2026-W46 {place}")
        run_retention(world)

    thread = threading.Thread(target=change)
    thread.start()
    files = [tmp_path / f"{n}.zip" for n in range(3)]
    for file in files:
        creation.create_backup(world.database, file, now=NOW)
    thread.join()
    for file in files:
        assert rehearse_restore(world.install.settings, file).sound
