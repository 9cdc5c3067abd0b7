"""Labelled blocks that run on: written in one edition, they stand in every later one until their last day."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.archive.corrections import CORRECTION_BLOCK_PREFIX
from digest.edition.content.edition_content import SPONSOR_BLOCK_ID, AuthoredBlock
from digest.edition.editing.authorship import find_block_authors
from digest.edition.editing.edit_log import load_edits
from digest.edition.editing.edits import BLOCK_PREFIX, Edit, EditKind, find_undone
from digest.edition.editing.grown_proposal import GrownProposal
from digest.edition.editing.story_board import StoryBoard
from digest.select.values import Proposal
from digest.store.correction_models import Correction
from digest.store.models import Edition, EditionEdit

MAX_EARLIER_EDITIONS = 60  # with edits of blocks, the latest: more than a year of a weekly

# The settings say when it runs; what an editor changes of it is of one edition.
_SETTINGS_BLOCK = f"{BLOCK_PREFIX}{SPONSOR_BLOCK_ID}"


def load_running_blocks(session: Session, release_at: datetime, day: date) -> tuple[AuthoredBlock, ...]:
    """Return the blocks of earlier editions that run in the one of a release, or later; `day` is its day in the publication's zone."""
    with_blocks = select(EditionEdit.edition_id).where(EditionEdit.kind == EditKind.BLOCK)
    query = (
        select(Edition)
        .where(Edition.id.in_(with_blocks), Edition.release_at < release_at)
        .order_by(Edition.release_at.desc())
        .limit(MAX_EARLIER_EDITIONS)
    )
    board = StoryBoard(GrownProposal(Proposal()), (), ())
    written: dict[str, list[tuple[Edit, bool]]] = defaultdict(list)
    for edition in reversed(session.scalars(query).all()):
        edits = load_edits(session, edition)
        undone = find_undone(edits)
        for edit in edits:
            if edit.kind == EditKind.BLOCK and edit.target != _SETTINGS_BLOCK:
                written[edit.target].append((edit, edit.seq not in undone))
                if edit.seq not in undone:
                    board.apply_edit(edit)
    correctors = _read_correctors(session, board.blocks)
    return tuple(
        AuthoredBlock(block, (*correctors.get(block.id, ()), *find_block_authors(written[f"{BLOCK_PREFIX}{block.id}"])))
        for block in board.blocks.values()
        if not block.is_over(day)
    )


def _read_correctors(session: Session, ids: Iterable[str]) -> dict[str, tuple[str]]:
    """Return who wrote the corrections among blocks, by id: those were there before the first edit of them."""
    texts = (name.removeprefix(CORRECTION_BLOCK_PREFIX) for name in ids if name.startswith(CORRECTION_BLOCK_PREFIX))
    numbers = [int(text) for text in texts if text.isdecimal()]
    rows = session.execute(select(Correction.id, Correction.actor).where(Correction.id.in_(numbers)))
    return {f"{CORRECTION_BLOCK_PREFIX}{row.id}": (row.actor,) for row in rows}
