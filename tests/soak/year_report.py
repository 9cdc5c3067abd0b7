"""The database rows about a late message in the simulated year, for the reader of a failure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, inspect, select
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.send.claims.send_progress import read_progress
from digest.store.delivery_models import Delivery, SendSpacingState
from digest.store.models import Edition, ScheduleSlot
from subscribers.store.models import Base

MAX_LOG_LINES = 25
_EDITION_COLUMNS = ("state", "release_at", "approved_at", "planned_at", "paused_at", "paused_because", "sent_at")


def describe_standstill(
    session: Session, edition: str, numbers: Collection[int], logged: Iterable[Mapping[str, Any]]
) -> str:
    """Describe the deliveries of an edition to these readers, what may hold them up, and the last lines of the log."""
    purpose = make_edition_delivery_purpose(edition)
    counts = {str(state): count for state, count in count_deliveries(session, purpose).by_state.items() if count}
    lines = chain(
        _describe_rows(session, Delivery, Delivery.purpose == purpose, Delivery.person.in_(numbers)),
        _describe_rows(session, Edition, Edition.name == edition, columns=_EDITION_COLUMNS),
        [f"deliveries: {counts}", f"last run: {read_progress(session, edition)}"],
        _describe_rows(session, ScheduleSlot, ScheduleSlot.done_at.is_(None)),
        _describe_rows(session, SendSpacingState),
        (f"log: {dict(line)}" for line in [*logged][-MAX_LOG_LINES:]),
    )
    return "\n  ".join(lines)


def _describe_rows(
    session: Session, model: type[Base], *conditions: ColumnElement[bool], columns: Collection[str] = ()
) -> Iterator[str]:
    names = columns or [column.key for column in inspect(model).columns]
    for row in session.scalars(select(model).where(*conditions)):
        values = {name: getattr(row, name) for name in names}
        yield f"{model.__tablename__}: " + ", ".join(f"{name} {value}" for name, value in values.items() if value)
