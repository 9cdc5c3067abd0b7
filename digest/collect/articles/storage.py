"""Storing what was read: one row an item, the new value in the row and the old one in its history.

Everything about an item is decided by comparing it with the rows of its source, fetched in one query a batch.
Callers open the transaction; `prepare_batches` cuts a long document into batches of at most `BATCH_SIZE` items.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, String, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from digest.collect.articles.images import drop_kept_image
from digest.collect.documents.item_identity import (
    IdentifiedItem,
    ItemBatch,
    cut_into_batches,
    identify_items,
    match_rows,
    reused_id_key,
)
from digest.collect.documents.parsed_document import NOT_PUBLIC, DateBasis, ParsedDocument, ParsedItem, RejectedEntry
from digest.collect.texts.urls import site_name, usable_canonical_url
from digest.store.models import Article, ArticleChange, Source

_DEADLINE_COLUMNS = ("closes_on", "closes_clock", "closes_zone", "closes_label")
# Old values of these are history.
_HISTORY_COLUMNS = (
    "title", "summary", "url", "starts_at", "ends_at", "announced_at", "place", "closes_on", "closes_clock",
)  # fmt: skip
_ARTICLE_COLUMNS = Article.__table__.columns
_DERIVED_COLUMNS = ("key", "dated_at", "date_basis", "updated_at")
_ITEM_COLUMNS = tuple(
    name
    for name in (field.name for field in fields(ParsedItem))
    if name in _ARTICLE_COLUMNS and name not in _DERIVED_COLUMNS
)
_STATED_COLUMNS = (*_ITEM_COLUMNS, *_DEADLINE_COLUMNS)  # what a source said of an item
# A link that only differs in tracking is no news, nor is whose words a summary is, or how a deadline that stands is named.
_SILENT_COLUMNS = frozenset({"link", "summary_basis", "event_zone", "closes_zone", "closes_label", *_DERIVED_COLUMNS})
_MAX_LENGTHS = {
    name: column.type.length
    for name, column in _ARTICLE_COLUMNS.items()
    if isinstance(column.type, String) and column.type.length
}


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """What became of a document's items: found = new + updated + unchanged + rejected."""

    found: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[RejectedEntry, ...] = ()

    def __add__(self, other: "ItemCounts") -> "ItemCounts":
        """Add up the counts of two batches."""
        return ItemCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(ItemCounts)))


def prepare_batches(
    document: ParsedDocument,
    max_items: int | None = None,
) -> tuple[ItemCounts, tuple[ItemBatch, ...]]:
    """Decide which items can be stored and cut them into batches; the counts hold `found` and the rejected.

    `max_items` is the greatest number of items that one document may bring in.
    """
    rejected = list(document.rejected)
    fit: list[ParsedItem] = []
    for place, item in zip(_item_positions(document), document.items, strict=False):
        reason = _rejection_reason(item)
        if reason is None and max_items is not None and len(fit) >= max_items:
            reason = f"over the limit of {max_items:,} items a source (limits.items_per_source)"
        if reason:
            rejected.append(RejectedEntry(place, reason))
        else:
            fit.append(item)
    counts = ItemCounts(found=document.item_count, rejected=tuple(sorted(rejected, key=lambda r: r.place)))
    return counts, tuple(cut_into_batches(identify_items(fit)))


def store_batch(session: Session, source_id: int, batch: ItemBatch, now: datetime) -> ItemCounts:
    """Insert what is new, update what changed and keep its old values, in one transaction of the caller.

    `now` is the moment at which the items are said to have been seen.
    """
    # Two collectors on PostgreSQL must not both find an item missing; SQLite has one writer anyway.
    session.execute(select(Source.id).where(Source.id == source_id).with_for_update())
    rows = _load_rows(session, source_id, batch.items)
    work = _plan_writes(source_id, batch, rows, now)
    if work.changed_rows:
        session.connection().execute(_UPDATE_STATEMENT, work.changed_rows)
    if work.new_rows:
        session.execute(insert(Article), work.new_rows)
    if work.history_rows:
        session.execute(insert(ArticleChange), work.history_rows)
    if work.seen_ids:
        session.execute(update(Article).where(Article.id.in_(work.seen_ids)).values(seen_at=now))
    if withdrawn := {row.url for row in rows if row.withdrawn_at}:
        _bring_back_listed(session, source_id, withdrawn, now)
    return work.counts


def choose_date(item: ParsedItem, now: datetime) -> tuple[datetime, DateBasis]:
    """Choose the moment that counts for a new item: published, else updated, else found."""
    if item.published:
        return (item.published, DateBasis.PUBLISHED if item.date_basis.is_first_seen else item.date_basis)
    if item.updated:
        return item.updated, DateBasis.UPDATED
    return now, item.date_basis if item.date_basis.is_first_seen else DateBasis.FIRST_SEEN_NO_DATE


def mark_withdrawn(session: Session, article: Article, now: datetime, response: str) -> bool:
    """Note that an article's page is gone; the row stays, as history. False when it was noted before.

    `response` is what its page said, such as "404".
    """
    return _set_withdrawn(session, article, now, withdrawn=True, response=response)


def clear_withdrawn(session: Session, article: Article, now: datetime) -> bool:
    """Note that an article's page is there again. False when it was not withdrawn."""
    return _set_withdrawn(session, article, now, withdrawn=False, response="")


def withhold_article(session: Session, article: Article, now: datetime, response: str) -> bool:
    """Withdraw an article that visitors may not read, with the pictures kept of it; see `mark_withdrawn`."""
    if article.image_url:
        drop_kept_image(session, article.image_url)
    return mark_withdrawn(session, article, now, response)


def withhold_listed(session: Session, source: Source, entries: Iterable[RejectedEntry], now: datetime) -> None:
    """Withdraw the articles that a source says aren't public anymore.

    A site speaks for every source that listed a page of its own; of any other page a source speaks for itself alone.
    """
    reasons = {entry.withheld_url: entry.reason for entry in entries if entry.withheld_url}
    site = site_name(source.url)
    for article in session.scalars(select(Article).where(Article.url.in_(reasons))) if reasons else ():
        if article.source_id == source.id or site_name(article.url) == site:
            withhold_article(session, article, now, f"{_said_by(source.id)}{reasons[article.url]}")


def find_withdrawn(session: Session, links: Iterable[str]) -> dict[str, str]:
    """Return which links lead to articles that visitors can't read, each with the reason.

    They're withdrawn for every source that listed them, or their own site withholds them.
    """
    urls = {link: usable_canonical_url(link) for link in links}
    columns = select(Article.url, Article.id, Article.withdrawn_at).where(Article.url.in_(set(urls.values())))
    rows = session.execute(columns).all()
    listed = {row.url for row in rows if row.withdrawn_at is None}
    gone = {row.url: row.id for row in rows if row.url not in listed}
    reasons = {url: _explain_withdrawal(session, article_id) for url, article_id in gone.items()}
    reasons |= find_withheld(session, listed)
    return {link: reasons[url] for link, url in urls.items() if url in reasons}


def _explain_withdrawal(session: Session, article_id: int) -> str:
    words = _SPEAKER.sub("", _read_last_withdrawal(session, article_id))
    return f"its page answers {words}" if words.isdecimal() else words


def find_withheld(session: Session, urls: Collection[str]) -> dict[str, str]:
    """Return which canonical URLs their own site says aren't public, each with the reason.

    That holds for every source's article, also for one that listed the page after the site said so.
    """
    withheld = {}
    waiting = sorted(urls)
    for start in range(0, len(waiting), _URLS_PER_QUERY):
        some = waiting[start : start + _URLS_PER_QUERY]
        rows = select(Article.id, Article.url).where(Article.url.in_(some), Article.withdrawn_at.is_not(None))
        for article_id, url in session.execute(rows).all():
            said = _read_last_withdrawal(session, article_id)
            speaker = _SPEAKER.match(said)
            if speaker and _is_withheld_by_site(session, url, int(speaker[1])):
                withheld[url] = _SPEAKER.sub("", said)
    return withheld


def _is_withheld_by_site(session: Session, url: str, source_id: int) -> bool:
    """Return whether a source speaks for a page's site, and doesn't list the page itself again."""
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
    said = select(ArticleChange.after).where(ArticleChange.article_id == article_id, ArticleChange.field == "withdrawn")
    return session.scalar(said.order_by(ArticleChange.id.desc()).limit(1)) or ""


def is_withheld_by_source(session: Session, article: Article) -> bool:
    """Return whether a source said that a withdrawn article isn't public: its page may be a copy that a cache still has."""
    return _SPEAKER.match(_read_last_withdrawal(session, article.id)) is not None


def _bring_back_listed(session: Session, source_id: int, urls: Collection[str], now: datetime) -> None:
    """Bring back what this source said wasn't public and now lists; what its page says counts for more than a list."""
    for article in session.scalars(select(Article).where(Article.url.in_(urls), Article.withdrawn_at.is_not(None))):
        if _read_last_withdrawal(session, article.id).startswith(_said_by(source_id)):
            clear_withdrawn(session, article, now)


def note_supersession(session: Session, article: Article, now: datetime, said: str) -> None:
    """Note what an advisory's page says has become of it: "superseded by …", or nothing any more."""
    if article.superseded != said:
        session.add(
            ArticleChange(article_id=article.id, at=now, field="superseded", before=article.superseded, after=said)
        )
        article.superseded = said


def _set_withdrawn(
    session: Session,
    article: Article,
    now: datetime,
    *,
    withdrawn: bool,
    response: str,
) -> bool:
    is_other_state = Article.withdrawn_at.is_(None) if withdrawn else Article.withdrawn_at.is_not(None)
    changed_id = session.execute(
        update(Article)
        .where(Article.id == article.id, is_other_state)
        .values(withdrawn_at=now if withdrawn else None)
        .returning(Article.id)
    ).scalar()
    if changed_id is None:
        return False
    before = "" if withdrawn else "withdrawn"
    session.add(ArticleChange(article_id=article.id, at=now, field="withdrawn", before=before, after=response))
    return True


def _item_positions(document: ParsedDocument) -> Iterator[int]:
    """Return the places of the items in the document, where the rejected ones left some."""
    lost = {rejected.place for rejected in document.rejected}
    return (place for place in range(1, document.item_count + len(lost) + 1) if place not in lost)


def _rejection_reason(item: ParsedItem) -> str | None:
    if not item.title:
        return "no title"
    if urlsplit(item.url).scheme not in {"http", "https"}:
        return f"no URL (its link is {item.link[:100]!r})" if item.link else "no URL"
    return None


@dataclass(slots=True)
class _PendingWrites:
    """What is to be written for one batch: rows as the statements take them, and their counts."""

    new_rows: list[dict[str, Any]] = field(default_factory=list)
    changed_rows: list[dict[str, Any]] = field(default_factory=list)
    history_rows: list[dict[str, Any]] = field(default_factory=list)
    seen_ids: list[int] = field(default_factory=list)
    updated: int = 0
    unchanged: int = 0

    @property
    def counts(self) -> ItemCounts:
        return ItemCounts(new=len(self.new_rows), updated=self.updated, unchanged=self.unchanged)


def _plan_writes(
    source_id: int,
    batch: ItemBatch,
    rows: Sequence[Row[Any]],
    now: datetime,
) -> _PendingWrites:
    work, matched, used_keys = _PendingWrites(), match_rows(batch, rows), {row.key for row in rows}
    document_keys = batch.other_keys.union(identified.key for identified in batch.items)
    for identified in batch.items:
        row = matched.get(identified.key)
        if row is None:
            work.new_rows.append(_new_row(source_id, identified, now, used_keys=used_keys))
            work.unchanged += identified.occurrences - 1  # listed again in the same document
            continue
        values = _changed_values(row, identified, used_keys=used_keys, document_keys=document_keys)
        if values:
            work.changed_rows.append(_update_row(row, values, now))
            work.history_rows += [
                _history_row(row, name, values[name], now) for name in _HISTORY_COLUMNS if name in values
            ]
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
    columns = [getattr(Article, name) for name in ("id", "withdrawn_at", *_DERIVED_COLUMNS, *_STATED_COLUMNS)]
    may_match = or_(Article.key.in_([one.key for one in items]), Article.url.in_({one.item.url: None for one in items}))
    query = select(*columns).where(Article.source_id == source_id, may_match).order_by(Article.id)
    return session.execute(query).all()


def _item_values(item: ParsedItem) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(item, name) for name in _ITEM_COLUMNS}
    values |= {"categories": list(item.categories), "summary_basis": item.summary_basis.value}
    deadline = item.deadline
    stated = (deadline.day, deadline.clock, deadline.zone, deadline.label) if deadline else (None, None, "", "")
    values |= dict(zip(_DEADLINE_COLUMNS, stated, strict=True))
    for name, longest in _MAX_LENGTHS.items():  # PostgreSQL refuses what SQLite would let pass
        if isinstance(values.get(name), str):
            values[name] = values[name][:longest]
    return values


def _new_row(
    source_id: int,
    identified: IdentifiedItem,
    now: datetime,
    *,
    used_keys: set[str],
) -> dict[str, Any]:
    dated_at, basis = choose_date(identified.item, now)
    return _item_values(identified.item) | {
        "source_id": source_id,
        "key": reused_id_key(identified.item) if identified.key in used_keys else identified.key,
        "dated_at": dated_at,
        "date_basis": basis.value,
        "updated_at": _later_date(dated_at, identified.item.updated, identified.item.published),
        "found_at": now,
        "seen_at": now,
    }


def _changed_values(
    row: Row[Any],
    identified: IdentifiedItem,
    *,
    used_keys: set[str],
    document_keys: Collection[str],
) -> dict[str, Any]:
    """Return the columns whose value differs from the row's."""
    values = _item_values(identified.item) | _merge_dates(row, identified.item)
    if identified.key not in used_keys:
        values["key"] = identified.key  # the publisher's newest id is the one that will come back
    elif row.key != identified.key and row.key in document_keys:
        # Ids that changed places: under another item's id the row would be taken for that item at the next reading.
        reused_key = reused_id_key(identified.item)
        if reused_key not in used_keys:
            values["key"] = reused_key
    return {name: value for name, value in values.items() if getattr(row, name) != value}


def _merge_dates(row: Row[Any], item: ParsedItem) -> dict[str, Any]:
    """Keep the earliest date of the best kind: BBC and others move the date forward on an unchanged item.

    What is later than the date that counts is noted as `updated_at`.
    """
    dated_at, basis = row.dated_at, DateBasis(row.date_basis)
    said_at, said_basis = choose_date(item, row.dated_at)
    if (_basis_rank(said_basis), dated_at) > (_basis_rank(basis), said_at):
        dated_at, basis = said_at, said_basis
    updated_at = _later_date(dated_at, row.updated_at, item.updated, item.published)
    return {"dated_at": dated_at, "date_basis": basis.value, "updated_at": updated_at}


def _later_date(dated_at: datetime, *dates: datetime | None) -> datetime | None:
    """Return the latest of some dates, if it is later than the one that counts."""
    return max((date for date in dates if date and date > dated_at), default=None)


def _basis_rank(basis: DateBasis) -> int:
    return 0 if basis.is_first_seen else 1 if basis is DateBasis.UPDATED else 2


def _history_row(
    row: Row[Any],
    field: str,
    after: object,
    now: datetime,
) -> dict[str, Any]:
    before = getattr(row, field)
    return {
        "article_id": row.id,
        "at": now,
        "field": field,
        "before": _history_text(before),
        "after": _history_text(after),
    }


def _history_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date | time) else "" if value is None else str(value)


def _update_row(
    row: Row[Any],
    values: dict[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return every changeable column, so that all changed rows share one statement."""
    kept = {name: getattr(row, name) for name in (*_DERIVED_COLUMNS, *_STATED_COLUMNS)}
    return {f"to_{name}": value for name, value in (kept | values | {"seen_at": now}).items()} | {"which": row.id}


_UPDATE_STATEMENT = (
    update(Article.__table__)  # type: ignore[arg-type]
    .where(Article.__table__.c.id == bindparam("which"))
    .values({name: bindparam(f"to_{name}") for name in (*_DERIVED_COLUMNS, *_STATED_COLUMNS, "seen_at")})
)
