"""Editions from before this installation existed, stored so that repeats and continued stories can be found."""

from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from digest.collect.documents.past_edition import PastEditionPage
from digest.collect.texts.urls import site_name
from digest.edition.calendar.edition_windows import name_edition
from digest.select.selection_types import CandidateArticle
from digest.store.imported_edition_models import ImportedEdition, ImportedStory


def store_imported_edition(
    session: Session,
    page: PastEditionPage,
    address: str,
    released_at: datetime,
    *,
    zone: ZoneInfo,
    actor: str,
    now: datetime,
) -> bool:
    """Store a past edition. Return True if it replaced one imported from the same URL."""
    before = session.scalar(select(ImportedEdition).where(ImportedEdition.address == address))
    if before is not None:
        session.delete(before)
        session.flush()
    stories = (ImportedStory(**asdict(story)) for story in page.stories)
    session.add(
        ImportedEdition(
            address=address,
            name=name_edition(released_at, zone, ()),
            number=page.number,
            title=page.title,
            released_at=released_at,
            imported_at=now,
            imported_by=actor,
            stories=list(stories),
        )
    )
    session.flush()
    return before is not None


def load_imported_editions(session: Session, before: datetime, count: int) -> list[ImportedEdition]:
    """Return the last `count` imported editions released before a time, with their stories, newest first."""
    earlier = select(ImportedEdition).where(ImportedEdition.released_at < before)
    newest = earlier.order_by(ImportedEdition.released_at.desc(), ImportedEdition.id.desc())
    return list(session.scalars(newest.options(selectinload(ImportedEdition.stories)).limit(count)))


def convert_imported_story(story: ImportedStory, released_at: datetime) -> CandidateArticle:
    """Return an imported story as a candidate article.

    Its site stands in for the source and publisher.
    """
    site = site_name(story.url)
    return CandidateArticle(story.url, story.url, story.headline, story.summary, site, site, released_at)
