"""A development build's database or backup is refused with instructions for keeping its subscribers.

`tests/fixtures/development_build` was made at commit 2f39db49 (schema 0085): `digest init`, one subscriber, and a backup.
Its keys are throw-away keys, and its only address is invented.
"""

import gzip
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import inspect, text

from digest.app.editions.edition_views import find_schema_problem
from digest.cli import digest
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import (
    REPLACE_DEVELOPMENT_BUILD,
    Database,
    UnsupportedSchemaError,
    migrate_schema,
    open_database,
    read_schema_revision,
)

FIXTURE = Path(__file__).parent.parent / "fixtures" / "development_build"
REVISIONS = ["0001", "0002", "0042", "0085"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the home of a development build's installation."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copy(FIXTURE / "keys.json", home / "keys.json")
    (home / "keys.json").chmod(0o600)
    (home / "digest.db").write_bytes(gzip.decompress((FIXTURE / "digest.db.gz").read_bytes()))
    (home / "digest.db").chmod(0o600)
    monkeypatch.setenv("DIGEST_HOME", str(home))
    monkeypatch.delenv("DIGEST_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return home


def run(*words: str) -> Result:
    return CliRunner().invoke(digest, words)


def stamp(home: Path, statement: str) -> None:
    with closing(open_database(f"sqlite:///{home / 'digest.db'}")) as database, database.engine.begin() as connection:
        connection.execute(text(statement))


def describe(home: Path) -> list[object]:
    """Return the database's revision, and the number of rows in each table."""
    with closing(open_database(f"sqlite:///{home / 'digest.db'}")) as database, database.read() as session:
        names = inspect(database.engine).get_table_names()
        counts = [(name, session.scalar(text(f'SELECT count(*) FROM "{name}"'))) for name in names]
        return [read_schema_revision(database), *counts]


@pytest.mark.parametrize(
    "words",
    [
        *(["upgrade"], ["upgrade", "--if-needed"], ["status"], ["doctor"], ["draft"], ["init"]),
        *(["serve"], ["work"], ["migrate", "--to", "sqlite:////nowhere/new.db", "--yes"]),
    ],
    ids=" ".join,
)
def test_every_command_refuses_its_database(home: Path, words: list[str]) -> None:
    before = describe(home)
    refused = run(*words)
    assert refused.exit_code in (1, 2), refused.output
    written = "The database was written by a development build (schema 0085) and wasn't changed."
    assert f"{written} {REPLACE_DEVELOPMENT_BUILD}" in refused.output.splitlines()[-1]
    assert describe(home) == before


def test_the_sentence_names_commands_that_exist() -> None:
    named = re.findall(r"'digest ([^']*)'", REPLACE_DEVELOPMENT_BUILD)
    assert len(named) == 5
    for words in named:
        assert run(*words.split(), "--help").exit_code == 0


@pytest.mark.parametrize("revision", REVISIONS)
def test_on_either_database_it_is_refused_by_whatever_opens_it(
    database: Database, tmp_path: Path, revision: str
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": revision})
    with pytest.raises(UnsupportedSchemaError, match="a development build") as refused:
        migrate_schema(database)
    assert refused.value.remedy == REPLACE_DEVELOPMENT_BUILD
    problem = find_schema_problem(Installation(Settings(home=tmp_path), database))
    assert problem is not None
    assert problem.remedy == REPLACE_DEVELOPMENT_BUILD
    assert read_schema_revision(database) == revision


@pytest.mark.parametrize("words", [["--replace", "--yes"], ["--check"]], ids=" ".join)
def test_its_backup_is_refused_with_the_same_sentence(home: Path, words: list[str]) -> None:
    before = describe(home)
    refused = run("restore", str(FIXTURE / "backup.zip"), *words)
    assert refused.exit_code == 1
    assert "backup.zip was made by a development build (schema 0085), so it can't be restored." in refused.output
    assert refused.output.endswith(f" {REPLACE_DEVELOPMENT_BUILD}\n")
    assert describe(home) == before
