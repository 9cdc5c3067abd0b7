"""Responses to the forms of an edition's page: a redirect to the page, or the changes for its script."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from flask import flash, get_template_attribute, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from digest.app.accounts import staff
from digest.app.editing import editing_state
from digest.app.editing.editing_state import EditingState
from digest.app.editing.lead_alternatives import order_articles
from digest.app.editions import edition_views
from digest.collect.imaging.encoded_image import DEFAULT_FOCUS
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import EDITION_TARGET, Edit
from digest.edition.kinds import SECTION_KINDS
from digest.edition.preflight.rule_registry import PreflightFinding
from digest.web.actor_names import replace_edit_authors_with_names
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, is_admin
from digest.web.desk.editing.page_query import CHOICE_PANELS, EditionPageQuery, read_number, read_page_query
from digest.web.desk.edition.previews import find_preview_mode
from digest.web.desk.outline.edit_outline import build_edit_page_data, list_likely_merges
from digest.web.desk.outline.edit_sentences import create_sentence_writer
from digest.web.desk.outline.edition_outline import count_opening_text_lengths
from digest.web.desk.outline.story_pool import find_lead_section, story_anchor
from subscribers.english_text import curl_quotes


def is_script_request() -> bool:
    """Return True if the page's script sent the form, so that the response should be JSON."""
    return request.accept_mimetypes.best == "application/json"


def answer_saved_edits(state: EditingState, saved: Sequence[Edit], back: str) -> ResponseReturnValue:
    """Redirect to the page, or return the changes to its script.

    `state` is the edition with the edits. If it's approved, they reinstated the approval, and the
    page says so once.
    """
    if saved and state.approved:
        flash("reinstated", "approval")
    if not is_script_request():
        return redirect(back, 303)
    return jsonify(_describe_saved_edits(state, saved))


def answer_refused_image(state: EditingState, saved: Sequence[Edit], error: Exception) -> ResponseReturnValue:
    """Tell the page's script why an image was rejected, and what the form's saved edits changed."""
    described = _describe_saved_edits(state, saved) if saved else {}
    return jsonify({**described, "why": curl_quotes(str(error))}), 409


def _describe_saved_edits(state: EditingState, saved: Sequence[Edit]) -> dict[str, Any]:
    """Return the changes made by edits, for the page's script.

    If the page doesn't have earlier edits, or if an approval began or ended, the script has to reload it.
    """
    fields, query = request.form, read_page_query(request.form)
    words = render_news_text("saved", state.edits[-1]) if state.edits else ""
    about = saved[-1].target if saved else ""
    answer = {"saved": words, "story": story_anchor(state.arrangement.name_target(about))}
    known_seq = state.last_seq - len(saved)
    is_newest = read_number(fields.get("seq", "")) == known_seq
    if not is_newest or state.approval or fields.get("supersedes") or query.panel in CHOICE_PANELS:
        return answer | {"reload": True}
    before = state.arrange_at(get_app_state().installation, known_seq)
    names = staff.read_display_names(get_app_state().installation)
    findings = _update_shown_findings(state.name, saved)
    parts: dict[str, Any] = {"edition": state.edition, **build_section_template_values(state, query, findings, names)}
    html = _render_changed_parts(parts, before, state.arrangement)
    return answer | {"seq": state.last_seq, "html": html}


def _update_shown_findings(name: str, saved: Iterable[Edit]) -> list[PreflightFinding]:
    """Remove findings about rewritten texts from those shown until the next check, and return the rest."""
    rewritten = {edit.text("field") for edit in saved if edit.target == EDITION_TARGET}
    shown_findings = get_app_state().shown_findings
    findings = [finding for finding in shown_findings.get(name, ()) if finding.where.lower() not in rewritten]
    shown_findings[name] = findings
    return word_findings_for_viewer(findings)


def _render_changed_parts(parts: dict[str, Any], before: Arrangement, after: Arrangement) -> str:
    """Render the parts of the page that differ between two arrangements."""
    topics = (story.placed.scored.topic for story in after.list_stories())
    return render_template(
        "web/desk/editing/edit_changes.html",
        **parts,
        topic_choices=list_topic_choices(topics),
        story_choices=(),
        refused_picture=None,
        changed={key for key in after.sections if _read_section(after, key) != _read_section(before, key)},
        has_other_blocks=(before.blocks, before.resting_blocks) != (after.blocks, after.resting_blocks),
    )


def _read_section(arrangement: Arrangement, key: str) -> tuple[object, ...]:
    """Return the values from which a section's part of the page is rendered."""
    removed = [story for story in arrangement.removed if story.section == key]
    return arrangement.sections.get(key), removed


def build_section_template_values(
    state: EditingState,
    query: EditionPageQuery,
    findings: Sequence[PreflightFinding],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """Return the values for the parts of an edition's page that edits can change, except for the edition itself."""
    app_state, actor = get_app_state(), current_actor().name
    file, content = app_state.settings.file, EditionContent.from_json(state.edition.content)
    arrangement = replace_edit_authors_with_names(state.arrangement, names)
    outline = build_edit_page_data(arrangement, content, file.sections, findings, app_state.zone)
    return {
        "state": state,
        "asked": query,
        "arrangement": arrangement,
        "added_stories": arrangement.list_added_stories(),
        "content": content,
        "lengths": count_opening_text_lengths(content),
        "draft_intro": file.publication.intro,
        "outline": outline,
        "likely_merges": list_likely_merges(state.proposal.proposal.likely_merges, state.arrangement, outline),
        "story_anchor": story_anchor,
        "order_articles": order_articles,
        "writer": create_sentence_writer(state.arrangement, state.edits, file.sections),
        "last_own": state.find_last_edit_by(actor),
        "last_undo": state.find_last_undo_by(actor),
        "lead_section": find_lead_section(file.sections),
        "find_uncropped": partial(edition_views.find_uncropped_image, app_state.installation),
        "default_focus": DEFAULT_FOCUS,
        "image_sections": {s.key for s in file.sections if SECTION_KINDS[s.kind].shows_images},
        # The ID is random, so that two editors who each write a new block don't write the same one.
        "next_block_id": f"block-{secrets.token_hex(4)}",
        "preview": find_preview_mode(query.view),
    }


def list_topic_choices(topics: Iterable[str | None]) -> list[str]:
    """Return the topics that a story can have, sorted: these and those in the settings."""
    return sorted({*filter(None, topics), *editing_state.list_topic_names(get_app_state().settings)})


def word_findings_for_viewer(findings: Iterable[PreflightFinding]) -> list[PreflightFinding]:
    """Return preflight findings for the signed-in user.

    Those shown to admins don't suggest asking an admin.
    """
    return [finding.address_to_admin() for finding in findings] if is_admin() else list(findings)


def render_news_text(macro: str, *values: object) -> str:
    """Render a macro of `news.html` as plain text."""
    words: Markup = get_template_attribute("web/desk/editing/news.html", macro)(*values)
    return words.strip().unescape()
