"""Members' changes to their own names, sessions, and sign-in methods, and the data for their account page.

Every action is recorded in the audit log. A new password ends the member's other sessions. When an
admin resets a member's sign-in, all sessions end.
"""

import re
import unicodedata
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.app.accounts import authenticator_apps, passkeys, passwords
from digest.app.accounts.sign_in import SessionEndedError, SignedInStaff, require_current_password
from digest.app.accounts.sign_in_log import list_sign_ins
from digest.app.accounts.visitor import Visitor
from digest.installation.audited_actions import Action, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.store import staff_sessions
from digest.store.account_models import AuthenticatorApp, Passkey, SignInAttempt, StaffSession
from digest.store.audit import PASSWORD_SET
from digest.store.delivery_models import StaffMember
from digest.store.staff import format_display_name, list_staff_members
from subscribers.errors import RefusalError

SET_PASSWORD = Action(PASSWORD_SET)
ADD_PASSKEY, RENAME_PASSKEY = (
    Action("passkey added"),
    Action("passkey renamed"),
)
REMOVE_PASSKEY = Action("passkey removed")
MAKE_RECOVERY_CODES = Action("recovery codes made")
END_SESSIONS = Action("sessions ended")
CHANGE_NAME = Action("name changed")
# A period before two letters suggests a domain, unlike the ones in "J.R. Diaz". A digit could
# imitate a colleague's "(team member 2)".
_NO_NAME = re.compile(r"[:/\\@\d]|[.\u3002][^\W\d_]{2}")
# Digits and lowercase letters of other scripts that look like Latin letters.
_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u03bf\u03b1\u03bd\u03b9\u03c1\u0131i10",
    "aeopcyxljsoavlplllo",
)
MAX_NAME_LENGTH = 60  # characters, for the names of members and passkeys
SHOWN_SIGN_INS = 50
WARNING_PERIOD = timedelta(days=30)  # how long failed sign-ins stay highlighted


class OwnAccountError(RefusalError):
    """Raised when a change to a member's own account is rejected.

    The message says why and what to do.
    """


@dataclass(frozen=True, slots=True)
class SignInEntry:
    """An entry in a member's sign-in log, for one sign-in or several failures.

    It's either one sign-in or several consecutive failures from the same network and browser.
    """

    latest: SignInAttempt
    count: int


@dataclass(frozen=True, slots=True)
class AccountOverview:
    """The data for a member's account page: sessions, sign-in methods, and recent sign-ins."""

    member: StaffMember
    sessions: tuple[StaffSession, ...]  # the current one first
    passkeys: tuple[Passkey, ...]
    code_app: AuthenticatorApp | None
    recovery_codes_left: int
    sign_ins: tuple[SignInEntry, ...]
    unseen_failures: SignInEntry | None

    @property
    def has_password(self) -> bool:
        """True if the member can sign in with a password and a code."""
        return self.member.password_hash is not None and self.code_app is not None


def view_own_account(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> AccountOverview:
    """Return the data for a member's account page."""
    member_id = signed_in.member_id
    with installation.read() as session:
        member = session.get_one(StaffMember, member_id)
        sessions = staff_sessions.list_sessions(session, member_id, now=now)
        entries = fold_repeated_failed_sign_ins(list_sign_ins(session, member_id, now=now, limit=SHOWN_SIGN_INS))
        return AccountOverview(
            member=member,
            sessions=tuple(sorted(sessions, key=lambda row: row.id != signed_in.session_id)),
            passkeys=tuple(passkeys.list_passkeys(session, member_id)),
            code_app=authenticator_apps.find_authenticator(session, member_id),
            recovery_codes_left=authenticator_apps.count_recovery_codes(session, member_id),
            sign_ins=entries,
            unseen_failures=_find_unseen_failures(entries, member.failures_seen_at, now),
        )


def fold_repeated_failed_sign_ins(sign_ins: Iterable[SignInAttempt]) -> tuple[SignInEntry, ...]:
    """Fold consecutive failures from the same network and browser into one entry each.

    `sign_ins` are in order from newest to oldest.
    """
    entries: list[SignInEntry] = []
    for row in sign_ins:
        last = entries[-1].latest if entries else None
        if last is not None and not row.succeeded and _are_alike(last, row):
            entries[-1] = SignInEntry(last, entries[-1].count + 1)
        else:
            entries.append(SignInEntry(row, 1))
    return tuple(entries)


def _are_alike(first: SignInAttempt, second: SignInAttempt) -> bool:
    read_kind = attrgetter("succeeded", "method", "network", "browser")
    return bool(read_kind(first) == read_kind(second))


def _find_unseen_failures(
    entries: Iterable[SignInEntry], seen_at: datetime | None, now: datetime
) -> SignInEntry | None:
    """Return the newest failures that the member hasn't seen, or None if there are none.

    Failures followed by a sign-in from the same network and browser are ignored.
    """
    since = max(seen_at, now - WARNING_PERIOD) if seen_at else now - WARNING_PERIOD
    signed_in_from: set[tuple[str, str]] = set()
    for entry in entries:
        place = (entry.latest.network, entry.latest.browser)
        if entry.latest.succeeded:
            signed_in_from.add(place)
        elif entry.latest.at > since and place not in signed_in_from:
            return entry
    return None


def _change_own(
    action: Action, installation: Installation, signed_in: SignedInStaff, now: datetime
) -> AbstractContextManager[tuple[Session, PendingAuditEntry]]:
    """Begin a transaction for an action on the member's own account."""
    return action.transaction(installation, signed_in.actor, signed_in.actor.name, now=now)


def acknowledge_failed_sign_ins(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> None:
    """Record that the member has seen all failed sign-ins so far."""
    with installation.write() as session:
        session.get_one(StaffMember, signed_in.member_id).failures_seen_at = now


def change_own_display_name(installation: Installation, signed_in: SignedInStaff, name: str, *, now: datetime) -> None:
    """Change the display name that colleagues see.

    The audit log doesn't record the name, because it couldn't be erased from there.

    Raises:
        OwnAccountError: the name isn't a person's, or a colleague has it.
    """
    with _change_own(CHANGE_NAME, installation, signed_in, now) as (session, draft):
        name = require_plain_person_name(name)
        refuse_taken_name(session, name, own_number=signed_in.member_id)
        member = session.get_one(StaffMember, signed_in.member_id)
        draft.changed = member.name != name
        member.name = name


def require_plain_person_name(name: str) -> str:
    """Return a cleaned-up version of a person's name for showing it to others in emails and corrections.

    Raises:
        OwnAccountError: the name is too long, or could be read as a message or a URL.
    """
    name = clean_display_name(name)
    if _NO_NAME.search(unicodedata.normalize("NFKC", name)):
        raise OwnAccountError(
            "The name contains a URL, an address, a digit, or a colon.", remedy="Enter only a person's name."
        )
    return name


def refuse_taken_name(session: Session, name: str, *, own_number: int | None = None) -> None:
    """Raise `OwnAccountError` if a colleague has the name or one that looks the same."""
    others = [member for member in list_staff_members(session) if member.id != own_number]
    if name and _fold_name(name) in {_fold_name(format_display_name(member.name, member.email)) for member in others}:
        raise OwnAccountError(
            "Another team member already has this name.", remedy="Add a middle initial or your department."
        )


def _fold_name(name: str) -> str:
    """Return a name folded for comparison, so that case, accents, punctuation, and lookalike letters don't count."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in decomposed if c.isalnum()).translate(_LOOK_ALIKES)


def clean_display_name(name: str) -> str:
    """Return a name as a single line without unprintable characters.

    Raises:
        OwnAccountError: the name is too long.
    """
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(name) > MAX_NAME_LENGTH:
        raise OwnAccountError(f"{len(name)} characters is too long for a name. Use at most {MAX_NAME_LENGTH}.")
    return name


def end_own_session(installation: Installation, signed_in: SignedInStaff, session_id: int, *, now: datetime) -> None:
    """End one of the member's sessions.

    Ending a session that has already ended isn't an error.
    """
    with _change_own(END_SESSIONS, installation, signed_in, now) as (session, draft):
        draft.changed = staff_sessions.end_session(session, signed_in.member_id, session_id)
        draft.detail = {"sessions": 1}


def end_other_sessions(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> int:
    """End all of the member's sessions except the current one, and return how many were ended."""
    with _change_own(END_SESSIONS, installation, signed_in, now) as (session, draft):
        ended = staff_sessions.end_sessions(session, signed_in.member_id, keep=signed_in.session_id)
        draft.changed, draft.detail = ended > 0, {"sessions": ended}
        return ended


def begin_authenticator_setup(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> None:
    """Create a secret for a new authenticator app.

    Sign-in doesn't change until a code from the app is confirmed.
    """
    with installation.write() as session:
        authenticator_apps.create_authenticator(session, installation.keys, signed_in.member_id, now=now)


def read_unconfirmed_secret(installation: Installation, signed_in: SignedInStaff) -> str:
    """Return the secret of the app that's awaiting its first code, or an empty string if there's none."""
    with installation.read() as session:
        app = authenticator_apps.find_authenticator(session, signed_in.member_id, waiting=True)
        return authenticator_apps.decrypt_app_secret(installation.keys, app) if app else ""


def make_own_totp_uri(installation: Installation, signed_in: SignedInStaff, secret: str) -> str:
    """Return the `otpauth:` URI that adds a secret to the member's app (Key Uri Format)."""
    return authenticator_apps.make_totp_uri(
        secret, signed_in.email, f"{installation.settings.file.publication.name} desk"
    )


def set_password(
    installation: Installation,
    signed_in: SignedInStaff,
    password: str,
    code: str,
    visitor: Visitor,
    *,
    current: str = "",
    now: datetime,
) -> list[str]:
    """Set the member's password, and confirm a waiting app if its first code is correct.

    All other sessions end. A member who already has a password and an app can leave either field
    empty to keep the current one. A new password requires the `current` one (ASVS 5.0, 6.2.3).

    Returns:
        New recovery codes, which can't be shown again, if the member had none left. Otherwise,
        an empty list.

    Raises:
        PasswordRefusedError: the password is too short, too long, or easily guessed.
        SignInRefusedError: the current password is wrong. The member's log records it.
        TooManyAttemptsError: there were too many attempts at the current password.
        OwnAccountError: the code is wrong, there's no app yet, or nothing was entered.
        SessionEndedError: the session ended in the meantime.
    """
    member_id, keys = signed_in.member_id, installation.keys
    password_hash = None
    SET_PASSWORD.check_permitted(installation, signed_in.actor, signed_in.actor.name, now=now)
    if password:
        passwords.check_password_strength(password, own_words=_list_own_words(installation, signed_in))
        require_current_password(installation, signed_in, current, visitor, now=now)
        password_hash = passwords.hash_password(password)
    with _change_own(SET_PASSWORD, installation, signed_in, now) as (session, draft):
        _require_session(session, signed_in)
        member = session.get_one(StaffMember, member_id, with_for_update=True)
        counts = authenticator_apps.find_authenticator(session, member_id) is not None
        waits = authenticator_apps.find_authenticator(session, member_id, waiting=True) is not None
        if not counts and not waits:
            raise OwnAccountError("You don't have an authenticator app yet. Set one up first.")
        if not password and (member.password_hash is None or not code):
            raise OwnAccountError("Enter a new password." if counts else "Enter a password and a code from your app.")
        takes_app = waits and (bool(code) or not counts)
        if takes_app and not authenticator_apps.confirm_authenticator(session, keys, member_id, code, now=now):
            raise OwnAccountError("That code is wrong. Check your phone's clock, then enter the next code.")
        if password_hash:
            member.password_hash, member.password_at = password_hash, now
        draft.detail = {"password": bool(password), "app": takes_app, "sessions": _end_others(session, signed_in)}
        codes_left = authenticator_apps.count_recovery_codes(session, member_id)
        return [] if codes_left else authenticator_apps.make_recovery_codes(session, member_id)


def _list_own_words(installation: Installation, signed_in: SignedInStaff) -> list[str]:
    publication = installation.settings.file.publication
    texts = (signed_in.email, signed_in.name, publication.name, urlsplit(publication.site).hostname or "")
    return [word for text in texts for word in text.lower().replace("@", " ").replace(".", " ").split()]


def _require_session(session: Session, signed_in: SignedInStaff) -> None:
    if session.get(StaffSession, signed_in.session_id) is None:
        raise SessionEndedError


def _end_others(session: Session, signed_in: SignedInStaff) -> int:
    return staff_sessions.end_sessions(session, signed_in.member_id, keep=signed_in.session_id)


def replace_recovery_codes(installation: Installation, signed_in: SignedInStaff, *, now: datetime) -> list[str]:
    """Replace the member's recovery codes and return the new ones. They can't be shown again.

    Raises:
        OwnAccountError: the member has no authenticator app.
    """
    with _change_own(MAKE_RECOVERY_CODES, installation, signed_in, now) as (session, _):
        if authenticator_apps.find_authenticator(session, signed_in.member_id) is None:
            raise OwnAccountError("Recovery codes require an authenticator app. Set up a password and an app first.")
        return authenticator_apps.make_recovery_codes(session, signed_in.member_id)


@dataclass(frozen=True, slots=True)
class PasskeyRegistration:
    """The data that a page passes to the browser so that it can create a passkey."""

    challenge: str
    party: passkeys.RelyingParty
    user_handle: str
    known_credentials: tuple[str, ...]


def begin_passkey_registration(
    installation: Installation, signed_in: SignedInStaff, *, now: datetime
) -> PasskeyRegistration:
    """Return the data that a browser needs to create a passkey. Nothing is stored."""
    keys = installation.keys
    with installation.read() as session:
        existing_passkeys = passkeys.list_passkeys(session, signed_in.member_id)
    return PasskeyRegistration(
        challenge=passkeys.make_passkey_challenge(keys, "add", signed_in.challenge_subject, now=now),
        party=passkeys.RelyingParty.from_base_url(installation.settings.link_base),
        user_handle=passkeys.encode_base64url(passkeys.make_user_handle(keys, signed_in.member_id)),
        known_credentials=tuple(passkeys.encode_base64url(passkey.credential) for passkey in existing_passkeys),
    )


def add_own_passkey(
    installation: Installation, signed_in: SignedInStaff, answer: str, name: str, *, now: datetime
) -> None:
    """Add a passkey that the browser created.

    Raises:
        PasskeyError: the passkey is invalid, is already registered, or exceeds the limit.
        OwnAccountError: the name is too long.
    """
    name = clean_display_name(name) or f"Passkey of {now:%Y-%m-%d}"
    party = passkeys.RelyingParty.from_base_url(installation.settings.link_base)
    with _change_own(ADD_PASSKEY, installation, signed_in, now) as (session, _):
        passkeys.add_passkey(
            session,
            installation.keys,
            party,
            signed_in.member_id,
            answer,
            name,
            subject=signed_in.challenge_subject,
            now=now,
        )


def rename_own_passkey(
    installation: Installation, signed_in: SignedInStaff, passkey_id: int, name: str, *, now: datetime
) -> None:
    """Rename one of the member's passkeys, unless the name is empty.

    Raises:
        OwnAccountError: the name is too long, or there's no such passkey.
    """
    name = clean_display_name(name)
    with _change_own(RENAME_PASSKEY, installation, signed_in, now) as (session, draft):
        passkey = _require_passkey(session, signed_in, passkey_id)
        draft.changed = bool(name) and name != passkey.name
        passkey.name = name or passkey.name


def remove_own_passkey(installation: Installation, signed_in: SignedInStaff, passkey_id: int, *, now: datetime) -> None:
    """Remove one of the member's passkeys unless it's their only way to sign in.

    Raises:
        OwnAccountError: there's no such passkey, or it's the only way to sign in.
    """
    with _change_own(REMOVE_PASSKEY, installation, signed_in, now) as (session, _):
        passkey = _require_passkey(session, signed_in, passkey_id)
        member = session.get_one(StaffMember, signed_in.member_id)
        count = len(passkeys.list_passkeys(session, member.id))
        app = authenticator_apps.find_authenticator(session, member.id)
        if count == 1 and (member.password_hash is None or app is None):
            raise OwnAccountError(
                "This is your only way to sign in. First add another passkey, or set up a password and an "
                "authenticator app."
            )
        session.delete(passkey)


def _require_passkey(session: Session, signed_in: SignedInStaff, passkey_id: int) -> Passkey:
    own = (Passkey.id == passkey_id, Passkey.staff == signed_in.member_id)
    passkey = session.scalar(select(Passkey).where(*own).with_for_update())
    if passkey is None:  # even a passkey with an invalid seal can be removed
        raise OwnAccountError("This passkey has already been removed. Reload the page.")
    return passkey


def delete_sign_in_methods(session: Session, member: StaffMember) -> None:
    """Delete a member's sign-in methods and end their sessions.

    The member can still sign in with a link made in the terminal.
    """
    staff_sessions.end_sessions(session, member.id)
    authenticator_apps.delete_authenticators(session, member.id)
    authenticator_apps.delete_recovery_codes(session, member.id)
    session.execute(delete(Passkey).where(Passkey.staff == member.id), execution_options={"synchronize_session": False})
    member.password_hash = member.password_at = None
