"""What editors changed in the calendar of releases: skipped, moved and extra editions. No row moves."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "release_change",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("regular_on", sa.Date()),
        sa.Column("release_at", UtcDateTime()),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("set_aside", sa.Integer(), sa.ForeignKey("edition.id", ondelete="SET NULL")),
        sa.UniqueConstraint("regular_on", name="uq_release_changed_once"),
        sa.UniqueConstraint("release_at", name="uq_release_one_a_moment"),
    )


def downgrade() -> None:
    op.drop_table("release_change")
