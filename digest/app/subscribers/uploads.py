"""Receiving lists that admins upload, and working on them in child processes.

They're received, checked in dry runs, imported in a child process, stopped, resumed, and removed.
"""

import io
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from digest.app.subscribers import list_transfers
from digest.app.subscribers.child_work import BROKE_OFF, Report, WorkFailedError, WorkStoppedError, run_in_child
from digest.app.subscribers.upload_files import (
    ListUpload,
    UploadColumn,
    UploadKind,
    UploadStage,
    is_packed,
    make_safe_file_name,
    make_upload_folder,
    read_upload_columns,
    read_upload_state,
    save_upload,
    save_upload_state,
    unpack_list_file,
)
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import open_database
from subscribers.errors import ApplicationError, RefusalError
from subscribers.loggers import get_logger
from subscribers.transfer.decisions import RowReason
from subscribers.transfer.formats import ColumnMeaning, check_column_meanings
from subscribers.transfer.import_report import ImportReport
from subscribers.transfer.list_file import ListFileError, survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import OUTCOME_COLUMNS, ImportRowResult, read_outcomes, write_outcomes

UPLOAD = Action("list uploaded")
TRY = Action("import tried")
REMOVE = Action("upload removed")
TAKE_REJECTS = Action("rejected rows taken")
TAKE_OUTCOMES = Action("row outcomes taken")
SHOW = Action("uploads listed")

_ROWS_A_PIECE = 2000  # in each chunk of a file of row results
_NAME = re.compile(r"[0-9a-f]{16}")

# It takes its arguments and a `Report`, and returns the updated upload.
UploadStep = Callable[..., ListUpload]

log = get_logger("uploads")


class UploadError(RefusalError):
    """Raised if an action on an upload isn't possible.

    The message says why.
    """


class UnknownUploadError(RefusalError):
    """Raised if an upload doesn't exist or has expired."""


@dataclass(slots=True)
class _RunningWork:
    """The progress of an upload's processing, and the thread that follows its child process.

    `reached` and `rows` are the numbers of rows processed and in total.
    """

    reached: int = 0
    rows: int = 0
    stop_asked: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class ListUploads:
    """The uploads of an installation, and the child processes that work on them for this process."""

    def __init__(self) -> None:
        self._running: dict[str, _RunningWork] = {}
        self._lock = threading.Lock()

    def receive(
        self, installation: Installation, actor: Actor, file_name: str, stream: IO[bytes], *, now: datetime
    ) -> ListUpload:
        """Store and survey an uploaded file, and return the upload.

        Nothing is imported.

        Raises:
            NotPermittedError: the actor isn't an admin.
            UploadError: the file is too large or isn't a list.
        """
        name = secrets.token_hex(8)
        folder = installation.settings.uploads_folder / name
        with UPLOAD.steps(installation, actor, f"upload {name}", now=now) as draft:
            try:
                make_upload_folder(folder)
                uploaded = folder / make_safe_file_name(file_name)
                save_upload(stream, uploaded)
                file = _unpack_upload(uploaded)
                survey = _survey_in_child(file)
            except BaseException as exc:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(exc, UploadError):
                    draft.detail = {"because": str(exc)}
                raise
            upload = ListUpload(name, file, actor.name, now, survey.columns, rows=survey.rows)
            upload = replace(upload, found={"origin": survey.origin, "warnings": list(survey.warnings)})
            upload = replace(upload, packed_name=uploaded.name if file != uploaded else "")
            save_upload_state(upload)
            draft.detail = {"origin": survey.origin, "rows": survey.rows}
        return upload

    def find(
        self, installation: Installation, actor: Actor, name: str, *, now: datetime, kind: UploadKind = "list"
    ) -> ListUpload:
        """Return an upload of the given kind, with its current progress.

        Raises:
            NotPermittedError: the actor isn't an admin.
            UnknownUploadError: no upload has this name.
        """
        SHOW.check_role(installation, actor, "uploads", now=now)
        upload = read_upload_state(installation.settings.uploads_folder / name) if _NAME.fullmatch(name) else None
        if upload is None or upload.kind != kind:
            raise UnknownUploadError(
                "This upload has expired. Upload the file again. Rows already imported will be skipped."
            )
        return self._with_progress(upload)

    def list_all(
        self, installation: Installation, actor: Actor, *, now: datetime, kind: UploadKind = "list"
    ) -> list[ListUpload]:
        """Return all uploads of the given kind, newest first.

        Raises:
            NotPermittedError: the actor isn't an admin.
        """
        SHOW.check_role(installation, actor, "uploads", now=now)
        folder = installation.settings.uploads_folder
        uploads = [read_upload_state(each) for each in folder.iterdir()] if folder.is_dir() else []
        known_uploads = [
            self._with_progress(upload) for upload in uploads if upload is not None and upload.kind == kind
        ]
        return sorted(known_uploads, key=lambda upload: upload.at, reverse=True)

    def _with_progress(self, upload: ListUpload) -> ListUpload:
        """Return an upload with its current progress.

        Its stage is corrected if a crash or a restart interrupted it.
        """
        with self._lock:
            work = self._running.get(upload.name)
        if work is not None and upload.is_running:
            return replace(upload, reached=work.reached, rows=work.rows or upload.rows)
        if upload.stage is UploadStage.IMPORTING:
            return replace(upload, stage=UploadStage.STOPPED)
        return replace(upload, stage=UploadStage.NEW) if upload.stage is UploadStage.TRYING else upload

    def begin(
        self,
        installation: Installation,
        actor: Actor,
        name: str,
        options: ImportOptions,
        *,
        commit: bool,
        now: datetime,
    ) -> None:
        """Start a dry run or an import, or resume one that was stopped.

        Raises:
            NotPermittedError: the actor isn't an admin.
            UnknownUploadError: no upload has this name.
            UploadError: the upload is being processed.
            ColumnMappingError: the columns don't form a list.
        """
        (list_transfers.IMPORT if commit else TRY).check_permitted(installation, actor, f"upload {name}", now=now)
        upload = self.find(installation, actor, name, now=now)
        check_column_meanings(options.columns or upload.meanings)
        stage = UploadStage.IMPORTING if commit else UploadStage.TRYING
        upload = replace(upload, stage=stage, options=options)
        self.start(upload, run_upload_step, installation.settings, actor, upload, now)

    def start(self, upload: ListUpload, step: UploadStep, *arguments: Any) -> None:
        """Run `step(*arguments, report)` in a child process, and follow its progress in a thread.

        The step returns the updated upload.

        Raises:
            UploadError: the upload is being processed.
        """
        work = _RunningWork(rows=upload.rows)
        with self._lock:
            if upload.name in self._running:
                raise UploadError("This list is being processed. Wait until processing is finished, or stop it.")
            self._running[upload.name] = work
        save_upload_state(replace(upload, problem="", reached=0))
        work.thread = threading.Thread(
            target=self._run, args=(upload, work, step, arguments), name="list import", daemon=True
        )
        work.thread.start()

    def _run(self, upload: ListUpload, work: _RunningWork, step: UploadStep, arguments: Sequence[Any]) -> None:
        def note_progress(row: int, rows: int) -> None:
            work.reached, work.rows = row, rows

        try:
            ended = run_in_child(step, *arguments, on_progress=note_progress, stop_asked=work.stop_asked)
            ended = replace(ended, problem="")  # that of an earlier attempt
        except WorkStoppedError:
            stage = UploadStage.STOPPED if upload.stage is UploadStage.IMPORTING else UploadStage.NEW
            ended = replace(upload, stage=stage, reached=work.reached)
        except Exception as exc:  # no caller handles exceptions of this thread; the page shows the failure
            log.exception("couldn't process an upload", error=type(exc).__name__)
            problem = str(exc) if isinstance(exc, ApplicationError) else BROKE_OFF
            ended = replace(upload, stage=UploadStage.FAILED, problem=problem)
        with self._lock:
            save_upload_state(ended)
            del self._running[upload.name]

    def stop(
        self, installation: Installation, actor: Actor, name: str, *, now: datetime, kind: UploadKind = "list"
    ) -> None:
        """Stop the processing of an upload.

        Wait up to 10 seconds for the current step to end.

        Raises:
            NotPermittedError: the actor isn't an admin.
            UnknownUploadError: no upload has this name.
        """
        self.find(installation, actor, name, now=now, kind=kind)
        with self._lock:
            work = self._running.get(name)
        if work is not None and work.thread is not None:
            work.stop_asked.set()
            work.thread.join(timeout=10)

    def wait(self, name: str) -> None:
        """Wait until an upload is no longer being processed."""
        with self._lock:
            work = self._running.get(name)
        if work is not None and work.thread is not None:
            work.thread.join()

    def remove(
        self, installation: Installation, actor: Actor, name: str, *, now: datetime, kind: UploadKind = "list"
    ) -> None:
        """Delete an upload with all of its files.

        People who were imported from it are kept.

        Raises:
            NotPermittedError: the actor isn't an admin.
            UnknownUploadError: no upload has this name.
            UploadError: the upload is being processed.
        """
        upload = self.find(installation, actor, name, now=now, kind=kind)
        if upload.is_running:
            raise UploadError("This list is being processed. Stop the processing first.")
        with REMOVE.steps(installation, actor, f"upload {name}", now=now):
            shutil.rmtree(upload.file.parent)


@dataclass(frozen=True, slots=True)
class UploadSurvey:
    """The result of surveying a file: its columns, its number of rows, its origin, and warnings."""

    columns: tuple[UploadColumn, ...]
    rows: int
    origin: str
    warnings: tuple[str, ...]


def survey_upload(file: Path, report: Report) -> UploadSurvey:
    """Survey a file in a child process, and return the result.

    Raises:
        ListFileError: the file isn't a list.
    """
    report()
    survey = survey_file(file)
    return UploadSurvey(read_upload_columns(survey), survey.rows, survey.layout.origin, tuple(survey.warnings))


def _unpack_upload(file: Path) -> Path:
    """Replace a ZIP file or a spreadsheet with the list in it, and return the file to read."""
    if not is_packed(file):
        return file
    table = file.with_name(f"{file.name}.csv")
    try:
        unpack_list_file(file, table)
    except ListFileError as exc:
        raise UploadError(str(exc)) from None
    file.unlink()
    return table


def _survey_in_child(file: Path) -> UploadSurvey:
    try:
        return run_in_child(survey_upload, file, on_progress=lambda: None, stop_asked=threading.Event())
    except WorkFailedError as exc:
        reason = str(exc)
        raise UploadError(reason[:1].upper() + reason[1:]) from None


def run_upload_step(settings: Settings, actor: Actor, upload: ListUpload, now: datetime, report: Report) -> ListUpload:
    """Check or import an upload in a child process, and return the updated upload."""
    # Delete the rows from an earlier dry run.
    list_transfers.make_rejected_rows_path(upload.file).unlink(missing_ok=True)
    with closing(open_database(settings.effective_database_url)) as database:
        installation = Installation(settings, database)
        if upload.stage is UploadStage.IMPORTING:
            came, _ = list_transfers.import_list(
                installation,
                actor,
                upload.file,
                upload.options,
                now=now,
                progress=report,
                outcomes=_outcomes_path(upload, came_in=True),
                file_name=upload.uploaded_name,
            )
            return replace(upload, stage=UploadStage.DONE, found=_describe_report(came), rows=came.survey.rows)
        with TRY.steps(installation, actor, f"upload {upload.name}", now=now) as draft:
            trying = _outcomes_path(upload, came_in=False).with_suffix(".new")
            report_of_trial = list_transfers.rehearse_import(
                installation,
                actor,
                upload.file,
                upload.options,
                now=now,
                progress=report,
                outcomes=trying,
                keep_rejects=True,
            )
            # The results of an interrupted dry run must not be used.
            trying.replace(_outcomes_path(upload, came_in=False))
            draft.detail = {"counts": report_of_trial.as_json()}
        return replace(
            upload, stage=UploadStage.TRIED, found=_describe_report(report_of_trial), rows=report_of_trial.survey.rows
        )


def _describe_report(report: ImportReport) -> dict[str, Any]:
    return {
        "origin": report.survey.layout.origin,
        "warnings": list(report.survey.warnings),
        "counts": report.as_json(),
        "batch": report.batch,
        "repeated": report.already_imported,
        "problems": report.problems,
        "reasons": report.reasons.most_common(),
        "words": [[column, word, rows] for (column, word), rows in report.unknown_words.most_common()],
        "tags": report.list_quotable_tags(),
        "counted_tags": len(report.tags),
        "slips": [[domain, meant, rows] for (domain, meant), rows in report.slips.most_common()],
    }


def stream_row_outcomes(
    installation: Installation,
    uploads: ListUploads,
    actor: Actor,
    name: str,
    name_outcome: Callable[[RowReason], str],
    *,
    now: datetime,
) -> Iterator[str]:
    """Return a CSV file, in chunks, with the result of each row and the reason.

    The file identifies rows by number and doesn't contain any address. Until the import is
    finished, it has the results of the last dry run. `name_outcome` returns the wording of a
    reason.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownUploadError: no upload has this name.
        UploadError: there are no row results.
    """
    upload = uploads.find(installation, actor, name, now=now)
    with TAKE_OUTCOMES.steps(installation, actor, f"upload {name}", now=now):
        if not has_row_outcomes(upload):
            raise UploadError(
                "Row results aren't available because the list hasn't been checked yet or was imported earlier. Start "
                "a dry run."
            )
        accounts = read_outcomes(_outcomes_path(upload, came_in=upload.stage is UploadStage.DONE))
    return _write_pieces(accounts, name_outcome)


def stream_rejected_rows(
    installation: Installation, uploads: ListUploads, actor: Actor, name: str, *, now: datetime
) -> Iterator[str]:
    """Return a CSV file, in chunks, with each skipped row in full, its number, and the reason.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownUploadError: no upload has this name.
        UploadError: no rows were skipped, or the list wasn't checked.
    """
    upload = uploads.find(installation, actor, name, now=now)
    with TAKE_REJECTS.steps(installation, actor, f"upload {name}", now=now):
        file = list_transfers.make_rejected_rows_path(upload.file)
        if upload.is_running or not file.exists():
            raise UploadError("There are no skipped rows, or the list hasn't been checked yet. Start a dry run.")
    return list_transfers.read_pieces(file.open(encoding="utf-8", newline=""))


def _write_pieces(accounts: Iterator[ImportRowResult], name_outcome: Callable[[RowReason], str]) -> Iterator[str]:
    """Yield rows as CSV, a few thousand at a time, so that memory use doesn't grow with the list."""
    headings: Sequence[str] = OUTCOME_COLUMNS
    while True:
        piece, file = list(islice(accounts, _ROWS_A_PIECE)), io.StringIO(newline="")
        write_outcomes(file, piece, name_outcome, headings=headings)
        yield file.getvalue()
        if len(piece) < _ROWS_A_PIECE:
            return
        headings = ()


def has_row_outcomes(upload: ListUpload) -> bool:
    """Return True if there are row results of a dry run or an import."""
    is_whole = upload.stage not in (UploadStage.NEW, UploadStage.TRYING)
    return is_whole and _outcomes_path(upload, came_in=upload.stage is UploadStage.DONE).exists()


def _outcomes_path(upload: ListUpload, *, came_in: bool) -> Path:
    """Return the path for the row results of an import or a dry run.

    A resumed import continues its file.
    """
    return upload.file.with_name(f"{upload.file.name}.{'outcomes' if came_in else 'would-be-outcomes'}")


def apply_column_meanings(
    upload: ListUpload, meanings: Sequence[ColumnMeaning], options: ImportOptions
) -> ImportOptions:
    """Return the options with the meanings of columns.

    The meanings are left out if they're the same as those derived from the headings.
    """
    recognized = tuple(column.meaning for column in upload.columns)
    return replace(options, columns=() if tuple(meanings) == recognized else tuple(meanings))
