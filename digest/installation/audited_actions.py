"""Audited actions and the actors who perform them.

An action first checks the role of its actor, and its audit row is committed together with its
changes. A refused action has no effect except its row in the audit log. The transaction of a failed
action is rolled back, so its row is written in a separate one.
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
from digest.installation.action_words import ActionDeclaration, find_action
from digest.installation.action_words import Role as Role  # noqa: PLC0414 - for users of actors
from digest.installation.guarded_action_notices import (
    GuardedActionNotice,
    GuardedNoticeRecipients,
    count_address_access,
    find_guarded_notice_recipients,
)
from digest.installation.opened_installation import Installation, InstallationError
from digest.installation.storage_errors import explain_storage_error
from digest.settings import Settings
from digest.settings.guarded_areas import GuardedArea
from digest.store.audit import record_audit
from digest.store.engine import Database
from digest.store.staff import find_staff_member, name_member_number, staff_actor
from subscribers.crypto.keys import KeyFileError
from subscribers.english_text import capitalize_first
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger


class ActionEntryPoint(StrEnum):
    """The interface through which an action reached the application."""

    TERMINAL = "terminal"
    DESK = "desk"
    TIMETABLE = "timetable"


CONFIRMATION_LIFETIME = timedelta(minutes=15)  # guarded actions require a confirmation this recent


class UnknownStaffError(ApplicationError):
    """Raised if no staff member has the address that someone wants to act as."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The name, role, and interface of the person or process that performs an action.

    `name` is the name in the audit log: `staff 3`, `terminal:…`, or `scheduler`. `confirmed_at` is
    when a person at the desk last confirmed who they are.
    """

    name: str
    role: Role
    face: ActionEntryPoint
    confirmed_at: datetime | None = None

    def holds(self, role: Role) -> bool:
        """Return True if the actor may do everything that `role` may do."""
        return self.role is role or self.role in (Role.ADMIN, Role.SYSTEM)

    def is_confirmed(self, now: datetime) -> bool:
        """Return True if the actor confirmed who they are within the last 15 minutes.

        Terminals and the scheduler can't be asked to confirm, so they count as confirmed.
        """
        if self.face is not ActionEntryPoint.DESK:
            return True
        return self.confirmed_at is not None and now - self.confirmed_at < CONFIRMATION_LIFETIME


SCHEDULER = Actor("scheduler", Role.SYSTEM, ActionEntryPoint.TIMETABLE)


def make_terminal_actor(system_user: str) -> Actor:
    """Return the actor for a user of the terminal.

    The actor is an admin, because anyone who can read the key file and the database effectively is
    one.
    """
    return Actor(f"terminal:{system_user}", Role.ADMIN, ActionEntryPoint.TERMINAL)


def identify_staff(database: Database, email: str, *, claimant: Actor, subject: str, now: datetime) -> Actor:
    """Return the staff member with an address as an actor at the claimant's interface.

    Raises:
        UnknownStaffError: no staff member has the address. The attempt is recorded in the audit log
            without the address.
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
MAX_MESSAGE_LENGTH = 300  # characters, for the message of a failed action
log = get_logger("acts")


class NotPermittedError(ApplicationError):
    """Raised if the role of the actor doesn't allow the action."""


class ConfirmationRequiredError(ApplicationError):
    """Raised if an action is guarded, and the actor confirmed who they are too long ago."""

    def __init__(self) -> None:
        super().__init__("Your change wasn't saved.", remedy="Confirm your identity, then try again.")


def _describe_failure(exc: BaseException) -> dict[str, str]:
    """Return the reason that an action failed, for the audit log.

    Errors that aren't ours may quote anything, so only their names are logged.
    """
    failure = {"error": type(exc).__name__}
    if isinstance(exc, ApplicationError) and (message := exc.message or str(exc)):
        # A message about a staff member may contain an address.
        failure["message"] = scrub_addresses(message)[:MAX_MESSAGE_LENGTH]
    return failure


@dataclass(slots=True)
class PendingAuditEntry:
    """The audit row of an action in progress, and the email to admins that it may require.

    The action sets `changed` to False if there was nothing to change, and `recorded` to True if the
    store writes the row. `guarded_areas` and `words` come from the action, or from `guard` if
    they're known only later. `recipients` are the people who may be emailed, and `settings`
    determine the sender. Both are from before the action. Without keys, the staff is unknown, so an
    action that restores the keys determines the recipients when it's done.
    """

    act: str
    actor: Actor
    now: datetime
    subject: str
    installation: Installation
    guarded_areas: tuple[GuardedArea, ...] = ()
    words: str = ""
    undo_path: str = ""  # of the page that the email to admins links to
    detail: dict[str, Any] = field(default_factory=dict)
    changed: bool = True
    recorded: bool = False
    are_admins_told: bool = False
    recipients: GuardedNoticeRecipients | None = field(default_factory=GuardedNoticeRecipients)
    settings: Settings = field(init=False)

    def guard(self, guarded_areas: Iterable[GuardedArea], words: str) -> None:
        """Set the areas that the action weakens or affects, and its wording.

        Raises:
            ConfirmationRequiredError: the actor confirmed who they are too long ago.
        """
        self.guarded_areas, self.words = tuple(sorted(set(guarded_areas))), words
        if any(c.needs_confirmation for c in self.guarded_areas) and not self.actor.is_confirmed(self.now):
            raise ConfirmationRequiredError
        if any(c.weakens_control for c in self.guarded_areas):
            self.recipients = None
            with suppress(KeyFileError, InstallationError):
                self.recipients = self._find_recipients()
            self.settings = self.installation.settings

    def _find_recipients(self) -> GuardedNoticeRecipients:
        return find_guarded_notice_recipients(self.installation.database, self._signed_in_as)

    @property
    def _signed_in_as(self) -> str:
        """The name of the staff member who signed in, or an empty string.

        It's empty for `--as` in a terminal, which doesn't prove anything.
        """
        return self.actor.name if self.actor.face is ActionEntryPoint.DESK else ""

    def record(self, session: Session) -> None:
        """Write an audit row in one of the action's transactions.

        The email to admins is committed with the row. There may be several rows.
        """
        self.notify_admins(session)
        record_audit(session, self.act, self.subject, self.detail, actor=self.actor.name, now=self.now)
        self.recorded = True

    def notify_admins(self, session: Session) -> None:
        """Queue the email about a weakened control, at most once, and count the action if it accesses addresses."""
        if self.actor.role is Role.SYSTEM:
            return  # the system acts according to the admins' settings
        if {GuardedArea.ADDRESSES, GuardedArea.EXPORT}.intersection(self.guarded_areas):
            count_address_access(session, self.words, self.actor.name, now=self.now)
        if self.are_admins_told:
            return
        affected = ", and ".join(guarded_area for guarded_area in self.guarded_areas if guarded_area.weakens_control)
        notice = GuardedActionNotice(
            self.actor.name, str(self.actor.face), self.words, self.subject, affected, self.now, self.undo_path
        )
        try:
            known_recipients = self._find_recipients() if self.recipients is None else self.recipients
            if not (recipients := known_recipients.find_by_subject(self.subject)):
                return
            notice.queue(session, self.installation.keys, self.settings, recipients)
        except (KeyFileError, InstallationError) as exc:
            # Emergencies can't wait for the keys, and without keys, no email can be sent.
            log.warning("admins weren't emailed about a guarded action", act=self.act, why=str(exc))
            self.detail |= {"not emailed": type(exc).__name__}
        self.are_admins_told = True

    def finish(self, session: Session) -> None:
        """At the end of the action, record it and notify admins, unless that has been done."""
        if self.changed and not self.recorded:
            self.record(session)
        elif self.changed and not self.are_admins_told:
            self.notify_admins(session)


@dataclass(frozen=True, slots=True)
class Action:
    """A kind of action that's checked against a role and recorded in the audit log.

    `name` is its name in the audit log. `actions.toml` declares everything else about it.
    """

    name: str

    @property
    def role(self) -> Role:
        """The role that the action requires."""
        role = self._find_declaration().role
        if role is None:
            raise LookupError(f"actions.toml declares no role for {self.name}")
        return role

    @property
    def guarded_area(self) -> GuardedArea:
        """The area that the action affects."""
        area = self._find_declaration().area
        if area is None:
            raise LookupError(f"actions.toml declares no area for {self.name}")
        return area

    @property
    def words(self) -> str:
        """The wording that completes "Dana (team member 3) …" in the audit log and in emails to admins."""
        return self._find_declaration().words

    def _find_declaration(self) -> ActionDeclaration:
        declaration = find_action(self.name)
        if declaration is None:
            raise LookupError(f"actions.toml doesn't declare {self.name}")
        return declaration

    @contextmanager
    def transaction(
        self, installation: Installation, actor: Actor, subject: str, *, now: datetime
    ) -> Iterator[tuple[Session, PendingAuditEntry]]:
        """Yield the only write transaction of an action, and its pending audit entry.

        The audit row and the email to admins are committed with the transaction.

        Raises:
            NotPermittedError: the actor lacks the role. The refusal is recorded in the audit log.
            ConfirmationRequiredError: the action is guarded, and the actor confirmed who they are
                too long ago. This is also recorded in the audit log.
        """
        with self._attempt(installation, actor, subject, now) as draft, installation.write() as session:
            yield session, draft
            if draft.changed:
                draft.finish(session)

    @contextmanager
    def steps(
        self, installation: Installation, actor: Actor, subject: str, *, now: datetime
    ) -> Iterator[PendingAuditEntry]:
        """Yield the pending audit entry of an action that takes several transactions.

        The audit row is written at the end, unless the action has recorded it in one of its
        transactions.

        Raises:
            NotPermittedError: the actor lacks the role. The refusal is recorded in the audit log.
            ConfirmationRequiredError: the action is guarded, and the actor confirmed who they are
                too long ago. This is also recorded in the audit log.
        """
        with self._attempt(installation, actor, subject, now) as draft:
            yield draft
            if draft.changed and not draft.recorded:
                with installation.write() as session:
                    draft.finish(session)

    def check_role(self, installation: Installation, actor: Actor, subject: str, *, now: datetime) -> None:
        """Check that the actor has the role. Read-only actions don't need any other check.

        Raises:
            NotPermittedError: the actor lacks the role. The refusal is recorded in the audit log.
        """
        if actor.holds(self.role):
            return
        detail = {"role": str(actor.role), "needed": str(self.role)}
        self._record_refusal(installation, actor, subject, detail, now)
        raise NotPermittedError(
            f"{capitalize_first(name_member_number(actor.name))} is an {actor.role}, and only an {self.role} can do this. Ask an {self.role}."
        )

    def check_permitted(self, installation: Installation, actor: Actor, subject: str, *, now: datetime) -> None:
        """Check that the actor has the role and, for a guarded action, a recent confirmation.

        Raises:
            NotPermittedError: the actor lacks the role. The refusal is recorded in the audit log.
            ConfirmationRequiredError: the confirmation is too old. This is also recorded in the
                audit log.
        """
        self.check_role(installation, actor, subject, now=now)
        if self.guarded_area.needs_confirmation and not actor.is_confirmed(now):
            self._record_refusal(installation, actor, subject, UNCONFIRMED_DETAIL, now)
            raise ConfirmationRequiredError

    def _record_refusal(
        self, installation: Installation, actor: Actor, subject: str, detail: dict[str, str], now: datetime
    ) -> None:
        with installation.write() as session:
            record_audit(session, f"refused: {self.name}", subject, detail, actor=actor.name, now=now)

    @contextmanager
    def _attempt(
        self, installation: Installation, actor: Actor, subject: str, now: datetime
    ) -> Iterator[PendingAuditEntry]:
        """Check the role and the confirmation, yield the pending audit entry, and record a failure."""
        self.check_permitted(installation, actor, subject, now=now)
        draft = PendingAuditEntry(self.name, actor, now, subject, installation)
        draft.guard([self.guarded_area], self.words)
        try:
            yield draft
        except ConfirmationRequiredError:
            self._record_refusal(installation, actor, subject, UNCONFIRMED_DETAIL, now)
            raise
        except BaseException as exc:
            detail = draft.detail | _describe_failure(exc)
            try:
                with installation.write() as session:
                    record_audit(session, f"failed: {self.name}", draft.subject, detail, actor=actor.name, now=now)
            except SQLAlchemyError:
                # The original failure is more important. If the database failed, the caller reports
                # that.
                if not explain_storage_error(exc):
                    log.exception("couldn't record a failed action", act=self.name, actor=actor.name)
            raise
