"""Sources can be paused."""

import sqlalchemy as sa
from alembic import op

revision = "0083"
down_revision = "0082"
branch_labels = None
depends_on = None


def upgrade() -> None:
    false = sa.false()
    op.add_column("source", sa.Column("paused", sa.Boolean(), server_default=false, nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE source DROP COLUMN paused")
