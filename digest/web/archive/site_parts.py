"""What stands on every public page: the links at the top, and the field to sign up."""

from dataclasses import dataclass

from flask import url_for

from subscribers.pages.signup import HONEYPOT_FIELD


@dataclass(frozen=True, slots=True)
class SignupWords:
    """What the field to sign up says. `each` completes "one …" ("every Friday"), `promise` is its heading."""

    honeypot: str
    each: str
    promise: str


def describe_signup(days: str) -> SignupWords:
    """Say when the mail comes, in the words of the field to sign up; `days` as "Fridays" or "every day"."""
    names = days.replace(" and ", ", ").split(", ")
    if len(names) == 1 and days.endswith("days"):
        return SignupWords(HONEYPOT_FIELD, f"every {days[:-1]}", f"One mail, {days}")
    if all(name.endswith("days") for name in names):
        return SignupWords(HONEYPOT_FIELD, f"on {days}", f"One mail, {days}")
    return SignupWords(HONEYPOT_FIELD, days, f"One mail, {days}")


def list_site_links() -> list[tuple[str, str, str]]:
    """List the links at the top of every page: key, words, address."""
    return [
        ("editions", "Editions", url_for("archive.editions")),
        ("topics", "Topics", url_for("archive.topics")),
        ("search", "Search", url_for("archive.search")),
        ("subscribe", "Subscribe", url_for("signup.subscribe")),
    ]
