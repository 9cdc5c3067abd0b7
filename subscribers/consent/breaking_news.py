"""Breaking news: which consent texts include it, and who may be emailed it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy.orm import Session

from subscribers.consent.audience import count_preferences
from subscribers.consent.consent_texts import read_consent_text_of_event
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.store.models import Person
from subscribers.subscriber_language import SubscriberLanguage

CONSENT_METHOD = "consent text"  # of the event that turns it on


def names_breaking_news(consent_text: str, language: SubscriberLanguage) -> bool:
    """Return whether a consent text mentions breaking news, in the subscribers' language."""
    return language.gettext("breaking news").casefold() in consent_text.casefold()


def turn_on_if_agreed(
    session: Session, person: Person, consent: Mapping[str, Any], language: SubscriberLanguage, now: datetime
) -> None:
    """Turn breaking news on for someone who has just agreed to a text that names it. `consent` is the event's body."""
    preferences = Preferences.from_stored(person.choices)
    if preferences.is_readable and names_breaking_news(read_consent_text_of_event(consent), language):
        chosen = replace(preferences, breaking_news=True)
        change_preferences(session, person.number, chosen, now, method=CONSENT_METHOD)


@dataclass(frozen=True, slots=True)
class BreakingNewsAudience:
    """The number of subscribers who get breaking news, who haven't chosen it, and who have but pause their emails."""

    recipients: int
    not_chosen: int
    paused: int


def count_breaking_news_audience(session: Session, today: date) -> BreakingNewsAudience:
    """Count the subscribers who may be emailed breaking news on `today`, a day in the publication's zone."""
    recipients = not_chosen = paused = 0
    for preferences, subscribers in count_preferences(session):
        if preferences.gets_breaking_news(today):
            recipients += subscribers
        elif preferences.breaking_news:
            paused += subscribers
        else:
            not_chosen += subscribers
    return BreakingNewsAudience(recipients, not_chosen, paused)
