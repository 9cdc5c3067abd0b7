"""The send gate, which decides what a run may do.

It's checked in every claim's transaction, so a pause takes effect immediately.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, inspect, outerjoin, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.control.provider_wait import WAIT_STATE_KEY, parse_provider_wait
from digest.deliver.control.set_aside_domains import SetAsideDomain, read_set_aside_domains
from digest.deliver.plan import canary
from digest.store.delivery_models import StoredInstallationValue
from digest.store.models import Edition, EditionState
from subscribers.consent import audience
from subscribers.english_text import end_sentence
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.models import Person

_edition_columns, _state_columns = inspect(Edition).local_table.c, inspect(StoredInstallationValue).local_table.c
_BLOCKING_COLUMNS = (
    _edition_columns.state,
    _edition_columns.paused_at,
    _edition_columns.paused_because,
    _state_columns.value,
)
_EDITION_AND_HOLD = outerjoin(
    _edition_columns.id.table, _state_columns.name.table, _state_columns.name == installation_hold.HOLD_STATE_KEY
)
_wait_columns = inspect(StoredInstallationValue).local_table.alias("wait").c
_IS_EDITION = _edition_columns.name == bindparam("edition")
_GATE_QUERY = CompiledStatement(
    select(
        *_BLOCKING_COLUMNS,
        _edition_columns.canary,
        _edition_columns.canary_until,
        _edition_columns.set_aside,
        _edition_columns.resumed_at,
        _wait_columns.value.label("provider_wait"),
    )
    .select_from(outerjoin(_EDITION_AND_HOLD, _wait_columns.name.table, _wait_columns.name == WAIT_STATE_KEY))
    .where(_IS_EDITION)
)


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The deliveries that a run may claim.

    `stop_reason` says why the run has to end and what to do, or is empty. `aside` are the domains
    that were set aside, by tag. Someone has seen those from before `resumed_at`. Until
    `provider_wait`, the provider accepts nothing from any process.
    """

    phase: canary.CanaryPhase
    stop_reason: str
    aside: Mapping[str, SetAsideDomain]
    resumed_at: datetime | None
    provider_wait: datetime | None


def check_send_gate(session: Session, edition: str, provider: str, now: datetime) -> GateDecision:
    """Return what a run of an edition may do now with a provider."""
    (row,) = _GATE_QUERY.fetch_rows(session, {"edition": edition})
    return GateDecision(
        canary.find_canary_phase(row.canary, row.canary_until, now),
        explain_blocked_send(edition, row, row.value),
        read_set_aside_domains(row.set_aside),
        row.resumed_at,
        parse_provider_wait(row.provider_wait, provider, now),
    )


@dataclass(frozen=True, slots=True)
class HandoverPermission:
    """The numbers of the subscribers whose messages may be sent now.

    If none may be, `stop_reason` says why.
    """

    mailable: frozenset[int]
    stop_reason: str = ""


def ask_handover_permission(connection: Connection, edition: str, numbers: Sequence[int]) -> HandoverPermission:
    """Return whether a run may continue and which subscribers may be emailed, using one query right before sending."""
    query = _compile_permission_query(connection.dialect.name)
    rows = query.fetch_rows(connection, {"edition": edition, **audience.bind_person_numbers(connection, numbers)})
    stop_reason = explain_blocked_send(edition, rows[0], rows[0].value)
    return HandoverPermission(frozenset(row.number for row in rows if row.number is not None), stop_reason)


@cache
def _compile_permission_query(dialect_name: str) -> CompiledStatement:
    number = inspect(Person).local_table.c.number
    subscribers = outerjoin(_EDITION_AND_HOLD, number.table, audience.build_mailable_numbers_condition(dialect_name))
    return CompiledStatement(select(*_BLOCKING_COLUMNS, number).select_from(subscribers).where(_IS_EDITION))


def explain_blocked_send(
    name: str,
    edition: Any,
    stored_hold: Any,
    *,
    called: str = "",
) -> str:
    """Return why an edition can't be sent now, or "" if it can.

    `stored_hold` is the stored pause or None. `called` replaces the name in the sentence, but not
    in the command.
    """
    if stored_hold is not None:
        return str(installation_hold.parse_hold(stored_hold))
    if edition.state == EditionState.CANCELLED:
        return f"{called or name} is canceled."
    if edition.paused_at is not None:
        reason = f": {end_sentence(edition.paused_because)}" if edition.paused_because else "."
        return f"{called or name} is paused{reason} Run 'digest resume {name}' to resume it."
    return ""
