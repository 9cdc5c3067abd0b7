"""Receiving domains that a stop rule set aside, and the groups of domains that share mail servers."""

import sqlalchemy as sa
from alembic import op

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("edition", sa.Column("set_aside", sa.JSON(), nullable=True))
    op.create_table(
        "domain_group",
        sa.Column("domain_tag", sa.String(32), nullable=False),
        sa.Column("group_tag", sa.String(32), nullable=False),
        sa.Column("fresh_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("domain_tag", name="pk_domain_group"),
    )


def downgrade() -> None:
    op.drop_table("domain_group")
    op.drop_column("edition", "set_aside")
