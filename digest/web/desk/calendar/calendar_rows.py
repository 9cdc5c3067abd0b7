"""The calendar of releases in words: one row a release, with what happens before it and what can be done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.app.calendar.releases import CalendarEntry
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseSteps
from digest.installation.acts import SCHEDULER
from digest.store.models import EditionState
from digest.web.colleagues import name_actor
from subscribers.phrases import clock_hour, clock_time, join_words, sentence, short_month_day, weekday_month_day

_STATE_WORDS = {
    EditionState.DRAFT: "In draft.",
    EditionState.INCOMPLETE: "In draft, with too little so far.",
    EditionState.APPROVED: "Approved: it goes out by itself.",
    EditionState.SENDING: "Going out.",
    EditionState.SENT: "Sent.",
    EditionState.CANCELLED: "Cancelled.",
}
_DUE_WORDS = {
    EditionState.DRAFT: "Due, and not approved.",
    EditionState.INCOMPLETE: "Due, with too little to go out.",
    EditionState.APPROVED: "Approved and due, and not gone out yet.",
}
_CHANGEABLE = (None, EditionState.DRAFT, EditionState.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """One release: `key` names it in forms, `tone` colours the row ("off": skipped, "extra", or empty)."""

    key: str
    day: str
    clock: str
    title: str
    words: str
    tone: str
    edition: str  # the name of what is drafted, empty where nothing is
    is_due: bool
    can_change: bool
    can_restore: bool
    restore_label: str
    day_value: str  # as a date field holds it
    clock_value: str
    skip_words: str

    @property
    def anchor(self) -> str:
        """The row's place on the page."""
        return f"r{self.key[:16].replace('T', '-').replace(':', '')}"


def build_calendar_rows(
    entries: Sequence[CalendarEntry], zone: ZoneInfo, names: Mapping[str, str]
) -> list[CalendarRow]:
    """Write the rows of the page."""
    return [_build_row(entry, zone, names) for entry in entries]


def _build_row(entry: CalendarEntry, zone: ZoneInfo, names: Mapping[str, str]) -> CalendarRow:
    release, local = entry.release, entry.release.release_at.astimezone(zone)
    state = entry.edition.state if entry.edition and not release.is_skipped else None
    return CalendarRow(
        key=release.release_at.isoformat(timespec="seconds"),
        day=weekday_month_day(local),
        clock="" if release.is_skipped else _write_clock(local),
        title="Skipped" if entry.number is None else f"No. {entry.number}",
        words=" ".join(_sentences(entry, zone, names)),
        tone="off" if release.is_skipped else "extra" if release.is_extra else "",
        edition=entry.edition.name if entry.edition and entry.is_drafted else "",
        is_due=entry.is_due,
        can_change=not release.is_skipped and not entry.is_due and state in _CHANGEABLE,
        can_restore=not entry.is_due and (release.is_skipped or release.is_moved),
        restore_label=_restore_label(release, zone),
        day_value=f"{local:%Y-%m-%d}",
        clock_value=f"{local:%H:%M}",
        skip_words=_skip_words(entry),
    )


def _write_clock(local: datetime) -> str:
    return "12:00 noon" if (local.hour, local.minute) == (12, 0) else clock_time(local)


def _restore_label(release: PlannedRelease, zone: ZoneInfo) -> str:
    if release.is_skipped or release.regular_at is None:
        return "Bring back"
    regular = release.regular_at.astimezone(zone)
    return f"Put it back to {weekday_month_day(regular)}, {clock_time(regular)}"


def _sentences(entry: CalendarEntry, zone: ZoneInfo, names: Mapping[str, str]) -> list[str]:
    release, change = entry.release, entry.release.change
    who = name_actor(change.changed_by, names) if change else ""
    if release.is_skipped:
        by = "Nothing was approved by the deadline." if change and change.changed_by == SCHEDULER.name else f"By {who}."
        kept = f" Its draft is set aside{_with_changes(entry.edit_count)}." if entry.edition else ""
        return [f"No edition. Its week goes into the next one. {by}{kept}"]
    sentences = []
    if release.is_extra:
        sentences.append(f"Extra, added by {who}.")
    elif release.is_moved and release.regular_at:
        sentences.append(f"Moved from {weekday_month_day(release.regular_at.astimezone(zone))} by {who}.")
    state = entry.edition.state if entry.edition else None
    if entry.edition and entry.is_due:
        paused = "Paused: it goes out once somebody lets it go on." if entry.edition.paused_at else ""
        return [*sentences, paused or _DUE_WORDS[entry.edition.state]]
    if state is not None:
        sentences.append(_STATE_WORDS[state])
    if state in _CHANGEABLE:
        sentences.append(describe_steps(entry.steps, release.release_at, zone, drafted=state is not None))
    return sentences


def describe_steps(steps: ReleaseSteps, release_at: datetime, zone: ZoneInfo, *, drafted: bool) -> str:
    """Say what happens before a release: "Draft Thu, Nov 19, 5:30 p.m. Approve by Thu, Nov 19, 8 p.m."."""
    parts = []
    if steps.drafts and not drafted:
        parts.append(sentence(f"Draft {_write_moments(steps.drafts, zone)}"))
    if steps.reminders:
        parts.append(sentence(f"Reminder {_write_moments(steps.reminders, zone)}"))
    by = "its release" if steps.deadline == release_at else _write_moment(steps.deadline, zone)
    parts.append(sentence(f"Approve by {by}"))
    return " ".join(parts)


def _write_moments(moments: Sequence[datetime], zone: ZoneInfo) -> str:
    return join_words([_write_moment(at, zone) for at in moments])


def _write_moment(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return f"{local:%a}, {short_month_day(local)}, {clock_hour(local)}"


def _with_changes(count: int) -> str:
    if not count:
        return ""
    return f", with {count} change{'' if count == 1 else 's'} by editors"


def _skip_words(entry: CalendarEntry) -> str:
    if entry.release.is_extra and not entry.is_drafted:
        return "It leaves the calendar, and its days go into the next edition."
    draft = f" The draft{_with_changes(entry.edit_count)} is set aside." if entry.is_drafted else ""
    return f"No edition goes out then, and its week goes into the next one.{draft} It can be brought back until then."


def calendar_sentence(entries: Sequence[CalendarEntry], zone: ZoneInfo) -> str:
    """Say in a sentence what comes next, and how many are on their usual day."""
    due = [f"No. {entry.number} was due and has not gone out. " for entry in entries if entry.is_due]
    planned = [entry for entry in entries if not entry.is_due]
    live = [entry for entry in planned if not entry.release.is_skipped]
    usual = sum(1 for entry in live if not entry.release.is_moved and not entry.release.is_extra)
    following = (
        f"The next edition goes out {weekday_month_day(live[0].release.release_at.astimezone(zone))}. "
        if live
        else "None of the next ones goes out. "
    )
    return f"{''.join(due)}{following}{usual} of the next {len(planned)} are at their usual time."
