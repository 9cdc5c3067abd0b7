"""Limits on sign-in attempts that can't be used to lock a colleague out.

A browser that has signed in to an account before has its own limit there: five attempts in ten
minutes. Other attempts, on the account or from the same network, don't count toward it.

An attempt is counted before it's checked, so a hundred parallel attempts can't pass as one. A
successful sign-in resets the browser's count. See
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete
from sqlalchemy.orm import Session

from digest.app.accounts import passwords
from digest.app.accounts.sign_in_log import SignInMethod, build_sign_in_entry, record_refused_sign_in
from digest.app.accounts.visitor import Visitor, read_device_token
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import StaffMember
from digest.store.staff import staff_actor
from subscribers.address import AddressError, read_address
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.signup.rate_limits import TEN_MINUTES, find_window_start, increment_count, sum_counts
from subscribers.store.signup_models import RateLimitCount

HOUR = timedelta(hours=1)
# Per account and ten minutes. Browsers are told apart by their device token, or else by their
# network.
TRIES_PER_BROWSER = 5
TRIES_PER_NETWORK = 50  # per ten minutes, for all accounts, from browsers that have never signed in to them
TRIES_PER_ACCOUNT = 100  # per hour, from browsers that have never signed in to the account
LINKS_PER_MEMBER = 3  # per ten minutes, emailed at the member's own request


class TooManyAttemptsError(RefusalError):
    """Raised when there are too many sign-in attempts.

    The message says how long to wait and which sign-in methods still work.
    """


class SignInRefusedError(RefusalError):
    """Raised when the details entered to sign in are wrong or can't be used.

    `field` names the field that was wrong, or is empty if that must not be revealed.
    """

    def __init__(self, message: str, field: Literal["", "code"] = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """The browser that a sign-in attempt was counted for, and its remaining attempts.

    `attempts_left` is the number that the browser has left in this window.
    """

    browser_tag: str
    attempts_left: int

    @property
    def words_left(self) -> str:
        """A sentence that says how many attempts are left."""
        return f"You have {self.attempts_left} more {('try' if self.attempts_left == 1 else 'tries')} in the next 10 minutes."


def verify_password_attempt(
    installation: Installation,
    member: StaffMember | None,
    email: str,
    password: str,
    visitor: Visitor,
    refusal: str,
    *,
    now: datetime,
) -> AttemptCount:
    """Count a sign-in attempt, then check the password.

    An unknown address takes just as long to reject and gets the same error.

    Raises:
        SignInRefusedError: the address is unknown or the password is wrong. The message begins with
            `refusal`, and a known member's log records the attempt.
        TooManyAttemptsError: there were too many attempts.
    """
    name = staff_actor(member) if member else ""
    database = installation.database
    try:
        with database.write() as session:
            number = member.id if member else None
            counted = count_sign_in_attempt(session, installation.keys, _name_account(email), number, visitor, now=now)
    except TooManyAttemptsError:
        record_refused_sign_in(database, "too many tries", member=name, now=now)
        raise
    if passwords.matches_password(password, member.password_hash if member else None):
        return counted
    if member is None:
        record_refused_sign_in(database, "unknown address", now=now)
    else:
        entry = build_sign_in_entry(member.id, SignInMethod.PASSWORD, visitor, succeeded=False, now=now)
        record_refused_sign_in(database, "wrong password", member=name, entry=entry, now=now)
    raise SignInRefusedError(f"{refusal} {counted.words_left}")


def _name_account(email: str) -> str:
    """Return the key under which an address's attempts are counted. All spellings of the address share it."""
    try:
        return read_address(email).canonical
    except AddressError:
        return email.strip().casefold()[:320]


def count_sign_in_attempt(
    session: Session, keys: KeyRing, account: str, staff: int | None, visitor: Visitor, *, now: datetime
) -> AttemptCount:
    """Count an attempt on an account, even one that doesn't exist.

    Raises:
        TooManyAttemptsError: there were too many attempts. This one isn't counted.
    """
    network = _tag(keys, "network", visitor.network if visitor.network[0].isdigit() else visitor.address)
    device = read_device_token(keys, visitor.device, staff) if staff is not None else ""
    browser = _tag(keys, "browser", account, device or f"network {network}")
    used = sum_counts(session, "sign-in browser", browser, find_window_start(now, TEN_MINUTES))
    if used >= TRIES_PER_BROWSER:
        raise TooManyAttemptsError(
            f"You've made {TRIES_PER_BROWSER} failed attempts. Wait 10 minutes, or use a passkey or sign-in link."
        )
    if not device:
        _count_unknown_browser(session, network, _tag(keys, "account", account), now)
    increment_count(session, "sign-in browser", browser, now=now, window=TEN_MINUTES)
    return AttemptCount(browser, TRIES_PER_BROWSER - used - 1)


def _count_unknown_browser(session: Session, network: str, account: str, now: datetime) -> None:
    """Count an attempt from a browser that has never signed in.

    `network` and `account` are the tags of its network and of the account.
    """
    if sum_counts(session, "sign-in network", network, find_window_start(now, TEN_MINUTES)) >= TRIES_PER_NETWORK:
        raise TooManyAttemptsError(
            "Too many failed attempts from your network. Use a passkey, a sign-in link, or a browser you've signed "
            "in with before, or wait 10 minutes."
        )
    if sum_counts(session, "sign-in account", account, find_window_start(now, HOUR)) >= TRIES_PER_ACCOUNT:
        raise TooManyAttemptsError(
            "Too many failed attempts for this account. Use a passkey, a sign-in link, or a browser you've signed in "
            "with before, or wait an hour."
        )
    increment_count(session, "sign-in network", network, now=now, window=TEN_MINUTES)
    increment_count(session, "sign-in account", account, now=now, window=HOUR)


def count_requested_link(session: Session, keys: KeyRing, staff: int, *, now: datetime) -> None:
    """Count a sign-in link that a member requested.

    Raises:
        TooManyAttemptsError: there were too many requests. This one isn't counted.
    """
    tag = _tag(keys, "link", str(staff))
    if sum_counts(session, "sign-in link", tag, find_window_start(now, TEN_MINUTES)) >= LINKS_PER_MEMBER:
        raise TooManyAttemptsError(f"{LINKS_PER_MEMBER} links were just emailed. Use the newest, or wait 10 minutes.")
    increment_count(session, "sign-in link", tag, now=now, window=TEN_MINUTES)


def reset_attempts(session: Session, counted: AttemptCount) -> None:
    """Reset a browser's count of attempts on an account after a successful sign-in."""
    mine = (RateLimitCount.scope == "sign-in browser") & (RateLimitCount.tag == counted.browser_tag)
    session.execute(delete(RateLimitCount).where(mine), execution_options={"synchronize_session": False})


def _tag(keys: KeyRing, *parts: str) -> str:
    """Return a keyed hash (64 hex digits), so that the counts don't contain email or IP addresses."""
    return hmac.digest(keys.current("session").secret, "\0".join(("sign-in", *parts)).encode(), "sha256").hex()
