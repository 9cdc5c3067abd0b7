"""The rows behind an edition's arrangement: its edits, appended only, and its stored proposal."""

import threading
from collections import OrderedDict
from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.edition.editing.edits import Edit
from digest.edition.editing.stored_proposal import PackedProposal, ProposalWithLateStories, unpack_proposal
from digest.store.models import Edition, EditionEdit, EditionProposal
from subscribers.garbage_collection import freeze_long_lived_objects
from subscribers.store.keyed_row_seals import drop_if_forged, is_genuine_row, seal_row_as_is

MAX_CACHED_PROPOSALS = 4  # of one process; a week of 5,000 articles takes some 30 MB
LARGE_PROPOSAL = 1_000  # stories left out


def load_edits(session: Session, edition: Edition, *, after: int = 0) -> tuple[Edit, ...]:
    """Return an edition's edits in order, also those that were taken back, up to the first that's missing or not genuine.

    Later ones were made on top of it: what they say may be its author's words. `after` is the number of an edit to begin after.
    """
    own = EditionEdit.edition_id == edition.id, EditionEdit.seq > after
    edits = []
    for number, row in enumerate(session.scalars(select(EditionEdit).where(*own).order_by(EditionEdit.seq)), after + 1):
        if row.seq != number or not is_genuine_row(session, row):
            break
        act = (row.kind, row.target, row.value, row.undoes)
        edits.append(Edit(number, row.at, row.actor, *act))
    return tuple(edits)


def append_edit(session: Session, edition: Edition, edit: Edit) -> int:
    """Append an edit, which has the number after the last of `load_edits`; the caller has locked the edition.

    Return how many rows beyond that were discarded: they counted for nothing.
    """
    beyond = delete(EditionEdit).where(EditionEdit.edition_id == edition.id, EditionEdit.seq >= edit.seq)
    discarded = session.connection().execute(beyond).rowcount
    session.add(EditionEdit(edition_id=edition.id, **asdict(edit)))
    session.flush()
    return discarded


class ProposalCache:
    """The proposals that this process read last, by their hash: they never change under one."""

    def __init__(self, size: int = MAX_CACHED_PROPOSALS) -> None:
        """Begin with none."""
        self._size = size
        self._proposals: OrderedDict[str, ProposalWithLateStories] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, proposal_hash: str) -> ProposalWithLateStories | None:
        """Return a proposal if it is here."""
        with self._lock:
            proposal = self._proposals.get(proposal_hash)
            if proposal is not None:
                self._proposals.move_to_end(proposal_hash)
            return proposal

    def keep(self, proposal_hash: str, proposal: ProposalWithLateStories) -> None:
        """Keep a proposal, in place of the one that was asked for longest ago."""
        with self._lock:
            self._proposals[proposal_hash] = proposal
            while len(self._proposals) > self._size:
                self._proposals.popitem(last=False)
        if len(proposal.proposal.left_out) >= LARGE_PROPOSAL:
            # An edit's fold brings about a full collection, which took two thirds of its time.
            freeze_long_lived_objects()


_CACHE = ProposalCache()


def read_proposal_hash(session: Session, edition: Edition) -> str | None:
    """Return the hash of an edition's stored proposal; None where it has none that counts."""
    row = drop_if_forged(session, session.get(EditionProposal, edition.id))
    return row.hash if row else None


def load_proposal(session: Session, edition: Edition) -> ProposalWithLateStories | None:
    """Return an edition's stored proposal; None where it isn't genuine, and for an edition of before there were any."""
    row = drop_if_forged(session, session.get(EditionProposal, edition.id))
    if row is None:
        return None
    if (cached := _CACHE.find(row.hash)) is not None:
        return cached
    proposal = unpack_proposal(PackedProposal(row.hash, row.body))
    if proposal:
        _CACHE.keep(row.hash, proposal)
    return proposal


def store_proposal(session: Session, edition: Edition, packed: PackedProposal) -> None:
    """Store an edition's proposal, in place of the one that it had."""
    row = session.get(EditionProposal, edition.id) or EditionProposal(id=edition.id)
    session.add(row)
    row.hash, row.body = packed.hash, packed.body
    seal_row_as_is(session, row)
    session.flush()
