"""Add the maker of an item's image."""

import sqlalchemy as sa
from alembic import op

revision = "0075"
down_revision = "0074"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("image_credit", sa.String(200), nullable=True))


def downgrade() -> None:
    op.drop_column("article", "image_credit")
