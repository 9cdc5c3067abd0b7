"""What was put right in editions that went out. No row moves: nothing of before was corrected."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "correction",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("edition_id", sa.Integer(), sa.ForeignKey("edition.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("signed", sa.String(200), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("section", sa.String(40), nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("field", sa.String(20), nullable=False),
        sa.Column("was", sa.Text(), nullable=False),
        sa.Column("becomes", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("is_carried", sa.Boolean(), nullable=False),
        sa.Column("mail_asked_at", UtcDateTime(), nullable=True),
        sa.Column("mail_asked_by", sa.String(200), server_default="", nullable=False),
        sa.Column("mail_planned_at", UtcDateTime(), nullable=True),
        sa.UniqueConstraint("edition_id", "seq", name="uq_correction_one_a_number"),
    )
    op.create_index("ix_correction_at", "correction", ["at"])


def downgrade() -> None:
    op.drop_table("correction")
