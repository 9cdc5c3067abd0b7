"""Import pages for admins: upload, columns, dry run, import, and undo."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from flask import Response, abort, get_template_attribute, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from digest.app.subscribers import import_undo, list_transfers, uploads
from digest.app.subscribers.upload_files import EXAMPLE_ROWS, ListUpload, UploadStage
from digest.app.subscribers.uploads import UnknownUploadError
from digest.installation.action_reasons import read_optional_reason
from digest.web.admin.blueprint import (
    admin_pages,
    get_installation_actor_and_time,
    make_download_response,
    refresh_page,
    require_number_typed_to_confirm,
)
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from digest.web.forms import Count, FormOrQueryModel, ReasonForm, make_field_validator, read_form, read_query
from subscribers.errors import RefusalError
from subscribers.import_names import PLAIN_LIST
from subscribers.pages.preferences_form import OfferedPreferences
from subscribers.transfer.decisions import RowReason
from subscribers.transfer.formats import DEPARTURE_STATUSES, EXPORT_FORMATS, ColumnMeaning, ImportedSubscriberStatus
from subscribers.transfer.import_undo import UndoResult
from subscribers.transfer.options import ImportOptions

# The seconds between reloads of the page while a step is running. No script is needed.
REFRESH_SECONDS = 2


@admin_pages.get("/import")
def list_imports() -> ResponseReturnValue:
    """Show the upload form, the uploaded lists, and earlier imports."""
    return _imports_page()


@admin_pages.post("/import")
def upload_list() -> ResponseReturnValue:
    """Store and survey an uploaded list, and redirect to its page.

    Nothing is imported.
    """
    file = request.files.get("file")
    if file is None or not file.filename:
        return _imports_page(refusal=uploads.UploadError("Choose a file first.")), 400
    try:
        installation, actor, now = get_installation_actor_and_time()
        upload = get_app_state().uploads.receive(installation, actor, file.filename, file.stream, now=now)
    except RefusalError as exc:
        return _imports_page(refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=upload.name), 303)


@admin_pages.get("/import/<name>")
def show_upload(name: str) -> ResponseReturnValue:
    """Show an upload and its steps: columns, dry run, import, and skipped rows."""
    upload = _find_upload(name)
    return refresh_page(_upload_page(upload), every_seconds=REFRESH_SECONDS if upload.is_running else 0)


@admin_pages.post("/import/<name>/<any(try, commit):step>")
def run_upload_step(name: str, step: str) -> ResponseReturnValue:
    """Start a dry run with the choices in the form, or start the import.

    The list is only imported if the last dry run had the same choices.
    """
    upload, commits = _find_upload(name), step == "commit"
    options = upload.options
    try:
        if commits and upload.stage not in (UploadStage.TRIED, UploadStage.STOPPED, UploadStage.FAILED):
            raise uploads.UploadError("This list hasn't been checked yet. Start a dry run first.")
        if upload.stage is not UploadStage.STOPPED:  # a stopped import continues with its own choices
            options = _read_options(upload)
        if commits and options != upload.options:
            raise uploads.UploadError("Your choices changed. Repeat the dry run.")
        installation, actor, now = get_installation_actor_and_time()
        get_app_state().uploads.begin(installation, actor, name, options, commit=commits, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), options, refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/stop")
def stop_upload(name: str) -> ResponseReturnValue:
    """Stop a running step of an uploaded list.

    An import can be continued later.
    """
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    get_app_state().uploads.stop(installation, actor, name, now=now)
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/remove")
def remove_upload(name: str) -> ResponseReturnValue:
    """Delete the files of an uploaded list.

    Imported people aren't removed.
    """
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    try:
        get_app_state().uploads.remove(installation, actor, name, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return redirect(url_for("admin.list_imports"), 303)


@admin_pages.post("/import/<name>/outcomes")
def download_row_outcomes(name: str) -> ResponseReturnValue:
    """Return each row's outcome and reason as CSV that can't contain formulas."""
    installation, actor, now = get_installation_actor_and_time()
    upload, words = _find_upload(name), _read_outcome_words()
    try:
        pieces = uploads.stream_row_outcomes(
            installation, get_app_state().uploads, actor, name, words.__getitem__, now=now
        )
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return make_download_response(pieces, "text/csv", f"{Path(upload.uploaded_name).stem}-rows.csv")


@admin_pages.post("/import/<name>/rejected")
def download_rejected_rows(name: str) -> ResponseReturnValue:
    """Return the complete skipped rows as CSV, so that they can be corrected and imported."""
    installation, actor, now = get_installation_actor_and_time()
    upload = _find_upload(name)
    try:
        pieces = uploads.stream_rejected_rows(installation, get_app_state().uploads, actor, name, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    # The start of the file's name may contain the status of the rows (unsubscribed_…).
    return make_download_response(pieces, "text/csv", f"{Path(upload.uploaded_name).stem}-skipped.csv")


def _read_outcome_words() -> dict[RowReason, str]:
    """Return the wording of row outcomes, by reason, as shown next to the counts."""
    row_outcome = get_template_attribute("web/admin/subscribers/import_words.html", "row_outcome")
    return {reason: str(row_outcome(reason)) for reason in RowReason}


@admin_pages.post("/import/unfinished/<int(max=2147483647):batch>/abandon")
def abandon_import(batch: int) -> ResponseReturnValue:
    """Undo an unfinished import, and remove the people added only by it."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        require_number_typed_to_confirm(batch)
        list_transfers.abandon_import(installation, actor, batch, now=now)
    except RefusalError as exc:
        return _imports_page(refusal=exc), 409
    return redirect(url_for("admin.list_imports", taken_back=batch), 303)


@admin_pages.get("/import/finished/<int(max=2147483647):batch>/undo")
def show_import_undo(batch: int) -> ResponseReturnValue:
    """Show what undoing a finished import would do."""
    return _undo_page(batch)


@admin_pages.post("/import/finished/<int(max=2147483647):batch>/undo")
def undo_import(batch: int) -> ResponseReturnValue:
    """Undo a finished import, and redirect to the list of imports.

    If it takes long, it continues in the background.
    """
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(ReasonForm)
        require_number_typed_to_confirm(batch)
        undone = import_undo.begin_undo(installation, actor, batch, form.reason, now=now)
    except RefusalError as exc:
        return _undo_page(batch, refusal=exc), 409
    if undone is None:
        return redirect(url_for("admin.list_imports", undoing=batch), 303)
    page = url_for(
        "admin.list_imports",
        taken_back=batch,
        removed=undone.removed,
        earlier=undone.earlier,
        active=undone.active,
        departed=undone.departed,
    )
    return redirect(page, 303)


def _undo_page(batch: int, *, refusal: RefusalError | None = None) -> Response:
    installation, actor, now = get_installation_actor_and_time()
    try:
        preview = import_undo.begin_preview(installation, actor, batch, now=now)
    except RefusalError as exc:
        abort(404, str(exc))
    page = render_template(
        "web/admin/subscribers/import_undo.html",
        batch=batch,
        preview=preview,
        fresh=current_staff().is_fresh(now),
        refusal=refusal,
    )
    # If the page were reloaded, the refusal would disappear.
    return refresh_page(page, every_seconds=0 if preview or refusal else REFRESH_SECONDS)


def _find_upload(name: str) -> ListUpload:
    installation, actor, now = get_installation_actor_and_time()
    try:
        return get_app_state().uploads.find(installation, actor, name, now=now)
    except UnknownUploadError as exc:
        abort(404, str(exc))


class OptionsForm(FormOrQueryModel):
    """The options that apply to an import as a whole.

    The meanings of columns, states, and tags are in fields that depend on the list.
    """

    whole: ImportedSubscriberStatus | None = None
    attest: Annotated[str, make_field_validator(read_optional_reason)] = ""
    need_network: bool = False
    leave_out_slips: bool = False


def _read_options(upload: ListUpload) -> ImportOptions:
    """Return the columns and options from the form.

    Raises:
        RefusalError: they're inconsistent; the message says what to choose.
    """
    form = request.form
    filled = {name: value for name, value in form.items() if value}
    choices = read_form(OptionsForm, MultiDict(filled))
    columns = [form.get(f"column-{place}", "") for place in range(len(upload.columns))]
    try:
        meanings = tuple(map(ColumnMeaning, columns))
        words = {
            form.get(field.replace("means-", "word-"), ""): ImportedSubscriberStatus(status)
            for field, status in form.items()
            if field.startswith("means-") and status
        }
        tags = {
            form.get(field.replace("part-", "tag-"), ""): part
            for field, part in filled.items()
            if field.startswith("part-")
        }
    except ValueError:
        raise uploads.UploadError("The form no longer matches the file. Reload the page.") from None
    options = ImportOptions(
        attest_reason=choices.attest or None,
        file_status=choices.whole if choices.whole in DEPARTURE_STATUSES else None,
        need_network=choices.need_network,
        words=tuple(sorted(words.items())),
        tags=tuple(sorted(tags.items())),
        leave_out_slips=choices.leave_out_slips,
    )
    return uploads.apply_column_meanings(upload, meanings, options)


class ImportsQuery(FormOrQueryModel):
    """The numbers of the imports that were just undone and are being undone, or 0, and of the people removed and kept."""

    taken_back: Count = 0
    removed: Count | None = None
    earlier: Count = 0
    active: Count = 0
    departed: Count = 0
    undoing: Count = 0

    @property
    def kept_sentence(self) -> str:
        """A sentence that says who was kept and why, or an empty string if no one was."""
        return UndoResult(earlier=self.earlier, active=self.active, departed=self.departed).kept_sentence


def _imports_page(*, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    return render_template(
        "web/admin/subscribers/imports.html",
        uploads=get_app_state().uploads.list_all(installation, actor, now=now),
        view=list_transfers.view_imports(installation, actor, now=now),
        fresh=current_staff().is_fresh(now),
        services=[form.origin for form in EXPORT_FORMATS],
        plain_list=PLAIN_LIST,
        refusal=refusal,
        now=now,
        query=read_query(ImportsQuery),
    )


def _upload_page(
    upload: ListUpload, options: ImportOptions | None = None, *, refusal: RefusalError | None = None
) -> str:
    """Return the page that shows an upload and its next step.

    Its form shows `options`, or those of the last dry run.
    """
    installation, actor, now = get_installation_actor_and_time()
    batch = upload.found.get("batch")
    return render_template(
        "web/admin/subscribers/upload.html",
        upload=upload,
        chosen=replace(upload, options=options or upload.options),
        has_outcomes=uploads.has_row_outcomes(upload),
        departures=[status for status in ImportedSubscriberStatus if status in DEPARTURE_STATUSES],
        finished_import=list_transfers.find_finished_import(installation, actor, batch, now=now) if batch else None,
        fresh=current_staff().is_fresh(now),
        now=now,
        refusal=refusal,
        meanings=list(ColumnMeaning),
        plain_list=PLAIN_LIST,
        example_rows=EXAMPLE_ROWS,
        confirmation_label=ColumnMeaning.CONFIRMED_AT.label,
        offered=OfferedPreferences(parts=list_transfers.list_sections_and_topics(installation)),
        statuses=list(ImportedSubscriberStatus),
        without_consent=[form.origin for form in EXPORT_FORMATS if not form.exports_consent],
    )
