"""The choice of an edition's variants: at most 64, so that each can be checked. All functions are pure.

If subscribers chose more combinations, the most frequent ones are kept. All other subscribers get
the variant that contains everything they chose and the fewest additional words.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from subscribers.part_keys import split_part_key

MAX_VARIANTS = 64


class VariantKey(NamedTuple):
    """The attributes of a variant: the omitted parts, and whether it's text-only or the short edition.

    An omitted section is listed together with its topics' keys
    (`digest.edition.content.fragment_names`).
    """

    omitted: frozenset[str]
    text_only: bool
    is_short: bool

    def as_text(self) -> str:
        """Return the stored form, such as "events+topics:energy/text/short", or "" for the full variant."""
        flags = ("/text" if self.text_only else "", "/short" if self.is_short else "")
        return "".join(("+".join(sorted(self.outermost)), *flags))

    @property
    def name(self) -> str:
        """The name for display, such as "short text-only variant without events" or "full variant"."""
        parts = (split_part_key(key) for key in sorted(self.outermost))
        omitted = f"without {' and '.join(topic or section for section, topic in parts)}" if self.omitted else ""
        flags = ["short" if self.is_short else "", "text-only" if self.text_only else ""]
        adjectives = list(filter(None, flags)) or ([] if omitted else ["full"])
        return " ".join(filter(None, (*adjectives, "variant", omitted)))

    @property
    def outermost(self) -> frozenset[str]:
        """The omitted parts, leaving out the topics of sections that are omitted completely."""
        return frozenset(
            key for key in self.omitted if not (split_part_key(key)[1] and split_part_key(key)[0] in self.omitted)
        )

    @classmethod
    def from_text(cls, stored: str) -> "VariantKey":
        """Parse a variant from its stored form."""
        keys, *flags = stored.split("/")
        return cls(frozenset(filter(None, keys.split("+"))), "text" in flags, "short" in flags)


FULLEST_VARIANTS = tuple(VariantKey(frozenset(), text_only, is_short=False) for text_only in (False, True))


def choose_variants_within_limit(subscribers: Mapping[VariantKey, int]) -> frozenset[VariantKey]:
    """Return an edition's variants: the full ones and the most frequently chosen ones, at most 64.

    Ties are broken by the number of omitted parts, fewest first, and then by the sections' names.
    """
    candidates = subscribers.keys() - set(FULLEST_VARIANTS)
    ranked = sorted(candidates, key=lambda key: (-subscribers[key], *_sort_key(key)))
    return frozenset((*FULLEST_VARIANTS, *ranked)[:MAX_VARIANTS])


def count_merged_subscribers(subscribers: Mapping[VariantKey, int], variants: Collection[VariantKey]) -> int:
    """Return the number of subscribers who get a fuller variant than they chose."""
    return sum(count for key, count in subscribers.items() if key not in variants)


def find_nearest_variant(
    wanted_variant: VariantKey, variants: Collection[VariantKey], words: Mapping[str, int]
) -> VariantKey:
    """Return the wanted variant, or else the one that contains all of it and adds the fewest words.

    `words` is the number of words in each part, by key. Text only is always preserved, and the
    short edition if possible.
    """
    if wanted_variant in variants:
        return wanted_variant
    fuller = [
        key
        for key in (*FULLEST_VARIANTS, *variants)
        if key.text_only == wanted_variant.text_only
        and key.omitted <= wanted_variant.omitted
        and key.is_short <= wanted_variant.is_short
    ]

    def added_words(key: VariantKey) -> tuple[Any, ...]:
        added = wanted_variant.omitted - key.omitted
        return (
            key.is_short != wanted_variant.is_short,
            sum(words.get(part, 0) for part in added),
            -len(key.omitted),
            *_sort_key(key),
        )

    return min(fuller, key=added_words)


def _sort_key(key: VariantKey) -> tuple[int, list[str], bool, bool]:
    return len(key.omitted), sorted(key.omitted), key.text_only, key.is_short
