"""What pauses a send until somebody has looked: complaints, dead addresses, policy refusals, a list that changed much.

Counts decide on small lists, shares on large ones: three complaints out of 200 readers are too many, and out of
20,000 they are not. Gmail reports no single complaints, so none counted does not mean none made.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import distinct, exists, func, select, text
from sqlalchemy.orm import Session

from digest.deliver.control import edition_control
from digest.deliver.events.delivery_event import EventKind
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import count_deliveries, edition_purpose
from digest.deliver.send.claims.progress import read_progress
from digest.settings import AlertSettings
from digest.store.delivery_models import ALARMING_EVENTS, Delivery, Event
from digest.store.engine import Database
from digest.store.models import Edition, EditionState

log = structlog.get_logger("sending")


@dataclass(frozen=True, slots=True)
class FailureCounts:
    """How many deliveries of an edition failed, by kind of failure."""

    complaints: int = 0
    dead_addresses: int = 0  # there is no such mailbox, or probably not
    policy_refusals: int = 0  # for our reputation or our authentication


def count_failures(session: Session, purpose: str, since: datetime) -> FailureCounts:
    """Count the failures of a purpose's deliveries that were reported since a moment."""
    # Not a join: SQLite would begin it at all deliveries of the purpose, every few seconds of a send.
    of_purpose = exists().where(Delivery.id == Event.delivery, Delivery.purpose == purpose)
    query = (
        select(Event.kind, Event.cause, func.count(distinct(Event.delivery)).label("many"))
        .where(text(ALARMING_EVENTS), Event.received_at > since, of_purpose)
        .group_by(Event.kind, Event.cause)
    )
    complaints = dead = policy = 0
    for row in session.execute(query):
        if row.kind == EventKind.COMPLAINED:
            complaints += row.many
        elif row.cause == FailureCause.POLICY:
            policy += row.many
        else:
            dead += row.many
    return FailureCounts(complaints, dead, policy)


def find_alarm(session: Session, edition: Edition, alerts: AlertSettings, *, handed_over: int | None = None) -> str:
    """Return in a sentence why an edition should be paused for what failed since it was last resumed; empty: no reason.

    `handed_over` is how many messages of it left so far; without it they are counted, where that can matter.
    """
    since = edition.resumed_at or edition.planned_at
    if since is None:
        return ""
    failures = count_failures(session, edition_purpose(edition.name), since)
    if handed_over is None:
        progress = read_progress(session, edition.name)
        if not pause_reason(failures, progress.attempted if progress else 0, alerts):  # of more it is a smaller share
            return ""
        handed_over = count_deliveries(session, edition_purpose(edition.name)).handed_over
    return pause_reason(failures, handed_over, alerts)


def raise_alarm(database: Database, edition: str, reason: str, *, now: datetime) -> None:
    """Pause an edition and say so in the log and the audit log, unless it is paused already, or over."""
    with suppress(edition_control.EditionControlError), database.write() as session:
        if edition_control.pause_by_alarm(session, edition, reason, now=now):
            log.error("sending paused", edition=edition, why=reason)


def pause_alarming_editions(database: Database, alerts: AlertSettings, *, now: datetime) -> None:
    """Pause whatever is being sent and failed too often, also while no run is at it: the rest waits for the canary."""
    sending = select(Edition).where(Edition.state == EditionState.SENDING, Edition.paused_at.is_(None))
    with database.read() as session:
        reasons = {edition.name: find_alarm(session, edition, alerts) for edition in session.scalars(sending)}
    for name, reason in reasons.items():
        if reason:
            raise_alarm(database, name, reason, now=now)


@dataclass(frozen=True, slots=True)
class AlarmReading:
    """How far one alarm is: it rings once `count` reaches both its number and its share of what was handed over."""

    name: str  # policy refusals | complaints | dead addresses
    count: int
    handed_over: int
    rings_at: int
    rings_at_share: float

    @property
    def is_ringing(self) -> bool:
        """Whether it rings."""
        return self.count >= self.rings_at and self.count >= self.rings_at_share * self.handed_over


def read_alarms(failures: FailureCounts, handed_over: int, alerts: AlertSettings) -> tuple[AlarmReading, ...]:
    """Return how far each alarm is, the one first that says most about what is wrong."""
    return (
        AlarmReading(
            "policy refusals",
            failures.policy_refusals,
            handed_over,
            alerts.policy_refusals,
            alerts.policy_refusals_share,
        ),
        AlarmReading("complaints", failures.complaints, handed_over, alerts.complaints, alerts.complaints_share),
        AlarmReading(
            "dead addresses", failures.dead_addresses, handed_over, alerts.hard_bounces, alerts.hard_bounces_share
        ),
    )


def pause_reason(failures: FailureCounts, handed_over: int, alerts: AlertSettings) -> str:
    """Return in a sentence why a send should pause; empty where it need not."""
    ringing = next((reading for reading in read_alarms(failures, handed_over, alerts) if reading.is_ringing), None)
    if ringing is None:
        return ""
    many = f"{ringing.count:,} of {handed_over:,}"
    return {
        "policy refusals": f"mailbox providers refused {many} emails by policy (DKIM, SPF, DMARC, reputation). "
        "Run 'digest doctor' and check their replies.",
        "complaints": f"{many} subscribers reported the email as spam. There may be more, because Gmail doesn't report complaints.",
        "dead addresses": f"{many} addresses don't exist. Check where the list comes from.",
    }[ringing.name]


def list_change_warning(planned_before: int | None, planned: int, alerts: AlertSettings) -> str:
    """Return a sentence if the list changed too much since the edition before; empty where it did not."""
    if planned_before is None or not alerts.list_drift:
        return ""
    change = abs(planned - planned_before)
    if change < alerts.list_drift_people or change <= alerts.list_drift * planned_before:
        return ""
    word = "grew" if planned > planned_before else "shrank"
    return (
        f"the list {word} from {planned_before:,} to {planned:,} subscribers since the previous edition. Is that right?"
    )
