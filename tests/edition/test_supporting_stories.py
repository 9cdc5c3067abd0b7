"""A story that selection puts under another one: on the edition's page, in the email, and in the tray."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from digest.edition.drafting.composition import compose_edition, list_story_rows
from digest.edition.editing.arrangement import arrange_edition
from digest.edition.editing.stored_proposal import (
    ProposalWithLateStories,
    add_late_stories,
    pack_proposal,
    unpack_proposal,
)
from digest.select.selection_types import Proposal, ScoredStory
from digest.settings import Settings
from tests.edition.edited_weeks import ARTICLES, FILE, IDENTITY, NOW, RELEASE_DAY, propose

UNDER = replace(
    ARTICLES[0],
    url="https://county-line.example.org/under",
    link="https://county-line.example.org/under",
    title="One surgeon stayed through the night",
)


def with_supporting(section: str) -> Proposal:
    proposal = propose(ARTICLES)
    first, *others = proposal.sections["featured"]
    under = ScoredStory(replace(first.scored.story, lead=UNDER, also_reported=(), further_articles=()), 20.0, ())
    placed = (replace(first, supporting=(under,)), *others)
    return replace(proposal, sections={section: placed})


@pytest.mark.parametrize(
    ("section", "fragment_name"), [("featured", "section:featured"), ("topics", r"section:topics:[a-z-]+\.topic")]
)
def test_it_is_linked_under_its_story_in_mail_and_text(section: str, fragment_name: str) -> None:
    composed = compose_edition(ProposalWithLateStories(with_supporting(section)), (), IDENTITY, Settings(file=FILE))
    story_url = composed.content.sections[0].entries[0].url
    written = [f for f in composed.fragments if re.fullmatch(fragment_name, f.name) and story_url in f.body]
    assert {f.kind for f in written} >= {"html", "text"}
    for fragment in written:
        assert UNDER.link in fragment.body
        title = r"One\s+surgeon\s+stayed\s+through\s+the\s+night"
        assert re.search(rf"Related:?\s*(?:<[^>]+>\s*)*{title}", fragment.body)


def test_its_articles_are_those_of_the_story_above_in_the_record_of_the_edition() -> None:
    arrangement = arrange_edition(ProposalWithLateStories(with_supporting("featured")), (), FILE, RELEASE_DAY)
    assert [s.url for s in arrangement.sections["featured"][0].supporting] == [UNDER.url]
    rows = list_story_rows(arrangement).values()
    holders = [row for row in rows if UNDER.url in row.as_values()["members"]]
    assert [(row.section, row.position) for row in holders] == [("featured", 0)]


def test_it_is_stored_with_the_proposal_and_does_not_come_again_in_the_tray() -> None:
    proposal = with_supporting("featured")
    grown = unpack_proposal(pack_proposal(ProposalWithLateStories(proposal)))
    assert grown
    assert grown.proposal == proposal
    assert add_late_stories(grown, proposal, NOW + timedelta(hours=1)).tray == ()
