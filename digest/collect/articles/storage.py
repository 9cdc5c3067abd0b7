"""Storage of parsed items: one row per item, with its history.

Items are compared with the rows of their source, which are fetched in one query per batch. Callers
open the transaction. `prepare_item_batches` splits a long document into batches of at most
`BATCH_SIZE` items.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import Session

from digest.collect.articles.email_images import delete_stored_image
from digest.collect.documents.item_identity import (
    IdentifiedItem,
    ItemBatch,
    identify_items,
    make_key_for_reused_id,
    match_stored_rows,
    split_into_batches,
)
from digest.collect.documents.parsed_document import NOT_PUBLIC, DateBasis, ParsedDocument, ParsedItem, RejectedEntry
from digest.collect.texts.urls import site_name, usable_canonical_url
from digest.store.models import Article, PublishedArticleChange, Source

_DEADLINE_COLUMNS = ("closes_on", "closes_clock", "closes_zone", "closes_label")
# Columns whose old values are kept in the history.
_HISTORY_COLUMNS = (
    "title", "summary", "url", "starts_at", "ends_at", "announced_at", "place", "closes_on", "closes_clock",
)  # fmt: skip
_ARTICLE_COLUMNS = Article.__table__.columns
_DERIVED_COLUMNS = ("key", "dated_at", "date_basis", "updated_at")
_ITEM_COLUMNS = [
    field.name for field in fields(ParsedItem) if field.name in _ARTICLE_COLUMNS and field.name not in _DERIVED_COLUMNS
]
_CHANGEABLE_COLUMNS = (*_DERIVED_COLUMNS, *_ITEM_COLUMNS, *_DEADLINE_COLUMNS)
# Columns whose changes aren't news, such as tracking parameters, the author of a summary, or the
# label of an unchanged deadline.
_SILENT_COLUMNS = frozenset(
    {"link", "publisher", "summary_basis", "event_zone", "closes_zone", "closes_label", *_DERIVED_COLUMNS}
)
_LENGTHS = {column.name: getattr(column.type, "length", None) for column in _ARTICLE_COLUMNS}
_Values = dict[str, Any]  # a row's values by column


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Counts of a document's items, where found = new + updated + unchanged + len(rejected).

    For a batch, only `new`, `updated`, and `unchanged` are set, to be added to the document's counts.
    """

    found: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[RejectedEntry, ...] = ()

    def __add__(self, other: "ItemCounts") -> "ItemCounts":
        """Return the sum of two batches' counts."""
        names = (field.name for field in fields(ItemCounts))
        return ItemCounts(*(getattr(self, name) + getattr(other, name) for name in names))


def prepare_item_batches(
    document: ParsedDocument,
    max_items: int,
) -> tuple[ItemCounts, tuple[ItemBatch, ...]]:
    """Split a document's storable items into batches.

    Return the document's counts, of which only `found` and `rejected` are set, and the batches.
    `max_items` is the maximum number of items to take from one document.
    """
    rejected = list(document.rejected)
    fit: list[ParsedItem] = []
    lost = {entry.place for entry in rejected}
    places = (place for place in itertools.count(1) if place not in lost)
    for place, item in zip(places, document.items, strict=False):
        if reason := _rejection_reason(item):
            rejected.append(RejectedEntry(place, reason))
        elif len(fit) >= max_items:
            reason = f"over the limit of {max_items:,} items per source (limits.items_per_source)"
            rejected.append(RejectedEntry(place, reason))
        else:
            fit.append(item)
    rejected.sort(key=lambda entry: entry.place)
    counts = ItemCounts(found=document.item_count, rejected=tuple(rejected))
    return counts, tuple(split_into_batches(identify_items(fit)))


def store_item_batch(session: Session, source_id: int, batch: ItemBatch, now: datetime) -> ItemCounts:
    """Insert new items, update changed ones and record their history, and return the counts.

    This runs within the caller's transaction. `now` is recorded as the time when the items were seen.
    """
    # On PostgreSQL, two collectors must not both find that an item is missing. SQLite has only one
    # writer anyway.
    session.execute(select(Source.id).where(Source.id == source_id).with_for_update())
    rows = _load_rows(session, source_id, batch.items)
    work = _plan_writes(source_id, batch, rows, now)
    if work.changed_rows:
        session.execute(update(Article), work.changed_rows)
    if work.new_rows:
        session.execute(insert(Article), work.new_rows)
    if work.history_rows:
        session.execute(insert(PublishedArticleChange), work.history_rows)
    if work.seen_ids:
        seen = update(Article).where(Article.id.in_(work.seen_ids))
        session.execute(seen.values(seen_at=now))
    if withdrawn := {row.url for row in rows if row.withdrawn_at}:
        _bring_back_listed(session, source_id, withdrawn, now)
    return ItemCounts(new=len(work.new_rows), updated=work.updated, unchanged=work.unchanged)


def choose_article_date(item: ParsedItem, now: datetime) -> tuple[datetime, DateBasis]:
    """Return an item's date and where it came from.

    The date is the publication date, or else that of the update, or else `now`.
    """
    basis = item.date_basis
    if item.published:
        return item.published, DateBasis.PUBLISHED if basis.is_first_seen else basis
    if item.updated:
        return item.updated, DateBasis.UPDATED
    return now, basis if basis.is_first_seen else DateBasis.FIRST_SEEN_NO_DATE


def mark_withdrawn(session: Session, article: Article, now: datetime, response: str) -> bool:
    """Mark an article as withdrawn, keeping its row. Return False if it was already withdrawn.

    `response` is the page's status, such as "404", or the source's reason.
    """
    return _set_withdrawn(session, article, now, withdrawn=True, response=response)


def clear_withdrawn(session: Session, article: Article, now: datetime) -> bool:
    """Mark a withdrawn article as available again. Return False if it wasn't withdrawn."""
    return _set_withdrawn(session, article, now, withdrawn=False, response="")


def mark_withdrawn_and_delete_image(session: Session, article: Article, now: datetime, response: str) -> bool:
    """Mark an article that isn't public as withdrawn, and delete its images.

    See `mark_withdrawn` for the result, and `delete_stored_image`.
    """
    if article.image_url:
        delete_stored_image(session, article.image_url)
    return mark_withdrawn(session, article, now, response)


def withdraw_listed_articles(session: Session, source: Source, entries: Iterable[RejectedEntry], now: datetime) -> None:
    """Withdraw the articles that a source says are no longer public.

    A site's own source decides for all sources that listed its pages. Other sources decide only for
    themselves.
    """
    reasons = {entry.withheld_url: entry.reason for entry in entries if entry.withheld_url}
    site = site_name(source.url)
    listed = select(Article).where(Article.url.in_(reasons))
    for article in session.scalars(listed) if reasons else ():
        if article.source_id == source.id or site_name(article.url) == site:
            mark_withdrawn_and_delete_image(session, article, now, _said_by(source.id) + reasons[article.url])


def find_withdrawn_links(session: Session, links: Iterable[str]) -> dict[str, str]:
    """Return the links to articles that visitors can't read, mapped to the reasons.

    Such an article was withdrawn from every source that listed it, or is withheld by its own site.
    """
    urls = {link: usable_canonical_url(link) for link in links}
    columns = select(Article.url, Article.id, Article.withdrawn_at)
    linked = columns.where(Article.url.in_(set(urls.values())))
    rows = session.execute(linked).all()
    listed = {row.url for row in rows if row.withdrawn_at is None}
    reasons = find_urls_withdrawn_by_own_site(session, listed)
    for row in rows:
        if row.url not in listed:
            words = _SPEAKER.sub("", _read_last_withdrawal(session, row.id))
            reasons[row.url] = f"the page returned {words}" if words.isdecimal() else words
    return {link: reasons[url] for link, url in urls.items() if url in reasons}


def find_urls_withdrawn_by_own_site(session: Session, urls: Collection[str]) -> dict[str, str]:
    """Return the canonical URLs that a source on the same site says aren't public, mapped to the reasons.

    This applies to all sources' articles, including those listed afterward.
    """
    withheld = {}
    waiting = iter(sorted(urls))
    rows = select(Article.id, Article.url).where(Article.withdrawn_at.is_not(None))
    while some := list(itertools.islice(waiting, _URLS_PER_QUERY)):
        page = rows.where(Article.url.in_(some))
        for article_id, url in session.execute(page).all():
            withdrawal = _read_last_withdrawal(session, article_id)
            speaker = _SPEAKER.match(withdrawal)
            if speaker and _is_withdrawn_by_own_site(session, url, int(speaker[1])):
                withheld[url] = _SPEAKER.sub("", withdrawal)
    return withheld


def _is_withdrawn_by_own_site(session: Session, url: str, source_id: int) -> bool:
    """Return True if a source is on the page's own site and has no article at this URL that isn't withdrawn."""
    source = session.get(Source, source_id)
    if source is None or site_name(source.url) != site_name(url):
        return False
    listed = select(Article.id).where(
        Article.url == url, Article.source_id == source_id, Article.withdrawn_at.is_(None)
    )
    return session.scalar(listed.limit(1)) is None


_URLS_PER_QUERY = 500
_SPEAKER = re.compile(rf"source (\d+): {NOT_PUBLIC}")


def _said_by(source_id: int) -> str:
    return f"source {source_id}: "


def _read_last_withdrawal(session: Session, article_id: int) -> str:
    is_withdrawal = (PublishedArticleChange.article_id == article_id) & (PublishedArticleChange.field == "withdrawn")
    latest = select(PublishedArticleChange.after).where(is_withdrawal).order_by(PublishedArticleChange.id.desc())
    return session.scalar(latest.limit(1)) or ""


def was_withdrawn_by_source(session: Session, article: Article) -> bool:
    """Return True if an article was last withdrawn because a source said that it isn't public.

    The status of its page doesn't matter then.
    """
    return _SPEAKER.match(_read_last_withdrawal(session, article.id)) is not None


def _bring_back_listed(session: Session, source_id: int, urls: Collection[str], now: datetime) -> None:
    """Restore the articles that a source withdrew and now lists again.

    Articles that were withdrawn because of their page's status stay withdrawn.
    """
    withdrawn = select(Article).where(Article.withdrawn_at.is_not(None))
    for article in session.scalars(withdrawn.where(Article.url.in_(urls))):
        if _read_last_withdrawal(session, article.id).startswith(_said_by(source_id)):
            clear_withdrawn(session, article, now)


def record_supersession(session: Session, article: Article, now: datetime, sentence: str) -> None:
    """Record the sentence on an advisory's page that says it's superseded, or "" if it's current."""
    before = article.superseded
    if before != sentence:
        _note_change(session, article, now, field="superseded", before=before, after=sentence)
        article.superseded = sentence


def record_publisher(article: Article, name: str) -> None:
    """Record the publisher named on an article's page if only the host was known."""
    if name and article.publisher == site_name(article.url):
        article.publisher = name[: _LENGTHS["publisher"]]


def _note_change(session: Session, article: Article, now: datetime, **change: str) -> None:
    session.add(PublishedArticleChange(article_id=article.id, at=now, **change))


def _set_withdrawn(
    session: Session,
    article: Article,
    now: datetime,
    *,
    withdrawn: bool,
    response: str,
) -> bool:
    present = Article.withdrawn_at.is_(None)
    change = update(Article).where(Article.id == article.id, present if withdrawn else ~present)
    change = change.values(withdrawn_at=now if withdrawn else None)
    if session.scalar(change.returning(Article.id)) is None:
        return False
    before = "" if withdrawn else "withdrawn"
    _note_change(session, article, now, field="withdrawn", before=before, after=response)
    return True


def _rejection_reason(item: ParsedItem) -> str | None:
    if not item.title:
        return "no title"
    if urlsplit(item.url).scheme not in {"http", "https"}:
        return f"no URL (its link is {item.link[:100]!r})" if item.link else "no URL"
    return None


@dataclass(slots=True)
class _PendingWrites:
    """A batch's pending writes, as parameters for SQL statements, and their counts."""

    new_rows: list[_Values] = field(default_factory=list)
    changed_rows: list[_Values] = field(default_factory=list)
    history_rows: list[_Values] = field(default_factory=list)
    seen_ids: list[int] = field(default_factory=list)
    updated: int = 0
    unchanged: int = 0


def _plan_writes(
    source_id: int,
    batch: ItemBatch,
    rows: Sequence[Row[Any]],
    now: datetime,
) -> _PendingWrites:
    work, matched = _PendingWrites(), match_stored_rows(batch, rows)
    used_keys = {row.key for row in rows}
    document_keys = batch.other_keys.union(identified.key for identified in batch.items)
    for identified in batch.items:
        row = matched.get(identified.key)
        if row is None:
            work.new_rows.append(_new_row(source_id, identified, now, used_keys=used_keys))
            work.unchanged += identified.occurrences - 1  # the item occurs again in the same document
            continue
        values = _changed_values(row, identified, used_keys=used_keys, document_keys=document_keys)
        if values:
            # all columns, so that all changed rows can use one statement
            stored = {name: getattr(row, name) for name in ("id", *_CHANGEABLE_COLUMNS)}
            work.changed_rows.append(stored | values | {"seen_at": now})
            work.history_rows += _history_rows(row, values, now)
        else:
            work.seen_ids.append(row.id)
        is_news = bool(values.keys() - _SILENT_COLUMNS)
        work.updated += is_news
        work.unchanged += identified.occurrences - is_news
    return work


def _load_rows(
    session: Session,
    source_id: int,
    items: Sequence[IdentifiedItem],
) -> Sequence[Row[Any]]:
    columns = (getattr(Article, name) for name in ("id", "withdrawn_at", *_CHANGEABLE_COLUMNS))
    keys, urls = {item.key for item in items}, {item.item.url for item in items}
    may_match = Article.key.in_(keys) | Article.url.in_(urls)
    query = select(*columns).where(Article.source_id == source_id, may_match)
    return session.execute(query.order_by(Article.id)).all()


def _item_values(item: ParsedItem) -> _Values:
    values: _Values = {name: getattr(item, name) for name in _ITEM_COLUMNS}
    values |= {"categories": list(item.categories), "summary_basis": item.summary_basis.value}
    stated = astuple(item.deadline) if item.deadline else (None, None, "", "")
    values |= dict(zip(_DEADLINE_COLUMNS, stated, strict=True))
    for name, value in values.items():
        if isinstance(value, str):  # PostgreSQL rejects longer texts, SQLite doesn't
            values[name] = value[: _LENGTHS[name]]
    return values


def _new_row(
    source_id: int,
    identified: IdentifiedItem,
    now: datetime,
    *,
    used_keys: set[str],
) -> _Values:
    item = identified.item
    dated_at, basis = choose_article_date(item, now)
    return _item_values(item) | {
        "source_id": source_id,
        "key": make_key_for_reused_id(item) if identified.key in used_keys else identified.key,
        "dated_at": dated_at,
        "date_basis": basis.value,
        "updated_at": _later_date(dated_at, item.updated, item.published),
        "found_at": now,
        "seen_at": now,
    }


def _changed_values(
    row: Row[Any],
    identified: IdentifiedItem,
    *,
    used_keys: set[str],
    document_keys: Collection[str],
) -> _Values:
    """Return the columns in which an item differs from its stored row, mapped to their new values."""
    values = _item_values(identified.item) | _merge_dates(row, identified.item)
    if row.publisher and values["publisher"] in {"", site_name(identified.item.url)}:
        values["publisher"] = row.publisher  # a name, such as the one on the page, is better than a host
    if identified.key not in used_keys:
        values["key"] = identified.key  # the publisher's latest ID is the one that will appear again
    elif row.key != identified.key and row.key in document_keys:
        # IDs were swapped. If the row had another item's ID, it would be taken for that item next time.
        reused_key = make_key_for_reused_id(identified.item)
        if reused_key not in used_keys:
            values["key"] = reused_key
    return {name: value for name, value in values.items() if getattr(row, name) != value}


def _merge_dates(row: Row[Any], item: ParsedItem) -> _Values:
    """Return the earliest date with the best basis.

    BBC and others move the date of unchanged items forward. The latest of the later dates is stored
    as `updated_at`.
    """
    dated_at, basis = row.dated_at, DateBasis(row.date_basis)
    said_at, said_basis = choose_article_date(item, row.dated_at)
    if (_basis_rank(said_basis), dated_at) > (_basis_rank(basis), said_at):
        dated_at, basis = said_at, said_basis
    updated_at = _later_date(dated_at, row.updated_at, item.updated, item.published)
    return {"dated_at": dated_at, "date_basis": basis.value, "updated_at": updated_at}


def _later_date(dated_at: datetime, *dates: datetime | None) -> datetime | None:
    """Return the latest of the given dates if it's after `dated_at`, or None otherwise."""
    return max((date for date in dates if date and date > dated_at), default=None)


def _basis_rank(basis: DateBasis) -> int:
    if basis.is_first_seen:
        return 0
    return 1 if basis is DateBasis.UPDATED else 2


def _history_rows(row: Row[Any], values: _Values, now: datetime) -> Iterator[_Values]:
    for name in _HISTORY_COLUMNS:
        if name in values:
            before, after = _history_text(getattr(row, name)), _history_text(values[name])
            yield {"article_id": row.id, "at": now, "field": name, "before": before, "after": after}


def _history_text(value: object) -> str:
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
    return value.isoformat() if isinstance(value, date | time) else str(value or "")
