"""What the edition's page asks while it is open: who else is here, and what changed; and the page about its keys."""

from collections.abc import Mapping
from dataclasses import asdict

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app import approvals, editing_state, presence, staff
from digest.app.editing_state import EditingState, EditRefusedError
from digest.web.auth.access import current_staff
from digest.web.context import web_context
from digest.web.desk.approval_outline import describe_standing_news
from digest.web.desk.colleagues import name_actor
from digest.web.desk.edit_outline import tray_sentence
from digest.web.desk.keyboard import KEY_GROUPS
from digest.web.desk.story_pool import story_anchor
from digest.web.filters import short_moment

live_pages = Blueprint("live", __name__, url_prefix="/desk")


@live_pages.post("/editions/<name>/presence")
def note_presence(name: str) -> ResponseReturnValue:
    """Note that the page is open, and at which story; answer who else is here, the last edit, what waits, and how approval stands."""
    context, signed_in = web_context(), current_staff()
    if request.form.get("gone"):
        presence.end_presence(context.installation, signed_in, name)
        return "", 204
    now = context.clock()
    colleagues = presence.note_presence(context.installation, signed_in, name, request.form.get("place", ""), now=now)
    standing = asdict(
        describe_standing_news(approvals.read_approval_overview(context.installation, name), context.zone)
    )
    try:
        state = editing_state.read_editing_state(context.installation, name)
    except EditRefusedError:
        return jsonify(others=[], seq=0, changed="", tray=0, waiting="", standing=standing)
    places = _name_places(state)
    last = state.edits[-1] if state.edits else None
    names = staff.read_display_names(context.installation)
    return jsonify(
        others=[{"name": c.name, "at": c.place, "place": places.get(c.place, "")} for c in colleagues],
        seq=state.last_seq,
        changed=f"{name_actor(last.actor, names)} changed it, {short_moment(last.at, context.zone)}" if last else "",
        tray=len(state.arrangement.tray),
        waiting=tray_sentence(state.arrangement, context.zone),
        standing=standing,
    )


def _name_places(state: EditingState) -> Mapping[str, str]:
    """Return where each story stands, by its anchor: "Topics 3"."""
    titles = {section.key: section.title for section in web_context().settings.file.sections}
    places = {
        story_anchor(story.url): f"in {titles.get(key, key)} {number}"
        for key, stories in state.arrangement.sections.items()
        for number, story in enumerate(stories, 1)
    }
    return places | {"head": "in the subject and intro"}


@live_pages.get("/keys")
def show_keys() -> ResponseReturnValue:
    """Show what each key does, with the switch for single letters."""
    return render_template("web/desk/keys.html", groups=KEY_GROUPS)


@live_pages.post("/keys")
def switch_letter_keys() -> ResponseReturnValue:
    """Switch single letters on or off, for the one who is signed in."""
    context = web_context()
    on = request.form.get("letters") == "on"
    presence.switch_letter_keys(context.installation, current_staff(), on=on, now=context.clock())
    return redirect(url_for("live.show_keys"), 303)
