"""JSON-LD (schema.org) about an article or event, read from a page."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from digest.collect.parsers.json_values import read_text, read_text_values_by_key

_MAX_NODES = 2_000
_ARTICLE_TYPES = ("Article", "BlogPosting", "Report", "Posting", "Advisory")


@dataclass(frozen=True, slots=True)
class LinkedData:
    """The fields that we use from a page's JSON-LD. Missing ones are empty."""

    is_article: bool = False
    is_event: bool = False
    title: str = ""
    description: str = ""
    authors: tuple[str, ...] = ()
    publisher: str = ""
    published: str = ""
    updated: str = ""
    image: str = ""
    starts: str = ""
    ends: str = ""
    place: str = ""


def parse_linked_data(scripts: list[str]) -> LinkedData:
    """Return the first article in a page's JSON-LD blocks, or else the first event.

    Broken blocks are ignored.
    """
    nodes = list(chain.from_iterable(map(_json_ld_nodes, scripts[:30])))
    articles = [node for node in nodes if _has_type(node, *_ARTICLE_TYPES)]
    events = [node for node in nodes if _has_type(node, "Event")]
    node = next(iter(articles + events), {})
    texts = read_text_values_by_key(node)
    return LinkedData(
        is_article=bool(articles),
        is_event=bool(events) and not articles,
        title=texts["headline"] or texts["name"],
        description=texts["description"],
        authors=tuple(_entity_names(node.get("author"))),
        publisher=next(_entity_names(node.get("publisher")), ""),
        published=texts["datePublished"] or texts["dateCreated"],
        updated=texts["dateModified"],
        image=_image_url(node.get("image")),
        starts=texts["startDate"],
        ends=texts["endDate"],
        place=", ".join(_entity_names(node.get("location"))),
    )


def _json_ld_nodes(script: str) -> Iterator[dict[str, Any]]:
    text = script.strip().removesuffix(";")
    try:
        waiting: list[Any] = [json.loads(text, strict=False)]
    except (ValueError, RecursionError):
        return
    for value in islice(waiting, _MAX_NODES):  # the list grows during the loop
        if isinstance(value, list):
            waiting += value[:_MAX_NODES]
        elif isinstance(value, dict):
            yield value
            linked = map(value.get, ("@graph", "mainEntity", "mainEntityOfPage"))
            waiting += (node for node in linked if isinstance(node, dict | list))


def _has_type(node: dict[str, Any], *type_names: str) -> bool:
    return any(str(kind).endswith(type_names) for kind in _as_list(node.get("@type")))


def _entity_names(value: object) -> Iterator[str]:
    for entity in _as_list(value)[:20]:
        name = read_text(entity.get("name") if isinstance(entity, dict) else entity)
        if name and "://" not in name:
            yield name


def _image_url(value: object) -> str:
    image = next(iter(_as_list(value)), None)
    if isinstance(image, dict):
        image = image.get("url") or image.get("contentUrl")
    return read_text(image)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
