"""The statuses of sources and editions, as values for the desk's tables (`web/desk/source_parts.html`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from digest.collect.sources.source_rows import FAILURE_GRACE
from digest.deliver.plan.delivery_plan import DeliveryCounts
from digest.edition.content.editor_changes import EditorChangeCounts
from digest.store.delivery_models import DeliveryState
from digest.store.models import Edition, Source, SourceHealth
from subscribers.english_text import count_with_noun

# The tones of the sources' statuses. The sources that need attention come first.
_TONES = {"refusing": "bad", "gone": "bad", "failing for a week": "bad", "failing": "warn", "good": "ok"}
_TONE_ORDER = ("bad", "warn", "ok", "quiet")
# Sending counts as on time if it begins within this time.
PUNCTUALITY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source and its status: off, paused, new, good, failing, failing for a week, refusing, or gone."""

    source: Source
    status: str

    @property
    def tone(self) -> str:
        """The tone of its color: "ok", "warn", "bad", or "quiet"."""
        return _TONES.get(self.status, "quiet")

    @property
    def has_moved(self) -> bool:
        """True if the source works, but has moved from the URL in the settings."""
        return self.status == SourceHealth.GOOD and bool(self.source.moved_to)


def build_source_rows(sources: Iterable[Source], now: datetime) -> list[SourceRow]:
    """Return every source with its status, beginning with those that need attention."""
    rows = [SourceRow(source, _find_status(source, now)) for source in sources]
    return sorted(rows, key=lambda r: (_TONE_ORDER.index(r.tone), r.source.name.casefold(), r.source.url))


def _find_status(source: Source, now: datetime) -> str:
    if not source.active:
        return "off"
    if source.paused:
        return "paused"
    fails_long = source.health is SourceHealth.FAILING and now - (source.failing_since or now) >= FAILURE_GRACE
    return "failing for a week" if fails_long else str(source.health)


@dataclass(frozen=True, slots=True)
class SentEditionRow:
    """An edition with its delivery counts."""

    edition: Edition
    counts: DeliveryCounts

    @property
    def started_late_at(self) -> datetime | None:
        """The time when sending began if that was more than an hour after the send time, or None."""
        started_at = self.edition.planned_at
        return started_at if started_at and started_at > self.edition.release_at + PUNCTUALITY else None

    @property
    def other(self) -> str:
        """The counts of withdrawn, skipped, canceled, and expired deliveries, and any imbalance, as text."""
        states = (DeliveryState.WITHDRAWN, DeliveryState.SKIPPED, DeliveryState.CANCELLED, DeliveryState.EXPIRED)
        parts = [f"{self.counts[state]:,} {state}" for state in states if self.counts[state]]
        if not self.counts.is_balanced:
            parts.append("the counts don't add up")
        return ", ".join(parts)


def describe_editor_changes(counts: EditorChangeCounts) -> str:
    """Describe what editors changed in a draft."""
    share = f" ({counts.kept_percent}%)" if counts.kept_percent is not None else ""
    return (
        f"Of {count_with_noun(counts.proposed, 'proposed story', 'proposed stories')}, editors kept {counts.kept}{share} unchanged, "
        f"removed {counts.dropped}, moved {counts.moved}, and rewrote {counts.rewritten}. They added {counts.added}."
    )
