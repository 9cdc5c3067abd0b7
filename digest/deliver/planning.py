"""Who is owed an edition: one row a person, written once; and the books over those rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Insert, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from digest.db import Database, Edition, EditionState, Fragment
from digest.deliver.identity import delivery_id, message_id
from digest.deliver.variants import nothing_left, sections_of
from digest.deliver.waves import Issue, released
from digest.delivery_db import Delivery, DeliveryState, DeliveryTotal
from digest.settings import Settings
from subscribers import roll
from subscribers.roll import Reader
from subscribers.vault import Keys

PAGE = 1000  # rows a write transaction
HANDED_OVER = (DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Books:
    """How many deliveries of a purpose stand where. They balance: nobody is lost, nobody counted twice."""

    planned: int
    states: Mapping[DeliveryState, int]

    @property
    def balanced(self) -> bool:
        """Whether planned = waiting + handing over + accepted + refused + uncertain and so on."""
        return self.planned == sum(self.states.values())

    def __getitem__(self, state: DeliveryState) -> int:
        return self.states[state]

    @property
    def open(self) -> int:
        """How many are still to come."""
        return self.states[DeliveryState.WAITING] + self.states[DeliveryState.HANDING_OVER]


def purpose_of(edition: str) -> str:
    """Give the purpose of an edition's deliveries."""
    return f"edition:{edition}"


def plan(database: Database, name: str, keys: Keys, settings: Settings, *, now: datetime) -> Books:
    """Write one delivery for everybody on the roll, in pages of 1,000; a second time changes nothing.

    Once all are written the list is fixed: who subscribes afterwards gets the next edition. A reader whose
    mail is paused, who wants fewer editions, or who left out every section that this one has, gets a row too:
    `skipped`.

    Raises:
        LookupError: there is no edition of that name.
    """
    with database.read() as session:
        edition = _edition(session, name)
        if edition.planned_at is not None:
            return books(session, purpose_of(name))
        rows = _Rows(
            purpose=purpose_of(name),
            keys=keys,
            list_domain=settings.file.sender.list_id,
            sections=_sections(session, edition),
            issue=_issue(session, edition, settings, now),
            today=now.astimezone(settings.file.publication.zone).date(),
            now=now,
        )
    after = 0
    while True:
        with database.read() as session:
            page = roll.page(session, after=after, batch=PAGE)
        if not page:
            return _close(database, name, now)
        written = [rows.of(reader) for reader in page]  # hashing: outside of the write transaction
        with database.write() as session:
            session.execute(_insert(session), written)
        after = page[-1].number


def books(session: Session, purpose: str) -> Books:
    """Count the deliveries of a purpose by state, also those that are totals by now; every state is there."""
    rows = select(Delivery.state, func.count()).where(Delivery.purpose == purpose).group_by(Delivery.state)
    folded = select(DeliveryTotal.state, DeliveryTotal.count).where(DeliveryTotal.purpose == purpose)
    states = dict.fromkeys(DeliveryState, 0)
    for state, count in session.execute(rows.union_all(folded)):
        states[DeliveryState(state)] += count
    name = purpose.removeprefix("edition:")
    planned = session.scalar(select(Edition.planned).where(Edition.name == name)) if name != purpose else None
    return Books(sum(states.values()) if planned is None else planned, states)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the rows of one edition have in common."""

    purpose: str
    keys: Keys
    list_domain: str
    sections: frozenset[str]
    issue: Issue
    today: date
    now: datetime

    def of(self, reader: Reader) -> dict[str, Any]:
        """Give the row for one reader."""
        named = delivery_id(self.keys, self.purpose, reader.number)
        due = self.issue.due(reader.choices)
        skipped = due is None or self._skips(reader)
        return {
            "id": named,
            "purpose": self.purpose,
            "person": reader.number,
            "state": DeliveryState.SKIPPED if skipped else DeliveryState.WAITING,
            "due_at": due or self.now,
            "next_try_at": due or self.now,
            "tries": 0,
            "domain_tag": reader.domain_tag,
            "message_id": message_id(self.purpose, named, self.list_domain),
            "transport": "",
            "reply": "",
        }

    def _skips(self, reader: Reader) -> bool:
        return reader.choices.paused(self.today) or nothing_left(reader.choices, self.sections)


def _edition(session: Session, name: str) -> Edition:
    edition = session.scalar(select(Edition).where(Edition.name == name))
    if edition is None:
        raise LookupError(f"no edition is called {name}")
    return edition


def _issue(session: Session, edition: Edition, settings: Settings, now: datetime) -> Issue:
    went = (Edition.state.in_((EditionState.SENDING, EditionState.SENT)), Edition.id != edition.id)
    before = select(func.max(Edition.release_at)).where(*went, Edition.release_at < edition.release_at)
    previous = session.scalar(before)
    return Issue(released(edition.release_at, now), previous, settings.file.publication.zone)


def _sections(session: Session, edition: Edition) -> frozenset[str]:
    return sections_of(session.scalars(select(Fragment.name).where(Fragment.edition_id == edition.id)))


def _insert(session: Session) -> Insert:
    """Give an INSERT that passes over what is there: an earlier, interrupted planning wrote it."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(Delivery).on_conflict_do_nothing()
    return sqlite.insert(Delivery).on_conflict_do_nothing()


def _close(database: Database, name: str, now: datetime) -> Books:
    with database.write() as session:
        edition = _edition(session, name)
        if edition.planned_at is None:
            found = books(session, purpose_of(name))
            edition.planned, edition.planned_at = found.planned, now
        session.flush()
        return books(session, purpose_of(name))
