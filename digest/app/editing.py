"""What editors do to an edition at the desk: each act one function, with its role, transaction and audit row.

An act is folded into the stored proposal and rendered outside the transaction, and then stored if nobody was quicker; else it
is folded again on top of what they did. A form carries the number of the last edit that it knew, so that an act that would
overwrite unseen what somebody else changed comes back as a conflict, with both versions.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.acts import Act, Actor, AuditDraft, Role
from digest.app.installation import Installation
from digest.collect.text_cleanup import normalise_text
from digest.collect.urls import canonical_url, usable_url
from digest.edition import edits as history
from digest.edition.approval import supersede_approval
from digest.edition.arrangement import ArrangedStory, Arrangement, arrange_edition
from digest.edition.composition import (
    ComposedEdition,
    compose_arrangement,
    compose_edition,
    record_content,
    update_story_rows,
)
from digest.edition.content import LabelledBlock
from digest.edition.content_builder import EditionIdentity
from digest.edition.drafting import replace_fragments
from digest.edition.edit_log import append_edit, load_edits, load_proposal, proposal_hash_of
from digest.edition.edits import Edit, EditConflict, EditDraft, EditionField, EditKind, RevertEffect, StoryField
from digest.edition.grown_proposal import GrownProposal
from digest.edition.kinds import SECTION_KINDS
from digest.edition.queries import COMING_STATES, find_edition
from digest.select.topics import built_in_topic_names
from digest.settings import Settings
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError

EDIT = Act("edited", Role.EDITOR)
_MAX_ATTEMPTS = 20  # folds of one act, where colleagues are quicker each time
_MAX_AUDITED_TARGET = 200  # characters
# What a paste from a page or a word processor leaves behind; a lone "<" is text.
_PASTED_INLINE = re.compile(r"</?(?:[abisu]|em|font|span|strong)(?:\s[^<>]*)?>", re.IGNORECASE)
_PASTED_BLOCK = re.compile(r"</?(?:p|br|div|h[1-6]|li|ol|ul)(?:\s[^<>]*)?/?>", re.IGNORECASE)


class EditRefusedError(RefusalError):
    """The act cannot be done on this edition; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EditForm:
    """Who acts on which edition, when, and on which state of it: `based_on` is the number of the last edit they saw.

    Without `based_on` the act is done on whatever the edition is. `state` is the edition as the caller has just read it, to
    find what the act is about; it is not read again unless somebody is quicker.
    """

    edition: str
    actor: Actor
    now: datetime
    based_on: int | None = None
    state: "EditingState | None" = None


@dataclass(frozen=True, slots=True)
class EditingState:
    """An edition as its editors see it. `approved` is whether an edit takes an approval back."""

    name: str
    identity: EditionIdentity
    grown: GrownProposal
    proposal_hash: str
    edits: tuple[Edit, ...]
    arrangement: Arrangement
    approved: bool

    @property
    def last_seq(self) -> int:
        """The number of the last edit, which a form made on this state carries; 0 before the first."""
        return self.edits[-1].seq if self.edits else 0

    def find_last_own(self, actor: str) -> Edit | None:
        """Find what an editor's undo takes back: their last act that is in force."""
        return history.find_last_own(self.edits, actor)

    def find_last_own_undo(self, actor: str) -> Edit | None:
        """Find what an editor's redo takes back: their last undo, if they did nothing since."""
        return history.find_last_own_undo(self.edits, actor)

    def find_revert_effect(self, seq: int) -> RevertEffect:
        """Return what bringing back the state after the edit of a number changes."""
        return history.find_revert_effect(self.edits, seq)

    def arrange_at(self, installation: Installation, seq: int) -> Arrangement:
        """Return what stood where after the edit of a number."""
        past = tuple(e for e in self.edits if e.seq <= seq)
        return _arrange(installation, self.grown, past, self.identity)


@dataclass(frozen=True, slots=True)
class EditResult:
    """What came of an act: the edit as it stands in the history, or a conflict; neither, where all was so already.

    `state` is the edition with the edit, or as it stands where there is a conflict; `before` is how it stood when the form was
    made.
    """

    state: EditingState
    edit: Edit | None = None
    conflict: EditConflict | None = None
    before: Arrangement | None = None
    approval_taken_back: bool = False


def find_editing_state(installation: Installation, edition: Edition) -> EditingState | None:
    """Read an edition as its editors see it; None for one that has gone out, or was drafted by a version without edits."""
    if edition.state not in COMING_STATES:
        return None
    try:
        return read_editing_state(installation, edition.name)
    except EditRefusedError:
        return None


def list_topic_names(settings: Settings) -> list[str]:
    """List the topics that a story may have, by the settings, else the built-in ones."""
    return list(settings.file.select.topics or built_in_topic_names())


def read_editing_state(installation: Installation, name: str) -> EditingState:
    """Read an edition as its editors see it.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    with installation.database.read() as session:
        edition = find_edition(session, name)
        grown, proposal_hash = load_proposal(session, edition), proposal_hash_of(session, edition)
        edits = load_edits(session, edition)
    if grown is None or proposal_hash is None:
        raise EditRefusedError(
            f"{edition.name} was drafted by an earlier version, which kept no proposal to edit. Draft it again ('digest draft')."
        )
    identity = EditionIdentity(edition.name, edition.number, edition.release_at)
    return EditingState(
        name=edition.name,
        identity=identity,
        grown=grown,
        proposal_hash=proposal_hash,
        edits=edits,
        arrangement=_arrange(installation, grown, edits, identity),
        approved=edition.state == EditionState.APPROVED,
    )


def _arrange(
    installation: Installation, grown: GrownProposal, edits: Sequence[Edit], identity: EditionIdentity
) -> Arrangement:
    file = installation.settings.file
    return arrange_edition(grown, edits, file, identity.release_at.astimezone(file.publication.zone).date())


def preview_state(installation: Installation, name: str, *, seq: int | None = None) -> ComposedEdition:
    """Render an edition as it stood after the edit of a number, without storing anything; without one, as it stands.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    state = read_editing_state(installation, name)
    past = tuple(e for e in state.edits if seq is None or e.seq <= seq)
    return compose_edition(state.grown, past, state.identity, installation.settings)


# --- where a story stands ------------------------------------------------------------------------------------


def place_story(
    installation: Installation,
    form: EditForm,
    url: str,
    *,
    section: str,
    after: str | None = None,
    position: int | None = None,
) -> EditResult:
    """Put a story into a section: after another story of it ("" is first), else at a position from 0, else at the end.

    Raises:
        EditRefusedError: editors put nothing into that section.
    """
    value = {"section": section, "after": after, "position": position}

    def place(_: EditingState) -> EditDraft:
        _refuse_measured(installation, section)
        return EditDraft(EditKind.PLACE, url, _without_none(value))

    return apply_decision(installation, form, place)


def move_story(installation: Installation, form: EditForm, url: str, *, steps: int) -> EditResult:
    """Move a story within its section: up by negative, down by positive steps; at the end of a section it stays.

    Raises:
        EditRefusedError: the story stands in no section, in one that editors do not order, or cannot move that way.
    """

    def move(state: EditingState) -> EditDraft:
        section, stories, position = _find_placed(state.arrangement, url)
        _refuse_measured(installation, section)
        others = [s.url for s in stories if s.url != stories[position].url]
        wanted = min(max(position + steps, 0), len(others))
        if wanted == position:
            raise EditRefusedError("The story stands at the end of its section already.")
        value = {"section": section, "after": others[wanted - 1] if wanted else "", "position": wanted}
        return EditDraft(EditKind.PLACE, url, value)

    return apply_decision(installation, form, move)


def _refuse_measured(installation: Installation, key: str) -> None:
    """Refuse to put a story by hand where a section says what readers did."""
    section = next((s for s in installation.settings.file.sections if s.key == key), None)
    if section and not SECTION_KINDS[section.kind].is_placed_by_hand:
        raise EditRefusedError(
            f"Nothing was changed: {section.title} says what readers opened most, so nothing is put or moved there by hand. "
            "Take out what does not belong there, or choose another section."
        )


def _find_placed(arrangement: Arrangement, url: str) -> tuple[str, tuple[ArrangedStory, ...], int]:
    story = arrangement.find_story(url)
    for section, stories in arrangement.sections.items():
        if story in stories:
            return section, stories, stories.index(story)
    raise EditRefusedError("The story stands in no section. Place it first.")


def drop_stories(installation: Installation, form: EditForm, url: str, *others: str) -> EditResult:
    """Remove stories from the edition or the tray; what takes their places is their sections' rule."""
    return apply_edit(installation, form, EditDraft(EditKind.DROP, url, {"others": list(others)} if others else {}))


def restore_story(installation: Installation, form: EditForm, url: str) -> EditResult:
    """Put a removed story back to where it was."""
    return apply_edit(installation, form, EditDraft(EditKind.RESTORE, url, {}))


def pin_story(installation: Installation, form: EditForm, url: str, *, pinned: bool) -> EditResult:
    """Keep a story at its place whatever moves around it, or let it go again."""
    return apply_edit(installation, form, EditDraft(EditKind.PIN, url, {"pinned": pinned}))


def put_under(installation: Installation, form: EditForm, url: str, *, main: str) -> EditResult:
    """Put a story under another one as supporting."""
    return apply_edit(installation, form, EditDraft(EditKind.UNDER, url, {"main": main}))


# --- what a story is made of ---------------------------------------------------------------------------------


def choose_lead(installation: Installation, form: EditForm, url: str, *, article: str) -> EditResult:
    """Let another of its articles lead a story."""
    return apply_edit(installation, form, EditDraft(EditKind.LEAD, url, {"article": article}))


def merge_stories(installation: Installation, form: EditForm, url: str, *others: str) -> EditResult:
    """Let a story take the articles of others."""
    return apply_edit(installation, form, EditDraft(EditKind.MERGE, url, {"others": list(others)}))


def split_story(installation: Installation, form: EditForm, url: str, *articles: str) -> EditResult:
    """Make a story of its own of some of a story's articles."""
    return apply_edit(installation, form, EditDraft(EditKind.SPLIT, url, {"articles": list(articles)}))


def write_story(
    installation: Installation, form: EditForm, article: Mapping[str, Any], *, section: str = "", topic: str = ""
) -> EditResult:
    """Add a story that no source brought; without a `url` in `article` it has no link.

    `article` has the fields of a `CandidateArticle`, of which `title` is needed. A `url` without a `link` is the link as it was
    typed.

    Raises:
        EditRefusedError: the link is no web address, the article is in the edition's week already, or editors put nothing into
            that section.
    """
    described = {name: clean_typed_text(v) if isinstance(v, str) else v for name, v in article.items()}
    url = str(described.pop("url", "") or "")
    if url and not described.get("link"):
        described["link"] = link = usable_url(url)
        if link is None:
            raise EditRefusedError(
                "Nothing was changed: the link is no web address. It begins with https:// or http://."
            )
        url = canonical_url(link)
    url = url or f"{history.OWN_STORY_PREFIX}{secrets.token_hex(6)}"
    value = {"article": described, "section": section, "topic": clean_typed_text(topic)}

    def add(_: EditingState) -> EditDraft:
        _refuse_measured(installation, section)
        return EditDraft(EditKind.ADD, url, value)

    return apply_decision(installation, form, add)


# --- what is written -----------------------------------------------------------------------------------------


def write_text(installation: Installation, form: EditForm, url: str, field: StoryField, text: str | None) -> EditResult:
    """Write a text of a story; None brings the original back."""
    return _write_text(installation, form, url, field, text)


def write_edition_text(installation: Installation, form: EditForm, field: EditionField, text: str | None) -> EditResult:
    """Write the subject, the preheader, the intro or its signature; None brings the original back."""
    return _write_text(installation, form, history.EDITION_TARGET, field, text)


def _write_text(installation: Installation, form: EditForm, target: str, field: str, text: str | None) -> EditResult:
    written = None if text is None else clean_typed_text(text)
    draft = EditDraft(EditKind.TEXT, target, {"field": str(field), "text": written})
    # A field that is saved on leaving it comes here unchanged more often than not.
    return apply_decision(
        installation, form, lambda state: None if _written_text(state.arrangement, target, field) == written else draft
    )


def _written_text(arrangement: Arrangement, target: str, field: str) -> str | None:
    """Return what an editor wrote, None where the original stands."""
    if target == history.EDITION_TARGET:
        return arrangement.texts.get(field)
    story = arrangement.find_story(target)
    return story.texts.get(field) if story else ""


def choose_topic(installation: Installation, form: EditForm, url: str, topic: str) -> EditResult:
    """Give a story another topic; an empty one brings its own back."""
    return apply_edit(installation, form, EditDraft(EditKind.TOPIC, url, {"topic": clean_typed_text(topic)}))


def write_note(installation: Installation, form: EditForm, url: str, text: str) -> EditResult:
    """Write the editor's note under a story; an empty one takes it away."""
    return apply_edit(installation, form, EditDraft(EditKind.NOTE, url, {"text": clean_typed_text(text)}))


def write_block(installation: Installation, form: EditForm, block: LabelledBlock) -> EditResult:
    """Write a labelled block, in place of the one of its id."""
    value = {
        "kind": block.kind,
        "headline": clean_typed_text(block.headline),
        "name": clean_typed_text(block.name),
        "text": clean_typed_text(block.text),
        "url": block.url.strip(),
        "after": block.after,
        "first_day": block.first_day.isoformat() if block.first_day else None,
        "last_day": block.last_day.isoformat() if block.last_day else None,
    }
    return apply_edit(installation, form, EditDraft(EditKind.BLOCK, f"{history.BLOCK_PREFIX}{block.id}", value))


def remove_block(installation: Installation, form: EditForm, block_id: str) -> EditResult:
    """Take a block out of this edition."""
    return apply_edit(
        installation, form, EditDraft(EditKind.BLOCK, f"{history.BLOCK_PREFIX}{block_id}", {"removed": True})
    )


def clean_typed_text(text: str) -> str:
    """Return a text that was typed or pasted, on one line and without a paste's mark-up."""
    return normalise_text(_PASTED_BLOCK.sub(" ", _PASTED_INLINE.sub("", text)))


# --- the history ---------------------------------------------------------------------------------------------


def undo_last(installation: Installation, form: EditForm) -> EditResult:
    """Take back the actor's own last act.

    Raises:
        EditRefusedError: they have done nothing that is in force.
    """
    return apply_decision(installation, form, lambda state: _undo(history.find_last_own(state.edits, form.actor.name)))


def redo_last(installation: Installation, form: EditForm) -> EditResult:
    """Take back the actor's own last undo, if they did nothing since.

    Raises:
        EditRefusedError: there is none.
    """
    return apply_decision(
        installation, form, lambda state: _undo(history.find_last_own_undo(state.edits, form.actor.name))
    )


def undo_edit(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Take back one edit of the history, whoever made it.

    Raises:
        EditRefusedError: there is none of that number, or it was taken back already.
    """

    def undo(state: EditingState) -> EditDraft:
        if seq in history.find_undone(state.edits):
            raise EditRefusedError("The change was taken back already.")
        return _undo(next((e for e in state.edits if e.seq == seq), None))

    return apply_decision(installation, form, undo)


def _undo(edit: Edit | None) -> EditDraft:
    if edit is None:
        raise EditRefusedError("There is nothing to take back.")
    return EditDraft(EditKind.UNDO, edit.target, {}, edit.seq)


def bring_back(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Bring back the state after the edit of a number (0: before the first): all edits since are taken back.

    Raises:
        EditRefusedError: nothing has changed since; or somebody changed something after the form was made, which said what would
            be taken out.
    """

    def revert(state: EditingState) -> EditDraft:
        if form.based_on is not None and form.based_on != state.last_seq:
            raise EditRefusedError(
                "Nothing was brought back: the edition was changed while the page was open. See what would be taken out now."
            )
        past = tuple(e for e in state.edits if e.seq <= seq)
        if history.edits_in_force(past) == history.edits_in_force(state.edits):
            raise EditRefusedError("Nothing has changed since then.")
        return EditDraft(EditKind.REVERT, history.EDITION_TARGET, {}, max(0, seq))

    return apply_decision(installation, form, revert)


# --- how an act is done --------------------------------------------------------------------------------------


def apply_edit(installation: Installation, form: EditForm, draft: EditDraft) -> EditResult:
    """Do one act on an edition.

    Returns:
        The edit and the edition with it; or a conflict, where somebody changed the same since the form was made.

    Raises:
        NotPermittedError: the actor is no editor.
        UnknownEditionError: there is no such edition.
        EditRefusedError: it went out or was cancelled, or the act would do nothing.
    """
    return apply_decision(installation, form, lambda _: draft)


class _OvertakenError(Exception):
    """Somebody else's act was stored first: this one is folded again."""


def apply_decision(
    installation: Installation, form: EditForm, decide: Callable[[EditingState], EditDraft | None]
) -> EditResult:
    """Do the act that `decide` chooses on the edition as it is, again if somebody is quicker; for the rest see `apply_edit`.

    `decide` returns None where all is so already.
    """
    with EDIT.steps(installation.database, form.actor, form.edition, now=form.now) as audit:
        known = form.state
        for _ in range(_MAX_ATTEMPTS):
            state, known = known or read_editing_state(installation, form.edition), None
            audit.subject = state.name
            draft = decide(state)
            if draft is None:
                audit.changed = False
                return EditResult(state)
            based_on = state.last_seq if form.based_on is None else form.based_on
            conflict = history.find_conflict(
                draft, state.edits, based_on=based_on, resolve=state.arrangement.name_target
            )
            if conflict:
                audit.changed = False
                return EditResult(state, conflict=conflict, before=state.arrange_at(installation, based_on))
            edit = _next_edit(draft, state, form)
            arrangement = _fold_edit(installation, state, edit)
            composed = compose_arrangement(arrangement, state.identity, installation.settings)
            try:
                with installation.database.write() as session:
                    _store_edit(session, state, edit, composed, audit)
            except _OvertakenError:
                continue
            after = replace(state, edits=(*state.edits, edit), arrangement=arrangement, approved=False)
            return EditResult(after, edit, approval_taken_back=state.approved)
        raise EditRefusedError("Others changed the edition faster than this could be saved. Try it again.")


def _next_edit(draft: EditDraft, state: EditingState, form: EditForm) -> Edit:
    value = dict(draft.value)
    return Edit(state.last_seq + 1, form.now, form.actor.name, draft.kind, draft.target, value, draft.undoes)


def _fold_edit(installation: Installation, state: EditingState, edit: Edit) -> Arrangement:
    """Fold one more edit in; one that would do nothing is refused, so that whoever clicked is told why."""
    arrangement = _arrange(installation, state.grown, (*state.edits, edit), state.identity)
    if reason := arrangement.outcomes[-1].idle_reason:
        raise EditRefusedError(f"Nothing was changed: {reason}.")
    return arrangement


def _store_edit(
    session: Session, state: EditingState, edit: Edit, composed: ComposedEdition, audit: AuditDraft
) -> None:
    edition = session.scalar(select(Edition).where(Edition.name == state.name).with_for_update())
    if edition is None or proposal_hash_of(session, edition) != state.proposal_hash:
        raise _OvertakenError
    if len(load_edits(session, edition)) != len(state.edits):
        raise _OvertakenError
    if edition.state not in COMING_STATES:
        raise EditRefusedError(f"{edition.name} is {edition.state}: only what has not gone out yet can be edited.")
    audit.detail = {"seq": edit.seq, "kind": str(edit.kind), "target": edit.target[:_MAX_AUDITED_TARGET]}
    if supersede_approval(session, edition, actor=edit.actor, now=edit.at, by_edit=edit.seq):
        audit.detail["approval"] = "superseded"
    append_edit(session, edition, edit)
    record_content(edition, composed)
    update_story_rows(session, edition, before=state.arrangement, after=composed.arrangement)
    replace_fragments(session, edition, ((f.kind, f.name, f.body) for f in composed.fragments))
    audit.record(session)


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}
