"""Events as texts announce them: when they start and end, and the zone in which their hours are meant."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("article", sa.Column("announced_at", UtcDateTime(), nullable=True))
    op.add_column("article", sa.Column("announced_until", UtcDateTime(), nullable=True))
    op.add_column("article", sa.Column("event_zone", sa.String(60), server_default="", nullable=False))


def downgrade() -> None:
    for name in ("event_zone", "announced_until", "announced_at"):
        op.execute(f"ALTER TABLE article DROP COLUMN {name}")
