import copy
import html
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from digest.app.doctor.attention import list_attention_sentences
from digest.app.editions import edition_views
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import SENT_PAGE_SIZE
from digest.app.editions.sample_emails import fill_sample_placeholders
from digest.app.sending.send_control import describe_upcoming_send
from digest.app.subscribers import subscriber_views
from digest.deliver.control import installation_hold
from digest.edition.approval import approval_check
from digest.edition.content.edition_content import LabeledBlock
from digest.edition.content.editor_changes import EditorChangeCounts
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.edition_queries import find_edition, load_rendered_fragments
from digest.store import schedule_slots
from digest.store.approval_models import Approval
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, Edition, EditionState, EditionStory, Source, SourceHealth
from digest.web.desk.edition.previews import PREVIEW_MODES, prepare_preview_html
from digest.web.desk.outline.story_pool import MAX_POOL_STORIES
from digest.web.status_rows import describe_editor_changes
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.rate_limits import SURGE_KIND
from subscribers.store.signup_models import SignupSurge
from tests.deliver.many_subscribers import add_many_subscribers
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_content, sample_evidence, store_image
from tests.web.desk.sample_week import unmarked
from tests.web.forms import hidden_fields


def edition_of(world: Any, name: str = "2026-W47") -> Edition:
    with world.database.read() as session:
        found: Edition = session.execute(select(Edition).where(Edition.name == name)).scalar_one()
        return found


def test_every_page_of_the_desk_says_what_somebody_should_look_at(world: Any) -> None:
    world.edition()
    assert 'class="attention"' not in world.desk.get("/desk/").text
    with world.database.write() as session:
        session.add(SignupSurge(kind=SURGE_KIND, at=NOW, detail={"most": 640}))
        installation_hold.pause_all_sending(session, "a restored copy", actor="terminal:eve", now=NOW)
    for path in ("/desk/", "/desk/sources", "/desk/sent", "/desk/editions/none"):
        page = world.desk.get(path).text
        assert "up to 640 in an hour. Sign-ups over the limits" in page
        assert "All sending has been paused since " in page
        assert "eve (at a terminal) paused it (“a restored copy”). Ask whether that’s resolved." in html.unescape(page)
        assert "Once that’s settled, an admin can resume sending under Admin → Deliveries." in page
        for_admin = world.signed_in_client("admin").get(path).text
        assert 'Once that’s settled, <a href="/admin/deliveries#hold">resume sending</a>.' in for_admin
        assert "an admin can resume" not in for_admin
        shown = "".join(re.findall(r'<details class="notes".*?</details>', page, re.DOTALL))
        assert "up to 640 in an hour" in shown
        assert not re.search(r"UTC|staff \d|<code>digest ", shown)
    with world.database.write() as session:
        session.execute(update(SignupSurge).values(ended_at=NOW))
        installation_hold.resume_all_sending(session)
    assert 'class="attention"' not in world.desk.get("/desk/").text


def test_what_only_admins_can_act_on_is_folded_for_editors(world: Any) -> None:
    world.edition()
    with world.database.write() as session:
        session.add(SignupSurge(kind=SURGE_KIND, at=NOW, detail={"most": 640}))
        installation_hold.save_pull_troubles(session, "sendgrid", ["bounces: HTTP 500"], now=NOW)
        installation_hold.pause_all_sending(session, "a restored copy", actor="eve@news.example.org", now=NOW)

    def list_notes(role: str) -> dict[str, list[str]]:
        """Give the heading of each line of notes, and how many sentences are in it."""
        page = world.signed_in_client(role).get("/desk/sources").text
        folds = re.findall(r'<details class="notes".*?<b>(.*?)</b>(.*?)</details>', page, re.DOTALL)
        return {re.sub(r"<.+?>", "", heading): re.findall(r"<li>(.*?)</li>", rest) for heading, rest in folds}

    (for_admins,) = list_notes("editor").values()
    assert list(list_notes("editor")) == ["2 notes for admins"]
    assert list_notes("admin") == {"2 notes": for_admins}


@pytest.mark.parametrize("path", ["/desk/", "/desk/sent", "/admin/readers", "/admin/audit"])
def test_a_pause_of_all_sending_is_shown_in_full_on_every_page(world: Any, path: str) -> None:
    world.edition()
    admin = world.signed_in_client("admin")
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "", actor="terminal:eve", now=NOW)
    (shown,) = re.findall(r'<p class="attention bad" role="status">(.*?)</p>', admin.get(path).text)
    assert shown.startswith("All sending has been paused since ")
    assert ", so emails wait. eve (at a terminal) paused it without giving a reason." in shown


def test_without_an_edition_the_desk_says_what_to_do(world: Any) -> None:
    page = world.desk.get("/desk/").text
    assert "No edition yet" in page
    assert "ask the server’s operator" in page
    assert "digest collect" not in page
    assert "digest collect" in world.signed_in_client("admin").get("/desk/").text
    assert "You don\u2019t have any sources yet" in world.desk.get("/desk/sources").text
    assert "No editions have been sent yet" in world.desk.get("/desk/sent").text


def test_the_edition_page_shows_plan_outline_scores_and_what_was_left_out(world: Any) -> None:
    world.edition()
    page = world.desk.get("/desk/").text
    assert "Friday, November 20, 6 a.m. ET" in page
    assert "1 subscriber" in page
    assert "45 of 60" in page
    assert "Score 56.1: coverage 31.4, readership 18.2, freshness 8.5, penalty -2.0" in page
    assert "It was in 2026-W46." in page
    assert "4 of 6" in page
    assert "All checks passed" in page
    assert "Review and approve" in page


def test_a_missed_release_is_said_with_what_to_do_at_the_desk_and_in_the_terminal(world: Any) -> None:
    name = world.edition(state=EditionState.APPROVED, release_at=NOW - timedelta(days=2))
    with world.database.write() as session:
        session.scalars(select(Edition)).one().approved_at = NOW - timedelta(days=2)
    world.edition(name="2026-W48")
    assert "<b>Missed.</b>" in world.desk.get(f"/desk/editions/{name}").text
    assert "won\u2019t be sent automatically. It was due" in world.desk.get(f"/desk/editions/{name}/approve").text
    with world.database.read() as session:
        (sentence,) = list_attention_sentences(session, NOW)
    for text in (html.unescape(world.desk.get("/desk/").text), sentence):
        assert "missed its send time by more than a day" in text
        assert f"digest send {name}" in text
        assert f"digest cancel {name}" in text


def test_a_draft_whose_release_is_over_says_what_makes_it_go_out_here(world: Any) -> None:
    name = world.edition(release_at=NOW - timedelta(hours=2))

    def assert_says(words: str, client: FlaskClient = world.desk) -> None:
        for page in ("/desk/", f"/desk/editions/{name}/approve"):
            shown = html.unescape(client.get(page).text)
            assert re.search(rf"subscribers?(</b>)? {words}\.", shown)

    assert_says("once it\u2019s approved and an admin sends it, because automatic sending is off")
    assert_says(
        f"once it\u2019s approved and an admin sends it with <code>digest send {name}</code>, because automatic sending is off",
        world.signed_in_client("admin"),
    )
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a test", actor="priya", now=NOW)
    assert_says("once it\u2019s approved and an admin sends it, because automatic sending is off")
    with world.database.write() as session:
        installation_hold.resume_all_sending(session)
    schedule_slots.find_or_record_schedule_start(world.database, NOW)
    assert_says("as soon as it\u2019s approved")
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a test", actor="priya", now=NOW)
    assert_says("once it\u2019s approved and sending resumes")
    page = f"/desk/editions/{name}/approve"
    assert "Test mode" in world.desk.get(page).text
    status = read_edition_status(world.install, name, now=NOW)
    assert "immediately" in describe_upcoming_send(world.install, status, now=NOW)


def test_a_send_time_depends_on_the_end_of_a_pause_of_all_sending(world: Any) -> None:
    name = world.edition(release_at=NOW + timedelta(hours=2))
    pages = (f"/desk/editions/{name}", f"/desk/editions/{name}/approve", "/desk/calendar")

    def says(path: str, words: str) -> bool:
        return words in html.unescape(re.sub("</?b>", "", world.desk.get(path).text))

    for is_paused in (False, True):
        if is_paused:
            with world.database.write() as session:
                installation_hold.pause_all_sending(session, "a test", actor="priya", now=NOW)
        waits = ", if sending has resumed by then." if is_paused else "."
        assert says(pages[0], f"to 1 subscriber once it’s approved{waits}")
        assert says(pages[1], f"will be sent to 1 subscriber on Thursday, November 19, 7:30 p.m. ET{waits}")
        assert says(pages[2], "so no edition is sent until an admin resumes sending.") is is_paused
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.APPROVED, approved_at=NOW))
    assert says(pages[0], f"to 1 subscriber{waits}")


def test_a_paused_edition_isnt_said_to_go_out_at_its_time(world: Any) -> None:
    name = world.edition(state=EditionState.APPROVED, release_at=NOW + timedelta(hours=2))
    with world.database.write() as session:
        session.execute(update(Edition).values(approved_at=NOW, paused_at=NOW))
    for path in (f"/desk/editions/{name}", "/desk/"):
        answer = world.desk.get(path, follow_redirects=True)
        plan = html.unescape(re.sub("</?b>", "", answer.text)).partition('<p class="plan">')[2].partition("</p>")[0]
        assert "It\u2019s due Thursday, November 19, 7:30 p.m. ET. It\u2019s paused." in plan
        assert "will be sent" not in plan


def test_the_calendar_says_that_an_approved_edition_is_paused_before_its_time(world: Any) -> None:
    world.edition(state=EditionState.APPROVED)
    with world.database.write() as session:
        session.execute(update(Edition).values(approved_at=NOW, paused_at=NOW))
    assert "<td>Approved, but paused until someone resumes it. </td>" in world.desk.get("/desk/calendar").text


def test_no_page_says_that_an_edition_goes_out_on_a_day_gone_by(world: Any) -> None:
    name = world.edition(state=EditionState.APPROVED, release_at=NOW - timedelta(hours=2))
    path = f"/desk/editions/{name}"

    def shown(page: str, **columns: Any) -> str:
        with world.database.write() as session:
            session.execute(update(Edition).values(approved_at=NOW, **columns))
        text = html.unescape(re.sub("</?b>", "", world.desk.get(page).text))
        return text.partition('<p class="plan">' if page == path else '<p class="said">')[2].partition("</p>")[0]

    due = "It was due Thursday, November 19, 3:30 p.m. ET."
    goes = "will be sent to 1 subscriber once an admin sends it, because automatic sending is off."
    assert f"{due} It {goes}" in shown(path)
    assert f"No. 147 {goes.replace('subscriber,', 'subscriber')} {due}" in shown(f"{path}/approve")
    assert f"{due} It\u2019s paused." in shown(path, paused_at=NOW)
    assert f"No. 147 is paused. {due}" in shown(f"{path}/approve")
    ended = {
        f"No. 147 is being sent. {due}": EditionState.SENDING,
        "No. 147 was sent Thursday, November 19, 5:30 p.m. ET.": EditionState.SENT,
        f"No. 147 is canceled. {due}": EditionState.CANCELLED,
        f"No. 147 is incomplete. {due}": EditionState.INCOMPLETE,
    }
    for sentence, state in ended.items():
        assert sentence in shown(f"{path}/approve", state=state, sent_at=NOW, paused_at=None)


def test_the_stories_are_filtered_and_searched_by_the_address(world: Any) -> None:
    world.edition()
    used = world.desk.get("/desk/?filter=used&tab=stories").text
    assert "rail bulletin" not in used
    out = world.desk.get("/desk/?filter=left-out").text
    assert "1 story" in out
    assert "rail bulletin" in out
    found = world.desk.get("/desk/?q=FLOOD").text
    assert "1 story" in found
    assert "No stories match" in world.desk.get("/desk/?q=%25").text
    assert world.desk.get("/desk/?filter=x&tab=y&view=z").status_code == 200


def test_the_stories_of_a_departed_edition_come_in_pages_and_each_of_them_is_reached(world: Any) -> None:
    name = world.edition(state=EditionState.SENT)
    with world.database.write() as session:
        edition = session.scalars(select(Edition)).one().id
        session.add_all(
            EditionStory(
                edition_id=edition,
                position=0,
                title=f"Left out, number {n}",
                url=f"https://rail.example/{n}",
                score=n / 10,
                terms=[],
                reason="It was long.",
                members=[],
            )
            for n in range(2 * MAX_POOL_STORIES)
        )
    path, seen, count = f"/desk/editions/{name}?filter=left-out&amp;tab=stories", [], 2 * MAX_POOL_STORIES + 1
    while True:
        page = world.desk.get(html.unescape(path)).text
        seen += re.findall(r'<h3><a href="https://rail.example/([^"]+)"', page)
        following = re.search(rf'<p class="fold"><a href="([^"]+)">Next (\d+) of {count}</a>', page)
        if following is None:
            break
        path = following[1]
    assert seen == ["bulletin", *(str(n) for n in reversed(range(2 * MAX_POOL_STORIES)))]
    # A search begins at its own first page, and an address beyond the last shows the last story.
    assert 'name="start"' not in world.desk.get(html.unescape(path)).text
    assert "number 0<" in world.desk.get(f"/desk/editions/{name}?start=900").text


def test_a_finding_leads_to_the_place_it_speaks_of(world: Any) -> None:
    world.edition()
    with world.database.write() as session:
        edition = session.scalar(select(Edition))
        content = copy.deepcopy(edition.content)
        content["sections"][0]["entries"][2]["headline"] = "Another headline than the stored pieces have"
        edition.content = content
    page = world.desk.get("/desk/").text
    assert re.search(r"things? to fix", page)
    assert 'href="/desk/editions/2026-W47#featured-3"' in page
    review = world.desk.get("/desk/editions/2026-W47/approve").text
    assert re.search(r'<button class="btn go" type="submit" disabled', review)


def test_each_view_can_be_framed_by_the_desk_alone_and_runs_nothing(world: Any) -> None:
    name = world.edition()
    for view in (v.key for v in PREVIEW_MODES):
        answer = world.desk.get(f"/desk/preview/{name}/{view}")
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "script" not in policy
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert "Ports get ten days" in answer.text
        assert "March 4, 2026" in answer.text or view == "inbox"
        assert ("img-src 'none'" in policy) == (view == "noimages")


def test_an_edition_without_sections_shows_why_nothing_can_be_sent(world: Any) -> None:
    name = world.edition(state=EditionState.INCOMPLETE, without_sections=True)
    page = world.desk.get(f"/desk/editions/{name}")
    assert page.status_code == 200
    assert "to fix" in page.text
    assert "The edition has no sections yet" in page.text
    client = world.desk
    review = client.get(f"/desk/editions/{name}/approve")
    assert review.status_code == 200
    assert client.post(f"/desk/editions/{name}/approve", data=hidden_fields(review.text)).status_code == 409


def test_the_preview_is_the_stored_bytes_but_for_scheme_pictures_link_targets_and_places(world: Any) -> None:
    name = world.edition()
    with world.database.read() as session:
        stored = join_fragments(load_rendered_fragments(session, find_edition(session, name)), "html")
    shown = world.desk.get(f"/desk/preview/{name}/phone").text
    undone = unmarked(shown).replace('<base target="_blank">', "").replace("/media/", "https://news.example.org/media/")
    plain = re.compile(r"\((?:max-width:0|min-width:0|prefers-color-scheme:\s*dark)\)|content=\"light(?: dark)?\"")
    assert plain.sub("", undone) == plain.sub("", fill_sample_placeholders(stored, world.install.settings))


def test_dark_and_light_do_not_depend_on_the_editors_own_system() -> None:
    html = '<head><meta name="color-scheme" content="light dark"></head>@media (prefers-color-scheme: dark){a}'
    dark = prepare_preview_html(html, dark=True)
    light = prepare_preview_html(html, dark=False)
    assert "@media (min-width:0){a}" in dark
    assert 'content="dark"' in dark
    assert "@media (max-width:0){a}" in light
    assert 'content="light"' in light


def test_the_desks_pages_count_subscribers_who_get_the_edition_and_the_others(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_views, "RECIPIENTS_KEPT_SECONDS", 0)
    name, keys = world.edition(), world.install.keys
    paused = Preferences(pause_until=date(2026, 12, 24))
    nothing = Preferences(omit=frozenset(section.key for section in world.install.settings.file.sections))
    addresses = [f"r{number}@readers.example" for number in range(3)]
    with world.database.write() as session:
        numbers = add_many_subscribers(session, keys, addresses, evidence=sample_evidence(), now=NOW)

    def said(*chosen: Preferences) -> str:
        with world.database.write() as session:
            for number, preferences in zip(numbers, chosen, strict=True):
                change_preferences(session, number, preferences, NOW)
        page = world.desk.get(f"/desk/editions/{name}/approve").text
        return " ".join(page.partition('<p class="said">')[2].partition(" <b>Test mode.")[0].split())

    when = "on Friday, November 20, 6 a.m. ET."
    says = said(paused, paused, nothing)
    assert (
        says
        == f"No. 147 will be sent to 1 subscriber {when} 2 are paused, and 1 chose other sections or fewer editions."
    )
    assert "</b> to <b>1 subscriber</b> once" in world.desk.get("/desk/").text
    world.edition(name="2026-W48", state=EditionState.APPROVED, release_at=NOW + timedelta(days=8))
    sending_page = world.desk.get("/desk/editions/2026-W48/sending").text
    assert "<h1>No. 147 will be sent to 1 subscriber</h1>" in sending_page
    assert said(paused, Preferences(), Preferences()) == f"No. 147 will be sent to 3 subscribers {when} 1 is paused."
    assert said(Preferences(), Preferences(), Preferences()) == f"No. 147 will be sent to 4 subscribers {when}"


@pytest.mark.usefixtures("stored_as_composed")
def test_approving_what_was_looked_at_approves_it(world: Any) -> None:
    name = world.edition()
    client = world.desk
    review = client.get(f"/desk/editions/{name}/approve")
    assert "No. 147 will be sent to 1 subscriber on Friday, November 20, 6 a.m. ET. <b>Test mode." in review.text
    answer = client.post(f"/desk/editions/{name}/approve", data=hidden_fields(review.text))
    assert answer.status_code == 303
    edition = edition_of(world)
    assert edition.state == EditionState.APPROVED
    assert edition.approved_at == NOW
    with world.database.read() as session:
        assert session.scalar(select(AuditEntry.act).where(AuditEntry.act == "approve"))
        approval_check.verify_approval(
            session, edition_of(world), settings=world.install.settings, keys=world.install.keys
        )
    page = client.get(answer.headers["Location"]).text
    assert "Approved Thursday, November 19, 5:30 p.m. ET" in page
    assert "Revoke the approval" in page
    taken = client.post(f"/desk/editions/{name}/void", data=hidden_fields(page))
    assert taken.status_code == 303
    assert edition_of(world).state == EditionState.DRAFT


def test_an_edition_that_changed_meanwhile_is_not_approved(world: Any) -> None:
    name = world.edition()
    client = world.desk
    fields = hidden_fields(client.get(f"/desk/editions/{name}/approve").text)
    with world.database.write() as session:
        session.scalar(select(Edition)).preheader = "Also: something else"
    answer = client.post(f"/desk/editions/{name}/approve", data=fields)
    assert answer.status_code == 409
    assert "The edition wasn\u2019t approved" in answer.text
    assert f"Its content hash was <code>{fields['mark'][:7]}</code> and is now <code>" in answer.text
    assert edition_of(world).state == EditionState.DRAFT


def test_an_edition_with_errors_is_not_approved_even_by_its_mark(world: Any) -> None:
    name = world.edition()
    with world.database.write() as session:
        session.scalar(select(Edition)).held_because = "two stories are too few"
    client = world.desk
    fields = hidden_fields(client.get(f"/desk/editions/{name}/approve").text)
    answer = client.post(f"/desk/editions/{name}/approve", data=fields)
    assert answer.status_code == 409
    assert "two stories are too few" in answer.text
    assert edition_of(world).state == EditionState.DRAFT


def test_a_held_edition_says_why_and_cannot_be_approved(world: Any) -> None:
    name = world.edition(state=EditionState.INCOMPLETE)
    with world.database.write() as session:
        session.scalar(select(Edition)).held_because = "Two stories are too few."
    assert "Two stories are too few." in world.desk.get("/desk/").text
    assert "disabled" in world.desk.get(f"/desk/editions/{name}/approve").text


@pytest.mark.parametrize("act", ["approve", "void"])
def test_a_form_from_elsewhere_changes_nothing(world: Any, act: str) -> None:
    name = world.edition()
    client = world.desk
    mark = hidden_fields(client.get(f"/desk/editions/{name}/approve").text)["mark"]
    before = world.dump()
    answer = client.post(f"/desk/editions/{name}/{act}", data={"mark": mark, "csrf_token": "made up"})
    assert answer.status_code == 400
    assert "This page has expired" in answer.text
    assert world.dump() == before


def test_what_was_written_here_without_a_link_is_no_link(world: Any) -> None:
    content = sample_content(store_image(world.database), "2026-W47", 147, "Ports")
    first, *rest = content.sections[0].entries
    written = replace(content.sections[0], entries=(replace(first, url=""), *rest))
    block = LabeledBlock(id="offer", kind="opportunity", headline="A course for dispatchers", text="In spring.", url="")
    name = world.edition(content=replace(content, sections=(written, *content.sections[1:]), blocks=(block,)))
    with world.database.write() as session:
        values = {"url": "own:5c01aa90c62a", "members": ["own:5c01aa90c62a"]}
        session.execute(update(EditionStory).where(EditionStory.title == first.headline).values(**values))
    page = world.desk.get(f"/desk/editions/{name}").text
    assert f"<h3>{html.escape(first.headline)}</h3>" in page
    assert "<h3>A course for dispatchers</h3>" in page
    assert "Written here, 1 article" in page
    assert 'href="own:' not in page
    assert 'href=""' not in page


def test_unknown_editions_and_views_are_said_to_be_unknown(world: Any) -> None:
    world.edition()
    assert "There’s no edition 2020-W01" in world.desk.get("/desk/editions/2020-W01").text
    assert world.desk.get("/desk/preview/2020-W01/phone").status_code == 404
    assert world.desk.get("/desk/preview/2026-W47/hologram").status_code == 404


def test_sources_that_need_somebody_stand_first_and_say_what_to_do(world: Any) -> None:
    def source(name: str, **known: Any) -> Source:
        return Source(url=f"https://{name}.example/feed", name=name, publisher=name.title(), topics={}, **known)

    with world.database.write() as session:
        session.add_all(
            [
                source(
                    "alpha",
                    health=SourceHealth.GOOD,
                    good_at=NOW - timedelta(hours=3),
                    next_try_at=NOW - timedelta(hours=1),
                    moved_to="https://alpha.example/new",
                ),
                source("beta", health=SourceHealth.REFUSING, message="the publisher denied access (403); ask them"),
                source(
                    "gamma",
                    health=SourceHealth.FAILING,
                    failures=14,
                    message="the publisher's server failed (503); it will be retried",
                    failing_since=NOW - timedelta(days=8),
                ),
                source(
                    "delta",
                    health=SourceHealth.FAILING,
                    failures=1,
                    message="no answer",
                    failing_since=NOW - timedelta(hours=1),
                    next_try_at=NOW,
                ),
                source("epsilon", health=SourceHealth.NEW),
            ]
        )
    page = world.desk.get("/desk/sources").text
    order = [page.index(f"{name}<small>") for name in ("beta", "gamma", "delta", "alpha", "epsilon")]
    assert order == sorted(order)
    assert "<b>2 sources need attention and 1 feed has moved.</b>" in page
    assert page.count("Next try: Nov. 20, 5:00 a.m.<") == 2
    assert re.search(r"Failing since Nov\. 19, 4:30 p\.m\. \(1 try\)\.\s*<small>Last success: never\. Next try: ", page)
    assert "The publisher denied access (403); ask them. Blocked since Nov. 19, 5:30 p.m.<" in page
    assert "Failing since Nov. 11, 5:30 p.m. (14 tries)." in page
    assert "Failing for a week" in page
    assert "14 tries" in page
    assert "If it has moved, ask an admin to add its new URL" in page
    assert "Nov. 19, 2:30 p.m." in page


def test_the_delivery_counts_of_what_went_out_balance(world: Any) -> None:
    name = world.edition(state=EditionState.SENT)
    states = [DeliveryState.ACCEPTED] * 3 + [DeliveryState.REFUSED, DeliveryState.UNCERTAIN, DeliveryState.WITHDRAWN]
    with world.database.write() as session:
        session.add_all(
            Delivery(id=f"d{n}", purpose=f"edition:{name}", person=None, state=state, due_at=NOW, next_try_at=NOW)
            for n, state in enumerate(states)
        )
    page = world.desk.get("/desk/sent").text
    cells = dict(re.findall(r'data-label="(\w[\w ]*)">([^<]*)<', page))
    assert cells == {
        "Planned": "6",
        "Accepted": "3",
        "Refused": "1",
        "Status unknown": "1",
        "Unsent": "0",
        "Other": "1 withdrawn",
    }
    assert "Open the web version" in world.desk.get(f"/desk/editions/{name}").text


def test_what_went_out_is_listed_in_pages_the_newest_first(world: Any) -> None:
    releases = [NOW - timedelta(weeks=n) for n in range(SENT_PAGE_SIZE + 2)]
    with world.database.write() as session:
        session.add_all(
            Edition(
                slot=f"slot {n}", name=f"edition-{n}", number=500 - n, state=EditionState.SENT, content={}, opens_at=at, cut_off=at,
                release_at=at, drafted_at=at,
            )
            for n, at in enumerate(releases)
        )  # fmt: skip
    client = world.desk
    newest = client.get("/desk/sent").text
    older = client.get("/desk/sent?before=edition-49").text
    numbers = [[int(number) for number in re.findall(r">No. (\d+)</a>", page)] for page in (newest, older)]
    assert numbers == [[*range(500, 450, -1)], [450, 449]]
    assert 'href="/desk/sent?before=edition-49">View older editions</a>' in newest
    assert "View older editions" not in older
    assert re.findall(r'<td class="when">(.+)</td>', older) == ["Dec. 4, 2025, 5:30 p.m.", "Nov. 27, 2025, 5:30 p.m."]
    assert '<td class="when">Nov. 12, 5:30 p.m.</td>' in newest
    assert 'href="/desk/sent">View newest editions</a>' in older
    assert "There are no older editions." in client.get("/desk/sent?before=edition-51").text
    assert client.get("/desk/sent?before=never").status_code == 404


def test_an_editor_lets_an_edition_rest_and_go_on_at_the_desk(world: Any) -> None:
    world.edition()
    client = world.desk
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENDING))
    page = client.get("/desk/", follow_redirects=True).text
    assert ">Pause sending</button>" in page
    client.post("/desk/editions/2026-W47/pause", data=hidden_fields(page))
    assert edition_of(world).paused_at is not None
    page = client.get("/desk/", follow_redirects=True).text
    assert "No. 147 is paused" in page
    assert "Paused" in client.get("/desk/sent").text
    answer = client.post("/desk/editions/2026-W47/resume", data=hidden_fields(page))
    assert (answer.status_code, edition_of(world).paused_at) == (303, None)
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))
    late = client.post("/desk/editions/2026-W47/pause", data=hidden_fields(page))
    assert (late.status_code, "can’t be paused" in late.text) == (409, True)


def test_what_editors_changed_stands_on_the_edition_that_went_out_and_over_time(world: Any) -> None:
    name = world.edition(state=EditionState.SENT)
    assert "No changes have been counted yet." in world.desk.get("/desk/sent").text
    assert ", editors kept" not in world.desk.get(f"/desk/editions/{name}").text
    with world.database.write() as session:
        counts = EditorChangeCounts(12, 8, dropped=2, moved=1, added=3, rewritten=2).as_json()
        session.scalars(select(Approval)).one().editor_counts = counts
    page = world.desk.get("/desk/sent").text
    table = page[page.index("Editors\u2019 changes") :]
    assert re.findall(r'data-label="([\w ]+)">([^<]*)<', table) == [
        ("Proposed", "12"),
        ("Kept", "8"),
        ("Removed", "2"),
        ("Moved", "1"),
        ("Rewritten", "2"),
        ("Added", "3"),
        ("Share kept", "67%"),
    ]
    assert f'href="/desk/editions/{name}"' in table


def test_what_editors_changed_is_said_in_words() -> None:
    counts = EditorChangeCounts(12, 8, dropped=2, moved=1, added=3, rewritten=2)
    assert describe_editor_changes(counts) == (
        "Of 12 proposed stories, editors kept 8 (67%) unchanged, removed 2, moved 1, and rewrote 2. They added 3."
    )
    assert "%" not in describe_editor_changes(EditorChangeCounts(0, 0, dropped=0, moved=0, added=1, rewritten=0))


def calls_while(act: Callable[[], object]) -> set[str]:
    """Return the names of the functions that are called while something is done in this thread."""
    called = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return called


def test_a_page_that_lists_stories_composes_no_message(world: Any) -> None:
    name = world.edition(state=EditionState.SENT)
    desk, composing = world.desk, {"compose_sample_message", "splice_message", "run_preflight_rules"}
    assert not composing & calls_while(lambda: desk.get(f"/desk/editions/{name}"))
    assert not composing & calls_while(
        lambda: edition_views.view_edition(world.install, edition_views.read_edition(world.install, name), now=NOW)
    )
    reviewed = calls_while(lambda: desk.get(f"/desk/editions/{name}/approve"))
    assert composing <= reviewed, "the review shows what preflight finds in the message"
