"""Articles from several sources become stories: which ones join, which never do, and which one leads."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.select.places import compile_place_rules
from digest.select.selection_types import CandidateArticle, Story
from digest.select.stories import MAX_STORY_SPAN, build_text_vectorizer, group_into_stories, merge_by_url
from digest.select.story_links import StoryGroupingDecision
from digest.select.text_similarity import (
    TextVectorizer,
    are_texts_near_duplicates,
    count_weighted_words,
    fold_plural,
    significant_words,
)
from digest.select.word_rarity import DocumentFrequencies
from tests.moments import MONDAY_NOON as MONDAY

THRESHOLD = 0.21


def article(publisher: str, title: str, summary: str = "", *, hours: float = 0, name: str = "") -> CandidateArticle:
    slug = name or "".join(ch if ch.isalnum() else "-" for ch in title.lower())
    url = f"https://{publisher.lower().replace(' ', '')}.example.org/{slug}"
    return CandidateArticle(url, url, title, summary, publisher, publisher, MONDAY + timedelta(hours=hours))


def fillers() -> list[CandidateArticle]:
    """Other news of the week, so that the words of the stories under test are rare."""
    subjects = (
        "Harbor pilots train for winter ice", "Rail operator tests new signals", "Museum reopens its east wing",
        "County buys three fire engines", "Airport opens a second runway", "Vaccine drive reaches rural towns",
        "Senate panel hears grid operators", "Drone rules change for farms", "Storm season ends quietly",
        "School district hires safety officers", "Water plant replaces old pumps", "Customs dogs find ivory",
    )  # fmt: skip
    return [article(f"Filler {n}", s, hours=n) for n, s in enumerate(subjects)]


def story_of(candidate: CandidateArticle, stories: tuple[Story, ...]) -> Story:
    return next(s for s in stories if candidate.url in {m.url for m in s.members})


DAM = (
    article("Alpha", "Dam at Harlow Creek gives way after days of rain", "The Harlow Creek dam gave way on Monday; two towns were cleared."),
    article("Beta", "Harlow Creek dam gives way, two towns cleared", "Two towns below the Harlow Creek dam were cleared after days of rain.", hours=3),
    article("Gamma", "Towns cleared as Harlow Creek dam fails", "The dam at Harlow Creek failed after days of rain, officials said.", hours=5),
)  # fmt: skip


def test_the_same_news_of_three_publishers_is_one_story() -> None:
    stories = group_into_stories([*DAM, *fillers()], THRESHOLD)
    story = story_of(DAM[0], stories)
    assert story.publishers == {"Alpha", "Beta", "Gamma"}
    assert len(stories) == 1 + len(fillers())


def test_one_canonical_url_from_several_sources_is_one_article_and_the_best_source_wins() -> None:
    plain = replace(DAM[0], source="Aggregator", publisher="Aggregator", views=5, featured=True, image="p.jpg")
    best = replace(DAM[0], own=True, source="Own site", publisher="Ours")
    (kept,) = merge_by_url([plain, best])
    assert (kept.source, kept.views, kept.featured, kept.image) == ("Own site", 5, True, "p.jpg")
    (story,) = group_into_stories([plain, best], THRESHOLD)
    assert len(story.members) == 1
    (described,) = merge_by_url([plain, replace(best, summary="")])
    assert (described.source, described.summary) == ("Own site", plain.summary)


def test_an_official_source_wins_over_a_heavier_one() -> None:
    heavy = replace(DAM[0], source="Heavy", weight=3.0)
    official = replace(DAM[0], source="Official", primary=True)
    assert [c.source for c in merge_by_url([heavy, official])] == ["Official"]


def test_the_source_on_an_articles_own_site_words_it() -> None:
    other = replace(DAM[0], source="Other", title="Other words", primary=True, weight=3.0, views=5)
    itself = replace(DAM[0], source="Alpha", on_own_site=True, dated_at=DAM[0].dated_at + timedelta(hours=1))
    (kept,) = merge_by_url([other, itself])
    assert (kept.source, kept.title, kept.views) == ("Alpha", DAM[0].title, 5)


def test_two_articles_of_one_publisher_do_not_join_on_their_own_likeness() -> None:
    follow_up = article(
        "Alpha",
        "Harlow Creek dam: how it gave way",
        "Days of rain and an old gate: why the Harlow Creek dam gave way.",
        hours=9,
    )
    assert len(group_into_stories([DAM[0], follow_up, *fillers()], THRESHOLD)) == 2 + len(fillers())


def test_other_publishers_can_tie_two_articles_of_one_publisher_to_a_story() -> None:
    follow_up = article(
        "Alpha",
        "Two towns below failed dam still cleared",
        "Officials said towns below the Harlow Creek dam stay cleared after days of rain.",
        hours=9,
    )
    story = story_of(DAM[1], group_into_stories([*DAM, follow_up, *fillers()], THRESHOLD))
    assert {m.url for m in story.members} == {a.url for a in (*DAM, follow_up)}
    assert len(story.also_reported) == 2  # a publisher is named once
    assert len(story.further_articles) == 1


def test_one_text_under_two_addresses_of_one_publisher_is_one_story() -> None:
    copy = replace(DAM[0], url=DAM[0].url + "-2", link=DAM[0].url + "-2", dated_at=DAM[0].dated_at + timedelta(hours=2))
    story = story_of(DAM[0], group_into_stories([DAM[0], copy, *fillers()], THRESHOLD))
    assert story.also_reported == ()
    assert {m.url for m in story.members} == {DAM[0].url, copy.url}


@pytest.mark.parametrize("with_text", [True, False])
def test_149_alerts_under_one_title_are_149_stories(*, with_text: bool) -> None:
    title = "CISA Adds One Known Exploited Vulnerability to Catalog"
    text = "CISA has added one new vulnerability to its catalog, based on evidence of active exploitation: CVE-2026-{}."
    alerts = [
        article("CISA", title, text.format(20000 + n) if with_text else "", hours=n / 2, name=f"alert-{n}")
        for n in range(149)
    ]
    report = article("Beta", "CISA adds one known exploited vulnerability", text.format(20007), hours=4)
    stories = group_into_stories([*alerts, report], THRESHOLD)
    assert all(sum(m.publisher == "CISA" for m in s.members) <= 1 for s in stories)
    assert sum(any(m.publisher == "CISA" for m in s.members) for s in stories) == 149


@pytest.mark.parametrize(
    "title",
    [
        "In Other News: Harlow Creek dam gives way, two towns cleared",
        "Morning Report: Harlow Creek dam gives way",
        "Harlow Creek dam newsletter Round 435",
        "Week in review: the Harlow Creek dam gives way",
    ],
)
def test_a_round_up_stays_alone(title: str) -> None:
    glue = article("Delta", title, DAM[1].summary, hours=1)
    stories = group_into_stories([*DAM, glue, *fillers()], THRESHOLD)
    assert story_of(glue, stories).members == (glue,)
    assert len(story_of(DAM[0], stories).members) == 3


def test_articles_far_apart_in_time_do_not_join() -> None:
    late = replace(DAM[1], dated_at=DAM[0].dated_at + MAX_STORY_SPAN + timedelta(minutes=1))
    assert len(group_into_stories([DAM[0], late, *fillers()], THRESHOLD)) == 2 + len(fillers())
    in_time = replace(DAM[1], dated_at=DAM[0].dated_at + MAX_STORY_SPAN)
    assert len(group_into_stories([DAM[0], in_time, *fillers()], THRESHOLD)) == 1 + len(fillers())


def test_the_own_site_leads_before_an_official_source_and_that_before_all_others() -> None:
    official = replace(DAM[1], primary=True)
    own = replace(DAM[2], own=True)
    assert story_of(own, group_into_stories([DAM[0], official, own, *fillers()], THRESHOLD)).lead.url == own.url
    assert (
        story_of(official, group_into_stories([DAM[0], official, DAM[2], *fillers()], THRESHOLD)).lead.url
        == official.url
    )


def test_the_key_of_a_story_outlives_later_articles_and_another_lead() -> None:
    before = story_of(DAM[0], group_into_stories([*DAM[:2], *fillers()], THRESHOLD))
    after = story_of(DAM[0], group_into_stories([*DAM[:2], replace(DAM[2], own=True), *fillers()], THRESHOLD))
    assert before.lead != after.lead
    assert before.key == after.key == DAM[0].url


def test_the_most_central_article_leads_and_then_the_earliest() -> None:
    twins = [
        replace(DAM[0], url=f"https://{p}.example.org/dam", publisher=p, dated_at=MONDAY + timedelta(hours=h))
        for p, h in (("b", 1), ("a", 2))
    ]
    aside = article(
        "Gamma",
        "Harlow Creek dam owner fined before",
        "The owner of the Harlow Creek dam was fined before days of rain.",
        hours=-1,
    )
    story = story_of(aside, group_into_stories([*twins, aside, *fillers()], THRESHOLD))
    assert story.lead.publisher == "b"
    assert [a.publisher for a in story.also_reported] == ["Gamma", "a"]  # by date


STORM_TALES = (
    ("{} nears the coast", "Forecasters expect {} to reach the coast by Wednesday; schools in the county shut early."),
    ("Governor declares emergency ahead of {}", "The order lets the state move guards, fuel and generators before {} arrives."),
    ("Airports cancel flights as {} approaches", "Travellers were stranded after airlines grounded jets in the path of {}."),
    ("{} knocks out power to thousands", "Crews from four utilities waited for the wind to drop; {} had felled lines overnight."),
    ("How {} grew so fast", "Warm water fed {}, a climatologist explained, and dry air that would have starved it stayed away."),
    ("Zoo moves its flamingos indoors before {}", "Keepers spent the night with the birds as {} brought rain to the park."),
    ("Insurers count the cost of {}", "Analysts put the claims from {} in the billions, mostly for roofs and boats."),
    ("Residents return to flooded streets after {}", "Families hauled carpets to the kerb on Friday, two days after {} had passed."),
    ("{} spares the citrus groves", "Growers feared worse: {} turned north before it reached the orchards."),
    ("President to visit towns hit by {}", "The White House said that he will meet families who lost homes to {}."),
)  # fmt: skip


def storm(name: str, publishers: str) -> list[CandidateArticle]:
    """A matter that fills a week: ten sides of one storm, each told by some publishers, who have its name in common."""
    return [
        article(f"{publisher}{n % 3}", title.format(name), text.format(name), hours=12 * n + k, name=f"{name}-{n}-{k}")
        for n, (title, text) in enumerate(STORM_TALES)
        for k, publisher in enumerate(publishers)
    ]


def test_a_story_that_fills_a_week_stays_whole() -> None:
    articles = storm("Storm Orlinda", "ABCD")
    pieces = [s for s in group_into_stories([*articles, *fillers()], THRESHOLD) if "Orlinda" in s.lead.title]
    assert sum(len(p.members) for p in pieces) == len(articles)
    assert len(pieces) <= len(articles) // 5


def test_two_stories_of_one_kind_are_not_glued_together() -> None:
    told = {"Orlinda": storm("Storm Orlinda", "ABCD")[:16], "Tavira": storm("Storm Tavira", "EFGH")[20:]}
    stories = group_into_stories([*told["Orlinda"], *told["Tavira"], *fillers()], THRESHOLD)
    for story in stories:
        assert len({name for name in told for a in story.members if name in a.title + a.summary}) <= 1


def test_a_large_story_may_repeat_some_of_its_titles() -> None:
    first, second = storm("Storm Orlinda", "ABCD")[:20], storm("Storm Orlinda", "ABCD")[20:]
    again = replace(first[0], url=first[0].url + "-2", link=first[0].url + "-2", summary=second[-1].summary)
    pieces = [
        s for s in group_into_stories([*first, *second, again, *fillers()], THRESHOLD) if "Orlinda" in s.lead.title
    ]
    assert len(pieces) <= 8


def test_one_common_word_joins_no_headlines_and_a_rare_one_does() -> None:
    common = [article("A", "Rail operator tests signals"), article("B", "Senate panel hears operator")]
    assert len(group_into_stories(common, THRESHOLD)) == 2
    rare = [article("A", "Orlindaville reopens"), article("B", "Orlindaville cheers")]
    assert len(group_into_stories(rare, THRESHOLD)) == 1


def test_the_words_of_all_court_cases_join_none() -> None:
    soldier, broker = article("A", "Soldier pleads guilty to spying"), article("B", "Broker pleads guilty to fraud")
    again = article("C", "Soldier pleads guilty to spying for money")
    stories = group_into_stories([soldier, broker, again, *fillers()], THRESHOLD)
    assert story_of(soldier, stories).publishers == {"A", "C"}


def test_in_a_language_that_the_shipped_table_does_not_know_the_week_says_how_rare_its_words_are() -> None:
    towns = ("Auenfeld", "Birkach", "Calden", "Dornau", "Erlbach", "Fichtau", "Gronau", "Hainfeld")
    plain = [
        article("A", f"Feuerwehr in {town} probt den Ernstfall", f"Die Feuerwehr in {town} hat geprobt.", hours=n)
        for n, town in enumerate(towns)
    ]
    other = [replace(a, url=a.url + "/b", publisher="B") for a in plain]
    articles = merge_by_url([*plain, *other])
    stories = group_into_stories(articles, THRESHOLD, reader=build_text_vectorizer(DocumentFrequencies(), articles))
    assert sorted(len(s.members) for s in stories) == [2] * len(towns)


def test_threshold_decides_how_much_is_one_story() -> None:
    assert len(group_into_stories([*DAM, *fillers()], 0.99)) == 3 + len(fillers())


def test_a_text_without_words_and_an_empty_week_are_no_trouble() -> None:
    assert group_into_stories([], THRESHOLD) == ()
    blank = [article("A", "", name="x"), article("B", "", name="x"), article("C", "— … !", name="x")]
    assert len(group_into_stories(blank, THRESHOLD)) == 3


def test_words_keep_numbers_and_fold_plurals() -> None:
    assert list(significant_words("The agencies' 1,200 breaches: CVE-2026-1234, U.S. viruses")) == [
        "agency", "1,200", "breach", "cve-2026-1234", "viruse",
    ]  # fmt: skip
    assert [fold_plural(w) for w in ("crisis", "class", "virus", "ports", "boxes", "gas")] == [
        "crisis", "class", "virus", "port", "box", "gas",
    ]  # fmt: skip
    assert count_weighted_words(["dam", "fail"], ["dam"])["dam"] == 3


def test_other_figures_make_other_news() -> None:
    text = "A quake of magnitude {} shook the coast near Harlow before dawn, and nobody was hurt"
    assert are_texts_near_duplicates(text.format(5), text.format(5) + "!")
    assert not are_texts_near_duplicates(text.format(5), text.format(6))


TOPICS = (
    "dam rain Harlow towns cleared",
    "botnet seized servers Duck operation",
    "typhoon Saola coast ferries cancelled",
)
made = st.builds(
    lambda n, publisher, topic, extra, hour: article(publisher, f"{TOPICS[topic]} {extra}", f"{extra} {TOPICS[topic]}", hours=hour, name=str(n)),
    st.integers(0, 40), st.sampled_from("ABCDE"), st.integers(0, 2), st.sampled_from(["", "live", "mayor speaks", "42 hurt"]), st.integers(0, 160),
)  # fmt: skip


foreign = st.builds(
    lambda n, publisher, hour: article(publisher, f"quorzel {n} blimtar", f"vextu {n} morblen quiddle", hours=hour, name=f"foreign-{n}"),
    st.integers(0, 9), st.sampled_from("ABCDEFG"), st.integers(0, 160),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(made, max_size=25), st.lists(foreign, max_size=6))
def test_articles_of_other_words_change_no_story(found: list[CandidateArticle], others: list[CandidateArticle]) -> None:
    before, after = group_into_stories(found, THRESHOLD), group_into_stories([*found, *others], THRESHOLD)
    added = {a.url for a in others}
    assert tuple(s for s in after if s.lead.url not in added) == before


@settings(max_examples=60, deadline=None)
@given(made, made, st.lists(made, max_size=12))
def test_the_similarity_of_two_articles_depends_on_them_alone(
    one: CandidateArticle, two: CandidateArticle, read_before: list[CandidateArticle]
) -> None:
    fresh, used = TextVectorizer(), TextVectorizer()
    for other in read_before:
        used.read_text(other.title, other.summary)
    for candidate in (one, two):
        text = (candidate.title, candidate.summary)
        assert fresh.read_text(*text) == used.read_text(*text)


@settings(max_examples=60, deadline=None)
@given(st.lists(made, max_size=25), st.randoms(use_true_random=False))
def test_stories_do_not_depend_on_the_order_of_arrival_and_lose_nothing(
    found: list[CandidateArticle], chance: random.Random
) -> None:
    stories = group_into_stories(found, THRESHOLD)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert group_into_stories(shuffled, THRESHOLD) == stories
    urls = [m.url for s in stories for m in s.members]
    assert sorted(urls) == sorted({c.url for c in found})
    assert all(len({a.publisher for a in (s.lead, *s.also_reported)}) == 1 + len(s.also_reported) for s in stories)


# --- places ----------------------------------------------------------------------------------------------------

PLACES = compile_place_rules("US", ("FEMA", "Treasury"))


def group_by_place(*articles: CandidateArticle) -> list[set[str]]:
    """Group articles into stories, by their publishers."""
    stories = group_into_stories([*articles, *fillers()], THRESHOLD, place_finder=PLACES)
    return [set(s.publishers) for s in stories if not s.lead.publisher.startswith("Filler")]


@pytest.mark.parametrize(
    ("title", "summary", "first", "other"),
    [
        ("Freight train derailment in {} spills fuel near river", "Crews cleaned up fuel that a freight train spilled, officials said.", "Ohio", "Montana"),
        ("Train Hauling Ethanol Derails in {}, Closing River", "Crews cleaned up, officials said.", "Ohio", "Montana"),
        ("Gunman kills five at shopping mall in {}, police say", "Five people were killed at a shopping mall, police said.", "Texas", "Oregon"),
        ("Storm floods streets and cuts power in {}", "A storm flooded streets and cut power in {}.", "Italy", "Greece"),
        ("Antisemitic graffiti sprayed on synagogue walls in {}", "Police in {} asked for witnesses.", "France", "Canada"),
    ],
)  # fmt: skip
def test_news_of_one_kind_in_different_places_is_two_stories(title: str, summary: str, first: str, other: str) -> None:
    pages = {p: article(p, title.format(place), summary.format(place)) for p, place in (("A", first), ("B", other))}
    again = article("C", title.format(first), summary.format(first), hours=2)
    assert len(group_into_stories([pages["A"], pages["B"], *fillers()], THRESHOLD)) == 1 + len(fillers()), "alike"
    groups = group_by_place(pages["A"], pages["B"], again)
    assert sorted(groups, key=len) == [{"B"}, {"A", "C"}]


def test_a_named_storm_that_crosses_states_stays_one_story() -> None:
    text = "Hurricane Orlinda cut power and closed roads, officials said."
    pages = [article(p, f"Hurricane Orlinda floods {s}", text) for p, s in (("A", "Florida"), ("B", "Georgia"))]
    assert group_by_place(*pages) == [{"A", "B"}]


def test_one_action_that_three_agencies_report_is_one_story() -> None:
    text = "{} announced sanctions on the Orlinda exchange, which moved money for hackers, with two other agencies."
    agencies = ("The Treasury", "The Justice Department", "The State Department")
    pages = [article(a, f"{a} announces sanctions on the Orlinda exchange", text.format(a)) for a in agencies]
    assert group_by_place(*pages) == [set(agencies)]


def test_an_editors_decision_counts_for_more_than_a_place() -> None:
    pages = [article(p, f"Storm floods streets and cuts power in {c}") for p, c in (("A", "Italy"), ("B", "Greece"))]
    together = StoryGroupingDecision(frozenset(a.url for a in pages))
    stories = group_into_stories([*pages, *fillers()], THRESHOLD, place_finder=PLACES, links=[together])
    assert story_of(pages[0], stories).publishers == {"A", "B"}
