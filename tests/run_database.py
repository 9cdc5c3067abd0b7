"""The database that a test run uses: SQLite, or PostgreSQL if `DIGEST_TEST_DATABASE` says so.

By `DIGEST_TEST_DATABASE=both` the tests of pages and commands run on both, too, instead of in turn (`tests/databases_in_turn.py`).
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, make_url, text, update

from digest.deliver.control.installation_hold import IDENTITY_STATE_KEY, read_installation_value
from digest.installation import copied_installation_guard
from digest.settings import Settings
from digest.store.delivery_models import StoredInstallationValue
from digest.store.engine import open_database

RUN_KINDS = ("sqlite", "postgresql")
_WANTED = os.environ.get("DIGEST_TEST_DATABASE") or "sqlite"
TAKES_TURNS = _WANTED != "both"
RUN_KIND = _WANTED if TAKES_TURNS else "sqlite"
# `tests.conftest.database` gives both kinds; where all tests are to be on PostgreSQL, SQLite has had its turn.
PARAMETER_KINDS = RUN_KINDS if RUN_KIND == "sqlite" else (RUN_KIND,)


def run_on_server(url: str, *statements: str) -> None:
    """Run statements on a PostgreSQL server outside any transaction."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def sibling_database_url(url: str, name: str) -> str:
    """Give the URL of another database on the same PostgreSQL server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@dataclass(frozen=True)
class HomeDatabases:
    """Makes databases of the run's kind, one for each home folder; `server` is empty where they are files of SQLite.

    `template` is a migrated, empty one: a file, or a name on the server.
    """

    server: str
    template: str

    def url(self, home: Path) -> str:
        """Return where the database of a home is, whether it is there or not."""
        if self.server:
            return sibling_database_url(self.server, _database_name(home))
        return f"sqlite:///{home / 'digest.db'}"

    def create(self, home: Path) -> str:
        """Make the database of a home, migrated and empty; return its URL."""
        if self.server:
            self._copy_on_server(self.template, home)
        else:
            shutil.copy(self.template, home / "digest.db")
        return self.url(home)

    def create_bare(self, home: Path) -> str:
        """Make the database of a home without a table in it; return its URL."""
        if self.server:
            self._copy_on_server("template0", home)
        return self.url(home)

    def copy(self, origin: Path, home: Path) -> str:
        """Give a home a copy of the database of another home, which nobody has open; return its URL. A file comes with its folder.

        On PostgreSQL the copy is told that it is at home where it is: it would be held as a copy (`digest.installation.copied_installation_guard`).
        """
        if self.server:
            self._copy_on_server(_database_name(origin), home)
            _resolve(self.url(home), home)
        return self.url(home)

    def drop(self, home: Path) -> None:
        """Take the database of a home away; a file goes with its folder."""
        if self.server:
            run_on_server(self.server, f"DROP DATABASE IF EXISTS {_database_name(home)} WITH (FORCE)")

    def _copy_on_server(self, template: str, home: Path) -> None:
        name = _database_name(home)
        run_on_server(
            self.server,
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY WAL_LOG",
        )


def _resolve(url: str, home: Path) -> None:
    """Have a database that knows where it is at home be at home where it is; one that goes by its installation's name stays so."""
    database = open_database(url)
    identity = copied_installation_guard.read_database_identity(database, Settings(home=home))
    moved = (
        update(StoredInstallationValue).where(StoredInstallationValue.name == IDENTITY_STATE_KEY).values(value=identity)
    )
    with database.write() as session:
        if "name" not in (read_installation_value(session, IDENTITY_STATE_KEY) or {}):
            session.execute(moved)
    database.close()


def _database_name(home: Path) -> str:
    return f"home_{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"


def read_stored_bytes(engine: Engine) -> bytes:
    """Return all that a database holds, to look for what must not stand there: the bytes of its files, or its rows."""
    if engine.dialect.name == "sqlite":
        file = Path(str(engine.url.database))
        return b"".join(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        return repr([list(connection.execute(text(f'SELECT * FROM "{name}"'))) for name in names]).encode()
