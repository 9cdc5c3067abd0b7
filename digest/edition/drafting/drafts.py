"""Drafting an edition from a window's articles: propose, check pages, fetch images, compose, and store.

Write transactions contain no network access or rendering. Drafting the same slot again replaces the
draft until an editor has changed it. From then on, the draft keeps its proposal and cutoff, and new
stories wait in the tray. Editions that are approved, being sent, or sent don't change.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Select, delete, insert, select
from sqlalchemy.orm import Session

from digest.collect.fetch.result import ContentFetcher
from digest.collect.texts.urls import site_name, strip_tracking
from digest.collect.visits.page_check import PageState, check_article_pages
from digest.edition import edition_queries
from digest.edition.approval.approved_versions import hash_fragment, supersede_outdated_approval
from digest.edition.archive.corrections import CORRECTION_BLOCK_PREFIX, load_correction_blocks
from digest.edition.calendar.calendar_store import load_calendar, name_planned_edition
from digest.edition.calendar.edition_windows import EditionWindow, find_next_window
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseCalendar
from digest.edition.content.edition_content import SPONSOR_BLOCK_ID, BlockWithAuthors, RenderedFragment
from digest.edition.content.slotted_text import pack_slots
from digest.edition.drafting import candidates as gathering
from digest.edition.drafting.composition import (
    ComposedEdition,
    compose_edition,
    replace_story_rows,
    save_edition_content,
)
from digest.edition.drafting.content_builder import EditionIdentity
from digest.edition.drafting.document_frequencies import freeze_document_frequencies, load_document_frequencies
from digest.edition.drafting.image_preparation import list_illustrated_articles, prepare_images
from digest.edition.editing.arrangement import arrange_edition
from digest.edition.editing.authorship import find_block_authors
from digest.edition.editing.edit_log import load_edits, load_proposal, store_proposal
from digest.edition.editing.edits import BLOCK_PREFIX, Edit, EditKind, find_topic_overrides, find_undone_edits
from digest.edition.editing.stored_proposal import (
    PackedProposal,
    ProposalWithLateStories,
    add_late_stories,
    pack_proposal,
)
from digest.edition.editing.story_board import StoryBoard
from digest.edition.kinds import SECTION_KINDS
from digest.select.advisories import find_advisory
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions, Proposal
from digest.select.word_rarity import DocumentFrequencies
from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.engine import Database
from digest.store.models import Edition, EditionEdit, EditionState, RenderedEditionFragment
from subscribers.errors import ApplicationError
from subscribers.store.keyed_row_seals import is_genuine_row
from subscribers.store.models import table_of

# Rounds of page checks per draft: the leads of the first proposal, then their replacements.
MAX_RECHECK_ROUNDS = 3


class DraftError(ApplicationError):
    """Raised when a draft can't be made. The message says why and what to do."""


class DraftEditedMeanwhileError(DraftError):
    """Raised when an editor changed the draft while a new one was being made.

    `renew_draft` brings the prepared draft up to date.
    """


@dataclass(frozen=True, slots=True)
class DraftResult:
    """A stored draft and the current proposal.

    If the draft was edited before, the proposal's new stories are in the tray.
    """

    name: str
    number: int
    state: EditionState
    incomplete_reason: str
    release_at: datetime
    window: EditionWindow
    proposal: Proposal
    article_count: int  # number of articles considered
    warnings: tuple[str, ...] = ()  # about images that couldn't be fetched


@dataclass(frozen=True, slots=True)
class _EditedDraft:
    """An edited draft: its edits, the proposal that they apply to, and its cutoff.

    The proposal and the cutoff are None if there's no genuine proposal.
    """

    edits: tuple[Edit, ...]
    proposal: ProposalWithLateStories | None
    cut_off: datetime | None


@dataclass(frozen=True, slots=True)
class _DraftPlan:
    """The decisions about a draft that are made before its stories are selected.

    `replaced_id` is the ID of the draft to replace or extend.
    """

    replaced_id: int | None
    identity: EditionIdentity
    window: EditionWindow
    candidates: tuple[CandidateArticle, ...]
    previous: PreviousEditions
    blocks: tuple[BlockWithAuthors, ...] = ()  # from earlier editions, but still running in this one
    edited: _EditedDraft | None = None
    words: DocumentFrequencies = field(default_factory=DocumentFrequencies)

    @property
    def last_seq(self) -> int:
        """The number of the last edit, or 0 if there are none."""
        return self.edited.edits[-1].seq if self.edited else 0


@dataclass(frozen=True, slots=True)
class PreparedDraft:
    """A rendered draft that isn't stored yet. `fresh` is the current proposal."""

    plan: _DraftPlan
    fresh: ProposalWithLateStories
    packed: PackedProposal
    composed: ComposedEdition
    warnings: tuple[str, ...]


def prepare_draft(database: Database, fetcher: ContentFetcher, settings: Settings, *, now: datetime) -> PreparedDraft:
    """Select, arrange, and render the edition for the next send time after `now`, without storing it.

    Raises:
        DraftError: the edition is approved, being sent, or sent.
    """
    with database.read() as session:
        plan = _plan_draft(session, settings, now)
    proposal = _propose_with_rechecks(database, fetcher, settings, plan, now)
    pictured = list_illustrated_articles(settings, proposal)
    pictures, warnings = prepare_images(database, fetcher, settings, pictured, now=now)
    blocks = tuple(block.block for block in plan.blocks)
    authors = {block.block.id: block.authors for block in plan.blocks}
    stored_proposal = ProposalWithLateStories(proposal, pictures=pictures, blocks=blocks, block_authors=authors)
    return _compose_draft(plan, stored_proposal, settings, warnings, now)


def renew_draft(database: Database, draft: PreparedDraft, settings: Settings, *, now: datetime) -> PreparedDraft:
    """Return a prepared draft that includes the changes that editors have made since it was prepared.

    Nothing is fetched or grouped again.
    """
    with database.read() as session:
        edited = _find_edited_draft(session, session.scalar(_select_replaced(draft.plan)))
    plan = replace(draft.plan, edited=edited)
    return _compose_draft(plan, draft.fresh, settings, draft.warnings, now)


def _compose_draft(
    plan: _DraftPlan, fresh: ProposalWithLateStories, settings: Settings, warnings: tuple[str, ...], now: datetime
) -> PreparedDraft:
    edited = plan.edited
    proposal = add_late_stories(edited.proposal, fresh.proposal, now) if edited and edited.proposal else fresh
    composed = compose_edition(proposal, edited.edits if edited else (), plan.identity, settings)
    return PreparedDraft(plan, fresh, pack_proposal(proposal), composed, warnings)


def store_draft(session: Session, draft: PreparedDraft, *, now: datetime) -> DraftResult:
    """Store a prepared draft, replacing any unedited draft in its slot.

    An edited draft only gets the new stories in its tray.

    Raises:
        DraftEditedMeanwhileError: the draft was edited in the meantime.
        DraftError: the edition was approved in the meantime.
    """
    edition = _store_edition(session, draft, now)
    freeze_document_frequencies(session, draft.plan.window, draft.plan.words)
    store_proposal(session, edition, draft.packed)
    replace_story_rows(session, edition, draft.composed.arrangement)
    replace_fragments(session, edition, draft.composed.fragments)
    supersede_outdated_approval(session, edition, now=now)
    return DraftResult(
        name=edition.name,
        number=edition.number,
        state=edition.state,
        incomplete_reason=edition.held_because,
        release_at=edition.release_at,
        window=draft.plan.window,
        proposal=draft.fresh.proposal,
        article_count=len(draft.plan.candidates),
        warnings=draft.warnings,
    )


def _propose_with_rechecks(
    database: Database, fetcher: ContentFetcher, settings: Settings, plan: _DraftPlan, now: datetime
) -> Proposal:
    """Propose an edition, check its leads' pages, and propose again without the leads whose pages are gone.

    Pages that an earlier draft found gone or superseded are checked first, because they may be
    available again.
    """

    def recheck(
        candidates: tuple[CandidateArticle, ...], pages: Iterable[CandidateArticle]
    ) -> tuple[CandidateArticle, ...]:
        checked = {c.url: c for c in pages}
        states = check_article_pages(
            database,
            fetcher,
            {url: strip_tracking(c.link) for url, c in checked.items()},
            advisories=[url for url, c in checked.items() if c.superseded or find_advisory(c)],
            workers=settings.file.limits.fetch_workers,
            now=now,
        )
        return tuple(_apply_page_state(candidate, states.get(candidate.url)) for candidate in candidates)

    doubtful = [c for c in plan.candidates if c.withdrawn or c.superseded]
    candidates = recheck(plan.candidates, doubtful)
    proposal = _propose_edition(candidates, settings, plan, now)
    checked_urls = {c.url for c in doubtful}
    for _ in range(MAX_RECHECK_ROUNDS):
        fresh = [c for c in proposal.lead_articles if c.url not in checked_urls]
        checked_urls |= {c.url for c in fresh}
        before, candidates = candidates, recheck(candidates, fresh)
        if candidates == before:
            break
        proposal = _propose_edition(candidates, settings, plan, now)
    return proposal


def _apply_page_state(candidate: CandidateArticle, state: PageState | None) -> CandidateArticle:
    if state is None:
        return candidate
    is_unnamed = candidate.aggregated and candidate.publisher == site_name(candidate.url)
    publisher = is_unnamed and state.publisher
    return replace(
        candidate,
        withdrawn=not state.exists,
        superseded=state.supersession,
        publisher=publisher or candidate.publisher,
    )


def _propose_edition(
    candidates: tuple[CandidateArticle, ...], settings: Settings, plan: _DraftPlan, now: datetime
) -> Proposal:
    edited, zone = plan.edited, settings.file.publication.zone
    release_day = plan.identity.release_at.astimezone(zone).date()
    return propose_edition(
        candidates,
        select=settings.file.select,
        sections=settings.file.sections,
        kinds=SECTION_KINDS,
        # Deadlines are compared with the send time, on days in the publication's time zone.
        now=max(now, plan.identity.release_at).astimezone(zone),
        previous=plan.previous,
        links=(
            arrange_edition(edited.proposal, edited.edits, settings.file, release_day).links
            if edited and edited.proposal
            else ()
        ),
        topic_overrides=find_topic_overrides(edited.edits) if edited else {},
        words=plan.words,
    )


def _plan_draft(session: Session, settings: Settings, now: datetime) -> _DraftPlan:
    publication, calendar = settings.file.publication, load_calendar(session, settings.file)
    release, existing = edition_queries.find_next_release(session, calendar, now)
    release_at = release.release_at
    if existing is not None and existing.state not in edition_queries.UNAPPROVED_STATES:
        raise DraftError(*_explain_refusal(existing, publication.zone))
    edited = _find_edited_draft(session, existing)
    window = find_next_window(
        (edited and edited.cut_off) or now, edition_queries.find_last_cut_off(session, release_at)
    )
    window = replace(window, cut_off=now)
    return _DraftPlan(
        replaced_id=existing.id if existing else None,
        identity=EditionIdentity(
            name_edition_of_release(session, calendar, release, existing),
            edition_queries.next_edition_number(session, publication.first_number),
            release_at,
            window.opens_at,
        ),
        window=window,
        candidates=gathering.load_candidates(session, window, release_at),
        previous=gathering.load_previous_editions(session, window, release_at, settings.file.select.repeat_editions),
        blocks=(
            *load_correction_blocks(
                session, release_at, settings.link_base, publication.zone, settings.subscriber_language
            ),
            *load_blocks_of_earlier_editions(session, release_at, release_at.astimezone(publication.zone).date()),
        ),
        edited=edited,
        words=load_document_frequencies(session, window),
    )


def _find_edited_draft(session: Session, edition: Edition | None) -> _EditedDraft | None:
    edits = load_edits(session, edition) if edition else ()
    if edition is None or not edits:
        return None
    proposal = load_proposal(session, edition)
    return _EditedDraft(edits, proposal, edition.cut_off if proposal else None)


def _explain_refusal(existing: Edition, zone: ZoneInfo) -> tuple[str, str]:
    due = f"{existing.release_at.astimezone(zone):%A, %B %d, %H:%M %Z}"
    if existing.state == EditionState.APPROVED:
        return (
            f"{existing.name} is already approved for {due}.",
            f"Revoke its approval with 'digest approve {existing.name} --revoke', then draft it again.",
        )
    return (
        f"{existing.name} is {existing.state.predicate}, with send time {due}.",
        "Draft the next edition after this send time.",
    )


def name_edition_of_release(
    session: Session, calendar: ReleaseCalendar, release: PlannedRelease, existing: Edition | None
) -> str:
    """Return the name of the edition for a release.

    A draft keeps its name unless it moves to another week.
    """
    if existing is not None and existing.release_at == release.release_at:
        return existing.name
    names = select(Edition.name)
    if existing is not None:
        names = names.where(Edition.id != existing.id)
    return name_planned_edition(calendar, release, set(session.scalars(names)))


def _store_edition(session: Session, draft: PreparedDraft, now: datetime) -> Edition:
    plan, slot = draft.plan, edition_queries.make_release_slot_key(draft.plan.identity.release_at)
    edition = session.scalar(_select_replaced(plan).with_for_update())
    if edition is None:
        edition = Edition()
        session.add(edition)
    elif (
        edition.state not in edition_queries.UNAPPROVED_STATES
    ):  # approved while this draft was being made, so the approval is kept
        raise DraftError(
            f"{edition.name} was approved during drafting, so it wasn't changed.",
            "To draft the edition again, revoke the approval.",
        )
    else:
        edited = _find_edited_draft(session, edition)
        if edited and edited.edits[-1].seq != plan.last_seq:
            raise DraftEditedMeanwhileError(f"{edition.name} was edited during drafting.", "Draft the edition again.")
    edition.slot, edition.name, edition.number = slot, plan.identity.name, plan.identity.number
    edition.opens_at = plan.window.opens_at
    # Stories in an edited draft's tray belong to the next edition unless they're placed.
    edition.cut_off = (plan.edited and plan.edited.cut_off) or plan.window.cut_off
    edition.release_at = plan.identity.release_at
    save_edition_content(edition, draft.composed)
    edition.drafted_at = now
    session.flush()
    return edition


def _select_replaced(plan: _DraftPlan) -> Select[Edition]:
    """Return a query for the edition that a draft replaces: the one in its slot, or else the one in the plan."""
    slot = edition_queries.make_release_slot_key(plan.identity.release_at)
    is_of_slot, is_replaced = Edition.slot == slot, Edition.id == plan.replaced_id
    query = select(Edition).where(is_of_slot | is_replaced)
    return query.order_by(~is_of_slot).limit(1)


def replace_fragments(session: Session, edition: Edition, fragments: Iterable[RenderedFragment]) -> None:
    """Replace an edition's stored fragments, keeping the order. Unchanged ones aren't written again."""
    rows = {
        (fragment.kind, fragment.name): {
            "edition_id": edition.id,
            "kind": fragment.kind,
            "name": fragment.name,
            "position": position,
            "body": fragment.body,
            "slots": pack_slots(fragment.slots),
            "hash": hash_fragment(fragment.body, fragment.slots),
        }
        for position, fragment in enumerate(fragments)
    }
    table, outdated = table_of(RenderedEditionFragment), []
    for stored in session.execute(select(table).where(table.c.edition_id == edition.id)).mappings():
        place = stored["kind"], stored["name"]
        if place in rows and all(stored[column] == value for column, value in rows[place].items()):
            del rows[place]
        else:
            outdated.append(stored["id"])
    if outdated:
        session.execute(delete(table).where(table.c.id.in_(outdated)))
    if rows:
        session.execute(insert(table), list(rows.values()))


# --- blocks of earlier editions --------------------------------------------------------------------------------

MAX_EARLIER_EDITIONS = 60  # number of editions with edited blocks to load: more than a year of weekly ones

# The settings say when this block runs. Editors' changes to it apply to only one edition.
_SETTINGS_BLOCK = f"{BLOCK_PREFIX}{SPONSOR_BLOCK_ID}"


def load_blocks_of_earlier_editions(session: Session, release_at: datetime, day: date) -> tuple[BlockWithAuthors, ...]:
    """Return the blocks from earlier regular editions that may still run at a release.

    Blocks whose last day is over are omitted. `day` is the release day in the publication's time zone.
    """
    with_blocks = select(EditionEdit.edition_id).where(EditionEdit.kind == EditKind.BLOCK)
    query = (
        select(Edition)
        .where(edition_queries.IS_REGULAR, Edition.id.in_(with_blocks), Edition.release_at < release_at)
        .order_by(Edition.release_at.desc())
        .limit(MAX_EARLIER_EDITIONS)
    )
    board = StoryBoard(ProposalWithLateStories(Proposal()), (), ())
    written: dict[str, list[tuple[Edit, bool]]] = defaultdict(list)
    for edition in reversed(session.scalars(query).all()):
        edits = load_edits(session, edition)
        undone = find_undone_edits(edits)
        for edit in edits:
            if edit.kind == EditKind.BLOCK and edit.target != _SETTINGS_BLOCK:
                written[edit.target].append((edit, edit.seq not in undone))
                if edit.seq not in undone:
                    board.apply_edit(edit)
    correctors = _read_correctors(session, board.blocks)
    running = []
    for block in board.blocks.values():
        is_sound = block.id in correctors or not block.id.startswith(CORRECTION_BLOCK_PREFIX)
        if is_sound and not block.is_over(day):
            authors = find_block_authors(written[f"{BLOCK_PREFIX}{block.id}"])
            corrector = correctors.get(block.id, ())
            running.append(BlockWithAuthors(block, (*corrector, *authors)))
    return tuple(running)


def _read_correctors(session: Session, ids: Iterable[str]) -> dict[str, tuple[str]]:
    """Return the authors of the genuine corrections that blocks announce, by block ID."""
    texts = (name.removeprefix(CORRECTION_BLOCK_PREFIX) for name in ids if name.startswith(CORRECTION_BLOCK_PREFIX))
    numbers = [int(text) for text in texts if text.isdecimal()]
    rows = session.scalars(select(Correction).where(Correction.id.in_(numbers)))
    return {f"{CORRECTION_BLOCK_PREFIX}{row.id}": (row.actor,) for row in rows if is_genuine_row(session, row)}
