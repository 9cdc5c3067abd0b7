"""Waiting deliveries have an index in the order of claims, so that a claim can begin where the one before ended."""

import sqlalchemy as sa
from alembic import op

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None


def upgrade() -> None:
    waits = sa.text("state = 'waiting'")
    columns = ["purpose", "next_try_at", "person"]
    op.create_index("ix_delivery_waiting", "delivery", columns, sqlite_where=waits, postgresql_where=waits)


def downgrade() -> None:
    op.drop_index("ix_delivery_waiting", "delivery")
