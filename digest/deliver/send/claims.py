"""The moves of deliveries in the database: claimed, asked again, recorded, released by a dead owner.

A claim is a conditional UPDATE inside the transaction that selected the rows: of two processes one gets a row.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Integer,
    String,
    any_,
    bindparam,
    func,
    inspect,
    or_,
    outerjoin,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from digest.deliver.compose.variants import EditionVariants, omits_every_section
from digest.deliver.send.rate_limits import DomainLimits
from digest.deliver.send.retry_policy import StateChange
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.process_owner import ProcessOwner
from subscribers.consent import audience
from subscribers.consent.audience import AudienceMember
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.database import is_postgresql
from subscribers.store.models import Person, UtcDateTime

MAX_ROWS_PER_CLAIM = 1000  # rows looked at in one claim


_columns = inspect(Delivery).local_table.c

# Rows are changed by their id, one by one: given a list of ids, SQLite would look for them among all that wait.
_SELECT_DUE = CompiledStatement(
    select(
        _columns.id,
        _columns.message_id,
        _columns.tries,
        _columns.due_at,
        _columns.next_try_at,
        *audience.audience_columns(),
    )
    .select_from(outerjoin(_columns.id.table, Person, Person.number == _columns.person))
    .where(
        _columns.state == DeliveryState.WAITING,
        _columns.purpose == bindparam("for_purpose"),
        _columns.next_try_at <= bindparam("horizon"),
    )
    .order_by(_columns.next_try_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=_columns.id.table)  # PostgreSQL; SQLite has one writer anyway
)


class _UpdateById:
    """A change of rows by their ids (`of`): row by row on SQLite, on PostgreSQL at once for all that get the same values.

    There every statement is work for the planner, which shares our cores.
    """

    def __init__(self, *guard: ColumnElement[bool], **values: Any) -> None:
        change = update(_columns.id.table).where(*guard).values(**values)
        several = any_(bindparam("of", type_=postgresql.ARRAY(String())))
        self._single_row = CompiledStatement(change.where(_columns.id == bindparam("of")))
        self._many_rows = CompiledStatement(change.where(_columns.id == several))

    def update_rows(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
        """Change rows, given with the same names each, `of` first; give how many changed."""
        if not is_postgresql(session):
            return self._single_row.execute_many(session, rows)
        alike: dict[tuple[Any, ...], list[str]] = {}
        for row in rows:
            alike.setdefault(tuple(row.values())[1:], []).append(row["of"])
        names = tuple(rows[0])[1:]
        return self._many_rows.execute_many(
            session, [{"of": ids, **dict(zip(names, same, strict=True))} for same, ids in alike.items()]
        )


_IS_WAITING = _columns.state == DeliveryState.WAITING
_POSTPONE = _UpdateById(_IS_WAITING, next_try_at=bindparam("again"))
_SET_ASIDE = _UpdateById(_IS_WAITING, state=bindparam("to"))
_TAKE_LEASE = _UpdateById(
    _IS_WAITING,
    state=DeliveryState.HANDING_OVER,
    owner=bindparam("by"),
    lease_until=bindparam("until"),
    handed_at=bindparam("now"),
    transport=bindparam("over"),
)
_RECORD_RESULT = _UpdateById(
    _columns.owner == bindparam("by"),
    # Past its lease the row was set to uncertain; whoever handed it over knows better.
    or_(_columns.state == DeliveryState.HANDING_OVER, _columns.state == DeliveryState.UNCERTAIN),
    state=bindparam("to"),
    reply=bindparam("said"),
    tries=_columns.tries + bindparam("tried", type_=Integer()),
    next_try_at=func.coalesce(bindparam("again", type_=UtcDateTime()), _columns.next_try_at),
    owner=None,
    lease_until=None,
)
_UNDO_CLAIM = _UpdateById(
    _columns.owner == bindparam("by"),
    _columns.state == DeliveryState.HANDING_OVER,
    state=bindparam("to"),
    owner=None,
    lease_until=None,
    handed_at=None,
    transport="",
)


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """One claimer: whose rows (`owner`), of which purpose, over which transport, for how long at most."""

    purpose: str
    owner: str
    provider_name: str
    duration: timedelta


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A claimed delivery and the reader whom it is owed to, as they stood at the claim."""

    delivery_id: str
    message_id: str
    tries: int
    due_at: datetime
    reader: AudienceMember


def claim_deliveries(
    session: Session,
    lease: LeaseTerms,
    variants: EditionVariants,
    domain_limits: DomainLimits,
    *,
    now: datetime,
    horizon: datetime,
    limit: int,
) -> tuple[ClaimedDelivery, ...]:
    """Claim up to `limit` deliveries that are due by `horizon`, and put aside those that are owed no more.

    Consent is asked here, in the transaction of the claim: who left has `withdrawn`, who paused or left out
    every section has `skipped`, and neither is given back. What stands in line for its domain waits on.
    """
    claimed: list[ClaimedDelivery] = []
    looked_at = 0
    while len(claimed) < limit and looked_at < MAX_ROWS_PER_CLAIM:
        asked = {"for_purpose": lease.purpose, "horizon": horizon, "most": limit - len(claimed)}
        rows = _SELECT_DUE.fetch_rows(session, asked)
        if not rows:
            break
        looked_at += len(rows)
        claimed += _sort_due_rows(session, lease, rows, variants, domain_limits, now)
    return tuple(claimed)


def _sort_due_rows(
    session: Session,
    lease: LeaseTerms,
    rows: list[Any],
    variants: EditionVariants,
    domain_limits: DomainLimits,
    now: datetime,
) -> list[ClaimedDelivery]:
    """Tell the rows that go now from those that wait on and those that are owed no more, and write all down."""
    today = now.astimezone(variants.settings.file.publication.zone).date()
    owed, later, aside = [], [], []
    for row in rows:
        reader = audience.read_audience_member(row)
        state = _state_for_reader(reader, variants, today)
        if reader is None or state is not DeliveryState.HANDING_OVER:
            aside.append({"of": row.id, "to": state})
            continue
        again = domain_limits.postponed_until(reader.domain_tag, now, fresh=row.next_try_at <= row.due_at)
        if again is None:
            owed.append(ClaimedDelivery(row.id, row.message_id, row.tries, row.due_at, reader))
        else:
            later.append({"of": row.id, "again": again})
    _update_waiting_rows(session, _POSTPONE, later)
    leased = {"by": lease.owner, "until": now + lease.duration, "now": now, "over": lease.provider_name}
    _update_waiting_rows(session, _TAKE_LEASE, [{"of": o.delivery_id, **leased} for o in owed])
    _update_waiting_rows(session, _SET_ASIDE, aside)
    return owed


def _state_for_reader(reader: AudienceMember | None, variants: EditionVariants, today: date) -> DeliveryState:
    if reader is None:
        return DeliveryState.WITHDRAWN
    if reader.preferences.is_paused(today) or omits_every_section(reader.preferences, variants.sections):
        return DeliveryState.SKIPPED
    return DeliveryState.HANDING_OVER


def _update_waiting_rows(session: Session, statement: _UpdateById, rows: list[dict[str, Any]]) -> None:
    """Move rows that wait, each by its id."""
    if rows:
        changed = statement.update_rows(session, rows)
        assert changed == len(rows), f"{changed} of {len(rows)} rows waited: another claimed them meanwhile"


def record_results(session: Session, owner: str, state_changes: Iterable[tuple[str, StateChange]]) -> None:
    """Write down what came of claimed deliveries, given as (id, move)."""
    rows = [
        {"of": delivery, "by": owner, "to": m.state, "said": m.reply, "tried": int(m.attempted), "again": m.next_try_at}
        for delivery, m in state_changes
    ]
    if rows:
        _RECORD_RESULT.update_rows(session, rows)


def undo_claims(session: Session, owner: str, deliveries: Iterable[str], *, withdrawn: bool) -> None:
    """Undo claims of messages that never left: the person went in that moment, or sending stopped."""
    state = DeliveryState.WITHDRAWN if withdrawn else DeliveryState.WAITING
    rows = [{"of": delivery, "by": owner, "to": state} for delivery in deliveries]
    if rows:
        _UNDO_CLAIM.update_rows(session, rows)


def undo_stray_claims(session: Session, lease: LeaseTerms, in_flight: Collection[str]) -> int:
    """Undo claims of this owner that nobody carries: their commit came through while it seemed lost. Give how many."""
    mine = (
        Delivery.state == DeliveryState.HANDING_OVER,
        Delivery.purpose == lease.purpose,
        Delivery.owner == lease.owner,
    )
    strays = [id_ for id_ in session.scalars(select(Delivery.id).where(*mine)) if id_ not in in_flight]
    undo_claims(session, lease.owner, strays, withdrawn=False)
    return len(strays)


def mark_purpose_orphans_uncertain(session: Session, purpose: str, owner: ProcessOwner, *, now: datetime) -> int:
    """Settle what dead processes left of one purpose; see `mark_orphans_uncertain`."""
    return mark_orphans_uncertain(session, Delivery.purpose == purpose, owner, now=now)


def mark_orphans_uncertain(
    session: Session, condition: ColumnElement[bool], owner: ProcessOwner, *, now: datetime
) -> int:
    """Set to `uncertain` what its owner left in the air: the lease ran out, or the process is known to be dead.

    Whether its last message left, nobody can know, so it is not sent again by itself. Gives how many.
    """
    in_the_air = (Delivery.state == DeliveryState.HANDING_OVER, condition)
    owners = session.scalars(select(Delivery.owner).where(*in_the_air).distinct())
    dead = [name for name in owners if name and owner.knows_dead(name)]
    done = session.execute(
        update(Delivery)
        .where(*in_the_air, or_(Delivery.lease_until < now, Delivery.owner.in_(dead)))
        .values(state=DeliveryState.UNCERTAIN, reply="the process that handed it over ended without a word")
    )
    return cast("CursorResult[Any]", done).rowcount


def next_due_time(session: Session, purpose: str) -> datetime | None:
    """Say when the next waiting delivery is due, or None where none waits."""
    where = (Delivery.state == DeliveryState.WAITING, Delivery.purpose == purpose)
    return session.scalar(select(func.min(Delivery.next_try_at)).where(*where))
