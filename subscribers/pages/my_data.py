"""A subscriber's data, which they can view, download, transfer, and erase.

A link to it is emailed to the address.
"""

import hashlib
import json
from base64 import b64encode
from dataclasses import replace
from typing import Any, Literal

from flask import Response, abort, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from subscribers.address import mask_address
from subscribers.consent import disclosures, readable_record
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.consent.readable_record import PublicationFacts
from subscribers.english_text import capitalize_first
from subscribers.lifecycle import address_change, address_change_stop
from subscribers.lifecycle.address_change import AddressChangeLink
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.expiry import find_address_deletion_time
from subscribers.lifecycle.my_data import list_consent_history
from subscribers.pages.context import (
    AddressForm,
    add_return_to_unsubscribe_log,
    build_domain_question,
    make_preferences_token,
    make_private_response,
    page_context,
    render_page,
    render_unknown_link_page,
    renew_links_and_make_link_token,
    subscriber_pages,
)
from subscribers.pages.forms import FormError, read_form
from subscribers.store import one_time_tokens, people
from subscribers.store.models import EMPTIED_STATES, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, TokenState
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage
from subscribers.transfer.exports import build_person_record, build_portable_copy, convert_disclosure_to_json


@subscriber_pages.get("/my-data/<token>")
def my_data(token: str) -> ResponseReturnValue:
    """Show all data stored about a person.

    Opening the page doesn't use up the link, because scanners open it first.
    """
    with page_context.database.read() as session:
        return _my_data_page(session, _find_owner(session, token), token)


@subscriber_pages.post("/my-data/<token>/record")
def show_my_record(token: str) -> ResponseReturnValue:
    """Show all data stored about a person as a printable page.

    It contains the full address, so it's only shown when a button is pressed.
    """
    record = _record_for_token(token, page_context.language)
    site = page_context.site
    facts = PublicationFacts(
        parts=site.parts,
        today=page_context.today(),
        recipients=site.recipients,
        evidence_days=page_context.evidence_retention.days,
        mail_days=page_context.delivery_retention.days,
        hidden_preferences=site.hidden_preferences,
    )
    values = readable_record.build_record_context(record, facts, page_context.language)
    page = render_template("web/record.html", **values)
    response = make_private_response(page)
    response.headers["Content-Security-Policy"] = _style_only_policy(page)
    return response


def _style_only_policy(html: str) -> str:
    """Return a content security policy that allows only the page's own style, by its hash (CSP 3, section 8.4)."""
    style = html.partition("<style>")[2].partition("</style>")[0]
    style_hash = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{style_hash}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


@subscriber_pages.post("/my-data/<token>/download")
def download_my_data(token: str) -> ResponseReturnValue:
    """Return all data stored about a person as JSON (ISO/IEC TS 27560)."""
    response = make_private_response(json.dumps(_record_for_token(token, ENGLISH), indent=2, ensure_ascii=False) + "\n")
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return response


@subscriber_pages.post("/my-data/<token>/copy.<any(csv, json):form>")
def download_portable_copy(token: str, form: Literal["csv", "json"]) -> ResponseReturnValue:
    """Return the data that a person provided, for themselves or another service (GDPR, Article 20)."""
    with page_context.database.read() as session:
        person = _find_owner(session, token)
        response = make_private_response(build_portable_copy(session, page_context.keys, person.number, form))
    response.mimetype = "text/csv" if form == "csv" else "application/json"
    response.headers["Content-Disposition"] = f'attachment; filename="my-copy.{form}"'
    return response


def _record_for_token(token: str, language: SubscriberLanguage) -> dict[str, Any]:
    """Return the record of the person whom a link belongs to, with deliveries described in `language`."""
    with page_context.database.read() as session:
        person = _find_owner(session, token)
        record = build_person_record(
            session,
            page_context.keys,
            person.number,
            controller=page_context.controller,
            now=page_context.now,
            other_disclosures=map(
                convert_disclosure_to_json, page_context.list_deliveries(session, person.number, language)
            ),
        )
    assert record is not None, "the person was found"
    return record


@subscriber_pages.get("/my-data/<token>/erase")
def ask_to_erase(token: str) -> ResponseReturnValue:
    """Explain what erasure does, and show the button for it."""
    with page_context.database.read() as session:
        person = _find_owner(session, token)
        return render_page("web/erase.html", token=token, masked=_masked_address(person))


@subscriber_pages.post("/my-data/<token>/erase")
def erase_now(token: str) -> ResponseReturnValue:
    """Permanently erase a person. Idempotent."""
    with page_context.database.write() as session:
        person = _find_owner(session, token)
        erase_person(
            session,
            page_context.keys,
            page_context.unsubscribe_log,
            person.number,
            method="page",
            forget_elsewhere=page_context.forget_deliveries,
            now=page_context.now,
        )
    return render_page("web/erased.html", new=True)


@subscriber_pages.post("/my-data/<token>/renew-links")
def renew_my_links(token: str) -> ResponseReturnValue:
    """Renew the links in a person's emails, and show the new link to their preferences.

    If the request is repeated, they're renewed again.
    """
    with page_context.database.write() as session:
        person = _find_owner(session, token)
        preferences_token = renew_links_and_make_link_token(session, person.number)
    return render_page("web/links_renewed.html", token=token, preferences_token=preferences_token)


@subscriber_pages.post("/my-data/<token>/address")
def request_address_change(token: str) -> ResponseReturnValue:
    """Request an address change, which takes effect once the owner of the new address confirms it."""
    try:
        form = read_form(AddressForm, request.form)
    except FormError as exc:
        with page_context.database.read() as session:
            return _my_data_page(session, _find_owner(session, token), token, problem=exc.words)
    if question := build_domain_question(form.email):
        with page_context.database.read() as session:
            owner = _find_owner(session, token)
            return _my_data_page(session, owner, token, problem=question, kept=form.email.domain)
    with page_context.database.write() as session:
        person = _find_owner(session, token)
        if address_change.has_address(page_context.keys, person, form.email):
            problem = page_context.language.gettext("We already use this address for you. Enter a different one.")
            return _my_data_page(session, person, token, problem=problem)
        address_change.request_address_change(
            session,
            page_context.keys,
            person.number,
            form.email,
            page_context.queue,
            page_context.signup_limits,
            now=page_context.now,
        )
    return render_page("web/move_asked.html", token=token, days=address_change.ADDRESS_CHANGE_LIFETIME.days)


@subscriber_pages.get("/address/<token>")
def ask_to_confirm_address_change(token: str) -> ResponseReturnValue:
    """Show the button for confirming a new address."""
    with page_context.database.read() as session:
        return _address_change_page(
            address_change.look_up_address_change_link(session, page_context.keys, token, now=page_context.now), token
        )


@subscriber_pages.post("/address/<token>")
def confirm_address_change(token: str) -> ResponseReturnValue:
    """Change a subscriber's address to the one that this link was emailed to. Idempotent."""
    now, new_token = page_context.now, ""
    try:
        with page_context.database.write() as session:
            change = address_change.confirm_address_change(
                session, page_context.keys, page_context.unsubscribe_log, token, now=now
            )
            if change.person is not None:
                new_token = make_preferences_token(session, change.person)
    # Someone signed up with the address between the check and the write.
    except IntegrityError:
        change = AddressChangeLink(ActionLinkState.TAKEN)
    add_return_to_unsubscribe_log(change.undone, "an address change isn't in the unsubscribe log")
    return _address_change_page(change, token, new_token=new_token)


@subscriber_pages.get("/address/stop/<token>")
def ask_to_stop_address_change(token: str) -> ResponseReturnValue:
    """Show the button for canceling or undoing an address change."""
    with page_context.database.read() as session:
        change = address_change_stop.look_up_stop_link(session, page_context.keys, token, now=page_context.now)
    return _address_change_page(change, token, "web/stop_address_change.html")


@subscriber_pages.post("/address/stop/<token>")
def stop_address_change(token: str) -> ResponseReturnValue:
    """Cancel an address change, or restore the old address. Idempotent."""
    now = page_context.now
    try:
        with page_context.database.write() as session:
            change = address_change_stop.stop_address_change(
                session, page_context.keys, page_context.unsubscribe_log, token, now=now
            )
    # Someone signed up with the address between the check and the write.
    except IntegrityError:
        change = AddressChangeLink(ActionLinkState.TAKEN)
    add_return_to_unsubscribe_log(change.undone, "an undone address change isn't in the unsubscribe log")
    return _address_change_page(change, token, "web/stop_address_change.html")


def _address_change_page(
    move: AddressChangeLink, token: str, template: str = "web/move.html", *, new_token: str = ""
) -> Response:
    if move.stage is ActionLinkState.UNKNOWN:
        return render_unknown_link_page()
    if move.stage is ActionLinkState.ERASED:
        return render_page("web/erased.html", 410, new=False)
    status = 410 if move.stage is ActionLinkState.OVER else 409 if move.stage is ActionLinkState.TAKEN else 200
    return render_page(template, status, move=move, stage=str(move.stage), token=token, new_token=new_token)


def _find_owner(session: Session, token: str) -> Person:
    """Return the person whose data a link opens, or abort with a page that explains why it doesn't."""
    link = one_time_tokens.look_up_token(session, token, "my data", now=page_context.now)
    if link.state is TokenState.UNKNOWN or link.person is None:
        abort(render_unknown_link_page())
    # Use the row that the link was compared with. If it were read again, it might be someone else's.
    person = link.owner or session.get(Person, link.person, populate_existing=True)
    if person is not None and person.state in EMPTIED_STATES:
        abort(render_page("web/erased.html", 410, new=False))
    if link.state is not TokenState.FRESH or person is None or person.ciphertext is None:
        abort(render_page("web/data_over.html", 410))
    return person


def _my_data_page(
    session: Session,
    person: Person,
    token: str,
    *,
    problem: str = "",
    kept: str = "",
) -> ResponseReturnValue:
    return render_page(
        "web/my_data.html",
        400 if problem else 200,
        token=token,
        masked=_masked_address(person),
        subscribed=person.state is PersonState.SUBSCRIBED,
        deleted_after=find_address_deletion_time(session, person),
        evidence_days=page_context.evidence_retention.days,
        history=list_consent_history(session, person.number, page_context.language),
        passages=_list_disclosures(session, person.number),
        problem=problem,
        kept=kept,
        typed=request.form.get("email", "") if problem else "",
    )


def _list_disclosures(session: Session, number: int) -> list[AddressDisclosure]:
    """Return all disclosures of a person's address, including emails, newest first.

    References for our team are omitted.
    """
    other_disclosures = [
        replace(
            disclosure,
            to_whom=capitalize_first(page_context.translate_recipient_description(disclosure.to_whom)),
            why=capitalize_first(page_context.language.translate_text(disclosure.why)),
            reference="",
        )
        for disclosure in disclosures.list_disclosures(session, number)
    ]
    listed = [*page_context.list_deliveries(session, number, page_context.language), *other_disclosures]
    return sorted(listed, key=lambda disclosure: disclosure.at, reverse=True)


def _masked_address(person: Person) -> str:
    address = people.decrypt_person_address(page_context.keys, person)
    return (
        mask_address(address.mailbox) if address else page_context.language.gettext("an address we can no longer read")
    )
