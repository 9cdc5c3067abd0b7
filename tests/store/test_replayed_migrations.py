"""What migrates an empty database in the tests leaves what Alembic leaves."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import text

from digest.store.engine import Database, open_database, run_migrations_to_revision
from tests.replayed_migrations import migrate_by_alembic
from tests.run_database import PARAMETER_KINDS, run_on_server, sibling_database_url

DESCRIPTIONS = {
    "sqlite": ("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",),
    "postgresql": (
        (
            "SELECT table_name, ordinal_position, column_name, column_default, is_nullable, data_type, character_maximum_length"
            " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        ),
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    ),
}


def describe_schema(database: Database) -> list[list[list[str]]]:
    """Read everything that a migration makes, and at which revision it is; of each row the lines of its texts, in order.

    Alembic writes the constraints of a table that it makes anew in SQLite in one order or another.
    """
    queries = (*DESCRIPTIONS[database.engine.dialect.name], "SELECT version_num FROM alembic_version")
    with database.engine.connect() as connection:
        return [[_sorted_lines(row) for row in connection.execute(text(query))] for query in queries]


def _sorted_lines(row: Iterable[object]) -> list[str]:
    return sorted(line.strip(", \t") for value in row for line in str(value).splitlines())


@pytest.mark.parametrize("kind", PARAMETER_KINDS)
def test_an_empty_database_gets_by_noted_statements_what_alembic_gives_it(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    schemas = []
    for name in ("by_alembic", "noted", "by_noted_statements"):
        url = f"sqlite:///{tmp_path / name}"
        if kind == "postgresql":
            server = request.getfixturevalue("postgresql_url")
            run_on_server(server, f"CREATE DATABASE {name} TEMPLATE template0")
            url = sibling_database_url(server, name)
        database = open_database(url)
        with database.engine.execution_options(immediate=True).begin() as connection:
            if name == "by_alembic":
                config = Config()
                config.set_main_option("script_location", "digest:migrations")
                config.attributes["connection"] = connection
                migrate_by_alembic(config, "head")
            else:
                run_migrations_to_revision(connection, "head")
        schemas.append(describe_schema(database))
        database.close()
    assert len(schemas[0][0]) > 50, "the description sees what is there"
    assert schemas[1:] == [schemas[0]] * 2
