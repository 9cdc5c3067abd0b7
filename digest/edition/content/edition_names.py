"""An edition's name for subscribers, based on its number."""

from digest.store.models import BREAKING_NEWS_NUMBER
from subscribers.subscriber_language import SubscriberLanguage


def format_issue(number: object, language: SubscriberLanguage) -> str:
    """Return the issue as part of a sentence: "No. 147" or "breaking news"."""
    if str(number) == str(BREAKING_NEWS_NUMBER):  # the values stored for an email contain it as text
        return language.pgettext("an edition, as in “a correction to breaking news”", "breaking news")
    return language.gettext("No. %(number)s", number=number)


def format_issue_heading(number: object, language: SubscriberLanguage) -> str:
    """Return the issue as a heading: "No. 147" or "Breaking news"."""
    if number == BREAKING_NEWS_NUMBER:
        return language.pgettext("alone, as in a masthead", "Breaking news")
    return language.pgettext("alone, as in a masthead", "No. %(number)s", number=number)
