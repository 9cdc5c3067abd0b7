"""The recipients of an edition and their times: laws over many time zones and clock changes, and a real plan."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from digest.deliver.plan.planning import (
    EditionRelease,
    choose_effective_release_time,
    find_first_due_time,
    find_month_bounds,
    is_wanted_by_subscriber,
    plan_deliveries,
)
from digest.deliver.providers.outbox.kind import OutboxProvider
from digest.deliver.send.run.edition_sending import run_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Frequency, Preferences, PreferencesError, list_known_zones
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.moments import RELEASE

NEW_YORK = ZoneInfo("America/New_York")
ZONES = sorted(list_known_zones() - {"localtime", "Factory"})
QUARTER = timedelta(minutes=15)
starts = st.datetimes(datetime(2015, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants the bounds bare


def at(hour: int | None, zone: str) -> Preferences:
    return Preferences(hour=hour, zone=zone)


def oracle(hour: int, zone: ZoneInfo, start: datetime) -> datetime:
    """Look at the clock every quarter of an hour, for every offset is a whole number of them.

    The first that shows the hour, or that comes right after the clock jumped over it.
    """
    seconds = int(start.timestamp())
    moment = datetime.fromtimestamp(
        -(-seconds // 900) * 900 if not start.microsecond else (seconds // 900 + 1) * 900, UTC
    )
    while True:
        local = moment.astimezone(zone)
        before = (moment - timedelta(seconds=1)).astimezone(zone)
        skipped = (
            before.replace(tzinfo=None) < local.replace(hour=hour, minute=0, tzinfo=None) < local.replace(tzinfo=None)
        )
        if (local.hour, local.minute) == (hour, 0) or skipped:
            return moment
        moment += QUARTER


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 23), starts)
def test_a_subscriber_gets_it_at_the_first_such_hour_of_their_clock(zone: str, hour: int, start: datetime) -> None:
    assert find_first_due_time(at(hour, zone), start) == oracle(hour, ZoneInfo(zone), start)


CHANGES = [
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CHANGES), st.integers(-27 * 60, 27 * 60), st.integers(0, 23))
def test_it_holds_around_every_change_of_the_clock(change: tuple[str, datetime], minutes: int, hour: int) -> None:
    zone, moment = change
    start = moment + timedelta(minutes=minutes)
    due = find_first_due_time(at(hour, zone), start)
    assert due == oracle(hour, ZoneInfo(zone), start)
    assert timedelta() <= due - start <= timedelta(hours=25)


@pytest.mark.parametrize(
    ("hour", "zone", "start", "due"),
    [
        # In the night of March 8 clocks in New York jump from 2 to 3: who chose 2 gets it at 3.
        (2, "America/New_York", "2026-03-08T05:00Z", "2026-03-08T07:00Z"),
        # On November 1 it is 1 a.m. twice: the first counts, and where that is over, the second.
        (1, "America/New_York", "2026-11-01T04:00Z", "2026-11-01T05:00Z"),
        (1, "America/New_York", "2026-11-01T05:30Z", "2026-11-01T06:00Z"),
        (6, "America/New_York", "2026-11-20T11:00Z", "2026-11-20T11:00Z"),
        (6, "America/New_York", "2026-11-20T11:00:01Z", "2026-11-21T11:00Z"),
        (9, "Asia/Kathmandu", "2026-11-20T11:00Z", "2026-11-21T03:15Z"),
        (9, "Mars/Olympus", "2026-11-20T11:00Z", "2026-11-20T11:00Z"),
        (None, "", "2026-11-20T11:00Z", "2026-11-20T11:00Z"),
    ],
)
def test_hours_that_are_skipped_or_come_twice(hour: int | None, zone: str, start: str, due: str) -> None:
    assert find_first_due_time(at(hour, zone), datetime.fromisoformat(start)) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    ("minutes", "counts_from_the_slot"), [(0, True), (0.1, True), (60, True), (61, False), (-1, False)]
)
def test_seconds_after_the_slot_are_the_slot(minutes: float, *, counts_from_the_slot: bool) -> None:
    now = RELEASE + timedelta(minutes=minutes)
    assert (choose_effective_release_time(RELEASE, now) == RELEASE) == counts_from_the_slot
    assert choose_effective_release_time(RELEASE, now) in {RELEASE, now}


def fridays(first: date, count: int) -> list[EditionRelease]:
    """Give the issues of a weekly publication, at 6 in New York."""
    moments = [
        datetime(day.year, day.month, day.day, 6, tzinfo=NEW_YORK).astimezone(UTC)
        for day in (first + timedelta(weeks=n) for n in range(count))
    ]
    return [EditionRelease(m, p, NEW_YORK) for m, p in zip(moments, [None, *moments[:-1]], strict=True)]


def days_of(choices: Preferences, issues: list[EditionRelease]) -> list[date]:
    """Give the days of the editions that somebody gets whose mail may rest until a date."""
    got: list[date] = []
    for issue in issues:
        begins, ends = find_month_bounds(issue.released_at, NEW_YORK)
        day = issue.released_at.astimezone(NEW_YORK).date()
        had_one = any(begins.astimezone(NEW_YORK).date() <= d < ends.astimezone(NEW_YORK).date() for d in got)
        if not choices.is_paused(day) and is_wanted_by_subscriber(choices, issue, had_one_this_month=had_one):
            got.append(day)
    return got


def fortnightly(start: date) -> Preferences:
    return Preferences(frequency="fortnightly", start=start)


@given(st.dates(date(2020, 1, 1), date(2036, 1, 1)), st.integers(0, 400))
def test_every_second_week_is_every_second_week_also_over_week_53(start: date, ago: int) -> None:
    first = start + timedelta(days=(4 - start.weekday()) % 7)
    got = days_of(fortnightly(start - timedelta(days=ago)), fridays(first, 60))
    assert {b - a for a, b in pairwise(got)} == {timedelta(days=14)}
    if ago == 0 and start.weekday() <= 4:
        assert got[0] == first  # who chooses before Friday gets this Friday's


@given(st.dates(date(2020, 1, 1), date(2036, 1, 1)))
def test_once_a_month_is_once_in_every_month(start: date) -> None:
    first = start + timedelta(days=(4 - start.weekday()) % 7)
    issues = fridays(first, 60)
    got = days_of(Preferences(frequency="monthly"), issues)
    months = [(d.year, d.month) for d in got]
    every = [(d.year, d.month) for d in days_of(Preferences(), issues)]
    assert months == sorted(set(every))
    assert all(d.day <= 7 for d in got[1:])


def test_an_extra_edition_of_the_week_is_for_those_who_want_every_one() -> None:
    friday = fridays(date(2026, 11, 6), 1)[0]
    extra = EditionRelease(friday.released_at + timedelta(hours=5), friday.released_at, NEW_YORK)
    chosen = [Preferences(frequency=often, start=start) for often, start in OFTEN]
    assert [is_wanted_by_subscriber(c, friday, had_one_this_month=False) for c in chosen] == [True, True, True]
    assert [is_wanted_by_subscriber(c, extra, had_one_this_month=True) for c in chosen] == [True, False, False]


OFTEN: list[tuple[Frequency, date | None]] = [("weekly", None), ("fortnightly", date(2026, 11, 2)), ("monthly", None)]


@given(
    st.sampled_from(["weekly", "fortnightly", "monthly"]),
    st.dates(),
    st.none() | st.integers(0, 23),
    st.sampled_from(ZONES),
)
def test_choices_come_back_as_they_were_stored(often: Frequency, start: date, hour: int | None, zone: str) -> None:
    chosen = Preferences(
        frequency=often,
        start=start if often == "fortnightly" else None,
        hour=hour,
        zone=zone if hour is not None else "",
    )
    assert Preferences.from_json(chosen.as_json()) == chosen


@pytest.mark.takes_turns
def test_a_plan_keeps_to_hours_and_rhythms_and_the_edition_waits_for_the_last(
    world: DeliverySetup, tmp_path: Any
) -> None:
    now = world.add_subscribers("now@example.org")
    later = world.add_subscribers("later@example.org", choices=at(9, "America/New_York"))
    tomorrow = world.add_subscribers("tomorrow@example.org", choices=at(9, "Asia/Kathmandu"))
    this_week = world.add_subscribers("this@example.org", choices=fortnightly(date(2026, 11, 2)))
    next_week = world.add_subscribers("next@example.org", choices=fortnightly(date(2026, 11, 9)))
    counts = plan_deliveries(
        world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE + timedelta(seconds=20)
    )
    assert (counts.planned, counts[DeliveryState.SKIPPED]) == (5, 1)
    with world.database.read() as session:
        rows = {d.person: (d.state, d.due_at, d.next_try_at) for d in session.query(Delivery)}
    waiting = DeliveryState.WAITING
    assert rows[now[0]] == rows[this_week[0]] == (waiting, RELEASE, RELEASE)
    assert rows[later[0]] == (waiting, RELEASE + timedelta(hours=3), RELEASE + timedelta(hours=3))
    assert rows[tomorrow[0]][1] == datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
    assert rows[next_week[0]][0] is DeliveryState.SKIPPED

    arrived = []
    for hours in (0.01, 2.97, 3.01, 16, 16.5):
        world.clock.now = RELEASE + timedelta(hours=hours)
        report = run_edition(
            world.database,
            EDITION_NAME,
            OutboxProvider(tmp_path / "out"),
            world.keys,
            world.settings,
            clock=world.clock,
            sleep=world.clock.sleep,
        )
        arrived.append((report.handed_over, report.state))
    sending, sent = EditionState.SENDING, EditionState.SENT
    assert arrived == [(2, sending), (0, sending), (1, sending), (0, sending), (1, sent)]


def test_the_first_edition_of_a_month_is_told_by_those_that_went_out(world: DeliverySetup) -> None:
    monthly = world.add_subscribers("monthly@example.org", choices=Preferences(frequency="monthly"))
    with world.database.write() as session:
        this = session.query(Edition).one()
        values = {c.name: getattr(this, c.name) for c in Edition.__table__.columns if c.name != "id"}
        for days, state in ((14, EditionState.CANCELLED), (21, EditionState.SENT)):
            then = RELEASE - timedelta(days=days)
            row = values | {"name": f"W-{days}", "slot": str(days), "release_at": then, "state": state}
            session.add(Edition(**row))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.read() as session:
        states = {d.person: d.state for d in session.query(Delivery)}
    # The one of November 6 was cancelled, the last that went out was of October 30: this is November's first.
    assert states[monthly[0]] is DeliveryState.WAITING


def test_a_monthly_subscriber_gets_exactly_one_edition_of_each_month_in_which_their_mail_does_not_rest_throughout(
    world: DeliverySetup,
) -> None:
    zone = world.settings.file.publication.zone
    first, random = RELEASE + timedelta(days=7), Random(3)
    releases = [first + timedelta(weeks=n) for n in range(22)]
    releases += [first + timedelta(weeks=n, hours=5) for n in (1, 6, 7)]  # extra editions
    cancelled = {releases[4], releases[10]}
    pauses = [first.date() + timedelta(days=random.randrange(150)) for _ in range(60)]
    subscribers = world.add_subscribers("never-rests@example.org", choices=Preferences(frequency="monthly"))
    for number, until in enumerate(pauses):
        preferences = Preferences(frequency="monthly", pause_until=until)
        subscribers += world.add_subscribers(f"rests{number}@example.org", choices=preferences)
    for release in sorted(releases):
        name = f"{release:%m-%d-%H}"
        with world.database.write() as session:
            this = session.query(Edition).order_by(Edition.id).first()
            values = {c.name: getattr(this, c.name) for c in Edition.__table__.columns if c.name != "id"}
            state = EditionState.CANCELLED if release in cancelled else EditionState.SENT
            session.add(Edition(**values | {"name": name, "slot": name, "release_at": release, "state": state}))
        plan_deliveries(world.database, name, world.keys, world.settings, now=release)
        with world.database.write() as session:
            gone = DeliveryState.CANCELLED if release in cancelled else DeliveryState.ACCEPTED
            session.execute(update(Delivery).where(Delivery.state == DeliveryState.WAITING).values(state=gone))
    with world.database.read() as session:
        got = Counter(
            (delivery.person, delivery.due_at.astimezone(zone).strftime("%Y-%m"))
            for delivery in session.scalars(select(Delivery).where(Delivery.state == DeliveryState.ACCEPTED))
        )
    owed = {
        (subscriber, day.strftime("%Y-%m"))
        for subscriber, until in zip(subscribers, [first.date(), *pauses], strict=True)
        for day in (release.astimezone(zone).date() for release in releases if release not in cancelled)
        if day >= until
    }
    assert got == dict.fromkeys(owed, 1)


def test_choices_that_make_no_sense_are_named() -> None:
    for stored, field in (
        ({"frequency": "daily"}, "frequency"),
        ({"frequency": "fortnightly"}, "start"),
        ({"start": "2026-11-02"}, "start"),
        ({"hour": 24, "zone": "UTC"}, "hour"),
        ({"hour": True, "zone": "UTC"}, "hour"),
        ({"hour": 6}, "hour"),
        ({"zone": "UTC"}, "hour"),
        ({"hour": 6, "zone": "../etc/passwd"}, "zone"),
    ):
        with pytest.raises(PreferencesError, match=f"^{field}: "):
            Preferences.from_json(stored)
    assert replace(at(6, "UTC"), hour=None, zone="").as_json() == {}
