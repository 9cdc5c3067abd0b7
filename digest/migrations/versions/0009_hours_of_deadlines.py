"""Deadlines with their hour, its zone and what is due."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("closes_clock", sa.Time(), nullable=True))
    op.add_column("article", sa.Column("closes_zone", sa.String(60), server_default="", nullable=False))
    op.add_column("article", sa.Column("closes_label", sa.String(40), server_default="", nullable=False))


def downgrade() -> None:
    for name in ("closes_label", "closes_zone", "closes_clock"):
        op.execute(f"ALTER TABLE article DROP COLUMN {name}")
