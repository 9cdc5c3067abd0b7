"""The tables for corrections made to editions after sending began, and for approvals of the corrections' emails."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from digest.store.approval_models import SignatureColumns
from subscribers.store.column_types import RowId, Str20, Str40, Str200
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import Base, Moment


class Correction(KeyedSealModel):
    """A correction to a story's text, made after sending of the edition began.

    It's kept, and its text never changes. `url` is the story's link in the edition, `section` is its
    section's key, and `field` is the text that was wrong. `signed` is the name shown to subscribers.

    The email is requested at most once (`mail_asked_at`). `mail_statement` lists what the
    signatures approve, and `mail_approved_at` is when the last required signature was given.
    `mail_planned_at` is set once everyone who is owed the email has a delivery.
    """

    __tablename__ = "correction"
    __table_args__ = (
        UniqueConstraint("edition_id", "seq", name="uq_correction_one_a_number"),
        Index("ix_correction_at", "at"),  # drafting: corrections for the next edition
    )
    __sealed__ = (
        *("edition_id", "seq", "at", "actor", "signed", "url", "section", "headline", "field", "was", "becomes"),
        *("note", "is_carried"),
    )
    # The email is authenticated by the signatures.
    __unsealed__ = ("id", "mail_asked_at", "mail_asked_by", "mail_statement", "mail_approved_at", "mail_planned_at")

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    seq: Mapped[int]  # counted from 1 within the edition
    at: Mapped[Moment]
    actor: Mapped[Str200]
    signed: Mapped[Str200]
    url: Mapped[str]
    section: Mapped[Str40]
    headline: Mapped[str]  # the story's headline as sent
    field: Mapped[Str20]  # headline | summary
    was: Mapped[str]
    becomes: Mapped[str]
    note: Mapped[str]  # explanation of the error, for subscribers
    is_carried: Mapped[bool]  # True if it appears in the next edition
    mail_asked_at: Mapped[datetime | None]
    mail_asked_by: Mapped[Str200] = mapped_column(default="", server_default="")
    mail_statement: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    mail_approved_at: Mapped[datetime | None]
    mail_planned_at: Mapped[datetime | None]

    signatures: Mapped[list["CorrectionSignature"]] = relationship(
        order_by="CorrectionSignature.id", lazy="selectin", cascade="all, delete-orphan"
    )


class CorrectionSignature(SignatureColumns, Base):
    """One person's approval of a correction's email."""

    __tablename__ = "correction_signature"
    __table_args__ = (UniqueConstraint("correction_id", "actor", name="uq_correction_signature_one_a_person"),)

    id: Mapped[RowId]
    correction_id: Mapped[int] = mapped_column(ForeignKey("correction.id", ondelete="CASCADE"))
