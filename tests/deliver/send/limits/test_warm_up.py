"""A new sender's days, counted across runs."""

from datetime import datetime

from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.limits.rate_limits import DAY, MINUTE, DomainLimits
from digest.settings import UsageLimitSettings
from digest.store.engine import Database
from tests.moments import AFTER_RELEASE as NOON


def _hand_over(database: Database, now: datetime) -> int:
    """Hand over ten messages in a run of its own; return how many it might have."""
    run = RateLimiter(UsageLimitSettings(warm_up=[50, 100]), DomainLimits({}))
    with database.write() as session:
        allowance = run.find_allowance(session, 1_000, lambda: now)
        run.count_messages(session, 10, now)
    return allowance.messages


def test_the_first_message_begins_the_warm_up_and_no_later_one(database: Database) -> None:
    moments = (NOON, NOON + MINUTE, NOON + DAY * 1.5, NOON + DAY * 2.8)
    assert [_hand_over(database, now) for now in moments] == [50, 40, 100, 1_000]
