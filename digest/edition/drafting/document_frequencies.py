"""The installation's own word table: the number of earlier articles that contain each word.

The table is frozen at a window's first draft. Articles that arrive late or change their text don't
affect it, so all drafts of a window use the same table.
"""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.edition.calendar.edition_windows import EditionWindow
from digest.select.text_similarity import distinct_words
from digest.select.word_rarity import DocumentFrequencies, count_document_frequencies
from digest.store.models import Article, Source, StoredDocumentFrequencies

LOOKBACK = timedelta(weeks=8)  # how far back to count articles
MAX_COUNTED_ARTICLES = 12_000  # the newest ones; limits counting to about two seconds
KEPT_TABLES = timedelta(weeks=10)  # age at which a window's table is deleted, because the window is no longer drafted


def load_document_frequencies(session: Session, window: EditionWindow) -> DocumentFrequencies:
    """Return a window's frozen table, or one counted from the news found before the window opened."""
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
    # The same text from several sources counts as one article.
    texts = {(title, summary) for title, summary in session.execute(earlier)}
    return count_document_frequencies(distinct_words(*text) for text in texts)


def freeze_document_frequencies(session: Session, window: EditionWindow, table: DocumentFrequencies) -> None:
    """Store a window's table, and delete those of old windows.

    Do nothing if the table is empty or one is already stored.
    """
    if not table.article_count or session.get(StoredDocumentFrequencies, window.opens_at) is not None:
        return
    session.execute(
        delete(StoredDocumentFrequencies).where(StoredDocumentFrequencies.opens_at < window.opens_at - KEPT_TABLES)
    )
    counts = dict(sorted(table.counts.items()))
    session.add(StoredDocumentFrequencies(opens_at=window.opens_at, article_count=table.article_count, counts=counts))
    session.flush()
