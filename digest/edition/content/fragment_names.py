"""The names of an edition's fragments, which encode the parts of the edition that a fragment belongs to.

`section:events` is a section. `section:events.date-1` belongs to that section but is in a different
place. `section:events+opportunities.dates` belongs to several sections, and is kept if one of them
is. `section:topics:maritime-security.topic` is one topic in a section that lists topics, and
`section:topics:` is kept if one of its topics is. Fragments without the prefix are in all emails.

Lines about the whole email have several versions, of which an email contains one:

- `section:events.or-dates`: among the fragments with the same `or-`, the first one whose parts are
  all in the email. `whole.or-preheader` is for the whole edition.
- `minutes-4`: the reading time. `section:events.words-340` and `words-90` have no text; their names
  give the number of words in a part and in the rest.
- `section:events.lines-3`: three lines of the short edition, unless they would make it longer than
  ten. `lines-head` is their heading.

The keys are those of `subscribers.part_keys`.
"""

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from subscribers.part_keys import split_part_key

_PREFIX = "section:"
_ALTERNATIVE = "or-"
Names = Collection[str]
PREHEADER_PART = "or-preheader"
_WHOLE_EDITION = "whole."
WHOLE_PREHEADER, ANY_PREHEADER = f"{_WHOLE_EDITION}{PREHEADER_PART}", f"any.{PREHEADER_PART}"
# For the short edition, with and without the reading time.
WHOLE_OPENING, ANY_OPENING = (
    f"{_WHOLE_EDITION}or-opening",
    "any.or-opening",
)
LINES_HEAD = "lines-head"
MAX_SHORT_LINES = 10  # maximum for the short edition
# Speed of adults silently reading English nonfiction: M. Brysbaert, "How many words do we read per
# minute?", Journal of Memory and Language 109 (2019).
WORDS_PER_MINUTE = 238


def section_fragment_name(keys: Iterable[str], part: str = "") -> str:
    """Return the name of a fragment that belongs to the parts with the given keys.

    `part` distinguishes it from other fragments of these parts.
    """
    return f"{_PREFIX}{'+'.join(sorted(keys))}{f'.{part}' if part else ''}"


def list_fragment_keys(name: str) -> frozenset[str]:
    """Return the keys of the parts that a fragment belongs to, or an empty set if it's in all emails."""
    if not name.startswith(_PREFIX):
        return frozenset()
    return frozenset(name.removeprefix(_PREFIX).partition(".")[0].split("+"))


def list_fragment_sections(name: str) -> frozenset[str]:
    """Return the keys of the sections that a fragment belongs to, or an empty set if it's in all emails."""
    return frozenset(split_part_key(key)[0] for key in list_fragment_keys(name))


def is_continuation_fragment(name: str) -> bool:
    """Return True if a fragment continues the block before it, as a row of a list does."""
    part = name.partition(".")[2]
    return part in {"or-next", "dates-end", "topic", "end"} or part.startswith(("date-", "lines-"))


def is_opening_fragment(name: str) -> bool:
    """Return True if a fragment belongs to the opening lines of a text email."""
    return name in {"head", "masthead", WHOLE_OPENING, ANY_OPENING} or name.startswith("minutes-")


def is_alternative_fragment(name: str) -> bool:
    """Return True if a fragment is one of several versions of a line."""
    return name.partition(".")[2].startswith(_ALTERNATIVE)


def count_minutes(words: int) -> int:
    """Return the number of minutes needed to read `words` words, rounded, but at least 1."""
    return max(1, round(words / WORDS_PER_MINUTE))


def read_word_counts(names: Iterable[str]) -> dict[str, int]:
    """Return the number of words in each part, as encoded in fragment names, by the part's key."""
    numbers = ((name, _read_number(name, "words")) for name in names)
    return {key: number for name, number in numbers if number for key in list_fragment_keys(name)}


def list_part_keys(names: Iterable[str]) -> frozenset[str]:
    """Return the keys of all parts that fragments belong to."""
    return frozenset(key for name in names for key in list_fragment_keys(name) if not key.endswith(":"))


def are_omitted(
    keys: Iterable[str],
    omitted: Collection[str],
    parts: Collection[str],
) -> bool:
    """Return True if all `keys` are omitted, either by themselves or with their section.

    `parts` are all keys of the edition.
    """
    for key in keys:
        section_key, _ = split_part_key(key)
        topics = [part for part in parts if part.startswith(key)] if key.endswith(":") else [key]
        if section_key not in omitted and not (topics and all(part in omitted for part in topics)):
            return False
    return True


def list_excluded_fragments(names: Iterable[str], omitted_parts: Collection[str]) -> frozenset[str]:
    """Return the names of the fragments that are left out of an email without the given parts.

    These belong only to omitted parts, or are versions of a line that aren't used. `names` are the
    names of all of an edition's fragments, in reading order.
    """
    return _list_excluded_fragments(tuple(dict.fromkeys(names)), frozenset(omitted_parts))


@lru_cache(maxsize=32)  # a page joins the fragments of several kinds
def _list_excluded_fragments(ordered: tuple[str, ...], omitted: frozenset[str]) -> frozenset[str]:
    parts = list_part_keys(ordered)
    keys = {name: list_fragment_keys(name) for name in ordered}
    belonging = filter(keys.get, ordered)
    gone = {name for name in belonging if are_omitted(keys[name], omitted, parts)}
    kept = [name for name in ordered if name not in gone]
    gone |= {
        *_list_other_alternatives(kept, omitted, parts),
        *_list_other_minutes(ordered, kept),
        *_list_other_lines(kept),
    }
    return frozenset(gone)


def _list_other_alternatives(kept: Iterable[str], omitted: Names, parts: Names) -> Iterator[str]:
    chosen: set[str] = set()
    for name in filter(is_alternative_fragment, kept):
        line, keys = name.partition(".")[2], list_fragment_keys(name)
        is_partial = omitted and name.startswith(_WHOLE_EDITION)
        if line in chosen or is_partial or any(are_omitted([key], omitted, parts) for key in keys):
            yield name
        else:
            chosen.add(line)


def _list_other_minutes(names: Iterable[str], kept: Collection[str]) -> Iterator[str]:
    versions = {number: name for name in kept if (number := _read_number(name, "minutes")) is not None}
    if versions:
        most, words = max(versions), _sum_words(kept)
        is_whole = words == _sum_words(names)
        chosen = most if is_whole else min(most, count_minutes(words))
        yield from (name for number, name in versions.items() if number != chosen)


def _sum_words(names: Iterable[str]) -> int:
    return sum(_read_number(name, "words") or 0 for name in names)


def _list_other_lines(kept: Collection[str]) -> Iterator[str]:
    room = MAX_SHORT_LINES
    for name in kept:
        lines = _read_number(name, "lines") or _read_number(name, "lines-rest") or 0
        if lines > room:
            yield name
        else:
            room -= lines
    if room == MAX_SHORT_LINES and LINES_HEAD in kept:
        yield LINES_HEAD


def _read_number(name: str, word: str) -> int | None:
    """Return the number in the name of a fragment or its part (4 in "minutes-4"), or None."""
    kind, _, number = (name.partition(".")[2] or name).rpartition("-")
    return int(number) if kind == word and number.isdecimal() else None
