"""The state of one run that sends an edition."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from digest.deliver.compose.variants import EditionVariants
from digest.deliver.plan.delivery_plan import edition_purpose
from digest.deliver.providers.base import HandoverResult
from digest.deliver.send.database_retry import DatabaseRetry
from digest.deliver.send.handover import HandoverRun
from digest.deliver.send.message_suspicion import MessageSuspicion
from digest.deliver.send.progress import ProgressWriter
from digest.deliver.send.rate_limiter import RateLimiter


@dataclass(kw_only=True)
class SendRun(HandoverRun):
    """One run of one edition. It lives as long as `send_edition`."""

    edition: str
    variants: EditionVariants
    database_retry: DatabaseRetry
    report_progress: Callable[[int, int], None]
    limit: int | None
    rate_limiter: RateLimiter
    progress_writer: ProgressWriter
    suspicion: MessageSuspicion
    planned_total: int = 0
    handed_over_before: int = 0  # messages that earlier runs handed over
    wait_reason: str = ""  # why nothing more is handed over though nothing is wrong: it goes on at `resumes_at`
    resumes_at: datetime | None = None
    paused_until: datetime | None = None  # nothing is handed over before
    unanswered_rounds: int = 0  # how often in a row no connection got an answer
    alarms_checked_at: datetime | None = None
    refusals_at_check: int = 0  # `refusal_count` at that moment

    @property
    def purpose(self) -> str:
        """The purpose of the edition's deliveries."""
        return edition_purpose(self.edition)

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
        return self.results.total() - self.results[HandoverResult.NOT_TRIED]
