"""Notes with which colleagues send an edition back. No row moves."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sent_back_note",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("edition_id", sa.Integer(), sa.ForeignKey("edition.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("done_at", UtcDateTime()),
        sa.Column("done_by", sa.String(200)),
    )
    op.create_index("ix_sent_back_note_edition", "sent_back_note", ["edition_id"])


def downgrade() -> None:
    op.drop_table("sent_back_note")
