"""Getting on the list: the form, its answer, the page with the one button, and the lost link.

The form may stand on any page (docs/embedding.md), so a foreign page can send it. That needs no protection: all
that a form can do is to have one mail sent to the owner of an address, within limits, and only the link in that
mail consents. No page here sets or reads a cookie, so a visitor's browser lends a foreign page no rights.

What a form is answered with says nothing of the address: it is written down unseen (`requests`), in the same
statements and the same words for everybody.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, render_template, request
from sqlalchemy.orm import Session

from subscribers import confirming, requests, wordings
from subscribers.addresses import Address, AddressError, mask, read_address
from subscribers.asking import LIFE, Books
from subscribers.confirming import Stage
from subscribers.limits import Bounds
from subscribers.notes import Queue
from subscribers.requests import Asked, Kind, Taken
from subscribers.traces import Machine
from subscribers.vault import Keys
from subscribers.wordings import Wording

signup = Blueprint("signup", __name__)

HONEYPOT = "website"  # no person sees this field: whoever fills it in is a program
LONGEST_ADDRESS = 254  # characters: RFC 5321, 4.5.3.1.3, without the angle brackets


@dataclass(frozen=True, slots=True)
class Reception:
    """What these pages stand on. It lives as long as the application.

    `name` and `home` are the publication's, `rhythm` says when it comes ("Fridays"), `first_edition` which edition
    a new reader gets first, `proxies` how many entries of X-Forwarded-For are ours.
    """

    name: str
    home: str
    base: str
    rhythm: str
    books: Books
    keys: Keys
    bounds: Bounds
    evidence_for: timedelta
    proxies: int
    queue: Queue
    first_edition: Callable[[Session, datetime], str]
    clock: Callable[[], datetime]

    @property
    def wording(self) -> Wording:
        """The words that the page shows now."""
        return wordings.current(self.name)

    def place(self, form: str) -> tuple[str, str]:
        """Give the page that a form stood on, and how a reader would call that: one of two that we know."""
        page = self.home if form == "embedded" else f"{self.base}/subscribe"
        return page, (urlsplit(page).hostname or self.name).removeprefix("www.")


def _reception() -> Reception:
    found: Reception = current_app.extensions["signup"]
    return found


@signup.get("/subscribe")
def subscribe() -> Response:
    """Show the form."""
    return _form_page("")


@signup.post("/subscribe")
def ask() -> Response:
    """Take a form, and answer it without a look at who it is."""
    here = _reception()
    if request.form.get(HONEYPOT):
        return _answer("subscribe", Taken.TAKEN)
    said = _address()
    if isinstance(said, str):
        return _form_page(said, at="address")
    wording = wordings.of_version(request.form.get("wording", ""), here.name)
    if wording is None:
        return _form_page("This form is out of date: please use the one here.")
    if request.form.get("agree") != "yes":
        return _form_page("Tick the box, if you agree: without it we must not mail you.", at="agree")
    return _take(here, "subscribe", said, wording)


@signup.get("/preferences")
def lost_link() -> Response:
    """Show the form that asks for a lost link."""
    return _private(render_template("web/lost_link.html", problem="", honeypot=HONEYPOT))


@signup.post("/preferences")
def ask_for_link() -> Response:
    """Take the form, and answer it without a look at who it is."""
    if request.form.get(HONEYPOT):
        return _answer("lost link", Taken.TAKEN)
    said = _address()
    if isinstance(said, str):
        return _private(render_template("web/lost_link.html", problem=said, honeypot=HONEYPOT), 400)
    return _take(_reception(), "lost link", said, None)


@signup.get("/confirm/<token>")
def ask_to_confirm(token: str) -> Response:
    """Show what is agreed to, and the one button. Nothing is changed before it is pressed."""
    here = _reception()
    with here.books.read() as session:
        return _link_page(here, session, confirming.look(session, here.keys, token, now=here.clock()))


@signup.post("/confirm/<token>")
def confirm(token: str) -> Response:
    """Put the person on the list. Twice is once."""
    here = _reception()
    now = here.clock()
    with here.books.write() as session:
        found = confirming.confirm(
            session,
            here.keys,
            token,
            machine=_machine(here),
            evidence_for=here.evidence_for,
            queue=here.queue,
            now=now,
        )
    with here.books.read() as session:
        return _link_page(here, session, found)


def _address() -> Address | str:
    """Read the address; where it cannot be one, give the words that say why. They do not repeat it."""
    text = request.form.get("email", "").strip()
    if not text:
        return "Write your address here."
    if len(text) > LONGEST_ADDRESS:
        return f"This is longer than an address can be ({LONGEST_ADDRESS} characters)."
    try:
        return read_address(text)
    except AddressError as exc:
        words = str(exc)
        return f"{words[:1].upper()}{words[1:]}. Please check it."


def _take(here: Reception, kind: Kind, address: Address, wording: Wording | None) -> Response:
    page, where = here.place(request.form.get("form", ""))
    asked = Asked(kind, address, here.clock(), page, where, wording, _machine(here))
    form = requests.ready(here.keys, asked)
    with here.books.write() as session:
        taken = requests.append(session, form, here.bounds)
    return _answer(kind, taken)


def _answer(kind: Kind, taken: Taken) -> Response:
    if taken is Taken.TAKEN:
        return _private(render_template("web/asked.html", kind=kind, days=LIFE.days))
    full = taken is Taken.NETWORK_FULL
    response = _private(render_template("web/too_many.html", network=full), 429 if full else 503)
    response.headers["Retry-After"] = "3600"
    return response


def _form_page(problem: str, *, at: str = "") -> Response:
    here = _reception()
    page = render_template(
        "web/subscribe.html",
        wording=here.wording,
        rhythm=here.rhythm,
        problem=problem,
        problem_at=at,
        honeypot=HONEYPOT,
    )
    return _private(page, 400) if problem else Response(page, mimetype="text/html")


def _link_page(here: Reception, session: Session, found: confirming.Link) -> Response:
    match found.stage:
        case Stage.UNKNOWN:
            return _private(render_template("web/unknown_link.html"), 404)
        case Stage.OPEN:
            return _private(render_template("web/confirm.html", link=found, masked=mask(found.address)))
        case Stage.CONFIRMED:
            coming = here.first_edition(session, here.clock())
            return _private(render_template("web/confirmed.html", link=found, coming=coming))
    return _private(render_template("web/expired.html", link=found), 410)


def _machine(here: Reception) -> Machine:
    return Machine(client(here.proxies), request.headers.get("User-Agent", ""))


def client(proxies: int) -> str:
    """Give the network address that a request came from.

    Each proxy appends whom it got the request from to X-Forwarded-For, so of the entries only the last are true:
    as many as there are proxies of ours. What stands before them anybody may have written.
    """
    seen = [
        entry.strip() for header in request.headers.getlist("X-Forwarded-For") for entry in header.split(",")
    ]
    if proxies and len(seen) >= proxies:
        try:
            return str(ipaddress.ip_address(seen[-proxies]))
        except ValueError:
            return ""
    return request.remote_addr or ""


def _private(page: str, status: int = 200) -> Response:
    response = Response(page, status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
