"""Who has which edition open at the desk, and whether single letters act for a member. No row moves: letters act until switched off."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("staff", sa.Column("letter_keys", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_table(
        "presence",
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), primary_key=True),
        sa.Column("edition_id", sa.Integer(), sa.ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("place", sa.String(40), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("presence")
    op.drop_column("staff", "letter_keys")
