"""Claims of deliveries in the database: reserving, handing over, recording results, and undoing claims.

A claim reserves rows with a conditional UPDATE in the transaction that selected them, so that only
one process gets a row. A reserved row hasn't been sent, and goes back to waiting if its run dies.
Before messages are sent, their rows become `handing over` in a durable commit, and only while the
run keeps its lease (`run_lease`).
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.deliver.compose.identifiers import find_genuine_ids
from digest.deliver.compose.variants import EditionVariants
from digest.deliver.control.set_aside_domains import SetAsideDomain, find_blocking_domain, make_variant_tag
from digest.deliver.plan.delivery_plan import IS_CLAIMED, IS_HANDING_OVER, IS_WAITING, make_edition_delivery_purpose
from digest.deliver.providers.base import Provider
from digest.deliver.send.claims.claim_statements import (
    HAND_OVER_ARRAY,
    HAND_OVER_JSON,
    IS_LEASE_KEPT,
    POSTPONE,
    RECORD_RESULT,
    RECORD_RESULTS,
    RESULT_TYPES,
    SELECT_DUE,
    SELECT_SPREAD,
    SET_ASIDE,
    TAKE_LEASE,
    TAKE_READER_LEASE,
    TAKE_READER_LEASES,
    UNDO_CLAIM,
    UpdateById,
)
from digest.deliver.send.claims.retry_policy import StateChange
from digest.deliver.send.limits.rate_limiter import DomainLimitClaim
from digest.deliver.send.limits.rate_limits import DomainLimits
from digest.store.delivery_models import Delivery, DeliveryState
from subscribers.consent import audience
from subscribers.consent.audience import AudienceMember
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger
from subscribers.store.database import MAX_TRANSACTION_ROWS, is_postgresql

CHANGED_ROW = "not sent: this row was changed outside the application"
RETURN_INTERVAL = timedelta(seconds=30)  # after this time, claims start from the beginning again
_START = (datetime(1970, 1, 1, tzinfo=UTC), 0)  # before all deliveries
# Time for composing a batch and for a slow disk, in addition to the provider's timeout.
LEASE_MARGIN = timedelta(minutes=2)

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The terms of a run's lease: its name (`owner`), its provider, and the time allowed for a batch."""

    owner: str
    provider_name: str
    duration: timedelta

    @classmethod
    def for_provider(cls, provider: Provider, owner: str) -> "LeaseTerms":
        """Return the terms for the run `owner`, which uses `provider`."""
        return cls(owner, provider.name, timedelta(seconds=provider.batch_timeout) + LEASE_MARGIN)


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery as of the time it was claimed. `tries` counts the earlier attempts.

    `first_handed_at` becomes the Date of its message. It's `claimed_at`, or the time of the first
    claim whose message was sent. `domain_tag` is the tag of the recipient domain's group.
    """

    delivery_id: str
    message_id: str
    tries: int
    due_at: datetime
    claimed_at: datetime
    first_handed_at: datetime
    person: int | None
    domain_tag: str | None


@dataclass(frozen=True, slots=True)
class ClaimedEditionDelivery(ClaimedDelivery):
    """A claimed delivery of an edition, and its subscriber."""

    subscriber: AudienceMember


@dataclass(slots=True)
class ClaimCursor:
    """A run's position in the order of claims, by time and person.

    Its next claim continues from there.

    While an old snapshot exists, PostgreSQL keeps an outdated index entry for each delivery that
    was waiting before that position, and a claim from the start would read all of them. Deliveries
    that are waiting there again are found when the cursor returns to the start, which it does every
    30 seconds and before the run concludes that nothing is due.
    """

    after: tuple[datetime, int] = _START
    furthest: tuple[datetime, int] = _START
    returned_at: datetime | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters for `IS_AFTER_CURSOR`."""
        return {"after_time": self.after[0], "after_person": self.after[1]}

    def return_if_due(self, now: datetime) -> bool:
        """Return to the start every 30 seconds, or if the clock was set back.

        Return True if the cursor was moved.
        """
        is_due = self.returned_at is None or not timedelta() <= now - self.returned_at < RETURN_INTERVAL
        if is_due:
            self.return_to_start(now)
        return is_due

    def return_to_start(self, now: datetime) -> None:
        """Start over from the beginning of the order."""
        self.after, self.returned_at = _START, now

    def advance(self, rows: Sequence[Any]) -> None:
        """Move the position to the last of the due rows.

        If there were none, continue after the furthest position so far.
        """
        if rows:
            self.after = (rows[-1].next_try_at, rows[-1].person or 0)  # erased people have no number
            self.furthest = max(self.furthest, self.after)
        else:
            self.after = self.furthest


def claim_deliveries(
    session: Session,
    lease: LeaseTerms,
    variants: EditionVariants,
    domain_limits: DomainLimits,
    keys: KeyRing,
    cursor: ClaimCursor,
    *,
    now: datetime,
    horizon: datetime,
    limit: int,
    is_idle: bool,
    avoided_domains: Collection[str | None] | None = None,
    aside: Mapping[str, SetAsideDomain],
) -> tuple[tuple[ClaimedEditionDelivery, ...], bool]:
    """Claim up to `limit` deliveries of an edition that are due by `horizon`.

    Return the claimed deliveries, and whether the transaction reached its maximum size, so that
    more may be due. Deliveries that are no longer needed are ended.

    The earliest deliveries come first, starting at the cursor, or at the start if there are none
    and the run `is_idle`. If `avoided_domains` is given (it may be empty), they're spread over the
    list, and other domains come first.

    Consent is checked here, in the claim's transaction: deliveries become `withdrawn` if the
    subscriber has unsubscribed, and `skipped` if they've paused or omitted every section. Neither
    are returned. Deliveries postponed by a domain's limit keep waiting, and so do those of a domain
    or variant that was set `aside`, unless it's dropped. A row that was tampered with is refused.
    """
    claimed: list[ClaimedEditionDelivery] = []
    domain_claim = DomainLimitClaim(session, domain_limits, now)
    examined = 0
    purpose = make_edition_delivery_purpose(variants.edition.name)
    from_start = avoided_domains is not None or cursor.return_if_due(now)
    while len(claimed) < limit and examined < MAX_TRANSACTION_ROWS:
        parameters: dict[str, Any] = {"purpose_name": purpose, "horizon": horizon, "max_rows": limit - len(claimed)}
        if avoided_domains is not None:
            parameters["avoided_domains"] = sorted(filter(None, avoided_domains))
            rows = list(session.execute(SELECT_SPREAD, parameters))
        else:
            rows = SELECT_DUE.fetch_rows(session, parameters | cursor.parameters)
            cursor.advance(rows)
        if not rows:
            if claimed or from_start or not is_idle:
                break
            cursor.return_to_start(now)
            from_start = True
            continue
        examined += len(rows)
        genuine = find_genuine_ids(keys, purpose, [(row.id, row.number, row.message_id) for row in rows])
        end_tampered_deliveries(session, [row.id for row in rows if row.id not in genuine])
        rows = [row for row in rows if row.id in genuine]
        claimed += _sort_due_rows(session, lease, rows, variants, domain_claim, aside, now)
    domain_claim.save()
    return tuple(claimed), examined >= MAX_TRANSACTION_ROWS


def _sort_due_rows(
    session: Session,
    lease: LeaseTerms,
    rows: list[Any],
    variants: EditionVariants,
    domain_claim: DomainLimitClaim,
    aside: Mapping[str, SetAsideDomain],
    now: datetime,
) -> list[ClaimedEditionDelivery]:
    """Divide rows into those to send now, those to postpone, and those no longer owed.

    All of them are updated.
    """
    today = now.astimezone(variants.zone).date()
    going: list[ClaimedEditionDelivery] = []
    postponed, ended = [], []
    for row in rows:
        subscriber = audience.read_audience_member(row)
        state = _state_for_subscriber(subscriber, variants, today)
        if subscriber is None or state is not DeliveryState.RESERVED:
            ended.append((row.id, state))
            continue
        domain_tag = row.group_tag
        # Also check the domain's own tag, because its group may have been looked up since.
        held_by = (
            find_blocking_domain(aside, (domain_tag, subscriber.domain_tag or "", _tag_variant(subscriber, variants)))
            if aside
            else None
        )
        if held_by is not None:
            if held_by.decision:
                ended.append((row.id, DeliveryState.CANCELLED))
            else:
                postponed.append((row.id, held_by.parked_at))
            continue
        until = domain_claim.take_turn(domain_tag, fresh=row.next_try_at <= row.due_at)
        if until is None:
            going.append(
                ClaimedEditionDelivery(
                    delivery_id=row.id,
                    message_id=row.message_id,
                    tries=row.tries,
                    due_at=row.due_at,
                    claimed_at=now,
                    first_handed_at=row.first_handed_at or now,
                    person=subscriber.number,
                    domain_tag=domain_tag,
                    subscriber=subscriber,
                )
            )
        else:
            postponed.append((row.id, until))
    postpone_waiting_deliveries(session, postponed)
    _take_reader_leases(session, lease, going, variants, now=now)
    end_unneeded_deliveries(session, ended)
    return going


def _tag_variant(subscriber: AudienceMember, variants: EditionVariants) -> str:
    return make_variant_tag(variants.find_variant(subscriber.preferences).as_text())


def _state_for_subscriber(subscriber: AudienceMember | None, variants: EditionVariants, today: date) -> DeliveryState:
    if subscriber is None:
        return DeliveryState.WITHDRAWN
    return DeliveryState.RESERVED if variants.is_owed_to(subscriber.preferences, today) else DeliveryState.SKIPPED


def take_leases(
    session: Session,
    lease: LeaseTerms,
    delivery_ids: Iterable[str],
    *,
    now: datetime,
) -> None:
    """Claim waiting deliveries that this transaction has locked, for the duration of the lease."""
    terms = _lease_terms(lease, now)
    _update_waiting_rows(session, TAKE_LEASE, [(id_, terms) for id_ in delivery_ids])


def _lease_terms(lease: LeaseTerms, now: datetime) -> dict[str, Any]:
    return {
        "owner_name": lease.owner,
        "leased_until": now + lease.duration,
    }


def mark_handing_over(session: Session, lease: LeaseTerms, epoch: int, deliveries: Sequence[ClaimedDelivery]) -> bool:
    """Mark reserved deliveries as being handed over if the run still has its lease. Idempotent.

    Return True if all of them are marked. Deliveries may have been taken from the run because it
    was silent for too long.
    """
    terms = {"owner_name": lease.owner, "lease_epoch": epoch, "provider_name": lease.provider_name}
    ids_by_moment: dict[datetime, list[str]] = {}
    for delivery in deliveries:
        ids_by_moment.setdefault(delivery.claimed_at, []).append(delivery.delivery_id)
    statement, pack = (HAND_OVER_ARRAY, list[str]) if is_postgresql(session) else (HAND_OVER_JSON, json.dumps)
    rows = [terms | {"claimed_at": at, "delivery_ids": pack(ids)} for at, ids in ids_by_moment.items()]
    if statement.execute_many(session, rows) == len(deliveries):
        return True
    ids = [delivery.delivery_id for delivery in deliveries]
    own = (Delivery.id.in_(ids), IS_HANDING_OVER, Delivery.owner == lease.owner, IS_LEASE_KEPT)
    return session.scalar(select(func.count(Delivery.id)).where(*own), terms) == len(ids)


def _take_reader_leases(
    session: Session,
    lease: LeaseTerms,
    going: Sequence[ClaimedEditionDelivery],
    variants: EditionVariants,
    *,
    now: datetime,
) -> None:
    """Claim deliveries of an edition as `take_leases` does, and store each subscriber's variant."""
    if not going:
        return
    ids, texts = [delivery.delivery_id for delivery in going], _list_variant_texts(going, variants)
    terms = _lease_terms(lease, now)
    if is_postgresql(session):
        rows = [terms | {"delivery_ids": ids, "variant_texts": texts}]
        changed = TAKE_READER_LEASES.execute_many(session, rows)
    else:
        rows = [terms | {"delivery_id": id_, "variant_text": text} for id_, text in zip(ids, texts, strict=True)]
        changed = TAKE_READER_LEASE.execute_many(session, rows)
    _check_all_waited(changed, len(going))


def _list_variant_texts(going: Sequence[ClaimedEditionDelivery], variants: EditionVariants) -> list[str]:
    preferences, variant_text, texts = None, "", []
    for delivery in going:
        # Subscribers with default preferences share one object.
        if delivery.subscriber.preferences is not preferences:
            preferences = delivery.subscriber.preferences
            variant_text = variants.find_variant(preferences).as_text()
        texts.append(variant_text)
    return texts


def postpone_waiting_deliveries(session: Session, moments: Iterable[tuple[str, datetime]]) -> None:
    """Postpone waiting deliveries, given as (ID, time of the next attempt).

    This transaction must have locked them.
    """
    _update_waiting_rows(session, POSTPONE, [(id_, {"retry_at": until}) for id_, until in moments])


def end_unneeded_deliveries(
    session: Session,
    states: Iterable[tuple[str, DeliveryState]],
    why: str = "",
) -> None:
    """End waiting deliveries that are no longer owed, given as (ID, state).

    This transaction must have locked them.
    """
    _update_waiting_rows(session, SET_ASIDE, [(id_, {"new_state": state, "why": why}) for id_, state in states])


def end_tampered_deliveries(session: Session, delivery_ids: Iterable[str]) -> None:
    """End waiting deliveries whose rows have been tampered with.

    This transaction must have locked them.
    """
    ids = list(delivery_ids)
    for id_ in ids:
        log.error("a delivery was changed outside the application", delivery=id_)
    end_unneeded_deliveries(session, [(id_, DeliveryState.REFUSED) for id_ in ids], CHANGED_ROW)


def _update_waiting_rows(
    session: Session, statement: UpdateById, changes: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    if changes:
        _check_all_waited(statement.update_rows(session, changes), len(changes))


def _check_all_waited(changed: int, expected: int) -> None:
    assert changed == expected, f"{changed} of {expected} rows waited: another claimed them meanwhile"


def record_results(
    session: Session,
    owner: str,
    state_changes: Sequence[tuple[str, StateChange]],
) -> None:
    """Record the results of claimed deliveries, given as (ID, change)."""
    if not state_changes:
        return
    rows = [
        (id_, change.state.value, change.reply, int(change.attempted), change.next_try_at)
        for id_, change in state_changes
    ]
    if is_postgresql(session):
        columns = dict(zip(RESULT_TYPES, map(list, zip(*rows, strict=True)), strict=True))
        RECORD_RESULTS.execute_many(session, [columns | {"owner_name": owner}])
    else:
        rows_by_name = [dict(zip(RESULT_TYPES, row, strict=True)) | {"owner_name": owner} for row in rows]
        RECORD_RESULT.execute_many(session, rows_by_name)


def undo_claims(
    session: Session,
    owner: str,
    delivery_ids: Sequence[str],
    *,
    withdrawn: bool,
) -> None:
    """Undo the claims of unsent messages, because the person just unsubscribed or sending has stopped."""
    if delivery_ids:
        values = {"owner_name": owner, "new_state": DeliveryState.WITHDRAWN if withdrawn else DeliveryState.WAITING}
        UNDO_CLAIM.update_rows(session, [(id_, values) for id_ in delivery_ids])


def undo_stray_claims(session: Session, purpose: str, owner: str, in_flight: Collection[str]) -> None:
    """Undo claims of `owner` that no worker has.

    Their commit succeeded although it seemed to fail.
    """
    own = (IS_CLAIMED, Delivery.purpose == purpose, Delivery.owner == owner)
    strays = [id_ for id_ in session.scalars(select(Delivery.id).where(*own)) if id_ not in in_flight]
    undo_claims(session, owner, strays, withdrawn=False)


def find_next_due_time(session: Session, purpose: str) -> datetime | None:
    """Return when the next waiting delivery of a purpose is due, or None if none are waiting."""
    waiting = (IS_WAITING, Delivery.purpose == purpose)
    return session.scalar(select(func.min(Delivery.next_try_at)).where(*waiting))
