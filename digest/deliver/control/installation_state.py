"""What the installation itself remembers, by name: one row each, in the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.store.delivery_models import InstallationState
from subscribers.store.database import upsert


def read_installation_state(session: Session, key: str) -> Mapping[str, Any] | None:
    """Give what is remembered under a name, or None."""
    return session.scalar(select(InstallationState.value).where(InstallationState.name == key))


def write_installation_state(session: Session, key: str, value: Mapping[str, Any], *, now: datetime) -> None:
    """Remember something under a name, instead of what was there."""
    said = {"value": dict(value), "at": now}
    put = upsert(session, InstallationState).values(name=key, **said)
    session.execute(put.on_conflict_do_update(index_elements=["name"], set_=said))


def delete_installation_state(session: Session, key: str) -> bool:
    """Forget what is under a name; say whether there was something."""
    return session.connection().execute(delete(InstallationState).where(InstallationState.name == key)).rowcount == 1
