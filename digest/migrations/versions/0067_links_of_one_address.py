"""One-time links of subscribers name the address that they were made for. Those of before have NULL, and run out soon."""

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("one_time", sa.Column("bound_to", sa.String(64)))


def downgrade() -> None:
    op.drop_column("one_time", "bound_to")
