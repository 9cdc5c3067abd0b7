"""The database of another installation, to which lists are exported."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from digest.store.engine import Database, open_database
from tests.row_keys import lend_row_keys


@pytest.fixture
def elsewhere(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """Give the empty database of another installation."""
    file = tmp_path / "elsewhere.db"
    shutil.copy(sqlite_template, file)
    database = open_database(f"sqlite:///{file}")
    yield lend_row_keys(database, tmp_path)
    database.close()
