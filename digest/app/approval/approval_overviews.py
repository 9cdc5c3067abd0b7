"""An edition's approval state, its send-back notes, and reinstating its last approval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.edit_application import EditForm
from digest.app.editing.editing_state import EditingState
from digest.app.editions import edition_views
from digest.app.editions.edition_status import resolve_edition_name
from digest.app.editions.sample_emails import fill_sample_placeholders
from digest.edition.approval import approval_check, sent_back_notes
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approvers import ApproverRule
from digest.edition.approval.authors import read_approver_rule_for_authors
from digest.edition.archive.linked_hosts import LinkedHost, list_linked_hosts
from digest.edition.content.content_changes import ContentComparison, compare_contents
from digest.edition.content.edition_content import EditionContent, EditionSection, LabeledBlock
from digest.edition.editing import authorship
from digest.edition.editing.authorship import WrittenPart
from digest.edition.editing.edit_log import load_edits
from digest.edition.editing.edits import EditionField, StoryField
from digest.edition.edition_queries import COMING_STATES, find_edition
from digest.edition.kinds import find_section_before_block
from digest.installation.action_words import name_actor
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.approval_models import Approval, SentBackNote
from digest.store.audit import SENT_BACK
from digest.store.models import Edition, EditionState
from digest.store.staff import list_staff_members, map_staff_display_names, staff_actor
from subscribers.english_text import add_comma, join_words

SEND_BACK = Action(SENT_BACK)
FINISH_NOTE = Action("sent-back note done")
REINSTATE = Action("reinstated an approval")
_MAX_ATTEMPTS = 5  # for when editors keep editing while a deadline passes
_MAX_NAMED_PARTS = 4


def send_back_edition(installation: Installation, name: str, text: str, *, actor: Actor, now: datetime) -> str:
    """Send an edition back to its editors with a note, and return the edition's name.

    Any approval is revoked.

    Raises:
        UnknownEditionError: there's no edition of that name.
        SentBackError: the note is empty or too long, or the edition has been sent.
    """
    name = resolve_edition_name(installation, name)
    with SEND_BACK.transaction(installation, actor, name, now=now) as (session, audit):
        edition, note_text = find_edition(session, name), editing.clean_typed_text(text)
        note = sent_back_notes.add_sent_back_note(session, edition, note_text, actor=actor.name, now=now)
        # The text isn't logged, because it might contain a subscriber's name.
        audit.detail = {"note": note.id, approval.REVOKED_DETAIL: approval.list_revoked_versions(session, edition)}
    return name


def mark_note_done(installation: Installation, name: str, note_id: int, *, actor: Actor, now: datetime) -> str:
    """Mark a send-back note as done, and return the edition's name.

    Raises:
        UnknownEditionError: there's no edition of that name.
        SentBackError: the edition has no such note, or the note is already done.
    """
    name = resolve_edition_name(installation, name)
    with FINISH_NOTE.transaction(installation, actor, name, now=now) as (session, audit):
        sent_back_notes.close_sent_back_note(session, find_edition(session, name), note_id, actor=actor.name, now=now)
        audit.detail = {"note": note_id}
    return name


def reinstate_last_approval(installation: Installation, name: str, *, actor: Actor, now: datetime) -> int:
    """Reinstate the newest approved version that wasn't revoked, and return its number.

    A deadline rule does this for a draft that wasn't approved again. An edit first restores the
    draft to that version's content, so pages show what's sent. The version itself is sent, byte for
    byte.

    Raises:
        UnknownEditionError: there's no edition of that name.
        ApprovalError: nothing was approved, every approval was revoked, or the version can't be
            sent anymore.
        EditRefusedError: editors kept changing the edition at the same time.
    """
    name = resolve_edition_name(installation, name)
    with REINSTATE.steps(installation, actor, name, now=now) as audit:
        for _ in range(_MAX_ATTEMPTS):
            state = editing_state.read_editing_state(installation, name)
            # This is checked before the draft is reverted, so that editors keep their changes if no
            # version can be reinstated.
            version = _read_reinstatable(installation, name)
            state = _bring_back_draft(installation, state, version, actor, now)
            with installation.write() as session:
                edition = find_edition(session, name, lock=True)
                if len(load_edits(session, edition)) != len(state.edits):
                    continue
                # If reverting the draft restored exactly what was approved, the version has already
                # been reinstated.
                if not state.approved:
                    settings, keys = installation.settings, installation.keys
                    approval_check.reinstate_approval(session, edition, settings=settings, keys=keys, now=now)
                audit.detail = {"mark": version.content_hash, "version": version.version}
                audit.record(session)
            return version.version
        raise editing_state.EditRefusedError("Someone else changed the edition at the same time.", "Try again.")


def _read_reinstatable(installation: Installation, name: str) -> Approval:
    settings, keys = installation.settings, installation.keys
    with installation.read() as session:
        edition = find_edition(session, name)
        reinstatable = approval_check.find_reinstatable_approval(session, edition, settings=settings, keys=keys)
    if reinstatable is None:
        raise approval.ApprovalError(f"{name} has no approved version that can still be sent.", "Approve the draft.")
    return reinstatable


def _bring_back_draft(
    installation: Installation, state: EditingState, version: Approval, actor: Actor, now: datetime
) -> EditingState:
    """Revert the draft to the edits of a version, unless it already has exactly those edits."""
    effect = state.find_revert_effect(version.edit_seq)
    if not effect.taken_out and not effect.put_back:
        return state
    return edit_history.restore_past_state(installation, EditForm(state.name, actor, now), version.edit_seq).state


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverRuleOverview:
    """An approver rule, the parts that it applies to, and the display names of their authors.

    `parts` are the parts that editors wrote, each listed once per author. `names` maps actors to
    their display names. `invited` are the staff who can't approve yet because they haven't signed
    in.
    """

    rule: ApproverRule
    names: Mapping[str, str]
    parts: tuple[WrittenPart, ...]
    invited: tuple[str, ...] = ()

    def name_actor(self, actor: str, viewer: str = "", you: str = "") -> str:
        """Return an actor's display name, or `you` if it isn't empty and the actor is the viewer."""
        return you if you and actor == viewer else name_actor(actor, self.names)

    def list_parts_by(self, author: str) -> list[WrittenPart]:
        """Return the parts that an author wrote."""
        return [part for part in self.parts if part.actor == author]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalOverview(ApproverRuleOverview):
    """The state of an edition's approval.

    `versions` are in order from newest to oldest, and `notes` from oldest to newest. `compared` is
    the last version to be fully approved, even if it was revoked later, and `compared_content` is
    its content.
    """

    edition: Edition
    versions: tuple[Approval, ...]
    notes: tuple[SentBackNote, ...]
    compared: Approval | None
    compared_content: EditionContent | None

    @property
    def open_notes(self) -> tuple[SentBackNote, ...]:
        """The send-back notes that aren't marked as done."""
        return tuple(note for note in self.notes if note.done_at is None)

    @property
    def current(self) -> Approval | None:
        """The version that's approved or waiting for another approver, or None."""
        return next((version for version in self.versions if version.state in approval.OPEN_STATES), None)

    @property
    def current_missing(self) -> int:
        """The minimum number of approvals that the current version still needs.

        It's 0 if there's no current version.
        """
        signed = [each.actor for each in self.current.signatures] if self.current else []
        return approval.count_missing_signatures(self.current.statement, signed) if self.current else 0

    @property
    def ended(self) -> Approval | None:
        """The last version, if it was superseded or revoked and the edition is a draft again."""
        if not self.versions or self.current or self.edition.state not in COMING_STATES:
            return None
        return self.versions[0]

    def compare(
        self,
        content: EditionContent,
        first_draft: EditionContent | None = None,
        in_place: EditionContent | None = None,
    ) -> ContentComparison | None:
        """Compare the last approved content with `content`.

        If nothing was approved yet, compare the first draft, if given. Return None if there's
        neither, or if the last approved version is the current one. Moved stories are compared with
        their entries in `in_place`, if given.
        """
        before = self.compared_content or first_draft
        is_current = self.current is not None and self.compared is not None and self.current.id == self.compared.id
        return None if before is None or is_current else compare_contents(before, content, in_place)

    def find_version(self, number: int) -> Approval | None:
        """Return the version with this number, or None."""
        return next((version for version in self.versions if version.version == number), None)


def read_approval_overview(installation: Installation, name: str) -> ApprovalOverview:
    """Return the state of an edition's approval.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    return build_approval_overview(installation, edition_views.read_edition(installation, name))


def build_approval_overview(installation: Installation, edition: Edition) -> ApprovalOverview:
    """Return the state of an edition's approval, given an edition that was just read."""
    with installation.read() as session:
        versions = approval.list_approvals(session, edition)
        compared = next((version for version in versions if version.stood_at is not None), None)
        parts, rule = approval.read_authorship(session, edition, versions, installation.settings)
        members = map(staff_actor, list_staff_members(session)) if len(rule.staff) == 1 else ()
        return ApprovalOverview(
            edition=edition,
            versions=versions,
            notes=sent_back_notes.list_notes(session, edition),
            rule=rule,
            invited=tuple(member for member in members if member not in rule.staff),
            compared=compared,
            compared_content=EditionContent.from_json(compared.content) if compared else None,
            names=map_staff_display_names(session),
            parts=parts,
        )


def must_others_approve(installation: Installation, author: str, *, now: datetime) -> bool:
    """Return True if someone else has to approve what an author writes now."""
    with installation.read() as session:
        return not read_approver_rule_for_authors(session, [author], now, installation.settings).is_alone


def read_approval_code(installation: Installation, name: str) -> str:
    """Return the short code that approves an edition as it is now.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        return approval.read_draft_approval_code(session, edition, installation.settings, installation.keys)


def list_open_notes(installation: Installation, name: str) -> tuple[SentBackNote, ...]:
    """Return an edition's notes that aren't done, or an empty tuple if it has already been sent.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        return sent_back_notes.list_open_notes(session, edition) if edition.state in COMING_STATES else ()


def list_all_open_notes(installation: Installation) -> tuple[tuple[SentBackNote, Edition], ...]:
    """Return all notes that aren't done, with their editions.

    Notes about editions that have already been sent are left out.
    """
    with installation.read() as session:
        return sent_back_notes.list_all_open_notes(session)


def read_version_html(installation: Installation, name: str, number: int) -> str | None:
    """Return the HTML email of an approved version, filled with sample values.

    Return None if there's no version with this number.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        query = select(Approval).where(Approval.edition_id == edition.id, Approval.version == number)
        version = session.scalar(query)
        if version is None:
            return None
        return fill_sample_placeholders(
            approval.read_approved_version(session, version).join("html"), installation.settings
        )


def list_edition_link_hosts(installation: Installation, name: str) -> tuple[LinkedHost, ...]:
    """Return the hosts that links in an edition's texts lead to, new hosts first.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    own_urls = (installation.settings.link_base, installation.settings.file.publication.site)
    with installation.read() as session:
        edition = find_edition(session, name)
        return list_linked_hosts(session, edition, EditionContent.from_json(edition.content), own_urls)


def name_section_before_block(sections: Sequence[EditionSection], block: LabeledBlock) -> str:
    """Return the title of the section before a labeled block, or an empty string if there are no sections."""
    return find_section_before_block(sections, block.after).title if sections else ""


def explain_approval_state(overview: ApprovalOverview, viewer: str = "") -> list[str]:
    """Return sentences about an edition's open notes, its approvals, and the approvals that it still needs.

    The viewer is called "you".
    """
    notes = [
        f"{overview.name_actor(n.actor)} sent the edition back with a note that isn't done yet: “{n.text}”"
        for n in overview.open_notes
    ]
    return [*notes, *explain_draft_approvers(overview, viewer)]


def explain_draft_approvers(overview: ApprovalOverview, viewer: str = "") -> list[str]:
    """Return sentences about the approvals that a draft has and those that it still needs.

    The viewer is called "you". If the edition isn't a draft, return an empty list.
    """
    return explain_approver_rule(overview, viewer) if overview.edition.state == EditionState.DRAFT else []


def explain_draft_approvers_briefly(overview: ApprovalOverview, viewer: str) -> str:
    """Return who can approve a draft, after the reason why the viewer can't, if so.

    The viewer is called "you". If the edition isn't a draft, return an empty string.
    """
    who_can = explain_draft_approvers(overview, viewer)[-1:]
    refusal = overview.rule.explain_refusal(viewer) if who_can else ""
    if refusal and viewer not in overview.rule.signed:
        refusal = _describe_author(overview, viewer, viewer, most_named=2)
    return " ".join(filter(None, [refusal, *who_can]))


def explain_approver_rule(overview: ApproverRuleOverview, viewer: str = "") -> list[str]:
    """Return sentences about the approvals given and still needed, and the texts that need them.

    The viewer is called "you".
    """
    rule, sentences = overview.rule, []
    if (total := len(rule.signed) + rule.missing) > 1:
        signed = join_words([overview.name_actor(actor) for actor in rule.signed])
        sentences.append(f"{len(rule.signed)} of {total} approvals{f' (by {signed})' if signed else ''}.")
    sentences += [_describe_author(overview, author, viewer) for author in rule.authors]
    may_approve_alone = rule.is_alone or not (rule.written or rule.signed)
    awaits_invited = may_approve_alone and overview.invited and viewer in rule.staff
    if rule.is_alone and not awaits_invited:
        sentences.append(_explain_alone(is_viewer=viewer in rule.staff))
    if awaits_invited:
        invited = [overview.name_actor(actor) for actor in overview.invited]
        have = "hasn't" if len(invited) == 1 else "haven't"
        sentences.append(f"You can approve this, because {join_words(invited)} {have} accepted the invitation yet.")
    elif eligible := sorted(rule.list_eligible(), key=lambda actor: actor != viewer):
        names = join_words([overview.name_actor(actor, viewer, "You") for actor in eligible])
        own = " No one can approve their own text." if not rule.written and len(rule.staff) > 1 else ""
        sentences.append(f"{names} can approve this.{own}")
    elif rule.staff:
        sentences.append("No one else can approve this. Invite another editor.")
    return sentences


def _explain_alone(*, is_viewer: bool) -> str:
    if is_viewer:
        return "You're the only editor, so you can approve your own text."
    return "There's only one editor, so their text doesn't need a second approval."


def _describe_author(
    overview: ApproverRuleOverview, author: str, viewer: str, *, most_named: int = _MAX_NAMED_PARTS
) -> str:
    """Return a sentence about the parts that an author wrote and who has approved them or needs to."""
    who = overview.name_actor(author, viewer, "You")
    wrote = add_comma(f"{who} {_describe_written_parts(overview.list_parts_by(author), most_named)}")
    if overview.rule.awaits_approval(author):
        return f"{wrote} which {'someone else' if author == viewer else f'someone other than {who}'} needs to approve."
    other_names = [overview.name_actor(actor, viewer, "you") for actor in overview.rule.signed if actor != author]
    return f"{wrote} approved by {join_words(other_names)}."


_PART_WORDS = {
    EditionField.SUBJECT: "the subject",
    EditionField.PREHEADER: "the preheader",
    EditionField.INTRO: "the intro",
    EditionField.EDITOR: "the signature",
    StoryField.HEADLINE: "the headline “{}”",
    StoryField.SUMMARY: "the summary of “{}”",
    StoryField.KICKER: "the topic line of “{}”",
    StoryField.WHY: "why “{}” leads",
    StoryField.DUE: "the deadline of “{}”",
    authorship.STORY_PART: "the story “{}”",
    authorship.BLOCK_PART: "the block “{}”",
    authorship.PICTURE_PART: "the image of “{}”",
    authorship.TOPIC_PART: "the topic of “{}”",
    authorship.NOTE_PART: "the note under “{}”",
    authorship.CORRECTION_PART: "the correction of “{}”",
}
_SETTINGS_WORDS = {"select": "the topics", "sections": "the sections", "sources": "the sources"}


def _describe_written_parts(parts: Sequence[WrittenPart], most_named: int) -> str:
    """Return a phrase about what an editor wrote and which settings they changed.

    If there are many texts, only the first few are named.
    """
    texts = [_PART_WORDS[part.part].format(part.item) for part in parts if part.part != authorship.SETTINGS_PART]
    tables = [part.item for part in parts if part.part == authorship.SETTINGS_PART]
    changed = join_words([_SETTINGS_WORDS.get(table, f"the {table} settings") for table in tables])
    more = len(texts) - most_named
    wrote = join_words([*texts[:most_named], f"{more} other parts"] if more > 1 else texts)
    return " and ".join(filter(None, [wrote and f"wrote {wrote}", changed and f"changed {changed}"]))
