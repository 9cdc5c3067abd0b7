"""Web editions: the page of a sent edition, and its social card.

The page has links to the editions before and after it, and shows corrections.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.articles.email_images import PreparedImage, draw_social_card, find_image, load_image, store_image
from digest.collect.imaging.encoded_image import FocusPoint, ImageError, SocialCardTexts
from digest.edition.archive import corrections, verified_editions
from digest.edition.content import corrected_content
from digest.edition.content.edition_content import EditionContent, EditionImage
from digest.edition.content.edition_names import format_issue_heading
from digest.edition.edition_queries import (
    IS_REGULAR,
    PUBLIC_STATES,
    UpcomingEdition,
    find_edition,
    find_upcoming_edition,
)
from digest.edition.rendering.corrected_copy import DisplayedCorrection, insert_fragment_corrections
from digest.edition.rendering.mail_layout import arrange_email
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.models import Edition
from subscribers.loggers import get_logger

log = get_logger("digest.web_editions")


@dataclass(frozen=True, slots=True)
class EditionListItem:
    """An edition as listed in the archive and on the pages of its neighbors."""

    name: str
    number: int
    subject: str
    preheader: str
    release_at: datetime
    corrected_at: datetime | None = None  # the time of the latest correction, which subject and preheader include

    @property
    def changed_at(self) -> datetime:
        """The last time the edition's content changed."""
        return self.corrected_at or self.release_at


@dataclass(frozen=True, slots=True)
class EditionPage:
    """The content of a public edition's page.

    `pieces` are the web edition's fragments, with corrections. `card` is the hash of the social
    card's image, or empty. `upcoming` is set only on the page of the newest edition.
    """

    line: EditionListItem
    content: EditionContent
    pieces: Mapping[str, str]
    corrections: tuple[Correction, ...]
    sent_at: datetime
    card: str
    previous: EditionListItem | None
    following: EditionListItem | None
    upcoming: UpcomingEdition | None

    @property
    def changed_at(self) -> datetime:
        """The last time the edition's content changed."""
        return max([self.sent_at, *(correction.at for correction in self.corrections)])


@dataclass(frozen=True, slots=True)
class SocialCardRequest:
    """The content of a social card: its texts, and the lead story's image, if any.

    Equal requests have the same card.
    """

    words: SocialCardTexts
    picture: EditionImage | None

    @property
    def picture_hash(self) -> str:
        """The hash of the image, or empty if there's none."""
        return self.picture.hash if self.picture else ""

    @property
    def focus(self) -> FocusPoint | None:
        """The focus point of the image, if an editor chose one."""
        return self.picture.focus if self.picture else None

    @property
    def storage_key(self) -> str:
        """The key under which the card is stored."""
        words = self.words
        # Colors aren't included, so existing cards remain when a publication changes its colors.
        card_values: list[Any] = [words.name, words.issue, words.headline, words.deadline, self.picture_hash]
        if self.focus:
            card_values.append(self.focus)
        return f"card:{hashlib.sha256(json.dumps(card_values).encode()).hexdigest()}"


LIST_ITEM_COLUMNS = (Edition.id, Edition.name, Edition.number, Edition.release_at)


def read_edition_list_items(session: Session, rows: Sequence[Any]) -> list[EditionListItem]:
    """Return list items for rows of `LIST_ITEM_COLUMNS`.

    Editions that fail verification are left out.
    """
    return [make_edition_list_item(version) for version in verified_editions.find_verified_versions(session, rows)]


def make_edition_list_item(version: verified_editions.VerifiedVersion) -> EditionListItem:
    """Return the list item of an edition, with the texts that were approved."""
    edition, stated = version.edition, version.stated
    return EditionListItem(edition.name, edition.number, stated["subject"], stated["preheader"], edition.release_at)


def correct_edition_list_item(line: EditionListItem, made: Sequence[Correction]) -> EditionListItem:
    """Return the list item of an edition with its corrections applied."""
    return replace(
        line,
        subject=corrected_content.correct_line(line.subject, made),
        preheader=corrected_content.correct_line(line.preheader, made),
        corrected_at=corrected_content.find_correction_time(made),
    )


def read_edition_page(installation: Installation, name: str, *, now: datetime) -> EditionPage | None:
    """Return the page of an edition, or None if the edition isn't public or fails verification."""
    settings = installation.settings
    with installation.read() as session:
        public = select(Edition).where(Edition.state.in_(PUBLIC_STATES))
        edition = session.scalar(public.where(Edition.name == name))
        if edition is None:
            return None
        edition_corrections = corrections.list_genuine_corrections(session, edition)
        versions = verified_editions.find_verified_versions(session, [edition])
        pieces = verified_editions.read_verified_fragments(session, versions, "page").get(edition.id)
        approved = verified_editions.read_verified_contents(session, versions).get(edition.id)
        if pieces is None or approved is None:
            return None
        stated, content = versions[0].stated, corrected_content.correct_content(approved, edition_corrections)
        previous, following = _find_neighbor(session, edition, later=False), _find_neighbor(session, edition)
        page = EditionPage(
            line=correct_edition_list_item(make_edition_list_item(versions[0]), edition_corrections),
            content=content,
            pieces={piece.name: piece.body for piece in pieces},
            corrections=edition_corrections,
            sent_at=edition.sent_at or edition.release_at,
            card=_find_card(session, build_card_request(content, stated["list"][0], settings)),
            previous=previous,
            following=following,
            upcoming=None if following else _find_upcoming(session, edition, settings, now),
        )
    return _with_corrections(page, settings)


def _with_corrections(page: EditionPage, settings: Settings) -> EditionPage:
    shown_corrections, language = list_shown_corrections(page.corrections, settings), settings.subscriber_language
    pieces = {
        name: insert_fragment_corrections(html, shown_corrections, language, with_notes=name != "contents")
        if name != "top"
        else html
        for name, html in page.pieces.items()
    }
    return replace(page, pieces=pieces)


def list_shown_corrections(all_corrections: Iterable[Correction], settings: Settings) -> list[DisplayedCorrection]:
    """Return corrections in the form in which subscribers see them."""
    zone, language = settings.zone, settings.subscriber_language
    shown_corrections = []
    for each in all_corrections:
        signed = corrections.format_correction_byline(each, zone, language)
        shown_corrections.append(DisplayedCorrection(each.headline, each.was, each.becomes, each.note, signed))
    return shown_corrections


def _find_neighbor(session: Session, edition: Edition, *, later: bool = True) -> EditionListItem | None:
    """Return the next sent edition after this one or, if `later` is false, the previous one."""
    query = select(*LIST_ITEM_COLUMNS).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES))
    if later:
        query = query.where(Edition.release_at > edition.release_at).order_by(Edition.release_at)
    else:
        query = query.where(Edition.release_at < edition.release_at).order_by(Edition.release_at.desc())
    lines = read_edition_list_items(session, session.execute(query.limit(1)).all())
    return lines[0] if lines else None


def _find_upcoming(session: Session, edition: Edition, settings: Settings, now: datetime) -> UpcomingEdition | None:
    upcoming = find_upcoming_edition(session, settings, now)
    return upcoming if upcoming.release_at > edition.release_at else None


def _find_card(session: Session, request: SocialCardRequest) -> str:
    """Return the hash of an edition's social card, or an empty string if it has none."""
    card = find_image(session, request.storage_key)
    return card.hash if card else ""


def store_social_card(installation: Installation, name: str, *, now: datetime) -> None:
    """Draw and store the social card of an approved edition.

    If the card can't be drawn, the page simply has none.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    settings = installation.settings
    with installation.read() as session:
        edition = find_edition(session, name)
        edition_corrections = corrections.list_genuine_corrections(session, edition)
        content = corrected_content.correct_content(EditionContent.from_json(edition.content), edition_corrections)
        request = build_card_request(content, settings.file.publication.name, settings)
        if find_image(session, request.storage_key):
            return
        picture = load_image(session, request.picture_hash)
        body = picture.body if picture else b""
    try:
        card = _draw_card(body, request.words, request.focus)
    except ImageError as exc:
        log.warning("couldn't make a card", edition=name, reason=str(exc))
        return
    with installation.write() as session:
        store_image(session, replace(card, source_url=request.storage_key), now)


@lru_cache(maxsize=4)
def _draw_card(picture: bytes, words: SocialCardTexts, focus: FocusPoint | None) -> PreparedImage:
    return draw_social_card("", picture, words, focus)


def build_card_request(content: EditionContent, publication_name: str, settings: Settings) -> SocialCardRequest:
    """Return the content of an edition's social card."""
    layout = arrange_email(content)
    lead, deadline, language = layout.lead, layout.next_deadline, settings.subscriber_language
    day = language.full_date(content.released_on)
    issue = format_issue_heading(content.number, language)
    due = language.without_weekday(deadline.when.text, deadline.when.day) if deadline else ""
    words = SocialCardTexts(
        name=publication_name,
        issue=_with_plain_spaces(f"{issue} · {day}"),
        headline=lead.entry.headline if lead else content.subject,
        deadline=_with_plain_spaces(f"{language.gettext('Next deadline:')} {due}") if deadline else "",
        is_right_to_left=settings.file.publication.direction == "rtl",
        label=settings.file.branding.label,
    )
    return SocialCardRequest(words, lead.entry.picture if lead else None)


def _with_plain_spaces(text: str) -> str:
    """Return text with ordinary single spaces only, because not every font has nonbreaking ones."""
    return " ".join(text.split())
