"""Editions that went out before this installation, imported for their stories. No row moves."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "past_edition",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=False),
        sa.Column("imported_at", UtcDateTime(), nullable=False),
        sa.Column("imported_by", sa.String(200), nullable=False),
        sa.UniqueConstraint("address", name="uq_past_edition_imported_once"),
    )
    op.create_table(
        "past_story",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "past_edition_id", sa.Integer(), sa.ForeignKey("past_edition.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), server_default="", nullable=False),
    )
    op.create_index("ix_past_story_past_edition_id", "past_story", ["past_edition_id"])


def downgrade() -> None:
    op.drop_table("past_story")
    op.drop_table("past_edition")
