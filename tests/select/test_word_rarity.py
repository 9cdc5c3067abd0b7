"""The rarity of a word, from the built-in table and from articles of earlier weeks."""

import math
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.select.text_similarity import significant_words
from digest.select.word_rarity import (
    ENOUGH_ARTICLES,
    SHIPPED_TABLE_WEIGHT,
    DocumentFrequencies,
    WordRarity,
    count_document_frequencies,
    estimate_numeral_frequency,
    knows_language_of,
    load_shipped_rarity,
)
from tests.tools.make_word_table import english_shares, merge_shares, read_trade_words, table_lines


def test_rarer_words_weigh_more() -> None:
    weights = [load_shipped_rarity().weight(word) for word in ("police", "ransomware", "harbor", "orlinda")]
    assert weights == sorted(weights)
    assert weights[0] > 1
    assert weights[-1] > 10


def test_years_and_small_numbers_tell_little_and_the_name_of_a_flaw_tells_much() -> None:
    rarity = load_shipped_rarity()
    assert rarity.weight("2027") == rarity.weight("17") < rarity.weight("385") < rarity.weight("500,000")
    assert rarity.weight("cve-2027-12345") == rarity.weight("orlinda")
    assert estimate_numeral_frequency("1.2") == estimate_numeral_frequency("12")


def test_earlier_articles_make_their_words_common_and_others_rarer() -> None:
    table = count_document_frequencies([["orlinda", "orlinda", "storm"], ["storm"]] * 400)
    rarity = WordRarity(table)
    assert table == DocumentFrequencies(800, {"orlinda": 400, "storm": 800})
    assert rarity.share("orlinda") == pytest.approx(400 / (800 + SHIPPED_TABLE_WEIGHT), rel=0.01)
    assert rarity.weight("orlinda") < load_shipped_rarity().weight("orlinda") - 5
    assert rarity.weight("harbor") > load_shipped_rarity().weight("harbor")


def test_numbers_are_not_counted() -> None:
    assert count_document_frequencies([["2027", "17", "1,200", "cve-2027-12345"]]).counts == {"cve-2027-12345": 1}


@given(st.lists(st.lists(st.sampled_from(["storm", "orlinda", "police", "12"]), max_size=4), max_size=30), st.text())
def test_a_weight_is_at_least_one_and_finite(articles: list[list[str]], word: str) -> None:
    rarity = WordRarity(count_document_frequencies(articles))
    assert all(1 <= rarity.weight(w) < math.inf for w in (word, "storm", "12"))


def test_a_language_that_no_table_knows_is_noticed_until_there_are_enough_articles() -> None:
    german = [{"hochwasser", "feuerwehr", "im", "landkreis", "evakuiert"}] * 10
    english = [{"flood", "firefighters", "county", "evacuated", "orlinda"}] * 10
    assert knows_language_of(DocumentFrequencies(), english)
    assert not knows_language_of(DocumentFrequencies(), german)
    assert knows_language_of(DocumentFrequencies(ENOUGH_ARTICLES, {}), german)
    assert knows_language_of(DocumentFrequencies(), [])


def shipped_lines() -> list[str]:
    text = resources.files("digest.select").joinpath("word_table.txt").read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_shipped_table_holds_every_word_once_in_the_form_that_texts_are_read_in() -> None:
    words = [word for line in shipped_lines() for word in line.split()[1:]]
    assert len(words) == len(set(words)) > 15_000
    assert [w for w in words if w not in set(significant_words(f"{w} {w}s"))] == []
    assert all(re.match(r"\d+ ", line) for line in shipped_lines())


def test_the_shipped_table_has_the_words_of_the_trade_with_at_least_their_share() -> None:
    trade = read_trade_words(Path(__file__).parents[1] / "tools" / "trade_words.txt")
    assert len(trade) > 900
    too_rare = [w for w, share in trade.items() if not w.isdigit() and load_shipped_rarity().share(w) < share / 1.2]
    assert too_rare == []


def test_the_table_is_made_of_frequencies_and_shares() -> None:
    english = english_shares({"harbor": 1e-4, "harbors": 1e-4, "the": 0.05, "0000": 0.01, "storm": 1e-3})
    assert set(english) == {"harbor", "storm"}
    assert english["harbor"] == pytest.approx(1 - math.exp(-2e-4 * 40))
    assert merge_shares(english, {"storm": 0.3}) == english | {"storm": 0.3}
    assert [line.split()[1:] for line in table_lines({"b": 0.3, "a": 0.31, "rare": 0.0001})] == [["a", "b"], ["rare"]]
