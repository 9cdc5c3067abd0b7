"""The demo's year: 12,000 invented people and what a list of that size brings in a year, so that the pages for admins have something to show.

The people come by an import like any other, at addresses under names that nobody can own (RFC 2606), and all have paused their mail, so that the demo
writes files for the sample's readers alone. What happened before the sample's week stands as totals, as a night would have counted it.
"""

import csv
import random
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app import lists
from digest.app.acts import Actor
from digest.app.installation import Installation
from digest.app.maintenance import GROWTH_STATE_KEY
from digest.deliver.control.installation_hold import write_installation_state
from digest.edition.windows import name_edition
from digest.store.delivery_models import EditionFigures
from digest.store.models import Edition, Source, SourceDay
from subscribers.consent import consent_days, ledger
from subscribers.consent.preferences import Preferences
from subscribers.store.models import ConsentEvent, ConsentKind, Person
from subscribers.transfer.options import ImportOptions

PEOPLE = 12_000
DAYS = 365
SOURCE_DAYS = 56
PAUSED_FOR = timedelta(days=3650)
_SEED = 147
_PEOPLE_A_STEP = 1000
_FIRST_NAMES = ("ada", "ben", "carla", "dmitri", "elena", "farid", "grace", "hiro", "ines", "jonas", "kofi", "lena")
_LAST_NAMES = ("alder", "brook", "castro", "dunn", "egger", "frost", "grant", "holm", "ivers", "jensen", "kerr", "lund")
_DOMAINS = (
    "example.org",
    "example.com",
    "county.example.org",
    "port.example.net",
    "hospital.example.org",
    "fire.example.net",
)
_SITE = "https://hls-today.example.org"
# Ways, with about how many forms a day come in by each, and the part of them that is confirmed.
_WAYS = ((f"{_SITE}/subscribe", 12.0, 0.6), (f"{_SITE}/events", 4.0, 0.7), (f"{_SITE}/archive", 2.0, 0.5))
_PAPER_WAY = "sign-up sheet, Forum on emergency management"


def add_year(installation: Installation, actor: Actor, now: datetime) -> int:
    """Add the invented people and the totals of the year before `now`; return how many people were added."""
    rng = random.Random(_SEED)  # noqa: S311 - the same year each time, and nothing secret
    zone = installation.settings.file.publication.zone
    people = _import_people(installation, actor, rng, now)
    _pause_people(installation, people, now)
    with installation.database.write() as session:
        through = session.scalar(select(func.max(ConsentEvent.id))) or 0
        write_installation_state(session, GROWTH_STATE_KEY, {"through": through}, now=now)
        readers = _write_days(session, rng, now.astimezone(zone).date())
        _write_editions(session, rng, zone, readers)
        _write_source_days(session, rng, now.astimezone(zone).date())
    return len(people)


def _import_people(installation: Installation, actor: Actor, rng: random.Random, now: datetime) -> list[int]:
    file = installation.settings.home / "invented-people.csv"
    try:
        _write_list(file, rng, now)
        report, _ = lists.import_list(installation, actor, file, ImportOptions(), now=now, progress=lambda *_: None)
    finally:
        file.unlink(missing_ok=True)
    with installation.database.read() as session:
        return list(session.scalars(select(Person.number).where(Person.batch == report.batch).order_by(Person.number)))


def _write_list(file: Path, rng: random.Random, now: datetime) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("email", "created_at", "confirmed_at"))
        for number in range(PEOPLE):
            asked = now - timedelta(minutes=rng.randrange(60, DAYS * 24 * 60))
            name = f"{rng.choice(_FIRST_NAMES)}.{rng.choice(_LAST_NAMES)}.{number}@{rng.choice(_DOMAINS)}"
            confirmed = asked + timedelta(minutes=rng.randrange(1, 50))
            writer.writerow((name, asked.isoformat(timespec="seconds"), confirmed.isoformat(timespec="seconds")))


def _pause_people(installation: Installation, people: list[int], now: datetime) -> None:
    """Have everybody pause, each by a link of their chain: `change_preferences` for a thousand at once."""
    paused = Preferences(pause_until=(now + PAUSED_FOR).date()).as_json()
    body = ledger.canonical_json({"before": {}, "after": paused})
    for begin in range(0, len(people), _PEOPLE_A_STEP):
        step = people[begin : begin + _PEOPLE_A_STEP]
        with installation.database.write() as session:
            links = list(_build_pauses(session, step, body, now))
            changed = [{"number": link.event["person"], "choices": paused, **link.person} for link in links]
            ledger.write_links(session, [link.event for link in links], changed_people=changed)


def _build_pauses(session: Session, people: list[int], body: str, now: datetime) -> Iterator[ledger.NewLink]:
    columns = (ConsentEvent.person, ConsentEvent.seq, ConsentEvent.commitment, Person.state, Person.chain_head)
    events = select(*columns).join(Person, Person.number == ConsentEvent.person).where(ConsentEvent.person.in_(people))
    last = {row.person: row for row in session.execute(events.order_by(ConsentEvent.seq))}
    for row in last.values():
        yield ledger.build_link(
            row.person,
            row.state,
            ConsentKind.CHOICES_CHANGED,
            body,
            now,
            seq=row.seq + 1,
            previous=row.chain_head,
            commitment=row.commitment,
        )


def _write_days(session: Session, rng: random.Random, today: date) -> dict[date, int]:
    """Write what each day brought, and how many readers it ended with; the last day ends with those who are there."""
    counts: Counter[consent_days.DayKey] = Counter()
    change: dict[date, int] = {}
    for number in range(DAYS, 0, -1):
        day = today - timedelta(days=number)
        change[day] = 0
        for kind, way, count in _invent_day(rng, day):
            counts[day, kind.value, way] += count
            if kind in (ConsentKind.CONFIRMED, ConsentKind.ATTESTED):
                change[day] += count
            elif kind is not ConsentKind.REQUESTED:
                change[day] -= count
    consent_days.add_day_counts(session, counts)
    readers = consent_days.record_reader_count(session, today)
    by_day: dict[date, int] = {today: readers}
    for day in sorted(change, reverse=True):
        by_day[day] = readers
        readers = max(0, readers - change[day])
    consent_days.add_day_counts(
        session, {(day, consent_days.READERS_KIND, ""): count for day, count in by_day.items() if day != today}
    )
    return by_day


def _invent_day(rng: random.Random, day: date) -> Iterator[tuple[ConsentKind, str, int]]:
    busy = 1.6 if day.weekday() in (4, 5) else 0.8  # on the day of the mail, and the day after, it is passed on
    for way, forms, confirmed in _WAYS:
        asked = round(rng.gauss(forms * busy, forms / 4))
        if asked > 0:
            yield ConsentKind.REQUESTED, way, asked
            yield ConsentKind.CONFIRMED, way, round(asked * confirmed)
            yield ConsentKind.WITHDRAWN, way, round(asked * rng.uniform(0.1, 0.25))
    if day.day == 12:
        yield ConsentKind.ATTESTED, _PAPER_WAY, rng.randrange(20, 60)
    if rng.random() < 0.3:
        yield ConsentKind.BOUNCED, _WAYS[0][0], rng.randrange(1, 4)


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
