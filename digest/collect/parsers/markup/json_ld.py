"""What a page says of itself to machines as JSON-LD (schema.org): an article, or an event."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from digest.collect.parsers.json_values import read_text

_MAX_NODES = 2_000
_ARTICLE_TYPES = ("Article", "BlogPosting", "Report", "Posting", "Advisory")


@dataclass(frozen=True, slots=True)
class LinkedData:
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


def parse_linked_data(scripts: list[str]) -> LinkedData:
    """Read the JSON-LD blocks of a page: the first article counts, else the first event. Broken ones are passed over."""
    nodes = [node for script in scripts[:30] for node in _json_ld_nodes(script)]
    articles = [node for node in nodes if _has_type(node, *_ARTICLE_TYPES)]
    events = [node for node in nodes if _has_type(node, "Event")]
    node = next(iter(articles + events), {})
    texts = {key: read_text(value) for key, value in node.items()}
    return LinkedData(
        is_article=bool(articles),
        is_event=bool(events) and not articles,
        title=_first_text(texts, "headline", "name"),
        description=texts.get("description", ""),
        authors=tuple(_entity_names(node.get("author"))),
        published=_first_text(texts, "datePublished", "dateCreated"),
        updated=texts.get("dateModified", ""),
        image=_image_url(node.get("image")),
        starts=texts.get("startDate", ""),
        ends=texts.get("endDate", ""),
        place=", ".join(_entity_names(node.get("location"))),
    )


def _first_text(texts: dict[str, str], *keys: str) -> str:
    return next((texts[key] for key in keys if texts.get(key)), "")


def _json_ld_nodes(script: str) -> Iterator[dict[str, Any]]:
    try:
        waiting: list[Any] = [json.loads(script.strip().removesuffix(";"), strict=False)]
    except (ValueError, RecursionError):
        return
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        value = waiting.pop(0)
        if isinstance(value, list):
            waiting += value[:_MAX_NODES]
        elif isinstance(value, dict):
            yield value
            waiting += [
                value[key]
                for key in ("@graph", "mainEntity", "mainEntityOfPage")
                if isinstance(value.get(key), dict | list)
            ]


def _has_type(node: dict[str, Any], *type_names: str) -> bool:
    kinds = node.get("@type")
    return any(str(kind).endswith(type_names) for kind in (kinds if isinstance(kinds, list) else [kinds]))


def _entity_names(value: object) -> Iterator[str]:
    for entity in (value if isinstance(value, list) else [value])[:20]:
        name = read_text(entity.get("name") if isinstance(entity, dict) else entity)
        if name and "://" not in name:
            yield name


def _image_url(value: object) -> str:
    image = value[0] if isinstance(value, list) and value else value
    return read_text(image.get("url") or image.get("contentUrl") if isinstance(image, dict) else image)
