"""Restoring: a backup put in the place of what is there, told of all who left since, and held.

Everything is made ready beside what is there, in one transaction, and takes its place at the end; what was there is
set aside, not removed.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from sqlalchemy import (
    Connection,
    func,
    inspect,
    make_url,
    select,
    text,
)

from digest.backups.archive import BackupError, Manifest, Progress, Reader
from digest.backups.loading import examine, load
from digest.db import Audit, Edition, EditionState, open_database
from digest.deliver import holding, memos
from digest.deliver.forgetting import everywhere
from digest.fence import MEMO
from digest.install import make_home
from digest.settings import Settings
from subscribers import seals
from subscribers.journal import Journal
from subscribers.keyfile import sync_folder
from subscribers.restoring import Merged, merge_journal
from subscribers.vault import Keys

_FULL = ("person", "edition", "delivery", "article")  # what makes a database one that holds something


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it. `aside` names where the old rows are, `journal` tells whether there was a `left.log`.

    `unfinished` are the editions that the copy takes for not sent yet: since then they may have been.
    """

    manifest: Manifest
    proof: seals.Proof
    merged: Merged
    journal: bool
    aside: str
    unfinished: tuple[str, ...]


def rehearse(settings: Settings, file: Path, keys: Keys, *, progress: Progress | None = None) -> seals.Proof:
    """Load a backup into a database that is thrown away, and prove rows, keys, chains and seals.

    Raises:
        BackupError: it cannot be restored.
    """
    with _reader(file, keys) as reader:
        make_home(settings.home)
        with tempfile.TemporaryDirectory(dir=settings.home, prefix=".rehearsal-") as folder:
            database = open_database(f"sqlite:///{folder}/digest.db")
            try:
                with database.engine.execution_options(immediate=True).begin() as connection:
                    session = load(connection, reader, keys, progress)
                    examine(connection)
                    return seals.prove(session)
            finally:
                database.close()


def restore(
    settings: Settings,
    file: Path,
    keys: Keys,
    *,
    replace: bool,
    actor: str,
    now: datetime,
    progress: Progress | None = None,
) -> Restored:
    """Put a backup in the place of the database that the settings name.

    Args:
        settings: where the database and the journal are.
        file: the backup.
        keys: the key file's keys: those that the backup's rows name must be among them.
        replace: do it even though the database holds something.
        actor: who does it.
        now: the moment.
        progress: called with the rows done, and all.

    Raises:
        BackupError: it cannot be done; nothing has changed.
        JournalError: `left.log` is damaged; nothing has changed.
        OSError: a file cannot be written.
    """
    make_home(settings.home)
    journal = Journal(settings.left_log, keys)

    def fill(connection: Connection, reader: Reader, aside: str) -> Restored:
        session = load(connection, reader, keys, progress)
        proof = seals.prove(session)
        known = journal.path.exists()
        merged = merge_journal(session, journal, keys, forget=everywhere(keys, lambda: now), now=now)
        made = reader.manifest.made_at
        memos.forget(session, MEMO)  # it is at home where it is opened next
        held = holding.held(session)
        if held is None:
            holding.hold(session, f"restored from a backup of {made}", actor=actor, now=now)
        detail = {"made_at": made, "people": reader.manifest.people, "merged": dict(merged.people)}
        session.add(Audit(at=now, actor=actor, act="restored", subject="installation", detail=detail))
        session.flush()
        open_ = select(Edition.name).where(Edition.state.in_((EditionState.APPROVED, EditionState.SENDING)))
        unfinished = tuple(session.scalars(open_.order_by(Edition.release_at)))
        return Restored(reader.manifest, proof, merged, known, aside, unfinished)

    with _reader(file, keys) as reader:
        if make_url(settings.database).get_backend_name() == "sqlite":
            return _into_sqlite(settings, reader, fill, replace=replace, now=now)
        return _into_postgresql(settings, reader, fill, replace=replace, now=now)


Fill = Callable[[Connection, Reader, str], Restored]


@contextmanager
def _reader(file: Path, keys: Keys) -> Iterator[Reader]:
    """Lend an archive that is whole, and whose keys are at hand."""
    reader = Reader(file)
    try:
        have = {(key.kind, key.id) for key in keys.all}
        missing = [f"{k} {i}" for k, ids in reader.manifest.keys.items() for i in ids if (k, i) not in have]
        if missing:
            raise BackupError(
                f"{file}: its rows were made with keys that are not in the key file: {', '.join(missing)}. "
                "Put the key file of that time back (its recovery copy was printed by 'digest init')."
            )
        reader.verify()
        yield reader
    finally:
        reader.close()


def _into_sqlite(settings: Settings, reader: Reader, fill: Fill, *, replace: bool, now: datetime) -> Restored:
    named = make_url(settings.database).database
    if not named:
        raise BackupError("DIGEST_DATABASE_URL names no file to restore into.")
    final = Path(named)
    there = final.exists()
    full = there and _holds_something(settings.database)
    if full and not replace:
        raise BackupError(_NOT_EMPTY)
    if there:
        _must_be_alone(final)
    name = f"{final.name}.before-{now:%Y%m%dT%H%M%S}"
    aside = final.with_name(_free(name, lambda one: final.with_name(one).exists())) if full else None
    part = final.with_name(f".{final.name}.restoring")
    _drop(part)
    database = open_database(f"sqlite:///{part}")
    try:
        with database.engine.execution_options(immediate=True).begin() as connection:
            restored = fill(connection, reader, str(aside or ""))
            examine(connection)
        database.close()
        _must_be_alone(part)  # and one file: what stood in its log is in it now
        if there:
            _must_be_alone(final)
        if aside is not None:
            final.rename(aside)
        part.replace(final)
        sync_folder(final.parent)
    finally:
        database.close()
        _drop(part)
    return restored


def _into_postgresql(
    settings: Settings, reader: Reader, fill: Fill, *, replace: bool, now: datetime
) -> Restored:
    if _holds_something(settings.database) and not replace:
        raise BackupError(_NOT_EMPTY)
    database = open_database(settings.database)
    try:
        with database.engine.begin() as connection:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            if connection.scalar(text(others)):
                raise BackupError(_IN_USE)
            schema = connection.scalar(text("SELECT current_schema()"))
            quote = connection.dialect.identifier_preparer.quote
            aside = ""
            if inspect(connection).get_table_names():
                taken = inspect(connection).get_schema_names()
                aside = _free(f"{schema}_before_{now:%Y%m%dt%H%M%S}", taken.__contains__)
                connection.execute(text(f"ALTER SCHEMA {quote(str(schema))} RENAME TO {quote(aside)}"))
                connection.execute(text(f"CREATE SCHEMA {quote(str(schema))}"))
            return fill(connection, reader, f"schema {aside}" if aside else "")
    finally:
        database.close()


def _free(name: str, taken: Callable[[str], bool]) -> str:
    """Give a name that nothing has yet."""
    return next(one for n in count(1) if not taken(one := name if n == 1 else f"{name}_{n}"))


_NOT_EMPTY = (
    "the database holds something already. To put the backup in its place, say --replace: what is there is set "
    "aside, not removed."
)
_IN_USE = "the database is in use. Stop 'digest serve', 'hls-scheduler' and whoever else has it open, then try again."


def _holds_something(url: str) -> bool:
    database = open_database(url)
    try:
        with database.engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            return any(
                connection.scalar(select(func.count()).select_from(text(name)))
                for name in _FULL
                if name in there
            )
    finally:
        database.close()


def _must_be_alone(file: Path) -> None:
    """Make sure that nobody else has a database open, and that all of it is in the one file (sqlite.org/wal.html)."""
    connection = sqlite3.connect(file, timeout=1, isolation_level=None)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError:
        mode = "in use"
    except sqlite3.DatabaseError:
        return  # it is no database at all, so nobody works with it; it is set aside as it is
    finally:
        connection.close()
    if mode != "delete":
        raise BackupError(_IN_USE)


def _drop(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
