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

from digest.collect.items import Item

PART = 500  # items; a write transaction stays far under 1,000 rows with their history
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identified:
    """One item with its key within the source.

    `shared` says that its address does not tell it apart: other items have the same one, or it is a site's
    front page. `times` is how often the document listed it.
    """

    item: Item
    key: str
    shared: bool
    times: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """Some items of a document, with the keys of those in its other parts."""

    items: tuple[Identified, ...]
    elsewhere: frozenset[str] = frozenset()


def identify(items: Collection[Item]) -> tuple[Identified, ...]:
    """Put together what was listed twice and give each item its key, in the order of addresses and keys.

    The key comes from the publisher's id where no other item of the document has it (some repeat one id for
    all), else from the address where no other item has that, else from address, date and title.
    """
    distinct = _collapse([(item, 1) for item in items], _listing)
    distinct = _collapse(distinct, _version)
    guids = Counter(item.guid for item, _ in distinct)
    urls = Counter(item.url for item, _ in distinct)
    known: dict[str, Identified] = {}
    for item, times in distinct:
        shared = urls[item.url] > 1 or is_front_page(item.url)
        if item.guid and guids[item.guid] == 1:
            key = _hash("guid", item.guid)
        else:
            key = _last_resort(item) if shared else _hash("url", item.url)
        if key in known:  # nothing that we keep tells them apart
            item, times = _together([(item, times), (known[key].item, known[key].times)])  # noqa: PLW2901
        known[key] = Identified(item, key, shared, times)
    return tuple(sorted(known.values(), key=lambda one: (one.item.url, one.key)))


def cut(known: Sequence[Identified]) -> Iterator[Part]:
    """Cut into parts of `PART` items. Items of one address may part: `match` tells them by title or date."""
    keys = frozenset(one.key for one in known) if len(known) > PART else frozenset()
    for start in range(0, len(known), PART):
        items = tuple(known[start : start + PART])
        yield Part(items, keys - {one.key for one in items})


def match(part: Part, rows: Sequence[Row[Any]]) -> dict[str, Row[Any]]:
    """Find for each item the row that holds it already, by the item's key; `rows` in the order of their ids.

    1. The row with its key, unless address, title and date all differ (an id that was used again).
    2. A row at its address with its title, or else its date (the id changed).
    3. The only row at its address, where that address carries one item.
    """
    by_key = {row.key: row for row in rows}
    found = {
        one.key: row
        for one in part.items
        if (row := by_key.get(one.key)) is not None and not _reused(one.item, row)
    }
    crowded = {url for url, rows_there in Counter(row.url for row in rows).items() if rows_there > 1}
    crowded |= {one.item.url for one in part.items if one.shared}
    for look in (_titled, _dated, _placed):
        claimed = {row.id for row in found.values()}
        free = [row for row in rows if row.id not in claimed and row.key not in part.elsewhere]
        waiting = {look((r.url, r.title, r.dated_at, r.starts_at), crowded): r for r in reversed(free)}
        for one in part.items:
            traits = (one.item.url, one.item.title, one.item.published, one.item.starts_at)
            sign = look(traits, crowded)
            if one.key not in found and sign is not None and sign in waiting:
                found[one.key] = waiting.pop(sign)
    return found


_Traits = tuple[str, str, datetime | None, datetime | None]  # address, title, date, start


def _titled(traits: _Traits, _crowded: Collection[str]) -> Hashable | None:
    url, title, _, starts_at = traits
    return (url, title, starts_at)


def _dated(traits: _Traits, _crowded: Collection[str]) -> Hashable | None:
    url, _, dated_at, starts_at = traits
    return (url, dated_at, starts_at) if dated_at else None


def _placed(traits: _Traits, crowded: Collection[str]) -> Hashable | None:
    url = traits[0]
    return None if url in crowded else url


def _reused(item: Item, row: Row[Any]) -> bool:
    return bool(item.url != row.url and item.title != row.title and item.published != row.dated_at)


def key_of_reused(item: Item) -> str:
    """Give the key of an item whose id belongs to another article already."""
    return _hash("reused", item.guid or "", _last_resort(item))


def is_front_page(url: str) -> bool:
    """Say whether an address is a site's front page, which carries other news every day."""
    parts = urlsplit(url)
    return parts.path in {"", "/"} and not parts.query


def _listing(item: Item) -> Hashable | None:
    """Name what makes two entries one listing: the same page under the same title (for an event: and time)."""
    if is_front_page(item.url):
        return (item.url, item.title, item.guid, item.published, item.starts_at)
    return (item.url, item.title, item.starts_at)


def _version(item: Item) -> Hashable | None:
    """Name what makes two entries versions of one: RFC 4287 4.1.1 lets a feed list an entry again, updated."""
    if item.guid is None or item.published is None:
        return None
    return (item.url, item.guid, item.published, item.starts_at)


def _collapse(
    items: Iterable[tuple[Item, int]], name: Callable[[Item], Hashable | None]
) -> list[tuple[Item, int]]:
    alone: list[tuple[Item, int]] = []
    groups: dict[Hashable, list[tuple[Item, int]]] = defaultdict(list)
    for item, times in items:
        group = name(item)
        (alone if group is None else groups[group]).append((item, times))
    return alone + [group[0] if len(group) == 1 else _together(group) for group in groups.values()]


def _together(listings: list[tuple[Item, int]]) -> tuple[Item, int]:
    """Keep what the latest listing says, under the earliest date of publication."""
    items = [item for item, _ in listings]
    latest = max(items, key=lambda i: (i.updated or i.published or _NEVER, len(i.summary), repr(i)))
    dated = [i for i in items if i.published]
    if dated:
        first = min(dated, key=lambda i: (i.published or _NEVER, i.basis))
        latest = replace(latest, published=first.published, basis=first.basis)
    return latest, sum(times for _, times in listings)


def _last_resort(item: Item) -> str:
    moment = item.starts_at or item.published
    return _hash("item", item.url, moment.isoformat() if moment else "", item.title)


def _hash(*parts: str) -> str:
    # Length before text: ("a", "bc") and ("ab", "c") must not meet.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
