"""Backups made, rehearsed and restored by an admin."""

from datetime import datetime
from pathlib import Path

from digest.app.acts import Act, Actor, Role
from digest.app.installation import Installation, create_home_folder
from digest.backups import archive, restore
from digest.backups.archive import ARCHIVE_FORMAT, ArchiveManifest, RowProgress
from digest.settings import Settings
from subscribers.consent.seals import LedgerProof
from subscribers.crypto.keys import KeyRing

BACK_UP = Act("backed up", Role.ADMIN)
RESTORE = Act("restored", Role.ADMIN)
AUDIT_SUBJECT = "installation"


def create_backup(
    installation: Installation, actor: Actor, file: Path, *, now: datetime, progress: RowProgress = lambda *_: None
) -> ArchiveManifest:
    """Write a backup to a file that must not exist yet, and read it again to prove it.

    Raises:
        NotPermittedError: the actor is no admin.
        BackupError: the file is there, or cannot be written.
    """
    with BACK_UP.steps(installation.database, actor, AUDIT_SUBJECT, now=now) as draft:
        manifest = archive.create_backup(installation.database, installation.keys, file, now=now, progress=progress)
        draft.detail = {"people": manifest.people, "format": ARCHIVE_FORMAT}
        return manifest


def check_may_restore(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Refuse who is no admin of the installation whose database a restore would replace.

    Raises:
        NotPermittedError: the actor is no admin; the refusal is in the audit log of that database.
    """
    RESTORE.check_role(installation.database, actor, AUDIT_SUBJECT, now=now)


def rehearse_restore(settings: Settings, file: Path, *, progress: RowProgress = lambda *_: None) -> LedgerProof:
    """Load a backup into a database that is thrown away, and prove rows, keys, chains and seals.

    Raises:
        KeyFileError: there is no usable key file.
        BackupError: it cannot be restored.
    """
    keys = KeyRing.load(settings.key_file, settings.key_passphrase_text)
    create_home_folder(settings.home)
    return restore.rehearse_restore(settings, file, keys, progress=progress)


def restore_backup(
    settings: Settings,
    actor: Actor,
    file: Path,
    *,
    replace: bool,
    now: datetime,
    progress: RowProgress = lambda *_: None,
) -> restore.RestoreResult:
    """Put a backup in the place of the database that the settings name; its audit row stands in the restored one.

    No installation is open meanwhile, so who acts was checked before: see `check_may_restore`.

    Raises:
        KeyFileError: there is no usable key file.
        BackupError: it cannot be done; nothing has changed.
        DepartureLogError: `left.log` is damaged; nothing has changed.
        OSError: a file cannot be written.
    """
    keys = KeyRing.load(settings.key_file, settings.key_passphrase_text)
    create_home_folder(settings.home)
    return restore.restore_backup(settings, file, keys, replace=replace, actor=actor.name, now=now, progress=progress)
