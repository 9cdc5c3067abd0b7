"""Stories that are parts of one matter, so that one is put under the other."""

from dataclasses import replace
from datetime import timedelta

import pytest

from digest.edition.kinds import SECTION_KINDS
from digest.select.places import compile_place_rules
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions, ScoredStory, Story
from digest.select.story_links import StoryGroupingDecision
from digest.select.story_similarity import StorySimilarity, find_related_articles
from digest.select.text_similarity import TextVectorizer, cosine_similarity
from digest.settings import SectionSettings, SelectionSettings
from tests.moments import DRAFTING as NOW

SETTINGS = SelectionSettings()
FEATURED = SectionSettings(key="featured", title="Featured", kind="featured", most=2)
TOPICS = SectionSettings(key="topics", title="Topics", kind="topics", most=2)
PLACES = compile_place_rules(SETTINGS.home_country, tuple(SETTINGS.home_agencies))
SIMILARITY = StorySimilarity(TextVectorizer(), SETTINGS.same_story)


def article(title: str, summary: str, publisher: str = "Alpha") -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/{title.lower().replace(' ', '-')}"
    return CandidateArticle(url, url, title, summary, publisher, publisher, NOW - timedelta(days=1))


def story(title: str, summary: str) -> ScoredStory:
    told = Story(article(title, summary))
    return ScoredStory(told, 30.0, (), "Law enforcement", PLACES.locate_story(told))


def are_one_matter(first: ScoredStory, other: ScoredStory) -> bool:
    found = {bool(SIMILARITY.find_same_matter(*pair)) for pair in ((first, [other]), (other, [first]))}
    assert len(found) == 1, "it doesn't matter which one is placed"
    return found.pop()


CRASH = story(
    "Two killed in Texas highway crash, police say",
    "A truck hit a car on a highway near the coast, police said; two people were killed.",
)
DERAILMENT = story(
    "Train derailment in Ohio spills fuel",
    "A freight train derailed near Brockway, officials said; crews cleared a school and closed the river to boats.",
)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (CRASH, story("Gunman kills five in Texas home, police say", "A man shot his neighbors after they asked him to stop firing, police said; five people were killed.")),
        (DERAILMENT, story("Train derailment in Montana spills fuel", "A freight train derailed near Harlow, Montana, and spilled fuel, officials said.")),
        (
            story("Storm Ottilie floods streets in Italy", "Storm Ottilie flooded streets and cut power, officials in Italy said."),
            story("Storm Ottilie floods streets in Greece", "Storm Ottilie flooded streets and cut power, officials in Greece said."),
        ),
    ],
)  # fmt: skip
def test_topic_words_and_other_places_make_no_matter(first: ScoredStory, other: ScoredStory) -> None:
    similarity = cosine_similarity(SIMILARITY.centroid(first.story), SIMILARITY.centroid(other.story))
    assert similarity > 1.2 * SETTINGS.same_story, "alike enough to be mistaken for one"
    assert not are_one_matter(first, other)


def test_a_rare_name_makes_one_matter_of_stories_that_are_alike() -> None:
    told = "Lawmakers voted for crews of two and more inspections, a year after {}, despite lobbying by rail companies."
    assert are_one_matter(DERAILMENT, story("Ohio passes rail safety law after derailment", told.format("Brockway")))
    assert not are_one_matter(
        DERAILMENT, story("Ohio adopts rail safety law after derailment", told.format("the spill"))
    )


@pytest.mark.parametrize(("days", "is_offered"), [(1, False), (4, True)])
def test_an_article_of_a_storys_own_days_that_repeats_its_news_is_not_related(days: int, *, is_offered: bool) -> None:
    summary = DERAILMENT.lead.summary
    page = article("River closed after freight train derails near Brockway", summary, "Beta")
    repeat = article("Freight train derails near Brockway, closing the river", summary, "Gamma")
    repeat = replace(repeat, dated_at=NOW - timedelta(days=days, minutes=-1))
    told = replace(
        DERAILMENT, story=replace(DERAILMENT.story, lead=replace(DERAILMENT.lead, dated_at=NOW), also_reported=(page,))
    )
    (related,) = find_related_articles([told], [repeat], SIMILARITY).values()
    assert related == ((repeat,) if is_offered else ())


def test_one_action_that_three_agencies_report_is_one_matter() -> None:
    told = (
        "{} today announced sanctions on a network that moved money for hackers, with partners in two other agencies."
    )
    first, second, third = (
        story(f"{agency} announces sanctions on a hackers' money network", told.format(agency))
        for agency in ("The Treasury", "The Justice Department", "The State Department")
    )
    assert are_one_matter(first, second)
    assert are_one_matter(second, third)


def test_a_story_strong_enough_for_a_place_of_its_own_never_goes_beneath_another() -> None:
    spill, illness = (
        [article(title, summary, publisher) for publisher in publishers]
        for title, summary, publishers in (
            (DERAILMENT.lead.title, DERAILMENT.lead.summary, ("Alpha", "Beta", "Gamma")),
            (
                "CDC doctors fall ill at Ohio derailment",
                "They had asked families around Brockway about headaches, the agency said, and recovered within days.",
                ("Delta", "Epsilon"),
            ),
        )
    )
    fillers = [
        article(title, "", f"Press {n}")
        for n, title in enumerate(
            (
                "Power grid operators rehearse blackout",
                "Deportation flights pause over weather",
                "Border Patrol finds tunnel under Nogales",
                "Measles outbreak closes summer camp",
            )
        )
    ]
    apart = StoryGroupingDecision(frozenset(a.url for a in spill), frozenset(a.url for a in illness))
    proposal = propose_edition(
        [*spill, *illness, *fillers],
        select=SelectionSettings(minimum=1),
        sections=(FEATURED, TOPICS),
        kinds=SECTION_KINDS,
        now=NOW,
        previous=PreviousEditions(),
        links=[apart],
    )
    placed = [p for stories in proposal.sections.values() for p in stories]
    assert {spill[0].title, illness[0].title} <= {p.scored.lead.title for p in placed}
    (pair,) = proposal.likely_merges
    assert [len({a.url for a in told} & set(pair)) for told in (spill, illness)] == [1, 1]
    assert not any(p.supporting for p in placed)
