"""What somebody should look at now, one sentence each: the desk, `digest status` and `digest doctor` say the same."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.db import Edition
from digest.deliver import holding, steering
from digest.deliver.orders import hindrance
from subscribers import limits
from subscribers.transfer.importing import unfinished


def needed(session: Session) -> list[str]:
    """Give the sentences; none where all is as usual."""
    return list(_needed(session))


def _needed(session: Session) -> Iterator[str]:
    held = holding.held(session)
    if held is not None:
        yield f"Nothing leaves: {held}"
    resting = select(Edition).where(Edition.paused_at.is_not(None), Edition.state.in_(steering.GOES_OUT))
    for edition in session.scalars(resting.order_by(Edition.release_at)):
        yield hindrance(edition.name, edition, None)
    alarm = limits.open_alarm(session)
    if alarm is not None:
        yield limits.in_words(alarm)
    for one in unfinished(session):
        yield one.sentence
