"""Opportunities: open grants, calls, and tenders, soonest deadline first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement

from digest.collect.documents.deadlines import Deadline, load_deadline_zone
from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.content.edition_content import EntryDate, SectionEntry
from digest.edition.kinds.section_kind import SectionKind, register_section_kind
from digest.edition.kinds.story_entry import EntryContext, build_brief_entry, format_summary_credit, join_date_parts
from digest.select.section_filler import SectionFiller
from digest.select.selection_types import PlacedStory, ScoredStory
from digest.settings import NEWS_SECTION, SectionSettings
from digest.store.models import Article
from subscribers.english_text import month_day
from subscribers.subscriber_language import SubscriberLanguage, mark_message

LOOKBACK = timedelta(days=60)  # older announcements are no longer offered
SUMMARY_WORDS = 22
# Number of deadlines for fixing flaws that may displace calls with later deadlines. Several come every week.
MAX_FIXES = 2
_DEADLINE_LABELS = (
    mark_message("Applications due"),
    mark_message("Registration due"),
    mark_message("Proposals due"),
    mark_message("Nominations due"),
    mark_message("Bids due"),
    mark_message("Quotes due"),
    mark_message("Offers due"),
    mark_message("Comments due"),
    mark_message("Entries due"),
    mark_message("Abstracts due"),
    mark_message("Papers due"),
    mark_message("Submissions due"),
    mark_message("Responses due"),
    mark_message("Fixes due"),
)
_FIXES = "fixes"
_NO_CALLS = frozenset({"registration", "submissions", "responses", _FIXES})  # deadlines of these kinds aren't calls
_LABELS_BY_WORD = {label.split()[0].lower(): label for label in _DEADLINE_LABELS}
CALL_LABELS = _LABELS_BY_WORD.keys() - _NO_CALLS  # readers may submit something


@register_section_kind
class OpportunitySection(SectionKind):
    """Recent announcements that are still open. Those without a deadline come last."""

    name = "opportunities"
    pick_order = 7
    contents = mark_message("Grants, bids, and calls for comments")
    style = "dates"
    has_own_date = True
    order_rule = "the soonest deadline comes first"

    def build_candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Return the condition for announcements in the 60 days before the cutoff.

        Announcements may be shown again.
        """
        del release_at
        return (Article.dated_at <= window.cut_off) & (Article.dated_at > window.cut_off - LOOKBACK)

    def is_offered(self, scored: ScoredStory) -> bool:
        """Return True if a story is from this kind's sources, or is a call in official or own news."""
        call = scored.lead
        if super().is_offered(scored):
            return True
        is_call = call.deadline is not None and call.deadline.label in CALL_LABELS
        return is_call and call.section == NEWS_SECTION and (call.primary or call.own)

    def fill(self, filler: SectionFiller, section: SectionSettings, pool: Sequence[ScoredStory]) -> None:
        """Take the stories with the soonest deadlines.

        Deadlines for fixing flaws get more than two places only if places are left over.
        """
        ordered = sorted(pool, key=self.order_key)
        fixes = [scored for scored in ordered if _is_fix(scored)]
        later = {scored.url for scored in fixes[MAX_FIXES:]}
        filler.take_in_order(section, sorted(ordered, key=lambda scored: scored.url in later))
        filler.sections[section.key].sort(key=self.order_key)

    def order_key(self, scored: ScoredStory) -> tuple[Any, ...]:
        """Return the sort key: the deadline (none last), then the date of the announcement, then the URL."""
        call = scored.lead
        order = call.deadline.order if call.deadline else (date.max, time.max)
        return (order, call.dated_at, call.url)

    def explain_unfit(self, scored: ScoredStory, now: datetime) -> str:
        """Explain why an opportunity can't be announced, or return "" if it can."""
        deadline = scored.lead.deadline
        return f"it closed on {month_day(deadline.day)}" if deadline and deadline.is_past(now) else ""

    def build_entry(self, placed: PlacedStory, context: EntryContext) -> SectionEntry:
        """Return an entry with a summary, and with the opportunity's deadline, if it has one."""
        call = placed.scored.lead
        when = build_deadline(call.deadline, context.language) if call.deadline else None
        return replace(build_brief_entry(placed, SUMMARY_WORDS), date=context.format_day(call), when=when)

    def secondary_lines(self, entry: SectionEntry, language: SubscriberLanguage) -> tuple[str, ...]:
        """Return the summary and its publisher if it's a different one, or else the source."""
        lines = tuple(filter(None, (entry.summary, format_summary_credit(entry, language))))
        return lines or super().secondary_lines(entry, language)


def _is_fix(scored: ScoredStory) -> bool:
    deadline = scored.lead.deadline
    return deadline is not None and deadline.label == _FIXES


def build_deadline(deadline: Deadline, language: SubscriberLanguage) -> EntryDate:
    """Return a deadline with its label, such as "Applications due" and "Friday, December 4, 5 p.m.

    ET".
    """
    label = language.translate_text(_LABELS_BY_WORD.get(deadline.label, mark_message("Deadline")))
    parts = [language.weekday_month_day(deadline.day)]
    if deadline.clock is not None:
        parts.append(_write_hour(deadline, deadline.clock, language))
    return EntryDate("deadline", deadline.day, join_date_parts(parts, language), label, deadline.moment)


def _write_hour(deadline: Deadline, clock: time, language: SubscriberLanguage) -> str:
    zone = load_deadline_zone(deadline.zone)
    if zone is not None:
        return language.hour_in_zone(datetime.combine(deadline.day, clock, zone))
    return language.gettext("%(hour)s (zone not stated)", hour=language.clock_hour(clock))
