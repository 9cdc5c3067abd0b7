"""Stories that continue: marked as such if there's news since, and left out if there isn't."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.edition.kinds import SECTION_KINDS
from digest.select.earlier_stories import find_continuations, is_news_since
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, EarlierStory, PreviousEditions, Proposal, Story
from digest.select.story_similarity import StorySimilarity
from digest.select.text_similarity import TextVectorizer, cosine_similarity
from digest.settings import DEFAULT_SECTIONS, SelectionSettings
from tests.moments import DRAFTING as NOW

CUT_OFF = NOW - timedelta(days=7)


def article(publisher: str, title: str, summary: str = "", *, days: float = 2, **more: object) -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/{title.lower().replace(' ', '-')}/{days}"
    plain = CandidateArticle(url, url, title, summary, publisher, publisher, NOW - timedelta(days=days))
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


NEARS = article(
    "Wire",
    "Hurricane Nadia nears Port Ellery",
    "Hurricane Nadia turned toward Port Ellery; 900 were told to go.",
    days=9,
)
ORDERS = article(
    "Post", "Port Ellery evacuates as Hurricane Nadia turns", "Buses took people from Port Ellery before Nadia.", days=8
)
EARLIER = EarlierStory("2026-W46", 146, CUT_OFF, NEARS.title, (NEARS, ORDERS))
LANDS = article(
    "Wire",
    "Hurricane Nadia hits Port Ellery, two dead",
    "Hurricane Nadia came ashore at Port Ellery and two people died.",
)
POWER = article(
    "Times", "Power is back in Port Ellery after Hurricane Nadia", "Crews restored power in Port Ellery after Nadia."
)
OTHERS = [
    article("A", "Ransomware gang shuts hospitals in Harlow", "The gang asks for money."),
    article("B", "TSA extends PreCheck to cruise lines", "Travelers may enroll in spring."),
    article("C", "Border Patrol finds tunnel under Nogales", "The tunnel was 90 feet long."),
    article("D", "Measles outbreak closes summer camps", "Camps stay closed for two weeks."),
]


def propose(*candidates: CandidateArticle, pins: tuple[str, ...] = (), earlier: EarlierStory = EARLIER) -> Proposal:
    return propose_edition(
        [*candidates, *OTHERS],
        select=SelectionSettings(pins=list(pins)),
        sections=DEFAULT_SECTIONS,
        kinds=SECTION_KINDS,
        now=NOW,
        previous=PreviousEditions(news_stories=(earlier,)),
    )


def placed(proposal: Proposal) -> dict[str, tuple[str, ...] | None]:
    """Give the leads of the edition, with the titles that are news since where a story goes on."""
    return {
        p.scored.story.lead.title: tuple(sorted(a.title for a in p.scored.continues.news))
        if p.scored.continues
        else None
        for stories in proposal.sections.values()
        for p in stories
    }


def reasons(proposal: Proposal) -> dict[str, str]:
    return {a.url: out.reason for out in proposal.left_out for a in out.scored.story.members}


def test_a_story_that_goes_on_comes_again_and_says_so() -> None:
    proposal = propose(LANDS)
    assert placed(proposal)[LANDS.title] == (LANDS.title,)
    (continues,) = (p.scored.continues for stories in proposal.sections.values() for p in stories if p.scored.continues)
    assert continues.earlier == EARLIER


def test_what_an_earlier_edition_did_not_have_goes_on_from_nothing() -> None:
    assert {news for title, news in placed(propose(LANDS)).items() if title != LANDS.title} == {None}


REPEAT = "it was in No. 146 as “Hurricane Nadia nears Port Ellery,” and there's been no news since"


@pytest.mark.parametrize(
    "again",
    [
        replace(NEARS, url="https://wire.example.org/again", link="https://wire.example.org/again",
                title="Hurricane Nadia: Port Ellery is next", dated_at=NOW),
        replace(ORDERS, url="https://copy.example.org/1", link="https://copy.example.org/1", publisher="Copy",
                source="Copy", title="Port Ellery evacuates as Hurricane Nadia turns away", dated_at=NOW),
        replace(LANDS, dated_at=CUT_OFF),  # found late, from before that edition closed
    ],
    ids=["the publisher's own text under a new headline", "another's copy", "an article of that week, found late"],
)  # fmt: skip
def test_a_story_without_news_stays_out(again: CandidateArticle) -> None:
    proposal = propose(again)
    assert again.title not in placed(proposal)
    assert reasons(proposal)[again.url].startswith("it was in No. 146")


def test_the_reason_for_a_repeat_is_one_sentence_that_names_the_edition() -> None:
    again = replace(LANDS, dated_at=CUT_OFF)
    assert reasons(propose(again))[again.url] == REPEAT


def test_one_new_article_among_reposts_is_news() -> None:
    again = replace(NEARS, url="https://wire.example.org/again", link="https://wire.example.org/again", dated_at=NOW)
    assert not is_news_since(again, EARLIER)
    assert is_news_since(LANDS, EARLIER)
    assert is_news_since(POWER, EARLIER)


def test_a_pinned_story_comes_again_and_says_nothing_of_news_it_has_not() -> None:
    again = replace(LANDS, dated_at=CUT_OFF)
    assert placed(propose(again, pins=(again.url,)))[again.title] is None


def test_of_two_editions_that_had_a_story_the_newer_one_is_named_where_both_fit_equally() -> None:
    newer = replace(EARLIER, edition="2026-W47", number=147, cut_off=CUT_OFF + timedelta(days=1))
    found = find_continuations([Story(LANDS)], [newer, EARLIER], StorySimilarity(TextVectorizer(), 0.21), 0.21)
    assert found[LANDS.url].earlier.number == 147


# --- Less alike, but with a rare name in common -------------------------------------------------------------

NADIA = Story(LANDS, (POWER,))


def continues(story: Story, *others: Story, times: float) -> bool:
    """Return whether a story goes on from `EARLIER`, where the two are alike so many times `same_story`."""
    measured = StorySimilarity(TextVectorizer(), 0.21)
    middles = [measured.centroid(story), measured.centroid(Story(NEARS, (ORDERS,)))]
    same_story = cosine_similarity(*middles) / times
    similarity = StorySimilarity(TextVectorizer(), same_story)
    return story.lead.url in find_continuations([story, *others], [EARLIER], similarity, same_story)


def large_story(title: str) -> Story:
    first, *others = [article(publisher, title, days=1) for publisher in ("E", "F", "G")]
    return Story(first, tuple(others))


def leave_names_in_lead(story: Story) -> Story:
    """Take the rare names out of all articles of a story but its lead."""

    def rename(text: str) -> str:
        return text.replace("Nadia", "news").replace("Ellery", "city")

    others = [replace(a, title=rename(a.title), summary=rename(a.summary)) for a in story.members[1:]]
    return Story(story.lead, tuple(others))


@pytest.mark.parametrize(("times", "goes_on"), [(2.7, True), (2.3, True), (1.9, False)])
def test_a_story_that_is_less_alike_goes_on_where_both_tell_one_rare_name(times: float, *, goes_on: bool) -> None:
    assert continues(NADIA, times=times) is goes_on


def test_a_name_in_one_article_of_a_story_ties_nothing() -> None:
    in_passing = leave_names_in_lead(NADIA)
    assert not continues(in_passing, times=2.3)
    assert continues(in_passing, times=2.7)


def test_a_name_all_over_the_week_ties_nothing() -> None:
    """ "Elon" stands in stories of many matters."""
    names, title = (
        large_story("Nadia and Ellery are the most common names"),
        large_story("Nadia Ellery wins the chess title"),
    )
    assert continues(NADIA, names, times=2.3)
    assert not continues(NADIA, names, title, times=2.3)


# --- What only looks like going on -------------------------------------------------------------------------

KEV = "CISA Adds One Known Exploited Vulnerability to Catalog"


def issue(title: str, summary: str, *, days: float) -> CandidateArticle:
    return article("CISA", title, summary, days=days, primary=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (issue(KEV, "CVE-2026-1111 was added to the catalog.", days=9), issue(KEV, "CVE-2026-2222 was added to the catalog.", days=1)),
        (issue(KEV, "", days=9), issue("CISA Adds Four Known Exploited Vulnerabilities to Catalog", "", days=1)),
        (issue(KEV, "", days=9),
         article("Wire", "CISA adds a Harbor Ray flaw to its Known Exploited Vulnerabilities catalog", days=1)),
        (issue("Port Ellery water plant: ICSA-26-301-04 pump advisory", "", days=9),
         issue("Port Ellery water plant: ICSA-26-315-01 pump advisory", "", days=1)),
    ],
    ids=["other numbers", "a series without summaries", "the same catalog at another publisher", "advisories"],
)  # fmt: skip
def test_issues_of_a_series_do_not_go_on_from_each_other(old: CandidateArticle, new: CandidateArticle) -> None:
    earlier = EarlierStory("2026-W46", 146, CUT_OFF, old.title, (old,))
    proposal = propose(new, earlier=earlier)
    assert new.url not in reasons(proposal)
    assert placed(proposal)[new.title] is None


def test_what_is_numbered_alike_goes_on() -> None:
    old = issue("CISA warns of flaw CVE-2026-1111 in pumps", "Attackers use CVE-2026-1111 in water pumps.", days=9)
    new = issue("Flaw CVE-2026-1111 in pumps has a fix", "Makers of water pumps fixed CVE-2026-1111.", days=1)
    earlier = EarlierStory("2026-W46", 146, CUT_OFF, old.title, (old,))
    assert placed(propose(new, earlier=earlier))[new.title] == (new.title,)


def test_another_matter_of_the_same_place_does_not_go_on() -> None:
    other = article("Wire", "Port Ellery elects a mayor", "Voters in Port Ellery chose among three candidates.")
    assert placed(propose(other))[other.title] is None


@settings(deadline=None, max_examples=40)
@given(st.permutations([LANDS, POWER, NEARS, ORDERS]), st.integers(0, 2**16))
def test_any_order_of_articles_and_of_earlier_stories_gives_the_same(
    candidates: list[CandidateArticle], seed: int
) -> None:
    stories = [EARLIER, EarlierStory("2026-W45", 145, CUT_OFF - timedelta(days=7), "Tunnel", (OTHERS[2],))]
    random.Random(seed).shuffle(stories)
    proposals = [
        propose_edition(
            shuffled,
            select=SelectionSettings(),
            sections=DEFAULT_SECTIONS,
            kinds=SECTION_KINDS,
            now=NOW,
            previous=PreviousEditions(news_stories=tuple(stories)),
        )
        for shuffled in ([*candidates, *OTHERS], [*reversed(candidates), *reversed(OTHERS)])
    ]
    assert proposals[0] == proposals[1]
