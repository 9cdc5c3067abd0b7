"""The response to a form of the edition's page: the page again, or only the changes if the page's script requests them."""

import io
import re
from typing import Any

import pytest

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.web.desk.outline.story_pool import story_anchor
from tests.actors import EDITOR
from tests.web.desk.sample_week import SampleWeek, later

SCRIPT = {"Accept": "application/json"}


def save(week: SampleWeek, path: str, editor: str = "dana", **fields: Any) -> Any:
    """Send a form as the page's script does; `seq` is the last edit unless it's given."""
    fields.setdefault("seq", week.state.last_seq)
    return week.client(editor).post(f"{week.path}/{path}", data=fields, headers=SCRIPT)


def list_parts(answer: Any) -> list[str]:
    """List the IDs of the parts that an answer has."""
    return re.findall(r'class="part" id="([^"]+)"', answer.json["html"])


def test_an_action_is_answered_with_its_section_alone_and_its_number(week: SampleWeek) -> None:
    first, second, *_ = week.anchors("featured")
    answer = save(week, "act", act=f"up {second}")
    assert (answer.status_code, answer.json["seq"], answer.json["saved"]) == (200, 1, "Saved 5:35 p.m.")
    assert list_parts(answer) == ["part-undo", "part-head", "in-featured"]
    assert re.findall(r'<li class="st" id="([^"]+)"', answer.json["html"])[:2] == [second, first]
    assert "Undo making “" in answer.json["html"]
    whole = week.client().get(week.path).text
    assert len(answer.data) < len(whole) / 3
    # The rows are those of the page.
    rows = re.findall(r'<li class="st" id="[^"]+".*?</h3>', answer.json["html"], re.DOTALL)
    assert rows
    assert all(row in whole for row in rows)
    moved = save(week, "act", act=f"move {first}", section="topics", position="1")
    assert list_parts(moved) == ["part-undo", "part-head", "in-featured", "in-topics"]
    removed = save(week, "act", act=f"drop {second}", seq=2)
    assert "Restore story" in removed.json["html"]
    assert save(week, "act", act="undo").json["seq"] == 4


def test_an_action_is_answered_with_what_the_last_check_found(week: SampleWeek) -> None:
    _, second, third, *_ = week.anchors("featured")
    save(week, "head", subject="Cranes " * 10)
    assert "To check" not in save(week, "act", act=f"up {second}").json["html"], "nothing has been checked yet"
    week.client().get(week.path)
    mark = '<dt>Subject <b class="warn" title="The subject has 69 characters.'
    assert mark in save(week, "act", act=f"up {third}").json["html"]
    assert mark in save(week, "head", preheader="Pumps that start").json["html"]
    assert mark not in save(week, "head", subject="Cranes wait").json["html"]
    assert mark not in save(week, "head", preheader="Pumps that run").json["html"], "nor with the next edit"


def test_the_form_of_the_subject_says_what_is_wrong_only_until_that_is_mended(week: SampleWeek) -> None:
    fault = r'<div data-fresh="findings">(?:(?!</form>).)*cuts off the lead story’s headline'
    save(week, "head", subject="Radios were out, and paper…")
    form = f"{week.path}?open=head"
    assert re.search(fault, week.client().get(form).text, re.DOTALL)
    answer = save(week, "head", subject="Radios were out", open="head")
    assert ('data-fresh="findings"' in answer.json["html"], "cuts off" in answer.json["html"]) == (True, False)
    assert "cuts off" not in week.client().get(form).text


def test_texts_and_blocks_are_answered_with_the_parts_that_they_changed(week: SampleWeek) -> None:
    (first, *_), subject = week.anchors("featured"), "Radios were off"
    story = save(week, f"story/{first}", headline="Cranes wait", summary="For parts.", open=first)
    assert (story.json["seq"], "in-featured" in list_parts(story)) == (2, True)
    assert 'name="was-headline" value="Cranes wait"' in story.json["html"], "the open form knows what it saved"
    assert list_parts(save(week, "head", subject=subject)) == ["part-undo", "part-head"]
    block = save(week, "block/block-a1", headline="Pumps that start", kind="sponsor", name="Anvil")
    assert list_parts(block) == ["part-undo", "part-head", "part-blocks"]
    same = save(week, "head", subject=subject)
    assert (same.json["seq"], list_parts(same)) == (4, ["part-undo", "part-head"]), "nothing changed"


def test_a_page_that_lacks_a_colleagues_edit_is_loaded_before_it_goes_on(week: SampleWeek) -> None:
    first, _, third, *_ = week.anchors("featured")
    week.act(f"pin {first}", "sam")
    late = save(week, "act", act=f"up {third}", seq=0)
    assert (late.json["saved"], late.json["reload"]) == ("Saved 5:35 p.m.", True)
    assert save(week, "act", act=f"down {third}").json["seq"] == 3


def test_a_refusal_says_why_and_a_conflict_who_was_first(week: SampleWeek) -> None:
    first, second, *_ = week.anchors("featured")
    end = save(week, "act", act=f"up {first}")
    assert end.status_code == 409
    assert end.json["why"].startswith("The story is already at the end of its section.")
    week.act(f"move {second}", "sam", section="featured", position="4")
    conflict = save(week, "act", act=f"up {second}", seq=0)
    assert (conflict.status_code, conflict.json["versions"]) == (409, True)
    assert re.fullmatch(r"Sam moved “.+” to place 4 of .+, 5:35 p\.m\.", conflict.json["why"])
    own = save(week, "act", "sam", act=f"up {second}", seq=0)
    assert re.fullmatch(r"You moved “.+ in another window, 5:35 p\.m\.", own.json["why"])
    day = save(week, "block/block-a1", headline="Pumps", first_day="Monday")
    assert (day.status_code, "“Monday” isn’t a date" in day.json["why"]) == (409, True)
    # What a form saved before its image was refused comes with the refusal.
    image = {"picture": "upload", "alt": "A pump", "credit": "", "focus-x": "50", "focus-y": "50"}
    for path in ("block/block-a1", f"story/{second}"):
        seq = week.state.last_seq
        refused = save(week, path, headline="Pumps that start", **image, file=(io.BytesIO(b"no image"), "a.jpg"))
        assert (refused.status_code, refused.json["seq"], "part-undo" in list_parts(refused)) == (409, seq + 1, True)
        assert "This image can’t be used" in refused.json["why"]
        assert set(save(week, path, **image).json) == {"why"}
    # Two versions of a text need a page of their own.
    week.client("sam").post(f"{week.path}/story/{second}", data={"headline": "By Sam", "seq": week.state.last_seq})
    text = save(week, f"story/{second}", headline="By Dana", seq=1)
    assert (text.status_code, text.mimetype, "Two versions of one headline" in text.text) == (409, "text/html", True)


def test_an_approval_is_asked_about_and_its_end_loads_the_page(week: SampleWeek) -> None:
    _, second, *_ = week.anchors("featured")
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    asked = save(week, "act", act=f"up {second}")
    assert (asked.status_code, asked.mimetype, week.state.last_seq) == (409, "text/html", 0)
    agreed = save(week, "act", act=f"up {second}", supersedes=week.state.approval)
    assert (agreed.json["reload"], week.state.approval) == (True, "")
    assert save(week, "act", act="undo").json["reload"], "it applies again, and the next change asks again"
    assert week.state.approval


@pytest.mark.parametrize("accept", [None, "text/html,*/*;q=0.8", "*/*"])
def test_without_the_script_a_form_leads_back_to_the_page(week: SampleWeek, accept: str | None) -> None:
    _, second, *_ = week.anchors("featured")
    headers = {"Accept": accept} if accept else {}
    form = {"act": f"up {second}", "seq": "0"}
    answer = week.client().post(f"{week.path}/act", data=form, headers=headers)
    assert (answer.status_code, answer.location.endswith(f"#{second}")) == (303, True)
    assert story_anchor(week.state.arrangement.sections["featured"][0].url) == second
