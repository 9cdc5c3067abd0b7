"""Stories that no source brought, at an address that is fetched while the editor waits, and what an editor keeps of them."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from digest.app.editing import changes as editing
from digest.app.editing import clipboard, editing_state, story_fetch
from digest.app.editing.editing_state import EditRefusedError
from digest.collect.documents.parsed_document import SummaryBasis
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from digest.web.desk.editing.desk_acts import find_anchored_story
from digest.web.desk.editing.editing_pages import answer_edit, edit_page_url, read_day, read_edit_form, read_own_form
from digest.web.desk.outline.story_pool import list_hand_placed, story_anchor

story_pages = Blueprint("stories", __name__, url_prefix="/desk/editions/<name>")

# What a story that was found or written may say of its article; the rest is decided by the edit.
_ARTICLE_FIELDS = (
    *("url", "link", "title", "summary", "summary_basis", "source", "publisher", "credit", "image", "image_alt"),
)


@story_pages.post("/fetch")
def fetch_story(name: str) -> ResponseReturnValue:
    """Show what was found at an address, to be corrected before it is added; nothing is stored yet."""
    context = web_context()
    try:
        found = story_fetch.fetch_story(
            context.installation, name, request.form.get("url", ""), actor=current_actor(), now=context.clock()
        )
    except EditRefusedError as error:
        back = edit_page_url(name, "own", open="own", tab="stories")
        return render_template("web/desk/editing/edit_refused.html", name=name, why=str(error), back=back), 409
    back = edit_page_url(name, story_anchor(found.story_url) if found.story_url else "")
    return render_template(
        "web/desk/editing/found_story.html",
        name=name,
        article={
            key: value
            for key, value in found.article.items()
            if value and key in (*_ARTICLE_FIELDS, "dated_at", "has_date")
        },
        is_known=bool(found.story_url),
        day=_find_day(found.article),
        topics=sorted(editing_state.list_topic_names(context.settings)),
        sections=list_hand_placed(context.settings.file.sections),
        back=back,
        seq=request.form.get("seq", ""),
        unapproved=request.form.get("unapproved", ""),
    )


def _find_day(article: Mapping[str, Any]) -> str:
    """Return the day of an article as a form has it, in the publication's zone; empty where none was found."""
    moment = article.get("dated_at")
    return datetime.fromisoformat(moment).astimezone(web_context().zone).date().isoformat() if moment else ""


def _read_moment(fields: Mapping[str, str]) -> dict[str, object]:
    """Return what a form says of an article's moment: as it was found, unless its day was corrected; then its noon."""
    if fields.get("day", "").strip() == fields.get("was-day", "").strip():
        return {name: fields[name] for name in ("dated_at", "has_date") if fields.get(name)}
    day = read_day(fields["day"]) if "day" in fields else None
    if day is None:
        return {}
    noon = datetime.combine(day, time(12), web_context().zone)
    return {"dated_at": noon.astimezone(UTC).isoformat(), "has_date": True}


@story_pages.post("/stories")
def add_story(name: str) -> ResponseReturnValue:
    """Add a story that no source brought."""
    installation, form, fields = web_context().installation, read_edit_form(name), request.form
    article: dict[str, object] = {key: fields[key].strip() for key in _ARTICLE_FIELDS if fields.get(key, "").strip()}
    article |= _read_moment(fields)
    if "title" not in article:
        raise EditRefusedError("Nothing was changed: write a headline first.")
    if fields.get("summary", "").strip() != fields.get("was-summary", "").strip():
        article["summary_basis"] = SummaryBasis.EDITOR
    result = editing.write_story(
        installation, form, article, section=fields.get("section", ""), topic=fields.get("topic", "")
    )
    return answer_edit(name, result, story_anchor(result.edit.target) if result.edit else "")


@story_pages.post("/clipboard")
def change_clipboard(name: str) -> ResponseReturnValue:
    """Copy a story to one's own clipboard, or take something off it."""
    installation, form, fields = web_context().installation, read_own_form(name), request.form
    if number := fields.get("remove", ""):
        if number.isascii() and number.isdigit() and len(number) < 10:
            clipboard.remove_clipping(installation, form, int(number))
        return redirect(edit_page_url(name, "clipboard"), 303)
    anchor = fields.get("keep", "")
    clipboard.keep_story(
        installation, form, find_anchored_story(editing_state.read_editing_state(installation, name), anchor)
    )
    return redirect(edit_page_url(name, anchor), 303)
