"""Prepared statements say the same as SQLAlchemy's own, on both databases."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, column, inspect, select, table, text, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from digest.store.engine import Database
from subscribers.consent import audience
from subscribers.store.compiled_statements import (
    CompiledStatement,
    build_any_hash_condition,
    convert_column,
    insert_missing,
)
from subscribers.store.models import Person, PersonState, table_of
from tests.moments import RELEASE as NOW

PEOPLE = inspect(Person).local_table
NAMED = (
    select(PEOPLE.c.number, PEOPLE.c.state, PEOPLE.c.choices, PEOPLE.c.asked_at, PEOPLE.c.ciphertext, PEOPLE.c.batch)
    .where(PEOPLE.c.state == PersonState.SUBSCRIBED, PEOPLE.c.asked_at <= bindparam("by"))
    .order_by(PEOPLE.c.number)
    .limit(bindparam("most"))
)
BY = {"by": NOW + timedelta(minutes=10), "most": 7}


@pytest.fixture
def people(database: Database) -> Database:
    """Give a database with twenty people, every third of whom is subscribed."""
    states = (PersonState.SUBSCRIBED, PersonState.WITHDRAWN, PersonState.REQUESTED)
    with database.write() as session:
        session.add_all(
            Person(
                number=n,
                state=states[n % 3],
                choices={"omit": ["events"]} if n % 2 else {},
                asked_at=NOW + timedelta(minutes=n),
                asked_where="hls.today",
                ciphertext=bytes([n]),
            )
            for n in range(1, 21)
        )
    return database


def test_rows_are_the_same_with_the_same_types(people: Database) -> None:
    prepared = CompiledStatement(NAMED)
    with people.read() as session:
        expected = [tuple(row) for row in session.execute(NAMED, BY)]
        for _ in range(2):
            rows = prepared.fetch_rows(session, BY)
            assert [tuple(row) for row in rows] == expected
    assert rows[0].state is PersonState.SUBSCRIBED
    assert rows[0].asked_at.tzinfo is not None
    assert {type(row.choices) for row in rows} == {dict}


def test_a_change_counts_the_rows_that_it_changed_and_belongs_to_the_transaction(people: Database) -> None:
    statement = (
        update(Person)
        .where(PEOPLE.c.number == bindparam("of"), PEOPLE.c.state == PersonState.REQUESTED)
        .values(state=bindparam("to"), asked_at=bindparam("at"))
    )
    rows = [{"of": n, "to": PersonState.SUBSCRIBED, "at": NOW} for n in range(1, 21)]
    with people.read() as session:  # which is rolled back
        assert CompiledStatement(statement).execute_many(session, rows) == 7
    with people.write() as session:
        assert CompiledStatement(statement).execute_many(session, rows) == 7
        assert CompiledStatement(statement).execute_many(session, rows) == 0


def test_a_driver_error_comes_as_sqlalchemy_has_it_and_without_the_values(people: Database) -> None:
    nowhere = CompiledStatement(
        select(column("x")).select_from(table("nowhere")).where(column("x") == bindparam("secret"))
    )
    with people.read() as session, pytest.raises((OperationalError, ProgrammingError)) as caught:
        nowhere.fetch_rows(session, {"secret": "ada@example.org"})
    assert "ada@" not in str(caught.value)


@pytest.mark.takes_turns
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.integers(0, 25), max_size=40))
def test_who_may_still_be_mailed_does_not_depend_on_how_many_are_asked_about(
    people: Database, asked: list[int]
) -> None:
    with people.read() as session:
        assert audience.filter_mailable(session, asked) == {n for n in asked if n % 3 == 0 and 1 <= n <= 20}


@given(st.lists(st.sampled_from(["", "a", "b", 1, 1.0, True, None, b"a"])))
def test_values_are_changed_as_one_by_one(values: list[object]) -> None:
    assert convert_column(values, repr) == [repr(value) for value in values]
    assert convert_column(values, None) == values


def test_of_many_rows_those_are_inserted_that_are_not_there(people: Database) -> None:
    rows = [
        {
            "number": n,
            "state": PersonState.WITHDRAWN,
            "choices": {"omit": ["events"]},
            "asked_at": NOW,
            "asked_where": "a list, with 'quotes' and {braces}",
            "ciphertext": b"\\\0",
            "batch": None,
            "chain_head": "",
        }
        for n in (20, 22, 7, 22, 21)
    ]
    named = ("number", "state", "choices", "asked_at", "asked_where", "ciphertext", "batch")
    query = select(*(PEOPLE.c[name] for name in named)).order_by(PEOPLE.c.number)
    with people.write() as session:
        before = session.execute(query).all()
        insert_missing(session, table_of(Person), rows[:4])
        insert_missing(session, table_of(Person), rows[4:])  # only one, so that no column has two values
    with people.read() as session:
        assert session.execute(query).all() == [*before, *(tuple(rows[n][name] for name in named) for n in (4, 1))]


def test_many_hashes_reach_postgresql_as_an_array_that_is_read_once(postgresql: Database) -> None:
    with postgresql.read() as session:
        query = select(Person.number).where(build_any_hash_condition(session, Person.lookup, ["0a", "1b"]))
        session.execute(text("SET LOCAL enable_indexscan = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        compiled = query.compile(dialect=session.get_bind().dialect)
        plan = "\n".join(session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params).scalars())
    # A text that the database casts to an array would stand here with both casts, and be read anew for each row.
    assert "= ANY ('{0a,1b}'::" in plan, plan
