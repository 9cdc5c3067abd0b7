"""Whether a run may hand over now: asked in the transaction of every claim, so that a pause holds from the next one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, inspect, outerjoin, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan import canary
from digest.store.delivery_models import InstallationState
from digest.store.models import Edition, EditionState
from subscribers.store.compiled_statements import CompiledStatement

_edition_columns, _state_columns = inspect(Edition).local_table.c, inspect(InstallationState).local_table.c
_GATE_QUERY = CompiledStatement(
    select(
        _edition_columns.state,
        _edition_columns.paused_at,
        _edition_columns.paused_because,
        _edition_columns.canary,
        _edition_columns.canary_until,
        _state_columns.value,
    )
    .select_from(
        outerjoin(
            _edition_columns.id.table,
            _state_columns.name.table,
            _state_columns.name == installation_hold.HOLD_STATE_KEY,
        )
    )
    .where(_edition_columns.name == bindparam("edition"))
)


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Which deliveries a run may claim; `stop_reason` is empty, or says why it has to end and what to do."""

    phase: canary.CanaryPhase
    stop_reason: str = ""


def check_send_gate(session: Session, edition: str, now: datetime) -> GateDecision:
    """Decide what a run of an edition may do now."""
    (row,) = _GATE_QUERY.fetch_rows(session, {"edition": edition})
    return GateDecision(
        canary.current_canary_phase(row.canary, row.canary_until, now), send_blocked_reason(edition, row, row.value)
    )


def send_blocked_reason(name: str, edition: Any, stored_hold: Any) -> str:
    """Return why an edition must not go out now; empty where it may. `stored_hold` is the hold's stored value, or None."""
    if stored_hold is not None:
        return f"the installation is {installation_hold.parse_hold(stored_hold)}"
    if edition.state == EditionState.CANCELLED:
        return f"{name} is cancelled."
    if edition.paused_at is not None:
        reason = f": {edition.paused_because}" if edition.paused_because else "."
        return f"{name} is paused{reason} 'digest resume {name}' lets it go on."
    return ""
