"""Backups that admins begin in a page: each is made in a thread of its own; what came of it is remembered in the database."""

import threading
from dataclasses import dataclass
from datetime import datetime

from digest.app.upkeep.backups import AUDIT_SUBJECT, BACK_UP, back_up_into_folder
from digest.backups.archive import BackupError
from digest.backups.last_backup import BackupOutcome, read_backup_outcome
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.installation.passphrases import check_new_passphrase
from digest.settings.affected_areas import AffectedArea
from subscribers.errors import ApplicationError, RefusalError
from subscribers.loggers import get_logger

LOOK = Action("backups looked at", Role.ADMIN, AffectedArea.NONE)

log = get_logger("backups")


class BackupRunningError(RefusalError):
    """One is being made already: the page shows it."""


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """How far the backup is that this process makes: rows written, and rows in all."""

    rows_written: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class BackupView:
    """The backups as their page shows them: what came of the last, and how far one is that is being made."""

    outcome: BackupOutcome
    progress: BackupProgress | None


class BackgroundBackups:
    """The backup that one process makes at a time. It lives as long as the application."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: BackupProgress | None = None
        self._thread: threading.Thread | None = None

    def view(self, installation: Installation, actor: Actor, *, now: datetime) -> BackupView:
        """Show what came of the last backup into the folder, and how far one is.

        Raises:
            NotPermittedError: the actor is no admin.
        """
        LOOK.check_role(installation.database, actor, AUDIT_SUBJECT, now=now)
        progress = self._progress  # before the outcome: of one that ends in between, the outcome is shown
        with installation.read() as session:
            return BackupView(read_backup_outcome(session), progress)

    def begin(self, installation: Installation, actor: Actor, *, passphrase: str = "", now: datetime) -> None:
        """Begin to make a backup as the clock makes one; it's encrypted to `passphrase` if the settings have none.

        Raises:
            NotPermittedError: the actor is no admin.
            BackupRunningError: this process is making one.
            BackupError: no folder is set, or there is no passphrase of 12 characters or more.
        """
        BACK_UP.check_permitted(installation.database, actor, AUDIT_SUBJECT, now=now)
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
        """Wait until the backup that was begun is made or has failed."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, installation: Installation, actor: Actor, passphrase: str, now: datetime) -> None:
        try:
            back_up_into_folder(installation, actor, passphrase=passphrase, now=now, progress=self._count)
        except ApplicationError as exc:
            log.warning("backup failed", why=str(exc))  # it is remembered, and the page shows it
        except Exception:
            log.exception("backup failed")
        finally:
            self._progress = None

    def _count(self, done_count: int, total: int) -> None:
        self._progress = BackupProgress(done_count, total)
