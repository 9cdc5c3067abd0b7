"""Values of the wrong type in SQLite: the rest is still read, sent, and shown, and `digest doctor` lists the rows."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Integer, select

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.operation_checks import check_invalid_sqlite_values
from digest.edition.edition_queries import next_edition_number
from digest.installation.opened_installation import Installation
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.store.column_types import DamageTolerantInteger
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.keyed_row_seals import list_keyed_seal_models
from subscribers.store.models import DAMAGED_MOMENT, Base, table_of
from tests.deliver.conftest import KEYS, DeliverySetup, delivery_settings, store_approved_edition
from tests.deliver.send.test_changed_rows import addresses, queue_links, send_edition, send_notices
from tests.moments import RELEASE, Clock

pytestmark = pytest.mark.sqlite  # PostgreSQL takes values of a column's type only
TEXT = "<b>Pay here</b>"


@pytest.fixture
def world(sqlite: Database, tmp_path: Path) -> DeliverySetup:
    settings = delivery_settings(tmp_path)
    store_approved_edition(sqlite, settings, "2026-W47", RELEASE)
    return DeliverySetup(sqlite, settings, KEYS, Clock(RELEASE))


def damage(world: DeliverySetup, statement: str) -> None:
    with closing(sqlite3.connect(world.database.engine.url.database or "")) as connection, connection:
        connection.execute(statement)


def test_every_column_of_integers_is_read_this_way_or_sealed() -> None:
    sealed = {table_of(model) for model in list_keyed_seal_models()}
    columns = [
        column for table in Base.metadata.sorted_tables for column in table.c if isinstance(column.type, Integer)
    ]
    others = [column for column in columns if not isinstance(column.type, DamageTolerantInteger)]
    assert len(columns) > 100
    assert all(isinstance(column.type, BigInteger) and column.table in sealed for column in others)


@pytest.mark.parametrize("value", [f"'{TEXT}'", "x'00ff'", "1.5"])
def test_what_is_no_integer_is_read_as_zero(world: DeliverySetup, value: str) -> None:
    damage(world, f"UPDATE edition SET number = {value}")
    with world.database.read() as session:
        assert session.scalars(select(Edition)).one().number == 0
        assert CompiledStatement(select(table_of(Edition).c.number)).fetch_rows(session, {}) == [(0,)]


@pytest.mark.parametrize("value", ["'yesterday'", "x'00ff'", "7"])
def test_what_is_no_moment_is_read_as_an_old_one(world: DeliverySetup, value: str) -> None:
    damage(world, f"UPDATE edition SET drafted_at = {value}")
    with world.database.read() as session:
        assert session.scalars(select(Edition)).one().drafted_at == DAMAGED_MOMENT


def test_a_damaged_number_isnt_the_greatest(world: DeliverySetup) -> None:
    with world.database.write() as session:
        session.scalars(select(Edition)).one().state = EditionState.SENT
    store_approved_edition(world.database, world.settings, "2026-W48", RELEASE + timedelta(weeks=1))
    damage(world, f"UPDATE edition SET number = '{TEXT}' WHERE name = '2026-W48'")
    with world.database.read() as session:
        assert next_edition_number(session, 1) == 13


@pytest.mark.parametrize(
    "damaged",
    [
        "tries = 'x'",
        "due_at = 'x'",
        "next_try_at = 7",
        "first_handed_at = x'00'",
        "purpose = CAST(purpose AS BLOB)",
        "message_id = CAST(message_id AS BLOB)",
        "person = 'x'",
        "domain_tag = x'00'",
    ],
)
def test_a_damaged_delivery_stops_no_other_email(world: DeliverySetup, damaged: str) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    (row, _) = queue_links(world, ada, bo)
    damage(world, f"UPDATE delivery SET {damaged} WHERE id = '{row}'")
    assert "bo@example.org" in addresses(send_notices(world))


@pytest.mark.parametrize("damaged", ["ciphertext = 'text'", "kind = x'00'", "key_id = x'00'"])
def test_a_damaged_notice_stops_no_other_email(world: DeliverySetup, damaged: str) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    (row, _) = queue_links(world, ada, bo)
    damage(world, f"UPDATE notice SET {damaged} WHERE delivery = '{row}'")
    assert addresses(send_notices(world)) == ["bo@example.org"]


@pytest.mark.parametrize("damaged", ["link_generation = 'x'", "asked_at = 'x'", "ciphertext = 'text'"])
def test_a_damaged_subscriber_stops_no_other_email(world: DeliverySetup, damaged: str) -> None:
    ada, _ = world.add_subscribers("ada@example.org", "bo@example.org")
    damage(world, f"UPDATE person SET {damaged} WHERE number = {ada}")
    assert "bo@example.org" in addresses(send_edition(world))


def test_the_doctor_names_damaged_rows(world: DeliverySetup) -> None:
    examined = ExaminedInstallation(Installation(world.settings, world.database), RELEASE)
    world.add_subscribers("ada@example.org")
    assert list(check_invalid_sqlite_values(examined)) == []
    damage(world, f"UPDATE edition SET number = '{TEXT}', cut_off = '2026-13-01 00:00:00'")
    damage(world, "UPDATE person SET asked_at = 'x' WHERE number = 1")
    assert [finding.sentence for finding in check_invalid_sqlite_values(examined)] == [
        "edition has damaged values, in rows 1.",
        "person has damaged values, in rows 1.",
    ]
