"""The consent ledger: one append-only chain of events per person, in which each is hashed with the previous one."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Dialect, Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from subscribers.store.compiled_statements import Columns, bind_columns, insert_bound, insert_many
from subscribers.store.models import (
    EMPTIED_STATES,
    ConsentEvent,
    ConsentKind,
    ImportBatch,
    Person,
    PersonState,
    Seal,
    table_of,
)
from subscribers.subscriber_language import mark_message

# These are tables instead of classes, because the ORM would process the rows one by one.
_PERSON_TABLE, _EVENT_TABLE = table_of(Person), table_of(ConsentEvent)
GRANT_KINDS = frozenset(
    {ConsentKind.CONFIRMED, ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.UNDONE, ConsentKind.RESTORED}
)
# The other kinds restore an earlier consent.
CONSENT_KINDS = GRANT_KINDS - {ConsentKind.UNDONE, ConsentKind.RESTORED}
# The time during which an unsubscribe, address change, or import can be undone.
UNDO_PERIOD = timedelta(days=7)
# Consent given by the person's own action, which ends an earlier departure. Imports aren't included.
OWN_CONSENT_KINDS = frozenset({ConsentKind.CONFIRMED, ConsentKind.UNDONE})
# Actions of the person that show interest (`is_sign_of_life`). Unsubscribing isn't one of them.
SIGN_OF_LIFE_KINDS = OWN_CONSENT_KINDS | {ConsentKind.CHOICES_CHANGED, ConsentKind.ADDRESS_CHANGED}
_BATCH_FIELD = "batch"  # in events appended by an import or its undo
# The prefix of the method of an admin's action. The reason follows.
ADMIN_METHOD = "admin: "
DEPARTED_STATES = EMPTIED_STATES | {PersonState.WITHDRAWN, PersonState.SUPPRESSED}
# These don't change the state of a person.
UNMOVING_KINDS = frozenset(
    {
        ConsentKind.REQUESTED,
        ConsentKind.ADDRESS_CHANGED,
        ConsentKind.CHOICES_CHANGED,
        ConsentKind.BOUNCED,
        ConsentKind.LINKS_RENEWED,
        ConsentKind.WITHDRAWN_AGAIN,
    }
)
_STATE_AFTER = {
    **dict.fromkeys(GRANT_KINDS, PersonState.SUBSCRIBED),
    ConsentKind.WITHDRAWN: PersonState.WITHDRAWN,
    ConsentKind.COMPLAINED: PersonState.SUPPRESSED,
    ConsentKind.SUPPRESSED: PersonState.SUPPRESSED,
    ConsentKind.ERASED: PersonState.ERASED,
    ConsentKind.REMOVED: PersonState.REMOVED,
}
# Earlier consent isn't plausible. 1970-01-01 and 0001-01-01 are zero values of computers.
EARLIEST_CONSENT = datetime(1971, 1, 1, tzinfo=UTC)
# The method of an address change that restores the previous address.
STOPPED_CHANGE_METHOD = "link to the old address"
# The method of an unsubscribe that was recorded when a file was adopted.
ADOPTION_METHOD = "suppression list of another installation"
# The method of a request that was sent by us instead of received from a form.
PERMISSION_METHOD = "re-permission mail"
# By the key stored in the ledger. Free text isn't offered, because people would enter names and addresses.
UNSUBSCRIBE_REASONS = {
    "often": mark_message("Too many emails"),
    "topics": mark_message("Not relevant to me"),
    "long": mark_message("Too long"),
    "never": mark_message("I didn’t sign up"),
    "moved": mark_message("I read it elsewhere or at another address"),
    "job": mark_message("My job has changed"),
}
# The field of an erasure with the number of sealed disclosure rows that lost their salt, by table.
ERASED_ROWS_FIELD = "sealed_rows"
SILENCE_METHOD = "question after a long silence"
SILENCE_ANSWER_METHOD = (
    # The method of a confirmation that doesn't change the sign-up source.
    "answer to a question after a long silence"
)
NO_ANSWER_METHOD = "no answer to a question after a long silence"
# Events of these kinds may have a different commitment from the previous event.
ADDRESS_KINDS = frozenset({ConsentKind.REQUESTED, ConsentKind.ADDRESS_CHANGED})
# These don't affect people who unsubscribed or consented themselves, because anyone can enter an
# address in a form.
_UNDECIDED_TRANSITIONS = {
    (PersonState.UNVERIFIED, ConsentKind.RE_ASKED): PersonState.REQUESTED,
    (PersonState.REQUESTED, ConsentKind.LISTED): PersonState.UNVERIFIED,
    (PersonState.REQUESTED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.UNVERIFIED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.SUBSCRIBED, ConsentKind.EXPIRED): PersonState.UNVERIFIED,  # because the import was dropped
}


class NewChainLink(NamedTuple):
    """A new event: its row's columns, and the changed columns of its person's row."""

    event: dict[str, Any]
    person: dict[str, Any]


def lock_person(session: Session, number: int) -> Person | None:
    """Return a person's row, locked until the transaction ends, or None if it doesn't exist."""
    return session.get(Person, number, with_for_update=True, populate_existing=True)


def find_last_event(
    session: Session,
    number: int,
    kinds: Collection[ConsentKind] = (),
) -> ConsentEvent | None:
    """Return a person's last event, optionally the last of certain kinds, or None if there's none."""
    query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq.desc()).limit(1)
    return session.scalar(query.where(ConsentEvent.kind.in_(kinds)) if kinds else query)


def find_last_consent(
    chain: Iterable[ConsentEvent],
) -> tuple[datetime, dict[str, Any]] | None:
    """Return the time and body of a person's last consent, or None if they never consented.

    Undoing an unsubscribe continues an earlier consent, so it isn't one. If a correction was
    undone, the owner of the new address was someone else, so their consent isn't counted.

    Args:
        chain: the person's events in order, including at least all consents and address
            changes.
    """
    consents: list[tuple[datetime, dict[str, Any]]] = []
    for event in chain:
        body = json.loads(event.body)
        if event.kind in CONSENT_KINDS:
            consents.append((event.at, body))
        elif event.kind == ConsentKind.ADDRESS_CHANGED and body.get("method") == STOPPED_CHANGE_METHOD:
            consents = [consent for consent in consents if "requested_by" not in consent[1]]
    return consents[-1] if consents else None


def find_state_start(events: Iterable[tuple[ConsentKind, datetime]]) -> datetime | None:
    """Return when a person's current state began, or None if no event changed it.

    Confirming a new address doesn't start a new subscription, and undoing an unsubscribe continues
    the earlier one.

    Args:
        events: the kinds and times of the person's events, in order.
    """
    state, began, subscribed_at = PersonState.REQUESTED, None, None
    for kind, at in events:
        before, state = state, find_next_person_state(state, kind)
        if state is before:
            continue
        began = at
        if state is PersonState.SUBSCRIBED:
            began = subscribed_at = at if kind in CONSENT_KINDS else subscribed_at or at
    return began


def append_event(
    session: Session,
    person: Person,
    kind: ConsentKind,
    body: dict[str, Any],
    at: datetime,
    *,
    commitment: str = "",
) -> ConsentEvent:
    """Append an event to a person's chain, and update the person's state.

    `person` must have been loaded with `lock_person` or be new. `body` contains plain JSON values.
    Times are truncated to milliseconds. Pass `commitment` if the address was just set
    (`people.make_person_address_commitment`). By default, that of the last event is kept.
    """
    last = find_last_event(session, person.number)
    link = build_chain_link(
        person.number,
        person.state,
        kind,
        encode_canonical_json(body),
        at,
        seq=last.seq + 1 if last else 1,
        previous=person.chain_head,
        commitment=commitment or (last.commitment if last else ""),
    )
    event = ConsentEvent(**link.event)
    for column, value in link.person.items():
        setattr(person, column, value)
    session.add(event)
    session.flush()
    return event


def build_chain_link(
    number: int,
    state: PersonState,
    kind: ConsentKind,
    body: str,
    at: datetime,
    *,
    seq: int,
    previous: str,
    commitment: str,
) -> NewChainLink:
    """Build the event that follows `previous` at position `seq` of a chain, and the person's next state.

    `body` is canonical JSON.
    """
    at = truncate_to_millisecond(at)
    link_hash = hash_chain_link(number, seq, kind, at, body=body, previous=previous, commitment=commitment)
    event = {
        "person": number,
        "seq": seq,
        "kind": kind,
        "at": at,
        "body": body,
        "commitment": commitment,
        "previous": previous,
        "hash": link_hash,
    }
    person: dict[str, Any] = {"state": find_next_person_state(state, kind), "chain_head": link_hash}
    if kind is ConsentKind.CONFIRMED:
        # Their own consent counts even if the import that added them is undone.
        person["batch"] = None
    return NewChainLink(event, person)


class NewPeopleWithFirstLinks(NamedTuple):
    """New people and the first events of their chains, by column, in the types that the driver requires."""

    people: Columns
    events: Columns


def prepare_people_with_first_links(dialect: Dialect, people: Columns, events: Columns) -> NewPeopleWithFirstLinks:
    """Convert new people and the first events of their chains to the driver's types.

    There may be many of them.
    """
    return NewPeopleWithFirstLinks(
        bind_columns(dialect, _PERSON_TABLE, people), bind_columns(dialect, _EVENT_TABLE, events)
    )


def insert_people_with_first_links(session: Session, links: NewPeopleWithFirstLinks) -> None:
    """Insert new people, along with the first event of each person's chain."""
    insert_bound(session, _PERSON_TABLE, links.people)
    insert_bound(session, _EVENT_TABLE, links.events)


def insert_chain_links(
    session: Session,
    events: Sequence[dict[str, Any]],
    *,
    changed_people: Sequence[dict[str, Any]] = (),
) -> None:
    """Insert many events, and update the rows of their people.

    Each item of `changed_people` includes the `number`.
    """
    rows_by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for person in changed_people:
        rows_by_columns.setdefault(tuple(sorted(person)), []).append({**person, "changed_number": person["number"]})
    for columns, rows in rows_by_columns.items():
        change = update(_PERSON_TABLE).where(_PERSON_TABLE.c.number == bindparam("changed_number"))
        values: dict[str, Any] = {column: bindparam(column) for column in columns if column != "number"}
        session.connection().execute(change.values(values), rows)
    if events:
        insert_many(session, _EVENT_TABLE, events)


def find_next_person_state(state: PersonState, kind: ConsentKind) -> PersonState:
    """Return the state of a person after an event of `kind`, given their current state.

    A request doesn't change it. People who unsubscribed stay unsubscribed until they confirm.
    Otherwise, a form would allow an import to subscribe them.
    """
    return _STATE_AFTER.get(kind) or _UNDECIDED_TRANSITIONS.get((state, kind), state)


_CANONICAL_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode_canonical_json(body: dict[str, Any]) -> str:
    """Return the canonical JSON to be hashed, with sorted keys, no spaces, and unescaped letters."""
    return _CANONICAL_ENCODER.encode(body)


def hash_chain_link(
    person: int,
    seq: int,
    kind: ConsentKind,
    at: datetime,
    *,
    body: str,
    previous: str,
    commitment: str,
) -> str:
    """Return the hash of an event as 64 hex digits."""
    return hash_raw_chain_link(
        person, seq, kind, _format_shared_moment(at), body=body, previous=previous, commitment=commitment
    )


def format_ledger_time(at: datetime) -> str:
    """Return a moment in the format used in events and records, such as 2026-11-20T12:00:00.123+00:00."""
    in_utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")


def read_day_without_hour(recorded: str) -> date | None:
    """Return the day of a recorded time if it's exactly noon in UTC, or None.

    That's how imports store a day without an hour. Even if it was noon, its day is right.
    """
    day, _, hour = recorded.partition("T")
    try:
        return date.fromisoformat(day) if hour == "12:00:00.000+00:00" else None
    except ValueError:  # the record is damaged
        return None


# The events of one action have the same time, so it's formatted once.
_format_shared_moment = lru_cache(maxsize=64)(format_ledger_time)


def hash_raw_chain_link(
    person: int,
    seq: int,
    kind: str,
    moment: str,
    *,
    body: str,
    previous: str,
    commitment: str,
) -> str:
    """Return the hash of an event, given its parts as text.

    `moment` has the form 2026-11-20T12:00:00.123+00:00. The canonical JSON of the event is hashed.
    It's built here because that takes a fifth of the time of the encoder. `kind` must be one of
    ours, and `previous` and `commitment` must be hashes, because they aren't escaped.
    """
    link = (
        f'{{"at":"{moment}","body":{encode_basestring(body)},"commitment":"{commitment}","kind":"{kind}",'
        f'"person":{person},"previous":"{previous}","seq":{seq}}}'
    )
    return hashlib.sha256(link.encode()).hexdigest()


def is_sign_of_life(kind: ConsentKind, body: dict[str, Any]) -> bool:
    """Return True if an event is an action by the person themselves, other than unsubscribing. Pure.

    Actions of imports and admins aren't.
    """
    return kind in SIGN_OF_LIFE_KINDS and _BATCH_FIELD not in body and not is_by_admin(body)


def is_by_admin(body: dict[str, Any]) -> bool:
    """Return True if an event with the given body is an admin's action. Pure."""
    return str(body.get("method", "")).startswith(ADMIN_METHOD)


def match_signs_of_life(event: type[ConsentEvent]) -> ColumnElement[bool]:
    """Return the condition for events that are signs of life (see `is_sign_of_life`)."""
    # This is canonical JSON. In a string, the quotation marks would be escaped.
    by_import = event.body.contains(f'"{_BATCH_FIELD}":')
    by_admin = event.body.contains(f'"method":"{ADMIN_METHOD}')
    return event.kind.in_(SIGN_OF_LIFE_KINDS) & ~by_import & ~by_admin


def truncate_to_millisecond(at: datetime) -> datetime:
    """Truncate a time to milliseconds.

    If it's truncated already, return the same object, so that columns convert it once.
    """
    return at.replace(microsecond=at.microsecond // 1000 * 1000) if at.microsecond % 1000 else at


def read_event_body(session: Session, person: int, seq: int) -> dict[str, Any]:
    """Return the body of one event in a person's chain.

    Raises:
        LookupError: the chain has no such event.
    """
    query = select(ConsentEvent.body).where(ConsentEvent.person == person, ConsentEvent.seq == seq)
    body = session.scalar(query)
    if body is None:
        raise LookupError(f"the record for person {person} has no event {seq}")
    fields: dict[str, Any] = json.loads(body)
    return fields


# The suffix of the sign-up source of imported people.
IMPORTED_SUFFIX = " (imported)"
# The number of characters of a sign-up source that are stored in a person's row.
MAX_WHERE_LENGTH = 200
IMPORT_KINDS = frozenset({ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.LISTED})
_SETTING_KINDS = IMPORT_KINDS | {ConsentKind.REQUESTED, ConsentKind.CONFIRMED}


def select_import_events(batch: int) -> Select[int, int]:
    """Return a query for the people in an import, including those who confirmed since, and the positions of its events.

    Events that were sealed before the import are skipped.
    """
    start = select(ImportBatch.started_at).where(ImportBatch.id == batch).scalar_subquery()
    sealed = select(func.coalesce(func.max(Seal.through), 0)).where(Seal.at < start).scalar_subquery()
    # This is canonical JSON, in which other fields follow.
    is_own = ConsentEvent.body.contains(f'"{_BATCH_FIELD}":{batch},')
    return select(ConsentEvent.person, ConsentEvent.seq).where(
        ConsentEvent.id > sealed, ConsentEvent.kind.in_(IMPORT_KINDS), is_own
    )


class SignupSource(NamedTuple):
    """The time and place of a sign-up."""

    at: datetime
    where: str


def find_signup_source(links_from_last: Iterable[tuple[int, str, str, str]]) -> SignupSource | None:
    """Return the sign-up source from the last event that has one, or None. Pure.

    The events are tuples of the sequence number, kind, stored moment, and body, newest first.
    """
    return next((origin for link in links_from_last if (origin := _read_signup_source(*link)) is not None), None)


def _read_signup_source(seq: int, kind: str, stored_at: str, body: str) -> SignupSource | None:
    if kind not in _SETTING_KINDS or (kind == ConsentKind.REQUESTED and seq != 1):
        # A request by someone who's already in the ledger changes nothing until they confirm it.
        return None
    try:
        values = json.loads(body)
        return _read_body(kind, stored_at, values) if isinstance(values, dict) else None
    except (ValueError, TypeError):
        return None


def _read_body(kind: str, stored_at: str, values: dict[str, Any]) -> SignupSource | None:
    if kind in IMPORT_KINDS and "batch" in values:
        return _read_import_body(stored_at, values)
    if kind == ConsentKind.CONFIRMED and values.get("method") == SILENCE_ANSWER_METHOD:
        return None
    moment, page_name = values.get("asked_at"), values.get("where")
    if moment is None and page_name is None and kind != ConsentKind.REQUESTED:  # added by an admin
        moment, page_name = values.get("agreed_at"), values.get("page")
    if moment is None or not isinstance(page_name, str):
        return None
    return SignupSource(_read_moment(moment), page_name[:MAX_WHERE_LENGTH])


def _read_import_body(stored_at: str, values: dict[str, Any]) -> SignupSource | None:
    if "page" not in values:
        return None
    times = (values.get(name) for name in ("asked_at", "agreed_at", "requested_at"))
    # If the list doesn't contain a time, that of the import is used.
    moment = next(filter(None, times), f"{stored_at}+00:00")
    return SignupSource(_read_moment(moment), f"{values['page']}{IMPORTED_SUFFIX}")


def _read_moment(moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(UTC)
