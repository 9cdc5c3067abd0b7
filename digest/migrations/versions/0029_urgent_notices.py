"""An index of the notices that are no correction; the column that held approvals before 0018 goes. No row moves."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

URGENT = sa.text("kind <> 'correction'")


def upgrade() -> None:
    op.create_index("ix_notice_urgent", "notice", ["delivery"], sqlite_where=URGENT, postgresql_where=URGENT)
    op.drop_column("edition", "approval")


def downgrade() -> None:
    op.add_column("edition", sa.Column("approval", sa.JSON()))
    op.drop_index("ix_notice_urgent", "notice")
