"""When a delivery was first handed over: the Date of its message, whenever that is repeated."""

import sqlalchemy as sa
from alembic import op

import subscribers.store.models

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = subscribers.store.models.UtcDateTime(timezone=True)
    op.add_column("delivery", sa.Column("first_handed_at", moment, nullable=True))
    # What may be handed over once more. Of all others nobody asks.
    op.execute(
        "UPDATE delivery SET first_handed_at = handed_at "
        "WHERE handed_at IS NOT NULL AND state IN ('waiting', 'handing over', 'uncertain')"
    )


def downgrade() -> None:
    op.drop_column("delivery", "first_handed_at")
