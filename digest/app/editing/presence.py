"""The presence of colleagues who have an edition open at the desk.

It's recorded in rows that each open page keeps updating.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from digest.app.accounts.sign_in import SignedInStaff
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action
from digest.installation.opened_installation import Installation
from digest.store.account_models import EditingPresence
from digest.store.approval_models import Approval, ApprovalSignature, SentBackNote
from digest.store.delivery_models import StaffMember
from digest.store.models import Edition, EditionEdit, EditionProposal
from digest.store.staff import format_display_name
from subscribers.store.database import upsert

SWITCH_KEYS = Action("letter keys switched")
HEARTBEAT_PERIOD = timedelta(seconds=15)  # how often an open page reports its presence
PRESENT_PERIOD = 3 * HEARTBEAT_PERIOD
KEPT_PERIOD = timedelta(days=1)
MAX_PLACE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class PresentColleague:
    """A colleague who also has the edition open.

    `place` is the anchor of the part that they're editing, or empty.
    """

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class EditionPresence:
    """The colleagues who have an edition open, and its current revision.

    `revision` changes with each edit, draft, or approval of the edition.
    """

    colleagues: tuple[PresentColleague, ...]
    revision: str


def record_presence(
    installation: Installation, signed_in: SignedInStaff, name: str, place: str, *, known_revision: str, now: datetime
) -> EditionPresence:
    """Record that a member has an edition open, and return the colleagues who also do.

    Every open page calls this every few seconds, so it uses only three SQL statements. Old rows are
    deleted at a page's first call, which has no `known_revision` yet.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.write() as session:
        edition_id, revision = _read_revision(session, name)
        if not known_revision:
            session.execute(delete(EditingPresence).where(EditingPresence.seen_at < now - KEPT_PERIOD))
        presence_values = {"place": place[:MAX_PLACE_LENGTH], "seen_at": now}
        row = upsert(session, EditingPresence).values(
            staff=signed_in.member_id, edition_id=edition_id, **presence_values
        )
        session.execute(row.on_conflict_do_update(index_elements=["staff", "edition_id"], set_=presence_values))
        return EditionPresence(_load_colleagues(session, signed_in, edition_id, now), revision)


def list_colleagues(
    installation: Installation, signed_in: SignedInStaff, edition_id: int, *, now: datetime
) -> tuple[PresentColleague, ...]:
    """Return the colleagues who have an edition open, without recording the member's presence."""
    with installation.read() as session:
        return _load_colleagues(session, signed_in, edition_id, now)


def _load_colleagues(
    session: Session, signed_in: SignedInStaff, edition_id: int, now: datetime
) -> tuple[PresentColleague, ...]:
    query = session.execute(
        select(StaffMember.name, StaffMember.email, EditingPresence.place)
        .join(EditingPresence, EditingPresence.staff == StaffMember.id)
        .where(
            EditingPresence.edition_id == edition_id,
            EditingPresence.seen_at > now - PRESENT_PERIOD,
            StaffMember.id != signed_in.member_id,
            StaffMember.removed_at.is_(None),
        )
        .order_by(StaffMember.id)
    )
    return tuple(PresentColleague(format_display_name(own, email), at) for own, email, at in query)


def _read_revision(session: Session, name: str) -> tuple[int, str]:
    """Return an edition's ID and revision in a single query.

    The revision changes with everything that the edition's open pages show.
    """
    approvals = Approval.edition_id == Edition.id
    newest_first = select(Approval).where(approvals).order_by(Approval.version.desc())
    newest = newest_first.limit(1)
    notes = select(func.count(SentBackNote.id)).where(SentBackNote.edition_id == Edition.id)
    parts = (
        select(func.max(EditionEdit.seq)).where(EditionEdit.edition_id == Edition.id),
        select(EditionProposal.hash).where(EditionProposal.id == Edition.id),
        newest.with_only_columns(Approval.version),
        newest.with_only_columns(Approval.state),
        select(func.count(ApprovalSignature.id)).join(Approval).where(approvals),
        notes,
        notes.where(SentBackNote.done_at.is_not(None)),
    )
    columns = (Edition.id, Edition.state, *(part.scalar_subquery() for part in parts))
    row = session.execute(select(*columns).where(Edition.name == name)).one_or_none()
    if row is None:
        return _read_revision(session, find_edition(session, name).name)
    edition_id, *values = row
    return edition_id, " ".join("" if value is None else str(value) for value in values)


def end_presence(installation: Installation, signed_in: SignedInStaff, name: str) -> None:
    """Record that a member has closed an edition.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.write() as session:
        edition = find_edition(session, name)
        own = EditingPresence.staff == signed_in.member_id, EditingPresence.edition_id == edition.id
        session.execute(delete(EditingPresence).where(*own))


def set_single_key_shortcuts(installation: Installation, signed_in: SignedInStaff, *, on: bool, now: datetime) -> None:
    """Turn single-letter shortcuts at the desk on or off for a member."""
    actor = signed_in.actor
    with SWITCH_KEYS.transaction(installation, actor, actor.name, now=now) as (session, draft):
        member = session.get_one(StaffMember, signed_in.member_id)
        draft.changed = member.letter_keys != on
        draft.detail = {"on": on}
        member.letter_keys = on
