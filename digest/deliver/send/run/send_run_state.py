"""The state of one run of an edition, which `send_loop` uses and changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from digest.deliver.compose.variants import EditionVariants
from digest.deliver.control.set_aside_domains import SetAsideDomain
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.send.claims.claim_buffer import ClaimBuffer
from digest.deliver.send.claims.database_retry import DatabaseRetry
from digest.deliver.send.claims.delivery_claims import ClaimCursor, ClaimedEditionDelivery
from digest.deliver.send.claims.send_progress import ProgressWriter
from digest.deliver.send.handover import HandoverRun, SendTask
from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.refusals.message_suspicion import MessageSuspicion
from digest.deliver.send.refusals.stop_rules import HandedOverCounts
from digest.deliver.send.run.send_gate import GateDecision
from digest.store.engine import AutocommitConnection
from subscribers.callback_types import Progress

# The longest time that a run sleeps. If it would have to wait longer, it ends and says when it may continue.
MAX_PAUSE_SECONDS = 60.0


@dataclass(kw_only=True)
class SendRun(HandoverRun):
    """The state of one run of an edition, for one call of `run_edition`."""

    edition: str
    variants: EditionVariants
    database_retry: DatabaseRetry
    queries: AutocommitConnection
    report_progress: Progress
    limit: int | None
    rate_limiter: RateLimiter
    progress_writer: ProgressWriter
    suspicion: MessageSuspicion
    planned_total: int = 0
    handed_over: HandedOverCounts = field(default_factory=HandedOverCounts)  # by this run and earlier ones
    aside: Mapping[str, SetAsideDomain] = field(default_factory=dict)  # at the time of the last claim
    # The reason why nothing more is handed over until `resumes_at`, although nothing is wrong.
    wait_reason: str = ""
    resumes_at: datetime | None = None
    paused_until: datetime | None = None  # nothing is handed over before this time
    unanswered_rounds: int = 0  # rounds in a row in which no connection got a reply
    stop_rules_checked_at: datetime | None = None
    refusals_at_check: int = 0  # committed refusals at that time
    reserve: ClaimBuffer = field(default_factory=ClaimBuffer)
    claim_cursor: ClaimCursor = field(default_factory=ClaimCursor)
    reserve_is_outdated: bool = False  # one of its domains may have been set aside
    # The last claim reached its transaction's limit, so more deliveries may be due.
    claims_more: bool = False

    @property
    def purpose(self) -> str:
        """The purpose of the edition's deliveries."""
        return make_edition_delivery_purpose(self.edition)

    @property
    def has_unwritten_results(self) -> bool:
        """True if there are results to be stored by the next commit."""
        return bool(self.state_changes or self.withdrawn or self.unsent)

    @property
    def is_over(self) -> bool:
        """True if this run has stopped handing over messages."""
        return bool(self.stop_reason or self.wait_reason)

    @property
    def attempted(self) -> int:
        """The number of messages that this run has processed."""
        return self.results.total() - self.results[HandoverStatus.NOT_TRIED]

    @property
    def seconds_paused(self) -> float:
        """The remaining seconds of a pause, or 0 if there's none.

        If the clock is set back, the pause ends.
        """
        seconds = (self.paused_until - self.clock()).total_seconds() if self.paused_until else 0.0
        return seconds if 0 < seconds <= MAX_PAUSE_SECONDS else 0.0

    @property
    def may_reserve(self) -> bool:
        """True if the run may claim more deliveries than the workers can take.

        It may not under a limit or while probes are being sent.
        """
        counted = self.rate_limiter.has_limits or self.rate_limiter.domain_limits.by_domain
        probing = self.suspicion.is_probing or self.unanswered_rounds
        return not (counted or probing or self.is_over or self.seconds_paused)

    def note_reserved(self, claimed: Sequence[ClaimedEditionDelivery], begun: int) -> None:
        """Record that a commit stored all results and claimed deliveries, and that `begun` more may be sent now."""
        self.note_claimed(())
        self.reserve.fill(claimed, self.attempted, self.clock())
        self.reserve.begun += begun

    def return_tasks(self, tasks: Iterable[SendTask]) -> None:
        """Record that tasks weren't attempted and can be sent without another claim."""
        self.reserve.put_back(cast("ClaimedEditionDelivery", task.delivery) for task in tasks)

    def release_reserve(self) -> None:
        """Return the reserved deliveries to the waiting state with the next commit."""
        self.unsent += self.reserve.ids
        self.reserve.remove(len(self.reserve))
        self.reserve_is_outdated = False

    def note_aside(self, gate: GateDecision) -> None:
        """Record which domains were set aside at the time of a claim.

        The buffer may contain deliveries to domains that were set aside since the previous claim.
        """
        if gate.aside == self.aside:
            return
        self.aside, self.reserve_is_outdated = gate.aside, bool(self.reserve)
        fresh = [d for d in gate.aside.values() if gate.resumed_at is None or d.at > gate.resumed_at]
        self.suspicion.domains_at_fault = {domain.tag: domain.reason for domain in fresh if not domain.decision}
        self.suspicion.exempt_domains = frozenset(tag for tag, domain in gate.aside.items() if domain.decision)
