"""Events: what is ahead, the soonest first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, func

from digest.collect.deadlines import load_deadline_zone
from digest.collect.text_cleanup import shorten_text
from digest.edition.content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, plain_entry
from digest.edition.windows import EditionWindow
from digest.select.section_filler import SectionFiller
from digest.select.values import CandidateArticle, PlacedStory, ScoredStory
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.phrases import clock_hour, month_day, weekday_date, zone_name_at

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

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
        """Write an event under its day, with place and hour."""
        event = placed.scored.story.lead
        start = event.starts_at or event.dated_at
        # An all-day event is a date, kept as noon UTC: turning it into a local time could move it a day.
        day = start.date() if event.all_day else start.astimezone(_zone_of_event(event, zone)).date()
        return replace(
            plain_entry(event),
            date=weekday_date(day),
            month=f"{day:%b}",
            day=str(day.day),
            details=tuple(
                d
                for d in (
                    _place_and_time(event, _zone_of_event(event, zone)),
                    shorten_text(event.summary, SUMMARY_WORDS),
                )
                if d
            ),
        )


def _event_order(scored: ScoredStory) -> tuple[datetime, str]:
    event = scored.story.lead
    return (event.starts_at or event.dated_at, event.url)


def _zone_of_event(event: CandidateArticle, zone: ZoneInfo) -> tzinfo:
    """Return the zone in which an event's hours are written: its own where its source names it."""
    return load_deadline_zone(event.event_zone) or zone


def _place_and_time(event: CandidateArticle, zone: tzinfo) -> str:
    """Write "Arlington, Va., 9 a.m. ET, to December 10", as far as it is known."""
    parts = [event.place or ""]
    if event.starts_at and not event.all_day:
        start = event.starts_at.astimezone(zone)
        parts.append(f"{clock_hour(start)} {zone_name_at(start)}")
    if event.starts_at and event.ends_at:
        first, last = (
            m.date() if event.all_day else m.astimezone(zone).date() for m in (event.starts_at, event.ends_at)
        )
        parts.append(f"to {month_day(last)}" if last > first else "")
    return ", ".join(part for part in parts if part)
