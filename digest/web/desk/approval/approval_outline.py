"""An edition's approval as the desk shows it: how it stands, why one no longer counts, and what changed since the last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.app.approval.approvals import ApprovalOverview
from digest.app.editing.editing_state import EditingState
from digest.edition.content.content_changes import ChangeKind, ContentChange, ItemPlace
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.arrangement import ArrangedStory
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditKind
from digest.store.approval_models import ApprovalState
from digest.store.models import EditionState
from digest.web.colleagues import name_actor
from digest.web.desk.outline.edit_history import ChangedPassage, compare_texts
from digest.web.desk.outline.edit_sentences import EditWriter
from digest.web.filters import short_moment
from subscribers.phrases import join_words, sentence

_UNCHANGED = "Nothing: it says the same, word for word."
_HEAD_TITLES = {"subject": "Subject", "preheader": "Preheader", "intro": "Intro", "editor": "Signature"}
_FIELD_WORDS = {"why": "why it leads", "details": "date, credit or other publishers"}
_GONE_WORDS = {
    EditionState.SENDING: "It is going out. Nothing here can be changed any more.",
    EditionState.SENT: "It was sent. Nothing here can be changed any more.",
    EditionState.CANCELLED: "It was cancelled. Nothing here can be changed any more.",
}
_MOVING_KINDS = frozenset({EditKind.PLACE, EditKind.PIN, EditKind.RESTORE, EditKind.UNDER})
_FIELD_KINDS = {"note": EditKind.NOTE, "picture": EditKind.PICTURE, "kicker": EditKind.TOPIC}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change since the last approved version. `passages` is a text with what was and what is; `who` and `at` may be unknown."""

    title: str
    passages: tuple[ChangedPassage, ...] = ()
    out: str = ""
    come: str = ""
    sentence: str = ""
    who: str = ""
    at: datetime | None = None

    @property
    def was(self) -> tuple[ChangedPassage, ...]:
        """The text as it was."""
        return tuple(p for p in self.passages if p.kind != "is")

    @property
    def now(self) -> tuple[ChangedPassage, ...]:
        """The text as it is."""
        return tuple(p for p in self.passages if p.kind != "was")


@dataclass(frozen=True, slots=True)
class ApprovalStanding:
    """How an edition's approval stands, in words. `badge` is empty where there is nothing to say, `tone` names its colour."""

    key: str  # another one as soon as the head of the edition's page has to say something else of it
    badge: str
    tone: str
    void_title: str
    void_reason: str
    sentences: tuple[str, ...]
    approvers: str  # who can approve it, in a sentence; empty if it isn't a draft
    signed: str  # by whom it is approved, or begins to be; empty where nobody has
    refusal: str
    approve_label: str  # of the button
    is_partial: bool  # whether another approval is needed after this one
    compared_version: int  # 0: none was approved yet
    compared_at: datetime | None
    changes: tuple[ChangeRow, ...]
    changes_sentence: str


def describe_approval_standing(
    overview: ApprovalOverview,
    state: EditingState | None,
    content: EditionContent,
    *,
    writer: EditWriter | None,
    sentences: Sequence[str],
    approvers: str,
    actor: str,
    zone: ZoneInfo,
) -> ApprovalStanding:
    """Describe how an edition's approval stands for one of its editors; without `state` it was drafted before edits were kept."""
    badge, tone = _choose_badge(overview)
    title, reason = _explain_void(overview, state, writer, zone)
    changes, said = _list_changes(overview, state, content)
    if said == _UNCHANGED and overview.ended and overview.ended.state is ApprovalState.SUPERSEDED:
        reason = f"{reason} It says again what was approved, word for word, and is to be approved again all the same."
    return ApprovalStanding(
        key=make_standing_key(overview),
        badge=badge,
        tone=tone,
        void_title=title,
        void_reason=reason,
        sentences=tuple(sentences),
        approvers=approvers,
        signed=_name_signers(overview),
        refusal=overview.rule.explain_refusal(actor),
        approve_label=_label_approval(overview, actor),
        is_partial=overview.rule.sign(actor).missing > 0,
        compared_version=overview.compared.version if overview.compared else 0,
        compared_at=overview.compared.stood_at if overview.compared else None,
        changes=changes,
        changes_sentence=said,
    )


@dataclass(frozen=True, slots=True)
class StandingNews:
    """How an edition's approval stands, for a page that was made before: in a badge with its tone, and a sentence on what happened."""

    key: str
    badge: str
    tone: str
    words: str


def describe_standing_news(overview: ApprovalOverview, zone: ZoneInfo) -> StandingNews:
    """Describe how an edition's approval stands, for the pages of it that are open."""
    badge, tone = _choose_badge(overview)
    gone = _GONE_WORDS.get(overview.edition.state)
    if gone:
        badge, tone = overview.edition.state.value.capitalize(), ""
    words = gone or _describe_last_act(overview, zone)
    return StandingNews(make_standing_key(overview), badge or "Draft", tone, words)


def make_standing_key(overview: ApprovalOverview) -> str:
    """Name how an edition's approval stands: the same as long as nobody approved it, sent it back, or took that back."""
    state, newest = overview.edition.state, next(iter(overview.versions), None)
    version = f"{newest.version} {newest.state} {len(newest.signatures)}" if newest else ""
    # What lacks stories is a draft here: both offer the same.
    coming = EditionState.DRAFT if state is EditionState.INCOMPLETE else state
    return "; ".join([coming, version, *(str(note.id) for note in overview.open_notes)])


def _describe_last_act(overview: ApprovalOverview, zone: ZoneInfo) -> str:
    """Say who did what about a coming edition's approval last, and when."""

    def say(act: str, actor: str | None, at: datetime | None) -> str:
        who = name_actor(actor, overview.names) if actor else ""
        return sentence(f"{act.format(who=who)}{f', {short_moment(at, zone)}' if at else ''}")

    current, ended = overview.current, overview.ended
    if overview.open_notes:
        note = overview.open_notes[-1]
        return say("Sent back by {who}", note.actor, note.at)
    if current:
        signed = _name_signers(overview)
        at = short_moment(current.stood_at or current.signatures[-1].at, zone)
        if current.state is ApprovalState.WAITING:
            return sentence(f"Approved by {signed}, {at}; another approval is needed")
        return f"{sentence(f'Approved by {signed}, {at}')} A change takes the approval back."
    if ended and ended.state is ApprovalState.TAKEN_BACK and ended.ended_by:
        return say("{who} took the approval back", ended.ended_by, ended.ended_at)
    if ended:
        act = "{who} changed it, so the approval no longer counts"
        if not ended.ended_by:
            act = f"The approval no longer counts: {ended.ended_because}"
        return say(act, ended.ended_by, ended.ended_at)
    done = overview.notes[-1] if overview.notes else None
    return say("{who} marked the note as done", done.done_by, done.done_at) if done else "It is a draft."


def _label_approval(overview: ApprovalOverview, actor: str) -> str:
    """Return what the button says: what an approval approves, where it's only what others wrote."""
    number, rule = f"No. {overview.edition.number}", overview.rule
    others = [overview.name_actor(author) for author in rule.authors if author != actor and rule.is_open(author)]
    if actor in rule.authors and others and not rule.explain_refusal(actor):
        return f"Approve what {join_words(others)} wrote in {number}"
    return f"Approve {number}"


def _name_signers(overview: ApprovalOverview) -> str:
    """Name who has approved an edition as it stands; empty where nobody has."""
    signatures = overview.current.signatures if overview.current else ()
    return join_words([name_actor(signature.actor, overview.names) for signature in signatures])


def _choose_badge(overview: ApprovalOverview) -> tuple[str, str]:
    if overview.open_notes:
        return "Sent back", "warn"
    if overview.edition.state == EditionState.APPROVED:
        return "Approved", "ok"
    if overview.current and overview.current.state is ApprovalState.WAITING:
        signed = len(overview.current.signatures)
        return f"{signed} of {signed + overview.current_missing} approved", ""
    return ("Approval void", "warn") if overview.ended else ("", "")


def _explain_void(
    overview: ApprovalOverview, state: EditingState | None, writer: EditWriter | None, zone: ZoneInfo
) -> tuple[str, str]:
    """Say whose approval no longer counts, and why: what was done, by whom, when."""
    ended = overview.ended
    if ended is None or ended.ended_at is None:
        return "", ""
    signed = [f"{name_actor(s.actor, overview.names)} of {short_moment(s.at, zone)}" for s in ended.signatures]
    noun, verb = ("approval", "counts") if len(signed) == 1 else ("approvals", "count")
    title = f"The {noun} by {join_words(signed)} no longer {verb}."
    who, at = name_actor(ended.ended_by or "", overview.names), short_moment(ended.ended_at, zone)
    edit = next((e for e in state.edits if e.seq == ended.ended_by_edit), None) if state else None
    if edit and state and writer:
        return title, sentence(f"{who} {writer.describe(edit, state.edits)}, {at}")
    if ended.state is ApprovalState.TAKEN_BACK and ended.ended_by:
        return title, sentence(f"{who} took it back, {at}{f': {ended.ended_because}' if ended.ended_because else ''}")
    return title, sentence(f"{ended.ended_because or 'it was changed'}, {at}")


# --- what changed since ----------------------------------------------------------------------------------------


def _list_changes(
    overview: ApprovalOverview, state: EditingState | None, content: EditionContent
) -> tuple[tuple[ChangeRow, ...], str]:
    comparison = overview.compare(content)
    if comparison is None or overview.compared is None:
        return (), ""
    if not comparison.changes:
        return (), _UNCHANGED
    finder = _EditFinder(state, overview.compared.edit_seq, overview.names) if state else None
    rows = tuple(_write_change(change, finder) for change in comparison.changes)
    count = "One change." if len(rows) == 1 else f"{len(rows)} changes."
    others = "The other item is" if comparison.kept == 1 else f"The other {comparison.kept} items are"
    return rows, f"{count} {others} the same, word for word." if comparison.kept else count


@dataclass(frozen=True, slots=True)
class _EditFinder:
    """Finds the last edit behind a change: one after the version, that is in force and touched what changed."""

    state: EditingState
    after_seq: int
    names: Mapping[str, str]

    def find(self, change: ContentChange) -> tuple[str, datetime | None]:
        """Return who made a change and when; nobody where the rules of a section did, or a later draft."""
        edit = max(self._list_edits(change), key=lambda e: e.seq, default=None)
        return (name_actor(edit.actor, self.names), edit.at) if edit else ("", None)

    def _list_edits(self, change: ContentChange) -> Iterator[Edit]:
        if change.field in _HEAD_TITLES and change.before is None:
            for edit in self._later_edits():
                if edit.target == EDITION_TARGET and edit.value.get("field") == change.field:
                    yield edit
        if change.field == "block":
            yield from (e for e in self._later_edits() if e.kind == EditKind.BLOCK)
        if change.after and (story := self._find_story(change.after)):
            for edit in self._later_edits():
                if edit.seq in story.edits and self._fits(edit, change):
                    yield edit
        if change.before and change.kind in {ChangeKind.DROPPED, ChangeKind.REPLACED}:
            removed = self.state.arrangement.removed
            gone = [r.edit for r in removed if change.before.url in {a.url for a in r.scored.story.members}]
            yield from (edit for edit in gone if edit.seq > self.after_seq)

    def _later_edits(self) -> list[Edit]:
        return [o.edit for o in self.state.arrangement.outcomes if o.edit.seq > self.after_seq and not o.undone_by]

    def _find_story(self, place: ItemPlace) -> ArrangedStory | None:
        stories = self.state.arrangement.sections.get(place.section, ())
        return stories[place.number - 1] if place.number <= len(stories) else None

    def _fits(self, edit: Edit, change: ContentChange) -> bool:
        if change.kind is ChangeKind.MOVED:
            return edit.kind in _MOVING_KINDS
        if change.kind is ChangeKind.REWRITTEN:
            written = edit.kind == EditKind.TEXT and edit.value.get("field") == change.field
            return written or edit.kind in {
                _FIELD_KINDS.get(change.field),
                EditKind.LEAD,
                EditKind.MERGE,
                EditKind.SPLIT,
            }
        return True


def _write_change(change: ContentChange, finder: _EditFinder | None) -> ChangeRow:
    who, at = finder.find(change) if finder else ("", None)
    if change.kind is ChangeKind.REWRITTEN or change.field:
        after = change.after
        named = f"“{after.headline}”" if after and not (change.was or change.now) else ""
        passages = compare_texts(change.was, change.now)
        return ChangeRow(_title_rewritten(change), passages, sentence=named, who=who, at=at)
    return replace(_write_place_change(change.kind, change.before, change.after), who=who, at=at)


def _title_rewritten(change: ContentChange) -> str:
    if change.field == "block":
        words = {ChangeKind.ADDED: "A labelled block is new", ChangeKind.DROPPED: "A labelled block is out"}
        return words.get(change.kind, "A labelled block is rewritten")
    if change.after is None:
        return _HEAD_TITLES[change.field]
    return f"{_name_place(change.after)}, {_FIELD_WORDS.get(change.field, change.field)}"


def _write_place_change(kind: ChangeKind, before: ItemPlace | None, after: ItemPlace | None) -> ChangeRow:
    if kind is ChangeKind.MOVED and before and after:
        return ChangeRow(
            f"{_name_place(after)} was moved", sentence=f"“{after.headline}” stood as {_name_place(before)}."
        )
    if after:
        is_another = kind is ChangeKind.REPLACED
        title = f"{_name_place(after)} is {'another story' if is_another else 'new'}"
        return ChangeRow(title, out=before.headline if before else "", come=after.headline)
    return ChangeRow(f"{_name_place(before)} is out", out=before.headline) if before else ChangeRow("")


def _name_place(place: ItemPlace) -> str:
    return f"{place.section_title} {place.number}"
