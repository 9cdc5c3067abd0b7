"""The bundled sample's week, collected and drafted once. Each test gets its own copy."""

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from digest.installation.opened_installation import Installation
from digest.store.engine import open_database
from digest.web.app import create_app
from tests.moments import Clock
from tests.run_database import HomeDatabases
from tests.shared_statements import share_compiled_statements
from tests.web.desk.sample_week import SampleWeek, build_sample_week, later


@pytest.fixture
def clock() -> Clock:
    """Give the clock that the week's pages go by: it begins on the Thursday afternoon after the draft."""
    return Clock(later())


@pytest.fixture(scope="session")
def drafted_week(home_databases: HomeDatabases, tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleWeek, Path]:
    """Draft the sample's week; give it with its home."""
    home = tmp_path_factory.mktemp("week")
    database = open_database(home_databases.create(home))
    week = build_sample_week(database, home)
    database.close()
    return week, home


@pytest.fixture
def copy_week(
    drafted_week: tuple[SampleWeek, Path], home_databases: HomeDatabases, tmp_path: Path
) -> Iterator[Callable[[Callable[[], datetime]], SampleWeek]]:
    """Give a function that copies the week, with a clock."""
    drafted, home = drafted_week
    opened = []

    def copy(clock: Callable[[], datetime]) -> SampleWeek:
        own = tmp_path / "week"
        shutil.copytree(home, own)
        url = home_databases.copy(home, own)
        database = share_compiled_statements(open_database(url))
        opened.append(database)
        settings = drafted.installation.settings.model_copy(update={"home": own, "database_url": url})
        app = create_app(Installation(settings, database), clock=clock)
        app.config["WTF_CSRF_ENABLED"] = False  # the token has tests of its own
        app.testing = True
        return SampleWeek(app.extensions["digest"].installation, app, drafted.name)

    yield copy
    for database in opened:
        database.close()
    home_databases.drop(tmp_path / "week")


@pytest.fixture
def week(copy_week: Callable[[Callable[[], datetime]], SampleWeek], clock: Clock) -> SampleWeek:
    """Give a copy of the week."""
    return copy_week(clock)
