"""Renewed links: those in older emails unsubscribe, and do nothing else."""

import re
from typing import Any

import pytest

from digest.app.subscribers import subscriber_actions
from subscribers.address import read_address
from subscribers.consent import chain_verification, ledger
from subscribers.crypto.link_tokens import make_link_token, read_link_token, was_made_for_address
from subscribers.lifecycle.my_data import list_consent_history, start_new_link_generation
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.subscriber_language import ENGLISH
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_choice_changes import EVENTS_ONLY, choose, chosen, restore_path_of
from tests.subscribers.pages.test_my_data import ADA, Inbox, ask, secret_of


def renew(world: Any) -> None:
    with world.database.write() as session:
        start_new_link_generation(session, world.ada, now=NOW)


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_links_that_are_revived_behind_our_back_are_reported(both: Any, generation: int) -> None:
    renew(both)
    renew(both)
    assert find_fault(both) == ""
    set_generation(both, generation)
    assert "link generation in the record and the row differ" in find_fault(both)


def test_a_renewal_leaves_where_a_person_stands_and_is_in_their_record(world: Any) -> None:
    renew(world)
    with world.database.read() as session:
        assert session.get_one(Person, world.ada).state == PersonState.SUBSCRIBED
        last = ledger.find_last_event(session, world.ada)
        history = list_consent_history(session, world.ada, ENGLISH)
    assert last is not None
    assert (last.kind, last.body) == (ConsentKind.LINKS_RENEWED, '{"generation":1}')
    assert history[-1].what == "The links in your emails were renewed"


def test_the_record_says_who_renewed_the_links_and_why(world: Any) -> None:
    ask(world)
    (mail,) = Inbox(world).new()
    data = f"/my-data/{secret_of(mail)}"
    world.client.post(f"{data}/renew-links")
    subscriber_actions.renew_person_links(world.install, ADMIN, world.ada, "forwarded an edition", now=NOW)
    record = world.signed_in_client("admin").get(f"/admin/readers/{world.ada}").text
    assert record.count("<b>Renewed links.</b> Links in earlier emails work only for unsubscribing.") == 2
    assert "Reason: forwarded an edition (entered by an admin)" in record
    assert "Method: link mailed to the owner" in record
    page = world.client.get(data).text
    assert "<b>Our team renewed the links in your emails</b>" in page
    assert "· our team (forwarded an edition)" in page
    assert "<b>The links in your emails were renewed</b>" in page
    assert "· one-time link in an email" in page


def set_generation(world: Any, generation: int) -> None:
    with world.database.write() as session:
        session.get_one(Person, world.ada).link_generation = generation


def find_fault(world: Any) -> str:
    with world.database.read() as session:
        broken = chain_verification.find_broken_link(chain_verification.load_chain(session, world.ada))
    return broken.fault if broken else ""


def new_link(world: Any) -> str:
    return f"/preferences/{make_link_token(world.install.keys, world.ada, 'preferences', 1, address=ADA)}"


def test_an_older_link_shows_and_changes_nothing_and_still_leaves(both: Any) -> None:
    preferences, leave = f"/preferences/{both.token('preferences')}", f"/u/{both.token('leave')}"
    renew(both)
    before = both.dump()
    for path in (preferences, f"{preferences}/my-data", f"{preferences}/breaking-news", f"{leave}/pause"):
        for method in ("GET", "POST"):
            answer = both.client.open(path, method=method, data={"section": "events", "length": "4w"})
            assert "Your preferences for" not in answer.text
            assert "Enjoy your break" not in answer.text
            assert "analytical.example" not in answer.text
    assert both.dump() == before
    page = both.client.get(preferences)
    assert page.status_code == 410
    assert 'href="/preferences">Request a new link</a>' in page.text
    assert "newest email" not in page.text, "its link may be outdated too"
    (offered,) = set(re.findall(r"/u/([\w-]{22})", page.text))
    assert read_link_token(both.install.keys, offered, "leave") == (both.ada, 0), "the new generation is a way around"
    assert not was_made_for_address(both.install.keys, offered, "leave", ADA)
    page = both.client.get(leave)
    assert "Unsubscribe from HLS.Today?" in page.text
    assert "Pause instead" not in page.text
    assert "analytical.example" not in page.text, "the link may have been emailed to another address"
    assert both.client.post(leave).status_code == 200
    with both.database.read() as session:
        assert session.get_one(Person, both.ada).state == PersonState.WITHDRAWN


def test_the_links_of_later_mails_choose(world: Any) -> None:
    renew(world)
    page = world.client.get(new_link(world))
    assert "Your preferences for HLS.Today" in page.text
    assert world.client.post(new_link(world), data=EVENTS_ONLY).status_code == 200
    assert chosen(world).omit
    (mail,) = Inbox(world).new()
    assert new_link(world) in plain_text(mail)
    token = str(mail["List-Unsubscribe"]).rstrip(">").rpartition("/")[2]
    assert read_link_token(world.install.keys, token, "leave") == (world.ada, 1)


def test_owners_renew_their_links_on_the_page_with_their_data(both: Any) -> None:
    ask(both)
    (mail,) = Inbox(both).new()
    page = f"/my-data/{secret_of(mail)}"
    assert "Renew my links" in both.client.get(page).text
    answer = both.client.post(f"{page}/renew-links")
    assert answer.status_code == 200
    assert f'href="{new_link(both)}"' in answer.text
    assert both.client.get(f"/preferences/{both.token('preferences')}").status_code == 410
    for token in (both.token("preferences"), both.token("leave"), "x"):
        assert both.client.post(f"/my-data/{token}/renew-links").status_code == 404


@pytest.mark.parametrize(("form", "generation"), [({"renew": "yes"}, 1), ({}, 0)])
def test_owners_who_put_their_choices_back_renew_their_links_with_them(
    world: Any, form: dict[str, str], generation: int
) -> None:
    choose(world, EVENTS_ONLY)
    (mail,) = Inbox(world).new()
    answers = [world.client.post(restore_path_of(mail), data=form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [new_link(world) in answer.text for answer in answers] == [bool(generation), False]
    says_where = [
        "Your next email will contain the new link." if generation else "request a new link",
        "request a new link",
    ]
    for answer, words in zip(answers, says_where, strict=True):
        assert words in re.sub("<[^>]+>", "", answer.text)
        assert "any edition" not in answer.text, "links of earlier editions may be outdated"
    with world.database.read() as session:
        assert session.get_one(Person, world.ada).link_generation == generation


def test_an_admin_renews_the_links_of_one_person(world: Any) -> None:
    renewed = subscriber_actions.renew_person_links(world.install, ADMIN, read_address(ADA), "asked by mail", now=NOW)
    assert renewed == (world.ada, True)
    assert world.client.get(f"/preferences/{world.token('preferences')}").status_code == 410
    with pytest.raises(subscriber_actions.UnknownPersonError):
        subscriber_actions.renew_person_links(
            world.install, ADMIN, read_address("bo@okapi.example.org"), "asked", now=NOW
        )
