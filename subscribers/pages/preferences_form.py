"""The preferences form: its options and texts, both for subscribers and for admins who change their preferences."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any

from werkzeug.datastructures import MultiDict

from subscribers.consent.preferences import (
    CHECKBOXES,
    PREFERENCE_TEXTS,
    Preferences,
    PreferencesError,
    list_known_zones,
)
from subscribers.english_text import make_collation_key
from subscribers.pages.forms import FormError
from subscribers.part_keys import split_part_key
from subscribers.subscriber_language import SubscriberLanguage

# The places where most subscribers to an English newsletter live, from west to east. They're listed first.
COMMON_ZONES = (
    *("Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Phoenix", "America/Denver"),
    *("America/Chicago", "America/New_York", "America/Halifax", "UTC", "Europe/London", "Europe/Paris"),
    *("Europe/Berlin", "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney"),
)
MAX_PAUSE = timedelta(days=366)
_HOURS = {str(hour): hour for hour in range(24)}
CHECKED_LISTS = {"omit": "section", "omit_topics": "topic"}  # by the names of the form's fields
_TYPED_FIELDS = PREFERENCE_TEXTS.keys() - {*CHECKED_LISTS, *CHECKBOXES}
ASKED_PREFERENCES = frozenset(PREFERENCE_TEXTS)
_EARLIER_PREFERENCES = ASKED_PREFERENCES - {"omit_topics", "breaking_news"}  # on pages without `asks`


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedPreferences:
    """The preferences that a publication offers its subscribers."""

    # The key (`subscribers.part_keys`) and title of each section and topic.
    parts: tuple[tuple[str, str], ...]
    # The names of the preferences that the publication doesn't offer.
    hidden_preferences: frozenset[str] = frozenset()

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """The key and title of each section."""
        return tuple((key, title) for key, title in self.parts if not split_part_key(key)[1])

    @property
    def topics(self) -> tuple[tuple[str, str], ...]:
        """The key and title of each topic, sorted by title. Empty if subscribers can't choose topics."""
        topics = {topic: title for key, title in self.parts if (topic := split_part_key(key)[1])}
        return tuple(sorted(topics.items(), key=lambda topic: make_collation_key(topic[1])))

    @property
    def topic_sections(self) -> tuple[str, ...]:
        """The titles of the sections that topics can be omitted from."""
        keys = {split_part_key(key)[0] for key, _ in self.parts if split_part_key(key)[1]}
        return tuple(title for key, title in self.sections if key in keys)


@lru_cache(maxsize=1)
def list_offered_zones() -> frozenset[str]:
    """Return the time zones that can be chosen.

    Each place is included once, by its name in the time zone database's country list. The database
    also has about 180 older names, such as Europe/Kiev for Europe/Kyiv. Subscribers who chose one
    of these keep it.
    """
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    lines = table.splitlines()
    names = {line.split("\t")[2] for line in lines if line and not line.startswith("#")}
    return frozenset({*names, "UTC"}) & list_known_zones()


@lru_cache(maxsize=8)
def list_zone_labels(language: SubscriberLanguage) -> dict[str, str]:
    """Return the place that each offered time zone is named after, by the zone's name, the common zones first."""
    common = [name for name in COMMON_ZONES if name in list_known_zones()]
    labels = {name: language.zone_label(name) for name in list_offered_zones().union(common)}
    others = sorted(labels.keys() - {*common}, key=lambda name: make_collation_key(labels[name]))
    return {name: labels[name] for name in (*common, *others)}


@lru_cache(maxsize=8)
def _map_places_to_zones(language: SubscriberLanguage) -> dict[str, str]:
    return {make_collation_key(place): name for name, place in list_zone_labels(language).items()}


def apply_topics_button(
    form: MultiDict[str, str],
    site: OfferedPreferences,
) -> MultiDict[str, str] | None:
    """Return a form with all topics checked or unchecked if the button for that was pressed.

    Return None if the form has to be saved.
    """
    if form.get("check") not in ("all", "none"):
        return None
    checked = MultiDict([*form.items(multi=True)])
    checked.setlist("topic", [key for key, _ in site.topics] if form["check"] == "all" else [])
    return checked


def preview_preferences(
    stored: Preferences, form: MultiDict[str, str], site: OfferedPreferences, today: date, language: SubscriberLanguage
) -> Preferences:
    """Return the preferences that an unsaved form would store.

    Invalid values are replaced by the stored ones.
    """
    asked = list_asked_preferences(form, site)
    with suppress(PreferencesError):
        choices = _read_choices(form, site, today, language)
        stored = merge_asked_preferences(stored, Preferences.from_json(choices), asked)
    omitted = frozenset(key for key, _ in site.topics) - {*form.getlist("topic")}
    return replace(stored, omit_topics=omitted)


def list_asked_preferences(form: MultiDict[str, str], site: OfferedPreferences) -> frozenset[str]:
    """Return the names of the preferences listed in a form's `asks` field.

    A form without `asks` is from a page that was opened before the field existed, which had fewer
    preferences.
    """
    asked = form.get("asks", "").split() or _EARLIER_PREFERENCES
    return ASKED_PREFERENCES.intersection(asked) - site.hidden_preferences


def merge_asked_preferences(old: Preferences, new: Preferences, asked: frozenset[str]) -> Preferences:
    """Return the old preferences with new values for the preferences in `asked`.

    If the frequency hasn't changed, its start day is kept.
    """
    changed = {name: getattr(new, name) for name in asked}
    if "frequency" in asked:
        changed["start"] = old.start if new.frequency == old.frequency else new.start
    return replace(old, is_readable=True, **changed)


def read_preferences_form(
    form: MultiDict[str, str], site: OfferedPreferences, today: date, language: SubscriberLanguage
) -> Preferences:
    """Return the preferences chosen in a submitted form.

    The form contains the wanted sections and topics, but the unwanted ones are stored. A new
    section is therefore included for everyone until they leave it out.

    Raises:
        FormError: a preference is invalid.
    """
    try:
        preferences = Preferences.from_json(_read_choices(form, site, today, language))
    except PreferencesError as exc:
        at = str(exc).partition(":")[0]
    else:
        at = _find_unoffered(preferences, site, today)
    if at:
        texts = PREFERENCE_TEXTS[at]
        shorter = "" if "omit" in list_asked_preferences(form, site) else texts.get("problem_without_sections")
        raise FormError({at: language.translate_text(shorter or texts["problem"])})
    return preferences


def _read_choices(
    form: MultiDict[str, str], site: OfferedPreferences, today: date, language: SubscriberLanguage
) -> dict[str, Any]:
    """Return the values of the preferences that a form contains, in the form that `Preferences.from_json` accepts.

    A time zone may be its name or the place that it's named after, in the subscriber's language.
    """
    asked = list_asked_preferences(form, site)
    typed = {name: form.get(name, "").strip() for name in _TYPED_FIELDS & asked}
    values: dict[str, Any] = {name: text for name, text in typed.items() if text}
    values |= {name: form.get(name) == "yes" for name in CHECKBOXES if name in asked}
    for name, offered in list_offered_keys(site).items():
        if name in asked:
            values[name] = [key for key in offered if key not in form.getlist(CHECKED_LISTS[name])]
    if "hour" in values:
        values["hour"] = _HOURS.get(values["hour"], values["hour"])
        if zone := values.get("zone"):
            values["zone"] = _map_places_to_zones(language).get(make_collation_key(zone), zone)
    else:
        values.pop("zone", None)
    if values.get("frequency") == "fortnightly":
        values["start"] = today
    return values


def list_offered_keys(site: OfferedPreferences) -> dict[str, list[str]]:
    """Return the keys that a form's checkboxes offer, by the preference that stores the unchecked ones."""
    return {"omit": [key for key, _ in site.sections], "omit_topics": [key for key, _ in site.topics]}


def build_preferences_form(preferences: Preferences, site: OfferedPreferences) -> MultiDict[str, str]:
    """Return the form values that `read_preferences_form` parses into the given preferences."""
    form = MultiDict[str, str]((name, "yes") for name in CHECKBOXES if getattr(preferences, name))
    for name in _TYPED_FIELDS:
        value = getattr(preferences, name)
        form.add(name, "" if value is None else str(value))
    for name, offered in list_offered_keys(site).items():
        form.setlist(CHECKED_LISTS[name], [key for key in offered if key not in getattr(preferences, name)])
    return form


def _find_unoffered(preferences: Preferences, site: OfferedPreferences, today: date) -> str:
    """Return the first field whose value is valid but isn't offered by the form, or "" if there's none."""
    until, offered_keys = preferences.pause_until, list_offered_keys(site)
    offered = {
        "omit": len(preferences.omit) < len(offered_keys["omit"]),
        "omit_topics": not preferences.omit_topics or len(preferences.omit_topics) < len(offered_keys["omit_topics"]),
        "zone": not preferences.zone or preferences.zone in list_known_zones(),
        "pause_until": until is None or today < until <= today + MAX_PAUSE,
    }
    return next((name for name, is_offered in offered.items() if not is_offered), "")
