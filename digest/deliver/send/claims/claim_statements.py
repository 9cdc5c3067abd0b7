"""The precompiled SQL statements that `delivery_claims` uses to claim deliveries and record results."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    any_,
    bindparam,
    case,
    column,
    exists,
    func,
    inspect,
    literal_column,
    or_,
    outerjoin,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from digest.deliver.plan.domain_groups import select_domain_group_tag
from digest.store.delivery_models import Delivery, DeliveryState, RunLease
from subscribers.consent import audience
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.database import is_postgresql
from subscribers.store.models import Person, UtcDateTime

_columns = inspect(Delivery).local_table.c

_SELECT_CLAIMS = (
    select(
        _columns.id,
        _columns.message_id,
        _columns.tries,
        _columns.due_at,
        _columns.next_try_at,
        _columns.person,
        _columns.first_handed_at,
        select_domain_group_tag(inspect(Person).local_table.c.domain_tag).label("group_tag"),
        *audience.build_audience_columns(),
    )
    .select_from(outerjoin(_columns.id.table, Person, Person.number == _columns.person))
    .where(
        _columns.purpose == bindparam("purpose_name"),
        _columns.next_try_at <= bindparam("horizon"),
    )
    .limit(bindparam("max_rows"))
    .with_for_update(skip_locked=True, of=_columns.id.table)  # for PostgreSQL; SQLite has only one writer
)
CLAIM_ORDER = (_columns.next_try_at, _columns.person)
_cursor = (bindparam("after_time", type_=UtcDateTime()), bindparam("after_person", type_=Integer()))
# The state is a literal, not a parameter, so that the index with this order is used.
_is_waiting = _columns.state == literal_column(f"'{DeliveryState.WAITING}'")
IS_AFTER_CURSOR = and_(_is_waiting, tuple_(*CLAIM_ORDER) > tuple_(*_cursor))
SELECT_DUE = CompiledStatement(_SELECT_CLAIMS.where(IS_AFTER_CURSOR).order_by(*CLAIM_ORDER))
# IDs are keyed hashes, so the first ones are spread over the list.
SELECT_SPREAD = _SELECT_CLAIMS.where(_is_waiting).order_by(
    select_domain_group_tag(_columns.domain_tag).in_(bindparam("avoided_domains", expanding=True)), _columns.id
)


class UpdateById:
    """An UPDATE of rows by ID.

    It runs row by row on SQLite, and as one statement for all rows with the same values on
    PostgreSQL, where each statement takes planning time on cores that the sending process also needs.
    """

    def __init__(self, *guard: ColumnElement[bool], **values: Any) -> None:
        change = update(_columns.id.table).where(*guard).values(**values)
        several = any_(bindparam("delivery_id", type_=postgresql.ARRAY(String())))
        self._single_row = CompiledStatement(change.where(_columns.id == bindparam("delivery_id")))
        self._many_rows = CompiledStatement(change.where(_columns.id == several))

    def update_rows(
        self,
        session: Session,
        changes: Iterable[tuple[str, Mapping[str, Any]]],
    ) -> int:
        """Update rows given as (ID, values), and return the number changed.

        The names of the values must be the same in each row.
        """
        if not is_postgresql(session):
            return self._single_row.execute_many(session, [{"delivery_id": id_, **values} for id_, values in changes])
        ids_by_values: dict[tuple[tuple[str, Any], ...], list[str]] = {}
        for id_, values in changes:
            ids_by_values.setdefault(tuple(values.items()), []).append(id_)
        rows = [{"delivery_id": ids, **dict(values)} for values, ids in ids_by_values.items()]
        return self._many_rows.execute_many(session, rows)


# For a message that wasn't sent: None if it was the first attempt.
_FIRST_HANDED_BEFORE = func.nullif(_columns.first_handed_at, _columns.handed_at)


def is_in_state(*states: DeliveryState) -> ColumnElement[bool]:
    """Return a condition on the state of rows found by ID, written so that it doesn't use an index.

    With the index, PostgreSQL would read all outdated rows that ever had one of these states, for
    as long as an old snapshot exists.
    """
    state = type_coerce(_columns.state, String()).concat(literal_column("''"))
    return or_(*(state == each.value for each in states))


_IS_RESERVED = is_in_state(DeliveryState.RESERVED)
_IS_WAITING = is_in_state(DeliveryState.WAITING)
POSTPONE = UpdateById(_IS_WAITING, next_try_at=bindparam("retry_at"))
SET_ASIDE = UpdateById(_IS_WAITING, state=bindparam("new_state"), reply=bindparam("why"))
_LEASE_VALUES: dict[str, Any] = {
    "state": DeliveryState.RESERVED,
    "owner": bindparam("owner_name"),
    "lease_until": bindparam("leased_until"),
}
TAKE_LEASE = UpdateById(_IS_WAITING, **_LEASE_VALUES)
# A single statement on PostgreSQL, however many variants there are.
_leased = (
    func.unnest(
        bindparam("delivery_ids", type_=postgresql.ARRAY(String())),
        bindparam("variant_texts", type_=postgresql.ARRAY(String())),
    )
    .table_valued(column("delivery_id", String()), column("variant_text", String()))
    .render_derived(name="leased")
)
TAKE_READER_LEASE, TAKE_READER_LEASES = (
    CompiledStatement(
        update(_columns.id.table).where(_IS_WAITING, _columns.id == id_).values(variant=variant, **_LEASE_VALUES)
    )
    for id_, variant in (
        (bindparam("delivery_id"), bindparam("variant_text", type_=String())),
        (_leased.c.delivery_id, _leased.c.variant_text),
    )
)
_IS_OWN = _columns.owner == bindparam("owner_name")
# If others considered the run dead, its rows became uncertain. The run itself knows better.
_WAS_HANDED_OVER = is_in_state(DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN)
_IS_OWN_CLAIM = (_IS_OWN, or_(_IS_RESERVED, _WAS_HANDED_OVER))
_lease_columns = inspect(RunLease).local_table.c
IS_LEASE_KEPT = exists().where(
    _lease_columns.owner == bindparam("owner_name"), _lease_columns.epoch == bindparam("lease_epoch")
)
_hand_over = (
    update(_columns.id.table)
    .where(_IS_RESERVED, _IS_OWN, IS_LEASE_KEPT)
    .values(
        state=DeliveryState.HANDING_OVER,
        handed_at=bindparam("claimed_at"),
        first_handed_at=func.coalesce(_columns.first_handed_at, bindparam("claimed_at", type_=UtcDateTime())),
        transport=bindparam("provider_name"),
    )
)
# A single statement for all rows, even on SQLite.
_json_ids = func.json_each(bindparam("delivery_ids", type_=String())).table_valued("value")
HAND_OVER_JSON, HAND_OVER_ARRAY = (
    CompiledStatement(_hand_over.where(is_meant))
    for is_meant in (
        _columns.id.in_(select(_json_ids.c.value)),
        _columns.id == any_(bindparam("delivery_ids", type_=postgresql.ARRAY(String()))),
    )
)


def _result_update(
    delivery_id: ColumnElement[str],
    new_state: ColumnElement[Any],
    new_reply: ColumnElement[str],
    added_tries: ColumnElement[int],
    retry_at: ColumnElement[datetime],
) -> CompiledStatement:
    """Return the UPDATE that records a claim's result."""
    change = update(_columns.id.table).where(_columns.id == delivery_id, _IS_OWN, _WAS_HANDED_OVER)
    return CompiledStatement(
        change.values(
            state=new_state,
            reply=new_reply,
            tries=_columns.tries + added_tries,
            next_try_at=func.coalesce(retry_at, _columns.next_try_at),
            first_handed_at=case((added_tries == 0, _FIRST_HANDED_BEFORE), else_=_columns.first_handed_at),
            owner=None,
            lease_until=None,
        )
    )


RESULT_TYPES: dict[str, TypeEngine[Any]] = {
    "delivery_id": String(),
    "new_state": String(),
    "new_reply": String(),
    "added_tries": Integer(),
    "retry_at": UtcDateTime(),
}
RECORD_RESULT = _result_update(*(bindparam(name, type_=type_) for name, type_ in RESULT_TYPES.items()))
# A single statement on PostgreSQL, however different the replies are.
_results = (
    func.unnest(*(bindparam(name, type_=postgresql.ARRAY(type_)) for name, type_ in RESULT_TYPES.items()))
    .table_valued(*(column(name, type_) for name, type_ in RESULT_TYPES.items()))
    .render_derived(name="result")
)
RECORD_RESULTS = _result_update(*(_results.c[name] for name in RESULT_TYPES))
UNDO_CLAIM = UpdateById(
    *_IS_OWN_CLAIM,
    state=bindparam("new_state"),
    owner=None,
    lease_until=None,
    handed_at=case((_IS_RESERVED, _columns.handed_at), else_=None),
    first_handed_at=case((_IS_RESERVED, _columns.first_handed_at), else_=_FIRST_HANDED_BEFORE),
    transport=case((_IS_RESERVED, _columns.transport), else_=""),
)
