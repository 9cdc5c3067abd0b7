"""What an advisory's page says has become of it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("superseded", sa.String(100), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE article DROP COLUMN superseded")
