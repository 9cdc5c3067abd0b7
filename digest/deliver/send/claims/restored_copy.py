"""Marking the bulk email of a restored copy as uncertain, because it may have been sent after the backup was made.

Deliveries that were due between the backup and the restore become `uncertain`. A log, events, or an
admin's decision resolves them like any other uncertain delivery.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, true, update
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import IS_RESERVED, IS_UNCERTAIN, IS_WAITING, is_bulk_delivery
from digest.store.delivery_models import Delivery, DeliveryState

GAP_STATE_KEY = "restored"
_REPLY = "not sent when the backup was made; it may have been sent since"


@dataclass(frozen=True, slots=True)
class RestoreGap:
    """The period between a backup and its restore, which a restored copy has no records of."""

    made_at: datetime
    restored_at: datetime

    def build_uncertain_values(self) -> dict[str, Any]:
        """Return the column values for a delivery that may have been sent in this period."""
        return {
            "state": DeliveryState.UNCERTAIN,
            "handed_at": self.made_at,
            "lease_until": self.restored_at,
            "owner": None,
            "reply": _REPLY,
        }


def mark_open_deliveries_uncertain(session: Session, gap: RestoreGap) -> dict[str, int]:
    """Mark the bulk email due by the end of the gap as `uncertain`, and count uncertain deliveries by purpose.

    The gap is recorded, too. Deliveries due after the restore can't have been sent, so they keep
    waiting. Deliveries that were already uncertain may have been sent again, so they remain uncertain.
    """
    was_due = IS_WAITING & (Delivery.due_at <= gap.restored_at)
    earliest = case((Delivery.due_at > gap.made_at, Delivery.due_at), else_=gap.made_at)
    session.execute(
        update(Delivery).where(IS_RESERVED).values(state=DeliveryState.WAITING, owner=None, lease_until=None)
    )
    session.execute(
        update(Delivery)
        .where(is_bulk_delivery(), was_due)
        .values(gap.build_uncertain_values() | {"handed_at": earliest})
    )
    handed_over = Delivery.state.in_((DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN))
    still_open = {"state": DeliveryState.UNCERTAIN, "owner": None, "lease_until": gap.restored_at}
    session.execute(update(Delivery).where(is_bulk_delivery(), handed_over).values(still_open))
    newest = session.scalar(select(func.max(Delivery.handed_at)))
    times = {
        "made_at": gap.made_at.isoformat(),
        "restored_at": gap.restored_at.isoformat(),
        "unknown_until": max(filter(None, (gap.made_at, gap.restored_at, newest))).isoformat(),
    }
    installation_hold.write_installation_value(session, GAP_STATE_KEY, times, now=gap.restored_at)
    uncertain = select(Delivery.purpose, func.count()).where(is_bulk_delivery(), IS_UNCERTAIN)
    return dict(session.execute(uncertain.group_by(Delivery.purpose)).all())


def build_uncertain_delivery_columns(session: Session, made_at: datetime) -> dict[str, Any]:
    """Return the column values for newly planned deliveries of an email made at `made_at`.

    They're empty unless the database was restored after that. If it was, the installation may have
    planned and sent the email before it was lost. Deliveries have the same IDs whenever they're
    planned, so a log can show whether they were sent. The time of planning doesn't matter, because
    the clock may have been set back after the restore.
    """
    gap = read_restore_gap(session)
    return gap.build_uncertain_values() if gap and made_at <= gap.restored_at else {}


def build_known_handover_condition(session: Session) -> ColumnElement[bool]:
    """Return the condition that a delivery was last handed over after the last restore, so that its result is known.

    A handover recorded in the backup doesn't count, even if the clock was set back afterward and
    the restore seems to be older.
    """
    stored = installation_hold.read_installation_value(session, GAP_STATE_KEY)
    if stored is None:
        return true()
    return Delivery.handed_at > datetime.fromisoformat(stored["unknown_until"])


def read_restore_gap(session: Session) -> RestoreGap | None:
    """Return the gap of the last restore, or None if the database was never restored."""
    stored = installation_hold.read_installation_value(session, GAP_STATE_KEY)
    if stored is None:
        return None
    return RestoreGap(datetime.fromisoformat(stored["made_at"]), datetime.fromisoformat(stored["restored_at"]))
