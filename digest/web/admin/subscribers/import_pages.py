"""Lists that are brought in, for admins: uploaded, mapped, tried without writing, imported, gone on with, taken back."""

from typing import Any

from flask import Response, abort, get_template_attribute, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import lists, uploads
from digest.app.subscribers.upload_files import ListUpload, UploadStage
from digest.app.subscribers.uploads import UnknownUploadError
from digest.installation.reasons import ReasonError, read_reason
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from subscribers.errors import RefusalError
from subscribers.transfer.decisions import RowReason
from subscribers.transfer.formats import DEPARTURE_STATUSES, ColumnMeaning, RowStatus
from subscribers.transfer.options import ImportOptions

REFRESH_SECONDS = 2  # between two looks of the page at work that runs; it works without scripts


@admin_pages.get("/import")
def list_imports() -> ResponseReturnValue:
    """Show the form that takes a list, what was uploaded, and what came in before."""
    return _imports_page()


@admin_pages.post("/import")
def upload_list() -> ResponseReturnValue:
    """Take a list in, look at it, and lead to its page. Nothing is imported."""
    context, file = web_context(), request.files.get("file")
    if file is None or not file.filename:
        return _imports_page(refusal=uploads.UploadError("Choose a file first.")), 400
    try:
        upload = context.uploads.receive(
            context.installation, current_actor(), file.filename, file.stream, now=context.clock()
        )
    except RefusalError as exc:
        return _imports_page(refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=upload.name), 303)


@admin_pages.get("/import/<name>")
def show_upload(name: str) -> ResponseReturnValue:
    """Show an upload by its steps: columns, dry run, import, what was left out."""
    upload = _find_upload(name)
    answer = make_response(_upload_page(upload))
    if upload.is_running:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@admin_pages.post("/import/<name>/<any(try, commit):step>")
def work_on_upload(name: str, step: str) -> ResponseReturnValue:
    """Try a list without writing anything, with the columns and choices of the form; or import it as it was tried."""
    context, upload = web_context(), _find_upload(name)
    try:
        if step == "commit" and upload.stage not in (UploadStage.TRIED, UploadStage.STOPPED, UploadStage.FAILED):
            raise uploads.UploadError("Try the list first: nothing is imported that nobody has looked at.")
        options = upload.options if step == "commit" else _read_options(upload)
        context.uploads.begin(
            context.installation, current_actor(), name, options, commit=step == "commit", now=context.clock()
        )
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 400
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/stop")
def stop_upload(name: str) -> ResponseReturnValue:
    """Stop what is being done with a list: an import can go on later."""
    context = web_context()
    _find_upload(name)
    context.uploads.stop(context.installation, current_actor(), name, now=context.clock())
    return redirect(url_for("admin.show_upload", name=name), 303)


@admin_pages.post("/import/<name>/remove")
def remove_upload(name: str) -> ResponseReturnValue:
    """Remove an uploaded file; who came in by it stays."""
    context = web_context()
    _find_upload(name)
    try:
        context.uploads.remove(context.installation, current_actor(), name, now=context.clock())
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return redirect(url_for("admin.list_imports"), 303)


@admin_pages.post("/import/<name>/<any(outcomes, rejected):which>")
def take_row_outcomes(name: str, which: str) -> ResponseReturnValue:
    """Give what every row comes to and why, or those alone that are left out, as a CSV file that no spreadsheet executes."""
    context, left_out = web_context(), which == "rejected"
    _find_upload(name)
    try:
        pieces = uploads.write_row_outcomes(
            context.installation,
            context.uploads,
            current_actor(),
            name,
            _read_outcome_words().__getitem__,
            left_out=left_out,
            now=context.clock(),
        )
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    answer = Response(pieces, mimetype="text/csv")
    answer.headers["Content-Disposition"] = f'attachment; filename="{"left-out" if left_out else "rows"}.csv"'
    return answer


def _read_outcome_words() -> dict[RowReason, str]:
    """Return what rows are, by reason, in the words under which the page counts them."""
    row_outcome = get_template_attribute("web/admin/subscribers/import_words.html", "row_outcome")
    return {reason: str(row_outcome(reason)) for reason in RowReason}


@admin_pages.post("/import/unfinished/<int(max=2147483647):batch>/abandon")
def abandon_import(batch: int) -> ResponseReturnValue:
    """Take an import back that is not finished, with everybody whom it alone brought."""
    context = web_context()
    try:
        if request.form.get("number", "").strip() != str(batch):
            raise ReasonError(f"Type the number {batch}, so that nothing is taken back by a slip.")
        lists.abandon_import(context.installation, current_actor(), batch, now=context.clock())
    except RefusalError as exc:
        return _imports_page(refusal=exc), 409
    return redirect(url_for("admin.list_imports", taken_back=batch), 303)


def _find_upload(name: str) -> ListUpload:
    context = web_context()
    try:
        return context.uploads.find(context.installation, current_actor(), name, now=context.clock())
    except UnknownUploadError as exc:
        abort(404, str(exc))


def _read_options(upload: ListUpload) -> ImportOptions:
    """Read the columns and choices of the form.

    Raises:
        RefusalError: they make no sense; the message says what to choose.
    """
    form = request.form
    try:
        meanings = tuple(ColumnMeaning(form.get(f"column-{n}", "")) for n in range(len(upload.columns)))
        words = {
            form.get(field.replace("means-", "word-"), ""): RowStatus(status)
            for field, status in form.items()
            if field.startswith("means-") and status
        }
        whole = RowStatus(form["whole"]) if form.get("whole") else None
    except ValueError:
        raise uploads.UploadError("The form does not fit the file: open this page anew.") from None
    attested = form.get("attest", "").strip()
    options = ImportOptions(
        attest_reason=read_reason(attested) if attested else None,
        file_status=whole if whole in DEPARTURE_STATUSES else None,
        need_network="need_network" in form,
        words=tuple(sorted(words.items())),
        leave_out_slips="leave_out_slips" in form,
    )
    return uploads.map_columns(upload, meanings, options)


def _imports_page(*, refusal: RefusalError | None = None) -> str:
    context, actor = web_context(), current_actor()
    now = context.clock()
    taken_back = request.args.get("taken_back", "")
    return render_template(
        "web/admin/subscribers/imports.html",
        uploads=context.uploads.list_all(context.installation, actor, now=now),
        view=lists.view_imports(context.installation, actor, now=now),
        fresh=current_staff().is_fresh(now),
        refusal=refusal,
        taken_back=taken_back if taken_back.isdigit() else "",
    )


def _upload_page(upload: ListUpload, *, refusal: RefusalError | None = None) -> str:
    settings: dict[str, Any] = {"meanings": list(ColumnMeaning), "statuses": list(RowStatus)}
    return render_template(
        "web/admin/subscribers/upload.html",
        upload=upload,
        has_outcomes=uploads.has_row_outcomes(upload),
        departures=[status for status in RowStatus if status in DEPARTURE_STATUSES],
        fresh=current_staff().is_fresh(web_context().clock()),
        refusal=refusal,
        **settings,
    )
