"""News that only an agency reports has reserved places, for which coverage doesn't count."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions, Proposal
from digest.settings import DEFAULT_SECTIONS, SectionSettings, SelectionSettings
from tests.moments import DRAFTING as NOW
from tests.select.test_proposal import TITLES, article

ACTIONS = (
    "FEMA declares Marten County a disaster area",
    "DHS extends protected status for islanders",
    "FBI: envoy charged with smuggling migrants",
)


def widely_reported() -> list[CandidateArticle]:
    """Make a week whose every story has six publishers, each in words of its own."""
    papers = ("Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta")
    return [
        article(f"{title}, US says", f"{paper} {n}", summary=" ".join(f"{paper}{n}x{word}" for word in range(8)))
        for n, title in enumerate(TITLES)
        for paper in papers
    ]


def propose(
    *candidates: CandidateArticle,
    official_places: int = 2,
    sections: Sequence[SectionSettings] = DEFAULT_SECTIONS,
    select: SelectionSettings | None = None,
) -> Proposal:
    return propose_edition(
        [*widely_reported(), *candidates],
        select=select or SelectionSettings(official_places=official_places),
        sections=sections,
        kinds=SECTION_KINDS,
        now=NOW,
        previous=PreviousEditions(),
    )


def reserved(proposal: Proposal) -> set[str]:
    """Return the titles of the stories in reserved places."""
    placed = [p for stories in proposal.sections.values() for p in stories]
    return {p.scored.lead.title for p in placed if "reserved for official actions" in p.rule}


def titles(proposal: Proposal) -> set[str]:
    return {p.scored.lead.title for stories in proposal.sections.values() for p in stories}


@pytest.mark.parametrize("places", [0, 1, 2, 3])
def test_official_actions_have_the_places_that_the_settings_reserve(places: int) -> None:
    proposal = propose(*map(article, ACTIONS), official_places=places)
    assert len(reserved(proposal)) == places
    assert reserved(proposal) <= set(ACTIONS)
    assert len(proposal.sections["topics"]) == 8
    assert titles(proposal) & set(ACTIONS) == reserved(proposal)


def test_each_section_of_topics_has_its_own_reserved_places() -> None:
    sections = [SectionSettings(key=key, title=key.title(), kind="topics", most=4) for key in ("topics", "more")]
    proposal = propose(*map(article, ACTIONS), official_places=1, sections=sections)
    placed = [{p.scored.lead.title for p in proposal.sections[key]} for key in ("topics", "more")]
    assert [len(stories & reserved(proposal)) for stories in placed] == [1, 1]


def test_actions_compete_without_their_coverage() -> None:
    early, late = article(ACTIONS[0], days=3), article(ACTIONS[1], days=1)
    again = article(ACTIONS[0], "Delta", days=3)
    assert reserved(propose(early, again, late, official_places=1)) == {late.title}


@pytest.mark.parametrize(
    "title",
    [
        "Talk of a US TikTok ban worries migrants",
        "Six months after FEMA's disaster, no rules",
        "Opinion: FEMA declares a disaster too late",
        "Storm floods Marten County, killing two",
        "Harlow man, twice deported from US, charged with murders in Marten",
    ],
)
def test_other_news_of_one_publisher_takes_no_reserved_place(title: str) -> None:
    assert reserved(propose(article(title))) == set()


def test_a_widely_reported_action_takes_no_reserved_place() -> None:
    proposal = propose(
        *(
            article(ACTIONS[0], f"Press {n}", summary=" ".join(f"press{n}x{word}" for word in range(8)))
            for n in range(9)
        )
    )
    assert ACTIONS[0] in titles(proposal)
    assert reserved(proposal) == set()


def test_an_official_source_s_advisory_or_case_needs_no_agency_in_its_title() -> None:
    advisory = replace(article("ICSA-26-320-01 Harlow pump controllers, ransomware", "CISA"), primary=True)
    case = replace(article("Envoy sentenced for smuggling migrants", "FBI"), primary=True)
    assert reserved(propose(advisory, case)) == {advisory.title, case.title}


@pytest.mark.parametrize("country", ["US", "U.S."])
def test_the_country_itself_may_act(country: str) -> None:
    charges = article(f"{country} charges islanders over ransomware at Marten hospital")
    assert reserved(propose(charges)) == {charges.title}


def test_an_action_has_no_reserved_place_if_another_publisher_has_to_lead_it() -> None:
    told = "Two towns below the Marten Creek dam were cleared after days of rain, FEMA said."
    pinned = article(ACTIONS[1], "Wire")
    action = article("FEMA orders two towns cleared as Marten Creek dam gives way", "Wire", summary=told, primary=True)
    report = article("Marten Creek dam gives way, two towns cleared", "Herald", summary=told, days=1.2)
    capped = SelectionSettings(official_places=1, per_publisher=1, pins=[pinned.url])
    assert reserved(propose(action, report)) == {action.title}
    assert reserved(propose(pinned, action, report, select=capped)) == set()


def test_without_actions_other_stories_take_the_places() -> None:
    assert titles(propose()) == titles(propose(official_places=0))


def test_a_story_left_out_is_not_compared_with_a_reserved_place() -> None:
    proposal = propose(*map(article, ACTIONS))
    least = min(p.scored.score for p in proposal.sections["topics"])
    assert not any(f"({least:.1f})" in out.reason for out in proposal.left_out if out.scored.score > least)
