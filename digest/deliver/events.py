"""Events: what was said of messages that left, and the one door through which it changes anything.

Whoever hears something (the webhook, the bounce mailbox) makes it into `Said`, and `apply` does the rest: each event
is counted once, deliveries are settled, and people who may not be mailed any more are suppressed or taken off.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from digest.deliver.causes import Cause
from digest.deliver.identity import LENGTH
from digest.deliver.judging import Kind, settle, word_of
from digest.deliver.replies import MOST
from digest.delivery_db import Delivery, DeliveryState, Event
from subscribers import heeding
from subscribers.heeding import Report
from subscribers.journal import Departed, Journal
from subscribers.vault import Keys, VaultError

MOST_A_TRANSACTION = 500  # events: some 20 ms on SQLite
_DELIVERY = re.compile(rf"[a-z2-7]{{{LENGTH}}}")

# Goes to an address that somebody says is their new one: what comes back is not about the address that we hold.
TO_ANOTHER = "move:"

log = structlog.get_logger("events")


@dataclass(frozen=True, slots=True)
class Said:
    """One event, normalised. `detail` holds plain texts, scrubbed of addresses; `by` names who says it.

    `fingerprint` is a hash of what it says, `provider_mark` one of the provider's id for it: it is the same event
    if either is known.
    """

    by: str
    delivery: str | None
    kind: Kind
    cause: Cause
    at: datetime
    received_at: datetime
    fingerprint: str
    provider_mark: str | None
    detail: Mapping[str, str]


def delivery_named(text: str) -> str | None:
    """Give the delivery's id that a text is, or None where it has not the form of one."""
    return text if _DELIVERY.fullmatch(text) else None


def hashed(*parts: str) -> str:
    """Hash what makes an event itself; no two lists of parts give the same text."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def apply(
    session: Session, said: Sequence[Said], *, keys: Keys, journal: Journal, now: datetime
) -> Counter[str]:
    """Take events in (at most 500), and do what they mean; count what came of them.

    Counted are the kinds of new events, "known" for repeated ones, "foreign" for what speaks of no delivery of ours,
    and the words that changed where a person stands. The journal is synced before the caller commits, as with leaving.

    Args:
        session: inside a write transaction; the caller commits.
        said: the events.
        keys: the installation's keys.
        journal: the journal of departures.
        now: the moment.

    Raises:
        OSError: the journal could not be written.
    """
    owed = _owed(session, {s.delivery for s in said if s.delivery})
    ours = [s for s in said if s.delivery in owed or s.kind is Kind.UNKNOWN]
    counts: Counter[str] = Counter({"foreign": len(said) - len(ours)})
    new = _put(session, ours, owed)
    counts["known"] = len(ours) - len(new)
    counts.update(str(s.kind) for s in new)
    _settle_all(session, _by_delivery((s.delivery, s.kind, s.detail) for s in new if s.delivery in owed), now)
    reports = [r for s in new if (r := _report(s, owed))]
    counts.update(heed_all(session, reports, keys=keys, journal=journal, now=now))
    return +counts


def _owed(session: Session, ids: Collection[str]) -> dict[str, Any]:
    columns = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.state, Delivery.handed_at)
    return {row.id: row for row in session.execute(select(*columns).where(Delivery.id.in_(ids)))}


def _put(session: Session, said: Sequence[Said], owed: Mapping[str, Any]) -> list[Said]:
    """Write the events that are not there; give those."""
    if not said:
        return []
    by_mark = {s.provider_mark or s.fingerprint: s for s in said}  # a post may repeat itself
    once = {s.fingerprint: s for s in sorted(by_mark.values(), key=lambda s: s.fingerprint)}
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    put = dialect.insert(Event).on_conflict_do_nothing().returning(Event.fingerprint)
    rows = [_row(s, owed) for s in once.values()]
    return [once[fingerprint] for fingerprint in session.scalars(put, rows)]


def _row(said: Said, owed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "delivery": said.delivery if said.delivery in owed else None,
        "kind": str(said.kind),
        "cause": str(said.cause),
        "at": said.at,
        "received_at": said.received_at,
        "fingerprint": said.fingerprint,
        "provider_mark": said.provider_mark,
        "detail": dict(said.detail),
    }


@dataclass(slots=True)
class _Told:
    """What was said of one delivery, and the words to keep for it."""

    kinds: set[Kind]
    reply: str


def _by_delivery(told: Iterable[tuple[str | None, Kind, Mapping[str, str]]]) -> dict[str, _Told]:
    found: dict[str, _Told] = {}
    for delivery, kind, detail in told:
        assert delivery is not None, "it is among those that we know"
        words = " ".join(filter(None, (kind, detail.get("status"), detail.get("reason"))))[:MOST]
        one = found.setdefault(delivery, _Told(set(), words))
        one.kinds.add(kind)
        if kind in {Kind.BOUNCED, Kind.DROPPED}:
            one.reply = words
    return found


def _settle_all(session: Session, told: Mapping[str, _Told], now: datetime) -> None:
    """Bring deliveries to where events put them. What somebody else holds at the moment is settled next time."""
    query = select(Delivery.id, Delivery.state).where(Delivery.id.in_(told)).order_by(Delivery.id)
    states = {row.id: row.state for row in session.execute(query)}
    moving = {i for i, state in states.items() if settle(state, told[i].kinds) is not state}
    waits = {i for i, state in states.items() if state is DeliveryState.HANDING_OVER}
    # A row that is locked is being written by whoever hands it over: waiting for them could end in a deadlock.
    locked = query.where(Delivery.id.in_(moving)).with_for_update(skip_locked=True)
    held = {row.id: row.state for row in session.execute(locked)} if moving else {}
    for delivery, state in held.items():
        one = told[delivery]
        values = {"state": settle(state, one.kinds), "reply": one.reply, "owner": None, "lease_until": None}
        if values["state"] is not state:
            session.execute(update(Delivery).where(Delivery.id == delivery).values(**values))
    waits |= moving - held.keys()
    waits |= {i for i, state in held.items() if state is DeliveryState.HANDING_OVER}
    if waits:
        session.execute(update(Event).where(Event.delivery.in_(waits)).values(unsettled_since=now))


def left_over(session: Session) -> list[str]:
    """Name deliveries (at most 500) that were in the air when their events came, and are no longer."""
    query = (
        select(Event.delivery)
        .join(Delivery, Delivery.id == Event.delivery)
        .where(Event.unsettled_since.is_not(None), Delivery.state != DeliveryState.HANDING_OVER)
        .distinct()
        .limit(MOST_A_TRANSACTION)
    )
    return [delivery for delivery in session.scalars(query) if delivery]


def settle_left_over(session: Session, ids: Collection[str], *, now: datetime) -> None:
    """Settle such deliveries by all that was ever said of them."""
    rows = session.execute(select(Event.delivery, Event.kind, Event.detail).where(Event.delivery.in_(ids)))
    told = _by_delivery((row.delivery, Kind(row.kind), row.detail) for row in rows)
    session.execute(update(Event).where(Event.delivery.in_(ids)).values(unsettled_since=None))
    _settle_all(session, told, now)


def _report(said: Said, owed: Mapping[str, Any]) -> Report | None:
    word = word_of(said.kind, said.cause)
    delivery = owed.get(said.delivery) if said.delivery else None
    if word is None or delivery is None or delivery.person is None:
        return None
    if delivery.purpose.startswith(TO_ANOTHER):
        return None
    at = (delivery.handed_at or said.at) if word is heeding.Word.BOUNCED else said.at
    detail = {"delivery": delivery.id, "said": str(said.kind)}
    if said.detail.get("status"):
        detail["status"] = said.detail["status"]
    return Report(delivery.person, word, at, said.by, detail)


def heed_all(
    session: Session, reports: Iterable[Report], *, keys: Keys, journal: Journal, now: datetime
) -> Counter[str]:
    """Do to people what was said of them, and write their departures into the journal with one sync."""
    counts: Counter[str] = Counter()
    gone: list[Departed] = []
    # By number, so that two processes never wait for each other in a circle.
    for report in sorted(reports, key=lambda r: r.person):
        try:
            changed, departed = heeding.heed(session, keys, report, now=now)
        except VaultError:  # a damaged row must not hold up everybody behind it
            log.error("address does not open", person=report.person)  # noqa: TRY400 - no trace needed
            continue
        counts[f"person {report.word}"] += changed
        gone += [departed] if departed else []
    journal.append_all(gone, at=now)
    return +counts
