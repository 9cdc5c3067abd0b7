"""Choosing: what a reader wants to read, how it looks, and when it rests."""

from datetime import date, timedelta

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from subscribers import tokens
from subscribers.choices import Choices, change_choices
from subscribers.db import Person
from subscribers.reception import (
    Reception,
    Site,
    day_in_words,
    listed,
    mask,
    on_list,
    private,
    readers,
    reception,
    test_or_unknown,
)
from subscribers.vault import open_

LONGEST_BREAK = timedelta(days=366)
BREAK = "The last day of your break"


@readers.get("/preferences/<token>")
def preferences(token: str) -> ResponseReturnValue:
    """Show what a reader has chosen, and say where to ask for their data."""
    here = reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return test_or_unknown(token, "test preferences", "the choices of one reader")
    with here.books.read() as session:
        return _preferences_page(here, session.get(Person, number))


@readers.post("/preferences/<token>")
def save_preferences(token: str) -> ResponseReturnValue:
    """Save the form, and say what was saved. No redirect: there is no cookie to carry the message."""
    here = reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return test_or_unknown(token, "test preferences", "the choices of one reader")
    wanted = read_choices(request.form, here.site, here.today())
    if isinstance(wanted, str):
        with here.books.read() as session:
            return _preferences_page(here, session.get(Person, number), problem=wanted)
    with here.books.write() as session:
        person = session.get(Person, number, with_for_update=True)
        if on_list(person):
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
    what = "every section" if len(kept) == len(site.sections) else listed(kept)
    form = ", as text only" if chosen.text_only else ""
    if not chosen.pause_until:
        return f"Your next mail has {what}{form}."
    return f"You get nothing until {day_in_words(chosen.pause_until)}. From then on: {what}{form}."


def _preferences_page(
    here: Reception, person: Person | None, *, saved: str = "", problem: str = ""
) -> ResponseReturnValue:
    if person is None or not on_list(person):
        page = render_template("web/not_on_list.html", token="", undo_until=None, too_late=False)
        return private(page)
    today = here.today()
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
    return private(page, 400 if problem else 200)
