"""The variants that an edition has, at most 64, so that all of them can be checked: pure functions of what subscribers chose.

If subscribers chose more combinations than that, those that most of them chose are kept. The others get the fuller variant that has the
fewest words they left out, and everything they chose.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from subscribers.part_keys import split_part_key

MAX_VARIANTS = 64


class VariantKey(NamedTuple):
    """The differences between an edition's variants: the parts left out, text only, and the short edition.

    A section that is left out is there by its own key and those of its topics (`digest.edition.content.fragment_names`).
    """

    omitted: frozenset[str]
    text_only: bool
    is_short: bool

    def as_text(self) -> str:
        """Return the form that is stored with a delivery: "events+topics:energy/text/short"; empty for the full variant."""
        flags = ("/text" if self.text_only else "", "/short" if self.is_short else "")
        return "".join(("+".join(sorted(self.outermost)), *flags))

    @property
    def name(self) -> str:
        """What people call it: "short text-only variant without events"; the one with everything is the "full variant"."""
        parts = (split_part_key(key) for key in sorted(self.outermost))
        omitted = f"without {' and '.join(topic or section for section, topic in parts)}" if self.omitted else ""
        flags = ["short" if self.is_short else "", "text-only" if self.text_only else ""]
        adjectives = list(filter(None, flags)) or ([] if omitted else ["full"])
        return " ".join(filter(None, (*adjectives, "variant", omitted)))

    @property
    def outermost(self) -> frozenset[str]:
        """The parts left out, without the topics of a section that is left out as a whole."""
        return frozenset(
            key for key in self.omitted if not (split_part_key(key)[1] and split_part_key(key)[0] in self.omitted)
        )

    @classmethod
    def from_text(cls, stored: str) -> "VariantKey":
        """Read the stored form."""
        keys, *flags = stored.split("/")
        return cls(frozenset(filter(None, keys.split("+"))), "text" in flags, "short" in flags)


FULLEST_VARIANTS = tuple(VariantKey(frozenset(), text_only, is_short=False) for text_only in (False, True))


def choose_variants_within_limit(subscribers: Mapping[VariantKey, int]) -> frozenset[VariantKey]:
    """Return the variants that an edition has: the full ones, and of those that readers chose the most frequent, 64 in all at most.

    Among equally frequent ones those come first that leave out less, then by the names of the sections.
    """
    candidates = subscribers.keys() - set(FULLEST_VARIANTS)
    ranked = sorted(candidates, key=lambda key: (-subscribers[key], *_sort_key(key)))
    return frozenset((*FULLEST_VARIANTS, *ranked)[:MAX_VARIANTS])


def count_merged_subscribers(subscribers: Mapping[VariantKey, int], variants: Collection[VariantKey]) -> int:
    """Count the subscribers who get a fuller variant than they chose."""
    return sum(count for key, count in subscribers.items() if key not in variants)


def find_nearest_variant(
    wanted_variant: VariantKey, variants: Collection[VariantKey], words: Mapping[str, int]
) -> VariantKey:
    """Return the wanted variant, or of those that contain all of it the one that adds the fewest words.

    `words` are those of each part, by its key. Text only stays what was chosen.
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
