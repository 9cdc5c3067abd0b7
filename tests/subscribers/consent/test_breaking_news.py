"""Breaking news: who can get it, and which consent texts turn it on."""

from datetime import date, timedelta

import pytest
from sqlalchemy import insert

from digest.catalogs import load_language
from digest.store.engine import Database
from subscribers.consent.audience import count_preferences
from subscribers.consent.breaking_news import BreakingNewsAudience, count_breaking_news_audience, mentions_breaking_news
from subscribers.consent.preferences import Preferences
from subscribers.store.models import ImportBatch, Person, PersonState, table_of
from subscribers.subscriber_language import ENGLISH
from tests.moments import DRAFTING as NOW
from tests.query_plans import record_plans

TODAY = date(2026, 11, 19)
CHOSEN = Preferences(breaking_news=True)


@pytest.mark.parametrize(
    ("preferences", "is_sent"),
    [
        (Preferences(), False),
        (CHOSEN, True),
        (Preferences(breaking_news=True, frequency="monthly", zone="UTC", hour=3), True),
        (Preferences(breaking_news=True, omit=frozenset({"featured", "topics"})), True),
        (Preferences(breaking_news=True, pause_until=TODAY + timedelta(days=1)), False),
        (Preferences(breaking_news=True, pause_until=TODAY), True),
        (Preferences.from_stored({"breaking_news": "perhaps"}), False),
        (Preferences(breaking_news=True, is_readable=False), False),
    ],
)
def test_breaking_news_is_for_those_who_chose_it_and_have_not_paused(preferences: Preferences, is_sent: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert preferences.gets_breaking_news(TODAY) is is_sent


@pytest.mark.parametrize(
    ("text", "code", "is_named"),
    [
        ("Yes, email me HLS.Today once a week.", "en", False),
        ("Yes, email me HLS.Today once a week, plus Breaking News.", "en", True),
        ("Oui, envoyez-moi HLS.Today et les alertes info.", "fr", True),
        ("Oui, envoyez-moi HLS.Today et breaking news.", "fr", False),
        ("", "en", False),
    ],
)
def test_a_consent_text_names_breaking_news_in_the_subscribers_language(text: str, code: str, is_named: bool) -> None:  # noqa: FBT001 - a parameter of the table
    language = ENGLISH if code == "en" else load_language(code)
    assert mentions_breaking_news(text, language) is is_named


def test_the_audience_is_counted_with_those_who_are_left_out(database: Database) -> None:
    paused = Preferences(breaking_news=True, pause_until=TODAY + timedelta(days=9))
    listed = [CHOSEN, CHOSEN, Preferences(breaking_news=True, text_only=True), Preferences(), paused]
    people: list[tuple[PersonState, Preferences, int | None]] = []
    people += [(PersonState.SUBSCRIBED, preferences, None) for preferences in listed]
    people += [(state, CHOSEN, None) for state in PersonState if state is not PersonState.SUBSCRIBED]
    people.append((PersonState.SUBSCRIBED, CHOSEN, 7))  # of an unfinished import
    with database.write() as session:
        batch = ImportBatch(origin="plain", file_hash="f", options={}, actor="t", started_at=NOW, counts={})
        batch.id = 7
        session.add(batch)
        session.flush()
        rows = [
            {"state": state, "choices": chosen.as_json(), "batch": number, "asked_at": NOW, "asked_where": "form"}
            for state, chosen, number in people
        ]
        session.execute(insert(table_of(Person)), rows)
    with database.read() as session, record_plans(session) as plans:
        assert count_breaking_news_audience(session, TODAY) == BreakingNewsAudience(3, not_chosen=1, paused=1)
    of_chosen, of_paused, of_everybody = plans
    assert "ix_person_breaking_news" in of_chosen, of_chosen
    assert "ix_person_paused" in of_paused, of_paused
    assert "ix_person_roll" in of_everybody, of_everybody
    with database.read() as session:
        assert sum(subscribers for _, subscribers in count_preferences(session)) == len(listed)
