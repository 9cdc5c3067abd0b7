"""Events: what is ahead, the soonest first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, func

from digest.collect.documents.deadlines import load_deadline_zone
from digest.collect.texts.text_cleanup import shorten_text
from digest.edition.calendar.windows import EditionWindow
from digest.edition.content.edition_content import EntryDate, SectionEntry
from digest.edition.kinds.section_kind import SectionKind, join_date_parts, plain_entry
from digest.select.section_filler import SectionFiller
from digest.select.values import CandidateArticle, PlacedStory, ScoredStory
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.phrases import month_day
from subscribers.reader_language import ReaderLanguage

LOOKAHEAD = timedelta(days=90)
SUMMARY_WORDS = 16


class EventSection(SectionKind):
    """Events from the release on, as far as can be planned."""

    name = source_section = "events"
    has_own_date = True
    order_rule = "the soonest stands first"

    def candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Take what begins after the release, whenever it was announced."""
        del window
        starts_at = func.coalesce(Article.starts_at, Article.announced_at)
        return and_(starts_at > release_at, starts_at <= release_at + LOOKAHEAD)

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins and the soonest, in order of date."""
        filler.take_in_order(section, sorted(pool, key=self.order_key))
        filler.sections[section.key].sort(key=self.order_key)

    def order_key(self, scored: ScoredStory) -> tuple[Any, ...]:
        """Order by date."""
        return _event_order(scored)

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why an event is none to announce; empty when it may be."""
        event = scored.story.lead
        if event.starts_at is None:
            return "it is an event without a date of its own"
        # An all-day event is a date, kept as noon UTC.
        past = event.starts_at.date() < now.date() if event.all_day else event.starts_at < now
        if past:
            return f"it is an event of the past ({month_day(event.starts_at)})"
        if event.starts_at > now + LOOKAHEAD:
            return f"it is an event more than {LOOKAHEAD.days} days away ({month_day(event.starts_at)})"
        return ""

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage) -> SectionEntry:
        """Write an event with its day and hour, its place, and what its source says of it."""
        event = placed.scored.story.lead
        about = (event.place or "", shorten_text(event.summary, SUMMARY_WORDS))
        when = _write_event_date(event, load_deadline_zone(event.event_zone) or zone, language)
        return replace(plain_entry(event), when=when, details=tuple(text for text in about if text))


def _event_order(scored: ScoredStory) -> tuple[datetime, str]:
    event = scored.story.lead
    return (event.starts_at or event.dated_at, event.url)


def _write_event_date(event: CandidateArticle, zone: tzinfo, language: ReaderLanguage) -> EntryDate:
    """Write "Thursday, December 3, 1 p.m. ET, to December 5" in the zone that the event names, as far as it is known.

    An all-day event is a date, kept as noon UTC: turning it into a local time could move it a day.
    """
    start, timed = event.starts_at or event.dated_at, not event.all_day
    day = start.astimezone(zone).date() if timed else start.date()
    last_day = day
    if event.starts_at and event.ends_at:
        last_day = event.ends_at.astimezone(zone).date() if timed else event.ends_at.date()
    has_hour = timed and event.starts_at is not None
    parts = [
        language.weekday_month_day(day),
        language.hour_in_zone(start.astimezone(zone)) if has_hour else "",
        language.gettext("to %(last_day)s", last_day=language.month_day(last_day)) if last_day > day else "",
    ]
    return EntryDate(
        kind="event",
        day=day,
        text=join_date_parts(parts, language),
        label=language.gettext("Event"),
        moment=event.starts_at if has_hour else None,
        end=event.ends_at if has_hour else None,
        last_day=last_day if last_day > day else None,
    )
