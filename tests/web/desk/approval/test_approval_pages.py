"""Approving in pages: who can, what changed since the last approved version, and the note that sends an edition back."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.edition.approval.approved_versions import ApprovalError
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings import ApprovalSettings
from digest.store import staff
from digest.store.audit import APPROVED, SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED, record_audit
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.logged_actions import read_actions_since
from digest.store.models import Edition, EditionState
from digest.web.app import create_app
from digest.web.desk.outline.story_pool import story_anchor
from tests.actors import ADMIN
from tests.row_keys import change_rows
from tests.web.desk.sample_week import EDITORS, SampleWeek, build_sample_week, later, unmarked

PRIYA = "priya@news.example.org"


def mark_of(week: SampleWeek) -> str:
    return read_edition_status(week.installation, week.name, now=later()).content_hash


def approve(week: SampleWeek, editor: str) -> Any:
    return week.client(editor).post(f"{week.path}/approve", data={"mark": mark_of(week)})


def page(week: SampleWeek, editor: str = "dana", rest: str = "/approve") -> str:
    """Give the words of a page, without its marks."""
    answer = week.client(editor).get(f"{week.path}{rest}")
    assert answer.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<head>.*?</head>", "", answer.text))).split())


def button(week: SampleWeek, editor: str) -> str:
    """Give the approve button's tag."""
    (tag,) = re.findall(r'<button class="btn go"[^>]*>Approve', week.client(editor).get(f"{week.path}/approve").text)
    return str(tag)


def write_head(week: SampleWeek, editor: str = "dana", **fields: str) -> None:
    data = {
        "seq": week.state.last_seq,
        "supersedes": week.state.approval,
        **fields,
        **{f"was-{name}": "" for name in fields},
    }
    assert week.client(editor).post(f"{week.path}/head", data=data).status_code == 303


def test_on_postgresql_an_editor_writes_and_merges_and_a_colleague_approves(
    postgresql: Database, tmp_path: Path
) -> None:
    week = build_sample_week(postgresql, tmp_path)
    first, second, third, *_ = week.headlines("featured")
    written, merged = week.anchors("featured")[1:3]
    fields = {"headline": "Ten days for every crane modem", "was-headline": second, "seq": week.state.last_seq}
    assert week.client().post(f"{week.path}/story/{written}", data={"close": "1", **fields}).status_code == 303
    for kind in ("wide", "text"):
        preview = week.client().get(f"/desk/preview/{week.name}/{kind}").text
        assert "ten days for every crane modem" in preview.lower()
    before = len(week.state.arrangement.sections["featured"][1].original.story.members)
    assert week.act(f"merge {written}", other=merged).status_code == 303
    assert week.headlines("featured")[:2] == [first, "Ten days for every crane modem"]
    assert third not in week.headlines("featured")
    assert len(week.state.arrangement.sections["featured"][1].original.story.members) > before
    assert approve(week, "sam").status_code == 303
    with postgresql.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.APPROVED


def with_two_approvers(week: SampleWeek) -> SampleWeek:
    """Give the same week where two have to approve, and one more is on the staff."""
    old = week.installation
    file = old.settings.file.model_copy(update={"approval": ApprovalSettings(approvers=2)})
    priya = StaffMember(email=PRIYA, name="Priya", role="editor", added_by="test", added_at=later(), proven_at=later())
    with old.database.write() as session:
        session.add(priya)
    installation = Installation(old.settings.model_copy(update={"file": file}), old.database)
    app = create_app(installation, clock=later)
    app.config["WTF_CSRF_ENABLED"] = False
    return SampleWeek(installation, app, week.name)


def test_authors_are_told_why_they_cannot_approve_and_a_colleague_may(week: SampleWeek) -> None:
    assert "changes to the first draft" not in page(week, "dana")
    drafted = week.headlines("featured")[0]
    assert "You and Sam can approve this. No one can approve their own text." in page(week, "dana", "")
    write_head(week, subject="Cranes first")
    assert "disabled" in button(week, "dana")
    words = page(week, "dana")
    assert "Editors’ changes to the first draft 1 change." in words
    assert re.search(rf"Subject Dana, Nov. 19, 5:35 p.m. Before {drafted} After Cranes first", words)
    assert re.search(r">Review</a>.*>Review</a>", week.client("dana").get(week.path).text, re.DOTALL)
    assert "Review and approve" in page(week, "sam", "")
    assert "You wrote what still needs approval. Someone else has to approve it." in words
    who_can = "You wrote the subject, which someone else needs to approve. Sam can approve this."
    assert who_can in words
    assert "Dana wrote the subject, which someone other than Dana needs to approve. You can approve this." in page(
        week, "sam"
    )
    assert f"{who_can}\n</p>" in week.client("dana").get(week.path).text
    assert "wrote the subject" not in week.client("sam").get(week.path).text
    refused = approve(week, "dana")
    assert refused.status_code == 409
    assert "You wrote what still needs approval" in refused.text
    assert "disabled" not in button(week, "sam")
    assert approve(week, "sam").status_code == 303
    assert week.state.approved


@pytest.mark.parametrize(
    "change",
    [(SOURCE_ADDED, {"publisher": "New"}), (SOURCE_CHANGED, {"after": {"url": "https://b.example.org/feed"}})],
)
def test_an_admin_who_changed_the_sources_reads_why_they_cannot_approve_beside_the_deadline(
    week: SampleWeek, change: tuple[str, dict[str, Any]]
) -> None:
    for act, detail in ((SOURCE_CHANGED, {"after": {"paused": True}}), change):
        assert week.client("dana").get(week.path).text.count(">Review and approve<") == 2
        with week.installation.database.write() as session:
            dana = staff.staff_actor(staff.require_staff_member(session, EDITORS["dana"]))
            record_audit(session, act, "https://a.example.org/feed", detail, actor=dana, now=later())
    write_head(week, "dana", subject="Cranes first")
    words = page(week, "dana", "")
    reason = "You wrote the subject and changed the sources, which someone else needs to approve."
    assert re.search(rf"Approve by Thursday, [^:]*: [^.]* left \. {reason} Sam can approve this\.", words), words


OUTDATED = "This draft differs from what its stories, edits, and settings now give. Either the settings file or the program changed on the server, or the draft was changed outside the program."


def recolored(week: SampleWeek) -> SampleWeek:
    """Give the same week where links have had another color since the draft."""
    return with_settings(week, branding={"accent": "#00606B"})


def with_settings(week: SampleWeek, **changes: dict[str, str]) -> SampleWeek:
    """Give the same week with other settings: in each table, the values of some keys."""
    settings = week.installation.settings
    tables = {name: getattr(settings.file, name).model_copy(update=values) for name, values in changes.items()}
    file = settings.file.model_copy(update=tables)
    installation = Installation(settings.model_copy(update={"file": file}), week.installation.database)
    app = create_app(installation, clock=later)
    app.config["WTF_CSRF_ENABLED"] = False
    return SampleWeek(installation, app, week.name)


def test_an_editor_reads_at_once_that_approval_waits_for_an_admin(week: SampleWeek) -> None:
    homeless = with_settings(week, sender={"postal_address": ""})
    press_update(homeless)
    waits = "Ask an admin to enter the postal address under Settings."
    assert (
        f"1 thing to fix first. The publication has no postal address, which the law requires in every email. {waits}"
        in page(homeless, "sam")
    )
    bar = homeless.client("sam").get(week.path).text
    assert "For an admin: The publication has no postal address" in bar
    # An admin reads what to do, with a link to where it's done.
    with week.installation.database.write() as session:
        change_rows(session, StaffMember, StaffMember.email == EDITORS["sam"], role="admin")
    bar = homeless.client("sam").get(week.path).text
    assert '<a class="chk" href="/admin/settings/sender">Enter the postal address under Settings.</a>' in bar
    assert "For an admin" not in bar


def test_the_checks_note_that_this_version_was_not_tested_and_it_can_still_be_approved(week: SampleWeek) -> None:
    note = "No test email of this version was sent."
    with week.installation.database.read() as session:
        sam = staff.require_staff_member(session, EDITORS["sam"]).id
    assert note in page(week)
    assert week.client("sam").post(f"{week.path}/test", data={"to": sam}).status_code == 303
    assert note not in page(week)
    write_head(week, subject="Cranes first")
    assert note in page(week)
    assert approve(week, "sam").status_code == 303
    assert note in page(week)


def press_update(week: SampleWeek) -> str:
    """Press the button that updates the draft, wherever its form leads; give the review page that follows."""
    client = week.client("sam")
    review = client.get(f"{week.path}/approve").text
    (action,) = re.findall(
        r'<form id="update" method="post" action="([^"]+)">(?:(?!</form>)[^$])*>Update the draft<', review
    )
    return client.post(action, follow_redirects=True).text


def test_a_draft_of_earlier_settings_is_updated_on_the_review_page_and_reviewed_again(week: SampleWeek) -> None:
    write_head(week, subject="Cranes first")
    assert OUTDATED not in page(week, "sam")
    seen, changed = mark_of(week), recolored(week)
    assert f"{OUTDATED} Update the draft, then review it again. Its stories and edits stay." in page(changed, "sam")
    assert "disabled" in button(changed, "sam")
    refused = approve(changed, "sam")
    assert refused.status_code == 409
    assert "Choose “Update the draft” on the edition’s review page" in refused.text
    assert "The draft was updated. Review it again." in press_update(changed)
    assert OUTDATED not in page(changed, "sam")
    assert "disabled" not in button(changed, "sam")
    assert changed.client("sam").post(f"{week.path}/approve", data={"mark": seen}).status_code == 409
    assert approve(changed, "sam").status_code == 303
    assert changed.state.approved


def test_a_draft_of_earlier_settings_names_the_change_since_it_was_last_made(week: SampleWeek) -> None:
    def log(act: str, subject: str, minutes: int) -> None:
        with week.installation.database.write() as session:
            dana = staff.staff_actor(staff.require_staff_member(session, EDITORS["dana"]))
            record_audit(session, act, subject, {}, actor=dana, now=later() + timedelta(minutes=minutes))

    log(SETTINGS_CHANGED, "publication", -1)
    write_head(week, subject="Cranes first")
    log(SETTINGS_CHANGED, "alerts", 1)
    changed = recolored(week)
    assert OUTDATED in page(changed, "sam")
    log(SETTINGS_CHANGED, "branding", 2)
    words = "After this draft was made, Dana changed the branding settings on Nov. 19, 5:37 p.m. Update the draft, then"
    assert words in page(changed, "sam")
    log("draft updated", week.name, 3)
    assert OUTDATED in page(changed, "sam")


def test_the_update_of_a_draft_restores_what_was_changed_outside_the_app(week: SampleWeek) -> None:
    with week.installation.database.write() as session:
        session.execute(update(Edition).values(subject="Buy my coin"))
    assert OUTDATED in page(week, "sam")
    assert "Buy my coin" not in press_update(week)
    assert "disabled" not in button(week, "sam")


def test_a_masthead_with_another_day_is_updated_from_the_edition_and_the_review(week: SampleWeek) -> None:
    later_day = week.state.edition.release_at + timedelta(days=1)
    with week.installation.database.write() as session:
        session.execute(update(Edition).values(release_at=later_day))
    client, found = week.client(), "but the edition’s send date is Saturday"
    for path in (week.path, f"{week.path}/approve"):
        shown = unescape(client.get(path).text)
        assert found in shown
        assert '<button class="btn sm" form="update">Update the draft</button>' in shown
    assert client.post(f"{week.path}/update", data={"back": "edition"}).location == week.path
    assert found not in unescape(client.get(week.path).text)


def test_a_merge_that_changes_no_text_is_listed_for_approvers(week: SampleWeek) -> None:
    arrangement = week.state.arrangement
    main, other = next(
        (placed, out.scored)
        for placed in arrangement.sections["featured"]
        for out in arrangement.left_out
        if out.scored.story.publishers <= placed.original.story.publishers
        and out.scored.lead.dated_at < placed.original.lead.dated_at
    )
    before = week.entries("featured")
    week.act(f"merge {story_anchor(main.url)}", other=story_anchor(other.url))
    assert week.entries("featured") == before
    words = page(week, "sam")
    assert "The text is the same, word for word." in words
    assert f"Articles regrouped Dana merged “{other.lead.title[:40]}" in words


def test_an_update_says_why_it_changed_nothing(week: SampleWeek) -> None:
    current = week.client().post(f"{week.path}/update", follow_redirects=True)
    assert "The draft is already up to date." in current.text
    approve(week, "sam")
    refused = recolored(week).client().post(f"{week.path}/update")
    assert refused.status_code == 409
    assert "so it can’t be updated" in refused.text
    assert week.state.approved
    assert OUTDATED not in page(recolored(week), "sam")


def test_the_sites_that_texts_link_to_are_listed_and_a_new_one_is_marked(week: SampleWeek) -> None:
    assert "Sites linked in the text" in page(week, "sam")
    write_head(
        week, intro=r"Take our [survey](https://elsewhere.example/?r=\~preferences-token\~&u=&#126;leave-token&#126;)."
    )
    said = "New. elsewhere.example : Intro. This edition\u2019s articles and past editions don\u2019t link there."
    assert said in page(week, "sam")


def test_what_changed_since_the_last_approved_version_stands_in_words_and_side_by_side(week: SampleWeek) -> None:
    first, second, *_ = week.headlines("featured")
    approve(week, "sam")
    before = unmarked(week.client().get(f"/desk/preview/{week.name}/phone").text)
    week.act(f"up {week.anchors('featured')[1]}")
    write_head(week, subject="Cranes first")
    week.act(f"drop {week.anchors('events')[0]}", editor="sam")
    words = page(week, "dana")
    assert "The approval by Sam on Nov. 19, 5:35 p.m. no longer applies. Dana made" in words
    assert re.search(r"Changes since the last approved version Version 1, Thursday, November 19, 5:35 p.m.", words)
    assert re.search(r"Subject Dana, Nov. 19, 5:35 p.m. Before .* After Cranes first", words)
    assert f"Moved to Featured 1 Dana, Nov. 19, 5:35 p.m. “{second}” was in Featured 2." in words or (
        f"Moved to Featured 2 Dana, Nov. 19, 5:35 p.m. “{first}” was in Featured 1." in words
    )
    assert "Removed from Events 1 Sam," in words
    assert re.search(r"[2-9] changes\. The other [2-9]\d* items are unchanged\.", words)
    edit_page = page(week, "dana", "")
    assert "Approval revoked" in edit_page
    assert "The approval by Sam on Nov. 19, 5:35 p.m. no longer applies. Dana made" in edit_page
    assert "Version 1 and the current No. 147" in page(week, "dana", "/versions/1")
    frame = week.client().get(f"{week.path}/versions/1/mail").text
    assert frame == before
    assert frame != unmarked(week.client().get(f"/desk/preview/{week.name}/phone").text)


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_story_that_became_the_lead_is_compared_with_what_it_would_say_there(
    week: SampleWeek, *, is_approved: bool
) -> None:
    if is_approved:
        approve(week, "sam")
    anchor, headline = week.anchors("topics")[0], week.headlines("topics")[0]
    assert week.act(f"lead {anchor}").status_code == 303
    lead = week.entry("featured", 0)
    assert lead["headline"] == headline
    words = page(week, "sam")
    assert "Moved to Featured 1" in words
    assert not re.search(r"Featured \d, ", words)
    fields = {"why": "The ports asked.", "was-why": lead["why"], "seq": week.state.last_seq}
    assert week.client().post(f"{week.path}/story/{anchor}", data={"close": "1", **fields}).status_code == 303
    words = page(week, "sam")
    assert re.findall(r"Featured \d, (why it leads|\w+) ", words) == ["why it leads"]
    assert f"Before {lead['why']} After The ports asked." in words


def test_the_same_words_approved_again_are_said_to_be_the_same(week: SampleWeek) -> None:
    approve(week, "sam")
    assert week.client().post(f"{week.path}/void").status_code == 303
    words = page(week, "dana")
    assert "Dana revoked it, Nov. 19, 5:35 p.m." in words
    assert "The text is the same, word for word." in words
    assert "revoked it on" in page(week, "dana", "/versions/1")


@pytest.mark.parametrize("rest", ["", "/approve", "/history", "/preview", "/test"])
def test_a_note_stands_on_top_of_every_page_of_the_edition_until_it_is_done(week: SampleWeek, rest: str) -> None:
    note = {"note": "The intro says <hospital>, but Lindmoor is out."}
    assert week.client("sam").post(f"{week.path}/send-back", data=note).status_code == 303
    said = "Sam sent this back on Thursday, November 19, 5:35 p.m. ET."
    assert said in page(week, "dana", rest)
    elsewhere = "Sam sent No. 147 back on Thursday"
    for path in () if rest else ("calendar", "sent", "sources", "mails/"):
        assert elsewhere in week.client().get(f"/desk/{path}").text, path
    (done,) = re.findall(r'action="([^"]*/notes/\d+/done)"', week.client().get(f"{week.path}{rest}").text)
    assert week.client("dana").post(done).status_code == 303
    assert said not in page(week, "dana", rest)
    assert week.client("dana").post(done).status_code == 409


def test_what_was_sent_back_is_approved_once_the_note_is_done_and_stays_in_the_history(week: SampleWeek) -> None:
    approve(week, "dana")
    week.client("sam").post(f"{week.path}/send-back", data={"note": "Check the cranes.", "confirmed": "yes"})
    assert not week.state.approved
    assert "Sent back" in page(week, "dana", "")
    assert "disabled" in button(week, "dana")
    assert "sent back with a note that isn’t marked as done." in approve(week, "dana").text
    (note,) = approval_overviews.list_open_notes(week.installation, week.name)
    week.client("dana").post(f"{week.path}/notes/{note.id}/done")
    assert approve(week, "dana").status_code == 303
    history = page(week, "dana", "/history")
    assert "Sam sent it back with the note “Check the cranes.”" in history
    assert "Dana marked the note as done" in history


def test_revoking_an_approval_asks_first_and_so_does_sending_back_what_is_approved(week: SampleWeek) -> None:
    client, note = week.client(), {"note": "Check the cranes."}
    assert client.get(f"{week.path}/void").status_code == 303  # nothing is approved
    approve(week, "dana")
    assert f'href="{week.path}/void"' in client.get(week.path).text
    question = page(week, rest="/void")
    assert "Revoke the approval?" in question
    assert "Any change revokes" not in question
    asked = client.post(f"{week.path}/send-back", data=note)
    assert (asked.status_code, week.state.approved) == (200, True)
    for text in (asked.text, client.get(f"{week.path}/void").text):
        assert re.search(r"<a [^>]* autofocus>Cancel</a>", text)
        assert "This can’t be undone." in text
    assert "Check the cranes." in asked.text
    assert client.post(f"{week.path}/send-back", data=note | {"confirmed": "yes"}).status_code == 303
    assert not week.state.approved
    assert "Check the cranes." in page(week)


def test_an_empty_note_is_refused_and_a_version_that_is_not_there_is_not_found(week: SampleWeek) -> None:
    refused = week.client().post(f"{week.path}/send-back", data={"note": " "})
    assert refused.status_code == 409
    assert "Describe what should change" in refused.text
    assert week.client().get(f"{week.path}/versions/1").status_code == 404
    assert week.client().get(f"{week.path}/versions/1/mail").status_code == 404
    assert week.client().post(f"{week.path}/notes/7/done").status_code == 409


def test_two_approve_and_the_page_counts_them(week: SampleWeek) -> None:
    week = with_two_approvers(week)
    write_head(week, "dana", subject="Cranes first")
    dana_wrote = "Dana wrote the subject, which someone other than Dana needs to approve."
    assert f"0 of 2 approvals. {dana_wrote} You and Priya can approve this." in page(week, "sam")
    assert approve(week, "sam").status_code == 303
    assert not week.state.approved
    words = page(week, "sam")
    assert "1 of 2 approved" in words
    assert "1 of 2 approvals (by Sam)." in words
    assert "You already approved this version" in words
    with week.installation.database.read() as session:
        priya = staff.staff_actor(staff.require_staff_member(session, PRIYA))
    with pytest.raises(ApprovalError, match="--as EMAIL"):
        edition_approval.approve_edition(week.installation, week.name, mark_of(week), actor=ADMIN, now=later())
    actor = Actor(priya, Role.EDITOR, ActionEntryPoint.TERMINAL)
    assert (
        edition_approval.approve_edition(week.installation, week.name, mark_of(week), actor=actor, now=later()).missing
        == 0
    )
    assert week.state.approved
    assert read_edition_status(week.installation, week.name, now=later()).state == EditionState.APPROVED


def test_where_two_wrote_the_button_says_what_it_approves_and_the_page_what_is_missing(week: SampleWeek) -> None:
    write_head(week, "dana", subject="Cranes first")
    write_head(week, "sam", intro="Good morning.")
    mine = "You wrote the subject, which someone else needs to approve."
    theirs = "Sam wrote the intro, which someone other than Sam needs to approve."
    words = page(week, "dana")
    assert f"{mine} {theirs} You and Sam can approve this." in words
    assert "Approve what Sam wrote in No. 147 No. 147 needs another approval after yours." in words
    assert approve(week, "dana").status_code == 303
    assert not week.state.approved
    assert "1 of 2 approved" in page(week, "dana", "")
    assert "disabled" in button(week, "dana")
    words = page(week, "sam")
    assert "Dana wrote the subject, which someone other than Dana needs to approve." in words
    assert "You wrote the intro, approved by Dana." in words
    assert "Approve what Dana wrote in No. 147 Any later change revokes the approval." in words
    assert approve(week, "sam").status_code == 303
    assert week.state.approved
    assert "Approved" in page(week, "dana", "")


def test_an_editor_who_works_alone_approves_and_the_page_says_so(week: SampleWeek) -> None:
    with week.installation.database.write() as session:
        staff.require_staff_member(session, EDITORS["sam"]).proven_at = None
    # The reason is said before the first edit, too.
    for _ in range(2):
        assert "You can approve this, because Sam hasn’t accepted the invitation yet." in page(week, "dana")
        write_head(week, "dana", subject="Cranes first")
    assert "disabled" not in button(week, "dana")
    assert approve(week, "dana").status_code == 303
    assert week.state.approved


def save_deadline(week: SampleWeek, day: str, was: str = "2026-11-30") -> None:
    data = {"seq": week.state.last_seq, "due": day, "was-due": was}
    path = f"{week.path}/story/{week.anchors('featured')[0]}"
    assert week.client("dana").post(path, data=data).status_code == 303


def test_the_deadline_of_a_text_is_proposed_and_one_that_an_editor_removes_takes_a_tick_to_approve(
    week: SampleWeek,
) -> None:
    lead = week.entry("featured", 0)
    assert (lead["due"]["day"], lead["due"]["text"]) == ("2026-11-30", "Monday, November 30")
    form = week.client("dana").get(f"{week.path}?open={week.anchors('featured')[0]}").text
    assert '<option value="2026-11-30" selected>Monday, November 30</option>' in form
    save_deadline(week, "none")
    assert week.entry("featured", 0)["due"] is None
    with week.installation.database.read() as session:
        preheader = session.scalars(select(Edition.preheader)).one()
    assert preheader.endswith("Next deadline: Nov 30"), "the roundtable's registration"
    registration = f"{week.path}/story/{week.anchors('events')[0]}"
    data = {"seq": week.state.last_seq, "due": "none", "was-due": "2026-11-30"}
    assert week.client("dana").post(registration, data=data).status_code == 303
    shown = page(week, "sam")
    assert "mentions November 30, but the next deadline is December 1" in shown
    assert "I checked the warnings about possible deadlines." in shown
    refused = approve(week, "sam")
    assert refused.status_code == 409
    assert "can’t be approved until someone confirms a warning" in refused.text
    data = {"mark": mark_of(week), "confirmed": "earlier-dates"}
    assert week.client("sam").post(f"{week.path}/approve", data=data).status_code == 303
    with week.installation.database.read() as session:
        assert session.scalars(select(Edition)).one().state is EditionState.APPROVED
        (approved,), _ = read_actions_since(session, None, (APPROVED,))
    assert approved.detail["confirmed"] == ["earlier-dates"]


def test_a_removed_deadline_comes_back(week: SampleWeek) -> None:
    save_deadline(week, "none")
    save_deadline(week, "2026-11-30", was="none")
    assert week.entry("featured", 0)["due"]["day"] == "2026-11-30"


def test_what_the_program_wrote_has_no_editor_and_a_signature_has_that_of_its_intro(week: SampleWeek) -> None:
    approve(week, "sam")
    week.act(f"merge {week.anchors('featured')[1]}", other=week.anchors("featured")[2])
    week.act(f"lead {week.anchors('featured')[1]}")
    week.client().post(f"{week.path}/head", data={"seq": week.state.last_seq, "intro": "Ours.", "was-intro": ""})
    words = page(week, "sam")
    assert re.findall(r"why it leads(.{0,20})", words) != []
    assert not re.findall("why it leads Dana", words)
    assert "Signature Dana, Nov. 19" in words


def test_the_review_says_what_became_of_each_story_and_lists_the_fields_of_a_block(week: SampleWeek) -> None:
    main, other = week.anchors("featured")[:2]
    under, merged = week.anchors("topics")[:2]
    named = {
        anchor: title
        for key in ("featured", "topics")
        for anchor, title in zip(week.anchors(key), week.headlines(key), strict=True)
    }
    approve(week, "sam")
    week.act(f"drop {under}")
    week.act("undo")
    assert week.state.approved
    history = week.client().get(f"{week.path}/history").text
    effects = ["The approval is valid again.", "This revoked the approval."]
    assert re.findall("|".join(effects), history) == effects
    week.act(f"under {under}", main=main)
    week.act(f"merge {other}", other=merged)
    before = week.headlines("most-read")
    week.act(f"drop {week.anchors('most-read')[2]}")
    (came_up,) = set(week.headlines("most-read")) - set(before)
    block = {
        "kind": "sponsor",
        "headline": "Pumps that start",
        "name": "Anvil",
        "after": "topics",
        "seq": week.state.last_seq,
    }
    assert week.client().post(f"{week.path}/block/pumps", data=block).status_code == 303
    unplaced = {"kind": "sponsor", "headline": "Tools", "seq": week.state.last_seq}
    assert week.client().post(f"{week.path}/block/tools", data=unplaced).status_code == 303
    words = page(week, "sam")
    # On a phone, the changes come before the decision, and the decision before the email.
    places = [words.index(heading) for heading in ("Changes since the", "Checks", "Your decision", "On a phone (")]
    assert places == sorted(places)
    dana = "Dana, Nov. 19, 5:35 p.m."
    assert "Headline: Tools Place after: Featured" in words
    assert (
        f"Put under Featured 1 {dana} “{named[under]}” was in Topics 1. It’s now a line under “{named[main]}.”" in words
    )
    assert f"Dana merged “{named[merged]}” into “" in words or f"Merged into Featured 2 {dana}" in words
    assert f"Labeled block added {dana} Label: Sponsor" in words
    assert "Sponsor or organization: Anvil Headline: Pumps that start Place after: Topics" in words
    # The story that only took the place of a removed one has no editor.
    filled = words.partition("Filled automatically")[2].partition("Compare both versions")[0]
    assert f": {came_up}" in filled
    assert "Dana" not in filled


def test_an_edition_that_nobody_would_get_says_so_before_its_approval(week: SampleWeek) -> None:
    said = "No one will get this edition. It has no recipients at the moment."
    shown = page(week)
    assert ("will be sent to 0 subscribers" in shown, said in shown) == (True, True)
