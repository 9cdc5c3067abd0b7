"""Articles from a feed that links to many sites have publishers of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0073"
down_revision = "0072"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("publisher", sa.String(200), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE article DROP COLUMN publisher")
