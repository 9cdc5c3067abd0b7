"""Fixtures that many tests share: real databases, named people, and a fixed clock."""

import gc
import importlib
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog
from click.testing import CliRunner
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from digest.app.accounts import passwords
from digest.collect.sandbox.client import SANDBOX
from digest.collect.sandbox.confinement import ARCHITECTURES, read_landlock_version
from digest.edition.content.edition_content import EditionContent
from digest.store.engine import Database, newest_schema_revision, open_database
from subscribers import garbage_collection
from tests import cheap_hashing, parsed_routes, seeded_randomness
from tests.databases_in_turn import Turn, find_turns
from tests.fork_server import share_fork_server, start_fork_server
from tests.later_revisions import copy_migrations, use_migrations, write_later_revisions
from tests.migrated_databases import migrated_template, write_migrated_file
from tests.own_postgresql import run_own_postgresql
from tests.restored_folder import RestoredFolder, keep_folder
from tests.row_keys import lend_row_keys
from tests.run_database import (
    PARAMETER_KINDS,
    RUN_KIND,
    RUN_KINDS,
    TAKES_TURNS,
    HomeDatabases,
    run_on_server,
    sibling_database_url,
)
from tests.shared_statements import share_compiled_statements, share_statements

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser import LentBrowser

ROOT = Path(__file__).parent.parent
TOOL_COMMANDS = {
    # Chromium without its window: the same engine, for less than half of the work.
    "chromium": ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
    "node": ("node",),
    "rspamd": ("rspamd",),
    "s3": (),  # several
    "spamassassin": ("spamassassin",),
    # Of the kernel, so no command.
    "landlock": (),
    "seccomp": (),
}
OPTIONAL_TOOLS = {"firefox"}  # not in every system's packages; the last line says what is left out without it
WAIT_TIMEOUT = 60.0  # seconds within which what a test waits for comes, on a busy machine too
LONG_TEST_FILES = (
    "test_benchmarks.py",
    "test_whole_week.py",
    "test_killed_sends.py",
    "test_fuzzed_forms.py",
    "test_injected_markers.py",
    "test_link_scanner.py",
    "test_subscriber_life.py",
    "test_demo.py",  # begun last it was shared out, and each process made the demo for its share
)
MEMORY_FOLDER = Path("/dev/shm")  # of Linux
SCRATCH_BYTES = 4 * 1024**3  # free in there: several times what the tests put there at a time
_left_out_tests: set[str] = set()
TURNS = pytest.StashKey[list[Turn]]()  # of the collected tests, on either database
TAKEN = pytest.StashKey[list[pytest.Item]]()  # the tests whose turn it is, and those without turns

# How long an example takes says how busy the machine is. Examples, too, are the same in each run.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=not seeded_randomness.TEST_SEED,
)
hypothesis.settings.load_profile("any machine")


def forget_nowhere_else(*_: object) -> dict[str, int]:
    """Erase a person from nothing else: for tests without mails."""
    return {}


@contextmanager
def reserve_port() -> Iterator[int]:
    """Keep a free port of loopback for a server that has to be told its port; it may take the port within the block.

    The kernel gives to nobody else what is bound, and lets a server bind that too where both say SO_REUSEADDR: as
    servers do, and neither listens yet.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def find_tool(name: str) -> str | None:
    """Give the path of an outside tool, or None."""
    return next((path for command in TOOL_COMMANDS[name] if (path := shutil.which(command))), None)


def has_tool(name: str) -> bool:
    """Say whether an outside tool, with the packages it needs, is here."""
    if name == "node":
        folder = Path(__file__).parent / "node"
        wanted = json.loads((folder / "package.json").read_text("utf-8"))["dependencies"]
        return bool(find_tool(name)) and all((folder / "node_modules" / package).is_dir() for package in wanted)
    if name == "s3":
        return all(shutil.which(command) for command in ("rclone", "restic"))
    if name == "landlock":
        return read_landlock_version() > 0
    if name == "seccomp":
        return sys.platform == "linux" and platform.machine() in ARCHITECTURES
    return bool(find_tool(name))


def put_scratch_files_into_memory() -> None:
    """Have temporary files in memory where there is room for them, unless TMPDIR says where they are to be.

    Databases wait until the disk has what they write. That outlasts a crash of the machine, which no test makes.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY_FOLDER, os.W_OK):
        return
    if shutil.disk_usage(MEMORY_FOLDER).free > SCRATCH_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY_FOLDER)


def log_plain_tracebacks() -> None:
    """Have events written as structlog does by default, but exceptions as Python does.

    Processes of the product write them so, too. By default rich paints them, which takes a second each.
    """
    *processors, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, renderer])


def pytest_configure(config: pytest.Config) -> None:
    """Choose where temporary files go; stop where all tests are demanded and a tool is missing."""
    put_scratch_files_into_memory()
    log_plain_tracebacks()
    # As a plugin: the hooks of this file are not called for what the whole session shares.
    config.pluginmanager.register(seeded_randomness)
    seeded_randomness.replace_randomness()
    parsed_routes.keep_parsed_routes()
    cheap_hashing.make_hashing_cheap()
    SANDBOX._module = "tests.patient_broker"
    share_fork_server()
    share_statements()
    # Each test makes objects by the ten thousand and keeps few: the garbage collector looks 500 times less often than by default for
    # those that refer to themselves, and not at all until the tests are collected (`pytest_collection`). Drafts and imports of the
    # product look more rarely than usual meanwhile: what is usual here is back afterward.
    garbage_collection._USUAL_THRESHOLDS = 350_000, 20, 20
    gc.set_threshold(*garbage_collection._USUAL_THRESHOLDS)
    gc.disable()
    if RUN_KIND not in RUN_KINDS:
        pytest.exit(f"DIGEST_TEST_DATABASE={RUN_KIND}: write sqlite, postgresql, or both", 3)
    missing = [name for name in TOOL_COMMANDS if not has_tool(name) and name not in OPTIONAL_TOOLS]
    if missing and os.environ.get("DIGEST_TEST_REQUIRE") == "all":
        pytest.exit(f"DIGEST_TEST_REQUIRE=all, but not installed (with their packages): {', '.join(missing)}", 3)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import a worker's share of the test files before it collects all of them.

    pytest rewrites the asserts of a file that is new to it, and keeps what it made of it. Workers collect in the same
    order at the same time, so each would rewrite every file.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode or session.config.args != session.config.getini("testpaths"):
        return
    number, count = int(worker["workerid"].removeprefix("gw")), int(worker["workercount"])
    for file in sorted(ROOT.glob("tests/**/test_*.py"))[number::count]:
        with suppress(Exception, pytest.skip.Exception):  # collecting it says what is wrong with it
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what collecting makes, while it makes it and later: nearly all lives as long as the process."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of `make soak`, the other turns on a database, those about SQLite on PostgreSQL, and those whose tool is missing."""
    if config.option.markexpr != "soak":
        for_soak = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in for_soak]
        config.hook.pytest_deselected(items=for_soak)
    turns = find_turns(items) if RUN_KIND == "sqlite" else {}
    config.stash[TURNS] = list(turns.values())
    if TAKES_TURNS:
        others = {item for item, turn in turns.items() if not turn.is_chosen}
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=list(others))
    config.stash[TAKEN] = list(items)
    if RUN_KIND == "postgresql":
        about_sqlite = [item for item in items if is_about_sqlite(item)]
        _left_out_tests.add(f"{len(about_sqlite)} about SQLite")
        items[:] = [item for item in items if item not in about_sqlite]
        config.hook.pytest_deselected(items=about_sqlite)
    for name in TOOL_COMMANDS:
        out = [item for item in items if item.get_closest_marker(name)]
        if out and not has_tool(name):
            _left_out_tests.add(f"{len(out)} that need {name}")
            items[:] = [item for item in items if item not in out]
            config.hook.pytest_deselected(items=out)
    # The longest tests begin first: begun last, they would leave the other processes without work. One process then
    # does most of those in a browser, so that few browsers are started, and few weeks prepared twice.
    items.sort(key=lambda item: not (item.path.stem.endswith("_in_browser") or item.path.name in LONG_TEST_FILES))


def pytest_collection_finish() -> None:
    """Start what the tests' child processes are forked from, before the first test."""
    start_fork_server()


def is_about_sqlite(item: pytest.Item) -> bool:
    """Say whether a test is about SQLite itself: it is marked so, takes the fixture, or is its turn of a test on both."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        item.get_closest_marker("sqlite") is not None
        or not {"sqlite", "sqlite_template"}.isdisjoint(getattr(item, "fixturenames", ()))
        or "sqlite" in parameters.values()
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over from a worker of pytest-xdist what it left out (each worker collects every test)."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out_tests"] = sorted(_left_out_tests)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from a worker of pytest-xdist what it left out."""
    _left_out_tests.update(getattr(node, "workeroutput", {}).get("left_out_tests", ()))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Say in the last line what was left out."""
    if not hasattr(config, "workerinput"):
        print("left out: " + ("; ".join(sorted(_left_out_tests)) if _left_out_tests else "nothing"))


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Run a real PostgreSQL for the session."""
    with run_own_postgresql() as server:
        # Nothing here outlives the machine: only a crash of the operating system could lose what fsync saves. Tables are emptied
        # before their dead rows are worth a vacuum, and a query of a test is over before a compiled one would pay.
        run_on_server(
            server.url,
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET full_page_writes = off",
            "ALTER SYSTEM SET synchronous_commit = off",
            "ALTER SYSTEM SET autovacuum = off",
            "ALTER SYSTEM SET jit = off",
            "SELECT pg_reload_conf()",
        )
        yield server.url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one empty SQLite database, for tests to copy."""
    path = tmp_path_factory.mktemp("template") / "digest.db"
    write_migrated_file(path)
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> str:
    """Migrate one empty PostgreSQL database, for tests to copy; give its name."""
    return migrated_template(postgresql_url)


@pytest.fixture(autouse=True)
def kept_log_configuration() -> Iterator[None]:
    """Log as before once a test is over that configured a process's log."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def kept_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what `digest serve` sets in the environment when a test runs it in its own process."""
    if "DIGEST_BASE_URL" not in os.environ:
        monkeypatch.setenv("DIGEST_BASE_URL", "")
        monkeypatch.delenv("DIGEST_BASE_URL")


@pytest.fixture
def stored_as_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an edition be approved that a test stored ready-made, with no proposal behind it."""
    approve_as_stored(monkeypatch)


def approve_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("approval.edition_approval", "editing.edit_application"):
        monkeypatch.setattr(f"digest.app.{module}.matches_composition", lambda *_, **__: True)


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """Give a migrated, empty SQLite database in a file of its own."""
    shutil.copy(sqlite_template, tmp_path / "digest.db")
    database = share_compiled_statements(open_database(f"sqlite:///{tmp_path / 'digest.db'}"))
    yield lend_row_keys(database, tmp_path)
    database.close()


@pytest.fixture
def later_revisions(tmp_path: Path) -> Iterator[Path]:
    """Give this process the migrations with the two later ones of the tests, in the folder that is returned."""
    migrations = copy_migrations(tmp_path / "migrations")
    write_later_revisions(migrations, newest_schema_revision())
    with use_migrations(migrations):
        yield migrations


@pytest.fixture
def one_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give a migrated, empty database of the run's kind, for what a database has no say in.

    SQLite's is where commands look for the one of the home `tmp_path`; PostgreSQL's they are told.
    """
    database: Database = request.getfixturevalue(RUN_KIND)
    if RUN_KIND == "postgresql":
        monkeypatch.setenv("DIGEST_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    return database


@pytest.fixture(scope="session")
def home_databases(request: pytest.FixtureRequest) -> HomeDatabases:
    """Give what makes databases of the run's kind for installations that a test opens itself."""
    server = "" if RUN_KIND == "sqlite" else request.getfixturevalue("postgresql_url")
    return HomeDatabases(server, str(request.getfixturevalue(f"{RUN_KIND}_template")))


@dataclass
class ReusedDatabase:
    """A PostgreSQL database that tests use one after the other: emptied, or copied anew where its schema changed."""

    server: str
    template: str
    url: str = ""
    schema: object = None
    number: int = 0

    def open_empty(self) -> Database:
        """Open the database without a row in it.

        It is emptied over a connection that stays in the pool: the test that comes next needs one, and to begin one costs more.
        """
        database = share_compiled_statements(open_database(self.url)) if self.url else None
        if database is not None and not self._empty(database):
            database.close()
            database = None
        if database is None:
            self.number += 1
            name = f"test_{self.number}"
            run_on_server(self.server, f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY WAL_LOG")
            self.url = sibling_database_url(self.server, name)
            database = share_compiled_statements(open_database(self.url))
            with database.engine.connect() as connection:
                self.schema = self._schema(connection)
        return database

    def _schema(self, connection: Connection) -> object:
        version = "SELECT version_num FROM alembic_version"
        return [tuple(row) for query in (TABLES, version) for row in connection.execute(text(query))]

    def _empty(self, database: Database) -> bool:
        with database.engine.begin() as connection:
            try:
                if self._schema(connection) != self.schema:
                    return False
            except ProgrammingError:
                return False
            connection.execute(text(EMPTY_TABLES))
        return True


# Both are asked of the catalogue: a new connection that opened fifty tables would take longer than most tests.
TABLES = """
SELECT relnamespace, oid, relname FROM pg_class
WHERE relkind = 'r' AND relnamespace NOT IN (
  'pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace
) ORDER BY oid
"""
# TRUNCATE of every table costs more than most tests: only those are emptied whose file has a page, which the first row brings.
EMPTY_TABLES = """
DO $$
DECLARE filled_tables text; used_sequence regclass;
BEGIN
  SELECT string_agg(quote_ident(relname), ', ') INTO filled_tables FROM pg_class
  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    AND (pg_stat_file(pg_relation_filepath(oid), true)).size > 0;
  IF filled_tables IS NOT NULL THEN
    EXECUTE 'TRUNCATE ' || filled_tables || ' CASCADE';
  END IF;
  FOR used_sequence IN SELECT seqrelid FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL LOOP
    EXECUTE format('ALTER SEQUENCE %s RESTART', used_sequence);
  END LOOP;
END $$
"""


@pytest.fixture(scope="session")
def reused_postgresql(postgresql_url: str, postgresql_template: str) -> ReusedDatabase:
    """Keep one migrated PostgreSQL database for the session's tests."""
    return ReusedDatabase(postgresql_url, postgresql_template)


@pytest.fixture
def postgresql(reused_postgresql: ReusedDatabase, tmp_path: Path) -> Iterator[Database]:
    """Give a migrated, empty database in a real PostgreSQL."""
    database = reused_postgresql.open_empty()
    yield lend_row_keys(database, tmp_path)
    database.close()


def enter_home(home: Path, databases: HomeDatabases, patch: pytest.MonkeyPatch) -> None:
    """Have commands work on the installation with a home, and beside it."""
    patch.setenv("DIGEST_HOME", str(home))
    if databases.server:
        patch.setenv("DIGEST_DATABASE_URL", databases.url(home))
    patch.chdir(home.parent)


@pytest.fixture(scope="session")
def initialized_folder(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> RestoredFolder:
    """Run `digest init` once, with the home `home` in a folder."""
    from digest.cli import digest

    folder = tmp_path_factory.mktemp("initialized") / "folder"
    folder.mkdir()
    home_databases.create_bare(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        enter_home(folder / "home", home_databases, patch)
        assert CliRunner().invoke(digest, ["init"]).exit_code == 0
    home_databases.copy(folder / "home", folder / "kept")
    return keep_folder(folder)


@pytest.fixture
def initialized_home(
    initialized_folder: RestoredFolder, home_databases: HomeDatabases, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give the home of an installation that `digest init` has just made, as `DIGEST_HOME`, and work beside it."""
    initialized_folder.restore()
    home = initialized_folder.folder / "home"
    home_databases.copy(initialized_folder.folder / "kept", home)
    enter_home(home, home_databases, monkeypatch)
    return home


@pytest.fixture
def new_home(tmp_path: Path, home_databases: HomeDatabases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a home with an empty database and neither settings nor keys, as `DIGEST_HOME`, and work beside it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    home_databases.create(home)
    enter_home(home, home_databases, monkeypatch)
    yield home
    home_databases.drop(home)


@pytest.fixture(params=PARAMETER_KINDS)
def database(request: pytest.FixtureRequest) -> Database:
    """Give a migrated, empty database: once SQLite, once PostgreSQL."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture
def shipped_hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have passwords and passphrases cost what they do outside the tests."""
    cheap_hashing.restore_shipped_hashing(monkeypatch)
    yield
    passwords._dummy_hash.cache_clear()


@pytest.fixture(scope="session")
def full_content() -> EditionContent:
    """Give a full edition of invented news: every section, a sponsor, pictures, a credit, an odd count."""
    text = (Path(__file__).parent / "fixtures" / "edition.json").read_text("utf-8")
    return EditionContent.from_json(json.loads(text))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of the browser; tests that ask for it carry the marker."""
    path = find_tool("chromium")
    assert path, "mark the test with pytest.mark.chromium"
    return path


@pytest.fixture(scope="session")
def lent_browser(chromium: str) -> Iterator["LentBrowser"]:
    """Give the Chromium of the session, which starts for the first module that needs it."""
    from tests.browser import LentBrowser

    lent = LentBrowser(chromium)
    yield lent
    lent.close()


@pytest.fixture(scope="module")
def browser(lent_browser: "LentBrowser") -> Iterator["Browser"]:
    """Lend the Chromium to the tests of a module. Not to the session's: while it's lent, an event loop runs in the tests' thread."""
    with lent_browser.lend() as lent:
        yield lent
