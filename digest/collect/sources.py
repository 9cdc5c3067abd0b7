"""The sources as rows: they follow `digest.toml`, and each visit leaves its health.

What a visit means is decided by `next_try` and `judge`, which know only what they are given; `note_good`
and `note_bad` write it down.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.fetched import FetchError, Reason
from digest.collect.items import Kind
from digest.db import Health, Source
from digest.settings import Settings, SourceSettings

FILE = "file:"  # how the address of a source begins that is a file of this machine
PATIENCE = timedelta(days=7)  # a source that fails for longer is shown to the editors
LONGEST = timedelta(
    hours=24
)  # between two tries of a source that fails, and of one that asks for rare visits
LONGEST_ASKED = timedelta(days=7)  # a Retry-After beyond it is a mistake of the publisher's
FIRST_WAIT = timedelta(minutes=15)
_FOLLOWED = ("name", "publisher", "section", "weight", "primary", "own", "images", "topics")


@dataclass(frozen=True, slots=True)
class Synced:
    """What following the settings changed: sources added, changed, and no longer named."""

    added: int
    changed: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Good:
    """A visit that worked. `every` is the least time to the next in seconds, by max-age or the feed's ttl."""

    kind: Kind | None = None  # None: not modified, so still what it was
    etag: str | None = None
    last_modified: str | None = None
    moved_to: str | None = None
    every: int = 0


@dataclass(frozen=True, slots=True)
class Bad:
    """A visit that did not work: what that makes of the source, why, and the wait asked for in seconds."""

    health: Health
    message: str
    retry_after: float = 0
    status: int | None = None  # of the answer, if there was one

    @property
    def absent(self) -> bool:
        """Whether the site says that nothing is at the address."""
        return self.status in {404, 410}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A source that the editors should know of, in words."""

    name: str
    url: str
    health: Health
    since: datetime
    message: str


def sync(session: Session, settings: Settings) -> Synced:
    """Make the rows follow the settings. A source that is no longer named keeps its row and its articles."""
    rows = {row.url: row for row in session.scalars(select(Source)) if not row.url.startswith(FILE)}
    named = {wanted.url for wanted in settings.file.sources}
    moved = {row.moved_to: row for row in rows.values() if row.moved_to and row.url not in named}
    added = changed = 0
    for wanted in settings.file.sources:
        row = rows.get(wanted.url)
        if row is None and (row := moved.pop(wanted.url, None)):
            row.url, row.moved_to = wanted.url, None  # the operator wrote down where it moved to
            rows[wanted.url] = row
        if row is None:
            session.add(_new(wanted))
            added += 1
        else:
            changed += _follow(row, wanted)
    dropped = [row for row in rows.values() if row.active and row.url not in named]
    for row in dropped:
        row.active = False
    session.flush()
    return Synced(added, changed, len(dropped))


def judge(error: FetchError) -> Bad:
    """Decide what a failed fetch says about its source."""
    if error.reason is Reason.GONE:
        health = Health.GONE
    elif error.reason is Reason.REFUSING:
        health = Health.REFUSING
    else:
        health = Health.FAILING
    return Bad(health, error.message, error.retry_after or 0, error.status)


def next_try(seen: Good | Bad, failures: int, now: datetime, luck: float) -> datetime | None:
    """Decide when a source is visited next; None is never, until somebody adds it again.

    A good one: when what it gave is no longer fresh. A failing one: after a random part of a time that
    doubles with each failure ("full jitter": many sources that fell together do not come back together),
    a refusing one once or twice a day; neither before the publisher's Retry-After.

    Args:
        seen: what the visit gave.
        failures: the visits that failed in a row, with this one.
        now: when it was made.
        luck: a random number, 0 ≤ luck < 1.
    """
    if isinstance(seen, Good):
        return now + min(timedelta(seconds=seen.every), LONGEST)
    if seen.health is Health.GONE:
        return None
    asked = min(timedelta(seconds=seen.retry_after), LONGEST_ASKED)
    if seen.health is Health.REFUSING:
        return now + max(LONGEST * (1 + luck) / 2, asked)
    ceiling: timedelta = min(FIRST_WAIT * (1 << min(failures - 1, 20)), LONGEST)
    return now + max(ceiling * luck, asked)


def is_due(source: Source, now: datetime) -> bool:
    """Say whether a source may be visited at `now`."""
    return source.health is not Health.GONE and (source.next_try_at is None or source.next_try_at <= now)


def note_good(source: Source, seen: Good, now: datetime, luck: float) -> None:
    """Write down a visit that worked."""
    source.health, source.message = Health.GOOD, ""
    source.failures, source.failing_since = 0, None
    source.good_at = source.tried_at = now
    source.next_try_at = next_try(seen, 0, now, luck)
    source.etag, source.last_modified = seen.etag, seen.last_modified
    source.kind = seen.kind.value if seen.kind else source.kind
    if seen.moved_to:
        source.moved_to = seen.moved_to if seen.moved_to != source.url else None


def note_bad(source: Source, seen: Bad, now: datetime, luck: float) -> None:
    """Write down a visit that did not work. What was learnt about the address is forgotten with a 404 or 410."""
    if seen.absent and source.moved_to:
        source.moved_to = source.etag = source.last_modified = None
        seen = replace(seen, health=Health.FAILING)  # the address of the settings may still answer
    source.health, source.message = seen.health, seen.message
    source.failures += 1
    source.failing_since = source.failing_since or now
    source.tried_at = now
    source.next_try_at = next_try(seen, source.failures, now, luck)


def troubled(session: Session, now: datetime) -> list[Trouble]:
    """List the sources that an editor should know of: failing for a week, refusing, or gone. Longest first."""
    query = select(Source).where(
        Source.active, Source.health.in_([Health.FAILING, Health.REFUSING, Health.GONE])
    )
    found = [
        Trouble(row.name, row.url, row.health, row.failing_since or now, row.message)
        for row in session.scalars(query)
        if row.health is not Health.FAILING or (row.failing_since or now) <= now - PATIENCE
    ]
    return sorted(found, key=lambda trouble: (trouble.since, trouble.url))


def in_words(source: Source, now: datetime) -> str:
    """Say how a source is, for people; the message of a bad one says what to do."""
    since = source.failing_since or now
    match source.health:
        case Health.NEW:
            text = "not visited yet"
        case Health.GOOD:
            text = f"good; moved to {source.moved_to}" if source.moved_to else "good"
        case Health.FAILING:
            times = "once" if source.failures == 1 else f"{source.failures} times"
            text = f"failed {times} since {since:%Y-%m-%d}: {source.message}"
        case Health.REFUSING:
            text = f"refusing since {since:%Y-%m-%d}: {source.message}"
        case Health.GONE:
            text = f"gone since {since:%Y-%m-%d}: {source.message}"
    return text if source.active else f"no longer in the settings; {text}"


def file_source(session: Session, address: str, *, name: str, publisher: str) -> Source:
    """Give the row of a file that is read as a source; it is made when the file is new."""
    row = session.scalar(select(Source).where(Source.url == address))
    if row is None:
        row = Source(url=address, name=name, publisher=publisher, topics={})
        session.add(row)
        session.flush()
    return row


def _new(wanted: SourceSettings) -> Source:
    return Source(url=wanted.url, health=Health.NEW, active=True, **_values(wanted))


def _values(wanted: SourceSettings) -> dict[str, object]:
    return {name: getattr(wanted, name) for name in _FOLLOWED}


def _follow(row: Source, wanted: SourceSettings) -> bool:
    different = {name: value for name, value in _values(wanted).items() if getattr(row, name) != value}
    for name, value in different.items():
        setattr(row, name, value)
    if row.active:
        return bool(different)
    row.active = True  # added again: it starts anew, also when it was gone
    row.health, row.message, row.failures = Health.NEW, "", 0
    row.failing_since = row.next_try_at = None
    return True
