"""New keys for old: a fresh key of one kind, and for two kinds the rows brought over to it.

Whatever happens on the way, the installation works: old keys stay in the file, every row names its key, and people
are looked for by all look-up keys. A run that was cut short is finished by the next.

- vault: addresses are encrypted anew, and the network addresses behind consents. What waits sealed for hours or
  days (forms, notices, providers' words) keeps the key that it was sealed with until it goes.
- lookup: people's hashes, and the tags of their domains, are computed anew from the vault.
- token, return-path, session, suppression: nothing is rewritten. Older keys verify what was made with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, Table, Update, bindparam, func, select, update
from sqlalchemy.orm import Session

from subscribers import keyfile
from subscribers.addresses import AddressError, read_address
from subscribers.db import Base, Person, Suppression
from subscribers.signup_db import ConsentTrace
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
    """A row that could not be brought over: which (`person 7`, `trace 12`), and why; it keeps its old key."""

    row: str
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where rows name a key: the number of a row, the key's column, and the value that the key made."""

    what: str
    table: Table
    number: Column[Any]
    key: Column[Any]
    made: Column[Any]

    def older(self, current: str) -> ColumnElement[bool]:
        """Say which rows are to be moved. Without a ciphertext nothing can be computed anew: it keeps its key."""
        return self.table.c.ciphertext.is_not(None) & self.made.is_not(None) & (self.key != current)


def _table(of: type[Base]) -> Table:
    table = of.__table__
    assert isinstance(table, Table)
    return table


_PERSON, _TRACE = _table(Person), _table(ConsentTrace)
_PLACES: dict[KeyKind, tuple[_Place, ...]] = {
    "vault": (
        _Place("person", _PERSON, _PERSON.c.number, _PERSON.c.key_id, _PERSON.c.ciphertext),
        _Place("trace", _TRACE, _TRACE.c.event, _TRACE.c.key_id, _TRACE.c.ciphertext),
    ),
    "lookup": (_Place("person", _PERSON, _PERSON.c.number, _PERSON.c.lookup_key, _PERSON.c.lookup),),
}


def _left(session: Session, keys: Keys, kind: KeyKind) -> int:
    """Count the rows that an older key made and that can be brought over."""
    current = keys.current(kind).id
    counts = [
        select(func.count()).select_from(p.table).where(p.older(current)) for p in _PLACES.get(kind, ())
    ]
    return sum(session.scalar(count) or 0 for count in counts)


def _bring_over(
    books: Books, keys: Keys, kind: KeyKind, progress: Callable[[int, int], None] | None
) -> tuple[int, tuple[Stuck, ...]]:
    with books.read() as session:
        total = _left(session, keys, kind)
    moved = 0
    while True:  # passes, until one finds nothing more that it can move: a process may have written meanwhile
        before, stuck = moved, []
        for place in _PLACES[kind]:
            for done, faults in _pass(books, keys, kind, place):
                moved += done
                stuck += faults
                if progress:
                    progress(moved, max(total, moved))
        if moved == before:
            return moved, tuple(stuck)


def _pass(books: Books, keys: Keys, kind: KeyKind, place: _Place) -> Iterator[tuple[int, list[Stuck]]]:
    """Go once over the rows of a place; give after each page how many were moved, and which could not be."""
    after = 0
    while rows := _page(books, place, keys.current(kind).id, after):
        changes, damaged = _changes(keys, kind, place, rows)
        done, twins = _write(books, kind, place, changes)
        yield done, [*damaged, *twins]
        after = rows[-1].number


def _page(books: Books, place: _Place, current: str, after: int) -> Sequence[Any]:
    columns = (place.number.label("number"), place.made.label("made"), *_sealed(place))
    query = select(*columns).where(place.older(current), place.number > after)
    with books.read() as session:
        return session.execute(query.order_by(place.number).limit(PAGE)).all()


def _sealed(place: _Place) -> tuple[Column[Any], Column[Any]]:
    return place.table.c.ciphertext, place.table.c.key_id


def _changes(
    keys: Keys, kind: KeyKind, place: _Place, rows: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[Stuck]]:
    """Compute the new values, outside of any transaction."""
    changes, damaged = [], []
    for row in rows:
        try:
            changes.append(_change(keys, kind, f"{place.what} {row.number}", row))
        except (VaultError, KeyFileError, AddressError) as exc:
            damaged.append(Stuck(f"{place.what} {row.number}", str(exc)))
    return changes, damaged


def _change(keys: Keys, kind: KeyKind, name: str, row: Any) -> dict[str, Any]:
    sealed = (row.ciphertext, row.key_id)
    if kind == "vault":
        ciphertext, key_id = reseal(keys, sealed, name.encode())
        return {"of": row.number, "was": row.made, "to": ciphertext, "by": key_id}
    address = read_address(open_(keys, sealed, row.number))
    said = {"to": lookup(keys, address), "by": keys.current("lookup").id, "tag": domain_tag(keys, address)}
    return {"of": row.number, "was": row.made, **said}


def _write(
    books: Books, kind: KeyKind, place: _Place, changes: list[dict[str, Any]]
) -> tuple[int, list[Stuck]]:
    """Write a page; a row that is not what it was (erased, moved by another run) stays as it is."""
    with books.write() as session:
        twins = _twins(session, changes) if kind == "lookup" else {}
        wanted = [change for change in changes if change["of"] not in twins]
        done = session.connection().execute(_update(kind, place), wanted).rowcount if wanted else 0
        return done, [
            Stuck(f"person {number}", f"person {other} has the same address: erase one of the two")
            for number, other in twins.items()
        ]


def _update(kind: KeyKind, place: _Place) -> Update:
    values: dict[Column[Any], Any] = {place.made: bindparam("to"), place.key: bindparam("by")}
    if kind == "lookup":
        values[place.table.c.domain_tag] = bindparam("tag")
    same = (place.number == bindparam("of")) & (place.made == bindparam("was"))
    return update(place.table).where(same).values(values)


def _twins(session: Session, changes: list[dict[str, Any]]) -> dict[int, int]:
    """Find people whose address somebody else has under the new key; give who is whose twin."""
    numbers = {change["to"]: change["of"] for change in changes}
    there = session.execute(select(Person.lookup, Person.number).where(Person.lookup.in_(numbers)))
    return {numbers[row.lookup]: row.number for row in there if row.number != numbers[row.lookup]}
