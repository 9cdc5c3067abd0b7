"""Leaving by RFC 8058 and by the page, pausing instead, and a week to take it back: all by the one token."""

from datetime import timedelta

import structlog
from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from subscribers import leaving, tokens
from subscribers.choices import pause
from subscribers.db import Person
from subscribers.reception import (
    Reception,
    day_in_words,
    on_list,
    private,
    readers,
    reception,
    test_or_unknown,
)

PAUSES = {"4w": (28, "Four weeks"), "3m": (91, "Three months"), "6m": (182, "Six months")}  # days, words
_WHAT = "a page with one button, to leave the list"

log = structlog.get_logger("leaving")


@readers.get("/u/<token>")
def ask_to_leave(token: str) -> ResponseReturnValue:
    """Show the one button. Nothing is changed before it is pressed."""
    here = reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return test_or_unknown(token, "test leave", _WHAT)
    with here.books.read() as session:
        return _standing(here, session, number, token)


@readers.post("/u/<token>")
def leave_now(token: str) -> ResponseReturnValue:
    """Take a reader off the list: RFC 8058.

    The token in the path says who; of the body nothing is needed, so any body will do, an empty or a broken
    one too. Only committed and journalled is it answered, with 200 and without a redirect. Twice is once. A
    person who is gone already is answered alike.
    """
    here = reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return test_or_unknown(token, "test leave", _WHAT)
    form = _form()
    by_page = form.get("from") == "page"
    with here.books.write() as session:
        leaving.leave(
            session,
            here.journal,
            number,
            method="page" if by_page else "one-click",
            reason=form.get("reason", "") if by_page else "",
            now=here.clock(),
        )
    with here.books.read() as session:
        until = leaving.undo_until(session, number, now=here.clock())
    return private(render_template("web/left.html", token=token, undo_until=until))


def _form() -> MultiDict[str, str]:
    try:
        return request.form
    except HTTPException:  # too large or too odd to read: for leaving, what it says does not matter
        return MultiDict()


@readers.get("/u/<token>/pause")
def ask_to_pause(token: str) -> ResponseReturnValue:
    """Offer a break in place of leaving."""
    here = reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return test_or_unknown(token, "test leave", _WHAT)
    with here.books.read() as session:
        if not on_list(session.get(Person, number)):
            return _standing(here, session, number, token)
    return private(render_template("web/pause.html", pauses=PAUSES, token=token, until="", problem=""))


@readers.post("/u/<token>/pause")
def pause_now(token: str) -> ResponseReturnValue:
    """Have the mail rest for one of the lengths that the page offers."""
    here = reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return test_or_unknown(token, "test leave", _WHAT)
    days, _ = PAUSES.get(request.form.get("length", ""), (0, ""))
    if not days:
        problem = "Choose how long the break should be."
        page = render_template("web/pause.html", pauses=PAUSES, token=token, until="", problem=problem)
        return private(page, 400)
    until = here.today() + timedelta(days=days)
    with here.books.write() as session:
        if not on_list(session.get(Person, number, with_for_update=True)):
            return _standing(here, session, number, token)
        pause(session, number, until, now=here.clock())
    page = render_template(
        "web/pause.html", pauses=PAUSES, token=token, until=day_in_words(until), problem=""
    )
    return private(page)


@readers.get("/u/<token>/undo")
def ask_to_undo(token: str) -> ResponseReturnValue:
    """Show how things stand, with the button that takes it back where there is something to take back."""
    return ask_to_leave(token)


@readers.post("/u/<token>/undo")
def undo_now(token: str) -> ResponseReturnValue:
    """Put a reader back who left within the last week. Twice is once."""
    here = reception()
    number = tokens.read(here.keys, token, "leave")
    if number is None:
        return test_or_unknown(token, "test leave", _WHAT)
    now = here.clock()
    with here.books.write() as session:
        undone = leaving.undo(session, here.keys, number, now=now)
    try:
        leaving.note_undone(here.journal, undone, at=now)
    except OSError as exc:  # the reader is back all the same; only a restored copy would not know
        log.error("an undoing is not in the journal", person=number, error=type(exc).__name__)  # noqa: TRY400 - no trace needed
    with here.books.read() as session:
        if on_list(session.get(Person, number)):
            return private(render_template("web/undone.html", new=undone.new))
        return _standing(here, session, number, token, status=410)


def _standing(here: Reception, session: Session, number: int, token: str, *, status: int = 200) -> Response:
    if on_list(session.get(Person, number)):
        return private(render_template("web/leave.html", reasons=leaving.REASONS, token=token), status)
    until = leaving.undo_until(session, number, now=here.clock())
    too_late = status != 200
    return private(
        render_template(
            "web/not_on_list.html", token=token, undo_until=until, too_late=too_late, data_token=""
        ),
        status,
    )
