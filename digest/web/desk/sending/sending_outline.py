"""An edition that goes out, in words: what the page about it says, with its bar. Pure functions of what was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from digest.app.sending.sending_view import SendingView
from digest.deliver.control.edition_control import ALARM_ACTOR
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.send.claims.progress import MinuteCount
from digest.deliver.send.refusals.alarms import AlarmReading
from digest.deliver.send.refusals.refusal_counts import DomainRefusals
from digest.settings import LimitSettings
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from digest.web.charts import Chart, LimitLine, draw_bars
from digest.web.colleagues import name_actor
from digest.web.desk.sending.happenings import HappeningRow, list_happenings
from digest.web.filters import count_with_noun, day_and_hour, short_moment
from subscribers.phrases import clock_time, sentence

MAX_LISTED_RECEIVERS = 5  # receivers by name; the others are one row
CHART_MINUTES = 30
_MAX_LIMIT_SHARE = 4  # times the highest bar, up to which the chart shows the limit


@dataclass(frozen=True, slots=True)
class MinuteChart:
    """The messages of each of the last minutes: as a chart, and as (time, messages)."""

    chart: Chart
    minutes: tuple[tuple[str, int], ...]


class SendingPhase(StrEnum):
    """Where an edition is on its way out."""

    COMING = "coming"  # approved, and not yet due
    GOING = "going"
    PAUSED = "paused"
    HELD = "held"  # the whole installation is
    SENT = "sent"
    CANCELLED = "cancelled"
    NONE = "none"  # a draft: nothing goes


@dataclass(frozen=True, slots=True)
class SharePart:
    """A part of the bar: how many deliveries of a kind, and where they begin and how wide they are, in thousandths."""

    key: str
    count: int
    words: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One alarm: what it watches, how far it is and when it rings."""

    words: str
    now: str
    rings_at: str
    is_ringing: bool


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """How many messages a receiver refused, and mostly why."""

    receiver: str
    count: int
    cause: str
    reply: str


@dataclass(frozen=True, slots=True)
class SendingOutline:
    """All that the page says of an edition on its way out."""

    phase: SendingPhase
    paused_by_alarm: bool
    badge: str
    tone: str  # ok | warn | bad, or nothing
    headline: str
    sentence: str
    done: int
    parts: tuple[SharePart, ...]
    others: str
    rate: str
    chart: MinuteChart | None
    canary: str
    alarms: tuple[AlarmRow, ...]
    happenings: tuple[HappeningRow, ...]
    refusals: tuple[RefusalRow, ...]


def build_sending_outline(
    view: SendingView, *, names: Mapping[str, str], limits: LimitSettings, now: datetime, zone: ZoneInfo
) -> SendingOutline:
    """Say where an edition is on its way out; `names` are those of the staff, by actor."""
    phase, counts = find_sending_phase(view), view.counts
    happenings = tuple(list_happenings(view, names, now))
    newest_pause = next((act for act in view.acts if act.act == "paused"), None)
    by_alarm = phase is SendingPhase.PAUSED and newest_pause is not None and newest_pause.actor == ALARM_ACTOR
    badge, tone = {
        SendingPhase.COMING: ("Approved", "ok"),
        SendingPhase.GOING: ("Going out", "ok"),
        SendingPhase.PAUSED: ("Paused by an alarm", "bad") if by_alarm else ("Paused", "warn"),
        SendingPhase.HELD: ("Everything is stopped", "bad"),
        SendingPhase.SENT: ("Sent", "ok"),
        SendingPhase.CANCELLED: ("Cancelled", "bad"),
        SendingPhase.NONE: (view.edition.state.value.capitalize(), ""),
    }[phase]
    headline, explanation = _PhaseTeller(view, by_alarm, names, now, zone).tell(phase)
    return SendingOutline(
        phase=phase,
        paused_by_alarm=by_alarm,
        badge=badge,
        tone=tone,
        headline=headline,
        sentence=explanation,
        done=counts.planned - counts.open,
        parts=_share_parts(view),
        others=_count_others(view),
        rate=_tell_rate(view, limits, now),
        chart=draw_minutes(view.progress.minutes, zone, limits) if view.progress and view.progress.minutes else None,
        canary=_tell_canary(view, now, zone),
        alarms=tuple(_alarm_row(reading) for reading in view.alarms),
        happenings=happenings,
        refusals=_refusal_rows(view.refusals),
    )


def find_sending_phase(view: SendingView) -> SendingPhase:
    """Decide where an edition is: what stops everything comes before what stops it alone."""
    over = {EditionState.SENT: SendingPhase.SENT, EditionState.CANCELLED: SendingPhase.CANCELLED}
    on_its_way = {EditionState.APPROVED: SendingPhase.COMING, EditionState.SENDING: SendingPhase.GOING}
    state = view.edition.state
    if state not in on_its_way:
        return over.get(state, SendingPhase.NONE)
    if view.hold is not None:
        return SendingPhase.HELD
    return SendingPhase.PAUSED if view.edition.paused_at is not None else on_its_way[state]


@dataclass(frozen=True, slots=True)
class _PhaseTeller:
    """Tells a phase as (headline, the sentence under it)."""

    view: SendingView
    by_alarm: bool
    names: Mapping[str, str]
    now: datetime
    zone: ZoneInfo

    def tell(self, phase: SendingPhase) -> tuple[str, str]:
        """Tell where the edition is."""
        told = {
            SendingPhase.COMING: self._tell_coming,
            SendingPhase.GOING: self._tell_going,
            SendingPhase.PAUSED: self._tell_paused,
            SendingPhase.HELD: self._tell_held,
            SendingPhase.SENT: self._tell_sent,
            SendingPhase.CANCELLED: self._tell_cancelled,
            SendingPhase.NONE: self._tell_draft,
        }
        return told[phase]()

    @property
    def _number(self) -> str:
        return f"No. {self.view.edition.number}"

    @property
    def _done(self) -> str:
        return f"{self.view.counts.planned - self.view.counts.open:,} of {self.view.counts.planned:,} done"

    def _tell_coming(self) -> tuple[str, str]:
        readers = count_with_noun(self.view.audience_size, "reader")
        return (
            f"{self._number} goes to {readers}",
            f"It leaves {day_and_hour(self.view.edition.release_at, self.zone)}. Those who pause get none.",
        )

    def _tell_going(self) -> tuple[str, str]:
        if self.view.edition.planned_at is None:
            return f"{self._number} is about to go", "The list of readers is being written. Nothing has left yet."
        return self._done, _tell_time_left(self.view, self.now, self.zone)

    def _tell_paused(self) -> tuple[str, str]:
        edition = self.view.edition
        waits, because = _tell_who_waits(self.view), sentence(edition.paused_because)
        if self.by_alarm and edition.planned_at is None:
            return f"{self._number} does not go out", f"{because} {waits}"
        if self.by_alarm:
            return "Sending paused itself", f"{because} {waits} Nothing is lost."
        since = _end_sentence(short_moment(edition.paused_at or self.now, self.zone))
        headline = f"Paused: {self._done}" if edition.planned_at else f"Paused before it began: {self._number}"
        return headline, " ".join(filter(None, (f"Nothing of it leaves since {since}", because, waits)))

    def _tell_held(self) -> tuple[str, str]:
        hold = self.view.hold
        assert hold is not None, "that is what the phase says"
        since = _end_sentence(short_moment(hold.since, self.zone))
        sentences = (
            f"{name_actor(hold.actor, self.names)} stopped all mail {since}",
            sentence(hold.reason),
            "No edition and no other mail leaves until an admin lets it.",
            _tell_who_waits(self.view),
        )
        return "Everything is stopped", " ".join(filter(None, sentences))

    def _tell_sent(self) -> tuple[str, str]:
        edition, counts = self.view.edition, self.view.counts
        ended = day_and_hour(edition.sent_at or edition.release_at, self.zone)
        headline = f"{counts[DeliveryState.ACCEPTED]:,} of {counts.planned:,} accepted"
        return headline, f"The last mail of {self._number} left {ended}."

    def _tell_cancelled(self) -> tuple[str, str]:
        counts = self.view.counts
        many = count_with_noun(counts[DeliveryState.CANCELLED], "reader")
        had = count_with_noun(counts.handed_over, "mail")
        return f"Cancelled: {many} did not get {self._number}", f"{had} had gone out before, and stay out."

    def _tell_draft(self) -> tuple[str, str]:
        is_draft = self.view.edition.state is EditionState.DRAFT
        return (
            f"{self._number} does not go out yet",
            f"It is {'a draft' if is_draft else 'held back: it has too few stories'}. Once it is approved, this page shows how it goes.",
        )


def _tell_who_waits(view: SendingView) -> str:
    if view.edition.planned_at is None:
        return "Nobody has it yet."
    return f"{count_with_noun(view.counts.open, 'reader')} wait{'s' if view.counts.open == 1 else ''}."


def _tell_time_left(view: SendingView, now: datetime, zone: ZoneInfo) -> str:
    """Say how long it takes yet, or what the rest waits for."""
    progress, waiting = view.progress, view.counts.open
    due = waiting - view.due_later
    later = ""
    if view.due_later and view.next_due_at:
        later = (
            f" {count_with_noun(view.due_later, 'mail')} of them {'is' if view.due_later == 1 else 'are'} due later, "
            f"the next {_end_sentence(short_moment(view.next_due_at, zone))}"
        )
    if progress is None:
        return f"It begins within seconds.{later}"
    if not progress.is_running(now):
        reason = sentence(progress.wait_reason or ("it broke off without a word" if progress.running else ""))
        goes_on = (
            f"It goes on {_end_sentence(short_moment(progress.resumes_at, zone))}"
            if progress.resumes_at and progress.resumes_at > now
            else "It goes on by itself."
        )
        return " ".join(filter(None, (reason, goes_on))) + later
    time_left = progress.time_left(due)
    if time_left is None or not due:
        return f"Going on.{later}"
    ends = clock_time((now + time_left).astimezone(zone))
    return (
        f"About {_write_minutes(time_left)} left; the last mail that is due goes at about {_end_sentence(ends)}{later}"
    )


def _write_minutes(span: timedelta) -> str:
    minutes = max(1, round(span.total_seconds() / 60))
    if minutes < 60:
        return count_with_noun(minutes, "minute")
    return f"{count_with_noun(minutes // 60, 'hour')} {count_with_noun(minutes % 60, 'minute')}"


def _end_sentence(moment: str) -> str:
    """End a sentence with a moment: "6:00 a.m." has its full stop."""
    return moment if moment.endswith(".") else f"{moment}."


_BAR_PARTS = (
    ("accepted", DeliveryState.ACCEPTED, "accepted"),
    ("refused", DeliveryState.REFUSED, "refused"),
    ("uncertain", DeliveryState.UNCERTAIN, "uncertain"),
    ("handing", DeliveryState.HANDING_OVER, "being handed over"),
    ("waiting", DeliveryState.WAITING, "waiting"),
)
_MIN_SHARE = 4.0  # thousandths of the bar, so that one refused mail in a million is seen


def _share_parts(view: SendingView) -> tuple[SharePart, ...]:
    shown = [(key, view.counts[state], words) for key, state, words in _BAR_PARTS]
    total = sum(count for _, count, _ in shown)
    widths = [max(_MIN_SHARE, 1000 * count / total) if count else 0.0 for _, count, _ in shown] if total else [0.0] * 5
    scale = 1000 / sum(widths) if total else 1.0
    parts, x = [], 0.0
    for (key, count, words), width in zip(shown, widths, strict=True):
        parts.append(SharePart(key, count, words, round(x, 1), round(width * scale, 1)))
        x += width * scale
    return tuple(parts)


def _count_others(view: SendingView) -> str:
    """Name those who are owed nothing any more: they left, had nothing in their sections, were called off."""
    words = {
        DeliveryState.WITHDRAWN: "left the list in time",
        DeliveryState.SKIPPED: "paused, or left out all its sections",
        DeliveryState.CANCELLED: "called off",
        DeliveryState.EXPIRED: "tried for three days in vain",
    }
    parts = [f"{view.counts[state]:,} {text}" for state, text in words.items() if view.counts[state]]
    if not view.counts.is_balanced:
        parts.append("the counts do not balance: see the log")
    return "; ".join(parts)


def _tell_rate(view: SendingView, limits: LimitSettings, now: datetime) -> str:
    """Say how fast it goes: on average of a run that goes on, else what the minute that the chart ends with has had so far."""
    progress = view.progress
    most = messages_a_minute(limits)
    limit = f"; the limit you set is {most:,.0f}" if most else ""
    if progress is not None and progress.is_running(now) and progress.per_second:
        return f"{progress.per_second * 60:,.0f} on average of this run{limit}"
    this_minute = progress.minutes[-1] if progress is not None and progress.minutes else None
    is_current = this_minute is not None and now - this_minute.at < timedelta(minutes=1)
    return f"{this_minute.messages:,} in this minute{limit}" if this_minute and is_current else f"0 now{limit}"


def _tell_canary(view: SendingView, now: datetime, zone: ZoneInfo) -> str:
    size, by_state, until = view.canary.size, view.canary.by_state, view.canary.wait_until
    if view.edition.planned_at is None:
        return ""
    if not size:
        return "Nobody went ahead: it is small, goes into files, or the settings watch no first readers."
    handed_over = (DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN)
    parts = [f"{by_state[state]:,} {state}" for state in handed_over if by_state[state]]
    done = ", ".join(parts) or "none is out yet"
    if until is None:
        return f"They are going ahead: {done}. The rest waits for what they bring."
    if now < until:
        return f"They have it: {done}. The rest is let go {short_moment(until, zone)} unless an alarm rings."
    return f"They went ahead: {done}. The rest was let go {_end_sentence(short_moment(until, zone))}"


_ALARM_WORDS = {
    "policy refusals": "Refused for what we are",
    "complaints": "Reported as unwanted",
    "dead addresses": "No such mailbox",
}


def _alarm_row(reading: AlarmReading) -> AlarmRow:
    share = f" ({_write_percent(reading.count / reading.handed_over)})" if reading.count else ""
    return AlarmRow(
        words=_ALARM_WORDS[reading.name],
        now=f"{reading.count:,}{share}",
        rings_at=f"{reading.rings_at:,} and {_write_percent(reading.rings_at_share)}",
        is_ringing=reading.is_ringing,
    )


def _write_percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


_CAUSE_WORDS = {
    FailureCause.NONE: "No clear reason",
    FailureCause.NO_MAILBOX: "No such mailbox",
    FailureCause.HARD: "Mailbox probably gone",
    FailureCause.SOFT: "Mailbox full, or no reason",
    FailureCause.POLICY: "Refused for what we are",
    FailureCause.OUR_FAULT: "Our message or setting",
    FailureCause.COMPLAINED: "The reader complained before",
    FailureCause.LEFT: "The reader left before",
}


def _refusal_rows(refusals: tuple[DomainRefusals, ...]) -> tuple[RefusalRow, ...]:
    rows = [
        RefusalRow(
            receiver=refused.domain or f"Unnamed receiver {refused.tag[:6]}",
            count=refused.count,
            cause=_CAUSE_WORDS[refused.cause],
            reply=refused.reply[:120],
        )
        for refused in refusals[:MAX_LISTED_RECEIVERS]
    ]
    if rest := refusals[MAX_LISTED_RECEIVERS:]:
        words = count_with_noun(len(rest), "other")
        rows.append(RefusalRow(words, sum(refused.count for refused in rest), "", ""))
    return tuple(rows)


def messages_a_minute(limits: LimitSettings) -> float:
    """Return how many messages a minute the settings allow, or 0 if they set no limit."""
    return limits.send_per_second * 60 or limits.send_per_hour / 60


def draw_minutes(minutes: tuple[MinuteCount, ...], zone: ZoneInfo, limits: LimitSettings) -> MinuteChart:
    """Draw the messages of each of the last minutes, and the limit of the settings across them."""
    last = minutes[-1].at
    counts = {minute.at: minute.messages for minute in minutes}
    length = min(CHART_MINUTES, int((last - minutes[0].at).total_seconds() // 60) + 1)
    shown = [last - timedelta(minutes=back) for back in reversed(range(length))]
    messages = [counts.get(at, 0) for at in shown]
    times = [clock_time(at.astimezone(zone)) for at in shown]
    labeled = max(1, -(-length // 5))
    limit = messages_a_minute(limits)
    # A limit far above every bar would make the bars too low to see; the words beside the chart give it anyway.
    is_limit_shown = 0 < limit <= _MAX_LIMIT_SHARE * max(messages)
    most = messages.index(max(messages))
    chart = draw_bars(
        f"Mails a minute from {times[0]} to {times[-1]}: "
        f"at most {messages[most]:,}, at {times[most]}; {messages[-1]:,} in the last",
        [time.partition(" ")[0] if place % labeled == 0 else "" for place, time in enumerate(times)],
        messages,
        write=lambda number: f"{number:,.0f}",
        limit=LimitLine(limit, f"your limit, {limit:,.0f}") if is_limit_shown else None,
        min_step=1,
        columns=10,
        size=(560, 164),
    )
    return MinuteChart(chart, tuple(zip(times, messages, strict=True)))
