"""Source rows, which follow `digest.toml` and record the result of each visit.

`classify_fetch_error` and `choose_next_visit_time` are pure functions that decide what a visit
means. `record_visit_success` and `record_visit_failure` store it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from digest.collect.documents.parsed_document import SIGN_IN, SIGN_IN_STATUS, DocumentKind
from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.settings import Settings, SourceSettings
from digest.store.models import Source, SourceHealth

FILE_PREFIX = "file:"  # prefix of the URL of a source that's a local file
FAILURE_GRACE = timedelta(days=7)  # a source that has been failing for longer is shown to editors
# Maximum time between two visits of a failing source, and of one that's rarely visited.
MAX_RETRY_INTERVAL = timedelta(hours=24)
MAX_RETRY_AFTER = timedelta(days=7)  # a longer Retry-After is the publisher's mistake
FIRST_RETRY_INTERVAL = timedelta(minutes=15)
_SYNCED_FIELDS = (
    *("name", "publisher", "section", "weight", "primary", "own", "images", "topics", "default_topic"),
    "paused",
)


@dataclass(frozen=True, slots=True)
class VisitSuccess:
    """A successful visit.

    `refresh_seconds` is the minimum wait before the next visit, from max-age or the feed's ttl.
    """

    kind: DocumentKind | None = None  # None if the response was "not modified"
    etag: str | None = None
    last_modified: str | None = None
    moved_to: str | None = None
    refresh_seconds: int = 0


@dataclass(frozen=True, slots=True)
class VisitFailure:
    """A failed visit: the source's new health, the reason, and the requested wait in seconds."""

    health: SourceHealth
    message: str
    retry_after: float = 0
    status: int | None = None  # of the response, if any
    barrier: str = ""  # why a visitor can't read the page at the URL

    @property
    def is_missing(self) -> bool:
        """True if the site says that there's nothing at the URL."""
        return self.status in {404, 410}


def sync_sources(session: Session, settings: Settings) -> None:
    """Update source rows from the settings.

    Removed sources become inactive but keep their rows and articles.
    """
    every_row = session.scalars(select(Source)).all()
    rows = {row.url: row for row in every_row if not row.url.startswith(FILE_PREFIX)}
    configured = {source.url: source for source in settings.file.sources}
    _follow_moved(rows, configured)
    for url, source in configured.items():
        if url not in rows:
            rows[url] = Source(url=url, active=False)
            session.add(rows[url])
        _update_source(rows[url], source)
    for row in rows.values():
        row.active = row.active and row.url in configured
    session.flush()


def _follow_moved(rows: dict[str, Source], configured: Collection[str]) -> None:
    """Update the URLs of moved sources whose new URL the operator has entered."""
    for row in reversed(tuple(rows.values())):
        address = row.moved_to or ""
        if row.url not in configured and address in configured and address not in rows:
            # If the source is back at its previous URL, there's no change to undo.
            row.moved_from = None if address == row.moved_from else row.url
            row.url, row.moved_to = address, None
            rows[address] = row


def classify_fetch_error(error: FetchError) -> VisitFailure:
    """Convert a fetch error to a failed visit: the source is gone, refuses access, or is failing."""
    telling = {FetchErrorReason.GONE: SourceHealth.GONE, FetchErrorReason.REFUSING: SourceHealth.REFUSING}
    health = telling.get(error.reason, SourceHealth.FAILING)
    barrier = SIGN_IN if error.status == SIGN_IN_STATUS else ""
    return VisitFailure(health, error.message, error.retry_after or 0, error.status, barrier)


def choose_next_visit_time(
    outcome: VisitSuccess | VisitFailure,
    failures: int,
    now: datetime,
    jitter: float,
) -> datetime | None:
    """Return the time of a source's next visit, or None if the source is gone.

    After a success, the next visit is when the content stops being fresh, but at most a day later.
    A failing source is visited after a random part of a time that doubles with each failure ("full
    jitter", so that sources that failed together don't recover together). A source that refuses
    access is visited after 12 to 24 hours. Neither is visited before the publisher's Retry-After.

    Args:
        outcome: the result of the visit.
        failures: the number of consecutive failures, including this one.
        now: the time of the visit.
        jitter: a random number, 0 ≤ jitter < 1.
    """
    if isinstance(outcome, VisitSuccess):
        return now + min(timedelta(seconds=outcome.refresh_seconds), MAX_RETRY_INTERVAL)
    if outcome.health is SourceHealth.GONE:
        return None
    requested_wait = min(timedelta(seconds=outcome.retry_after), MAX_RETRY_AFTER)
    if outcome.health is SourceHealth.REFUSING:
        return now + max(MAX_RETRY_INTERVAL * (1 + jitter) / 2, requested_wait)
    ceiling: timedelta = min(FIRST_RETRY_INTERVAL * (1 << min(failures - 1, 20)), MAX_RETRY_INTERVAL)
    return now + max(ceiling * jitter, requested_wait)


def is_source_due(source: Source, now: datetime) -> bool:
    """Return True if a source is due for a visit at `now` and isn't paused or gone."""
    is_due = source.next_try_at is None or source.next_try_at <= now
    return is_due and not source.paused and source.health is not SourceHealth.GONE


def record_visit_success(source: Source, success: VisitSuccess, now: datetime, jitter: float) -> None:
    """Record a successful visit in a source's row, including its validators, kind, and next visit."""
    source.health, source.message = SourceHealth.GOOD, ""
    source.failures, source.failing_since = 0, None
    source.good_at = source.tried_at = now
    source.next_try_at = choose_next_visit_time(success, 0, now, jitter)
    source.etag, source.last_modified = success.etag, success.last_modified
    source.kind = success.kind.value if success.kind else source.kind
    if success.moved_to:
        source.moved_to = success.moved_to if success.moved_to != source.url else None


def record_visit_failure(source: Source, failure: VisitFailure, now: datetime, jitter: float) -> None:
    """Record a failed visit in a source's row.

    If the new URL of a moved source is missing (404 or 410), that URL is discarded.
    """
    if failure.is_missing and source.moved_to:
        source.moved_to = source.etag = source.last_modified = None
        failure = replace(failure, health=SourceHealth.FAILING)  # the URL in the settings may still work
    source.health, source.message = failure.health, failure.message
    source.failures += 1
    source.failing_since = source.failing_since or now
    source.tried_at = now
    source.next_try_at = choose_next_visit_time(failure, source.failures, now, jitter)


def list_source_problems(session: Session, now: datetime) -> list[Source]:
    """Return the sources that need attention, those that have been failing longest first.

    They have been failing for over a week, refuse access, or are gone.
    """
    problems = [
        row
        for row in session.scalars(_select_bad_sources())
        if row.health is not SourceHealth.FAILING or (row.failing_since or now) <= now - FAILURE_GRACE
    ]
    return sorted(problems, key=lambda row: (row.failing_since or now, row.url))


@cache  # used by every page of the editor
def _select_bad_sources() -> Select[Source]:
    bad = [SourceHealth.FAILING, SourceHealth.REFUSING, SourceHealth.GONE]
    collected = select(Source).where(Source.active, ~Source.paused)
    return collected.where(Source.health.in_(bad))


def describe_source_health(source: Source, now: datetime) -> str:
    """Return a phrase describing a source's health and, if it's bad, what to do."""
    since = source.failing_since or now
    match source.health:
        case SourceHealth.NEW:
            text = "not visited yet"
        case SourceHealth.GOOD:
            text = f"working; moved to {source.moved_to}" if source.moved_to else "good"
        case SourceHealth.FAILING:
            times = "once" if source.failures == 1 else f"{source.failures} times"
            text = f"failed {times} since {since:%Y-%m-%d}: {source.message}"
        case SourceHealth.REFUSING:
            text = f"access denied since {since:%Y-%m-%d}: {source.message}"
        case SourceHealth.GONE:
            text = f"gone since {since:%Y-%m-%d}: {source.message}"
    if not source.active:
        return f"no longer in the settings; {text}"
    return f"paused; {text}" if source.paused else text


def ensure_file_source(session: Session, address: str, *, name: str, publisher: str) -> Source:
    """Return the row for a local file used as a source, adding one if there's none.

    `address` is the file: URL.
    """
    row = session.scalar(select(Source).where(Source.url == address))
    if row is None:
        row = Source(url=address, name=name, publisher=publisher, topics={})
        session.add(row)
        session.flush()
    return row


def _update_source(row: Source, configured: SourceSettings) -> None:
    for name in _SYNCED_FIELDS:
        setattr(row, name, getattr(configured, name))
    if not row.active:  # the source was added again
        row.active = True
        reset_source_visits(row)


def reset_source_visits(row: Source) -> None:
    """Discard the results of visits to a source, including that it was gone.

    The next visit fetches everything.
    """
    row.health, row.message, row.failures = SourceHealth.NEW, "", 0
    row.failing_since = row.next_try_at = row.etag = row.last_modified = None
