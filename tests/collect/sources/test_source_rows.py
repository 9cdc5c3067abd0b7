from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from digest.app.doctor.attention import list_attention_sentences
from digest.collect.documents.parsed_document import DocumentKind
from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.collect.sources.source_rows import (
    MAX_RETRY_AFTER,
    MAX_RETRY_INTERVAL,
    VisitFailure,
    VisitSuccess,
    choose_next_visit_time,
    classify_fetch_error,
    describe_source_health,
    ensure_file_source,
    is_source_due,
    list_source_problems,
    record_visit_failure,
    record_visit_success,
    sync_sources,
)
from digest.settings import Settings, SettingsFileContent, SourceSettings
from digest.store.engine import Database
from digest.store.models import Source, SourceHealth
from tests.moments import MONDAY_NOON as NOON

PORT = SourceSettings(url="https://port.example.org/feed", name="Port news", publisher="Port Authority")
COAST = SourceSettings(url="https://coast.example.org/feed", name="Coast news", publisher="Coast Watch")


def naming(*sources: SourceSettings) -> Settings:
    return Settings(file=SettingsFileContent(sources=list(sources)))


def row(database: Database, url: str = PORT.url) -> Source:
    with database.read() as session:
        return session.scalars(select(Source).where(Source.url == url)).one()


SYNCED = ("name", "publisher", "section", "weight", "primary", "own", "images", "topics")


def synced(database: Database, *sources: SourceSettings) -> tuple[int, int, int]:
    """Follow the settings; count the rows that were added, that were changed or named again, and that were dropped."""
    rows: list[dict[int, tuple[bool, list[object]]]] = []
    for settings in (None, naming(*sources)):
        with database.write() as session:
            if settings is not None:
                sync_sources(session, settings)
            named = session.scalars(select(Source)).all()
            rows.append({s.id: (s.active, [getattr(s, name) for name in SYNCED]) for s in named})
    before, after = rows
    kept = [(before[number], row) for number, row in after.items() if number in before]
    changed = sum(new != old and new[0] for old, new in kept)
    return len(after) - len(kept), changed, sum(old[0] and not new[0] for old, new in kept)


def visited(database: Database, seen: VisitSuccess | VisitFailure, now: datetime = NOON, luck: float = 0.5) -> Source:
    with database.write() as session:
        source = session.scalars(select(Source).where(Source.url == PORT.url)).one()
        if isinstance(seen, VisitSuccess):
            record_visit_success(source, seen, now, luck)
        else:
            record_visit_failure(source, seen, now, luck)
    return source


def test_rows_follow_the_settings_and_a_source_that_is_no_longer_named_keeps_its_row(database: Database) -> None:
    assert synced(database, PORT, COAST) == (2, 0, 0)
    assert synced(database, PORT, COAST) == (0, 0, 0)
    heavier = PORT.model_copy(update={"weight": 2.0, "topics": {"Ports": "maritime"}, "default_topic": "Ships"})
    assert synced(database, heavier) == (0, 1, 1)
    changed = row(database)
    assert (changed.weight, changed.topics, changed.default_topic) == (2.0, {"Ports": "maritime"}, "Ships")
    assert not row(database, COAST.url).active


def test_a_source_that_is_named_again_starts_anew_also_when_it_was_gone(database: Database) -> None:
    synced(database, PORT)
    visited(database, VisitSuccess(DocumentKind.RSS, etag='"old"', last_modified="Thu, 19 Nov 2026 09:00:00 GMT"))
    visited(database, VisitFailure(SourceHealth.GONE, "closed", status=410))
    assert not is_source_due(row(database), NOON + timedelta(days=400))
    synced(database)
    assert synced(database, PORT) == (0, 1, 0)
    renewed = row(database)
    assert (renewed.active, renewed.health, renewed.failures) == (True, SourceHealth.NEW, 0)
    assert (renewed.etag, renewed.last_modified) == (None, None)
    assert is_source_due(renewed, NOON)


def test_an_operator_who_writes_down_the_new_address_keeps_the_source_and_its_articles(database: Database) -> None:
    synced(database, PORT)
    number = row(database).id
    visited(database, VisitSuccess(DocumentKind.RSS, moved_to="https://new.example.org/feed"))
    configured = PORT.model_copy(update={"url": "https://new.example.org/feed"})
    assert synced(database, configured) == (0, 0, 0)
    kept = row(database, configured.url)
    assert (kept.id, kept.moved_to, kept.active) == (number, None, True)


@pytest.mark.takes_turns
def test_files_that_were_read_are_left_alone_by_the_settings(database: Database) -> None:
    with database.write() as session:
        ensure_file_source(session, "file:///srv/week.xml", name="file:week.xml", publisher="Week")
    assert synced(database, PORT) == (1, 0, 0)
    assert row(database, "file:///srv/week.xml").active


def test_a_good_visit_forgets_earlier_failures_and_waits_as_long_as_the_answer_is_fresh(database: Database) -> None:
    synced(database, PORT)
    visited(database, VisitFailure(SourceHealth.FAILING, "no connection"))
    good = visited(database, VisitSuccess(DocumentKind.ATOM, '"v1"', "Mon", refresh_seconds=3600))
    assert (good.health, good.failures, good.failing_since, good.message) == (SourceHealth.GOOD, 0, None, "")
    assert (good.kind, good.etag, good.last_modified, good.good_at) == ("atom", '"v1"', "Mon", NOON)
    assert good.next_try_at == NOON + timedelta(hours=1)
    assert not is_source_due(good, NOON + timedelta(minutes=59))
    assert is_source_due(good, NOON + timedelta(hours=1))


def test_not_modified_keeps_the_kind(database: Database) -> None:
    synced(database, PORT)
    visited(database, VisitSuccess(DocumentKind.ATOM, '"v1"'))
    assert visited(database, VisitSuccess(None, '"v1"')).kind == "atom"


def test_what_was_learnt_about_an_address_is_forgotten_when_nothing_is_there_any_more(database: Database) -> None:
    synced(database, PORT)
    visited(database, VisitSuccess(DocumentKind.RSS, '"v1"', moved_to="https://new.example.org/feed"))
    lost = visited(database, VisitFailure(SourceHealth.GONE, "closed", status=410))
    assert (lost.moved_to, lost.etag, lost.health) == (None, None, SourceHealth.FAILING)
    assert visited(database, VisitFailure(SourceHealth.GONE, "closed", status=410)).health is SourceHealth.GONE


@pytest.mark.parametrize(
    ("reason", "status", "health"),
    [
        (FetchErrorReason.REFUSING, 403, SourceHealth.REFUSING),
        (FetchErrorReason.REFUSING, 401, SourceHealth.REFUSING),
        (FetchErrorReason.REFUSING, 451, SourceHealth.REFUSING),
        (FetchErrorReason.GONE, 410, SourceHealth.GONE),
        (FetchErrorReason.MISSING, 404, SourceHealth.FAILING),
        (FetchErrorReason.SERVER, 503, SourceHealth.FAILING),
        (FetchErrorReason.TIMEOUT, None, SourceHealth.FAILING),
    ],
)
def test_what_an_answer_makes_of_a_source(reason: FetchErrorReason, status: int | None, health: SourceHealth) -> None:
    error = FetchError(PORT.url, reason, "as it is", retry_after=90, status=status)
    barrier = "visitors must sign in" if status == 401 else ""
    assert classify_fetch_error(error) == VisitFailure(health, "as it is", 90, status, barrier)


def test_failures_wait_longer_and_longer_but_never_over_a_day() -> None:
    bad = VisitFailure(SourceHealth.FAILING, "")
    waits = [choose_next_visit_time(bad, failures, NOON, 0.999999) for failures in (1, 2, 3, 8, 500)]
    minutes = [round((wait - NOON) / timedelta(minutes=1)) for wait in waits if wait]
    assert minutes == [15, 30, 60, 1440, 1440]


def test_a_gone_source_is_never_tried_again_and_a_refusing_one_at_most_twice_a_day() -> None:
    assert choose_next_visit_time(VisitFailure(SourceHealth.GONE, ""), 1, NOON, 0.5) is None
    assert choose_next_visit_time(VisitFailure(SourceHealth.REFUSING, ""), 9, NOON, 0.0) == NOON + timedelta(hours=12)


@given(
    st.sampled_from([SourceHealth.FAILING, SourceHealth.REFUSING]),
    st.floats(0, 1e7),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_no_failed_source_is_tried_before_its_retry_after_nor_given_up(
    health: SourceHealth, asked: float, failures: int, luck: float
) -> None:
    next_try = choose_next_visit_time(VisitFailure(health, "", asked), failures, NOON, luck)
    assert next_try is not None
    assert next_try >= NOON + min(timedelta(seconds=asked), MAX_RETRY_AFTER)
    assert next_try <= NOON + max(MAX_RETRY_INTERVAL, MAX_RETRY_AFTER)


@given(st.integers(0, 2**31), st.floats(0, 1, exclude_max=True))
def test_a_good_source_rests_while_it_is_fresh_but_is_seen_daily(every: int, luck: float) -> None:
    assert choose_next_visit_time(VisitSuccess(refresh_seconds=every), 0, NOON, luck) == NOON + min(
        timedelta(seconds=every), MAX_RETRY_INTERVAL
    )


def test_editors_see_what_fails_for_a_week_and_at_once_what_refuses(database: Database) -> None:
    synced(database, PORT, COAST)
    visited(database, VisitFailure(SourceHealth.FAILING, "no connection"))
    with database.write() as session:
        source = session.scalars(select(Source).where(Source.url == COAST.url)).one()
        record_visit_failure(source, VisitFailure(SourceHealth.REFUSING, "ask them"), NOON + timedelta(days=2), 0.5)
    with database.read() as session:
        assert [t.name for t in list_source_problems(session, NOON + timedelta(days=6))] == ["Coast news"]
        both = list_source_problems(session, NOON + timedelta(days=7))
    assert [(t.name, t.health, t.failing_since) for t in both] == [
        ("Port news", SourceHealth.FAILING, NOON),
        ("Coast news", SourceHealth.REFUSING, NOON + timedelta(days=2)),
    ]


@pytest.mark.takes_turns
def test_editors_do_not_see_a_source_that_was_taken_out(database: Database) -> None:
    synced(database, PORT)
    visited(database, VisitFailure(SourceHealth.REFUSING, "ask them"))
    synced(database)
    with database.read() as session:
        assert list_source_problems(session, NOON) == []


def test_sources_that_need_somebody_are_named_where_attention_is_asked_for(database: Database) -> None:
    many = [SourceSettings(url=f"https://{n}.example.org/feed", name=n, publisher=n) for n in "abcde"]
    for expected, of in (("a", 1), ("a and b", 2), ("a, b, c, and 2 more", 5)):
        synced(database, *many[:of])
        with database.write() as session:
            for source in session.scalars(select(Source).where(Source.active)):
                record_visit_failure(source, VisitFailure(SourceHealth.REFUSING, "ask them"), NOON, 0.5)
        with database.read() as session:
            (sentence,) = list_attention_sentences(session, NOON)
        assert f"No articles from {expected}. See" in sentence
        assert "digest sources list" in sentence


def test_health_is_said_in_words(one_database: Database) -> None:
    synced(one_database, PORT)
    assert describe_source_health(row(one_database), NOON) == "not visited yet"
    visited(one_database, VisitFailure(SourceHealth.FAILING, "no connection"))
    assert describe_source_health(row(one_database), NOON) == "failed once since 2026-11-16: no connection"
    visited(one_database, VisitFailure(SourceHealth.REFUSING, "ask them"))
    assert describe_source_health(row(one_database), NOON) == "access denied since 2026-11-16: ask them"
    visited(one_database, VisitSuccess(DocumentKind.RSS, moved_to="https://new.example.org/feed"))
    assert describe_source_health(row(one_database), NOON) == "working; moved to https://new.example.org/feed"
    synced(one_database)
    assert describe_source_health(row(one_database), NOON).startswith("no longer in the settings")
