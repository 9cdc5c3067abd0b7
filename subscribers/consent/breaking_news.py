"""Breaking news: the consent texts that include it, and the people who may be emailed it."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy.orm import Session

from subscribers.consent.audience import count_preferences
from subscribers.subscriber_language import SubscriberLanguage


def names_breaking_news(consent_text: str, language: SubscriberLanguage) -> bool:
    """Return whether a consent text mentions breaking news, in the subscribers' language."""
    return language.gettext("breaking news").casefold() in consent_text.casefold()


@dataclass(frozen=True, slots=True)
class BreakingNewsAudience:
    """The numbers of subscribers who get breaking news, haven't chosen it, or chose it but paused their emails."""

    recipients: int
    not_chosen: int
    paused: int


def count_breaking_news_audience(session: Session, today: date) -> BreakingNewsAudience:
    """Count the subscribers who may be emailed breaking news on `today`, a day in the publication's time zone."""
    recipients = not_chosen = paused = 0
    for preferences, subscribers in count_preferences(session):
        if preferences.gets_breaking_news(today):
            recipients += subscribers
        elif preferences.breaking_news:
            paused += subscribers
        else:
            not_chosen += subscribers
    return BreakingNewsAudience(recipients, not_chosen, paused)
