"""From the articles of a window to a stored draft: choose, try the pages, fetch the pictures, arrange, render, store.

No network and no rendering happens inside a write transaction. Drafting the same slot again replaces the
draft; an edition that is approved or further is left alone.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.collect.fetched import Getter
from digest.collect.recheck import recheck
from digest.collect.urls import untracked
from digest.db import Audit, Database, Edition, EditionState, Fragment, Story
from digest.edition import gathering
from digest.edition.approval import fingerprint
from digest.edition.arranging import Issue, arrange
from digest.edition.content import Content
from digest.edition.disarm import disarmed
from digest.edition.editions import OPEN, closed_before, coming, next_number, slot_of
from digest.edition.pictures import cut_pictures
from digest.edition.rendering import environment_of, frame_of, render, subject
from digest.edition.windows import Window, edition_name, window
from digest.select.choosing import choose
from digest.select.values import Candidate, Choice, Previous, Scored
from digest.settings import Settings

LOOKS = 3  # at the pages of leads, in one draft: of the first choice, and of those who took the places


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
    """What is decided before anything is chosen. `replaces` is the id of the draft that it is drafted over."""

    replaces: int | None
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
    choice = _choose(database, getter, settings, plan, now)
    pictures, warnings = cut_pictures(database, getter, settings, choice, now=now)
    frame, templates = frame_of(settings), environment_of(settings)
    content = disarmed(arrange(choice, plan.issue, settings.file, pictures))  # stored as it will be read
    content = replace(content, subject=subject(content, frame, templates))
    pieces = render(content, frame, templates)
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


def _choose(database: Database, getter: Getter, settings: Settings, plan: _Plan, now: datetime) -> Choice:
    """Choose, look whether the pages of what leads still stand, and choose again without those that are gone.

    Pages that an earlier draft found gone are asked first: they may be back.
    """

    def asked(candidates: tuple[Candidate, ...], pages: Iterable[Candidate]) -> tuple[Candidate, ...]:
        links = {c.url: untracked(c.link) for c in pages}
        stands = recheck(database, getter, links, workers=settings.file.limits.fetch_workers, now=now)
        return tuple(replace(c, withdrawn=not stands.get(c.url, not c.withdrawn)) for c in candidates)

    gone = [c for c in plan.candidates if c.withdrawn]
    candidates = asked(plan.candidates, gone)
    choice = _chosen(candidates, settings, plan, now)
    seen = {c.url for c in gone}
    for _ in range(LOOKS):
        fresh = [c for c in choice.leads if c.url not in seen]
        seen |= {c.url for c in fresh}
        before, candidates = candidates, asked(candidates, fresh)
        if candidates == before:
            break
        choice = _chosen(candidates, settings, plan, now)
    return choice


def _chosen(candidates: tuple[Candidate, ...], settings: Settings, plan: _Plan, now: datetime) -> Choice:
    return choose(
        candidates,
        select=settings.file.select,
        sections=settings.file.sections,
        # "Closed" and "past" are meant on the day when readers get it, by their calendar.
        now=max(now, plan.issue.release_at).astimezone(settings.file.publication.zone),
        previous=plan.previous,
    )


def _plan(session: Session, settings: Settings, now: datetime) -> _Plan:
    publication = settings.file.publication
    release_at, here = coming(session, settings.file.schedule.release_rule, publication.zone, now)
    if here is not None and here.state not in OPEN:
        raise DraftError(_why_not(here, publication.zone))
    spanned = window(now, closed_before(session, release_at))
    return _Plan(
        replaces=here.id if here else None,
        issue=Issue(
            _name(session, here, release_at, publication.zone),
            here.number if here else next_number(session, publication.first_number),
            release_at,
        ),
        window=spanned,
        candidates=gathering.candidates(session, spanned, release_at),
        previous=gathering.previous(session, spanned, release_at, settings.file.select.repeat_editions),
    )


def _why_not(here: Edition, zone: ZoneInfo) -> str:
    due = f"{here.release_at.astimezone(zone):%A, %B %d, %H:%M %Z}"
    if here.state == EditionState.APPROVED:
        return (
            f"{here.name} is approved already, for {due}. To change it, take its approval back first "
            f"('digest approve {here.name} --void'), then draft again."
        )
    return f"{here.name} is {here.state}, and its release is {due}: the next edition is drafted after that."


def _name(session: Session, here: Edition | None, release_at: datetime, zone: ZoneInfo) -> str:
    """Name the edition of a release; one that is drafted again keeps its name, unless it moves to another week."""
    if here is not None and here.release_at == release_at:
        return here.name
    others = select(Edition.name).where(Edition.id != here.id) if here else select(Edition.name)
    return edition_name(release_at, zone, set(session.scalars(others)))


def _store(session: Session, plan: _Plan, choice: Choice, content: Content, now: datetime) -> Edition:
    slot = slot_of(plan.issue.release_at)
    here = select(Edition).where((Edition.slot == slot) | (Edition.id == plan.replaces)).with_for_update()
    edition = session.scalar(here.order_by(Edition.slot != slot).limit(1))
    if edition is None:
        edition = Edition(number=plan.issue.number)
        session.add(edition)
    elif edition.state not in OPEN:  # approved while we were choosing: the editor's word stands
        raise DraftError(f"{edition.name} was approved while this draft was made: nothing was changed.")
    edition.slot, edition.name = slot, plan.issue.name
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
