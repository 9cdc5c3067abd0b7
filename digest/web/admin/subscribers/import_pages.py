"""Lists that are brought in, for admins: uploaded, mapped, tried without writing, imported, gone on with, taken back."""

from pathlib import Path
from typing import Annotated

from flask import abort, get_template_attribute, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from digest.app.subscribers import import_undo, list_transfers, uploads
from digest.app.subscribers.upload_files import ListUpload, UploadStage
from digest.app.subscribers.uploads import UnknownUploadError
from digest.installation.action_reasons import read_optional_reason
from digest.web.admin.blueprint import (
    admin_pages,
    get_installation_actor_and_time,
    make_download_response,
    refresh_page,
    require_number_typed_to_confirm,
)
from digest.web.auth.access import current_staff
from digest.web.context import web_context
from digest.web.forms import Count, FormOrQueryModel, ReasonForm, make_field_validator, read_form, read_query
from subscribers.errors import RefusalError
from subscribers.transfer.decisions import RowReason
from subscribers.transfer.formats import DEPARTURE_STATUSES, EXPORT_FORMATS, ColumnMeaning, ImportedSubscriberStatus
from subscribers.transfer.options import ImportOptions

REFRESH_SECONDS = 2  # between two looks of the page at work that runs; it works without scripts


@admin_pages.get("/import")
def list_imports() -> ResponseReturnValue:
    """Show the form that takes a list, what was uploaded, and what came in before."""
    return _imports_page()


@admin_pages.post("/import")
def upload_list() -> ResponseReturnValue:
    """Take a list in, look at it, and lead to its page. Nothing is imported."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _imports_page(refusal=uploads.UploadError("Choose a file first.")), 400
    try:
        installation, actor, now = get_installation_actor_and_time()
        upload = web_context().uploads.receive(installation, actor, file.filename, file.stream, now=now)
    except RefusalError as exc:
        return _imports_page(refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=upload.name), 303)


@admin_pages.get("/import/<name>")
def show_upload(name: str) -> ResponseReturnValue:
    """Show an upload by its steps: columns, dry run, import, what was left out."""
    upload = _find_upload(name)
    return refresh_page(_upload_page(upload), every_seconds=REFRESH_SECONDS if upload.is_running else 0)


@admin_pages.post("/import/<name>/<any(try, commit):step>")
def run_upload_step(name: str, step: str) -> ResponseReturnValue:
    """Try a list without writing anything, with the columns and choices of the form; or import it as it was tried."""
    upload, commits = _find_upload(name), step == "commit"
    try:
        if commits and upload.stage not in (UploadStage.TRIED, UploadStage.STOPPED, UploadStage.FAILED):
            raise uploads.UploadError("This list hasn't been checked yet. Start a dry run first.")
        options = upload.options if commits else _read_options(upload)
        installation, actor, now = get_installation_actor_and_time()
        web_context().uploads.begin(installation, actor, name, options, commit=commits, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/stop")
def stop_upload(name: str) -> ResponseReturnValue:
    """Stop what is being done with a list: an import can go on later."""
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    web_context().uploads.stop(installation, actor, name, now=now)
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/remove")
def remove_upload(name: str) -> ResponseReturnValue:
    """Remove an uploaded file; who came in by it stays."""
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    try:
        web_context().uploads.remove(installation, actor, name, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return redirect(url_for("admin.list_imports"), 303)


@admin_pages.post("/import/<name>/outcomes")
def download_row_outcomes(name: str) -> ResponseReturnValue:
    """Give what every row comes to and why as a CSV file that no spreadsheet executes."""
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    words = _read_outcome_words()
    try:
        pieces = uploads.stream_row_outcomes(
            installation, web_context().uploads, actor, name, words.__getitem__, now=now
        )
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return make_download_response(pieces, "text/csv", "rows.csv")


@admin_pages.post("/import/<name>/rejected")
def download_rejected_rows(name: str) -> ResponseReturnValue:
    """Give the rows that are left out, whole, as a CSV file that can be corrected and imported."""
    installation, actor, now = get_installation_actor_and_time()
    upload = _find_upload(name)
    try:
        pieces = uploads.take_rejected_rows(installation, web_context().uploads, actor, name, now=now)
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    # What the rows are may be in the start of the file's name (unsubscribed_…).
    return make_download_response(pieces, "text/csv", f"{Path(upload.uploaded_name).stem}-skipped.csv")


def _read_outcome_words() -> dict[RowReason, str]:
    """Return what rows are, by reason, in the words under which the page counts them."""
    row_outcome = get_template_attribute("web/admin/subscribers/import_words.html", "row_outcome")
    return {reason: str(row_outcome(reason)) for reason in RowReason}


@admin_pages.post("/import/unfinished/<int(max=2147483647):batch>/abandon")
def abandon_import(batch: int) -> ResponseReturnValue:
    """Take an import back that is not finished, with everybody whom it alone brought."""
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
    """Take a finished import back; a long one goes on behind the page."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(ReasonForm)
        require_number_typed_to_confirm(batch)
        is_over = import_undo.begin_undo(installation, actor, batch, form.reason, now=now)
    except RefusalError as exc:
        return _undo_page(batch, refusal=exc), 409
    shown = url_for("admin.list_imports", taken_back=batch) if is_over else url_for("admin.list_imports", undoing=batch)
    return redirect(shown, 303)


def _undo_page(batch: int, *, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    try:
        preview = import_undo.preview_undo(installation, actor, batch, now=now)
    except RefusalError as exc:
        abort(404, str(exc))
    fresh = current_staff().is_fresh(now)
    return render_template("web/admin/subscribers/import_undo.html", preview=preview, fresh=fresh, refusal=refusal)


def _find_upload(name: str) -> ListUpload:
    installation, actor, now = get_installation_actor_and_time()
    try:
        return web_context().uploads.find(installation, actor, name, now=now)
    except UnknownUploadError as exc:
        abort(404, str(exc))


class OptionsForm(FormOrQueryModel):
    """The choices for a whole list; its columns and the meanings of its words are in fields that depend on the list."""

    whole: ImportedSubscriberStatus | None = None
    attest: Annotated[str, make_field_validator(read_optional_reason)] = ""
    need_network: bool = False
    leave_out_slips: bool = False


def _read_options(upload: ListUpload) -> ImportOptions:
    """Read the columns and choices of the form.

    Raises:
        RefusalError: they make no sense; the message says what to choose.
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
    """The number of the import that was just taken back, or of which that goes on; 0 for none."""

    taken_back: Count = 0
    undoing: Count = 0


def _imports_page(*, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    return render_template(
        "web/admin/subscribers/imports.html",
        uploads=web_context().uploads.list_all(installation, actor, now=now),
        view=list_transfers.view_imports(installation, actor, now=now),
        fresh=current_staff().is_fresh(now),
        services=[form.origin for form in EXPORT_FORMATS],
        refusal=refusal,
        now=now,
        query=read_query(ImportsQuery),
    )


def _upload_page(upload: ListUpload, *, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    batch = upload.found.get("batch")
    return render_template(
        "web/admin/subscribers/upload.html",
        upload=upload,
        has_outcomes=uploads.has_row_outcomes(upload),
        departures=[status for status in ImportedSubscriberStatus if status in DEPARTURE_STATUSES],
        finished_import=list_transfers.find_finished_import(installation, actor, batch, now=now) if batch else None,
        fresh=current_staff().is_fresh(now),
        now=now,
        refusal=refusal,
        meanings=list(ColumnMeaning),
        parts=list_transfers.list_parts(installation),
        statuses=list(ImportedSubscriberStatus),
        without_consent=[form.origin for form in EXPORT_FORMATS if not form.exports_consent],
    )
