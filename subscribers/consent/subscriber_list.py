"""Pages of people for admins, newest first and without addresses.

Each page continues after the last number seen, and every query is bounded. Import, place, and state
each use an index. Other conditions are checked for at most `SCAN_WINDOW` people per page, and the
page says where to continue. Domains have no index, because it would make imports slower by an
eighth. Instead, `NUMBER_WINDOW` numbers are searched.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.audience import build_mailable_person_condition
from subscribers.consent.preferences import Preferences
from subscribers.part_keys import split_part_key
from subscribers.store.database import count_rows
from subscribers.store.models import EMPTIED_STATES, ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.stored_preferences import build_preference_column

PAGE_SIZE = 50
# The maximum number of people checked per page if an index finds them.
SCAN_WINDOW = 10_000
# The maximum number of people checked without an index, and when counting preferences or dates,
# which takes 100 ms.
NUMBER_WINDOW = 100_000
# The number of sign-up sources offered by a filter.
MAX_ORIGINS = 40
MAX_IMPORTS = 40


@dataclass(frozen=True, slots=True)
class SubscriberFilter:
    """A filter for the list of subscribers.

    People must match everything that's set. `since` (inclusive) and `until` (exclusive) limit the
    sign-up time. `kept_from` is an import whose undo kept them. `paused_on` is a day in the
    publication's time zone on which their emails are paused, and `mailed_on` is one on which they
    aren't. `part` is the key (`subscribers.part_keys`) of a section or topic that they receive, and
    `frequency` is how often they receive email.
    """

    state: PersonState | None = None
    asked_where: str = ""
    batch: int | None = None
    kept_from: int | None = None
    domain_tag: str = ""
    since: datetime | None = None
    until: datetime | None = None
    paused_on: date | None = None
    mailed_on: date | None = None
    part: str = ""
    frequency: str = ""


@dataclass(frozen=True, slots=True)
class ListedSubscriber:
    """A row in the list of subscribers.

    `since` is when the state began, and `asked_at` is the sign-up time that filters use.
    `in_progress` means that their import is unfinished. `is_complaint` and `is_bounce` say why the
    address is suppressed. Both are False if it was suppressed by an admin or a file.
    """

    number: int
    state: PersonState
    since: datetime
    asked_at: datetime
    asked_where: str
    batch: int | None
    preferences: Preferences
    in_progress: bool
    is_complaint: bool = False
    is_bounce: bool = False


@dataclass(frozen=True, slots=True)
class SubscriberPage:
    """A page of people, and the number below which the next page starts, or None at the end.

    If `is_truncated` is set, there may be more matches.
    """

    subscribers: tuple[ListedSubscriber, ...]
    next_below: int | None
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class MatchCount:
    """The number of people who match a filter.

    If `is_truncated` is set, only the newest people were counted.
    """

    people: int
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class ImportOrigin:
    """An import that a filter offers."""

    batch: int
    name: str
    started_at: datetime


def load_subscriber_page(
    session: Session, list_filter: SubscriberFilter, *, below: int | None = None
) -> SubscriberPage:
    """Return the next matching people whose numbers are below `below`, in descending order."""
    indexed, other_conditions = _split_conditions(list_filter)
    if other_conditions and not indexed:
        return _load_by_numbers(session, other_conditions, below)
    if below is not None:
        indexed = [*indexed, Person.number < below]
    newest_first = Person.number.desc()
    window = select(Person.number).where(*indexed).order_by(newest_first).limit(SCAN_WINDOW).subquery()
    query = select(Person).where(*indexed)
    if other_conditions:
        query = select(Person).where(Person.number.in_(select(window.c.number)), *other_conditions)
    rows = list(session.scalars(query.order_by(newest_first).limit(PAGE_SIZE + 1)))
    last_seen = _find_window_end(session, indexed) if other_conditions and len(rows) <= PAGE_SIZE else None
    return _build_page(session, rows, last_seen)


def _load_by_numbers(
    session: Session,
    conditions: Sequence[ColumnElement[bool]],
    below: int | None,
) -> SubscriberPage:
    """Return the next matching people, found by walking through the numbers rather than a filter's index."""
    top = below if below is not None else (session.scalar(select(func.max(Person.number))) or 0) + 1
    floor = max(top - NUMBER_WINDOW, 1)
    query = select(Person).where(Person.number < top, Person.number >= floor, *conditions)
    statement = query.order_by(Person.number.desc()).limit(PAGE_SIZE + 1)
    rows = list(session.scalars(statement))
    return _build_page(session, rows, floor if floor > 1 else None)


def _build_page(session: Session, rows: Sequence[Person], last_seen: int | None) -> SubscriberPage:
    """Build a page from rows, of which there may be one more than fits on the page.

    `last_seen` is the end of a window without further matches.
    """
    subscribers = _describe_rows(session, rows[:PAGE_SIZE])
    if len(rows) > PAGE_SIZE:
        return SubscriberPage(subscribers, subscribers[-1].number)
    return SubscriberPage(subscribers, last_seen, is_truncated=last_seen is not None)


def count_matching_people(session: Session, list_filter: SubscriberFilter) -> MatchCount:
    """Count the people who match a filter.

    If no index covers the whole filter, only the newest `NUMBER_WINDOW` people are counted.
    """
    indexed, others = _split_conditions(list_filter)
    if not others:
        return MatchCount(count_rows(session, Person, *indexed))
    if not indexed:
        floor = max((session.scalar(select(func.max(Person.number))) or 0) + 1 - NUMBER_WINDOW, 1)
        return MatchCount(count_rows(session, Person, Person.number >= floor, *others), is_truncated=floor > 1)
    last_seen = _find_window_end(session, indexed, NUMBER_WINDOW)
    people = count_rows(session, Person, *indexed, *others, Person.number >= (last_seen or 0))
    return MatchCount(people, is_truncated=last_seen is not None)


def count_paused(session: Session, today: date) -> int:
    """Count the subscribers whose emails are paused on a given day, using the index of people with a pause."""
    paused_until = build_preference_column("pause_until")
    is_paused = (paused_until.is_not(None), paused_until > today.isoformat())
    return count_rows(session, Person, *is_paused, build_mailable_person_condition())


def load_subscribers(session: Session, numbers: Sequence[int]) -> tuple[ListedSubscriber, ...]:
    """Return people (at most 1,000) as rows of the list of subscribers, newest first.

    Unknown numbers are omitted.
    """
    query = select(Person).where(Person.number.in_(numbers)).order_by(Person.number.desc())
    return _describe_rows(session, session.scalars(query).all())


def _split_conditions(
    list_filter: SubscriberFilter,
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Return the conditions that use an index, and those to check for the people found with it."""
    indexed: list[ColumnElement[bool]] = []
    if list_filter.batch is not None:
        indexed.append(Person.batch == list_filter.batch)
    if list_filter.asked_where:
        indexed.append(Person.asked_where == list_filter.asked_where)
    others = list(_list_unindexed_conditions(list_filter))
    if list_filter.kept_from is not None:
        imported = ledger.select_import_events(list_filter.kept_from).subquery()
        others += [Person.state != PersonState.REMOVED, Person.number.in_(select(imported.c.person))]
    if list_filter.state is not None:
        (others if others or indexed else indexed).append(Person.state == list_filter.state)
    return indexed[:1], [*indexed[1:], *others]


def _list_unindexed_conditions(list_filter: SubscriberFilter) -> Iterator[ColumnElement[bool]]:
    if list_filter.since is not None or list_filter.until is not None:
        yield Person.state.not_in(EMPTIED_STATES)  # their sign-up time was deleted
    if list_filter.since is not None:
        yield Person.asked_at >= list_filter.since
    if list_filter.until is not None:
        yield Person.asked_at < list_filter.until
    if list_filter.domain_tag:
        yield Person.domain_tag == list_filter.domain_tag
    if list_filter.paused_on is not None:
        yield build_preference_column("pause_until") > list_filter.paused_on.isoformat()
    if list_filter.mailed_on is not None:
        yield func.coalesce(build_preference_column("pause_until"), "") <= list_filter.mailed_on.isoformat()
    if list_filter.frequency:
        yield func.coalesce(build_preference_column("frequency"), Preferences().frequency) == list_filter.frequency
    section_key, topic_key = split_part_key(list_filter.part)
    for name, key in (("omit", section_key), ("omit_topics", topic_key)):
        if key:
            yield func.coalesce(build_preference_column(name), "").not_like(f'%"{key}"%')


def build_filter_conditions(list_filter: SubscriberFilter) -> list[ColumnElement[bool]]:
    """Return all query conditions for a filter."""
    indexed, others = _split_conditions(list_filter)
    return [*indexed, *others]


def _find_window_end(
    session: Session,
    indexed: Sequence[ColumnElement[bool]],
    window: int | None = None,
) -> int | None:
    """Return the last number in a full window, or None if the window wasn't full."""
    query = select(Person.number).where(*indexed).order_by(Person.number.desc())
    return session.scalar(query.offset((window or SCAN_WINDOW) - 1).limit(1))


def _describe_rows(session: Session, rows: Sequence[Person]) -> tuple[ListedSubscriber, ...]:
    numbers = [row.number for row in rows]
    changes: defaultdict[int, list[ConsentEvent]] = defaultdict(list)
    moving = select(ConsentEvent).where(
        ConsentEvent.person.in_(numbers), ConsentEvent.kind.not_in(ledger.UNMOVING_KINDS)
    )
    for event in session.scalars(moving.order_by(ConsentEvent.person, ConsentEvent.seq)):
        changes[event.person].append(event)
    query = select(ImportBatch.id).where(ImportBatch.done_at.is_(None))
    unfinished = set(session.scalars(query))
    return tuple(
        ListedSubscriber(
            number=row.number,
            state=row.state,
            since=ledger.find_state_start((event.kind, event.at) for event in changes[row.number]) or row.asked_at,
            asked_at=row.asked_at,
            asked_where=row.asked_where,
            batch=row.batch,
            preferences=Preferences.from_stored(row.choices),
            in_progress=row.batch in unfinished,
            is_complaint=any(event.kind is ConsentKind.COMPLAINED for event in changes[row.number][-1:]),
            is_bounce=any(json.loads(event.body).get("reason") == "bounced" for event in changes[row.number][-1:]),
        )
        for row in rows
    )


def list_signup_sources(session: Session) -> list[str]:
    """Return the first 40 sign-up sources in alphabetical order, found by skipping through their index."""
    origins: list[str] = []
    while len(origins) < MAX_ORIGINS:
        following = select(func.min(Person.asked_where))
        next_origin = session.scalar(following.where(Person.asked_where > origins[-1]) if origins else following)
        if next_origin is None:
            break
        origins.append(next_origin)
    return origins


def list_recent_imports(session: Session) -> list[ImportOrigin]:
    """Return the latest 40 imports, newest first."""
    query = select(ImportBatch).order_by(ImportBatch.id.desc()).limit(MAX_IMPORTS)
    rows = session.scalars(query)
    return [ImportOrigin(row.id, row.name, row.started_at) for row in rows]
