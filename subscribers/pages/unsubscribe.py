"""Unsubscribe pages: one-click (RFC 8058, section 3.1), the form, pausing instead, and undoing it within a week."""

from dataclasses import replace
from datetime import timedelta

from flask import Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from subscribers.address import mask_address
from subscribers.consent.ledger import UNSUBSCRIBE_REASONS
from subscribers.consent.preferences import Preferences
from subscribers.lifecycle import undo, unsubscribe
from subscribers.lifecycle.preference_changes import save_preferences_by_link
from subscribers.lifecycle.undo import UndoLink
from subscribers.pages.context import (
    OpenedLink,
    add_return_to_unsubscribe_log,
    is_outdated_link,
    is_subscribed,
    page_context,
    read_link_owner,
    render_page,
    render_unknown_link_page,
    subscriber_pages,
)
from subscribers.store import people
from subscribers.store.models import Person
from subscribers.store.one_time_tokens import ActionLinkState
from subscribers.subscriber_language import mark_message

# The number of days, and the label.
PAUSE_LENGTHS = {
    "4w": (28, mark_message("Four weeks")),
    "3m": (91, mark_message("Three months")),
    "6m": (182, mark_message("Six months")),
}


def _read_link(token: str) -> OpenedLink:
    described = page_context.language.gettext("the unsubscribe page")
    return read_link_owner(token, "leave", "test leave", described)


# This is also the URL of its button, so that a URL copied after pressing the button works.
@subscriber_pages.get("/u/<token>/undo", endpoint="show_unsubscribed_state")
@subscriber_pages.get("/u/<token>")
def ask_to_leave(token: str) -> ResponseReturnValue:
    """Show the unsubscribe button.

    Nothing changes until it's pressed.
    """
    link = _read_link(token)
    with page_context.database.read() as session:
        return _status_page(session, link, token)


@subscriber_pages.post("/u/<token>")
def leave_now(token: str) -> ResponseReturnValue:
    """Unsubscribe a subscriber (RFC 8058, section 3.1). Idempotent.

    The token in the path identifies them and the body isn't needed, so any body is accepted, even
    an empty or malformed one. The response, 200 without a redirect, is only sent after the change
    is committed and logged. It's the same for people who have already left.
    """
    number = _read_link(token).number
    form = _read_form()
    by_page = form.get("from") == "page"
    now = page_context.now
    with page_context.database.write() as session:
        was_subscribed = unsubscribe.unsubscribe_person(
            session,
            page_context.unsubscribe_log,
            number,
            method="page" if by_page else "one-click",
            reason=form.get("reason", "") if by_page else "",
            now=now,
        )
        if not was_subscribed:
            undo.revoke_undo_token_shown_on_page(session, number, now=now)
        undo_token = undo.issue_undo_token(session, number, now=now) if was_subscribed and by_page else ""
        until = undo.find_undo_deadline(session, number, now=now)
    return render_page("web/left.html", token=token, undo_token=undo_token, undo_until=until)


def _read_form() -> MultiDict[str, str]:
    try:
        return request.form
    # The form is too large or malformed, which doesn't matter for unsubscribing.
    except HTTPException:
        return MultiDict()


@subscriber_pages.get("/u/<token>/pause")
def ask_to_pause(token: str) -> ResponseReturnValue:
    """Offer a pause instead of unsubscribing."""
    link = _read_link(token)
    with page_context.database.read() as session:
        person = session.get(Person, link.number)
        if is_outdated_link(session, link, person) or not is_subscribed(person):
            return _status_page(session, link, token)
    return render_page("web/pause.html", pauses=PAUSE_LENGTHS, token=token, until="", problem="")


@subscriber_pages.post("/u/<token>/pause")
def pause_now(token: str) -> ResponseReturnValue:
    """Pause emails for one of the offered periods, if the link is current."""
    link = _read_link(token)
    days, _ = PAUSE_LENGTHS.get(request.form.get("length", ""), (0, ""))
    if not days:
        problem = page_context.language.gettext("Choose how long to pause.")
        return render_page("web/pause.html", 400, pauses=PAUSE_LENGTHS, token=token, until="", problem=problem)
    until = page_context.today() + timedelta(days=days)
    with page_context.database.write() as session:
        person = session.get(Person, link.number, with_for_update=True)
        if person is None or is_outdated_link(session, link, person) or not is_subscribed(person):
            return _status_page(session, link, token)
        paused = replace(Preferences.from_stored(person.choices), pause_until=until)
        save_preferences_by_link(session, link.number, paused, page_context.queue, now=page_context.now)
    day = page_context.language.full_date(until)
    return render_page("web/pause.html", pauses=PAUSE_LENGTHS, token=token, until=day, problem="")


@subscriber_pages.post("/u/<token>/undo")
def mail_undo_link(token: str) -> ResponseReturnValue:
    """Email the owner a link that undoes their unsubscribe.

    It's emailed because the token may be from a forwarded email.
    """
    link = _read_link(token)
    now = page_context.now
    with page_context.database.write() as session:
        person = session.get(Person, link.number)
        if person is not None and is_subscribed(person):
            return _subscribed_page(Preferences.from_stored(person.choices), new=False)
        until = undo.find_undo_deadline(session, link.number, now=now)
        if until is None:
            return _status_page(session, link, token, status=410)
        undo.request_undo_link(session, link.number, page_context.queue, now=now)
    return render_page("web/undo_asked.html", until=until)


@subscriber_pages.get("/undo/<token>")
def ask_to_undo(token: str) -> ResponseReturnValue:
    """Show the button for undoing an unsubscribe.

    Nothing changes until it's pressed.
    """
    with page_context.database.read() as session:
        return _undo_page(undo.look_up_undo_link(session, token, now=page_context.now), token)


@subscriber_pages.post("/undo/<token>")
def undo_now(token: str) -> ResponseReturnValue:
    """Resubscribe a person who left within the last week. Idempotent."""
    with page_context.database.write() as session:
        link = undo.undo_unsubscribe(session, page_context.keys, token, now=page_context.now)
    add_return_to_unsubscribe_log(link.undone, "a resubscription isn't in the unsubscribe log")
    return _undo_page(link, token)


def _undo_page(link: UndoLink, token: str) -> Response:
    match link.stage:
        case ActionLinkState.UNKNOWN:
            return render_unknown_link_page()
        case ActionLinkState.OPEN:
            return render_page("web/undo.html", token=token, until=link.until)
        case ActionLinkState.DONE:
            return _subscribed_page(link.preferences, new=link.undone is not None)
    return render_page("web/not_on_list.html", 410, token="", undo_until=None, too_late=True, data_token="")


def _subscribed_page(preferences: Preferences, *, new: bool) -> Response:
    """Return a page saying that a person is subscribed and, if their emails are paused, when they'll resume."""
    until = preferences.pause_until
    is_paused = preferences.is_paused(page_context.today())
    paused_until = page_context.language.full_date(until) if until and is_paused else ""
    return render_page("web/undone.html", new=new, paused_until=paused_until)


def _status_page(
    session: Session,
    link: OpenedLink,
    token: str,
    *,
    status: int = 200,
) -> Response:
    person = session.get(Person, link.number)
    if is_subscribed(person):
        is_current = not is_outdated_link(session, link, person)
        # An outdated link may have been emailed to another address, whose owner must not learn this one.
        address = (
            people.read_address_matching_commitment(session, page_context.keys, person)
            if person and is_current
            else None
        )
        return render_page(
            "web/leave.html",
            status,
            reasons=UNSUBSCRIBE_REASONS,
            token=token,
            masked=mask_address(address.mailbox) if address else "",
            may_pause=is_current,
        )
    until = undo.find_undo_deadline(session, link.number, now=page_context.now)
    too_late = status != 200
    return render_page("web/not_on_list.html", status, token=token, undo_until=until, too_late=too_late, data_token="")
