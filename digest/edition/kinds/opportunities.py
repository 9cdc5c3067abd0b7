"""Opportunities: grants, calls and tenders that are open, the soonest deadline first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_

from digest.collect.text_cleanup import shorten_text
from digest.edition.content import SectionEntry
from digest.edition.kinds.section_kind import SectionKind, displayed_date, plain_entry
from digest.edition.windows import EditionWindow
from digest.select.section_filler import SectionFiller
from digest.select.values import PlacedStory, ScoredStory
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.phrases import month_day, short_month_day

LOOKBACK = timedelta(days=60)  # an older announcement is not offered any more
SUMMARY_WORDS = 22


class OpportunitySection(SectionKind):
    """What was announced of late and is not closed; without a deadline it comes last."""

    name = source_section = "opportunities"
    has_own_date = True

    def candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Take what was announced in the last weeks, whether an edition had it before or not."""
        del release_at
        return and_(Article.dated_at <= window.cut_off, Article.dated_at > window.cut_off - LOOKBACK)

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the pins and the soonest to close, in order of deadline."""
        filler.take_in_order(section, sorted(pool, key=_deadline_order))
        filler.sections[section.key].sort(key=_deadline_order)

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why an opportunity is none to announce; empty when it may be."""
        closes_on = scored.story.lead.closes_on
        return f"closed on {month_day(closes_on)}" if closes_on and closes_on < now.date() else ""

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
        """Write an opportunity with its deadline."""
        call = placed.scored.story.lead
        return replace(
            plain_entry(call),
            summary=shorten_text(call.summary, SUMMARY_WORDS),
            date=displayed_date(call, zone),
            closes=short_month_day(call.closes_on) if call.closes_on else "",
        )

    def secondary_lines(self, entry: SectionEntry) -> tuple[str, ...]:
        """Return the summary."""
        return (entry.summary,) if entry.summary else super().secondary_lines(entry)


def _deadline_order(scored: ScoredStory) -> tuple[bool, str, datetime, str]:
    call = scored.story.lead
    return (call.closes_on is None, call.closes_on.isoformat() if call.closes_on else "", call.dated_at, call.url)
