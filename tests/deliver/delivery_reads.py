"""The deliveries that transactions read on PostgreSQL during an old snapshot, which keeps outdated rows and index entries."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, event, text

from digest.store.engine import Database

READ_FROM_DELIVERIES = """
    SELECT CAST(sum(pg_stat_get_xact_tuples_returned(indexrelid)) AS integer) AS entries,
           CAST(sum(pg_stat_get_xact_blocks_fetched(indexrelid)) AS integer)
           + pg_stat_get_xact_blocks_fetched('delivery'::regclass) AS pages,
           pg_stat_force_next_flush()
    FROM pg_index WHERE indrelid = 'delivery'::regclass"""
# As most tables are before a send: large, and when PostgreSQL last looked, nothing was waiting.
EARLIER_EDITION = """
    INSERT INTO delivery (id, purpose, state, due_at, next_try_at, tries, message_id, transport, reply)
    SELECT 'earlier ' || n, 'edition:2026-W01', 'accepted', moment, moment, 1, '', '', ''
    FROM generate_series(1, 5000) n, CAST('2026-01-02 11:00+00' AS timestamptz) moment"""


def store_earlier_edition(database: Database) -> None:
    """Store an edition that was sent, and gather statistics."""
    with database.write() as session:
        session.execute(text(EARLIER_EDITION))
        session.execute(text("ANALYZE delivery"))


@contextmanager
def keep_old_snapshot(database: Database) -> Iterator[None]:
    """Keep a snapshot of the database, as a backup does."""
    with database.snapshot() as session:
        session.execute(text("SELECT count(*) FROM delivery"))
        yield


@contextmanager
def note_what_is_read(database: Database) -> Iterator[list[tuple[int, int]]]:
    """List how many index entries of deliveries each transaction reads, and how many pages of the table and its indexes.

    Transactions that read no delivery aren't listed.
    """
    read: list[tuple[int, int]] = []

    def note_commit(connection: Connection) -> None:
        entries, pages, _ = connection.exec_driver_sql(READ_FROM_DELIVERIES).one()
        if pages:  # else it's of the thread that renews the lease
            read.append((entries, pages))

    event.listen(database.engine, "commit", note_commit)
    try:
        yield read
    finally:
        event.remove(database.engine, "commit", note_commit)


def reads_stay_the_same(read: Sequence[tuple[int, int]]) -> bool:
    """Return whether all of these transactions read about as much as each other, and something."""
    return all(0 < max(counts) <= 2 * min(counts) for counts in zip(*read, strict=True))
