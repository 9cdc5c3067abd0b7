"""What a source's articles are about where nothing says otherwise."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source", sa.Column("default_topic", sa.String(100), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE source DROP COLUMN default_topic")
