# ruff: noqa: F811 - pytest finds the imported fixture by its name
"""A migration that fails partway leaves the old schema and every row, and the message says how to go back."""

import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import inspect, make_url, text

import scheduler
from digest.cli import digest
from digest.cli.context import CommandContext
from digest.installation import opened_installation
from digest.installation.opened_installation import open_installation
from digest.settings import Settings
from digest.store.engine import newest_schema_revision, open_database
from subscribers.errors import ApplicationError
from tests.later_revisions import write_revision
from tests.moments import AFTER_RELEASE as NOW
from tests.store.test_upgrade_command import OLD, old_url  # noqa: F401

BROKEN = "9998"
BROKEN_CODE = """
def upgrade() -> None:
    op.create_table("half_done", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE person SET ciphertext = NULL")
    op.execute("DELETE FROM suppression")
    with op.batch_alter_table("edition") as batch:
        batch.add_column(sa.Column("half_done", sa.Integer))
    {fault}
"""
FAULTS = {
    "a refused statement": ('op.execute("INSERT INTO missing_table VALUES (1)")', "missing_table"),
    "a mistake of ours": ('raise KeyError("word")', "KeyError: 'word'"),
}


OUTAGES = {  # of each database, with what the message says
    "sqlite": (
        'op.execute("PRAGMA max_page_count = 200"); op.execute("CREATE TABLE much AS SELECT zeroblob(100000000)")',
        "Free up space, then run the command again.",
    ),
    "postgresql": ('op.execute("SELECT pg_terminate_backend(pg_backend_pid())")', "Run the command again later."),
}


def break_newest_migration(fault: str, migrations: Path) -> None:
    """Put a newest migration in place that fails."""
    write_revision(migrations, BROKEN, newest_schema_revision(), BROKEN_CODE.format(fault=fault))
    newest_schema_revision.cache_clear()


@pytest.fixture(params=FAULTS)
def reason(request: pytest.FixtureRequest, later_revisions: Path) -> str:
    """Put a newest migration in place that fails, and give what the message says of it."""
    fault, reason = FAULTS[request.param]
    break_newest_migration(fault, later_revisions)
    return reason


def describe(url: str) -> tuple[dict[str, list[str]], str | None, list[int]]:
    """Describe a database: its tables with their columns, the schema's revision, and the number of rows that the fault changes."""
    with closing(open_database(url)) as database, database.engine.connect() as connection:
        inspector = inspect(connection)
        names = inspector.get_table_names()
        columns = {name: [column["name"] for column in inspector.get_columns(name)] for name in names}
        counts = [
            connection.scalar(text(f"SELECT count({column}) FROM {table}")) or 0
            for table, column in (("person", "ciphertext"), ("suppression", "id"), ("edition", "id"))
        ]
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return columns, revision, counts


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("upgrade", "a refused statement"),
        ("serve", "a mistake of ours"),
        ("work", "a refused statement"),
        ("draft", "a mistake of ours"),
    ],
    indirect=["reason"],
)
def test_the_old_schema_remains_and_nothing_starts(old_url: str, reason: str, command: str) -> None:
    before = describe(old_url)
    refused = CliRunner().invoke(digest, [command])
    assert (refused.exit_code, describe(old_url)) == (2, before), refused.output
    assert f"Upgrading the database from schema {OLD} failed and was undone: " in refused.output
    assert reason in refused.output
    assert "Install the previous version and start it: the database is as that version left it" in refused.output


def test_the_timetables_process_does_not_start_either(
    old_url: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = describe(old_url)
    monkeypatch.setattr(sys, "argv", ["hls-scheduler"])
    with pytest.raises(SystemExit, match="failed and was undone") as ended:
        scheduler.main()
    assert reason in str(ended.value)
    assert describe(old_url) == before


def test_the_previous_version_goes_on_where_it_was(
    old_url: str, reason: str, later_revisions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stand-in is this version without the migration that failed. Each attempt has a backup, also within one second."""
    monkeypatch.setattr(CommandContext, "now", lambda *_: NOW)
    refused = CliRunner().invoke(digest, ["upgrade"])
    assert (refused.exit_code, reason in refused.output) == (2, True)
    next((later_revisions / "versions").glob(f"{BROKEN}_*.py")).unlink()
    newest_schema_revision.cache_clear()
    done = CliRunner().invoke(digest, ["upgrade"])
    assert done.exit_code == 0, done.output
    assert describe(old_url)[1] == newest_schema_revision()
    assert len([*(tmp_path / "home" / "backups").glob(f"before-upgrade-{OLD}-*.zip")]) == 2


def test_an_outage_is_called_by_its_name_and_not_taken_for_a_faulty_migration(
    old_url: str, later_revisions: Path
) -> None:
    fault, advice = OUTAGES[make_url(old_url).get_backend_name()]
    break_newest_migration(fault, later_revisions)
    before = describe(old_url)
    refused = CliRunner().invoke(digest, ["draft"])
    assert (refused.exit_code, describe(old_url)) == (2, before), refused.output
    assert refused.output.rstrip().endswith(advice)
    assert "previous version" not in refused.output


@pytest.mark.parametrize("old_url", ["sqlite"], indirect=True)  # only there does a writer wait for all others
def test_a_busy_database_is_upgraded_later(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = partial(open_database, writer_timeout=0.05)
    monkeypatch.setattr(opened_installation, "open_database", impatient)
    before = describe(old_url)
    with closing(sqlite3.connect(make_url(old_url).database or "")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused = CliRunner().invoke(digest, ["draft"])
    assert (refused.exit_code, describe(old_url)) == (2, before), refused.output
    assert "The database was busy for too long, so" in refused.output
    assert refused.output.rstrip().endswith("Run the command again later.")
    assert "previous version" not in refused.output


def test_a_database_that_cannot_be_created_has_no_previous_version(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIGEST_DATABASE_URL", raising=False)
    with (
        pytest.raises(ApplicationError, match="Creating the database's tables failed") as refused,
        open_installation(Settings(home=tmp_path / "new"), may_create=True),
    ):
        pass
    assert reason in str(refused.value)
    assert "previous version" not in str(refused.value)
