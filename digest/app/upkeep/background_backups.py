"""Backups that admins start from a page.

They run in a thread, and their results are stored in the database.
"""

import threading
from dataclasses import dataclass
from datetime import datetime

from digest.app.upkeep.backups import AUDIT_SUBJECT, BACK_UP, back_up_into_folder
from digest.backups.archive import BackupError
from digest.backups.last_backup import BackupOutcome, read_backup_outcome
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.passphrases import check_new_passphrase
from subscribers.errors import ApplicationError, RefusalError
from subscribers.loggers import get_logger

LOOK = Action("backups looked at")

log = get_logger("backups")


class BackupRunningError(RefusalError):
    """Raised if a backup is already being made. The page shows its progress."""


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """The progress of a backup by this process, in rows."""

    rows_written: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class BackupView:
    """The last backup and a running one, as shown on the backup page.

    `outcome` is the result of the last one, and `progress` that of a running one, if any.
    """

    outcome: BackupOutcome
    progress: BackupProgress | None


class BackgroundBackups:
    """The backups made by a process, at most one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: BackupProgress | None = None
        self._thread: threading.Thread | None = None

    def view(self, installation: Installation, actor: Actor, *, now: datetime) -> BackupView:
        """Return the result of the last backup in the folder, and the progress of a running one.

        Raises:
            NotPermittedError: the actor isn't an admin.
        """
        LOOK.check_role(installation, actor, AUDIT_SUBJECT, now=now)
        # Read this before the outcome, so that a backup that ends in between is shown as finished.
        progress = self._progress
        with installation.read() as session:
            return BackupView(read_backup_outcome(session), progress)

    def begin(self, installation: Installation, actor: Actor, *, passphrase: str = "", now: datetime) -> None:
        """Start a backup like a scheduled one.

        It's encrypted with `passphrase` if the settings have none.

        Raises:
            NotPermittedError: the actor isn't an admin.
            BackupRunningError: this process is already making one.
            BackupError: no folder is set, or there's no passphrase of at least 12 characters.
        """
        BACK_UP.check_permitted(installation, actor, AUDIT_SUBJECT, now=now)
        settings = installation.settings
        if not settings.file.backup.folder:
            raise BackupError("No backup folder is set. Enter one and save it first.")
        if settings.backup_passphrase_text:
            passphrase = ""
        else:
            check_new_passphrase(passphrase)
        with self._lock:
            if self._progress is not None:
                raise BackupRunningError("A backup is already running. Wait until it's finished.")
            self._progress = BackupProgress()
        self._thread = threading.Thread(
            target=self._run, args=(installation, actor, passphrase, now), name="backup", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until the running backup, if any, has finished or failed."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, installation: Installation, actor: Actor, passphrase: str, now: datetime) -> None:
        try:
            back_up_into_folder(installation, actor, passphrase=passphrase, now=now, progress=self._count)
        except ApplicationError as exc:
            log.warning("backup failed", why=str(exc))  # stored, and shown on the page
        except Exception:
            log.exception("backup failed")
        finally:
            self._progress = None

    def _count(self, done_count: int, total: int) -> None:
        self._progress = BackupProgress(done_count, total)
