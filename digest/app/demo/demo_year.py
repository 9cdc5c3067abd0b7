"""A year of made-up data, so that the demo's admin pages have something to show.

The data are the totals that each night would have counted for a list of 12,000. Only an imported
list of thousands and the people of the last 30 days exist as records. All of them have addresses
under reserved names (RFC 2606, sections 2 and 3), and all subscribers have paused their email, so
the demo writes files only for the sample's readers. The sign-ups, unsubscribes, and bounces of
those 30 days go through the same functions as real ones, on the days that the totals count them.
"""

import csv
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.subscribers import list_transfers
from digest.app.subscribers.consent_texts import build_consent_text
from digest.app.subscribers.signup_settings import build_signup_limits
from digest.app.upkeep.nightly_steps import GROWTH_STATE_KEY, REASONS_STATE_KEY
from digest.deliver.control.installation_hold import write_installation_value
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.edition.calendar.edition_windows import name_edition
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import KeptEditionCounts
from digest.store.models import DailySourceVisitCounts, Edition, Source
from subscribers.address import read_address
from subscribers.consent import daily_consent_counts, ledger
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import request_queue
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.signup.request_processor import CONFIRMATION_LIFETIME, RequestProcessor
from subscribers.store.models import ConsentEvent, ConsentKind, Person
from subscribers.transfer.options import ImportOptions

DAYS = 365
PEOPLE_DAYS = 30  # the last days of the year, for which people's records exist
SOURCE_DAYS = 56
_SEED = 147
_SITE = "https://hls-today.example.org"
# The sign-up sources, each with its average number of forms per day and the share that's confirmed.
_WAYS = ((f"{_SITE}/subscribe", 12.0, 0.6), (f"{_SITE}/events", 4.0, 0.7), (f"{_SITE}/archive", 2.0, 0.5))
_PAPER_WAY = "sign-up sheet, Forum on emergency management"


LISTED_PEOPLE = 11_800
LIST_DAYS = 365  # days over which the list's sign-ups are spread
ERASED_PEOPLE = 3
PAUSED_FOR = timedelta(days=3650)
_PEOPLE_A_STEP = 1000
_FIRST_NAMES = ["ada", "ben", "carla", "dmitri", "elena", "farid", "grace", "hiro", "ines", "jonas", "kofi", "lena"]
_LAST_NAMES = ["alder", "brook", "castro", "dunn", "egger", "frost", "grant", "holm", "ivers", "jensen", "kerr", "lund"]
_DOMAINS = (
    "example.org",
    "example.com",
    "county.example.org",
    "port.example.net",
    "hospital.example.org",
    "fire.example.net",
)
_NOON = time(12)
ARRIVALS = (ConsentKind.CONFIRMED, ConsentKind.ATTESTED)


class ConsentDayCount(NamedTuple):
    """The number of consent events of one kind from one sign-up source on one day."""

    day: date
    kind: ConsentKind
    way: str
    times: int


def add_demo_year(installation: Installation, actor: Actor, now: datetime) -> int:
    """Add made-up people, and made-up totals for the year before `now`. Return the number of people."""
    rng = random.Random(_SEED)  # noqa: S311 - a fixed seed makes the same year each time; nothing is secret
    zone = installation.settings.zone
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=number) for number in range(DAYS, 0, -1)]
    year = [count for day in days for count in _invent_day(rng, day)]
    recent = [count for count in year if count.day >= today - timedelta(days=PEOPLE_DAYS)]
    people = add_demo_people(installation, actor, rng, recent, now)
    with installation.write() as session:
        through = session.scalar(select(func.max(ConsentEvent.id))) or 0
        reasons = daily_consent_counts.count_unsubscribe_reasons(session, zone, after=0, through=through)
        daily_consent_counts.add_day_counts(session, reasons)
        for key in (GROWTH_STATE_KEY, REASONS_STATE_KEY):
            write_installation_value(session, key, {"through": through}, now=now)
        subscribers = _write_days(session, year, today, through=through)
        _write_editions(session, rng, zone, subscribers)
        _write_source_days(session, rng, today)
    return people


def _write_days(session: Session, year: Sequence[ConsentDayCount], today: date, *, through: int) -> dict[date, int]:
    """Store the counts for each day, and return the number of subscribers at the end of each day.

    The numbers are calculated backward from the current one.
    """
    counts: Counter[daily_consent_counts.DayKey] = Counter()
    joined: Counter[date] = Counter()
    went: Counter[date] = Counter()
    for day, kind, way, times in year:
        counts[day, kind.value, way] += times
        if kind in ARRIVALS:
            joined[day] += times
        elif kind is not ConsentKind.REQUESTED:
            went[day] += times
    daily_consent_counts.add_day_counts(session, counts)
    subscribers = daily_consent_counts.record_subscriber_count(session, today, after=through)
    by_day: dict[date, int] = {today: subscribers}
    for day in (today - timedelta(days=number) for number in range(1, DAYS + 1)):
        by_day[day] = subscribers
        subscribers = max(0, subscribers - joined[day] + went[day])
    for night_kind, by_night in (
        (daily_consent_counts.SUBSCRIBERS_KIND, by_day),
        (daily_consent_counts.JOINED_KIND, joined),
        (daily_consent_counts.WENT_KIND, went),
    ):
        counted = {(day, night_kind, ""): by_night[day] for day in by_day if day != today}
        daily_consent_counts.add_day_counts(session, counted)
    return by_day


def _invent_day(rng: random.Random, day: date) -> Iterator[ConsentDayCount]:
    busy = 1.6 if day.weekday() in (4, 5) else 0.8  # people forward the email on its send day and the day after
    for way, forms, confirmed in _WAYS:
        form_count = round(rng.gauss(forms * busy, forms / 4))
        if form_count > 0:
            yield ConsentDayCount(day, ConsentKind.REQUESTED, way, form_count)
            yield ConsentDayCount(day, ConsentKind.CONFIRMED, way, round(form_count * confirmed))
            yield ConsentDayCount(day, ConsentKind.WITHDRAWN, way, round(form_count * rng.uniform(0.1, 0.25)))
    if day.day == 12:
        yield ConsentDayCount(day, ConsentKind.ATTESTED, _PAPER_WAY, rng.randrange(20, 60))
    if rng.random() < 0.3:
        yield ConsentDayCount(day, ConsentKind.BOUNCED, _WAYS[0][0], rng.randrange(1, 4))


def _write_editions(session: Session, rng: random.Random, zone: ZoneInfo, subscribers: dict[date, int]) -> None:
    """Store figures for the editions of the year before the sample's."""
    oldest_first = select(Edition).order_by(Edition.release_at)
    first = session.scalars(oldest_first.limit(1)).one()
    for weeks in range(1, DAYS // 7):
        local = first.release_at.astimezone(zone) - timedelta(weeks=weeks)
        release_at = local.astimezone(first.release_at.tzinfo)
        planned = subscribers.get(release_at.astimezone(zone).date(), 0)
        refused = round(planned * rng.uniform(0.004, 0.012))
        late = round(planned * rng.uniform(0.01, 0.03))
        hours = {release_at: planned - late, release_at + timedelta(hours=1): late - late // 4}
        hours[release_at + timedelta(hours=3)] = late // 4
        session.add(
            KeptEditionCounts(
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
    """Store counts of the sources' daily visits before the sample's week.

    The last source has often failed lately.
    """
    active = select(Source).where(Source.active)
    sources = session.scalars(active.order_by(Source.id)).all()
    for source in sources:
        is_weak = source is sources[-1]
        for number in range(1, SOURCE_DAYS):
            risk = 0.4 if is_weak and number < 12 else 0.01
            bad = 2 if is_weak and number < 5 else int(rng.random() < risk)
            article_count = 0 if bad == 2 else rng.randrange(3)
            day = today - timedelta(days=number)
            visits = {"good": 2 - bad, "bad": bad, "found": article_count}
            session.add(DailySourceVisitCounts(source_id=source.id, day=day, **visits))


def add_demo_people(
    installation: Installation, actor: Actor, rng: random.Random, recent: Sequence[ConsentDayCount], now: datetime
) -> int:
    """Add the people of the imported list and those who signed up recently, and return how many were added.

    `recent` is sorted by day.
    """
    with installation.read() as session:
        before = _count_people(session)
    listed = _import_people(installation, actor, rng, now)
    _pause_people(installation, listed, now)
    _Newcomers(installation, actor, rng, now).live_through(recent)
    with installation.write() as session:
        for number in rng.sample(listed, ERASED_PEOPLE):
            _erase(installation, session, number, now)
        return _count_people(session) - before


def _count_people(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Person)) or 0


def _import_people(installation: Installation, actor: Actor, rng: random.Random, now: datetime) -> list[int]:
    file = installation.settings.home / "invented-people.csv"
    try:
        _write_list(file, rng, now)
        report, _ = list_transfers.import_list(
            installation, actor, file, ImportOptions(), now=now, progress=lambda *_: None
        )
    finally:
        file.unlink(missing_ok=True)
    with installation.read() as session:
        listed = select(Person.number).where(Person.batch == report.batch)
        return list(session.scalars(listed.order_by(Person.number)))


def _write_list(file: Path, rng: random.Random, now: datetime) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("email", "created_at", "confirmed_at"))
        for number in range(LISTED_PEOPLE):
            asked_at = now - timedelta(minutes=rng.randrange(60, LIST_DAYS * 24 * 60))
            confirmed = asked_at + timedelta(minutes=rng.randrange(1, 50))
            times = (asked_at.isoformat(timespec="seconds"), confirmed.isoformat(timespec="seconds"))
            writer.writerow((_invent_address(rng, number), *times))


def _invent_address(rng: random.Random, number: int) -> str:
    return f"{rng.choice(_FIRST_NAMES)}.{rng.choice(_LAST_NAMES)}.{number}@{rng.choice(_DOMAINS)}"


def _pause_until(now: datetime) -> Preferences:
    return Preferences(pause_until=(now + PAUSED_FOR).date())


def _pause_people(installation: Installation, people: list[int], now: datetime) -> None:
    """Pause everyone's email, a thousand people at a time.

    Each person gets one consent event, as from `change_preferences`.
    """
    paused = _pause_until(now).as_json()
    body = ledger.encode_canonical_json({"before": {}, "after": paused})
    for begin in range(0, len(people), _PEOPLE_A_STEP):
        step = people[begin : begin + _PEOPLE_A_STEP]
        with installation.write() as session:
            links = list(_build_pauses(session, step, body, now))
            changed = [{"number": link.event["person"], "choices": paused, **link.person} for link in links]
            ledger.insert_chain_links(session, [link.event for link in links], changed_people=changed)


def _build_pauses(session: Session, people: list[int], body: str, now: datetime) -> Iterator[ledger.NewChainLink]:
    columns = (ConsentEvent.person, ConsentEvent.seq, ConsentEvent.commitment, Person.state, Person.chain_head)
    joined = select(*columns).join(Person, Person.number == ConsentEvent.person)
    events = joined.where(ConsentEvent.person.in_(people))
    last = {row.person: row for row in session.execute(events.order_by(ConsentEvent.seq))}
    for row in last.values():
        yield ledger.build_chain_link(
            row.person,
            row.state,
            ConsentKind.CHOICES_CHANGED,
            body,
            now,
            seq=row.seq + 1,
            previous=row.chain_head,
            commitment=row.commitment,
        )


class _Newcomers:
    """The people who signed up in recent days, after the list was imported, grouped by sign-up source."""

    def __init__(self, installation: Installation, actor: Actor, rng: random.Random, now: datetime) -> None:
        self._installation, self._actor, self._rng, self._now = installation, actor, rng, now
        self._zone = installation.settings.zone
        self._reasons = sorted(ledger.UNSUBSCRIBE_REASONS)
        self._there: dict[str, list[int]] = defaultdict(list)
        self._invented = LISTED_PEOPLE

    def live_through(self, recent: Sequence[ConsentDayCount]) -> None:
        """Create the people and events that the counts describe, one transaction per day.

        Sign-ups that weren't confirmed stay pending for as long as their link works.
        """
        for day, counts in groupby(recent, key=lambda count: count.day):
            at = datetime.combine(day, _NOON, self._zone).astimezone(UTC)
            of_day = list(counts)
            with self._installation.write() as session:
                for count in of_day:
                    for _ in range(count.times):
                        self._live(session, count.kind, count.way, at)
            if at > self._now - CONFIRMATION_LIFETIME:
                self._leave_waiting(of_day, at)

    def _live(self, session: Session, kind: ConsentKind, way: str, at: datetime) -> None:
        subscriber_numbers = self._there[way]
        if kind in ARRIVALS:
            subscriber_numbers.append(self._arrive(session, kind, way, at))
        elif kind in (ConsentKind.WITHDRAWN, ConsentKind.BOUNCED) and subscriber_numbers:
            number = subscriber_numbers.pop(self._rng.randrange(len(subscriber_numbers)))
            if kind is ConsentKind.BOUNCED:
                report = DeliveryFeedbackReport(number, DeliveryFeedbackKind.BOUNCED, at, "smtp", {"said": "bounced"})
                _, departure = apply_feedback_to_person(session, self._installation.keys, report, now=at)
                if departure is not None:
                    self._installation.unsubscribe_log.append(departure, at=at)
            else:
                reason = self._rng.choice(self._reasons)
                unsubscribe_person(
                    session, self._installation.unsubscribe_log, number, method="page", now=at, reason=reason
                )

    def _arrive(self, session: Session, kind: ConsentKind, way: str, at: datetime) -> int:
        wording = build_consent_text(self._installation.settings)
        attested = kind is ConsentKind.ATTESTED
        evidence = ConsentEvidence(
            wording=f"{wording.text} (A made-up subscriber in the demo.)",
            wording_version="demo",
            language=wording.language,
            page=way,
            method="signed list" if attested else "double opt-in",
            actor=self._actor.name,
            agreed_at=at,
            kind=ConsentKind.ATTESTED if attested else ConsentKind.CONFIRMED,
        )
        person = add_subscriber(session, self._installation.keys, self._next_address(), evidence=evidence, now=at)
        change_preferences(session, person.number, _pause_until(self._now), at)
        return person.number

    def _next_address(self) -> str:
        self._invented += 1
        return _invent_address(self._rng, self._invented)

    def _leave_waiting(self, of_day: Sequence[ConsentDayCount], at: datetime) -> None:
        """Submit and process the forms of people who never confirmed, without queuing emails."""
        installation = self._installation
        limits = build_signup_limits(installation.settings)
        processor = RequestProcessor(
            database=installation.database,
            keys=installation.keys,
            signup_limits=limits,
            evidence_retention=timedelta(days=installation.settings.file.retention.evidence_days),
            queue=lambda *_: None,
        )
        for way in dict.fromkeys(count.way for count in of_day):
            by_kind = {count.kind: count.times for count in of_day if count.way == way}
            unconfirmed = by_kind.get(ConsentKind.REQUESTED, 0) - by_kind.get(ConsentKind.CONFIRMED, 0)
            for _ in range(unconfirmed):
                form = request_queue.FormSubmission(
                    kind="subscribe",
                    address=read_address(self._next_address()),
                    sent_at=at,
                    page=way,
                    where=way,
                    wording=build_consent_text(installation.settings),
                    # an address for documentation (RFC 3849, section 2), different for each form
                    origin=RequestOrigin(f"2001:db8:{self._invented:x}::1", "An invented browser"),
                )
                with installation.write() as session:
                    request_queue.enqueue_request(
                        session, request_queue.prepare_request(installation.keys, form), limits
                    )
        processor.process_pending(lambda: at)


def _erase(installation: Installation, session: Session, number: int, now: datetime) -> None:
    erase_person(
        session,
        installation.keys,
        installation.unsubscribe_log,
        number,
        method="page",
        forget_elsewhere=make_delivery_erasure_callback(installation.keys, lambda: now),
        now=now,
    )
