"""Put a backup in the place of the database, apply the departures since then, and hold the installation.

Everything is made ready beside what is there, in one transaction, and takes its place at the end; what was there is
set aside, not removed.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, func, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from digest.backups.archive import ArchiveManifest, ArchiveReader, BackupError
from digest.backups.loader import FIRST_SEALED_REVISION, check_sqlite_integrity, restore_rows
from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.retention.delivery_disclosures import make_erasure_callback
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
from subscribers.consent.consent_chain_backfill import add_missing_address_commitments, add_missing_link_renewal_events
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.key_file import sync_folder
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe_log_merge import LogMergeResult, merge_unsubscribe_log

CLOSING_SECONDS = 5.0  # that a connection which hung up may still be listed
_CONTENT_TABLES = ("person", "edition", "delivery", "article")  # what makes a database one that holds something


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What came of it. `set_aside_as` names where the old rows are, `unsubscribe_log_found` tells whether there was a `left.log`.

    `open_editions` are the editions that the copy takes for not sent: since then they may have been. The value is how many
    of their deliveries are uncertain for that. `uncertain_notices` counts the other bulk emails, such as corrections.
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
    """Load a backup into a database that is thrown away, and prove rows, keys, chains and seals.

    Raises:
        BackupError: it cannot be restored.
    """
    with (
        _explain_restore_errors(file),
        _open_checked_archive(settings, file, keys) as reader,
        tempfile.TemporaryDirectory(dir=settings.home, prefix=".rehearsal-") as folder,
        closing(open_database(f"sqlite:///{folder}/digest.db")) as database,
        database.engine.execution_options(immediate=True).begin() as connection,
    ):
        session = restore_rows(connection, reader, keys, progress)
        check_sqlite_integrity(connection)
        return _verify_restored_ledger(session, keys, reader.manifest.revision, datetime.now(UTC))


@contextmanager
def _explain_restore_errors(file: Path) -> Iterator[None]:
    """Turn what a database says against a backup, or a value in it that's none of ours, into an expected error.

    Every step before the last is taken back, so nothing has changed by then.
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
    """Put a backup in the place of the database that the settings name.

    `keys` must hold those that the backup's rows name; `replace` does it even though the database holds
    something. `progress` is called with the rows done, and all; `tell_admins` may queue emails in the restored database.

    Raises:
        BackupError: it cannot be done; nothing has changed.
        UnsubscribeLogError: `left.log` is damaged; nothing has changed.
        OSError: a file cannot be written.
    """
    unsubscribe_log = UnsubscribeLog(settings.left_log, keys)

    def fill(connection: Connection, reader: ArchiveReader, aside: str) -> RestoreResult:
        session = restore_rows(connection, reader, keys, progress)
        proof = _verify_restored_ledger(session, keys, reader.manifest.revision, now)
        log_exists = unsubscribe_log.path.exists()
        merged = merge_unsubscribe_log(
            session, unsubscribe_log, keys, forget_elsewhere=make_erasure_callback(keys, lambda: now), now=now
        )
        # A session that was ended since the backup must not live again, nor a link that was used.
        end_every_session(session)
        staff.end_every_sign_in_link(session, now)
        made_at = reader.manifest.made_at
        # The database belongs where it is opened next.
        installation_hold.delete_installation_state(session, installation_hold.IDENTITY_STATE_KEY)
        installation_hold.pause_possible_copy(session, f"restored from a backup made {made_at}", actor=actor, now=now)
        detail = {"made_at": made_at, "people": reader.manifest.people, "merged": dict(merged.departed)}
        record_audit(session, "restored", "installation", detail, actor=actor, now=now)
        tell_admins(session)
        gap = restored_copy.RestoreGap(datetime.fromisoformat(made_at), now)
        uncertain = restored_copy.mark_open_deliveries_uncertain(session, gap)
        unsent_states = (EditionState.APPROVED, EditionState.SENDING)
        unsent = select(Edition.name).where(Edition.state.in_(unsent_states))
        names = session.scalars(unsent.order_by(Edition.release_at))
        open_editions = {name: uncertain.pop(make_edition_delivery_purpose(name), 0) for name in names}
        of_edition = make_edition_delivery_purpose("")
        uncertain_notices = sum(many for purpose, many in uncertain.items() if not purpose.startswith(of_edition))
        # This session never commits: the connection does.
        chain_audit_entries(session)
        return RestoreResult(reader.manifest, proof, merged, log_exists, aside, open_editions, uncertain_notices)

    with _explain_restore_errors(file), _open_checked_archive(settings, file, keys) as reader:
        if make_url(settings.effective_database_url).get_backend_name() == "sqlite":
            return _restore_into_sqlite(settings, reader, fill, replace=replace, now=now)
        return _restore_into_postgresql(settings, reader, fill, replace=replace, now=now)


@dataclass(frozen=True, slots=True)
class _OpenTransaction:
    """A database as far as the one transaction of a restore: all that is read and written is in it."""

    session: Session

    def read(self) -> AbstractContextManager[Session]:
        return nullcontext(self.session)

    write = read


def _verify_restored_ledger(session: Session, keys: KeyRing, revision: str, now: datetime) -> seals.LedgerProof:
    """Bind what a backup of before has unbound, as the first start after an upgrade does, and prove the ledger."""
    add_missing_address_commitments(_OpenTransaction(session), keys, now=now)
    if revision < FIRST_SEALED_REVISION:
        add_missing_link_renewal_events(session, now=now)
    return add_audit_fault_to_proof(session, seals.verify_ledger(session, keys, tables=SEALED_TABLES))


FillDatabase = Callable[[Connection, ArchiveReader, str], RestoreResult]


@contextmanager
def _open_checked_archive(settings: Settings, file: Path, keys: KeyRing) -> Iterator[ArchiveReader]:
    """Lend an archive that is whole, and whose keys are at hand."""
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
        # This also makes it one file: what stood in its write-ahead log is in it now.
        require_exclusive_use(part)
        if exists:
            require_exclusive_use(final)
        if aside is not None:
            final.rename(aside)
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
    """Wait until no other client has the database open: one that just hung up is still listed for a moment.

    Raises:
        BackupError: somebody else has it open.
    """
    # Inside a transaction the server shows the list as it was at the first look, until told to forget that.
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
    """Return a name that isn't taken: `name`, or `name` with a number from 2."""
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
    with closing(open_database(url)) as database, database.engine.connect() as connection:
        tables = set(inspect(connection).get_table_names()).intersection(_CONTENT_TABLES)
        counts = (select(func.count()).select_from(text(name)) for name in tables)
        return any(map(connection.scalar, counts))


def require_exclusive_use(file: Path) -> None:
    """Make sure that nobody else has a database open, and that all of it is in the one file (sqlite.org/wal.html).

    Raises:
        BackupError: somebody has.
    """
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
        raise BackupError(_IN_USE_MESSAGE)


def _delete_database_files(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
