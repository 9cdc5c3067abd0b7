"""The names of an edition's fragments: which sections of the edition a fragment belongs to.

`section:events` is a section; `section:events.date-1` a part of one that stands elsewhere; `section:events+opportunities.dates`
a part of several, which stays as long as one of them does. A name without the prefix belongs to every reader's mail.
"""

from collections.abc import Collection, Iterable

_PREFIX = "section:"


def section_fragment_name(keys: Iterable[str], part: str = "") -> str:
    """Name the fragment of one or more sections, by their keys; `part` tells it from their others."""
    return f"{_PREFIX}{'+'.join(sorted(keys))}{f'.{part}' if part else ''}"


def list_fragment_sections(name: str) -> frozenset[str]:
    """Return the keys of the sections that a fragment belongs to; none where it is everybody's."""
    if not name.startswith(_PREFIX):
        return frozenset()
    return frozenset(name.removeprefix(_PREFIX).partition(".")[0].split("+"))


def is_continuation_fragment(name: str) -> bool:
    """Return whether a fragment goes on with the block before it, as one row of a list does."""
    part = name.partition(".")[2]
    return part in {"next", "dates-end", "lines"} or part.startswith("date-")


def list_section_keys(names: Iterable[str]) -> frozenset[str]:
    """Return the keys of all sections that fragments belong to."""
    return frozenset(key for name in names for key in list_fragment_sections(name))


def list_omitted_fragments(names: Iterable[str], omitted_keys: Collection[str]) -> frozenset[str]:
    """Return the names of the fragments that go where a reader left sections out: those of no other section."""
    omitted = frozenset(omitted_keys)
    return frozenset(name for name in names if (keys := list_fragment_sections(name)) and keys <= omitted)
