import re
from dataclasses import fields
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from werkzeug.datastructures import MultiDict

from digest.catalogs import load_language
from digest.settings.built_in_topics import read_built_in_topics
from subscribers.address import mask_address, mask_two_addresses
from subscribers.consent.audience import count_preferences
from subscribers.consent.preferences import PREFERENCE_TEXTS, Preferences, describe_preferences
from subscribers.pages import preferences_form as preferences
from subscribers.pages.context import SiteDetails
from subscribers.pages.forms import FormError
from subscribers.pages.preferences_form import OfferedPreferences, read_preferences_form
from subscribers.store.models import Person, PersonState
from subscribers.subscriber_language import ENGLISH

SECTIONS = ["featured", "most-read", "topics", "products", "events", "opportunities"]


def chosen(world: Any) -> Preferences:
    with world.database.read() as session:
        person = session.get(Person, world.ada)
        assert person is not None
        return Preferences.from_json(person.choices)


def list_values(page: str, name: str) -> list[str]:
    """List the values of the boxes of a name in a page, that are checked or not."""
    return re.findall(rf'<input type="checkbox" name="{name}" value="([^"]+)"', page)


def path_of(world: Any) -> str:
    return f"/preferences/{world.token('preferences')}"


def test_the_page_shows_what_is_chosen_and_masks_the_address(world: Any) -> None:
    answer = world.client.get(path_of(world))
    assert answer.status_code == 200
    assert "a•••@analytical.example" in answer.text
    assert "ada.lovelace" not in answer.text
    topics = list_values(answer.text, "topic")
    assert len(topics) == len(set(topics)) == len(read_built_in_topics())
    assert answer.text.count(" checked") == len(SECTIONS) + len(topics) + 1  # and every edition
    for contents in ("The lead story and the top stories after it", "More stories, grouped by topic"):
        assert f"<small>{contents}</small>" in answer.text
    assert 'id="my-data"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


def test_saving_keeps_the_choices_and_says_what_they_are(both: Any) -> None:
    form = {"section": ["featured", "events"], "text_only": "yes", "pause_until": "2026-12-24"}
    answer = both.client.post(path_of(both), data=form)
    assert answer.status_code == 200
    assert "Paused until December 24, 2026, then Featured and Events, as text only." in answer.text
    assert chosen(both) == Preferences(
        frozenset({"most-read", "topics", "products", "opportunities"}), text_only=True, pause_until=date(2026, 12, 24)
    )
    page = both.client.get(path_of(both)).text
    assert page.count(" checked") - len(list_values(page, "topic")) == 4
    page = both.client.post(path_of(both), data={"section": SECTIONS})
    assert "All sections. Every edition. Sent as soon as it’s out." in page.text
    assert chosen(both) == Preferences()


def test_how_often_and_at_which_hour_are_kept_and_said(both: Any) -> None:
    form = {"section": SECTIONS, "frequency": "fortnightly", "hour": "6", "zone": "berlin "}
    answer = both.client.post(path_of(both), data=form)
    assert (
        "All sections. Every other week, starting the week of November 16, 2026. "
        "Sent at 6 a.m. (time zone: Berlin) or soon after." in answer.text
    )
    assert chosen(both) == Preferences(frequency="fortnightly", start=date(2026, 11, 19), hour=6, zone="Europe/Berlin")
    with both.database.read() as session:
        assert (chosen(both), 1) in list(count_preferences(session))
    page = both.client.get(path_of(both)).text
    for selected in (
        'value="fortnightly" checked',
        '"6" selected',
        'list="zones" maxlength="60" autocomplete="off" value="Berlin"',
    ):
        assert selected in page
    monthly = both.client.post(path_of(both), data={"section": SECTIONS, "frequency": "monthly"})
    assert "Once a month: the first edition of the month." in monthly.text
    assert chosen(both) == Preferences(frequency="monthly")


def test_saving_again_does_not_move_the_weeks_of_a_fortnightly_subscriber(world: Any) -> None:
    before = Preferences(frequency="fortnightly", start=date(2026, 11, 2))
    with world.database.write() as session:
        session.get(Person, world.ada).choices = before.as_json()
    world.client.post(path_of(world), data={"section": SECTIONS, "frequency": "fortnightly"})
    assert chosen(world) == before


def test_who_made_choices_that_cannot_be_read_is_asked_to_choose_anew(world: Any) -> None:
    with world.database.write() as session:
        session.execute(text("UPDATE person SET choices = '{\"omit\": 7}' WHERE number = :ada"), {"ada": world.ada})
    assert "Please choose again." in world.client.get(path_of(world)).text
    assert "Saved." in world.client.post(path_of(world), data={"section": SECTIONS}).text
    assert chosen(world) == Preferences()
    assert "Please choose again." not in world.client.get(path_of(world)).text


def test_topics_are_listed_in_the_order_of_the_page_and_an_hour_of_no_day_can_be_midnight() -> None:
    parts = (
        ("topics", "By topic"),
        ("topics:b", "Énergie"),
        ("topics:a", "Zones"),
        ("topics:c", "Borders"),
        ("topics:d", "X"),
    )
    assert [title for _, title in OfferedPreferences(parts=parts).topics] == ["Borders", "Énergie", "X", "Zones"]
    fewer, most = (
        describe_preferences(Preferences(omit_topics=frozenset(omitted), hour=0, zone="UTC"), parts, ENGLISH)
        for omitted in ("ad", "b")
    )
    assert "(topics: Borders and Énergie)" in fewer
    assert "midnight" in fewer
    assert "(topics: all except Énergie)" in most
    assert [ENGLISH.daily_hour(hour) for hour in (0, 1, 12)] == ["midnight", "1 a.m.", "noon"]


def test_each_place_is_offered_once_by_its_present_name_and_the_common_ones_first() -> None:
    offered = [*preferences.list_zone_labels(ENGLISH)]
    assert {*offered} == preferences.list_offered_zones()
    for language in (ENGLISH, load_language("fr")):
        assert len({*preferences.list_zone_labels(language).values()}) == len(offered), "each place is one zone"
    assert {"Europe/Kyiv", "America/New_York", "Europe/Oslo", "UTC"} <= set(offered)
    assert not {"Europe/Kiev", "Australia/LHI", "Pacific/Truk", "US/Eastern"} & set(offered)
    assert "America/New_York" in offered[:16]


def test_a_zone_of_an_older_machine_stays_chosen(world: Any) -> None:
    with world.database.write() as session:
        session.get(Person, world.ada).choices = {"hour": 6, "zone": "US/Eastern"}
    assert 'value="US/Eastern"' in world.client.get(path_of(world)).text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"section": []}, "Choose at least one section"),
        ({"section": ["no-such-section"]}, "Choose at least one section"),
        ({"section": SECTIONS, "frequency": "daily"}, "Choose one of the options"),
        ({"section": SECTIONS, "hour": "25", "zone": "UTC"}, "Choose an hour and a time zone"),
        ({"section": SECTIONS, "hour": "\u0663", "zone": "UTC"}, "Choose an hour and a time zone"),
        ({"section": SECTIONS, "hour": "6", "zone": "../../etc/passwd"}, "Choose an hour and a time zone"),
        ({"section": SECTIONS, "hour": "6"}, "Choose an hour and a time zone"),
        ({"section": SECTIONS, "pause_until": "soon"}, "Choose a day between tomorrow"),
        ({"section": SECTIONS, "pause_until": "2026-11-19"}, "Choose a day between tomorrow"),
        ({"section": SECTIONS, "pause_until": "2031-01-01"}, "Choose a day between tomorrow"),
    ],
)
def test_what_cannot_be_kept_is_said_and_nothing_is_changed(world: Any, form: dict[str, Any], words: str) -> None:
    before = world.dump()
    answer = world.client.post(path_of(world), data=form)
    assert answer.status_code == 400
    assert words in answer.text
    assert world.dump() == before


def test_a_withdrawn_subscriber_has_nothing_to_choose(world: Any) -> None:
    path = path_of(world)
    world.client.post(f"/u/{world.token('leave')}")
    before = world.dump()
    assert "You’re not subscribed" in world.client.get(path).text
    assert "You’re not subscribed" in world.client.post(path, data={"section": SECTIONS}).text
    assert world.dump() == before


def test_the_unsubscribe_link_of_the_page_is_the_subscribers_own(world: Any) -> None:
    page = world.client.get(path_of(world)).text
    assert f'href="/u/{world.token("leave")}"' in page
    world.client.post(f"/u/{world.token('leave')}")
    with world.database.read() as session:
        assert session.get(Person, world.ada).state == PersonState.WITHDRAWN


@pytest.mark.parametrize(
    ("address", "masked"),
    [("d@county.example", "d•••@county.example"), ("dana.reyes@county.example", "d•••@county.example")],
)
def test_a_mask_hides_how_long_the_address_is(address: str, masked: str) -> None:
    assert mask_address(address) == masked


@pytest.mark.parametrize(
    ("first", "second", "masks"),
    [
        ("dana@one.example", "dana@two.example", ("d•••@one.example", "d•••@two.example")),
        ("mueller@one.example", "muller@one.example", ("m•••e•••@one.example", "m•••l•••@one.example")),
        ("dana@one.example", "dan@one.example", ("d•••a•••@one.example", "d•••@one.example")),
        ("da@one.example", "de@one.example", ("da•••@one.example", "de•••@one.example")),
    ],
)
def test_two_addresses_never_have_the_same_mask(first: str, second: str, masks: tuple[str, str]) -> None:
    assert mask_two_addresses(first, second) == masks


SITE = SiteDetails(
    name="HLS.Today",
    tagline="",
    about="",
    home="https://hls.today/",
    language="en",
    direction="ltr",
    zone=ZoneInfo("America/New_York"),
    reply_to="editors@news.example.org",
    postal_address="",
    parts=(*((key, key.title()) for key in SECTIONS), ("topics:energy", "Energy"), ("topics:ports", "Ports")),
    section_contents=dict.fromkeys(SECTIONS, ""),
    recipients=(),
)


def test_each_preference_has_its_texts_its_field_in_the_form_and_a_place_in_the_privacy_list(world: Any) -> None:
    """A preference is declared in `Preferences` alone: what's left out there, or in the form, is named here."""
    page = world.client.get(path_of(world)).text
    privacy = world.client.get("/privacy").text
    for field in fields(Preferences):
        texts = PREFERENCE_TEXTS.get(field.name, {})
        if field.name in {"is_readable", "start"}:  # worked out, not chosen
            continue
        form_name = {"omit": "section", "omit_topics": "topic"}.get(field.name, field.name)
        assert f'name="{form_name}"' in page, f"{field.name} has no field in templates/web/preferences.html"
        assert field.name == "zone" or texts.get("listed", "none") in privacy, f"{field.name} has no `listed` words"
        if isinstance(getattr(Preferences(), field.name), bool):
            assert {"label", "hint", "summary"} <= texts.keys(), f"{field.name} is a checkbox without its texts"
            checked = describe_preferences(Preferences.from_json({field.name: True}), SITE.parts)
            assert checked != describe_preferences(Preferences(), SITE.parts), f"{field.name} isn't in the summary"
        else:
            assert texts.get("problem"), f"{field.name} has no words for a value that can't be saved"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["section", "topic", "asks", "text_only", "short", "pause_until", "frequency", "hour", "zone", "x"]
            ),
            st.text()
            | st.sampled_from(
                [*SECTIONS, "energy", "omit_topics omit", "yes", "fortnightly", "monthly", "6", "23", "UTC"]
            ),
        )
    ),
    st.dates(date(2020, 1, 1), date(2100, 1, 1)),
)
def test_any_form_is_either_kept_or_explained(form: list[tuple[str, str]], today: date) -> None:
    words = "."
    try:
        read = read_preferences_form(MultiDict(form), SITE, today, ENGLISH)
    except FormError as exc:
        words = exc.words
    else:
        assert Preferences.from_json(read.as_json()) == read
        assert describe_preferences(read, SITE.parts)
        assert read.pause_until is None or read.pause_until > today
    assert words.endswith(".")
