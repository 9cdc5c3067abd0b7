"""What a reader chose: sections left out, how often, at which hour, text only, a pause; as values and in words."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, Self, get_args

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.errors import ApplicationError
from subscribers.phrases import sentence
from subscribers.reader_language import ENGLISH, ReaderLanguage
from subscribers.store.models import ConsentKind, Person, PersonState

_SECTION_KEY_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,38}")
_ZONE_NAME_PATTERN = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")
_FIELD_NAMES = frozenset({"omit", "text_only", "pause_until", "frequency", "start", "hour", "zone", "short"})
Frequency = Literal["weekly", "fortnightly", "monthly"]
FREQUENCIES: tuple[Frequency, ...] = get_args(Frequency)


class PreferencesError(ApplicationError):
    """The choices make no sense; the message names the field."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """A reader's choices. `omit` holds section keys; mail rests while today is before `pause_until`.

    Of choices that cannot be read (a damaged row) `is_readable` is false: mail rests until they are made anew, for nobody
    knows whether the reader had paused. `weekly` is every edition. `start` is the day on which a reader chose `fortnightly`: weeks are counted from
    its week. `hour` (0 to 23) is in `zone`, an IANA name; the two are there together or not at all.
    """

    omit: frozenset[str] = frozenset()
    text_only: bool = False
    pause_until: date | None = None
    frequency: Frequency = "weekly"
    start: date | None = None
    hour: int | None = None
    zone: str = ""
    short: bool = False  # the five-minute edition
    is_readable: bool = True

    def is_paused(self, today: date) -> bool:
        """Return whether mail rests on `today`, a day in the publication's zone."""
        return not self.is_readable or (self.pause_until is not None and today < self.pause_until)

    def as_json(self) -> dict[str, Any]:
        """Return the form that is stored; what is not chosen is left out."""
        not_chosen = asdict(Preferences())
        return {
            name: sorted(value) if name == "omit" else value.isoformat() if isinstance(value, date) else value
            for name, value in asdict(self).items()
            if name in _FIELD_NAMES and value != not_chosen[name]
        }

    @classmethod
    def from_stored(cls, stored: Any) -> Self:
        """Read what a person's row holds; a damaged one, which the nightly check names, holds up nobody but its owner's mail."""
        try:
            return cls.from_json(stored)
        except PreferencesError:
            return cls(is_readable=False)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read the stored form, or what a page sent.

        Raises:
            PreferencesError: a field is unknown or has a wrong value.
        """
        if not isinstance(fields, dict):
            raise PreferencesError("no choices")
        if unknown := sorted(fields.keys() - _FIELD_NAMES):
            raise PreferencesError(f"{unknown[0]!r}: no such choice")
        omit, text_only = fields.get("omit", []), fields.get("text_only", False)
        if not isinstance(omit, list) or not all(
            isinstance(k, str) and _SECTION_KEY_PATTERN.fullmatch(k) for k in omit
        ):
            raise PreferencesError("omit: not a list of section keys")
        if not isinstance(text_only, bool):
            raise PreferencesError("text_only: neither true nor false")
        short = fields.get("short", False)
        if not isinstance(short, bool):
            raise PreferencesError("short: neither true nor false")
        until = _parse_day(fields, "pause_until")
        return cls(frozenset(omit), text_only, until, *_parse_frequency(fields), *_parse_hour(fields), short)


def _parse_frequency(fields: dict[str, Any]) -> tuple[Frequency, date | None]:
    frequency, start = fields.get("frequency", "weekly"), _parse_day(fields, "start")
    if frequency not in FREQUENCIES:
        raise PreferencesError(f"frequency: not one of {', '.join(FREQUENCIES)}")
    if (start is not None) != (frequency == "fortnightly"):
        raise PreferencesError("start: it belongs to fortnightly, and to nothing else")
    return frequency, start


def _parse_hour(fields: dict[str, Any]) -> tuple[int | None, str]:
    """Read hour and zone. Whether this machine knows the zone is not asked: it is the form's matter."""
    hour, zone = fields.get("hour"), fields.get("zone", "")
    if hour is None and zone == "":
        return None, ""
    if type(hour) is not int or not 0 <= hour <= 23:
        raise PreferencesError("hour: not a whole number from 0 to 23")
    if zone == "":
        raise PreferencesError("hour: it needs a zone, such as America/New_York")
    if not isinstance(zone, str) or not _ZONE_NAME_PATTERN.fullmatch(zone):
        raise PreferencesError("zone: not a zone's name such as America/New_York")
    return hour, zone


def _parse_day(fields: dict[str, Any], name: str) -> date | None:
    text = fields.get(name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise PreferencesError(f"{name}: not a date such as 2026-12-24") from None


def count_preferences(session: Session) -> Iterator[tuple[Preferences, int]]:
    """Count the people on the list by what they chose; whose choices cannot be read are left out."""
    stored = cast(Person.choices, Text)
    query = select(stored, func.count()).where(Person.state == PersonState.SUBSCRIBED).group_by(stored)
    for text, people in session.execute(query):
        try:
            yield Preferences.from_json(json.loads(text)), people
        except (ValueError, RecursionError, PreferencesError):
            continue


def change_preferences(
    session: Session, number: int, preferences: Preferences, now: datetime, *, method: str = ""
) -> bool:
    """Store a reader's choices, with an event that says what changed, and by which `method`; return False where nothing did.

    Raises:
        LookupError: there is no such person.
    """
    person = ledger.lock_person(session, number)
    if person is None:
        raise LookupError(f"person {number} is not there")
    before, after = Preferences.from_stored(person.choices).as_json(), preferences.as_json()
    if person.choices == after:
        return False
    person.choices = after
    body = {"before": before, "after": after} | ({"method": method} if method else {})
    ledger.append_event(session, person, ConsentKind.CHOICES_CHANGED, body, now)
    return True


def list_unreadable_choices(session: Session) -> list[int]:
    """List the numbers of the readers whose choices cannot be read (damaged rows)."""
    chosen = select(Person.number, Person.choices).where(cast(Person.choices, Text) != "{}").order_by(Person.number)
    rows = session.execute(chosen).yield_per(1000)
    return [number for number, choices in rows if not Preferences.from_stored(choices).is_readable]


def describe_preferences(
    preferences: Preferences, sections: Sequence[tuple[str, str]], language: ReaderLanguage = ENGLISH
) -> str:
    """Describe choices, so that a slip shows at once; `sections` are the publication's, as key and title."""
    if not preferences.is_readable:
        return language.gettext("The choices cannot be read. No edition is mailed until they are made again.")
    kept = [title for key, title in sections if key not in preferences.omit]
    what = language.gettext("every section") if len(kept) == len(sections) else language.join_words(kept)
    if preferences.short:
        what = language.gettext("%(sections)s, as the five-minute edition", sections=what)
    if preferences.text_only:
        what = language.gettext("%(sections)s, as text only", sections=what)
    if preferences.pause_until:
        day = language.full_date(preferences.pause_until)
        what = language.gettext("nothing until %(day)s, from then on %(sections)s", day=day, sections=what)
    return " ".join([sentence(what), *_describe_schedule(preferences, language)])


def _describe_schedule(preferences: Preferences, language: ReaderLanguage) -> list[str]:
    sentences = []
    if preferences.start:
        monday = preferences.start - timedelta(days=preferences.start.weekday())
        sentences.append(
            language.gettext("Every second week, counted from the week of %(day)s.", day=language.full_date(monday))
        )
    if preferences.frequency == "monthly":
        sentences.append(language.gettext("Once a month: the first edition of the month."))
    if preferences.hour is not None:
        hour, place = language.clock_hour(time(preferences.hour)), language.zone_label(preferences.zone)
        sentences.append(language.gettext("Sent at %(hour)s in %(place)s, or soon after.", hour=hour, place=place))
    return sentences
