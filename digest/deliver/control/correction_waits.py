"""Corrections whose message the mail server refuses: their emails wait for an hour at a time, and are tried again.

An edition would be paused until someone resumes it. A correction mustn't depend on that: what it corrects stays wrong meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.store.delivery_models import OPEN_STATES, Delivery, StoredInstallationValue

WAIT = timedelta(hours=1)
_PREFIX = "refusal of "  # of the names of installation states, one per correction, so that processes don't overwrite each other's
_NAME = StoredInstallationValue.name
_IS_WAIT = _NAME.startswith(_PREFIX)


@dataclass(frozen=True, slots=True)
class CorrectionWait:
    """Until when the emails of a correction wait, and the reply that refused its message."""

    until: datetime
    reply: str

    def is_over(self, now: datetime) -> bool:
        """Return whether they may be tried again; a clock that was set back ends the wait, too."""
        return not now < self.until <= now + WAIT


def read_correction_waits(session: Session) -> Mapping[str, CorrectionWait]:
    """Return the corrections that wait or waited, by the purpose of their deliveries, until an email of them is accepted."""
    rows = session.execute(select(_NAME, StoredInstallationValue.value).where(_IS_WAIT))
    return {
        name.removeprefix(_PREFIX): CorrectionWait(datetime.fromisoformat(stored["until"]), stored["reply"])
        for name, stored in rows
    }


def note_correction_wait(session: Session, purpose: str, reply: str, *, now: datetime) -> bool:
    """Let the emails of a correction wait; return whether it's the first time since one was accepted."""
    key = _PREFIX + purpose
    is_first = installation_hold.read_installation_state(session, key) is None
    stored = {"until": (now + WAIT).isoformat(), "reply": reply}
    installation_hold.write_installation_state(session, key, stored, now=now)
    return is_first


def end_correction_wait(session: Session, purpose: str) -> None:
    """Forget that the emails of a correction waited: one was accepted."""
    installation_hold.delete_installation_state(session, _PREFIX + purpose)


def delete_finished_waits(session: Session) -> None:
    """Forget the corrections that have no email left to send, even if none was accepted."""
    is_own = Delivery.purpose == func.substr(_NAME, len(_PREFIX) + 1)
    is_unfinished = exists().where(is_own, Delivery.state.in_(OPEN_STATES))
    session.execute(delete(StoredInstallationValue).where(_IS_WAIT, ~is_unfinished))
