"""The tables for approved versions of editions: their content, signatures, and rendered fragments."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from subscribers.store.column_types import RowId, Str10, Str64, Str200
from subscribers.store.models import Base, Json, Moment, enum_by_value


class ApprovalState(StrEnum):
    """The state of an approval.

    An approval may wait for another approver before it becomes valid. It ends when an edit
    supersedes it or when it's revoked. These two states are final.
    """

    WAITING = "waiting"
    VALID = "standing"
    SUPERSEDED = "superseded"
    REVOKED = "taken back"


class Approval(Base):
    """An approved version of an edition.

    Only its state, and who ended it and when, ever change. The valid version is the one that is
    sent or was sent. `content_hash` covers `statement`, which lists everything approved. `content`
    is the edition's text, for people to compare. `edit_seq` is the number of the last edit
    included. `editor_counts` shows how much editors changed
    (`digest.edition.content.editor_changes`), or is None if it wasn't counted.
    """

    __tablename__ = "approval"
    __table_args__ = (
        UniqueConstraint("edition_id", "version", name="uq_approval_one_a_version"),
        # All messages of a send use the same version, so an edition has at most one valid version.
        Index(
            "ix_approval_one_standing",
            "edition_id",
            unique=True,
            sqlite_where=text("state = 'standing'"),
            postgresql_where=text("state = 'standing'"),
        ),
    )

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    version: Mapped[int]  # counted from 1 within the edition
    state: Mapped[ApprovalState] = mapped_column(enum_by_value(ApprovalState))
    content_hash: Mapped[Str64]
    statement: Mapped[Json]
    content: Mapped[dict[str, Any]] = mapped_column(JSON, deferred=True)
    edit_seq: Mapped[int]  # 0 before the first edit
    editor_counts: Mapped[dict[str, int] | None] = mapped_column(JSON(none_as_null=True))
    made_at: Mapped[Moment]
    stood_at: Mapped[datetime | None]  # when the last required approval was given
    ended_at: Mapped[datetime | None]  # when it was superseded or revoked
    ended_by: Mapped[Str200 | None]  # an actor's name
    ended_by_edit: Mapped[int | None]  # number of the edit that superseded it
    ended_because: Mapped[str] = mapped_column(default="", server_default="")  # the reason, if it wasn't an edit

    signatures: Mapped[list["ApprovalSignature"]] = relationship(order_by="ApprovalSignature.id", lazy="selectin")


class SignatureColumns:
    """Columns for one person's approval.

    `signature` is an HMAC with a key that isn't stored in the database.
    """

    actor: Mapped[Str200]
    at: Mapped[Moment]
    signature: Mapped[Str64]


class ApprovalSignature(SignatureColumns, Base):
    """One person's approval of a version."""

    __tablename__ = "approval_signature"
    __table_args__ = (UniqueConstraint("approval_id", "actor", name="uq_approval_signature_one_a_person"),)

    id: Mapped[RowId]
    approval_id: Mapped[int] = mapped_column(ForeignKey("approval.id", ondelete="CASCADE"))


class ApprovedRenderedFragment(Base):
    """A rendered fragment of an approved version. Fragments never change."""

    __tablename__ = "approved_fragment"
    __table_args__ = (UniqueConstraint("approval_id", "kind", "name", name="uq_approved_fragment_one_a_place"),)

    id: Mapped[RowId]
    approval_id: Mapped[int] = mapped_column(ForeignKey("approval.id", ondelete="CASCADE"))
    kind: Mapped[Str10]  # html | text | web | page | short | short-text
    name: Mapped[str] = mapped_column(String(500))
    position: Mapped[int]
    body: Mapped[str]
    slots: Mapped[list[tuple[int, str]]] = mapped_column(JSON)  # see `RenderedEditionFragment`


class SentBackNote(Base):
    """A change that a colleague requests before an edition is sent.

    It's shown in the editor until someone marks it as done.
    """

    __tablename__ = "sent_back_note"
    __table_args__ = (Index("ix_sent_back_note_edition", "edition_id"),)  # all notes on an edition

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    at: Mapped[Moment]
    actor: Mapped[Str200]
    text: Mapped[str]
    done_at: Mapped[datetime | None]
    done_by: Mapped[Str200 | None]
