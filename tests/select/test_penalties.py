"""How a title reveals the kind of an article, by any word, anywhere in it."""

import pytest

from digest.select.penalties import TitlePattern, find_death_toll, is_forecast_title, is_statement_title

PATTERN = TitlePattern(r"^live\b ?:", r"\bround-?up\b", r"\bdeals?:", r"\| opinion$")


@pytest.mark.parametrize(
    "title", ["LIVE: levee fails", "A Roundup of floods", "Today's Round-up", "Deals: radios", "Who paid | Opinion"]
)
def test_an_alternative_holds_at_its_own_place_in_small_letters_and_capitals(title: str) -> None:
    assert PATTERN.is_in(title)


@pytest.mark.parametrize(
    "title", ["They live: a film", "Groundup coffee", "Ordeals: a diary", "Who paid | opinions", ""]
)
def test_no_alternative_holds_elsewhere_or_within_a_word(title: str) -> None:
    assert not PATTERN.is_in(title)


def test_a_title_may_be_of_several_kinds() -> None:
    assert is_statement_title("Governor says storm is expected to make landfall")
    assert not is_statement_title("Storm makes landfall, governor says")
    assert not is_statement_title("Towns told to evacuate as storm nears")
    assert is_forecast_title("Governor says storm is expected to make landfall")
    assert is_forecast_title("Former chief faces sentencing")
    assert not is_forecast_title("Two dead near Cedar Point")


@pytest.mark.parametrize(
    ("title", "toll"),
    [
        ("Two dead after strong storms", 2),
        ("39 men killed in fire", 39),
        ("Fire kills dozens", 24),
        ("Gunman kills three children and three adults", 6),
        ("Tornado strikes town, killing one and injuring 75", 1),
        ("Three dead, more than 75 injured", 3),
        ("2 shootings leave 3 dead", 3),
        ("Death toll of quake rises to 1,297", 1297),
        ("Multiple people injured in shooting; gunman dead", 1),
        ("Several dead in crash", 1),
        ("Boy, 13, killed", 0),
        ("Deputy kills 11-year-old", 0),
        ("In 2022, storms killed more", 0),
        ("Man killed 6 months ago", 0),
    ],
)
def test_a_toll_is_read_from_a_title_and_is_no_age_or_year(title: str, toll: int) -> None:
    assert find_death_toll(title) == toll
