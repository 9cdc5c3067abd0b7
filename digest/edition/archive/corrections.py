"""Corrections of sent editions: the story, the field, its old and new text, and the notice about it.

Approved versions never change. A correction is stored separately and shown with its edition: the
old text is struck through, and the correction is dated and signed. The next edition has a notice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.edition.approval.approved_versions import find_valid_approval
from digest.edition.content.corrected_content import correct_entry
from digest.edition.content.edition_content import BlockWithAuthors, EditionContent, LabeledBlock, SectionEntry
from digest.edition.content.edition_names import format_issue
from digest.edition.edition_queries import IS_REGULAR, OUTGOING_STATES
from digest.store.correction_models import Correction
from digest.store.models import Edition
from subscribers.store.keyed_row_seals import filter_genuine_rows, is_genuine_row
from subscribers.subscriber_language import SubscriberLanguage

CorrectedField = Literal["headline", "summary"]
CORRECTED_FIELDS: tuple[CorrectedField, ...] = get_args(CorrectedField)
CORRECTION_BLOCK_PREFIX = "correction-"  # prefix of the IDs of correction blocks


@dataclass(frozen=True, slots=True)
class CorrectableStory:
    """A story of a sent edition: its headline as sent, and its current texts with all corrections."""

    url: str
    section: str
    section_title: str
    headline_sent: str
    headline: str
    summary: str

    def text_of(self, field: CorrectedField) -> str:
        """Return the current text of a field."""
        return self.headline if field == "headline" else self.summary


def list_corrections(session: Session, edition: Edition) -> tuple[Correction, ...]:
    """Return the corrections of an edition, oldest first."""
    query = select(Correction).where(Correction.edition_id == edition.id).order_by(Correction.seq)
    return tuple(session.scalars(query))


def list_genuine_corrections(session: Session, edition: Edition) -> tuple[Correction, ...]:
    """Return an edition's corrections that have valid row seals, oldest first.

    Public pages show only these.
    """
    return tuple(filter_genuine_rows(session, list_corrections(session, edition)))


def list_corrections_by_edition(
    session: Session, names: Collection[str] | None = None
) -> dict[str, tuple[Correction, ...]]:
    """Return the genuine corrections of all editions, or of those in `names`, by edition name.

    Editions without corrections are omitted.
    """
    query = select(Edition.name, Correction).join(Correction, Correction.edition_id == Edition.id)
    if names is not None:
        query = query.where(Edition.name.in_(names))
    by_name: dict[str, tuple[Correction, ...]] = {}
    for name, correction in session.execute(query.order_by(Correction.edition_id, Correction.seq)):
        by_name[name] = (*by_name.get(name, ()), *filter_genuine_rows(session, [correction]))
    return by_name


def next_correction_number(session: Session, edition: Edition) -> int:
    """Return the number of an edition's next correction, counting from 1."""
    last = select(func.max(Correction.seq)).where(Correction.edition_id == edition.id)
    return (session.scalar(last) or 0) + 1


def read_sent_content(session: Session, edition: Edition) -> EditionContent:
    """Return the content of a sent edition's valid version, or else of its draft."""
    valid_approval = find_valid_approval(session, edition)
    return EditionContent.from_json(valid_approval.content if valid_approval else edition.content)


def list_correctable_stories(
    content: EditionContent, corrections: Sequence[Correction]
) -> tuple[CorrectableStory, ...]:
    """Return the stories of an edition in order, with their current texts.

    Stories without a URL are omitted, because corrections refer to stories by URL.
    """
    return tuple(
        _correctable_story(section.key, section.title, entry, corrections)
        for section in content.sections
        for entry in section.entries
        if entry.url
    )


def _correctable_story(
    key: str, title: str, entry: SectionEntry, corrections: Sequence[Correction]
) -> CorrectableStory:
    now = correct_entry(entry, corrections)
    return CorrectableStory(entry.url, key, title, entry.headline, now.headline, now.summary)


def find_sent_text(session: Session, correction: Correction) -> str:
    """Return a corrected text as it was sent: the old text in its first genuine correction."""
    corrected = [getattr(Correction, name) == getattr(correction, name) for name in _CORRECTED_TEXT]
    corrections = session.scalars(select(Correction).where(*corrected).order_by(Correction.seq))
    return next((each.was for each in corrections if is_genuine_row(session, each)), correction.was)


_CORRECTED_TEXT = ("edition_id", "url", "section", "field")  # these columns identify corrections of the same text


def format_correction_byline(correction: Correction, zone: ZoneInfo, language: SubscriberLanguage) -> str:
    """Return the date and name to show under a correction: "November 23, 2026, Dana Reyes"."""
    day = language.full_date(correction.at.astimezone(zone))
    return language.pgettext("the date and the name under a text", "%(day)s, %(name)s", day=day, name=correction.signed)


def load_correction_blocks(
    session: Session, release_at: datetime, base_url: str, zone: ZoneInfo, language: SubscriberLanguage
) -> tuple[BlockWithAuthors, ...]:
    """Return the blocks that announce the corrections made since the previous send time."""
    before = select(func.max(Edition.release_at)).where(
        IS_REGULAR, Edition.state.in_(OUTGOING_STATES), Edition.release_at < release_at
    )
    query = (
        select(Correction, Edition)
        .join(Edition, Edition.id == Correction.edition_id)
        .where(Correction.is_carried, Correction.at < release_at, Edition.release_at < release_at)
        .order_by(Correction.id)
    )
    last = session.scalar(before)
    if last is not None:
        query = query.where(Correction.at >= last)
    day = release_at.astimezone(zone).date()
    return tuple(
        BlockWithAuthors(
            make_correction_block(session, row.Correction, row.Edition, base_url, day, language),
            (row.Correction.actor,),
        )
        for row in session.execute(query)
        if is_genuine_row(session, row.Correction)
    )


def make_correction_block(
    session: Session, correction: Correction, edition: Edition, base_url: str, day: date, language: SubscriberLanguage
) -> LabeledBlock:
    """Return the block that announces a correction to `edition` in the edition released on `day`.

    The block quotes the text as sent, never another editor's correction, so its only author is the
    correction's author.
    """
    sent = find_sent_text(session, correction)
    return LabeledBlock(
        id=f"{CORRECTION_BLOCK_PREFIX}{correction.id}",
        kind="correction",
        headline=language.gettext(
            "In %(issue)s we wrote: “%(was)s”", issue=format_issue(edition.number, language), was=sent
        ),
        text=language.gettext(
            "It should have read: “%(becomes)s” %(note)s", becomes=correction.becomes, note=correction.note
        ),
        url=f"{base_url}/editions/{edition.name}",
        first_day=day,
        last_day=day,
    )
