"""Pausing instead of unsubscribing, the one question about reasons, and a week to undo it."""

import json
import re
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select

from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle import my_data
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.models import ConsentEvent, Person, PersonState
from subscribers.subscriber_language import ENGLISH
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import Inbox

ADA = "ada.lovelace@analytical.example"


def state_of(world: Any) -> PersonState:
    with world.database.read() as session:
        return PersonState(session.get_one(Person, world.ada).state)


def links(world: Any) -> list[tuple[str, dict[str, Any]]]:
    with world.database.read() as session:
        query = select(ConsentEvent).where(ConsentEvent.person == world.ada).order_by(ConsentEvent.seq)
        return [(str(e.kind), json.loads(e.body)) for e in session.scalars(query)][1:]


def later(world: Any, by: timedelta) -> Any:
    """Open the same pages at a later time."""
    app = create_app(world.install, clock=lambda: NOW + by)
    app.testing = True
    return app.test_client()


def kinds(world: Any) -> list[str]:
    unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
    return [departure.kind for departure in unsubscribe_log.read()]


def leave_by_page(world: Any) -> str:
    """Press "Unsubscribe" on the page, and give the path of the undo button in the answer."""
    answer = world.client.post(f"/u/{world.token('leave')}", data={"from": "page"})
    assert "Until November 26, 2026, you can also open the unsubscribe link again" in answer.text
    return undo_path_in(answer.text)


def undo_path_in(html: str) -> str:
    match = re.search(r'action="(/undo/[A-Za-z0-9_-]{22})"', html)
    assert match, "no button that takes it back"
    return match[1]


def undo_link_of(mail: EmailMessage) -> str:
    match = re.search(r"https://news\.example\.org(/undo/[A-Za-z0-9_-]{22})", plain_text(mail))
    assert match, "no link that takes it back"
    return match[1]


def test_the_answer_to_the_form_that_left_takes_it_back_by_a_token_of_its_own(both: Any) -> None:
    with both.database.write() as session:
        session.get_one(Person, both.ada).choices = {"text_only": True}
    undone = both.client.post(leave_by_page(both))
    assert undone.status_code == 200
    assert "You’ll get the next edition as before" in undone.text
    assert "Set-Cookie" not in undone.headers
    assert state_of(both) == PersonState.SUBSCRIBED
    assert links(both) == [("withdrawn", {"method": "page"}), ("undone", {"method": "page", "actor": "reader"})]
    assert kinds(both) == ["left", "undone"]
    with both.database.read() as session:
        assert session.get_one(Person, both.ada).choices == {"text_only": True}
        history = my_data.list_consent_history(session, both.ada, ENGLISH)
    # Whoever takes it back agrees to no new words: none are missing.
    assert [entry.words_unknown for entry in history] == [False, False, False]
    assert [entry.how for entry in history][1:] == ["page opened from an email"] * 2


def test_who_resubscribes_during_a_pause_is_told_when_it_ends(both: Any) -> None:
    def pause_until(day: str) -> None:
        with both.database.write() as session:
            session.get_one(Person, both.ada).choices = {"pause_until": day}

    pause_until("2026-12-17")
    path = leave_by_page(both)
    for page in (both.client.post(path), both.client.post(path), both.client.post(f"/u/{both.token('leave')}/undo")):
        assert "They’ll resume with your first edition on or after December 17, 2026." in page.text
        assert "get the next edition" not in page.text
    pause_until("2026-11-19")  # today: the pause is over
    assert "You’ll get the next edition." in both.client.post(path).text


@pytest.mark.parametrize("form", [{"from": "page"}, {"List-Unsubscribe": "One-Click"}], ids=["page", "one-click"])
def test_the_link_of_a_forwarded_mail_never_takes_the_subscribers_own_leaving_back(
    both: Any, form: dict[str, str]
) -> None:
    """A stranger has all links of a mail, and opens and posts what they lead to: the reader stays away."""
    link = f"/u/{both.token('leave')}"
    assert both.client.post(link, data=form).status_code == 200
    pages = [both.client.open(path, method=method) for path in (link, f"{link}/undo") for method in ("GET", "POST")]
    pages.append(both.client.post(link, data={"from": "page"}))
    pages.append(both.client.get(f"/preferences/{both.token('preferences')}"))
    for page in pages:
        assert page.status_code == 200
        assert "/undo/" not in page.text, "a token that takes it back"
    assert state_of(both) == PersonState.WITHDRAWN
    assert [kind for kind, _ in links(both)] == ["withdrawn"]


def test_who_did_not_leave_on_the_page_takes_it_back_by_one_mail_to_the_owner(both: Any) -> None:
    inbox, link = Inbox(both), f"/u/{both.token('leave')}"
    answer = both.client.post(link)
    assert f'action="{link}/undo"' in answer.text
    asked, again = both.client.post(f"{link}/undo"), both.client.post(f"{link}/undo")
    assert "works until November 26, 2026" in asked.text
    assert asked.data == again.data
    (mail,) = inbox.new()
    assert (mail["To"], mail["Subject"], mail["List-Unsubscribe"]) == (ADA, "Resubscribe to HLS.Today?", None)
    path = undo_link_of(mail)
    before = both.dump()
    assert "Resubscribe" in both.client.get(path).text
    assert both.dump() == before
    assert "You’ll get the next edition as before" in both.client.post(path).text
    assert state_of(both) == PersonState.SUBSCRIBED
    assert links(both)[1] == ("undone", {"method": "link mailed to the owner", "actor": "reader"})
    assert "You’re still subscribed" in both.client.post(path).text
    both.client.post(link)  # a departure of its own, with a mail of its own
    both.client.post(f"{link}/undo")
    (another,) = inbox.new()
    assert both.client.post(path).status_code == 410, "the link of the departure before"
    assert both.client.post(undo_link_of(another)).status_code == 200
    assert kinds(both) == ["left", "undone", "left", "undone"]


def test_leaving_and_coming_back_time_after_time_mails_the_owner_three_links_a_week(world: Any) -> None:
    inbox, link = Inbox(world), f"/u/{world.token('leave')}"
    mails = []
    for _ in range(5):
        path = leave_by_page(world)
        answer = world.client.post(f"{link}/undo")
        assert "works until November 26, 2026" in answer.text
        mails += inbox.new()
        assert world.client.post(path).status_code == 200
    assert len(mails) == 3


def test_the_mail_goes_to_nobody_who_is_back_when_it_is_due(world: Any) -> None:
    path, link = leave_by_page(world), f"/u/{world.token('leave')}"
    world.client.post(f"{link}/undo")
    world.client.post(path)
    assert Inbox(world).new() == []


def test_who_says_again_that_they_leave_is_not_put_back_by_who_said_it_before(world: Any) -> None:
    """Somebody with a forwarded mail leaves first, and keeps the answer; then the owner wants to leave."""
    strangers, link = leave_by_page(world), f"/u/{world.token('leave')}"
    world.client.post(f"{link}/undo")
    (mail,) = Inbox(world).new()
    world.client.post(link)
    assert world.client.post(strangers).status_code == 410
    assert state_of(world) == PersonState.WITHDRAWN
    assert world.client.post(undo_link_of(mail)).status_code == 200, "the owner's own link stays good"


def test_taking_it_back_twice_is_once_and_leaving_again_works(world: Any) -> None:
    path = leave_by_page(world)
    for _ in range(2):
        assert world.client.post(path).status_code == 200
    leave_by_page(world)
    assert world.client.post(path).status_code == 410
    assert [kind for kind, _ in links(world)] == ["withdrawn", "undone", "withdrawn"]
    assert kinds(world) == ["left", "undone", "left"]


@pytest.mark.parametrize(("days", "status"), [(6.99, 200), (7.01, 410)])
def test_it_can_be_taken_back_for_seven_days(world: Any, days: float, status: int) -> None:
    path, link = leave_by_page(world), f"/u/{world.token('leave')}"
    then = later(world, timedelta(days=days))
    assert ("Email me the link</button>" in then.get(link).text) == (status == 200)
    assert then.post(f"{link}/undo").status_code == status
    answer = then.post(path)
    assert answer.status_code == status
    assert ("can’t resubscribe with this link" in answer.text) == (status == 410)
    assert (state_of(world) == PersonState.SUBSCRIBED) == (status == 200)


@pytest.mark.parametrize("what", ["erased", "complained", "suppressed", "by an admin"])
def test_what_happened_to_a_subscriber_otherwise_is_not_taken_back(both: Any, what: str) -> None:
    token, keys = both.token("leave"), both.install.keys
    unsubscribe_log = UnsubscribeLog(both.install.settings.left_log, keys)
    path = leave_by_page(both)
    if what == "by an admin":
        both.client.post(path)
        with both.database.write() as session:
            unsubscribe_person(session, unsubscribe_log, both.ada, method="admin: asked by letter", now=NOW)
    with both.database.write() as session:
        if what == "erased":
            erase_person(
                session, keys, unsubscribe_log, both.ada, method="page", forget_elsewhere=erase_from_deliveries, now=NOW
            )
        elif what in {"complained", "suppressed"}:
            reason: Any = "complained" if what == "complained" else "bounced"
            address = read_address(ADA)
            suppression.suppress_address(
                session, keys, address, reason=reason, actor="provider", now=NOW, unsubscribe_log=unsubscribe_log
            )
    before = both.dump()
    for method in ("GET", "POST"):
        answer = both.client.open(f"/u/{token}/undo", method=method)
        assert f'action="/u/{token}/undo"' not in answer.text
        assert answer.status_code == (200 if method == "GET" else 410)
        assert both.client.open(path, method=method).status_code == 410
    assert both.dump() == before
    assert both.client.post(f"/u/{token}").status_code == 200


def test_who_never_left_has_nothing_to_take_back(world: Any) -> None:
    before = world.dump()
    answer = world.client.post(f"/u/{world.token('leave')}/undo")
    assert answer.status_code == 200
    assert "You’re still subscribed" in answer.text
    assert world.client.post(f"/u/{world.token('leave', 99_999)}/undo").status_code == 410
    assert world.dump() == before


def test_where_the_unsubscribe_log_cannot_hear_of_it_the_subscriber_is_back_all_the_same(world: Any) -> None:
    path = leave_by_page(world)
    world.install.settings.left_log.unlink()
    world.install.settings.left_log.mkdir()
    assert world.client.post(path).status_code == 200
    assert state_of(world) == PersonState.SUBSCRIBED


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({"from": "page", "reason": "often"}, {"method": "page", "reason": "often"}),
        ({"from": "page", "reason": "<b>my own words"}, {"method": "page"}),
        ({"from": "page"}, {"method": "page"}),
        ({"List-Unsubscribe": "One-Click", "reason": "often"}, {"method": "one-click"}),
    ],
)
def test_the_one_question_takes_our_reasons_only_and_only_from_the_page(
    world: Any, form: dict[str, str], body: dict[str, str]
) -> None:
    page = world.client.get(f"/u/{world.token('leave')}").text
    assert all(f'value="{reason}"' in page for reason in ledger.UNSUBSCRIBE_REASONS)
    assert world.client.post(f"/u/{world.token('leave')}", data=form).status_code == 200
    assert links(world) == [("withdrawn", body)]


def test_a_break_can_be_had_instead_and_keeps_the_other_choices(both: Any) -> None:
    path = f"/u/{both.token('leave')}"
    assert f'href="{path}/pause"' in both.client.get(path).text
    with both.database.write() as session:
        session.get_one(Person, both.ada).choices = {"omit": ["events"]}
    assert both.client.get(f"{path}/pause").text.count('type="radio"') == 3
    answer = both.client.post(f"{path}/pause", data={"length": "4w"})
    assert "Your emails are paused until December 17, 2026." in answer.text
    with both.database.read() as session:
        chosen = Preferences.from_json(session.get_one(Person, both.ada).choices)
    assert (str(chosen.pause_until), chosen.omit) == ("2026-12-17", frozenset({"events"}))
    assert state_of(both) == PersonState.SUBSCRIBED


def test_a_break_of_no_known_length_is_explained_and_who_left_gets_none(world: Any) -> None:
    path = f"/u/{world.token('leave')}"
    before = world.dump()
    answer = world.client.post(f"{path}/pause", data={"length": "forever"})
    assert answer.status_code == 400
    assert "Choose how long" in answer.text
    assert world.dump() == before
    world.client.post(path)
    before = world.dump()
    for method in ("GET", "POST"):
        answer = world.client.open(f"{path}/pause", method=method, data={"length": "4w"})
        assert "You’re not subscribed" in answer.text
    assert world.dump() == before


@pytest.mark.parametrize("path", ["/u/{}/undo", "/u/{}/pause", "/undo/{}"])
def test_a_foreign_token_gets_the_one_page_here_too(world: Any, path: str) -> None:
    page = world.client.get("/u/unknown")
    for token in (world.token("preferences"), world.token("leave")[:-1], "x"):
        for method in ("GET", "POST"):
            answer = world.client.open(path.format(token), method=method)
            assert (answer.status_code, answer.data) == (404, page.data)
    assert ("This was a test email" in world.client.post(path.format(world.token("test leave"))).text) == (
        "/u/" in path
    )
