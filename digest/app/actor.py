"""Who acts: a name for the audit log, a role, and the face through which the act came."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from digest.store.audit import record_audit
from digest.store.engine import Database
from digest.store.staff import find_staff_member, staff_actor
from subscribers.errors import ApplicationError


class Role(StrEnum):
    """What an actor may do. An admin may do all that an editor may."""

    EDITOR = "editor"
    ADMIN = "admin"
    # The timetable and the webhooks: they do what an admin's settings tell them.
    SYSTEM = "system"


class Face(StrEnum):
    """The way by which an act reached the application."""

    TERMINAL = "terminal"
    DESK = "desk"
    TIMETABLE = "timetable"


class UnknownStaffError(ApplicationError):
    """Nobody on the staff has the address that somebody claims to act as."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `name` stands in the audit log: `staff 3`, `terminal:<system user>`, `scheduler`."""

    name: str
    role: Role
    face: Face

    def holds(self, role: Role) -> bool:
        """Say whether the actor may do what `role` may."""
        return self.role is role or self.role in (Role.ADMIN, Role.SYSTEM)


SCHEDULER = Actor("scheduler", Role.SYSTEM, Face.TIMETABLE)


def terminal_actor(system_user: str) -> Actor:
    """Name whoever sits at the terminal: who can read the key file and the database is an admin by nature."""
    return Actor(f"terminal:{system_user}", Role.ADMIN, Face.TERMINAL)


def identify_staff(database: Database, email: str, *, claimant: Actor, subject: str, now: datetime) -> Actor:
    """Find who acts by a staff address, through the face of the claimant, who gives the address.

    Raises:
        UnknownStaffError: nobody on the staff has it; the claimant's try is in the audit log, without the address.
    """
    with database.read() as session:
        member = find_staff_member(session, email)
    if member is None:
        with database.write() as session:
            record_audit(session, "refused: acting as staff", subject, {}, actor=claimant.name, now=now)
        raise UnknownStaffError(
            "--as: nobody on the staff has this address. See 'digest staff list', or leave --as out: then you act as "
            "the user of this terminal."
        )
    return Actor(staff_actor(member), Role(member.role), claimant.face)
