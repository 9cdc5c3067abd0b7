"""Preferences pages: sections, topics, frequency, time, format, and pauses."""

from dataclasses import replace
from datetime import timedelta

from flask import Response, abort, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from subscribers.address import mask_address
from subscribers.consent.preferences import FREQUENCY_LABELS, Preferences, describe_preferences, group_checkboxes
from subscribers.crypto import link_tokens
from subscribers.lifecycle import my_data, preference_changes
from subscribers.lifecycle.preference_changes import PreferenceRestoreLink, save_preferences_by_link
from subscribers.pages.context import (
    OpenedLink,
    is_outdated_link,
    is_subscribed,
    page_context,
    read_link_owner,
    render_outdated_link_page,
    render_page,
    render_unknown_link_page,
    renew_links_and_make_link_token,
    subscriber_pages,
)
from subscribers.pages.forms import FormError
from subscribers.pages.preferences_form import (
    ASKED_PREFERENCES,
    MAX_PAUSE,
    apply_topics_button,
    list_asked_preferences,
    list_zone_labels,
    merge_asked_preferences,
    preview_preferences,
    read_preferences_form,
)
from subscribers.store import people
from subscribers.store.models import Person
from subscribers.store.one_time_tokens import ActionLinkState


def _read_link(token: str) -> OpenedLink:
    described = page_context.language.gettext("a subscriber’s preferences")
    return read_link_owner(token, "preferences", "test preferences", described)


# This is also the URL of its button, so that a URL copied after pressing the button works.
@subscriber_pages.get("/preferences/<token>/my-data", endpoint="show_preferences_again")
@subscriber_pages.get("/preferences/<token>")
def show_preferences(token: str) -> ResponseReturnValue:
    """Show a subscriber's preferences, and where to request their data."""
    link = _read_link(token)
    with page_context.database.read() as session:
        return _preferences_page(session, link)


@subscriber_pages.post("/preferences/<token>")
def save_preferences(token: str) -> ResponseReturnValue:
    """Save the form and show what was saved.

    There's no redirect, because there's no cookie that could contain the message.
    """
    link = _read_link(token)
    if (form := apply_topics_button(request.form, page_context.site)) is not None:
        with page_context.database.read() as session:
            return _preferences_page(session, link, typed=form)
    try:
        preferences = read_preferences_form(
            request.form, page_context.site, page_context.today(), page_context.language
        )
    except FormError as exc:
        with page_context.database.read() as session:
            return _preferences_page(session, link, problem=exc)
    with page_context.database.write() as session:
        person = session.get(Person, link.number, with_for_update=True)
        if person is not None and is_subscribed(person) and not is_outdated_link(session, link, person):
            asked = list_asked_preferences(request.form, page_context.site)
            preferences = merge_asked_preferences(Preferences.from_stored(person.choices), preferences, asked)
            save_preferences_by_link(session, link.number, preferences, page_context.queue, now=page_context.now)
    saved = describe_preferences(preferences, page_context.site.parts, page_context.language)
    with page_context.database.read() as session:
        return _preferences_page(session, link, saved=saved)


def _load_subscriber(session: Session, link: OpenedLink) -> tuple[Person, str]:
    """Return the subscriber whom a link belongs to, and their address.

    Abort if there's no subscriber, or if the link is outdated.
    """
    person = session.get(Person, link.number)
    if is_outdated_link(session, link, person):
        abort(render_outdated_link_page(link))
    address = people.read_address_matching_commitment(session, page_context.keys, person) if person else None
    if person is None or address is None or not is_subscribed(person):
        mine = link.token if my_data.may_request_data(person) else ""
        abort(render_page("web/not_on_list.html", token="", undo_until=None, too_late=False, data_token=mine))
    return person, address.mailbox


@subscriber_pages.get("/preferences/<token>/breaking-news")
def ask_to_turn_off_breaking_news(token: str) -> ResponseReturnValue:
    """Show the button for turning off breaking news.

    Nothing changes until it's pressed.
    """
    link = _read_link(token)
    with page_context.database.read() as session:
        return _breaking_news_page(session, link)


@subscriber_pages.post("/preferences/<token>/breaking-news")
def turn_off_breaking_news(token: str) -> ResponseReturnValue:
    """Turn off breaking news. Idempotent."""
    link = _read_link(token)
    with page_context.database.write() as session:
        person, _ = _load_subscriber(session, link)
        chosen = Preferences.from_stored(person.choices)
        if chosen.breaking_news:
            unwanted = replace(chosen, breaking_news=False)
            save_preferences_by_link(session, link.number, unwanted, page_context.queue, now=page_context.now)
        return _breaking_news_page(session, link)


def _breaking_news_page(session: Session, link: OpenedLink) -> Response:
    person, mailbox = _load_subscriber(session, link)
    is_on = Preferences.from_stored(person.choices).breaking_news
    return render_page("web/breaking_news.html", is_on=is_on, masked=mask_address(mailbox), token=link.token)


@subscriber_pages.post("/preferences/<token>/my-data")
def email_my_data_link(token: str) -> ResponseReturnValue:
    """Email the owner of the address a link to their data.

    The response is always the same.
    """
    link = _read_link(token)
    with page_context.database.write() as session:
        if is_outdated_link(session, link, session.get(Person, link.number)):
            return render_outdated_link_page(link)
        my_data.request_data_link(session, link.number, page_context.queue, now=page_context.now)
    return render_page("web/data_asked.html", hours=my_data.DATA_LINK_LIFETIME // timedelta(hours=1))


@subscriber_pages.get("/restore/<token>")
def ask_to_restore(token: str) -> ResponseReturnValue:
    """Show the current and earlier preferences, and a button for restoring the earlier ones."""
    with page_context.database.read() as session:
        return _restoration_page(
            preference_changes.look_up_preference_restoration(session, token, now=page_context.now), token
        )


@subscriber_pages.post("/restore/<token>")
def restore_now(token: str) -> ResponseReturnValue:
    """Restore the preferences from before the changes reported in an email, and renew the links if requested.

    This is idempotent.
    """
    new_token = ""
    with page_context.database.write() as session:
        link = preference_changes.restore_preferences(
            session, page_context.unsubscribe_log, token, now=page_context.now
        )
        if link.changed and link.person is not None and request.form.get("renew") == "yes":
            new_token = renew_links_and_make_link_token(session, link.person)
    return _restoration_page(link, token, new_token=new_token)


def _restoration_page(link: PreferenceRestoreLink, token: str, *, new_token: str = "") -> Response:
    if link.stage is ActionLinkState.UNKNOWN:
        return render_unknown_link_page()
    return render_page(
        "web/restore.html",
        410 if link.stage is ActionLinkState.OVER else 200,
        link=link,
        stage=str(link.stage),
        current=describe_preferences(link.current, page_context.site.parts, page_context.language),
        earlier=describe_preferences(link.earlier, page_context.site.parts, page_context.language),
        token=token,
        new_token=new_token,
    )


def _preferences_page(
    session: Session,
    link: OpenedLink,
    *,
    saved: str = "",
    problem: FormError | None = None,
    typed: MultiDict[str, str] | None = None,
) -> ResponseReturnValue:
    """Render the form with the stored preferences, or with the values in `typed`."""
    person, mailbox = _load_subscriber(session, link)
    today, language = page_context.today(), page_context.language
    leave_token = link_tokens.make_link_token(
        page_context.keys, person.number, "leave", link.generation, address=mailbox
    )
    chosen = Preferences.from_stored(person.choices).drop_ended_pause(today)
    if typed is not None:
        chosen = preview_preferences(chosen, typed, page_context.site, today, language)
    return render_page(
        "web/preferences.html",
        400 if problem else 200,
        masked=mask_address(mailbox),
        since=person.asked_at,
        chosen=chosen,
        asks=" ".join(sorted(ASKED_PREFERENCES - page_context.site.hidden_preferences)),
        often=FREQUENCY_LABELS,
        checkboxes=group_checkboxes(page_context.site.hidden_preferences),
        hours=[(hour, language.daily_hour(hour)) for hour in range(24)],
        zone=chosen.zone or page_context.site.zone.key,
        zones=list_zone_labels(language),
        tomorrow=today + timedelta(days=1),
        latest=today + MAX_PAUSE,
        leave_url=url_for("subscribers.ask_to_leave", token=leave_token),
        token=link.token,
        saved=saved,
        problem=problem,
        max_variants=page_context.find_variant_limit(session),
    )
