"""The staff: who works on the newsletter, and whether an address is theirs.

A member's address stands in the clear in the staff table and nowhere else. The audit log, chains and logs name a
member by number (`staff 3`), so a row stays when somebody goes. Accounts and passwords come later.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from digest.db import Audit
from digest.delivery_db import Delivery, DeliveryState, Notice, Staff
from subscribers import onetime
from subscribers.addresses import Address, AddressError, read_address
from subscribers.notes import Note, Queue
from subscribers.onetime import Standing
from subscribers.signup_db import OneTime

Role = Literal["editor", "admin"]
LIFE = timedelta(days=7)  # of the link that proves an address
PURPOSE: onetime.Purpose = "staff address"


class StaffError(Exception):
    """It cannot be done to the staff; the message says why and what to do, and holds no address."""


class Stage(StrEnum):
    """How a link that proves an address stands."""

    UNKNOWN = "unknown"
    OPEN = "open"  # the button works
    PROVEN = "proven"
    OVER = "over"  # it ran out, a newer one took its place, or the member is gone


@dataclass(frozen=True, slots=True)
class Link:
    """A link looked up, with whose address it proves where that is known."""

    stage: Stage
    member: Staff | None = None
    until: datetime | None = None


def actor_of(member: Staff) -> str:
    """Name a member as the audit log does: `staff 3`."""
    return f"staff {member.id}"


def named(session: Session, email: str) -> Staff | None:
    """Find who is on the staff by an address, in any spelling that mail systems take for the same."""
    try:
        address = read_address(email)
    except AddressError:
        return None
    return session.scalar(select(Staff).where(Staff.email == address.canonical, Staff.removed_at.is_(None)))


def listed(session: Session, *, with_gone: bool = False) -> list[Staff]:
    """Give the staff by number; `with_gone` also those who were."""
    query = select(Staff).order_by(Staff.id)
    return list(session.scalars(query if with_gone else query.where(Staff.removed_at.is_(None))))


def proven(session: Session) -> list[Staff]:
    """Give those of the staff who have answered from their address, by number."""
    return [member for member in listed(session) if member.proven_at]


def add(session: Session, address: Address, role: Role, queue: Queue, *, actor: str, now: datetime) -> Staff:
    """Take somebody on, and queue the mail with the link that proves the address. Who comes back keeps their number.

    Raises:
        StaffError: the address is on the staff already.
    """
    email = address.canonical
    member = session.scalar(select(Staff).where(Staff.email == email).with_for_update())
    if member is not None and member.removed_at is None:
        raise StaffError(
            f"{actor_of(member)} has this address already, as {member.role}. For another role remove and add them; "
            "'digest staff prove' mails the link again."
        )
    if member is None:
        member = Staff(email=email)
        session.add(member)
    member.role, member.added_at, member.added_by = role, now, actor
    member.proven_at = member.removed_at = None
    session.flush()
    _note(session, "staff added", member, {"role": role}, actor=actor, now=now)
    _mail(session, member, queue, now=now)
    return member


def mail_link(session: Session, member: Staff, queue: Queue, *, actor: str, now: datetime) -> None:
    """Mail a member the link anew; earlier links end.

    Raises:
        StaffError: the address is proven.
    """
    if member.proven_at is not None:
        raise StaffError(f"{actor_of(member)} has proven the address on {member.proven_at:%Y-%m-%d} (UTC).")
    _note(session, "staff link mailed", member, {}, actor=actor, now=now)
    _mail(session, member, queue, now=now)


def remove(session: Session, member: Staff, *, actor: str, now: datetime) -> None:
    """Let a member go: no link of theirs works, and no mail goes to them any more."""
    _end_links(session, member, now)
    member.removed_at, member.proven_at = now, None
    _note(session, "staff removed", member, {"role": member.role}, actor=actor, now=now)


def look(session: Session, token: str, *, now: datetime) -> Link:
    """Say how a link stands; nothing is changed."""
    found = onetime.look(session, token, PURPOSE, now=now)
    if found.standing is Standing.UNKNOWN:
        return Link(Stage.UNKNOWN)
    member = session.get_one(Staff, int(found.serial), populate_existing=True)
    if found.standing is Standing.FRESH:
        return Link(Stage.OPEN, member, found.expires_at)
    if found.standing is Standing.USED and member.proven_at is not None:
        return Link(Stage.PROVEN, member)
    return Link(Stage.OVER, member, found.expires_at)


def prove(session: Session, token: str, *, now: datetime) -> Link:
    """Take the press of the button: the address is proven. Twice is once."""
    used = onetime.use(session, token, PURPOSE, now=now)
    if used.standing is Standing.FRESH:
        member = session.get_one(Staff, int(used.serial), with_for_update=True)
        member.proven_at = now
        _note(session, "staff address proven", member, {}, actor=actor_of(member), now=now)
    return look(session, token, now=now)


def _mail(session: Session, member: Staff, queue: Queue, *, now: datetime) -> None:
    _end_links(session, member, now)
    ends = now + LIFE
    token = onetime.issue(session, PURPOSE, None, now=now, expires_at=ends, serial=str(member.id))
    facts = {"to": member.email, "token": token, "expires_at": ends.isoformat(), "role": member.role}
    queue(session, Note("staff", None, f"{member.id}-{secrets.token_hex(6)}", facts))


def _end_links(session: Session, member: Staff, now: datetime) -> None:
    """End the links of a member that are open, and withdraw the mails with one that have not gone out."""
    unsynchronized = {"synchronize_session": False}
    mine = (OneTime.purpose == PURPOSE, OneTime.serial == str(member.id), OneTime.ended_at.is_(None))
    session.execute(update(OneTime).where(*mine).values(ended_at=now), execution_options=unsynchronized)
    waiting = (
        Delivery.id.in_(select(Notice.delivery).where(Notice.kind == "staff")),
        Delivery.purpose.startswith(f"staff:{member.id}-", autoescape=True),
        Delivery.state == DeliveryState.WAITING,
    )
    ids = list(session.scalars(select(Delivery.id).where(*waiting).with_for_update()))
    session.execute(delete(Notice).where(Notice.delivery.in_(ids)), execution_options=unsynchronized)
    withdrawn = update(Delivery).where(Delivery.id.in_(ids)).values(state=DeliveryState.WITHDRAWN)
    session.execute(withdrawn, execution_options=unsynchronized)


def _note(
    session: Session, act: str, member: Staff, detail: dict[str, str], *, actor: str, now: datetime
) -> None:
    session.add(Audit(at=now, actor=actor, act=act, subject=actor_of(member), detail=detail))
    session.flush()
