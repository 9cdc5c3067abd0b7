"""Migrated, empty databases to copy. Migrating takes a second, so each test process does it once per kind."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import text

from digest.store.engine import migrate_schema, open_database
from tests.run_database import run_on_server, sibling_database_url


def write_migrated_file(file: Path) -> None:
    """Write a migrated, empty SQLite database into a file that is its owner's alone, as the product makes them."""
    file.touch(mode=0o600)
    file.write_bytes(_migrated_file())


@cache
def _migrated_file() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "digest.db"
        database = open_database(f"sqlite:///{file}")
        migrate_schema(database)
        with database.engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        database.close()
        return file.read_bytes()


@cache
def migrated_template(server_url: str) -> str:
    """Migrate an empty database on a PostgreSQL server; return its name."""
    name = "template_of_tests"
    run_on_server(server_url, f"CREATE DATABASE {name} TEMPLATE template0")
    database = open_database(sibling_database_url(server_url, name))
    migrate_schema(database)
    database.close()
    return name
