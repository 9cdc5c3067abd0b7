"""Writing an edition's content from its arrangement.

The functions are pure, so equal arrangements result in equal editions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from digest.collect.documents.parsed_document import SummaryBasis
from digest.collect.texts.urls import strip_tracking
from digest.edition.content import edition_content as content
from digest.edition.content.edition_content import EntryDate
from digest.edition.content.stated_dates import find_implied_deadlines, find_stated_deadlines
from digest.edition.editing.arrangement import ArrangedStory, Arrangement
from digest.edition.editing.edits import NO_DEADLINE, EditionField, StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.most_read import find_max_own_views, make_reading_order_key
from digest.edition.kinds.opportunities import build_deadline
from digest.edition.kinds.section_kind import SectionKind
from digest.edition.kinds.story_entry import EntryContext
from digest.edition.rendering.mail_layout import find_next_deadline, list_headlines
from digest.edition.rendering.preheader_and_reading_time import compose_preheader, count_reading_minutes
from digest.select.selection_types import SummaryOrigin
from digest.select.story_similarity import MAX_RELATED
from digest.settings import SectionSettings, SettingsFileContent
from digest.store.models import BREAKING_NEWS_NUMBER, Edition
from subscribers.subscriber_language import SubscriberLanguage

BREAKING_NEWS_SPAN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class EditionIdentity:
    """An edition's name, number, send time, and the start of its week."""

    name: str
    number: int
    release_at: datetime  # UTC
    opens_at: datetime | None = None  # the start of its week in UTC, or None for breaking news

    @classmethod
    def of_edition(cls, edition: Edition) -> "EditionIdentity":
        """Return the identity stored in an edition's row."""
        opens_at = None if edition.is_breaking_news else edition.opens_at
        return cls(edition.name, edition.number, edition.release_at, opens_at)

    @property
    def is_breaking_news(self) -> bool:
        """True if the edition is an extra one with breaking news."""
        return self.number == BREAKING_NEWS_NUMBER

    @property
    def news_from(self) -> datetime | None:
        """The time before which an article counts as older news.

        It's the start of the week, or a day before the release of breaking news.
        """
        return self.release_at - BREAKING_NEWS_SPAN if self.is_breaking_news else self.opens_at


def build_content(
    arrangement: Arrangement, identity: EditionIdentity, file: SettingsFileContent, language: SubscriberLanguage
) -> content.EditionContent:
    """Return the content for an arrangement, without empty sections and with editors' texts unchanged.

    Args:
        arrangement: the places of stories, and the editors' texts.
        identity: the name, number, and send time.
        file: the settings with the publication's texts and its sections.
        language: the language of text for subscribers.
    """
    zone = file.publication.zone
    release_at = identity.release_at.astimezone(zone)
    context = EntryContext(zone, language, arrangement.pictures, release_at, identity.news_from)
    sections = []
    for section in file.sections:
        if entries := tuple(_write_entries(arrangement, section, context)):
            note = SECTION_KINDS[section.kind].format_section_note(section, release_at, language)
            labels = (section.key, section.kind, section.title_in(language))
            sections.append(content.EditionSection(*labels, note, entries))
    sections = [_rank_section(section, sections, arrangement) for section in sections]
    headlines = [entry.headline for _, entry in list_headlines(sections)]
    subject = content.truncate_text(headlines[0], content.MAX_SUBJECT_LENGTH) if headlines else file.publication.name
    deadline = find_next_deadline(sections)
    preheader = compose_preheader(headlines[1:], deadline.when if deadline else None, language)
    written = arrangement.texts
    # The default intro is meant for regular editions.
    usual_intro, usual_editor = (
        ("", "") if identity.is_breaking_news else (file.publication.intro, file.publication.editor)
    )
    intro = written.get(EditionField.INTRO, usual_intro)
    return content.EditionContent(
        name=identity.name,
        number=identity.number,
        subject=written.get(EditionField.SUBJECT, subject),
        preheader=written.get(EditionField.PREHEADER, preheader),
        date=language.weekday_date(release_at),
        minutes=count_reading_minutes(intro, sections, arrangement.blocks),
        intro=intro,
        editor=written.get(EditionField.EDITOR, usual_editor),
        sections=tuple(sections),
        blocks=arrangement.blocks,
        released_on=release_at.date(),
    )


def _rank_section(
    section: content.EditionSection, sections: Sequence[content.EditionSection], arrangement: Arrangement
) -> content.EditionSection:
    """Return a ranking that includes lines for stories in other sections that were read more than its last story."""
    if SECTION_KINDS[section.kind].style != "ranking":
        return section
    ranked = [
        (make_reading_order_key(story.original), other, entry)
        for other in sections
        for story, entry in zip(arrangement.sections.get(other.key, ()), other.entries, strict=True)
        if find_max_own_views(story.original.story)
    ]
    ranked.sort(key=lambda place: place[0])
    places = [(rank, other, entry) for rank, (_, other, entry) in enumerate(ranked, 1)]
    last = max((rank for rank, other, _ in places if other is section), default=0)
    lines = (
        content.RankedLine(rank, entry.headline, entry.url, other.title)
        for rank, other, entry in places
        if other is not section and rank < last
    )
    return replace(section, ranked_elsewhere=tuple(lines))


def _write_entries(
    arrangement: Arrangement, section: SectionSettings, context: EntryContext
) -> Iterator[content.SectionEntry]:
    stories = arrangement.sections.get(section.key, ())
    placed = tuple(story.placed for story in stories)
    entries = SECTION_KINDS[section.kind].build_entries(placed, context)
    for entry, story in zip(entries, stories, strict=True):
        written = _write_over(_list_supporting(entry, story), story, SECTION_KINDS[section.kind])
        yield replace(written, due=_choose_due(written, story, context))


def _list_supporting(entry: content.SectionEntry, story: ArrangedStory) -> content.SectionEntry:
    """Return an entry with its supporting stories placed before the related articles."""
    if not story.supporting:
        return entry
    under = []
    for supporting in story.supporting:
        lead = supporting.original.lead
        headline = supporting.texts.get(StoryField.HEADLINE, lead.title)
        under.append(content.EditionLink(headline, strip_tracking(lead.link), lead.publisher))
    links = {link.url: link for link in (*under, *entry.related)}
    related = list(links.values())[: max(MAX_RELATED, len(under))]
    return replace(entry, related=tuple(related))


def _write_over(entry: content.SectionEntry, story: ArrangedStory, kind: SectionKind) -> content.SectionEntry:
    """Return an entry with the editors' texts in place of the originals.

    The reason for its place is used only where it's shown.
    """
    texts = story.texts
    is_summary_written = StoryField.SUMMARY in texts
    return replace(
        entry,
        headline=texts.get(StoryField.HEADLINE, entry.headline),
        summary=texts.get(StoryField.SUMMARY, entry.summary),
        summary_origin=SummaryOrigin(SummaryBasis.EDITOR) if is_summary_written else entry.summary_origin,
        kicker=texts.get(StoryField.KICKER, entry.kicker),
        note=story.note,
        why=texts.get(StoryField.WHY, entry.why) if kind.shows_reasons else "",
        why_is_written=kind.shows_reasons and StoryField.WHY in texts,
    )


def _choose_due(entry: content.SectionEntry, story: ArrangedStory, context: EntryContext) -> EntryDate | None:
    """Return the deadline to announce, or None.

    It's an editor's choice, or else the soonest among an event's own and those in an entry's texts.
    A deadline given only as a weekday is announced only if an editor chose it.
    """
    if context.release_at is None:
        return None
    lead = story.placed.scored.lead
    stated = find_stated_deadlines(entry, lead, context.release_at)
    implied = find_implied_deadlines(entry, lead, context.release_at)
    chosen_day = story.texts.get(StoryField.DUE, "")
    by_day = {deadline.day.isoformat(): deadline for deadline in (*implied, *stated)}
    soonest = None if chosen_day == NO_DEADLINE else next(iter(stated), None)
    due = by_day.get(chosen_day, soonest)
    return build_deadline(due, context.language) if due else None
