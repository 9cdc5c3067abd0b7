"""`digest upgrade` backs up an older database as it is, upgrades it, and verifies it."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import inspect, select, text, update

from digest.backups.archive import ArchiveReader
from digest.backups.loader import advance_sequence, create_schema_and_insert_rows
from digest.backups.table_rows import reflect_tables
from digest.cli import digest
from digest.settings import load_settings
from digest.store import engine
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StoredInstallationValue
from digest.store.engine import newest_schema_revision, open_database, read_schema_revision, run_migrations_to_revision
from digest.store.models import AuditEntry, Edition, EditionState, RenderedEditionFragment
from subscribers.consent.audience import load_audience_page
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.kill_harness import wait_until
from tests.later_revisions import LATER_REVISION, MOVED_VALUE, PREVIOUS_REVISION
from tests.row_keys import lend_row_keys
from tests.run_database import run_on_server, sibling_database_url
from tests.store.test_upgrade import AUDIENCE, FIXTURE

OLD = PREVIOUS_REVISION
# A process of its own has to be told which migrations to use.
RUN_WITH_MIGRATIONS = """
import sys
from pathlib import Path
from digest.store import engine
engine.MIGRATIONS = Path(sys.argv.pop(1))
from digest.cli import main
main()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    later_revisions: Path,
) -> Iterator[str]:
    """Give the URL of a populated database of the previous schema, in an installation where one works."""
    shutil.copytree(FIXTURE, tmp_path / "home")
    (tmp_path / "home" / "keys.json").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path / "home"))
    server: str = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    if server:
        run_on_server(server, "CREATE DATABASE old")
    url = sibling_database_url(server, "old") if server else f"sqlite:///{tmp_path / 'home' / 'digest.db'}"
    monkeypatch.setenv("DIGEST_DATABASE_URL", url)
    with (
        closing(open_database(url)) as database,
        closing(ArchiveReader(FIXTURE / "backup.zip")) as reader,
        database.engine.execution_options(immediate=True).begin() as connection,
    ):
        create_schema_and_insert_rows(connection, reader)
        run_migrations_to_revision(connection, OLD)
        for table in reflect_tables(connection):
            advance_sequence(connection, table)
    yield url
    if server:
        run_on_server(server, "DROP DATABASE old WITH (FORCE)")


def upgrade(*words: str) -> Result:
    return CliRunner().invoke(digest, [*words, "upgrade"])


def revision_of(url: str) -> str | None:
    with closing(open_database(url)) as database:
        return read_schema_revision(database)


def test_it_is_backed_up_as_it_was_migrated_and_proved_and_can_go_back(old_url: str, tmp_path: Path) -> None:
    of_before = StoredInstallationValue.name == MOVED_VALUE
    done = upgrade()
    assert done.exit_code == 0, done.output
    assert f"Upgraded the schema from {OLD} to {newest_schema_revision()}." in done.output
    assert "All records and seals passed verification." in done.output
    (file,) = (tmp_path / "home" / "backups").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    with closing(ArchiveReader(file)) as reader:
        assert (reader.manifest.revision, reader.manifest.people) == (OLD, 23)
        assert set(reader.manifest.keys) >= {"vault", "lookup", "suppression"}
        assert reader.manifest.tables["earlier_value"].rows == 1
        assert "earlier_number" in reader.manifest.tables["edition"].columns
    with closing(lend_row_keys(open_database(old_url), tmp_path / "home")) as database, database.read() as session:
        assert {reader.number for reader in load_audience_page(session)} == set(AUDIENCE)
        entry = session.scalars(select(AuditEntry).where(AuditEntry.act == "upgraded")).one()
        assert entry.detail == {"from": OLD, "to": LATER_REVISION, "backup": file.name}
        assert session.scalar(select(StoredInstallationValue.value).where(of_before)) == {}
        assert verify_audit_log(session).fault == ""
    again = upgrade()
    assert again.exit_code == 0, again.output
    assert "is already up to date" in again.output
    back = CliRunner().invoke(digest, ["restore", str(file), "--check"])
    assert back.exit_code == 0, back.output
    assert "All rows, records, and seals passed verification." in back.output


def test_while_somebody_works_with_it_nothing_is_done(old_url: str, tmp_path: Path) -> None:
    with closing(open_database(old_url)) as database, database.read() as session:
        session.execute(text("SELECT count(*) FROM person"))
        refused = upgrade()
    assert refused.exit_code == 1
    assert "The database is in use. Stop 'digest serve'" in refused.output
    assert revision_of(old_url) == OLD
    assert not (tmp_path / "home" / "backups").exists()


def test_a_database_of_a_newer_version_and_none_at_all_are_said_in_a_sentence(
    initialized_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = load_settings().effective_database_url
    with closing(open_database(url)) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = upgrade()
    assert refused.exit_code == 2
    assert "belongs to a newer version of this program (schema 9999" in refused.output
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("DIGEST_DATABASE_URL", raising=False)
    refused = upgrade()
    assert refused.exit_code == 2
    assert "the folder doesn't exist" in refused.output
    assert not (tmp_path / "elsewhere").exists()


def recolor(accent: str) -> None:
    Path(os.environ.get("DIGEST_SETTINGS", "digest.toml")).write_text(f'[branding]\naccent = "{accent}"\n')


def run(*words: str) -> Result:
    return CliRunner().invoke(digest, words)


def colors_and_actions(home: Path) -> tuple[set[str], list[str]]:
    """Return which of the tests' colors the draft has, and the recorded updates."""
    with (
        closing(lend_row_keys(open_database(load_settings().effective_database_url), home)) as database,
        database.read() as session,
    ):
        text_of_all = "".join(session.scalars(select(RenderedEditionFragment.body)))
        acts = session.scalars(select(AuditEntry.actor).where(AuditEntry.act == "draft updated")).all()
    return {color for color in ("#00606B", "#8A2C5E") if color in text_of_all}, [actor.split(":")[0] for actor in acts]


def test_drafts_are_updated_by_an_upgrade_and_by_the_terminal(initialized_home: Path) -> None:
    recolor("#00606B")
    assert "Incomplete: " in run("draft").output
    assert "was updated" not in upgrade().output
    assert colors_and_actions(initialized_home) == ({"#00606B"}, [])
    recolor("#8A2C5E")  # as another version might
    done = upgrade()
    assert done.exit_code == 0, done.output
    assert "The draft of 20" in done.output
    assert colors_and_actions(initialized_home) == ({"#8A2C5E"}, ["terminal"])
    assert run("draft", "--update", "current").output == "The draft is already up to date.\n"
    recolor("#00606B")
    assert run("draft", "--update", "current", "--explain").exit_code == 2
    assert "was updated. Review it again." in run("draft", "--update", "current").output
    assert colors_and_actions(initialized_home) == ({"#00606B"}, ["terminal"] * 2)


def test_an_upgrade_leaves_what_is_approved_and_what_can_not_be_updated_alone(initialized_home: Path) -> None:
    recolor("#00606B")
    run("draft")
    recolor("#8A2C5E")
    url = load_settings().effective_database_url
    with closing(open_database(url)) as database, database.write() as session:
        session.execute(update(Edition).values(state=EditionState.APPROVED))
    assert upgrade().exit_code == 0
    with closing(open_database(url)) as database, database.write() as session:
        session.execute(update(Edition).values(state=EditionState.DRAFT))
        session.execute(text("DELETE FROM proposal"))
    done = upgrade()
    assert done.exit_code == 0, done.output
    assert "was updated" not in done.output
    assert colors_and_actions(initialized_home) == ({"#00606B"}, [])


def test_if_needed_an_old_database_is_upgraded_and_then_left_alone(old_url: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(digest, ["upgrade", "--if-needed"])
    assert (done.exit_code, revision_of(old_url)) == (0, newest_schema_revision()), done.output
    assert "All records and seals passed verification." in done.output
    backups = list((tmp_path / "home" / "backups").iterdir())
    with closing(open_database(old_url)) as database, database.read() as session:
        session.execute(text("SELECT count(*) FROM person"))  # someone works with it
        again = CliRunner().invoke(digest, ["upgrade", "--if-needed"])
    assert (again.exit_code, again.output) == (0, "The schema is already up to date.\n")
    assert list((tmp_path / "home" / "backups").iterdir()) == backups


def test_if_needed_refuses_like_the_upgrade_itself(
    old_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_database(old_url)) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = CliRunner().invoke(digest, ["upgrade", "--if-needed"])
    assert (refused.exit_code, "belongs to a newer version" in refused.output) == (2, True)
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path / "elsewhere"))
    assert CliRunner().invoke(digest, ["upgrade", "--if-needed"]).exit_code == 2


@pytest.mark.parametrize("old_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_two_processes_that_start_at_once_migrate_in_turn(old_url: str) -> None:
    """Both find the old schema, and wait at its tables until the test lets go of them."""
    command = [sys.executable, "-c", RUN_WITH_MIGRATIONS, str(engine.MIGRATIONS), "staff", "list"]
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE datname = 'old' AND wait_event_type = 'Lock'")
    with closing(open_database(old_url)) as database, database.engine.connect() as blocker:
        tables = inspect(blocker).get_table_names()
        blocker.execute(text(f"LOCK TABLE {', '.join(name for name in tables if name != 'alembic_version')}"))
        processes = [Popen(command, stdout=PIPE, stderr=STDOUT, text=True) for _ in range(2)]

        def are_both_waiting() -> bool:
            with database.read() as session:
                return bool(session.scalar(waiting) == len(processes))

        wait_until(are_both_waiting, lambda: all(process.poll() is None for process in processes))
        blocker.rollback()
        answers = [process.communicate(timeout=WAIT_TIMEOUT)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert revision_of(old_url) == newest_schema_revision()
