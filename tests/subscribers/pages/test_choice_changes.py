"""Preferences changed through an email's link, which may have been forwarded: reported to the owner, who can restore them."""

import re
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import ADA, Inbox, at

EVENTS_ONLY, FEATURED_ONLY = {"section": ["events"]}, {"section": ["featured"]}
EVERYTHING = {"section": ["featured", "most-read", "topics", "products", "events", "opportunities"]}


USUAL = "Every edition. Sent as soon as it’s out."


def choose(world: Any, form: dict[str, Any], *, after: timedelta = timedelta(0)) -> None:
    answer = at(world, NOW + after).post(f"/preferences/{world.token('preferences')}", data=form)
    assert answer.status_code == 200


def chosen(world: Any) -> Preferences:
    with world.database.read() as session:
        return Preferences.from_json(session.get_one(Person, world.ada).choices)


def restore_path_of(mail: EmailMessage) -> str:
    match = re.search(r"https://news\.example\.org(/restore/[A-Za-z0-9_-]{22})", plain_text(mail))
    assert match, "no link that puts the choices back"
    return match[1]


def words_of(mail: EmailMessage) -> str:
    return " ".join(plain_text(mail).split())


def test_a_change_by_the_link_of_a_mail_is_named_to_the_owner_who_puts_it_back(both: Any) -> None:
    with both.database.write() as session:
        session.get_one(Person, both.ada).choices = {"text_only": True}
    before = chosen(both)
    choose(both, {**EVENTS_ONLY, "frequency": "monthly"})
    (mail,) = Inbox(both).new()
    assert (mail["To"], mail["Subject"]) == (ADA, "Your preferences for HLS.Today changed")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert (
        "NOW Events. Once a month: the first edition of the month. Sent as soon as it’s out. "
        "BEFORE All sections, as text only. Every edition. Sent as soon as it’s out."
    ) in words_of(mail)
    path = restore_path_of(mail)
    stored = both.dump()
    page = both.client.get(path).text
    assert "Events. Once a month" in page
    assert "All sections, as text only." in page
    assert both.dump() == stored
    assert "We’ve restored your preferences" in both.client.post(path).text
    assert chosen(both) == before
    choose(both, FEATURED_ONLY)
    assert "works only once" in both.client.post(path).text
    assert chosen(both) != before


def test_a_pause_by_the_link_to_leave_is_named_too(world: Any) -> None:
    world.client.post(f"/u/{world.token('leave')}/pause", data={"length": "6m"})
    (mail,) = Inbox(world).new()
    assert f"NOW Paused until May 20, 2027, then all sections. {USUAL} BEFORE All sections. {USUAL}" in words_of(mail)
    world.client.post(restore_path_of(mail))
    assert chosen(world) == Preferences()


def test_what_changes_nothing_and_what_the_owner_puts_back_is_not_named(world: Any) -> None:
    choose(world, EVERYTHING)
    inbox = Inbox(world)
    assert inbox.new() == []
    choose(world, EVENTS_ONLY)
    (mail,) = inbox.new()
    world.client.post(restore_path_of(mail))
    assert inbox.new(NOW + timedelta(days=2)) == []


def test_several_changes_of_a_day_are_named_by_one_mail_at_its_end(world: Any) -> None:
    inbox = Inbox(world)
    assert (
        "email you about changes, at most once a day"
        in world.client.get(f"/preferences/{world.token('preferences')}").text
    )
    choose(world, {**EVERYTHING, "text_only": "yes"})
    (first,) = inbox.new()
    choose(world, EVENTS_ONLY, after=timedelta(minutes=1))
    choose(world, FEATURED_ONLY, after=timedelta(hours=2))
    assert inbox.new(NOW + timedelta(hours=23)) == []
    (second,) = inbox.new(NOW + timedelta(hours=24))
    assert f"NOW Featured. {USUAL} BEFORE All sections, as text only. {USUAL}" in words_of(second)
    choose(world, EVENTS_ONLY, after=timedelta(hours=25))
    assert inbox.new(NOW + timedelta(hours=47)) == []
    (third,) = inbox.new(NOW + timedelta(hours=48))
    assert f"NOW Events. {USUAL} BEFORE Featured. {USUAL}" in words_of(third)
    at(world, NOW + timedelta(hours=49)).post(restore_path_of(second))
    assert chosen(world) == Preferences(text_only=True)
    late = at(world, NOW + timedelta(hours=49))
    superseded = late.get(restore_path_of(third))
    assert (superseded.status_code, "another link restored even earlier preferences" in superseded.text) == (410, True)
    assert "We’ve restored your preferences" in late.post(restore_path_of(first)).text
    assert chosen(world) == Preferences(), "the older link still puts back what was there before its own change"


def test_what_was_put_back_before_its_mail_was_due_is_not_named_and_a_later_change_is(world: Any) -> None:
    inbox = Inbox(world)
    choose(world, EVENTS_ONLY)
    (first,) = inbox.new()
    choose(world, FEATURED_ONLY, after=timedelta(hours=1))
    at(world, NOW + timedelta(hours=2)).post(restore_path_of(first))
    choose(world, {**EVERYTHING, "text_only": "yes"}, after=timedelta(hours=3))
    (second,) = inbox.new(NOW + timedelta(hours=24))
    assert f"NOW All sections, as text only. {USUAL} BEFORE All sections. {USUAL}" in words_of(second)


@pytest.mark.parametrize(("days", "status"), [(6.99, 200), (7.01, 410)])
def test_the_link_works_for_seven_days(world: Any, days: float, status: int) -> None:
    choose(world, EVENTS_ONLY)
    (mail,) = Inbox(world).new()
    assert at(world, NOW + timedelta(days=days)).post(restore_path_of(mail)).status_code == status
    assert (chosen(world) == Preferences()) == (status == 200)


def test_who_has_left_puts_nothing_back_and_a_foreign_link_is_unknown(world: Any) -> None:
    choose(world, EVENTS_ONLY)
    (mail,) = Inbox(world).new()
    world.client.post(f"/u/{world.token('leave')}")
    before = world.dump()
    assert world.client.post(restore_path_of(mail)).status_code == 410
    unknown = world.client.get("/u/unknown")
    for token in (world.token("preferences"), world.token("leave"), "x"):
        for method in ("GET", "POST"):
            answer = world.client.open(f"/restore/{token}", method=method)
            assert (answer.status_code, answer.data) == (404, unknown.data)
    assert world.dump() == before
