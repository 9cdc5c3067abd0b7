"""Advisories are recognized and grouped by their numbers, and never by their titles."""

import random
from datetime import timedelta

import pytest

from digest.select.advisories import MAX_KEPT_APART, AdvisoryKind, find_advisory, find_advisory_numbers, link_advisories
from digest.select.selection_types import CandidateArticle
from digest.select.stories import group_into_stories
from digest.select.story_links import StoryGroupingDecision
from tests.moments import MONDAY_NOON as NOON

ADDED = "Agency Adds One Known Exploited Vulnerability to Catalog"


def article(
    title: str, path: str = "", summary: str = "", *, host: str = "agency.example.gov", days: float = 0
) -> CandidateArticle:
    url = f"https://{host}/{path or title.lower().replace(' ', '-')}"
    return CandidateArticle(url, url, title, summary, host, host, NOON + timedelta(days=days))


@pytest.mark.parametrize(
    ("known", "kind", "numbers"),
    [
        (article("Harlow Pump Controller", "ics-advisories/icsa-26-320-01"), AdvisoryKind.NOTICE, {"ICSA-26-320-01"}),
        (article("Harlow Scanner", "icsma-26-320-02"), AdvisoryKind.NOTICE, {"ICSMA-26-320-02"}),
        (article("Gang hits dentists", "advisories/aa26-203a"), AdvisoryKind.NOTICE, {"AA26-203A"}),
        (article("Pumps are open (ICSA-26-320-01)", host="a.example"), AdvisoryKind.NOTICE, {"ICSA-26-320-01"}),
        (article("Pumps are open", summary="See icsa-26-320-01.", host="b.example"), AdvisoryKind.NOTICE, {"ICSA-26-320-01"}),
        (article("Pumps", "vde-2026-041"), AdvisoryKind.NOTICE, {"VDE-2026-041"}),
        (article("VU#123456: pumps are open", "notes"), AdvisoryKind.NOTICE, {"VU#123456"}),
        (article("CVE-2026-12345 Detail", "vuln/detail/CVE-2026-12345"), AdvisoryKind.VULNERABILITY, {"CVE-2026-12345"}),
        (article("Pump login bypass", "vulnerability/CVE-2026-12345"), AdvisoryKind.VULNERABILITY, {"CVE-2026-12345"}),
        (article(ADDED, summary="CVE-2026-1111 Harlow Gate"), AdvisoryKind.CATALOG, {"CVE-2026-1111"}),
        (article("CISA adds Harlow flaw to KEV catalog", summary="cve-2026-1111", host="c.example"), AdvisoryKind.CATALOG, {"CVE-2026-1111"}),
    ],
)  # fmt: skip
def test_an_advisory_is_known_by_its_number_whoever_publishes_it(
    known: CandidateArticle, kind: AdvisoryKind, numbers: set[str]
) -> None:
    advisory = find_advisory(known)
    assert advisory is not None
    assert advisory.kind is kind
    assert set(advisory.numbers) == numbers


@pytest.mark.parametrize(
    "other",
    [
        article("Attackers use CVE-2026-1111 against hospitals"),
        article("A week of patches", summary="ICSA-26-320-01 and ICSA-26-320-02 concern pumps."),
        article("Flight AA26 lands", "aa26-lands"),
        article("Pump maker adds staff", summary="It adds one to its catalog."),
        article("A form called ICSA-26-3"),
        article("Pumps are open to all", "2026/11/cve-2026-1111-used-against-hospitals"),
    ],
)
def test_what_only_mentions_numbers_is_no_advisory(other: CandidateArticle) -> None:
    assert find_advisory(other) is None


def stories_of(articles: list[CandidateArticle], links: tuple[StoryGroupingDecision, ...] = ()) -> set[frozenset[str]]:
    return {frozenset(a.url for a in s.members) for s in group_into_stories(articles, 0.24, links=links)}


def alone(articles: list[CandidateArticle]) -> set[frozenset[str]]:
    return {frozenset({a.url}) for a in articles}


def test_lists_of_advisories_and_additions_without_numbers_are_only_themselves() -> None:
    title = "Agency Releases Two Industrial Control Systems Advisories"
    listed = [article(title, f"alerts/{n}", "ICSA-26-320-01 ICSA-26-320-02", host=f"host{n}.example") for n in range(2)]
    added = [article(ADDED, f"alerts/added-{n}", host=f"host{n}.example") for n in range(2)]
    for kind, pair in ((AdvisoryKind.LIST, listed), (AdvisoryKind.CATALOG, added)):
        assert {advisory.kind for a in pair if (advisory := find_advisory(a))} == {kind}
        assert stories_of(pair) == alone(pair)


def test_equal_titles_with_other_numbers_are_149_stories() -> None:
    same = [
        article(ADDED, f"alerts/{n}", f"CVE-2026-{n} Harlow Gate", host=f"host{n % 3}.example", days=n / 100)
        for n in range(1000, 1149)
    ]
    assert stories_of(same) == alone(same)


def test_publishers_that_tell_of_one_number_are_one_story_in_any_order() -> None:
    official = article("Harlow Pump Controller", "ics-advisories/icsa-26-320-01")
    press = article("Open valves at waterworks (ICSA-26-320-01)", host="press.example")
    wire = article("Councils told to patch", summary="The agency's ICSA-26-320-01 says so.", host="wire.example")
    other = article("Harlow Pump Controller", "ics-advisories/icsa-26-320-02", host="mirror.example")
    articles = [official, press, wire, other]
    expected = {frozenset(a.url for a in (official, press, wire)), frozenset({other.url})}
    for seed in range(10):
        random.Random(seed).shuffle(articles)
        assert stories_of(articles) == expected


def test_numbers_connect_by_way_of_each_other_and_contradict_nothing() -> None:
    both = article(ADDED.replace("One", "Two"), "alerts/both", "CVE-2026-1111 and CVE-2026-2222")
    first = article("CISA adds Harlow flaw to KEV", summary="CVE-2026-1111", host="a.example")
    second = article("CISA adds Quill bug to KEV", summary="CVE-2026-2222", host="b.example")
    assert stories_of([first, second, both]) == {frozenset(a.url for a in (first, second, both))}


def test_an_editors_word_holds_against_a_number() -> None:
    pair = [article("Pump", f"icsa-26-320-0{n}", host=f"host{n}.example") for n in (1, 2)]
    urls = frozenset(a.url for a in pair)
    assert stories_of(pair) == alone(pair)
    assert stories_of(pair, (StoryGroupingDecision(urls),)) == {urls}
    same = [article("Pump", f"{n}/icsa-26-320-01", host=f"host{n}.example") for n in (1, 2)]
    apart = StoryGroupingDecision(frozenset({same[0].url}), frozenset({same[1].url}))
    assert stories_of(same) == {frozenset(a.url for a in same)}
    assert stories_of(same, (apart,)) == alone(same)


def test_the_work_grows_with_the_advisories_and_not_with_their_square() -> None:
    many = [article("Pump", f"{n}/icsa-26-{n % 1000:03}-{n // 1000:02}", days=n / 1000) for n in range(2000)]
    assert sum(len(link.apart_from) for link in link_advisories(many)) <= MAX_KEPT_APART * len(many)


def test_all_numbers_that_an_article_names_are_found_in_capitals() -> None:
    named = article("Pumps (cve-2026-1111)", "alerts/aa26-203a", "See VU#123456 and CVE-2026-2222, not CVE-26-1.")
    assert find_advisory_numbers(named) == {"CVE-2026-1111", "AA26-203A", "VU#123456", "CVE-2026-2222"}
