"""Several stories changed by one form, without scripts: their checkboxes and the bar's questions."""

import re
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from digest.edition.editing.edit_log import store_proposal
from digest.edition.editing.stored_proposal import pack_proposal
from digest.store.models import Edition
from digest.web.desk.outline.story_pool import story_anchor
from tests.web.desk.sample_week import SampleWeek


def act_on(week: SampleWeek, word: str, *anchors: str, editor: str = "dana", **fields: Any) -> Any:
    """Press a button of the bar with some boxes ticked."""
    return week.act(word, editor, story=list(anchors), **fields)


def test_each_row_has_a_box_of_the_form_and_the_form_has_what_can_be_done(week: SampleWeek) -> None:
    page = week.client().get(week.path).text
    boxes = re.findall(
        r'<input class="tick" type="checkbox" form="selected" name="story" value="(s[0-9a-f]{12})"', page
    )
    rows = re.findall(r'<li class="(?:st|cand)[^>]*data-story="(s[0-9a-f]{12})"', page)
    assert sorted(boxes) == sorted(rows)
    bar = re.search(r'<form class="picks" id="selected".*?</form>', page, re.DOTALL)
    assert bar
    assert f'action="{week.path}/act"' in bar[0]
    first = re.search(r"<button[^>]*>", bar[0])
    assert first
    assert "disabled" in first[0], "Enter in a box would press it"
    offered = re.findall(r'<option value="([a-z-]+)">', bar[0])
    assert "topics" in offered
    assert "most-read" not in offered


def test_boxes_that_are_ticked_are_removed_moved_and_come_back_with_one_undo(week: SampleWeek) -> None:
    featured, topics = week.anchors("featured"), week.anchors("topics")
    answer = act_on(week, "drop", featured[1], topics[0], featured[2])
    assert (answer.status_code, answer.location.split("?")[0]) == (303, week.path)
    assert not {featured[1], featured[2], topics[0]} & {*week.anchors("featured"), *week.anchors("topics")}
    assert [len(edit.targets) for edit in week.state.edits] == [3]
    week.act("undo")
    assert (week.anchors("featured"), week.anchors("topics")) == (featured, topics)
    act_on(week, "move", featured[0], featured[3], section="topics", position="2")
    assert {*topics, featured[0], featured[3]} == set(week.anchors("topics"))
    history = week.client().get(f"{week.path}/history").text
    assert re.search(r"moved 2 stories, including “[^”]+”, to Topics", history)
    assert re.search(r"removed 3 stories, including “[^”]+”", history)
    # A filter by section knows each of the stories.
    for section in ("featured", "topics"):
        assert "removed 3 stories" in week.client().get(f"{week.path}/history?section={section}").text
    assert "removed 3 stories" not in week.client().get(f"{week.path}/history?section=events").text


def test_a_button_of_a_row_is_about_that_row_whatever_is_ticked(week: SampleWeek) -> None:
    first, second, third, *_ = week.anchors("featured")
    act_on(week, f"drop {second}", first, third)
    assert week.anchors("featured")[:2] == [first, third]


def test_nothing_selected_and_what_takes_one_story_alone_are_refused(week: SampleWeek) -> None:
    first, second, *_ = week.anchors("featured")
    refused = act_on(week, "drop")
    assert (refused.status_code, "Select at least one story." in refused.text) == (409, True)
    assert act_on(week, "pin", first, second).status_code == 404
    gone = act_on(week, "drop", first, "s000000000000")
    assert (gone.status_code, "no longer among this week" in gone.text) == (409, True)
    measured = act_on(week, "move", first, second, section="most-read")
    assert (measured.status_code, "sorted by page views" in measured.text) == (409, True)
    assert week.state.last_seq == 0


def test_a_colleagues_edit_of_one_of_them_is_a_conflict_and_the_choice_is_about_all(week: SampleWeek) -> None:
    _, second, third, *_ = week.anchors("featured")
    week.act(f"move {third}", "sam", section="featured", position="6")
    conflict = act_on(week, "drop", second, third, seq=0)
    assert (conflict.status_code, "changed the same thing" in conflict.text) == (409, True)
    form = re.findall(r"<form.*?</form>", conflict.text, re.DOTALL)[-1]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    assert fields["story"] == [second, third]
    assert week.client().post(f"{week.path}/act", data=fields).status_code == 303
    assert not {second, third} & set(week.anchors("featured"))


def test_stories_are_merged_into_one_of_them_or_another_and_put_under_one(week: SampleWeek) -> None:
    featured, topics = week.anchors("featured"), week.anchors("topics")
    page = week.client().get(week.path).text
    assert re.search(r'<select class="in" name="main"><option value="">Choose a story</option><option value="s', page)
    nothing = act_on(week, "merge", featured[1], topics[0], main="")
    assert (nothing.status_code, "No other story was chosen." in nothing.text) == (409, True)
    before = {
        story_anchor(a.url) for story in week.state.arrangement.list_stories() for a in story.original.story.members
    }
    act_on(week, "merge", featured[1], topics[0], featured[2], main=featured[2])
    assert week.anchors("featured") == [featured[0], *featured[2:]]
    merged = week.state.arrangement.sections["featured"][1].original.story
    assert {featured[1], featured[2], topics[0]} <= {story_anchor(article.url) for article in merged.members}
    after = {
        story_anchor(a.url) for story in week.state.arrangement.list_stories() for a in story.original.story.members
    }
    assert after == before
    week.act("undo")
    assert (week.anchors("featured"), week.anchors("topics")) == (featured, topics)
    act_on(week, "under", featured[1], featured[0], topics[0], main=featured[0])
    main = week.state.arrangement.sections["featured"][0]
    assert [story_anchor(story.url) for story in main.supporting] == [featured[1], topics[0]]
    assert "put 2 stories, including “" in week.client().get(f"{week.path}/history").text
    itself = act_on(week, "under", featured[0], main=featured[0])
    assert (itself.status_code, "can’t be under itself" in itself.text) == (409, True)
    alone = act_on(week, "merge", featured[0], main=featured[0])
    assert (alone.status_code, "no other story to merge with" in alone.text) == (409, True)


def test_stories_of_the_edition_and_of_the_list_are_kept_and_taken_back(week: SampleWeek) -> None:
    featured = week.anchors("featured")
    listed = story_anchor(week.state.arrangement.left_out[0].scored.url)
    page = week.client().get(f"{week.path}?filter=all").text
    assert f'name="act" value="keep {listed}"' in page
    assert act_on(week, "keep", featured[1], listed).status_code == 303
    assert featured[1] not in week.anchors("featured")
    page = week.client().get(f"{week.path}?filter=all").text
    assert "Kept for the next edition: 2" in page
    assert page.count("<b>Kept for the next edition.</b>") == 2
    assert f'name="act" value="keep {listed}"' not in page
    assert "was kept for the next edition (" in page
    history = week.client().get(f"{week.path}/history").text
    assert re.search(r"kept 2 stories, including “[^”]+”, for the next edition", history)
    week.act(f"restore {featured[1]}")
    assert week.anchors("featured") == featured
    assert "Kept for the next edition: 1" in week.client().get(week.path).text
    week.act("undo")
    week.act(f"move {featured[1]}", section="topics", position="1")
    assert week.anchors("topics")[0] == featured[1]
    week.act("undo")
    week.act("undo")
    assert week.anchors("featured") == featured
    assert "Kept for the next edition" not in week.client().get(week.path).text


def test_a_story_that_was_added_by_hand_cant_be_kept(week: SampleWeek) -> None:
    data = {"title": "Our own news", "section": "featured", "seq": 0}
    week.client().post(f"{week.path}/stories", data=data)
    own = next(story for story in week.state.arrangement.list_stories() if story.url.startswith("own:"))
    anchor, listed = story_anchor(own.url), week.anchors("featured")[0]
    refused = act_on(week, "keep", anchor, listed)
    says = "“Our own news” can’t be kept because it was added by hand. Select only the others to keep them."
    assert (refused.status_code, says in refused.text) == (409, True)
    assert week.state.last_seq == 1
    assert "Add it again in the next edition." in act_on(week, "keep", anchor).text
    menu = week.client().get(f"{week.path}?panel=more&about={anchor}").text
    assert f'value="drop {anchor}"' in menu
    assert f'value="keep {anchor}"' not in menu
    assert f'value="keep {listed}"' in week.client().get(f"{week.path}?panel=more&about={listed}").text
    week.act(f"drop {anchor}")
    page = week.client().get(f"{week.path}?filter=all").text
    assert "Our own news" in page
    assert f'value="keep {anchor}"' not in page


def suggest(week: SampleWeek, *pairs: tuple[str, str]) -> None:
    """Let selection have found that pairs of stories, by their URLs, tell one matter."""
    grown = week.state.proposal
    proposal = replace(grown.proposal, likely_merges=pairs)
    with week.installation.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        store_proposal(session, edition, pack_proposal(replace(grown, proposal=proposal)))


def test_likely_duplicates_are_suggested_until_they_are_one_or_an_editor_said_otherwise(week: SampleWeek) -> None:
    arrangement = week.state.arrangement
    first, second, *_ = (story.url for story in arrangement.sections["featured"])
    left_out = arrangement.left_out[0].scored.url

    def suggested() -> list[tuple[str, str]]:
        page = week.client().get(week.path).text
        return re.findall(r'name="act" value="merge (s[0-9a-f]{12}) (s[0-9a-f]{12})"', page)

    assert suggested() == []
    suggest(week, (first, second), (first, left_out), (left_out, second), ("https://gone.example/", second))
    pairs = [(story_anchor(first), story_anchor(second)), (story_anchor(first), story_anchor(left_out))]
    assert suggested() == pairs
    assert "2 likely duplicates" in week.client().get(week.path).text
    week.act(f"merge {pairs[0][0]} {pairs[0][1]}")
    assert suggested() == pairs[1:]
    week.act("split " + pairs[0][0], article=second)
    assert suggested() == pairs[1:], "an editor took them apart"
    week.act(f"under {pairs[1][0]} {pairs[1][1]}")
    assert suggested() == []
    week.act("undo")
    assert f'value="apart {pairs[1][0]} {pairs[1][1]}">Dismiss' in week.client().get(week.path).text
    week.act(f"apart {pairs[1][0]} {pairs[1][1]}")
    assert suggested() == []
    assert re.search(r"dismissed “[^”]+” and “[^”]+” as duplicates", week.client().get(f"{week.path}/history").text)
    (named,) = re.findall(
        r'title="Undo dismissing “([^”…]+)[^”]*” and “[^”]+” as duplicates"', week.client().get(week.path).text
    )
    assert arrangement.left_out[0].scored.lead.title.startswith(named), "the story whose row had the button comes first"
    week.act("undo")
    assert suggested() == pairs[1:]
    # The page's script is told at once.
    fields = {"act": f"apart {pairs[1][0]} {pairs[1][1]}", "seq": week.state.last_seq}
    answer = week.client().post(f"{week.path}/act", data=fields, headers={"Accept": "application/json"}).text
    assert ("part-likely" in answer, "likely duplicate" in answer) == (True, False)
    week.act(f"drop {pairs[1][1]}")
    assert suggested() == []
