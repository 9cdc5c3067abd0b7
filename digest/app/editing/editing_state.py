"""An edition as its editors see it: the proposal that it grew from, the edits, and what stands where."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from digest.edition.approval.approved_versions import find_valid_approval
from digest.edition.drafting.composition import ComposedEdition, compose_edition
from digest.edition.drafting.content_builder import EditionIdentity
from digest.edition.editing import edits as history
from digest.edition.editing.arrangement import Arrangement, EditionFold
from digest.edition.editing.edit_log import load_edits, load_proposal, read_proposal_hash
from digest.edition.editing.edits import Edit, RevertEffect
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.edition_queries import COMING_STATES, find_edition
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsFileContent
from digest.store.approval_models import Approval
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError


class EditRefusedError(RefusalError):
    """The act cannot be done on this edition; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EditingState:
    """An edition as its editors see it. `approval` is the content hash of its valid approval, which an edit ends; else it's empty."""

    name: str
    identity: EditionIdentity
    proposal: ProposalWithLateStories
    proposal_hash: str
    edits: tuple[Edit, ...]
    arrangement: Arrangement
    approval: str

    @property
    def approved(self) -> bool:
        """True if the edition will be sent as it is now unless someone changes it."""
        return bool(self.approval)

    @property
    def last_seq(self) -> int:
        """The number of the last edit, which a form made on this state carries; 0 before the first."""
        return self.edits[-1].seq if self.edits else 0

    def find_last_own(self, actor: str) -> Edit | None:
        """Find what an editor's undo takes back: their last act that is in force."""
        return history.find_own_last_edit(self.edits, actor)

    def find_last_own_undo(self, actor: str) -> Edit | None:
        """Find what an editor's redo takes back: their last undo, if they did nothing since."""
        return history.find_own_last_undo(self.edits, actor)

    def find_revert_effect(self, seq: int) -> RevertEffect:
        """Return what bringing back the state after the edit of a number changes."""
        return history.find_revert_effect(self.edits, seq)

    def arrange_at(self, installation: Installation, seq: int) -> Arrangement:
        """Return what stood where after the edit of a number."""
        past = tuple(e for e in self.edits if e.seq <= seq)
        return apply_edits_to_proposal(installation, self.proposal, past, self.identity)


def find_editing_state(installation: Installation, edition: Edition) -> EditingState | None:
    """Read an edition as its editors see it; None for one that has gone out, or was drafted by a version without edits."""
    if edition.state not in COMING_STATES:
        return None
    try:
        return read_editing_state(installation, edition.name)
    except EditRefusedError:
        return None


def list_topic_names(settings: Settings) -> list[str]:
    """List the topics that a story may have: the settings' or else the built-in ones, and those that sources name."""
    file = settings.file
    names = [*file.select.topic_names]
    for source in file.sources:
        names += [topic for topic in (*source.topics.values(), source.default_topic) if topic]
    return list(dict.fromkeys(names))


def read_editing_state(installation: Installation, name: str) -> EditingState:
    """Read an edition as its editors see it.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    with installation.database.read() as session:
        edition = find_edition(session, name)
        proposal, proposal_hash = load_proposal(session, edition), read_proposal_hash(session, edition)
        edits = load_edits(session, edition)
        approval = find_valid_approval(session, edition)
    if proposal is None or proposal_hash is None:
        raise EditRefusedError(
            f"{edition.name} was drafted by an older version, so it can't be edited.",
            "Draft the edition again with 'digest draft'.",
        )
    identity = EditionIdentity.of_edition(edition)
    return EditingState(
        name=edition.name,
        identity=identity,
        proposal=proposal,
        proposal_hash=proposal_hash,
        edits=edits,
        arrangement=apply_edits_to_proposal(installation, proposal, edits, identity),
        approval=_name_approval(edition, approval),
    )


def _name_approval(edition: Edition, approval: Approval | None) -> str:
    """Return the content hash of an approved edition's version, or a word that equals none if its version is missing."""
    if edition.state != EditionState.APPROVED:
        return ""
    return approval.content_hash if approval else "missing"


def read_edition_of_state(installation: Installation, state: EditingState) -> Edition | None:
    """Read the row of an edition; None if someone has edited it since `state`.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    with installation.database.read() as session:
        edition = find_edition(session, state.name)
        return None if load_edits(session, edition, after=state.last_seq) else edition


@dataclass(frozen=True, slots=True)
class _Origin:
    """What an arrangement is made of besides edits. Proposals and settings never change, so they're compared by identity."""

    proposal: ProposalWithLateStories
    file: SettingsFileContent

    def is_of(self, other: "_Origin | EditionFold") -> bool:
        """Return whether another origin, or a fold, has the same."""
        return other.proposal is self.proposal and other.file is self.file


class ArrangementCache:
    """The last arrangements of this process, and the folds that go on from them.

    The state that an action leaves is the one that the next action and the page begin with.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._arrangements: deque[tuple[_Origin, tuple[Edit, ...], date, Arrangement]] = deque(maxlen=8)
        self._folds: deque[EditionFold] = deque(maxlen=2)

    def arrange(self, origin: _Origin, edits: tuple[Edit, ...], release_day: date) -> Arrangement:
        """Return what `arrange_edition` does."""
        for known_origin, known_edits, day, arrangement in tuple(self._arrangements):
            if origin.is_of(known_origin) and (known_edits, day) == (edits, release_day):
                return arrangement
        fold = self._take_fold(origin, edits) or EditionFold(origin.proposal, origin.file)
        fold.apply_edits(edits)
        arrangement = fold.read_arrangement(release_day)
        self._folds.append(fold)
        self._arrangements.append((origin, edits, release_day, arrangement))
        return arrangement

    def _take_fold(self, origin: _Origin, edits: tuple[Edit, ...]) -> EditionFold | None:
        """Take out a fold that leads to these edits: only one thread goes on with it."""
        for fold in tuple(self._folds):
            if origin.is_of(fold) and fold.leads_to(edits):
                with suppress(ValueError):  # another thread took it
                    self._folds.remove(fold)
                    return fold
        return None


_CACHE = ArrangementCache()


def apply_edits_to_proposal(
    installation: Installation, proposal: ProposalWithLateStories, edits: Sequence[Edit], identity: EditionIdentity
) -> Arrangement:
    """Fold edits into a proposal by the settings and the day of release."""
    file = installation.settings.file
    released_at = identity.release_at.astimezone(file.publication.zone)
    return _CACHE.arrange(_Origin(proposal, file), tuple(edits), released_at.date())


def render_edition_preview(installation: Installation, name: str, *, seq: int | None = None) -> ComposedEdition:
    """Render an edition as it stood after the edit of a number, without storing anything; without one, as it stands.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    state = read_editing_state(installation, name)
    past = tuple(e for e in state.edits if seq is None or e.seq <= seq)
    return compose_edition(state.proposal, past, state.identity, installation.settings)
