"""Upcoming events, soonest first."""

from dataclasses import replace
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, func

from digest.collect.documents.deadlines import load_deadline_zone
from digest.collect.texts.text_cleanup import shorten_text
from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.content.edition_content import EntryDate, SectionEntry
from digest.edition.kinds.opportunities import build_deadline
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, join_date_parts, make_minimal_entry
from digest.select.selection_types import CandidateArticle, PlacedStory, ScoredStory
from digest.store.models import Article
from subscribers.english_text import month_day
from subscribers.subscriber_language import SubscriberLanguage, mark_message

LOOKAHEAD = timedelta(days=90)
SUMMARY_WORDS = 16


@register_section_kind
class EventSection(SectionKind):
    """Events in the 90 days after the release."""

    name = "events"
    pick_order = 6
    contents = mark_message("Conferences, trainings, and other events")
    style = "dates"
    has_own_date = True
    order_rule = "the soonest event comes first"

    def build_candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Return the condition for events in the 90 days after the release, whenever they were announced."""
        del window
        starts_at = func.coalesce(Article.starts_at, Article.announced_at)
        return (starts_at > release_at) & (starts_at <= release_at + LOOKAHEAD)

    def order_key(self, scored: ScoredStory) -> tuple[Any, ...]:
        """Return the sort key: the event's start, then its URL."""
        event = scored.lead
        return (event.starts_at or event.dated_at, event.url)

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why an event can't be announced, or return "" if it can."""
        event = scored.lead
        if event.starts_at is None:
            return "it's an event without its own date"
        # An all-day event is a date, stored as noon UTC.
        past = event.starts_at.date() < now.date() if event.all_day else event.starts_at < now
        if past:
            return f"it's a past event ({month_day(event.starts_at)})"
        if event.starts_at > now + LOOKAHEAD:
            return f"it's an event more than {LOOKAHEAD.days} days away ({month_day(event.starts_at)})"
        return ""

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry with the event's time, place, and deadline, and a short summary."""
        event = placed.scored.lead
        about = (event.place or "", _write_open_deadline(event, context), shorten_text(event.summary, SUMMARY_WORDS))
        when = _write_event_date(event, load_deadline_zone(event.event_zone) or context.zone, context.language)
        return replace(make_minimal_entry(event), when=when, details=tuple(filter(None, about)))


def _write_event_date(event: CandidateArticle, zone: tzinfo, language: SubscriberLanguage) -> EntryDate:
    """Return an event's date, such as "Thursday, December 3, 1 p.m. ET, to December 5".

    It's in the event's own time zone, if known. An all-day event is a date, stored as noon UTC, so
    converting it to local time could change the day.
    """
    has_hour = event.starts_at is not None and not event.all_day
    start, end = event.starts_at or event.dated_at, event.ends_at if event.starts_at else None
    if not event.all_day:
        start, end = start.astimezone(zone), end and end.astimezone(zone)
    day = start.date()
    last_day = _later_day(end, day)
    parts = [
        language.weekday_month_day(day),
        language.hour_in_zone(start) if has_hour else "",
        language.gettext("to %(last_day)s", last_day=language.month_day(last_day)) if last_day else "",
    ]
    return EntryDate(
        kind="event",
        day=day,
        text=join_date_parts(parts, language),
        label=language.gettext("Event"),
        moment=event.starts_at if has_hour else None,
        end=event.ends_at if has_hour else None,
        last_day=last_day,
    )


def _write_open_deadline(event: CandidateArticle, context: EntryContext) -> str:
    """Return an event's deadline, if it's still ahead, such as "Comments due: Monday, November 30".

    Return "" if the event has no deadline, or if it has passed.
    """
    if event.deadline is None or (context.release_at and event.deadline.is_past(context.release_at)):
        return ""
    due = build_deadline(event.deadline, context.language)
    return f"{context.language.pgettext('a label before what it says', '%(label)s:', label=due.label)} {due.text}"


def _later_day(end: datetime | None, day: date) -> date | None:
    return end.date() if end and end.date() > day else None
