"""Corrections of an edition at the desk: the text, the recipients of the error, and the approval of the email."""

from collections.abc import Mapping

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.approval import correction_emails
from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionError, CorrectionForm
from digest.edition.archive.corrections import CorrectedField
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, get_actor_and_time
from digest.web.desk.editing.editing_pages import read_edition_name_from_url
from digest.web.desk.edition.previews import build_preview_response
from digest.web.desk.outline.changed_texts import compare_texts

# The seconds between reloads of the page while people are being counted. No script is needed.
REFRESH_SECONDS = 1

correction_pages = Blueprint("corrections", __name__, url_prefix="/desk/editions/<name>/corrections")


@correction_pages.get("")
def show_corrections(name: str) -> ResponseReturnValue:
    """Show the corrections of an edition, and the form for one of its stories."""
    return _corrections_page(name)


def _corrections_page(name: str, *, refusal: str = "") -> str:
    desk = corrections.view_corrections(get_app_state().installation, name)
    chosen = request.values.get("story", "")
    story = next((correctable for correctable in desk.stories if correctable.url == chosen), None)
    return render_template(
        "web/desk/editing/corrections.html",
        desk=desk,
        story=story,
        field=_read_field(request.values),
        form=request.form,
        compare=compare_texts,
        refusal=refusal,
    )


def _read_field(values: Mapping[str, str]) -> CorrectedField:
    return "summary" if values.get("field") == "summary" else "headline"


@correction_pages.post("")
def submit_correction(name: str) -> ResponseReturnValue:
    """Correct a text, and redirect to the recipients of the error."""
    installation, fields = get_app_state().installation, request.form
    form = CorrectionForm(
        url=fields.get("story", ""),
        field=_read_field(fields),
        becomes=fields.get("becomes", ""),
        note=fields.get("note", ""),
        is_carried=fields.get("carry") == "on",
    )
    try:
        correction = corrections.correct_story(installation, name, form, **get_actor_and_time())
    except CorrectionError as exc:
        return _corrections_page(name, refusal=str(exc)), 422
    return redirect(url_for("corrections.show_correction_recipients", name=name, number=correction.seq), 303)


@correction_pages.get("/<int:number>")
def show_correction_recipients(name: str, number: int) -> ResponseReturnValue:
    """Show a correction, how many people received the error, and who has to approve the email before it's sent."""
    return _recipients_page(name, number)


def _recipients_page(name: str, number: int, *, refusal: str = "") -> Response:
    app_state = get_app_state()
    counted = app_state.recipient_counts.find_or_begin(app_state.installation, name, number, now=app_state.clock())
    is_done = counted.count.is_done  # before its numbers are read, because the count may end in between
    page = render_template(
        "web/desk/editing/correction.html",
        counted=counted,
        is_done=is_done,
        subject=correction_emails.compose_sample_correction(app_state.installation, name, number).subject,
        compare=compare_texts,
        refusal=refusal,
        viewer=current_actor().name,
    )
    answer = make_response(page)
    if not is_done:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@correction_pages.get("/<int:number>/email")
def show_correction_email(name: str, number: int) -> Response:
    """Return the email of a correction as subscribers receive it, to be shown in a frame."""
    sample = correction_emails.compose_sample_correction(get_app_state().installation, name, number)
    return build_preview_response(sample.html, "phone")


@correction_pages.post("/<int:number>")
def email_correction(name: str, number: int) -> ResponseReturnValue:
    """Approve the email of the correction that the form identifies by `mark`.

    Without a mark, request approval.
    """
    installation, mark = get_app_state().installation, request.form.get("mark", "")
    try:
        if mark:
            correction_emails.approve_correction_email(installation, name, number, mark, **get_actor_and_time())
        else:
            correction_emails.request_correction_email(installation, name, number, **get_actor_and_time())
    except CorrectionError as exc:
        return _recipients_page(name, number, refusal=str(exc)), 409
    return redirect(url_for("corrections.show_correction_recipients", name=name, number=number), 303)


@correction_pages.errorhandler(CorrectionError)
def answer_unknown_correction(error: CorrectionError) -> ResponseReturnValue:
    """Show that the correction doesn't exist, with a link back."""
    name = read_edition_name_from_url()
    back = url_for("corrections.show_corrections", name=name)
    return render_template("web/desk/editing/edit_refused.html", name=name, why=str(error), back=back), 404
