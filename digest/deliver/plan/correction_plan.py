"""Who got an error: the readers whose message of an edition held the story, by what they had chosen when it left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import edition_purpose
from digest.store.approval_models import Approval, ApprovedFragment
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition
from subscribers.consent import audience
from subscribers.consent.choice_history import find_choices_at
from subscribers.store.database import MAX_TRANSACTION_ROWS

# Of an uncertain one nobody knows: who may have got the error gets the correction.
GOT_STATES = (DeliveryState.ACCEPTED, DeliveryState.UNCERTAIN)


def correction_purpose(correction: Correction) -> str:
    """Return the purpose of the mails of a correction: each person has one, and one alone."""
    return f"correction:{correction.id}"


@dataclass(frozen=True, slots=True)
class CorrectionAudience:
    """Who got an error, in numbers. `recipients` are those who get the correction: the others left, or are erased."""

    accepted: int = 0
    uncertain: int = 0
    left_out: int = 0  # had chosen not to get the section, or the five-minute edition without it
    gone: int = 0

    @property
    def recipients(self) -> int:
        """How many the correction goes to."""
        return self.accepted + self.uncertain - self.gone

    @property
    def looked_at(self) -> int:
        """How many had the edition, with the story in it or without."""
        return self.accepted + self.uncertain + self.left_out

    def __add__(self, other: "CorrectionAudience") -> "CorrectionAudience":
        """Add up two pages."""
        return CorrectionAudience(
            self.accepted + other.accepted,
            self.uncertain + other.uncertain,
            self.left_out + other.left_out,
            self.gone + other.gone,
        )


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """A page of readers, by number: those who get the correction, and the numbers of all who were looked at."""

    recipients: tuple[int, ...]
    counts: CorrectionAudience


def read_recipient_pages(database: Database, correction: Correction, edition: Edition) -> Iterator[RecipientPage]:
    """Read who got the error, a page of at most 1,000 readers at a time, each in a transaction of its own."""
    after = 0
    while True:
        with database.read() as session:
            rows = _read_deliveries(session, edition, after)
            if not rows:
                return
            yield _sort_page(session, correction, rows, stands_in_short=_stands_in_short(session, correction, edition))
        after = rows[-1].person


def _read_deliveries(session: Session, edition: Edition, after: int) -> Sequence[Any]:
    query = (
        select(Delivery.person, Delivery.state, Delivery.handed_at, Delivery.due_at)
        .where(
            Delivery.purpose == edition_purpose(edition.name), Delivery.person > after, Delivery.state.in_(GOT_STATES)
        )
        .order_by(Delivery.person)
        .limit(MAX_TRANSACTION_ROWS)
    )
    return session.execute(query).all()


def _stands_in_short(session: Session, correction: Correction, edition: Edition) -> bool:
    """Whether the five-minute edition said what is corrected, in any version that was approved."""
    query = (
        select(ApprovedFragment.body)
        .join(Approval, Approval.id == ApprovedFragment.approval_id)
        .where(Approval.edition_id == edition.id, ApprovedFragment.kind == "short-text")
    )
    # The text is folded at 72 columns.
    return any(" ".join(correction.was.split()) in " ".join(body.split()) for body in session.scalars(query))


def _sort_page(
    session: Session, correction: Correction, rows: Sequence[Any], *, stands_in_short: bool
) -> RecipientPage:
    moments: Mapping[int, datetime] = {row.person: row.handed_at or row.due_at for row in rows}
    choices = find_choices_at(session, moments)
    got = [
        row
        for row in rows
        if correction.section not in choices[row.person].omit and (stands_in_short or not choices[row.person].short)
    ]
    mailable = audience.filter_mailable(session, [row.person for row in got])
    counts = CorrectionAudience(
        accepted=sum(row.state is DeliveryState.ACCEPTED for row in got),
        uncertain=sum(row.state is DeliveryState.UNCERTAIN for row in got),
        left_out=len(rows) - len(got),
        gone=len(got) - len(mailable),
    )
    return RecipientPage(tuple(row.person for row in got if row.person in mailable), counts)
