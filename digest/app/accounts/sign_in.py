"""Sign-in by one-time link, by password and code, or by passkey, and sign-out.

Every attempt is recorded in the member's log.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.accounts import attempt_limits, authenticator_apps, passkeys, passwords
from digest.app.accounts.attempt_limits import SignInRefusedError
from digest.app.accounts.sign_in_log import SignInMethod, build_sign_in_entry, record_refused_sign_in
from digest.app.accounts.visitor import Visitor, make_device_token
from digest.installation.audited_actions import Action, ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.store import staff, staff_sessions
from digest.store.account_models import StaffSession
from digest.store.audit import record_audit
from digest.store.delivery_models import StaffMember
from subscribers.address import mask_address
from subscribers.errors import RefusalError
from subscribers.mail_requests import MailRequest
from subscribers.store import one_time_tokens

TOUCH_INTERVAL = timedelta(minutes=5)  # minimum time between updates of a session's last use
LINK_LIFETIME = timedelta(hours=1)  # for sign-in links
_UNKNOWN_PASSKEY = "This passkey isn't registered here. Use another passkey or your password."
MAKE_LINK = Action("sign-in link made")
REQUEST_LINK = Action("sign-in link requested")
REQUEST_VERIFICATION = Action("verification link requested")


class SessionEndedError(RefusalError):
    """Raised when the session has ended while a request was being handled."""

    def __init__(self) -> None:
        super().__init__("You were signed out, so your change wasn't saved. Sign in and try again.")


@dataclass(frozen=True, slots=True)
class SignedInStaff:
    """A signed-in staff member, their session, and the time when they last proved their identity."""

    session_id: int
    member_id: int
    email: str
    name: str
    role: Role
    fresh_at: datetime
    letter_keys: bool = True  # True if single-letter shortcuts are on in the editor

    @property
    def actor(self) -> Actor:
        """The member as an actor at the desk."""
        return Actor(f"staff {self.member_id}", self.role, ActionEntryPoint.DESK, self.fresh_at)

    @property
    def sign_in(self) -> str:
        """An ID that's unique to this sign-in.

        It includes the member, because session numbers can be reused.
        """
        return f"team member {self.member_id}, sign-in {self.session_id}"

    @property
    def display_name(self) -> str:
        """The member's name, or else the part of their address before the @."""
        return staff.format_display_name(self.name, self.email)

    @property
    def challenge_subject(self) -> str:
        """The subject of a passkey challenge in this session."""
        return f"session {self.session_id}"

    def is_fresh(self, now: datetime) -> bool:
        """Return True if the member proved their identity within the last 15 minutes."""
        return self.actor.is_confirmed(now)


@dataclass(frozen=True, slots=True)
class NewStaffSession:
    """The tokens that a browser receives when a session begins.

    `token` identifies the session. `device` identifies the browser, whose sign-in attempts are then
    counted separately. `can_sign_in_without_link` is True if the member could also have signed in by passkey or
    by password and code.
    """

    token: str
    device: str
    can_sign_in_without_link: bool


@dataclass(frozen=True, slots=True)
class SignInLink:
    """The masked address and expiry time of a sign-in link, or "" and None for a link that doesn't work."""

    masked_email: str = ""
    until: datetime | None = None


def find_signed_in_member(
    installation: Installation, token: str, *, now: datetime, note_use: bool = True
) -> SignedInStaff | None:
    """Return the member whose session cookie has this token, or None.

    The session's last use is recorded at most every five minutes.
    """
    with installation.read() as session:
        session_row = staff_sessions.find_session(session, token, now=now)
    if session_row is None:
        return None
    row, member = session_row
    if note_use and now - row.used_at >= TOUCH_INTERVAL:
        with installation.write() as session:
            staff_sessions.touch_session(session, row.id, now=now)
    return _describe_signed_in(row, member)


def _describe_signed_in(row: StaffSession, member: StaffMember) -> SignedInStaff:
    return SignedInStaff(
        row.id, member.id, member.email, member.name, Role(member.role), row.fresh_at, member.letter_keys
    )


def make_sign_in_link(installation: Installation, actor: Actor, email: str, *, now: datetime) -> str:
    """Return a URL that signs a member in once within an hour, for use in the terminal.

    Earlier links stop working. The action is refused at the desk, where an admin could use it to
    sign in as a colleague and approve in their name.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address, or the actor is at the desk.
    """
    with MAKE_LINK.transaction(installation, actor, "staff", now=now) as (session, draft):
        if actor.face is ActionEntryPoint.DESK:
            raise staff.StaffError("Sign-in links aren't shown here. Email the link instead.")
        member = staff.require_staff_member(session, email)
        draft.subject = staff.staff_actor(member)
        token = _issue_link(session, member, now)
    return f"{installation.settings.link_base}/desk/link/{token}"


def email_sign_in_link(installation: Installation, actor: Actor, email: str, *, now: datetime) -> None:
    """Email a link to a member's verified address that signs them in once within an hour.

    Earlier links stop working.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has this address, or it isn't verified.
    """
    with MAKE_LINK.transaction(installation, actor, "staff", now=now) as (session, draft):
        member = staff.require_staff_member(session, email)
        draft.subject, draft.detail = staff.staff_actor(member), {"emailed": "yes"}
        draft.words = "emailed a sign-in link to {}"
        if member.proven_at is None:
            raise staff.StaffError(
                f"Team member {member.id} hasn't verified their address yet. Send the invitation again."
            )
        _queue_link(session, installation, member, "admin", now)


def email_own_sign_in_link(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> None:
    """Email another sign-in link to a member who can sign in only by link.

    Links that the member requested earlier stop working, but links from admins keep working. With
    the new link, the member can set up a passkey or password even if their session is old. Someone
    who has stolen the session doesn't receive the link, because it goes to the verified address.

    Raises:
        StaffError: the member has another way to sign in, or their address isn't verified.
        TooManyAttemptsError: several links were just emailed.
    """
    name = signed_in.actor.name
    with REQUEST_LINK.transaction(installation, signed_in.actor, name, now=now) as (session, _):
        member = _get_member(session, signed_in.member_id)
        if _has_own_way(session, member):
            raise staff.StaffError("You can sign in again without a link. Use your passkey, or your password and code.")
        if member.proven_at is None:
            raise staff.StaffError("Your address isn't verified. Ask an admin to send you the invitation again.")
        attempt_limits.count_requested_link(session, installation.keys, member.id, now=now)
        _queue_link(session, installation, member, "member", now)


def email_own_verification_link(
    installation: Installation, signed_in: SignedInStaff, *, edition: str, now: datetime
) -> None:
    """Email the signed-in member a link that verifies their address and opens an edition's test email.

    Earlier verification links stop working.

    Raises:
        StaffError: the address is already verified.
        TooManyAttemptsError: several links were just emailed.
    """
    name = signed_in.actor.name
    with REQUEST_VERIFICATION.transaction(installation, signed_in.actor, name, now=now) as (session, _):
        member = _get_member(session, signed_in.member_id)
        attempt_limits.count_requested_link(session, installation.keys, member.id, now=now)
        staff.queue_verification_link(session, member, make_mail_queue(installation, now), now=now, edition=edition)


def _queue_link(
    session: Session, installation: Installation, member: StaffMember, asked_by: str, now: datetime
) -> None:
    facts = {"to": member.email, "token": _issue_link(session, member, now, asked_by), "signs_in": asked_by}
    facts |= {"expires_at": (now + LINK_LIFETIME).isoformat(), "role": member.role}
    queue = make_mail_queue(installation, now)
    queue(session, MailRequest("staff", None, f"{member.id}-{secrets.token_hex(6)}", facts))


def _issue_link(session: Session, member: StaffMember, now: datetime, asked_by: str = "admin") -> str:
    """Store a new sign-in link and return its token.

    An admin's link ends all earlier links. A member's link ends only those that the member
    requested.
    """
    admin_link, requested_link = staff.list_link_serials(member)
    serial, ended = (requested_link, [requested_link]) if asked_by == "member" else (admin_link, None)
    staff.end_member_links(session, member, staff.SIGN_IN_PURPOSE, now, serials=ended)
    return one_time_tokens.issue_token(
        session, staff.SIGN_IN_PURPOSE, None, now=now, expires_at=now + LINK_LIFETIME, serial=serial
    )


def look_up_sign_in_link(installation: Installation, token: str, *, now: datetime) -> SignInLink:
    """Return the masked address and expiry time of a sign-in link without using it up."""
    with installation.read() as session:
        token_lookup = one_time_tokens.look_up_token(session, token, staff.SIGN_IN_PURPOSE, now=now)
        member = _member_of_link(session, token_lookup)
    return SignInLink(mask_address(member.email), token_lookup.expires_at) if member else SignInLink()


def sign_in_by_link(
    installation: Installation, token: str, visitor: Visitor, *, now: datetime
) -> NewStaffSession | None:
    """Sign a member in with a one-time link, and return the session, or None if the link doesn't work."""
    with installation.write() as session:
        token_lookup = one_time_tokens.use_token(session, token, staff.SIGN_IN_PURPOSE, now=now)
        member = _member_of_link(session, token_lookup)
        if member is not None:
            return begin_session(session, installation, member, SignInMethod.LINK, visitor, now=now)
    record_refused_sign_in(installation.database, "link that doesn't work", now=now)
    return None


def _member_of_link(session: Session, token_lookup: one_time_tokens.TokenLookup) -> StaffMember | None:
    if token_lookup.state is not one_time_tokens.TokenState.FRESH:
        return None
    return staff.get_staff_member(session, int(token_lookup.serial.removesuffix(staff.REQUESTED_SUFFIX)))


def accept_invitation(
    installation: Installation, token: str, visitor: Visitor, *, now: datetime
) -> tuple[staff.VerificationLink, NewStaffSession | None]:
    """Verify an invited member's address and, on the link's first use, begin a session.

    On later uses, the second value is None.
    """
    with installation.write() as session:
        first_press = staff.look_up_verification_link(session, token, now=now).stage is staff.VerificationLinkState.OPEN
        link = staff.verify_staff_address(session, token, now=now)
        if first_press and link.stage is staff.VerificationLinkState.PROVEN and link.member is not None:
            method = SignInMethod.INVITATION
            return link, begin_session(session, installation, link.member, method, visitor, now=now)
    if link.stage is not staff.VerificationLinkState.PROVEN:
        record_refused_sign_in(installation.database, "link that doesn't work", now=now)
    return link, None


def sign_in_by_password(
    installation: Installation, email: str, password: str, code: str, visitor: Visitor, *, now: datetime
) -> NewStaffSession:
    """Sign a member in with a password and a code from their app, or a recovery code.

    Raises:
        SignInRefusedError: the address, password, or code is wrong. The member's log records it.
        TooManyAttemptsError: there were too many attempts.
    """
    with installation.read() as session:
        member = staff.find_staff_member(session, email)
    member, method, counted = _check_password_and_code(installation, member, email, password, code, visitor, now)
    assert member.password_hash is not None, "a password was right"
    renewed_hash = passwords.upgrade_password_hash(password, member.password_hash)
    with installation.write() as session:
        attempt_limits.reset_attempts(session, counted)
        current = _get_member(session, member.id)
        if renewed_hash and current.password_hash == member.password_hash:
            current.password_hash = renewed_hash
        return begin_session(session, installation, current, method, visitor, now=now)


def reauthenticate_by_password(
    installation: Installation, signed_in: SignedInStaff, password: str, code: str, visitor: Visitor, *, now: datetime
) -> str:
    """Confirm the signed-in member's identity by password and code, and return the new token.

    Raises:
        SignInRefusedError: the password or code is wrong. The member's log records it.
        TooManyAttemptsError: there were too many attempts.
        SessionEndedError: the session ended in the meantime.
    """
    with installation.read() as session:
        member = _get_member(session, signed_in.member_id)
    _, method, counted = _check_password_and_code(installation, member, member.email, password, code, visitor, now)
    with installation.write() as session:
        attempt_limits.reset_attempts(session, counted)
        return _renew_session(session, signed_in, method, visitor, now=now)


def _get_member(session: Session, number: int) -> StaffMember:
    member = staff.get_staff_member(session, number)
    if member is None:
        raise SessionEndedError
    return member


def _check_password_and_code(
    installation: Installation,
    member: StaffMember | None,
    email: str,
    password: str,
    code: str,
    visitor: Visitor,
    now: datetime,
) -> tuple[StaffMember, SignInMethod, attempt_limits.AttemptCount]:
    """Check a member's password, and then the code from their app or a recovery code.

    Only someone with the correct password learns that the code was wrong.
    """
    refusal = "The email address, password, or code is wrong. Check all three."
    counted = attempt_limits.verify_password_attempt(installation, member, email, password, visitor, refusal, now=now)
    assert member is not None, "a password was right"
    with installation.write() as session:
        if authenticator_apps.use_totp_code(session, installation.keys, member.id, code, now=now):
            return member, SignInMethod.PASSWORD, counted
        if authenticator_apps.use_recovery_code(session, member.id, code, now=now):
            return member, SignInMethod.RECOVERY_CODE, counted
        session.add(build_sign_in_entry(member.id, SignInMethod.PASSWORD, visitor, succeeded=False, now=now))
    record_refused_sign_in(installation.database, "wrong code", member=staff.staff_actor(member), now=now)
    raise SignInRefusedError(
        f"That code is wrong or has already been used. Enter the next code. {counted.words_left}", "code"
    )


def require_current_password(
    installation: Installation, signed_in: SignedInStaff, password: str, visitor: Visitor, *, now: datetime
) -> None:
    """Check the current password of a member who has one.

    It counts as a sign-in attempt.

    Raises:
        SignInRefusedError: the password is wrong. The member's log records it.
        TooManyAttemptsError: there were too many attempts.
        SessionEndedError: the session ended in the meantime.
    """
    with installation.read() as session:
        member = _get_member(session, signed_in.member_id)
    if member.password_hash is None:
        return
    refusal = "Your current password is wrong. Enter it again."
    counted = attempt_limits.verify_password_attempt(
        installation, member, member.email, password, visitor, refusal, now=now
    )
    with installation.write() as session:
        attempt_limits.reset_attempts(session, counted)


def make_passkey_challenge(
    installation: Installation, purpose: passkeys.ChallengePurpose, signed_in: SignedInStaff | None, *, now: datetime
) -> str:
    """Return a challenge for the browser's passkey. Nothing is stored."""
    subject = signed_in.challenge_subject if signed_in else ""
    return passkeys.make_passkey_challenge(installation.keys, purpose, subject, now=now)


def sign_in_by_passkey(installation: Installation, answer: str, visitor: Visitor, *, now: datetime) -> NewStaffSession:
    """Sign in the member whose passkey made the response.

    Raises:
        PasskeyError: the passkey is unknown or failed verification, which its member's log records.
    """
    member_id, name = _verify_passkey(installation, answer, visitor, None, now)
    with installation.write() as session:
        member = _get_member(session, member_id)
        return begin_session(session, installation, member, SignInMethod.PASSKEY, visitor, passkey=name, now=now)


def reauthenticate_by_passkey(
    installation: Installation, signed_in: SignedInStaff, answer: str, visitor: Visitor, *, now: datetime
) -> str:
    """Confirm the signed-in member's identity by passkey, and return the session's new token.

    Raises:
        PasskeyError: the passkey is unknown, belongs to another member, or failed verification.
        SessionEndedError: the session ended in the meantime.
    """
    _, name = _verify_passkey(installation, answer, visitor, signed_in, now)
    with installation.write() as session:
        return _renew_session(session, signed_in, SignInMethod.PASSKEY, visitor, passkey=name, now=now)


def _verify_passkey(
    installation: Installation, answer: str, visitor: Visitor, signed_in: SignedInStaff | None, now: datetime
) -> tuple[int, str]:
    """Return the ID of the member whose passkey made the response, and the passkey's name."""
    database = installation.database
    # Responses from unknown passkeys cost only a read, so a flood of them can't occupy the
    # database's write lock.
    malformed: passkeys.PasskeyError | None = None
    with database.read() as session:
        try:
            is_known = passkeys.find_passkey(session, answer) is not None
        except passkeys.PasskeyError as exc:
            is_known, malformed = False, exc
    if is_known:
        with database.write() as session:
            member, passkey, failed = _try_passkey(session, installation, answer, visitor, signed_in, now)
        if member is not None and failed is None:
            return member.id, passkey
        if member is not None and failed is not None:
            name = staff.staff_actor(member)
            record_refused_sign_in(database, "passkey that failed verification", member=name, now=now)
            raise failed
    record_refused_sign_in(database, "unknown passkey", now=now)
    raise malformed or passkeys.PasskeyError(_UNKNOWN_PASSKEY)


def _try_passkey(
    session: Session,
    installation: Installation,
    answer: str,
    visitor: Visitor,
    signed_in: SignedInStaff | None,
    now: datetime,
) -> tuple[StaffMember | None, str, passkeys.PasskeyError | None]:
    """Return a passkey's member, its name, and the verification error, if any.

    The error is also added to the member's log. The member is None if the passkey is unknown or
    doesn't belong to the signed-in member.
    """
    passkey = passkeys.find_passkey(session, answer, lock=True)
    member = staff.get_staff_member(session, passkey.staff) if passkey else None
    foreign = signed_in is not None and (member is None or member.id != signed_in.member_id)
    if passkey is None or member is None or foreign:
        return None, "", None
    try:
        passkeys.verify_passkey_sign_in(
            session,
            installation.keys,
            passkeys.RelyingParty.from_base_url(installation.settings.link_base),
            passkey,
            answer,
            purpose="confirm" if signed_in else "sign in",
            subject=signed_in.challenge_subject if signed_in else "",
            now=now,
        )
    except passkeys.PasskeyError as exc:
        entry = build_sign_in_entry(
            member.id, SignInMethod.PASSKEY, visitor, passkey=passkey.name, succeeded=False, now=now
        )
        session.add(entry)
        return member, passkey.name, exc
    return member, passkey.name, None


def sign_out(installation: Installation, signed_in: SignedInStaff) -> None:
    """End the signed-in member's session."""
    with installation.write() as session:
        staff_sessions.end_session(session, signed_in.member_id, signed_in.session_id)


def begin_session(
    session: Session,
    installation: Installation,
    member: StaffMember,
    method: SignInMethod,
    visitor: Visitor,
    *,
    now: datetime,
    passkey: str = "",
) -> NewStaffSession:
    """Begin a session for a member who has proved their identity, in place of the browser's earlier one.

    The sign-in is added to the member's log and the audit log.
    """
    session.add(build_sign_in_entry(member.id, method, visitor, passkey=passkey, succeeded=True, now=now))
    actor = staff.staff_actor(member)
    record_audit(session, "signed in", actor, {"by": str(method)}, actor=actor, now=now)
    token = staff_sessions.begin_session(session, member, network=visitor.network, browser=visitor.browser, now=now)
    staff_sessions.end_session_of_token(session, visitor.session)  # only now, so that its number isn't given again
    return NewStaffSession(token, make_device_token(installation.keys, member.id), _has_own_way(session, member))


def _has_own_way(session: Session, member: StaffMember) -> bool:
    """Return True if a member can sign in without a link, by passkey or by password and code."""
    if member.password_hash is not None and authenticator_apps.find_authenticator(session, member.id) is not None:
        return True
    return bool(passkeys.list_passkeys(session, member.id))


def _renew_session(
    session: Session,
    signed_in: SignedInStaff,
    method: SignInMethod,
    visitor: Visitor,
    *,
    now: datetime,
    passkey: str = "",
) -> str:
    token = staff_sessions.reauthenticate_session(session, signed_in.session_id, now=now)
    if token is None:
        raise SessionEndedError
    session.add(build_sign_in_entry(signed_in.member_id, method, visitor, passkey=passkey, succeeded=True, now=now))
    return token
