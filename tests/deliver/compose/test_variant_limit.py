"""An edition has at most 64 variants, and each subscriber's includes everything they chose."""

from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose.variant_limit import (
    MAX_VARIANTS,
    VariantKey,
    choose_variants_within_limit,
    find_nearest_variant,
)

SECTIONS = tuple("abcdefg")
WORDS = {"a": 10, "b": 500, "c": 90, "d": 90, "e": 40, "f": 300}  # of "g" it's not known


def count_added(key: VariantKey, wanted: VariantKey) -> int:
    return sum(WORDS.get(part, 0) for part in wanted.omitted - key.omitted)


keys = st.builds(VariantKey, st.frozensets(st.sampled_from(SECTIONS), max_size=6), st.booleans(), st.booleans())


@given(st.dictionaries(keys, st.integers(1, 10_000), max_size=150), keys)
def test_nobody_misses_what_they_chose_and_the_most_chosen_are_kept(
    subscribers: dict[VariantKey, int], late: VariantKey
) -> None:
    kept = choose_variants_within_limit(subscribers)
    assert len(kept) <= MAX_VARIANTS
    assert kept == choose_variants_within_limit(dict(reversed(subscribers.items()))), "in any order of the rows"
    for wanted in (*subscribers, late):
        given_one = find_nearest_variant(wanted, kept, WORDS)
        assert given_one in kept
        assert given_one.omitted <= wanted.omitted, "a section that was chosen is there"
        assert given_one.text_only == wanted.text_only
        assert given_one.is_short <= wanted.is_short
        assert (given_one == wanted) == (wanted in kept)
        fuller = [key for key in kept if key.omitted <= wanted.omitted and key.text_only == wanted.text_only]
        as_short = [key for key in fuller if key.is_short == wanted.is_short]
        added = [count_added(key, wanted) for key in (as_short or [key for key in fuller if not key.is_short])]
        assert count_added(given_one, wanted) == min(added), "the fewest words that they left out"
    left_out = [count for key, count in subscribers.items() if key not in kept]
    chosen = [subscribers[key] for key in kept if key in subscribers and (key.omitted or key.is_short)]
    assert not left_out or max(left_out) <= min(chosen)


def test_each_variant_has_a_name_of_its_own() -> None:
    omitted, nothing = frozenset({"events", "jobs"}), frozenset[str]()
    assert VariantKey(nothing, text_only=False, is_short=False).name == "full variant"
    assert VariantKey(nothing, text_only=True, is_short=True).name == "short text-only variant"
    assert VariantKey(omitted, text_only=False, is_short=False).name == "variant without events and jobs"
    assert VariantKey(omitted, text_only=True, is_short=False).name == "text-only variant without events and jobs"
