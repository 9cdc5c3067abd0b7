"""Countries, states, and references to the home country are found by their names, and by nothing else."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.select.places import compile_place_rules
from digest.select.selection_types import CandidateArticle, Story
from digest.settings import SelectionSettings

RULES = compile_place_rules("US", tuple(SelectionSettings().home_agencies))


def article(title: str, **more: object) -> CandidateArticle:
    plain = CandidateArticle("https://a.example.org/", "https://a.example.org/", title, "", "A", "A", datetime.now(UTC))
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


@pytest.mark.parametrize(
    ("title", "countries", "states"),
    [
        ("Floods in New Mexico", {"US"}, {"US-NM"}),
        ("Floods in Mexico", {"MX"}, set()),
        ("Storm off Georgia\u2019s coast", {"US"}, {"US-GA"}),
        ("South Korean ship seized", {"KR"}, set()),
        ("Arson in Tampa, Fla.", {"US"}, {"US-FL"}),
        ("Puerto Rico without power", {"US"}, {"US-PR"}),
        ("Americans leave Haiti", {"US", "HT"}, set()),
        ("Aid for South America, says New York Times", set(), set()),
        ("They told us to wait in ice", set(), set()),
        ("ICE raid planned", {"US"}, set()),
        ("Washington and Moscow talk", {"US", "RU"}, {"US-DC"}),
        ("U.S. and U.K. warn", {"US", "GB"}, set()),
    ],
)
def test_names_are_found_whole_and_the_longest_wins(title: str, countries: set[str], states: set[str]) -> None:
    places = RULES.locate_story(Story(article(title)))
    assert (set(places.countries), set(places.states)) == (countries, states)


def test_a_place_that_one_of_many_articles_names_is_not_the_storys() -> None:
    others = tuple(article("Storm reaches the coast of Florida", publisher=name) for name in "BCDEF")
    aside = article("Storm like the one in Cuba", publisher="G")
    assert RULES.locate_story(Story(others[0], (*others[1:], aside))).countries == ("US",)


def test_an_official_source_names_its_own_agency() -> None:
    assert RULES.locate_story(Story(article("Advisory on pumps", publisher="CISA", primary=True))).home_share == 1.0
    assert RULES.locate_story(Story(article("Advisory on pumps", publisher="CISA"))).home_share == 0.0


def test_another_home_country_has_its_own_states_and_agencies() -> None:
    rules = compile_place_rules("CA", ("Public Safety Canada",))
    places = rules.locate_story(Story(article("Wildfire in Ontario spares Chicago")))
    assert (places.countries, places.states, places.home_share) == (("CA", "US"), ("CA-ON",), 0.5)
    assert rules.locate_story(Story(article("Georgia and Russia at the border"))).countries == ("GE", "RU")
    assert rules.locate_story(Story(article("Public Safety Canada opens a call"))).home_share == 1.0


@given(st.text(max_size=200))
def test_any_text_can_be_searched(text: str) -> None:
    assert all(name.tokens for name in RULES.find_names(text))
