"""What an admin does to the staff. Their addresses stand in the staff table, and nowhere in the audit log."""

from datetime import datetime

from sqlalchemy.orm import Session

from digest.app.acts import Act, Actor, Role
from digest.app.installation import Installation
from digest.deliver.send.notices import make_notice_queue
from digest.store import staff
from digest.store.delivery_models import StaffMember
from subscribers.address import Address
from subscribers.mail_requests import QueueMail

ADD = Act("staff added", Role.ADMIN)
REMOVE = Act("staff removed", Role.ADMIN)
MAIL_LINK = Act("staff link mailed", Role.ADMIN)
LIST = Act("staff listed", Role.ADMIN)
AUDIT_SUBJECT = "staff"


def add_staff_member(
    installation: Installation, actor: Actor, address: Address, role: staff.StaffRole, *, now: datetime
) -> StaffMember:
    """Take somebody on to the staff, and queue the mail with the link that proves the address.

    Raises:
        NotPermittedError: the actor is no admin.
        StaffError: the address is on the staff already.
    """
    with ADD.transaction(installation.database, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        queue = _notice_queue(installation, now)
        member = staff.add_staff_member(session, address, role, queue, actor=actor.name, now=now)
        draft.changed = False  # the store writes the row
        return member


def remove_staff_member(installation: Installation, actor: Actor, address: Address, *, now: datetime) -> StaffMember:
    """Let a member go: no link of theirs works, and no mail goes to them any more.

    Raises:
        NotPermittedError: the actor is no admin.
        StaffError: nobody on the staff has the address.
    """
    with REMOVE.transaction(installation.database, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = _find_member(session, address)
        staff.remove_staff_member(session, member, actor=actor.name, now=now)
        draft.changed = False
        return member


def mail_proof_link(installation: Installation, actor: Actor, address: Address, *, now: datetime) -> None:
    """Mail a member the link that proves the address anew; earlier links end.

    Raises:
        NotPermittedError: the actor is no admin.
        StaffError: nobody on the staff has the address, or it is proven.
    """
    with MAIL_LINK.transaction(installation.database, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = _find_member(session, address)
        staff.mail_proof_link(session, member, _notice_queue(installation, now), actor=actor.name, now=now)
        draft.changed = False


def look_up_proof_link(installation: Installation, token: str, *, now: datetime) -> staff.ProofLink:
    """Say how the link that proves an address stands; nothing is changed."""
    with installation.database.read() as session:
        return staff.look_up_proof_link(session, token, now=now)


def prove_staff_address(installation: Installation, token: str, *, now: datetime) -> staff.ProofLink:
    """Prove a member's address by the link that was mailed to it. The member is the actor; twice is once."""
    with installation.database.write() as session:
        return staff.prove_staff_address(session, token, now=now)


def list_staff_members(
    installation: Installation, actor: Actor, *, include_removed: bool, now: datetime
) -> list[StaffMember]:
    """List the staff by number; `include_removed` also those who were on it.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    LIST.check_role(installation.database, actor, AUDIT_SUBJECT, now=now)
    with installation.database.read() as session:
        return staff.list_staff_members(session, include_removed=include_removed)


def _notice_queue(installation: Installation, now: datetime) -> QueueMail:
    return make_notice_queue(installation.keys, installation.settings, lambda: now)


def _find_member(session: Session, address: Address) -> StaffMember:
    member = staff.find_staff_member(session, address.mailbox)
    if member is None:
        raise staff.StaffError("Nobody on the staff has this address. See 'digest staff list'.")
    return member
