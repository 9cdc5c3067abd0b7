"""One run of an edition: what it works with, and how far it is. The loop (`loop`) decides by it and changes it."""

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
from digest.deliver.send.claims.progress import ProgressWriter
from digest.deliver.send.handover import HandoverRun, SendTask
from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.refusals.message_suspicion import MessageSuspicion
from digest.deliver.send.refusals.stop_rules import HandedOverCounts
from digest.deliver.send.run.send_gate import GateDecision
from digest.store.engine import AutocommitConnection
from subscribers.callback_types import Progress

MAX_PAUSE_SECONDS = 60.0  # seconds that a run sleeps; for longer it ends, and says from when it may go on


@dataclass(kw_only=True)
class SendRun(HandoverRun):
    """One run of one edition. It lives as long as `send_edition`."""

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
    handed_over: HandedOverCounts = field(default_factory=HandedOverCounts)  # by this run and those before
    aside: Mapping[str, SetAsideDomain] = field(default_factory=dict)  # as the last claim found it
    wait_reason: str = ""  # why nothing more is handed over though nothing is wrong: it goes on at `resumes_at`
    resumes_at: datetime | None = None
    paused_until: datetime | None = None  # nothing is handed over before
    unanswered_rounds: int = 0  # how often in a row no connection got an answer
    stop_rules_checked_at: datetime | None = None
    refusals_at_check: int = 0  # those that were committed at that moment
    reserve: ClaimBuffer = field(default_factory=ClaimBuffer)
    claim_cursor: ClaimCursor = field(default_factory=ClaimCursor)
    reserve_is_outdated: bool = False  # a domain of it may have been set aside meanwhile
    claims_more: bool = False  # the last claim looked at as many as one transaction may: more may be due

    @property
    def purpose(self) -> str:
        """The purpose of the edition's deliveries."""
        return make_edition_delivery_purpose(self.edition)

    @property
    def has_unwritten_results(self) -> bool:
        """Whether the next commit has something to write down."""
        return bool(self.state_changes or self.withdrawn or self.unsent)

    @property
    def is_over(self) -> bool:
        """Whether this run hands nothing over any more."""
        return bool(self.stop_reason or self.wait_reason)

    @property
    def attempted(self) -> int:
        """How many messages this run dealt with."""
        return self.results.total() - self.results[HandoverStatus.NOT_TRIED]

    @property
    def seconds_paused(self) -> float:
        """For how many seconds nothing is handed over; a clock that was set back ends a pause."""
        seconds = (self.paused_until - self.clock()).total_seconds() if self.paused_until else 0.0
        return seconds if 0 < seconds <= MAX_PAUSE_SECONDS else 0.0

    @property
    def may_reserve(self) -> bool:
        """Whether more may be claimed than the workers can take: not where each message is counted, or is a probe."""
        counted = self.rate_limiter.has_limits or self.rate_limiter.domain_limits.by_domain
        probing = self.suspicion.is_probing or self.unanswered_rounds
        return not (counted or probing or self.is_over or self.seconds_paused)

    def note_reserved(self, claimed: Sequence[ClaimedEditionDelivery], begun: int) -> None:
        """Note that a commit wrote everything down and claimed these, which no worker has yet; so many more may leave now."""
        self.note_claimed(())
        self.reserve.fill(claimed, self.attempted, self.clock())
        self.reserve.begun += begun

    def take_back(self, tasks: Iterable[SendTask]) -> None:
        """Note that tasks were not tried, and may leave without another claim."""
        self.reserve.put_back(cast("ClaimedEditionDelivery", task.delivery) for task in tasks)

    def release_reserve(self) -> None:
        """Let what is reserved wait again, from the next commit on."""
        self.unsent += self.reserve.ids
        self.reserve.remove(len(self.reserve))
        self.reserve_is_outdated = False

    def note_aside(self, gate: GateDecision) -> None:
        """Note which domains a claim found set aside; one that was just set aside may be in the reserve."""
        if gate.aside == self.aside:
            return
        self.aside, self.reserve_is_outdated = gate.aside, bool(self.reserve)
        fresh = [d for d in gate.aside.values() if gate.resumed_at is None or d.at > gate.resumed_at]
        self.suspicion.domains_at_fault = {domain.tag: domain.reason for domain in fresh if not domain.decision}
        self.suspicion.exempt_domains = frozenset(tag for tag, domain in gate.aside.items() if domain.decision)
