"""The simulated year of `make soak` on a small scale, and the wall-clock calculations it's compared with."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from digest.deliver.plan.planning import plan_deliveries
from digest.store.engine import Database
from subscribers.consent.preferences import Preferences
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup, delivery_settings, store_approved_edition
from tests.moments import RELEASE, Clock
from tests.soak.simulated_year import simulate_year
from tests.soak.year_arrivals import ArrivalAccount, OwedEdition
from tests.soak.year_clock import SimulatedClock, find_wall_moment
from tests.soak.year_plan import PLANS, YearIncidents, YearSubscriber
from tests.soak.year_report import describe_standstill
from tests.soak.year_results import YearTally
from tests.soak.year_world import ArrivedEdition, YearlongMailbox

LONDON = next(plan for plan in PLANS if plan.zone == "Europe/London")
WEEK_OF_CHANGE = 42  # from 2026-W01: in the night to 25 October half past one comes twice


@pytest.mark.parametrize(
    ("zone", "start", "at", "expected"),
    [
        ("Asia/Kathmandu", "2026-06-01T00:00", time(6), "2026-06-01T00:15"),
        ("America/New_York", "2026-03-08T00:00", time(2, 30), "2026-03-08T07:00"),  # left out
        ("America/New_York", "2026-11-01T00:00", time(1, 30), "2026-11-01T05:30"),  # the first of two
        ("America/New_York", "2026-11-01T05:31", time(1, 30), "2026-11-01T06:30"),  # and the second
        ("America/Nuuk", "2026-03-28T20:00", time(23), "2026-03-29T01:00"),  # left out, up to midnight
        ("Australia/Lord_Howe", "2026-10-03T10:00", time(2), "2026-10-03T15:30"),  # left out by half an hour
        ("Australia/Lord_Howe", "2026-04-04T10:00", time(1, 45), "2026-04-04T14:45"),
    ],
)
def test_the_year_reckons_wall_clock_times_as_calendars_have_them(
    zone: str, start: str, at: time, expected: str
) -> None:
    found = find_wall_moment(datetime.fromisoformat(start).replace(tzinfo=UTC), at, ZoneInfo(zone))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_who_reads_that_a_message_is_late_sees_its_row_and_no_address(one_database: Database, tmp_path: Path) -> None:
    setup = DeliverySetup(one_database, delivery_settings(tmp_path), KEYS, Clock(RELEASE))
    store_approved_edition(one_database, setup.settings, EDITION_NAME, RELEASE)
    late, _ = setup.add_subscribers("ada@reader.example", "bo@reader.example")
    plan_deliveries(one_database, EDITION_NAME, KEYS, setup.settings, now=RELEASE)
    with one_database.read() as session:
        text = describe_standstill(session, EDITION_NAME, [late], [{"event": "send ended", "edition": EDITION_NAME}])
    deliveries = [line for line in text.splitlines() if "delivery: " in line]
    assert [f"person {late}, state waiting, due_at 2026-11-20 11:00:00" in line for line in deliveries] == [True]
    assert "deliveries: {'waiting': 2}" in text
    assert f"log: {{'event': 'send ended', 'edition': '{EDITION_NAME}'}}" in text
    assert "@reader.example" not in text


def test_what_is_due_and_not_there_is_late_but_where_something_held_it_up() -> None:
    mailbox, tally = YearlongMailbox(SimulatedClock(RELEASE)), YearTally("Europe/London", "SQLite", 5)
    account, subscriber = ArrivalAccount(mailbox, tally), YearSubscriber(7, Preferences(), RELEASE)
    account.owed[EDITION_NAME] = {subscriber.address: OwedEdition(subscriber, RELEASE)}
    before, after = RELEASE - timedelta(minutes=1), RELEASE + timedelta(minutes=1)
    assert account.find_late(before) == []
    (late,) = account.find_late(after)
    waiting = account.describe_waiting(*late, after)
    assert waiting.startswith(f"1 wait: {EDITION_NAME}, reader 7")
    assert subscriber.address not in waiting
    account.outages.append((before, after))
    assert account.find_late(after) == []
    mailbox.arrived.append(ArrivedEdition(subscriber.address, EDITION_NAME, after))
    account.take_arrivals()
    account.judge_arrivals()
    assert (tally.messages, tally.repeats, tally.running_lateness) == (1, 0, timedelta())
    assert tally.longest_lateness == timedelta(minutes=1)


@pytest.mark.soak  # which also simulates whole years
@pytest.mark.timeout(900)  # a few seconds where nothing else runs
def test_four_weeks_around_a_change_of_the_clocks_bring_everybody_four_editions_once(sqlite_template: Path) -> None:
    incidents = YearIncidents(
        first_week=WEEK_OF_CHANGE - 2,
        late_approvals=frozenset({0}),
        forward_jumps=frozenset({1}),
        back_jumps=frozenset({2}),
        restores={3: "before release"},
        restart_share=0.03,
        kill_share=0.0,
    )
    tally = simulate_year(
        *(LONDON, "SQLite", ""), weeks=4, subscribers=12, seed=5, incidents=incidents, empty_database=sqlite_template
    )
    assert (tally.editions, tally.jumps, tally.restores) == (4, 2, 1)
    assert (tally.repeats, tally.losses) == (0, 0)
    assert tally.messages + tally.withdrawn == 4 * 12  # as many join as leave
    assert tally.withdrawn <= 1  # of who leaves right before the restore
    assert tally.running_lateness < timedelta(minutes=10)
