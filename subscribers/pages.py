"""The pages that a reader opens from a mail: leaving, choosing, and what we hold and why.

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

from flask import Blueprint, Response, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from subscribers import tokens
from subscribers.choices import Choices, change_choices
from subscribers.db import Person, PersonState
from subscribers.journal import Journal
from subscribers.leaving import leave
from subscribers.vault import Keys, open_

readers = Blueprint("readers", __name__)

LONGEST_BREAK = timedelta(days=366)
BREAK = "The last day of your break"


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
    """What the pages stand on. It lives as long as the application."""

    site: Site
    books: Books
    keys: Keys
    journal: Journal
    clock: Callable[[], datetime]


def _reception() -> Reception:
    found: Reception = current_app.extensions["readers"]
    return found


@readers.get("/contact")
def contact() -> str:
    """Say how to reach the editors."""
    return render_template("web/contact.html")


@readers.get("/privacy")
def privacy() -> str:
    """Say what is held, why, for how long, and who receives it."""
    return render_template("web/privacy.html")


@readers.get("/u/<token>")
def ask_to_leave(token: str) -> ResponseReturnValue:
    """Show the one button. Nothing is changed before it is pressed."""
    here = _reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return _test_or_unknown(token, "test leave", "a page with one button, to leave the list")
    with here.books.read() as session:
        there = _on_list(session.get(Person, number))
    return _private(render_template("web/leave.html" if there else "web/not_on_list.html"))


@readers.post("/u/<token>")
def leave_now(token: str) -> ResponseReturnValue:
    """Take a reader off the list: RFC 8058.

    The token in the path says who; of the body nothing is needed, so any body will do, an empty or a broken
    one too. Only committed and journalled is it answered, with 200 and without a redirect. Twice is once. A
    person who is gone already is answered alike.
    """
    here = _reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return _test_or_unknown(token, "test leave", "a page with one button, to leave the list")
    method = "page" if _form().get("from") == "page" else "one-click"
    with here.books.write() as session:
        leave(session, here.journal, number, method=method, now=here.clock())
    return _private(render_template("web/left.html"))


def _form() -> MultiDict[str, str]:
    try:
        return request.form
    except HTTPException:  # too large or too odd to read: for leaving, what it says does not matter
        return MultiDict()


@readers.get("/preferences/<token>")
def preferences(token: str) -> ResponseReturnValue:
    """Show what a reader has chosen, and say where to ask for their data."""
    here = _reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return _test_or_unknown(token, "test preferences", "the choices of one reader")
    with here.books.read() as session:
        return _preferences_page(here, session.get(Person, number))


@readers.post("/preferences/<token>")
def save_preferences(token: str) -> ResponseReturnValue:
    """Save the form, and say what was saved. No redirect: there is no cookie to carry the message."""
    here = _reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return _test_or_unknown(token, "test preferences", "the choices of one reader")
    today = here.clock().astimezone(here.site.zone).date()
    wanted = read_choices(request.form, here.site, today)
    if isinstance(wanted, str):
        with here.books.read() as session:
            return _preferences_page(here, session.get(Person, number), problem=wanted)
    with here.books.write() as session:
        person = session.get(Person, number, with_for_update=True)
        if _on_list(person):
            change_choices(session, number, wanted, now=here.clock())
    return _preferences_page(here, person, saved=in_words(wanted, here.site))


def read_choices(form: MultiDict[str, str], site: Site, today: date) -> Choices | str:
    """Read the form; where it cannot be kept, give the words that say why.

    The form names the sections that are wanted, and what is kept are those that are not: a section that the
    publication starts later comes to everybody, until they say no to it.
    """
    wanted = set(form.getlist("section"))
    omit = frozenset(key for key, _ in site.sections if key not in wanted)
    if len(omit) == len(site.sections):
        return "Choose at least one section. If you want none of them, unsubscribe."
    text = form.get("pause_until", "").strip()
    try:
        until = date.fromisoformat(text) if text else None
    except ValueError:
        return f"{BREAK} cannot be read. Write it as 2026-12-31."
    if until and not today < until <= today + LONGEST_BREAK:
        return f"{BREAK} must lie between tomorrow and a year from now."
    return Choices(omit=omit, text_only=form.get("text_only") == "yes", pause_until=until)


def in_words(chosen: Choices, site: Site) -> str:
    """Say what was saved, so that a slip shows at once."""
    kept = [title for key, title in site.sections if key not in chosen.omit]
    what = "every section" if len(kept) == len(site.sections) else _listed(kept)
    form = ", as text only" if chosen.text_only else ""
    if not chosen.pause_until:
        return f"Your next mail has {what}{form}."
    day = f"{chosen.pause_until:%B} {chosen.pause_until.day}, {chosen.pause_until.year}"
    return f"You get nothing until {day}. From then on: {what}{form}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def mask(address: str) -> str:
    """Write an address so that its owner knows it and a stranger does not: d•••@county.example."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def _on_list(person: Person | None) -> bool:
    return person is not None and person.state == PersonState.SUBSCRIBED and person.ciphertext is not None


def _preferences_page(
    here: Reception, person: Person | None, *, saved: str = "", problem: str = ""
) -> ResponseReturnValue:
    if person is None or not _on_list(person):
        return _private(render_template("web/not_on_list.html"))
    today = here.clock().astimezone(here.site.zone).date()
    page = render_template(
        "web/preferences.html",
        masked=mask(open_(here.keys, (person.ciphertext or b"", person.key_id or ""), person.number)),
        since=person.asked_at,
        chosen=Choices.from_json(person.choices),
        tomorrow=today + timedelta(days=1),
        latest=today + LONGEST_BREAK,
        leave_url=url_for("readers.ask_to_leave", token=tokens.make(here.keys, person.number, "leave")),
        saved=saved,
        problem=problem,
        problem_at="pause" if problem.startswith(BREAK) else "sections" if problem else "",
    )
    return _private(page, 400 if problem else 200)


def _test_or_unknown(token: str, purpose: tokens.Purpose, what: str) -> ResponseReturnValue:
    """Answer a token that is nobody's: one of a test mail says so, and all others look the same."""
    if tokens.read(_reception().keys, token, purpose) is not None:
        return _private(render_template("web/test_mail.html", what=what))
    return _private(render_template("web/unknown_link.html"), 404)


def _private(page: str, status: int = 200) -> Response:
    response = Response(page, status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
