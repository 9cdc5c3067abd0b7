"""Others' feedback about a person: bounces, complaints, and unsubscribes at the provider.

The result doesn't depend on the order of reports. The gravest one counts, except for reports that
are older than the person's own latest consent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, exists
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.undo import REPORTED_METHOD
from subscribers.lifecycle.unsubscribe import record_repeated_unsubscribe
from subscribers.store.models import EMPTIED_STATES, ConsentEvent, ConsentKind, Person, PersonState

# Bounces before these events don't count.
_ENDS_BOUNCES = ledger.OWN_CONSENT_KINDS | {ConsentKind.ADDRESS_CHANGED}


class DeliveryFeedbackKind(StrEnum):
    """A kind of feedback, gravest last."""

    UNSUBSCRIBED = "left"
    BOUNCED = "bounced"
    COMPLAINED_BY_MAIL = "complained by mail"  # not signed by anyone
    COMPLAINED = "complained"


@dataclass(frozen=True, slots=True)
class DeliveryFeedbackReport:
    """Feedback about a person: a bounce, a complaint, or an unsubscribe at the provider.

    `at` is when it was made or, for a bounce, when the message was sent. `reporter` is who made it
    (a provider, the mailbox), and `detail` is what's stored in the chain, without an address.
    """

    person: int
    kind: DeliveryFeedbackKind
    at: datetime
    reporter: str
    detail: Mapping[str, str]


def apply_feedback_to_person(
    session: Session, keys: KeyRing, report: DeliveryFeedbackReport, *, now: datetime
) -> tuple[bool, PendingUnsubscribeLogEntry | None]:
    """Apply a report to a person, and return whether anything changed and the entry for the unsubscribe log, if any.

    `session` is a write transaction. The caller writes to the unsubscribe log, and then commits.
    """
    person = ledger.lock_person(session, report.person)
    if person is None or person.state in EMPTIED_STATES:
        return False, None
    cutoff = find_start_of_counted_feedback(session, report.person, report.kind)
    if cutoff is not None and report.at < cutoff:
        return False, None
    if report.kind is DeliveryFeedbackKind.UNSUBSCRIBED:
        return _apply_unsubscribe(session, person, report, now)
    if report.kind is DeliveryFeedbackKind.BOUNCED:
        return _apply_bounce(session, keys, person, report, now)
    reason: suppression.SuppressionReason = (
        "complained" if report.kind is DeliveryFeedbackKind.COMPLAINED else "complaint by mail"
    )
    return _apply_complaint(session, keys, person, report, reason, now)


def find_start_of_counted_feedback(session: Session, person: int, kind: DeliveryFeedbackKind) -> datetime | None:
    """Return the moment before which feedback is ignored, which is when the person last consented.

    For bounces, it may also be that of the last address change. It's rounded down to a whole
    second, like the times in reports.
    """
    is_bounce = kind is DeliveryFeedbackKind.BOUNCED
    event = ledger.find_last_event(session, person, _ENDS_BOUNCES if is_bounce else ledger.OWN_CONSENT_KINDS)
    return event.at.replace(microsecond=0) if event else None


def build_current_bounce_condition(
    person: SQLColumnExpression[Any], at: SQLColumnExpression[Any]
) -> ColumnElement[bool]:
    """Return the condition that a bounce at `at`, by our own clock, still counts against `person`."""
    ended = exists().where(ConsentEvent.person == person, ConsentEvent.kind.in_(_ENDS_BOUNCES), ConsentEvent.at > at)
    return ~ended


def _apply_unsubscribe(
    session: Session, person: Person, report: DeliveryFeedbackReport, now: datetime
) -> tuple[bool, PendingUnsubscribeLogEntry | None]:
    body = {"method": f"{REPORTED_METHOD}{report.reporter}", **report.detail}
    if person.state in ledger.DEPARTED_STATES:
        record_repeated_unsubscribe(session, person, body["method"], now)
        return False, None
    ledger.append_event(session, person, ConsentKind.WITHDRAWN, body, now)
    return True, PendingUnsubscribeLogEntry.of_person(person, "left")


def _apply_bounce(
    session: Session, keys: KeyRing, person: Person, report: DeliveryFeedbackReport, now: datetime
) -> tuple[bool, PendingUnsubscribeLogEntry | None]:
    if person.state is PersonState.SUPPRESSED:
        return False, None
    ledger.append_event(session, person, ConsentKind.BOUNCED, {"by": report.reporter, **report.detail}, now)
    return True, suppression.suppress_person(session, keys, person, reason="bounced", actor=report.reporter, now=now)


def _apply_complaint(
    session: Session,
    keys: KeyRing,
    person: Person,
    report: DeliveryFeedbackReport,
    reason: suppression.SuppressionReason,
    now: datetime,
) -> tuple[bool, PendingUnsubscribeLogEntry | None]:
    last = ledger.find_last_event(session, person.number, ledger.OWN_CONSENT_KINDS | {ConsentKind.COMPLAINED})
    if person.state is PersonState.SUPPRESSED and last is not None and last.kind is ConsentKind.COMPLAINED:
        # Imported complaints have no reason.
        recorded_reason = json.loads(last.body).get("reason", "complained")
        if not suppression.outweighs_reason(reason, recorded_reason):
            return False, None
    departure = suppression.suppress_person(session, keys, person, reason=reason, actor=report.reporter, now=now)
    return departure is not None, departure
