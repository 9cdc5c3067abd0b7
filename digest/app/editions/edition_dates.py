"""The deadlines and events of editions: their place in the email, and iCalendar files.

There's a file for each edition and a feed to subscribe to (RFC 5545, section 3.6.1). Neither
contains a personal token, so everyone gets the same bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from digest.app.editions.edition_views import find_public_edition, list_edition_corrections, list_public_editions
from digest.collect.documents.deadlines import Deadline
from digest.edition.content.corrected_content import correct_content, find_correction_time
from digest.edition.content.edition_content import EditionContent, EntryDate, SectionEntry
from digest.edition.content.edition_names import format_issue
from digest.edition.content.fragment_names import list_fragment_sections
from digest.edition.content.stated_dates import find_implied_deadlines, find_stated_deadlines
from digest.edition.rendering.mail_layout import DatedEntry, arrange_email, list_dated_entries
from digest.installation.opened_installation import Installation
from digest.select.selection_types import CandidateArticle
from digest.settings import Settings
from digest.store.correction_models import Correction

if TYPE_CHECKING:
    from icalendar import Calendar, Event

REFRESH_INTERVAL = timedelta(hours=12)
MAX_CALENDAR_EDITIONS = 20


def build_edition_calendar(installation: Installation, name: str) -> bytes | None:
    """Return an iCalendar file of the dates that an edition lists before its sections.

    Return None if the edition isn't public.
    """
    public = find_public_edition(installation, name)
    if public is None:
        return None
    edition, content = public
    settings, corrections = installation.settings, list_edition_corrections(installation, [name]).get(name, ())
    content = correct_content(content, corrections)
    dates = arrange_email(content).dates
    calendar = _open_calendar(settings, _name_issue(settings, content))
    for dated in dates.entries if dates else ():
        calendar.add_component(_write_event(settings, dated, content, edition.release_at, corrections))
    return bytes(calendar.to_ical())


def build_calendar_feed(installation: Installation) -> bytes:
    """Return an iCalendar file of all dates in the 20 newest editions.

    If several editions contain a date, the newest one's version is used.
    """
    settings, seen_ids = installation.settings, set[str]()
    calendar = _open_calendar(settings, settings.file.publication.name)
    editions = list_public_editions(installation, MAX_CALENDAR_EDITIONS)
    corrections = list_edition_corrections(installation, [edition.name for edition, _ in editions])
    for edition, said in editions:
        edition_corrections = corrections.get(edition.name, ())
        content = correct_content(said, edition_corrections)
        for dated in list_dated_entries(content.sections):
            if (key := _name_date(dated)) not in seen_ids:
                seen_ids.add(key)
                calendar.add_component(_write_event(settings, dated, content, edition.release_at, edition_corrections))
    return bytes(calendar.to_ical())


def find_last_listed_day_by_section(content: EditionContent) -> Mapping[str, date]:
    """Return the last day of the dates listed before the sections, by section key.

    Sections without an entry in that list are missing.
    """
    dates = arrange_email(content).dates
    if dates is None:
        return {}
    moved = (dated.fragment for dated in dates.entries if not dated.is_stated_in_text)
    return {key: dates.last_day for fragment in moved for key in list_fragment_sections(fragment)}


def list_deadline_choices(
    content: EditionContent, entry: SectionEntry, lead: CandidateArticle
) -> tuple[tuple[Deadline, bool], ...]:
    """Return the dates that an editor can choose as an entry's deadline.

    They're an event's own deadline and those in the entry's texts, from the edition's day on. The
    second value of each pair is True if the text states only the weekday.
    """
    released_at = datetime.combine(content.released_on, time(), UTC)
    implied = find_implied_deadlines(entry, lead, released_at)
    stated = find_stated_deadlines(entry, lead, released_at)
    return (*((deadline, False) for deadline in stated), *((deadline, True) for deadline in implied))


def _open_calendar(settings: Settings, name: str) -> "Calendar":
    # Imported here because nothing else in this process needs it.
    from icalendar import Calendar

    calendar = Calendar()
    calendar.add(
        "prodid",
        f"-//{settings.file.publication.name}//Deadlines and events//{settings.subscriber_language.code.upper()}",
    )
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    # See RFC 7986, section 5.7. Older programs read the second property.
    calendar.add("refresh-interval", REFRESH_INTERVAL, parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", REFRESH_INTERVAL)
    return calendar


def _write_event(
    settings: Settings,
    dated: DatedEntry,
    content: EditionContent,
    released_at: datetime,
    corrections: Sequence[Correction],
) -> "Event":
    """Return a calendar event that doesn't mark anyone as busy.

    If no time is known, it lasts for the whole day.
    """
    from icalendar import Event, vText

    event, base = Event(), settings.link_base
    entry, when = dated.entry, dated.when
    corrected_at = find_correction_time(corrections, entry.url) if entry.url else None
    event.add("uid", f"{hashlib.sha256(_name_date(dated).encode()).hexdigest()[:24]}@{base.split('//')[-1]}")
    event.add("dtstamp", released_at)
    event.add("last-modified", corrected_at or released_at)
    event.add("summary", entry.headline if when.kind == "event" else _name_deadline(settings, entry, when))
    _add_span(event, when)
    if when.kind == "event" and entry.details:
        event.add("location", entry.details[0])
    if entry.url:
        event.add("url", entry.url)
    source = f"{_name_issue(settings, content)}: {base}/editions/{content.name}"
    lines = [when.text, *entry.details, entry.summary, _date_correction(settings, corrected_at), source]
    event.add("description", vText("\n".join(filter(None, lines))))
    event.add("transp", "TRANSPARENT")
    return event


def _name_date(dated: DatedEntry) -> str:
    """Return a date's ID. It's the same in every edition that lists the date.

    It's the link or headline of the date's story, with a suffix if the date is stated in the
    story's text.
    """
    return f"{dated.entry.url or dated.entry.headline}{' due' if dated.is_stated_in_text else ''}"


def _add_span(event: "Event", when: EntryDate) -> None:
    if when.moment is None:
        event.add("dtstart", when.day)
        event.add("dtend", (when.last_day or when.day) + timedelta(days=1))
        return
    event.add("dtstart", when.moment)
    if when.end and when.end > when.moment:
        event.add("dtend", when.end)


def _date_correction(settings: Settings, corrected_at: datetime | None) -> str:
    if corrected_at is None:
        return ""
    language = settings.subscriber_language
    day = language.full_date(corrected_at.astimezone(settings.zone))
    return language.gettext("Corrected %(day)s", day=day)


def _name_issue(settings: Settings, content: EditionContent) -> str:
    return f"{settings.file.publication.name} {format_issue(content.number, settings.subscriber_language)}"


def _name_deadline(settings: Settings, entry: SectionEntry, when: EntryDate) -> str:
    return settings.subscriber_language.pgettext(
        "what is due, in a calendar", "%(label)s: %(headline)s", label=when.label, headline=entry.headline
    )
