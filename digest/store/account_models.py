"""The tables for signing in: sessions, passkeys, codes, and the sign-in log.

All secrets are hashed or encrypted.
"""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str16, Str20, Str40, Str60, Str64
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import Base, Moment


class EditingPresence(Base):
    """A staff member who currently has an edition open in the editor.

    `place` is the anchor of the part of the edition that they're viewing.
    """

    __tablename__ = "presence"

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[Str40]
    seen_at: Mapped[Moment]


class StaffSession(KeyedSealModel):
    """A browser session of a signed-in staff member, deleted when it ends.

    `fresh_at` is when the member last confirmed their identity in this session. `network` and
    `browser` are for display to the member.
    """

    __tablename__ = "staff_session"
    __sealed__ = ("id", "hash", "staff", "began_at", "used_at", "fresh_at")
    __unsealed__ = ("network", "browser")
    __table_args__ = (
        UniqueConstraint("hash", name="uq_staff_session_one_row_a_token"),
        Index("ix_staff_session_staff", "staff"),  # all sessions of a member
    )

    hash: Mapped[Str64]  # of the token in the cookie
    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    began_at: Mapped[Moment]
    used_at: Mapped[Moment]
    fresh_at: Mapped[Moment]
    network: Mapped[str] = mapped_column(String(50))
    browser: Mapped[Str60]


class Passkey(KeyedSealModel):
    """A staff member's passkey: its public key and the name that the member gave it."""

    __tablename__ = "passkey"
    __sealed__ = ("staff", "credential", "public_key", "sign_count", "made_at")
    __unsealed__ = ("id", "name", "used_at")
    __table_args__ = (
        UniqueConstraint("credential", name="uq_passkey_one_row_a_credential"),
        Index("ix_passkey_staff", "staff"),  # all passkeys of a member
    )

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    credential: Mapped[bytes]
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[Str60]
    made_at: Mapped[Moment]
    used_at: Mapped[datetime | None]


class AuthenticatorApp(KeyedSealModel):
    """The encrypted secret of a staff member's authenticator app.

    The app is valid once the member has entered a code from it. A member has at most one confirmed
    app, and possibly another that awaits its first code. `last_step` is the 30-second step whose
    code was last used, so that no code works twice (RFC 6238, section 5.2).
    """

    __tablename__ = "code_app"
    __sealed__ = ("staff", "ciphertext", "key_id", "made_at", "confirmed_at", "last_step")
    __unsealed__ = ("id",)
    __table_args__ = (Index("ix_code_app_staff", "staff"),)

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    made_at: Mapped[Moment]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)


class RecoveryCode(KeyedSealModel):
    """The hash of a recovery code, which can be used once in place of an authenticator code."""

    __tablename__ = "recovery_code"
    __sealed__ = ("staff", "hash", "used_at")
    __unsealed__ = ("id",)
    __table_args__ = (UniqueConstraint("staff", "hash", name="uq_recovery_code_one_row_a_code"),)

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    hash: Mapped[Str64]
    used_at: Mapped[datetime | None]


class SignInAttempt(Base):
    """An attempt, successful or not, to sign in as a member.

    The member can see their attempts for 90 days.
    """

    __tablename__ = "sign_in"
    __table_args__ = (
        Index("ix_sign_in_staff", "staff", "at"),  # all attempts for a member
        Index("ix_sign_in_at", "at"),  # nightly deletion of old rows
    )

    id: Mapped[RowId]
    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    at: Mapped[Moment]
    method: Mapped[Str20]
    passkey: Mapped[Str60] = mapped_column(default="")  # the passkey's name at the time
    succeeded: Mapped[bool]
    network: Mapped[str] = mapped_column(String(50))
    browser: Mapped[Str60]


class UsedChallenge(Base):
    """A passkey challenge that has been answered and so can't be used again.

    The row is deleted once the challenge has expired.
    """

    __tablename__ = "used_challenge"

    hash: Mapped[Str64] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
