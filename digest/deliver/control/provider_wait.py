"""A provider's request to wait (status 429), which all processes obey because the rate limit is the account's."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold

WAIT_STATE_KEY = "provider waits"
WAIT_REASON = "the provider asks for patience"
MAX_WAIT = timedelta(hours=1, minutes=1)  # no longer than this, even if the clock was set back


def note_provider_wait(session: Session, provider: str, wait_until: datetime, *, now: datetime) -> None:
    """Store until when a provider accepts nothing."""
    stored = {"provider": provider, "until": wait_until.isoformat()}
    installation_hold.write_installation_state(session, WAIT_STATE_KEY, stored, now=now)


def parse_provider_wait(
    stored: Mapping[str, Any] | None,
    provider: str,
    now: datetime,
) -> datetime | None:
    """Return until when a provider accepts nothing, from the stored state, or None if it accepts messages."""
    if stored is None or stored["provider"] != provider:
        return None
    wait_until = datetime.fromisoformat(stored["until"])
    return wait_until if now < wait_until <= now + MAX_WAIT else None


def read_provider_wait(session: Session, provider: str, now: datetime) -> datetime | None:
    """Return until when a provider accepts nothing, or None if it accepts messages."""
    return parse_provider_wait(installation_hold.read_installation_state(session, WAIT_STATE_KEY), provider, now)
