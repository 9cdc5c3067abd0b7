"""Editing an edition at the desk.

Each edit is a form. The response is the page that it was submitted from, or a page about a conflict.
"""

from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlunsplit

from flask import Blueprint, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from digest.app.accounts import staff
from digest.app.approval import approval_overviews
from digest.app.editing import changes as editing
from digest.app.editing import clipboard, editing_state, presence
from digest.app.editing.edit_application import ApprovedEditionError, EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.app.editing.presence import HEARTBEAT_PERIOD
from digest.app.editions import edition_checks, edition_views
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import Edit
from digest.web.actor_names import replace_edit_authors_with_names
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, current_staff, get_actor_and_time, is_admin
from digest.web.desk.approval.approval_page_data import make_approval_status_fingerprint
from digest.web.desk.approval.approval_pages import read_approval_status
from digest.web.desk.editing.conflict_pages import remove_from_clipboard, show_conflicts
from digest.web.desk.editing.desk_actions import (
    BULK_ACTIONS,
    EDITION_ACTIONS,
    FILL_PREFIX,
    STORY_ACTIONS,
    EditActionRequest,
    fill_empty_place,
    find_anchored_stories,
    find_anchored_story,
)
from digest.web.desk.editing.edit_answers import (
    answer_saved_edits,
    build_section_template_values,
    is_script_request,
    list_topic_choices,
    render_news_text,
    word_findings_for_viewer,
)
from digest.web.desk.editing.edit_conflicts import RefusedEdit
from digest.web.desk.editing.page_query import CHOICE_PANELS, EditionPageQuery, read_number, read_page_query, read_words
from digest.web.desk.edition.previews import LINKED_SANDBOX, PREVIEW_MODES, MailSize
from digest.web.desk.outline.edit_outline import EditPageData, list_clipboard_rows
from digest.web.desk.outline.edit_sentences import create_sentence_writer
from digest.web.desk.outline.preview_anchors import find_story_in_preview
from digest.web.desk.outline.story_pool import (
    POOL_FILTERS,
    POOL_ORDERS,
    StoryChoice,
    build_story_pool_page,
    find_listed_story,
    find_story_urls,
    list_story_choices,
    story_anchor,
)
from subscribers.english_text import curl_quotes

editing_pages = Blueprint("editing", __name__, url_prefix="/desk/editions/<name>")

# The fields of the desk's forms that contain typed text, with their labels.
TYPED_FIELDS = {
    "title": "Headline",
    "headline": "Headline",
    "summary": "Summary",
    "kicker": "Kicker",
    "why": "Why it leads",
    "note": "Note",
    "subject": "Subject",
    "preheader": "Preheader",
    "intro": "Intro",
    "name": "Sponsor or organization",
    "text": "Text",
    "url": "Link",
    "publisher": "Publisher",
    "day": "Date",
    "first_day": "First day",
    "last_day": "Last day",
}


def read_edition_name_from_url() -> str:
    """Return the name of the edition in the URL of a page, for error pages."""
    return str((request.view_args or {})["name"])


@editing_pages.app_errorhandler(EditRefusedError)
def answer_refused_edit(error: EditRefusedError) -> ResponseReturnValue:
    """Show why an edit was rejected, the typed text, and a link back.

    The text can be corrected and submitted again. The page's script only gets the reason, because
    it keeps the text.
    """
    if is_script_request():
        return jsonify(why=curl_quotes(str(error))), 409
    name, fields = read_edition_name_from_url(), list(request.form.items(multi=True))
    typed = [(key, TYPED_FIELDS[key], text) for key, text in fields if key in TYPED_FIELDS]
    has_text = any(text.strip() for _, _, text in typed)
    page = render_template(
        "web/desk/editing/edit_refused.html",
        name=name,
        why=str(error),
        back=build_edit_page_url(name),
        typed=typed if has_text else [],
        hidden=[(key, text) for key, text in fields if key not in TYPED_FIELDS and key != "csrf_token"],
        again=request.path,
    )
    return page, 409


@editing_pages.app_errorhandler(ApprovedEditionError)
def ask_before_revoking(_: ApprovedEditionError) -> ResponseReturnValue:
    """Ask whether the change should revoke the approval."""
    return render_approval_warning(build_edit_page_url(read_edition_name_from_url())), 409


def render_approval_warning(back: str) -> str:
    """Return the page that asks whether to revoke the approval.

    Its cancel link leads to `back`.
    """
    app_state, name = get_app_state(), read_edition_name_from_url()
    dropped_fields, fields = {"csrf_token", "supersedes"}, request.form.items(multi=True)
    return render_template(
        "web/desk/approval/edit_approved.html",
        overview=approval_overviews.read_approval_overview(app_state.installation, name),
        fields=[(key, value) for key, value in fields if key not in dropped_fields],
        has_file=any(file.filename for file in request.files.values()),
        again=request.path,
        back=back,
    )


def read_edit_form(name: str) -> EditForm:
    """Return the form's edition, editor, time, the last edit it's based on, and the approval to revoke, if any."""
    base_edit, supersedes = read_number(request.form.get("seq", "")), request.form.get("supersedes", "")
    return EditForm(name, **get_actor_and_time(), based_on=base_edit, supersedes=supersedes)


def read_story_form(name: str, anchor: str) -> tuple[EditForm, EditingState, str]:
    """Return the form for editing a story, the state of its edition, and the URL of the story.

    The form includes the state.

    Raises:
        EditRefusedError: the story doesn't exist anymore.
    """
    state = editing_state.read_editing_state(get_app_state().installation, name)
    return replace(read_edit_form(name), state=state), state, find_anchored_story(state, anchor)


@editing_pages.post("/act")
def perform_desk_action(name: str) -> ResponseReturnValue:
    """Perform the action of the button that was pressed.

    Its value is the action, followed by the anchors of the stories that it applies to. Without
    anchors, it applies to the selected stories.
    """
    word, *anchors = request.form.get("act", "").split() or [""]
    installation = get_app_state().installation
    if word in EDITION_ACTIONS:
        result = EDITION_ACTIONS[word](installation, read_edit_form(name))
        return answer_edit(name, result, "")
    if word.startswith(FILL_PREFIX):
        result = fill_empty_place(installation, read_edit_form(name), word.removeprefix(FILL_PREFIX))
        return answer_edit(name, result, story_anchor(result.edit.target) if result.edit else "")
    if word not in STORY_ACTIONS:
        raise NotFound(f"There's no action named {word[:20]}.")
    anchors = list(dict.fromkeys(anchors or request.form.getlist("story")))
    if not anchors:
        raise EditRefusedError("No stories were selected.", "Select at least one story.")
    if len(anchors) > 1 and word not in BULK_ACTIONS:
        raise NotFound(f"The action {word} takes one story.")
    state = editing_state.read_editing_state(installation, name)
    form, urls = replace(read_edit_form(name), state=state), find_anchored_stories(state, anchors)
    result = STORY_ACTIONS[word](EditActionRequest(installation, form, state, urls, request.form))
    return answer_story_edit(name, result, anchors[0], urls[0])


def answer_story_edit(name: str, result: EditResult, anchor: str, url: str) -> ResponseReturnValue:
    """Redirect to the edited story and keep its form open if it was.

    Its anchor may have changed along with its lead.
    """
    story_name = story_anchor(result.state.arrangement.name_target(url))
    stays_open = request.form.get("open") == anchor
    return answer_edit(name, result, story_name, **({"open": story_name} if stays_open else {}))


def answer_edit(name: str, result: EditResult, anchor: str, **changed: str) -> ResponseReturnValue:
    """Redirect to the edited story on the form's page or, if there's a conflict, show both versions.

    `changed` contains new values for the query.
    """
    if result.conflict and is_script_request() and "act" in request.form:
        return jsonify(why=_say_who_was_first(result.state, result.conflict.current_edit), versions=True), 409
    if result.conflict:
        base_edit = read_edit_form(name).based_on
        refused = RefusedEdit((), result.state.last_seq if base_edit is None else base_edit, result)
        return show_conflicts(name, [refused], (), back=build_edit_page_url(name)), 409
    if result.edit and "chosen" in request.form:
        remove_from_clipboard(name, result.edit)
    saved = [result.edit] if result.edit else []
    return answer_saved_edits(result.state, saved, build_edit_page_url(name, anchor, show=anchor, **changed))


def _say_who_was_first(state: EditingState, edit: Edit) -> str:
    """Describe the change by another editor that an action would have overwritten unseen."""
    installation = get_app_state().installation
    writer = create_sentence_writer(state.arrangement, state.edits, installation.settings.file.sections)
    is_own = edit.actor == current_actor().name
    return render_news_text("was_first", edit, writer, is_own, staff.read_display_names(installation))


def build_edit_page_url(name: str, anchor: str = "", **changed: str) -> str:
    """Return the URL of an edition's page with the submitted form's query, updated with `changed`."""
    query = urlencode(read_page_query(request.form).but(**changed))
    return urlunsplit(("", "", url_for("desk.edition", name=name), query, anchor))


@dataclass(frozen=True, slots=True)
class ImageForm:
    """The image part of a story's form.

    `choice` is "shown" (the current image), "none", "original" (the image of the story), "upload", or
    the URL of an article. `focus` is in percent from the left and the top, as typed. `was` contains
    the texts and the focus from when the page was created. `body` is the uploaded file, or empty.
    """

    choice: str
    alt: str
    credit: str
    focus: tuple[str, str]
    was: tuple[str, ...]
    body: bytes

    @property
    def is_untouched(self) -> bool:
        """True if the form has the same image and texts as when the page was created."""
        is_as_it_was = (self.alt, self.credit, *self.focus) == self.was
        return self.choice == "shown" and not self.body and is_as_it_was


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """An image that couldn't be saved: the anchor of its story or block, the input, and the reason."""

    anchor: str
    form: ImageForm
    why: str


@dataclass(frozen=True, slots=True)
class RefusedUrl:
    """A URL from which no story could be fetched, and the reason."""

    url: str
    why: str


def render_edit_page(
    state: EditingState,
    query: EditionPageQuery,
    *,
    refused_picture: RefusedImage | None = None,
    refused_url: RefusedUrl | None = None,
) -> str:
    """Render the page for editing an edition: the week's stories, the sections, and the preview."""
    app_state, actor = get_app_state(), current_actor()
    installation, file = app_state.installation, app_state.settings.file
    edition, name, now = state.edition, state.name, app_state.clock()
    mail = edition_checks.check_edition_email(installation, edition, edits=state.edits, now=now)
    app_state.shown_findings[name] = mail.findings
    if query.open.startswith("at-"):
        content = EditionContent.from_json(edition.content)
        query = replace(query, open=find_story_in_preview(query.open, content, state.arrangement))
    standing = read_approval_status(edition, state)
    parts = build_section_template_values(
        state, query, word_findings_for_viewer(mail.findings), standing.overview.names
    )
    outline: EditPageData = parts["outline"]
    pool = build_story_pool_page(parts["arrangement"], file.sections, query.pool, app_state.zone)
    return render_template(
        "web/desk/editing/edit.html",
        **parts,
        edition=edition,
        pool=pool,
        shown_place=outline.find_preview_place(query.open or query.show),
        colleagues=presence.list_colleagues(installation, current_staff(), edition.id, now=now),
        place="block" if query.open.startswith("block-") else query.open,
        clippings=list_clipboard_rows(clipboard.list_clipboard_items(installation, actor), outline, name),
        story_choices=_list_story_choices(state.arrangement, query),
        topic_choices=list_topic_choices(pool.topics),
        view=edition_views.view_edition(installation, edition, now=now),
        now=now,
        is_admin=is_admin(),
        filters=POOL_FILTERS,
        orders=POOL_ORDERS,
        beat_seconds=int(HEARTBEAT_PERIOD.total_seconds()),
        views=PREVIEW_MODES,
        sandbox=LINKED_SANDBOX,
        size=MailSize(len(mail.html.encode())),
        standing=standing,
        refused_picture=refused_picture,
        refused_url=refused_url,
    )


def render_story_results(state: EditingState, query: EditionPageQuery) -> str:
    """Render only the list of the week's stories, for the script that searches while someone is typing."""
    app_state = get_app_state()
    names = staff.read_display_names(app_state.installation)
    arrangement = replace_edit_authors_with_names(state.arrangement, names)
    pool = build_story_pool_page(arrangement, app_state.settings.file.sections, query.pool, app_state.zone)
    return render_template(
        "web/desk/editing/story_results.html",
        edition=state.edition,
        pool=pool,
        added_stories=arrangement.list_added_stories(),
        asked=query,
        filters=POOL_FILTERS,
    )


def _list_story_choices(arrangement: Arrangement, query: EditionPageQuery) -> list[StoryChoice]:
    """Return the stories that match the search in the open panel, if the panel is for choosing another story."""
    if query.panel not in CHOICE_PANELS:
        return []
    sections, words = get_app_state().settings.file.sections, read_words(request.values, "match")
    return list_story_choices(arrangement, sections, query.about, words, placed_only=query.panel == "under")


def render_story_choices(state: EditingState, query: EditionPageQuery) -> str:
    """Render only the stories that a story can be merged with or put under, for the script that searches them."""
    choices = _list_story_choices(state.arrangement, query)
    return render_template("web/desk/editing/story_choices.html", story_choices=choices, asked=query)


def render_story_score(state: EditingState, anchor: str) -> str:
    """Render only the score of a story, for the script of a page on which an editor opened it."""
    arrangement = state.arrangement
    url = find_story_urls(arrangement, [anchor]).get(anchor, "")
    story = arrangement.find_story(url)
    scored = story.original if story else find_listed_story(arrangement, url)
    if scored is None:
        abort(404, "This story isn’t in the week’s list anymore.")
    return render_template("web/desk/editing/story_score.html", scored=scored)


@editing_pages.post("/lead/<anchor>")
def choose_lead_article(name: str, anchor: str) -> ResponseReturnValue:
    """Make another article of a story its lead."""
    form, _, url = read_story_form(name, anchor)
    article = request.form.get("lead", "")
    result = editing.choose_lead_article(get_app_state().installation, form, url, article=article)
    return answer_story_edit(name, result, anchor, url)


live_pages = Blueprint("live", __name__, url_prefix="/desk")


@live_pages.post("/editions/<name>/presence")
def record_presence(name: str) -> ResponseReturnValue:
    """Record that the page is open and what's being edited, and return who else is here and any news for the page.

    Without scripts, a button submits this, and the response redirects to the page.
    """
    app_state, signed_in = get_app_state(), current_staff()
    if request.form.get("gone"):
        presence.end_presence(app_state.installation, signed_in, name)
        return "", 204
    known_revision, place = request.form.get("revision", ""), request.form.get("place", "")
    present = presence.record_presence(
        app_state.installation, signed_in, name, place, known_revision=known_revision, now=app_state.clock()
    )
    if request.form.get("by") == "button":
        return redirect(url_for("desk.edition", name=name, open=place or None), 303)
    other_editors = [{"name": colleague.name, "at": colleague.place} for colleague in present.colleagues]
    news = {} if known_revision == present.revision else _tell_news(name)
    return jsonify(others=other_editors, revision=present.revision, **news)


def _tell_news(name: str) -> dict[str, object]:
    """Return the last edit of an edition, its waiting stories, and its approval status."""
    installation = get_app_state().installation
    overview = approval_overviews.read_approval_overview(installation, name)
    try:
        state = editing_state.read_editing_state(installation, name)
    except EditRefusedError:
        state = None
    tray = state.arrangement.tray if state else ()
    last = state.edits[-1] if state and state.edits else None
    return {
        "seq": state.last_seq if state else 0,
        "changed": render_news_text("changed", last, overview, current_actor().name) if last else "",
        "tray": len(tray),
        "waiting": render_news_text("waiting", tray),
        "standing": {
            "key": make_approval_status_fingerprint(overview),
            "badge": render_news_text("badge", overview),
            "tone": render_news_text("tone", overview),
            "words": render_news_text("words", overview),
            "approval": state.approval if state else "",
        },
    }


@live_pages.get("/keys")
def show_keyboard_shortcuts() -> ResponseReturnValue:
    """Show the keyboard shortcuts and the setting for single-letter ones."""
    return render_template("web/desk/editing/keys.html")


@live_pages.post("/keys")
def set_single_key_shortcuts() -> ResponseReturnValue:
    """Turn single-letter shortcuts on or off for the signed-in user."""
    app_state = get_app_state()
    on = request.form.get("letters") == "on"
    presence.set_single_key_shortcuts(app_state.installation, current_staff(), on=on, now=app_state.clock())
    return redirect(url_for("live.show_keyboard_shortcuts"), 303)
