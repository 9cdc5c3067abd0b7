"""Explanations of disk and database errors for operators."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

from subscribers.errors import ApplicationError

RESTORE_LOSSES = "You lose everything newer, except unsubscribes."
_FULL_DISK_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# SQLite's primary result codes for problems with a disk, with permissions, or with a lock
# (https://www.sqlite.org/rescode.html).
_SQLITE_DISK_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_SQLITE_DENIED_CODES = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
_FIX_ACCESS = (
    "This user may not write to the database's file or folder. The last step was undone, and earlier steps were saved. "
    "Run 'digest doctor' as root, which names the file and the command that fixes it."
)
_SQLITE_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# SQLSTATE classes for connections, resources, and actions by the operator or the system. Without a
# class, no server answered.
_POSTGRESQL_CLASSES = frozenset({"", "08", "53", "57", "58"})
_POSTGRESQL_DISK_FULL = "53100"
_SQLITE_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_POSTGRESQL_DAMAGE = frozenset({"XX001", "XX002"})  # data and index corrupted


class StorageError(ApplicationError):
    """Raised if the disk or the database failed or is unavailable.

    Committed changes are kept, and the others were rolled back.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.can_retry = is_transient  # locks are released, and servers restart


def explain_storage_error(error: BaseException) -> StorageError | None:
    """Return an explanation of an error caused by the disk, a lock, or an unavailable server.

    For other errors, return None.
    """
    if isinstance(error, OperationalError):
        return _explain_database_error(error)
    if isinstance(error, OSError) and error.errno in _FULL_DISK_CODES:
        place = error.filename or "a file"
        return StorageError(
            f"The disk is full, so {place} couldn't be written. Free up space, then run the command again."
        )
    return None


def make_damage_error(reason: str) -> ApplicationError:
    """Return the error for a damaged database. Its message says what to do."""
    return ApplicationError(
        f"The database is damaged ({reason}).",
        remedy="Restore your newest backup with 'digest restore FILE --replace', once nothing else is using the database. "
        f"{RESTORE_LOSSES}",
    )


def diagnose_damage(error: BaseException) -> ApplicationError | None:
    """Return an explanation of an error caused by a damaged database.

    For other errors, return None.
    """
    driver_error = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(driver_error, sqlite3.Error):
        is_damaged = getattr(driver_error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DAMAGE_CODES
    else:
        is_damaged = getattr(driver_error, "sqlstate", None) in _POSTGRESQL_DAMAGE
    return make_damage_error(str(driver_error).strip().partition("\n")[0]) if is_damaged else None


def is_sqlite_disk_error(error: BaseException) -> bool:
    """Return True if SQLite failed because its disk is full or broken."""
    driver_error = error.orig if isinstance(error, DBAPIError) else None
    return getattr(driver_error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DISK_CODES


def _explain_database_error(error: DBAPIError) -> StorageError | None:
    driver_error = error.orig
    reason = str(driver_error).strip().partition("\n")[0]
    if isinstance(driver_error, sqlite3.Error):
        code = driver_error.sqlite_errorcode & 0xFF
        if code in _SQLITE_BUSY_CODES:
            return StorageError("The database was busy for too long, so your change wasn't saved.", is_transient=True)
        if code in _SQLITE_DENIED_CODES:
            return StorageError(f"Couldn't write to the database ({reason}). {_FIX_ACCESS}")
        return _describe_refused_write(reason) if code in _SQLITE_DISK_CODES else None
    state = getattr(driver_error, "sqlstate", None) or ""
    if state == _POSTGRESQL_DISK_FULL:
        return _describe_refused_write(reason)
    is_away = state[:2] in _POSTGRESQL_CLASSES
    return StorageError(f"The database isn't responding: {reason}", is_transient=True) if is_away else None


def _describe_refused_write(reason: str) -> StorageError:
    return StorageError(
        f"Couldn't write to the database ({reason}). The disk is full or failing. The last step was undone, "
        "and earlier steps were saved. Free up space, then run the command again."
    )
