"""Members' sign-in logs, and counts of rejected attempts for admins. Neither contains addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.accounts.visitor import Visitor
from digest.store.account_models import SignInAttempt
from digest.store.engine import Database
from subscribers.loggers import get_logger
from subscribers.signup.rate_limits import DAY, TEN_MINUTES, find_window_start, increment_count, sum_counts
from subscribers.store.signup_models import RateLimitCount

LOG_RETENTION = timedelta(days=90)  # for members' sign-in attempts
SCOPE = "sign-in refused"
# Rejections for one reason in ten minutes. Further ones don't take the database's write lock.
MOST_COUNTED = 1000
SURGE = 30  # rejections in an hour, more than typing errors by the staff can explain

RefusalReason = Literal[
    "unknown address",
    "wrong password",
    "wrong code",
    "too many tries",
    "unknown passkey",
    "passkey that failed verification",
    "link that doesn't work",
]

log = get_logger("sign-in")


class SignInMethod(StrEnum):
    """A sign-in method, as named in the member's log."""

    LINK = "link"
    INVITATION = "invitation"
    PASSWORD = "password"  # noqa: S105 - the name of a method, not a secret
    RECOVERY_CODE = "recovery code"
    PASSKEY = "passkey"


@dataclass(frozen=True, slots=True)
class RefusedSignInCounts:
    """Counts of rejected sign-in attempts.

    `unknown_address` is the number within `last_day` that had an unknown address.
    """

    last_hour: int
    last_day: int
    unknown_address: int

    @property
    def sentence(self) -> str:
        """The counts as a sentence for admins."""
        unknown = f" ({self.unknown_address:,} for unknown addresses)" if self.unknown_address else ""
        return f"Rejected sign-ins in the last 24 hours: {self.last_day:,}{unknown}."


def record_refused_sign_in(
    database: Database, reason: RefusalReason, *, member: str = "", entry: SignInAttempt | None = None, now: datetime
) -> None:
    """Log a rejected sign-in attempt, and count it for admins.

    `member` is a name such as `staff 3`, or empty if the member is unknown. `entry` is added to the
    member's log in the same transaction, because a second transaction would take measurably longer
    and so reveal who is on the staff.
    """
    log.warning("sign-in refused", reason=reason, member=member)
    with database.read() as session:
        is_flood = sum_counts(session, SCOPE, reason, find_window_start(now, TEN_MINUTES)) >= MOST_COUNTED
    if is_flood and entry is None:
        return
    with database.write() as session:
        if entry is not None:
            session.add(entry)
        if not is_flood:
            increment_count(session, SCOPE, reason, now=now, window=TEN_MINUTES)


def count_recent_refusals(session: Session, *, now: datetime) -> RefusedSignInCounts:
    """Return counts of recent rejected attempts, accurate to ten minutes."""
    counted = select(func.coalesce(func.sum(RateLimitCount.count), 0)).where(RateLimitCount.scope == SCOPE)
    hour, day = (RateLimitCount.began > now - period for period in (timedelta(hours=1), DAY))
    unknown: RefusalReason = "unknown address"
    queries = (counted.where(hour), counted.where(day), counted.where(day, RateLimitCount.tag == unknown))
    return RefusedSignInCounts(*(session.scalar(query) or 0 for query in queries))


def build_sign_in_entry(
    member: int, method: SignInMethod, visitor: Visitor, *, succeeded: bool, now: datetime, passkey: str = ""
) -> SignInAttempt:
    """Return a log entry for a member's sign-in attempt."""
    return SignInAttempt(
        staff=member,
        at=now,
        method=str(method),
        passkey=passkey,
        succeeded=succeeded,
        network=visitor.network,
        browser=visitor.browser,
    )


def list_sign_ins(session: Session, member: int, *, now: datetime, limit: int) -> Sequence[SignInAttempt]:
    """Return up to `limit` of a member's sign-in attempts in the last 90 days, newest first."""
    query = select(SignInAttempt).where(SignInAttempt.staff == member, SignInAttempt.at > now - LOG_RETENTION)
    return session.scalars(query.order_by(SignInAttempt.at.desc(), SignInAttempt.id.desc()).limit(limit)).all()
