"""Breaking news: the consent texts that mention it, and the people it may be sent to."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy.orm import Session

from subscribers.consent.audience import build_mailable_person_condition, count_audience
from subscribers.store.database import count_rows
from subscribers.store.models import Person
from subscribers.store.stored_preferences import build_preference_column
from subscribers.subscriber_language import SubscriberLanguage


def mentions_breaking_news(consent_text: str, language: SubscriberLanguage) -> bool:
    """Return True if a consent text mentions breaking news in the subscribers' language."""
    return language.gettext("breaking news").casefold() in consent_text.casefold()


@dataclass(frozen=True, slots=True)
class BreakingNewsAudience:
    """The numbers of subscribers who do and don't receive breaking news.

    They receive it, haven't chosen it, or have chosen it but paused their emails.
    """

    recipients: int
    not_chosen: int
    paused: int


def count_breaking_news_audience(session: Session, today: date) -> BreakingNewsAudience:
    """Count subscribers by whether they receive breaking news on `today`, a day in the publication's time zone.

    The counts are from indexes of the people who chose breaking news and of those with a pause, so
    they're fast for a list of any length.
    """
    has_chosen = (build_preference_column("breaking_news").is_not(None), build_mailable_person_condition())
    paused_until = build_preference_column("pause_until")
    is_paused = (paused_until.is_not(None), paused_until > today.isoformat())
    chosen = count_rows(session, Person, *has_chosen)
    paused = count_rows(session, Person, *has_chosen, *is_paused)
    return BreakingNewsAudience(chosen - paused, count_audience(session) - chosen, paused)
