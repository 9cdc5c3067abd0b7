"""Sending an edition, from approved to sent.

It can be resumed at every step. `send_loop` hands over the messages.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.compose.variant_limit import count_merged_subscribers
from digest.deliver.compose.variants import (
    EditionVariants,
    check_unsubscribe_url_length,
    count_variant_subscribers,
    create_variants,
)
from digest.deliver.control import edition_control, installation_hold, set_aside_domains
from digest.deliver.control.edition_control import AUTOMATIC_ACTOR
from digest.deliver.plan import canary
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import HandoverStatus, Provider
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims import restored_copy
from digest.deliver.send.claims.database_retry import DatabaseRetry
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs
from digest.deliver.send.claims.run_lease import keep_lease
from digest.deliver.send.claims.run_progress_file import open_run_file, read_database_instance_id
from digest.deliver.send.claims.send_progress import ProgressWriter
from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.refusals import stop_rules
from digest.deliver.send.refusals.message_suspicion import MessageSuspicion
from digest.deliver.send.refusals.refused_deliveries import store_notable_refusal_count
from digest.deliver.send.refusals.stop_rules import HandedOverCounts
from digest.deliver.send.run.send_gate import explain_blocked_send
from digest.deliver.send.run.send_loop import run_send_loop
from digest.deliver.send.run.send_run_state import SendRun
from digest.deliver.send.run.send_workers import count_run_file_slots
from digest.edition.approval import approval_check
from digest.edition.archive.story_archive import archive_edition_stories
from digest.edition.edition_queries import IS_REGULAR, find_edition
from digest.settings import Settings, is_local_url
from digest.store.audit import record_audit
from digest.store.delivery_models import DeliveryState
from digest.store.engine import AutocommitConnection, Database
from digest.store.models import Edition, EditionState
from subscribers.callback_types import Progress
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

log = get_logger("sending")


class SendError(ApplicationError):
    """Raised when an edition can't be sent.

    The message says why and what to do.
    """


@dataclass(frozen=True, slots=True)
class SendReport:
    """A report on a run.

    `refusals` counts a sent edition's refusals that have to be acknowledged. `stop_reason` says
    what went wrong or who stopped the run, and `wait_reason` why the remaining messages are waiting
    although nothing is wrong. Both may be empty. `next_due_at` is when the next delivery is due.
    `domains_aside` counts domains that need a decision.
    """

    edition: str
    state: EditionState
    results: Counter[HandoverStatus]
    delivery_counts: DeliveryCounts
    refusals: int = 0
    stop_reason: str = ""
    wait_reason: str = ""
    next_due_at: datetime | None = None
    domains_aside: int = 0

    @property
    def handed_over(self) -> int:
        """The number of messages sent in this run."""
        return self.results[HandoverStatus.ACCEPTED] + self.results[HandoverStatus.UNCERTAIN]

    @property
    def is_finishing_elsewhere(self) -> bool:
        """True if another process is handing over the last messages, which means that this run is over."""
        return self.delivery_counts.has_only_claimed_left

    @property
    def awaits_decision(self) -> bool:
        """True if all waiting emails are addressed to domains that have been set aside."""
        return self.next_due_at is not None and self.next_due_at >= set_aside_domains.PARKED_FROM


def run_edition(
    database: Database,
    name: str,
    provider: Provider,
    keys: KeyRing,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    report_progress: Progress = lambda *_: None,
    limit: int | None = None,
    sleep: Callable[[float], object] = time.sleep,
    stopping: Callable[[], bool] = lambda: False,
) -> SendReport:
    """Send an approved edition, or continue sending one.

    1. Verify that the valid version is what was approved, and mark the edition as being sent.
    2. Plan one delivery for each subscriber (once), choose the canary, and check that the list
       is plausible. In a copy restored after the send time, all planned deliveries are
       `uncertain`.
    3. Claim deliveries, check consent again, hand over messages, and record the results, until
       nothing is due or something stops the run. Take over the deliveries of crashed or
       unresponsive runs (`dead_runs`).
    4. Mark the edition as sent when nothing is waiting or being handed over, and record whether
       there are too many refusals.

    Args:
        database: database with the edition and its deliveries.
        name: name of the edition.
        provider: provider for handing over messages; it isn't closed here.
        keys: keys of the installation.
        settings: settings.
        clock: returns the time in UTC.
        report_progress: called with (messages processed, planned) after every batch.
        limit: maximum number of messages to hand over in this run.
        sleep: waits for a number of seconds; may return early once `stopping` returns True.
        stopping: returns whether the process is about to end; then nothing more is handed over.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        SendError: it's a draft, incomplete, paused, or canceled; its links only work on this machine; all
            sending is paused; or it's breaking news that wasn't released for sending or is turned off.
        ApprovalError: it isn't what was approved.
        ComposeError: the base URL is too long for List-Unsubscribe.
    """
    check_unsubscribe_url_length(settings.link_base)
    now, feedback_expected = clock(), provider.name != "outbox"
    queries = AutocommitConnection(database)
    database_retry = DatabaseRetry(sleep, stopping, queries.discard)
    variants = database_retry(lambda: _begin_sending(database, name, provider, keys, settings))
    # Do this before counting anything, because messages of an earlier run may have been accepted.
    database_retry(lambda: recover_dead_and_silent_runs(database, settings, keys, now=now))
    planned = database_retry(lambda: _plan_edition(database, name, keys, settings, now))
    database_retry(
        lambda: _prepare_first_send(database, name, keys, settings, now=now, feedback_expected=feedback_expected)
    )
    database_number = database_retry(lambda: read_database_instance_id(database))
    with (
        open_run_file(settings.runs_folder, database_number, count_run_file_slots(provider)) as run_file,
        keep_lease(database, run_file.owner, settings, database_retry) as run_lease,
    ):
        run = SendRun(
            database=database,
            edition=name,
            provider=provider,
            keys=keys,
            variants=variants,
            settings=settings,
            clock=clock,
            run_file=run_file,
            run_lease=run_lease,
            database_retry=database_retry,
            queries=queries,
            report_progress=report_progress,
            limit=limit,
            rate_limiter=database_retry(lambda: RateLimiter.from_settings(database, settings.file.limits, keys)),
            progress_writer=ProgressWriter(name, now),
            suspicion=MessageSuspicion(was_accepted=planned[DeliveryState.ACCEPTED] > 0),
            planned_total=planned.planned,
            handed_over=HandedOverCounts(planned.handed_over),
        )
        try:
            run_send_loop(run)
        except BaseException:
            if not run.database_retry.commit_in_doubt:  # otherwise, the run has waited long enough already
                run.database_retry(lambda: _reopen_if_open(run))
            raise
        return _finish_run(run)


def _begin_sending(
    database: Database, name: str, provider: Provider, keys: KeyRing, settings: Settings
) -> EditionVariants:
    with database.write() as session:
        edition = find_edition(session, name, lock=True)
        if reason := explain_blocked_send(
            name,
            edition,
            installation_hold.read_installation_value(session, installation_hold.HOLD_STATE_KEY),
            called="it",
        ):
            raise SendError(f"{name} can't be sent: {reason}")
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}:
            raise SendError(
                f"{name} is {edition.state.predicate}. Only approved editions can be sent.",
                "Approve the edition first.",
            )
        if edition.is_breaking_news:
            _require_order(edition, settings)
        mailable = approval_check.verify_approval(session, edition, settings=settings, keys=keys)
        if provider.name != "outbox" and is_local_url(mailable.base_url):
            raise SendError(
                f"{name} was approved with links to {mailable.base_url}, which work only on this machine.",
                "Set DIGEST_BASE_URL to an https URL, revoke the approval, draft the edition again, and approve the new draft.",
            )
        if edition.state is EditionState.APPROVED:
            edition.state = EditionState.SENDING
            archive_edition_stories(session, edition)
        variants = create_variants(mailable, settings)
    with database.read() as session:
        subscribers = count_variant_subscribers(session, variants)
        counted_before = find_edition(session, name).merged
    limited_variants = variants.limit_to_most_wanted(subscribers)
    merged = count_merged_subscribers(subscribers, limited_variants.chosen_variants or ())
    if merged != counted_before:
        with database.write() as session:
            find_edition(session, name).merged = merged
    return limited_variants


def _require_order(edition: Edition, settings: Settings) -> None:
    """Raise an error if breaking news wasn't ordered to be sent or isn't offered to subscribers."""
    if not settings.file.preferences.offers_breaking_news:
        raise SendError(
            f"{edition.name} can't be sent because breaking news is turned off.",
            'Set preferences.breaking_news to "offer" first.',
        )
    if edition.send_requested_at is None:
        raise SendError(
            f"{edition.name} is breaking news, and no one has chosen to send it.",
            f"Choose Send now on the edition's page, or run 'digest send {edition.name}'.",
        )


def _plan_edition(
    database: Database,
    name: str,
    keys: KeyRing,
    settings: Settings,
    now: datetime,
) -> DeliveryCounts:
    with database.read() as session:
        release_at = find_edition(session, name).release_at
        doubtful = restored_copy.build_uncertain_delivery_columns(session, release_at)
    return plan_deliveries(database, name, keys, settings, now=now, doubtful=doubtful)


def _prepare_first_send(
    database: Database, name: str, keys: KeyRing, settings: Settings, *, now: datetime, feedback_expected: bool
) -> None:
    """Before anything is sent, choose the canary, and check that the size of the list is plausible.

    `feedback_expected` says whether the provider reports events.
    """
    alerts = settings.file.alerts
    with database.write() as session:
        edition = find_edition(session, name, lock=True)
        if edition.canary is None:
            canary.choose_canary(
                session, keys, edition, now=now, enabled=feedback_expected and bool(alerts.canary_minutes)
            )
            warning = stop_rules.describe_list_change(
                _previous_planned_count(session, edition), edition.planned or 0, alerts
            )
            if warning and feedback_expected:
                edition_control.pause_automatically(session, name, warning, now=now)
                log.error("sending paused", edition=name, why=warning)


def _previous_planned_count(session: Session, edition: Edition) -> int | None:
    """Return the number of subscribers planned for the previous regular edition, or None if there isn't one.

    Return None for breaking news, too, because it may go to only a few.
    """
    if edition.is_breaking_news:
        return None
    query = (
        select(Edition.planned)
        .where(IS_REGULAR, Edition.state == EditionState.SENT, Edition.release_at < edition.release_at)
        .order_by(Edition.release_at.desc())
        .limit(1)
    )
    return session.scalar(query)


def _finish_run(run: SendRun) -> SendReport:
    run.database_retry(lambda: recover_dead_and_silent_runs(run.database, run.settings, run.keys, now=run.clock()))
    report = run.database_retry(lambda: _close_run(run))
    if report.state is EditionState.CANCELLED:  # deliveries that returned to waiting during the cancellation
        edition_control.cancel_waiting_deliveries(run.database, run.edition)
    log.info(
        "send ended",
        edition=run.edition,
        state=str(report.state),
        refusals=report.refusals,
        stopped=run.stop_reason,
        waits=run.wait_reason,
        **{str(k): v for k, v in run.results.items()},
    )
    return report


def _report_imbalance(session: Session, name: str, counts: DeliveryCounts, now: datetime) -> str:
    """Log, and record in the audit log, that the counts don't add up, and return a sentence about it.

    No run can fix this.
    """
    total = sum(counts.by_state.values())
    log.error("the delivery counts don't balance", edition=name, planned=counts.planned, deliveries=total)
    detail = {"planned": counts.planned, "deliveries": total}
    record_audit(session, "delivery counts do not balance", name, detail, actor=AUTOMATIC_ACTOR, now=now)
    return (
        f"{counts.planned:,} deliveries were planned, but there are {total:,}. This is a bug. Keep a backup, "
        "compare the deliveries with those that the mail server accepted, and report the bug."
    )


def _reopen_if_open(run: SendRun) -> None:
    """Change a sent edition's state back to sending if it has waiting messages.

    A run suspended past the end of its lease may continue after another run closed the edition, and
    some of its claims may have to be retried.
    """
    with run.database.write() as session:
        edition = find_edition(session, run.edition, lock=True)
        if count_deliveries(session, run.purpose).open:
            edition_control.mark_sent_edition_as_sending(edition)


def _close_run(run: SendRun) -> SendReport:
    with run.database.write() as session:
        # The row is locked because other actions may make deliveries wait again
        # (`uncertain_deliveries`).
        edition = find_edition(session, run.edition, lock=True)
        counts = count_deliveries(session, run.purpose)
        if not counts.is_balanced:
            run.stop_reason = _report_imbalance(session, run.edition, counts, run.clock())
        if counts.open:
            edition_control.mark_sent_edition_as_sending(edition)
        elif edition.state is EditionState.SENDING:
            edition.state, edition.sent_at = EditionState.SENT, run.clock()
        if edition.state is EditionState.SENT:
            store_notable_refusal_count(session, edition, counts)
        due = claims.find_next_due_time(session, run.purpose)
        next_at = max(due, run.resumes_at) if due and run.resumes_at else due
        domains_aside = set_aside_domains.list_undecided_domains(edition)
        run.progress_writer.write_progress(
            session,
            run.attempted,
            run.clock(),
            running=False,
            failed=bool(run.stop_reason),
            wait_reason=run.stop_reason
            or run.wait_reason
            or set_aside_domains.describe_set_aside_domains(domains_aside),
            resumes_at=next_at if counts.open and next_at and next_at < set_aside_domains.PARKED_FROM else None,
        )
        return SendReport(
            edition=run.edition,
            state=edition.state,
            results=run.results,
            delivery_counts=counts,
            refusals=edition.refusals,
            stop_reason=run.stop_reason,
            wait_reason=run.wait_reason,
            next_due_at=next_at,
            domains_aside=len(domains_aside),
        )
