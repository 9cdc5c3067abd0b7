"""The staff, and verifying their addresses.

A member's address is stored in clear text only in the staff table, and deleted when the member is
removed. The audit log and other logs refer to members by ID (`staff 3`), so the row stays, with the
name that the member had chosen. See `digest.app.accounts` for signing in.
"""

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from digest.store.account_models import SignInAttempt
from digest.store.audit import INVITATION_WITHDRAWN, STAFF_ADDED, STAFF_REMOVED, record_audit
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, StaffMember
from digest.store.models import AuditEntry
from digest.store.staff_revocations import filter_current_members, read_revocations
from subscribers.address import Address, AddressError, mask_address, read_address
from subscribers.errors import RefusalError
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import one_time_tokens
from subscribers.store.keyed_row_seals import filter_genuine_rows, keep_if_genuine, seal_row_as_is

StaffRole = Literal["editor", "admin"]
PROOF_LINK_LIFETIME = timedelta(days=7)  # of a link that verifies an address
# Emails to one member, whose serials start with the member's ID. "guard" isn't among them, because
# removing an admin must not withdraw warnings to them.
MEMBER_NOTICE_KINDS = (
    "staff",
    "seal",
    "gone",
    "alarm",
    "alert",
    "deadline",
    "summary",
)
PROOF_PURPOSE: one_time_tokens.OneTimePurpose = "staff address"
SIGN_IN_PURPOSE: one_time_tokens.OneTimePurpose = "sign in"
REQUESTED_SUFFIX = " requested"  # in the serial of a sign-in link requested by the member


_ACTOR = re.compile(r"\Astaff (?=\d+\Z)", re.ASCII)


class StaffError(RefusalError):
    """Raised when a staff change isn't allowed.

    The message says why and how to proceed, and contains no address.
    """


class VerificationLinkState(StrEnum):
    """The state of a link for verifying an address."""

    UNKNOWN = "unknown"
    OPEN = "open"  # not used yet
    PROVEN = "proven"
    ENDED = "over"  # expired, replaced by a newer link, or the member was removed


@dataclass(frozen=True, slots=True)
class VerificationLink:
    """The state of a verification link, and the member whose address it verifies, if they're known."""

    stage: VerificationLinkState
    member: StaffMember | None = None
    until: datetime | None = None
    is_invitation: bool = False  # True if the member has never signed in

    @property
    def masked_email(self) -> str:
        """The member's address, masked for display."""
        return mask_address(self.member.email) if self.member and not self.member.removed_at else ""


def staff_actor(member: StaffMember) -> str:
    """Return a member's actor name for the audit log, such as "staff 3"."""
    return f"staff {member.id}"


def name_member_number(actor: str) -> str:
    """Return an actor's name in the words that people use: "team member 3" for "staff 3"."""
    return _ACTOR.sub("team member ", actor)


def format_display_name(name: str, email: str) -> str:
    """Return a member's display name, which defaults to the local part of their address."""
    return name or email.partition("@")[0]


def find_staff_member(session: Session, email: str) -> StaffMember | None:
    """Return the member with the given address in any equivalent spelling, or None if there's none."""
    try:
        address = read_address(email)
    except AddressError:
        return None
    own = (StaffMember.email == address.canonical, StaffMember.removed_at.is_(None))
    return _find_believed(session, session.scalar(select(StaffMember).where(*own)))


def _find_believed(session: Session, member: StaffMember | None) -> StaffMember | None:
    """Return the member if their row is genuine and as new as the audit log, or None otherwise."""
    genuine = keep_if_genuine(session, member)
    if genuine is None:
        read_revocations(session)  # equalizes the queries, so that timing doesn't reveal the staff
        return None
    return next(iter(filter_current_members(session, [genuine])), None)


def get_staff_member(session: Session, number: int) -> StaffMember | None:
    """Return the member with the given ID, or None if there isn't one or they were removed."""
    member = _find_believed(session, session.get(StaffMember, number, populate_existing=True))
    return member if member is not None and member.removed_at is None else None


def require_staff_member(session: Session, email: str) -> StaffMember:
    """Return the member with the given address.

    Raises:
        StaffError: no member has this address.
    """
    member = find_staff_member(session, email)
    if member is None:
        raise StaffError("No team member has this address. To list the team, run 'digest staff list'.")
    return member


def list_staff_members(session: Session, *, include_removed: bool = False) -> list[StaffMember]:
    """Return the members sorted by ID, optionally including former ones."""
    query = select(StaffMember).order_by(StaffMember.id)
    rows = session.scalars(query if include_removed else query.where(StaffMember.removed_at.is_(None)))
    return filter_current_members(session, filter_genuine_rows(session, rows))


def map_staff_display_names(session: Session, *, with_numbers: bool = False) -> dict[str, str]:
    """Map the actor names of all current and former staff members to their display names.

    If `with_numbers` is true, names are formatted as "Ann (team member 3)": anyone who can write to the
    database can change names, but the number is in the chain.
    """
    members = session.scalars(select(StaffMember).order_by(StaffMember.id))
    names = {staff_actor(member): format_display_name(member.name, member.email) for member in members}
    return {actor: f"{name} ({name_member_number(actor)})" for actor, name in names.items()} if with_numbers else names


def list_active_staff(session: Session, *, removed_after: datetime) -> list[StaffMember]:
    """Return the members who may be able to sign in, sorted by ID.

    Their address is verified, or they've signed in recently. Rows without a valid seal are included;
    otherwise, an attacker could become the only editor by damaging the others' rows. Also included are
    members removed after `removed_after` who had been able to sign in. The audit log shows this,
    because members verify their address themselves, and records of sign-ins are deleted after a while.
    """
    members = session.scalars(select(StaffMember).order_by(StaffMember.id)).all()
    believed = {member.id for member in filter_current_members(session, filter_genuine_rows(session, members))}
    forged = {member.id for member in members} - believed
    in_question = [m for m in members if m.removed_at is None or m.removed_at > removed_after]
    working = forged | _list_signed_in(session, in_question) | _list_proven(session, in_question)
    return [member for member in members if member.id in working]


def _list_signed_in(session: Session, members: Sequence[StaffMember]) -> set[int]:
    """Return the IDs of the members who have signed in recently."""
    signed_in = session.scalars(select(SignInAttempt.staff).where(SignInAttempt.succeeded).distinct())
    return {member.id for member in members}.intersection(signed_in)


def _list_proven(session: Session, members: Sequence[StaffMember]) -> set[int]:
    """Return the IDs of the members whose address is verified, or who have entries in the audit log.

    Entries in the log count because a member's row may have been restored from before they verified
    their address.
    """
    proven = {member.id for member in members if member.removed_at is None and member.proven_at}
    unproven = {staff_actor(member): member.id for member in members if member.id not in proven}
    if not unproven:
        return proven
    worked = session.scalars(select(AuditEntry.actor).where(AuditEntry.actor.in_(unproven)).distinct())
    return proven | {unproven[actor] for actor in worked}


def list_verified_staff(session: Session) -> list[StaffMember]:
    """Return the members who have verified their address, sorted by ID."""
    return [member for member in list_staff_members(session) if member.proven_at]


def add_staff_member(
    session: Session, address: Address, role: StaffRole, queue: QueueMail, *, actor: str, now: datetime, name: str = ""
) -> StaffMember:
    """Add a member, and queue an email with a link for verifying their address.

    A returning member gets a new ID.

    Raises:
        StaffError: a member already has this address.
    """
    email = address.canonical
    member = session.scalar(select(StaffMember).where(StaffMember.email == email).with_for_update())
    if member is not None and _find_believed(session, member) is None:
        remove_forged_member(session, member, actor=actor, now=now)
        member = None
    if member is not None:
        raise StaffError(
            f"Team member {member.id} already has this address and is an {member.role}. To change the role, run "
            "'digest staff role'. To send the link again, run 'digest staff verify'."
        )
    member = StaffMember(email=email, role=role, added_at=now, added_by=actor, name=name)
    session.add(member)
    session.flush()
    _audit_staff_change(session, STAFF_ADDED, member, {"role": role}, actor=actor, now=now)
    _queue_proof_mail(session, member, queue, now=now)
    return member


def remove_forged_member(session: Session, member: StaffMember, *, actor: str, now: datetime) -> None:
    """Remove a member whose row has no valid seal.

    The row must not block the address or count as a colleague.
    """
    member.email, member.removed_at, member.proven_at = staff_actor(member), now, None
    member.password_hash = member.password_at = None
    seal_row_as_is(session, member)
    _audit_staff_change(session, "unsealed staff row set aside", member, {}, actor=actor, now=now)


def queue_verification_link(
    session: Session, member: StaffMember, queue: QueueMail, *, now: datetime, edition: str = ""
) -> None:
    """Queue an email with a new verification link for a member, and end earlier links.

    The link is an invitation unless the member has signed in before. In that case, it leads to the
    test of `edition`, if given.

    Raises:
        StaffError: the address is already verified.
    """
    if member.proven_at is not None:
        raise StaffError(f"Team member {member.id} verified the address on {member.proven_at:%Y-%m-%d} (UTC).")
    _queue_proof_mail(session, member, queue, now=now, edition=edition)


def remove_staff_member(
    session: Session, member: StaffMember, *, is_invited: bool = False, actor: str, now: datetime
) -> None:
    """Remove a member: end their links, withdraw emails to them, and delete their address.

    With `is_invited`, the audit log says that an invitation was withdrawn.
    """
    _end_open_links(session, member, now)
    end_member_links(session, member, SIGN_IN_PURPOSE, now)
    member.removed_at, member.proven_at, member.email = now, None, staff_actor(member)
    act = INVITATION_WITHDRAWN if is_invited else STAFF_REMOVED
    _audit_staff_change(session, act, member, {"role": member.role}, actor=actor, now=now)


def look_up_verification_link(session: Session, token: str, *, now: datetime) -> VerificationLink:
    """Return the state and member of a verification link without using up the link."""
    token_row = one_time_tokens.look_up_token(session, token, PROOF_PURPOSE, now=now)
    if token_row.state is one_time_tokens.TokenState.UNKNOWN:
        return VerificationLink(VerificationLinkState.UNKNOWN)
    member = _find_believed(session, session.get(StaffMember, int(token_row.serial), populate_existing=True))
    if member is None:
        return VerificationLink(VerificationLinkState.UNKNOWN)
    if token_row.state is one_time_tokens.TokenState.FRESH:
        is_invitation = not _list_signed_in(session, [member])
        return VerificationLink(VerificationLinkState.OPEN, member, token_row.expires_at, is_invitation)
    if token_row.state is one_time_tokens.TokenState.USED and member.proven_at is not None:
        return VerificationLink(VerificationLinkState.PROVEN, member)
    return VerificationLink(VerificationLinkState.ENDED, member, token_row.expires_at)


def verify_staff_address(session: Session, token: str, *, now: datetime) -> VerificationLink:
    """Mark the member's address as verified if the link is open, and return the link's new state.

    This function is idempotent.
    """
    used = one_time_tokens.use_token(session, token, PROOF_PURPOSE, now=now)
    if used.state is one_time_tokens.TokenState.FRESH:
        member = get_staff_member(session, int(used.serial))
        if member is not None:
            member.proven_at = now
            _audit_staff_change(session, "staff address proven", member, {}, actor=staff_actor(member), now=now)
    return look_up_verification_link(session, token, now=now)


def _queue_proof_mail(
    session: Session, member: StaffMember, queue: QueueMail, *, now: datetime, edition: str = ""
) -> None:
    _end_open_links(session, member, now)
    ends = now + PROOF_LINK_LIFETIME
    token = one_time_tokens.issue_token(session, PROOF_PURPOSE, None, now=now, expires_at=ends, serial=str(member.id))
    facts = {"to": member.email, "token": token, "expires_at": ends.isoformat(), "role": member.role}
    if _list_signed_in(session, [member]):
        facts |= {"verifies": "yes", "test_of": edition}
    queue(session, MailRequest("staff", None, f"{member.id}-{secrets.token_hex(6)}", facts))


def list_link_serials(member: StaffMember) -> tuple[str, str]:
    """Return the serials of a member's links: those sent to the member, and those requested by the member."""
    return str(member.id), f"{member.id}{REQUESTED_SUFFIX}"


def end_member_links(
    session: Session,
    member: StaffMember,
    purpose: one_time_tokens.OneTimePurpose,
    now: datetime,
    *,
    serials: Iterable[str] | None = None,
) -> None:
    """End a member's open links for one purpose, or only those with the given serials."""
    for serial in list_link_serials(member) if serials is None else serials:
        one_time_tokens.revoke_tokens_by_serial(session, purpose, serial, now=now)


def end_every_sign_in_link(session: Session, now: datetime) -> None:
    """End all members' open sign-in links."""
    one_time_tokens.revoke_tokens_by_serial(session, SIGN_IN_PURPOSE, now=now)


def _end_open_links(session: Session, member: StaffMember, now: datetime) -> None:
    """End a member's open verification links, and withdraw any unsent emails that contain them."""
    unsynchronized = {"synchronize_session": False}
    end_member_links(session, member, PROOF_PURPOSE, now)
    waiting = (
        Delivery.id.in_(select(QueuedNoticeEmail.delivery).where(QueuedNoticeEmail.kind.in_(MEMBER_NOTICE_KINDS))),
        or_(*(Delivery.purpose.startswith(f"{kind}:{member.id}-", autoescape=True) for kind in MEMBER_NOTICE_KINDS)),
        Delivery.state == DeliveryState.WAITING,
    )
    ids = list(session.scalars(select(Delivery.id).where(*waiting).with_for_update()))
    session.execute(
        delete(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery.in_(ids)), execution_options=unsynchronized
    )
    withdrawn = update(Delivery).where(Delivery.id.in_(ids)).values(state=DeliveryState.WITHDRAWN)
    session.execute(withdrawn, execution_options=unsynchronized)


def _audit_staff_change(
    session: Session, act: str, member: StaffMember, detail: dict[str, str], *, actor: str, now: datetime
) -> None:
    record_audit(session, act, staff_actor(member), detail, actor=actor, now=now)
