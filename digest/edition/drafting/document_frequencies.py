"""The installation's own table of words: in how many earlier articles each word stands, frozen when a window's first draft is made.

Articles that come late, or change their text, move nothing: what one draft of a window measured by, the next one does too.
"""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.edition.calendar.edition_windows import EditionWindow
from digest.select.text_similarity import significant_words
from digest.select.word_rarity import DocumentFrequencies, count_document_frequencies
from digest.store.models import Article, Source, StoredDocumentFrequencies

LOOKBACK = timedelta(weeks=8)  # how far back the counted articles go
MAX_COUNTED_ARTICLES = 12_000  # the newest, so that counting takes no more than some two seconds
KEPT_TABLES = timedelta(weeks=10)  # how old a window may be whose table is kept: no draft of it is made any more


def load_document_frequencies(session: Session, window: EditionWindow) -> DocumentFrequencies:
    """Return the table that is frozen for a window; else count the news that was found before the window opened."""
    stored = session.get(StoredDocumentFrequencies, window.opens_at)
    if stored is not None:
        return DocumentFrequencies(stored.article_count, stored.counts)
    earlier = (
        select(Article.title, Article.summary)
        .join(Source)
        .where(
            Source.section == "news",
            Article.found_at <= window.opens_at,
            Article.dated_at <= window.opens_at,
            Article.dated_at > window.opens_at - LOOKBACK,
        )
        .order_by(Article.dated_at.desc(), Article.url, Source.name)
        .limit(MAX_COUNTED_ARTICLES)
    )
    # One text through several sources is one article.
    texts = {(title, summary) for title, summary in session.execute(earlier)}
    return count_document_frequencies(significant_words(f"{title}\n{summary}") for title, summary in texts)


def freeze_document_frequencies(session: Session, window: EditionWindow, table: DocumentFrequencies) -> None:
    """Store the table of a window, unless one is stored or it is empty, and drop those of windows long past."""
    if not table.article_count or session.get(StoredDocumentFrequencies, window.opens_at) is not None:
        return
    session.execute(
        delete(StoredDocumentFrequencies).where(StoredDocumentFrequencies.opens_at < window.opens_at - KEPT_TABLES)
    )
    counts = dict(sorted(table.counts.items()))
    session.add(StoredDocumentFrequencies(opens_at=window.opens_at, article_count=table.article_count, counts=counts))
    session.flush()
