"""The growth of the list and the results of editions, read from stored counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.subscribers.subscriber_views import count_subscribers
from digest.deliver.retention.edition_figures import load_edition_figures
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import KeptEditionCounts
from digest.store.models import Article
from subscribers.consent.daily_consent_counts import (
    JOINED_KIND,
    KINDS_WITHOUT_WAY,
    REASON_KIND,
    SUBSCRIBERS_KIND,
    WENT_KIND,
)
from subscribers.store.models import ConsentKind, DailyConsentCount, PersonState

LOOK = Action("growth looked at")
SHOWN_DAYS = 366
WAY_DAYS = 30
SHOWN_WAYS = 10
SHOWN_EDITIONS = 10
SHOWN_ARTICLES = 5
READ_WINDOW = timedelta(days=21)  # older articles are ignored
MAX_GAP = timedelta(days=2)  # longest gap, beyond the requested days, between two compared counts
_LEFT = ConsentKind.WITHDRAWN.value


@dataclass(frozen=True, slots=True)
class SignupSourceCount:
    """Counts of the sign-ups from one source.

    They're counted as forms, confirmations, people added with evidence (`brought`), and later
    unsubscribes.
    """

    way: str
    form_count: int
    confirmed: int
    brought: int
    unsubscribed_count: int


@dataclass(frozen=True, slots=True)
class EditionResults:
    """Counts of what happened after an edition was sent.

    `unsubscribed_count` covers the time until the next edition, or a week. `reasons` has counts by
    the keys of `subscribers.consent.ledger.UNSUBSCRIBE_REASONS`.
    """

    number: int
    name: str
    handed_over: int
    refused: int
    complained: int
    unsubscribed_count: int
    reasons: Mapping[str, int]

    @property
    def without_reason(self) -> int:
        """The number of people who unsubscribed without giving a reason."""
        return max(0, self.unsubscribed_count - sum(self.reasons.values()))

    def share(self, count: int) -> float:
        """Return a count as a fraction of the accepted messages, from 0 to 1."""
        return count / self.handed_over if self.handed_over else 0.0


@dataclass(frozen=True, slots=True)
class ArticleReadCount:
    """An article on the publication's own site, and how often it was read.

    `views` are its page views in the week before they were counted.
    """

    title: str
    url: str
    views: int


@dataclass(frozen=True, slots=True)
class GrowthView:
    """The counts shown on the growth page.

    `current` is the current number of subscribers, and `subscribers` has the daily counts of the
    last year. `joined` and `left` are the numbers of people who joined and left in the week before
    the last count, or None if a nightly count is missing. `hours` has counts of the newest
    edition's emails by hour, in the publication's time zone.
    """

    today: date
    current: int
    subscribers: tuple[tuple[date, int], ...]
    joined: int | None
    left: int | None
    ways: tuple[SignupSourceCount, ...]
    edition_results: tuple[EditionResults, ...]
    hours: tuple[tuple[datetime, int], ...]
    most_read: tuple[ArticleReadCount, ...]
    hard_bounces_pause_share: float
    complaints_pause_share: float

    @property
    def last_count_is_old(self) -> bool:
        """True if last night's count is missing, so that changes before the last count aren't recent."""
        yesterday = self.today - timedelta(days=1)
        return bool(self.subscribers) and self.subscribers[-1][0] < yesterday

    def subscribers_before(self, days: int) -> int | None:
        """Return the number of subscribers this many days before the last count, or None if it's unknown."""
        earlier = _find_earlier_count(self.subscribers, days)
        return None if earlier is None else earlier[1]

    @property
    def weekly_subscribers(self) -> tuple[tuple[date, int], ...]:
        """Every seventh count, ending with the last one."""
        return tuple(reversed(tuple(reversed(self.subscribers))[::7]))


def view_list_growth(installation: Installation, actor: Actor, *, now: datetime) -> GrowthView:
    """Return the counts shown on the growth page.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LOOK.check_role(installation, actor, "growth", now=now)
    file = installation.settings.file
    zone = file.publication.zone
    today = now.astimezone(zone).date()
    current = count_subscribers(installation.database, now=now)[PersonState.SUBSCRIBED]
    with installation.read() as session:
        figures = load_edition_figures(session, SHOWN_EDITIONS)
        subscribers = _load_subscriber_counts(session)
        joined, left = _count_week(session, subscribers)
        return GrowthView(
            today=today,
            current=current,
            subscribers=subscribers,
            joined=joined,
            left=left,
            ways=_count_ways(session, today),
            edition_results=tuple(_judge_editions(session, figures, zone, today)),
            hours=_local_hours(figures[-1].hours, zone) if figures else (),
            most_read=_list_most_read(session, now),
            hard_bounces_pause_share=file.alerts.hard_bounces_share,
            complaints_pause_share=file.alerts.complaints_share,
        )


_BROUGHT = (ConsentKind.IMPORTED, ConsentKind.ATTESTED)


def _load_subscriber_counts(session: Session) -> tuple[tuple[date, int], ...]:
    """Return a year of daily counts, ending with the last one, however old it is."""
    counted = select(DailyConsentCount.day, DailyConsentCount.count).where(DailyConsentCount.kind == SUBSCRIBERS_KIND)
    statement = counted.order_by(DailyConsentCount.day.desc()).limit(1)
    last = session.execute(statement).first()
    if last is None:
        return ()
    query = counted.where(DailyConsentCount.day >= last.day - timedelta(days=SHOWN_DAYS)).order_by(
        DailyConsentCount.day
    )
    return tuple((day, count) for day, count in session.execute(query))


def _find_earlier_count(subscribers: Sequence[tuple[date, int]], days: int) -> tuple[date, int] | None:
    """Return the count from this many days before the last one.

    If there's none, return the nearest earlier count within `MAX_GAP`, or None.
    """
    if not subscribers:
        return None
    latest = subscribers[-1][0] - timedelta(days=days)
    earliest = latest - MAX_GAP
    return next((counted for counted in reversed(subscribers) if earliest <= counted[0] <= latest), None)


def _count_week(session: Session, subscribers: Sequence[tuple[date, int]]) -> tuple[int | None, int | None]:
    """Return the numbers of people who joined and left between the two counts that are compared.

    They're None if a nightly count is missing.
    """
    if not subscribers:
        return None, None
    earlier = _find_earlier_count(subscribers, 7)
    counted_days = subscribers[-1][0] - subscribers[0][0]
    if earlier is None and counted_days >= timedelta(days=7):
        return None, None
    nights = {day for day, _ in subscribers if earlier is None or day > earlier[0]}
    query = select(DailyConsentCount.day, DailyConsentCount.kind, DailyConsentCount.count).where(
        DailyConsentCount.day.between(min(nights), max(nights)), DailyConsentCount.kind.in_((JOINED_KIND, WENT_KIND))
    )
    totals: Counter[str] = Counter()
    counted = set()
    for day, kind, count in session.execute(query):
        totals[kind] += count
        counted.add(day)
    return (None, None) if nights - counted else (totals[JOINED_KIND], totals[WENT_KIND])


def _count_ways(session: Session, today: date) -> tuple[SignupSourceCount, ...]:
    """Count recent sign-ups by source, the largest source first.

    Sources beyond `SHOWN_WAYS` are combined in one row.
    """
    query = (
        select(DailyConsentCount.way, DailyConsentCount.kind, func.sum(DailyConsentCount.count))
        .where(
            DailyConsentCount.day > today - timedelta(days=WAY_DAYS), DailyConsentCount.kind.not_in(KINDS_WITHOUT_WAY)
        )
        .group_by(DailyConsentCount.way, DailyConsentCount.kind)
    )
    by_way: dict[str, dict[str, int]] = {}
    for way, kind, count in session.execute(query):
        by_way.setdefault(way, {})[kind] = int(count)
    rows = [
        SignupSourceCount(
            way,
            kinds.get(ConsentKind.REQUESTED.value, 0),
            kinds.get(ConsentKind.CONFIRMED.value, 0),
            sum(kinds.get(kind.value, 0) for kind in _BROUGHT),
            kinds.get(_LEFT, 0),
        )
        for way, kinds in by_way.items()
    ]
    rows.sort(key=lambda row: (-(row.form_count + row.brought), -row.unsubscribed_count, row.way))
    remaining_rows = rows[SHOWN_WAYS:]
    if len(remaining_rows) > 1:
        sums = (
            sum(getattr(row, name) for row in remaining_rows)
            for name in ("form_count", "confirmed", "brought", "unsubscribed_count")
        )
        rows = [*rows[:SHOWN_WAYS], SignupSourceCount(f"{len(remaining_rows)} others", *sums)]
    return tuple(rows)


def _judge_editions(
    session: Session, figures: Sequence[KeptEditionCounts], zone: ZoneInfo, today: date
) -> list[EditionResults]:
    if not figures:
        return []
    days = [figure.release_at.astimezone(zone).date() for figure in figures]
    kinds = DailyConsentCount.kind.in_((_LEFT, REASON_KIND))
    counted = select(DailyConsentCount).where(kinds, DailyConsentCount.day.between(days[0], today))
    rows = session.scalars(counted).all()
    ends = [*days[1:], days[-1] + timedelta(days=7)]
    return [
        _judge_edition(figure, [row for row in rows if begin <= row.day < end])
        for figure, begin, end in zip(figures, days, ends, strict=True)
    ]


def _judge_edition(figure: KeptEditionCounts, counts: Sequence[DailyConsentCount]) -> EditionResults:
    reasons: Counter[str] = Counter()
    for row in counts:
        if row.kind == REASON_KIND:
            reasons[row.way] += row.count
    return EditionResults(
        figure.number,
        figure.name,
        figure.handed_over,
        figure.refused,
        figure.complained,
        sum(row.count for row in counts if row.kind == _LEFT),
        reasons,
    )


def _local_hours(hours: Mapping[str, int], zone: ZoneInfo) -> tuple[tuple[datetime, int], ...]:
    """Return the counts for an edition's first 12 hours in order, including hours without emails."""
    counts = {datetime.strptime(text, "%Y-%m-%d %H").replace(tzinfo=UTC): count for text, count in hours.items()}
    if not counts:
        return ()
    first = min(counts)
    moments = [first + timedelta(hours=number) for number in range(12)]
    return tuple((moment.astimezone(zone), counts.get(moment, 0)) for moment in moments)


def _list_most_read(session: Session, now: datetime) -> tuple[ArticleReadCount, ...]:
    query = (
        select(Article.title, Article.url, func.max(Article.views))
        .where(Article.dated_at > now - READ_WINDOW, Article.views > 0)
        .group_by(Article.title, Article.url)
        .order_by(func.max(Article.views).desc(), Article.url)
        .limit(SHOWN_ARTICLES)
    )
    rows = session.execute(query)
    return tuple(ArticleReadCount(title, url, views or 0) for title, url, views in rows)
