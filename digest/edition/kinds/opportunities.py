"""Opportunities: grants, calls and tenders that are open, the soonest deadline first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_

from digest.edition.calendar.windows import EditionWindow
from digest.edition.content.edition_content import SectionEntry
from digest.edition.kinds.section_kind import (
    SectionKind,
    displayed_date,
    plain_entry,
    summary_note,
    with_summary,
    write_deadline,
)
from digest.select.section_filler import NEWS_SECTION, SectionFiller
from digest.select.values import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.phrases import month_day
from subscribers.reader_language import ReaderLanguage

LOOKBACK = timedelta(days=60)  # an older announcement is not offered any more
SUMMARY_WORDS = 22
# What readers may hand in; news of a fix that is due, or of a payment, calls nobody.
CALL_LABELS = frozenset(
    (
        "applications",
        "proposals",
        "nominations",
        "bids",
        "quotes",
        "offers",
        "comments",
        "entries",
        "abstracts",
        "papers",
    )
)


class OpportunitySection(SectionKind):
    """What was announced of late and is not closed; without a deadline it comes last."""

    name = source_section = "opportunities"
    has_own_date = True
    order_rule = "the soonest deadline stands first"

    def candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Take what was announced in the last weeks, whether an edition had it before or not."""
        del release_at
        return and_(Article.dated_at <= window.cut_off, Article.dated_at > window.cut_off - LOOKBACK)

    def is_offered(self, scored: ScoredStory) -> bool:
        """Look also at official and own news that calls for something by a day and stands in no other section."""
        call = scored.story.lead
        is_call = call.deadline is not None and call.deadline.label in CALL_LABELS
        return super().is_offered(scored) or (call.section == NEWS_SECTION and (call.primary or call.own) and is_call)

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins and the soonest to close, in order of deadline."""
        filler.take_in_order(section, sorted(pool, key=self.order_key))
        filler.sections[section.key].sort(key=self.order_key)

    def order_key(self, scored: ScoredStory) -> tuple[Any, ...]:
        """Order by deadline."""
        return _deadline_order(scored)

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why an opportunity is none to announce; empty when it may be."""
        deadline = scored.story.lead.deadline
        return f"it closed on {month_day(deadline.day)}" if deadline and deadline.is_past(now) else ""

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage) -> SectionEntry:
        """Write an opportunity with its deadline."""
        call = placed.scored.story.lead
        return replace(
            with_summary(plain_entry(call), placed.scored.story, SUMMARY_WORDS),
            date=displayed_date(call, zone, language),
            when=write_deadline(call.deadline, language) if call.deadline else None,
        )

    def secondary_lines(self, entry: SectionEntry, language: ReaderLanguage) -> tuple[str, ...]:
        """Return the summary and whose it is; the source where there is neither."""
        lines = tuple(line for line in (entry.summary, summary_note(entry, language)) if line)
        return lines or super().secondary_lines(entry, language)


def _deadline_order(scored: ScoredStory) -> tuple[tuple[date, time], datetime, str]:
    call = scored.story.lead
    return (call.deadline.order if call.deadline else (date.max, time.max), call.dated_at, call.url)
