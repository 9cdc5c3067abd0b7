"""What the edition's page asks while it is open: who else is here, and what changed; and the page about its keys."""

from dataclasses import asdict

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.approval import approvals
from digest.app.editing import editing_state, presence
from digest.app.editing.editing_state import EditRefusedError
from digest.web.auth.access import current_staff
from digest.web.colleagues import name_actor
from digest.web.context import web_context
from digest.web.desk.approval.approval_outline import describe_standing_news
from digest.web.desk.editing.keyboard import KEY_GROUPS
from digest.web.desk.outline.edit_outline import tray_sentence
from digest.web.filters import recent_moment
from subscribers.phrases import end_sentence

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
    context = web_context()
    overview = approvals.read_approval_overview(context.installation, name)
    standing = asdict(describe_standing_news(overview, context.zone))
    try:
        state = editing_state.read_editing_state(context.installation, name)
    except EditRefusedError:
        return {"seq": 0, "changed": "", "tray": 0, "waiting": "", "standing": standing}
    last = state.edits[-1] if state.edits else None
    who, at = (
        (name_actor(last.actor, overview.names), recent_moment(last.at, context.zone, now=context.clock()))
        if last
        else ("", "")
    )
    return {
        "seq": state.last_seq,
        "changed": end_sentence(f"{who} changed it, {at}") if last else "",
        "tray": len(state.arrangement.tray),
        "waiting": tray_sentence(state.arrangement, context.zone),
        "standing": standing,
    }


@live_pages.get("/keys")
def show_keys() -> ResponseReturnValue:
    """Show what each key does, with the switch for single letters."""
    return render_template("web/desk/editing/keys.html", groups=KEY_GROUPS)


@live_pages.post("/keys")
def switch_letter_keys() -> ResponseReturnValue:
    """Switch single letters on or off, for the one who is signed in."""
    context = web_context()
    on = request.form.get("letters") == "on"
    presence.switch_letter_keys(context.installation, current_staff(), on=on, now=context.clock())
    return redirect(url_for("live.show_keys"), 303)
