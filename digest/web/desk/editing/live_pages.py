"""What the edition's page asks while it is open: who else is here, and what changed; and the page about its keys."""

from flask import Blueprint, get_template_attribute, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from digest.app.approval import approvals
from digest.app.editing import editing_state, presence
from digest.app.editing.editing_state import EditRefusedError
from digest.web.auth.access import current_staff
from digest.web.context import web_context
from digest.web.desk.approval.approval_outline import make_standing_key

live_pages = Blueprint("live", __name__, url_prefix="/desk")


@live_pages.post("/editions/<name>/presence")
def note_presence(name: str) -> ResponseReturnValue:
    """Record that the page is open and what is being edited; return who else is here, and any news for the page.

    Without scripts, a button posts this and the answer leads back to the page.
    """
    context, signed_in = web_context(), current_staff()
    if request.form.get("gone"):
        presence.end_presence(context.installation, signed_in, name)
        return "", 204
    known, place = request.form.get("revision", ""), request.form.get("place", "")
    present = presence.note_presence(
        context.installation, signed_in, name, place, known_revision=known, now=context.clock()
    )
    if request.form.get("by") == "button":
        return redirect(url_for("desk.edition", name=name, open=place or None), 303)
    others = [{"name": colleague.name, "at": colleague.place} for colleague in present.colleagues]
    news = {} if known == present.revision else _tell_news(name)
    return jsonify(others=others, revision=present.revision, **news)


def _tell_news(name: str) -> dict[str, object]:
    """Tell the last edit of an edition, what waits, and how its approval stands."""
    installation = web_context().installation
    overview = approvals.read_approval_overview(installation, name)
    try:
        state = editing_state.read_editing_state(installation, name)
    except EditRefusedError:
        state = None
    tray = state.arrangement.tray if state else ()
    last = state.edits[-1] if state and state.edits else None
    return {
        "seq": state.last_seq if state else 0,
        "changed": _say("changed", last, overview) if last else "",
        "tray": len(tray),
        "waiting": _say("waiting", tray),
        "standing": {
            "key": make_standing_key(overview),
            "badge": _say("badge", overview),
            "tone": _say("tone", overview),
            "words": _say("words", overview),
        },
    }


def _say(macro: str, *values: object) -> str:
    """Return the words of a macro as plain text."""
    words: Markup = get_template_attribute("web/desk/editing/news.html", macro)(*values)
    return words.strip().unescape()


@live_pages.get("/keys")
def show_keys() -> ResponseReturnValue:
    """Show what each key does, with the switch for single letters."""
    return render_template("web/desk/editing/keys.html")


@live_pages.post("/keys")
def switch_letter_keys() -> ResponseReturnValue:
    """Switch single letters on or off, for the one who is signed in."""
    context = web_context()
    on = request.form.get("letters") == "on"
    presence.switch_letter_keys(context.installation, current_staff(), on=on, now=context.clock())
    return redirect(url_for("live.show_keys"), 303)
