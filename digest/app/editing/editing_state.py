"""The editing state of an edition: its proposal, its edits, and the arrangement that results from them."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from sqlalchemy.orm import Session

from digest.edition.approval.approved_versions import find_valid_approval
from digest.edition.drafting.composition import ComposedEdition, compose_edition
from digest.edition.drafting.content_builder import EditionIdentity
from digest.edition.editing import edits as history
from digest.edition.editing.arrangement import Arrangement, EditionFold
from digest.edition.editing.edit_log import load_edits, load_proposal_with_hash
from digest.edition.editing.edits import Edit, RevertEffect
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.edition_queries import COMING_STATES, find_edition
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsFileContent
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError


class EditRefusedError(RefusalError):
    """Raised when an edit can't be applied to an edition. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EditingState:
    """An edition's proposal, its edits, and the resulting arrangement.

    `edition` is the edition's row with these edits. `approval` is the content hash of its valid
    approval, or empty if there's none. The next edit ends that approval.
    """

    edition: Edition
    name: str
    identity: EditionIdentity
    proposal: ProposalWithLateStories
    proposal_hash: str
    edits: tuple[Edit, ...]
    arrangement: Arrangement
    approval: str

    @property
    def approved(self) -> bool:
        """True if the edition will be sent as it is unless someone changes it."""
        return bool(self.approval)

    @property
    def last_seq(self) -> int:
        """The number of the last edit, or 0 before the first one.

        Forms based on this state include it.
        """
        return self.edits[-1].seq if self.edits else 0

    def find_last_edit_by(self, actor: str) -> Edit | None:
        """Return an editor's last edit that's in effect. That's the one they can undo."""
        return history.find_own_last_edit(self.edits, actor)

    def find_last_undo_by(self, actor: str) -> Edit | None:
        """Return the undo that an editor can reverse, or None.

        It's the editor's last undo, if they haven't done anything since.
        """
        return history.find_own_last_undo(self.edits, actor)

    def find_revert_effect(self, seq: int) -> RevertEffect:
        """Return the changes that restoring the state after an edit would make."""
        return history.find_revert_effect(self.edits, seq)

    def arrange_at(self, installation: Installation, seq: int) -> Arrangement:
        """Return the arrangement as it was after the edit `seq`."""
        past = tuple(e for e in self.edits if e.seq <= seq)
        return apply_edits_to_proposal(installation, self.proposal, past, self.identity)


def find_editing_state(installation: Installation, edition: Edition) -> EditingState | None:
    """Return the editing state of an edition, or None if it has none.

    An edition has none once sending has begun, or if it was canceled or changed outside the
    program.
    """
    if edition.state not in COMING_STATES:
        return None
    with installation.read() as session, suppress(EditRefusedError):
        return _load_editing_state(installation, session, edition)
    return None


def list_topic_names(settings: Settings) -> list[str]:
    """Return the topics that a story can have.

    These are the topics in the settings, or else the built-in ones, and the topics of sources.
    """
    file = settings.file
    names = [*file.select.topic_names]
    for source in file.sources:
        names += [topic for topic in (*source.topics.values(), source.default_topic) if topic]
    return list(dict.fromkeys(names))


def read_editing_state(installation: Installation, name: str) -> EditingState:
    """Return an edition's proposal, its edits, and the resulting arrangement.

    Raises:
        UnknownEditionError: there's no edition of that name.
        EditRefusedError: the edition was changed outside the program.
    """
    with installation.read() as session:
        return _load_editing_state(installation, session, find_edition(session, name))


def _load_editing_state(installation: Installation, session: Session, edition: Edition) -> EditingState:
    proposal, proposal_hash = load_proposal_with_hash(session, edition)
    if proposal is None:
        raise EditRefusedError(
            f"{edition.name} was changed outside the program, so it can't be edited.",
            "Draft the edition again with 'digest draft'.",
        )
    edits, identity = load_edits(session, edition), EditionIdentity.of_edition(edition)
    return EditingState(
        edition=edition,
        name=edition.name,
        identity=identity,
        proposal=proposal,
        proposal_hash=proposal_hash,
        edits=edits,
        arrangement=apply_edits_to_proposal(installation, proposal, edits, identity),
        approval=_name_approval(session, edition),
    )


def _name_approval(session: Session, edition: Edition) -> str:
    """Return the content hash of an edition's valid approval, or an empty string.

    If the approved version is missing, return "missing", which never equals a hash.
    """
    if edition.state != EditionState.APPROVED:
        return ""
    approval = find_valid_approval(session, edition)
    return approval.content_hash if approval else "missing"


@dataclass(frozen=True, slots=True)
class _Origin:
    """The inputs of an arrangement other than edits.

    They're immutable, so they can be compared by identity.
    """

    proposal: ProposalWithLateStories
    file: SettingsFileContent

    def is_of(self, other: "_Origin | EditionFold") -> bool:
        """Return True if another origin or a fold has the same inputs."""
        return other.proposal is self.proposal and other.file is self.file


class ArrangementCache:
    """The latest arrangements of this process, and folds that can be continued.

    Usually, the next action or page starts from the state that an action left.
    """

    def __init__(self) -> None:
        """Create an empty cache."""
        self._arrangements: deque[tuple[_Origin, tuple[Edit, ...], date, Arrangement]] = deque(maxlen=8)
        self._folds: deque[EditionFold] = deque(maxlen=2)

    def arrange(self, origin: _Origin, edits: tuple[Edit, ...], release_day: date) -> Arrangement:
        """Return the same arrangement as `arrange_edition`, from the cache if possible."""
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
        """Remove and return a fold that leads to these edits, so that only one thread can continue it."""
        for fold in tuple(self._folds):
            if origin.is_of(fold) and fold.is_continued_by(edits):
                with suppress(ValueError):  # another thread took it
                    self._folds.remove(fold)
                    return fold
        return None


_CACHE = ArrangementCache()


def apply_edits_to_proposal(
    installation: Installation, proposal: ProposalWithLateStories, edits: Sequence[Edit], identity: EditionIdentity
) -> Arrangement:
    """Return the arrangement that results from a proposal and edits with the current settings."""
    file = installation.settings.file
    released_at = identity.release_at.astimezone(file.publication.zone)
    return _CACHE.arrange(_Origin(proposal, file), tuple(edits), released_at.date())


def render_edition_preview(installation: Installation, name: str, *, seq: int | None = None) -> ComposedEdition:
    """Render an edition as it was after the edit `seq`, or after the last edit if it's None.

    Nothing is stored.

    Raises:
        UnknownEditionError: there's no edition of that name.
        EditRefusedError: the edition was changed outside the program.
    """
    state = read_editing_state(installation, name)
    past = tuple(e for e in state.edits if seq is None or e.seq <= seq)
    return compose_edition(state.proposal, past, state.identity, installation.settings)
