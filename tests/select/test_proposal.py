"""The stories of an edition, their order, and the reasons why others are left out."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.cli.editions.group import explain_proposal
from digest.collect.documents.deadlines import Deadline
from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions, PreviouslyUsedArticle, Proposal
from digest.select.story_links import StoryGroupingDecision
from digest.settings import DEFAULT_SECTIONS, RankingWeights, SectionSettings, SelectionSettings
from tests.moments import DRAFTING as NOW

TITLES = {
    "Ransomware gang shuts hospitals in Harlow": "Cybersecurity",
    "Botnet of home routers seized in Duck operation": "Cybersecurity",
    "Phishing wave aims at payroll offices": "Cybersecurity",
    "Spyware maker loses appeal in Luxembourg": "Cybersecurity",
    "Hurricane Nadia turns toward Bermuda": "Disaster response",
    "Earthquake cracks bridges near Quito": "Disaster response",
    "Wildfire crosses highway north of Redding": "Disaster response",
    "Measles outbreak closes summer camps": "Public health",
    "Coast Guard boards tanker off Guam": "Maritime security",
    "TSA extends PreCheck to cruise lines": "Aviation security",
    "Border Patrol finds tunnel under Nogales": "Border security",
    "Power grid operators rehearse blackout": "Critical infrastructure",
    "Human trafficking ring broken up in Lyon": "Human trafficking",
    "Firefighter union and city sign contract": "Fire service",
    "Deportation flights pause over weather": "Immigration",
    "Counter-drone trial opens at stadium": "Counter-drone",
}


def article(title: str, publisher: str = "", *, days: float = 1, **more: object) -> CandidateArticle:
    publisher = publisher or f"Press {title.split(maxsplit=1)[0]} {len(title)}"
    url = f"https://{publisher.lower().replace(' ', '-')}.example.org/{title.lower().replace(' ', '-')}"
    plain = CandidateArticle(url, url, title, "", publisher, publisher, NOW - timedelta(days=days))
    return replace(plain, **more)  # type: ignore[arg-type]  # by name, as the test says


def week() -> list[CandidateArticle]:
    return [article(t, days=1 + n / 10) for n, t in enumerate(TITLES)]


def propose(
    candidates: list[CandidateArticle],
    select: SelectionSettings | None = None,
    previous: PreviousEditions | None = None,
    **more: object,
) -> Proposal:
    sections = more.get("sections", DEFAULT_SECTIONS)
    assert isinstance(sections, (list, tuple))
    return propose_edition(
        candidates,
        select=select or SelectionSettings(),
        sections=sections,
        kinds=SECTION_KINDS,
        now=NOW,
        previous=previous or PreviousEditions(),
        **{k: more[k] for k in ("topic_overrides", "links") if k in more},  # type: ignore[arg-type]  # by name, as the test says
    )


def leads(proposal: Proposal, key: str) -> list[str]:
    return [p.scored.story.lead.title for p in proposal.sections.get(key, ())]


def reasons(proposal: Proposal) -> dict[str, str]:
    return {out.scored.story.lead.url: out.reason for out in proposal.left_out}


def aggregated(title: str, site: str, publisher: str = "") -> CandidateArticle:
    url = f"https://{site}/{title.lower().replace(' ', '-')}"
    return article(title, publisher or site, url=url, link=url, source="Lists", aggregated=True)


def test_each_publisher_of_an_aggregator_leads_stories_of_its_own() -> None:
    """One feed carries seven publishers: none of their stories is too many for another."""
    listed = [aggregated(title, f"press-{n % 7}.example") for n, title in enumerate(TITLES)]
    proposal = propose(listed)
    assert len(leads(proposal, "featured") + leads(proposal, "topics")) == 14
    assert not any("already in the edition" in reason for reason in reasons(proposal).values())
    assert not any("per_publisher" in note for note in proposal.notes)


def test_a_publisher_with_a_source_of_its_own_counts_once() -> None:
    title = "Ransomware gang shuts hospitals in Harlow"
    own = article(title, "Harbor Light", url="https://harbor.example/a", source="Harbor Light news")
    proposal = propose([own, aggregated(f"{title} today", "harbor.example"), *week()[1:]])
    (story,) = [p.scored.story for p in proposal.sections["featured"] if title in p.scored.lead.title]
    assert {a.publisher for a in story.members} == {"Harbor Light"}


def test_an_article_whose_item_gives_no_publisher_has_the_one_of_its_site() -> None:
    title = "Ransomware gang shuts hospitals in Harlow"
    listed = [aggregated(title, "harbor.example", "Harbor Light"), aggregated(f"{title} today", "harbor.example")]
    searched = [aggregated(t, "search.example", f"Paper {n}") for n, t in enumerate(list(TITLES)[1:4])]
    stories = [p.scored.story for placed in propose([*listed, *searched]).sections.values() for p in placed]
    publishers = {a.title: a.publisher for story in stories for a in story.members}
    assert publishers[f"{title} today"] == "Harbor Light"
    assert {publishers[a.title] for a in searched} == {"Paper 0", "Paper 1", "Paper 2"}, "one host, three publishers"


def test_an_editors_correction_of_a_topic_holds_in_a_proposal() -> None:
    corrected = {a.url: "Public health" for a in week() if a.title.startswith("Ransomware")}
    stories = [p.scored for placed in propose(week(), topic_overrides=corrected).sections.values() for p in placed]
    assert {s.topic for s in stories if s.story.lead.url in corrected} == {"Public health"}


def test_featured_has_at_most_two_of_a_topic_and_topics_two_more() -> None:
    proposal = propose(week())
    for key in ("featured", "topics"):
        topics = Counter(p.scored.topic for p in proposal.sections[key])
        assert max(topics.values()) <= 2
    assert len(proposal.sections["featured"]) == 6
    assert len(proposal.sections["topics"]) == 8


def test_topics_stand_together() -> None:
    order = [p.scored.topic for p in propose(week()).sections["topics"]]
    assert len([n for n, t in enumerate(order) if n == 0 or order[n - 1] != t]) == len(set(order))


def test_a_publisher_leads_no_more_stories_than_it_may() -> None:
    candidates = [replace(a, publisher="CISA") if n < 9 else a for n, a in enumerate(week())]
    proposal = propose(candidates)
    led = Counter(p.scored.story.lead.publisher for k in ("featured", "topics") for p in proposal.sections[k])
    assert led["CISA"] == 3
    assert "3 stories from CISA are already in the edition" in reasons(proposal).values()


def test_another_publishers_page_leads_a_story_whose_publisher_leads_enough() -> None:
    told = "Two towns below the Marten Creek dam were cleared after days of rain, FEMA said."
    dam = [
        article("FEMA clears two towns as Marten Creek dam gives way", "Alpha", summary=told, days=1, primary=True),
        article("Marten Creek dam gives way, two towns cleared", "Beta", summary=told, days=1.2),
        article("Video: towns below Marten Creek dam cleared", "Gamma", summary=told, days=1.1),
    ]
    pinned = [replace(a, publisher="Alpha") for a in week()[:2]]
    select = SelectionSettings(per_publisher=2, pins=[a.url for a in pinned])
    proposal = propose([*week()[2:], *pinned, *dam], select)
    placed = [p.scored for key in ("featured", "topics") for p in proposal.sections[key]]
    (story,) = [s.story for s in placed if s.url in {a.url for a in dam}]
    assert story.lead == dam[1]
    assert {a.url for a in story.members} == {a.url for a in dam}
    assert not {a.url for a in dam} & reasons(proposal).keys()


def test_the_cap_of_a_publisher_is_relaxed_before_an_edition_is_held_and_a_note_says_so() -> None:
    feed = [replace(a, publisher="Aggregator") for a in week()]
    proposal = propose(feed, SelectionSettings(minimum=4))
    assert proposal.incomplete_reason == ""
    assert len(leads(proposal, "featured")) == 6
    assert any("the limit per publisher (3) doesn't apply" in note for note in proposal.notes)
    enough = propose(feed, SelectionSettings(minimum=3))
    assert len(leads(enough, "featured")) == 3
    assert not any("per_publisher" in note for note in enough.notes)


def test_only_news_is_featured() -> None:
    candidates = [*week(), article("Ransomware scanner for ports", section="products", weight=3.0)]
    proposal = propose(candidates)
    assert leads(proposal, "products") == ["Ransomware scanner for ports"]


def test_pins_come_first_in_their_order_and_pass_the_caps() -> None:
    candidates = week()
    off = article("Singer dies at 76", days=6)
    pins = [off.url, candidates[3].url, candidates[2].url, candidates[1].url]
    proposal = propose([*candidates, off], SelectionSettings(pins=pins))
    assert leads(proposal, "featured")[:4] == [off.title, candidates[3].title, candidates[2].title, candidates[1].title]


def test_a_pinned_article_speaks_for_its_story() -> None:
    first = article(
        "Dam at Marten Creek gives way", "Alpha", summary="Two towns below the Marten Creek dam were cleared."
    )
    two = article(
        "Marten Creek dam gives way",
        "Beta",
        summary="Two towns below the Marten Creek dam were cleared, officials said.",
    )
    proposal = propose([*week(), first, two], SelectionSettings(pins=[two.url]))
    story = proposal.sections["featured"][0].scored.story
    assert (story.lead.url, [a.url for a in story.also_reported]) == (two.url, [first.url])


def test_a_banned_article_stays_out_even_when_pinned() -> None:
    candidates = week()
    proposal = propose(candidates, SelectionSettings(bans=[candidates[0].url], pins=[candidates[0].url]))
    assert reasons(proposal)[candidates[0].url] == "an editor excluded it"
    assert any("both pinned and banned" in n for n in proposal.notes)


def test_a_pin_that_is_not_among_the_articles_is_said() -> None:
    assert any(
        "is pinned, but it isn't among" in n
        for n in propose(week(), SelectionSettings(pins=["https://x.example.org/"])).notes
    )


def test_what_an_earlier_edition_had_is_left_out_by_url_and_by_title() -> None:
    candidates = week()
    other = article("Measles outbreak closes the summer camps", "Other Press")
    used = (
        PreviouslyUsedArticle("2026-W45", candidates[0].url, candidates[0].title, 145),
        PreviouslyUsedArticle("2026-W46", "https://elsewhere.example.org/1", candidates[7].title, 146),
    )
    why = reasons(propose([*candidates, other], previous=PreviousEditions(used)))
    assert why[candidates[0].url] == "it was in No. 145"
    assert why[candidates[7].url] == why[other.url] == "it was in No. 146 under nearly the same title"


def test_a_series_of_one_title_comes_again_when_its_text_is_new() -> None:
    title = "CISA adds one known exploited vulnerability to catalog"
    old = article(
        title,
        "CISA",
        days=9,
        summary="CISA has added CVE-2026-1111 to its catalog.",
        url="https://cisa.example.org/old",
    )
    new = replace(
        old,
        url="https://cisa.example.org/new",
        link="https://cisa.example.org/new",
        dated_at=NOW,
        summary="CISA has added CVE-2026-2222 to its catalog.",
    )
    previous = PreviousEditions((PreviouslyUsedArticle("2026-W46", old.url, title),), (old,))
    assert new.url not in reasons(propose([*week()[4:], new], previous=previous))
    same = replace(new, summary=old.summary)
    assert "nearly the same title" in reasons(propose([*week()[4:], same], previous=previous))[new.url]


def test_advisories_of_one_title_and_without_a_text_are_no_repeats_of_each_other() -> None:
    title = "CISA adds one known exploited vulnerability to catalog"
    old, new = (article(title, "CISA", days=d, url=f"https://cisa.example.org/{d}") for d in (9, 1))
    previous = PreviousEditions((PreviouslyUsedArticle("2026-W46", old.url, title),), (old,))
    assert new.url not in reasons(propose([*week()[4:], new], previous=previous))
    assert reasons(propose([*week()[4:], old], previous=previous))[old.url] == "it was in 2026-W46"


def test_a_superseded_advisory_stays_out_and_says_by_which_unless_it_is_pinned() -> None:
    old = article("Harlow pump controller", "CISA", superseded="superseded by ICSA-26-330-01")
    assert reasons(propose([*week(), old]))[old.url] == "superseded by ICSA-26-330-01, according to its page"
    pinned = propose([*week(), old], SelectionSettings(pins=[old.url]))
    assert old.url in {a.url for a in pinned.lead_articles}


def test_most_read_goes_by_reads_alone_and_repeats_nothing() -> None:
    own = [
        article(f"{t} today", "HLS", own=True, views=v)
        for t, v in zip(("Alpha note", "Beta note", "Gamma note"), (10, 900, 0), strict=True)
    ]
    proposal = propose([*week(), *own], SelectionSettings(minimum=1))
    featured = leads(proposal, "featured")
    expected = [t for t in ("Beta note today", "Alpha note today") if t not in featured]
    assert leads(proposal, "most-read") == expected
    assert expected


def test_most_read_follows_the_sites_own_order_and_leaves_out_what_hardly_anyone_read() -> None:
    """A day's views of a new story don't put it before one that more people read."""
    views = {
        "Alpha note": (1, 0.1),
        "Beta note": (300, 6),
        "Gamma note": (299, 0.2),
        "Delta note": (9, 1),
        "Eta note": (10, 1),
    }
    own = [article(f"{t} today", "HLS", own=True, views=v, days=days) for t, (v, days) in views.items()]
    sections = [SectionSettings(key="most-read", title="Most read", kind="most-read")]
    proposal = propose(own, SelectionSettings(minimum=1), sections=sections)
    assert leads(proposal, "most-read") == ["Beta note today", "Gamma note today", "Eta note today"]
    lower = propose(own, SelectionSettings(minimum=1, minimum_reads=1), sections=sections)
    assert leads(lower, "most-read")[-1] == "Alpha note today"


def test_without_views_most_read_vanishes_and_the_proposal_says_why_scores_differ() -> None:
    proposal = propose(week())
    assert "most-read" not in proposal.sections
    assert any("readership" in n for n in proposal.notes)


def event(title: str, starts: timedelta, *, days: float = 1, all_day: bool = False) -> CandidateArticle:
    return article(title, days=days, section="events", starts_at=NOW + starts, all_day=all_day)


def test_events_are_those_to_come_within_90_days_by_date() -> None:
    candidates = [
        event("Border Expo", timedelta(days=40)),
        event("Port Summit", timedelta(days=3)),
        event("Radio Forum", timedelta(days=-1)),
        event("Cyber Fair", timedelta(days=120)),
        article("Undated Meeting", section="events"),
        event("Fire Day", timedelta(hours=-20), all_day=True),
    ]
    proposal = propose([*week(), *candidates])
    assert leads(proposal, "events") == ["Fire Day", "Port Summit", "Border Expo"]
    why = reasons(proposal)
    assert why[candidates[2].url] == "it's a past event (November 18)"
    assert why[candidates[3].url] == "it's an event more than 90 days away (March 19)"
    assert why[candidates[4].url] == "it's an event without its own date"


def test_one_event_of_two_sources_is_announced_once() -> None:
    first = event("The Port Summit", timedelta(days=3), days=2)
    two = replace(first, url="https://b.example.org/", link="https://b.example.org/", publisher="B", dated_at=NOW)
    proposal = propose([*week(), first, two])
    (placed,) = proposal.sections["events"]
    assert [a.url for a in placed.scored.story.also_reported] == [two.url]


def test_opportunities_are_open_ones_soonest_deadline_first_and_undated_last() -> None:
    candidates = [
        article("Grant without end", section="opportunities"),
        article("Grant of December", section="opportunities", deadline=Deadline(date(2026, 12, 4))),
        article("Grant of today", section="opportunities", deadline=Deadline(NOW.date())),
        article("Grant of yesterday", section="opportunities", deadline=Deadline(date(2026, 11, 18))),
    ]
    proposal = propose([*week(), *candidates])
    assert leads(proposal, "opportunities") == ["Grant of today", "Grant of December", "Grant without end"]
    assert reasons(proposal)[candidates[3].url] == "it closed on November 18"


def test_a_call_that_closes_before_the_release_is_left_out_to_the_minute() -> None:
    until = (NOW + timedelta(minutes=n) for n in (0, 1))  # NOW is 5:30 p.m. in New York
    calls = [
        article(f"Call {n}", section="opportunities", deadline=Deadline(date(2026, 11, 19), at.time(), "UTC"))
        for n, at in enumerate(until)
    ]
    proposal = propose([*week(), *calls])
    assert leads(proposal, "opportunities") == ["Call 1"]
    assert reasons(proposal)[calls[0].url] == "it closed on November 19"


def test_days_to_fix_flaws_leave_room_for_calls_that_close_later() -> None:
    names = ("Router", "Camera", "Printer", "Firewall", "Browser", "Phone")

    def dated(title: str, label: str, days: int) -> CandidateArticle:
        deadline = Deadline(NOW.date() + timedelta(days=days), label=label)
        return article(title, section="opportunities", deadline=deadline)

    fixes = [dated(f"{name} flaw is exploited", "fixes", days) for days, name in enumerate(names, 1)]
    calls = [dated(f"{name} grant opens", "applications", 30) for name in ("Choir", "Museum", "Library")]
    few = leads(propose([*week(), *fixes, *calls]), "opportunities")
    assert few[:2] == ["Router flaw is exploited", "Camera flaw is exploited"]
    assert set(few[2:]) == {call.title for call in calls}
    assert leads(propose([*week(), *fixes]), "opportunities") == [fix.title for fix in fixes[:5]]
    pinned = propose([*week(), *fixes, *calls], SelectionSettings(pins=[fixes[5].url]))
    assert fixes[5].title in leads(pinned, "opportunities")


def test_official_news_that_calls_for_applications_is_an_opportunity_unless_it_stands_elsewhere() -> None:
    def call(title: str, label: str = "applications", *, primary: bool = True, days: int = 9) -> CandidateArticle:
        deadline = Deadline(NOW.date() + timedelta(days=days), label=label)
        return article(title, days=6, primary=primary, deadline=deadline)

    calls = [call("Choir grant opens"), call("Museum repairs wait", "fixes"), call("Opera stipend blog", primary=False),
             call("Library fund ended", days=-1)]  # fmt: skip
    proposal = propose([*week(), *calls])
    assert leads(proposal, "opportunities") == ["Choir grant opens"]
    assert {c.url for c in calls[1:]} <= reasons(proposal).keys()
    featured = propose([*week(), *calls], SelectionSettings(pins=[calls[0].url]))
    assert leads(featured, "featured")[0] == "Choir grant opens"
    assert leads(featured, "opportunities") == []


def test_an_own_section_takes_its_topics_before_topics_does() -> None:
    desk = SectionSettings(key="cyber", title="Cyber desk", kind="stories", topics=["cybersecurity"], most=2)
    sections = (DEFAULT_SECTIONS[2], desk, DEFAULT_SECTIONS[0])
    proposal = propose(week(), sections=sections)
    assert list(proposal.sections) == ["topics", "cyber", "featured"]
    assert {p.scored.topic for p in proposal.sections["cyber"]} == {"Cybersecurity"}
    assert len(proposal.sections["cyber"]) == 2


def test_further_pieces_of_one_matter_come_only_when_there_is_nothing_else() -> None:
    saga = [
        article(f"Hurricane Nadia {what}", f"Wire {what}", summary=f"Hurricane Nadia, Bermuda: {what}")
        for what in ("shelters open", "ferries stop", "schools close")
    ]
    proposal = propose([*week(), *saga], SelectionSettings(same_story=0.8))
    placed = [t for k in ("featured", "topics") for t in leads(proposal, k)]
    assert sum("Nadia" in t for t in placed) <= 2
    thin = propose(saga, SelectionSettings(same_story=0.8, minimum=1))
    assert sum("Nadia" in t for t in leads(thin, "featured")) == 3


def test_what_has_no_topic_of_ours_is_featured_after_all_that_has_one() -> None:
    cyber = [a for a in week() if TITLES[a.title] == "Cybersecurity"]
    aside = article("Singer dies at 76", days=0)
    own = article("Letter to our readers", "HLS", own=True, days=6)
    sections = [SectionSettings(key="featured", title="Featured", kind="featured", most=6)]
    featured = leads(propose([*cyber, aside, own], sections=sections), "featured")
    assert featured[-1] == aside.title
    assert len(featured) == 6


def test_a_further_story_of_a_matter_stands_under_the_first_and_is_not_left_out() -> None:
    told = "Hurricane Nadia came ashore in Oakdale County and cut the power of two towns."
    saga = [
        article("Hurricane Nadia comes ashore in Oakdale", "Wire", days=1, summary=told),
        article("Oakdale mayor opens schools to those whom Hurricane Nadia drove out", "Wire", days=6.5, summary=told),
    ]
    proposal = propose([*week()[:4], *week()[5:], *saga])
    (placed,) = [p for key in ("featured", "topics") for p in proposal.sections[key] if p.supporting]
    assert {placed.scored.story.lead.url, placed.supporting[0].story.lead.url} == {a.url for a in saga}
    assert placed.scored.score >= placed.supporting[0].score
    assert not {a.url for a in saga} & reasons(proposal).keys()
    assert placed.supporting[0].story.lead in proposal.lead_articles


@pytest.mark.parametrize(
    "title",
    [
        "Oakdale shelters full as Hurricane Nadia is ashore",
        "Oakdale schools shelter 900 people after Hurricane Nadia",
        "Oakdale mayor opens schools to those whom Hurricane Nadia drove out.",
    ],
)
def test_a_repeated_title_or_a_sentence_of_a_post_does_not_stand_under_the_first_story(title: str) -> None:
    told = "Hurricane Nadia came ashore in Oakdale County and cut the power of two towns."
    saga = [
        article("Hurricane Nadia comes ashore in Oakdale", "Wire", days=1, summary=told),
        article("Schools in Oakdale shelter 900 people, county says", "Herald", days=1.5, summary=told),
        article(title, "Wire", days=6.5, summary=told),
    ]
    apart = StoryGroupingDecision(frozenset({saga[0].url, saga[1].url}), frozenset({saga[2].url}))
    proposal = propose([*week()[:4], *week()[5:], *saga], links=[apart])
    placed = [p for key in ("featured", "topics") for p in proposal.sections[key]]
    assert saga[0] in [p.scored.lead for p in placed]
    assert not [p for p in placed if p.supporting]


def test_a_story_that_shares_no_rare_name_with_the_first_does_not_stand_under_it() -> None:
    told = "A hurricane came ashore and cut the power of two towns, and the governor called for help."
    saga = [
        article("Hurricane comes ashore and cuts the power", "Wire", days=1, summary=told),
        article("Mayor opens schools to those whom the hurricane drove out", "Wire", days=6.5, summary=told),
    ]
    proposal = propose([*week()[:4], *week()[5:], *saga])
    assert not [p for placed in proposal.sections.values() for p in placed if p.supporting]


def test_another_advisory_of_one_series_does_not_stand_under_the_first() -> None:
    told = "CISA has added {} to its Known Exploited Vulnerabilities Catalog, based on evidence of active exploitation."
    series = [
        article(
            f"CISA adds {what} to Known Exploited Vulnerabilities Catalog", "CISA", summary=told.format(cve), days=1 + n
        )
        for n, (what, cve) in enumerate((("Harlow Pump Suite flaw", "CVE-2026-1111"), ("Quay Router", "CVE-2026-2222")))
    ]
    sections = [SectionSettings(key="featured", title="Featured", kind="featured", most=3)]
    proposal = propose([*week()[3:], *series], sections=sections)
    assert series[0].title in leads(proposal, "featured")
    assert not any(p.supporting for placed in proposal.sections.values() for p in placed)
    assert proposal.likely_merges == ()


def test_a_quarrel_over_a_matter_does_not_stand_under_its_story() -> None:
    told = "Hurricane Nadia came ashore in Oakdale County and cut the power of two towns."
    saga = [
        article("Hurricane Nadia comes ashore in Oakdale", "Wire", days=1, summary=told),
        article("Oakdale mayor blasts the state over Hurricane Nadia", "Wire", days=6.5, summary=told),
    ]
    proposal = propose([*week()[:4], *week()[5:], *saga])
    assert not any(p.supporting for placed in proposal.sections.values() for p in placed)
    assert proposal.likely_merges == ((saga[0].url, saga[1].url),), "an editor may see it otherwise"


def carried(title: str, count: int, days: float) -> list[CandidateArticle]:
    return [article(f"{title}, says {word}", f"{title[:4]} {word}", days=days) for word in "ABCDEFGHI"[:count]]


def test_the_cap_of_a_topic_does_not_put_out_a_story_of_far_higher_coverage() -> None:
    sections = [SectionSettings(key="featured", title="Featured", kind="featured", most=3)]
    fresh = [
        carried("Ransomware shuts the port of Harlow", 2, 0),
        carried("Phishing wave aims at payroll offices", 2, 0),
    ]
    wide = carried("Botnet of routers seized across Ohio", 6, 9)
    flat = SelectionSettings(variety=1, minimum=1, weights=RankingWeights(coverage=0.1, freshness=1.0))
    other = article("Measles outbreak closes summer camps", days=12)
    featured = propose([a for one in (*fresh, wide, [other]) for a in one], flat, sections=sections)
    assert [len(p.scored.story.publishers) for p in featured.sections["featured"]] == [2, 2, 6]
    narrow = propose([a for one in (*fresh, wide[:3], [other]) for a in one], flat, sections=sections)
    assert leads(narrow, "featured")[-1] == other.title
    assert "2 stories on Cybersecurity are already in Featured" in reasons(narrow).values()


def test_a_lower_score_above_a_higher_one_names_the_rule() -> None:
    candidates = week()
    unmoved = RankingWeights(editorial=0)  # so that a pin brings no points
    proposal = propose(candidates, SelectionSettings(pins=[candidates[-1].url], weights=unmoved))
    first = proposal.sections["featured"][0]
    assert first.rule.startswith("above “")
    assert first.rule.endswith(": an editor pinned it")
    said = list(explain_proposal(proposal))
    assert any(line.startswith("     summary: ") for line in said)
    assert f"     {first.rule}" in said
    assert any(line.startswith("     skipped: ") for line in said)


def test_too_few_news_stories_hold_the_edition() -> None:
    proposal = propose(week()[:3])
    assert proposal.incomplete_reason == "it has 3 news stories and needs at least 4"
    assert propose(week()[4:8]).incomplete_reason == ""
    assert propose([]).incomplete_reason.startswith("it has 0 news stories")


def test_left_out_is_ordered_best_first_with_one_reason_each() -> None:
    crowd = [
        article(f"Ransomware hits town {n} of {name}", days=5)
        for n, name in enumerate(["Aa", "Bb", "Cc", "Dd", "Ee", "Ff"])
    ]
    proposal = propose([*week(), *crowd, article("Singer dies at 76")])
    scores = [out.scored.score for out in proposal.left_out]
    assert scores == sorted(scores, reverse=True)
    assert all(out.reason for out in proposal.left_out)
    assert "it doesn't match any of our topics" in reasons(proposal).values()
    assert any("is below the lowest in" in r for r in reasons(proposal).values())


def test_related_are_earlier_articles_of_the_same_matter_newest_first() -> None:
    titles = (
        "Hurricane Nadia forms east of Bermuda",
        "Nadia, a hurricane now, nears Bermuda",
        "Bermuda counts hurricane shelters",
        "Hurricane Nadia turns to Bermuda",
    )
    old = [article(t, f"Wire {n}", days=d) for n, (t, d) in enumerate(zip(titles, (12, 9, 15, 10), strict=True))]
    proposal = propose(
        week(), previous=PreviousEditions(earlier_articles=(*old, article("Choir sings in Lyon", days=9)))
    )
    placed = next(
        p for k in ("featured", "topics") for p in proposal.sections[k] if "Nadia" in p.scored.story.lead.title
    )
    assert [r.publisher for r in placed.related] == ["Wire 1", "Wire 0", "Wire 2"]  # the fourth says what the lead says


def test_related_articles_share_a_rare_name_with_the_story_and_are_no_sentences_of_posts() -> None:
    earlier = [
        article(title, f"Wire {n}", days=12 + n)
        for n, title in enumerate(
            (
                "Nadia nears Bermuda",
                "Shelters open as hurricane turns to islands",
                "Hurricane Nadia has turned to Bermuda and will be there by Friday.",
                "Hurricane shelters in Bermuda are open for all who have to leave their homes before Nadia comes, said the mayor on his page",
            )
        )
    ]  # fmt: skip
    hurricane = article("Hurricane Nadia reaches Bermuda, islands open shelters", "Coast Press", days=0.5)
    proposal = propose(
        [*week()[:4], *week()[5:], hurricane], previous=PreviousEditions(earlier_articles=tuple(earlier))
    )
    (placed,) = [p for stories in proposal.sections.values() for p in stories if p.scored.lead == hurricane]
    assert [related.title for related in placed.related] == ["Nadia nears Bermuda"]


any_article = st.builds(
    lambda title, publisher, days, section, views, own, at: article(
        title, publisher, days=days, section=section, views=views, own=own,
        starts_at=NOW + timedelta(days=at) if section == "events" else None,
        deadline=Deadline((NOW + timedelta(days=at)).date()) if section == "opportunities" else None,
    ),
    st.sampled_from([*TITLES, "Singer dies at 76", "Weekly roundup of ports"]),
    st.sampled_from(["CISA", "Wire", "HLS", "Post", "Times"]),
    st.floats(0, 7),
    st.sampled_from(["news", "news", "news", "products", "events", "opportunities"]),
    st.none() | st.integers(0, 500),
    st.booleans(),
    st.integers(-20, 120),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(any_article, max_size=40), st.randoms(use_true_random=False))
def test_every_article_ends_in_one_place_in_any_order_and_the_caps_hold(
    found: list[CandidateArticle], chance: random.Random
) -> None:
    found = list({(c.url, c.section): c for c in found}.values())
    proposal = propose(found)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert propose(shuffled) == proposal
    all_placed = [p for placed in proposal.sections.values() for p in placed]
    stories = [s.story for p in all_placed for s in (p.scored, *p.supporting)]
    stories += [out.scored.story for out in proposal.left_out]
    assert sorted(m.url for s in stories for m in s.members) == sorted({c.url for c in found})
    led = Counter(p.scored.story.lead.publisher for k in ("featured", "topics") for p in proposal.sections.get(k, ()))
    assert all(n <= 3 for n in led.values())
    assert all(len(proposal.sections.get(s.key, ())) <= s.most for s in DEFAULT_SECTIONS)
    for out in proposal.left_out:
        assert out.reason
    used = [r.url for placed in proposal.sections.values() for p in placed for r in p.related]
    inside = {m.url for p in all_placed for s in (p.scored, *p.supporting) for m in s.story.members}
    assert len(used) == len(set(used))
    assert not inside & set(used)
    for kinds in (("featured", "most-read", "topics"), ("products",), ("events",), ("opportunities",)):
        shown = [p for key in kinds for p in proposal.sections.get(key, ())]
        for place, p in enumerate(shown):
            higher = [below for below in shown[place + 1 :] if below.scored.score > p.scored.score]
            assert bool(p.rule) == bool(higher)
            assert not higher or any(below.scored.story.lead.title in p.rule for below in higher)
