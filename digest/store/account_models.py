"""The tables behind signing in: sessions, passkeys, codes, and the log of sign-ins. What is secret is a hash or encrypted."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str16, Str20, Str40, Str60, Str64
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import Base, Moment


class EditingPresence(Base):
    """That a member has an edition open at the desk. `place` is the anchor of what they are at; a row is written over."""

    __tablename__ = "presence"

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[Str40]
    seen_at: Mapped[Moment]


class StaffSession(KeyedSealModel):
    """One browser in which a member of the staff is signed in. The row is deleted when the session ends.

    `fresh_at` is when the member last proved who they are in it; `network` and `browser` are as the member is shown them.
    """

    __tablename__ = "staff_session"
    __sealed__ = ("id", "hash", "staff", "began_at", "used_at", "fresh_at")
    __unsealed__ = ("network", "browser")
    __table_args__ = (
        UniqueConstraint("hash", name="uq_staff_session_one_row_a_token"),
        Index("ix_staff_session_staff", "staff"),  # the sessions of one member
    )

    hash: Mapped[Str64]  # of the cookie's token
    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    began_at: Mapped[Moment]
    used_at: Mapped[Moment]
    fresh_at: Mapped[Moment]
    network: Mapped[str] = mapped_column(String(50))
    browser: Mapped[Str60]


class Passkey(KeyedSealModel):
    """A member's passkey: its public half, and the name that the member gave it."""

    __tablename__ = "passkey"
    __sealed__ = ("staff", "credential", "public_key", "sign_count", "made_at")
    __unsealed__ = ("id", "name", "used_at")
    __table_args__ = (
        UniqueConstraint("credential", name="uq_passkey_one_row_a_credential"),
        Index("ix_passkey_staff", "staff"),  # the passkeys of one member
    )

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    credential: Mapped[bytes]
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[Str60]
    made_at: Mapped[Moment]
    used_at: Mapped[datetime | None]


class AuthenticatorApp(KeyedSealModel):
    """The secret that a member's app makes six-digit codes of, encrypted. It counts once a code of it was typed.

    A member has one that counts, and perhaps one that waits for its first code.
    `last_step` is the step of 30 seconds whose code was used last: no code works twice (RFC 6238, section 5.2).
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
    """A code that stands in for the app once; its hash."""

    __tablename__ = "recovery_code"
    __sealed__ = ("staff", "hash", "used_at")
    __unsealed__ = ("id",)
    __table_args__ = (UniqueConstraint("staff", "hash", name="uq_recovery_code_one_row_a_code"),)

    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    hash: Mapped[Str64]
    used_at: Mapped[datetime | None]


class SignInAttempt(Base):
    """One try to sign in as a member, whether it worked or not; the member sees it, for 90 days."""

    __tablename__ = "sign_in"
    __table_args__ = (
        Index("ix_sign_in_staff", "staff", "at"),  # the log of one member
        Index("ix_sign_in_at", "at"),  # every night: what is old goes
    )

    id: Mapped[RowId]
    staff: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    at: Mapped[Moment]
    method: Mapped[Str20]
    passkey: Mapped[Str60] = mapped_column(default="")  # its name at that time
    succeeded: Mapped[bool]
    network: Mapped[str] = mapped_column(String(50))
    browser: Mapped[Str60]


class UsedChallenge(Base):
    """A challenge that a passkey has answered: it is taken once. The row goes when the challenge has run out."""

    __tablename__ = "used_challenge"

    hash: Mapped[Str64] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
