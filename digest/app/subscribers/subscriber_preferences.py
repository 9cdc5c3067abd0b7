"""Changes that an admin makes to a subscriber's preferences, including pauses.

The subscriber is emailed a link that undoes the changes.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from digest.app.subscribers.subscriber_actions import AN_ADDRESS, UnknownPersonError, find_person_row
from digest.edition.part_titles import list_part_titles
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.settings import Settings
from subscribers.address import Address
from subscribers.consent import ledger
from subscribers.consent.preferences import PREFERENCE_TEXTS, Preferences, describe_preference_options
from subscribers.errors import RefusalError
from subscribers.lifecycle.preference_changes import save_preferences_by_admin
from subscribers.pages import preferences_form
from subscribers.pages.forms import FormError
from subscribers.pages.preferences_form import ASKED_PREFERENCES, CHECKED_LISTS, OfferedPreferences
from subscribers.store.models import ConsentKind, Person, PersonState
from subscribers.subscriber_language import ENGLISH

SHOW_PREFERENCES = Action("subscriber record opened")
CHANGE_PREFERENCES = Action("preferences changed")
_SEEN_FIELD = "seen"  # the form field with the preferences as they were when the form was opened


class PreferencesRefusedError(RefusalError):
    """Raised if preferences can't be changed as requested.

    The message says why.
    """


@dataclass(frozen=True, slots=True)
class SubscriberPreferences:
    """A subscriber's preferences as a form, with the available options.

    `seen` is sent back with the form, which is refused if the preferences have changed since.
    `asked` has the names of the preferences that an admin can change. `is_undo` is True if the form
    has the preferences from before an admin's change. `keeps_breaking_news_off` is True if breaking
    news was on at that time, because only the subscriber can turn it on again.
    """

    offered: OfferedPreferences
    form: MultiDict[str, str]
    seen: str
    asked: frozenset[str]
    is_undo: bool = False
    keeps_breaking_news_off: bool = False


def view_subscriber_preferences(
    installation: Installation, actor: Actor, number: int, *, undo: bool = False, now: datetime
) -> SubscriberPreferences:
    """Return a subscriber's preferences for editing.

    With `undo`, return those from before the last change.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this number.
        PreferencesRefusedError: the person isn't subscribed, or an admin didn't make the last
            change.
    """
    SHOW_PREFERENCES.check_role(installation, actor, f"person {number}", now=now)
    offered = list_offered_preferences(installation.settings)
    with installation.read() as session:
        person = session.get(Person, number)
        if person is None:
            raise UnknownPersonError("No subscriber has this number.")
        _check_subscribed(person)
        preferences = Preferences.from_stored(person.choices)
        asked = ASKED_PREFERENCES - offered.hidden_preferences
        asked -= frozenset() if preferences.breaking_news else {"breaking_news"}
        asked -= frozenset() if offered.topics else {"omit_topics"}
        today = now.astimezone(installation.settings.zone).date()
        shown = _find_earlier_preferences(session, number) if undo else preferences
        form = preferences_form.build_preferences_form(shown.drop_ended_pause(today), offered)
        lost = shown.breaking_news and not preferences.breaking_news
        return SubscriberPreferences(offered, form, _describe_stored(person), asked, undo, lost)


def _find_earlier_preferences(session: Session, number: int) -> Preferences:
    """Return a subscriber's preferences from before the last change if an admin made it."""
    event = ledger.find_last_event(session, number, {ConsentKind.CHOICES_CHANGED})
    body = json.loads(event.body) if event is not None else {}
    if not ledger.is_by_admin(body):
        raise PreferencesRefusedError(
            "The last change to the preferences wasn't made by an admin, so it can't be undone."
        )
    return Preferences.from_stored(body["before"])


def change_subscriber_preferences(
    installation: Installation,
    actor: Actor,
    whom: Address | int,
    form: MultiDict[str, str],
    reason: str,
    *,
    now: datetime,
) -> tuple[int, bool]:
    """Change a subscriber's preferences according to a form.

    Return the subscriber's number, and True if anything changed. They're emailed immediately, with
    the reason and a link that restores the earlier preferences for seven days. `whom` is their
    address or number. The form's `asks` lists the preferences to change (see
    `preferences_form.list_asked_preferences`).

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address or number.
        FormError: a choice can't be saved.
        PreferencesRefusedError: the person isn't subscribed, the form is outdated, or it turns on
            breaking news.
        OSError: the unsubscribe log couldn't be written.
    """
    settings, keys = installation.settings, installation.keys
    today = now.astimezone(settings.zone).date()
    with CHANGE_PREFERENCES.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        number = find_person_row(session, keys, whom).number
        draft.subject, draft.detail = f"person {number}", {"why": reason}
        person = ledger.lock_person(session, number)
        assert person is not None, "it was found in this transaction"
        _check_subscribed(person)
        if form.get(_SEEN_FIELD, _describe_stored(person)) != _describe_stored(person):
            raise PreferencesRefusedError(
                "The subscriber's preferences have changed since you opened this form.", "Check them and try again."
            )
        changed = _read_change(form, Preferences.from_stored(person.choices), settings, today)
        draft.changed = save_preferences_by_admin(
            session,
            installation.unsubscribe_log,
            number,
            changed,
            make_mail_queue(installation, now),
            actor=actor.name,
            reason=reason,
            now=now,
        )
        return number, draft.changed


def _check_subscribed(person: Person) -> None:
    if person.state is not PersonState.SUBSCRIBED or person.ciphertext is None:
        raise PreferencesRefusedError("This person isn't subscribed, so preferences have no effect.")


def _describe_stored(person: Person) -> str:
    return json.dumps(person.choices, sort_keys=True)


def _read_change(form: MultiDict[str, str], old: Preferences, settings: Settings, today: date) -> Preferences:
    offered = list_offered_preferences(settings)
    if hidden := offered.hidden_preferences.intersection(form.get("asks", "").split()):
        words = describe_preference_options(ENGLISH, PREFERENCE_TEXTS.keys() - hidden)
        raise PreferencesRefusedError(f"Your publication doesn't offer {words}.", "Change your settings first.")
    for name, keys in preferences_form.list_offered_keys(offered).items():
        field = CHECKED_LISTS[name]
        if unknown := sorted(set(form.getlist(field)) - set(keys)):
            raise FormError({name: f"There's no {field} {unknown[0]!r}. Choose from {', '.join(keys)}."})
    new = preferences_form.read_preferences_form(form, offered, today, ENGLISH)
    changed = preferences_form.merge_asked_preferences(old, new, preferences_form.list_asked_preferences(form, offered))
    if changed.breaking_news and not old.breaking_news:
        raise PreferencesRefusedError(
            "Subscribers have to turn on breaking news themselves.",
            "Ask them to use the preferences link in one of your emails.",
        )
    return changed


def list_offered_preferences(settings: Settings) -> OfferedPreferences:
    """Return the sections, topics, and other preferences that the publication offers."""
    hidden = settings.file.preferences.hidden
    return OfferedPreferences(parts=list_part_titles(settings, ENGLISH), hidden_preferences=hidden)
