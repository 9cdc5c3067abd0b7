"""Pages for sending an edition back, marking its notes as done, and comparing an approved version with the draft."""

from collections.abc import Callable, Sequence

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.approval import approval_overviews
from digest.app.editing import edit_application, edit_history, editing_state
from digest.app.editing.editing_state import EditingState
from digest.edition.approval.sent_back_notes import SentBackError
from digest.edition.content.edition_content import EditionContent
from digest.installation.action_words import name_actor
from digest.store.models import Edition, EditionState
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, get_actor_and_time
from digest.web.desk.approval.approval_page_data import ApprovalStatusView, build_approval_status_view
from digest.web.desk.edition.previews import build_preview_response
from digest.web.desk.outline.edit_sentences import create_sentence_writer

approval_pages = Blueprint("approvals", __name__, url_prefix="/desk/editions/<name>")


@approval_pages.app_errorhandler(SentBackError)
def answer_refused_note(error: SentBackError) -> ResponseReturnValue:
    """Show why a note was rejected or doesn't exist anymore, with a link back."""
    name = (request.view_args or {})["name"]
    back = url_for("desk.show_review_page", name=name)
    return render_template("web/desk/editing/edit_refused.html", name=name, why=str(error), back=back), 409


OpenNote = dict[str, object]


@approval_pages.app_context_processor
def provide_open_notes() -> dict[str, Callable[[], Sequence[OpenNote]]]:
    """Provide open notes to the desk's page layout. It shows them until they're done.

    The pages of an edition show only its own notes.
    """

    def open_notes() -> Sequence[OpenNote]:
        if not request.path.startswith("/desk"):
            return ()
        installation, arguments = get_app_state().installation, request.view_args or {}
        own = arguments.get("name") if request.path.startswith("/desk/editions/") else None
        notes = approval_overviews.list_all_open_notes(installation)
        names = staff.read_display_names(installation) if notes else {}
        return [
            {"note": note, "who": name_actor(note.actor, names), "edition": edition}
            for note, edition in notes
            if own in {None, "current", edition.name}
        ]

    return {"open_notes": open_notes}


def read_approval_status(
    edition: Edition, state: EditingState | None = None, *, for_review: bool = False
) -> ApprovalStatusView:
    """Return an edition's approval status for the signed-in user.

    `state` is its editing state, if already loaded. With `for_review`, the changes are those since
    the first draft if no version has been approved, and a moved story is compared with what it would
    have said in its new place.
    """
    app_state, viewer = get_app_state(), current_actor().name
    overview = approval_overviews.build_approval_overview(app_state.installation, edition)
    state = state or editing_state.find_editing_state(app_state.installation, edition)
    sections = app_state.settings.file.sections
    installation, seq = app_state.installation, overview.compared.edit_seq if overview.compared else 0
    reviewed = state if state and for_review and state.last_seq > seq else None
    return build_approval_status_view(
        overview,
        state,
        EditionContent.from_json(edition.content),
        writer=create_sentence_writer(state.arrangement, state.edits, sections) if state else None,
        sentences=tuple(approval_overviews.explain_approval_state(overview, viewer)),
        approver_summary=approval_overviews.explain_draft_approvers_briefly(overview, viewer),
        actor=viewer,
        first_draft=edit_history.build_first_draft_content(installation, reviewed)
        if reviewed and not overview.compared
        else None,
        in_place=edit_history.build_past_stories_in_place(installation, reviewed, seq) if reviewed else None,
    )


def _ask_before_revoking(name: str, note: str = "") -> ResponseReturnValue | None:
    """Return a page that asks before an approval is revoked, or `None` if the edition isn't approved."""
    overview = approval_overviews.read_approval_overview(get_app_state().installation, name)
    if overview.edition.state != EditionState.APPROVED:
        return None
    return render_template("web/desk/approval/revoke.html", overview=overview, note=note)


@approval_pages.get("/void")
def ask_before_revoking(name: str) -> ResponseReturnValue:
    """Ask whether to revoke an approval, which can't be undone."""
    return _ask_before_revoking(name) or redirect(url_for("desk.edition", name=name), 303)


@approval_pages.post("/send-back")
def send_back(name: str) -> ResponseReturnValue:
    """Send an edition back with a note. If that revokes an approval, ask first."""
    app_state = get_app_state()
    text = request.form.get("note", "")
    if text.strip() and "confirmed" not in request.form and (question := _ask_before_revoking(name, text)):
        return question
    approval_overviews.send_back_edition(app_state.installation, name, text, **get_actor_and_time())
    return redirect(url_for("desk.edition", name=name), 303)


@approval_pages.post("/notes/<int:note>/done")
def mark_note_done(name: str, note: int) -> ResponseReturnValue:
    """Mark a note as done."""
    app_state = get_app_state()
    approval_overviews.mark_note_done(app_state.installation, name, note, **get_actor_and_time())
    return redirect(url_for("desk.edition", name=name), 303)


@approval_pages.post("/update")
def update_draft_to_current_settings(name: str) -> ResponseReturnValue:
    """Update the draft to the current settings and program version, and redirect to its page or its review page."""
    updated = edit_application.apply_current_settings_to_draft(
        get_app_state().installation, name, **get_actor_and_time()
    )
    if request.form.get("back") == "edition":
        return redirect(url_for("desk.edition", name=name), 303)
    return redirect(url_for("desk.show_review_page", name=name, updated="yes" if updated else "no"), 303)


@approval_pages.get("/versions/<int:number>")
def show_version(name: str, number: int) -> ResponseReturnValue:
    """Show an approved version next to the current edition."""
    app_state = get_app_state()
    overview = approval_overviews.read_approval_overview(app_state.installation, name)
    version = overview.find_version(number)
    if version is None:
        abort(404, f"{overview.edition.name} has no version {number}.")
    return render_template(
        "web/desk/approval/version.html",
        edition=overview.edition,
        version=version,
        versions=overview.versions,
        names=overview.names,
    )


@approval_pages.get("/versions/<int:number>/mail")
def show_version_mail(name: str, number: int) -> Response:
    """Return the email of an approved version, to be shown in a frame at the desk."""
    html = approval_overviews.read_version_html(get_app_state().installation, name, number)
    if html is None:
        abort(404, f"{name} has no version {number}.")
    return build_preview_response(html, "phone")
