"""A line to the editors: a message, an answer's address if one is wanted, and the protections of the sign-up form."""

import secrets
import unicodedata
from dataclasses import dataclass

from flask import Response, render_template, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from subscribers import limits
from subscribers.addresses import AddressError, read_address
from subscribers.notes import Note
from subscribers.reception import Reception, private, readers, reception
from subscribers.signup_pages import HONEYPOT, client

LONGEST = 5000  # characters of a message
_KEPT = {"\n", "\t"}


@dataclass(frozen=True, slots=True)
class Line:
    """A message to the editors; `reply` is empty where no answer is wanted."""

    message: str
    reply: str

    def __repr__(self) -> str:
        return "Line(…)"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a form cannot be taken: in words, and at which field."""

    words: str
    at: str


@readers.get("/contact")
def contact() -> Response:
    """Show the form."""
    return _form_page(None)


@readers.post("/contact")
def write_to_the_editors() -> Response:
    """Queue a message to the editors. It puts nobody on a list, and nothing of it is kept once it has gone out."""
    here = reception()
    if request.form.get(HONEYPOT):
        return _sent("")
    line = read_line(request.form)
    if isinstance(line, Problem):
        return _form_page(line)
    with here.books.write() as session:
        full = _full(here, session)
        if not full:
            facts = {"message": line.message, "reply": line.reply}
            here.queue(session, Note("contact", None, secrets.token_hex(8), facts))
    if full:
        response = private(render_template("web/too_many.html", network=full == 429), full)
        response.headers["Retry-After"] = "3600"
        return response
    return _sent(line.reply)


def read_line(form: MultiDict[str, str]) -> Line | Problem:
    """Read the form; where it cannot be taken, give the words that say why. They repeat nothing of it."""
    text = form.get("message", "").replace("\r\n", "\n").replace("\r", "\n")
    message = "".join(c for c in text if c in _KEPT or unicodedata.category(c) not in {"Cc", "Cs"}).strip()
    if not message:
        return Problem("Write your message here.", "message")
    if len(message) > LONGEST:
        return Problem(
            f"It is {len(message) - LONGEST:,} characters too long: {LONGEST:,} is the most.", "message"
        )
    typed = form.get("email", "").strip()
    try:
        return Line(message, read_address(typed).mailbox if typed else "")
    except AddressError as exc:
        words = str(exc)
        return Problem(f"{words[:1].upper()}{words[1:]}. Please check it, or leave it empty.", "email")


def _full(here: Reception, session: Session) -> int:
    """Count a message; give the status to refuse it with, 0 where there is room."""
    now = here.clock()
    tag = limits.network_tag(here.keys, limits.network_of(client(here.proxies)), now)
    from_network = limits.count(session, "contact network", tag, now=now, window=limits.HOUR)
    limits.count(session, "contact", "", now=now, window=limits.TENTH)
    if tag and from_network > here.bounds.per_network_hour:
        return 429
    return 503 if limits.counted_last_hour(session, "contact", now=now) > here.bounds.alarm_hour else 0


def _form_page(problem: Problem | None) -> Response:
    said = {"message": request.form.get("message", ""), "email": request.form.get("email", "")}
    page = render_template("web/contact.html", problem=problem, said=said, honeypot=HONEYPOT, longest=LONGEST)
    return private(page, 400) if problem else Response(page, mimetype="text/html")


def _sent(reply: str) -> Response:
    return private(render_template("web/contact_sent.html", answered=bool(reply)))
