"""From the articles of a window to a stored draft: propose, check pages, fetch pictures, write, render, store.

No network and no rendering happens inside a write transaction. Drafting the same slot again replaces the
draft; an edition that is approved or further is left alone.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.collect.fetch.result import ContentFetcher
from digest.collect.page_check import check_pages
from digest.collect.urls import strip_tracking
from digest.edition import candidates as gathering
from digest.edition import queries
from digest.edition.approval import hash_fragment_body
from digest.edition.content import EditionContent
from digest.edition.content_builder import EditionIdentity, build_content
from digest.edition.kinds import SECTION_KINDS
from digest.edition.pictures import prepare_pictures
from digest.edition.rendering.fragments import (
    create_mail_environment,
    publication_frame,
    render_edition,
    render_subject,
)
from digest.edition.rendering.sanitiser import sanitise_content
from digest.edition.windows import EditionWindow, name_edition, next_window
from digest.select.proposals import propose_edition
from digest.select.values import CandidateArticle, PreviousEditions, Proposal
from digest.settings import Settings
from digest.store.engine import Database
from digest.store.models import Edition, EditionState, EditionStory, Fragment
from subscribers.errors import ApplicationError

MAX_RECHECK_ROUNDS = 3  # at the pages of leads, in one draft: of the first proposal, and of those that took the places


class DraftError(ApplicationError):
    """No draft can be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DraftResult:
    """A draft as it was stored, and the proposal behind it."""

    name: str
    number: int
    state: EditionState
    incomplete_reason: str
    release_at: datetime
    window: EditionWindow
    proposal: Proposal
    article_count: int  # how many were considered
    warnings: tuple[str, ...] = ()  # pictures that could not be had


@dataclass(frozen=True, slots=True)
class _DraftPlan:
    """What is decided before anything is selected; `replaced_id` is the id of the draft that is replaced."""

    replaced_id: int | None
    identity: EditionIdentity
    window: EditionWindow
    candidates: tuple[CandidateArticle, ...]
    previous: PreviousEditions


@dataclass(frozen=True, slots=True)
class PreparedDraft:
    """A draft that is rendered and not stored yet. `fragments` are (kind, name, body), in order."""

    plan: _DraftPlan
    proposal: Proposal
    content: EditionContent
    fragments: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]


def prepare_draft(database: Database, fetcher: ContentFetcher, settings: Settings, *, now: datetime) -> PreparedDraft:
    """Choose, arrange and render the edition of the next release slot after `now`.

    Raises:
        DraftError: the slot's edition is approved or further.
    """
    with database.read() as session:
        plan = _plan_draft(session, settings, now)
    proposal = _propose_with_rechecks(database, fetcher, settings, plan, now)
    pictures, warnings = prepare_pictures(database, fetcher, settings, proposal, now=now)
    frame, templates = publication_frame(settings), create_mail_environment(settings)
    # Sanitised before it is stored, so that what is stored is what is read.
    content = sanitise_content(build_content(proposal, plan.identity, settings.file, pictures))
    content = replace(content, subject=render_subject(content, frame, templates))
    fragments = tuple((f.kind, f.name, f.body) for f in render_edition(content, frame, templates))
    return PreparedDraft(plan, proposal, content, fragments, warnings)


def store_draft(session: Session, draft: PreparedDraft, *, now: datetime) -> DraftResult:
    """Store a prepared draft, replacing an unapproved draft of its slot.

    Raises:
        DraftError: the slot's edition was approved meanwhile.
    """
    edition = _store_edition(session, draft.plan, draft.proposal, draft.content, now)
    _replace_stories(session, edition, draft.proposal)
    replace_fragments(session, edition, draft.fragments)
    return DraftResult(
        name=edition.name,
        number=edition.number,
        state=edition.state,
        incomplete_reason=edition.held_because,
        release_at=edition.release_at,
        window=draft.plan.window,
        proposal=draft.proposal,
        article_count=len(draft.plan.candidates),
        warnings=draft.warnings,
    )


def _propose_with_rechecks(
    database: Database, fetcher: ContentFetcher, settings: Settings, plan: _DraftPlan, now: datetime
) -> Proposal:
    """Propose, check the pages of the leads, and propose again without those that are gone.

    Pages that an earlier draft found gone are checked first: they may be back.
    """

    def recheck(
        candidates: tuple[CandidateArticle, ...], pages: Iterable[CandidateArticle]
    ) -> tuple[CandidateArticle, ...]:
        links = {c.url: strip_tracking(c.link) for c in pages}
        standing = check_pages(database, fetcher, links, workers=settings.file.limits.fetch_workers, now=now)
        return tuple(replace(c, withdrawn=not standing.get(c.url, not c.withdrawn)) for c in candidates)

    withdrawn = [c for c in plan.candidates if c.withdrawn]
    candidates = recheck(plan.candidates, withdrawn)
    proposal = _propose_edition(candidates, settings, plan, now)
    seen = {c.url for c in withdrawn}
    for _ in range(MAX_RECHECK_ROUNDS):
        fresh = [c for c in proposal.lead_articles if c.url not in seen]
        seen |= {c.url for c in fresh}
        before, candidates = candidates, recheck(candidates, fresh)
        if candidates == before:
            break
        proposal = _propose_edition(candidates, settings, plan, now)
    return proposal


def _propose_edition(
    candidates: tuple[CandidateArticle, ...], settings: Settings, plan: _DraftPlan, now: datetime
) -> Proposal:
    return propose_edition(
        candidates,
        select=settings.file.select,
        sections=settings.file.sections,
        kinds=SECTION_KINDS,
        # "Closed" and "past" are meant on the day when readers get it, by their calendar.
        now=max(now, plan.identity.release_at).astimezone(settings.file.publication.zone),
        previous=plan.previous,
    )


def _plan_draft(session: Session, settings: Settings, now: datetime) -> _DraftPlan:
    publication = settings.file.publication
    release_at, existing = queries.find_next_release(
        session, settings.file.schedule.release_rule, publication.zone, now
    )
    if existing is not None and existing.state not in queries.UNAPPROVED_STATES:
        raise DraftError(_explain_refusal(existing, publication.zone))
    window = next_window(now, queries.last_cut_off_before(session, release_at))
    return _DraftPlan(
        replaced_id=existing.id if existing else None,
        identity=EditionIdentity(
            _name_for_release(session, existing, release_at, publication.zone),
            existing.number if existing else queries.next_edition_number(session, publication.first_number),
            release_at,
        ),
        window=window,
        candidates=gathering.load_candidates(session, window, release_at),
        previous=gathering.load_previous_editions(session, window, release_at, settings.file.select.repeat_editions),
    )


def _explain_refusal(existing: Edition, zone: ZoneInfo) -> str:
    due = f"{existing.release_at.astimezone(zone):%A, %B %d, %H:%M %Z}"
    if existing.state == EditionState.APPROVED:
        return (
            f"{existing.name} is approved already, for {due}. To change it, take its approval back first "
            f"('digest approve {existing.name} --void'), then draft again."
        )
    return f"{existing.name} is {existing.state}, and its release is {due}: the next edition is drafted after that."


def _name_for_release(session: Session, existing: Edition | None, release_at: datetime, zone: ZoneInfo) -> str:
    """Name the edition of a release; one that is drafted again keeps its name, unless it moves to another week."""
    if existing is not None and existing.release_at == release_at:
        return existing.name
    others = select(Edition.name).where(Edition.id != existing.id) if existing else select(Edition.name)
    return name_edition(release_at, zone, set(session.scalars(others)))


def _store_edition(
    session: Session, plan: _DraftPlan, proposal: Proposal, content: EditionContent, now: datetime
) -> Edition:
    slot = queries.release_slot(plan.identity.release_at)
    here = select(Edition).where((Edition.slot == slot) | (Edition.id == plan.replaced_id)).with_for_update()
    edition = session.scalar(here.order_by(Edition.slot != slot).limit(1))
    if edition is None:
        edition = Edition(number=plan.identity.number)
        session.add(edition)
    elif edition.state not in queries.UNAPPROVED_STATES:  # approved while this draft was made: the approval stands
        raise DraftError(f"{edition.name} was approved while this draft was made: nothing was changed.")
    edition.slot, edition.name = slot, plan.identity.name
    edition.state = EditionState.INCOMPLETE if proposal.incomplete_reason else EditionState.DRAFT
    edition.held_because = proposal.incomplete_reason
    edition.opens_at, edition.cut_off = plan.window.opens_at, plan.window.cut_off
    edition.release_at = plan.identity.release_at
    edition.subject, edition.preheader = content.subject, content.preheader
    edition.content = content.as_json()
    edition.drafted_at = now
    session.flush()
    return edition


def _replace_stories(session: Session, edition: Edition, proposal: Proposal) -> None:
    session.execute(delete(EditionStory).where(EditionStory.edition_id == edition.id))
    places = [(p.scored, key, n, "") for key, placed in proposal.sections.items() for n, p in enumerate(placed)]
    left_out = [(out.scored, None, n, out.reason) for n, out in enumerate(proposal.left_out)]
    for scored, section, position, reason in (*places, *left_out):
        session.add(
            EditionStory(
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
        )


def replace_fragments(session: Session, edition: Edition, fragments: Iterable[tuple[str, str, str]]) -> None:
    """Store an edition's rendered pieces, given as (kind, name, body) in order, in place of those it had."""
    session.execute(delete(Fragment).where(Fragment.edition_id == edition.id))
    for position, (kind, name, body) in enumerate(fragments):
        session.add(
            Fragment(
                edition_id=edition.id, kind=kind, name=name, position=position, body=body, hash=hash_fragment_body(body)
            )
        )
