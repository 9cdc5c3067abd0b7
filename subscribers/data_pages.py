"""A reader's data, behind a link that was mailed to the owner of the address: to see, take along, move and erase."""

import hashlib
import json
from base64 import b64encode
from typing import Any

import structlog
from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from subscribers import disclosures, moving, mydata, onetime, records
from subscribers.addresses import AddressError, mask, read_address
from subscribers.db import Person, PersonState
from subscribers.disclosures import Passage
from subscribers.erasing import erase
from subscribers.moving import Move, Stage
from subscribers.onetime import Standing
from subscribers.reception import Reception, private, readers, reception, unknown_link
from subscribers.transfer.exporting import passage_as_json, record
from subscribers.vault import open_

LONGEST_ADDRESS = 254  # characters: RFC 5321, 4.5.3.1.3, without the angle brackets

log = structlog.get_logger("my data")


@readers.get("/my-data/<token>")
def my_data(token: str) -> ResponseReturnValue:
    """Show all that we hold of one person. Looking uses nothing up: scanners look first."""
    here = reception()
    with here.books.read() as session:
        found = _owner(here, session, token)
        return found if isinstance(found, Response) else _page(here, session, found, token)


@readers.post("/my-data/<token>/record")
def show_my_record(token: str) -> ResponseReturnValue:
    """Show all that we hold of one person as a page to print. A button asks for it: the address stands there in full."""
    said = _record_behind(token)
    if isinstance(said, Response):
        return said
    page = render_template("web/record.html", record=records.readable(said))
    response = private(page)
    response.headers["Content-Security-Policy"] = _alone(page)
    return response


def _alone(page: str) -> str:
    """Allow a page that needs no other file its own style, named by its hash (CSP 3, 8.4), and nothing else."""
    style = page.partition("<style>")[2].partition("</style>")[0]
    named = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{named}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


@readers.post("/my-data/<token>/download")
def download_my_data(token: str) -> ResponseReturnValue:
    """Give all that we hold of one person as JSON (ISO/IEC TS 27560)."""
    said = _record_behind(token)
    if isinstance(said, Response):
        return said
    response = private(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return response


def _record_behind(token: str) -> dict[str, Any] | Response:
    """Give all that we hold of the person behind a link, or the page that says why not."""
    here = reception()
    with here.books.read() as session:
        found = _owner(here, session, token)
        return found if isinstance(found, Response) else _record(here, session, found)


def _record(here: Reception, session: Session, person: Person) -> dict[str, Any]:
    mails = map(passage_as_json, here.deliveries_of(session, person.number))
    said = record(
        session, here.keys, person.number, controller=here.controller, now=here.clock(), others=mails
    )
    assert said is not None, "the person was found"
    return said


@readers.get("/my-data/<token>/erase")
def ask_to_erase(token: str) -> ResponseReturnValue:
    """Say what erasing does, with the one button that does it."""
    here = reception()
    with here.books.read() as session:
        found = _owner(here, session, token)
        if isinstance(found, Response):
            return found
        return private(render_template("web/erase.html", token=token, masked=_masked(here, found)))


@readers.post("/my-data/<token>/erase")
def erase_now(token: str) -> ResponseReturnValue:
    """Erase a person for good. Twice is once."""
    here = reception()
    with here.books.write() as session:
        found = _owner(here, session, token)
        if isinstance(found, Response):
            return found
        erase(
            session,
            here.keys,
            here.journal,
            found.number,
            method="page",
            forget=here.forget,
            now=here.clock(),
        )
    return private(render_template("web/erased.html", new=True))


@readers.post("/my-data/<token>/address")
def ask_to_move(token: str) -> ResponseReturnValue:
    """Take a new address; it counts once its owner has confirmed it."""
    here = reception()
    text = request.form.get("email", "").strip()
    with here.books.write() as session:
        found = _owner(here, session, token)
        if isinstance(found, Response):
            return found
        try:
            address = read_address(text[: LONGEST_ADDRESS + 1])
        except AddressError as exc:
            words = str(exc)
            problem = f"{words[:1].upper()}{words[1:]}. Please check it."
            return _page(here, session, found, token, problem=problem)
        moving.ask(session, here.keys, found.number, address, here.queue, now=here.clock())
    return private(render_template("web/move_asked.html", token=token, days=moving.LIFE.days))


@readers.get("/address/<token>")
def ask_to_confirm_move(token: str) -> ResponseReturnValue:
    """Show the button that makes an address the one which the mail goes to."""
    here = reception()
    with here.books.read() as session:
        return _move_page(moving.look(session, here.keys, token, now=here.clock()), token)


@readers.post("/address/<token>")
def confirm_move(token: str) -> ResponseReturnValue:
    """Move a reader to the address that this link was mailed to. Twice is once."""
    here = reception()
    now = here.clock()
    try:
        with here.books.write() as session:
            moved = moving.confirm(session, here.keys, here.journal, token, now=now)
    except IntegrityError:  # somebody signed up with it between our look and our write
        moved = Move(Stage.TAKEN)
    try:
        moving.note_moved(here.journal, moved, at=now)
    except OSError as exc:  # the move is done all the same; only a restored copy would not know
        log.error("a move is not in the journal", error=type(exc).__name__)  # noqa: TRY400 - no trace needed
    return _move_page(moved, token)


def _move_page(move: Move, token: str) -> Response:
    if move.stage is Stage.UNKNOWN:
        return unknown_link()
    status = 410 if move.stage is Stage.OVER else 409 if move.stage is Stage.TAKEN else 200
    return private(render_template("web/move.html", move=move, stage=str(move.stage), token=token), status)


def _owner(here: Reception, session: Session, token: str) -> Person | Response:
    """Find whose data a link opens; where it opens none, give the page that says why."""
    found = onetime.look(session, token, "my data", now=here.clock())
    if found.standing is Standing.UNKNOWN or found.person is None:
        return unknown_link()
    person = session.get(Person, found.person, populate_existing=True)
    if person is not None and person.state is PersonState.ERASED:
        return private(render_template("web/erased.html", new=False), 410)
    if found.standing is not Standing.FRESH or person is None or person.ciphertext is None:
        return private(render_template("web/data_over.html", until=found.expires_at), 410)
    return person


def _page(
    here: Reception, session: Session, person: Person, token: str, *, problem: str = ""
) -> ResponseReturnValue:
    page = render_template(
        "web/my_data.html",
        token=token,
        masked=_masked(here, person),
        subscribed=person.state is PersonState.SUBSCRIBED,
        history=mydata.history(session, person.number),
        passages=_passages(here, session, person.number),
        problem=problem,
    )
    return private(page, 400 if problem else 200)


def _passages(here: Reception, session: Session, number: int) -> list[Passage]:
    """Give every passage of an address to somebody, the latest first: mails and all others."""
    found = [*here.deliveries_of(session, number), *disclosures.of(session, number)]
    return sorted(found, key=lambda passage: passage.at, reverse=True)


def _masked(here: Reception, person: Person) -> str:
    assert person.ciphertext is not None
    assert person.key_id is not None
    return mask(open_(here.keys, (person.ciphertext, person.key_id), person.number))
