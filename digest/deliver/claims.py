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

from digest.deliver.moves import Move
from digest.deliver.pacing import Lines
from digest.deliver.variants import Variants, nothing_left
from digest.delivery_db import Delivery, DeliveryState
from digest.owner import Owner
from subscribers import roll
from subscribers.db import Person, UtcDateTime
from subscribers.prepared import Prepared
from subscribers.roll import Reader

MOST_A_TRANSACTION = 1000  # rows looked at in one claim


_row = inspect(Delivery).local_table.c

# Rows are changed by their id, one by one: given a list of ids, SQLite would look for them among all that wait.
_DUE = Prepared(
    select(_row.id, _row.message_id, _row.tries, _row.due_at, _row.next_try_at, *roll.columns())
    .select_from(outerjoin(_row.id.table, Person, Person.number == _row.person))
    .where(
        _row.state == DeliveryState.WAITING,
        _row.purpose == bindparam("for_purpose"),
        _row.next_try_at <= bindparam("horizon"),
    )
    .order_by(_row.next_try_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=_row.id.table)  # PostgreSQL; SQLite has one writer anyway
)


class _ById:
    """A change of rows by their ids (`of`): row by row on SQLite, on PostgreSQL at once for all that get the same values.

    There every statement is work for the planner, which shares our cores.
    """

    def __init__(self, *guard: ColumnElement[bool], **values: Any) -> None:
        change = update(_row.id.table).where(*guard).values(**values)
        several = any_(bindparam("of", type_=postgresql.ARRAY(String())))
        self._one = Prepared(change.where(_row.id == bindparam("of")))
        self._several = Prepared(change.where(_row.id == several))

    def change(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
        """Change rows, given with the same names each, `of` first; give how many changed."""
        if session.get_bind().dialect.name != "postgresql":
            return self._one.change(session, rows)
        alike: dict[tuple[Any, ...], list[str]] = {}
        for row in rows:
            alike.setdefault(tuple(row.values())[1:], []).append(row["of"])
        names = tuple(rows[0])[1:]
        return self._several.change(
            session, [{"of": ids, **dict(zip(names, same, strict=True))} for same, ids in alike.items()]
        )


_WAITS = _row.state == DeliveryState.WAITING
_POSTPONE = _ById(_WAITS, next_try_at=bindparam("again"))
_ASIDE = _ById(_WAITS, state=bindparam("to"))
_LEASE = _ById(
    _WAITS,
    state=DeliveryState.HANDING_OVER,
    owner=bindparam("by"),
    lease_until=bindparam("until"),
    handed_at=bindparam("now"),
    transport=bindparam("over"),
)
_RECORD = _ById(
    _row.owner == bindparam("by"),
    # Past its lease the row was set to uncertain; whoever handed it over knows better.
    or_(_row.state == DeliveryState.HANDING_OVER, _row.state == DeliveryState.UNCERTAIN),
    state=bindparam("to"),
    reply=bindparam("said"),
    tries=_row.tries + bindparam("tried", type_=Integer()),
    next_try_at=func.coalesce(bindparam("again", type_=UtcDateTime()), _row.next_try_at),
    owner=None,
    lease_until=None,
)
_PUT_BACK = _ById(
    _row.owner == bindparam("by"),
    _row.state == DeliveryState.HANDING_OVER,
    state=bindparam("to"),
    owner=None,
    lease_until=None,
    handed_at=None,
    transport="",
)


@dataclass(frozen=True, slots=True)
class Lane:
    """One claimer: whose rows (`owner`), of which purpose, over which transport, for how long at most."""

    purpose: str
    owner: str
    transport: str
    lease: timedelta


@dataclass(frozen=True, slots=True)
class Owed:
    """A claimed delivery and the reader whom it is owed to, as they stood at the claim."""

    delivery: str
    message_id: str
    tries: int
    due_at: datetime
    reader: Reader


def claim(
    session: Session,
    lane: Lane,
    variants: Variants,
    lines: Lines,
    *,
    now: datetime,
    horizon: datetime,
    limit: int,
) -> tuple[Owed, ...]:
    """Claim up to `limit` deliveries that are due by `horizon`, and put aside those that are owed no more.

    Consent is asked here, in the transaction of the claim: who left has `withdrawn`, who paused or left out
    every section has `skipped`, and neither is given back. What stands in line for its domain waits on.
    """
    claimed: list[Owed] = []
    looked_at = 0
    while len(claimed) < limit and looked_at < MOST_A_TRANSACTION:
        asked = {"for_purpose": lane.purpose, "horizon": horizon, "most": limit - len(claimed)}
        rows = _DUE.rows(session, asked)
        if not rows:
            break
        looked_at += len(rows)
        claimed += _sort(session, lane, rows, variants, lines, now)
    return tuple(claimed)


def _sort(
    session: Session, lane: Lane, rows: list[Any], variants: Variants, lines: Lines, now: datetime
) -> list[Owed]:
    """Tell the rows that go now from those that wait on and those that are owed no more, and write all down."""
    today = now.astimezone(variants.settings.file.publication.zone).date()
    owed, later, aside = [], [], []
    for row in rows:
        reader = roll.reader(row)
        state = _standing(reader, variants, today)
        if reader is None or state is not DeliveryState.HANDING_OVER:
            aside.append({"of": row.id, "to": state})
            continue
        again = lines.postponed(reader.domain_tag, now, fresh=row.next_try_at <= row.due_at)
        if again is None:
            owed.append(Owed(row.id, row.message_id, row.tries, row.due_at, reader))
        else:
            later.append({"of": row.id, "again": again})
    _move(session, _POSTPONE, later)
    leased = {"by": lane.owner, "until": now + lane.lease, "now": now, "over": lane.transport}
    _move(session, _LEASE, [{"of": o.delivery, **leased} for o in owed])
    _move(session, _ASIDE, aside)
    return owed


def _standing(reader: Reader | None, variants: Variants, today: date) -> DeliveryState:
    if reader is None:
        return DeliveryState.WITHDRAWN
    if reader.choices.paused(today) or nothing_left(reader.choices, variants.sections):
        return DeliveryState.SKIPPED
    return DeliveryState.HANDING_OVER


def _move(session: Session, statement: _ById, rows: list[dict[str, Any]]) -> None:
    """Move rows that wait, each by its id."""
    if rows:
        changed = statement.change(session, rows)
        assert changed == len(rows), f"{changed} of {len(rows)} rows waited: another claimed them meanwhile"


def record(session: Session, owner: str, moves: Iterable[tuple[str, Move]]) -> None:
    """Write down what came of claimed deliveries, given as (id, move)."""
    rows = [
        {
            "of": delivery,
            "by": owner,
            "to": m.state,
            "said": m.reply,
            "tried": int(m.tried),
            "again": m.next_try_at,
        }
        for delivery, m in moves
    ]
    if rows:
        _RECORD.change(session, rows)


def put_back(session: Session, owner: str, deliveries: Iterable[str], *, withdrawn: bool) -> None:
    """Undo claims of messages that never left: the person went in that moment, or sending stopped."""
    state = DeliveryState.WITHDRAWN if withdrawn else DeliveryState.WAITING
    rows = [{"of": delivery, "by": owner, "to": state} for delivery in deliveries]
    if rows:
        _PUT_BACK.change(session, rows)


def put_back_strays(session: Session, lane: Lane, carried: Collection[str]) -> int:
    """Undo claims of this owner that nobody carries: their commit came through while it seemed lost. Give how many."""
    mine = (
        Delivery.state == DeliveryState.HANDING_OVER,
        Delivery.purpose == lane.purpose,
        Delivery.owner == lane.owner,
    )
    strays = [id_ for id_ in session.scalars(select(Delivery.id).where(*mine)) if id_ not in carried]
    put_back(session, lane.owner, strays, withdrawn=False)
    return len(strays)


def release_the_dead(session: Session, purpose: str, owner: Owner, *, now: datetime) -> int:
    """Settle what dead processes left of one purpose; see `settle_the_dead`."""
    return settle_the_dead(session, Delivery.purpose == purpose, owner, now=now)


def settle_the_dead(session: Session, which: ColumnElement[bool], owner: Owner, *, now: datetime) -> int:
    """Set to `uncertain` what its owner left in the air: the lease ran out, or the process is known to be dead.

    Whether its last message left, nobody can know, so it is not sent again by itself. Gives how many.
    """
    in_the_air = (Delivery.state == DeliveryState.HANDING_OVER, which)
    owners = session.scalars(select(Delivery.owner).where(*in_the_air).distinct())
    dead = [name for name in owners if name and owner.knows_dead(name)]
    done = session.execute(
        update(Delivery)
        .where(*in_the_air, or_(Delivery.lease_until < now, Delivery.owner.in_(dead)))
        .values(state=DeliveryState.UNCERTAIN, reply="the process that handed it over ended without a word")
    )
    return cast("CursorResult[Any]", done).rowcount


def next_due(session: Session, purpose: str) -> datetime | None:
    """Say when the next waiting delivery is due, or None where none waits."""
    where = (Delivery.state == DeliveryState.WAITING, Delivery.purpose == purpose)
    return session.scalar(select(func.min(Delivery.next_try_at)).where(*where))
