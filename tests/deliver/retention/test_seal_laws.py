"""The seals of deliveries stay valid through every operation, and fail if a single row is changed from outside."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.deliver.compose.identifiers import make_delivery_id
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, build_resolution_values
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState
from subscribers.consent import seals
from subscribers.store.models import Disclosure, DisclosureTotal, ListExport, table_of
from tests.deliver.conftest import DeliverySetup
from tests.deliver.retention.test_delivery_seals import add_notice, disclose, erase, find_faults, fold, seal
from tests.moments import RELEASE
from tests.run_database import PARAMETER_KINDS

STATES = (DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN, DeliveryState.SKIPPED)
TABLES = (Delivery, Disclosure, DisclosureTotal, ListExport)
OPEN_WHILE_UNCERTAIN = frozenset({"transport", "handed_at", "first_handed_at"})
EVIDENCE = {
    Delivery: ("purpose", "person", "message_id", "salt", "commitment", "sealed_in", *sorted(OPEN_WHILE_UNCERTAIN)),
    Disclosure: ("person", "at", "to_whom", "why", "reference", "salt", "commitment", "sealed_in"),
    DisclosureTotal: ("person", "to_whom", "why", "times", "first_at", "last_at", "salt", "commitment"),
    ListExport: ("at", "to_whom", "why", "reference", "done_at", "people", "parts_hash", "salt", "commitment"),
}


class Years:
    """A few years of an installation, by chance; what was ever uncertain is remembered."""

    def __init__(self, world: DeliverySetup, chance: Random) -> None:
        self.world, self.chance, self.step = world, chance, 0
        self.people = world.add_subscribers(*(f"r{n}@example.org" for n in range(6)))
        self.uncertain: set[str] = set()

    def send(self) -> None:
        name = f"20{10 + self.step}-W01"
        with self.world.database.write() as session:
            when = dict.fromkeys(("opens_at", "cut_off", "release_at", "drafted_at"), RELEASE)
            state = self.chance.choice([EditionState.SENT, EditionState.SENT, EditionState.SENDING])
            edition = Edition(
                slot=name, name=name, number=self.step, state=state, content={}, planned=9, planned_at=RELEASE, **when
            )
            session.add(edition)
            for number in self.people:
                self._add_delivery(session, make_edition_delivery_purpose(name), number)

    def _add_delivery(self, session: Session, purpose: str, number: int) -> None:
        state, at = self.chance.choice(STATES), RELEASE + timedelta(days=self.chance.randrange(200))
        handed = None if state is DeliveryState.SKIPPED else at
        row = Delivery(
            id=make_delivery_id(self.world.keys, purpose, number), purpose=purpose, person=number, state=state
        )
        row.due_at = row.next_try_at = at
        row.handed_at = row.first_handed_at = handed
        row.transport = "smtp" if handed else ""
        session.add(row)
        if state is DeliveryState.UNCERTAIN:
            self.uncertain.add(row.id)

    def notify(self) -> None:
        with self.world.database.write() as session:
            at = RELEASE + timedelta(days=self.chance.randrange(200))
            add_notice(session, self.chance.choice([*self.people, None]), self.step, handed_at=at, first_handed_at=at)

    def look(self) -> None:
        disclose(self.world, self.chance.sample(self.people, min(2, len(self.people))))

    def erase(self) -> None:
        if len(self.people) > 3:
            erase(self.world, self.people.pop(self.chance.randrange(len(self.people))))

    def seal(self) -> None:
        seal(self.world)

    def fold(self) -> None:
        fold(self.world, days=self.chance.randrange(-250, 100))

    def finish(self) -> None:
        with self.world.database.write() as session:
            session.execute(update(Edition).values(state=EditionState.SENT))

    def resolve(self) -> None:
        with self.world.database.write() as session:
            doubts = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.UNCERTAIN)).all()
            for row in self.chance.sample(doubts, len(doubts) // 2):
                how = self.chance.choice([UncertainResolution.ACCEPTED, UncertainResolution.SEND_AGAIN])
                for column, value in build_resolution_values(how, row.due_at, RELEASE).items():
                    setattr(row, column, value)
                if row.state is DeliveryState.WAITING:  # and it's sent again, for the first time that anybody knows of
                    row.state, row.handed_at = DeliveryState.ACCEPTED, RELEASE + timedelta(days=90)

    def bounce(self) -> None:
        with self.world.database.write() as session:
            taken = select(Delivery.id).where(Delivery.state == DeliveryState.ACCEPTED).order_by(Delivery.id).limit(1)
            values = {"state": DeliveryState.REFUSED, "reply": "550"}
            session.execute(update(Delivery).where(Delivery.id.in_(taken)).values(**values))


# A few are enough on the second database: what is drawn doesn't depend on it.
SEEDS = [(kind, seed) for kind, seeds in zip(PARAMETER_KINDS, (3, 1), strict=False) for seed in range(seeds)]


@pytest.mark.parametrize(("database", "seed"), SEEDS, indirect=["database"])
def test_seals_hold_whatever_happens_and_break_by_any_change_of_a_row(world: DeliverySetup, seed: int) -> None:
    chance = Random(seed)
    years = Years(world, chance)
    acts: list[Callable[[], None]] = [years.notify, years.look, years.erase, years.fold, years.resolve, years.bounce]
    for years.step in range(1, 25):
        chance.choice([*acts, years.send, years.send, years.seal, years.seal, years.finish])()
        assert find_faults(world) == (), years.step
    years.step += 1
    years.send()
    years.notify()
    years.look()
    years.finish()
    years.seal()
    assert find_faults(world) == ()
    tampered = 0
    for _ in range(40):
        with world.database.read() as session:  # whatever is changed is rolled back
            if changed := _tamper(session, chance, years.uncertain):
                tampered += 1
                proof = seals.verify_ledger(session, world.keys, tables=SEALED_TABLES)
                assert proof.disclosure_faults, changed
    assert tampered > 20
    assert find_faults(world) == ()


def _tamper(session: Session, chance: Random, uncertain: set[str]) -> str:
    """Change a column of a sealed row, or delete the row; say which, or nothing where there is none to change."""
    table = table_of(chance.choice(TABLES))
    sealed = select(table).where(table.c.salt.is_not(None)).order_by(table.c.id)
    rows = session.execute(sealed).mappings().all()
    if not rows:
        return ""
    row, column = chance.choice(rows), chance.choice([None, *EVIDENCE[_model(table.name)]])
    if column is None:
        if table.name == "list_export":
            return ""  # its parts lead to it
        session.execute(delete(table).where(table.c.id == row["id"]))
        return f"{table.name} deleted"
    if column in OPEN_WHILE_UNCERTAIN and row["id"] in uncertain:
        return ""
    value = _another(session, column, row[column], chance)
    try:
        session.execute(update(table).where(table.c.id == row["id"]).values({column: value}))
    except IntegrityError:  # the database itself doesn't have it
        return ""
    return f"{table.name}.{column}" if value != row[column] else ""


def _model(name: str) -> Any:
    return next(model for model in TABLES if model.__tablename__ == name)


def _another(session: Session, column: str, value: Any, chance: Random) -> Any:
    if column == "person":
        return chance.choice([None, session.scalar(select(func.max(Delivery.person)))])
    ways: dict[str, list[Any]] = {
        "salt": [None, b"another salt    "],
        "sealed_in": [None, 4711],
        "commitment": ["0" * 64],
        "parts_hash": ["0" * 64],
    }
    if column in ways:
        return chance.choice(ways[column])
    if isinstance(value, int):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(milliseconds=1)
    return RELEASE if value is None else f"{value}x"
