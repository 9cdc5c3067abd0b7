"""Writing at the desk: texts, labeled blocks, images, and stories that aren't from a source.

A story added by its URL is fetched while the editor waits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any, get_args

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter

from digest.app.editing import changes as editing
from digest.app.editing import clipboard, editing_state, edition_images, story_fetch
from digest.app.editing.edit_application import ApprovedEditionError, EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.collect.documents.parsed_document import SummaryBasis
from digest.collect.imaging.encoded_image import DEFAULT_FOCUS, FocusPoint
from digest.edition.content.edition_content import BlockKind, LabeledBlock
from digest.edition.editing.edits import EditionField, StoryField
from digest.installation.opened_installation import Installation
from digest.web.app_state import get_app_state
from digest.web.auth.access import get_actor_and_time
from digest.web.desk.editing.conflict_pages import (
    FieldEdit,
    apply_field_edits,
    read_base_edit_number_of_field,
    show_conflicts,
)
from digest.web.desk.editing.desk_actions import find_anchored_story
from digest.web.desk.editing.edit_answers import answer_refused_image, answer_saved_edits, is_script_request
from digest.web.desk.editing.editing_pages import (
    ImageForm,
    RefusedImage,
    RefusedUrl,
    answer_edit,
    build_edit_page_url,
    editing_pages,
    read_edit_form,
    read_story_form,
    render_edit_page,
)
from digest.web.desk.editing.page_query import EditionPageQuery, read_number, read_page_query
from digest.web.desk.outline.story_pool import list_manual_sections, story_anchor

story_pages = Blueprint("stories", __name__, url_prefix="/desk/editions/<name>")

# Each of these has a field with its earlier value, such as "was-alt".
IMAGE_FIELDS = ("alt", "credit", "focus-x", "focus-y")
_FOCUS_POINT = TypeAdapter[FocusPoint](FocusPoint)
HEAD_FIELDS = (EditionField.SUBJECT, EditionField.PREHEADER, EditionField.INTRO)


@editing_pages.post("/story/<anchor>")
def save_story(name: str, anchor: str) -> ResponseReturnValue:
    """Save the changed fields of an open story.

    Unchanged fields don't create edits.
    """
    form, state, url = read_story_form(name, anchor)
    if state.arrangement.find_story(url) is None:
        raise EditRefusedError("The story is no longer in a section.", "Add the story to a section first.")
    installation, picture = get_app_state().installation, read_image_form()
    written = apply_field_edits(form, _list_story_writes(installation, url))
    if picture and not picture.is_untouched:
        try:
            image_results = apply_field_edits(written.form, [_write_image(installation, url, picture)])
        except ApprovedEditionError:
            raise
        except EditRefusedError as error:
            if not written.refused:
                if is_script_request():
                    return answer_refused_image(written.form.state or state, written.saved, error)
                refused = RefusedImage(anchor, picture, explain_refused_image(error, picture))
                query = replace(read_page_query(request.form), open=anchor, tab="edition")
                return _render_refusal(name, query, refused_picture=refused), 409
        else:
            written = written.add(image_results)
    close = "close" in request.form
    back = build_edit_page_url(name, anchor, open="" if close else anchor, show=anchor if close else "")
    if written.refused:
        return show_conflicts(name, written.refused, written.saved, back=back), 409
    return answer_saved_edits(written.form.state or state, written.saved, back)


def _write_image(installation: Installation, url: str, picture: ImageForm) -> FieldEdit:
    names = (*IMAGE_FIELDS, *(f"was-{name}" for name in IMAGE_FIELDS))
    return FieldEdit(("picture", *names), lambda form: change_image(installation, form, url, picture))


def _render_refusal(
    name: str,
    query: EditionPageQuery,
    *,
    refused_picture: RefusedImage | None = None,
    refused_url: RefusedUrl | None = None,
) -> str:
    """Render the edition with an open form, its input, and the reason why it wasn't saved."""
    state = editing_state.read_editing_state(get_app_state().installation, name)
    return render_edit_page(state, query, refused_picture=refused_picture, refused_url=refused_url)


def _differs(fields: Mapping[str, str], name: str) -> bool:
    """Return True if a field has changed since the page was created."""
    was = fields.get(f"was-{name}")
    return name in fields and (was is None or fields[name].splitlines() != was.splitlines())


def _list_story_writes(installation: Installation, url: str) -> Iterator[FieldEdit]:
    """Yield an edit for each field that has changed since the page was created.

    An empty text restores the original.
    """
    fields = request.form

    def write(field: str, form: EditForm) -> EditResult:
        about, text = (installation, form, url), fields[field]
        if field == "topic":
            return editing.set_story_topic(*about, text)
        if field == "note":
            return editing.set_editor_note(*about, text)
        return editing.set_story_text(*about, StoryField(field), text.strip() or None)

    for field in (*StoryField, "topic", "note"):
        if _differs(fields, field):
            yield FieldEdit((field,), partial(write, field))


@editing_pages.post("/head")
def save_subject_and_intro(name: str) -> ResponseReturnValue:
    """Save the subject, preheader, and intro.

    An empty subject or preheader restores the original, and an empty intro removes it.
    """
    installation, fields = get_app_state().installation, request.form

    def write_text(field: EditionField) -> FieldEdit:
        text = fields[field].strip() or ("" if field is EditionField.INTRO else None)
        return FieldEdit((field,), lambda form: editing.set_edition_text(installation, form, field, text))

    writes = [write_text(field) for field in HEAD_FIELDS if _differs(fields, field)]
    state = editing_state.read_editing_state(installation, name)
    written = apply_field_edits(replace(read_edit_form(name), state=state), writes)
    back = build_edit_page_url(name, "head", open="" if "close" in fields else "head", show="")
    if written.refused:
        return show_conflicts(name, written.refused, written.saved, back=back), 409
    return answer_saved_edits(written.form.state or state, written.saved, back)


@editing_pages.post("/block/<block_id>")
def save_block(name: str, block_id: str) -> ResponseReturnValue:
    """Save or remove a labeled block.

    Missing fields aren't changed, because a field that loses focus is submitted alone.
    """
    installation, form = get_app_state().installation, read_edit_form(name)
    if "remove" in request.form:
        return answer_edit(name, editing.remove_labeled_block(installation, form, block_id), "blocks", open="")
    state = editing_state.read_editing_state(installation, name)
    current_block = state.arrangement.find_block(block_id) or LabeledBlock(block_id, "sponsor", "")
    block = _read_block(request.form, current_block)
    picture = read_image_form()
    changes_image = picture is not None and not picture.is_untouched
    fields = (*_BLOCK_FIELDS, "picture") if changes_image else _BLOCK_FIELDS
    base_edits = [seq for field in fields if (seq := read_base_edit_number_of_field(request.form, field)) is not None]
    based_on = min(base_edits, default=form.based_on)
    image_base = read_base_edit_number_of_field(request.form, "picture")
    image_base = form.based_on if image_base is None else image_base
    # A field that was started before the form was last saved has an older base, although it shows
    # the current values.
    if _was_written_on(request.form, current_block) and not (
        changes_image and _has_newer_image(installation, state, block_id, image_base)
    ):
        based_on = state.last_seq
    form = replace(form, state=state, based_on=based_on)
    written = editing.save_labeled_block(installation, form, block)
    if picture is None or not changes_image or written.conflict:
        return answer_edit(name, written, "blocks", open="")
    # The texts that this form has just saved don't conflict with its image.
    form = replace(form, state=written.state, based_on=written.state.last_seq if written.edit else form.based_on)
    try:
        result = change_block_image(installation, form, block_id, picture)
    except ApprovedEditionError:
        raise
    except EditRefusedError as error:
        if is_script_request():
            return answer_refused_image(written.state, [written.edit] if written.edit else [], error)
        refused = RefusedImage(f"block-{block_id}", picture, explain_refused_image(error, picture))
        query = replace(read_page_query(request.form), open=refused.anchor, tab="edition")
        return _render_refusal(name, query, refused_picture=refused), 409
    if result.conflict:
        return answer_edit(name, result, "blocks", open="")
    saved = [edit for edit in (written.edit, result.edit) if edit]
    return answer_saved_edits(result.state, saved, build_edit_page_url(name, "blocks", open="", show="blocks"))


def _was_written_on(fields: Mapping[str, str], block: LabeledBlock) -> bool:
    """Return True if the form's earlier values are the current values of the block."""
    return all(
        f"was-{field}" in fields
        and fields[f"was-{field}"].splitlines() == str(getattr(block, field) or "").splitlines()
        for field in _BLOCK_FIELDS
    )


def _has_newer_image(installation: Installation, state: EditingState, block_id: str, base_edit: int | None) -> bool:
    """Return True if the image of a block has changed since an edit.

    Forms don't say which image they're based on.
    """
    if base_edit is None:
        return False
    arrangements = state.arrange_at(installation, base_edit), state.arrangement
    blocks = [arrangement.find_block(block_id) for arrangement in arrangements]
    before, now = (block and block.picture for block in blocks)
    return before != now


_BLOCK_FIELDS = ("kind", "headline", "name", "text", "url", "after", "first_day", "last_day")


def _read_block(fields: Mapping[str, str], current_block: LabeledBlock) -> LabeledBlock:
    """Return a block with the values from a form."""
    read: dict[str, Callable[[str], object]] = {"kind": _read_block_kind}
    read |= dict.fromkeys(("first_day", "last_day"), parse_form_day)
    values: dict[str, Any] = {name: read.get(name, str)(fields[name]) for name in _BLOCK_FIELDS if name in fields}
    return replace(current_block, **values)


def _read_block_kind(text: str) -> BlockKind:
    kinds: dict[str, BlockKind] = {kind: kind for kind in get_args(BlockKind)}
    return kinds.get(text, "sponsor")


def parse_form_day(text: str) -> date | None:
    """Return the date in a form field, or None if it's empty.

    Raises:
        EditRefusedError: it isn't a date.
    """
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise EditRefusedError(f"“{text[:20]}” isn't a date.", "Enter the date in the format 2026-11-20.") from None


def read_image_form() -> ImageForm | None:
    """Return the image part of a story's form, or None if the form has none."""
    fields, file = request.form, request.files.get("file")
    if "picture" not in fields:
        return None
    alt, credit, *focus = (fields.get(name, "") for name in IMAGE_FIELDS)
    return ImageForm(
        choice=fields["picture"],
        alt=alt,
        credit=credit,
        focus=(focus[0], focus[1]),
        was=tuple(fields.get(f"was-{name}", "") for name in IMAGE_FIELDS),
        body=file.read() if file else b"",
    )


def change_image(installation: Installation, form: EditForm, url: str, picture: ImageForm) -> EditResult:
    """Apply the choice of a story's image in a form.

    An uploaded file counts as chosen unless another choice contradicts it.

    Raises:
        EditRefusedError: the choices contradict each other, or the image can't be downloaded or
            used.
    """
    focus = read_focus_point(*picture.focus)
    if picture.body and picture.choice not in {"shown", "upload"}:
        raise EditRefusedError(
            "You chose both a file and another image option.", "Choose either the file or the option."
        )
    if picture.body:
        return edition_images.upload_image(
            installation, form, url, picture.body, alt=picture.alt, credit=picture.credit, focus=focus
        )
    match picture.choice:
        case "none":
            return edition_images.hide_image(installation, form, url)
        case "original":
            return edition_images.reset_image(installation, form, url)
        case "upload":
            raise EditRefusedError("No file was uploaded.", "Choose a file.")
        case "shown":
            return edition_images.change_image_description(
                installation, form, url, alt=picture.alt, credit=picture.credit, focus=focus
            )
    return edition_images.use_article_image(installation, form, url, article=picture.choice)


def change_block_image(installation: Installation, form: EditForm, block_id: str, picture: ImageForm) -> EditResult:
    """Apply the choice of a labeled block's image in a form.

    Raises:
        EditRefusedError: the image can't be downloaded or used.
    """
    if picture.choice == "none" and not picture.body:
        return edition_images.remove_block_image(installation, form, block_id)
    if picture.choice == "upload" and not picture.body:
        raise EditRefusedError("No file was uploaded.", "Choose a file.")
    words = {"alt": picture.alt, "credit": picture.credit}
    focus = read_focus_point(*picture.focus)
    return edition_images.set_block_image(installation, form, block_id, picture.body, **words, focus=focus)


def read_focus_point(left: str, top: str) -> FocusPoint | None:
    """Return the focus point in a form, which gives it in percent.

    Return None if it's the default or both fields are empty.

    Raises:
        EditRefusedError: it isn't a point in the image.
    """
    if not left.strip() and not top.strip():
        return None
    try:
        focus = _FOCUS_POINT.validate_python((int(left) / 100, int(top) / 100))
    except ValueError:
        raise EditRefusedError("The focus point isn't in the image.", "Enter two percentages from 0 to 100.") from None
    return None if focus == DEFAULT_FOCUS else focus


def explain_refused_image(error: EditRefusedError, picture: ImageForm) -> str:
    """Return the error text for an image that wasn't saved.

    If a file was uploaded, it has to be chosen again.
    """
    retry_advice = " Then choose the file again, because it wasn't kept." if picture.body else ""
    return f"The image wasn't saved. {error}{retry_advice}"


# The fields of an article that a form for a fetched or written story can set. The edit determines the others.
_ARTICLE_FIELDS = (
    *("url", "link", "title", "summary", "summary_basis", "source", "publisher", "credit"),
    *("image", "image_alt", "image_credit"),
)


@story_pages.post("/fetch")
def show_story_found_at_url(name: str) -> ResponseReturnValue:
    """Show the story found at a URL, so that it can be corrected before it's added.

    Nothing is stored yet.
    """
    app_state, url = get_app_state(), request.form.get("url", "")
    try:
        fetched_story = story_fetch.fetch_story(app_state.installation, name, url, **get_actor_and_time())
    except EditRefusedError as error:
        query = replace(read_page_query(request.form), open="own", tab="stories")
        return _render_refusal(name, query, refused_url=RefusedUrl(url, str(error))), 409
    back = build_edit_page_url(name, story_anchor(fetched_story.story_url) if fetched_story.story_url else "")
    return render_template(
        "web/desk/editing/found_story.html",
        name=name,
        article={
            key: value
            for key, value in fetched_story.article.items()
            if value and key in (*_ARTICLE_FIELDS, "dated_at", "has_date")
        },
        is_known=bool(fetched_story.story_url),
        day=_find_day(fetched_story.article),
        topics=sorted(editing_state.list_topic_names(app_state.settings)),
        sections=list_manual_sections(app_state.settings.file.sections),
        back=back,
        seq=request.form.get("seq", ""),
        supersedes=request.form.get("supersedes", ""),
    )


def _find_day(article: Mapping[str, Any]) -> str:
    """Return the date of an article in the publication's time zone for a form, or "" if none was found."""
    moment = article.get("dated_at")
    if not moment:
        return ""
    return f"{datetime.fromisoformat(moment).astimezone(get_app_state().zone):%Y-%m-%d}"


def _is_as_found(fields: Mapping[str, str], name: str) -> bool:
    now, was = fields.get(name, ""), fields.get(f"was-{name}", "")
    return now.strip() == was.strip()


def _read_moment(fields: Mapping[str, str]) -> dict[str, object]:
    """Return the time of an article as it was found or, if its date was corrected, noon of that day."""
    if _is_as_found(fields, "day"):
        return {name: fields[name] for name in ("dated_at", "has_date") if fields.get(name)}
    day = parse_form_day(fields["day"]) if "day" in fields else None
    if day is None:
        return {}
    noon = datetime.combine(day, time(12), get_app_state().zone)
    return {"dated_at": noon.astimezone(UTC).isoformat(), "has_date": True}


@story_pages.post("/stories")
def add_story(name: str) -> ResponseReturnValue:
    """Add a story that isn't from a source."""
    installation, form, fields = get_app_state().installation, read_edit_form(name), request.form
    texts = {key: fields.get(key, "").strip() for key in _ARTICLE_FIELDS}
    article = {key: text for key, text in texts.items() if text} | _read_moment(fields)
    if "title" not in article:
        raise EditRefusedError("The headline is empty.", "Enter a headline.")
    if not _is_as_found(fields, "summary"):
        article["summary_basis"] = SummaryBasis.EDITOR
    section, topic = fields.get("section", ""), fields.get("topic", "")
    result = editing.add_written_story(installation, form, article, section=section, topic=topic)
    return answer_edit(name, result, story_anchor(result.edit.target) if result.edit else "")


@story_pages.post("/clipboard")
def update_clipboard(name: str) -> ResponseReturnValue:
    """Copy a story to the editor's clipboard, or remove an item from it."""
    installation, form, fields = get_app_state().installation, read_edit_form(name), request.form
    if number := fields.get("remove", ""):
        if (clipping := read_number(number)) is not None:
            clipboard.remove_clipboard_item(installation, form, clipping)
        return redirect(build_edit_page_url(name, "clipboard"), 303)
    anchor = fields.get("keep", "")
    clipboard.copy_story_to_clipboard(
        installation, form, find_anchored_story(editing_state.read_editing_state(installation, name), anchor)
    )
    return redirect(build_edit_page_url(name, anchor), 303)
