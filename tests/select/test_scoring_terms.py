"""Each scoring term is declared once, with its description, bounds, and documentation."""

import re
from pathlib import Path

import pytest

import digest
from digest.scoring_terms import NOT_NEGATIVE, SCORING_TERMS, ScoringTerm, StoryMeasures, scoring_term
from digest.settings import RankingWeights
from tests.conftest import ROOT

SETTINGS_PAGE = (ROOT / "docs/settings.md").read_text("utf-8")
SHIPPED = (Path(digest.__file__).parent / "shipped.toml").read_text("utf-8")
MEASURES = StoryMeasures(
    publishers=3,
    distinct_texts=2,
    week_publishers=9,
    daily_reads=4.0,
    week_daily_reads=9.0,
    is_pinned=False,
    is_featured=False,
    has_official_source=True,
    topic="Cybersecurity",
    topic_strength=0.5,
    topic_words=("malware",),
    is_borderless=True,
    age_days=2.5,
    home_country="US",
    home_share=0.5,
)


def missing_parts(term: ScoringTerm) -> list[str]:
    """Name what a declaration lacks."""
    row = rf"(?m)^\| `{term.name}` \| `{term.weight:g}` \|[^|]+\| {re.escape(term.words)} \|$"
    line = rf"(?m)^# {term.name} = {term.weight:g} +# {re.escape(term.words)}$"
    least, most = term.bounds
    parts = {
        "words": bool(term.words),
        "a default weight within its bounds": least <= term.weight <= (term.weight if most is None else most),
        "a docstring": bool(term.compute.__doc__),
        "its row in docs/settings.md (make settings)": bool(re.search(row, SETTINGS_PAGE)),
        "its line in digest/shipped.toml (make settings)": bool(re.search(line, SHIPPED)),
    }
    return [part for part, is_there in parts.items() if not is_there]


@pytest.mark.parametrize("name", SCORING_TERMS)
def test_a_term_has_words_bounds_and_documentation(name: str) -> None:
    assert missing_parts(SCORING_TERMS[name]) == []


def test_what_a_term_lacks_is_named() -> None:
    bare = ScoringTerm("silence", 2.0, NOT_NEGATIVE._replace(most=1.0), "", lambda _: None)
    row, line = "its row in docs/settings.md (make settings)", "its line in digest/shipped.toml (make settings)"
    assert missing_parts(bare) == ["words", "a default weight within its bounds", "a docstring", row, line]


@pytest.mark.parametrize("name", SCORING_TERMS)
def test_a_term_is_a_share_with_a_note(name: str) -> None:
    found = SCORING_TERMS[name].compute(MEASURES)
    assert found is not None
    assert 0 <= found.share <= 1
    assert found.note


def test_the_settings_have_a_weight_for_each_term() -> None:
    fields = RankingWeights.model_fields
    assert {name: (f.default, f.description) for name, f in fields.items()} == {
        term.name: (term.weight, term.words) for term in SCORING_TERMS.values()
    }


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="two scoring terms are named coverage"):
        scoring_term("coverage", weight=1.0, bounds=NOT_NEGATIVE, words="again")(SCORING_TERMS["coverage"].compute)
