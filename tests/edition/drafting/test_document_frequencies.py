"""Word rarity is counted from the news before a window, and frozen at the window's first draft."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.drafting.document_frequencies import (
    KEPT_TABLES,
    LOOKBACK,
    freeze_document_frequencies,
    load_document_frequencies,
)
from digest.select.word_rarity import DocumentFrequencies
from digest.store.engine import Database
from digest.store.models import Article, Source, StoredDocumentFrequencies
from tests.moments import DRAFTING as OPENS

WINDOW = EditionWindow(OPENS, OPENS + timedelta(days=3), OPENS - timedelta(days=7))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def store_articles(database: Database, *rows: tuple[str, timedelta, timedelta], section: str = "news") -> None:
    """Store articles by title, by how long before the window they are dated, and how long before it they were found."""
    with database.write() as session:
        source = Source(
            url=f"https://{section}{len(rows)}.example/", name="S", publisher="S", section=section, topics={}
        )
        session.add(source)
        session.flush()
        session.execute(
            insert(Article),
            [
                {
                    "source_id": source.id,
                    "key": title,
                    "title": title,
                    "summary": "",
                    "categories": [],
                    "url": f"https://a.example/{title}",
                    "link": f"https://a.example/{title}",
                    "dated_at": OPENS - dated,
                    "date_basis": "published",
                    "found_at": OPENS - found,
                    "seen_at": OPENS - found,
                }
                for title, dated, found in rows
            ],
        )


DAY = timedelta(days=1)
EARLIER = (("Storm Orlinda nears", DAY, DAY), ("Storm Orlinda lands", 2 * DAY, DAY), ("Ferry runs again", 9 * DAY, DAY))


def loaded(database: Database, window: EditionWindow = WINDOW) -> DocumentFrequencies:
    with database.read() as session:
        return load_document_frequencies(session, window)


@pytest.mark.takes_turns
def test_the_news_before_a_window_says_how_common_words_are(database: Database) -> None:
    store_articles(database, *EARLIER)
    table = loaded(database)
    assert table.article_count == 3
    assert (table.counts["orlinda"], table.counts["ferry"]) == (2, 1)


@pytest.mark.takes_turns
def test_the_window_itself_late_arrivals_old_news_and_calendars_do_not_count(database: Database) -> None:
    store_articles(
        database,
        ("Within the window", -DAY, -DAY),
        ("Dated before, found within", DAY, -DAY),
        ("Older than weeks that count", LOOKBACK + DAY, DAY),
    )
    store_articles(database, ("Conference on ports", DAY, DAY), section="events")
    assert loaded(database) == DocumentFrequencies()


@pytest.mark.takes_turns
def test_one_text_through_two_sources_counts_once(database: Database) -> None:
    store_articles(database, EARLIER[0])
    store_articles(database, EARLIER[0], ("Ferry runs again", DAY, DAY), section="news")
    assert loaded(database).article_count == 2


def test_what_was_frozen_stays_whatever_comes_and_changes_later(database: Database) -> None:
    store_articles(database, *EARLIER)
    before = loaded(database)
    with database.write() as session:
        freeze_document_frequencies(session, WINDOW, before)
    with database.write() as session:
        session.execute(update(Article).values(title="Another text"))
        freeze_document_frequencies(session, WINDOW, DocumentFrequencies(1, {"another": 1}))
    assert loaded(database) == before


def test_nothing_is_frozen_while_there_is_nothing_and_old_windows_go(database: Database) -> None:
    later = EditionWindow(OPENS + KEPT_TABLES + DAY, OPENS + KEPT_TABLES + 2 * DAY, OPENS)
    with database.write() as session:
        freeze_document_frequencies(session, WINDOW, DocumentFrequencies())
        assert session.scalar(select(func.count()).select_from(StoredDocumentFrequencies)) == 0
        freeze_document_frequencies(session, WINDOW, DocumentFrequencies(1, {"storm": 1}))
        freeze_document_frequencies(session, later, DocumentFrequencies(2, {"storm": 2}))
    with database.read() as session:
        assert session.scalars(select(StoredDocumentFrequencies.article_count)).all() == [2]
