"""An edition's stored edits, which are append-only, and its stored proposal."""

import threading
from collections import OrderedDict
from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.edition.editing.edits import Edit
from digest.edition.editing.stored_proposal import PackedProposal, ProposalWithLateStories, unpack_proposal
from digest.store.models import Edition, EditionEdit, EditionProposal
from subscribers.garbage_collection import freeze_long_lived_objects
from subscribers.store.keyed_row_seals import is_genuine_row, keep_if_genuine, seal_row_as_is

MAX_CACHED_PROPOSALS = 4  # number per process; a week of 5,000 articles takes about 30 MB
LARGE_PROPOSAL = 1_000  # number of left-out stories


def load_edits(
    session: Session,
    edition: Edition,
    *,
    after: int = 0,
) -> tuple[Edit, ...]:
    """Return an edition's edits in order, including undone ones, up to the first missing or forged one.

    Edits after such a gap aren't returned, because they may repeat the missing author's text. If
    `after` is given, start with the edit after that number.
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
    """Append an edit, numbered after the last of `load_edits`.

    Return the number of later rows that were deleted. These had no effect, because one of them was
    missing or forged. The caller must have locked the edition.
    """
    beyond = delete(EditionEdit).where(EditionEdit.edition_id == edition.id, EditionEdit.seq >= edit.seq)
    discarded = session.connection().execute(beyond).rowcount
    session.add(EditionEdit(edition_id=edition.id, **asdict(edit)))
    session.flush()
    return discarded


class ProposalCache:
    """A cache of the proposals that this process used most recently, by hash."""

    def __init__(self, size: int = MAX_CACHED_PROPOSALS) -> None:
        """Initialize an empty cache."""
        self._size = size
        self._proposals: OrderedDict[str, ProposalWithLateStories] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, proposal_hash: str) -> ProposalWithLateStories | None:
        """Return the cached proposal with the given hash, and mark it as the most recently used.

        Return None if it isn't cached.
        """
        with self._lock:
            proposal = self._proposals.get(proposal_hash)
            if proposal is not None:
                self._proposals.move_to_end(proposal_hash)
            return proposal

    def keep(self, proposal_hash: str, proposal: ProposalWithLateStories) -> None:
        """Add a proposal, evicting the least recently used one if the cache is full."""
        with self._lock:
            self._proposals[proposal_hash] = proposal
            while len(self._proposals) > self._size:
                self._proposals.popitem(last=False)
        if len(proposal.proposal.left_out) >= LARGE_PROPOSAL:
            # Applying an edit triggers a full garbage collection, which took two thirds of its time.
            freeze_long_lived_objects()


_CACHE = ProposalCache()


def read_proposal_hash(session: Session, edition: Edition) -> str | None:
    """Return the hash of an edition's stored proposal, or None if there's no genuine one."""
    row = keep_if_genuine(session, session.get(EditionProposal, edition.id))
    return row.hash if row else None


def load_proposal(session: Session, edition: Edition) -> ProposalWithLateStories | None:
    """Return an edition's stored proposal, or None if there's no genuine one."""
    return load_proposal_with_hash(session, edition)[0]


def load_proposal_with_hash(session: Session, edition: Edition) -> tuple[ProposalWithLateStories | None, str]:
    """Return an edition's stored proposal and its hash, or (None, "") if there's no genuine one."""
    row = keep_if_genuine(session, session.get(EditionProposal, edition.id))
    if row is None:
        return None, ""
    proposal = _CACHE.find(row.hash)
    if proposal is None and (proposal := unpack_proposal(PackedProposal(row.hash, row.body))):
        _CACHE.keep(row.hash, proposal)
    return proposal, row.hash


def store_proposal(session: Session, edition: Edition, packed: PackedProposal) -> None:
    """Store an edition's proposal, replacing the previous one."""
    row = session.get(EditionProposal, edition.id) or EditionProposal(id=edition.id)
    session.add(row)
    row.hash, row.body = packed.hash, packed.body
    seal_row_as_is(session, row)
    session.flush()
