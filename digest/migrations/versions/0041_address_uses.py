"""Actions that touched subscriber addresses are counted until admins get their daily summary. No row moves."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "address_use",
        sa.Column("words", sa.String(100), primary_key=True),
        sa.Column("actor", sa.String(200), primary_key=True),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("address_use")
