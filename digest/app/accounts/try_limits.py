"""How often somebody may try to sign in. Nobody can lock a colleague out: a browser that was signed in before is counted apart.

Such a browser has its own five tries in ten minutes, on the account that it was signed in to. What others try, on that account or
from its network, does not count against it.

A try is counted before it is judged, so that a hundred at once are not judged as one; a sign-in takes its own tries back.
See https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from digest.app.accounts.visitor import Visitor, read_device_mark
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.signup.rate_limits import TEN_MINUTES, increment_count, sum_counts, window_start
from subscribers.store.signup_models import RateLimitCount

HOUR = timedelta(hours=1)
TRIES_PER_BROWSER = 5  # in ten minutes, on one account: by its mark, else by its network
TRIES_PER_NETWORK = 50  # in ten minutes, on whatever account, from browsers that were never signed in to it
TRIES_PER_ACCOUNT = 100  # in an hour, from browsers that were never signed in


class TooManyTriesError(RefusalError):
    """Too many tries to sign in; the message says until when to wait, and what works meanwhile."""


@dataclass(frozen=True, slots=True)
class TryCount:
    """The counts that a try adds to. `left` is how many more the browser has in this window."""

    browser_tag: str
    left: int


def count_try(
    session: Session, keys: KeyRing, account: str, staff: int | None, visitor: Visitor, *, now: datetime
) -> TryCount:
    """Count a try on an account, which an address names whether it is known or not.

    Raises:
        TooManyTriesError: there were too many; nothing is counted.
    """
    network = _tag(keys, "network", visitor.network if visitor.network[0].isdigit() else visitor.address)
    device = read_device_mark(keys, visitor.device, staff) if staff is not None else ""
    browser = _tag(keys, "browser", account, device or f"network {network}")
    used = sum_counts(session, "sign-in browser", browser, window_start(now, TEN_MINUTES))
    if used >= TRIES_PER_BROWSER:
        raise TooManyTriesError(
            f"Those were {TRIES_PER_BROWSER} tries. Wait ten minutes, then try again. A passkey or a sign-in link works meanwhile."
        )
    if not device:
        _count_unknown_browser(session, network, _tag(keys, "account", account), now)
    increment_count(session, "sign-in browser", browser, now=now, window=TEN_MINUTES)
    return TryCount(browser, TRIES_PER_BROWSER - used - 1)


def _count_unknown_browser(session: Session, network: str, account: str, now: datetime) -> None:
    """Count a try of a browser that was never signed in, by the tags of its network and of the account."""
    if sum_counts(session, "sign-in network", network, window_start(now, TEN_MINUTES)) >= TRIES_PER_NETWORK:
        raise TooManyTriesError(
            "Too many tries came from your network. For ten minutes a password works only in a browser that was signed in "
            "before; a passkey or a sign-in link works everywhere."
        )
    if sum_counts(session, "sign-in account", account, window_start(now, HOUR)) >= TRIES_PER_ACCOUNT:
        raise TooManyTriesError(
            "Too many tries were made on this account. Within the hour a password works only in a browser that was signed in "
            "before; a passkey or a sign-in link works everywhere."
        )
    increment_count(session, "sign-in network", network, now=now, window=TEN_MINUTES)
    increment_count(session, "sign-in account", account, now=now, window=HOUR)


def forget_tries(session: Session, counted: TryCount) -> None:
    """Take back the tries of a browser on an account: it has signed in."""
    mine = (RateLimitCount.scope == "sign-in browser") & (RateLimitCount.tag == counted.browser_tag)
    session.execute(delete(RateLimitCount).where(mine), execution_options={"synchronize_session": False})


def _tag(keys: KeyRing, *parts: str) -> str:
    """Return a keyed hash, 64 hex digits: counts hold no address, of a mailbox or of a machine."""
    return hmac.digest(keys.current("session").secret, "\0".join(("sign-in", *parts)).encode(), "sha256").hex()
