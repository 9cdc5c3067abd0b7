"""How an act is carried out: the role is checked first, the audit row is written with what the act changed.

A refused act leaves its refusal in the audit log and nothing else. An act that failed is written as failed: its
own transaction was rolled back, so the row stands in one of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from digest.app.actor import Actor, Role
from digest.store.audit import record_audit
from digest.store.engine import Database
from subscribers.errors import ApplicationError

log = structlog.get_logger("acts")


class NotPermittedError(ApplicationError):
    """The actor's role does not allow the act."""


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
            draft.act, draft.detail = f"failed: {self.name}", draft.detail | {"error": type(exc).__name__}
            try:
                with database.write() as session:
                    draft.record(session)
            except SQLAlchemyError:
                # The failure itself matters more than that it could not be written down.
                log.exception("a failed act could not be recorded", act=self.name, actor=actor.name)
            raise
