"""Corrections whose message the mail server refuses: their emails wait for an hour at a time, and are tried again.

An edition would be paused until someone resumes it. A correction mustn't depend on that: what it corrects stays wrong meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold

WAIT = timedelta(hours=1)
_STATE_KEY = "refused corrections"


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
    stored = installation_hold.read_installation_state(session, _STATE_KEY) or {}
    return {
        purpose: CorrectionWait(datetime.fromisoformat(one["until"]), one["reply"]) for purpose, one in stored.items()
    }


def note_correction_wait(session: Session, purpose: str, reply: str, *, now: datetime) -> bool:
    """Let the emails of a correction wait; return whether it's the first time since one was accepted."""
    waits = read_correction_waits(session)
    _write_waits(session, {**waits, purpose: CorrectionWait(now + WAIT, reply)}, now)
    return purpose not in waits


def end_correction_wait(session: Session, purpose: str, *, now: datetime) -> None:
    """Forget that the emails of a correction waited: one was accepted."""
    waits = read_correction_waits(session)
    if purpose in waits:
        _write_waits(session, {each: wait for each, wait in waits.items() if each != purpose}, now)


def _write_waits(session: Session, waits: Mapping[str, CorrectionWait], now: datetime) -> None:
    stored = {purpose: {"until": wait.until.isoformat(), "reply": wait.reply} for purpose, wait in waits.items()}
    installation_hold.write_installation_state(session, _STATE_KEY, stored, now=now)
