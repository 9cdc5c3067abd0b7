"""What lets a send rest until somebody has looked: complaints, dead addresses, refusals of our mail, an odd list.

Counts decide on small lists, shares on large ones: three complaints out of 200 readers are too many, and out of
20,000 they are not. Gmail tells nobody about single complaints, so none does not mean that there was none.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import distinct, func, select, text
from sqlalchemy.orm import Session

from digest.deliver.causes import Cause
from digest.deliver.judging import Kind
from digest.delivery_db import ALARMING, Delivery, Event
from digest.settings import Alerts


@dataclass(frozen=True, slots=True)
class Trouble:
    """How many deliveries of an edition came to what."""

    complaints: int = 0
    dead: int = 0  # there is no such mailbox, or probably not
    policy: int = 0  # our standing or our authentication was refused


def trouble(session: Session, purpose: str, since: datetime) -> Trouble:
    """Count what was said of a purpose's deliveries since a moment."""
    query = (
        select(Event.kind, Event.cause, func.count(distinct(Event.delivery)).label("many"))
        .join(Delivery, Delivery.id == Event.delivery)
        .where(text(ALARMING), Event.received_at > since, Delivery.purpose == purpose)
        .group_by(Event.kind, Event.cause)
    )
    complaints = dead = policy = 0
    for row in session.execute(query):
        if row.kind == Kind.COMPLAINED:
            complaints += row.many
        elif row.cause == Cause.POLICY:
            policy += row.many
        else:
            dead += row.many
    return Trouble(complaints, dead, policy)


def verdict(found: Trouble, handed_over: int, alerts: Alerts) -> str:
    """Say in a sentence why a send should rest; empty where it need not."""
    if _too_many(found.policy, handed_over, alerts.policy_refusals, alerts.policy_refusals_share):
        return (
            f"servers refused {found.policy:,} of {handed_over:,} messages for what we are (policy, DKIM, SPF, DMARC). "
            "Look at 'digest doctor' and at the replies."
        )
    if _too_many(found.complaints, handed_over, alerts.complaints, alerts.complaints_share):
        return (
            f"{found.complaints:,} of {handed_over:,} readers reported the mail as unwanted. "
            "Gmail does not tell, so there may be more."
        )
    if _too_many(found.dead, handed_over, alerts.hard_bounces, alerts.hard_bounces_share):
        return f"{found.dead:,} of {handed_over:,} addresses do not exist. Where does the list come from?"
    return ""


def _too_many(count: int, of: int, most: int, share: float) -> bool:
    return count >= most and count >= share * of


def drift(before: int | None, planned: int, alerts: Alerts) -> str:
    """Say in a sentence that the list changed too much since the edition before; empty where it did not."""
    if before is None or not alerts.list_drift:
        return ""
    change = abs(planned - before)
    if change < alerts.list_drift_people or change <= alerts.list_drift * before:
        return ""
    word = "grew" if planned > before else "shrank"
    return f"the list {word} from {before:,} to {planned:,} readers since the edition before. Is that right?"
