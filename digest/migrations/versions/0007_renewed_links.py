"""A person's links can be renewed. No row moves: the links of every mail so far are of generation 0."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("person", sa.Column("link_generation", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("person", "link_generation")
