"""What readers' pages stand on, and the answers that they share.

A token in the path is all that these pages ask for: it is the capability. They set no cookie, and so
need no CSRF protection: a foreign page that does not know the token can forge nothing, and one that knows it
needs no browser of the reader's to use it.

Opening a page changes nothing, whoever opens it: scanners follow every link of a mail.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, current_app, render_template
from sqlalchemy.orm import Session

from subscribers import tokens
from subscribers.db import Person, PersonState
from subscribers.disclosures import Passage
from subscribers.erasing import Forget
from subscribers.journal import Journal
from subscribers.limits import Bounds
from subscribers.notes import Queue
from subscribers.transfer.exporting import Controller
from subscribers.vault import Keys

readers = Blueprint("readers", __name__)


class Books(Protocol):
    """Where people are kept: sessions for looking, and sessions that commit at the end of their block."""

    def read(self) -> AbstractContextManager[Session]:
        """Lend a session for looking only."""

    def write(self) -> AbstractContextManager[Session]:
        """Lend a session that commits."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages say of the publication, and whom it lets know an address."""

    name: str
    tagline: str
    about: str
    home: str
    language: str
    direction: str
    zone: ZoneInfo
    reply_to: str
    postal_address: str
    sections: tuple[tuple[str, str], ...]  # key and title
    recipients: tuple[str, ...]  # sentences


@dataclass(frozen=True, slots=True)
class Reception:
    """What the pages stand on. It lives as long as the application.

    Mails are not this package's matter, so it is given ways to them: `queue` has one sent, `deliveries_of` says
    which were handed over to whom (one by one for `mails_for`, then in sum), `forget` lets go of somebody who is erased.
    """

    site: Site
    books: Books
    keys: Keys
    journal: Journal
    clock: Callable[[], datetime]
    queue: Queue
    deliveries_of: Callable[[Session, int], tuple[Passage, ...]]
    mails_for: timedelta
    forget: Forget
    controller: Controller
    bounds: Bounds
    proxies: int

    def today(self) -> date:
        """Give the day that it is where the publication is."""
        return self.clock().astimezone(self.site.zone).date()


def reception() -> Reception:
    """Give what the running application's pages stand on."""
    found: Reception = current_app.extensions["readers"]
    return found


def on_list(person: Person | None) -> bool:
    """Say whether a person is there, subscribed, and has an address."""
    return person is not None and person.state == PersonState.SUBSCRIBED and person.ciphertext is not None


def day_in_words(day: date) -> str:
    """Write "November 20, 2026"."""
    return f"{day:%B} {day.day}, {day.year}"


def listed(words: list[str]) -> str:
    """Write "a", "a and b" or "a, b and c"."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def test_or_unknown(token: str, purpose: tokens.Purpose, what: str) -> Response:
    """Answer a token that is nobody's: one of a test mail says so, and all others look the same."""
    if tokens.read(reception().keys, token, purpose) is not None:
        return private(render_template("web/test_mail.html", what=what))
    return unknown_link()


def unknown_link() -> Response:
    """Answer a link that was never ours: cut off, forged, or for another page, all alike."""
    return private(render_template("web/unknown_link.html"), 404)


def private(page: str, status: int = 200) -> Response:
    """Answer with a page that is one reader's: stored by nobody, found by no search."""
    response = Response(page, status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
