"""The history of an edition in words: by day, what each act did, what became of it, and what bringing a moment back would change."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from digest.app.editing.edit_history import EditionHistory
from digest.edition.editing.arrangement import Arrangement, EditOutcome
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditionField, EditKind, StoryField
from digest.settings import SectionSettings
from digest.web.colleagues import name_actor
from digest.web.desk.outline.edit_sentences import EditWriter, create_edit_writer
from digest.web.filters import count_with_noun
from subscribers.phrases import clock_time, month_day

MAX_SHOWN_ROWS = 40
MAX_LISTED_CHANGES = 5  # of those that bringing a moment back takes out
CONTEXT_WORDS = 6  # kept beside each changed passage of a text
# Below this likeness two versions are read one after the other: mixed word by word, neither can be read.
MIN_COMPARED_LIKENESS = 0.5


@dataclass(frozen=True, slots=True)
class ChangedPassage:
    """A piece of a text that was rewritten: `kind` is kept, was or is."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One act. `seq` is the moment that it can be looked at by; `edit` its own number, None where it is no edit."""

    seq: int
    edit: int | None
    at: datetime
    clock: str
    who: str
    words: str
    passages: tuple[ChangedPassage, ...] = ()
    remark: str = ""
    is_undone: bool = False
    is_shown: bool = False
    can_undo: bool = False

    @property
    def is_rewritten_whole(self) -> bool:
        """Whether a text was replaced by another one: nothing of it was kept."""
        return {passage.kind for passage in self.passages} == {"was", "is"}

    @property
    def sentence_end(self) -> str:
        """What ends its sentence: nothing after an hour, which has a full stop of its own."""
        return "" if self.words.endswith(".") else "."


@dataclass(frozen=True, slots=True)
class HistoryDay:
    """The acts of one day, the latest first."""

    title: str
    rows: tuple[HistoryRow, ...]


@dataclass(frozen=True, slots=True)
class ShownMoment:
    """A moment that is looked at. `effect` says what bringing it back takes out; empty where nothing would change."""

    seq: int
    words: str
    effect: str
    taken_out: tuple[str, ...]
    more: int
    undo: int | None  # the edit that can be taken back alone


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What of a history is asked for. `moment` is the number of an edit, None for none; `who` an actor; `section` a key.

    `from_review` where the reader came from the page on which the edition is approved, and goes back there.
    """

    moment: int | None = None
    who: str = ""
    section: str = ""
    whole: bool = False
    from_review: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A history as its page shows it. `hidden` counts the acts that one more click shows."""

    days: tuple[HistoryDay, ...]
    shown: ShownMoment | None
    sentence: str
    people: tuple[tuple[str, str], ...]
    hidden: int


@dataclass(frozen=True, slots=True)
class HistoryTeller:
    """Tells one history: whose words, whose clock, for whom."""

    history: EditionHistory
    writer: EditWriter
    zone: ZoneInfo
    reader: str  # the actor who looks

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All edits in order."""
        return self.history.state.edits

    def name(self, actor: str) -> str:
        """Name who acted, as colleagues see them."""
        return name_actor(actor, self.history.names)

    def moment(self, at: datetime, beside: datetime | None = None) -> str:
        """Write "2:02 p.m.", with its day where that is another one than that of `beside`."""
        local = at.astimezone(self.zone)
        if beside is None or beside.astimezone(self.zone).date() != local.date():
            return f"{month_day(local)}, {clock_time(local)}"
        return clock_time(local)


def tell_history(
    history: EditionHistory, query: HistoryQuery, sections: Sequence[SectionSettings], zone: ZoneInfo, reader: str
) -> HistoryPage:
    """Tell the history of an edition, by day, the latest first."""
    teller = HistoryTeller(history, create_edit_writer(history.state.arrangement, sections), zone, reader)
    places = _story_places(history.state.arrangement)
    rows = [_tell_edit(teller, outcome, query) for outcome in _list_outcomes(history, query, places)]
    if not query.section:
        rows += [row for row in _tell_other_acts(teller, query) if not query.who or row.who == teller.name(query.who)]
    rows.sort(key=lambda row: (row.at, row.seq, row.edit or 0), reverse=True)
    shown = [_add_passages(teller, row) for row in (rows if query.whole else rows[:MAX_SHOWN_ROWS])]
    days = groupby(shown, key=lambda row: row.at.astimezone(zone).date())
    people = {edit.actor: teller.name(edit.actor) for edit in teller.edits}
    return HistoryPage(
        tuple(HistoryDay(f"{day:%A}, {month_day(day)}", tuple(acts)) for day, acts in days),
        _show_moment(teller, query.moment) if query.moment is not None else None,
        _summarise(teller, len(people)),
        tuple(sorted(people.items(), key=lambda pair: pair[1])),
        len(rows) - len(shown),
    )


def _list_outcomes(history: EditionHistory, query: HistoryQuery, places: Mapping[str, str]) -> Iterator[EditOutcome]:
    arrangement = history.state.arrangement
    for outcome in arrangement.outcomes:
        edit = outcome.edit
        if query.who and edit.actor != query.who:
            continue
        place = edit.text("section") or places.get(arrangement.name_target(edit.target), "")
        if not query.section or query.section == place:
            yield outcome


def _story_places(arrangement: Arrangement) -> dict[str, str]:
    """Return the section in which each story stands, or from which it was removed."""
    places = {removed.scored.story.lead.url: removed.section for removed in arrangement.removed}
    for section, stories in arrangement.sections.items():
        for story in stories:
            places |= {story.url: section} | {under.url: section for under in story.supporting}
    return places


def _summarise(teller: HistoryTeller, people_count: int) -> str:
    if not teller.edits:
        return "Nobody has changed it yet: until somebody does, each new draft takes the place of the last."
    changes, people = count_with_noun(len(teller.edits), "change"), count_with_noun(people_count, "person", "people")
    return f"{changes} by {people} since {teller.moment(teller.edits[0].at)} Look at any moment; bring it back if it was better."


def _tell_edit(teller: HistoryTeller, outcome: EditOutcome, query: HistoryQuery) -> HistoryRow:
    edit = outcome.edit
    is_shown = query.moment == edit.seq
    last_own = teller.history.state.find_last_own(teller.reader)
    return HistoryRow(
        seq=edit.seq,
        edit=edit.seq,
        at=edit.at,
        clock=clock_time(edit.at.astimezone(teller.zone)),
        who=teller.name(edit.actor),
        words=f"{_describe(teller, edit)}{_describe_refill(teller, outcome)}",
        remark="You are looking at this moment." if is_shown else _remark(teller, outcome),
        is_undone=outcome.undone_by is not None,
        is_shown=is_shown,
        can_undo=teller.history.can_change and last_own is not None and last_own.seq == edit.seq,
    )


def _describe(teller: HistoryTeller, edit: Edit) -> str:
    if edit.kind == EditKind.REVERT and edit.undoes:
        then = next((e for e in teller.edits if e.seq == edit.undoes), None)
        if then:
            return f"brought back {teller.moment(then.at, edit.at)}"
    return teller.writer.describe(edit, teller.edits)


def _describe_refill(teller: HistoryTeller, outcome: EditOutcome) -> str:
    """Say what took the place of a story that was dropped from a section: "; “Ports get ten days” came up in its place"."""
    if outcome.edit.kind != EditKind.DROP or not outcome.stood_in or outcome.idle_reason:
        return ""
    return f"; {teller.writer.describe_refill(outcome.came_up, outcome.unfilled, len(outcome.edit.targets))}"


def _remark(teller: HistoryTeller, outcome: EditOutcome) -> str:
    if outcome.undone_by is not None:
        undo = next(e for e in teller.edits if e.seq == outcome.undone_by)
        verb = "Taken out" if undo.kind == EditKind.REVERT else "Undone"
        return f"{verb} by {teller.name(undo.actor)} at {teller.moment(undo.at, outcome.edit.at)}"
    return f"Does nothing now: {outcome.idle_reason}." if outcome.idle_reason else ""


def _add_passages(teller: HistoryTeller, row: HistoryRow) -> HistoryRow:
    """Say what a text was and is; any other act has none."""
    edit = next((e for e in teller.edits if e.seq == row.edit and e.kind == EditKind.TEXT), None)
    if edit is None:
        return row
    was = teller.history.find_text_before(edit)
    now = edit.text("text")
    original = "" if was and now else _original_text(teller.history, edit)
    return replace(row, passages=compare_texts(was or original, now or original))


def _original_text(history: EditionHistory, edit: Edit) -> str:
    """Return the text that stood there without its editors when an edit was made; empty where it has none."""
    if edit.target == EDITION_TARGET:
        said = history.write_head_before(edit.seq)
        own = {
            EditionField.SUBJECT: said.subject,
            EditionField.PREHEADER: said.preheader,
            EditionField.INTRO: said.intro,
            EditionField.EDITOR: said.editor,
        }
        return own.get(edit.text("field"), "")  # type: ignore[call-overload,no-any-return]
    story = history.state.arrangement.find_story(edit.target)
    if story is None:
        return ""
    lead = story.original.story.lead
    return {StoryField.HEADLINE: lead.title, StoryField.SUMMARY: lead.summary}.get(edit.text("field"), "")  # type: ignore[call-overload,no-any-return]


def compare_texts(was: str, now: str) -> tuple[ChangedPassage, ...]:
    """Return two versions of a text as one list of passages: what was kept, shortened to a few words, what went, what came.

    Where most words differ, the old version stands whole before the new one.
    """
    before, after = was.split(), now.split()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < MIN_COMPARED_LIKENESS:
        versions = (ChangedPassage("was", " ".join(before)), ChangedPassage("is", " ".join(after)))
        return tuple(version for version in versions if version.text)
    passages = []
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            passages.append(ChangedPassage("kept", _shorten(before[start:end])))
            continue
        if end > start:
            passages.append(ChangedPassage("was", " ".join(before[start:end])))
        if new_end > new_start:
            passages.append(ChangedPassage("is", " ".join(after[new_start:new_end])))
    return tuple(passages)


def _shorten(words: Sequence[str]) -> str:
    if len(words) <= 2 * CONTEXT_WORDS:
        return " ".join(words)
    return f"{' '.join(words[:CONTEXT_WORDS])} … {' '.join(words[-CONTEXT_WORDS:])}"


def _tell_other_acts(teller: HistoryTeller, query: HistoryQuery) -> Iterator[HistoryRow]:
    """Tell of the draft, and of the approvals."""
    history = teller.history
    drafted_at, first = history.edition.drafted_at, teller.edits[0] if teller.edits else None
    story_count = sum(1 for _ in history.state.grown.list_scored()) - len(history.state.grown.tray)
    # A later draft only fills the tray: what was proposed stood at the first edit at the latest.
    stood_at = min(drafted_at, first.at) if first else drafted_at
    yield HistoryRow(
        seq=0,
        edit=None,
        at=stood_at,
        clock=clock_time(stood_at.astimezone(teller.zone)) if stood_at == drafted_at else "before",
        who="",
        words=f"Drafted from {count_with_noun(story_count, 'story', 'stories')}.",
        remark="You are looking at this moment." if query.moment == 0 else "",
        is_shown=query.moment == 0,
    )
    for act in history.approvals:
        clock = clock_time(act.at.astimezone(teller.zone))
        words = "approved it" if act.given else "took the approval back"
        yield HistoryRow(seq=act.seq, edit=None, at=act.at, clock=clock, who=teller.name(act.actor), words=words)
    for note in history.notes:
        clock = clock_time(note.at.astimezone(teller.zone))
        words = f"sent it back: “{note.text}”" if note.text else "marked the note as done"
        yield HistoryRow(seq=note.seq, edit=None, at=note.at, clock=clock, who=teller.name(note.actor), words=words)


def _show_moment(teller: HistoryTeller, seq: int) -> ShownMoment | None:
    edit = next((e for e in teller.edits if e.seq == seq), None)
    if edit is None and seq != 0:
        return None
    effect = teller.history.state.find_revert_effect(seq)
    taken = [f"{teller.name(e.actor)} {_describe(teller, e)}" for e in reversed(effect.taken_out)]
    undone = {o.edit.seq for o in teller.history.state.arrangement.outcomes if o.undone_by}
    return ShownMoment(
        seq=seq,
        words=teller.moment(edit.at, teller.edits[-1].at) if edit else "the first draft",
        effect=_effect_sentence(teller, effect.taken_out, len(effect.put_back)),
        taken_out=tuple(taken[:MAX_LISTED_CHANGES]),
        more=max(0, len(taken) - MAX_LISTED_CHANGES),
        undo=edit.seq if edit and edit.seq not in undone and teller.history.can_change else None,
    )


def _effect_sentence(teller: HistoryTeller, taken_out: Sequence[Edit], put_back_count: int) -> str:
    parts = []
    if taken_out:
        changes = "1 change" if len(taken_out) == 1 else f"{len(taken_out):,} changes"
        parts.append(f"takes out the {changes} in force since then, {_whose(teller, [e.actor for e in taken_out])}")
    if put_back_count:
        parts.append(f"brings {count_with_noun(put_back_count, 'change')} back into force that had been undone")
    if not parts:
        return ""
    return f"Bringing it back {' and '.join(parts)}. Nothing leaves the history, and you can undo this too."


def _whose(teller: HistoryTeller, actors: Iterable[str]) -> str:
    listed = list(actors)
    if set(listed) == {teller.reader}:
        return {1: "yours", 2: "both yours"}.get(len(listed), "all yours")
    names = list(dict.fromkeys("you" if actor == teller.reader else teller.name(actor) for actor in listed))
    return f"by {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"by {names[0]}"
