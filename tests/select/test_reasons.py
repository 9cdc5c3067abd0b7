"""The stated reason why a story leads."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from digest.edition.kinds.story_entry import phrase_placement_reason, spell_number
from digest.select.places import compile_place_rules
from digest.select.ranking import StoryRanker, WeekStatistics
from digest.select.selection_types import CandidateArticle, ScoredStory, Story
from digest.select.topics import compile_topic_rules
from digest.settings import RankingWeights
from subscribers.subscriber_language import ENGLISH

NOW = datetime(2026, 11, 19, tzinfo=UTC)


def article(publisher: str, **more: object) -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/"
    plain = CandidateArticle(url, url, "Ransomware hits a port", "", publisher, publisher, NOW)
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


def score(story: Story, *pins: str) -> ScoredStory:
    return rank([story], *pins)[0]


def rank(stories: Sequence[Story], *pins: str) -> tuple[ScoredStory, ...]:
    return StoryRanker(
        WeekStatistics.from_stories(stories, NOW),
        compile_topic_rules(),
        compile_place_rules("US", ()),
        dict(RankingWeights()),
        frozenset(pins),
    ).rank_stories(stories)


def said(lead: CandidateArticle, others: int = 0, pin: str = "", *also: CandidateArticle) -> str:
    story = Story(lead, (*(article(f"Press{n}") for n in range(others)), *also))
    return phrase_placement_reason(score(story, pin), ENGLISH)


@pytest.mark.parametrize(
    ("lead", "others", "sentence"),
    [
        (article("Wire"), 6, "seven publishers carried it"),
        (article("Wire"), 12, "13 publishers carried it"),
        (
            article("HLS", own=True, views=9),
            6,
            "seven publishers carried it, and it was the most-read story on hls.example.org",
        ),
        (article("CISA", primary=True), 4, "an official source and four others reported it"),
        (article("CISA", primary=True), 1, "an official source and one other reported it"),
        (article("CISA", primary=True), 0, "it comes from an official source"),
        (article("Wire", title="A quiet week"), 0, ""),
        (article("HLS", own=True, featured=True), 2, "our editors featured it, and three publishers carried it"),
    ],
)
def test_the_sentence_names_what_the_score_holds(lead: CandidateArticle, others: int, sentence: str) -> None:
    assert said(lead, others) == sentence


def test_all_publishers_of_the_articles_are_counted() -> None:
    """The count is that of the story's panel, so articles that the edition doesn't list count, too."""
    live, earlier = article("Herald", title="Live updates: ransomware hits a port"), article("Times", title="Alarm")
    story = Story(article("Wire"), (article("Press"),), (live, earlier, article("Wire", title="A port is hit")))
    assert len(story.publishers) == 4
    assert phrase_placement_reason(score(story), ENGLISH) == "four publishers carried it"
    alone = score(Story(article("Wire"), (), (article("Wire", title="A port is hit"),)))
    assert phrase_placement_reason(alone, ENGLISH) == "it’s the only story that we found on this topic"


def test_readers_are_counted_on_the_website_that_is_named_not_on_the_publisher_that_leads() -> None:
    own = article("Www.HLS", own=True, views=9)
    assert (
        said(article("Wire"), 0, "", own)
        == "two publishers carried it, and it was the most-read story on hls.example.org"
    )


def test_a_lone_report_has_its_rank_on_its_topic() -> None:
    lone = Story(article("Wire"))
    assert phrase_placement_reason(score(lone), ENGLISH) == "it’s the only story that we found on this topic"
    quiet = Story(article("Quiet", title="A quiet week"))
    best, second, off_topic = rank([Story(article("Late", weight=0.5)), quiet, lone])
    assert phrase_placement_reason(best, ENGLISH) == "it’s No. 1 of the two stories that we found on this topic"
    assert phrase_placement_reason(second, ENGLISH) == "it’s No. 2 of the two stories that we found on this topic"
    assert phrase_placement_reason(off_topic, ENGLISH) == ""
    moved = replace(best, topic="Border security")
    assert phrase_placement_reason(moved, ENGLISH) == "", "an editor chose another topic, on which it has no rank"


def test_a_reserved_place_is_said() -> None:
    action = replace(score(Story(article("Wire"), (article("Press"),))), is_official_action=True)
    assert phrase_placement_reason(action, ENGLISH) == "it reports an official action, and two publishers carried it"
    own_notice = replace(score(Story(article("CISA", primary=True))), is_official_action=True)
    assert phrase_placement_reason(own_notice, ENGLISH) == "it comes from an official source"


def test_a_pin_is_said() -> None:
    lead = article("Wire")
    assert said(lead, 1, lead.url) == "our editors chose it, and two publishers carried it"


def test_numbers_are_spelled_to_twelve() -> None:
    assert [spell_number(n, ENGLISH) for n in (1, 12, 13, 1200)] == ["one", "twelve", "13", "1,200"]
