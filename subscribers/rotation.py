"""New keys for old: a fresh key of one kind, and for two kinds the rows brought over to it.

Whatever happens on the way, the installation works: old keys stay in the file, every row names its key, and people
are looked for by all look-up keys. A run that was cut short is finished by the next.

- vault: addresses are encrypted anew.
- lookup: people's hashes, and the tags of their domains, are computed anew from the vault.
- token, return-path, session, suppression: nothing is rewritten. Older keys verify what was made with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from subscribers import keyfile
from subscribers.addresses import AddressError, read_address
from subscribers.db import Base, Person, Suppression
from subscribers.vault import (
    KINDS,
    KeyFileError,
    KeyKind,
    Keys,
    VaultError,
    domain_tag,
    lookup,
    open_,
    reseal,
)

PAGE = 500  # rows a transaction: some 10 ms on SQLite
REWRITTEN = frozenset({"vault", "lookup"})  # the kinds whose rows are brought over


class Books(Protocol):
    """Where people are kept."""

    def read(self) -> AbstractContextManager[Session]:
        """Lend a session for looking only."""

    def write(self) -> AbstractContextManager[Session]:
        """Lend a session that commits."""


@dataclass(frozen=True, slots=True)
class Use:
    """One key and what hangs on it. `rows` is None where nothing that is stored names its key."""

    kind: KeyKind
    number: int
    id: str
    current: bool
    rows: int | None
    in_file: bool = True


@dataclass(frozen=True, slots=True)
class Stuck:
    """A person whose row could not be brought over, and why; it keeps its old key."""

    person: int
    why: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a run did: the key that is current now, whether this run made it, and how many rows it moved."""

    kind: KeyKind
    key_id: str
    made: bool
    moved: int
    stuck: tuple[Stuck, ...]


def uses(session: Session, keys: Keys) -> list[Use]:
    """List every key with the number of rows that name it; keys that rows name and the file lacks come last."""
    found: list[Use] = []
    missing: list[Use] = []
    for kind in KINDS:
        counted = _counted(session, kind)
        for key in keys.of(kind):
            rows = counted.pop(key.id, 0) if counted is not None else None
            found.append(Use(kind, key.number, key.id, key == keys.current(kind), rows))
        for key_id, rows in sorted((counted or {}).items()):
            number = int(key_id.partition("-")[0]) if key_id[:1].isdigit() else 0
            missing.append(Use(kind, number, key_id, current=False, rows=rows, in_file=False))
    return found + missing


def _counted(session: Session, kind: KeyKind) -> dict[str, int] | None:
    columns: list[ColumnElement[Any]]
    if kind == "vault":
        columns = [t.c.key_id for t in _sealed_tables()]
    elif kind == "lookup":
        columns = [Person.__table__.c.lookup_key]
    elif kind == "suppression":
        columns = [Suppression.__table__.c.key_id]
    else:
        return None
    counts: dict[str, int] = {}
    for column in columns:
        query = select(column, func.count()).where(column.is_not(None)).group_by(column)
        for key_id, rows in session.execute(query):
            counts[key_id] = counts.get(key_id, 0) + rows
    return counts


def _sealed_tables() -> Iterator[Table]:
    """Find the tables that hold something sealed with the vault key."""
    return (t for t in Base.metadata.sorted_tables if {"ciphertext", "key_id"} <= set(t.c.keys()))


def rotate(
    books: Books,
    path: Path,
    kind: KeyKind,
    *,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Rotated:
    """Make a fresh key of a kind and bring the rows over, or finish a run that was cut short.

    1. Where rows of an older key are left, go on with the key that is current; `fresh` makes a new one still.
    2. Else write the key file with a fresh key, whole or not at all.
    3. Bring the rows over, 500 a transaction. A row that changed meanwhile is left to the next pass.

    Args:
        books: the database.
        path: the key file. It holds secrets: show the recovery copy after every run.
        kind: which kind of key.
        fresh: make a new key even though an earlier rotation is not finished.
        progress: called with (rows moved, rows to move).

    Raises:
        KeyFileError: the file cannot be used, or there is no number left for a key of this kind.
    """
    keys = Keys.load(path)
    with books.read() as session:
        made = fresh or not _left(session, keys, kind)
    if made:
        keys = add_key(path, kind)
    moved, stuck = _bring_over(books, keys, kind, progress) if kind in REWRITTEN else (0, ())
    return Rotated(kind, keys.current(kind).id, made, moved, stuck)


def add_key(path: Path, kind: KeyKind) -> Keys:
    """Add a fresh key to the key file; running processes follow.

    Raises:
        KeyFileError: the file cannot be used, or cannot be written.
    """
    try:
        with keyfile.alone(path):
            keys = Keys.load(path).with_new(kind)
            keyfile.replace(path, keys.to_json())
    except OSError as exc:
        raise KeyFileError(f"{path}: cannot be written ({exc.strerror}); no key was added.") from exc
    return Keys.load(path)


def _left(session: Session, keys: Keys, kind: KeyKind) -> int:
    """Count the rows that an older key made and that can be brought over."""
    if kind not in REWRITTEN:
        return 0
    return session.scalar(select(func.count()).select_from(Person).where(_older(keys, kind))) or 0


def _older(keys: Keys, kind: KeyKind) -> ColumnElement[bool]:
    """Say which rows are to be moved. Without a sealed address a hash cannot be computed anew: it keeps its key."""
    current = keys.current(kind).id
    if kind == "vault":
        return Person.ciphertext.is_not(None) & (Person.key_id != current)
    return Person.ciphertext.is_not(None) & Person.lookup.is_not(None) & (Person.lookup_key != current)


def _bring_over(
    books: Books, keys: Keys, kind: KeyKind, progress: Callable[[int, int], None] | None
) -> tuple[int, tuple[Stuck, ...]]:
    with books.read() as session:
        total = _left(session, keys, kind)
    moved = 0
    while True:  # passes, until one finds nothing more that it can move: a process may have written meanwhile
        before, stuck, after = moved, [], 0
        while rows := _page(books, keys, kind, after):
            changes, damaged = _changes(keys, kind, rows)
            done, twins = _write(books, kind, changes)
            moved += done
            stuck += [*damaged, *twins]
            after = rows[-1].number
            if progress:
                progress(moved, max(total, moved))
        if moved == before:
            return moved, tuple(stuck)


def _page(books: Books, keys: Keys, kind: KeyKind, after: int) -> Sequence[Any]:
    columns = (Person.number, Person.ciphertext, Person.key_id, Person.lookup)
    query = select(*columns).where(_older(keys, kind), Person.number > after)
    with books.read() as session:
        return session.execute(query.order_by(Person.number).limit(PAGE)).all()


def _changes(keys: Keys, kind: KeyKind, rows: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Stuck]]:
    """Compute the new values, outside of any transaction."""
    changes, damaged = [], []
    for row in rows:
        try:
            changes.append(_change(keys, kind, row))
        except (VaultError, KeyFileError, AddressError) as exc:
            damaged.append(Stuck(row.number, str(exc)))
    return changes, damaged


def _change(keys: Keys, kind: KeyKind, row: Any) -> dict[str, Any]:
    sealed = (row.ciphertext, row.key_id)
    if kind == "vault":
        ciphertext, key_id = reseal(keys, sealed, b"person %d" % row.number)
        return {"of": row.number, "was": row.ciphertext, "to": ciphertext, "by": key_id}
    address = read_address(open_(keys, sealed, row.number))
    said = {"to": lookup(keys, address), "by": keys.current("lookup").id, "tag": domain_tag(keys, address)}
    return {"of": row.number, "was": row.lookup, **said}


_PERSON = Person.__table__
assert isinstance(_PERSON, Table)
_RESEALED = (
    update(_PERSON)
    .where(_PERSON.c.number == bindparam("of"), _PERSON.c.ciphertext == bindparam("was"))
    .values(ciphertext=bindparam("to"), key_id=bindparam("by"))
)
_REHASHED = (
    update(_PERSON)
    .where(_PERSON.c.number == bindparam("of"), _PERSON.c.lookup == bindparam("was"))
    .values(lookup=bindparam("to"), lookup_key=bindparam("by"), domain_tag=bindparam("tag"))
)


def _write(books: Books, kind: KeyKind, changes: list[dict[str, Any]]) -> tuple[int, list[Stuck]]:
    """Write a page; a row that is not what it was (erased, moved by another run) stays as it is."""
    with books.write() as session:
        twins = _twins(session, changes) if kind == "lookup" else {}
        wanted = [change for change in changes if change["of"] not in twins]
        done = 0
        if wanted:
            statement = _RESEALED if kind == "vault" else _REHASHED
            done = session.connection().execute(statement, wanted).rowcount
        return done, [
            Stuck(number, f"person {other} has the same address: erase one of the two")
            for number, other in twins.items()
        ]


def _twins(session: Session, changes: list[dict[str, Any]]) -> dict[int, int]:
    """Find people whose address somebody else has under the new key; give who is whose twin."""
    numbers = {change["to"]: change["of"] for change in changes}
    there = session.execute(select(Person.lookup, Person.number).where(Person.lookup.in_(numbers)))
    return {numbers[row.lookup]: row.number for row in there if row.number != numbers[row.lookup]}
