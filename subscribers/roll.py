"""The roll: who may be mailed now."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, inspect, or_, select
from sqlalchemy.orm import Session

from subscribers.choices import Choices
from subscribers.db import ImportBatch, Person, PersonState
from subscribers.prepared import Prepared
from subscribers.vault import Keys, open_

_COLUMNS = (
    Person.number,
    Person.ciphertext,
    Person.key_id,
    Person.choices,
    Person.asked_at,
    Person.asked_where,
    Person.domain_tag,
)

_NONE_MADE = Choices()


@dataclass(frozen=True, slots=True)
class Reader:
    """One person who may be mailed. The address stays sealed until `address` opens it, at handing over."""

    number: int
    sealed: tuple[bytes, str]
    choices: Choices
    asked_at: datetime
    asked_where: str
    domain_tag: str | None

    def address(self, keys: Keys) -> str:
        """Open the address.

        Raises:
            VaultError: it does not open.
        """
        return open_(keys, self.sealed, self.number)


def stream(session: Session, *, after: int = 0, batch: int = 1000) -> Iterator[Reader]:
    """Give everyone who may be mailed, in the order of their numbers, from the one that follows `after`.

    Pages are cut by number, so that a page costs the same wherever it lies and memory stays flat. A page is
    read when it is reached: somebody who left meanwhile is not in it.
    """
    while found := page(session, after=after, batch=batch):
        yield from found
        after = found[-1].number


def page(session: Session, *, after: int = 0, batch: int = 1000) -> list[Reader]:
    """Give the next people who may be mailed, by number."""
    query = select(*_COLUMNS).where(_may_mail(), Person.number > after).order_by(Person.number).limit(batch)
    return [_reader(row) for row in session.execute(query)]


def readers(session: Session, numbers: Collection[int]) -> dict[int, Reader]:
    """Give those of `numbers` (at most 1,000) who may be mailed now; the others are simply missing."""
    query = select(*_COLUMNS).where(_may_mail(), Person.number.in_(numbers))
    return {row.number: _reader(row) for row in session.execute(query)}


def columns() -> tuple[ColumnElement[Any], ...]:
    """Give the columns to join where the reader belonging to a row is wanted with it; see `reader`."""
    table = inspect(Person).local_table
    return (*(table.c[c.key] for c in _COLUMNS), _may_mail().label("may_mail"))


def reader(row: Any) -> Reader | None:
    """Read the reader out of a row that was asked for with `columns`; None where they may not be mailed now."""
    return _reader(row) if row.may_mail else None


def still(session: Session, numbers: Collection[int]) -> frozenset[int]:
    """Give those of `numbers` (at most 1,000) who may be mailed at this moment: asked at handing over."""
    wanted = list(numbers)
    if not wanted:
        return frozenset()
    size = 1 << (len(wanted) - 1).bit_length()
    padded = wanted + wanted[:1] * (size - len(wanted))
    rows = _still(size).rows(session, {f"n{at}": number for at, number in enumerate(padded)})
    return frozenset(row.number for row in rows)


def may_mail(session: Session, number: int) -> bool:
    """Say whether one person may be mailed at this moment."""
    return number in still(session, (number,))


def count(session: Session) -> int:
    """Say how many may be mailed now."""
    return session.scalar(select(func.count()).select_from(Person).where(_may_mail())) or 0


def standings(session: Session) -> dict[PersonState, int]:
    """Count people by where they stand; every state is there, also with nobody in it.

    The people of an import that was not finished are in no count yet.
    """
    query = select(Person.state, func.count()).where(of_finished_imports()).group_by(Person.state)
    counted = {row[0]: row[1] for row in session.execute(query)}
    return {state: counted.get(state, 0) for state in PersonState}


@cache
def _still(size: int) -> Prepared:
    """Give the query for so many numbers; the sizes are powers of two, so that there are few."""
    wanted = [bindparam(f"n{at}", required=True, type_=Person.number.type) for at in range(size)]
    return Prepared(
        select(inspect(Person).local_table.c.number).where(_may_mail(), Person.number.in_(wanted))
    )


def _may_mail() -> ColumnElement[bool]:
    """The one rule. Whoever is suppressed has that as their state: `suppression.suppress` sees to it."""
    return (Person.state == PersonState.SUBSCRIBED) & of_finished_imports()


def of_finished_imports() -> ColumnElement[bool]:
    """Leave out the people of imports that are not done: a crash must not leave half a list to be mailed."""
    unfinished = select(ImportBatch.id).where(ImportBatch.done_at.is_(None))
    return or_(Person.batch.is_(None), Person.batch.not_in(unfinished))


def _reader(row: Any) -> Reader:
    return Reader(
        number=row.number,
        sealed=(row.ciphertext, row.key_id),
        choices=Choices.from_json(row.choices) if row.choices else _NONE_MADE,
        asked_at=row.asked_at,
        asked_where=row.asked_where,
        domain_tag=row.domain_tag,
    )
