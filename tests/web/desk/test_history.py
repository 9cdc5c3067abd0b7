"""The history of an edition: by day and in sentences, viewed, and restored."""

import html
import re
from datetime import timedelta

from digest.app.approval import edition_approval
from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.editing import changes as editing
from digest.app.editing import edit_history
from digest.app.editing.edit_application import EditForm
from digest.app.editions import edition_checks
from digest.edition.editing.edits import EditionField, StoryField
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store import staff
from digest.web.desk.outline.changed_texts import ChangedPassage, compare_texts
from subscribers.english_text import curl_quotes
from tests.moments import Clock
from tests.web.desk.sample_week import EDITORS, SampleWeek


def acts(week: SampleWeek, query: str = "", editor: str = "dana") -> list[str]:
    """Give the acts as the page tells them, the latest first."""
    page = week.client(editor).get(f"{week.path}/history{query}").text
    rows = re.findall(r'<li(?: id="edit-\d+")?(?: class="[^"]*")?>\s*<span class="at">(.*?)</li>', page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in rows]


def as_editor(week: SampleWeek, editor: str = "dana") -> Actor:
    """Give an editor as one who acts."""
    with week.installation.database.read() as session:
        member = staff.require_staff_member(session, EDITORS[editor])
        return Actor(staff.staff_actor(member), Role.EDITOR, ActionEntryPoint.DESK)


def press(week: SampleWeek, path: str, editor: str = "dana", **fields: object) -> str:
    fields.setdefault("seq", week.state.last_seq)
    answer = week.client(editor).post(f"{week.path}/history/{path}", data=fields)
    return f"{answer.status_code} {answer.text if answer.status_code != 303 else answer.location}"


def test_the_history_tells_by_day_who_did_what(week: SampleWeek, clock: Clock) -> None:
    _, second, third = week.anchors("featured")[:3]
    week.act(f"drop {third}")
    clock.now += timedelta(days=1)
    week.act(f"up {second}", "sam")
    page = week.client().get(f"{week.path}/history").text
    assert re.findall(r"<h2>([^<]+)</h2>", page) == ["Friday, November 20", "Thursday, November 19"]
    told = acts(week)
    assert re.search(r"Sam made “[^”]+” the lead\.", told[0])
    assert re.search(r"Dana removed “[^”]+\.” Undo", told[1])
    assert "Drafted from" in told[-1]
    assert "2 changes by 2 people" in page
    assert "staff 1" not in re.sub(r"<[^>]+>", "", page)


def test_the_history_leads_back_to_the_review_for_whom_came_from_there(week: SampleWeek) -> None:
    week.act(f"up {week.anchors('featured')[1]}", "sam")
    client = week.client()
    (link,) = re.findall(r'href="([^"]+)">See the edit history', client.get(f"{week.path}/approve").text)
    page = client.get(html.unescape(link)).text
    back = f'href="{week.path}/approve">Back to the review</a>'
    assert back in page
    (look,) = re.findall(r'href="([^"]*moment=1[^"]*)"', page)
    assert back in client.get(html.unescape(look)).text
    undone = press(week, "undo", edit=1, back="review").removeprefix("303 ").partition("#")[0]
    assert back in client.get(undone).text
    assert "Back to the review" not in client.get(f"{week.path}/history").text


def test_an_undone_act_is_struck_and_says_by_whom(week: SampleWeek) -> None:
    week.act(f"drop {week.anchors('featured')[0]}")
    week.act("undo")
    page = week.client().get(f"{week.path}/history").text
    assert '<li id="edit-1" class="undone">' in page
    assert "<del><b>Dana</b> removed" in page
    assert "Undone by Dana at" in page


def test_an_act_without_effect_says_why(week: SampleWeek) -> None:
    """A topic for a story of our own does nothing any more once the story itself is taken back."""
    form = EditForm(week.name, as_editor(week), SAMPLE_NOW)
    article = {"title": "A story of our own", "url": "https://news.example.org/own"}
    editing.add_written_story(week.installation, form, article, section="featured")
    editing.set_story_topic(week.installation, form, article["url"], "Cybersecurity")
    edit_history.undo_edit(week.installation, form, 1)
    idle = [outcome for outcome in week.state.arrangement.outcomes if outcome.idle_reason]
    assert [outcome.edit.seq for outcome in idle] == [2]
    assert curl_quotes(f"No effect: {idle[0].idle_reason}.") in " ".join(acts(week))


def test_a_rewritten_headline_shows_what_was_and_what_is(week: SampleWeek) -> None:
    story = week.state.arrangement.sections["featured"][0]
    title = story.original.story.lead.title
    form = EditForm(week.name, as_editor(week), SAMPLE_NOW)
    editing.set_story_text(week.installation, form, story.url, StoryField.HEADLINE, f"Now {title}")
    editing.set_story_text(week.installation, form, story.url, StoryField.HEADLINE, f"Then {title}")
    page = week.client().get(f"{week.path}/history").text
    assert "<del>Now</del> <ins>Then</ins>" in page
    assert "<ins>Now</ins>" in page


def test_a_moved_story_says_where_it_came_from_and_the_first_rewrite_of_the_head_what_stood_there(
    week: SampleWeek,
) -> None:
    topic, listed = week.anchors("topics")[0], re.findall(r'value="add (s\w+)"', week.client().get(week.path).text)[0]
    intro = week.installation.settings.file.publication.intro
    week.act(f"move {topic}", section="featured", position="2")
    week.act(f"add {listed}")
    week.act(f"down {topic}")
    week.client().post(f"{week.path}/head", data={"seq": 3, "intro": "Ours.", "was-intro": intro})
    press(week, "bring-back", moment=3)
    told = acts(week)
    assert re.search(r"Dana restored the version from \d+:\d\d p\.m\. ", told[0])
    assert "Dana moved" in told[2]
    assert " to place 3 of Featured." in told[2]
    assert "Dana added" in told[3]
    assert re.search(r"Dana moved “.*” from Topics to Featured\.", told[4])
    assert f"<del>{' '.join(intro.split()[:6])}" in html.unescape(week.client().get(f"{week.path}/history").text)


def test_what_was_before_is_what_stood_then(week: SampleWeek) -> None:
    """A subject that nobody wrote is made of the headlines of that moment; what was undone later stood there all the same."""
    installation, form = week.installation, EditForm(week.name, as_editor(week), SAMPLE_NOW)
    lead = week.state.arrangement.sections["featured"][0].url
    editing.set_story_text(installation, form, lead, StoryField.HEADLINE, "Radios failed for eleven hours")
    editing.set_edition_text(installation, form, EditionField.SUBJECT, "What silence costs")
    editing.set_story_text(installation, form, lead, StoryField.HEADLINE, "Radios failed for twelve hours")
    editing.set_edition_text(installation, form, EditionField.SUBJECT, None)
    edit_history.undo_edit(installation, form, 1)
    told = re.findall(r'<p class="passages[^>]*>(.*?)</p>', week.client().get(f"{week.path}/history").text)
    assert [passages.strip() for passages in told[:3]] == [
        "<del>What silence costs</del> <ins>Radios failed for twelve hours</ins>",
        "Radios failed for <del>eleven</del> <ins>twelve</ins> hours",
        "<del>Radios failed for eleven hours</del> <ins>What silence costs</ins>",
    ]


def test_the_original_that_a_text_replaced_is_the_one_of_the_lead_of_then(week: SampleWeek) -> None:
    installation, form = week.installation, EditForm(week.name, as_editor(week), SAMPLE_NOW)
    story = next(s for s in week.state.arrangement.sections["featured"] if len(s.original.story.members) > 1)
    first, second, *_ = story.original.story.members
    editing.set_story_text(installation, form, story.url, StoryField.HEADLINE, "Radios failed for eleven hours")
    editing.choose_lead_article(installation, form, story.url, article=second.url)
    editing.set_story_text(installation, form, story.url, StoryField.HEADLINE, None)
    told = re.findall(r'<p class="passages[^>]*>(.*?)</p>', week.client().get(f"{week.path}/history").text)
    assert [html.unescape(passages.strip()) for passages in told] == [
        f"<del>Radios failed for eleven hours</del> <ins>{second.title}</ins>",
        f"<del>{first.title}</del> <ins>Radios failed for eleven hours</ins>",
    ]


def test_two_versions_of_a_text_are_compared_word_by_word() -> None:
    assert compare_texts("a b c", "a x c") == (
        ChangedPassage("kept", "a"),
        ChangedPassage("was", "b"),
        ChangedPassage("is", "x"),
        ChangedPassage("kept", "c"),
    )
    long = " ".join(f"w{n}" for n in range(40))
    kept = compare_texts(long, f"{long} end")[0].text
    assert kept.startswith("w0 w1 w2 w3 w4 w5 … ")
    assert kept.endswith("w38 w39")


def test_a_text_that_was_written_anew_is_shown_whole_and_so_is_what_was_there() -> None:
    was, now = "The week in brief, as every week.", "The radios were out as never before, in eleven counties."
    assert compare_texts(was, now) == (ChangedPassage("was", was), ChangedPassage("is", now))
    assert compare_texts("", now) == (ChangedPassage("is", now),)


def test_looking_at_a_moment_shows_the_mail_of_then_and_changes_nothing(week: SampleWeek) -> None:
    headlines = week.headlines("featured")
    week.act(f"drop {week.anchors('featured')[0]}")
    mails = [week.client().get(f"{week.path}/history/{seq}/mail") for seq in (0, 1)]
    assert [html.escape(headlines[0], quote=False) in mail.text or headlines[0] in mail.text for mail in mails] == [
        True,
        False,
    ]
    assert "sandbox" in mails[0].headers["Content-Security-Policy"]
    assert week.state.last_seq == 1


def test_bringing_a_moment_back_says_what_it_takes_out_and_does_so(week: SampleWeek) -> None:
    before = week.headlines("featured")
    first, second = week.anchors("featured")[:2]
    week.act(f"pin {first}")
    week.act(f"drop {first}")
    week.act(f"drop {second}", "sam")
    page = html.unescape(week.client().get(f"{week.path}/history?moment=1").text)
    assert "removes the 2 changes made since then, by you and Sam" in page
    assert press(week, "bring-back", moment=1).startswith("303")
    assert week.headlines("featured") == before
    assert "restored the version from" in acts(week)[0]
    assert "Removed by Dana" in acts(week)[1]
    week.act("undo")
    assert week.headlines("featured") != before


def test_a_moment_that_stands_now_cannot_be_brought_back(week: SampleWeek) -> None:
    week.act(f"drop {week.anchors('featured')[0]}")
    page = week.client().get(f"{week.path}/history?moment=1").text
    assert "This is the current version." in page
    assert "Restore" not in page


def test_nothing_is_brought_back_where_somebody_went_on_meanwhile(week: SampleWeek) -> None:
    first, second = week.anchors("featured")[:2]
    week.act(f"drop {first}")
    seen = week.state.last_seq
    week.act(f"drop {second}", "sam")
    answer = press(week, "bring-back", moment=0, seq=seen)
    assert answer.startswith("409")
    assert "Review the changes that would now be removed." in answer
    assert week.state.last_seq == 2


def test_one_act_of_the_history_is_taken_back_alone(week: SampleWeek) -> None:
    first, second = week.anchors("featured")[:2]
    week.act(f"drop {first}")
    week.act(f"drop {second}", "sam")
    assert press(week, "undo", edit=1).startswith("303")
    assert first in week.anchors("featured")
    assert second not in week.anchors("featured")
    assert press(week, "undo", edit=1).startswith("409")
    assert press(week, "undo", edit="nonsense").startswith("409")


def test_the_history_is_narrowed_to_one_editor_and_one_section(week: SampleWeek) -> None:
    featured, topics = week.anchors("featured")[0], week.anchors("topics")[0]
    week.act(f"drop {featured}")
    week.act(f"drop {topics}", "sam")
    sam = week.state.edits[1].actor
    assert [("Sam" in told) for told in acts(week, f"?who={sam}")] == [True]
    assert [("Dana" in told) for told in acts(week, "?section=featured")] == [True]
    assert acts(week, "?section=unknown") == []


def test_an_approval_stands_in_the_history(week: SampleWeek) -> None:
    settings = week.installation.settings.model_copy(update={"base_url": "https://news.example.org"})
    installation = Installation(settings, week.installation.database)
    editing.drop_stories(installation, EditForm(week.name, as_editor(week), SAMPLE_NOW), first_url(week))
    mark = edition_checks.render_and_check_edition_email(installation, week.name, now=SAMPLE_NOW).content_hash
    edition_approval.approve_edition(installation, week.name, mark, actor=as_editor(week, "sam"), now=SAMPLE_NOW)
    assert any("Sam approved it." in told for told in acts(week))
    asked = press(week, "undo", edit=1)
    assert asked.startswith("409")
    assert "Approved by Sam" in asked
    assert f'action="{week.path}/history/undo"' in asked
    assert f'href="{week.path}/history">Discard my change' in asked
    assert week.state.approved
    page = week.client().get(f"{week.path}/history").text
    assert "Any change revokes the approval" in page
    assert press(week, "undo", edit=1, supersedes=week.state.approval).startswith("303")
    assert not week.state.approved


def first_url(week: SampleWeek) -> str:
    return week.state.arrangement.sections["featured"][0].url


def test_the_edition_names_who_dropped_a_story_and_who_changed_the_same(week: SampleWeek) -> None:
    first, second = week.anchors("featured")[:2]
    week.act(f"drop {first}", "sam")
    page = week.client().get(f"{week.path}?filter=left-out").text
    assert "removed by Sam" in page
    week.act(f"down {second}", "sam", seq=1)
    conflict = week.act(f"drop {second}", "dana", seq=1)
    assert conflict.status_code == 409
    assert "You and Sam changed the same" in conflict.text
    assert "staff 2" not in page + conflict.text


def test_consecutive_saves_of_one_block_are_one_line_with_the_old_and_new_words(week: SampleWeek) -> None:
    def save(text: str, editor: str = "dana") -> None:
        form = {"seq": week.state.last_seq, "headline": "Pumps that start", "text": text}
        assert week.client(editor).post(f"{week.path}/block/pumps", data=form).status_code == 303

    for text in ("A drill.", "A half-day drill.", "A half-day drill on Monday."):
        save(text)
    (told,) = [act for act in acts(week) if "Pumps" in act]
    assert "Dana wrote the block “Pumps that start.”" in told
    view = week.client().get(f"{week.path}/history", query_string={"moment": 3}).get_data(as_text=True)
    assert "You’re viewing this version." in view
    assert "Undo only this change" not in view, "it would undo the last save, not the line"
    assert press(week, "undo", edit=3).startswith("303")
    assert ["Undone by Dana" in act for act in acts(week) if "wrote the block" in act] == [True, False]
    save("A whole day.", "sam")
    (told,) = [act for act in acts(week) if "Sam wrote the block" in act]
    assert "half-day drill. whole day." in told
    view = week.client().get(f"{week.path}/history", query_string={"moment": 5}).get_data(as_text=True)
    assert "Undo only this change" in view
