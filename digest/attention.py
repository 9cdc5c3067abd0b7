"""What somebody should look at now, one sentence each: the desk, `digest status` and `digest doctor` say the same."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.sources import troubled
from digest.db import Edition, EditionState
from digest.deliver import erasures, holding, steering
from digest.deliver.inbound import pulling
from digest.deliver.orders import hindrance
from digest.edition.editions import missed
from subscribers import limits
from subscribers.transfer.importing import unfinished

NAMED = 3  # sources


def needed(session: Session, now: datetime) -> list[str]:
    """Give the sentences; none where all is as usual."""
    return list(_needed(session, now))


def _needed(session: Session, now: datetime) -> Iterator[str]:
    held = holding.held(session)
    if held is not None:
        yield f"Nothing leaves: {held}"
    resting = select(Edition).where(Edition.paused_at.is_not(None), Edition.state.in_(steering.UNDER_WAY))
    for edition in session.scalars(resting.order_by(Edition.release_at)):
        yield hindrance(edition.name, edition, None)
    alarm = limits.open_alarm(session)
    if alarm is not None:
        yield limits.in_words(alarm)
    for one in unfinished(session):
        yield one.sentence
    for edition in session.scalars(select(Edition).where(Edition.state == EditionState.APPROVED)):
        if words := missed(edition, now):
            yield f"{edition.name} did not go out. {words}"
    if sources := [trouble.name for trouble in troubled(session, now)]:
        yield f"Nothing comes in from {_named(sources)}: see Sources at the desk, or 'digest sources list'."
    if unread := pulling.trouble_of_last_run(session):
        yield f"SendGrid's lists were not read whole last time: {unread}. The next night tries again, or 'digest subscribers pull'."
    if untaken := erasures.stuck(session):
        yield untaken


def _named(names: list[str]) -> str:
    if len(names) > NAMED:
        names = [*names[:NAMED], f"{len(names) - NAMED} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
