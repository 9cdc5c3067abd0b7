"""Suppression lists for admins: exporting the list, and uploading, checking, and adopting another installation's."""

import tempfile
from contextlib import nullcontext

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import suppression_lists
from digest.app.subscribers.list_transfers import read_pieces
from digest.app.subscribers.upload_files import ListUpload
from digest.app.subscribers.uploads import UnknownUploadError, UploadError
from digest.web.admin.blueprint import (
    admin_pages,
    get_installation_actor_and_time,
    make_download_response,
    refresh_page,
)
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from digest.web.forms import Reason, ReasonForm, read_form
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError
from subscribers.transfer.exports import ExportRecipient

REFRESH_SECONDS = 2


class SuppressionExportForm(ReasonForm):
    """The reason for the export, and the recipient."""

    to: Reason = ""


@admin_pages.get("/readers/suppressions")
def show_suppression_lists() -> ResponseReturnValue:
    """Show the forms for exporting the list and uploading a file, and the uploaded files."""
    return _lists_page()


@admin_pages.post("/readers/suppressions/export")
def export_suppression_list() -> ResponseReturnValue:
    """Return the suppression list as an encrypted file."""
    installation, actor, now = get_installation_actor_and_time()
    # The file has no name, and is deleted once it's sent.
    file = tempfile.TemporaryFile("w+b", dir=installation.settings.home)  # noqa: SIM115 - sent below
    try:
        form, passphrase = read_form(SuppressionExportForm), _read_passphrase()
        suppression_lists.export_suppression_list(
            installation, actor, nullcontext(file), ExportRecipient(form.to, form.reason), passphrase, now=now
        )
    except RefusalError as exc:
        file.close()
        return _lists_page(refusal=exc), 400
    day = now.astimezone(get_app_state().zone).date()
    return make_download_response(read_pieces(file), "application/octet-stream", f"suppressions-{day}.age")


def _read_passphrase() -> str:
    """Return the new passphrase as it was typed, including spaces.

    Raises:
        FormError: the two entries differ.
    """
    passphrase = request.form.get("passphrase", "")
    if passphrase != request.form.get("repeated", ""):
        raise FormError({"repeated": "The passphrases differ. Type the same one twice."})
    return passphrase


@admin_pages.post("/readers/suppressions")
def upload_suppression_file() -> ResponseReturnValue:
    """Store an uploaded suppression list, and redirect to its page.

    Nothing is adopted.
    """
    file = request.files.get("file")
    if file is None or not file.filename:
        return _lists_page(upload_refusal=UploadError("Choose a file first.")), 400
    installation, actor, now = get_installation_actor_and_time()
    upload = suppression_lists.receive_suppression_file(
        installation, get_app_state().uploads, actor, file.stream, now=now
    )
    return redirect(url_for("admin.show_suppression_upload", name=upload.name), 303)


def _lists_page(*, refusal: RefusalError | None = None, upload_refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    return render_template(
        "web/admin/subscribers/suppressions.html",
        uploads=get_app_state().uploads.list_all(installation, actor, now=now, kind="suppressions"),
        refusal=refusal,
        upload_refusal=upload_refusal,
        fresh=current_staff().is_fresh(now),
    )


@admin_pages.get("/readers/suppressions/<name>")
def show_suppression_upload(name: str) -> ResponseReturnValue:
    """Show an uploaded file: the dry run, the adoption, and the result."""
    upload = _find_upload(name)
    return refresh_page(_upload_page(upload), every_seconds=REFRESH_SECONDS if upload.is_running else 0)


@admin_pages.post("/readers/suppressions/<name>/<any(try, commit):step>")
def run_suppression_step(name: str, step: str) -> ResponseReturnValue:
    """Start a dry run of a file, or adopt its entries."""
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    try:
        reason = read_form(ReasonForm).reason if step == "commit" else ""
        passphrase = request.form.get("passphrase", "")
        suppression_lists.begin_suppression_step(
            installation, get_app_state().uploads, actor, name, passphrase, reason, commit=step == "commit", now=now
        )
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 400
    return redirect(url_for("admin.show_suppression_upload", name=name), 303)


@admin_pages.post("/readers/suppressions/<name>/stop")
def stop_suppression_step(name: str) -> ResponseReturnValue:
    """Stop a running step of an uploaded suppression list.

    The adoption can be continued later.
    """
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    get_app_state().uploads.stop(installation, actor, name, now=now, kind="suppressions")
    return redirect(url_for("admin.show_suppression_upload", name=name), 303)


@admin_pages.post("/readers/suppressions/<name>/remove")
def remove_suppression_upload(name: str) -> ResponseReturnValue:
    """Delete the files of an uploaded suppression list.

    Adopted entries are kept.
    """
    installation, actor, now = get_installation_actor_and_time()
    _find_upload(name)
    try:
        get_app_state().uploads.remove(installation, actor, name, now=now, kind="suppressions")
    except RefusalError as exc:
        return _upload_page(_find_upload(name), refusal=exc), 409
    return redirect(url_for("admin.show_suppression_lists"), 303)


def _find_upload(name: str) -> ListUpload:
    installation, actor, now = get_installation_actor_and_time()
    try:
        return get_app_state().uploads.find(installation, actor, name, now=now, kind="suppressions")
    except UnknownUploadError as exc:
        abort(404, str(exc))


def _upload_page(upload: ListUpload, *, refusal: RefusalError | None = None) -> str:
    return render_template(
        "web/admin/subscribers/suppression_upload.html",
        upload=upload,
        fresh=current_staff().is_fresh(get_app_state().clock()),
        refusal=refusal,
    )
