"""Seals cover the register of wordings, from the next night on."""

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("seal", sa.Column("wordings_through", sa.Integer()))
    op.add_column("seal", sa.Column("wordings", sa.Integer()))
    op.add_column("seal", sa.Column("wordings_root", sa.String(64)))


def downgrade() -> None:
    op.drop_column("seal", "wordings_root")
    op.drop_column("seal", "wordings")
    op.drop_column("seal", "wordings_through")
