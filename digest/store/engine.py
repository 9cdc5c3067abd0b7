"""How a database is opened and its schema brought up to date."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from digest.store import connections

if TYPE_CHECKING:
    from alembic.config import Config


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. It lives as long as the process; sessions are short."""

    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading: whatever it holds is rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back when the block raises.

        On SQLite the transaction begins IMMEDIATE, so that two writers queue instead of one failing with
        "database is locked" in the middle (https://www.sqlite.org/lang_transaction.html).
        """
        with Session(self.engine.execution_options(immediate=True), expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session for reading in which all is seen as it was at one moment."""
        with self.read() as session:
            if self.engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str, *, writer_timeout: float = connections.WRITER_TIMEOUT) -> Database:
    """Open `url` with the pragmas of the product; the schema is left as it is (see `migrate_schema`).

    With SQLite a writer waits `writer_timeout` seconds for its turn, and then fails with "database is locked".

    Raises:
        sqlalchemy.exc.ArgumentError: the URL cannot be read.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return Database(connections.replace_dead_connections(create_engine(address, hide_parameters=True)))
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Created before SQLite does it, so that no umask can leave people's rows readable to others.
        os.close(os.open(address.database, os.O_CREAT | os.O_RDWR, 0o600))
    # hide_parameters: an error's text must not quote the values of a row.
    engine = create_engine(address, connect_args={"timeout": writer_timeout}, hide_parameters=True)
    return Database(connections.queue_writers(engine, writer_timeout))


def migrate_schema(database: Database, revision: str = "head") -> None:
    """Bring the schema to `revision`; a no-op when it is there already, and then without importing Alembic."""
    if revision == "head" and _read_schema_revision(database) == newest_schema_revision():
        return
    with database.engine.execution_options(immediate=True).begin() as connection:
        upgrade_schema(connection, revision)


def upgrade_schema(connection: Connection, revision: str) -> None:
    """Bring the schema to `revision` within the transaction of a connection.

    Raises:
        alembic.util.CommandError: there is no such revision.
    """
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _read_schema_revision(database: Database) -> str | None:
    """Read the revision of a schema; None where there is none yet, or the database does not answer."""
    try:
        with database.read() as session:
            return str(session.scalar(text("SELECT version_num FROM alembic_version")))
    except DBAPIError:
        return None


@cache
def newest_schema_revision() -> str:
    """Name the schema's revision that this version works with, by the names of the migrations' files."""
    files = resources.files("digest.migrations").joinpath("versions").iterdir()
    return max(file.name.partition("_")[0] for file in files if file.name[0].isdigit())


def _alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "digest:migrations")
    return config
