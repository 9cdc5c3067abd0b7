"""The deliveries of an edition, or of another purpose: what queries ask of them, and their counts by state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.delivery_models import CLAIMED_STATES, OPEN_STATES, Delivery, DeliveryState, DeliveryTotal
from digest.store.models import Edition
from subscribers.consent.breaking_news import BreakingNewsAudience, count_breaking_news_audience

# What's sent to many at once. After a restore, no one knows which of it went out.
BULK_KINDS = ("edition", "correction", "ask", "stay")
TEST_PURPOSE_PREFIX = "test:"
HANDED_OVER_STATES = (DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How many deliveries of a purpose are in each state. They balance: nobody is lost, nobody counted twice."""

    planned: int
    by_state: Mapping[DeliveryState, int]

    @property
    def is_balanced(self) -> bool:
        """Whether planned = waiting + reserved + handing over + accepted + refused + uncertain and so on."""
        return self.planned == sum(self.by_state.values())

    def __getitem__(self, state: DeliveryState) -> int:
        return self.by_state[state]

    @property
    def intended(self) -> int:
        """How many were to be sent: without people who paused, had no content in their sections, or unsubscribed before."""
        return self.planned - self.by_state[DeliveryState.SKIPPED] - self.by_state[DeliveryState.WITHDRAWN]

    @property
    def handed_over(self) -> int:
        """How many were handed over, whatever came of it."""
        return sum(self.by_state[state] for state in HANDED_OVER_STATES)

    @property
    def open(self) -> int:
        """How many wait, are reserved, or are being handed over."""
        return sum(self.by_state[state] for state in OPEN_STATES)

    @property
    def last_are_leaving(self) -> bool:
        """Whether nothing waits anymore, and runs have the last messages."""
        return 0 < self.open == sum(self.by_state[state] for state in CLAIMED_STATES)


# What queries ask of deliveries.
IS_WAITING = Delivery.state == DeliveryState.WAITING
IS_RESERVED = Delivery.state == DeliveryState.RESERVED
IS_CLAIMED = Delivery.state.in_(CLAIMED_STATES)
IS_HANDING_OVER = Delivery.state == DeliveryState.HANDING_OVER
IS_UNCERTAIN = Delivery.state == DeliveryState.UNCERTAIN


def is_bulk_delivery() -> ColumnElement[bool]:
    """Select the deliveries of what's sent to many at once."""
    return or_(*(Delivery.purpose.startswith(f"{kind}:") for kind in BULK_KINDS))


def is_delivery_of_edition(name: str) -> ColumnElement[bool]:
    """Select the deliveries of an edition."""
    return Delivery.purpose == make_edition_delivery_purpose(name)


def make_edition_delivery_purpose(edition: str) -> str:
    """Return the purpose of an edition's deliveries."""
    return f"edition:{edition}"


def make_correction_delivery_purpose(correction: Correction) -> str:
    """Return the purpose of a correction's emails: one for each person."""
    return f"correction:{correction.id}"


def count_deliveries(session: Session, purpose: str) -> DeliveryCounts:
    """Count the deliveries of a purpose by state, with those that were folded into totals; every state is there."""
    # All states are named, so that an index that begins with them answers alone: a million takes 60 ms in place of 300.
    mine = (Delivery.purpose == purpose, Delivery.state.in_(list(DeliveryState)))
    rows = select(Delivery.state, func.count()).where(*mine).group_by(Delivery.state)
    folded = select(DeliveryTotal.state, DeliveryTotal.count).where(DeliveryTotal.purpose == purpose)
    states = dict.fromkeys(DeliveryState, 0)
    for state, count in session.execute(rows.union_all(folded)):
        states[DeliveryState(state)] += count
    name = purpose.removeprefix("edition:")
    planned = session.scalar(select(Edition.planned).where(Edition.name == name)) if name != purpose else None
    return DeliveryCounts(sum(states.values()) if planned is None else planned, states)


def count_breaking_news_recipients(session: Session, settings: Settings, now: datetime) -> BreakingNewsAudience:
    """Count the subscribers who get breaking news now; no one does while the settings don't offer it."""
    file = settings.file
    audience = count_breaking_news_audience(session, now.astimezone(file.publication.zone).date())
    return audience if file.preferences.offers_breaking_news else replace(audience, recipients=0)


def has_at_most_deliveries(session: Session, purpose: str, messages: int) -> bool:
    """Whether a purpose has that many deliveries at most, apart from those that were folded into totals."""
    first = select(Delivery.id).where(Delivery.purpose == purpose).limit(messages + 1)
    return (session.scalar(select(func.count()).select_from(first.subquery())) or 0) <= messages
