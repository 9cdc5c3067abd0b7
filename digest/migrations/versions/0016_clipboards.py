"""Editors' own clipboards. No row moves."""

import sqlalchemy as sa
from alembic import op

import subscribers.store.models

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clipping",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("edition_id", sa.Integer(), nullable=False),
        sa.Column("at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.Column("target", sa.String(length=2000), nullable=False),
        sa.Column("field", sa.String(length=20), server_default="", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name=op.f("fk_clipping_edition_id_edition"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clipping")),
        sa.UniqueConstraint("owner", "edition_id", "target", "field", name="uq_clipping_kept_once"),
    )


def downgrade() -> None:
    op.drop_table("clipping")
