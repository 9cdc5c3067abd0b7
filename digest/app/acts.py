"""Who acts, and how an act is carried out: the role is checked first, the audit row is written with what the act changed.

A refused act leaves its refusal in the audit log and nothing else. An act that failed is written as failed: its
own transaction was rolled back, so the row stands in one of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from digest.app.storage_errors import explain_storage_error
from digest.deliver.providers.base import scrub_addresses
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


MAX_MESSAGE_LENGTH = 300  # of why an act failed
log = structlog.get_logger("acts")


class NotPermittedError(ApplicationError):
    """The actor's role does not allow the act."""


def _describe_failure(exc: BaseException) -> dict[str, str]:
    """Say why an act failed, for the audit log. Other errors than our own may quote anything: of these the log has the name alone."""
    failure = {"error": type(exc).__name__}
    if isinstance(exc, ApplicationError) and (message := exc.message or str(exc)):
        # Of a member of the staff it may hold the address.
        failure["message"] = scrub_addresses(message)[:MAX_MESSAGE_LENGTH]
    return failure


@dataclass(slots=True)
class AuditDraft:
    """What the audit row of an act will say. An act that finds nothing to change sets `changed` to False."""

    act: str
    actor: str
    now: datetime
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    changed: bool = True
    recorded: bool = False

    def record(self, session: Session) -> None:
        """Write the row in one of the act's own transactions; an act may write several."""
        record_audit(session, self.act, self.subject, self.detail, actor=self.actor, now=self.now)
        self.recorded = True


@dataclass(frozen=True, slots=True)
class Act:
    """One kind of act: the words of its audit row, and the role that it takes."""

    name: str
    role: Role

    @contextmanager
    def transaction(
        self, database: Database, actor: Actor, subject: str, *, now: datetime
    ) -> Iterator[tuple[Session, AuditDraft]]:
        """Lend the one write transaction of an act; its audit row commits with it.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
        """
        with self._attempt(database, actor, subject, now) as draft, database.write() as session:
            yield session, draft
            if draft.changed:
                draft.record(session)

    @contextmanager
    def steps(self, database: Database, actor: Actor, subject: str, *, now: datetime) -> Iterator[AuditDraft]:
        """Frame an act that takes several transactions.

        The audit row is written when all are done, unless the act has recorded it in a transaction of its own.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
        """
        with self._attempt(database, actor, subject, now) as draft:
            yield draft
            if draft.changed and not draft.recorded:
                with database.write() as session:
                    draft.record(session)

    def check_role(self, database: Database, actor: Actor, subject: str, *, now: datetime) -> None:
        """Refuse an actor without the role; all that an act which only looks has to do.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
        """
        if actor.holds(self.role):
            return
        detail = {"role": str(actor.role), "needed": str(self.role)}
        with database.write() as session:
            record_audit(session, f"refused: {self.name}", subject, detail, actor=actor.name, now=now)
        raise NotPermittedError(f"{actor.name} is an {actor.role}: only an {self.role} may do this.")

    @contextmanager
    def _attempt(self, database: Database, actor: Actor, subject: str, now: datetime) -> Iterator[AuditDraft]:
        """Check the role, and write a failure down."""
        self.check_role(database, actor, subject, now=now)
        draft = AuditDraft(self.name, actor.name, now, subject)
        try:
            yield draft
        except BaseException as exc:
            draft.act, draft.detail = f"failed: {self.name}", draft.detail | _describe_failure(exc)
            try:
                with database.write() as session:
                    draft.record(session)
            except SQLAlchemyError:
                # The failure itself matters more than that it could not be written down. Where the database is what failed,
                # whoever catches that says so.
                if not explain_storage_error(exc):
                    log.exception("a failed act could not be recorded", act=self.name, actor=actor.name)
            raise
