"""Everything moves to another database in one step, verified row by row. If anything fails, nothing has moved."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert, inspect, select, text

from digest.backups.table_rows import list_tables_by_dependency
from digest.cli import digest
from digest.deliver.control import installation_hold
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database, open_database
from digest.store.models import AuditEntry, Source
from subscribers.consent import seals
from subscribers.signup import manual_signup
from tests.backups.test_backups import LATER, fill
from tests.moments import DRAFTING as NOW
from tests.run_database import run_on_server, sibling_database_url
from tests.web.conftest import WebSetup, build_web_setup, sample_evidence, store_edition

ADDED_BY_THE_MOVE = {"memo", "audit"}  # where each database is at home and whether it is held, and that it was moved


@pytest.fixture
def empty_url(postgresql_url: str) -> Iterator[str]:
    """Give the URL of a PostgreSQL database without any table."""
    run_on_server(postgresql_url, "CREATE DATABASE moved")
    yield sibling_database_url(postgresql_url, "moved")
    run_on_server(postgresql_url, "DROP DATABASE moved WITH (FORCE)")


@pytest.fixture
def small(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebSetup:
    """Give an installation in SQLite that no process has open, with its digest.toml and digest.env where one works."""
    world = fill(build_web_setup(sqlite, tmp_path / "home"))
    sqlite.close()
    return at_rest(world, tmp_path, monkeypatch)


def at_rest(world: WebSetup, folder: Path, monkeypatch: pytest.MonkeyPatch) -> WebSetup:
    url = world.database.engine.url.render_as_string(hide_password=False)
    (folder / "digest.toml").write_text('[publication]\nname = "Ours"\n', "utf-8")
    (folder / "digest.env").write_text(f"DIGEST_HOME={folder / 'home'}\nDIGEST_DATABASE_URL={url}\n", "utf-8")
    (folder / "digest.env").chmod(0o600)
    monkeypatch.chdir(folder)
    world.database.close()
    return world


def migrate(url: str, *words: str) -> Result:
    return CliRunner().invoke(digest, ["migrate", "--to", url, "--yes", *words])


def read_tables(database: Database) -> dict[str, list[Any]]:
    with database.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for table in list_tables_by_dependency()
        }


def is_held(database: Database) -> bool:
    with database.read() as session:
        return installation_hold.read_current_hold(session) is not None


@pytest.mark.parametrize("origin", ["sqlite", "postgresql"])
def test_every_row_and_chain_is_there_as_it_was_and_the_old_database_is_held(
    origin: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Database = request.getfixturevalue(origin)
    url = request.getfixturevalue("empty_url") if origin == "sqlite" else f"sqlite:///{tmp_path / 'moved.db'}"
    world = at_rest(fill(build_web_setup(source, tmp_path / "home")), tmp_path, monkeypatch)
    before = read_tables(source)
    source.close()
    told = migrate(url, "--json")
    assert told.exit_code == 0, told.output
    said = json.loads(told.output)
    # Opening the installation for the move made the old database at home where it is.
    assert {name: len(rows) for name, rows in before.items() if name != "memo"} == {
        name: rows for name, rows in said["rows"].items() if name != "memo"
    }
    assert (said["people"], said["sound"]) == (5, True)
    with closing(source):
        assert is_held(source)
    settings = load_settings(tmp_path / "digest.toml", {})  # whose digest.env names the new one
    assert settings.database_url.partition("://")[2] == url.partition("://")[2]
    with open_installation(settings) as installation:
        target = installation.database
        assert not is_held(target)
        after = read_tables(target)
        assert {n: after[n] for n in after.keys() - ADDED_BY_THE_MOVE} == {
            n: before[n] for n in before.keys() - ADDED_BY_THE_MOVE
        }
        check_goes_on(installation, world)


def check_goes_on(installation: Installation, world: WebSetup) -> None:
    """The ledger and the audit log hold, and numbers go on from where they stood."""
    with installation.database.read() as session:
        proof = seals.verify_ledger(session, world.install.keys, tables=SEALED_TABLES)
        assert proof.sound
        assert proof.disclosures > 0
        assert verify_audit_log(session).fault == ""
        assert session.scalars(select(AuditEntry.act).order_by(AuditEntry.id.desc()).limit(1)).one() == (
            "moved to another database"
        )
    with installation.database.write() as session:
        manual_signup.add_subscriber(
            session, world.install.keys, "new@county.example", evidence=sample_evidence(), now=LATER
        )
    store_edition(installation, name="2026-W48", number=148, release_at=LATER)


def check_nothing_moved(world: WebSetup, empty_url: str) -> None:
    with closing(open_database(empty_url)) as target:
        assert inspect(target.engine).get_table_names() == []
    with closing(world.database):
        assert not is_held(world.database)


def test_a_row_that_the_other_database_cannot_keep_stops_the_move_and_is_not_shown(
    small: WebSetup, empty_url: str
) -> None:
    with small.database.write() as session:  # PostgreSQL keeps no character zero
        url = "https://a.example/feed"
        row = {"url": url, "name": "secret\0word", "publisher": "A", "topics": {}}
        session.execute(insert(Source).values(**row))
    small.database.close()
    refused = migrate(empty_url)
    assert refused.exit_code == 1
    assert "Not moved. The new database can't store a row of source: " in refused.output
    assert "secret" not in refused.output
    check_nothing_moved(small, empty_url)
    with small.database.write() as session:
        session.execute(text("UPDATE source SET name = 'a word' WHERE url = :url"), {"url": url})
    small.database.close()
    moved = migrate(empty_url)
    assert moved.exit_code == 0, moved.output


def test_while_messages_are_handed_over_or_somebody_works_with_it_nothing_moves(
    small: WebSetup, empty_url: str
) -> None:
    with small.database.read() as session:
        session.execute(text("SELECT 1"))
        refused = migrate(empty_url)
    assert refused.exit_code == 1
    assert "The database is in use" in refused.output
    with small.database.write() as session:
        handing = {"state": DeliveryState.HANDING_OVER, "due_at": NOW, "next_try_at": NOW, "message_id": "<c@d>"}
        session.add(
            Delivery(id="d2", purpose="edition:2026-W47", person=small.ada, owner="x", lease_until=NOW, **handing)
        )
    small.database.close()
    refused = migrate(empty_url)
    assert refused.exit_code == 1
    assert "it was interrupted (1 message)" in refused.output
    check_nothing_moved(small, empty_url)


def test_what_is_no_empty_database_is_refused_in_a_sentence_without_a_password(
    small: WebSetup, empty_url: str, tmp_path: Path
) -> None:
    with closing(open_database(empty_url)) as target, target.engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (id int)"))
    words_by_url = {
        empty_url: "The new database isn't empty",
        f"sqlite:///{tmp_path / 'digest.db'}": "The URL in --to is for the database in use",
        f"sqlite:///{tmp_path / 'digest.env'}": "already exists. Choose another name",
        "mysql://h/d": "For --to, use postgresql+psycopg://",
        "nonsense": "For --to, use postgresql+psycopg://",
        "postgresql://h": "For --to, use postgresql+psycopg://",
        "postgresql+psycopg://u:hid-den@127.0.0.1:1/d": "Can't open the new database",
    }
    for url, words in words_by_url.items():
        refused = migrate(url)
        assert refused.exit_code == 1, url
        assert refused.output.startswith("Error: Not moved. ")
        assert words in refused.output
        assert "hid-den" not in refused.output
    with closing(small.database):
        assert not is_held(small.database)


def test_an_installation_that_is_held_stays_so(small: WebSetup, empty_url: str) -> None:
    with small.database.write() as session:
        installation_hold.pause_possible_copy(session, "looked at", actor="eve", now=NOW)
    small.database.close()
    moved = migrate(empty_url)
    assert moved.exit_code == 0, moved.output
    with closing(open_database(empty_url)) as target:
        assert is_held(target)
