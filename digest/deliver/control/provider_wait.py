"""A provider's request to wait (status 429).

All processes obey it, because the rate limit is the account's.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold

WAIT_STATE_KEY = "provider waits"
WAIT_REASON = "the provider asked senders to wait"
MAX_WAIT = timedelta(hours=1, minutes=1)  # waits are never longer than this, even if the clock was set back


def note_provider_wait(session: Session, provider: str, wait_until: datetime, *, now: datetime) -> None:
    """Store the time before which a provider won't accept messages."""
    stored = {"provider": provider, "until": wait_until.isoformat()}
    installation_hold.write_installation_value(session, WAIT_STATE_KEY, stored, now=now)


def parse_provider_wait(
    stored: Mapping[str, Any] | None,
    provider: str,
    now: datetime,
) -> datetime | None:
    """Return the stored time before which a provider won't accept messages.

    Return None if there isn't one or it has passed.
    """
    if stored is None or stored["provider"] != provider:
        return None
    wait_until = datetime.fromisoformat(stored["until"])
    return wait_until if now < wait_until <= now + MAX_WAIT else None


def read_provider_wait(session: Session, provider: str, now: datetime) -> datetime | None:
    """Return the time before which a provider won't accept messages, or None if it accepts them now."""
    return parse_provider_wait(installation_hold.read_installation_value(session, WAIT_STATE_KEY), provider, now)
