"""Values of foreign JSON, where anything may be in any place."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import RejectedEntry
from digest.collect.parsers.raw_item import RawItem


def read_text(value: object) -> str:
    """Return a text, or the first of a list; empty for anything else."""
    text = value[0] if isinstance(value, list) and value else value
    return text.strip() if isinstance(text, str) else ""


def read_text_values_by_key(entry: dict[str, Any]) -> defaultdict[str, str]:
    """Return the texts of an object by their keys, as `read_text` does; empty for any other key."""
    return defaultdict(str, {key: read_text(value) for key, value in entry.items()})


def read_objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; empty for anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_day(value: object) -> date | None:
    """Return the day that a date or a time begins with; None for anything else."""
    try:
        return date.fromisoformat(read_text(value)[:10])
    except ValueError:
        return None


def read_deadline(value: object, label: str) -> Deadline | None:
    """Return the deadline that ends with a day; None where the value is none."""
    day = read_day(value)
    return Deadline(day, label=label) if day else None


def read_entries(
    value: object, noun: str, read_entry: Callable[[dict[str, Any]], RawItem | RejectedEntry]
) -> Iterator[RawItem | RejectedEntry]:
    """Read each entry of a list, which people call `noun`; what is no JSON object is rejected in its place."""
    for entry in value if isinstance(value, list) else ():
        yield read_entry(entry) if isinstance(entry, dict) else RejectedEntry(0, f"the {noun} isn't a JSON object")
