"""The list of subscribers in pages: everyone once, newest first, with any filter, and no unbounded query."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from digest.store.engine import Database
from subscribers.consent import audience, subscriber_list
from subscribers.consent.subscriber_list import SubscriberFilter
from subscribers.store.models import ImportBatch, Person, PersonState, table_of
from tests.moments import DRAFTING as NOW
from tests.query_plans import record_plans

PEOPLE = 230
# The first have preferences. Those of the second kind are paused on the day; the third's pause is over, and the fourth's ends on that day.
PAUSES: list[dict[str, Any]] = [
    {"frequency": "monthly", "omit": ["dates", "events"], "omit_topics": ["border"]},
    *({"pause_until": (NOW.date() + timedelta(days=days)).isoformat()} for days in (1, -90, 0)),
]

# Each filter, and which of the people match it.
MATCHES: list[tuple[SubscriberFilter, Callable[[int], bool]]] = [
    (SubscriberFilter(), lambda _n: True),
    (SubscriberFilter(state=PersonState.WITHDRAWN), lambda n: n % 3 == 2),
    (SubscriberFilter(asked_where="expo"), lambda n: n % 2 == 1),
    (SubscriberFilter(batch=1), lambda n: n % 10 == 0 and n <= 220),
    (SubscriberFilter(domain_tag=f"{3:032x}"), lambda n: n % 7 == 3),
    (SubscriberFilter(since=NOW - timedelta(days=10)), lambda n: n % 50 <= 10),
    (
        SubscriberFilter(since=NOW - timedelta(days=10), until=NOW - timedelta(days=4)),
        lambda n: 4 < n % 50 <= 10,
    ),
    (
        SubscriberFilter(state=PersonState.SUBSCRIBED, paused_on=NOW.date()),
        lambda n: n % 3 < 2 and n % 4 == 1,
    ),
    (
        SubscriberFilter(state=PersonState.SUBSCRIBED, mailed_on=NOW.date()),
        lambda n: n % 3 < 2 and n % 4 != 1,
    ),
    (SubscriberFilter(frequency="monthly"), lambda n: n % 4 == 0),
    (SubscriberFilter(frequency="weekly", asked_where="form"), lambda n: n % 4 == 2),
    (SubscriberFilter(part="events"), lambda n: n % 4 > 0),
    (SubscriberFilter(part="topics:border", batch=1), lambda n: n % 20 == 10 and n <= 220),
    (SubscriberFilter(part="topics:health"), lambda _n: True),
    (SubscriberFilter(part="dates:health"), lambda n: n % 4 > 0),
    (SubscriberFilter(batch=1, paused_on=NOW.date()), lambda n: n % 10 == 0 and n <= 220 and n % 4 == 1),
    (
        SubscriberFilter(state=PersonState.SUBSCRIBED, asked_where="form", since=NOW - timedelta(days=30)),
        lambda n: n % 3 < 2 and n % 2 == 0 and n % 50 <= 30,
    ),
]


@pytest.fixture
def listed(database: Database) -> Database:
    """Store people of three states, two places and two imports, the second of which is not finished."""
    with database.write() as session:
        for batch, done in ((1, NOW), (2, None)):
            fields: dict[str, Any] = {"origin": "plain", "file_hash": str(batch), "options": {}, "actor": "t"}
            session.add(ImportBatch(id=batch, started_at=NOW, done_at=done, counts={}, **fields))
        session.flush()
        states = (PersonState.SUBSCRIBED, PersonState.SUBSCRIBED, PersonState.WITHDRAWN)
        rows: list[dict[str, Any]] = [
            {
                "number": number,
                "state": states[number % 3],
                "choices": PAUSES[number % 4],
                "asked_at": NOW - timedelta(days=number % 50),
                "asked_where": ("form", "expo")[number % 2],
                "batch": 2 if number > 220 else 1 if number % 10 == 0 else None,
                "domain_tag": f"{number % 7:032x}",
            }
            for number in range(1, PEOPLE + 1)
        ]
        session.execute(insert(table_of(Person)), rows)
    return database


def walk(database: Database, wanted: SubscriberFilter) -> list[int]:
    numbers: list[int] = []
    below = None
    with database.read() as session:
        while True:
            page = subscriber_list.load_subscriber_page(session, wanted, below=below)
            assert len(page.subscribers) <= subscriber_list.PAGE_SIZE
            numbers += [subscriber.number for subscriber in page.subscribers]
            below = page.next_below
            if below is None:
                return numbers


@pytest.mark.parametrize("window", [subscriber_list.SCAN_WINDOW, 25])
def test_pages_hold_everybody_who_matches_once_and_the_newest_first(
    listed: Database, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(subscriber_list, "SCAN_WINDOW", window)
    monkeypatch.setattr(subscriber_list, "NUMBER_WINDOW", window)
    for wanted, matches in MATCHES:
        numbers = [number for number in range(PEOPLE, 0, -1) if matches(number)]
        assert walk(listed, wanted) == numbers, wanted
        with listed.read() as session:
            count = subscriber_list.count_matching_people(session, wanted)
        assert count.is_truncated or count.people == len(numbers), wanted
        assert not (count.is_truncated and window > PEOPLE), wanted


def test_a_count_says_that_only_the_newest_were_counted(listed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_list, "NUMBER_WINDOW", 20)
    with listed.read() as session:
        counts = [
            subscriber_list.count_matching_people(session, wanted)
            for wanted in (
                SubscriberFilter(asked_where="form"),
                SubscriberFilter(frequency="monthly"),
                SubscriberFilter(asked_where="form", frequency="monthly"),
            )
        ]
        paused = subscriber_list.count_paused(session, NOW.date())
    assert [(count.people, count.is_truncated) for count in counts] == [(115, False), (5, True), (10, True)]
    assert paused == len([n for n in range(1, 221) if n % 3 < 2 and n % 4 == 1])


def test_the_paused_are_counted_by_an_index(listed: Database) -> None:
    with listed.read() as session, record_plans(session) as plans:
        subscriber_list.count_paused(session, NOW.date())
    (plan,) = plans
    assert "ix_person_paused" in plan, plan


def test_damaged_preferences_are_no_pause_and_break_no_page(sqlite: Database) -> None:
    """PostgreSQL takes no text that is no JSON."""
    with sqlite.write() as session:
        for number, choices in enumerate(("{}", "damaged", '{"pause_until": 3}', '{"pause_until": "2027-01-01"}'), 1):
            values = {"number": number, "choices": choices, "at": "2026-01-01 00:00:00.000000"}
            session.execute(
                text(
                    "INSERT INTO person (number, state, choices, chain_head, asked_at, asked_where) "
                    "VALUES (:number, 'subscribed', :choices, '', :at, 'form')"
                ),
                values,
            )
    assert walk(sqlite, SubscriberFilter(state=PersonState.SUBSCRIBED, paused_on=NOW.date())) == [4]


def test_a_page_without_a_match_says_from_where_to_go_on(listed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_list, "SCAN_WINDOW", 20)
    wanted = SubscriberFilter(asked_where="expo", since=NOW + timedelta(days=1))
    with listed.read() as session:
        page = subscriber_list.load_subscriber_page(session, wanted)
        assert (page.subscribers, page.is_truncated, page.next_below) == ((), True, PEOPLE - 1 - 2 * 19)


def test_places_and_imports_are_offered_once(listed: Database) -> None:
    with listed.read() as session:
        assert subscriber_list.list_signup_sources(session) == ["expo", "form"]
        assert [batch.batch for batch in subscriber_list.list_recent_imports(session)] == [2, 1]


def test_the_people_of_an_unfinished_import_are_listed_as_that_and_counted_nowhere(listed: Database) -> None:
    with listed.read() as session:
        page = subscriber_list.load_subscriber_page(session, SubscriberFilter())
        assert {subscriber.number for subscriber in page.subscribers if subscriber.in_progress} == set(range(221, 231))
        counts = audience.count_people_by_state(session)
        assert sum(counts.values()) == 220
        assert counts[PersonState.WITHDRAWN] == sum(n % 3 == 2 for n in range(1, 221))
        assert audience.count_audience(session) == counts[PersonState.SUBSCRIBED]
