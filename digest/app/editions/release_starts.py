"""What makes an edition that is due go out in this installation."""

from enum import StrEnum

from sqlalchemy.orm import Session

from digest.deliver.control.installation_hold import current_hold
from digest.store.timetable_slots import find_timetable_start


class ReleaseStart(StrEnum):
    """What an approved edition that is due waits for."""

    TIMETABLE = "timetable"  # a process follows it, and sends within a minute
    COMMAND = "command"  # nobody follows the timetable: somebody runs 'digest send'
    END_OF_HOLD = "end of hold"


def find_release_start(session: Session) -> ReleaseStart:
    """Find what makes an edition that is due go out. Whether the timetable's process runs at this moment is not known."""
    if current_hold(session):
        return ReleaseStart.END_OF_HOLD
    return ReleaseStart.TIMETABLE if find_timetable_start(session) else ReleaseStart.COMMAND
