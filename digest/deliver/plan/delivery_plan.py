"""The deliveries of an edition or another purpose: query conditions, and counts by state."""

import secrets
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
from subscribers.store.database import count_rows

# Emails that are sent to many people at once. After a restore, it's unknown which ones were sent.
BULK_KINDS = ("edition", "correction", "ask", "stay")
TEST_PURPOSE_PREFIX = "test:"
HANDED_OVER_STATES = (DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """The number of a purpose's deliveries in each state. They add up to the number planned."""

    planned: int
    by_state: Mapping[DeliveryState, int]

    @property
    def is_balanced(self) -> bool:
        """True if the states add up to the number planned."""
        return self.planned == sum(self.by_state.values())

    def __getitem__(self, state: DeliveryState) -> int:
        return self.by_state[state]

    @property
    def intended(self) -> int:
        """The number of intended recipients.

        People who paused their emails, omitted all sections, or unsubscribed aren't counted.
        """
        return self.planned - self.by_state[DeliveryState.SKIPPED] - self.by_state[DeliveryState.WITHDRAWN]

    @property
    def handed_over(self) -> int:
        """The number of deliveries handed over, whatever the result."""
        return sum(self.by_state[state] for state in HANDED_OVER_STATES)

    @property
    def open(self) -> int:
        """The number of deliveries that are waiting, reserved, or being handed over."""
        return sum(self.by_state[state] for state in OPEN_STATES)

    @property
    def has_only_claimed_left(self) -> bool:
        """True if no deliveries are waiting, but runs still have claims on some."""
        return 0 < self.open == sum(self.by_state[state] for state in CLAIMED_STATES)


# Conditions for queries.
IS_WAITING = Delivery.state == DeliveryState.WAITING
IS_RESERVED = Delivery.state == DeliveryState.RESERVED
IS_CLAIMED = Delivery.state.in_(CLAIMED_STATES)
IS_HANDING_OVER = Delivery.state == DeliveryState.HANDING_OVER
IS_UNCERTAIN = Delivery.state == DeliveryState.UNCERTAIN


def is_bulk_delivery() -> ColumnElement[bool]:
    """Return the condition for deliveries of emails that are sent to many people at once."""
    return or_(*(Delivery.purpose.startswith(f"{kind}:") for kind in BULK_KINDS))


def is_delivery_of_edition(name: str) -> ColumnElement[bool]:
    """Return the condition for the deliveries of an edition."""
    return Delivery.purpose == make_edition_delivery_purpose(name)


def make_edition_delivery_purpose(edition: str) -> str:
    """Return the purpose of an edition's deliveries."""
    return f"edition:{edition}"


def make_correction_delivery_purpose(correction: Correction) -> str:
    """Return the purpose of a correction's emails, one per person."""
    return f"correction:{correction.id}"


def make_test_purpose(edition: str, content_hash: str) -> str:
    """Return the purpose of a new test of one version of an edition."""
    return f"{_name_tested_version(edition, content_hash)}{secrets.token_hex(4)}"


def has_accepted_test(session: Session, edition: str, content_hash: str) -> bool:
    """Return True if a test email of a version of an edition was accepted by the mail server, or saved to a file."""
    stem = _name_tested_version(edition, content_hash)
    of_version = (Delivery.state == DeliveryState.ACCEPTED, Delivery.purpose.between(stem, f"{stem}g"))  # g follows f
    return session.scalar(select(Delivery.id).where(*of_version).limit(1)) is not None


def _name_tested_version(edition: str, content_hash: str) -> str:
    return f"{TEST_PURPOSE_PREFIX}{edition}:{content_hash[:8]}"


def count_deliveries(session: Session, purpose: str) -> DeliveryCounts:
    """Count the deliveries of a purpose by state, including those already folded into totals."""
    # If all states are listed, the index that starts with them can be used: a million rows take 60
    # ms instead of 300.
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
    """Count subscribers by whether they would get breaking news now.

    If the settings don't offer breaking news, none would.
    """
    file = settings.file
    audience = count_breaking_news_audience(session, now.astimezone(file.publication.zone).date())
    return audience if file.preferences.offers_breaking_news else replace(audience, recipients=0)


def has_at_most_deliveries(session: Session, purpose: str, messages: int) -> bool:
    """Return True if a purpose has at most `messages` deliveries, not counting those folded into totals."""
    first = select(Delivery.id).where(Delivery.purpose == purpose).limit(messages + 1)
    return count_rows(session, first.subquery()) <= messages
