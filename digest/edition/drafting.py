"""From the articles of a window to a stored draft: read, choose, fetch the pictures, arrange, render, store.

No network and no rendering happens inside a write transaction. Drafting the same slot again replaces the
draft; an edition that is approved or further is left alone.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.collect.fetched import Getter
from digest.db import Article, Audit, Database, Edition, EditionState, Fragment, Source, Story
from digest.edition.approval import fingerprint
from digest.edition.arranging import Issue, arrange
from digest.edition.content import Content
from digest.edition.disarm import disarmed
from digest.edition.editions import OPEN, closed_before, gone_before, next_number, slot_of
from digest.edition.pictures import cut_pictures
from digest.edition.rendering import environment_of, frame_of, render
from digest.edition.windows import Window, edition_name, window
from digest.select.choosing import choose
from digest.select.values import Candidate, Choice, Previous, Scored
from digest.settings import Settings

EVENTS_AHEAD = timedelta(days=90)
OPPORTUNITIES_BACK = timedelta(days=60)
RELATED_BACK = timedelta(days=120)
RELATED_MOST = 2000  # earlier articles looked at for "related", the newest


class DraftError(Exception):
    """No draft can be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A draft as it was stored, and the choice behind it."""

    name: str
    number: int
    state: EditionState
    held_because: str
    release_at: datetime
    window: Window
    choice: Choice
    articles: int  # how many were considered
    warnings: tuple[str, ...] = ()  # pictures that could not be had


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is decided before anything is chosen."""

    issue: Issue
    window: Window
    candidates: tuple[Candidate, ...]
    previous: Previous


def draft(database: Database, getter: Getter, settings: Settings, *, now: datetime, actor: str) -> Drafted:
    """Draft the edition of the next release slot after `now`, replacing an unapproved draft of that slot.

    Raises:
        DraftError: the slot's edition is approved or further.
    """
    with database.read() as session:
        plan = _plan(session, settings, now)
    file = settings.file
    choice = choose(
        plan.candidates,
        select=file.select,
        sections=file.sections,
        # "Closed" and "past" are meant on the day when readers get it, by their calendar.
        now=max(now, plan.issue.release_at).astimezone(file.publication.zone),
        previous=plan.previous,
    )
    pictures, warnings = cut_pictures(database, getter, settings, choice, now=now)
    content = disarmed(arrange(choice, plan.issue, file, pictures))  # stored as it will be read
    pieces = render(content, frame_of(settings), environment_of(settings))
    with database.write() as session:
        edition = _store(session, plan, choice, content, now)
        _replace_stories(session, edition, choice)
        replace_fragments(session, edition, ((p.kind, p.name, p.body) for p in pieces))
        session.add(
            Audit(
                at=now,
                actor=actor,
                act="draft",
                subject=edition.name,
                detail={"articles": len(plan.candidates)},
            )
        )
        return Drafted(
            name=edition.name,
            number=edition.number,
            state=edition.state,
            held_because=edition.held_because,
            release_at=edition.release_at,
            window=plan.window,
            choice=choice,
            articles=len(plan.candidates),
            warnings=warnings,
        )


def _plan(session: Session, settings: Settings, now: datetime) -> _Plan:
    publication = settings.file.publication
    release_at = settings.file.schedule.release_rule.after(now, publication.zone)
    here = session.scalar(select(Edition).where(Edition.slot == slot_of(release_at)))
    if here is not None and here.state not in OPEN:
        raise DraftError(
            f"{here.name} is {here.state} already. To change it, take its approval back first "
            f"('digest approve {here.name} --void'), then draft again."
        )
    spanned = window(now, closed_before(session, release_at))
    taken = set(session.scalars(select(Edition.name)))
    number = here.number if here else next_number(session, publication.first_number)
    return _Plan(
        issue=Issue(
            here.name if here else edition_name(release_at, publication.zone, taken), number, release_at
        ),
        window=spanned,
        candidates=_candidates(session, spanned, release_at),
        previous=_previous(session, spanned, release_at, settings.file.select.repeat_editions),
    )


def _candidates(session: Session, spanned: Window, release_at: datetime) -> tuple[Candidate, ...]:
    live = select(Article, Source).join(Source).where(Article.withdrawn_at.is_(None))
    news = live.where(
        Source.section.in_(("news", "products")),
        Article.dated_at > spanned.late_from,
        Article.dated_at <= spanned.cut_off,
    )
    events = live.where(
        Source.section == "events",
        Article.starts_at > release_at,
        Article.starts_at <= release_at + EVENTS_AHEAD,
    )
    chances = live.where(
        Source.section == "opportunities",
        Article.dated_at <= spanned.cut_off,
        Article.dated_at > spanned.cut_off - OPPORTUNITIES_BACK,
    )
    before = _looked_at(session, spanned, release_at)
    found = [
        *(
            row
            for row in session.execute(news)
            if spanned.holds(row[0].dated_at, looked_at=row[0].url in before)
        ),
        *session.execute(events),
        *session.execute(chances),
    ]
    return _in_order(candidate(article, source) for article, source in found)


def _looked_at(session: Session, spanned: Window, release_at: datetime) -> set[str]:
    """Give the addresses of all that earlier editions had before them, chosen or left out.

    What was looked at is what stands in their stories: no row number and no clock tells it as surely, since on
    PostgreSQL a lower number may appear after a higher one, and a date may be corrected after the cut-off.
    """
    near = gone_before(release_at).where(Edition.cut_off > spanned.late_from).with_only_columns(Edition.id)
    stories = session.scalars(select(Story.members).where(Story.edition_id.in_(near)))
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
    )


def _previous(session: Session, spanned: Window, release_at: datetime, editions: int) -> Previous:
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


def _store(session: Session, plan: _Plan, choice: Choice, content: Content, now: datetime) -> Edition:
    here = select(Edition).where(Edition.slot == slot_of(plan.issue.release_at)).with_for_update()
    edition = session.scalar(here)
    if edition is None:
        edition = Edition(slot=slot_of(plan.issue.release_at), name=plan.issue.name, number=plan.issue.number)
        session.add(edition)
    elif edition.state not in OPEN:  # approved while we were choosing: the editor's word stands
        raise DraftError(f"{edition.name} was approved while this draft was made: nothing was changed.")
    edition.state = EditionState.HELD if choice.held_because else EditionState.DRAFT
    edition.held_because = choice.held_because
    edition.opens_at, edition.cut_off = plan.window.opens, plan.window.cut_off
    edition.release_at = plan.issue.release_at
    edition.subject, edition.preheader = content.subject, content.preheader
    edition.content = content.as_json()
    edition.drafted_at = now
    session.flush()
    return edition


def _replace_stories(session: Session, edition: Edition, choice: Choice) -> None:
    session.execute(delete(Story).where(Story.edition_id == edition.id))
    for section, placed in choice.sections.items():
        for position, p in enumerate(placed):
            session.add(_story(edition, p.scored, section=section, position=position))
    for position, out in enumerate(choice.left_out):
        session.add(_story(edition, out.scored, section=None, position=position, reason=out.reason))


def _story(
    edition: Edition, scored: Scored, *, section: str | None, position: int, reason: str = ""
) -> Story:
    return Story(
        edition_id=edition.id,
        section=section,
        position=position,
        title=scored.story.lead.title,
        url=scored.story.lead.url,
        score=scored.score,
        terms=[asdict(t) for t in scored.terms],
        reason=reason,
        members=[c.url for c in scored.story.members],
    )


def replace_fragments(session: Session, edition: Edition, pieces: Iterable[tuple[str, str, str]]) -> None:
    """Store an edition's rendered pieces, given as (kind, name, body) in order, in place of those it had."""
    session.execute(delete(Fragment).where(Fragment.edition_id == edition.id))
    for position, (kind, name, body) in enumerate(pieces):
        session.add(
            Fragment(
                edition_id=edition.id,
                kind=kind,
                name=name,
                position=position,
                body=body,
                hash=fingerprint(body),
            )
        )
