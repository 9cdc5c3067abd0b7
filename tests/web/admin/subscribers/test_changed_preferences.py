"""An admin pauses a subscriber or changes their preferences. The subscriber is emailed, and can undo it."""

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.datastructures import MultiDict

from digest.app.subscribers import subscriber_actions
from digest.app.subscribers.subscriber_preferences import PreferencesRefusedError, change_subscriber_preferences
from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.installation.opened_installation import Installation
from digest.store.models import AuditEntry
from subscribers.consent import ledger
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe_log_merge import LogMergeResult, merge_unsubscribe_log
from subscribers.pages.forms import FormError
from subscribers.store.models import ConsentEvent, ConsentKind, Person
from subscribers.store.signup_models import OneTimeToken
from tests.moments import DRAFTING as NOW
from tests.subscribers.pages.test_choice_changes import chosen, restore_path_of, words_of
from tests.subscribers.pages.test_my_data import ADA, Inbox, at
from tests.web.admin.subscribers.test_restored_subscribers import DANA, events_of, kinds_in_log
from tests.web.conftest import build_web_setup
from tests.web.forms import post_form

DAY = timedelta(days=1)
UNTIL = date(2026, 12, 31)


def change(world: Any, now: Any = NOW, **values: str) -> bool:
    form = MultiDict({"asks": " ".join(values), **values})
    _, changed = change_subscriber_preferences(world.install, DANA, world.ada, form, "asked by phone", now=now)
    return changed


def pause(world: Any, now: Any = NOW) -> EmailMessage:
    inbox = Inbox(world)
    inbox.new(now)
    assert change(world, now, pause_until=str(UNTIL))
    (mail,) = inbox.new(now)
    return mail


def test_a_pause_is_recorded_and_emailed_with_its_reason_and_the_person_undoes_it(both: Any) -> None:
    mail = pause(both)
    assert (mail["To"], mail["Subject"]) == (ADA, "Your preferences for HLS.Today changed")
    assert "The HLS.Today team changed what this address gets. They gave this reason: asked by phone" in words_of(mail)
    assert "NOW Paused until December 31, 2026, then all sections." in words_of(mail)
    assert "forwarded" not in words_of(mail)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert chosen(both) == Preferences(pause_until=UNTIL)
    event = events_of(both)[-1]
    assert (event.kind, json.loads(event.body)) == (
        ConsentKind.CHOICES_CHANGED,
        {"actor": "staff 41", "after": {"pause_until": "2026-12-31"}, "before": {}, "method": "admin: asked by phone"},
    )
    with both.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "preferences changed")).all()
        assert [(row.actor, row.subject, row.detail) for row in rows] == [
            ("staff 41", f"person {both.ada}", {"why": "asked by phone"})
        ]
    path, stored = restore_path_of(mail), both.dump()
    page = both.client.get(path).text
    assert both.dump() == stored, "a GET changes nothing"
    assert "Our team changed your preferences." in page
    assert "Also renew the links" not in page
    assert "We’ve restored your preferences" in both.client.post(path).text
    assert chosen(both) == Preferences()
    assert "works only once" in both.client.post(path).text


@pytest.mark.parametrize(("days", "status"), [(6.99, 200), (7.01, 410)])
def test_the_link_works_for_seven_days(world: Any, days: float, status: int) -> None:
    path = restore_path_of(pause(world))
    assert at(world, NOW + timedelta(days=days)).post(path).status_code == status
    assert (chosen(world) == Preferences()) == (status == 200)


def test_the_link_ends_when_its_owner_unsubscribes(world: Any) -> None:
    path = restore_path_of(pause(world))
    world.client.post(f"/u/{world.token('leave')}")
    assert at(world, NOW).post(path).status_code == 410


def test_what_changes_nothing_is_not_emailed(both: Any) -> None:
    assert not change(both, frequency="weekly")
    assert Inbox(both).new() == []
    assert kinds_in_log(both) == []


def test_each_change_by_an_admin_is_emailed_at_once(world: Any) -> None:
    pause(world)
    inbox = Inbox(world)
    inbox.new()
    change(world, NOW + timedelta(minutes=5), pause_until="")
    (mail,) = inbox.new(NOW + timedelta(minutes=5))
    assert "NOW All sections." in words_of(mail)


def test_only_subscribers_have_preferences_to_change(both: Any) -> None:
    subscriber_actions.unsubscribe_by_admin(both.install, DANA, both.ada, "asked", now=NOW)
    with pytest.raises(PreferencesRefusedError):
        change(both, pause_until=str(UNTIL))
    assert Inbox(both).new() == []


def test_an_admin_cannot_turn_on_breaking_news(both: Any) -> None:
    with pytest.raises(PreferencesRefusedError, match="Subscribers have to turn on breaking news themselves"):
        change(both, breaking_news="yes")
    assert chosen(both) == Preferences()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"pause_until": "2026-01-01"}, "pause_until"),
        ({"pause_until": "soon"}, "pause_until"),
        ({"hour": "9", "zone": ""}, "hour"),
        ({"frequency": "daily"}, "frequency"),
    ],
)
def test_what_cannot_be_saved_is_refused_in_words(both: Any, values: dict[str, str], name: str) -> None:
    with pytest.raises(FormError) as refusal:
        change(both, **values)
    assert list(refusal.value.problems) == [name]
    assert chosen(both) == Preferences()


def test_a_pause_that_is_over_is_not_filled_in(both: Any) -> None:
    pause(both)
    client = both.signed_in_client("admin")

    def filled_in() -> list[str]:
        paths = (f"/admin/readers/{both.ada}/preferences", f"/preferences/{both.token('preferences')}")
        pages = [client.get(paths[0]).text, both.client.get(paths[1]).text]
        return [re.findall(r'name="pause_until" value="([^"]*)"', page)[0] for page in pages]

    assert filled_in() == [str(UNTIL)] * 2
    with both.database.write() as session:
        person = ledger.lock_person(session, both.ada)
        assert person is not None
        change_preferences(session, both.ada, Preferences(pause_until=NOW.date()), NOW, method="page")
    assert filled_in() == ["", ""]


def test_all_preferences_that_are_not_offered_are_named_in_words(world: Any) -> None:
    off = world.install.settings.file.preferences.model_copy(update={"topics": "off", "breaking_news": "off"})
    file = world.install.settings.file.model_copy(update={"preferences": off})
    settings = world.install.settings.model_copy(update={"file": file})
    world = replace(world, install=Installation(settings, world.database))
    with pytest.raises(PreferencesRefusedError, match="doesn't offer topics and breaking news"):
        change(world, omit_topics="", breaking_news="yes")


def test_a_reason_that_subscribers_can_see_is_asked_for_as_such(world: Any) -> None:
    client = world.signed_in_client("admin")
    for act, is_visible in {"leave": True, "stop": True, "links": True, "erase": False}.items():
        page = client.get(f"/admin/readers/{world.ada}/{act}").text
        assert ("; the subscriber can see it" in page) is is_visible, act


def test_an_unknown_section_is_refused_instead_of_leaving_the_others_out(both: Any) -> None:
    form = MultiDict([("asks", "omit"), ("section", "featurd")])
    with pytest.raises(FormError, match="There's no section 'featurd'"):
        change_subscriber_preferences(both.install, DANA, both.ada, form, "asked", now=NOW)


def test_it_is_no_sign_of_life(both: Any) -> None:
    pause(both)
    with both.database.read() as session:
        mine = ConsentEvent.person == both.ada
        events = session.scalars(select(ConsentEvent).where(mine)).all()
        signs = session.scalars(select(ConsentEvent).where(mine, ledger.match_signs_of_life(ConsentEvent))).all()
    assert [ledger.is_sign_of_life(event.kind, json.loads(event.body)) for event in events][-1] is False
    assert ConsentKind.CHOICES_CHANGED not in {event.kind for event in signs}


def merge(world: Any) -> LogMergeResult:
    log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
    with world.database.write() as session:
        return merge_unsubscribe_log(
            session, log, world.install.keys, forget_elsewhere=erase_from_deliveries, now=NOW + 3 * DAY
        )


def go_back(world: Any, events: int, choices: dict[str, Any]) -> None:
    """Make the database one that is restored from before everything but the first events."""
    with world.database.write() as session:
        session.query(ConsentEvent).filter(ConsentEvent.person == world.ada, ConsentEvent.seq > events).delete()
        person = session.get_one(Person, world.ada)
        person.choices = choices
        last = ledger.find_last_event(session, world.ada)
        assert last is not None
        person.chain_head = last.hash


def test_a_copy_from_before_names_the_lost_change(both: Any) -> None:
    before = len(events_of(both))
    pause(both)
    assert merge(both).changed_preferences == [], "the copy knows of it"
    go_back(both, before, {})
    merged = merge(both)
    assert (merged.changed_preferences, merged.unknown_hashes) == ([both.ada], 0)
    assert chosen(both) == Preferences()


def test_a_copy_from_before_it_was_undone_names_the_person_and_the_link_undoes_it_again(both: Any) -> None:
    path, before = restore_path_of(pause(both)), len(events_of(both))
    copied = chosen(both).as_json()
    at(both, NOW + DAY).post(path)
    assert merge(both).changed_preferences == []
    go_back(both, before, copied)
    with both.database.write() as session:
        for token in session.scalars(select(OneTimeToken)):
            token.ended_at, token.used = None, False
    assert merge(both).changed_preferences == [both.ada]
    assert at(both, NOW + 2 * DAY).post(path).status_code == 200
    assert chosen(both) == Preferences()
    assert merge(both).changed_preferences == []


def test_of_people_who_left_since_no_lost_change_is_named(both: Any) -> None:
    before = len(events_of(both))
    pause(both)
    go_back(both, before, {})
    subscriber_actions.unsubscribe_by_admin(both.install, DANA, both.ada, "asked", now=NOW + DAY)
    assert merge(both).changed_preferences == []


def test_an_admin_undoes_the_last_change_of_an_admin_from_the_record(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    undo = f"{record}/preferences?undo=yes"
    assert (undo in admin.get(record).text, admin.get(undo).status_code) == (False, 409)
    with both.database.write() as session:
        change_preferences(session, both.ada, Preferences(frequency="monthly", breaking_news=True), NOW)
    assert change(both, frequency="weekly", pause_until=str(UNTIL))
    assert undo in admin.get(record).text
    form = admin.get(undo).text
    assert 'value="monthly" checked' in form
    assert "Only the subscriber can turn on breaking news again." not in form
    values = dict(re.findall(r'name="(asks|seen|frequency)" value="([^"]*)"(?: checked)?>', form))
    values |= {"frequency": "monthly", "breaking_news": "yes", "pause_until": "", "reason": "my mistake"}
    sections = re.findall(r'name="section" value="([^"]*)" checked', form)
    topics = re.findall(r'name="topic" value="([^"]*)" checked', form)
    answer = post_form(admin, undo, section=sections, topic=topics, **{k: unescape(v) for k, v in values.items()})
    assert "The preferences were changed." in admin.get(answer.headers["Location"]).text
    assert chosen(both) == Preferences(frequency="monthly", breaking_news=True)


def test_the_record_leads_to_the_form_which_shows_the_preferences_and_changes_them(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    page = admin.get(record).text
    assert f'href="{record}/pause"' in page
    form = admin.get(f"{record}/preferences").text
    assert (
        "link that restores the earlier preferences. The link works for seven days. You can also undo the change on the subscriber’s record."
        in form
    )
    assert 'name="breaking_news"' not in form, "only the subscriber turns it on"
    values: dict[str, Any] = {
        "asks": "omit frequency",
        "seen": re.search(r'name="seen" value="([^"]*)"', form)[1],  # type: ignore[index]
        "section": ["featured", "events"],
        "frequency": "monthly",
        "reason": "asked by phone",
    }
    answer = post_form(admin, f"{record}/preferences", **values)
    page = admin.get(answer.headers["Location"]).text
    assert "The preferences were changed." in page
    assert "Featured and Events. Once a month" in page
    assert "Reason: asked by phone (entered by an admin)" in page
    assert chosen(both).frequency == "monthly"
    outdated = post_form(admin, f"{record}/preferences", **values)
    assert outdated.status_code == 400
    assert "have changed since you opened this form" in unescape(outdated.text)


def test_a_refused_form_keeps_what_was_typed(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    answer = post_form(admin, f"{record}/pause", asks="pause_until", pause_until="2026-01-01", reason="asked by phone")
    assert answer.status_code == 400
    assert "Choose a day between tomorrow and a year from now" in answer.text
    assert 'value="2026-01-01"' in answer.text
    assert 'value="asked by phone"' in answer.text
    assert post_form(admin, f"{record}/pause", asks="pause_until", pause_until=str(UNTIL)).status_code == 400
    assert chosen(both) == Preferences()


def test_a_button_checks_all_topics_or_none_and_changes_nothing(both: Any) -> None:
    admin, path = both.signed_in_client("admin"), f"/admin/readers/{both.ada}/preferences"
    offered, before = re.findall(r'name="topic" value="([^"]+)"', admin.get(path).text), both.dump()["person"]
    for wanted, topics in (("none", []), ("all", offered)):
        answer = post_form(admin, path, asks="omit_topics frequency", frequency="monthly", check=wanted, seen="earlier")
        assert (answer.status_code, 'value="monthly" checked' in answer.text) == (200, True)
        assert re.findall(r'name="topic" value="([^"]+)" checked', answer.text) == topics
        assert 'name="seen" value="earlier"' in answer.text, "a change since the form was opened is still noticed"
    assert both.dump()["person"] == before


def test_pausing_takes_a_day_and_a_paused_subscriber_can_be_resumed(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert f'href="{record}/resume"' not in admin.get(record).text
    page = admin.get(f"{record}/pause").text
    assert re.search(r'<input type="date"[^>]* name="pause_until"[^>]* required', page)
    blank = post_form(admin, f"{record}/pause", asks="pause_until", pause_until="", reason="asked by phone")
    assert (blank.status_code, "Enter the day on which emails start again." in blank.text) == (400, True)
    paused = post_form(admin, f"{record}/pause", asks="pause_until", pause_until=str(UNTIL), reason="asked by phone")
    assert paused.headers["Location"] == record
    page = admin.get(record).text
    assert f'href="{record}/resume"' in page
    assert "Change the pause…" in page
    headline = page.partition('<p class="lede">')[2].partition("</p>")[0]
    assert "Emails are paused until Dec. 31, 2026." in headline
    log = " ".join(page.partition('<ol class="log">')[2].partition("</ol>")[0].split())
    assert "Now: Paused until December 31, 2026, then all sections." in log
    assert "Before: All sections. Every edition." in log
    form = admin.get(f"{record}/resume").text
    assert 'name="pause_until"' not in form
    seen = unescape(re.search(r'name="seen" value="([^"]*)"', form)[1])  # type: ignore[index]
    resumed = post_form(admin, f"{record}/resume", asks="pause_until", seen=seen, reason="asked by phone")
    assert resumed.headers["Location"] == record
    assert "The pause was ended." in admin.get(record).text
    assert chosen(both) == Preferences()
    assert f'href="{record}/resume"' not in admin.get(record).text


def test_every_action_says_beforehand_whether_it_can_be_undone(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    page = admin.get(record).text
    panel = page.partition('<aside class="panel"')[2].partition("</aside>")[0]
    paths = set(re.findall(rf'href="({record}/[a-z]+)"', page))
    assert {path.rpartition("/")[2] for path in paths} >= {"address", "pause", "preferences", "correct", "request"}
    for path in paths:
        assert re.search(r"\bundo\b", admin.get(path).text), path
    forms = re.findall(r"<form.*?</form>\s*<p class=\"hint\">(.*?)</p>", panel, re.DOTALL)
    assert len(forms) == panel.count("<form")
    assert all("undo" in hint for hint in forms)


def test_the_email_and_its_page_are_in_the_subscribers_language(one_database: Any, tmp_path: Path) -> None:
    world = build_web_setup(one_database, tmp_path, language="fr")
    mail = pause(world)
    assert mail["Subject"] == "Vos préférences pour HLS.Today ont changé"
    assert "Motif indiqué : asked by phone" in words_of(mail)
    page = unescape(world.client.get(restore_path_of(mail)).text)
    assert "Notre équipe a modifié vos préférences." in page
