"""Counts of visits to sources by day and week: successes, failures, and new articles."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.store.models import DailySourceVisitCounts, Source

SHOWN_WEEKS = 8
WeekState = Literal["good", "partly", "failing", "nothing"]


@dataclass(frozen=True, slots=True)
class SourceWeek:
    """The seven days from `start`: the numbers of successful visits, failed visits, and new articles."""

    start: date
    good: int = 0
    bad: int = 0
    found: int = 0

    @property
    def state(self) -> WeekState:
        """The state of the week: "partly" if some visits failed, "nothing" if there were no visits."""
        if not self.bad:
            return "good" if self.good else "nothing"
        return "partly" if self.good else "failing"


def count_source_visit(
    session: Session,
    source: Source,
    day: date,
    *,
    is_good: bool,
    item_count: int = 0,
) -> None:
    """Add a visit, and the number of new articles that it found, to a source's counts for a day."""
    counted = session.get(DailySourceVisitCounts, (source.id, day))
    if counted is None:
        counts = {"good": 0, "bad": 0, "found": 0}
        counted = DailySourceVisitCounts(source_id=source.id, day=day, **counts)
        session.add(counted)
    counted.good += is_good
    counted.bad += not is_good
    counted.found += item_count


def read_source_weeks(
    session: Session, today: date, *, only: Collection[int] | None = None
) -> dict[int, tuple[SourceWeek, ...]]:
    """Return eight weeks of visits by source ID, the last one ending today.

    Sources without visits are omitted.
    """
    begin = today - timedelta(days=7 * SHOWN_WEEKS - 1)
    query = select(DailySourceVisitCounts).where(DailySourceVisitCounts.day.between(begin, today))
    if only is not None:
        query = query.where(DailySourceVisitCounts.source_id.in_(only))
    empty = [SourceWeek(begin + timedelta(days=7 * number)) for number in range(SHOWN_WEEKS)]
    by_source: dict[int, list[SourceWeek]] = {}
    for row in session.scalars(query):
        weeks = by_source.setdefault(row.source_id, list(empty))
        place = (row.day - begin).days // 7
        week = weeks[place]
        good, bad = week.good + row.good, week.bad + row.bad
        weeks[place] = SourceWeek(week.start, good, bad, week.found + row.found)
    return {source_id: tuple(weeks) for source_id, weeks in by_source.items()}
