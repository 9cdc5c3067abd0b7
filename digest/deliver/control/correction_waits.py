"""Corrections whose emails wait for an hour because a mail server refused one of them.

An edition would be paused until someone resumes it. A correction must not depend on that, because
the error stays uncorrected until then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.store.delivery_models import OPEN_STATES, Delivery, StoredInstallationValue

WAIT = timedelta(hours=1)
# Prefix of the state's name. There's one per correction, so that processes don't overwrite each other's.
_PREFIX = "refusal of "
_NAME = StoredInstallationValue.name
_IS_WAIT = _NAME.startswith(_PREFIX)


@dataclass(frozen=True, slots=True)
class CorrectionWait:
    """The time until which a correction's emails wait, and the reply that refused one of them."""

    until: datetime
    reply: str

    def is_over(self, now: datetime) -> bool:
        """Return True if the wait is over.

        It also counts as over if the clock was set back.
        """
        return not now < self.until <= now + WAIT


def read_correction_waits(session: Session) -> Mapping[str, CorrectionWait]:
    """Return the waits, keyed by the purpose of the correction's deliveries.

    Waits that are over but haven't been deleted are included.
    """
    rows = session.execute(select(_NAME, StoredInstallationValue.value).where(_IS_WAIT))
    return {
        name.removeprefix(_PREFIX): CorrectionWait(datetime.fromisoformat(stored["until"]), stored["reply"])
        for name, stored in rows
    }


def start_correction_wait(session: Session, purpose: str, reply: str, *, now: datetime) -> bool:
    """Make a correction's emails wait for an hour.

    Return True if it's the first wait since one of its emails was accepted.
    """
    key = _PREFIX + purpose
    is_first = installation_hold.read_installation_value(session, key) is None
    stored = {"until": (now + WAIT).isoformat(), "reply": reply}
    installation_hold.write_installation_value(session, key, stored, now=now)
    return is_first


def end_correction_wait(session: Session, purpose: str) -> None:
    """Delete a correction's wait because one of its emails was accepted."""
    installation_hold.delete_installation_value(session, _PREFIX + purpose)


def delete_finished_waits(session: Session) -> None:
    """Delete the waits of corrections that have no emails left to send."""
    is_own = Delivery.purpose == func.substr(_NAME, len(_PREFIX) + 1)
    is_unfinished = exists().where(is_own, Delivery.state.in_(OPEN_STATES))
    session.execute(delete(StoredInstallationValue).where(_IS_WAIT, ~is_unfinished))
