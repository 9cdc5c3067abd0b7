"""A provider's request to wait (status 429), which all processes follow: its rate is that of the account."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold

WAIT_STATE_KEY = "provider waits"
WAIT_REASON = "the provider asks for patience"
MAX_WAIT = timedelta(hours=1, minutes=1)  # a clock that was set back stops nothing for longer


def note_provider_wait(session: Session, provider: str, wait_until: datetime, *, now: datetime) -> None:
    """Note until when a provider takes nothing."""
    stored = {"provider": provider, "until": wait_until.isoformat()}
    installation_hold.write_installation_state(session, WAIT_STATE_KEY, stored, now=now)


def parse_provider_wait(stored: Mapping[str, Any] | None, provider: str, now: datetime) -> datetime | None:
    """Return until when a provider takes nothing, given the installation's state; None if it does."""
    if stored is None or stored["provider"] != provider:
        return None
    wait_until = datetime.fromisoformat(stored["until"])
    return wait_until if now < wait_until <= now + MAX_WAIT else None


def read_provider_wait(session: Session, provider: str, now: datetime) -> datetime | None:
    """Return until when a provider takes nothing; None if it does."""
    return parse_provider_wait(installation_hold.read_installation_state(session, WAIT_STATE_KEY), provider, now)
