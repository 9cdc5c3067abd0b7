"""Who acts, and how an act is carried out: the role is checked first, the audit row is written with what the act changed.

A refused act leaves its refusal in the audit log and nothing else. An act that failed is written as failed: its
own transaction was rolled back, so the row stands in one of its own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from digest.deliver.events.server_replies import scrub_addresses
from digest.installation.action_words import find_action_words
from digest.installation.guarded_action_notices import (
    GuardedActionNotice,
    GuardedNoticeRecipients,
    count_address_access,
    find_guarded_notice_recipients,
)
from digest.installation.opened_installation import Installation, InstallationError
from digest.installation.storage_errors import explain_storage_error
from digest.settings import Settings
from digest.settings.affected_areas import AffectedArea
from digest.store.audit import record_audit
from digest.store.engine import Database
from digest.store.staff import find_staff_member, staff_actor
from subscribers.crypto.keys import KeyFileError
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger


class Role(StrEnum):
    """What an actor may do. An admin may do all that an editor may."""

    EDITOR = "editor"
    ADMIN = "admin"
    # The timetable and the webhooks: they do what an admin's settings tell them.
    SYSTEM = "system"


class ActionEntryPoint(StrEnum):
    """The way by which an act reached the application."""

    TERMINAL = "terminal"
    DESK = "desk"
    TIMETABLE = "timetable"


CONFIRMATION_LIFETIME = timedelta(minutes=15)  # after people prove who they are: guarded actions take a newer proof


class UnknownStaffError(ApplicationError):
    """Nobody on the staff has the address that somebody claims to act as."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `name` is what the audit log records: `staff 3`, `terminal:<system user>`, `scheduler`.

    `confirmed_at` is when somebody at the desk last proved who they are.
    """

    name: str
    role: Role
    face: ActionEntryPoint
    confirmed_at: datetime | None = None

    def holds(self, role: Role) -> bool:
        """Say whether the actor may do what `role` may."""
        return self.role is role or self.role in (Role.ADMIN, Role.SYSTEM)

    def is_confirmed(self, now: datetime) -> bool:
        """Return whether the actor proved who they are within the last 15 minutes. A terminal and the timetable can't be asked."""
        if self.face is not ActionEntryPoint.DESK:
            return True
        return self.confirmed_at is not None and now - self.confirmed_at < CONFIRMATION_LIFETIME


SCHEDULER = Actor("scheduler", Role.SYSTEM, ActionEntryPoint.TIMETABLE)


def terminal_actor(system_user: str) -> Actor:
    """Name whoever sits at the terminal: who can read the key file and the database is an admin by nature."""
    return Actor(f"terminal:{system_user}", Role.ADMIN, ActionEntryPoint.TERMINAL)


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
            "No team member has the address in --as. To list the team, run 'digest staff list'. To act as the "
            "user of this terminal, leave out --as."
        )
    return Actor(staff_actor(member), Role(member.role), claimant.face)


UNCONFIRMED_DETAIL = {"needed": "confirmation"}
MAX_MESSAGE_LENGTH = 300  # of why an act failed
log = get_logger("acts")


class NotPermittedError(ApplicationError):
    """The actor's role does not allow the act."""


class ConfirmationRequiredError(ApplicationError):
    """The action is guarded, and the actor's proof of who they are is too old."""

    def __init__(self) -> None:
        super().__init__("Your change wasn't saved.", remedy="Confirm your identity, then try again.")


def _describe_failure(exc: BaseException) -> dict[str, str]:
    """Say why an act failed, for the audit log. Other errors than our own may quote anything: of these the log has the name alone."""
    failure = {"error": type(exc).__name__}
    if isinstance(exc, ApplicationError) and (message := exc.message or str(exc)):
        # Of a member of the staff it may hold the address.
        failure["message"] = scrub_addresses(message)[:MAX_MESSAGE_LENGTH]
    return failure


@dataclass(slots=True)
class PendingAuditEntry:
    """The audit row of an action in progress, and the email to admins that its affected area asks for.

    An action that finds nothing to change sets `changed` to False; one whose row the store writes sets `recorded` to True.
    `affected_areas` and `words` are the action's; one that learns only later what it weakens replaces them by `guard`.
    `recipients` are who may have to be told, and `settings` whom emails come from, as they were before the action. Without keys,
    nobody knows who's on the staff: an action that puts the keys back asks once more when it's done.
    """

    act: str
    actor: Actor
    now: datetime
    subject: str
    installation: Installation
    affected_areas: tuple[AffectedArea, ...] = ()
    words: str = ""
    undo_path: str = ""  # of the page that the email to admins leads to
    detail: dict[str, Any] = field(default_factory=dict)
    changed: bool = True
    recorded: bool = False
    are_admins_told: bool = False
    recipients: GuardedNoticeRecipients | None = field(default_factory=GuardedNoticeRecipients)
    settings: Settings = field(init=False)

    def guard(self, affected_areas: Iterable[AffectedArea], words: str) -> None:
        """Take on what the action weakens or touches.

        Raises:
            ConfirmationRequiredError: the actor's proof of who they are is too old.
        """
        self.affected_areas, self.words = tuple(sorted(set(affected_areas))), words
        if any(c.needs_confirmation for c in self.affected_areas) and not self.actor.is_confirmed(self.now):
            raise ConfirmationRequiredError
        if any(c.weakens_control for c in self.affected_areas):
            self.recipients = None
            with suppress(KeyFileError, InstallationError):
                self.recipients = self._find_recipients()
            self.settings = self.installation.settings

    def _find_recipients(self) -> GuardedNoticeRecipients:
        return find_guarded_notice_recipients(self.installation.database, self._signed_in_as)

    @property
    def _signed_in_as(self) -> str:
        """The staff name that a sign-in proves; `--as` in a terminal proves nothing."""
        return self.actor.name if self.actor.face is ActionEntryPoint.DESK else ""

    def record(self, session: Session) -> None:
        """Write the row in one of the action's own transactions; an action may write several. The email commits with it."""
        self.tell(session)
        record_audit(session, self.act, self.subject, self.detail, actor=self.actor.name, now=self.now)
        self.recorded = True

    def tell(self, session: Session) -> None:
        """Queue the email of an action that weakens a control, once; count one that touches addresses."""
        if self.actor.role is Role.SYSTEM:
            return  # what admins' settings have it do
        if AffectedArea.ADDRESSES in self.affected_areas:
            count_address_access(session, self.words, self.actor.name, now=self.now)
        if self.are_admins_told:
            return
        affected = "; ".join(affected_area for affected_area in self.affected_areas if affected_area.weakens_control)
        notice = GuardedActionNotice(
            self.actor.name, str(self.actor.face), self.words, self.subject, affected, self.now, self.undo_path
        )
        try:
            known_recipients = self._find_recipients() if self.recipients is None else self.recipients
            if not (recipients := known_recipients.find_by_subject(self.subject)):
                return
            notice.queue(session, self.installation.keys, self.settings, recipients)
        except (KeyFileError, InstallationError) as exc:
            # An emergency must not wait for keys, and without them nothing can be sent.
            log.warning("admins weren't emailed about a guarded action", act=self.act, why=str(exc))
            self.detail |= {"not emailed": type(exc).__name__}
        self.are_admins_told = True

    def finish(self, session: Session) -> None:
        """Write what is still unwritten when the action is done."""
        if self.changed and not self.recorded:
            self.record(session)
        elif self.changed and not self.are_admins_told:
            self.tell(session)


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of action: the name in its audit row, the role that it takes, and what it weakens or touches.

    What it did, in words, is declared in `actions.toml`.
    """

    name: str
    role: Role
    affected_area: AffectedArea

    @property
    def words(self) -> str:
        """The words that complete "Dana (staff 3) …" in the audit log, and in emails to admins."""
        return find_action_words(self.name)

    @contextmanager
    def transaction(
        self, installation: Installation, actor: Actor, subject: str, *, now: datetime
    ) -> Iterator[tuple[Session, PendingAuditEntry]]:
        """Lend the one write transaction of an action; its audit row and its email to admins commit with it.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
            ConfirmationRequiredError: the action is guarded, and the actor's proof of who they are is too old; likewise.
        """
        with self._attempt(installation, actor, subject, now) as draft, installation.write() as session:
            yield session, draft
            if draft.changed:
                draft.finish(session)

    @contextmanager
    def steps(
        self, installation: Installation, actor: Actor, subject: str, *, now: datetime
    ) -> Iterator[PendingAuditEntry]:
        """Frame an action that takes several transactions.

        The audit row is written when all are done, unless the action has recorded it in a transaction of its own.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
            ConfirmationRequiredError: the action is guarded, and the actor's proof of who they are is too old; likewise.
        """
        with self._attempt(installation, actor, subject, now) as draft:
            yield draft
            if draft.changed and not draft.recorded:
                with installation.write() as session:
                    draft.finish(session)

    def check_role(self, database: Database, actor: Actor, subject: str, *, now: datetime) -> None:
        """Refuse an actor without the role; all that an act which only looks has to do.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
        """
        if actor.holds(self.role):
            return
        detail = {"role": str(actor.role), "needed": str(self.role)}
        self._record_refusal(database, actor, subject, detail, now)
        raise NotPermittedError(
            f"{actor.name} is an {actor.role}, and only an {self.role} can do this. Ask an {self.role}."
        )

    def check_permitted(self, database: Database, actor: Actor, subject: str, *, now: datetime) -> None:
        """Refuse an actor without the role, or whose proof of who they are is too old for a guarded action.

        Raises:
            NotPermittedError: the actor lacks the role; the refusal is in the audit log.
            ConfirmationRequiredError: the proof is too old; likewise.
        """
        self.check_role(database, actor, subject, now=now)
        if self.affected_area.needs_confirmation and not actor.is_confirmed(now):
            self._record_refusal(database, actor, subject, UNCONFIRMED_DETAIL, now)
            raise ConfirmationRequiredError

    def _record_refusal(
        self, database: Database, actor: Actor, subject: str, detail: dict[str, str], now: datetime
    ) -> None:
        with database.write() as session:
            record_audit(session, f"refused: {self.name}", subject, detail, actor=actor.name, now=now)

    @contextmanager
    def _attempt(
        self, installation: Installation, actor: Actor, subject: str, now: datetime
    ) -> Iterator[PendingAuditEntry]:
        """Check role and confirmation, and record a failure."""
        database = installation.database
        self.check_permitted(database, actor, subject, now=now)
        draft = PendingAuditEntry(self.name, actor, now, subject, installation)
        draft.guard([self.affected_area], self.words)
        try:
            yield draft
        except ConfirmationRequiredError:
            self._record_refusal(database, actor, subject, UNCONFIRMED_DETAIL, now)
            raise
        except BaseException as exc:
            detail = draft.detail | _describe_failure(exc)
            try:
                with database.write() as session:
                    record_audit(session, f"failed: {self.name}", draft.subject, detail, actor=actor.name, now=now)
            except SQLAlchemyError:
                # The failure itself matters more than that it could not be written down. Where the database is what failed,
                # whoever catches that says so.
                if not explain_storage_error(exc):
                    log.exception("a failed act could not be recorded", act=self.name, actor=actor.name)
            raise
