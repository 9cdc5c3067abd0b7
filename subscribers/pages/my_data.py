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

from subscribers.address import AddressError, mask_address, read_address
from subscribers.consent import disclosures, readable_record
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.lifecycle import address_change
from subscribers.lifecycle import my_data as mydata
from subscribers.lifecycle.address_change import AddressChange, AddressChangeStage
from subscribers.lifecycle.erasure import erase_person
from subscribers.pages.context import PageContext, page_context, private_response, reader_pages, unknown_link_page
from subscribers.store import one_time_tokens, people
from subscribers.store.models import Person, PersonState
from subscribers.store.one_time_tokens import TokenState
from subscribers.transfer.exports import build_person_record, disclosure_as_json

MAX_ADDRESS_LENGTH = 254  # characters: RFC 5321, 4.5.3.1.3, without the angle brackets

log = structlog.get_logger("my data")


@reader_pages.get("/my-data/<token>")
def my_data(token: str) -> ResponseReturnValue:
    """Show all that we hold of one person. Looking uses nothing up: scanners look first."""
    here = page_context()
    with here.database.read() as session:
        found = _find_owner(here, session, token)
        return found if isinstance(found, Response) else _my_data_page(here, session, found, token)


@reader_pages.post("/my-data/<token>/record")
def show_my_record(token: str) -> ResponseReturnValue:
    """Show all that we hold of one person as a page to print. A button asks for it: the address stands there in full."""
    said = _record_for_token(token)
    if isinstance(said, Response):
        return said
    page = render_template("web/record.html", record=readable_record.make_record_readable(said))
    response = private_response(page)
    response.headers["Content-Security-Policy"] = _style_only_policy(page)
    return response


def _style_only_policy(html: str) -> str:
    """Allow a page that needs no other file its own style, named by its hash (CSP 3, 8.4), and nothing else."""
    style = html.partition("<style>")[2].partition("</style>")[0]
    named = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{named}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


@reader_pages.post("/my-data/<token>/download")
def download_my_data(token: str) -> ResponseReturnValue:
    """Give all that we hold of one person as JSON (ISO/IEC TS 27560)."""
    said = _record_for_token(token)
    if isinstance(said, Response):
        return said
    response = private_response(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return response


def _record_for_token(token: str) -> dict[str, Any] | Response:
    """Give all that we hold of the person behind a link, or the page that says why not."""
    here = page_context()
    with here.database.read() as session:
        found = _find_owner(here, session, token)
        return found if isinstance(found, Response) else _build_record(here, session, found)


def _build_record(context: PageContext, session: Session, person: Person) -> dict[str, Any]:
    mails = map(disclosure_as_json, context.list_deliveries(session, person.number))
    said = build_person_record(
        session,
        context.keys,
        person.number,
        controller=context.controller,
        now=context.clock(),
        other_disclosures=mails,
    )
    assert said is not None, "the person was found"
    return said


@reader_pages.get("/my-data/<token>/erase")
def ask_to_erase(token: str) -> ResponseReturnValue:
    """Say what erasing does, with the one button that does it."""
    here = page_context()
    with here.database.read() as session:
        found = _find_owner(here, session, token)
        if isinstance(found, Response):
            return found
        return private_response(render_template("web/erase.html", token=token, masked=_masked_address(here, found)))


@reader_pages.post("/my-data/<token>/erase")
def erase_now(token: str) -> ResponseReturnValue:
    """Erase a person for good. Twice is once."""
    here = page_context()
    with here.database.write() as session:
        found = _find_owner(here, session, token)
        if isinstance(found, Response):
            return found
        erase_person(
            session,
            here.keys,
            here.departure_log,
            found.number,
            method="page",
            forget_elsewhere=here.forget_deliveries,
            now=here.clock(),
        )
    return private_response(render_template("web/erased.html", new=True))


@reader_pages.post("/my-data/<token>/address")
def ask_to_move(token: str) -> ResponseReturnValue:
    """Take a new address; it counts once its owner has confirmed it."""
    here = page_context()
    text = request.form.get("email", "").strip()
    with here.database.write() as session:
        found = _find_owner(here, session, token)
        if isinstance(found, Response):
            return found
        try:
            address = read_address(text[: MAX_ADDRESS_LENGTH + 1])
        except AddressError as exc:
            words = str(exc)
            problem = f"{words[:1].upper()}{words[1:]}. Please check it."
            return _my_data_page(here, session, found, token, problem=problem)
        address_change.request_address_change(session, here.keys, found.number, address, here.queue, now=here.clock())
    return private_response(
        render_template("web/move_asked.html", token=token, days=address_change.ADDRESS_CHANGE_LIFETIME.days)
    )


@reader_pages.get("/address/<token>")
def ask_to_confirm_move(token: str) -> ResponseReturnValue:
    """Show the button that makes an address the one which the mail goes to."""
    here = page_context()
    with here.database.read() as session:
        return _address_change_page(
            address_change.look_up_address_change(session, here.keys, token, now=here.clock()), token
        )


@reader_pages.post("/address/<token>")
def confirm_move(token: str) -> ResponseReturnValue:
    """Move a reader to the address that this link was mailed to. Twice is once."""
    here = page_context()
    now = here.clock()
    try:
        with here.database.write() as session:
            moved = address_change.confirm_address_change(session, here.keys, here.departure_log, token, now=now)
    except IntegrityError:  # somebody signed up with it between our look and our write
        moved = AddressChange(AddressChangeStage.TAKEN)
    try:
        address_change.log_address_change(here.departure_log, moved, at=now)
    except OSError as exc:  # the move is done all the same; only a restored copy would not know
        log.error("a move is not in the journal", error=type(exc).__name__)  # noqa: TRY400 - no trace needed
    return _address_change_page(moved, token)


def _address_change_page(move: AddressChange, token: str) -> Response:
    if move.stage is AddressChangeStage.UNKNOWN:
        return unknown_link_page()
    status = 410 if move.stage is AddressChangeStage.OVER else 409 if move.stage is AddressChangeStage.TAKEN else 200
    return private_response(render_template("web/move.html", move=move, stage=str(move.stage), token=token), status)


def _find_owner(context: PageContext, session: Session, token: str) -> Person | Response:
    """Find whose data a link opens; where it opens none, give the page that says why."""
    found = one_time_tokens.look_up_token(session, token, "my data", now=context.clock())
    if found.state is TokenState.UNKNOWN or found.person is None:
        return unknown_link_page()
    person = session.get(Person, found.person, populate_existing=True)
    if person is not None and person.state is PersonState.ERASED:
        return private_response(render_template("web/erased.html", new=False), 410)
    if found.state is not TokenState.FRESH or person is None or person.ciphertext is None:
        return private_response(render_template("web/data_over.html", until=found.expires_at), 410)
    return person


def _my_data_page(
    context: PageContext, session: Session, person: Person, token: str, *, problem: str = ""
) -> ResponseReturnValue:
    page = render_template(
        "web/my_data.html",
        token=token,
        masked=_masked_address(context, person),
        subscribed=person.state is PersonState.SUBSCRIBED,
        history=mydata.list_consent_history(session, person.number),
        passages=_list_disclosures(context, session, person.number),
        problem=problem,
    )
    return private_response(page, 400 if problem else 200)


def _list_disclosures(context: PageContext, session: Session, number: int) -> list[AddressDisclosure]:
    """Give every passage of an address to somebody, the latest first: mails and all others."""
    found = [*context.list_deliveries(session, number), *disclosures.list_disclosures(session, number)]
    return sorted(found, key=lambda passage: passage.at, reverse=True)


def _masked_address(context: PageContext, person: Person) -> str:
    address = people.decrypt_person_address(context.keys, person)
    assert address is not None, "only a person with an address has this page"
    return mask_address(address.mailbox)
