"""The audience: the people who may be emailed now, computed from the ledger and the suppression list."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    String,
    Text,
    any_,
    bindparam,
    cast,
    func,
    inspect,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from subscribers.consent.preferences import Preferences, PreferencesError
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.crypto.stored_addresses import decrypt_address, matches_lookup
from subscribers.store.compiled_statements import CompiledStatement
from subscribers.store.database import is_postgresql
from subscribers.store.models import ImportBatch, Person, PersonState

_MEMBER_COLUMNS = (
    Person.number,
    Person.ciphertext,
    Person.key_id,
    Person.lookup,
    Person.lookup_key,
    Person.choices,
    Person.asked_at,
    Person.asked_where,
    Person.domain_tag,
    Person.link_generation,
)
_PREFERENCES_COLUMNS = (Person.number, Person.choices, Person.domain_tag)

_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class AudienceMember:
    """A person who may be emailed.

    The address stays encrypted until `decrypt_address` is called when the email is submitted.
    """

    number: int
    encrypted_address: tuple[bytes, str]
    preferences: Preferences
    asked_at: datetime
    asked_where: str
    domain_tag: str | None
    lookup: tuple[str | None, str | None]  # a hash, and the ID of its key
    link_generation: int = 0

    def decrypt_address(self, keys: KeyRing) -> str:
        """Return the decrypted address, in ASCII.

        Raises:
            DecryptionError: it can't be decrypted, or doesn't match the lookup hash in the
                row.
        """
        mailbox = decrypt_address(keys, self.encrypted_address, self.number)
        if not matches_lookup(keys, mailbox, *self.lookup):
            raise DecryptionError(f"The address of person {self.number} doesn't match its lookup hash")
        return mailbox


@dataclass(frozen=True, slots=True)
class MemberPreferences:
    """The preferences that determine whether and when a person in the audience receives an edition."""

    number: int
    preferences: Preferences
    domain_tag: str | None


def load_audience_page(
    session: Session,
    *,
    after_number: int = 0,
    page_size: int = 1000,
) -> list[AudienceMember]:
    """Return the next page of people who may be emailed, ordered by number."""
    parameters = {"after_number": after_number, "page_size": page_size}
    return [_build_member(row) for row in _compile_page_query(_MEMBER_COLUMNS).fetch_rows(session, parameters)]


def load_preferences_page(session: Session, *, after_number: int, page_size: int) -> list[MemberPreferences]:
    """Return the preferences of the next page of people who may be emailed, ordered by number."""
    parameters = {"after_number": after_number, "page_size": page_size}
    rows = _compile_page_query(_PREFERENCES_COLUMNS).fetch_rows(session, parameters)
    return [MemberPreferences(row.number, _read_preferences(row), row.domain_tag) for row in rows]


def load_people_page(
    session: Session, conditions: Sequence[ColumnElement[bool]], *, after_number: int
) -> list[AudienceMember]:
    """Return the next 1,000 people who meet all conditions, ordered by number.

    People who may not be emailed are included, but people of unfinished imports are omitted.
    """
    query = select(*_get_table_columns(_MEMBER_COLUMNS)).where(
        *conditions, build_finished_import_condition(), Person.number > after_number
    )
    return [_build_member(row) for row in session.execute(query.order_by(Person.number).limit(1000))]


def build_audience_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns that `read_audience_member` needs, for joining to another query."""
    return (*_get_table_columns(_MEMBER_COLUMNS), build_mailable_person_condition().label("may_mail"))


def _get_table_columns(columns: Iterable[InstrumentedAttribute[Any]]) -> tuple[ColumnElement[Any], ...]:
    table = inspect(Person).local_table
    return tuple(table.c[column.key] for column in columns)


@cache
def _compile_page_query(columns: tuple[InstrumentedAttribute[Any], ...]) -> CompiledStatement:
    numbered = bindparam("after_number", type_=Person.number.type)
    query = select(*_get_table_columns(columns)).where(build_mailable_person_condition(), Person.number > numbered)
    return CompiledStatement(query.order_by(Person.number).limit(bindparam("page_size")))


def read_audience_member(row: Any) -> AudienceMember | None:
    """Return the audience member in a row, or None if that person may not be emailed now.

    The row must have been selected with `build_audience_columns`.
    """
    return _build_member(row) if row.may_mail else None


def filter_mailable(session: Session, numbers: Collection[int]) -> frozenset[int]:
    """Return the people in `numbers` (at most 1,000) who may be emailed now.

    This is checked again when an email is submitted.
    """
    connection = session.connection()
    query = _compile_mailable_query(connection.dialect.name)
    return frozenset(row.number for row in query.fetch_rows(session, bind_person_numbers(connection, numbers)))


def build_mailable_numbers_condition(dialect_name: str) -> ColumnElement[bool]:
    """Return the condition that a person may be emailed and is among those passed to `bind_person_numbers`."""
    is_among = Person.number == any_(bindparam("numbers", type_=ARRAY(Person.number.type)))
    if dialect_name != "postgresql":
        is_among = Person.number.in_(
            select(func.json_each(bindparam("numbers", type_=String())).table_valued("value").c.value)
        )
    return build_mailable_person_condition() & is_among


def bind_person_numbers(connection: Connection, numbers: Collection[int]) -> dict[str, Any]:
    """Return the parameter for `build_mailable_numbers_condition`.

    There's only one, so that the statement never changes.
    """
    return {"numbers": list(numbers) if is_postgresql(connection) else json.dumps(list(numbers))}


def may_email_person(session: Session, number: int) -> bool:
    """Return True if a person may be emailed now."""
    return number in filter_mailable(session, (number,))


def count_audience(session: Session) -> int:
    """Return the number of people who may be emailed now."""
    return count_people_by_state(session)[PersonState.SUBSCRIBED]


def count_people_by_state(session: Session) -> dict[PersonState, int]:
    """Return the number of people in each state, including 0 for empty states.

    People of unfinished imports aren't counted. They're subtracted from the total, which is read
    from an index.
    """
    everybody = select(Person.state, func.count()).group_by(Person.state)
    not_yet = select(Person.state, -func.count()).where(Person.batch.in_(_unfinished_imports())).group_by(Person.state)
    counted = dict.fromkeys(PersonState, 0)
    for state, count in session.execute(everybody.union_all(not_yet)):
        counted[state] += count
    return counted


def count_preferences(session: Session) -> Iterator[tuple[Preferences, int]]:
    """Yield each set of preferences, paired with the number of people who have it and may be emailed.

    Unreadable preferences are skipped.
    """
    stored = cast(Person.choices, Text)
    query = select(stored, func.count()).where(build_mailable_person_condition()).group_by(stored)
    for text, people in session.execute(query):
        try:
            yield Preferences.from_json(json.loads(text)), people
        except (ValueError, RecursionError, PreferencesError):
            continue


@cache
def _compile_mailable_query(dialect_name: str) -> CompiledStatement:
    return CompiledStatement(
        select(inspect(Person).local_table.c.number).where(build_mailable_numbers_condition(dialect_name))
    )


def build_mailable_person_condition() -> ColumnElement[bool]:
    """Return the condition that a person belongs to the audience.

    Suppression is a person's state because `suppression.suppress_address` sets it.
    """
    return (Person.state == PersonState.SUBSCRIBED) & build_finished_import_condition()


def build_finished_import_condition() -> ColumnElement[bool]:
    """Return the condition that excludes people added by unfinished imports.

    After a crash, half a list must not be emailed.
    """
    return or_(Person.batch.is_(None), Person.batch.not_in(_unfinished_imports()))


def _unfinished_imports() -> Select[int]:
    return select(ImportBatch.id).where(ImportBatch.done_at.is_(None))


def _build_member(row: Any) -> AudienceMember:
    return AudienceMember(
        number=row.number,
        encrypted_address=(row.ciphertext, row.key_id),
        preferences=_read_preferences(row),
        asked_at=row.asked_at,
        asked_where=row.asked_where,
        domain_tag=row.domain_tag,
        lookup=(row.lookup, row.lookup_key),
        link_generation=row.link_generation,
    )


def _read_preferences(row: Any) -> Preferences:
    return _NO_PREFERENCES if row.choices == {} else Preferences.from_stored(row.choices)
