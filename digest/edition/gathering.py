"""What an edition is chosen from, read from the database: candidates, and what editions before it held."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.db import Article, Edition, Source, Story
from digest.edition.editions import gone_before
from digest.edition.windows import Window
from digest.select.leaving import WITHDRAWN
from digest.select.values import Candidate, Previous

EVENTS_AHEAD = timedelta(days=90)
OPPORTUNITIES_BACK = timedelta(days=60)
RELATED_BACK = timedelta(days=120)
RELATED_MOST = 2000  # earlier articles looked at for "related", the newest


def candidates(session: Session, spanned: Window, release_at: datetime) -> tuple[Candidate, ...]:
    """Gather the articles of a window, and the events and opportunities that may be announced at a release."""
    listed = select(Article, Source).join(Source)
    news = listed.where(
        Source.section.in_(("news", "products")),
        Article.dated_at > spanned.late_from,
        Article.dated_at <= spanned.cut_off,
    )
    events = listed.where(
        Source.section == "events",
        Article.starts_at > release_at,
        Article.starts_at <= release_at + EVENTS_AHEAD,
    )
    chances = listed.where(
        Source.section == "opportunities",
        Article.dated_at <= spanned.cut_off,
        Article.dated_at > spanned.cut_off - OPPORTUNITIES_BACK,
    )
    before = _looked_at(session, spanned, release_at)
    found = (
        *(
            row
            for row in session.execute(news)
            if spanned.holds(row[0].dated_at, looked_at=row[0].url in before)
        ),
        *session.execute(events),
        *session.execute(chances),
    )
    return _in_order(candidate(article, source) for article, source in found)


def _looked_at(session: Session, spanned: Window, release_at: datetime) -> set[str]:
    """Give the addresses of all that earlier editions had before them, chosen or left out; not what was gone then.

    What was looked at is what stands in their stories: no row number and no clock tells it as surely, since on
    PostgreSQL a lower number may appear after a higher one, and a date may be corrected after the cut-off.
    """
    near = gone_before(release_at).where(Edition.cut_off > spanned.late_from).with_only_columns(Edition.id)
    stories = session.scalars(
        select(Story.members).where(Story.edition_id.in_(near), Story.reason != WITHDRAWN)
    )
    return {url for members in stories for url in members}


def _in_order(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Order candidates by what they say, never by when their rows were made."""
    return tuple(sorted(candidates, key=lambda c: (c.url, c.source, c.dated_at, c.title, c.link)))


def candidate(article: Article, source: Source) -> Candidate:
    """See an article as selection does."""
    may_picture = source.images in {"own", "licensed"}
    return Candidate(
        url=article.url,
        link=article.link,
        title=article.title,
        summary=article.summary,
        source=source.name,
        publisher=source.publisher,
        dated_at=article.dated_at,
        dated=not article.date_basis.startswith("first seen"),
        section=source.section,
        weight=source.weight,
        primary=source.primary,
        own=source.own,
        categories=tuple(article.categories),
        topics=tuple(sorted(source.topics.items())),
        author=article.author,
        credit=article.credit,
        image=article.image_url if may_picture else None,
        image_alt=article.image_alt,
        starts_at=article.starts_at,
        ends_at=article.ends_at,
        all_day=article.all_day,
        place=article.place,
        closes_on=article.closes_on,
        featured=article.featured,
        views=article.views if source.own else None,
        withdrawn=article.withdrawn_at is not None,
    )


def previous(session: Session, spanned: Window, release_at: datetime, editions: int) -> Previous:
    """Gather what the last `editions` editions held, and the earlier articles that may be offered as related."""
    recent = gone_before(release_at).order_by(Edition.release_at.desc()).limit(editions)
    used: list[tuple[str, str, str]] = []
    for edition in session.scalars(recent):
        stories = select(Story).where(Story.edition_id == edition.id, Story.section.is_not(None))
        used += [(edition.name, url, s.title) for s in session.scalars(stories) for url in s.members]
    earlier = (
        select(Article, Source)
        .join(Source)
        .where(
            Article.withdrawn_at.is_(None),
            Source.section == "news",
            Article.dated_at <= spanned.late_from,
            Article.dated_at > spanned.opens - RELATED_BACK,
        )
        .order_by(Article.dated_at.desc(), Article.url, Source.name)
        .limit(RELATED_MOST)
    )
    return Previous(
        used=tuple(sorted(used)),
        articles=_in_order(candidate(a, s) for a, s in session.execute(earlier)),
    )
