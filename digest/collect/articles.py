"""Storing what was read: one row an item, the new value in the row and the old one in its history.

Everything about an item is settled by comparing it with the rows of its source, fetched in one query a
batch. Callers open the transaction; `parts` cuts a long document so that none has over `PART` rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, String, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from digest.collect.identity import Identified, Part, cut, identify, key_of_reused, match
from digest.collect.items import DateBasis, Item, Reading, Rejected
from digest.db import Article, ArticleChange, Source

_SAID = (
    "url", "link", "title", "summary", "author", "credit", "categories", "language", "image_url", "image_alt",
    "starts_at", "ends_at", "all_day", "place", "closes_on", "featured",
)  # fmt: skip
_KEPT = ("title", "summary", "url", "starts_at", "ends_at", "place", "closes_on")  # old values are history
_NOTED = ("key", "dated_at", "date_basis", "updated_at")
_MUTE = frozenset({"link", *_NOTED})  # a link that only differs in tracking is no news
_LONGEST = {
    name: column.type.length
    for name, column in Article.__table__.columns.items()
    if isinstance(column.type, String) and column.type.length
}
_FIRST_SEEN = frozenset(
    {DateBasis.FOUND_MISSING, DateBasis.FOUND_WRONG, DateBasis.FOUND_FUTURE, DateBasis.FOUND_ANCIENT}
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a document's items: found = new + updated + unchanged + rejected."""

    found: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: "Counts") -> "Counts":
        """Add up the counts of two parts."""
        return Counts(
            self.found + other.found,
            self.new + other.new,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
        )


def store(session: Session, source: Source, reading: Reading, now: datetime) -> Counts:
    """Take in a whole document of `source`; for one of over `PART` items see `sift` and `store_part`."""
    counts, parts = sift(reading)
    for part in parts:
        counts += store_part(session, source.id, part, now)
    return counts


def sift(reading: Reading, most: int | None = None) -> tuple[Counts, tuple[Part, ...]]:
    """Decide which items can be stored and cut them into parts; the counts hold `found` and the rejected.

    `most` is the greatest number of items that one document may bring in.
    """
    rejected = list(reading.rejected)
    fit: list[Item] = []
    for place, item in zip(_places(reading), reading.items, strict=False):
        reason = _objection(item)
        if reason is None and most is not None and len(fit) >= most:
            reason = f"over the limit of {most:,} items a source (limits.items_per_source)"
        if reason:
            rejected.append(Rejected(place, reason))
        else:
            fit.append(item)
    counts = Counts(found=reading.found, rejected=tuple(sorted(rejected, key=lambda r: r.place)))
    return counts, tuple(cut(identify(fit)))


def store_part(session: Session, source_id: int, part: Part, now: datetime) -> Counts:
    """Insert what is new, update what changed and keep its old values, in one transaction of the caller.

    `now` is the moment at which the items are said to have been seen.
    """
    # Two collectors on PostgreSQL must not both find an item missing; SQLite has one writer anyway.
    session.execute(select(Source.id).where(Source.id == source_id).with_for_update())
    work = _compare(source_id, part, _rows(session, source_id, part.items), now)
    if work.changed:
        session.connection().execute(_UPDATE, work.changed)
    if work.fresh:
        session.execute(insert(Article), work.fresh)
    if work.history:
        session.execute(insert(ArticleChange), work.history)
    if work.seen:
        session.execute(update(Article).where(Article.id.in_(work.seen)).values(seen_at=now))
    return work.counts


def settle_date(item: Item, now: datetime) -> tuple[datetime, DateBasis]:
    """Choose the moment that counts for a new item: published, else updated, else found."""
    if item.published:
        return item.published, DateBasis.PUBLISHED if item.basis in _FIRST_SEEN else item.basis
    if item.updated:
        return item.updated, DateBasis.UPDATED
    return now, item.basis if item.basis in _FIRST_SEEN else DateBasis.FOUND_MISSING


def mark_withdrawn(session: Session, article: Article, now: datetime, answer: str) -> bool:
    """Note that an article's page is gone; the row stays, as history. False when it was noted before.

    `answer` is what its page said, such as "404".
    """
    return _mark(session, article, now, gone=True, answer=answer)


def mark_back(session: Session, article: Article, now: datetime) -> bool:
    """Note that an article's page is there again. False when it was not withdrawn."""
    return _mark(session, article, now, gone=False, answer="")


def _mark(session: Session, article: Article, now: datetime, *, gone: bool, answer: str) -> bool:
    was = Article.withdrawn_at.is_(None) if gone else Article.withdrawn_at.is_not(None)
    done = session.execute(
        update(Article)
        .where(Article.id == article.id, was)
        .values(withdrawn_at=now if gone else None)
        .returning(Article.id)
    ).scalar()
    if done is None:
        return False
    before = "" if gone else "withdrawn"
    session.add(ArticleChange(article_id=article.id, at=now, field="withdrawn", before=before, after=answer))
    return True


def _places(reading: Reading) -> Iterator[int]:
    """Number the items by the places that the rejected ones left."""
    lost = {rejected.place for rejected in reading.rejected}
    return (place for place in range(1, reading.found + len(lost) + 1) if place not in lost)


def _objection(item: Item) -> str | None:
    if not item.title:
        return "no title"
    if urlsplit(item.url).scheme not in {"http", "https"}:
        return f"no web address (its link is {item.link[:100]!r})" if item.link else "no web address"
    return None


@dataclass(slots=True)
class _Work:
    """What is to be written for one part: rows as the statements take them, and what they come to."""

    fresh: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    updated: int = 0
    unchanged: int = 0

    @property
    def counts(self) -> Counts:
        return Counts(new=len(self.fresh), updated=self.updated, unchanged=self.unchanged)


def _compare(source_id: int, part: Part, rows: Sequence[Row[Any]], now: datetime) -> _Work:
    work, matched, taken = _Work(), match(part, rows), {row.key for row in rows}
    for one in part.items:
        row = matched.get(one.key)
        if row is None:
            work.fresh.append(_new_values(source_id, one, now, taken=taken))
            work.unchanged += one.times - 1  # listed again in the same document
            continue
        values = _changes(row, one, taken=taken)
        if values:
            work.changed.append(_whole(row, values, now))
            work.history += [_was(row, name, values[name], now) for name in _KEPT if name in values]
        else:
            work.seen.append(row.id)
        told = bool(values.keys() - _MUTE)
        work.updated += told
        work.unchanged += one.times - told
    return work


def _rows(session: Session, source_id: int, items: Sequence[Identified]) -> Sequence[Row[Any]]:
    columns = [getattr(Article, name) for name in ("id", *_NOTED, *_SAID)]
    asked = or_(
        Article.key.in_([one.key for one in items]), Article.url.in_({one.item.url: None for one in items})
    )
    query = select(*columns).where(Article.source_id == source_id, asked).order_by(Article.id)
    return session.execute(query).all()


def _said(item: Item) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(item, name) for name in _SAID}
    values["categories"] = list(item.categories)
    for name, longest in _LONGEST.items():  # PostgreSQL refuses what SQLite would let pass
        if isinstance(values.get(name), str):
            values[name] = values[name][:longest]
    return values


def _new_values(source_id: int, one: Identified, now: datetime, *, taken: set[str]) -> dict[str, Any]:
    dated_at, basis = settle_date(one.item, now)
    later = max(filter(None, (one.item.updated, one.item.published)), default=None)
    return _said(one.item) | {
        "source_id": source_id,
        "key": key_of_reused(one.item) if one.key in taken else one.key,
        "dated_at": dated_at,
        "date_basis": basis.value,
        "updated_at": later if later and later > dated_at else None,
        "found_at": now,
        "seen_at": now,
    }


def _changes(row: Row[Any], one: Identified, *, taken: set[str]) -> dict[str, Any]:
    """Give the columns whose value differs from the row's."""
    wanted = _said(one.item) | _merge_dates(row, one.item)
    if one.key not in taken:
        wanted["key"] = one.key  # the publisher's newest id is the one that will come back
    return {name: value for name, value in wanted.items() if getattr(row, name) != value}


def _merge_dates(row: Row[Any], item: Item) -> dict[str, Any]:
    """Keep the earliest date of the best kind: BBC and others move the date forward on an unchanged item.

    What is later than the date that counts is noted as `updated_at`.
    """
    dated_at, basis = row.dated_at, DateBasis(row.date_basis)
    said_at, said_basis = settle_date(item, row.dated_at)
    if (_trust(said_basis), dated_at) > (_trust(basis), said_at):
        dated_at, basis = said_at, said_basis
    later = max(filter(None, (row.updated_at, item.updated, item.published)), default=None)
    return {
        "dated_at": dated_at,
        "date_basis": basis.value,
        "updated_at": later if later and later > dated_at else None,
    }


def _trust(basis: DateBasis) -> int:
    return 0 if basis in _FIRST_SEEN else 1 if basis is DateBasis.UPDATED else 2


def _was(row: Row[Any], field: str, after: object, now: datetime) -> dict[str, Any]:
    before = getattr(row, field)
    return {"article_id": row.id, "at": now, "field": field, "before": _text(before), "after": _text(after)}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else "" if value is None else str(value)


def _whole(row: Row[Any], values: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Give every changeable column, so that all changed rows share one statement."""
    kept = {name: getattr(row, name) for name in (*_NOTED, *_SAID)}
    return {f"to_{name}": value for name, value in (kept | values | {"seen_at": now}).items()} | {
        "which": row.id
    }


_UPDATE = (
    update(Article.__table__)  # type: ignore[arg-type]
    .where(Article.__table__.c.id == bindparam("which"))
    .values({name: bindparam(f"to_{name}") for name in (*_NOTED, *_SAID, "seen_at")})
)
