"""The suppression list as an encrypted file, exported here or imported from other installations.

Uploaded files stay encrypted and are processed in a child process. The passphrase is never stored.
"""

import io
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO

from digest.app.subscribers.child_work import Report
from digest.app.subscribers.list_transfers import open_new_export_file
from digest.app.subscribers.upload_files import (
    ListUpload,
    UploadStage,
    make_upload_folder,
    save_upload,
    save_upload_state,
)
from digest.app.subscribers.uploads import UPLOAD, ListUploads, UploadError
from digest.backups.encrypted_file import (
    CHUNK_BYTES,
    DamagedFileError,
    EncryptedReader,
    EncryptedWriter,
    WrongPassphraseError,
)
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.passphrases import check_new_passphrase
from digest.settings import Settings
from digest.store.engine import open_database
from subscribers.callback_types import Progress
from subscribers.consent.suppression import SuppressionReason
from subscribers.transfer.exports import ExportRecipient
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.suppressions.suppression_adoption import AdoptionReport, adopt_suppressions, rehearse_adoption
from subscribers.transfer.suppressions.suppression_export import export_suppressions
from subscribers.transfer.suppressions.suppression_file import SuppressionFileError

EXPORT = Action("suppressions exported")
TRY = Action("adoption tried")
ADOPT = Action("suppressions adopted")

# The scrypt work factor of files to decrypt. Our own files use 17, and 18 takes 256 MB.
MAX_WORK_FACTOR = 18
AUDIT_SUBJECT = "a suppression list"
UPLOADED_NAME = "suppressions.age"
CAUSES: dict[SuppressionReason, str] = {
    "left elsewhere": "unsubscribed",
    "bounced": "bounced",
    "complained": "complained",
    "complaint by mail": "complained by email",
    "by an admin": "suppressed by an admin",
    "erased": "erased",
}


def export_suppression_list(
    installation: Installation,
    actor: Actor,
    file: AbstractContextManager[BinaryIO],
    recipient: ExportRecipient,
    passphrase: str,
    *,
    now: datetime,
    progress: Progress = lambda *_: None,
) -> Counter[str]:
    """Write the encrypted suppression list to a file that's opened here.

    Return the counts by cause.

    Raises:
        NotPermittedError: the actor isn't an admin.
        BackupError: the passphrase is too short.
        ExportFileError: the file exists or can't be created.
    """
    with EXPORT.steps(installation, actor, "the suppression list", now=now) as draft:
        check_new_passphrase(passphrase)
        with file as opened:
            draft.detail = {"why": recipient.why, "to": recipient.to_whom}
            encrypted = EncryptedWriter(opened, passphrase)
            counts = export_suppressions(installation.database, installation.keys, encrypted.write, progress=progress)
            encrypted.close()
        draft.detail["counts"] = {label: counts[cause] for cause, label in CAUSES.items() if counts[cause]}
        return counts


@contextmanager
def open_new_suppression_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file that only its owner can read.

    The file is deleted if an exception occurs.
    """
    with open_new_export_file(path) as text_file:
        yield text_file.buffer


def rehearse_suppression_adoption(
    installation: Installation,
    actor: Actor,
    file: Path,
    passphrase: str,
    *,
    now: datetime,
    progress: Progress,
) -> AdoptionReport:
    """Count the effects of adopting a file. No subscriber is changed.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SuppressionFileError: the passphrase is wrong, or the file is damaged or not a suppression
            file.
    """
    with (
        TRY.steps(installation, actor, AUDIT_SUBJECT, now=now) as draft,
        _decrypt(file, passphrase) as opened,
    ):
        report = rehearse_adoption(_make_context(installation, actor), opened, now=now, progress=progress)
        draft.detail = {"counts": report.as_json()}
        return report


def adopt_suppression_list(
    installation: Installation,
    actor: Actor,
    file: Path,
    passphrase: str,
    reason: str,
    *,
    now: datetime,
    progress: Progress,
) -> AdoptionReport:
    """Adopt a file, or resume an interrupted adoption.

    Adoption can't be undone.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SuppressionFileError: the passphrase is wrong, or the file is damaged or not a suppression
            file.
        ImportUndoError: an import is being undone.
        OSError: the unsubscribe log couldn't be written.
    """
    with (
        ADOPT.steps(installation, actor, AUDIT_SUBJECT, now=now) as draft,
        _decrypt(file, passphrase) as opened,
    ):
        draft.detail = {"why": reason}
        report = adopt_suppressions(_make_context(installation, actor), opened, now=now, progress=progress)
        draft.changed = report.adopted_at is None
        draft.detail["counts"] = report.as_json()
        return report


def _make_context(installation: Installation, actor: Actor) -> ImportContext:
    return ImportContext(installation.database, installation.keys, installation.unsubscribe_log, actor.name)


@contextmanager
def _decrypt(file: Path, passphrase: str) -> Iterator[BinaryIO]:
    """Yield the decrypted content of a file."""
    try:
        with file.open("rb") as encrypted:
            reader = EncryptedReader(encrypted, passphrase, max_work_factor=MAX_WORK_FACTOR)
            yield io.BufferedReader(reader, CHUNK_BYTES)
    except WrongPassphraseError:
        raise SuppressionFileError("The passphrase doesn't decrypt this file.") from None
    except DamagedFileError:
        raise SuppressionFileError("The file is damaged, or it isn't a suppression file.") from None


def list_adoption_counts(report: AdoptionReport) -> list[tuple[int, str]]:
    """Return the nonzero counts of a report with their labels."""
    added = [(report.added[cause], f"{label}, not suppressed here yet") for cause, label in CAUSES.items()]
    others = [
        (report.present, "already adopted"),
        (report.own, "exported by this installation, so skipped"),
        (report.unusable, "can't be used because their key isn't in the file"),
    ]
    return [line for line in (*added, *others) if line[0]]


def receive_suppression_file(
    installation: Installation, uploads: ListUploads, actor: Actor, stream: IO[bytes], *, now: datetime
) -> ListUpload:
    """Store an uploaded suppression file as it is, encrypted.

    Nothing is adopted.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    upload_name = secrets.token_hex(8)
    folder = installation.settings.uploads_folder / upload_name
    with UPLOAD.steps(installation, actor, f"upload {upload_name}", now=now) as draft:
        upload = ListUpload(upload_name, folder / UPLOADED_NAME, actor.name, now, (), kind="suppressions")
        try:
            make_upload_folder(folder)
            save_upload(stream, upload.file)
            save_upload_state(upload)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        draft.detail = {"origin": "suppression file"}
    return uploads.find(installation, actor, upload_name, now=now, kind="suppressions")


def begin_suppression_step(
    installation: Installation,
    uploads: ListUploads,
    actor: Actor,
    name: str,
    passphrase: str,
    reason: str,
    *,
    commit: bool,
    now: datetime,
) -> None:
    """Start a dry run or the adoption of an uploaded suppression file, or resume one that was stopped.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownUploadError: there's no such upload.
        UploadError: the upload hasn't been checked yet, or is being processed.
    """
    action = ADOPT if commit else TRY
    action.check_permitted(installation, actor, f"upload {name}", now=now)
    upload = uploads.find(installation, actor, name, now=now, kind="suppressions")
    if commit and not upload.found:
        raise UploadError("This file hasn't been checked yet. Start a dry run first.")
    upload = replace(upload, stage=UploadStage.IMPORTING if commit else UploadStage.TRYING)
    uploads.start(upload, run_suppression_step, installation.settings, actor, upload, passphrase, reason, now)


def run_suppression_step(
    settings: Settings,
    actor: Actor,
    upload: ListUpload,
    passphrase: str,
    reason: str,
    now: datetime,
    report: Report,
) -> ListUpload:
    """Check or adopt an uploaded file in a child process, and return the updated upload."""
    with closing(open_database(settings.effective_database_url)) as database:
        installation = Installation(settings, database)
        if upload.stage is UploadStage.IMPORTING:
            result = adopt_suppression_list(
                installation, actor, upload.file, passphrase, reason, now=now, progress=report
            )
            return _finish(upload, UploadStage.DONE, result)
        rehearsed = rehearse_suppression_adoption(
            installation, actor, upload.file, passphrase, now=now, progress=report
        )
        return _finish(upload, UploadStage.TRIED, rehearsed)


def _finish(upload: ListUpload, stage: UploadStage, report: AdoptionReport) -> ListUpload:
    counts = {
        "entries": report.entries,
        "lines": list_adoption_counts(report),
        "removed": report.removed.total(),
        "consented": report.consented,
        "repeated": report.adopted_at is not None,
    }
    return replace(upload, stage=stage, found=counts, rows=report.entries)
