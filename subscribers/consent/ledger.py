"""The consent ledger: one append-only chain a person, each link hashed together with the one before it."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Dialect, bindparam, select, update
from sqlalchemy.orm import Session

from subscribers.store.compiled_statements import Columns, bind_columns, insert_bound, insert_many
from subscribers.store.models import EMPTIED_STATES, ConsentEvent, ConsentKind, Person, PersonState, table_of
from subscribers.subscriber_language import mark_message

# The tables rather than the classes: the ORM would go through the rows one by one.
_PERSON_TABLE, _EVENT_TABLE = table_of(Person), table_of(ConsentEvent)
GRANT_KINDS = frozenset(
    {ConsentKind.CONFIRMED, ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.UNDONE, ConsentKind.RESTORED}
)
UNDO_PERIOD = timedelta(days=7)  # for which leaving, an address change, or an import can be undone
# A person's own word, which ends a departure before it; no import is one.
OWN_CONSENT_KINDS = frozenset({ConsentKind.CONFIRMED, ConsentKind.UNDONE})
# Their own acts other than leaving, which people who have forgotten us don't do (`is_sign_of_life`).
SIGN_OF_LIFE_KINDS = OWN_CONSENT_KINDS | {ConsentKind.CHOICES_CHANGED, ConsentKind.ADDRESS_CHANGED}
_BATCH_FIELD = "batch"  # in what an import, or undoing it, appended
ADMIN_METHOD = "admin: "  # begins the method of an admin's action; the reason follows
DEPARTED_STATES = EMPTIED_STATES | {PersonState.WITHDRAWN, PersonState.SUPPRESSED}
# These leave a person where they stand.
UNMOVING_KINDS = frozenset(
    {
        ConsentKind.REQUESTED,
        ConsentKind.ADDRESS_CHANGED,
        ConsentKind.CHOICES_CHANGED,
        ConsentKind.BOUNCED,
        ConsentKind.BOUND,
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
# Nobody agreed to mail before it: 1970-01-01 is a computer's zero, 0001-01-01 another's.
EARLIEST_CONSENT = datetime(1971, 1, 1, tzinfo=UTC)
STOPPED_CHANGE_METHOD = "link to the old address"  # of an address change that puts the one before back
ADOPTION_METHOD = "suppression list of another installation"  # of an unsubscribe that an adopted file recorded
PERMISSION_METHOD = "re-permission mail"  # the method of a request that was not theirs: we asked them
UNSUBSCRIBE_REASONS = {
    "often": mark_message("Too many emails"),
    "topics": mark_message("Not relevant to me"),
    "long": mark_message("Too long"),
    "never": mark_message("I didn’t sign up"),
    "moved": mark_message("I read it elsewhere or at another address"),
    "job": mark_message("My job has changed"),
}  # by the key that the ledger stores; no free text, because people write names and addresses into it
ERASED_ROWS_FIELD = (
    "sealed_rows"  # of an erasure: how many sealed rows about disclosures lost their salt by it, by table
)
SILENCE_ANSWER_METHOD = (
    "answer to a question after a long silence"  # of a confirmation that leaves where they asked as it was
)
# Links of these kinds may carry another commitment than the link before them.
ADDRESS_KINDS = frozenset({ConsentKind.REQUESTED, ConsentKind.ADDRESS_CHANGED})
# These move nobody who left, or consented by their own word: anybody can type an address into a form.
_UNDECIDED_TRANSITIONS = {
    (PersonState.UNVERIFIED, ConsentKind.RE_ASKED): PersonState.REQUESTED,
    (PersonState.REQUESTED, ConsentKind.LISTED): PersonState.UNVERIFIED,
    (PersonState.REQUESTED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.UNVERIFIED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.SUBSCRIBED, ConsentKind.EXPIRED): PersonState.UNVERIFIED,  # the import was dropped
}


class NewChainLink(NamedTuple):
    """A link that is still to be written: the columns of its own row, and those that change in its person's row."""

    event: dict[str, Any]
    person: dict[str, Any]


def lock_person(session: Session, number: int) -> Person | None:
    """Read a person for changing: whoever else wants to waits until this transaction ends."""
    return session.get(Person, number, with_for_update=True, populate_existing=True)


def find_last_event(session: Session, number: int, kinds: Collection[ConsentKind] = ()) -> ConsentEvent | None:
    """Return the last event of a person, or their last one of some kinds; None where there is none."""
    query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq.desc()).limit(1)
    return session.scalar(query.where(ConsentEvent.kind.in_(kinds)) if kinds else query)


def find_last_consent(
    chain: Iterable[ConsentEvent], kinds: Collection[ConsentKind] = GRANT_KINDS
) -> tuple[datetime, dict[str, Any]] | None:
    """Return when a person last consented, by an event of some kinds, and that event's body; None if they never did.

    The owner of a new address who agreed to a correction that was undone is somebody else, so that isn't this person's consent.

    Args:
        chain: the person's events in their order, at least all consents and address changes.
        kinds: the kinds of events that count as consent.
    """
    consents: list[tuple[datetime, dict[str, Any]]] = []
    for event in chain:
        body = json.loads(event.body)
        if event.kind in kinds:
            consents.append((event.at, body))
        elif event.kind == ConsentKind.ADDRESS_CHANGED and body.get("method") == STOPPED_CHANGE_METHOD:
            consents = [consent for consent in consents if "requested_by" not in consent[1]]
    return consents[-1] if consents else None


def append_event(
    session: Session,
    person: Person,
    kind: ConsentKind,
    body: dict[str, Any],
    at: datetime,
    *,
    commitment: str | None = None,
) -> ConsentEvent:
    """Append what happened to a person's chain and bring their state along.

    `person` was read with `lock_person`, or is new. `body` holds plain JSON values; times are kept to the millisecond.
    `commitment` is given where the address was just set (`people.make_person_address_commitment`); else the last link's is carried on.
    """
    last = find_last_event(session, person.number)
    link = build_chain_link(
        person.number,
        person.state,
        kind,
        canonical_json(body),
        at,
        seq=last.seq + 1 if last else 1,
        previous=person.chain_head,
        commitment=commitment or (last.commitment if last else None),
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
    commitment: str | None,
) -> NewChainLink:
    """Compute the link that follows `previous` at place `seq` of a chain, and where its person stands then.

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
        # Their own word counts, whatever becomes of the import that named them first.
        person["batch"] = None
    return NewChainLink(event, person)


class NewPeopleWithFirstLinks(NamedTuple):
    """People who are new and the first links of their chains, by column, as the driver takes them."""

    people: Columns
    events: Columns


def prepare_people_with_first_links(dialect: Dialect, people: Columns, events: Columns) -> NewPeopleWithFirstLinks:
    """Bring people who are new, and the first links of their chains, to what the driver takes; there may be many."""
    return NewPeopleWithFirstLinks(
        bind_columns(dialect, _PERSON_TABLE, people), bind_columns(dialect, _EVENT_TABLE, events)
    )


def insert_people_with_first_links(session: Session, links: NewPeopleWithFirstLinks) -> None:
    """Write people who are new, each with the first link of their chain."""
    insert_bound(session, _PERSON_TABLE, links.people)
    insert_bound(session, _EVENT_TABLE, links.events)


def insert_chain_links(
    session: Session, events: Sequence[dict[str, Any]], *, changed_people: Sequence[dict[str, Any]] = ()
) -> None:
    """Write many links at once, with what they change in the rows of their people, their `number` among it; see `build_chain_link`."""
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
    """Return where a person stands after `kind` happened to somebody who stood at `state`.

    A request moves nobody: who left has left until they confirm, or a form would open the door to an import.
    """
    return _STATE_AFTER.get(kind) or _UNDECIDED_TRANSITIONS.get((state, kind), state)


_CANONICAL_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(body: dict[str, Any]) -> str:
    """Write JSON in the one form that is hashed: sorted keys, no spaces, letters as they are."""
    return _CANONICAL_ENCODER.encode(body)


def hash_chain_link(
    person: int, seq: int, kind: ConsentKind, at: datetime, *, body: str, previous: str, commitment: str | None
) -> str:
    """Compute the hash (64 hex digits) of one link from everything that it says."""
    return hash_raw_chain_link(
        person, seq, kind, _format_shared_moment(at), body=body, previous=previous, commitment=commitment or ""
    )


def format_ledger_time(at: datetime) -> str:
    """Write a moment as links and records keep it: 2026-11-20T12:00:00.123+00:00."""
    in_utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")


# The links of one act share their moment.
_format_shared_moment = lru_cache(maxsize=64)(format_ledger_time)


def hash_raw_chain_link(
    person: int, seq: int, kind: str, moment: str, *, body: str, previous: str, commitment: str
) -> str:
    """Compute the hash of a link from the very texts that it consists of; `moment` as 2026-11-20T12:00:00.123+00:00.

    What is hashed is the canonical JSON of the link, written out here: it takes a fifth of the encoder's time.
    `kind` must be one of ours, `previous` and `commitment` hashes: they are not escaped. A link without a commitment
    ("") is hashed as if there were no such thing.
    """
    bound_to = f'"commitment":"{commitment}",' if commitment else ""
    link = (
        f'{{"at":"{moment}","body":{encode_basestring(body)},{bound_to}"kind":"{kind}",'
        f'"person":{person},"previous":"{previous}","seq":{seq}}}'
    )
    return hashlib.sha256(link.encode()).hexdigest()


def is_sign_of_life(kind: ConsentKind, body: dict[str, Any]) -> bool:
    """Return whether an event is a person's own act other than leaving. What an import or an admin appends isn't. Pure."""
    return kind in SIGN_OF_LIFE_KINDS and _BATCH_FIELD not in body and not is_by_admin(body)


def is_by_admin(body: dict[str, Any]) -> bool:
    """Return whether an event with this body is an admin's action. Pure."""
    return str(body.get("method", "")).startswith(ADMIN_METHOD)


def match_signs_of_life(event: type[ConsentEvent]) -> ColumnElement[bool]:
    """Return the condition for events that are signs of life (`is_sign_of_life`)."""
    by_import = event.body.contains(f'"{_BATCH_FIELD}":')  # canonical JSON; in a string, the quotes would be escaped
    by_admin = event.body.contains(f'"method":"{ADMIN_METHOD}')
    return event.kind.in_(SIGN_OF_LIFE_KINDS) & ~by_import & ~by_admin


def truncate_to_millisecond(at: datetime) -> datetime:
    """Cut a time to what a link keeps. One that is cut already stays the same object: a column of it is converted once."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000) if at.microsecond % 1000 else at


def read_event_body(session: Session, person: int, seq: int) -> dict[str, Any]:
    """Return what one link of a person's chain says.

    Raises:
        LookupError: the chain has no such link.
    """
    query = select(ConsentEvent.body).where(ConsentEvent.person == person, ConsentEvent.seq == seq)
    body = session.scalar(query)
    if body is None:
        raise LookupError(f"the record for person {person} has no event {seq}")
    fields: dict[str, Any] = json.loads(body)
    return fields


IMPORTED_SUFFIX = " (imported)"  # of the sign-up source of someone whom a list brought
MAX_WHERE_LENGTH = 200  # characters of a place that a person's row keeps
_IMPORT_KINDS = frozenset({ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.LISTED})
_SETTING_KINDS = _IMPORT_KINDS | {ConsentKind.REQUESTED, ConsentKind.CONFIRMED}


class SignupSource(NamedTuple):
    """When and where somebody asked. `at` is None where a link from before version 0.2 doesn't say it."""

    at: datetime | None
    where: str


def find_signup_source(links_from_last: Iterable[tuple[int, str, str, str]]) -> SignupSource | None:
    """Return what the last link that settles it says; None where none does. Pure.

    Links are given as (seq, kind, moment as stored, body), the last one first.
    """
    return next((origin for link in links_from_last if (origin := _read_signup_source(*link)) is not None), None)


def _read_signup_source(seq: int, kind: str, stored_at: str, body: str) -> SignupSource | None:
    if kind not in _SETTING_KINDS or (kind == ConsentKind.REQUESTED and seq != 1):
        return None  # a request changes nothing for somebody who's there already, until they confirm it
    try:
        values = json.loads(body)
        return _read_body(kind, stored_at, values) if isinstance(values, dict) else None
    except (ValueError, TypeError):
        return None


def _read_body(kind: str, stored_at: str, values: dict[str, Any]) -> SignupSource | None:
    if kind in _IMPORT_KINDS and "batch" in values:
        return _read_import_body(kind, stored_at, values)
    if kind == ConsentKind.CONFIRMED and values.get("method") == SILENCE_ANSWER_METHOD:
        return None
    moment, page_name = values.get("asked_at"), values.get("where")
    if moment is None and page_name is None and kind != ConsentKind.REQUESTED:  # added by an admin's hand
        moment, page_name = values.get("agreed_at"), values.get("page")
    if moment is None or not isinstance(page_name, str):
        return None
    return SignupSource(_read_moment(moment), page_name[:MAX_WHERE_LENGTH])


def _read_import_body(kind: str, stored_at: str, values: dict[str, Any]) -> SignupSource | None:
    if "page" not in values:
        return None
    moment = values.get("asked_at")
    if kind != ConsentKind.LISTED:
        # Where the list named no time, it's that of the import.
        moment = moment or values.get("agreed_at") or values.get("requested_at")
        moment = f"{stored_at}+00:00" if moment is None else moment
    return SignupSource(_read_moment(moment), f"{values['page']}{IMPORTED_SUFFIX}")


def _read_moment(moment: str | None) -> datetime | None:
    return None if moment is None else datetime.fromisoformat(moment).astimezone(UTC)
