"""The article that leads a story."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from digest.select.selection_types import CandidateArticle
from digest.select.stories import build_story, build_story_with_lead, order_leads
from digest.select.text_similarity import WordVector
from tests.moments import DRAFTING as NOW

SUMMARY = (
    "The storm came ashore near Cedar Point on Wednesday morning; two counties are without power and roads are closed."
)


def article(title: str, *, hours: float = 10, **more: object) -> CandidateArticle:
    url = f"https://{len(title)}.example.org/{title.lower().replace(' ', '-')}"
    plain = CandidateArticle(url, url, title, SUMMARY, title, title, NOW - timedelta(hours=hours))
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


def lead(*articles: CandidateArticle, near: dict[str, float] | None = None) -> CandidateArticle:
    centrality = {a.url: (near or {}).get(a.title, 0.5) for a in articles}
    shuffled = random.Random(3).sample(articles, len(articles))
    ordered = order_leads(articles, centrality)
    assert order_leads(shuffled, centrality) == ordered
    return ordered[0]


@pytest.mark.parametrize(
    "title",
    [
        "Video: Hurricane Nadia comes ashore",
        "In photos: Hurricane Nadia comes ashore",
        "Hurricane Nadia comes ashore: live updates",
        "Hurricane Nadia comes ashore \u2013 as it happened",
        "Hurricane Nadia: what we know so far",
        "Here\u2019s what Hurricane Nadia did to Florida",
        "Why did Hurricane Nadia grow so fast?",
        "Is the warm sea feeding Hurricane Nadia?",
        "Hurricane Nadia, explained",
        "Opinion: Hurricane Nadia was no surprise",
        "Hurricane Nadia to hit Florida as Category 3",
        "Florida braces for Hurricane Nadia",
        "Hurricane Nadia nears Florida",
        "Hurricane Nadia expected to make landfall on Wednesday",
    ],
)
def test_what_is_no_report_or_was_overtaken_never_leads_however_central(title: str) -> None:
    report = article("Hurricane Nadia comes ashore in Florida", hours=5)
    assert lead(article(title, hours=20), report, near={title: 1.0}) is report


def test_a_forecast_leads_until_its_story_reports_the_outcome() -> None:
    ahead = article("Hurricane Nadia's dead to be named", hours=20)
    landfall = article("Hurricane Nadia comes ashore in Florida", hours=5)
    assert lead(ahead, landfall, near={ahead.title: 1.0}) is ahead, "nothing else says who died"
    outcome = article("Officials name those who died in Nadia", hours=4)
    assert lead(ahead, outcome, near={ahead.title: 1.0}) is outcome


def test_a_forecast_is_listed_as_a_report_until_its_story_reports_the_outcome() -> None:
    lead_page = article("Senators question the FEMA chief", hours=5)
    ahead = article("FEMA chief expected to resign", hours=8)
    outcome = article("FEMA chief resigned on Monday", hours=6)
    assert build_story_with_lead(lead_page, [ahead]).also_reported == (ahead,)
    assert ahead not in build_story_with_lead(lead_page, [ahead, outcome]).also_reported
    assert build_story_with_lead(outcome, [ahead]).also_reported == ()


def test_a_lower_death_toll_never_leads_over_a_later_higher_one() -> None:
    early = article("Fire in Harlow kills three", hours=9)
    later = article("Harlow fire: two firefighters and five residents dead", hours=4)
    assert lead(early, later, near={early.title: 1.0}) is later
    earlier = replace(later, dated_at=early.dated_at - timedelta(hours=1))
    assert lead(early, earlier, near={early.title: 1.0}) is early
    assert build_story_with_lead(later, [early]).also_reported == ()


def test_a_sentence_from_a_post_leads_only_without_a_headline() -> None:
    post = article("A judge sent the former harbor chief of Harlow to prison for taking bribes.")
    headline = article("Former Harlow harbor chief sent to prison for bribes")
    assert lead(post, headline, near={post.title: 1.0}) is headline
    assert lead(post) is post
    abbreviated = article("Harlow harbor chief loses appeal in the U.S.")
    assert lead(abbreviated, headline, near={abbreviated.title: 1.0}) is abbreviated


def test_a_page_of_videos_never_leads() -> None:
    video = article("Hurricane Nadia ashore", url="https://a.example.org/video/nadia")
    report = article("Hurricane Nadia comes ashore in Florida")
    assert lead(video, report, near={video.title: 1.0}) is report


def test_a_forecast_leads_while_it_is_one() -> None:
    central = article("Hurricane Nadia nears Florida", hours=2)
    assert lead(central, article("Hurricane Nadia grows", hours=9), near={central.title: 1.0}) is central


def test_our_own_report_comes_first_and_then_an_official_one() -> None:
    own, official = article("Nadia ashore", own=True), article("Landfall of Nadia", primary=True)
    assert lead(article("Nadia is here"), official, own) is own
    assert lead(article("Nadia is here"), official) is official


def test_of_equally_central_reports_the_later_half_and_the_fuller_one_leads() -> None:
    early, late = article("Nadia reaches land", hours=30), article("Nadia reaches the land", hours=3)
    assert lead(early, late) is late
    bare = article("Nadia reaches our land", hours=3, summary="")
    assert lead(bare, late) is late


def test_a_story_of_one_day_has_no_later_half() -> None:
    early, late = article("Nadia reaches land", hours=20), article("Nadia reaches the land", hours=3)
    assert lead(early, late) is early


def test_a_report_of_the_highest_death_toll_leads_before_a_slightly_more_central_one() -> None:
    toll, calls = article("Nadia's six dead are buried", hours=4), article("Police release calls about Nadia", hours=3)
    assert lead(toll, calls, near={calls.title: 0.55}) is toll
    assert lead(toll, calls, near={calls.title: 0.6}) is calls


def test_what_happened_leads_before_what_somebody_said_of_it() -> None:
    said, done = article("Governor says that Nadia was the worst"), article("Nadia cuts the power of two towns")
    assert lead(said, done, near={said.title: 0.55}) is done


def test_a_far_more_central_report_leads_before_a_later_one() -> None:
    early, late = article("Nadia reaches land", hours=30), article("Insurers count Nadia", hours=3)
    assert lead(early, late, near={early.title: 0.9, late.title: 0.5}) is early


@pytest.mark.parametrize("reports", [2, 40])
def test_a_later_report_leads_before_a_slightly_more_central_one_in_a_story_of_any_size(reports: int) -> None:
    early, late = article("Nadia reaches land", hours=30), article("Governor counts Nadia's damage", hours=3)
    vectors: list[WordVector] = [{"nadia": 1.0}, {"nadia": 0.95}, *([{"nadia": 1.0}] * (reports - 2))]
    more = [article(f"Nadia floods road {n}", hours=29, summary="") for n in range(reports - 2)]
    assert build_story([early, late, *more], vectors).lead is late


# --- each publisher's page below the lead ----------------------------------------------------------------------


def test_each_publishers_page_is_its_best_and_not_its_earliest() -> None:
    report = article("Hurricane Nadia comes ashore in Florida", hours=5, primary=True)
    watch = article("Nadia becomes a storm", hours=60, publisher="Beta")
    landfall = article("Hurricane Nadia makes landfall", hours=4, publisher="Beta")
    likeness: dict[CandidateArticle, WordVector] = {
        report: {"nadia": 1.0},
        watch: {"storm": 0.2},
        landfall: {"nadia": 0.9},
    }
    story = build_story(list(likeness), list(likeness.values()))
    assert [a.title for a in story.also_reported] == [landfall.title]
    assert [a.title for a in story.further_articles] == [watch.title]
    assert build_story_with_lead(landfall, [report, watch]).also_reported == (report,)


@pytest.mark.parametrize(
    "title", ["Hurricane Nadia to hit Florida as Category 3", "Opinion: Nadia was no surprise", "Video: Nadia ashore"]
)
def test_no_page_is_named_below_a_lead_that_outdates_it_or_is_news_where_it_is_not(title: str) -> None:
    report, aside = article("Hurricane Nadia comes ashore in Florida", hours=5), article(title, hours=20)
    story = build_story_with_lead(report, [aside])
    assert (story.also_reported, story.further_articles) == ((), (aside,))
    assert aside.publisher in story.publishers
    assert build_story_with_lead(replace(aside, dated_at=report.dated_at), [report]).also_reported == (report,)


@pytest.mark.parametrize(
    ("title", "hours", "is_listed"),
    [
        ("Nadia's first rain floods two roads", 12, False),  # 7 hours older, and a fourth of the words in common
        ("Nadia's first rain floods two roads", 10, True),  # 5 hours older
        ("Nadia's first rain floods two roads", 1, True),  # newer
        ("Nadia ashore in Florida near Cedar Point", 19, True),  # 14 hours older, and three in four in common
        ("Nadia ashore in Florida near Cedar Point", 21, False),
        ("Florida hurricane Nadia comes ashore", 50, True),
        ("Storms set to drench the coast of Florida", 6, False),  # looked ahead to what the lead reports
        ("Storms set to drench the coast of Florida", 1, True),
    ],
)
def test_the_older_a_page_is_the_more_its_title_must_agree_with_the_lead(
    title: str, hours: float, *, is_listed: bool
) -> None:
    report, page = article("Hurricane Nadia comes ashore in Florida", hours=5), article(title, hours=hours)
    same = article("Hurricane Nadia hits Florida", hours=6)
    story = build_story_with_lead(report, [page, same])
    assert set(story.also_reported) == ({page, same} if is_listed else {same})
    assert len(story.publishers) == 3


def test_older_pages_stay_below_a_lead_that_is_merely_late() -> None:
    late = article("Hurricane Nadia comes ashore in Florida", hours=5)
    pages = [article("Storm floods the coast", hours=40), article("Power fails in two towns", hours=41)]
    assert set(build_story_with_lead(late, pages).also_reported) == set(pages)
