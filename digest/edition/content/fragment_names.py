"""The names of an edition's fragments: which parts of the edition a fragment belongs to.

`section:events` is a section; `section:events.date-1` a part of one that stands elsewhere; `section:events+opportunities.dates`
a part of several, which stays as long as one of them does. `section:topics:maritime-security.topic` is one topic of a section
that lists topics, and `section:topics:` stays as long as one of its topics does. A name without the prefix belongs to every reader's mail.

The keys are those of `subscribers.part_keys`.
"""

from collections.abc import Collection, Iterable

from subscribers.part_keys import split_part_key

_PREFIX = "section:"


def section_fragment_name(keys: Iterable[str], part: str = "") -> str:
    """Name the fragment of one or more parts, by their keys; `part` tells it from their others."""
    return f"{_PREFIX}{'+'.join(sorted(keys))}{f'.{part}' if part else ''}"


def list_fragment_keys(name: str) -> frozenset[str]:
    """Return the keys of the parts that a fragment belongs to; none where it is everybody's."""
    if not name.startswith(_PREFIX):
        return frozenset()
    return frozenset(name.removeprefix(_PREFIX).partition(".")[0].split("+"))


def list_fragment_sections(name: str) -> frozenset[str]:
    """Return the keys of the sections that a fragment belongs to; none where it is everybody's."""
    return frozenset(split_part_key(key)[0] for key in list_fragment_keys(name))


def is_continuation_fragment(name: str) -> bool:
    """Return whether a fragment goes on with the block before it, as one row of a list does."""
    part = name.partition(".")[2]
    return part in {"next", "dates-end", "lines", "topic", "end"} or part.startswith("date-")


def list_part_keys(names: Iterable[str]) -> frozenset[str]:
    """Return the keys of all parts that fragments belong to."""
    return frozenset(key for name in names for key in list_fragment_keys(name) if not key.endswith(":"))


def are_omitted(keys: Iterable[str], omitted: Collection[str], parts: Collection[str]) -> bool:
    """Return whether all of `keys` are left out, alone or with their section; `parts` are the keys of the edition's parts."""
    for key in keys:
        section_key, _ = split_part_key(key)
        topics = [part for part in parts if part.startswith(key)] if key.endswith(":") else [key]
        if section_key not in omitted and not (topics and all(part in omitted for part in topics)):
            return False
    return True


def list_omitted_fragments(names: Iterable[str], omitted_keys: Collection[str]) -> frozenset[str]:
    """Return the names of the fragments that go where a reader left parts out: those of no other part."""
    names, omitted = frozenset(names), frozenset(omitted_keys)
    parts = list_part_keys(names)
    return frozenset(name for name in names if (keys := list_fragment_keys(name)) and are_omitted(keys, omitted, parts))
