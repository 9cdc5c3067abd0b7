"""Backups that an admin makes, rehearses, and restores."""

import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import SecretStr
from sqlalchemy.orm import Session

from digest.backups import creation, restore
from digest.backups.archive import ARCHIVE_FORMAT, ArchiveManifest, BackupError
from digest.backups.encrypted_file import is_encrypted
from digest.backups.last_backup import save_backup_outcome
from digest.installation.audited_actions import Action, Actor
from digest.installation.guarded_action_notices import GuardedActionNotice, list_verified_admins
from digest.installation.opened_installation import Installation, create_home_folder
from digest.settings import Settings
from digest.settings.operations import BackupSettings
from subscribers.callback_types import Progress
from subscribers.consent.seals import LedgerProof
from subscribers.consent.unsubscribe_log import read_whole_lines
from subscribers.crypto.key_file import replace_file
from subscribers.crypto.keys import KeyRing

BACK_UP = Action("backed up")
RESTORE = Action("restored")
AUDIT_SUBJECT = "installation"
LEFTOVER_SECONDS = 24 * 3600


_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_NAME_PATTERN = re.compile(r"digest-(\d{8}T\d{6}Z)(-unproved)?\.zip\.age")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A backup in the backup folder, as described by its file name.

    Its name contains its time, and whether it was verified.
    """

    made_at: datetime
    proved: bool

    @property
    def name(self) -> str:
        """The file name, which says when the backup was made and whether it was verified."""
        return f"digest-{self.made_at.astimezone(UTC):{_TIME_FORMAT}}{'' if self.proved else '-unproved'}.zip.age"


def create_backup(
    installation: Installation,
    actor: Actor,
    file: Path,
    *,
    passphrase: str = "",
    now: datetime,
    progress: Progress = lambda *_: None,
) -> ArchiveManifest:
    """Write an encrypted backup to a new file, and read it back to verify it.

    The default passphrase is the one in the settings.

    Raises:
        NotPermittedError: the actor isn't an admin.
        BackupError: there's no passphrase, or the file exists or can't be written.
    """
    with BACK_UP.steps(installation, actor, AUDIT_SUBJECT, now=now) as draft:
        passphrase = passphrase or installation.settings.backup_passphrase_text or ""
        if not passphrase:
            raise BackupError(
                "No backup was made because there's no passphrase to encrypt it with. Set DIGEST_BACKUP_PASSPHRASE or "
                "DIGEST_BACKUP_PASSPHRASE_FILE, or run the command in a terminal and enter a passphrase when asked."
            )
        manifest = creation.create_backup(
            installation.database, file, passphrase=passphrase, now=now, progress=progress
        )
        draft.detail = {"people": manifest.people, "format": ARCHIVE_FORMAT}
        return manifest


@dataclass(frozen=True, slots=True)
class FolderBackup:
    """The result of a backup in the folder.

    `proof` is its verification, and `deleted` are the names of the older backups that were deleted.
    """

    file: Path
    manifest: ArchiveManifest
    proof: LedgerProof
    deleted: tuple[str, ...]


def back_up_into_folder(
    installation: Installation,
    actor: Actor,
    *,
    passphrase: str = "",
    now: datetime,
    progress: Progress = lambda *_: None,
) -> FolderBackup:
    """Write an encrypted backup to the configured folder, verify it, and delete outdated backups.

    The backup is verified by restoring it to a temporary database. The current `left.log` is copied
    to the same folder, and the result is stored. The default passphrase is the one in the settings.

    Raises:
        NotPermittedError: the actor isn't an admin.
        BackupError: the backup can't be made or restored. Earlier backups are unchanged.
    """
    try:
        with BACK_UP.steps(installation, actor, AUDIT_SUBJECT, now=now) as draft:
            folder_backup = _write_into_folder(installation, passphrase, now, progress)
            draft.detail = {
                "people": folder_backup.manifest.people,
                "file": folder_backup.file.name,
                "proved": folder_backup.proof.sound,
            }
    except BackupError as exc:
        save_backup_outcome(installation.database, {"trouble": str(exc)}, now=now)
        raise
    proved = {
        "trouble": "",
        "proved_at": now.isoformat(),
        "file": folder_backup.file.name,
        "bytes": folder_backup.file.stat().st_size,
    }
    broken = {
        "trouble": (
            f"The backup {folder_backup.file.name} was made, but its consent ledger failed verification. Run 'digest "
            "subscribers verify' for details."
        )
    }
    save_backup_outcome(installation.database, proved if folder_backup.proof.sound else broken, now=now)
    return folder_backup


def _write_into_folder(
    installation: Installation, own_passphrase: str, now: datetime, progress: Progress
) -> FolderBackup:
    settings = installation.settings
    if own_passphrase:
        settings = settings.model_copy(update={"backup_passphrase": SecretStr(own_passphrase)})
    backup_settings, passphrase = settings.file.backup, settings.backup_passphrase_text
    if not backup_settings.folder:
        raise BackupError(
            "No backup folder is set. Set backup.folder in digest.toml, or specify a file: digest backup FILE"
        )
    if not passphrase:
        raise BackupError(
            "There's a backup folder but no passphrase to encrypt backups with. Set DIGEST_BACKUP_PASSPHRASE or "
            "DIGEST_BACKUP_PASSPHRASE_FILE."
        )
    folder = Path(backup_settings.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _delete_leftovers(folder, settings.home)
        unproved = folder / BackupFile(now, proved=False).name
        proofs: list[LedgerProof] = []
        manifest = creation.create_backup(
            installation.database,
            unproved,
            passphrase=passphrase,
            now=now,
            progress=progress,
            prove=lambda part: proofs.append(restore.rehearse_restore(settings, part, installation.keys)),
        )
        (proof,) = proofs
        file = unproved.rename(folder / BackupFile(now, proved=True).name) if proof.sound else unproved
        copy_unsubscribe_log(settings.left_log, folder, now)
        outdated = choose_outdated_backups(_list_backups(folder), backup_settings, settings.zone)
        for old in outdated:
            (folder / old.name).unlink(missing_ok=True)
    except OSError as exc:
        raise BackupError(f"Can't use {folder}: {exc.strerror}. Check backup.folder in digest.toml.") from exc
    return FolderBackup(file, manifest, proof, tuple(old.name for old in outdated))


def _list_backups(folder: Path) -> list[BackupFile]:
    return [backup_file for path in folder.iterdir() if (backup_file := parse_backup_name(path.name))]


def _delete_leftovers(folder: Path, home: Path) -> None:
    """Delete the leftovers of killed backups after a day."""
    for path in (*folder.glob(".digest-*.part"), *home.glob(".rehearsal-*")):
        if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy_unsubscribe_log(log: Path, folder: Path, now: datetime) -> None:
    """Copy `left.log` to a folder, and replace the copy there.

    If that copy has lines that the log lacks, it's kept, and the name of the new copy contains the
    time.
    """
    if not log.exists():
        return
    lines = read_whole_lines(log)
    copies = [folder / log.name, *sorted(folder.glob(f"{log.stem}-*{log.suffix}"), reverse=True)]
    new = folder / f"{log.stem}-{now:%Y%m%dT%H%M%SZ}{log.suffix}"
    target = next((copy for copy in copies if read_whole_lines(copy) in lines), new)
    replace_file(target, lines.decode())


def require_restore_permission(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Raise `NotPermittedError` unless the actor is an admin of the installation to be replaced.

    A refusal is recorded in the audit log of the installation's database.
    """
    RESTORE.check_role(installation, actor, AUDIT_SUBJECT, now=now)


def needs_passphrase(settings: Settings, file: Path) -> bool:
    """Return True if a backup is encrypted and the settings have no passphrase.

    Return False if the file can't be read.
    """
    try:
        with file.open("rb") as opened:
            return not settings.backup_passphrase_text and is_encrypted(opened)
    except OSError:
        return False


def rehearse_restore(settings: Settings, file: Path, *, progress: Progress = lambda *_: None) -> LedgerProof:
    """Restore a backup to a temporary database, and verify its rows, keys, chains, and seals.

    Raises:
        KeyFileError: there's no usable key file.
        BackupError: the backup can't be restored.
    """
    keys = KeyRing.load(settings.key_file, settings.key_passphrase_text)
    create_home_folder(settings.home)
    return restore.rehearse_restore(settings, file, keys, progress=progress)


def restore_backup(
    settings: Settings, actor: Actor, file: Path, *, replace: bool, now: datetime, progress: Progress = lambda *_: None
) -> restore.RestoreResult:
    """Replace the database in the settings with a backup.

    The audit row and the email to admins are written to the restored database. No installation is
    open at that time, so the actor must have been checked with `require_restore_permission`.

    Raises:
        KeyFileError: there's no usable key file.
        BackupError: the backup can't be restored. Nothing has changed.
        UnsubscribeLogError: `left.log` is damaged. Nothing has changed.
        OSError: a file can't be written.
    """
    keys = KeyRing.load(settings.key_file, settings.key_passphrase_text)
    create_home_folder(settings.home)

    def tell_admins(session: Session) -> None:
        notice = GuardedActionNotice(
            actor.name, str(actor.face), RESTORE.words, AUDIT_SUBJECT, str(RESTORE.guarded_area), now
        )
        notice.queue(session, keys, settings, dict(list_verified_admins(session)))

    return restore.restore_backup(
        settings, file, keys, replace=replace, actor=actor.name, now=now, progress=progress, tell_admins=tell_admins
    )


def parse_backup_name(name: str) -> BackupFile | None:
    """Return the backup with this file name, or None if the name isn't that of a backup."""
    match = _NAME_PATTERN.fullmatch(name)
    if match is None:
        return None
    try:
        made_at = datetime.strptime(match[1], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return BackupFile(made_at, proved=match[2] is None)


def choose_outdated_backups(
    files: Iterable[BackupFile], backup_settings: BackupSettings, zone: ZoneInfo
) -> list[BackupFile]:
    """Return the backups to delete, oldest first.

    Only days that have a backup are counted, so gaps in the schedule don't reduce the number of
    backups that are kept. Unverified backups are counted separately and never displace verified
    ones. The newest verified backup is always kept.
    """
    newest_first = sorted(files, key=lambda file: file.made_at, reverse=True)
    proved = [file for file in newest_first if file.proved]
    unproved = [file for file in newest_first if not file.proved]
    spans: tuple[tuple[int, Callable[[datetime], object]], ...] = (
        (backup_settings.daily, lambda local: local.date()),
        (backup_settings.weekly, lambda local: local.isocalendar()[:2]),
        (backup_settings.monthly, lambda local: (local.year, local.month)),
    )
    retained: set[BackupFile] = set(proved[:1])
    for count, span_of in spans:
        retained.update(_newest_by_span(proved, count, span_of, zone))
    retained.update(_newest_by_span(unproved, backup_settings.daily, spans[0][1], zone))
    return [file for file in reversed(newest_first) if file not in retained]


def _newest_by_span(
    newest_first: list[BackupFile], count: int, span_of: Callable[[datetime], object], zone: ZoneInfo
) -> list[BackupFile]:
    by_span: dict[object, BackupFile] = {}
    for file in newest_first:
        by_span.setdefault(span_of(file.made_at.astimezone(zone)), file)
    return list(by_span.values())[:count]
