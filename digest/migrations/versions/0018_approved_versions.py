"""Approved versions: an approval that stands becomes version 1 of its edition, with its signature and a copy of its fragments.

The column `approval` of `edition` stays as it was, and nothing reads it any more.
"""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

EDITION = sa.table(
    "edition",
    sa.column("id", sa.Integer()),
    sa.column("content", sa.JSON()),
    sa.column("approval", sa.JSON()),
    sa.column("approved_by", sa.String()),
    sa.column("approved_at", UtcDateTime()),
    sa.column("drafted_at", UtcDateTime()),
)
EDIT = sa.table("edit", sa.column("edition_id", sa.Integer()), sa.column("seq", sa.Integer()))
FRAGMENT_COLUMNS = ("kind", "name", "position", "body")
FRAGMENT = sa.table("fragment", sa.column("id"), sa.column("edition_id"), *map(sa.column, FRAGMENT_COLUMNS))


def upgrade() -> None:
    approval = op.create_table(
        "approval",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("edition_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting", "standing", "superseded", "taken back", name="approvalstate", native_enum=False, length=40
            ),
            nullable=False,
        ),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("statement", sa.JSON(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("edit_seq", sa.Integer(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("stood_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.Column("ended_by_edit", sa.Integer(), nullable=True),
        sa.Column("ended_because", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name=op.f("fk_approval_edition_id_edition"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.UniqueConstraint("edition_id", "version", name="uq_approval_one_a_version"),
    )
    op.create_index(
        "ix_approval_one_standing",
        "approval",
        ["edition_id"],
        unique=True,
        sqlite_where=sa.text("state = 'standing'"),
        postgresql_where=sa.text("state = 'standing'"),
    )
    signature = op.create_table(
        "approval_signature",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("approval_id", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"],
            ["approval.id"],
            name=op.f("fk_approval_signature_approval_id_approval"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_signature")),
        sa.UniqueConstraint("approval_id", "actor", name="uq_approval_signature_one_a_person"),
    )
    fragment = op.create_table(
        "approved_fragment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("approval_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name=op.f("fk_approved_fragment_approval_id_approval"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approved_fragment")),
        sa.UniqueConstraint("approval_id", "kind", "name", name="uq_approved_fragment_one_a_place"),
    )
    _copy_approvals(approval, signature, fragment)


def _copy_approvals(approval: sa.Table, signature: sa.Table, fragment: sa.Table) -> None:
    connection = op.get_bind()
    for edition in connection.execute(sa.select(EDITION)).all():
        if not edition.approval:
            continue
        at = edition.approved_at or edition.drafted_at
        last_edit = sa.select(sa.func.max(EDIT.c.seq)).where(EDIT.c.edition_id == edition.id)
        values = {
            "edition_id": edition.id,
            "version": 1,
            "state": "standing",
            "content_hash": edition.approval["mark"],
            "statement": edition.approval["stated"],
            "content": edition.content,
            "edit_seq": connection.scalar(last_edit) or 0,
            "made_at": at,
            "stood_at": at,
        }
        number = connection.scalar(sa.insert(approval).values(**values).returning(approval.c.id))
        connection.execute(
            sa.insert(signature).values(
                approval_id=number, actor=edition.approved_by or "", at=at, signature=edition.approval["signature"]
            )
        )
        pieces = (
            sa.select(sa.literal(number), *(FRAGMENT.c[name] for name in FRAGMENT_COLUMNS))
            .where(FRAGMENT.c.edition_id == edition.id)
            .order_by(FRAGMENT.c.position, FRAGMENT.c.id)
        )
        connection.execute(sa.insert(fragment).from_select(("approval_id", *FRAGMENT_COLUMNS), pieces))


def downgrade() -> None:
    for table in ("approved_fragment", "approval_signature", "approval"):
        op.drop_table(table)
