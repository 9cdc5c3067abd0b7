"""Subscribers' preferences, each declared once.

The form, the stored JSON, the export, and the privacy page are based on `Preferences`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass
from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.english_text import make_collation_key, sentence
from subscribers.errors import ApplicationError
from subscribers.part_keys import split_part_key
from subscribers.store.models import ConsentEvent, ConsentKind, Person
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage, mark_message

Frequency = Literal["weekly", "fortnightly", "monthly"]
FREQUENCY_LABELS: dict[Frequency, tuple[str, str]] = {
    "weekly": (mark_message("Every edition"), ""),
    "fortnightly": (mark_message("Every other week"), mark_message("Starting the week you choose this.")),
    "monthly": (mark_message("Once a month"), mark_message("The first edition of the month.")),
}
_NOT_OFFERED = mark_message("Choose one of the options in the list.")
_NO_HOUR = mark_message("Choose an hour and a time zone from the lists.")
_LOOKS = mark_message("format")
_FORMAT_GROUP, _BREAKING_NEWS_GROUP = mark_message("Format"), mark_message("Breaking news")


class PreferencesError(ApplicationError):
    """Raised when preferences are invalid.

    The message names the field.
    """


@cache
def list_known_zones() -> frozenset[str]:
    """Return all time zones known to this machine."""
    return frozenset(available_timezones())


def _parse_day(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _declare(default: Any, **texts: str) -> Any:
    """Declare a preference along with its texts, which are messages for subscribers.

    Args:
        default: value for subscribers who haven't chosen one.
        texts: `listed` is the name on the privacy page, where equal names are listed once. `problem` says
            what to do if the value in a form can't be saved, and `problem_without_sections` replaces it
            in forms without sections. A `StrictBool` is a checkbox in the group `legend` with `label` and
            `hint`. Its `summary` is added to the description of the email, `%(sections)s`.
    """
    return Field(default, json_schema_extra=dict(texts))


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", defer_build=True))
class Preferences:
    """The preferences of a subscriber.

    `omit` and `omit_topics` are the keys of sections and topics to leave out, so new sections and
    topics are included. Topics are left out of sections that list stories by topic. `weekly` means
    every edition. `start` is the day on which `fortnightly` was chosen, and weeks are counted from
    that week. `hour` (0 to 23) and `zone` (an IANA name) are set together. Editions are paused
    while today is before `pause_until`. `is_readable` is False for a damaged row. Editions are then
    paused until the subscriber chooses again, because a pause may have been lost.
    """

    omit: frozenset[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,38}$")]] = _declare(
        frozenset(),
        listed=mark_message("sections"),
        problem=mark_message("Choose at least one section. If you don’t want any of them, unsubscribe."),
    )
    omit_topics: frozenset[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,24}$")]] = _declare(
        frozenset(),
        listed=mark_message("topics"),
        problem=mark_message("Choose at least one topic, or leave out the section."),
        problem_without_sections=mark_message("Choose at least one topic."),
    )
    frequency: Frequency = _declare("weekly", listed=mark_message("how often"), problem=_NOT_OFFERED)
    start: Annotated[date | None, BeforeValidator(_parse_day)] = Field(default=None, validate_default=True)
    zone: Annotated[str, Field(pattern=r"^([A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2})?$")] = _declare(
        "", problem=_NO_HOUR
    )
    hour: Annotated[StrictInt | None, Field(ge=0, le=23, validate_default=True)] = _declare(
        None, listed=mark_message("send time"), problem=_NO_HOUR
    )
    short: StrictBool = _declare(
        False,
        listed=_LOOKS,
        legend=_FORMAT_GROUP,
        label=mark_message("The short edition"),
        hint=mark_message(
            "The lead story, upcoming dates, and the rest in ten lines at most. A link opens the full edition."
        ),
        summary=mark_message("%(sections)s, as the short edition"),
    )
    text_only: StrictBool = _declare(
        False,
        listed=_LOOKS,
        legend=_FORMAT_GROUP,
        label=mark_message("Text only"),
        hint=mark_message("The same text without images or layout. It’s small and works well with screen readers."),
        summary=mark_message("%(sections)s, as text only"),
    )
    breaking_news: StrictBool = _declare(
        False,
        listed=mark_message("breaking news"),
        legend=_BREAKING_NEWS_GROUP,
        label=mark_message("Email me breaking news"),
        hint=mark_message("Between editions, for major news only. Each of these emails has a link to turn them off."),
        summary=mark_message("%(sections)s, plus breaking news"),
    )
    pause_until: Annotated[date | None, BeforeValidator(_parse_day)] = _declare(
        None,
        listed=mark_message("pause"),
        problem=mark_message("Choose a day between tomorrow and a year from now, such as 2026-12-31."),
    )
    is_readable: StrictBool = Field(default=True, exclude=True)

    @field_validator("start")
    @classmethod
    def _belongs_to_fortnightly(cls, start: date | None, info: ValidationInfo) -> date | None:
        if (start is not None) != (info.data.get("frequency") == "fortnightly"):
            raise ValueError("required for 'fortnightly' and not allowed otherwise")
        return start

    @field_validator("hour")
    @classmethod
    def _belongs_to_a_zone(cls, hour: int | None, info: ValidationInfo) -> int | None:
        if (hour is not None) != bool(info.data.get("zone")):
            raise ValueError("a time zone is required, such as America/New_York")
        return hour

    @field_serializer("omit", "omit_topics")
    def _sort_omitted(self, omit: frozenset[str]) -> list[str]:
        return sorted(omit)

    def is_paused(self, today: date) -> bool:
        """Return True if emails are paused on `today`, a day in the publication's time zone."""
        return not self.is_readable or (self.pause_until is not None and today < self.pause_until)

    def drop_ended_pause(self, today: date) -> "Preferences":
        """Return the same preferences, without a pause that has ended by `today`."""
        has_ended = self.pause_until is not None and self.pause_until <= today
        return replace(self, pause_until=None) if has_ended else self

    def gets_breaking_news(self, today: date) -> bool:
        """Return True if breaking news may be emailed on `today`, a day in the publication's time zone.

        The subscriber must have chosen it, and emails must not be paused. Sections, frequency, and
        hour don't matter.
        """
        return self.breaking_news and not self.is_paused(today)

    def as_json(self) -> dict[str, Any]:
        """Return the stored form, which omits default values."""
        values, not_chosen = _STORED.dump_python(self, mode="json"), _dump_not_chosen()
        return {name: value for name, value in values.items() if value != not_chosen[name]}

    @classmethod
    def from_stored(cls, stored: Any) -> "Preferences":
        """Parse stored preferences.

        If a row is damaged, which the nightly check reports, only its own subscriber is affected.
        """
        try:
            return cls.from_json(stored)
        except PreferencesError:
            return cls(is_readable=False)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Preferences":
        """Parse preferences in the stored form or from a page.

        Raises:
            PreferencesError: a field is unknown or has an invalid value.
        """
        try:
            return _STORED.validate_python(fields)
        except ValidationError as exc:
            fault = exc.errors(include_url=False, include_input=False)[0]
            raise PreferencesError(f"{fault['loc'][0]}: {fault['msg']}" if fault["loc"] else "no choices") from None


_STORED = TypeAdapter(Preferences)


@cache
def _dump_not_chosen() -> dict[str, Any]:
    return _STORED.dump_python(Preferences(), mode="json")  # type: ignore[no-any-return]


PREFERENCE_TEXTS: dict[str, dict[str, str]] = {
    name: field.json_schema_extra
    for name, field in Preferences.__pydantic_fields__.items()  # type: ignore[attr-defined]  # pydantic adds it
    if field.json_schema_extra
}
CHECKBOXES = {name: texts for name, texts in PREFERENCE_TEXTS.items() if "label" in texts}


def group_checkboxes(
    hidden: Collection[str],
) -> dict[str, dict[str, dict[str, str]]]:
    """Return the checkboxes by the legend of their group, leaving out the `hidden` preferences."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for name, texts in CHECKBOXES.items():
        if name not in hidden:
            groups.setdefault(texts["legend"], {})[name] = texts
    return groups


def describe_preference_options(language: SubscriberLanguage, hidden: Collection[str] = ()) -> str:
    """Return the names of the available preferences as a list in words, for the privacy page.

    The `hidden` ones are omitted.
    """
    offered = (texts for name, texts in PREFERENCE_TEXTS.items() if name not in hidden)
    listed = dict.fromkeys(texts["listed"] for texts in offered if "listed" in texts)
    return language.join_words([language.translate_text(words) for words in listed])


def change_preferences(
    session: Session,
    number: int,
    preferences: Preferences,
    now: datetime,
    **origin: str,
) -> bool:
    """Store a subscriber's preferences, append an event with any changes, and return True if anything changed.

    `origin` contains the other fields of the event: the `method`, and the `actor` if it's an admin.

    Raises:
        LookupError: the person doesn't exist.
    """
    person = ledger.lock_person(session, number)
    if person is None:
        raise LookupError(f"there's no person with the number {number}")
    before, after = Preferences.from_stored(person.choices).as_json(), preferences.as_json()
    if person.choices == after:
        return False
    person.choices = after
    ledger.append_event(session, person, ConsentKind.CHOICES_CHANGED, {"before": before, "after": after, **origin}, now)
    return True


def list_unreadable_preferences(session: Session) -> list[int]:
    """Return the numbers of subscribers whose preferences can't be read."""
    chosen = select(Person.number, Person.choices).where(cast(Person.choices, Text) != "{}").order_by(Person.number)
    rows = session.execute(chosen).yield_per(1000)
    return [number for number, choices in rows if not Preferences.from_stored(choices).is_readable]


def describe_preferences(
    preferences: Preferences, parts: Sequence[tuple[str, str]], language: SubscriberLanguage = ENGLISH
) -> str:
    """Return sentences that describe preferences, so that subscribers notice mistakes immediately.

    Args:
        preferences: the preferences.
        parts: the key (`subscribers.part_keys`) and title of each section and topic that the
            publication offers.
        language: the language to use.
    """
    if not preferences.is_readable:
        return language.gettext("These preferences can’t be read. No editions are sent until they’re saved again.")
    section_list = _describe_parts(preferences, parts, language)
    for name, box in CHECKBOXES.items():
        if getattr(preferences, name):
            section_list = language.translate_text(box["summary"]) % {"sections": section_list}
    if preferences.pause_until:
        day = language.full_date(preferences.pause_until)
        section_list = language.gettext("paused until %(day)s, then %(sections)s", day=day, sections=section_list)
    return " ".join([sentence(section_list), *_describe_schedule(preferences, language)])


def _describe_parts(
    preferences: Preferences,
    parts: Sequence[tuple[str, str]],
    language: SubscriberLanguage,
) -> str:
    """Describe the wanted sections and, if some topics are left out, the wanted topics."""
    wanted, all_sections = list[str](), set[str]()
    topics, omitted = dict[str, str](), dict[str, str]()
    for key, title in parts:
        section_key, topic_key = split_part_key(key)
        if topic_key and section_key not in preferences.omit:
            (omitted if topic_key in preferences.omit_topics else topics)[topic_key] = title
        elif not topic_key:
            all_sections.add(section_key)
            wanted += [] if section_key in preferences.omit else [title]
    sections = language.gettext("all sections") if len(wanted) == len(all_sections) else language.join_words(wanted)
    if 0 < len(omitted) < len(topics):
        left_out = language.join_words(sorted(omitted.values(), key=make_collation_key))
        return language.gettext("%(sections)s (topics: all except %(topics)s)", sections=sections, topics=left_out)
    if not omitted:
        return sections
    topic_list = language.join_words(sorted(topics.values(), key=make_collation_key)) or language.gettext("none")
    return language.gettext("%(sections)s (topics: %(topics)s)", sections=sections, topics=topic_list)


def _describe_schedule(preferences: Preferences, language: SubscriberLanguage) -> tuple[str, str]:
    rhythm = sentence(language.translate_text(FREQUENCY_LABELS["weekly"][0]))
    if preferences.start:
        monday = preferences.start - timedelta(days=preferences.start.weekday())
        rhythm = language.gettext("Every other week, starting the week of %(day)s.", day=language.full_date(monday))
    if preferences.frequency == "monthly":
        rhythm = language.gettext("Once a month: the first edition of the month.")
    send_time = language.gettext("Sent as soon as it’s out.")
    if preferences.hour is not None:
        hour, place = language.daily_hour(preferences.hour), language.zone_label(preferences.zone)
        send_time = language.gettext("Sent at %(hour)s (time zone: %(place)s) or soon after.", hour=hour, place=place)
    return rhythm, send_time


def find_preferences_at(session: Session, moments: Mapping[int, datetime]) -> dict[int, Preferences]:
    """Return the preferences that people (at most 1,000) had at the moment given for each, by number.

    Unknown people have default preferences.
    """
    if not moments:
        return {}
    people = select(Person.number, Person.choices).where(Person.number.in_(moments))
    choices = {number: Preferences.from_stored(stored) for number, stored in session.execute(people)}
    changes = (
        select(ConsentEvent.person, ConsentEvent.at, ConsentEvent.body)
        .where(
            ConsentEvent.person.in_(moments),
            ConsentEvent.kind == ConsentKind.CHOICES_CHANGED,
            ConsentEvent.at > min(moments.values()),
        )
        .order_by(ConsentEvent.seq.desc())
    )
    # Go back from the last change to the first one after the moment, and use the values from before it.
    for person, at, body in session.execute(changes):
        if at > moments[person]:
            choices[person] = Preferences.from_json(json.loads(body)["before"])
    return {number: choices.get(number, Preferences()) for number in moments}
