"""Editions note how many subscribers get more than they chose, which the preferences page says."""

import sqlalchemy as sa
from alembic import op

revision = "0081"
down_revision = "0079"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("edition") as batch_op:
        batch_op.add_column(sa.Column("merged", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("edition", "merged")
