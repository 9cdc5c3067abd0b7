"""Whose words an article's summary is: the publisher's description, or the opening of the article."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("summary_basis", sa.String(20), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE article DROP COLUMN summary_basis")
