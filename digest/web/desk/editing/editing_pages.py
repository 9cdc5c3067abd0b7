"""What editors do to an edition at the desk: every act is a form, answered by the page that it came from, or by a conflict."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import get_args
from urllib.parse import urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from digest.app.accounts import staff
from digest.app.approval import approvals
from digest.app.editing import changes as editing
from digest.app.editing import clipboard, editing_state, presence
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.app.editing.presence import HEARTBEAT_PERIOD
from digest.app.editions import page_views
from digest.app.editions.page_views import EditionView
from digest.edition.content.edition_content import BlockKind, EditionContent, LabelledBlock
from digest.edition.editing.edits import EditionField, StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened import Installation
from digest.store.models import EditionState
from digest.web.auth.access import current_actor, current_staff, is_admin
from digest.web.colleagues import sign_arrangement
from digest.web.context import web_context
from digest.web.desk.approval.approval_pages import read_approval_standing
from digest.web.desk.editing.conflict_pages import (
    FieldWrite,
    WrittenFields,
    find_known,
    show_conflicts,
    take_off_clipboard,
    write_fields,
)
from digest.web.desk.editing.desk_acts import EDITION_ACTS, STORY_ACTS, DeskAct, find_anchored_story
from digest.web.desk.editing.edit_conflicts import RefusedWrite
from digest.web.desk.editing.page_query import EditionPageQuery, read_page_query
from digest.web.desk.editing.picture_forms import (
    PictureForm,
    RefusedPicture,
    change_picture,
    explain_refusal,
    read_picture_form,
)
from digest.web.desk.edition.previews import PREVIEW_VIEWS, MailSize, find_preview_view
from digest.web.desk.outline.edit_outline import build_edit_outline, list_clipped_rows, list_merge_choices
from digest.web.desk.outline.edit_sentences import create_edit_writer
from digest.web.desk.outline.edition_outline import count_head_lengths
from digest.web.desk.outline.story_pool import (
    POOL_FILTERS,
    POOL_ORDERS,
    find_lead_section,
    find_pool_page,
    story_anchor,
)
from subscribers.errors import RefusalError

editing_pages = Blueprint("editing", __name__, url_prefix="/desk/editions/<name>")

STORY_FIELDS = tuple(StoryField)
# What is typed in the forms of the desk, by its field's name.
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
    "name": "Who pays, or offers",
    "text": "Text",
    "url": "Link",
    "publisher": "Publisher",
    "day": "Date",
    "first_day": "First day",
    "last_day": "Last day",
}
HEAD_FIELDS = (EditionField.SUBJECT, EditionField.PREHEADER, EditionField.INTRO)


@editing_pages.app_errorhandler(EditRefusedError)
def answer_refused_edit(error: EditRefusedError) -> ResponseReturnValue:
    """Say why an act could not be done, and lead back; what was typed stands there to be corrected and sent again."""
    name, fields = (request.view_args or {})["name"], list(request.form.items(multi=True))
    typed = [(key, TYPED_FIELDS[key], text) for key, text in fields if key in TYPED_FIELDS]
    has_text = any(text.strip() for _, _, text in typed)
    page = render_template(
        "web/desk/editing/edit_refused.html",
        name=name,
        why=str(error),
        back=edit_page_url(name),
        typed=typed if has_text else [],
        hidden=[(key, text) for key, text in fields if key not in TYPED_FIELDS and key != "csrf_token"],
        again=request.path,
    )
    return page, 409


class UnseenApprovalError(RefusalError):
    """The edition was approved since the page was made on which somebody changes it."""


@editing_pages.app_errorhandler(UnseenApprovalError)
def ask_before_voiding(_: UnseenApprovalError) -> ResponseReturnValue:
    """Ask whether an approval that the page did not show is to be taken back by the change."""
    return approved_meanwhile_page(edit_page_url((request.view_args or {})["name"])), 409


def approved_meanwhile_page(back: str) -> str:
    """Return the page that asks it; who leaves the edition as it is goes to `back`."""
    context, name = web_context(), (request.view_args or {})["name"]
    left = {"csrf_token", "unapproved"}
    return render_template(
        "web/desk/approval/edit_approved.html",
        overview=approvals.read_approval_overview(context.installation, name),
        fields=[(key, value) for key, value in request.form.items(multi=True) if key not in left],
        has_file=any(file.filename for file in request.files.values()),
        again=request.path,
        back=back,
    )


def read_edit_form(name: str) -> EditForm:
    """Return who acts on which edition, and the number of the last edit that their page knew.

    Raises:
        UnseenApprovalError: it was approved since their page was made.
    """
    if request.form.get("unapproved"):
        edition = page_views.read_edition(web_context().installation, name)
        if edition.state is EditionState.APPROVED:
            raise UnseenApprovalError(f"{edition.name} was approved meanwhile.")
    return read_own_form(name)


def read_own_form(name: str) -> EditForm:
    """Return who acts on which edition, for what changes nothing of it."""
    seq = request.form.get("seq", "")
    based_on = int(seq) if seq.isascii() and seq.isdigit() and len(seq) < 10 else None
    return EditForm(name, current_actor(), web_context().clock(), based_on)


def read_story_form(name: str, anchor: str) -> tuple[EditForm, EditingState, str]:
    """Return the form of an act on a story, which holds the edition as it stands; that edition; and the story's address.

    Raises:
        EditRefusedError: no story is called so any more.
    """
    state = editing_state.read_editing_state(web_context().installation, name)
    return replace(read_edit_form(name), state=state), state, find_anchored_story(state, anchor)


@editing_pages.post("/act")
def act(name: str) -> ResponseReturnValue:
    """Do what a button says: its value is an act, and the anchor of a story where it is about one."""
    word, _, anchor = request.form.get("act", "").partition(" ")
    installation = web_context().installation
    if word in EDITION_ACTS:
        result = EDITION_ACTS[word](installation, read_edit_form(name))
        return answer_edit(name, result, "")
    if word not in STORY_ACTS:
        raise NotFound(f"The desk has no act called {word[:20]}.")
    form, state, url = read_story_form(name, anchor)
    result = STORY_ACTS[word](DeskAct(installation, form, state, url, request.form))
    return _answer_story_edit(name, result, anchor, url)


def _answer_story_edit(name: str, result: EditResult, anchor: str, url: str) -> ResponseReturnValue:
    """Go back to the story that was touched: it may be called by another of its articles now, and stays open where it was."""
    named = story_anchor(result.state.arrangement.name_target(url))
    return answer_edit(name, result, named, **({"open": named} if request.form.get("open") == anchor else {}))


def answer_edit(name: str, result: EditResult, anchor: str, **changed: str) -> ResponseReturnValue:
    """Go back to the page that the form stood on, at the story that was touched; or show both versions.

    `changed` is what its address has otherwise now.
    """
    if result.conflict:
        known = read_own_form(name).based_on
        refused = RefusedWrite((), result.state.last_seq if known is None else known, result)
        return show_conflicts(name, [refused], back=edit_page_url(name)), 409
    if result.edit and "chosen" in request.form:
        take_off_clipboard(name, result.edit)
    return redirect(edit_page_url(name, anchor, show=anchor, **changed), 303)


def edit_page_url(name: str, anchor: str = "", **changed: str) -> str:
    """Return the address of the page that a form stood on, at a story of it."""
    path, query = url_for("desk.edition", name=name), urlencode(read_page_query(request.form).but(**changed))
    return f"{path}{'?' if query else ''}{query}{'#' if anchor else ''}{anchor}"


def render_edit_page(
    view: EditionView, state: EditingState, query: EditionPageQuery, refused_picture: RefusedPicture | None = None
) -> str:
    """Show an edition that is being arranged: the week's stories, the edition by section, the preview."""
    context, actor = web_context(), current_actor()
    installation, file, name = context.installation, context.settings.file, view.edition.name
    mail = page_views.read_edition_mail(installation, name, now=context.clock())
    content = EditionContent.from_json(view.edition.content)
    arrangement = sign_arrangement(state.arrangement, staff.read_display_names(installation))
    outline = build_edit_outline(arrangement, content, file.sections, mail.findings, context.zone)
    pool = find_pool_page(arrangement, file.sections, query.pool, context.zone)
    return render_template(
        "web/desk/editing/edit.html",
        edition=view.edition,
        state=state,
        arrangement=arrangement,
        content=content,
        lengths=count_head_lengths(content),
        draft_intro=file.publication.intro,
        outline=outline,
        pool=pool,
        shown_place=outline.find_preview_place(query.open or query.show),
        story_anchor=story_anchor,
        colleagues=presence.list_colleagues(installation, current_staff(), view.edition.id, now=context.clock()),
        place="block" if query.open.startswith("block-") else query.open,
        writer=create_edit_writer(state.arrangement, state.edits, file.sections),
        last_own=state.find_last_own(actor.name),
        last_undo=state.find_last_own_undo(actor.name),
        clippings=list_clipped_rows(clipboard.list_clippings(installation, actor), outline, name),
        lead_section=find_lead_section(file.sections),
        picture_sections={s.key for s in file.sections if SECTION_KINDS[s.kind].shows_pictures},
        merge_choices=list_merge_choices(outline, pool),
        # By chance: two editors who each write another block do not write the same.
        next_block_id=f"block-{secrets.token_hex(4)}",
        topic_choices=sorted({*pool.topics, *editing_state.list_topic_names(context.settings)}),
        view=view,
        now=context.clock(),
        is_admin=is_admin(),
        asked=query,
        filters=POOL_FILTERS,
        orders=POOL_ORDERS,
        beat_seconds=int(HEARTBEAT_PERIOD.total_seconds()),
        views=PREVIEW_VIEWS,
        preview=find_preview_view(query.view),
        size=MailSize(len(mail.html.encode())),
        standing=read_approval_standing(name, state),
        refused_picture=refused_picture,
    )


@editing_pages.post("/lead/<anchor>")
def choose_lead(name: str, anchor: str) -> ResponseReturnValue:
    """Let another of its articles lead a story."""
    form, _, url = read_story_form(name, anchor)
    result = editing.choose_lead(web_context().installation, form, url, article=request.form.get("lead", ""))
    return _answer_story_edit(name, result, anchor, url)


# --- what is written -----------------------------------------------------------------------------------------


@editing_pages.post("/story/<anchor>")
def save_story(name: str, anchor: str) -> ResponseReturnValue:
    """Save the fields of an open story: what did not change is no edit."""
    form, state, url = read_story_form(name, anchor)
    if state.arrangement.find_story(url) is None:
        raise EditRefusedError("Nothing was changed: the story stands in no section any more. Place it first.")
    installation, picture = web_context().installation, read_picture_form(request.form, request.files)
    written = write_fields(form, request.form, _list_story_writes(installation, request.form, url))
    if picture and not picture.is_untouched:
        try:
            shown = write_fields(written.form, request.form, [_write_picture(installation, url, picture)])
        except EditRefusedError as error:
            if not written.refused:
                refused = RefusedPicture(anchor, picture, explain_refusal(error, picture))
                return _picture_refused_page(name, refused), 409
        else:
            written = WrittenFields(shown.form, (*written.saved, *shown.saved), (*written.refused, *shown.refused))
    close = "close" in request.form
    back = edit_page_url(name, anchor, open="" if close else anchor, show=anchor if close else "")
    if written.refused:
        return show_conflicts(name, written.refused, saved=written.saved, back=back), 409
    return redirect(back, 303)


def _write_picture(installation: Installation, url: str, picture: PictureForm) -> FieldWrite:
    names = ("picture", "alt", "credit", "was-alt", "was-credit")
    return FieldWrite(names, lambda form: change_picture(installation, form, url, picture))


def _picture_refused_page(name: str, refused: RefusedPicture) -> str:
    """Show the edition with the story's form open, what was typed in it and why its picture was not saved."""
    context = web_context()
    view = page_views.view_edition(context.installation, name, recent=context.recent_counts, now=context.clock())
    query = replace(read_page_query(request.form), open=refused.anchor, tab="edition")
    return render_edit_page(view, editing_state.read_editing_state(context.installation, name), query, refused)


def _differs(fields: Mapping[str, str], name: str) -> bool:
    """Whether a field differs from what stood when the page was made."""
    if name not in fields:
        return False
    return fields[name].splitlines() != fields.get(f"was-{name}", "").splitlines() or f"was-{name}" not in fields


def _list_story_writes(installation: Installation, fields: Mapping[str, str], url: str) -> Iterator[FieldWrite]:
    """List the acts that write what differs from what stood when the page was made; an empty text brings the original back."""

    def write_text(field: StoryField) -> FieldWrite:
        text = fields[field].strip() or None
        return FieldWrite((field,), lambda form: editing.write_text(installation, form, url, field, text))

    yield from (write_text(field) for field in STORY_FIELDS if _differs(fields, field))
    if _differs(fields, "topic"):
        yield FieldWrite(("topic",), lambda form: editing.choose_topic(installation, form, url, fields["topic"]))
    if _differs(fields, "note"):
        yield FieldWrite(("note",), lambda form: editing.write_note(installation, form, url, fields["note"]))


@editing_pages.post("/head")
def save_head(name: str) -> ResponseReturnValue:
    """Save the subject, the preheader and the intro; an empty subject or preheader brings the original back, no intro is none."""
    installation, fields = web_context().installation, request.form

    def write_text(field: EditionField) -> FieldWrite:
        text = fields[field].strip() or ("" if field is EditionField.INTRO else None)
        return FieldWrite((field,), lambda form: editing.write_edition_text(installation, form, field, text))

    writes = [write_text(field) for field in HEAD_FIELDS if _differs(fields, field)]
    written = write_fields(read_edit_form(name), fields, writes)
    back = edit_page_url(name, "head", open="" if "close" in fields else "head", show="")
    if written.refused:
        return show_conflicts(name, written.refused, saved=written.saved, back=back), 409
    return redirect(back, 303)


@editing_pages.post("/block/<block_id>")
def save_block(name: str, block_id: str) -> ResponseReturnValue:
    """Write a labelled block, or take it out. What a form does not say stays as it stands: a field that is left is sent alone."""
    installation, form = web_context().installation, read_edit_form(name)
    if "remove" in request.form:
        return answer_edit(name, editing.remove_block(installation, form, block_id), "blocks")
    state = editing_state.read_editing_state(installation, name)
    standing = state.arrangement.find_block(block_id) or LabelledBlock(block_id, "sponsor", "")
    block = _read_block(request.form, standing)
    known = [seq for field in _BLOCK_FIELDS if (seq := find_known(request.form, field)) is not None]
    # Fields that were begun before the form's own last saving name an older state, and know what stands all the same.
    based_on = state.last_seq if _was_written_on(request.form, standing) else min(known, default=form.based_on)
    form = replace(form, state=state, based_on=based_on)
    return answer_edit(name, editing.write_block(installation, form, block), "blocks")


def _was_written_on(fields: Mapping[str, str], block: LabelledBlock) -> bool:
    """Return whether a form says of each field of a block what stands there."""
    return all(
        f"was-{field}" in fields
        and fields[f"was-{field}"].splitlines() == str(getattr(block, field) or "").splitlines()
        for field in _BLOCK_FIELDS
    )


_BLOCK_FIELDS = ("kind", "headline", "name", "text", "url", "after", "first_day", "last_day")


def _read_block(fields: Mapping[str, str], standing: LabelledBlock) -> LabelledBlock:
    """Return a block with what a form says of it."""
    return LabelledBlock(
        id=standing.id,
        kind=_read_block_kind(fields.get("kind", standing.kind)),
        headline=fields.get("headline", standing.headline),
        name=fields.get("name", standing.name),
        text=fields.get("text", standing.text),
        url=fields.get("url", standing.url),
        after=fields.get("after", standing.after),
        first_day=read_day(fields["first_day"]) if "first_day" in fields else standing.first_day,
        last_day=read_day(fields["last_day"]) if "last_day" in fields else standing.last_day,
    )


def _read_block_kind(text: str) -> BlockKind:
    kinds: dict[str, BlockKind] = {kind: kind for kind in get_args(BlockKind)}
    return kinds.get(text, "sponsor")


def read_day(text: str) -> date | None:
    """Read a day of a form; None where it is empty.

    Raises:
        EditRefusedError: it is no day.
    """
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise EditRefusedError(f"Nothing was changed: “{text[:20]}” is no day. Write it as 2026-11-20.") from None
