"""Which items of a document are the same article, and the key that each is known by.

Titles tell nothing apart: one agency gave 149 articles the same title. Addresses nearly always do, and a
publisher's own ids do when it gives each item its own; both can fail, and the rules here say what then.
All is decided from the items alone, so that their order in the document does not matter.
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

_Listing = tuple[ParsedItem, int]  # an item, and how often the document listed it
BATCH_SIZE = 500  # items; a write transaction stays far under 1,000 rows with their history
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IdentifiedItem:
    """One item with its key within the source.

    `address_shared` says that its address does not tell it apart: other items have the same one, or it is a site's
    front page. `occurrences` is how often the document listed it.
    """

    item: ParsedItem
    key: str
    address_shared: bool
    occurrences: int = 1


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """Some items of a document, with the keys of those in its other parts."""

    items: tuple[IdentifiedItem, ...]
    other_keys: frozenset[str] = frozenset()


def identify_items(items: Collection[ParsedItem]) -> tuple[IdentifiedItem, ...]:
    """Put together what was listed twice and give each item its key, in the order of addresses and keys.

    The key comes from the publisher's id where no other item of the document has it (some repeat one id for
    all), else from the address where no other item has that, else from address, date and title.
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
    # Nothing that we keep tells several of one key apart.
    merged = {key: _merge_listings(listings) for key, listings in by_key.items()}
    identified = []
    for key, (item, times) in merged.items():
        identified.append(IdentifiedItem(item, key, item.url in shared, times))
    return tuple(sorted(identified, key=lambda one: (one.item.url, one.key)))


def split_into_batches(identified: Sequence[IdentifiedItem]) -> Iterator[ItemBatch]:
    """Cut into parts of `BATCH_SIZE` items. Items of one address may part: `match_stored_rows` tells them by title or date."""
    keys = frozenset(item.key for item in identified if len(identified) > BATCH_SIZE)
    for start in range(0, len(identified), BATCH_SIZE):
        items = tuple(identified[start : start + BATCH_SIZE])
        yield ItemBatch(items, keys - {item.key for item in items})


def match_stored_rows(
    batch: ItemBatch,
    rows: Sequence[Row[Any]],
) -> dict[str, Row[Any]]:
    """Find for each item the row that holds it already, by the item's key; `rows` in the order of their ids.

    1. The row with its key, unless address, title and date all differ (an id that was used again).
    2. A row at its address with its title, or else its date (the id changed).
    3. The only row at its address, where that address carries one item.
    """
    matched = _match_keys(batch.items, rows)
    crowded = _find_repeated(row.url for row in rows)
    crowded.update(item.item.url for item in batch.items if item.address_shared)
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
    """Give each item the row that has its key, unless that is of another article."""
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
    """Give each item the row that has its signature; the first of several items gets the first of several rows."""
    waiting = {}
    for row in reversed(rows):
        signature = _list_signatures(row, row.dated_at, crowded)[rank]
        waiting[signature] = row
    matched = {}
    for one in items:
        signature = _list_signatures(one.item, one.item.published, crowded)[rank]
        if signature is not None and signature in waiting:
            matched[one.key] = waiting.pop(signature)
    return matched


def _list_signatures(
    entry: ParsedItem | Row[Any],
    date: datetime | None,
    crowded: Collection[str],
) -> tuple[Hashable | None, ...]:
    """List by what an item and a row are told to be one, the surest first; `crowded` are the addresses of several."""
    return (
        (entry.url, entry.title, entry.starts_at),
        (entry.url, date, entry.starts_at) if date else None,
        None if entry.url in crowded else entry.url,
    )


def _is_reused_id(item: ParsedItem, row: Row[Any]) -> bool:
    is_elsewhere = item.url != row.url and item.title != row.title
    return is_elsewhere and bool(item.published != row.dated_at)


def make_key_for_reused_id(item: ParsedItem) -> str:
    """Return the key of an item whose id belongs to another article already."""
    return _hash_key("reused", item.guid or "", _fallback_key(item))


def is_front_page(url: str) -> bool:
    """Return whether an address is a site's front page, which carries other news every day."""
    parts = urlsplit(url)
    return parts.path in {"", "/"} and not parts.query


def _listing_key(item: ParsedItem) -> Hashable | None:
    """Name what makes two entries one listing: the same page under the same title (for an event: and time)."""
    if is_front_page(item.url):
        return (item.url, item.title, item.guid, item.published, item.starts_at)
    return (item.url, item.title, item.starts_at)


def _version_key(item: ParsedItem) -> Hashable | None:
    """Name what makes two entries versions of one: RFC 4287, section 4.1.1, lets a feed list an entry again, updated."""
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
    """Keep what the latest listing says, under the earliest date of publication."""
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
    # Length before text: ("a", "bc") and ("ab", "c") must not meet.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
