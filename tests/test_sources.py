from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from digest.attention import needed
from digest.collect.fetched import FetchError, Reason
from digest.collect.items import Kind
from digest.collect.sources import (
    LONGEST,
    LONGEST_ASKED,
    Bad,
    Good,
    Synced,
    file_source,
    in_words,
    is_due,
    judge,
    next_try,
    note_bad,
    note_good,
    sync,
    troubled,
)
from digest.db import Database, Health, Source
from digest.settings import File, Settings, SourceSettings

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
PORT = SourceSettings(url="https://port.example.org/feed", name="Port news", publisher="Port Authority")
COAST = SourceSettings(url="https://coast.example.org/feed", name="Coast news", publisher="Coast Watch")


def naming(*sources: SourceSettings) -> Settings:
    return Settings(file=File(sources=list(sources)))


def row(database: Database, url: str = PORT.url) -> Source:
    with database.read() as session:
        return session.scalars(select(Source).where(Source.url == url)).one()


def synced(database: Database, *sources: SourceSettings) -> Synced:
    with database.write() as session:
        return sync(session, naming(*sources))


def visited(database: Database, seen: Good | Bad, now: datetime = NOON, luck: float = 0.5) -> Source:
    with database.write() as session:
        source = session.scalars(select(Source).where(Source.url == PORT.url)).one()
        if isinstance(seen, Good):
            note_good(source, seen, now, luck)
        else:
            note_bad(source, seen, now, luck)
    return source


def test_rows_follow_the_settings_and_a_source_that_is_no_longer_named_keeps_its_row(
    database: Database,
) -> None:
    assert synced(database, PORT, COAST) == Synced(added=2, changed=0, dropped=0)
    assert synced(database, PORT, COAST) == Synced(0, 0, 0)
    heavier = PORT.model_copy(update={"weight": 2.0, "topics": {"Ports": "maritime"}})
    assert synced(database, heavier) == Synced(added=0, changed=1, dropped=1)
    assert (row(database).weight, row(database).topics) == (2.0, {"Ports": "maritime"})
    assert not row(database, COAST.url).active


def test_a_source_that_is_named_again_starts_anew_also_when_it_was_gone(database: Database) -> None:
    synced(database, PORT)
    visited(database, Bad(Health.GONE, "closed", status=410))
    assert not is_due(row(database), NOON + timedelta(days=400))
    synced(database)
    assert synced(database, PORT) == Synced(0, 1, 0)
    again = row(database)
    assert (again.active, again.health, again.failures) == (True, Health.NEW, 0)
    assert is_due(again, NOON)


def test_an_operator_who_writes_down_the_new_address_keeps_the_source_and_its_articles(
    database: Database,
) -> None:
    synced(database, PORT)
    number = row(database).id
    visited(database, Good(Kind.RSS, moved_to="https://new.example.org/feed"))
    moved = PORT.model_copy(update={"url": "https://new.example.org/feed"})
    assert synced(database, moved) == Synced(0, 0, 0)
    kept = row(database, moved.url)
    assert (kept.id, kept.moved_to, kept.active) == (number, None, True)


def test_files_that_were_read_are_left_alone_by_the_settings(database: Database) -> None:
    with database.write() as session:
        file_source(session, "file:///srv/week.xml", name="file:week.xml", publisher="Week")
    assert synced(database, PORT) == Synced(1, 0, 0)
    assert row(database, "file:///srv/week.xml").active


def test_a_good_visit_forgets_earlier_failures_and_waits_as_long_as_the_answer_is_fresh(
    database: Database,
) -> None:
    synced(database, PORT)
    visited(database, Bad(Health.FAILING, "no connection"))
    good = visited(database, Good(Kind.ATOM, '"v1"', "Mon", every=3600))
    assert (good.health, good.failures, good.failing_since, good.message) == (Health.GOOD, 0, None, "")
    assert (good.kind, good.etag, good.last_modified, good.good_at) == ("atom", '"v1"', "Mon", NOON)
    assert good.next_try_at == NOON + timedelta(hours=1)
    assert not is_due(good, NOON + timedelta(minutes=59))
    assert is_due(good, NOON + timedelta(hours=1))


def test_not_modified_keeps_the_kind(database: Database) -> None:
    synced(database, PORT)
    visited(database, Good(Kind.ATOM, '"v1"'))
    assert visited(database, Good(None, '"v1"')).kind == "atom"


def test_what_was_learnt_about_an_address_is_forgotten_when_nothing_is_there_any_more(
    database: Database,
) -> None:
    synced(database, PORT)
    visited(database, Good(Kind.RSS, '"v1"', moved_to="https://new.example.org/feed"))
    lost = visited(database, Bad(Health.GONE, "closed", status=410))
    assert (lost.moved_to, lost.etag, lost.health) == (None, None, Health.FAILING)
    assert visited(database, Bad(Health.GONE, "closed", status=410)).health is Health.GONE


@pytest.mark.parametrize(
    ("reason", "status", "health"),
    [
        (Reason.REFUSING, 403, Health.REFUSING),
        (Reason.REFUSING, 401, Health.REFUSING),
        (Reason.REFUSING, 451, Health.REFUSING),
        (Reason.GONE, 410, Health.GONE),
        (Reason.MISSING, 404, Health.FAILING),
        (Reason.SERVER, 503, Health.FAILING),
        (Reason.TIMEOUT, None, Health.FAILING),
    ],
)
def test_what_an_answer_makes_of_a_source(reason: Reason, status: int | None, health: Health) -> None:
    error = FetchError(PORT.url, reason, "as it is", retry_after=90, status=status)
    assert judge(error) == Bad(health, "as it is", 90, status)


def test_failures_wait_longer_and_longer_but_never_over_a_day() -> None:
    bad = Bad(Health.FAILING, "")
    waits = [next_try(bad, failures, NOON, 0.999999) for failures in (1, 2, 3, 8, 500)]
    minutes = [round((wait - NOON) / timedelta(minutes=1)) for wait in waits if wait]
    assert minutes == [15, 30, 60, 1440, 1440]


def test_a_gone_source_is_never_tried_again_and_a_refusing_one_at_most_twice_a_day() -> None:
    assert next_try(Bad(Health.GONE, ""), 1, NOON, 0.5) is None
    assert next_try(Bad(Health.REFUSING, ""), 9, NOON, 0.0) == NOON + timedelta(hours=12)


@given(
    st.sampled_from([Health.FAILING, Health.REFUSING]),
    st.floats(0, 1e7),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_no_failed_source_is_tried_before_its_retry_after_nor_given_up(
    health: Health, asked: float, failures: int, luck: float
) -> None:
    again = next_try(Bad(health, "", asked), failures, NOON, luck)
    assert again is not None
    assert again >= NOON + min(timedelta(seconds=asked), LONGEST_ASKED)
    assert again <= NOON + max(LONGEST, LONGEST_ASKED)


@given(st.integers(0, 2**31), st.floats(0, 1, exclude_max=True))
def test_a_good_source_rests_while_it_is_fresh_but_is_seen_daily(every: int, luck: float) -> None:
    assert next_try(Good(every=every), 0, NOON, luck) == NOON + min(timedelta(seconds=every), LONGEST)


def test_editors_see_what_fails_for_a_week_and_at_once_what_refuses(database: Database) -> None:
    synced(database, PORT, COAST)
    visited(database, Bad(Health.FAILING, "no connection"))
    with database.write() as session:
        source = session.scalars(select(Source).where(Source.url == COAST.url)).one()
        note_bad(source, Bad(Health.REFUSING, "ask them"), NOON + timedelta(days=2), 0.5)
    with database.read() as session:
        assert [t.name for t in troubled(session, NOON + timedelta(days=6))] == ["Coast news"]
        both = troubled(session, NOON + timedelta(days=7))
    assert [(t.name, t.health, t.since) for t in both] == [
        ("Port news", Health.FAILING, NOON),
        ("Coast news", Health.REFUSING, NOON + timedelta(days=2)),
    ]


def test_editors_do_not_see_a_source_that_was_taken_out(database: Database) -> None:
    synced(database, PORT)
    visited(database, Bad(Health.REFUSING, "ask them"))
    synced(database)
    with database.read() as session:
        assert troubled(session, NOON) == []


def test_sources_that_need_somebody_are_named_where_attention_is_asked_for(database: Database) -> None:
    many = [SourceSettings(url=f"https://{n}.example.org/feed", name=n, publisher=n) for n in "abcde"]
    for expected, of in (("a", 1), ("a and b", 2), ("a, b, c and 2 more", 5)):
        synced(database, *many[:of])
        with database.write() as session:
            for source in session.scalars(select(Source).where(Source.active)):
                note_bad(source, Bad(Health.REFUSING, "ask them"), NOON, 0.5)
        with database.read() as session:
            (sentence,) = needed(session, NOON)
        assert f"Nothing comes in from {expected}: " in sentence
        assert "digest sources list" in sentence


def test_health_is_said_in_words(sqlite: Database) -> None:
    synced(sqlite, PORT)
    assert in_words(row(sqlite), NOON) == "not visited yet"
    visited(sqlite, Bad(Health.FAILING, "no connection"))
    assert in_words(row(sqlite), NOON) == "failed once since 2026-11-16: no connection"
    visited(sqlite, Bad(Health.REFUSING, "ask them"))
    assert in_words(row(sqlite), NOON) == "refusing since 2026-11-16: ask them"
    visited(sqlite, Good(Kind.RSS, moved_to="https://new.example.org/feed"))
    assert in_words(row(sqlite), NOON) == "good; moved to https://new.example.org/feed"
    synced(sqlite)
    assert in_words(row(sqlite), NOON).startswith("no longer in the settings")
