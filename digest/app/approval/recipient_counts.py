"""Counts of the recipients of an error, cached in memory.

For large editions, a thread computes them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from digest.app.approval.correction_emails import CorrectionEmailOverview, read_correction_email
from digest.deliver.plan.correction_plan import CorrectionAudience, read_recipient_batches
from digest.deliver.plan.delivery_plan import has_at_most_deliveries, make_edition_delivery_purpose
from digest.installation.opened_installation import Installation
from digest.store.correction_models import Correction
from digest.store.models import Edition
from subscribers.loggers import get_logger

COUNT_LIFETIME = timedelta(minutes=10)
TURN_PAUSE = 0.0005  # seconds between batches, to let other work run

log = get_logger("corrections")


@dataclass(slots=True)
class RecipientCount:
    """A count of an error's recipients, in progress or done.

    `checked_count` of `total` messages have been checked since `counted_at`. `audience` is empty
    until the count is done.
    """

    counted_at: datetime
    total: int
    checked_count: int = 0
    audience: CorrectionAudience = field(default_factory=CorrectionAudience)
    is_done: bool = False
    has_failed: bool = False
    thread: threading.Thread | None = None

    def run(
        self, installation: Installation, edition: Edition, correction: Correction, pause: Callable[[], object]
    ) -> None:
        """Count all recipients of the error, batch by batch.

        `pause` is called after each batch.
        """
        counts = CorrectionAudience()
        try:
            for page in read_recipient_batches(installation.database, correction, edition, installation.settings):
                counts += page.counts
                self.checked_count += page.counts.checked_count
                pause()
        except Exception as exc:  # noqa: BLE001 - a thread has no caller to raise to; the page shows the failure
            log.error("couldn't count who received an error", error=type(exc).__name__)  # noqa: TRY400 - a trace may quote rows
            self.has_failed = True
        self.audience, self.is_done = counts, True


@dataclass(frozen=True, slots=True)
class CorrectionWithRecipientCount:
    """A correction's current email, and the recipients counted so far."""

    email: CorrectionEmailOverview
    count: RecipientCount


@dataclass(slots=True)
class RecipientCountCache:
    """A process's counts of recipients, by correction.

    The counts live as long as the application. An edition of at most `max_at_once` messages is
    counted while the page waits.
    """

    max_at_once: int = 2_000
    pause: Callable[[], object] = lambda: time.sleep(TURN_PAUSE)
    _counts: dict[int, RecipientCount] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find_or_begin(
        self, installation: Installation, name: str, number: int, *, now: datetime
    ) -> CorrectionWithRecipientCount:
        """Return the count of a correction's recipients.

        For a small edition, it's complete. For others, it's as far as a thread has counted.

        Raises:
            UnknownEditionError: there's no edition of that name.
            CorrectionError: the edition has no such correction.
        """
        email = read_correction_email(installation, name, number)
        edition, correction = email.edition, email.correction
        with installation.read() as session:
            is_small = has_at_most_deliveries(session, make_edition_delivery_purpose(edition.name), self.max_at_once)
        if is_small:
            count = RecipientCount(now, total=edition.planned or 0)
            count.run(installation, edition, correction, lambda: None)
            return CorrectionWithRecipientCount(email, count)
        with self._lock:
            recipient_count = self._counts.get(correction.id)
            if recipient_count is None or (
                recipient_count.is_done and recipient_count.counted_at + COUNT_LIFETIME <= now
            ):
                recipient_count = self._begin(installation, edition, correction, now)
            elif recipient_count.has_failed:
                del self._counts[correction.id]  # reported once; the next request starts a new count
        return CorrectionWithRecipientCount(email, recipient_count)

    def _begin(
        self, installation: Installation, edition: Edition, correction: Correction, now: datetime
    ) -> RecipientCount:
        count = RecipientCount(now, total=edition.planned or 0)
        arguments = (installation, edition, correction, self.pause)
        count.thread = threading.Thread(target=count.run, args=arguments, name="count of recipients", daemon=True)
        self._counts[correction.id] = count
        count.thread.start()
        return count
