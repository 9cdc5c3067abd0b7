"""The bound by the second remembers what left within the last one. No row moves."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("spaced_limit", sa.Column("recent", sa.JSON()))


def downgrade() -> None:
    op.drop_column("spaced_limit", "recent")
