"""Choosing: what a reader wants to read, how often and when, how it looks, and when it rests."""

from dataclasses import replace
from datetime import date, timedelta

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from subscribers import mydata, tokens, zones
from subscribers.addresses import mask
from subscribers.choices import FREQUENCIES, Choices, Frequency, change_choices
from subscribers.db import Person
from subscribers.reception import (
    Reception,
    Site,
    day_in_words,
    listed,
    on_list,
    private,
    readers,
    reception,
    test_or_unknown,
)
from subscribers.vault import open_

LONGEST_BREAK = timedelta(days=366)
BREAK = "The last day of your break"
HOUR = "The hour"
OFTEN: dict[Frequency, tuple[str, str]] = {
    "weekly": ("Every edition", ""),
    "fortnightly": ("Every second week", "Counted from the week in which you choose it."),
    "monthly": ("Once a month", "The first edition of the month."),
}


@readers.get("/preferences/<token>")
def preferences(token: str) -> ResponseReturnValue:
    """Show what a reader has chosen, and say where to ask for their data."""
    here = reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return test_or_unknown(token, "test preferences", "the choices of one reader")
    with here.books.read() as session:
        return _preferences_page(here, session.get(Person, number), token)


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
            return _preferences_page(here, session.get(Person, number), token, problem=wanted)
    with here.books.write() as session:
        person = session.get(Person, number, with_for_update=True)
        if person is not None and on_list(person):
            wanted = _counted_on(wanted, Choices.from_json(person.choices))
            change_choices(session, number, wanted, now=here.clock())
    return _preferences_page(here, person, token, saved=in_words(wanted, here.site))


def _counted_on(wanted: Choices, before: Choices) -> Choices:
    """Let the weeks of somebody who chose them before be counted on as they were."""
    same = wanted.frequency == before.frequency
    return replace(wanted, start=before.start) if same else wanted


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
    when = _read_hour(form)
    if isinstance(when, str):
        return when
    often = _read_frequency(form)
    return Choices(
        omit=omit,
        text_only=form.get("text_only") == "yes",
        pause_until=until,
        frequency=often,
        start=today if often == "fortnightly" else None,
        hour=when[0],
        zone=when[1],
    )


def _read_frequency(form: MultiDict[str, str]) -> Frequency:
    asked = form.get("frequency", "weekly")
    return next((often for often in FREQUENCIES if often == asked), "weekly")


def _read_hour(form: MultiDict[str, str]) -> tuple[int | None, str] | str:
    text, zone = form.get("hour", "").strip(), form.get("zone", "").strip()
    if not text:
        return None, ""
    if not (text.isascii() and text.isdecimal() and len(text) <= 2 and int(text) <= 23):
        return f"{HOUR} must be one of those in the list."
    if zone not in zones.known():
        return f"{HOUR} needs a place whose clock it is meant by. Choose one from the list."
    return int(text), zone


def in_words(chosen: Choices, site: Site) -> str:
    """Say what was saved, so that a slip shows at once."""
    kept = [title for key, title in site.sections if key not in chosen.omit]
    what = "every section" if len(kept) == len(site.sections) else listed(kept)
    form = ", as text only" if chosen.text_only else ""
    if chosen.pause_until:
        said = f"You get nothing until {day_in_words(chosen.pause_until)}. From then on: {what}{form}."
    else:
        said = f"Your next mail has {what}{form}."
    return " ".join([said, *_rhythm(chosen)])


def _rhythm(chosen: Choices) -> list[str]:
    said = []
    if chosen.start:
        monday = chosen.start - timedelta(days=chosen.start.weekday())
        said.append(f"It comes every second week, counted from the week of {day_in_words(monday)}.")
    if chosen.frequency == "monthly":
        said.append("It comes once a month: the first edition of the month.")
    if chosen.hour is not None:
        said.append(
            f"It is sent at {hour_in_words(chosen.hour)} in {zones.place(chosen.zone)}, or soon after."
        )
    return said


def hour_in_words(hour: int) -> str:
    """Write "6:00 a.m."; midnight and noon by name."""
    if hour % 12 == 0:
        return "noon" if hour else "midnight"
    return f"{hour % 12}:00 {'a.m.' if hour < 12 else 'p.m.'}"


@readers.get("/preferences/<token>/my-data")
def preferences_with_data(token: str) -> ResponseReturnValue:
    """Show the page whose button it is: an address that was copied after pressing it leads somewhere."""
    return preferences(token)


@readers.post("/preferences/<token>/my-data")
def mail_my_data(token: str) -> ResponseReturnValue:
    """Have the link to their data mailed to the owner of the address, and say the same whatever comes of it."""
    here = reception()
    number = tokens.read(here.keys, token, "preferences")
    if number is None:
        return test_or_unknown(token, "test preferences", "the choices of one reader")
    with here.books.write() as session:
        mydata.ask(session, number, here.queue, now=here.clock())
    return private(render_template("web/data_asked.html", hours=mydata.LIFE // timedelta(hours=1)))


def _preferences_page(
    here: Reception, person: Person | None, token: str, *, saved: str = "", problem: str = ""
) -> ResponseReturnValue:
    if person is None or not on_list(person):
        mine = token if mydata.may_ask(person) else ""
        page = render_template(
            "web/not_on_list.html", token="", undo_until=None, too_late=False, data_token=mine
        )
        return private(page)
    today = here.today()
    chosen = Choices.from_json(person.choices)
    zone = chosen.zone or here.site.zone.key
    page = render_template(
        "web/preferences.html",
        masked=mask(open_(here.keys, (person.ciphertext or b"", person.key_id or ""), person.number)),
        since=person.asked_at,
        chosen=chosen,
        often=OFTEN,
        hours=[(hour, hour_in_words(hour)) for hour in range(24)],
        zone=zone,
        zone_offered=any(zone == name for places in zones.offered().values() for name, _ in places),
        zones=zones.offered(),
        tomorrow=today + timedelta(days=1),
        latest=today + LONGEST_BREAK,
        leave_url=url_for("readers.ask_to_leave", token=tokens.make(here.keys, person.number, "leave")),
        token=token,
        saved=saved,
        problem=problem,
        problem_at=_place_of(problem),
    )
    return private(page, 400 if problem else 200)


def _place_of(problem: str) -> str:
    if problem.startswith(BREAK):
        return "pause"
    return "hour" if problem.startswith(HOUR) else "sections" if problem else ""
