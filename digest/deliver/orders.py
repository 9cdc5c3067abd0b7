"""What a run may do at this moment: asked in the transaction of every claim, so that a pause is heeded at the next."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, inspect, outerjoin, select
from sqlalchemy.orm import Session

from digest.db import Edition, EditionState
from digest.deliver import canary, holding
from digest.deliver.canary import Phase
from digest.delivery_db import Memo
from subscribers.prepared import Prepared

_edition, _memo = inspect(Edition).local_table.c, inspect(Memo).local_table.c
_STANDING = Prepared(
    select(
        _edition.state,
        _edition.paused_at,
        _edition.paused_because,
        _edition.canary,
        _edition.canary_until,
        _memo.value,
    )
    .select_from(outerjoin(_edition.id.table, _memo.name.table, _memo.name == holding.MEMO))
    .where(_edition.name == bindparam("edition"))
)


@dataclass(frozen=True, slots=True)
class Orders:
    """How far a run may look. With `stop` it hands nothing over any more, and `stop` says why and what to do."""

    phase: Phase
    stop: str = ""


def orders(session: Session, edition: str, now: datetime) -> Orders:
    """Ask what a run of an edition may do now."""
    (row,) = _STANDING.rows(session, {"edition": edition})
    return Orders(canary.phase(row.canary, row.canary_until, now), hindrance(edition, row, row.value))


def hindrance(name: str, edition: Any, held: Any) -> str:
    """Say why an edition must not go out now; empty where it may. `held` is what holds the installation, or None."""
    if held is not None:
        return f"the installation is {holding.read(held)}"
    if edition.state == EditionState.CANCELLED:
        return f"{name} is cancelled."
    if edition.paused_at is not None:
        why = f": {edition.paused_because}" if edition.paused_because else "."
        return f"{name} is paused{why} 'digest resume {name}' lets it go on."
    return ""
