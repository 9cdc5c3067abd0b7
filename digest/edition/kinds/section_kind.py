"""What a section kind adds to its picker: the articles it may take, and how its entries are written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_

from digest.collect.documents.deadlines import Deadline, load_deadline_zone
from digest.collect.texts.text_cleanup import shorten_text
from digest.collect.texts.urls import strip_tracking
from digest.edition.calendar.windows import EditionWindow
from digest.edition.content.edition_content import EntryDate, PictureCuts, SectionEntry
from digest.edition.kinds.continued_story import write_earlier_appearance
from digest.select.section_filler import SectionPicker
from digest.select.summary_choice import choose_summary
from digest.select.values import CandidateArticle, PlacedStory, Story
from digest.settings import SectionSettings
from digest.store.models import Article
from subscribers.reader_language import ReaderLanguage, mark_message


class SectionKind(SectionPicker):
    """One kind of section. Stateless: one instance serves every section of its kind."""

    leads_edition: ClassVar[bool] = False  # its first entry is the edition's lead, which an edition must have
    shows_pictures: ClassVar[bool] = False
    is_placed_by_hand: ClassVar[bool] = True  # editors put stories into it, and order them

    def candidate_condition(self, window: EditionWindow, release_at: datetime) -> ColumnElement[bool]:
        """Return the condition on articles of its sources; of a window, with those that may have come too late."""
        del release_at
        return and_(Article.dated_at > window.late_from, Article.dated_at <= window.cut_off)

    def section_note(self, section: SectionSettings, release_at: datetime, language: ReaderLanguage) -> str:
        """Return the line beside the section's title; `release_at` is in the publication's zone."""
        del release_at
        return language.translate_text(section.note)

    def write_entries(
        self,
        placed: tuple[PlacedStory, ...],
        zone: ZoneInfo,
        language: ReaderLanguage,
        pictures: Mapping[str, PictureCuts],
    ) -> tuple[SectionEntry, ...]:
        """Write the section's entries in order; `pictures` are by a candidate's `image`."""
        del pictures
        return tuple(self.write_entry(story, zone, language) for story in placed)

    def write_entry(self, placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage) -> SectionEntry:
        """Write one entry: by default a headline with its topic, source and date."""
        lead = placed.scored.story.lead
        return replace(
            plain_entry(lead),
            kicker=displayed_topic(placed.scored.topic, language),
            credit=displayed_credit(lead),
            date=displayed_date(lead, zone, language),
            since=write_earlier_appearance(placed, zone, language),
        )

    def secondary_lines(self, entry: SectionEntry, language: ReaderLanguage) -> tuple[str, ...]:
        """Return the quiet lines under an entry's headline: by default its details, else its source."""
        return entry.details or source_lines(entry, entry.source, language)


def plain_entry(article: CandidateArticle) -> SectionEntry:
    """Return an entry with what every kind shows: headline, link and source."""
    return SectionEntry(headline=article.title, url=strip_tracking(article.link), source=article.publisher)


def with_summary(entry: SectionEntry, story: Story, max_words: int) -> SectionEntry:
    """Give an entry the summary of its story in so many words, and say whose words it is."""
    chosen = choose_summary(story)
    return replace(entry, summary=shorten_text(chosen.text, max_words), summary_origin=chosen.origin)


def source_lines(entry: SectionEntry, source: str, language: ReaderLanguage) -> tuple[str, ...]:
    """Write where an entry was read, and whose news it is where it is another's; no line where nothing is known."""
    credit = language.gettext("Source: %(credit)s", credit=entry.credit) if entry.has_other_credit else ""
    line = " · ".join(part for part in (source, credit) if part)
    return (line,) if line else ()


def summary_note(entry: SectionEntry, language: ReaderLanguage) -> str:
    """Write a word on the summary where it is another publisher's than the one that the entry links to."""
    lender = entry.summary_lender
    return language.gettext("Summary from %(publisher)s", publisher=lender) if lender else ""


def displayed_credit(article: CandidateArticle) -> str:
    """Return whose news an article is; empty where it is the publisher's own."""
    credit = article.credit or ""
    return "" if credit.casefold() == article.publisher.casefold() else credit


# Those of digest/topics.toml; a topic of the operator's own stands as they wrote it.
BUILT_IN_TOPICS = (
    mark_message("Cybersecurity"),
    mark_message("Border security"),
    mark_message("Immigration"),
    mark_message("Counterterrorism"),
    mark_message("Emergency management"),
    mark_message("Disaster response"),
    mark_message("Aviation security"),
    mark_message("Maritime security"),
    mark_message("Critical infrastructure"),
    mark_message("Law enforcement"),
    mark_message("Human trafficking"),
    mark_message("Public health"),
    mark_message("Fire service"),
    mark_message("Intelligence"),
    mark_message("Counter-drone"),
    mark_message("Emergency communications"),
    mark_message("Chemical, biological, radiological and nuclear"),
    mark_message("Homeland security policy"),
)


def displayed_topic(topic: str | None, language: ReaderLanguage) -> str:
    """Return a story's topic as readers see it; empty where it has none."""
    return language.translate_text(topic or "")


_DEADLINE_LABELS = {
    "applications": mark_message("Applications due"),
    "registration": mark_message("Registration due"),
    "proposals": mark_message("Proposals due"),
    "nominations": mark_message("Nominations due"),
    "bids": mark_message("Bids due"),
    "quotes": mark_message("Quotes due"),
    "offers": mark_message("Offers due"),
    "comments": mark_message("Comments due"),
    "entries": mark_message("Entries due"),
    "abstracts": mark_message("Abstracts due"),
    "papers": mark_message("Papers due"),
    "submissions": mark_message("Submissions due"),
    "responses": mark_message("Responses due"),
    "fixes": mark_message("Fixes due"),
    "": mark_message("Deadline"),
}


def write_deadline(deadline: Deadline, language: ReaderLanguage) -> EntryDate:
    """Write a deadline in full: "Applications due", "Friday, December 4, 5 p.m. ET"."""
    label = language.translate_text(_DEADLINE_LABELS.get(deadline.label, _DEADLINE_LABELS[""]))
    text = language.weekday_month_day(deadline.day)
    if hour := _deadline_hour(deadline, language):
        text = join_date_parts((text, hour), language)
    return EntryDate("deadline", deadline.day, text, label, deadline.moment)


def _deadline_hour(deadline: Deadline, language: ReaderLanguage) -> str:
    if deadline.clock is None:
        return ""
    zone = load_deadline_zone(deadline.zone)
    if zone is not None:
        return language.hour_in_zone(datetime.combine(deadline.day, deadline.clock, zone))
    return language.gettext("%(hour)s (zone not stated)", hour=language.clock_hour(deadline.clock))


def join_date_parts(parts: Sequence[str], language: ReaderLanguage) -> str:
    """Join a day, an hour and a last day: "Thursday, December 3, 1 p.m. ET, to December 5"."""
    return language.pgettext("between a day, an hour and a last day", ", ").join(part for part in parts if part)


def displayed_date(article: CandidateArticle, zone: ZoneInfo, language: ReaderLanguage) -> str:
    """Return an article's day; empty where its date is only the moment of finding."""
    return language.short_month_day(article.dated_at.astimezone(zone)) if article.has_date else ""
