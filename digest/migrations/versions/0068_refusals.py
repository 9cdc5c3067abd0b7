"""Editions say how many refusals someone has to acknowledge, and how many were acknowledged.

Editions that were sent before are reviewed like the others, for as long as late bounces are expected.
"""

import sqlalchemy as sa
from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None

COLUMNS = ("refusals", "acknowledged_refusals")


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("edition", sa.Column(column, sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for column in reversed(COLUMNS):
        op.drop_column("edition", column)
