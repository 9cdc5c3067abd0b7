"""Runs that claim deliveries have a lease. What was being handed over before gets one that nothing renews."""

import sqlalchemy as sa
from alembic import op

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_lease",
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.Double(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_run_lease")),
    )
    op.execute(
        "INSERT INTO run_lease (owner, epoch, beat_at, home) "
        "SELECT DISTINCT owner, 1, 0, '' FROM delivery WHERE state = 'handing over' AND owner IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("UPDATE delivery SET state = 'waiting', owner = NULL WHERE state = 'reserved'")
    op.drop_table("run_lease")
