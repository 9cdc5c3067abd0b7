"""State of the installation as a whole: one row a name, in the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.store.delivery_models import InstallationState
from subscribers.store.database import upsert

# Where the database belongs: the name, machine or server that it was last opened on.
IDENTITY_STATE_KEY = "at home"


def read_installation_state(session: Session, key: str) -> Mapping[str, Any] | None:
    """Return the state of a name, or None."""
    return session.scalar(select(InstallationState.value).where(InstallationState.name == key))


def write_installation_state(session: Session, key: str, value: Mapping[str, Any], *, now: datetime) -> None:
    """Store the state of a name in place of the one before."""
    values = {"value": dict(value), "at": now}
    statement = upsert(session, InstallationState).values(name=key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def delete_installation_state(session: Session, key: str) -> bool:
    """Delete the state of a name; False where there was none."""
    return session.connection().execute(delete(InstallationState).where(InstallationState.name == key)).rowcount == 1
