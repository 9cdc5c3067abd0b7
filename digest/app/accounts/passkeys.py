"""Passkeys (WebAuthn level 2): challenges, and browsers' responses to them.

The relying party is derived from the base URL, never from the request. A challenge contains its own
expiry time and a keyed hash, so nothing is stored when one is issued. A used challenge is
remembered until it expires, so it can't be used twice.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.store.account_models import Passkey, UsedChallenge
from digest.store.staff_revocations import read_revocations
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.store.database import upsert
from subscribers.store.keyed_row_seals import filter_genuine_rows, keep_if_genuine

if TYPE_CHECKING:
    from webauthn.authentication.verify_authentication_response import VerifiedAuthentication

CHALLENGE_LIFETIME = timedelta(hours=1)
MAX_ANSWER_LENGTH = 20_000  # characters; a browser's response has a few thousand
MAX_PASSKEYS = 20  # per member
ChallengePurpose = Literal["sign in", "confirm", "add"]


class PasskeyError(RefusalError):
    """Raised when a passkey is rejected. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """A WebAuthn relying party: the host name that passkeys belong to, and the only valid origin."""

    id: str
    origin: str

    @classmethod
    def from_base_url(cls, base_url: str) -> "RelyingParty":
        """Return the relying party for the site's base URL."""
        parts = urlsplit(base_url)
        return cls(parts.hostname or "", f"{parts.scheme}://{parts.netloc}".lower())


def make_passkey_challenge(keys: KeyRing, purpose: ChallengePurpose, subject: str, *, now: datetime) -> str:
    """Return a base64url challenge that's valid only for `subject`.

    `subject` identifies a session, or is empty before sign-in.
    """
    ends = int((now + CHALLENGE_LIFETIME).timestamp())
    body = secrets.token_bytes(16) + ends.to_bytes(8, "big")
    return encode_base64url(body + _sign_challenge(keys.current("session").secret, purpose, subject, body))


def _check_challenge(
    keys: KeyRing, challenge: bytes, purpose: ChallengePurpose, subject: str, now: datetime
) -> datetime:
    """Return the expiry time of a challenge that we issued.

    Raises:
        PasskeyError: the challenge isn't ours, has another purpose, or has expired.
    """
    body, signature = challenge[:24], challenge[24:]
    expected = (_sign_challenge(key.secret, purpose, subject, body) for key in keys.of_kind("session"))
    if len(challenge) != 24 + 32 or not any(hmac.compare_digest(signature, candidate) for candidate in expected):
        raise PasskeyError("This request came from a different page. Try again.")
    ends = datetime.fromtimestamp(int.from_bytes(body[16:], "big"), UTC)
    if ends <= now:
        raise PasskeyError("The page was open for more than an hour. Try again.")
    return ends


def _sign_challenge(secret: bytes, purpose: str, subject: str, body: bytes) -> bytes:
    return hmac.digest(secret, b"\0".join((b"challenge", purpose.encode(), subject.encode(), body)), "sha256")


def _use_challenge(session: Session, challenge: bytes, ends: datetime) -> None:
    """Record that a challenge has been used.

    Raises:
        PasskeyError: the challenge was used before.
    """
    row = {"hash": hashlib.sha256(challenge).hexdigest(), "expires_at": ends}
    statement = upsert(session, UsedChallenge).values(row).on_conflict_do_nothing(index_elements=["hash"])
    if session.scalar(statement.returning(UsedChallenge.hash)) is None:
        raise PasskeyError("This passkey response has already been used. Try again.")


def delete_old_challenges(session: Session, *, now: datetime) -> None:
    """Delete used challenges that have expired."""
    session.execute(delete(UsedChallenge).where(UsedChallenge.expires_at <= now))


def make_user_handle(keys: KeyRing, staff: int) -> bytes:
    """Return the user handle that identifies a member to authenticators.

    The handle never changes and reveals nothing about the member (WebAuthn, 14.6.1).
    """
    return hmac.digest(keys.of_kind("session")[0].secret, f"passkey of staff {staff}".encode(), "sha256")


def list_passkeys(session: Session, staff: int) -> Sequence[Passkey]:
    """Return a member's passkeys, oldest first, except forged and revoked ones."""
    rows = session.scalars(select(Passkey).where(Passkey.staff == staff).order_by(Passkey.id))
    revoked = read_revocations(session)[staff]
    return [row for row in filter_genuine_rows(session, rows) if revoked.is_current_method(row)]


def find_passkey(session: Session, answer: str, *, lock: bool = False) -> Passkey | None:
    """Return the passkey that a response claims to come from, without verifying the response.

    Return None if the passkey is unknown, forged, or revoked.

    Raises:
        PasskeyError: the response is too long or isn't a JSON object.
    """
    credential = _from_base64url(str(_read_answer(answer).get("id", "")))
    query = select(Passkey).where(Passkey.credential == credential)
    row = keep_if_genuine(session, session.scalar(query.with_for_update() if lock else query))
    return row if row is not None and read_revocations(session)[row.staff].is_current_method(row) else None


def verify_passkey_sign_in(
    session: Session,
    keys: KeyRing,
    party: RelyingParty,
    passkey: Passkey,
    answer: str,
    *,
    purpose: ChallengePurpose,
    subject: str,
    now: datetime,
) -> None:
    """Verify that a response was made with a passkey whose authenticator verified the user.

    Raises:
        PasskeyError: verification failed, or the challenge isn't ours, has expired, or was used
            before.
    """
    from webauthn import verify_authentication_response
    from webauthn.helpers.exceptions import WebAuthnException

    challenge = _read_challenge(answer)
    _use_challenge(session, challenge, _check_challenge(keys, challenge, purpose, subject, now))
    try:
        verified: VerifiedAuthentication = verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise PasskeyError("Couldn't verify this passkey. Try again, or use your password.") from None
    passkey.sign_count, passkey.used_at = verified.new_sign_count, now


def add_passkey(
    session: Session,
    keys: KeyRing,
    party: RelyingParty,
    staff: int,
    answer: str,
    name: str,
    *,
    subject: str,
    now: datetime,
) -> Passkey:
    """Verify a new passkey and store its public key for a member.

    Raises:
        PasskeyError: the passkey is invalid, is already registered, or exceeds the limit.
    """
    from webauthn import verify_registration_response
    from webauthn.helpers.exceptions import WebAuthnException

    if len(list_passkeys(session, staff)) >= MAX_PASSKEYS:
        raise PasskeyError(f"You already have {MAX_PASSKEYS} passkeys. Remove one before you add another.")
    challenge = _read_challenge(answer)
    _use_challenge(session, challenge, _check_challenge(keys, challenge, "add", subject, now))
    try:
        verified = verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise PasskeyError("Couldn't verify this passkey, so it wasn't added. Try again.") from None
    passkey = Passkey(
        staff=staff,
        credential=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        name=name,
        made_at=now,
    )
    try:
        with session.begin_nested():
            session.add(passkey)
    except IntegrityError:
        raise PasskeyError("You've already added this passkey. Use a different one.") from None
    return passkey


def _read_answer(answer: str) -> dict[str, Any]:
    """Parse a browser's response as JSON.

    Raises:
        PasskeyError: the response is too long or isn't a JSON object.
    """
    if len(answer) <= MAX_ANSWER_LENGTH:
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    raise PasskeyError("The browser didn't send a passkey. Try again, or use your password.")


def _read_challenge(answer: str) -> bytes:
    """Return the challenge in a browser's response, without verifying the response.

    Our pages can't be framed, so a response made in another site's frame isn't meant for us
    (WebAuthn level 3, 5.8.1).

    Raises:
        PasskeyError: the response has no client data, or was made in a frame on another site.
    """
    response = _read_answer(answer).get("response")
    browser_data = response.get("clientDataJSON") if isinstance(response, dict) else None
    try:
        client_data = json.loads(_from_base64url(str(browser_data)))
        challenge = _from_base64url(str(client_data["challenge"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PasskeyError("The browser didn't send a passkey. Try again, or use your password.") from None
    if client_data.get("crossOrigin", False) is not False or "topOrigin" in client_data:
        raise PasskeyError("This passkey was used on another site. Open the sign-in page in its own tab and try again.")
    return challenge


def encode_base64url(value: bytes) -> str:
    """Return bytes encoded as base64url without padding, as in WebAuthn's JSON."""
    from webauthn.helpers import bytes_to_base64url

    text: str = bytes_to_base64url(value)
    return text


def _from_base64url(text: str) -> bytes:
    """Return the bytes that base64url text encodes, or an empty value if the text isn't base64url."""
    from webauthn.helpers import base64url_to_bytes

    try:
        decoded: bytes = base64url_to_bytes(text)
    except ValueError:
        return b""
    return decoded
