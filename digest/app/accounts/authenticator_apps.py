"""Authenticator app codes (RFC 6238, section 4), and the recovery codes that can replace them.

Libraries are imported inside functions, because most requests and commands don't need them.
"""

import hashlib
import hmac
import io
import re
import secrets
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from digest.store.account_models import AuthenticatorApp, RecoveryCode
from digest.store.staff_revocations import read_revocations
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.store.keyed_row_seals import filter_genuine_rows, keep_if_genuine

STEP_SECONDS = 30
STEPS_BESIDE = 1  # allows for a clock that's one step fast or slow
RECOVERY_CODES = 10
_RECOVERY_CODE_LENGTH = 30  # base32 characters, or 150 random bits, so a plain hash is enough
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def create_authenticator(session: Session, keys: KeyRing, staff: int, *, now: datetime) -> None:
    """Store a new unconfirmed secret for a member, replacing any earlier unconfirmed one.

    A confirmed app keeps working.
    """
    import pyotp

    _delete_code_apps(session, staff, AuthenticatorApp.confirmed_at.is_(None))
    ciphertext, key_id = _encrypt_secret(keys, staff, pyotp.random_base32())
    session.add(AuthenticatorApp(staff=staff, ciphertext=ciphertext, key_id=key_id, made_at=now))
    session.flush()


def find_authenticator(
    session: Session, staff: int, *, waiting: bool = False, lock: bool = False
) -> AuthenticatorApp | None:
    """Return a member's confirmed app, or None if there's none.

    With `waiting`, return the app that's awaiting its first code instead. Forged and revoked rows
    are ignored. With `lock`, lock the row until the transaction ends.
    """
    state = AuthenticatorApp.confirmed_at.is_(None) if waiting else AuthenticatorApp.confirmed_at.is_not(None)
    query = select(AuthenticatorApp).where(AuthenticatorApp.staff == staff, state).order_by(AuthenticatorApp.id)
    apps = session.scalars(query.with_for_update() if lock else query)
    revoked = read_revocations(session)[staff]
    return next((app for app in filter_genuine_rows(session, apps) if revoked.is_current_method(app)), None)


def delete_authenticators(session: Session, staff: int) -> None:
    """Delete all of a member's apps, confirmed or not."""
    _delete_code_apps(session, staff, AuthenticatorApp.id.is_not(None))


def _delete_code_apps(session: Session, staff: int, condition: ColumnElement[bool]) -> None:
    statement = delete(AuthenticatorApp).where(AuthenticatorApp.staff == staff, condition)
    session.execute(statement, execution_options={"synchronize_session": False})


def decrypt_app_secret(keys: KeyRing, app: AuthenticatorApp) -> str:
    """Return an app's secret in base32.

    Raises:
        DecryptionError: the row was changed or belongs to another member.
    """
    secret: str = decrypt_json(keys, (app.ciphertext, app.key_id), bound_to=f"code app {app.staff}")["secret"]
    return secret


def _encrypt_secret(keys: KeyRing, staff: int, secret: str) -> tuple[bytes, str]:
    return encrypt_json(keys, {"secret": secret}, bound_to=f"code app {staff}")


def make_totp_uri(secret: str, account: str, issuer: str) -> str:
    """Return the `otpauth:` URI that adds a secret to an authenticator app (Key Uri Format)."""
    import pyotp

    uri: str = pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)
    return uri


def draw_qr_code(text: str) -> bytes:
    """Return a QR code for some text as SVG.

    It's dark on light in every color scheme, so that cameras can read it.
    """
    import segno

    buffer = io.BytesIO()
    segno.make_qr(text, error="m").save(buffer, kind="svg", scale=5, border=4, dark="#000", light="#fff")
    return buffer.getvalue()


def find_totp_step(secret: str, code: str, *, after: int | None, now: datetime) -> int | None:
    """Return the 30-second time step that a code belongs to, or None if the code isn't valid.

    A code is valid for the current and the adjacent steps, unless its step isn't later than
    `after`.
    """
    digits = re.sub(r"\s", "", code)
    if not re.fullmatch(r"\d{6}", digits, re.ASCII):
        return None
    import pyotp

    present = int(now.timestamp()) // STEP_SECONDS
    generator = pyotp.TOTP(secret)
    steps = range(present - STEPS_BESIDE, present + STEPS_BESIDE + 1)
    matching = [step for step in steps if hmac.compare_digest(generator.at(step * STEP_SECONDS), digits)]
    return next((step for step in matching if after is None or step > after), None)


def use_totp_code(session: Session, keys: KeyRing, staff: int, code: str, *, now: datetime) -> bool:
    """Check a code from a member's app and return True if it's valid.

    Each code works only once. A secret that was encrypted with an older key is encrypted again.
    """
    app = find_authenticator(session, staff, lock=True)
    return app is not None and _take_step(keys, app, code, now)


def confirm_authenticator(session: Session, keys: KeyRing, staff: int, code: str, *, now: datetime) -> bool:
    """Confirm a member's waiting app and return True if `code` is valid.

    Any earlier app is deleted.
    """
    app = find_authenticator(session, staff, waiting=True, lock=True)
    if app is None or not _take_step(keys, app, code, now):
        return False
    _delete_code_apps(session, staff, AuthenticatorApp.id != app.id)
    app.confirmed_at = now
    return True


def _take_step(keys: KeyRing, app: AuthenticatorApp, code: str, now: datetime) -> bool:
    secret = decrypt_app_secret(keys, app)
    step = find_totp_step(secret, code, after=app.last_step, now=now)
    if step is None:
        return False
    app.last_step = step
    if app.key_id != keys.current("vault").id:
        app.ciphertext, app.key_id = _encrypt_secret(keys, app.staff, secret)
    return True


def make_recovery_codes(session: Session, staff: int) -> list[str]:
    """Replace a member's recovery codes and return the new ones. They can't be shown again."""
    delete_recovery_codes(session, staff)
    codes = [_make_recovery_code() for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(staff=staff, hash=_hash_recovery_code(code)) for code in codes)
    session.flush()
    return codes


def _make_recovery_code() -> str:
    letters = "".join(secrets.choice(_BASE32) for _ in range(_RECOVERY_CODE_LENGTH))
    return "-".join(letters[start : start + 6] for start in range(0, _RECOVERY_CODE_LENGTH, 6))


def _hash_recovery_code(code: str) -> str:
    letters = re.sub(r"[\s-]", "", code).lower()
    return hashlib.sha256(b"recovery code\0" + letters.encode()).hexdigest()


def use_recovery_code(session: Session, staff: int, code: str, *, now: datetime) -> bool:
    """Use up a recovery code and return True if it was valid.

    If two requests use the same code at once, only one of them succeeds.
    """
    own = (RecoveryCode.staff == staff, RecoveryCode.hash == _hash_recovery_code(code), RecoveryCode.used_at.is_(None))
    row = keep_if_genuine(session, session.scalar(select(RecoveryCode).where(*own).with_for_update()))
    if row is not None:
        row.used_at = now
    return row is not None


def count_recovery_codes(session: Session, staff: int) -> int:
    """Return how many recovery codes a member has left."""
    own = (RecoveryCode.staff == staff, RecoveryCode.used_at.is_(None))
    return len(filter_genuine_rows(session, session.scalars(select(RecoveryCode).where(*own))))


def delete_recovery_codes(session: Session, staff: int) -> None:
    """Delete all of a member's recovery codes, including used ones."""
    session.execute(
        delete(RecoveryCode).where(RecoveryCode.staff == staff), execution_options={"synchronize_session": False}
    )
