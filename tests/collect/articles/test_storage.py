from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, func, select

from digest.collect.articles.storage import ItemCounts, mark_withdrawn, prepare_item_batches, store_item_batch
from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.item_identity import BATCH_SIZE, identify_items
from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParsedItem, RejectedEntry
from digest.store.engine import Database
from digest.store.models import Article, PublishedArticleChange, Source
from tests.collect.stored_documents import store_document
from tests.moments import MONDAY_NOON as NOON

LATER = NOON + timedelta(hours=12)
DAY = timedelta(days=1)
SITE = "https://agency.example.org"


def item(path: str = "/a", title: str = "Port closed", **more: object) -> ParsedItem:
    values: dict[str, object] = {"guid": None, "url": SITE + path, "link": SITE + path, "title": title}
    values |= {"published": NOON - DAY, "date_basis": DateBasis.PUBLISHED}
    return ParsedItem(**(values | more))  # type: ignore[arg-type]


def reading(*items: ParsedItem, rejected: Sequence[RejectedEntry] = ()) -> ParsedDocument:
    return ParsedDocument(DocumentKind.RSS, items, tuple(rejected))


def source(database: Database, url: str = f"{SITE}/feed") -> Source:
    with database.write() as session:
        row = session.scalar(select(Source).where(Source.url == url))
        if row is None:
            row = Source(url=url, name="Agency", publisher="Agency", topics={})
            session.add(row)
    return row


def stored(database: Database, *items: ParsedItem, now: datetime = NOON) -> ItemCounts:
    agency = source(database)
    with database.write() as session:
        return store_document(session, agency, reading(*items), now)


def articles(database: Database) -> list[Article]:
    with database.read() as session:
        return list(session.scalars(select(Article).order_by(Article.url, Article.title, Article.dated_at)))


def history(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        return [
            (c.field, c.before, c.after)
            for c in session.scalars(select(PublishedArticleChange).order_by(PublishedArticleChange.field))
        ]


def test_an_item_becomes_an_article_with_all_that_was_said(database: Database) -> None:
    event_item = item(
        guid="42",
        summary="From Monday on.",
        author="Ada Example",
        credit="INTERPOL",
        categories=("Ports", "Safety"),
        language="en",
        image_url=f"{SITE}/p.jpg",
        image_alt="A port",
        updated=NOON,
        starts_at=NOON + DAY,
        ends_at=NOON + 2 * DAY,
        place="Harbour",
        deadline=Deadline(date(2026, 12, 1), time(17), "America/New_York", "applications"),
        featured=True,
    )
    assert stored(database, event_item) == ItemCounts(found=1, new=1)
    (article,) = articles(database)
    assert (article.title, article.summary, article.author, article.credit) == (
        "Port closed",
        "From Monday on.",
        "Ada Example",
        "INTERPOL",
    )
    assert (article.categories, article.featured) == (["Ports", "Safety"], True)
    closes = (article.closes_on, article.closes_clock, article.closes_zone, article.closes_label)
    assert closes == (date(2026, 12, 1), time(17), "America/New_York", "applications")
    assert (article.dated_at, article.date_basis, article.updated_at) == (NOON - DAY, "published", NOON)
    assert (article.found_at, article.seen_at) == (NOON, NOON)


def test_a_deadline_that_was_extended_is_kept_with_the_one_before(database: Database) -> None:
    stored(database, item(deadline=Deadline(date(2026, 12, 1), time(17), "America/New_York")))
    assert stored(database, item(deadline=Deadline(date(2026, 12, 8), time(12), "America/New_York"))).updated == 1
    assert history(database) == [("closes_clock", "17:00:00", "12:00:00"), ("closes_on", "2026-12-01", "2026-12-08")]


@pytest.mark.takes_turns
def test_the_same_document_again_changes_nothing(database: Database) -> None:
    items = [item("/a", guid="1"), item("/b"), item("/", "Alert 1"), item("/", "Alert 2")]
    assert stored(database, *items).new == 4
    assert stored(database, *items, now=LATER) == ItemCounts(found=4, unchanged=4)
    assert {a.seen_at for a in articles(database)} == {LATER}
    assert history(database) == []


def test_a_changed_title_is_kept_as_history(database: Database) -> None:
    stored(database, item(summary="Old."))
    assert stored(database, item(title="Port reopened", summary="New."), now=LATER).updated == 1
    assert [a.title for a in articles(database)] == ["Port reopened"]
    assert history(database) == [("summary", "Old.", "New."), ("title", "Port closed", "Port reopened")]


@pytest.mark.takes_turns
def test_a_link_that_differs_in_its_tracking_only_is_no_news(database: Database) -> None:
    stored(database, item(link=f"{SITE}/a?utm_source=x"))
    assert stored(database, item(link=f"{SITE}/a?utm_source=y")) == ItemCounts(found=1, unchanged=1)
    assert [a.link for a in articles(database)] == [f"{SITE}/a?utm_source=y"]
    assert history(database) == []


@pytest.mark.takes_turns
def test_the_same_title_at_different_addresses_is_different_news(database: Database) -> None:
    title = "Agency Adds One Known Exploited Vulnerability to Catalog"
    assert stored(database, *(item(f"/{n}", title, guid=str(n)) for n in range(9))).new == 9


@pytest.mark.takes_turns
def test_an_id_that_changes_while_the_address_stays_is_the_same_article(database: Database) -> None:
    stored(database, item(guid="a#0"))
    assert stored(database, item(guid="a#1")) == ItemCounts(found=1, unchanged=1)
    assert stored(database, item("/moved", guid="a#1")).updated == 1, "the newest id is the one that is known"
    assert len(articles(database)) == 1
    assert history(database) == [("url", f"{SITE}/a", f"{SITE}/moved")]


@pytest.mark.takes_turns
def test_one_id_for_all_items_of_a_document_tells_nothing(database: Database) -> None:
    assert stored(database, item("/a", guid="feed"), item("/b", "Bridge", guid="feed")).new == 2
    assert stored(database, item("/c", "Tunnel", guid="feed"), item("/b", "Bridge", guid="feed")).new == 1
    assert len(articles(database)) == 3


@pytest.mark.takes_turns
def test_an_id_that_comes_back_on_another_article_is_another_article(database: Database) -> None:
    stored(database, item("/a", guid="1"))
    other = item("/b", "Bridge", guid="1", published=NOON)
    assert stored(database, other).new == 1
    assert stored(database, other) == ItemCounts(found=1, unchanged=1)
    assert [a.title for a in articles(database)] == ["Port closed", "Bridge"]


@pytest.mark.takes_turns
def test_one_address_with_several_items_is_told_apart_by_id_or_by_date_and_title(database: Database) -> None:
    alerts = [
        item("/alerts", "Alert", guid="1", published=NOON - DAY),
        item("/alerts", "Test alert", guid="2", published=NOON - DAY),
        item("/board", "Monday", published=NOON - DAY),
        item("/board", "Tuesday", published=NOON),
    ]
    assert stored(database, *alerts).new == 4
    assert stored(database, *alerts[1:3]) == ItemCounts(found=2, unchanged=2)


@pytest.mark.takes_turns
def test_a_front_page_is_no_article_address(database: Database) -> None:
    stored(database, item("/", "Monday's briefing", published=NOON - DAY))
    stored(database, item("/", "Tuesday's briefing", published=NOON))
    assert len(articles(database)) == 2


@pytest.mark.takes_turns
def test_what_a_document_lists_twice_is_one_article_under_its_earliest_date(database: Database) -> None:
    twice = item(published=NOON - DAY), item(published=NOON)
    assert stored(database, *twice) == ItemCounts(found=2, new=1, unchanged=1)
    assert [a.dated_at for a in articles(database)] == [NOON - DAY]


def test_two_versions_of_one_entry_are_one_article_that_says_the_latest(database: Database) -> None:
    old = item(guid="1", title="Port may close", updated=NOON - DAY)
    new = item(guid="1", title="Port closed", updated=NOON)
    assert stored(database, new, old).new == 1
    assert [a.title for a in articles(database)] == ["Port closed"]


def test_dates_of_an_event_that_recurs_are_different_articles(database: Database) -> None:
    days = [item("/drill", "Drill", guid="drill", starts_at=NOON + n * DAY) for n in range(3)]
    assert stored(database, *days).new == 3
    assert stored(database, *days).unchanged == 3


def test_an_event_that_moves_keeps_its_row_and_its_old_time(database: Database) -> None:
    stored(database, item("/drill", "Drill", guid="drill", starts_at=NOON))
    stored(database, item("/drill", "Drill", guid="drill", starts_at=NOON + DAY))
    assert [a.starts_at for a in articles(database)] == [NOON + DAY]
    assert history(database) == [("starts_at", NOON.isoformat(), (NOON + DAY).isoformat())]


@pytest.mark.takes_turns
def test_a_date_that_moves_forward_on_an_unchanged_item_is_noted_beside_the_first(database: Database) -> None:
    stored(database, item(published=NOON - DAY))
    assert stored(database, item(published=NOON)) == ItemCounts(found=1, unchanged=1)
    (article,) = articles(database)
    assert (article.dated_at, article.updated_at) == (NOON - DAY, NOON)


@pytest.mark.takes_turns
def test_the_date_that_counts_is_the_earliest_of_the_best_kind_in_any_order(database: Database) -> None:
    for published, updated in [(None, None), (None, NOON), (NOON - DAY, NOON), (NOON, NOON), (None, None)]:
        basis = DateBasis.PUBLISHED if published else DateBasis.FIRST_SEEN_NO_DATE
        stored(database, item(published=published, updated=updated, date_basis=basis), now=LATER)
    (article,) = articles(database)
    assert (article.dated_at, article.date_basis, article.updated_at) == (NOON - DAY, "published", NOON)


@pytest.mark.parametrize(
    "basis",
    [
        DateBasis.FIRST_SEEN_NO_DATE,
        DateBasis.FIRST_SEEN_UNREADABLE,
        DateBasis.FIRST_SEEN_FUTURE,
        DateBasis.FIRST_SEEN_ANCIENT,
    ],
)
def test_without_a_usable_date_an_article_counts_from_when_it_was_first_seen(
    one_database: Database, basis: DateBasis
) -> None:
    undated = item(published=None, date_basis=basis)
    stored(one_database, undated)
    assert stored(one_database, undated, now=LATER).unchanged == 1
    (article,) = articles(one_database)
    assert (article.dated_at, article.date_basis) == (NOON, basis.value)


@pytest.mark.takes_turns
def test_what_cannot_be_stored_is_rejected_by_its_place_in_the_document(database: Database) -> None:
    agency = source(database)
    document = reading(
        item(), item(title=""), item(url="file:///a", link="file:///a"), rejected=[RejectedEntry(2, "no link")]
    )
    with database.write() as session:
        counts = store_document(session, agency, document, NOON)
    assert (counts.found, counts.new) == (4, 1)
    assert [r.place for r in counts.rejected] == [2, 3, 4]
    assert [r.reason for r in counts.rejected] == ["no link", "no title", "no URL (its link is 'file:///a')"]


def test_a_source_brings_in_no_more_than_its_limit() -> None:
    counts, parts = prepare_item_batches(reading(*(item(f"/{n}") for n in range(5))), max_items=3)
    assert sum(len(part.items) for part in parts) == 3
    assert [r.place for r in counts.rejected] == [4, 5]


def test_a_long_name_is_cut_to_what_the_database_holds(database: Database) -> None:
    long = item(author="A" * 900, place="P" * 900)
    stored(database, long)
    assert stored(database, long).unchanged == 1


@pytest.mark.takes_turns
def test_the_same_page_through_two_sources_is_two_articles(database: Database) -> None:
    stored(database, item())
    other = source(database, "https://other.example.org/feed")
    with database.write() as session:
        assert store_document(session, other, reading(item()), NOON).new == 1


@pytest.mark.takes_turns
def test_a_withdrawn_page_stays_as_history(database: Database) -> None:
    stored(database, item())
    (article,) = articles(database)
    for expected in (True, False):
        with database.write() as session:
            assert mark_withdrawn(session, article, LATER, "410") is expected
    assert [a.withdrawn_at for a in articles(database)] == [LATER]
    assert history(database) == [("withdrawn", "", "410")]


def test_three_thousand_items_take_two_queries_a_batch_and_no_transaction_over_a_thousand_rows(
    one_database: Database,
) -> None:
    agency = source(one_database)
    counts, parts = prepare_item_batches(reading(*(item(f"/{n}", guid=str(n)) for n in range(3_000))), max_items=3_000)
    statements: list[str] = []
    event.listen(
        one_database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement)
    )
    for part in parts:
        with one_database.write() as session:
            counts += store_item_batch(session, agency.id, part, NOON)
    assert counts == ItemCounts(found=3_000, new=3_000)
    assert sum(statement.startswith("SELECT") for statement in statements) == 2 * len(parts)
    assert max(len(part.items) for part in parts) <= BATCH_SIZE <= 500


def test_a_kill_between_two_batches_loses_nothing_and_repeats_nothing(one_database: Database) -> None:
    document = reading(*(item(f"/{n}", f"Notice {n}", guid=str(n)) for n in range(2 * BATCH_SIZE + 7)))
    agency = source(one_database)
    _, parts = prepare_item_batches(document, len(document.items))
    with one_database.write() as session:  # and then the process is gone: the others are never stored
        store_item_batch(session, agency.id, parts[1], NOON)
    assert len(articles(one_database)) == BATCH_SIZE

    again = stored(one_database, *document.items, now=LATER)

    assert (again.new, again.unchanged) == (BATCH_SIZE + 7, BATCH_SIZE)
    assert {a.title for a in articles(one_database)} == {one.title for one in document.items}
    assert len(articles(one_database)) == len(document.items)
    assert history(one_database) == []


def test_two_thousand_items_at_one_address_are_stored_too(one_database: Database) -> None:
    board = [item("/board", f"Notice {n}", published=NOON - timedelta(minutes=n)) for n in range(2_000)]
    assert stored(one_database, *board).new == 2_000
    assert stored(one_database, *reversed(board)).unchanged == 2_000


# Laws. A small world makes collisions of every kind likely.
WORLD = st.builds(
    item,
    st.sampled_from(["/", "/a", "/b", "/c"]),
    st.sampled_from(["Port closed", "Bridge", "Tunnel"]),
    guid=st.sampled_from([None, None, "1", "2", "3"]),
    published=st.sampled_from([None, NOON - DAY, NOON - 2 * DAY]),
    updated=st.sampled_from([None, NOON - DAY]),
    starts_at=st.sampled_from([None, None, NOON, NOON + DAY]),
)


@given(st.lists(WORLD, max_size=12), st.randoms())
def test_the_order_of_a_document_decides_nothing(items: list[ParsedItem], random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    identified = identify_items(items)
    assert identify_items(shuffled) == identified
    assert len({one.key for one in identified}) == len(identified)
    assert sum(one.occurrences for one in identified) == len(items)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(WORLD, max_size=6), min_size=1, max_size=4))
def test_whatever_publishers_do_to_ids_the_counts_balance_and_nothing_new_comes_twice(
    one_database: Database, documents: list[list[ParsedItem]]
) -> None:
    agency = source(one_database)
    with one_database.write() as session:
        session.execute(delete(PublishedArticleChange))
        session.execute(delete(Article))

    def store(items: list[ParsedItem], now: datetime) -> tuple[ItemCounts, int]:
        with one_database.write() as session:
            counts = store_document(session, agency, reading(*items), now)
            return counts, session.scalar(select(func.count()).select_from(Article)) or 0

    for items in documents:
        counts, rows = store(items, NOON)
        assert counts.found == counts.new + counts.updated + counts.unchanged + len(counts.rejected)
        assert rows >= len(identify_items(items)), "no two items of one document may share a row"
        second, rows_after = store(items, LATER)
        assert (second.new, rows_after) == (0, rows)
        assert second.updated == 0


@pytest.mark.takes_turns
def test_ids_that_change_places_are_settled_at_the_first_reading(database: Database) -> None:
    stored(database, item("/", guid="1", published=None), item("/c", guid="2"))
    swapped = (item("/", "Bridge", guid="2", published=None), item("/c", "Bridge", guid="1"))
    stored(database, *swapped)
    rows = len(articles(database))
    second = stored(database, *swapped, now=LATER)
    assert (second.new, second.updated, len(articles(database))) == (0, 0, rows)
