"""Corrections whose message the mail server refused: their emails wait for an hour and are then retried.

An edition would be paused until someone resumes it. A correction shouldn't depend on that, since the error stays
uncorrected until then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.store.delivery_models import OPEN_STATES, Delivery, StoredInstallationValue

WAIT = timedelta(hours=1)
_PREFIX = "refusal of "  # of the state names; one per correction, so that processes don't overwrite each other's
_NAME = StoredInstallationValue.name
_IS_WAIT = _NAME.startswith(_PREFIX)


@dataclass(frozen=True, slots=True)
class CorrectionWait:
    """The time until which a correction's emails wait, and the reply that refused the message."""

    until: datetime
    reply: str

    def is_over(self, now: datetime) -> bool:
        """Return whether the wait is over. If the clock was set back, it's over, too."""
        return not now < self.until <= now + WAIT


def read_correction_waits(session: Session) -> Mapping[str, CorrectionWait]:
    """Return the waits, by the purpose of the correction's deliveries, including those that are over but not deleted."""
    rows = session.execute(select(_NAME, StoredInstallationValue.value).where(_IS_WAIT))
    return {
        name.removeprefix(_PREFIX): CorrectionWait(datetime.fromisoformat(stored["until"]), stored["reply"])
        for name, stored in rows
    }


def start_correction_wait(session: Session, purpose: str, reply: str, *, now: datetime) -> bool:
    """Make a correction's emails wait for an hour, and return whether it's the first time since one was accepted."""
    key = _PREFIX + purpose
    is_first = installation_hold.read_installation_state(session, key) is None
    stored = {"until": (now + WAIT).isoformat(), "reply": reply}
    installation_hold.write_installation_state(session, key, stored, now=now)
    return is_first


def end_correction_wait(session: Session, purpose: str) -> None:
    """Delete a correction's wait, because one of its emails was accepted."""
    installation_hold.delete_installation_state(session, _PREFIX + purpose)


def delete_finished_waits(session: Session) -> None:
    """Delete the waits of corrections without any emails left to send."""
    is_own = Delivery.purpose == func.substr(_NAME, len(_PREFIX) + 1)
    is_unfinished = exists().where(is_own, Delivery.state.in_(OPEN_STATES))
    session.execute(delete(StoredInstallationValue).where(_IS_WAIT, ~is_unfinished))
