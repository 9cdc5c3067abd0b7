"""The desk's tables in words: the health of sources, the delivery counts of editions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.collect.sources.source_rows import FAILURE_GRACE
from digest.deliver.plan.delivery_plan import DeliveryCounts
from digest.edition.content.editor_changes import EditorCounts
from digest.store.delivery_models import DeliveryState
from digest.store.models import Edition, Source, SourceHealth
from digest.web.filters import count_with_noun, short_moment
from subscribers.phrases import join_words, sentence


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source: `state` in a word, `words` for what is the matter and what to do. `tone` colours it."""

    source: Source
    state: str
    tone: str  # ok | warn | bad | quiet
    words: str
    good: str
    next_try: str

    @property
    def has_moved(self) -> bool:
        """Whether it answers well, at another address than the settings name."""
        return self.tone == "ok" and bool(self.source.moved_to)


@dataclass(frozen=True, slots=True)
class SentRow:
    """One edition with its delivery counts."""

    edition: Edition
    counts: DeliveryCounts

    @property
    def other(self) -> str:
        """Name the rest: those who left in time, had nothing in their sections, or were called off."""
        states = (DeliveryState.WITHDRAWN, DeliveryState.SKIPPED, DeliveryState.CANCELLED, DeliveryState.EXPIRED)
        parts = [f"{self.counts[state]:,} {state}" for state in states if self.counts[state]]
        if not self.counts.is_balanced:
            parts.append("the books do not balance")
        return ", ".join(parts)


def editor_counts_sentence(counts: EditorCounts) -> str:
    """Say what editors changed of a draft."""
    share = f" ({counts.kept_percent}%)" if counts.kept_percent is not None else ""
    return (
        f"Of {count_with_noun(counts.proposed, 'proposed story', 'proposed stories')} editors kept {counts.kept}{share} as "
        f"proposed, dropped {counts.dropped}, moved {counts.moved} and rewrote {counts.rewritten}; they added {counts.added}."
    )


_FAILING_ADVICE = "Open it in a browser: if it has moved, an admin adds it anew by its new address; if it is gone, an admin removes it."
_TONE_ORDER = {"bad": 0, "warn": 1, "ok": 2, "quiet": 3}


def build_source_rows(sources: Iterable[Source], now: datetime, zone: ZoneInfo) -> list[SourceRow]:
    """Show every source, those that need somebody first."""
    rows = [_build_source_row(source, now, zone) for source in sources]
    return sorted(rows, key=lambda r: (_TONE_ORDER[r.tone], r.source.name.casefold(), r.source.url))


def _build_source_row(source: Source, now: datetime, zone: ZoneInfo) -> SourceRow:
    state, tone, words = _source_status(source, now, zone)
    return SourceRow(
        source=source,
        state=state,
        tone=tone,
        words=words,
        good=short_moment(source.good_at, zone, now=now) if source.good_at else "never",
        next_try=_write_next_try(source, now, zone),
    )


def _write_next_try(source: Source, now: datetime, zone: ZoneInfo) -> str:
    if source.next_try_at is None or not source.active:
        return ""
    return short_moment(source.next_try_at, zone, now=now) if source.next_try_at > now else "at the next collection"


def sources_sentence(rows: Sequence[SourceRow]) -> str:
    """Say how many sources need somebody, and how many have another address now."""
    bad = sum(row.tone == "bad" for row in rows)
    moved = sum(row.has_moved for row in rows)
    parts = [count_with_noun(bad, "source needs somebody", "sources need somebody")] if bad else []
    if moved:
        parts.append(
            count_with_noun(
                moved, "source has moved, and its address is", "sources have moved, and their addresses are"
            )
        )
        parts[-1] += " to be changed"
    return sentence(join_words(parts)) if parts else "Nothing to do."


def _source_status(source: Source, now: datetime, zone: ZoneInfo) -> tuple[str, str, str]:
    """Give state, tone and words. The stored message of a bad visit says already what to do about it."""
    begun = short_moment(source.failing_since or now, zone, now=now)
    since = f" Since {begun.removesuffix('.')}."  # an hour ends with a full stop of its own: "7:00 p.m."
    message = sentence(source.message)
    if not source.active:
        return "Off", "quiet", "It stands in the settings no more. Its articles are kept."
    match source.health:
        case SourceHealth.GOOD:
            moved = (
                f"It has moved to {source.moved_to}: an admin takes that address over on its page."
                if source.moved_to
                else ""
            )
            return "Good", "ok", moved
        case SourceHealth.NEW:
            return "New", "quiet", "Not visited yet. The next collection does, or 'digest collect' now."
        case SourceHealth.REFUSING:
            return ("Refusing", "bad", (message or "The publisher turns us away: write and ask to be let in.") + since)
        case SourceHealth.GONE:
            return "Gone", "bad", (message or "It is gone for good: look for its new address.") + since
        case SourceHealth.FAILING:
            return _failing_status(source, f"{message or 'It does not answer.'} Since {begun}", now)


def _failing_status(source: Source, trouble: str, now: datetime) -> tuple[str, str, str]:
    tried = f"{trouble}, {count_with_noun(source.failures, 'try', 'tries')}."
    if now - (source.failing_since or now) < FAILURE_GRACE:
        return "Failing", "warn", f"{tried} We try again by ourselves."
    return ("Failing for a week", "bad", f"{tried} Nothing of it reaches the edition. {_FAILING_ADVICE}")
