"""Staff management by admins. Addresses are stored only in the staff table, never in the audit log."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.accounts.own_account import delete_sign_in_methods, refuse_taken_name, require_plain_person_name
from digest.app.accounts.sign_in_log import RefusedSignInCounts, count_recent_refusals
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.store import staff
from digest.store.account_models import AuthenticatorApp, Passkey, SignInAttempt
from digest.store.audit import INVITATION_CHANGED, ROLE_CHANGED, SIGN_IN_RESET, SIGNED_OUT, STAFF_ADDED, STAFF_REMOVED
from digest.store.delivery_models import StaffMember
from digest.store.staff_sessions import end_sessions
from subscribers.address import Address, read_address
from subscribers.english_text import count_with_noun
from subscribers.store.keyed_row_seals import filter_genuine_rows

ADD = Action(STAFF_ADDED)
REMOVE = Action(STAFF_REMOVED)
MAIL_LINK = Action("staff link mailed")
LIST = Action("staff listed")
CHANGE_ROLE = Action(ROLE_CHANGED)
SIGN_OUT = Action(SIGNED_OUT)
RESET = Action(SIGN_IN_RESET)
AUDIT_SUBJECT = "staff"
STAFF_ROLES: dict[str, staff.StaffRole] = {"editor": "editor", "admin": "admin"}


@dataclass(frozen=True, slots=True)
class StaffOverview:
    """A staff member, a description of their sign-in methods, and their latest sign-in."""

    member: StaffMember
    ways: tuple[str, ...]
    last_sign_in: datetime | None

    @property
    def is_invited(self) -> bool:
        """True if the member hasn't accepted the invitation and hasn't signed in any other way."""
        return not (self.member.proven_at or self.ways or self.last_sign_in)


def add_staff_member(
    installation: Installation, actor: Actor, address: Address, role: staff.StaffRole, *, name: str = "", now: datetime
) -> StaffMember:
    """Add a staff member and queue an invitation.

    Its link verifies the address and signs the member in.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: the address already belongs to a staff member.
        OwnAccountError: the name isn't a person's name, or a colleague has it.
    """
    name = require_plain_person_name(name)
    with ADD.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        refuse_taken_name(session, name)
        queue = make_mail_queue(installation, now)
        member = staff.add_staff_member(session, address, role, queue, actor=actor.name, now=now, name=name)
        draft.recorded = True  # the store has recorded it
        draft.subject, draft.words = staff.staff_actor(member), f"invited {{}} as an {role}"
        return member


def remove_staff_member(installation: Installation, actor: Actor, address: Address, *, now: datetime) -> StaffMember:
    """Remove a staff member.

    Their address, sign-in methods, sessions, links, and queued emails are deleted.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address.
    """
    with REMOVE.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = staff.require_staff_member(session, address.mailbox)
        is_invited = _is_invited(session, member)
        staff.remove_staff_member(session, member, is_invited=is_invited, actor=actor.name, now=now)
        delete_sign_in_methods(session, member)
        draft.subject, draft.recorded = staff.staff_actor(member), True
        if is_invited:
            draft.words = "withdrew the invitation of {}"
        return member


def _is_invited(session: Session, member: StaffMember) -> bool:
    return any(row.is_invited for row in _list_overviews(session) if row.member is member)


def send_address_verification_link(
    installation: Installation, actor: Actor, address: Address, *, now: datetime
) -> None:
    """Email a member a new link that verifies their address.

    Earlier links stop working.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address, or it's already verified.
    """
    with MAIL_LINK.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = staff.require_staff_member(session, address.mailbox)
        draft.subject = staff.staff_actor(member)
        staff.queue_verification_link(session, member, make_mail_queue(installation, now), now=now)


def change_staff_role(
    installation: Installation, actor: Actor, address: Address, role: staff.StaffRole, *, now: datetime
) -> StaffMember:
    """Change a member's role and end all their sessions.

    If the member is only invited, the invitation is replaced by one with the new role.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address.
    """
    with CHANGE_ROLE.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = staff.require_staff_member(session, address.mailbox)
        draft.subject, draft.changed = staff.staff_actor(member), member.role != role
        draft.detail = {"role": role, "before": member.role}
        if draft.changed:
            is_invited, member.role = _is_invited(session, member), role
            if is_invited:
                draft.act, draft.words = INVITATION_CHANGED, f"changed the invitation of {{}} to {role}"
                staff.queue_verification_link(session, member, make_mail_queue(installation, now), now=now)
            else:
                draft.words = f"made {{}} an {role}"
                draft.detail["sessions"] = end_sessions(session, member.id)
        return member


def end_staff_sessions(installation: Installation, actor: Actor, address: Address, *, now: datetime) -> int:
    """End all sessions of a member, and return how many were ended.

    The member can sign in again.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address.
    """
    with SIGN_OUT.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = staff.require_staff_member(session, address.mailbox)
        ended = end_sessions(session, member.id)
        draft.subject, draft.detail = staff.staff_actor(member), {"sessions": ended}
        return ended


def reset_staff_sign_in(installation: Installation, actor: Actor, address: Address, *, now: datetime) -> StaffMember:
    """Delete a member's sign-in methods and end their sessions.

    The member then needs a sign-in link to start over.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address.
    """
    with RESET.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (session, draft):
        member = staff.require_staff_member(session, address.mailbox)
        draft.subject = staff.staff_actor(member)
        staff.end_member_links(session, member, staff.SIGN_IN_PURPOSE, now)
        delete_sign_in_methods(session, member)
        return member


def look_up_address_verification_link(
    installation: Installation, token: str, *, now: datetime
) -> staff.VerificationLink:
    """Return the state of an address verification link without using it."""
    with installation.read() as session:
        return staff.look_up_verification_link(session, token, now=now)


def read_staff_role(installation: Installation, actor: Actor, email: str, *, now: datetime) -> str:
    """Return a staff member's role.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address.
    """
    LIST.check_role(installation, actor, AUDIT_SUBJECT, now=now)
    with installation.read() as session:
        return staff.require_staff_member(session, email).role


def list_staff_members(
    installation: Installation, actor: Actor, *, include_removed: bool, now: datetime
) -> list[StaffMember]:
    """Return the staff in order of number, including former members if `include_removed` is true.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, AUDIT_SUBJECT, now=now)
    with installation.read() as session:
        return staff.list_staff_members(session, include_removed=include_removed)


def read_display_names(installation: Installation) -> dict[str, str]:
    """Return the names that colleagues see, by audit log name. Former members are included."""
    with installation.read() as session:
        return staff.map_staff_display_names(session)


def find_entered_staff_name(installation: Installation, actor: Actor) -> str:
    """Return the name that a staff member entered, or an empty string if there's none.

    Subscribers see this name. The name from `read_display_names` can be part of the address, which
    subscribers must not see.
    """
    with installation.read() as session:
        members = staff.list_staff_members(session, include_removed=True)
        return next((member.name for member in members if staff.staff_actor(member) == actor.name), "")


def view_staff(installation: Installation, actor: Actor, *, now: datetime) -> list[StaffOverview]:
    """Return the staff in order of number, each with their sign-in methods.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, AUDIT_SUBJECT, now=now)
    with installation.read() as session:
        return _list_overviews(session)


def _list_overviews(session: Session) -> list[StaffOverview]:
    passkeys = Counter(passkey.staff for passkey in filter_genuine_rows(session, session.scalars(select(Passkey))))
    confirmed = session.scalars(select(AuthenticatorApp).where(AuthenticatorApp.confirmed_at.is_not(None)))
    apps = {app.staff for app in filter_genuine_rows(session, confirmed)}
    newest = (
        select(SignInAttempt.staff, func.max(SignInAttempt.at))
        .where(SignInAttempt.succeeded)
        .group_by(SignInAttempt.staff)
    )
    last_sign_ins = {row[0]: row[1] for row in session.execute(newest)}
    return [
        StaffOverview(
            member,
            _name_ways(passkeys[member.id], by_password=bool(member.password_hash) and member.id in apps),
            last_sign_ins.get(member.id),
        )
        for member in staff.list_staff_members(session)
    ]


def count_refused_sign_ins(installation: Installation, actor: Actor, *, now: datetime) -> RefusedSignInCounts:
    """Return counts of recently rejected sign-ins.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, AUDIT_SUBJECT, now=now)
    with installation.read() as session:
        return count_recent_refusals(session, now=now)


def _name_ways(passkeys: int, *, by_password: bool) -> tuple[str, ...]:
    """Return descriptions of a member's sign-in methods, such as "2 passkeys" and "password and code"."""
    ways = [count_with_noun(passkeys, "passkey")] if passkeys else []
    return (*ways, "password and code") if by_password else tuple(ways)


def parse_member_address(email: str) -> Address:
    """Parse the address of a person to invite.

    Raises:
        AddressError: the address is invalid.
    """
    return read_address(email)
