"""Who acts: a name for the audit log, a role, and the face through which the act came."""

from dataclasses import dataclass
from enum import StrEnum

from digest.store.engine import Database
from digest.store.staff import find_staff_member, staff_actor
from subscribers.errors import ApplicationError


class Role(StrEnum):
    """What an actor may do. An admin may do all that an editor may."""

    EDITOR = "editor"
    ADMIN = "admin"
    SYSTEM = "system"  # the timetable and the webhooks: they do what an admin's settings tell them


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


def identify_staff(database: Database, email: str, face: Face) -> Actor:
    """Find who acts by a staff address.

    Raises:
        UnknownStaffError: nobody on the staff has it.
    """
    with database.read() as session:
        member = find_staff_member(session, email)
    if member is None:
        raise UnknownStaffError("nobody on the staff has this address. See 'digest staff list'.")
    return Actor(staff_actor(member), Role(member.role), face)
