"""Choosing: what a reader wants to read, how often and when, how it looks, and when it rests."""

from dataclasses import replace
from datetime import date, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any
from zoneinfo import available_timezones

from flask import Response, abort, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from subscribers.address import mask_address
from subscribers.consent.preferences import (
    CHECKBOXES,
    FREQUENCY_LABELS,
    PREFERENCE_TEXTS,
    Preferences,
    PreferencesError,
    describe_preferences,
    group_checkboxes,
)
from subscribers.crypto import link_tokens
from subscribers.lifecycle import my_data, preference_changes
from subscribers.lifecycle.preference_changes import PreferenceRestoration, save_preferences_by_link
from subscribers.pages.context import (
    OpenedLink,
    SiteDetails,
    is_outdated,
    is_subscribed,
    outdated_link_page,
    page_context,
    read_link_owner,
    render_page,
    renew_links_and_make_link_token,
    subscriber_pages,
    unknown_link_page,
)
from subscribers.pages.forms import FormError
from subscribers.store import people
from subscribers.store.models import Person
from subscribers.store.one_time_tokens import ActionLinkState
from subscribers.subscriber_language import SubscriberLanguage, mark_message

REGIONS = (
    *(mark_message("Africa"), mark_message("America"), mark_message("Antarctica"), mark_message("Arctic")),
    *(mark_message("Asia"), mark_message("Atlantic"), mark_message("Australia"), mark_message("Europe")),
    *(mark_message("Indian"), mark_message("Pacific")),
)
# Where most readers of an English newsletter live, from west to east; they stand first.
COMMON_ZONES = (
    *("Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Phoenix", "America/Denver"),
    *("America/Chicago", "America/New_York", "America/Halifax", "UTC", "Europe/London", "Europe/Paris"),
    *("Europe/Berlin", "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney"),
)


@lru_cache(maxsize=1)
def list_known_zones() -> frozenset[str]:
    """Return every zone that this machine knows."""
    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def list_offered_zones() -> frozenset[str]:
    """Return the zones that a reader may pick: each place once, by its present name, as the time zone database lists them by country.

    The database knows some 180 older names beside them, such as Europe/Kiev for Europe/Kyiv. Who chose one keeps it.
    """
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    lines = table.splitlines()
    names = {line.split("\t")[2] for line in lines if line and not line.startswith("#")}
    return frozenset({*names, "UTC"}) & list_known_zones()


@lru_cache(maxsize=8)
def zones_by_region(language: SubscriberLanguage) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the zones that are offered as name and words, each once: the common ones first, the others by region."""
    common = tuple((name, language.zone_label(name)) for name in COMMON_ZONES if name in list_known_zones())
    other_zones = sorted(list_offered_zones() - set(COMMON_ZONES))
    return {mark_message("Common"): common} | {
        region: tuple((name, language.zone_label(name)) for name in other_zones if name.startswith(f"{region}/"))
        for region in REGIONS
    }


MAX_PAUSE = timedelta(days=366)
_HOURS = {str(hour): hour for hour in range(24)}
_CHECKED_LISTS = {"omit": "section", "omit_topics": "topic"}  # by the names of their fields in the form
_TYPED_FIELDS = PREFERENCE_TEXTS.keys() - {*_CHECKED_LISTS, *CHECKBOXES}
ASKED_PREFERENCES = frozenset(PREFERENCE_TEXTS)
_EARLIER_PREFERENCES = ASKED_PREFERENCES - {"omit_topics", "breaking_news"}  # on pages without `asks`


def _read_link(token: str) -> OpenedLink:
    described = page_context.language.gettext("a subscriber’s preferences")
    return read_link_owner(token, "preferences", "test preferences", described)


# The address of its button too: one that was copied after pressing it leads somewhere.
@subscriber_pages.get("/preferences/<token>/my-data", endpoint="show_preferences_again")
@subscriber_pages.get("/preferences/<token>")
def show_preferences(token: str) -> ResponseReturnValue:
    """Show what a reader has chosen, and say where to ask for their data."""
    link = _read_link(token)
    with page_context.database.read() as session:
        return _preferences_page(session, link)


@subscriber_pages.post("/preferences/<token>")
def save_preferences(token: str) -> ResponseReturnValue:
    """Save the form, and say what was saved. No redirect: there is no cookie to carry the message."""
    link = _read_link(token)
    try:
        preferences = read_preferences_form(
            request.form, page_context.site, page_context.today(), page_context.language
        )
    except FormError as exc:
        with page_context.database.read() as session:
            return _preferences_page(session, link, problem=exc)
    with page_context.database.write() as session:
        person = session.get(Person, link.number, with_for_update=True)
        if person is not None and is_subscribed(person) and not is_outdated(session, link, person):
            asked = list_asked_preferences(request.form, page_context.site)
            preferences = change_asked(Preferences.from_stored(person.choices), preferences, asked)
            save_preferences_by_link(session, link.number, preferences, page_context.queue, now=page_context.now)
    saved = describe_preferences(preferences, page_context.site.parts, page_context.language)
    with page_context.database.read() as session:
        return _preferences_page(session, link, saved=saved)


def list_asked_preferences(form: MultiDict[str, str], site: SiteDetails) -> frozenset[str]:
    """Return the names of the preferences that a form asks for; it lists them in `asks`.

    One without `asks` is of a page that was opened before it had any, and asked for less.
    """
    asked = form.get("asks", "").split() or _EARLIER_PREFERENCES
    return ASKED_PREFERENCES.intersection(asked) - site.hidden_preferences


def change_asked(old: Preferences, new: Preferences, asked: frozenset[str]) -> Preferences:
    """Return the old preferences with the new values of those that were asked. The weeks of an unchanged rhythm go on."""
    changed = {name: getattr(new, name) for name in asked}
    if "frequency" in asked:
        changed["start"] = old.start if new.frequency == old.frequency else new.start
    return replace(old, is_readable=True, **changed)


def read_preferences_form(
    form: MultiDict[str, str], site: SiteDetails, today: date, language: SubscriberLanguage
) -> Preferences:
    """Read the form.

    The form names the sections and topics that are wanted, and what is kept are those that are not: a section that the
    publication starts later comes to everybody, until they say no to it.

    Raises:
        FormError: a choice can't be kept.
    """
    try:
        preferences = Preferences.from_json(_read_choices(form, site, today))
    except PreferencesError as exc:
        at = str(exc).partition(":")[0]
    else:
        at = _find_unoffered(preferences, site, today)
    if at:
        texts = PREFERENCE_TEXTS[at]
        shorter = "" if "omit" in list_asked_preferences(form, site) else texts.get("problem_without_sections")
        raise FormError({at: language.translate_text(shorter or texts["problem"])})
    return preferences


def _read_choices(form: MultiDict[str, str], site: SiteDetails, today: date) -> dict[str, Any]:
    """Return what the form says of the preferences that it asks for, as `Preferences.from_json` takes it."""
    asked = list_asked_preferences(form, site)
    typed = {name: form.get(name, "").strip() for name in _TYPED_FIELDS & asked}
    values: dict[str, Any] = {name: text for name, text in typed.items() if text}
    values |= {name: form.get(name) == "yes" for name in CHECKBOXES if name in asked}
    for name, offered in _list_offered(site).items():
        if name in asked:
            values[name] = [key for key in offered if key not in form.getlist(_CHECKED_LISTS[name])]
    if "hour" in values:
        values["hour"] = _HOURS.get(values["hour"], values["hour"])
    else:
        values.pop("zone", None)
    if values.get("frequency") == "fortnightly":
        values["start"] = today
    return values


def _list_offered(site: SiteDetails) -> dict[str, list[str]]:
    """Return the keys that a form offers to check, by the preference that keeps those left unchecked."""
    return {"omit": [key for key, _ in site.sections], "omit_topics": [key for key, _ in site.topics]}


def _find_unoffered(preferences: Preferences, site: SiteDetails, today: date) -> str:
    """Return the field whose value is sound, but which the form doesn't offer; empty if there's none."""
    until, offered_keys = preferences.pause_until, _list_offered(site)
    offered = {
        "omit": len(preferences.omit) < len(offered_keys["omit"]),
        "omit_topics": not preferences.omit_topics or len(preferences.omit_topics) < len(offered_keys["omit_topics"]),
        "zone": not preferences.zone or preferences.zone in list_known_zones(),
        "pause_until": until is None or today < until <= today + MAX_PAUSE,
    }
    return next((name for name, is_offered in offered.items() if not is_offered), "")


def _load_subscriber(session: Session, link: OpenedLink) -> tuple[Person, str]:
    """Return the subscriber of a link, and their address; the request ends here if there's none, or the link is outdated."""
    person = session.get(Person, link.number)
    if is_outdated(session, link, person):
        abort(outdated_link_page(link))
    address = people.read_address_matching_commitment(session, page_context.keys, person) if person else None
    if person is None or address is None or not is_subscribed(person):
        mine = link.token if my_data.may_request_data(person) else ""
        abort(render_page("web/not_on_list.html", token="", undo_until=None, too_late=False, data_token=mine))
    return person, address.mailbox


@subscriber_pages.get("/preferences/<token>/breaking-news")
def ask_to_turn_off_breaking_news(token: str) -> ResponseReturnValue:
    """Show the one button. Nothing changes until it's pressed."""
    link = _read_link(token)
    with page_context.database.read() as session:
        return _breaking_news_page(session, link)


@subscriber_pages.post("/preferences/<token>/breaking-news")
def turn_off_breaking_news(token: str) -> ResponseReturnValue:
    """Turn breaking news off. Idempotent."""
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
    """Have the link to their data mailed to the owner of the address, and say the same whatever comes of it."""
    link = _read_link(token)
    with page_context.database.write() as session:
        if is_outdated(session, link, session.get(Person, link.number)):
            return outdated_link_page(link)
        my_data.request_data_link(session, link.number, page_context.queue, now=page_context.now)
    return render_page("web/data_asked.html", hours=my_data.DATA_LINK_LIFETIME // timedelta(hours=1))


@subscriber_pages.get("/restore/<token>")
def ask_to_restore(token: str) -> ResponseReturnValue:
    """Show the choices as they are and as they were, with the one button. Nothing is changed before it is pressed."""
    with page_context.database.read() as session:
        return _restoration_page(preference_changes.look_up_restoration(session, token, now=page_context.now), token)


@subscriber_pages.post("/restore/<token>")
def restore_now(token: str) -> ResponseReturnValue:
    """Put back the choices that stood before the changes which a mail named, and renew the links if asked. Twice is once."""
    new_token = ""
    with page_context.database.write() as session:
        link = preference_changes.restore_preferences(session, token, now=page_context.now)
        if link.changed and link.person is not None and request.form.get("renew") == "yes":
            new_token = renew_links_and_make_link_token(session, link.person)
    return _restoration_page(link, token, new_token=new_token)


def _restoration_page(link: PreferenceRestoration, token: str, *, new_token: str = "") -> Response:
    if link.stage is ActionLinkState.UNKNOWN:
        return unknown_link_page()
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
    session: Session, link: OpenedLink, *, saved: str = "", problem: FormError | None = None
) -> ResponseReturnValue:
    person, mailbox = _load_subscriber(session, link)
    today, language = page_context.today(), page_context.language
    leave_token = link_tokens.make_link_token(
        page_context.keys, person.number, "leave", link.generation, address=mailbox
    )
    chosen = Preferences.from_stored(person.choices)
    return render_page(
        "web/preferences.html",
        400 if problem else 200,
        masked=mask_address(mailbox),
        since=person.asked_at,
        chosen=chosen,
        asks=" ".join(sorted(ASKED_PREFERENCES - page_context.site.hidden_preferences)),
        often=FREQUENCY_LABELS,
        checkboxes=group_checkboxes(page_context.site.hidden_preferences),
        hours=[(hour, language.clock_hour(time(hour))) for hour in range(24)],
        zone=chosen.zone or page_context.site.zone.key,
        zones=zones_by_region(language),
        tomorrow=today + timedelta(days=1),
        latest=today + MAX_PAUSE,
        leave_url=url_for("subscribers.ask_to_leave", token=leave_token),
        token=link.token,
        saved=saved,
        problem=problem,
        max_variants=page_context.find_variant_limit(session),
    )
