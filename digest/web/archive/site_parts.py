"""What stands on every public page: the links at the top, and the field to sign up."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import url_for

from digest.settings.mail_frequency import MailFrequency
from subscribers.pages.context import page_context
from subscribers.pages.signup import HONEYPOT_FIELD
from subscribers.reader_language import ReaderLanguage


@dataclass(frozen=True, slots=True)
class SignupWords:
    """What the field to sign up says. `each` completes "one …" ("every Friday"), `promise` is its heading, `mails` begins a sentence."""

    honeypot: str
    each: str
    promise: str
    mails: str


def describe_signup(release_days: Sequence[int], language: ReaderLanguage) -> SignupWords:
    """Say when the mail comes, in the words of the field to sign up; `release_days` are weekdays, Monday is 0."""
    frequency = MailFrequency(tuple(release_days), language)
    return SignupWords(HONEYPOT_FIELD, frequency.each, frequency.promise, frequency.mails)


def list_site_links() -> list[tuple[str, str, str]]:
    """List the links at the top of every page: key, words, address."""
    language = page_context.language
    return [
        ("editions", language.gettext("Editions"), url_for("archive.editions")),
        ("topics", language.pgettext("a page of the site", "Topics"), url_for("archive.topics")),
        ("search", language.gettext("Search"), url_for("archive.search")),
        ("subscribe", language.gettext("Subscribe"), url_for("signup.subscribe")),
    ]
