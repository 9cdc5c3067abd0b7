"""Who else has an edition open at the desk, and where: rows that each open page writes over, and that count for a short while."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from digest.app.accounts.sign_in import SignedInStaff
from digest.app.acts import Act, Role
from digest.app.installation import Installation
from digest.edition.queries import find_edition
from digest.store.account_models import Presence
from digest.store.delivery_models import StaffMember
from digest.store.staff import display_name_of

SWITCH_KEYS = Act("letter keys switched", Role.EDITOR)
HEARTBEAT_PERIOD = timedelta(seconds=15)  # how often an open page says that it is
PRESENT_PERIOD = 3 * HEARTBEAT_PERIOD
KEPT_PERIOD = timedelta(days=1)
MAX_PLACE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class PresentColleague:
    """Somebody who has the edition open too. `place` is the anchor of what they are at; empty where they only look."""

    name: str
    place: str


def note_presence(
    installation: Installation, signed_in: SignedInStaff, name: str, place: str, *, now: datetime
) -> tuple[PresentColleague, ...]:
    """Note that a member has an edition open, and return who else has.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    with installation.database.write() as session:
        edition = find_edition(session, name)
        session.execute(delete(Presence).where(Presence.seen_at < now - KEPT_PERIOD))
        session.merge(
            Presence(staff=signed_in.member_id, edition_id=edition.id, place=place[:MAX_PLACE_LENGTH], seen_at=now)
        )
        session.flush()
        others = session.execute(
            select(StaffMember.name, StaffMember.email, Presence.place)
            .join(Presence, Presence.staff == StaffMember.id)
            .where(
                Presence.edition_id == edition.id,
                Presence.seen_at > now - PRESENT_PERIOD,
                StaffMember.id != signed_in.member_id,
                StaffMember.removed_at.is_(None),
            )
            .order_by(StaffMember.id)
        )
        return tuple(PresentColleague(display_name_of(own_name, email), place) for own_name, email, place in others)


def end_presence(installation: Installation, signed_in: SignedInStaff, name: str) -> None:
    """Note that a member closed an edition.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    with installation.database.write() as session:
        edition = find_edition(session, name)
        own = Presence.staff == signed_in.member_id, Presence.edition_id == edition.id
        session.execute(delete(Presence).where(*own))


def switch_letter_keys(installation: Installation, signed_in: SignedInStaff, *, on: bool, now: datetime) -> None:
    """Let single letters act at the desk for a member, or not."""
    with SWITCH_KEYS.transaction(installation.database, signed_in.actor, signed_in.actor.name, now=now) as (
        session,
        draft,
    ):
        member = session.get_one(StaffMember, signed_in.member_id)
        draft.changed = member.letter_keys != on
        draft.detail = {"on": on}
        member.letter_keys = on
