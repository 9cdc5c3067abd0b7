"""Item identity: which items in a document are the same article, and each item's key.

Titles don't identify articles: one agency gave 149 of them the same title. URLs nearly always do,
and so do publishers' IDs if each item has its own. The rules in this module cover the exceptions.
They depend only on the items, so their order in the document doesn't matter.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from digest.collect.documents.parsed_document import ParsedItem

_Listing = tuple[ParsedItem, int]  # an item, and the number of times that the document listed it
BATCH_SIZE = 500  # number of items; keeps write transactions far below 1,000 rows, including history
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IdentifiedItem:
    """An item with its key within the source.

    `has_shared_url` is true if its URL doesn't identify it, because other items have the same URL or
    it's a site's front page. `occurrences` is the number of times that the document listed the item.
    """

    item: ParsedItem
    key: str
    has_shared_url: bool
    occurrences: int = 1


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """A batch of a document's items, and the keys of the document's other items."""

    items: tuple[IdentifiedItem, ...]
    other_keys: frozenset[str] = frozenset()


def identify_items(items: Collection[ParsedItem]) -> tuple[IdentifiedItem, ...]:
    """Merge repeated items, and return each distinct item with its key, sorted by URL and key.

    The key is based on the publisher's ID, unless another item in the document has the same one (some
    publishers use one ID for all). In that case, it's based on the URL if no other item has it, or
    else on the URL, date, and title.
    """
    distinct = _merge_duplicates([(item, 1) for item in items], _listing_key)
    distinct = _merge_duplicates(distinct, _version_key)
    guids = Counter(item.guid for item, _ in distinct)
    urls = [item.url for item, _ in distinct]
    shared = _find_repeated(urls).union(filter(is_front_page, urls))
    by_key: dict[str, list[_Listing]] = defaultdict(list)
    for item, times in distinct:
        if item.guid and guids[item.guid] == 1:
            key = _hash_key("guid", item.guid)
        else:
            key = _fallback_key(item) if item.url in shared else _hash_key("url", item.url)
        by_key[key].append((item, times))
    # Items with the same key don't differ in anything that's stored.
    merged = {key: _merge_listings(listings) for key, listings in by_key.items()}
    identified = []
    for key, (item, times) in merged.items():
        identified.append(IdentifiedItem(item, key, item.url in shared, times))
    return tuple(sorted(identified, key=lambda one: (one.item.url, one.key)))


def split_into_batches(identified: Sequence[IdentifiedItem]) -> Iterator[ItemBatch]:
    """Yield batches of at most `BATCH_SIZE` items.

    Items with the same URL may end up in different batches, because their titles or dates
    distinguish them.
    """
    keys = frozenset(item.key for item in identified if len(identified) > BATCH_SIZE)
    for start in range(0, len(identified), BATCH_SIZE):
        items = tuple(identified[start : start + BATCH_SIZE])
        yield ItemBatch(items, keys - {item.key for item in items})


def match_stored_rows(
    batch: ItemBatch,
    rows: Sequence[Row[Any]],
) -> dict[str, Row[Any]]:
    """Return the stored row of each known item, by the item's key.

    `rows` must be sorted by ID. The row of an item is, in this order:

    1. The row with its key, unless URL, title, and date all differ (the ID was reused).
    2. A row with its URL and title, or else its URL and date (the ID changed).
    3. The only row with its URL, if no other item has that URL.
    """
    matched = _match_keys(batch.items, rows)
    crowded = _find_repeated(row.url for row in rows)
    crowded.update(item.item.url for item in batch.items if item.has_shared_url)
    for rank in range(3):
        unmatched = [item for item in batch.items if item.key not in matched]
        claimed = {row.key for row in matched.values()} | batch.other_keys
        free = [row for row in rows if row.key not in claimed]
        matched |= _match_signatures(unmatched, free, crowded, rank)
    return matched


def _find_repeated(urls: Iterable[str]) -> set[str]:
    return {url for url, count in Counter(urls).items() if count > 1}


def _match_keys(
    items: Sequence[IdentifiedItem],
    rows: Sequence[Row[Any]],
) -> dict[str, Row[Any]]:
    """Return the stored row with each item's key, unless the row belongs to a different article."""
    by_key = {row.key: row for row in rows}
    matched = {}
    for item in items:
        row = by_key.get(item.key)
        if row and not _is_reused_id(item.item, row):
            matched[item.key] = row
    return matched


def _match_signatures(
    items: Sequence[IdentifiedItem],
    rows: Sequence[Row[Any]],
    crowded: Collection[str],
    rank: int,
) -> dict[str, Row[Any]]:
    """Return the stored row with each item's signature.

    Several items and rows with the same signature are paired in order.
    """
    waiting = {}
    for row in reversed(rows):
        signature = _list_signatures(row, row.dated_at, crowded)[rank]
        waiting[signature] = row
    matched = {}
    for identified in items:
        signature = _list_signatures(identified.item, identified.item.published, crowded)[rank]
        if signature is not None and signature in waiting:
            matched[identified.key] = waiting.pop(signature)
    return matched


def _list_signatures(
    entry: ParsedItem | Row[Any],
    date: datetime | None,
    crowded: Collection[str],
) -> tuple[Hashable | None, ...]:
    """Return the signatures for matching an item with a row, most reliable first.

    `crowded` has the URLs that several items share.
    """
    return (
        (entry.url, entry.title, entry.starts_at),
        (entry.url, date, entry.starts_at) if date else None,
        None if entry.url in crowded else entry.url,
    )


def _is_reused_id(item: ParsedItem, row: Row[Any]) -> bool:
    is_elsewhere = item.url != row.url and item.title != row.title
    return is_elsewhere and bool(item.published != row.dated_at)


def make_key_for_reused_id(item: ParsedItem) -> str:
    """Return the key of an item whose ID already belongs to another article."""
    return _hash_key("reused", item.guid or "", _fallback_key(item))


def is_front_page(url: str) -> bool:
    """Return True if a URL is a site's front page, whose content changes daily."""
    parts = urlsplit(url)
    return parts.path in {"", "/"} and not parts.query


def _listing_key(item: ParsedItem) -> Hashable | None:
    """Return the key shared by repeated entries: the same page with the same title.

    For an event, the time must also be the same.
    """
    if is_front_page(item.url):
        return (item.url, item.title, item.guid, item.published, item.starts_at)
    return (item.url, item.title, item.starts_at)


def _version_key(item: ParsedItem) -> Hashable | None:
    """Return the key shared by versions of an entry, or None.

    Feeds may list an updated entry again (RFC 4287, section 4.1.1).
    """
    if item.guid is None or item.published is None:
        return None
    return (item.url, item.guid, item.published, item.starts_at)


def _merge_duplicates(
    items: Iterable[_Listing],
    group_key: Callable[[ParsedItem], Hashable | None],
) -> list[_Listing]:
    alone: list[_Listing] = []
    groups: dict[Hashable, list[_Listing]] = defaultdict(list)
    for item, times in items:
        group = group_key(item)
        (alone if group is None else groups[group]).append((item, times))
    return alone + list(map(_merge_listings, groups.values()))


def _merge_listings(listings: list[_Listing]) -> _Listing:
    """Merge the latest listing's content with the earliest publication date."""
    if len(listings) == 1:
        return listings[0]
    items = [item for item, _ in listings]
    latest = max(items, key=_listing_order)
    if dates := [(item.published, item.date_basis) for item in items if item.published]:
        published, basis = min(dates)
        latest = replace(latest, published=published, date_basis=basis)
    return latest, sum(times for _, times in listings)


def _listing_order(item: ParsedItem) -> tuple[datetime, int, str]:
    return (item.updated or item.published or _EARLIEST, len(item.summary), repr(item))


def _fallback_key(item: ParsedItem) -> str:
    moment = item.starts_at or item.published
    return _hash_key("item", item.url, moment.isoformat() if moment else "", item.title)


def _hash_key(*parts: str) -> str:
    # The lengths ensure that ("a", "bc") and ("ab", "c") differ.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
