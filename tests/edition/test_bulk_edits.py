"""Edits that name several stories: one entry of the history that moves, removes, or puts under all of them."""

from digest.edition.editing.arrangement import Arrangement, arrange_edition
from digest.edition.editing.edits import EditConflict, EditDraft, EditKind, find_edit_conflict, find_hand_placed_urls
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.selection_types import PreviousEditions
from tests.edition.edited_weeks import ARTICLES, FILE, RELEASE_DAY, arrange, grown_weeks, make_history
from tests.moments import RELEASE

WEEK = grown_weeks()[-1].last
NOWHERE = "https://nowhere.example.org/"


def urls_of(arrangement: Arrangement, section: str) -> list[str]:
    return [story.url for story in arrangement.sections[section]]


def fold(*drafts: EditDraft) -> Arrangement:
    return arrange(WEEK, make_history(*drafts))


FEATURED, EVENTS = (urls_of(fold(), section) for section in ("featured", "events"))


def test_stories_of_several_sections_are_placed_one_below_the_other_in_the_order_that_was_asked_for() -> None:
    first, second, third, *others = FEATURED
    top, *events = EVENTS
    for value in ({"after": events[0]}, {"position": 1}):
        draft = EditDraft(EditKind.PLACE, third, {"section": "events", "others": [top, NOWHERE, first, third]} | value)
        arrangement = fold(draft)
        assert urls_of(arrangement, "events") == [events[0], third, top, first, *events[1:]]
        assert urls_of(arrangement, "featured") == [second, *others]
        assert arrangement.outcomes[0].idle_reason == ""
        edited = [story for story in arrangement.list_stories() if story.edits]
        assert {story.url for story in edited} == {third, top, first}


def test_a_place_in_their_own_section_is_counted_without_them() -> None:
    first, second, third, *others = FEATURED
    draft = EditDraft(EditKind.PLACE, first, {"section": "featured", "position": 1, "others": [second]})
    assert urls_of(fold(draft), "featured") == [third, first, second, *others]


def test_a_story_that_is_gone_keeps_no_other_from_being_moved() -> None:
    draft = EditDraft(EditKind.PLACE, NOWHERE, {"section": "events", "position": 0, "others": FEATURED[:1]})
    assert urls_of(fold(draft), "events")[0] == FEATURED[0]
    alone = fold(EditDraft(EditKind.PLACE, NOWHERE, {"section": "events"}))
    assert alone.outcomes[0].idle_reason == "the article isn't in any of this edition's stories"


def test_several_are_put_under_one_of_them_with_what_is_under_them() -> None:
    first, second, third, *_ = FEATURED
    below = EditDraft(EditKind.UNDER, third, {"main": second})
    draft = EditDraft(EditKind.UNDER, first, {"main": first, "others": [second, EVENTS[0]]})
    arrangement = fold(below, draft)
    (main,) = [story for story in arrangement.sections["featured"] if story.url == first]
    assert [story.url for story in main.supporting] == [second, third, EVENTS[0]]
    assert fold(EditDraft(EditKind.UNDER, first, {"main": first})).outcomes[0].idle_reason


def test_stories_are_kept_for_the_next_edition_after_they_were_removed_too_and_come_back() -> None:
    first, second, *_ = FEATURED
    kept = {"kept": True}
    keep = EditDraft(EditKind.DROP, first, kept | {"others": [second]})

    def shelf(arrangement: Arrangement) -> dict[str, bool]:
        return {removed.scored.url: removed.is_kept for removed in arrangement.removed}

    removed_first = EditDraft(EditKind.DROP, second, {})
    assert shelf(fold(removed_first, keep)) == {first: True, second: True}
    assert shelf(fold(keep, EditDraft(EditKind.RESTORE, second, {}))) == {first: True}
    back = fold(
        removed_first,
        keep,
        *(EditDraft(EditKind.RESTORE, url, {}) for url in (first, second)),
    )
    assert (urls_of(back, "featured"), shelf(back)) == (FEATURED, {})
    again = fold(keep, EditDraft(EditKind.DROP, first, kept), removed_first)
    reasons = [outcome.idle_reason for outcome in again.outcomes]
    assert reasons == ["", "the story was already kept", "the story was already removed"]
    assert shelf(again) == {first: True, second: True}


def test_stories_that_are_different_news_stay_as_they_are_and_are_grouped_apart_from_now_on() -> None:
    first, second, third, *_ = FEATURED
    arrangement = fold(EditDraft(EditKind.APART, first, {"others": [second, third]}))
    assert urls_of(arrangement, "featured") == FEATURED
    assert not any(story.edits for story in arrangement.list_stories())
    pairs = {(one, other) for link in arrangement.links for one in link.urls for other in link.apart_from}
    assert {(first, second), (first, third)} <= pairs
    for others in ([], [first], [NOWHERE]):
        alone = fold(EditDraft(EditKind.APART, first, {"others": others}))
        assert (alone.outcomes[0].idle_reason, alone.links) == ("there aren't two stories anymore", ())


def test_every_story_that_was_moved_was_placed_by_hand() -> None:
    draft = EditDraft(EditKind.PLACE, FEATURED[0], {"section": "events", "others": EVENTS[:2]})
    assert find_hand_placed_urls(make_history(draft)) == {FEATURED[0], *EVENTS[:2]}


def test_a_later_edit_of_any_of_the_stories_is_a_conflict() -> None:
    history = make_history(EditDraft(EditKind.PLACE, EVENTS[1], {"section": "featured"}), actor="staff 2")
    names = arrange(WEEK, history).name_target

    def conflict(*urls: str) -> EditConflict | None:
        draft = EditDraft(EditKind.DROP, urls[0], {"others": list(urls[1:])})
        return find_edit_conflict(draft, history, based_on=0, resolve=names)

    assert conflict(FEATURED[0], EVENTS[1])
    assert conflict(EVENTS[1], FEATURED[0])
    assert conflict(FEATURED[0], EVENTS[0]) is None
    bulk = make_history(EditDraft(EditKind.PLACE, FEATURED[0], {"section": "events", "others": [EVENTS[1]]}))
    assert find_edit_conflict(EditDraft(EditKind.DROP, EVENTS[1], {}), bulk, based_on=0, resolve=names)


def test_the_story_next_in_line_is_within_the_limit_of_stories_per_topic() -> None:
    sections = [s.model_copy(update={"most": {"featured": 1, "topics": 3}.get(s.key, 0)}) for s in FILE.sections]
    file = FILE.model_copy(update={"sections": sections})
    proposal = propose_edition(
        ARTICLES, select=file.select, sections=sections, kinds=SECTION_KINDS, now=RELEASE, previous=PreviousEditions()
    )
    first, second, third = proposal.sections["topics"]
    topics = {out.scored.url: out.scored.topic for out in proposal.left_out}
    best, next_best, *_ = proposal.reserves["topics"]
    assert topics[best] == third.scored.topic != topics[next_best]
    set_topic = EditDraft(EditKind.TOPIC, first.scored.url, {"topic": topics[best]})
    for dropped, following in ((second, next_best), (third, best)):
        history = make_history(set_topic, EditDraft(EditKind.DROP, dropped.scored.url, {}))
        arrangement = arrange_edition(ProposalWithLateStories(proposal), history, file, RELEASE_DAY)
        assert arrangement.outcomes[-1].replacement_urls == (), "editors decide whether to fill the place"
        assert arrangement.next_up["topics"] == following
    for url, is_chosen in ((best, False), (next_best, True)):
        drop = EditDraft(EditKind.DROP, third.scored.url, {})
        history = make_history(drop, EditDraft(EditKind.PLACE, url, {"section": "topics"}))
        arrangement = arrange_edition(ProposalWithLateStories(proposal), history, file, RELEASE_DAY)
        (added,) = [story for story in arrangement.sections["topics"] if story.url == url]
        assert added.placed.is_chosen is is_chosen
