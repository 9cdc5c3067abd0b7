"""Store a whole document at once, for tests that need its articles."""

from datetime import datetime

from sqlalchemy.orm import Session

from digest.collect.articles.storage import ItemCounts, prepare_item_batches, store_item_batch
from digest.collect.documents.parsed_document import ParsedDocument
from digest.store.models import Source


def store_document(session: Session, source: Source, document: ParsedDocument, now: datetime) -> ItemCounts:
    """Store all items of a document of `source` in one transaction."""
    counts, batches = prepare_item_batches(document, len(document.items))
    for batch in batches:
        counts += store_item_batch(session, source.id, batch, now)
    return counts
