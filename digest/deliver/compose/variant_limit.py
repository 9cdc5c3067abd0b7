"""The choice of an edition's variants: at most 64, so that every one can be checked. Pure functions.

If subscribers chose more combinations, the most frequent ones are kept. The other subscribers get the variant that
contains everything they chose and the fewest additional words.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from subscribers.part_keys import split_part_key

MAX_VARIANTS = 64


class VariantKey(NamedTuple):
    """The attributes of a variant: the parts left out, text only, and the short edition.

    A section that's left out is listed with the keys of its topics (`digest.edition.content.fragment_names`).
    """

    omitted: frozenset[str]
    text_only: bool
    is_short: bool

    def as_text(self) -> str:
        """Return the stored form, such as "events+topics:energy/text/short"; empty for the full variant."""
        flags = ("/text" if self.text_only else "", "/short" if self.is_short else "")
        return "".join(("+".join(sorted(self.outermost)), *flags))

    @property
    def name(self) -> str:
        """The name shown to people, such as "short text-only variant without events" or "full variant"."""
        parts = (split_part_key(key) for key in sorted(self.outermost))
        omitted = f"without {' and '.join(topic or section for section, topic in parts)}" if self.omitted else ""
        flags = ["short" if self.is_short else "", "text-only" if self.text_only else ""]
        adjectives = list(filter(None, flags)) or ([] if omitted else ["full"])
        return " ".join(filter(None, (*adjectives, "variant", omitted)))

    @property
    def outermost(self) -> frozenset[str]:
        """The parts left out, without the topics of a section that's left out completely."""
        return frozenset(
            key for key in self.omitted if not (split_part_key(key)[1] and split_part_key(key)[0] in self.omitted)
        )

    @classmethod
    def from_text(cls, stored: str) -> "VariantKey":
        """Parse the stored form."""
        keys, *flags = stored.split("/")
        return cls(frozenset(filter(None, keys.split("+"))), "text" in flags, "short" in flags)


FULLEST_VARIANTS = tuple(VariantKey(frozenset(), text_only, is_short=False) for text_only in (False, True))


def choose_variants_within_limit(subscribers: Mapping[VariantKey, int]) -> frozenset[VariantKey]:
    """Return an edition's variants: the full ones and those that the most subscribers chose, at most 64 in all.

    Ties are broken by fewer parts left out, and then by the sections' names.
    """
    candidates = subscribers.keys() - set(FULLEST_VARIANTS)
    ranked = sorted(candidates, key=lambda key: (-subscribers[key], *_sort_key(key)))
    return frozenset((*FULLEST_VARIANTS, *ranked)[:MAX_VARIANTS])


def count_merged_subscribers(subscribers: Mapping[VariantKey, int], variants: Collection[VariantKey]) -> int:
    """Return how many subscribers get a fuller variant than they chose."""
    return sum(count for key, count in subscribers.items() if key not in variants)


def find_nearest_variant(
    wanted_variant: VariantKey, variants: Collection[VariantKey], words: Mapping[str, int]
) -> VariantKey:
    """Return the wanted variant, or else the one that contains all of it and adds the fewest words.

    `words` is the number of words of each part, by key. Text only is always kept, and the short edition if possible.
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
