"""What stands on every public page: the links at the top, and the field to sign up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from flask import url_for

from subscribers.pages.context import page_context
from subscribers.pages.signup import HONEYPOT_FIELD
from subscribers.reader_language import ReaderLanguage

_A_MONDAY = date(2026, 1, 5)


@dataclass(frozen=True, slots=True)
class SignupWords:
    """What the field to sign up says. `each` completes "one …" ("every Friday"), `promise` is its heading."""

    honeypot: str
    each: str
    promise: str


def describe_signup(release_days: Sequence[int], language: ReaderLanguage) -> SignupWords:
    """Say when the mail comes, in the words of the field to sign up; `release_days` are weekdays, Monday is 0."""
    days, each = _name_days(release_days, language), ""
    if not release_days:
        each = language.gettext("as it comes")
    elif len(release_days) == 1:
        weekday = language.weekday(_A_MONDAY + timedelta(days=release_days[0]))
        each = language.gettext("every %(weekday)s", weekday=weekday)
    elif len(release_days) == 7:
        each = language.gettext("every day")
    else:
        each = language.gettext("on %(days)s", days=days)
    promise = language.gettext("One mail, %(days)s", days=days if 0 < len(release_days) < 7 else each)
    return SignupWords(HONEYPOT_FIELD, each, promise)


def _name_days(release_days: Sequence[int], language: ReaderLanguage) -> str:
    """Write "Fridays" or "Mondays and Thursdays"."""
    names = (
        *(language.gettext("Mondays"), language.gettext("Tuesdays"), language.gettext("Wednesdays")),
        *(language.gettext("Thursdays"), language.gettext("Fridays"), language.gettext("Saturdays")),
        language.gettext("Sundays"),
    )
    return language.join_words([names[day] for day in release_days])


def list_site_links() -> list[tuple[str, str, str]]:
    """List the links at the top of every page: key, words, address."""
    language = page_context.language
    return [
        ("editions", language.gettext("Editions"), url_for("archive.editions")),
        ("topics", language.pgettext("a page of the site", "Topics"), url_for("archive.topics")),
        ("search", language.gettext("Search"), url_for("archive.search")),
        ("subscribe", language.gettext("Subscribe"), url_for("signup.subscribe")),
    ]
