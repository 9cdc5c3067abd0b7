"""An edition whose rows were copied equals the one that was stored and approved."""

from datetime import timedelta

from sqlalchemy import delete

from digest.edition.approval.approval_check import verify_approval
from digest.edition.edition_queries import find_edition
from digest.settings import Settings
from digest.store.engine import Database
from tests.deliver.conftest import EDITION_NAME, KEYS, store_approved_edition
from tests.deliver.stored_editions import TABLES, read_edition_rows, write_edition_rows
from tests.moments import RELEASE


def test_written_rows_are_those_of_an_edition_that_was_approved(database: Database, settings: Settings) -> None:
    store_approved_edition(database, settings, EDITION_NAME, RELEASE)
    rows = read_edition_rows(database)
    with database.engine.begin() as connection:
        for table in reversed(TABLES):
            connection.execute(delete(table))
    assert not any(table_rows for _, table_rows in read_edition_rows(database))
    write_edition_rows(database, rows)
    assert read_edition_rows(database) == rows
    with database.read() as session:
        edition = find_edition(session, EDITION_NAME)
        assert verify_approval(session, edition, settings=settings, keys=KEYS).name == EDITION_NAME
    store_approved_edition(database, settings, "2026-W48", RELEASE + timedelta(days=7))
    assert [row["id"] for row in read_edition_rows(database)[0][1]] == [1, 2]
