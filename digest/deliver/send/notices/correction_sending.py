"""Sending corrections, which go to many people.

They're sent at the rate of editions, and stopped if the message is refused. A refusal after the
message was sent may be due to the message, so its delivery waits. If the server refuses too many,
the correction waits for an hour (`correction_waits`), and then probes are sent again.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.control.correction_waits import (
    WAIT,
    delete_finished_waits,
    end_correction_wait,
    read_correction_waits,
    start_correction_wait,
)
from digest.deliver.plan.delivery_plan import count_deliveries, make_correction_delivery_purpose
from digest.deliver.plan.domain_groups import select_domain_group_tag
from digest.deliver.providers.base import HandoverStatus, MessageOutcome, Provider
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.claim_statements import CLAIM_ORDER, IS_AFTER_CURSOR
from digest.deliver.send.claims.delivery_claims import ClaimCursor, ClaimedDelivery
from digest.deliver.send.handover import FinishedTaskBatch, hand_over_batches
from digest.deliver.send.limits.rate_limiter import DomainLimitClaim
from digest.deliver.send.notices.notice_facts import ClaimedNotice
from digest.deliver.send.notices.notice_sending import (
    BATCH_SIZE,
    NoticeRun,
    build_due_condition,
    claim_notice_rows,
    delete_finished_notices,
    open_notice_run,
    recheck_recipients,
    select_due_notices,
)
from digest.deliver.send.refusals.message_suspicion import PROBE_SIZE, MessageSuspicion
from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail
from digest.store.engine import Database
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger

# The longest time that a run sleeps until a rate limit allows more messages.
MAX_LIMIT_WAIT = timedelta(minutes=1)

log = get_logger("notices")


@dataclass(kw_only=True)
class _CorrectionRun(NoticeRun):
    """A run over the corrections that are due to be sent."""

    resumes_at: datetime | None = None  # when the rate limits allow more
    cursor: ClaimCursor = field(default_factory=ClaimCursor)
    correction: str = ""  # the purpose of the last claim
    suspicions: dict[str, MessageSuspicion] = field(default_factory=dict)  # by purpose

    @property
    def was_just_accepted(self) -> bool:
        """True if the server accepted a message in the last batch, and its correction isn't waiting."""
        accepted = any(change.state is DeliveryState.ACCEPTED for _, change in self.state_changes)
        return accepted and self.correction in self.suspicions

    def suspect_correction(self, session: Session, purpose: str) -> MessageSuspicion:
        """Record which correction is being claimed, and return the evidence about its message."""
        self.correction = purpose
        if purpose not in self.suspicions:
            accepted = count_deliveries(session, purpose)[DeliveryState.ACCEPTED]
            self.suspicions[purpose] = MessageSuspicion(was_accepted=accepted > 0)
        return self.suspicions[purpose]

    def note_result(self, result: FinishedTaskBatch) -> list[tuple[ClaimedDelivery, MessageOutcome]]:
        """Record a batch's results, and make a correction wait if its message was refused."""
        suspicion = self.suspicions.get(self.correction)
        if suspicion is None:
            return super().note_result(result)
        deferred = super().note_result(suspicion.judge_batch(result))
        if suspicion.is_confirmed or suspicion.pause_reason:
            self._let_correction_wait(suspicion.suspect_reply)
        return deferred

    def _let_correction_wait(self, reply: str) -> None:
        del self.suspicions[self.correction]
        with self.database.write() as session:
            is_first = start_correction_wait(session, self.correction, reply, now=self.clock())
        if is_first:
            log.error(
                "the mail server is refusing a correction, so its emails are waiting",
                correction=self.correction,
                reply=reply,
            )


def has_due_corrections(session: Session, *, now: datetime) -> bool:
    """Return True if `send_due_corrections` has anything to do.

    Return False while all sending is paused.
    """
    if installation_hold.read_current_hold(session) is not None:
        return False
    return _find_correction_purpose(session, ClaimCursor(), now) is not None


def _find_correction_purpose(session: Session, cursor: ClaimCursor, now: datetime) -> str | None:
    """Return the purpose of a correction with a due delivery, after the cursor or else from the start, or None."""
    approved = session.scalars(select(Correction).where(Correction.mail_approved_at.is_not(None)))
    waits = read_correction_waits(session)
    waiting = {purpose for purpose, wait in waits.items() if not wait.is_over(now)}
    purposes = {make_correction_delivery_purpose(correction) for correction in approved} - waiting
    conditions = (Delivery.purpose.in_(purposes), build_due_condition(now), IS_AFTER_CURSOR)
    due = select(Delivery.purpose).where(*conditions).limit(1)
    from_start = cursor.return_if_due(now)
    purpose = session.scalar(due, cursor.parameters)
    if purpose is None and not from_start:
        cursor.return_to_start(now)
        purpose = session.scalar(due, cursor.parameters)
    return purpose


def send_due_corrections(
    database: Database,
    provider: Provider,
    keys: KeyRing,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    sleep: Callable[[float], object] = time.sleep,
    stopping: Callable[[], bool] = lambda: False,
) -> Counter[HandoverStatus]:
    """Hand over all due corrections at the rate used for editions, and count the results by status.

    While the rate limits allow nothing, wait with `sleep`, which may return early. Return soon
    after `stopping` returns True.

    Raises:
        jinja2.TemplateError: an operator's template is broken; claimed deliveries keep waiting.
    """
    with open_notice_run(_CorrectionRun, database, provider, keys, settings, clock) as run:
        with database.write() as session:
            delete_finished_notices(session, QueuedNoticeEmail.kind == "correction")
        hand_over_batches(
            run,
            lambda session: _claim_corrections(run, session, stopping),
            partial(recheck_recipients, run),
            lambda: not stopping() and _wait_for_limits(run, sleep),
        )
        with database.write() as session:
            delete_finished_waits(session)
    return run.results


def _claim_corrections(
    run: _CorrectionRun,
    session: Session,
    stopping: Callable[[], bool],
) -> list[ClaimedNotice]:
    """Claim as many corrections as the rate limits allow.

    If none are allowed, record when more are.
    """
    if run.was_just_accepted:
        end_correction_wait(session, run.correction)
    _delete_recorded_notices(run, session)
    run.resumes_at = None
    may_claim = run.may_claim(session) and not stopping()
    purpose = _find_correction_purpose(session, run.cursor, run.clock()) if may_claim else None
    if purpose is None:
        return []
    allowance = run.rate_limiter.find_allowance(session, BATCH_SIZE, run.clock)
    if not allowance.messages:
        run.resumes_at = allowance.available_at
        return []
    now, suspicion = run.clock(), run.suspect_correction(session, purpose)
    due = select_due_notices(now).where(Delivery.purpose == purpose)
    if suspicion.is_probing:
        avoided = select_domain_group_tag(Delivery.domain_tag).in_(sorted(filter(None, suspicion.avoided_domains)))
        spread = due.order_by(avoided, Delivery.id)  # the IDs are keyed hashes, so this order is random
        rows = session.execute(spread.limit(min(allowance.messages, PROBE_SIZE))).all()
    else:
        in_order = due.where(IS_AFTER_CURSOR).order_by(*CLAIM_ORDER)
        rows = session.execute(in_order.limit(allowance.messages), run.cursor.parameters).all()
        run.cursor.advance(rows)
    going = _without_postponed(run, session, rows, suspicion.domains_at_fault, now)
    claimed = claim_notice_rows(run, session, going, now)
    if rows:  # if there are none, another process has the due ones
        limited_until = run.rate_limiter.count_messages(session, len(claimed), run.clock())
        run.resumes_at = limited_until or now
    return claimed


def _without_postponed(
    run: _CorrectionRun, session: Session, rows: Sequence[Any], domains_at_fault: Collection[str], now: datetime
) -> list[Any]:
    """Return the rows to send now, and postpone those whose domain has reached its limit or is refusing messages."""
    domain_claim = DomainLimitClaim(session, run.rate_limiter.domain_limits, now)

    def find_turn(row: Any) -> datetime | None:
        if row.domain_tag in domains_at_fault:
            return now + WAIT
        return domain_claim.take_turn(row.domain_tag, fresh=row.next_try_at <= row.due_at)

    turns = [(row, find_turn(row)) for row in rows]
    postponed = [(row.id, until) for row, until in turns if until is not None]
    claims.postpone_waiting_deliveries(session, postponed)
    domain_claim.save()
    return [row for row, until in turns if until is None]


def _wait_for_limits(run: _CorrectionRun, sleep: Callable[[float], object]) -> bool:
    """Wait up to a minute for the rate limits to allow more, and return True if more should be claimed."""
    if run.stop_reason or run.resumes_at is None:
        return False
    seconds = min(run.resumes_at - run.clock(), MAX_LIMIT_WAIT).total_seconds()
    if seconds > 0:
        sleep(seconds)
    return True


def _delete_recorded_notices(run: _CorrectionRun, session: Session) -> None:
    """Delete the queued content of deliveries that ended in the last batch, without searching all waiting ones."""
    kept = {DeliveryState.WAITING, DeliveryState.UNCERTAIN}
    ended = [id_ for id_, change in run.state_changes if change.state not in kept]
    if ended := [*ended, *run.withdrawn]:
        session.execute(delete(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery.in_(ended)))
