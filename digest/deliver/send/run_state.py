"""One run of one edition over one transport, and what it knows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from digest.deliver.compose.variants import EditionVariants
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.providers.base import HandoverResult, Provider
from digest.deliver.send.claims import LeaseTerms
from digest.deliver.send.database_retry import DatabaseRetry
from digest.deliver.send.progress import ProgressWriter
from digest.deliver.send.rate_limiter import RateLimiter
from digest.deliver.send.retry_policy import StateChange
from digest.settings import Settings
from digest.store.engine import Database
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto.keys import KeyRing


@dataclass(slots=True)
class SendRun:
    """It lives as long as `send`, and is kept by one thread.

    `state_changes`, `refusal_events`, `withdrawn` and `unsent` are what the next commit writes down: what came of deliveries, what servers
    said of addresses, whose readers left at the last moment, and which were claimed and never left.
    """

    database: Database
    edition: str
    provider: Provider
    keys: KeyRing
    variants: EditionVariants
    settings: Settings
    departure_log: DepartureLog
    clock: Callable[[], datetime]
    database_retry: DatabaseRetry
    report_progress: Callable[[int, int], None]
    limit: int | None
    lease: LeaseTerms
    rate_limiter: RateLimiter
    progress_writer: ProgressWriter
    failures_counted_since: datetime  # what was said before that does not count against the edition
    planned_total: int = 0
    handed_over_before: int = 0  # messages that earlier runs handed over
    results: Counter[HandoverResult] = field(default_factory=Counter)
    state_changes: list[tuple[str, StateChange]] = field(default_factory=list)
    refusal_events: list[DeliveryEvent] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    possibly_sent: set[str] = field(default_factory=set)  # handed over by a courier whom a fault struck: nobody knows
    stop_reason: str = ""  # why nothing more is handed over
    wait_reason: str = ""  # the same where nothing is wrong: it goes on at `not_before`
    resumes_at: datetime | None = None
    pause_seconds: float = 0.0  # seconds for which nothing shall be handed over
    had_no_answers: bool = False  # no connection got an answer, and none came since
    alarms_checked_at: datetime | None = None  # when `alarms` were last asked
    refusals_since_check: int = 0  # refusals since then

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
        """How many messages were dealt with in this run."""
        return self.results.total() - self.results[HandoverResult.NOT_TRIED]
