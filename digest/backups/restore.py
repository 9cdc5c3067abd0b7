"""Replacing the database with a backup, applying later unsubscribes, and pausing all sending.

Everything is prepared separately in one transaction and swapped in at the end. The previous content is set aside, not
deleted.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, func, inspect, make_url, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from digest.backups.archive import ArchiveManifest, ArchiveReader, BackupError
from digest.backups.last_backup import record_restored_backup
from digest.backups.loader import check_sqlite_integrity, load_archive
from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.deliver.send.claims import restored_copy
from digest.settings import Settings
from digest.store import staff
from digest.store.audit import chain_audit_entries, record_audit
from digest.store.audit_chain import add_audit_fault_to_proof
from digest.store.engine import describe_driver_error, open_database
from digest.store.models import Edition, EditionState
from digest.store.staff_sessions import end_every_session
from subscribers.callback_types import Progress
from subscribers.consent import seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.key_file import sync_folder
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe_log_merge import LogMergeResult, merge_unsubscribe_log

CLOSING_SECONDS = 5.0  # time that a closed connection may still be listed
_FILE_SUFFIXES = ("", "-wal", "-shm", "-journal")  # of a SQLite database
_CONTENT_TABLES = ("person", "edition", "delivery", "article")  # if any of them has rows, the database isn't empty


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of a restore. `set_aside_as` says where the old rows are, or is empty if there are none.

    `unsubscribe_log_found` says whether there was a `left.log`. `open_editions` maps the editions not fully sent as of
    the backup, which may have been sent since, to their number of deliveries made uncertain. `uncertain_notices` counts
    other bulk emails, such as corrections.
    """

    manifest: ArchiveManifest
    proof: seals.LedgerProof
    departures: LogMergeResult
    unsubscribe_log_found: bool
    set_aside_as: str
    open_editions: dict[str, int]
    uncertain_notices: int


def rehearse_restore(
    settings: Settings, file: Path, keys: KeyRing, *, progress: Progress = lambda *_: None
) -> seals.LedgerProof:
    """Restore a backup to a temporary database, and verify its rows, keys, chains, and seals.

    Raises:
        BackupError: the backup can't be restored.
    """
    with (
        _explain_restore_errors(file),
        _open_checked_archive(settings, file, keys) as reader,
        tempfile.TemporaryDirectory(dir=settings.home, prefix=".rehearsal-") as folder,
        closing(open_database(f"sqlite:///{folder}/digest.db")) as database,
        database.engine.execution_options(immediate=True).begin() as connection,
    ):
        session = load_archive(connection, reader, keys, progress)
        check_sqlite_integrity(connection)
        return _verify_restored_ledger(session, keys)


@contextmanager
def _explain_restore_errors(file: Path) -> Iterator[None]:
    """Convert database errors and invalid values in a backup to BackupError.

    Every step before the last is rolled back, so nothing has changed by then.
    """
    try:
        yield
    except (SQLAlchemyError, LookupError, ValueError, TypeError, AttributeError) as exc:
        reason = describe_driver_error(exc) if isinstance(exc, DBAPIError) else type(exc).__name__
        raise BackupError(
            f"Can't restore {file}: {reason}. Nothing was changed. If the disk has free space and the database server is running, restore "
            "from a different backup."
        ) from exc


def restore_backup(
    settings: Settings,
    file: Path,
    keys: KeyRing,
    *,
    replace: bool,
    actor: str,
    now: datetime,
    progress: Progress = lambda *_: None,
    tell_admins: Callable[[Session], None] = lambda _: None,
) -> RestoreResult:
    """Replace the database in the settings with a backup.

    `keys` must include those used by the backup's rows. `replace` is required if the database isn't empty. `progress`
    is called with (completed, total) rows, and `tell_admins` may queue emails in the restored database.

    Raises:
        BackupError: the backup can't be restored; nothing has changed.
        UnsubscribeLogError: `left.log` is damaged; nothing has changed.
        OSError: a file can't be written.
    """
    unsubscribe_log = UnsubscribeLog(settings.left_log, keys)

    def fill(connection: Connection, reader: ArchiveReader, aside: str) -> RestoreResult:
        session = load_archive(connection, reader, keys, progress)
        proof = _verify_restored_ledger(session, keys)
        log_exists = unsubscribe_log.path.exists()
        merged = merge_unsubscribe_log(
            session, unsubscribe_log, keys, forget_elsewhere=make_delivery_erasure_callback(keys, lambda: now), now=now
        )
        # Sessions ended and links used since the backup must not become valid again.
        end_every_session(session)
        staff.end_every_sign_in_link(session, now)
        made_at = reader.manifest.made_at
        # The database belongs wherever it's next opened.
        installation_hold.delete_installation_value(session, installation_hold.IDENTITY_STATE_KEY)
        installation_hold.pause_possible_copy(session, f"restored from a backup made {made_at}", actor=actor, now=now)
        detail = {"made_at": made_at, "people": reader.manifest.people, "merged": dict(merged.departed)}
        record_audit(session, "restored", "installation", detail, actor=actor, now=now)
        record_restored_backup(session, file.name, datetime.fromisoformat(made_at), now=now)
        tell_admins(session)
        gap = restored_copy.RestoreGap(datetime.fromisoformat(made_at), now)
        uncertain = restored_copy.mark_open_deliveries_uncertain(session, gap)
        unsent_states = (EditionState.APPROVED, EditionState.SENDING)
        unsent = select(Edition.name).where(Edition.state.in_(unsent_states))
        names = session.scalars(unsent.order_by(Edition.release_at))
        open_editions = {name: uncertain.pop(make_edition_delivery_purpose(name), 0) for name in names}
        of_edition = make_edition_delivery_purpose("")
        uncertain_notices = sum(many for purpose, many in uncertain.items() if not purpose.startswith(of_edition))
        # This session never commits; the connection does.
        chain_audit_entries(session)
        return RestoreResult(reader.manifest, proof, merged, log_exists, aside, open_editions, uncertain_notices)

    with _explain_restore_errors(file), _open_checked_archive(settings, file, keys) as reader:
        if make_url(settings.effective_database_url).get_backend_name() == "sqlite":
            return _restore_into_sqlite(settings, reader, fill, replace=replace, now=now)
        return _restore_into_postgresql(settings, reader, fill, replace=replace, now=now)


def _verify_restored_ledger(session: Session, keys: KeyRing) -> seals.LedgerProof:
    return add_audit_fault_to_proof(session, seals.verify_ledger(session, keys, tables=SEALED_TABLES))


FillDatabase = Callable[[Connection, ArchiveReader, str], RestoreResult]


@contextmanager
def _open_checked_archive(settings: Settings, file: Path, keys: KeyRing) -> Iterator[ArchiveReader]:
    """Yield a verified archive whose keys are all available."""
    with closing(ArchiveReader(file, settings.backup_passphrase_text)) as reader:
        available = {(key.kind, key.id) for key in keys.all}
        needed = [(kind, id_) for kind, ids in reader.manifest.keys.items() for id_ in ids]
        missing = [f"{kind} {id_}" for kind, id_ in needed if (kind, id_) not in available]
        if missing:
            raise BackupError(
                f"The rows in {file} were made with keys that aren't in the key file ({', '.join(missing)}). Use the "
                "key file from the time of the backup, or restore it with 'digest keys restore' from the "
                "recovery copy printed by 'digest init'."
            )
        reader.verify()
        yield reader


def _restore_into_sqlite(
    settings: Settings, reader: ArchiveReader, fill: FillDatabase, *, replace: bool, now: datetime
) -> RestoreResult:
    file_name = make_url(settings.effective_database_url).database
    if not file_name:
        raise BackupError(
            "Can't restore because DIGEST_DATABASE_URL doesn't point to a database file. Set it to the URL of a database file."
        )
    final = Path(file_name)
    exists = final.exists()
    has_content = exists and _has_content(settings.effective_database_url)
    if has_content and not replace:
        raise BackupError(_NOT_EMPTY_MESSAGE)
    if exists:
        require_exclusive_use(final)
    aside = None
    if has_content:
        aside_name = f"{final.name}.before-{now:%Y%m%dT%H%M%S}"
        aside = final.with_name(choose_unused_name(aside_name, lambda name: final.with_name(name).exists()))
    part = final.with_name(f".{final.name}.restoring")
    _delete_database_files(part)
    database = open_database(f"sqlite:///{part}")
    try:
        with database.engine.execution_options(immediate=True).begin() as connection:
            restored = fill(connection, reader, str(aside or ""))
            check_sqlite_integrity(connection)
        database.close()
        # This also merges the write-ahead log into the file.
        require_exclusive_use(part)
        if exists:
            require_exclusive_use(final)
        if aside is not None:
            for suffix in _FILE_SUFFIXES:  # a damaged database still has its write-ahead log
                if (file := final.with_name(f"{final.name}{suffix}")).exists():
                    file.rename(aside.with_name(f"{aside.name}{suffix}"))
        part.replace(final)
        sync_folder(final.parent)
    finally:
        database.close()
        _delete_database_files(part)
    return restored


def _restore_into_postgresql(
    settings: Settings, reader: ArchiveReader, fill: FillDatabase, *, replace: bool, now: datetime
) -> RestoreResult:
    if _has_content(settings.effective_database_url) and not replace:
        raise BackupError(_NOT_EMPTY_MESSAGE)
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        wait_for_other_connections(connection)
        schema = connection.scalar(text("SELECT current_schema()"))
        quote = connection.dialect.identifier_preparer.quote
        aside = ""
        if inspect(connection).get_table_names():
            schema_names = inspect(connection).get_schema_names()
            aside = choose_unused_name(f"{schema}_before_{now:%Y%m%dt%H%M%S}", schema_names.__contains__)
            connection.execute(text(f"ALTER SCHEMA {quote(str(schema))} RENAME TO {quote(aside)}"))
            connection.execute(text(f"CREATE SCHEMA {quote(str(schema))}"))
        return fill(connection, reader, f"schema {aside}" if aside else "")


def wait_for_other_connections(connection: Connection) -> None:
    """Wait up to 5 seconds for other clients to close the database. Closed connections are still listed briefly.

    Raises:
        BackupError: another client still has it open.
    """
    # Within a transaction, the server caches the list on first access until told otherwise.
    forget = text("SELECT pg_stat_clear_snapshot()")
    count_query = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    end = time.monotonic() + CLOSING_SECONDS
    while connection.scalar(count_query):
        if time.monotonic() > end:
            raise BackupError(_IN_USE_MESSAGE)
        time.sleep(0.05)
        connection.execute(forget)


def choose_unused_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name that isn't taken: `name`, or `name` followed by a number starting with 2."""
    candidates = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if not is_taken(candidate))


_NOT_EMPTY_MESSAGE = (
    "The database isn't empty. To move its contents aside and restore the backup in its place, add --replace."
)
_IN_USE_MESSAGE = (
    "The database is in use. Stop 'digest serve', 'hls-scheduler', and everything else that has it open, "
    "then try again."
)


def _has_content(url: str) -> bool:
    """Return whether a database has content, as a damaged file may."""
    try:
        with closing(open_database(url)) as database, database.engine.connect() as connection:
            tables = set(inspect(connection).get_table_names()).intersection(_CONTENT_TABLES)
            counts = (select(func.count()).select_from(text(name)) for name in tables)
            return any(map(connection.scalar, counts))
    except (DatabaseError, sqlite3.DatabaseError) as exc:
        if type(getattr(exc, "orig", exc)) is sqlite3.DatabaseError:  # its subclasses have other causes
            return True
        raise


def require_exclusive_use(file: Path) -> None:
    """Check that no other process has a database open, and merge it into a single file (sqlite.org/wal.html).

    Raises:
        BackupError: another process has it open.
    """
    connection = sqlite3.connect(file, timeout=1, isolation_level=None)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError:
        mode = "in use"
    except sqlite3.DatabaseError:
        return  # not a database, so not in use; it's set aside as it is
    finally:
        connection.close()
    if mode != "delete":
        raise BackupError(_IN_USE_MESSAGE)


def _delete_database_files(part: Path) -> None:
    for suffix in _FILE_SUFFIXES:
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
