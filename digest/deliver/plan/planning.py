"""Planning an edition: one delivery per subscriber, written once.

Pure functions decide whether a subscriber gets an edition, based on frequency, and when it's due,
based on the hour that they chose.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from digest.deliver.compose.identifiers import make_delivery_ids, make_message_id
from digest.deliver.compose.variants import EditionVariants, create_variants
from digest.deliver.plan.delivery_plan import (
    DeliveryCounts,
    count_breaking_news_recipients,
    count_deliveries,
    make_edition_delivery_purpose,
)
from digest.edition.approval.approved_versions import read_mailable_edition
from digest.edition.edition_queries import IS_REGULAR, find_edition
from digest.settings import Settings
from digest.store.delivery_models import OPEN_STATES, Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from digest.timetable import resolve_wall_time
from subscribers.consent import audience
from subscribers.consent.preferences import Preferences
from subscribers.crypto.keys import KeyRing
from subscribers.store.compiled_statements import insert_missing
from subscribers.store.database import MAX_TRANSACTION_ROWS
from subscribers.store.models import table_of

MAX_LATENESS = timedelta(hours=1)  # an edition sent later than this counts from the time when it's actually sent
_SERVED_STATES = (*OPEN_STATES, DeliveryState.ACCEPTED, DeliveryState.UNCERTAIN)
_WEEK = timedelta(days=7)
# Stored in place of a server's reply if a delivery is skipped because emails are paused.
PAUSED_REPLY = "paused"


@dataclass(frozen=True, slots=True)
class EditionRelease:
    """The send times of an edition and of the previous edition. `zone` is the publication's time zone."""

    released_at: datetime
    previous_release_at: datetime | None
    zone: ZoneInfo

    def find_due_time(self, preferences: Preferences, *, had_one_this_month: bool) -> datetime | None:
        """Return when the edition is due for a subscriber, in UTC, or None if they don't get it."""
        is_wanted = is_wanted_by_subscriber(preferences, self, had_one_this_month=had_one_this_month)
        return find_first_due_time(preferences, self.released_at) if is_wanted else None


def choose_effective_release_time(release_at: datetime, now: datetime) -> datetime:
    """Return the time from which to look for subscribers' preferred hours.

    It's the send time, or now if it's early or more than an hour late. Shortly after the send time
    still counts as on time, so that a subscriber who chose that hour doesn't wait for a day.
    """
    return release_at if timedelta() <= now - release_at <= MAX_LATENESS else now


def find_month_bounds(moment: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return, in UTC, the start of the month that contains a moment in a time zone, and the start of the next month."""
    first = moment.astimezone(zone).date().replace(day=1)
    next_first = (first + timedelta(days=31)).replace(day=1)
    begins, ends = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, next_first))
    return begins, ends


def is_wanted_by_subscriber(preferences: Preferences, release: EditionRelease, *, had_one_this_month: bool) -> bool:
    """Return True if a subscriber's frequency lets them get an edition.

    Monthly subscribers get the month's first edition or, if their emails are paused then, the first
    one after the pause. Biweekly ones get the first edition of every second week, counted from the
    week in which they chose it, because the parity of ISO week numbers breaks at week 53. Days,
    weeks, and months are in the publication's time zone.
    """
    if preferences.frequency == "weekly":
        return True
    if preferences.frequency == "monthly":
        return not had_one_this_month
    day = release.released_at.astimezone(release.zone).date()
    before = release.previous_release_at.astimezone(release.zone).date() if release.previous_release_at else None
    weeks = (_monday_of(day) - _monday_of(preferences.start or date.min)) // _WEEK
    return weeks % 2 == 0 and (before is None or _monday_of(before) != _monday_of(day))


def _monday_of(day: date) -> date:
    return date.fromordinal(day.toordinal() - day.weekday())


def find_first_due_time(preferences: Preferences, start: datetime) -> datetime:
    """Return the first moment at or after `start` (UTC) when it's the subscriber's preferred hour in their time zone.

    In a gap (spring), it's the next minute that exists. If the hour occurs twice (fall), either one
    may be the first. Return `start` if no hour is set or this machine doesn't know the time zone.
    """
    zone = _load_zone(preferences.zone) if preferences.hour is not None else None
    if zone is None or preferences.hour is None:
        return start
    return _first_hour_after(preferences.hour, zone, start)


@lru_cache(maxsize=4096)  # many subscribers share an hour and zone
def _first_hour_after(hour: int, zone: ZoneInfo, start: datetime) -> datetime:
    today = start.astimezone(zone).date()
    days = (today + timedelta(days=n) for n in range(-1, 4))
    moments = (moment for day in days for moment in _moments_showing(day, time(hour), zone))
    return min(moment for moment in moments if moment >= start)


def _moments_showing(day: date, wall_time: time, zone: ZoneInfo) -> set[datetime]:
    """Return the moments when clocks in `zone` show `wall_time` on `day`.

    There's one, or two if the hour occurs twice.
    """
    second = datetime.combine(day, wall_time, tzinfo=zone).replace(fold=1).astimezone(UTC)
    first = resolve_wall_time(day, wall_time, zone)
    second_exists = second.astimezone(zone).replace(tzinfo=None) == datetime.combine(day, wall_time)
    return {first, second} if second_exists else {first}


@lru_cache(maxsize=1024)
def _load_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a zone known only to another machine or tzdata version
        return None


def plan_deliveries(
    database: Database,
    name: str,
    keys: KeyRing,
    settings: Settings,
    *,
    now: datetime,
    doubtful: Mapping[str, Any] = MappingProxyType({}),
) -> DeliveryCounts:
    """Write one delivery per subscriber, in pages of 1,000. Idempotent.

    For breaking news, only subscribers who chose it get one. Once all deliveries are written, the
    list is fixed, and later subscribers get the next edition. Several processes may plan the same
    edition, because a page is only written while the list isn't fixed. Subscribers who paused their
    emails, want fewer editions, or omitted all of its sections get a row that's `skipped`. Breaking
    news is due immediately, whatever the other preferences. While a page is written, a thread reads
    the next one and computes its IDs.

    `doubtful` are column values that mark deliveries as possibly sent before a restore. They
    replace those of a waiting delivery.

    Raises:
        UnknownEditionError: the edition doesn't exist.
    """
    with database.read() as session:
        edition = find_edition(session, name)
        if edition.planned_at is not None:
            return count_deliveries(session, make_edition_delivery_purpose(name))
        rows = _PlannedRows(
            purpose=make_edition_delivery_purpose(name),
            keys=keys,
            list_domain=settings.file.sender.list_id,
            variants=create_variants(read_mailable_edition(session, edition, settings), settings),
            release=_edition_release(session, edition, settings, now),
            today=now.astimezone(settings.file.publication.zone).date(),
            now=now,
            doubtful=doubtful,
        )
        month_purposes = _purposes_of_month(session, edition, settings)

    def read_page(after: int) -> tuple[int | None, list[dict[str, Any]]]:
        with database.read() as session:
            page = audience.load_preferences_page(session, after_number=after, page_size=MAX_TRANSACTION_ROWS)
            monthly = [subscriber.number for subscriber in page if subscriber.preferences.frequency == "monthly"]
            served = _served_subscribers(session, month_purposes, monthly)
        return page[-1].number if page else None, rows.rows_for(page, served)

    with ThreadPoolExecutor(1) as reader:
        last_number, page = read_page(0)
        while last_number is not None:
            next_page = reader.submit(read_page, last_number)
            with database.write() as session:
                # Another process may have fixed the list while this one was suspended.
                if find_edition(session, name, lock=True).planned_at is not None:
                    return count_deliveries(session, rows.purpose)
                # Keep the rows of an interrupted planning. A page may have no breaking-news subscribers.
                if page:
                    insert_missing(session, table_of(Delivery), page)
            last_number, page = next_page.result()
    return _close_plan(database, name, now)


@dataclass(frozen=True, slots=True)
class _PlannedRows:
    """The values that all of an edition's delivery rows share."""

    purpose: str
    keys: KeyRing
    list_domain: str
    variants: EditionVariants
    release: EditionRelease
    today: date
    now: datetime
    doubtful: Mapping[str, Any]

    def rows_for(
        self, subscribers: Sequence[audience.MemberPreferences], served: Collection[int | None]
    ) -> list[dict[str, Any]]:
        """Return the delivery rows for the given subscribers.

        Those in `served` have already gotten an edition this month.
        """
        if self.variants.is_breaking_news:
            subscribers = [subscriber for subscriber in subscribers if subscriber.preferences.breaking_news]
        delivery_ids = make_delivery_ids(self.keys, self.purpose, (subscriber.number for subscriber in subscribers))
        return [
            self._row_for(subscriber, delivery_id, had_one_this_month=subscriber.number in served)
            for subscriber, delivery_id in zip(subscribers, delivery_ids, strict=True)
        ]

    def _row_for(
        self, subscriber: audience.MemberPreferences, delivery_id: str, *, had_one_this_month: bool
    ) -> dict[str, Any]:
        due = self._due_time(subscriber.preferences, had_one_this_month=had_one_this_month)
        row: dict[str, Any] = {
            **dict.fromkeys(self.doubtful),
            "id": delivery_id,
            "purpose": self.purpose,
            "person": subscriber.number,
            "state": DeliveryState.WAITING if due else DeliveryState.SKIPPED,
            "due_at": due or self.now,
            "next_try_at": due or self.now,
            "tries": 0,
            "domain_tag": subscriber.domain_tag,
            "message_id": make_message_id(self.purpose, delivery_id, self.list_domain),
            "transport": "",
            "reply": "" if due or not subscriber.preferences.is_paused(self.today) else PAUSED_REPLY,
        }
        return {**row, **self.doubtful} if due else row

    def _due_time(self, preferences: Preferences, *, had_one_this_month: bool) -> datetime | None:
        """Return when the edition is due for a subscriber, in UTC, or None if they're skipped."""
        if not self.variants.is_owed_to(preferences, self.today):
            return None
        if self.variants.is_breaking_news:
            return self.now
        return self.release.find_due_time(preferences, had_one_this_month=had_one_this_month)


def _edition_release(session: Session, edition: Edition, settings: Settings, now: datetime) -> EditionRelease:
    went = Edition.state.in_((EditionState.SENDING, EditionState.SENT))
    before = (IS_REGULAR, Edition.id != edition.id, Edition.release_at < edition.release_at)
    previous = session.scalar(select(func.max(Edition.release_at)).where(went, *before))
    return EditionRelease(
        choose_effective_release_time(edition.release_at, now), previous, settings.file.publication.zone
    )


def _purposes_of_month(session: Session, edition: Edition, settings: Settings) -> list[str]:
    """Return the purposes of the other regular editions in the same month, earlier or later."""
    others = select(Edition.name).where(_is_other_of_month(edition, settings))
    return [make_edition_delivery_purpose(name) for name in session.scalars(others)]


def _is_other_of_month(edition: Edition, settings: Settings) -> ColumnElement[bool]:
    begins, ends = find_month_bounds(edition.release_at, settings.file.publication.zone)
    return and_(IS_REGULAR, Edition.release_at >= begins, Edition.release_at < ends, Edition.id != edition.id)


def _served_subscribers(
    session: Session,
    purposes: Sequence[str],
    numbers: Sequence[int],
) -> set[int | None]:
    """Return the given subscribers who got one of the given editions or may still get one."""
    if not purposes or not numbers:
        return set()
    served = select(Delivery.person).where(Delivery.state.in_(_SERVED_STATES))
    theirs = served.where(Delivery.purpose.in_(purposes), Delivery.person.in_(numbers))
    return set(session.scalars(theirs))


@dataclass(frozen=True, slots=True)
class RecipientCounts:
    """The numbers of subscribers who will and won't get an edition, by their current preferences."""

    recipients: int
    paused: int
    # They want fewer editions, omitted all of its sections, or didn't choose breaking news.
    skipped: int

    @property
    def total(self) -> int:
        """The number of people who may be emailed."""
        return self.recipients + self.paused + self.skipped

    @property
    def others_sentence(self) -> str:
        """A sentence about the subscribers who won't get the edition, or "" if everyone gets it.

        For example, "12,040 are paused, and 1 chose other sections or fewer editions."
        """
        paused = f"{self.paused:,} {'is' if self.paused == 1 else 'are'} paused" if self.paused else ""
        skipped = f"{self.skipped:,} chose other sections or fewer editions" if self.skipped else ""
        words = ", and ".join(filter(None, (paused, skipped)))
        return words and f"{words}."


def count_recipients(session: Session, edition: Edition, settings: Settings, *, now: datetime) -> RecipientCounts:
    """Count the subscribers who will get an edition, assuming that it's planned at its send time.

    If that has passed, it's planned now. If another edition was sent earlier in the month, monthly
    subscribers are counted as having gotten it.
    """
    if edition.is_breaking_news:
        news_audience = count_breaking_news_recipients(session, settings, now)
        return RecipientCounts(news_audience.recipients, news_audience.paused, news_audience.not_chosen)
    start, total = max(now, edition.release_at), audience.count_audience(session)
    release, today = (
        _edition_release(session, edition, settings, start),
        start.astimezone(settings.file.publication.zone).date(),
    )
    variants = create_variants(read_mailable_edition(session, edition, settings), settings)
    had_one = _has_earlier_edition_in_month(session, edition, settings)
    recipients = skipped = 0
    for preferences, people in audience.count_preferences(session):
        if preferences.is_paused(today):
            continue
        is_wanted = is_wanted_by_subscriber(preferences, release, had_one_this_month=had_one)
        if is_wanted and variants.is_owed_to(preferences, today):
            recipients += people
        else:
            skipped += people
    # Editions are also paused for subscribers whose preferences can't be read.
    return RecipientCounts(recipients, total - recipients - skipped, skipped)


def _has_earlier_edition_in_month(session: Session, edition: Edition, settings: Settings) -> bool:
    sent = Edition.state.in_((EditionState.SENDING, EditionState.SENT))
    is_earlier = Edition.release_at < edition.release_at
    earlier = select(Edition.id).where(_is_other_of_month(edition, settings), sent, is_earlier).limit(1)
    return session.scalar(earlier) is not None


def _close_plan(database: Database, name: str, now: datetime) -> DeliveryCounts:
    with database.write() as session:
        edition = find_edition(session, name, lock=True)
        if edition.planned_at is None:
            counts = count_deliveries(session, make_edition_delivery_purpose(name))
            edition.planned, edition.planned_at = counts.planned, now
        session.flush()
        return count_deliveries(session, make_edition_delivery_purpose(name))
