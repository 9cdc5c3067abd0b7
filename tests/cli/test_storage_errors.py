"""A command explains a disk or database error in one sentence with its remedy, and leaves nothing half done."""

import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from digest.cli import digest as digest_command
from digest.cli.lazy_group import ErrorReportingGroup
from digest.installation.opened_installation import open_installation
from digest.installation.storage_errors import StorageError, explain_storage_error
from digest.settings import Settings
from digest.store.engine import FIRST_REVISION, Database, UnsupportedSchemaError, open_database
from subscribers.crypto.keys import KeyRing
from tests.later_revisions import LATER_REVISION

MAILCHIMP_HEADINGS = "Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LEID,EUID"


def _run_cli(home: Path, *arguments: str, largest_file: int) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, for which no file may grow beyond so many bytes."""

    def bound_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, "-m", "digest", *arguments],
        cwd=home,
        env={"DIGEST_HOME": str(home), "PATH": "", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=bound_files,
    )


@pytest.mark.both_databases  # whose errors differ
def test_a_database_of_a_newer_version_is_one_sentence(database: Database, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    url = database.engine.url.render_as_string(hide_password=False)
    with (
        pytest.raises(UnsupportedSchemaError, match=r"newer version .*schema 9999.*docs/maintenance.md"),
        open_installation(Settings(home=tmp_path, database_url=url)),
    ):
        pass
    environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_DATABASE_URL": url}
    refused = CliRunner().invoke(digest_command, ["status"], env=environment)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1), refused.output
    with database.engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


@pytest.mark.usefixtures("later_revisions")
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_that_looks_leaves_an_older_schema_as_it_is(
    command: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = database.engine.url.render_as_string(hide_password=False)
    environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_DATABASE_URL": url}
    refused = CliRunner().invoke(digest_command, [command], env=environment)
    assert (refused.exit_code, refused.output.count("\n")) == (1 if command == "doctor" else 2, 1), refused.output
    assert f"an older schema ({FIRST_REVISION}) than this version needs ({LATER_REVISION})." in refused.output
    assert "'digest upgrade'" in refused.output
    with database.engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == FIRST_REVISION
        assert connection.scalar(text("SELECT count(*) FROM memo")) == 0


def test_a_full_disk_ends_an_import_with_a_sentence_and_it_can_be_run_again(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite.close()
    KeyRing.create(Settings(home=tmp_path).key_file)
    evidence = "2025-03-04 10:00:00,203.0.113.7,2025-03-04 10:05:00,203.0.113.7"
    rows = [f"reader{number}@county.example,{evidence},{number},e{number}" for number in range(3000)]
    (tmp_path / "list.csv").write_text("\n".join([MAILCHIMP_HEADINGS, *rows, ""]))
    command = ("subscribers", "import", "list.csv", "--commit")

    refused = _run_cli(tmp_path, *command, largest_file=1_500_000)
    assert refused.returncode == 2, refused.stderr
    error = refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert "county.example" not in refused.stdout + refused.stderr
    assert error.startswith("Error: Couldn't write to the database (disk I/O error). The disk is full or failing.")
    assert error.endswith("run the command again.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path))
    unfinished = CliRunner().invoke(digest_command, ["subscribers", "import", "--list"])
    assert "is unfinished, so the people in it won't be emailed" in unfinished.stdout
    done = CliRunner().invoke(digest_command, command)
    assert done.exit_code == 0, done.stderr
    with open_database(Settings(home=tmp_path).effective_database_url).read() as session:
        assert session.scalar(text("SELECT count(*) FROM person WHERE state = 'subscribed'")) == 3000
        assert session.scalar(text("SELECT count(*) FROM import_batch")) == 1


def _failure(database: Database, *statements: str) -> DBAPIError:
    try:
        with database.write() as session:
            for statement in statements:
                session.execute(text(statement))
    except DBAPIError as exc:
        return exc
    raise AssertionError("it was carried out")


def test_a_full_database_says_so(sqlite: Database) -> None:
    fill = "CREATE TABLE much AS SELECT zeroblob(100000000)"
    explained = explain_storage_error(_failure(sqlite, "PRAGMA max_page_count = 200", fill))
    assert explained is not None
    assert "disk is full" in str(explained)
    assert not explained.can_retry


@pytest.mark.parametrize("statement", ["PRAGMA query_only = ON; CREATE TABLE x (y)", "ATTACH '/nowhere/x.db' AS other"])
def test_a_database_that_may_not_be_written_is_not_called_full(sqlite: Database, statement: str) -> None:
    if statement.startswith("ATTACH"):
        with pytest.raises(DBAPIError) as failed, sqlite.engine.connect() as connection:
            connection.exec_driver_sql(statement)
        explained = explain_storage_error(failed.value)
    else:
        explained = explain_storage_error(_failure(sqlite, *statement.split("; ")))
    assert explained is not None
    assert "disk" not in str(explained)
    assert "Run 'digest doctor' as root" in str(explained)


def test_a_locked_database_may_be_tried_again_as_it_is(sqlite: Database) -> None:
    waiting = open_database(sqlite.engine.url.render_as_string(), writer_timeout=0.05)
    with sqlite.write() as session:
        session.execute(text("SELECT 1"))
        explained = explain_storage_error(_failure(waiting, "SELECT 1"))
    waiting.close()
    assert explained is not None
    assert explained.can_retry


def test_a_server_that_is_away_may_be_tried_again_and_no_password_is_shown() -> None:
    away = open_database("postgresql+psycopg://eve:secret@127.0.0.1:1/digest")
    explained = explain_storage_error(_failure(away, "SELECT 1"))
    assert explained is not None
    assert explained.can_retry
    assert "secret" not in str(explained)
    assert "\n" not in str(explained)


@pytest.mark.both_databases  # whose errors differ
def test_a_mistake_of_ours_is_not_explained_away(database: Database) -> None:
    for statement in ("SELECT * FROM nowhere", "SELEKT", "INSERT INTO alembic_version VALUES (NULL)"):
        assert explain_storage_error(_failure(database, statement)) is None
    assert explain_storage_error(ValueError("no space left on device")) is None


def test_a_file_that_has_no_room_is_named(tmp_path: Path) -> None:
    explained = explain_storage_error(OSError(28, "No space left on device", str(tmp_path / "left.log")))
    assert explained is not None
    assert str(explained).startswith(f"The disk is full, so {tmp_path / 'left.log'} couldn't be written.")
    assert explain_storage_error(FileNotFoundError(2, "No such file or directory", "x")) is None


@pytest.mark.parametrize("transient", [True, False])
def test_a_command_says_when_it_may_be_run_again_as_it_is(*, transient: bool) -> None:
    def fail() -> None:
        raise StorageError("The database rests.", is_transient=transient)

    group = ErrorReportingGroup("group", commands={"fail": click.Command("fail", callback=fail)})
    said = CliRunner().invoke(group, ["fail"]).output
    assert ("Run the command again later." in said) is transient
