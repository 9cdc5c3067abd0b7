"""Merging the unsubscribe log into a restored copy, which doesn't contain later departures.

The log contains keyed hashes rather than addresses. People in the copy are matched by their lookup.
Unmatched hashes become suppressions, so that no later import adds those people again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import (
    IMPORT_UNDONE,
    PREFERENCES_CHANGED,
    UnsubscribeLog,
    UnsubscribeLogEntry,
    UnsubscribeLogEntryKind,
)
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_departure_hash, make_lookup_hash
from subscribers.lifecycle import erasure
from subscribers.lifecycle.erasure import ErasureCallback
from subscribers.store import people
from subscribers.store.models import EMPTIED_STATES, ConsentKind, Person, PersonState
from subscribers.transfer.import_undo import repeat_lost_undos

BATCH_SIZE = 1000
_REASON_BY_KIND: dict[UnsubscribeLogEntryKind, suppression.SuppressionReason] = {
    kind: reason for reason, kind in suppression.DEPARTURE_KINDS.items()
}


@dataclass(slots=True)
class LogMergeResult:
    """The result of a merge: departures by kind, unknown hashes that were newly suppressed, and undone imports.

    `changed_preferences` contains the numbers of subscribers whose preferences were changed by an
    admin, or restored by their owner, after the copy was made.
    """

    departed: Counter[UnsubscribeLogEntryKind] = field(default_factory=Counter)
    unknown_hashes: int = 0
    undone_imports: list[int] = field(default_factory=list)
    changed_preferences: list[int] = field(default_factory=list)


def merge_unsubscribe_log(
    session: Session,
    unsubscribe_log: UnsubscribeLog,
    keys: KeyRing,
    *,
    forget_elsewhere: ErasureCallback,
    now: datetime,
) -> LogMergeResult:
    """Merge every departure in the log into a restored copy. Idempotent.

    A departure counts unless the person's own consent in the copy is later. If a later consent was
    lost because of the restore, they stay off the list, which is safer.

    `session` is a write transaction of the copy, which doesn't send anything yet. `keys` must
    contain every older key in the log. `forget_elsewhere` deletes the data of erased people outside
    of this package.

    Raises:
        UnsubscribeLogError: the unsubscribe log is damaged.
        KeyFileError: the unsubscribe log has a key ID that isn't in the key file.
        OSError: the unsubscribe log couldn't be written.
    """
    # Each entry is kept once, in the order of the log, because the parts of a joined log may have
    # lines in common.
    entries = list(dict.fromkeys(entry for entry in unsubscribe_log.read() if entry.kind != IMPORT_UNDONE))
    departures = _group_by_person(entry for entry in entries if entry.kind != PREFERENCES_CHANGED)
    changed = sorted((entry for entry in entries if entry.kind == PREFERENCES_CHANGED), key=lambda entry: entry.at)
    changes = {entry.person_hash: entry.at for entry in changed}
    merged = LogMergeResult(undone_imports=repeat_lost_undos(session, unsubscribe_log, now=now))
    matched: set[str] = set()
    pairs = sorted({(entry.key_id, entry.lookup_key) for entry in entries})
    for person in _stream_people(session) if entries else ():
        hashes = _hash_person(keys, person, pairs)
        names = hashes & departures.keys()
        if names:
            matched |= names
            theirs = [departure for who in sorted(names) for departure in departures[who]]
            _apply_departures(
                session,
                unsubscribe_log,
                keys,
                person.number,
                theirs,
                merged,
                forget_elsewhere=forget_elsewhere,
                now=now,
            )
        changed_at = max((changes[who] for who in hashes & changes.keys()), default=None)
        if changed_at and _is_change_lost(session, person.number, changed_at):
            merged.changed_preferences.append(person.number)
    for who in departures.keys() - matched:
        merged.unknown_hashes += _suppress_hash(session, departures[who], now)
    return merged


def _group_by_person(departures: Iterable[UnsubscribeLogEntry]) -> dict[str, list[UnsubscribeLogEntry]]:
    by_person: dict[str, list[UnsubscribeLogEntry]] = {}
    for departure in departures:
        if departure.kind == "undone":
            # Only a departure can be undone, and only if it's earlier both in the log and in time,
            # because clocks can be set back.
            earlier = by_person.get(departure.person_hash, ())
            by_person[departure.person_hash] = [d for d in earlier if d.kind != "left" or d.at > departure.at]
        else:
            by_person.setdefault(departure.person_hash, []).append(departure)
    return {who: several for who, several in by_person.items() if several}


def _is_change_lost(session: Session, number: int, changed_at: datetime) -> bool:
    """Return True if the preferences of a subscriber in the copy date from before a change."""
    if session.get_one(Person, number, populate_existing=True).state is not PersonState.SUBSCRIBED:
        return False
    last = ledger.find_last_event(session, number, {ConsentKind.CHOICES_CHANGED})
    return last is None or last.at < changed_at


def _stream_people(session: Session) -> Iterator[Any]:
    columns = (Person.number, Person.lookup, Person.lookup_key, Person.ciphertext, Person.key_id)
    after = 0
    while rows := session.execute(
        select(*columns).where(Person.number > after).order_by(Person.number).limit(BATCH_SIZE)
    ).all():
        yield from rows
        after = rows[-1].number


def _hash_person(
    keys: KeyRing,
    person: Any,
    key_pairs: Sequence[tuple[str, str]],
) -> set[str]:
    """Return the hashes that the log may contain for a person.

    There's one for each pair of a lookup key and a suppression key in the log.
    """
    if person.lookup is None:
        return set()
    lookups = {person.lookup_key: person.lookup}
    missing_keys = {lookup_key for _, lookup_key in key_pairs} - lookups.keys()
    address = people.decrypt_person_address(keys, person) if missing_keys else None
    if address is not None:
        lookups |= {key_id: make_lookup_hash(keys, address, key_id=key_id) for key_id in missing_keys}
    return {
        make_departure_hash(keys.by_id("suppression", key_id), lookups[lookup_key])
        for key_id, lookup_key in key_pairs
        if lookup_key in lookups
    }


def _apply_departures(
    session: Session,
    unsubscribe_log: UnsubscribeLog,
    keys: KeyRing,
    number: int,
    departures: Sequence[UnsubscribeLogEntry],
    result: LogMergeResult,
    *,
    forget_elsewhere: ErasureCallback,
    now: datetime,
) -> None:
    """Apply a person's departures in the log if they're later than the person's last consent."""
    person = ledger.lock_person(session, number)
    assert person is not None
    since = _list_departures_since(session, number, departures)
    if not since or person.state in EMPTIED_STATES:
        return
    removals, erasures = _part_erasures(since)
    if removals:
        gravest = _gravest_departure(removals)
        if _remove_from_audience(session, keys, person, gravest, now):
            result.departed[gravest.kind] += 1
    if not erasures:
        return
    last = max(erasures, key=lambda d: d.at)
    erasure.erase_person(
        session,
        keys,
        unsubscribe_log,
        number,
        method=_describe_departure(last),
        forget_elsewhere=forget_elsewhere,
        now=now,
    )
    result.departed["erased"] += 1
    # The emptied row can't be found by these hashes anymore.
    for departure in departures:
        _suppress_hash(session, [departure], now)


def _part_erasures(
    departures: Sequence[UnsubscribeLogEntry],
) -> tuple[list[UnsubscribeLogEntry], list[UnsubscribeLogEntry]]:
    """Split departures into those that keep a person's data and those that are erasures."""
    erasures = [d for d in departures if d.kind == "erased"]
    return [d for d in departures if d.kind != "erased"], erasures


def _list_departures_since(
    session: Session, number: int, departures: Sequence[UnsubscribeLogEntry]
) -> list[UnsubscribeLogEntry]:
    """Return a person's departures that are later than the person's own last consent."""
    own_word = ledger.find_last_event(session, number, ledger.OWN_CONSENT_KINDS)
    return [d for d in departures if own_word is None or d.at >= own_word.at]


def _remove_from_audience(
    session: Session, keys: KeyRing, person: Person, departure: UnsubscribeLogEntry, now: datetime
) -> bool:
    """Remove someone from the list without writing to the unsubscribe log, which already contains the departure."""
    if departure.kind != "left":
        reason = _REASON_BY_KIND[departure.kind]
        departure_entry = suppression.suppress_person(
            session, keys, person, reason=reason, actor=_describe_departure(departure), now=now
        )
        return departure_entry is not None
    if person.state in ledger.DEPARTED_STATES:
        return False
    ledger.append_event(session, person, ConsentKind.WITHDRAWN, {"method": _describe_departure(departure)}, now)
    return True


def _describe_departure(departure: UnsubscribeLogEntry) -> str:
    return f"journal: {departure.kind} {departure.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, before this copy was restored"


def _gravest_departure(departures: Iterable[UnsubscribeLogEntry]) -> UnsubscribeLogEntry:
    return min(departures, key=lambda d: (suppression.rank_reason(_REASON_BY_KIND[d.kind]), -d.at.timestamp()))


def _suppress_hash(session: Session, departures: Sequence[UnsubscribeLogEntry], now: datetime) -> bool:
    """Suppress an address that's known only by its hash in the log, and return True if anything changed."""
    last = _gravest_departure(departures)
    return suppression.suppress_hashes(session, [(last.person_hash, last.key_id)], _REASON_BY_KIND[last.kind], now)
