"""Deliveries in the database: claiming them, recording results, undoing claims, and what dead processes left.

A claim is a conditional UPDATE inside the transaction that selected the rows, so of two processes one gets a row.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    any_,
    bindparam,
    case,
    column,
    func,
    inspect,
    or_,
    outerjoin,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from digest.deliver.compose.variants import EditionVariants, omits_every_section
from digest.deliver.plan.delivery_plan import edition_purpose
from digest.deliver.providers.base import Provider
from digest.deliver.send.rate_limiter import DomainClaim
from digest.deliver.send.rate_limits import DomainLimits
from digest.deliver.send.retry_policy import StateChange
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.process_owner import this_process_owner
from subscribers.consent import audience
from subscribers.consent.audience import AudienceMember
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.database import MAX_TRANSACTION_ROWS, is_postgresql
from subscribers.store.models import Person, UtcDateTime

LEASE_MARGIN = timedelta(minutes=2)  # for composing a batch and for a slow disk, beside the provider's own time

_columns = inspect(Delivery).local_table.c

# Rows are changed by their id, one by one: given a list of ids, SQLite would look for them among all that wait.
_SELECT_WAITING = (
    select(
        _columns.id,
        _columns.message_id,
        _columns.tries,
        _columns.due_at,
        _columns.next_try_at,
        _columns.first_handed_at,
        *audience.audience_columns(),
    )
    .select_from(outerjoin(_columns.id.table, Person, Person.number == _columns.person))
    .where(
        _columns.state == DeliveryState.WAITING,
        _columns.purpose == bindparam("purpose_name"),
        _columns.next_try_at <= bindparam("horizon"),
    )
    .limit(bindparam("max_rows"))
    .with_for_update(skip_locked=True, of=_columns.id.table)  # PostgreSQL; SQLite has one writer anyway
)
_SELECT_DUE = CompiledStatement(_SELECT_WAITING.order_by(_columns.next_try_at))
# Ids are keyed hashes: the first of them are spread over the list.
_SELECT_SPREAD = _SELECT_WAITING.order_by(
    _columns.domain_tag.in_(bindparam("avoided_domains", expanding=True)), _columns.id
)


class _UpdateById:
    """An UPDATE of rows by id: row by row on SQLite; on PostgreSQL one statement for all with the same values.

    On PostgreSQL every statement is work for the planner, which shares our cores.
    """

    def __init__(self, *guard: ColumnElement[bool], **values: Any) -> None:
        change = update(_columns.id.table).where(*guard).values(**values)
        several = any_(bindparam("delivery_id", type_=postgresql.ARRAY(String())))
        self._single_row = CompiledStatement(change.where(_columns.id == bindparam("delivery_id")))
        self._many_rows = CompiledStatement(change.where(_columns.id == several))

    def update_rows(self, session: Session, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Update rows, given as (id, values), all with the same names; return how many changed."""
        if not is_postgresql(session):
            return self._single_row.execute_many(session, [{"delivery_id": id_, **values} for id_, values in changes])
        ids_by_values: dict[tuple[tuple[str, Any], ...], list[str]] = {}
        for id_, values in changes:
            ids_by_values.setdefault(tuple(values.items()), []).append(id_)
        rows = [{"delivery_id": ids, **dict(values)} for values, ids in ids_by_values.items()]
        return self._many_rows.execute_many(session, rows)


# Of a claim whose message never left: None if it was the first.
_FIRST_HANDED_BEFORE = func.nullif(_columns.first_handed_at, _columns.handed_at)
_IS_WAITING = _columns.state == DeliveryState.WAITING
_POSTPONE = _UpdateById(_IS_WAITING, next_try_at=bindparam("retry_at"))
_SET_ASIDE = _UpdateById(_IS_WAITING, state=bindparam("new_state"))
_LEASE_VALUES: dict[str, Any] = {
    "state": DeliveryState.HANDING_OVER,
    "owner": bindparam("owner_name"),
    "lease_until": bindparam("leased_until"),
    "handed_at": bindparam("claimed_at"),
    "first_handed_at": func.coalesce(_columns.first_handed_at, bindparam("claimed_at", type_=UtcDateTime())),
    "transport": bindparam("provider_name"),
}
_TAKE_LEASE = _UpdateById(_IS_WAITING, **_LEASE_VALUES)
# On PostgreSQL one statement, however many variants there are.
_leased = (
    func.unnest(
        bindparam("delivery_ids", type_=postgresql.ARRAY(String())),
        bindparam("variant_texts", type_=postgresql.ARRAY(String())),
    )
    .table_valued(column("delivery_id", String()), column("variant_text", String()))
    .render_derived(name="leased")
)
_TAKE_READER_LEASE, _TAKE_READER_LEASES = (
    CompiledStatement(
        update(_columns.id.table).where(_IS_WAITING, _columns.id == id_).values(variant=variant, **_LEASE_VALUES)
    )
    for id_, variant in (
        (bindparam("delivery_id"), bindparam("variant_text", type_=String())),
        (_leased.c.delivery_id, _leased.c.variant_text),
    )
)
_IS_OWN_CLAIM = (
    _columns.owner == bindparam("owner_name"),
    # Past its lease the row became uncertain; the run that claimed it knows better.
    or_(_columns.state == DeliveryState.HANDING_OVER, _columns.state == DeliveryState.UNCERTAIN),
)


def _result_update(
    delivery_id: ColumnElement[str],
    new_state: ColumnElement[Any],
    new_reply: ColumnElement[str],
    added_tries: ColumnElement[int],
    retry_at: ColumnElement[datetime],
) -> CompiledStatement:
    """Return the UPDATE that records the result of a claim."""
    change = update(_columns.id.table).where(_columns.id == delivery_id, *_IS_OWN_CLAIM)
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


_RESULT_TYPES: dict[str, TypeEngine[Any]] = {
    "delivery_id": String(),
    "new_state": String(),
    "new_reply": String(),
    "added_tries": Integer(),
    "retry_at": UtcDateTime(),
}
_RECORD_RESULT = _result_update(*(bindparam(name, type_=type_) for name, type_ in _RESULT_TYPES.items()))
# One statement on PostgreSQL, however different the replies are.
_results = (
    func.unnest(*(bindparam(name, type_=postgresql.ARRAY(type_)) for name, type_ in _RESULT_TYPES.items()))
    .table_valued(*(column(name, type_) for name, type_ in _RESULT_TYPES.items()))
    .render_derived(name="result")
)
_RECORD_RESULTS = _result_update(*(_results.c[name] for name in _RESULT_TYPES))
_UNDO_CLAIM = _UpdateById(
    *_IS_OWN_CLAIM,
    state=bindparam("new_state"),
    owner=None,
    lease_until=None,
    handed_at=None,
    first_handed_at=_FIRST_HANDED_BEFORE,
    transport="",
)


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The lease of one run: its name (`owner`), the provider that it hands over to, how long it has for a batch."""

    owner: str
    provider_name: str
    duration: timedelta

    @classmethod
    def for_provider(cls, provider: Provider, owner: str) -> "LeaseTerms":
        """Return the terms under which the run `owner` hands over to `provider`."""
        return cls(owner, provider.name, timedelta(seconds=provider.batch_timeout) + LEASE_MARGIN)


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery as it stood when it was claimed; `tries` counts those before this one.

    `first_handed_at` is the Date of its message: the time of this claim, or of the first whose message left.
    """

    delivery_id: str
    message_id: str
    tries: int
    due_at: datetime
    first_handed_at: datetime
    person: int | None
    domain_tag: str | None


@dataclass(frozen=True, slots=True)
class ReaderDelivery(ClaimedDelivery):
    """A claimed delivery of an edition, and its reader."""

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
    avoided_domains: Collection[str | None] | None = None,
) -> tuple[ReaderDelivery, ...]:
    """Claim up to `limit` deliveries of an edition that are due by `horizon`; set aside those that are owed no more.

    The earliest come first. With `avoided_domains`, which may be empty, they are spread over the list, and other domains come
    first.

    Consent is asked here, in the transaction of the claim: a reader who left is `withdrawn`, one who paused or left
    out every section is `skipped`; neither is returned. A delivery that its domain's limit postpones waits on.
    """
    claimed: list[ReaderDelivery] = []
    domain_claim = DomainClaim(session, domain_limits, now)
    examined = 0
    purpose = edition_purpose(variants.edition.name)
    while len(claimed) < limit and examined < MAX_TRANSACTION_ROWS:
        parameters: dict[str, Any] = {"purpose_name": purpose, "horizon": horizon, "max_rows": limit - len(claimed)}
        if avoided_domains is not None:
            parameters["avoided_domains"] = sorted(filter(None, avoided_domains))
            rows = list(session.execute(_SELECT_SPREAD, parameters))
        else:
            rows = _SELECT_DUE.fetch_rows(session, parameters)
        if not rows:
            break
        examined += len(rows)
        claimed += _sort_due_rows(session, lease, rows, variants, domain_claim, now)
    domain_claim.save()
    return tuple(claimed)


def _sort_due_rows(
    session: Session,
    lease: LeaseTerms,
    rows: list[Any],
    variants: EditionVariants,
    domain_claim: DomainClaim,
    now: datetime,
) -> list[ReaderDelivery]:
    """Part rows into those that go now, those that are postponed and those that are owed no more; update all."""
    today = now.astimezone(variants.zone).date()
    going: list[ReaderDelivery] = []
    postponed, aside = [], []
    for row in rows:
        reader = audience.read_audience_member(row)
        state = _state_for_reader(reader, variants, today)
        if reader is None or state is not DeliveryState.HANDING_OVER:
            aside.append((row.id, state))
            continue
        domain_tag = reader.domain_tag
        until = domain_claim.postponed_until(domain_tag, fresh=row.next_try_at <= row.due_at)
        if until is None:
            going.append(
                ReaderDelivery(
                    delivery_id=row.id,
                    message_id=row.message_id,
                    tries=row.tries,
                    due_at=row.due_at,
                    first_handed_at=row.first_handed_at or now,
                    person=reader.number,
                    domain_tag=domain_tag,
                    reader=reader,
                )
            )
        else:
            postponed.append((row.id, until))
    postpone(session, postponed)
    _take_reader_leases(session, lease, going, variants, now=now)
    set_aside(session, aside)
    return going


def _state_for_reader(reader: AudienceMember | None, variants: EditionVariants, today: date) -> DeliveryState:
    if reader is None:
        return DeliveryState.WITHDRAWN
    if reader.preferences.is_paused(today) or omits_every_section(reader.preferences, variants.sections):
        return DeliveryState.SKIPPED
    return DeliveryState.HANDING_OVER


def take_leases(session: Session, lease: LeaseTerms, delivery_ids: Iterable[str], *, now: datetime) -> None:
    """Claim waiting deliveries that this transaction has locked, for the time of the lease."""
    terms = _lease_terms(lease, now)
    _update_waiting_rows(session, _TAKE_LEASE, [(id_, terms) for id_ in delivery_ids])


def _lease_terms(lease: LeaseTerms, now: datetime) -> dict[str, Any]:
    return {
        "owner_name": lease.owner,
        "leased_until": now + lease.duration,
        "claimed_at": now,
        "provider_name": lease.provider_name,
    }


def _take_reader_leases(
    session: Session, lease: LeaseTerms, going: Sequence[ReaderDelivery], variants: EditionVariants, *, now: datetime
) -> None:
    """Claim deliveries of an edition as `take_leases` does, and note which variant each reader is given."""
    if not going:
        return
    ids, texts = [delivery.delivery_id for delivery in going], _list_variant_texts(going, variants)
    terms = _lease_terms(lease, now)
    if is_postgresql(session):
        rows = [terms | {"delivery_ids": ids, "variant_texts": texts}]
        changed = _TAKE_READER_LEASES.execute_many(session, rows)
    else:
        rows = [terms | {"delivery_id": id_, "variant_text": text} for id_, text in zip(ids, texts, strict=True)]
        changed = _TAKE_READER_LEASE.execute_many(session, rows)
    _check_all_waited(changed, len(going))


def _list_variant_texts(going: Sequence[ReaderDelivery], variants: EditionVariants) -> list[str]:
    preferences, variant_text, texts = None, "", []
    for delivery in going:
        # Readers who chose nothing share one object.
        if delivery.reader.preferences is not preferences:
            preferences = delivery.reader.preferences
            variant_text = variants.find_variant(preferences).as_text()
        texts.append(variant_text)
    return texts


def postpone(session: Session, moments: Iterable[tuple[str, datetime]]) -> None:
    """Let waiting deliveries that this transaction has locked wait on, given as (id, until when)."""
    _update_waiting_rows(session, _POSTPONE, [(id_, {"retry_at": until}) for id_, until in moments])


def set_aside(session: Session, states: Iterable[tuple[str, DeliveryState]]) -> None:
    """End waiting deliveries that are owed no more and that this transaction has locked, given as (id, state)."""
    _update_waiting_rows(session, _SET_ASIDE, [(id_, {"new_state": state}) for id_, state in states])


def _update_waiting_rows(
    session: Session, statement: _UpdateById, changes: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    if changes:
        _check_all_waited(statement.update_rows(session, changes), len(changes))


def _check_all_waited(changed: int, expected: int) -> None:
    assert changed == expected, f"{changed} of {expected} rows waited: another claimed them meanwhile"


def record_results(session: Session, owner: str, state_changes: Sequence[tuple[str, StateChange]]) -> None:
    """Record what came of claimed deliveries, given as (id, change)."""
    if not state_changes:
        return
    rows = [
        (id_, change.state.value, change.reply, int(change.attempted), change.next_try_at)
        for id_, change in state_changes
    ]
    if is_postgresql(session):
        columns = dict(zip(_RESULT_TYPES, map(list, zip(*rows, strict=True)), strict=True))
        _RECORD_RESULTS.execute_many(session, [columns | {"owner_name": owner}])
    else:
        rows_by_name = [dict(zip(_RESULT_TYPES, row, strict=True)) | {"owner_name": owner} for row in rows]
        _RECORD_RESULT.execute_many(session, rows_by_name)


def undo_claims(session: Session, owner: str, delivery_ids: Sequence[str], *, withdrawn: bool) -> None:
    """Undo claims of messages that never left: the person went in that moment, or sending stopped."""
    if delivery_ids:
        values = {"owner_name": owner, "new_state": DeliveryState.WITHDRAWN if withdrawn else DeliveryState.WAITING}
        _UNDO_CLAIM.update_rows(session, [(id_, values) for id_ in delivery_ids])


def undo_stray_claims(session: Session, purpose: str, owner: str, in_flight: Collection[str]) -> None:
    """Undo claims of `owner` that no worker holds: their commit came through although it seemed lost."""
    own = (Delivery.state == DeliveryState.HANDING_OVER, Delivery.purpose == purpose, Delivery.owner == owner)
    strays = [id_ for id_ in session.scalars(select(Delivery.id).where(*own)) if id_ not in in_flight]
    undo_claims(session, owner, strays, withdrawn=False)


def mark_orphans_uncertain(session: Session, condition: ColumnElement[bool], *, now: datetime) -> None:
    """Set claimed deliveries to `uncertain` where the lease ran out, or the process is known to be dead.

    Nobody can know whether the message left, so it is not sent again automatically. What the file of a dead run tells is to be
    recorded before (`dead_runs`).
    """
    this_process = this_process_owner()
    claimed = (Delivery.state == DeliveryState.HANDING_OVER, condition)
    owners = session.scalars(select(Delivery.owner).where(*claimed).distinct())
    dead = [name for name in owners if name and this_process.knows_dead(name)]
    session.execute(
        update(Delivery)
        .where(*claimed, or_(Delivery.lease_until < now, Delivery.owner.in_(dead)))
        .values(state=DeliveryState.UNCERTAIN, reply="the process that handed it over ended without a word")
    )


def next_due_time(session: Session, purpose: str) -> datetime | None:
    """Return when the next waiting delivery is due, or None where none waits."""
    waiting = (Delivery.state == DeliveryState.WAITING, Delivery.purpose == purpose)
    return session.scalar(select(func.min(Delivery.next_try_at)).where(*waiting))
