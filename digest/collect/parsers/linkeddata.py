"""What a page says of itself to machines as JSON-LD (schema.org): an article, or an event."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MOST_NODES = 2_000
_ARTICLES = ("Article", "BlogPosting", "Report", "Posting", "Advisory")


@dataclass(frozen=True, slots=True)
class Linked:
    """The fields of a page's JSON-LD that we use; empty where it says nothing."""

    is_article: bool = False
    is_event: bool = False
    title: str = ""
    description: str = ""
    authors: tuple[str, ...] = ()
    published: str = ""
    updated: str = ""
    image: str = ""
    starts: str = ""
    ends: str = ""
    place: str = ""


def linked_data(scripts: list[str]) -> Linked:
    """Read the JSON-LD blocks of a page: the first article counts, else the first event. Broken ones are passed over."""
    nodes = [node for script in scripts[:30] for node in _nodes(script)]
    article = next((node for node in nodes if _is(node, *_ARTICLES)), None)
    event = next((node for node in nodes if _is(node, "Event")), None)
    node = article or event
    if node is None:
        return Linked()
    return Linked(
        is_article=article is not None,
        is_event=article is None,
        title=_words(node.get("headline")) or _words(node.get("name")),
        description=_words(node.get("description")),
        authors=tuple(_names(node.get("author"))),
        published=_words(node.get("datePublished")) or _words(node.get("dateCreated")),
        updated=_words(node.get("dateModified")),
        image=_address(node.get("image")),
        starts=_words(node.get("startDate")),
        ends=_words(node.get("endDate")),
        place=", ".join(_names(node.get("location"))),
    )


def _nodes(script: str) -> Iterator[dict[str, Any]]:
    try:
        waiting: list[Any] = [json.loads(script.strip().removesuffix(";"), strict=False)]
    except (ValueError, RecursionError):
        return
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        value = waiting.pop(0)
        if isinstance(value, list):
            waiting += value[:_MOST_NODES]
        elif isinstance(value, dict):
            yield value
            waiting += [
                value[key]
                for key in ("@graph", "mainEntity", "mainEntityOfPage")
                if isinstance(value.get(key), dict | list)
            ]


def _is(node: dict[str, Any], *names: str) -> bool:
    kinds = node.get("@type")
    return any(str(kind).endswith(names) for kind in (kinds if isinstance(kinds, list) else [kinds]))


def _words(value: object) -> str:
    if isinstance(value, list) and value:
        value = value[0]
    return value.strip() if isinstance(value, str) else ""


def _names(value: object) -> Iterator[str]:
    for one in (value if isinstance(value, list) else [value])[:20]:
        name = _words(one.get("name")) if isinstance(one, dict) else _words(one)
        if name and "://" not in name:
            yield name


def _address(value: object) -> str:
    one = value[0] if isinstance(value, list) and value else value
    return _words(one.get("url") or one.get("contentUrl")) if isinstance(one, dict) else _words(one)
