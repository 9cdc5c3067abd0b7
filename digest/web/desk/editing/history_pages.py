"""The history of an edition at the desk: looking at any moment of it, taking back one act, bringing a moment back."""

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.editing import edit_history, edit_reversal
from digest.app.editing.editing_state import EditRefusedError
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from digest.web.desk.editing.editing_pages import UnseenApprovalError, approved_meanwhile_page, read_edit_form
from digest.web.desk.edition.previews import preview_response
from digest.web.desk.outline.edit_history import HistoryQuery, tell_history

history_pages = Blueprint("history", __name__, url_prefix="/desk/editions/<name>/history")


@history_pages.errorhandler(EditRefusedError)
def answer_refused_act(error: EditRefusedError) -> ResponseReturnValue:
    """Say why an act could not be done, and lead back."""
    name = (request.view_args or {})["name"]
    # Where the history itself cannot be shown, the edition is the way on.
    back = url_for("desk.edition" if request.method == "GET" else "history.show_history", name=name)
    return render_template("web/desk/editing/edit_refused.html", name=name, why=str(error), back=back), 409


@history_pages.errorhandler(UnseenApprovalError)
def ask_before_voiding(_: UnseenApprovalError) -> ResponseReturnValue:
    """Ask whether an approval that the page did not show is to be taken back by the act."""
    return approved_meanwhile_page(url_for("history.show_history", name=(request.view_args or {})["name"])), 409


@history_pages.get("")
def show_history(name: str) -> ResponseReturnValue:
    """Show what was done to an edition, and one moment of it beside."""
    context, query = web_context(), read_history_query(request.args.to_dict())
    history = edit_history.read_edition_history(context.installation, name)
    sections = context.settings.file.sections
    page = tell_history(history, query, sections, context.zone, current_actor().name)
    return render_template(
        "web/desk/editing/history.html",
        edition=history.edition,
        state=history.state,
        can_change=history.can_change,
        page=page,
        asked=query,
        sections=sections,
    )


def read_history_query(values: dict[str, str]) -> HistoryQuery:
    """Read what is asked for; anything unknown is the default."""
    return HistoryQuery(
        moment=_read_number(values.get("moment", "")),
        who=values.get("who", "")[:100],
        section=values.get("section", "")[:100],
        whole=values.get("whole") == "1",
        from_review=values.get("back") == "review",
    )


def _read_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


@history_pages.get("/<int:seq>/mail")
def show_moment(name: str, seq: int) -> Response:
    """Return the mail as it would have been after an edit."""
    return preview_response(edit_history.render_moment(web_context().installation, name, seq), "phone")


@history_pages.post("/undo")
def undo_edit(name: str) -> ResponseReturnValue:
    """Take back one act of the history, whoever did it."""
    installation, form = web_context().installation, read_edit_form(name)
    seq = _read_number(request.form.get("edit", ""))
    if seq is None:
        raise EditRefusedError("Nothing was undone: choose the change first.")
    result = edit_reversal.undo_edit(installation, form, seq)
    if result.conflict:
        raise EditRefusedError(
            "Nothing was undone: somebody has changed the same thing since this page was opened. Look at it again first."
        )
    back = "review" if request.form.get("back") == "review" else None
    return redirect(url_for("history.show_history", name=name, back=back, _anchor=f"edit-{seq}"), 303)


@history_pages.post("/bring-back")
def bring_back(name: str) -> ResponseReturnValue:
    """Bring back the edition as it stood at a moment; what came since is taken out, and stays in the history."""
    installation, form = web_context().installation, read_edit_form(name)
    seq = _read_number(request.form.get("moment", ""))
    if seq is None:
        raise EditRefusedError("Nothing was brought back: choose the moment first.")
    edit_reversal.bring_back(installation, form, seq)
    return redirect(url_for("desk.edition", name=name), 303)
