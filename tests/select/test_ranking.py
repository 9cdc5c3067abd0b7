"""A score is the sum of its terms, each with its explanation."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.scoring_terms import MOST_READ_NOTE, SCORING_TERMS
from digest.select.places import compile_place_rules
from digest.select.ranking import PENALTY_TERM, SOURCE_TERM, StoryRanker, WeekStatistics, count_distinct_texts
from digest.select.selection_types import CandidateArticle, ScoredStory, Story, TermScore
from digest.select.topics import compile_topic_rules
from digest.settings import SelectionSettings
from tests.moments import DRAFTING as NOW

RULES = compile_topic_rules()
SELECT = SelectionSettings()
PLACES = compile_place_rules(SELECT.home_country, tuple(SELECT.home_agencies))


def weights_of(**weights: float) -> dict[str, float]:
    """Give every other term no weight."""
    return dict.fromkeys(SCORING_TERMS, 0.0) | weights


WEIGHTS = weights_of(coverage=0.40, readership=0.25, editorial=0.20, topic=0.15, freshness=0.10, proximity=0.15)


def article(
    publisher: str = "Alpha", title: str = "Ransomware hits a port", *, days: float = 1, **more: object
) -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/{title.lower().replace(' ', '-')}"
    plain = CandidateArticle(url, url, title, "", publisher, publisher, NOW - timedelta(days=days))
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


def ranking(
    *stories: Story, weights: Mapping[str, float] | None = None, pins: frozenset[str] = frozenset()
) -> StoryRanker:
    week = WeekStatistics.from_stories(stories, NOW)
    borderless, local = frozenset(SELECT.borderless_topics), frozenset(SELECT.local_topics)
    return StoryRanker(week, RULES, PLACES, weights or WEIGHTS, pins, {}, borderless, local)


def term(scored: ScoredStory, name: str) -> TermScore:
    return next(t for t in scored.terms if t.name == name)


def of_three() -> Story:
    also = (article("Beta", "Port closed after ransomware"), article("Gamma", "Hackers shut a port"))
    return Story(article(), also)


def test_coverage_counts_publishers_against_those_of_the_week() -> None:
    alone = Story(article("Delta", "Data breach at a bank"))
    rank = ranking(of_three(), alone)
    full, one = rank.score_story(of_three()), rank.score_story(alone)
    assert term(full, "coverage").points > term(one, "coverage").points == 0
    assert term(full, "coverage").note == "3 of this week's 4 publishers"


def test_a_copied_text_counts_once_and_the_note_says_so() -> None:
    wire = "Hackers shut the port of Harlow for two days, officials said on Monday"
    copied = Story(article("Alpha", "Port shut", summary=wire), (article("Beta", "Port shut", summary=wire),))
    assert count_distinct_texts(copied) == 1
    assert "1 of them with text copied from another" in term(ranking(copied).score_story(copied), "coverage").note


def test_without_readership_its_weight_goes_to_the_others() -> None:
    unread = ranking(of_three()).score_story(of_three())
    assert "readership" not in {t.name for t in unread.terms}
    assert term(unread, "coverage").points == 40.0  # 40 of 100, all publishers


def test_reads_are_shrunk_so_that_a_fresh_story_is_not_punished_nor_a_spike_overrated() -> None:
    old = Story(article("Ours", "Ransomware one", days=6, own=True, views=1200))
    fresh = Story(article("Ours", "Ransomware two", days=1, own=True, views=220))
    spike = Story(article("Ours", "Ransomware three", days=0.05, own=True, views=40))
    rank = ranking(old, fresh, spike)
    reads = [rank.week.daily_reads(s.lead) for s in (old, fresh, spike)]
    assert all(r is not None and 170 < r < 230 for r in reads)


def test_the_most_read_story_has_all_of_that_term() -> None:
    most = Story(article("Ours", "Ransomware one", own=True, views=900))
    least = Story(article("Ours", "Ransomware two", own=True, views=10))
    rank = ranking(most, least, of_three())
    assert term(rank.score_story(most), "readership") == TermScore("readership", 20.0, MOST_READ_NOTE)
    assert 0 < term(rank.score_story(least), "readership").points < 19
    assert term(rank.score_story(of_three()), "readership").points == 0


def test_an_editors_word_counts_all_and_an_official_source_half() -> None:
    official = Story(article(primary=True))
    featured = Story(article(own=True, featured=True))
    weights = weights_of(editorial=1)
    assert ranking(official, weights=weights).score_story(official).score == 50.0
    assert ranking(featured, weights=weights).score_story(featured).score == 100.0
    pinned = ranking(official, weights=weights, pins=frozenset({official.lead.url}))
    assert pinned.score_story(official).score == 100.0


def test_freshness_halves_in_four_days() -> None:
    weights = weights_of(freshness=1)
    for days, points in ((0, 100.0), (4, 50.0), (8, 25.0)):
        story = Story(article(days=days))
        assert ranking(story, weights=weights).score_story(story).score == points


def test_a_story_without_a_topic_loses_half_unless_it_is_our_own() -> None:
    off, own = Story(article(title="Singer dies at 76")), Story(article(title="Singer dies at 76", own=True))
    assert (
        term(ranking(off).score_story(off), PENALTY_TERM).note
        == "it doesn't match any of our topics (-50%); it hardly mentions the home country (-25%)"
    )
    assert term(ranking(own).score_story(own), PENALTY_TERM).note == "none"


def test_each_fault_is_named_and_takes_its_part_of_what_is_left() -> None:
    story = Story(article(title="Sponsored: ransomware defense", has_date=False))
    scored = ranking(story).score_story(story)
    penalty = term(scored, PENALTY_TERM)
    assert penalty.note == "sponsored or a deal (-50%); no date (-30%)"
    before = sum(t.points for t in scored.terms if t is not penalty)
    assert penalty.points == pytest.approx(-before * 0.65, abs=0.01)


def test_a_sources_weight_is_a_term_of_its_own_and_stays_within_the_bounds() -> None:
    plain, heavy = Story(article()), Story(article(weight=3.0))
    assert term(ranking(plain).score_story(plain), SOURCE_TERM).points == 0
    assert term(ranking(heavy).score_story(heavy), SOURCE_TERM).points == 20.0
    title = "US ransomware malware botnet phishing"
    top = Story(article(title=title, own=True, featured=True, days=0, weight=3.0), (article("Beta", title, days=0),))
    weights = WEIGHTS | {"coverage": 0.0}
    assert ranking(top, weights=weights).score_story(top).score == 100.0
    low = Story(article(weight=0.0, title="Singer dies", days=60))
    none = weights_of(topic=1)
    assert ranking(low, weights=none).score_story(low).score == 0.0


def test_what_names_the_country_or_its_agencies_is_nearer_than_a_place_there_and_that_than_nothing() -> None:
    weights = weights_of(proximity=1)
    titles = (
        "FEMA pays for flood repairs",
        "U.S. flood repairs begin",
        "Flood repairs in Ohio",
        "Flood repairs in Libya",
    )
    stories = [Story(article(title=title)) for title in titles]
    points = [term(ranking(*stories, weights=weights).score_story(s), "proximity").points for s in stories]
    assert points == [100.0, 100.0, 50.0, 0.0]


def test_proximity_is_the_share_of_a_storys_articles() -> None:
    weights = weights_of(proximity=1)
    story = Story(article(title="Flooding spreads"), (article("Beta", "Flooding spreads in Texas, FEMA says"),))
    assert term(ranking(story, weights=weights).score_story(story), "proximity").points == 50.0


def test_news_from_abroad_loses_a_part_but_cyber_does_not() -> None:
    abroad, cyber = (
        Story(article(title="Typhoon hits Taiwan")),
        Story(article(title="Ransomware hits a bank in Norway")),
    )
    assert term(ranking(abroad).score_story(abroad), PENALTY_TERM).note == "it hardly mentions the home country (-25%)"
    scored = ranking(cyber).score_story(cyber)
    assert term(scored, PENALTY_TERM).note == "none"
    assert term(scored, "proximity").points > 0


def test_an_aside_on_the_home_country_makes_no_news_of_it() -> None:
    others = tuple(article(f"Press{n}", "Typhoon hits Taiwan") for n in range(9))
    aside = Story(others[0], (*others[1:], article("Delta", "Typhoon hits Taiwan, U.S. ships leave")))
    assert term(ranking(aside).score_story(aside), PENALTY_TERM).note.startswith("it hardly mentions")


def test_a_local_police_case_loses_a_part_and_a_federal_one_does_not() -> None:
    local = Story(article(title="Police officer shot at traffic stop in Ohio"))
    federal = Story(article(title="FBI agents arrest police officer in Ohio"))
    assert term(ranking(local).score_story(local), PENALTY_TERM).note.startswith("a local case")
    assert term(ranking(federal).score_story(federal), PENALTY_TERM).note == "none"


@pytest.mark.parametrize(
    "title",
    [
        "Police officer and two others killed at traffic stop in Ohio",
        "Police officer shot and four people dead at traffic stop in Ohio",
        "Gunman kills five police officers at traffic stop in Ohio",
        "Manhunt for man who shot police officer in Ohio",
        "Federal charges over police officer shot at traffic stop in Ohio",
        "Police officer shot at traffic stop in Ohio, suspect hit with federal weapons charges",
        "Police officer indicted by federal grand jury in Ohio",
        "Police officer charged federally over shot at traffic stop in Ohio",
        "Police officer shot by triple homicide suspect in Ohio",
        "Police officer shot, five bodies found at traffic stop in Ohio",
        "Police say four people fatally shot at traffic stop in Ohio",
        "Death toll of shots at police officer in Ohio rises",
        "Prisoner who shot police officer in Ohio still at large",
        "Police hunt for gunman who shot officer in Ohio",
    ],
)
def test_a_local_case_of_several_deaths_a_manhunt_or_federal_charges_loses_nothing(title: str) -> None:
    local = Story(article(title=title))
    scored = ranking(local).score_story(local)
    assert scored.topic == "Law enforcement"
    assert term(scored, PENALTY_TERM).note == "none"


@pytest.mark.parametrize(
    ("forecast", "later", "is_overtaken"),
    [
        ("Hurricane Nadia nears Florida", "Nadia floods Florida", True),
        ("FEMA chief expected to resign", "FEMA chief resigned on Monday", True),
        ("FEMA chief expected to resign", "Senators praise FEMA chief", False),
        ("FEMA chief expected to resign", "FEMA chief set to resign today", False),
    ],
)
def test_what_was_told_before_it_happened_loses_a_part_once_its_story_reports_the_outcome(
    forecast: str, later: str, *, is_overtaken: bool
) -> None:
    """News of what's ahead is news, however old it is, until the same story has the outcome."""
    lead, report = article(title=forecast, days=3), article("Beta", later, days=1)
    alone, told, before = (
        Story(lead),
        Story(lead, (report,)),
        Story(lead, (replace(report, dated_at=NOW - timedelta(days=5)),)),
    )
    note = "published before the event (-20%)" if is_overtaken else "none"
    assert term(ranking(told).score_story(told), PENALTY_TERM).note == note
    for story in (alone, before):
        assert term(ranking(story).score_story(story), PENALTY_TERM).note == "none"


def test_country_and_state_stand_with_the_story() -> None:
    story = Story(article(title="Flooding in Tampa, Fla."), (article("Beta", "Floods reach Florida and Georgia"),))
    places = ranking(story).score_story(story).places
    assert (places.countries, places.states) == (("US",), ("US-FL", "US-GA"))


def test_an_unrelated_article_changes_no_other_storys_terms_but_those_held_against_the_week() -> None:
    story, other = of_three(), Story(article("Delta", "Wildfire burns near Redding, California"))
    alone, beside = ranking(story).score_story(story), ranking(story, other).score_story(story)
    for before, after in zip(alone.terms, beside.terms, strict=True):
        if before.name not in {"coverage", "readership"}:
            assert before == after


def test_ties_go_to_the_earliest_and_then_to_the_url() -> None:
    none = weights_of()
    later, b, a = (Story(article(p, days=d)) for p, d in (("Alpha", 1), ("Beta", 2), ("Alef", 2)))
    ranked = ranking(later, b, a, weights=none).rank_stories([later, b, a])
    assert [s.story.lead.publisher for s in ranked] == ["Alef", "Beta", "Alpha"]


part = st.floats(0, 1)
candidates = st.builds(
    article,
    st.sampled_from(["Alpha", "Beta", "Gamma"]),
    st.sampled_from(
        ["Ransomware hits a port", "Singer dies", "Weekly roundup", "Top 5 deals: $20 off", "Opinion: FEMA"]
    ),
    days=st.floats(0, 30),
    own=st.booleans(),
    primary=st.booleans(),
    featured=st.booleans(),
    has_date=st.booleans(),
    weight=st.floats(0, 3),
    views=st.none() | st.integers(0, 10**7),
)
weights_ = st.fixed_dictionaries(dict.fromkeys(SCORING_TERMS, part))


@settings(max_examples=150, deadline=None)
@given(st.lists(candidates, min_size=1, max_size=5), weights_)
def test_the_score_is_exactly_the_sum_of_its_terms_and_within_0_and_100(
    found: list[CandidateArticle], weights: dict[str, float]
) -> None:
    story = Story(found[0], tuple(found[1:]))
    scored = ranking(story, weights=weights).score_story(story)
    assert sum(Decimal(str(t.points)) for t in scored.terms) == Decimal(str(scored.score))
    assert all(Decimal(str(t.points)) == round(Decimal(str(t.points)), 2) for t in scored.terms)
    assert 0 <= scored.score <= 100
    assert all(t.note for t in scored.terms)
