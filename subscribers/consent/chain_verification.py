"""Verifying the stored consent chains, event by event, 1,000 people at a time.

Each address is checked against the commitment in its person's chain and against the lookup hash.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from subscribers.callback_types import Progress
from subscribers.consent import ledger
from subscribers.consent.preferences import Preferences
from subscribers.crypto.keys import DecryptionError, KeyFileError, KeyRing
from subscribers.crypto.stored_addresses import compute_address_commitment, decrypt_address, matches_lookup
from subscribers.store.database import is_postgresql
from subscribers.store.models import ConsentKind, PersonState

CHUNK_SIZE = 1000
_ASKING_KINDS = frozenset({ConsentKind.REQUESTED, ConsentKind.RE_ASKED})
_WORDING_HASH_PATTERN = re.compile(r'"wording_hash":"([0-9a-f]{64})"', re.ASCII)
_KINDS_BY_VALUE = {str(kind): kind for kind in ConsentKind}
# Moments are stored in whole milliseconds.
_STORED_MOMENT_PATTERN = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})000", re.ASCII)
_MICROSECONDS_PATTERN = re.compile(r"(?<=\.\d{3})\d{3}$", re.ASCII)  # these digits are in rows, but not in links


class ChainOwner(NamedTuple):
    """The columns of a person's row that concern their chain and address, as stored."""

    number: int
    state: str
    chain_head: str
    lookup: str
    lookup_key: str
    key_id: str
    ciphertext: object
    salt: object
    choices: str
    asked_at: str
    asked_where: str
    link_generation: object


class ChainLink(NamedTuple):
    """A link as stored, with each column as text.

    If a column isn't text, it's "".
    """

    id: int
    person: int
    seq: int
    kind: str
    at: str
    body: str
    commitment: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class EventChainBatch:
    """The people numbered from `first_number` to `first_number` + 999, and their links by person and position."""

    first_number: int
    owners: Sequence[ChainOwner]
    links: Sequence[ChainLink]


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first invalid link: its person, its position (counting from 1), and what's wrong with it."""

    person: int
    seq: int
    fault: str


def iterate_chains(session: Session, progress: Progress = lambda *_: None) -> Iterator[EventChainBatch]:
    """Yield people in order of number, with their links, including links that have no person."""
    _begin_snapshot(session)
    total = session.scalar(text("SELECT count(*) FROM person")) or 0
    last = people_seen = 0
    # SQLite stores any type in any column. Values that aren't numbers come last, and are counted by
    # `find_stray_rows`.
    while isinstance(next_number := session.scalar(_NEXT_NUMBER_QUERY, {"after": last}), int):
        first = (next_number - 1) // CHUNK_SIZE * CHUNK_SIZE + 1
        last = first + CHUNK_SIZE - 1
        between = {"first": first, "last": last}
        people = [
            ChainOwner(*row) for row in read_raw_rows(session, "person", _OWNER_COLUMNS, _OWNERS_IN_CHUNK, between)
        ]
        links = [
            ChainLink(*row) for row in read_raw_rows(session, "consent_event", _LINK_COLUMNS, _LINKS_IN_CHUNK, between)
        ]
        yield EventChainBatch(first, people, links)
        people_seen += len(people)
        progress(people_seen, total)


def load_chain(session: Session, number: int) -> EventChainBatch:
    """Return one person and their links as a batch."""
    between = {"first": number, "last": number}
    people = [ChainOwner(*row) for row in read_raw_rows(session, "person", _OWNER_COLUMNS, _OWNERS_IN_CHUNK, between)]
    rows = read_raw_rows(session, "consent_event", _LINK_COLUMNS, _LINKS_IN_CHUNK, between)
    return EventChainBatch(number, people, [ChainLink(*row) for row in rows])


_NEXT_NUMBER_QUERY = text(
    "SELECT min(number) FROM (SELECT min(number) AS number FROM person WHERE number > :after "
    "UNION ALL SELECT min(person) AS number FROM consent_event WHERE person > :after) AS there"
)
_OWNER_COLUMNS = (
    *("number", "'state", "'chain_head", "'lookup", "'lookup_key", "'key_id", "ciphertext", "salt", "'choices"),
    *("@asked_at", "'asked_where", "link_generation"),
)
_LINK_COLUMNS = ("id", "person", "seq", "'kind", "@at", "'body", "'commitment", "'previous", "'hash")
_OWNERS_IN_CHUNK = "number BETWEEN :first AND :last ORDER BY number"
_LINKS_IN_CHUNK = "person BETWEEN :first AND :last ORDER BY person, seq"


def read_raw_rows(
    session: Session,
    table: str,
    columns: Sequence[str],
    condition: str,
    parameters: dict[str, Any],
) -> list[list[Any]]:
    """Return rows as stored, whatever they contain, so that damaged rows can be reported.

    Names of columns start with ' for text and with @ for moments, which are returned as text in the
    form 2026-11-20 12:00:00.123000.
    """
    sqlite = not is_postgresql(session)
    expressions = ", ".join(_select_expression(name, sqlite=sqlite) for name in columns)
    query = text(f"SELECT {expressions} FROM {table} WHERE {condition}")  # noqa: S608 - our own names only
    texts = [place for place, name in enumerate(columns) if name[0] in "'@"]
    rows = [list(row) for row in session.execute(query, parameters)]
    for row in rows:
        for place in texts:
            row[place] = _decode_text(row[place])
    return rows


def stream_raw_rows(
    session: Session,
    table: str,
    columns: Sequence[str],
    *,
    page_size: int,
) -> Iterator[list[Any]]:
    """Yield rows in the form that `read_raw_rows` returns, ordered by number (the first column), `page_size` at a time.

    The first page has no lower bound, so forged rows with numbers below 1 are included, as in every
    sum. Rows without a number aren't.
    """
    after: dict[str, Any] = {}
    condition = f"{columns[0]} IS NOT NULL"
    order = f"ORDER BY {columns[0]} LIMIT {page_size}"
    while rows := read_raw_rows(session, table, columns, f"{condition} {order}", after):
        yield from rows
        condition, after = f"{columns[0]} > :after", {"after": rows[-1][0]}


def _select_expression(name: str, *, sqlite: bool) -> str:
    if name[0] not in "'@":
        return name
    # The driver would raise an error for text that isn't UTF-8 before the row is identified, so return bytes.
    if sqlite:
        return f"CAST({name[1:]} AS BLOB)"
    return (
        f"to_char({name[1:]} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')" if name[0] == "@" else f"{name[1:]}::text"
    )


def _decode_text(value: bytes | str | None) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value or ""
    except UnicodeDecodeError:
        return ""


def convert_to_hashed_time(stored_moment: str) -> str | None:
    """Convert a stored moment to the text that was hashed, or return None if it wasn't stored by us."""
    match = _STORED_MOMENT_PATTERN.fullmatch(stored_moment)
    return f"{match[1]}T{match[2]}+00:00" if match else None


def _begin_snapshot(session: Session) -> None:
    """Make all reads in the transaction use one snapshot.

    On SQLite, a transaction always does.
    """
    if is_postgresql(session) and not session.in_transaction():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def find_broken_link(chunk: EventChainBatch) -> BrokenLink | None:
    """Return the first invalid link in a batch, or None if all are valid."""
    chains: dict[int, list[ChainLink]] = {owner.number: [] for owner in chunk.owners}
    for link in chunk.links:
        if link.person not in chains:
            return BrokenLink(link.person, link.seq, "the subscriber's row is missing")
        chains[link.person].append(link)
    broken_links = (_check_chain(owner, chains[owner.number]) for owner in chunk.owners)
    return next((broken for broken in broken_links if broken), None)


def list_consent_text_hashes(chunk: EventChainBatch) -> set[str]:
    """Return the hashes of the consent texts that were shown to the people in a batch.

    The register must contain them.
    """
    bodies = (link.body for link in chunk.links if link.kind in _ASKING_KINDS)
    return {match[1] for body in bodies if (match := _WORDING_HASH_PATTERN.search(body))}


def count_erased_rows(chunk: EventChainBatch) -> Counter[str]:
    """Return the number of sealed rows, by table, that lost their salt when people in the batch were erased."""
    counts = Counter[str]()
    for link in chunk.links:
        if link.kind == ConsentKind.ERASED and ledger.ERASED_ROWS_FIELD in link.body:
            with suppress(ValueError, TypeError, KeyError):  # the link's hash reveals the change
                counts.update(json.loads(link.body)[ledger.ERASED_ROWS_FIELD])
    return counts


def _check_chain(owner: ChainOwner, links: Sequence[ChainLink]) -> BrokenLink | None:
    head, commitment, state = "", "", PersonState.REQUESTED
    for place, link in enumerate(links, start=1):
        fault = _find_link_fault(link, place, head)
        if not fault and place > 1 and link.commitment != commitment and link.kind not in ledger.ADDRESS_KINDS:
            fault = "the event is about a different address from the one before it"
        if fault:
            return BrokenLink(owner.number, place, fault)
        head, commitment = link.hash, link.commitment
        state = ledger.find_next_person_state(state, _KINDS_BY_VALUE[link.kind])
    if head != owner.chain_head:
        fault = "the last event isn't the one in the subscriber's row"
        return BrokenLink(owner.number, len(links) + 1, fault)
    fault = _find_row_fault(owner, links, state)
    return BrokenLink(owner.number, len(links), fault) if fault else None


def _find_row_fault(owner: ChainOwner, links: Sequence[ChainLink], state: PersonState) -> str:
    """Return how a person's row differs from their links, or "" if it doesn't.

    `state` is the state that results from the links.
    """
    if state != owner.state:
        return f"the state is {state} in the record but {owner.state} in the row"
    if not _are_choices_readable(owner):
        return (
            "the preferences can't be read, so no editions are sent until the subscriber chooses again, with the "
            "link in any email or at /preferences"
        )
    if not _are_choices_of_chain(owner, links):
        return "the preferences in the record and the row differ"
    if not _is_generation_of_chain(owner, links):
        return "the link generation in the record and the row differ"
    return _find_origin_fault(owner, links)


def _are_choices_readable(owner: ChainOwner) -> bool:
    if owner.choices == "{}":
        return True
    try:
        return Preferences.from_stored(json.loads(owner.choices)).is_readable
    except ValueError:
        return False


def _are_choices_of_chain(owner: ChainOwner, links: Sequence[ChainLink]) -> bool:
    """Return True if the row has the preferences set by the chain's last change.

    An emptied row has lost them along with its salt.
    """
    changes = [link for link in links if link.kind == ConsentKind.CHOICES_CHANGED]
    if owner.choices == "{}" and (not changes or owner.salt is None):
        return True
    try:
        stored, change = json.loads(owner.choices), json.loads(changes[-1].body if changes else "{}")
    except ValueError:
        return False
    return bool(stored == (change.get("after", {}) if isinstance(change, dict) else None))


def _is_generation_of_chain(owner: ChainOwner, links: Sequence[ChainLink]) -> bool:
    """Return True if the row has the generation set by the last renewal, or 0 if there was none."""
    renewal = next((link for link in reversed(links) if link.kind == ConsentKind.LINKS_RENEWED), None)
    try:
        return (json.loads(renewal.body)["generation"] if renewal else 0) == owner.link_generation
    except (ValueError, TypeError, KeyError):
        return False


def _find_origin_fault(owner: ChainOwner, links: Sequence[ChainLink]) -> str:
    """Return how the sign-up time and place in the row differ from those in the chain, or "" if they don't."""
    origin = ledger.find_signup_source((link.seq, link.kind, link.at, link.body) for link in reversed(links))
    if origin is None:
        return ""
    if origin.where != owner.asked_where:
        return "the sign-up source in the record and the row differ"
    stored = convert_to_hashed_time(_MICROSECONDS_PATTERN.sub("000", owner.asked_at))
    if stored != ledger.format_ledger_time(origin.at):
        return "the sign-up time in the record and the row differ"
    return ""


def _find_link_fault(link: ChainLink, expected_seq: int, previous_hash: str) -> str:
    if link.seq != expected_seq:
        return f"event {expected_seq} is missing; the next one is {link.seq}"
    if link.previous != previous_hash:
        return "the event doesn't match the one before it"
    moment = convert_to_hashed_time(link.at)
    if moment is None or link.kind not in _KINDS_BY_VALUE or link.hash != _hash_stored_link(link, moment):
        return "the event's content doesn't match its hash"
    return ""


def _hash_stored_link(link: ChainLink, moment: str) -> str:
    link_values = {"body": link.body, "previous": link.previous, "commitment": link.commitment}
    return ledger.hash_raw_chain_link(link.person, link.seq, link.kind, moment, **link_values)


@dataclass(frozen=True, slots=True)
class StoredAddressFault:
    """A person whose stored address doesn't match their chain or can't be decrypted, and what's wrong."""

    person: int
    fault: str


def find_stored_address_faults(keys: KeyRing, chunk: EventChainBatch) -> list[StoredAddressFault]:
    """Return the people in a batch whose stored address doesn't match their chain or can't be decrypted.

    Each is returned with a description of what's wrong.
    """
    commitments = {link.person: link.commitment for link in chunk.links}  # dicts keep the value of the last link
    faults = [
        (owner.number, _find_stored_address_fault(keys, owner, commitments.get(owner.number, "")))
        for owner in chunk.owners
    ]
    return [StoredAddressFault(number, fault) for number, fault in faults if fault]


def _find_stored_address_fault(keys: KeyRing, owner: ChainOwner, commitment: str) -> str:
    if owner.ciphertext is None:
        return "the address of an active subscriber is missing" if owner.state == PersonState.SUBSCRIBED else ""
    mailbox = _decrypt_stored_address(keys, owner)
    if mailbox is None:
        return "the address can't be decrypted"
    if not isinstance(owner.salt, bytes):
        return "the address has no salt"
    if commitment not in [compute_address_commitment(key, mailbox, owner.salt) for key in keys.of_kind("commitment")]:
        return "the address doesn't match the record"
    is_found = matches_lookup(keys, mailbox, owner.lookup, owner.lookup_key)
    return "" if is_found else "the lookup hash doesn't match the address"


def _decrypt_stored_address(keys: KeyRing, owner: ChainOwner) -> str | None:
    if not isinstance(owner.ciphertext, bytes):
        return None
    try:
        return decrypt_address(keys, (owner.ciphertext, owner.key_id), owner.number)
    except (DecryptionError, KeyFileError):
        return None


def find_stray_rows(session: Session, people_seen: int, links_seen: int) -> BrokenLink | None:
    """Return a fault if people or links have invalid numbers, or None if none do.

    In that case, more rows are stored than were checked.
    """
    people_stored = session.scalar(text("SELECT count(*) FROM person")) or 0
    if people_stored != people_seen:
        return BrokenLink(0, 0, f"subscriber rows with an invalid number: {people_stored - people_seen:,}")
    links_stored = session.scalar(text("SELECT count(*) FROM consent_event")) or 0
    if links_stored == links_seen:
        return None
    return BrokenLink(0, 0, f"events with an invalid subscriber number: {links_stored - links_seen:,}")
