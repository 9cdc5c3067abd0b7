"""Functions for reading untrusted JSON, in which any value may have any type."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import RejectedEntry
from digest.collect.parsers.raw_item import RawItem


def read_text(value: object) -> str:
    """Return a string, or the first item of a list if that's a string, or "" for anything else."""
    text = value[0] if isinstance(value, list) and value else value
    return text.strip() if isinstance(text, str) else ""


def read_text_values_by_key(entry: dict[str, Any]) -> defaultdict[str, str]:
    """Return an object's values by key, as read by `read_text`. Missing keys give ""."""
    return defaultdict(str, {key: read_text(value) for key, value in entry.items()})


def read_objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list, or an empty list for anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_day(value: object) -> date | None:
    """Return the day at the beginning of a date or time, or None for anything else."""
    try:
        return date.fromisoformat(read_text(value)[:10])
    except ValueError:
        return None


def read_deadline(value: object, label: str) -> Deadline | None:
    """Return a deadline without a time of day, or None if the value doesn't begin with a date."""
    day = read_day(value)
    return Deadline(day, label=label) if day else None


def read_entries(
    value: object, noun: str, read_entry: Callable[[dict[str, Any]], RawItem | RejectedEntry]
) -> Iterator[RawItem | RejectedEntry]:
    """Yield the parsed entries of a list. Messages refer to an entry as `noun`.

    Entries that aren't JSON objects are rejected.
    """
    for entry in value if isinstance(value, list) else ():
        yield read_entry(entry) if isinstance(entry, dict) else RejectedEntry(0, f"the {noun} isn't a JSON object")
