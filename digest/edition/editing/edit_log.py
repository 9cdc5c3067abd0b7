"""An edition's stored edits, which are append-only, and its stored proposal."""

import json
import threading
from collections import OrderedDict
from dataclasses import asdict, fields
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Text, cast, delete, select
from sqlalchemy.orm import Session

from digest.edition.editing.edits import Edit
from digest.edition.editing.stored_proposal import PackedProposal, ProposalWithLateStories, unpack_proposal
from digest.store.models import Edition, EditionEdit, EditionProposal
from subscribers.crypto.keys import KeyRing
from subscribers.garbage_collection import freeze_long_lived_objects
from subscribers.store.keyed_row_seals import find_keys_of_session, has_genuine_values, keep_if_genuine, seal_row_as_is

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
    rows = session.execute(select(*_EDIT_COLUMNS).where(*own).order_by(EditionEdit.seq))
    for number, row in enumerate(rows, after + 1):
        try:
            edit = _read_genuine_edit(find_keys_of_session(session), *row)
        except _ForgedEditError:
            break
        if edit.seq != number:
            break
        edits.append(edit)
    return tuple(edits)


class _ForgedEditError(Exception):
    """Raised when the row of an edit isn't genuine."""


_EDIT_COLUMNS = (
    EditionEdit.id,
    *(getattr(EditionEdit, name) for name in EditionEdit.__sealed__ if name != "value"),
    cast(EditionEdit.value, Text),
    EditionEdit.seal,
)


# Each page and action reads all edits of its edition. The key is the whole row with its seal, so an edit is checked
# once, and equal edits are one object, which makes comparing them fast.
@lru_cache(maxsize=4096)
def _read_genuine_edit(
    keys: KeyRing,
    row_id: int,
    edition_id: int,
    seq: int,
    at: datetime,
    actor: str,
    kind: str,
    target: str,
    undoes: int | None,
    value_json: str,
    seal: str,
) -> Edit:
    """Return the edit in a row, or raise `_ForgedEditError`, which isn't cached."""
    edit = Edit(seq, at, actor, kind, target, json.loads(value_json), undoes)
    values = {"edition_id": edition_id, **{each.name: getattr(edit, each.name) for each in fields(edit)}}
    if not has_genuine_values(keys, EditionEdit, values, seal, row_id=row_id):
        raise _ForgedEditError
    return edit


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
