"""From when messages may leave again under the limits that space them. No row moves: the first claim makes its own."""

import sqlalchemy as sa
from alembic import op

import subscribers.store.models

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spaced_limit",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("ready_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_spaced_limit")),
    )


def downgrade() -> None:
    op.drop_table("spaced_limit")
