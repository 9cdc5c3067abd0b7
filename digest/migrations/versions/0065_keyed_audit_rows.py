"""Audit rows carry a MAC, and name the newest row before them that changed someone's access. The first start with the keys fills both in."""

import sqlalchemy as sa
from alembic import op

revision = "0065"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("mac", sa.String(90), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("access_seq", sa.Integer()))


def downgrade() -> None:
    op.drop_column("audit", "access_seq")
    op.drop_column("audit", "mac")
