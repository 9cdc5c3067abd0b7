"""The demo's year: what a list of 12,000 brings in a year, so that the pages for admins have something to show.

It stands as totals, as each night would have counted it; of the last thirty days the people are there too (`demo_people`).
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.demo.demo_people import ARRIVALS, DayCount, add_people
from digest.app.upkeep.maintenance import GROWTH_STATE_KEY
from digest.deliver.control.installation_hold import write_installation_state
from digest.edition.calendar.windows import name_edition
from digest.installation.acts import Actor
from digest.installation.opened import Installation
from digest.store.delivery_models import EditionFigures
from digest.store.models import Edition, Source, SourceDay
from subscribers.consent import consent_days
from subscribers.store.models import ConsentEvent, ConsentKind

DAYS = 365
PEOPLE_DAYS = 30  # the last ones, whose people are there
SOURCE_DAYS = 56
_SEED = 147
_SITE = "https://hls-today.example.org"
# Ways, with about how many forms a day come in by each, and the part of them that is confirmed.
_WAYS = ((f"{_SITE}/subscribe", 12.0, 0.6), (f"{_SITE}/events", 4.0, 0.7), (f"{_SITE}/archive", 2.0, 0.5))
_PAPER_WAY = "sign-up sheet, Forum on emergency management"


def add_year(installation: Installation, actor: Actor, now: datetime) -> int:
    """Add the totals of the year before `now`, and invented people; return how many people were added."""
    rng = random.Random(_SEED)  # noqa: S311 - the same year each time, and nothing secret
    zone = installation.settings.file.publication.zone
    today = now.astimezone(zone).date()
    year = [count for number in range(DAYS, 0, -1) for count in _invent_day(rng, today - timedelta(days=number))]
    recent = [count for count in year if count.day >= today - timedelta(days=PEOPLE_DAYS)]
    people = add_people(installation, actor, rng, recent, now)
    with installation.database.write() as session:
        through = session.scalar(select(func.max(ConsentEvent.id))) or 0
        write_installation_state(session, GROWTH_STATE_KEY, {"through": through}, now=now)
        readers = _write_days(session, year, today, through=through)
        _write_editions(session, rng, zone, readers)
        _write_source_days(session, rng, today)
    return people


def _write_days(session: Session, year: Sequence[DayCount], today: date, *, through: int) -> dict[date, int]:
    """Write what each day brought, and how many readers it ended with; the last day ends with those who are there."""
    counts: Counter[consent_days.DayKey] = Counter()
    joined: Counter[date] = Counter()
    went: Counter[date] = Counter()
    for day, kind, way, times in year:
        counts[day, kind.value, way] += times
        if kind in ARRIVALS:
            joined[day] += times
        elif kind is not ConsentKind.REQUESTED:
            went[day] += times
    consent_days.add_day_counts(session, counts)
    readers = consent_days.record_reader_count(session, today, after=through)
    by_day: dict[date, int] = {today: readers}
    for day in (today - timedelta(days=number) for number in range(1, DAYS + 1)):
        by_day[day] = readers
        readers = max(0, readers - joined[day] + went[day])
    for night_kind, by_night in (
        (consent_days.READERS_KIND, by_day),
        (consent_days.JOINED_KIND, joined),
        (consent_days.WENT_KIND, went),
    ):
        consent_days.add_day_counts(session, {(day, night_kind, ""): by_night[day] for day in by_day if day != today})
    return by_day


def _invent_day(rng: random.Random, day: date) -> Iterator[DayCount]:
    busy = 1.6 if day.weekday() in (4, 5) else 0.8  # on the day of the mail, and the day after, it is passed on
    for way, forms, confirmed in _WAYS:
        asked = round(rng.gauss(forms * busy, forms / 4))
        if asked > 0:
            yield DayCount(day, ConsentKind.REQUESTED, way, asked)
            yield DayCount(day, ConsentKind.CONFIRMED, way, round(asked * confirmed))
            yield DayCount(day, ConsentKind.WITHDRAWN, way, round(asked * rng.uniform(0.1, 0.25)))
    if day.day == 12:
        yield DayCount(day, ConsentKind.ATTESTED, _PAPER_WAY, rng.randrange(20, 60))
    if rng.random() < 0.3:
        yield DayCount(day, ConsentKind.BOUNCED, _WAYS[0][0], rng.randrange(1, 4))


def _write_editions(session: Session, rng: random.Random, zone: ZoneInfo, readers: dict[date, int]) -> None:
    """Write what came of the editions of the year before the sample's."""
    first = session.scalars(select(Edition).order_by(Edition.release_at).limit(1)).one()
    for weeks in range(1, DAYS // 7):
        release_at = (first.release_at.astimezone(zone) - timedelta(weeks=weeks)).astimezone(first.release_at.tzinfo)
        planned = readers.get(release_at.astimezone(zone).date(), 0)
        refused = round(planned * rng.uniform(0.004, 0.012))
        late = round(planned * rng.uniform(0.01, 0.03))
        hours = {release_at: planned - late, release_at + timedelta(hours=1): late - late // 4}
        hours[release_at + timedelta(hours=3)] = late // 4
        session.add(
            EditionFigures(
                name=name_edition(release_at, zone, ()),
                number=first.number - weeks,
                release_at=release_at,
                handed_over=planned,
                refused=refused,
                complained=round(planned * rng.uniform(0.0001, 0.0004)),
                hours={f"{at:%Y-%m-%d %H}": count for at, count in hours.items()},
                counted_at=release_at + timedelta(days=30),
            )
        )


def _write_source_days(session: Session, rng: random.Random, today: date) -> None:
    """Write how the sources behaved before the sample's week: one of them badly of late."""
    sources = session.scalars(select(Source).where(Source.active).order_by(Source.id)).all()
    for source in sources:
        is_weak = source is sources[-1]
        for number in range(1, SOURCE_DAYS):
            bad = 2 if is_weak and number < 5 else int(rng.random() < (0.4 if is_weak and number < 12 else 0.01))
            found = 0 if bad == 2 else rng.randrange(3)
            day = today - timedelta(days=number)
            session.add(SourceDay(source_id=source.id, day=day, good=2 - bad, bad=bad, found=found))
