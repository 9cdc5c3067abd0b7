"""A waiting sign-up form has the keyed hashes of its networks, and what can be answered is kept. No row moves: forms
that already wait count as those of one unknown network.
"""

import sqlalchemy as sa
from alembic import op

import subscribers.store.models

revision = "0040"
down_revision = "0038"
branch_labels = None
depends_on = None

TAGS = ("wide_tag", "middle_tag", "network_tag")


def upgrade() -> None:
    for name in TAGS:
        op.add_column("signup_request", sa.Column(name, sa.String(length=64), server_default="", nullable=False))
    op.create_index("ix_signup_request_networks", "signup_request", list(TAGS))
    op.create_table(
        "signup_allowance",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.Column("first", sa.Double(), nullable=False),
        sa.Column("further", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signup_allowance")),
    )


def downgrade() -> None:
    op.drop_table("signup_allowance")
    op.drop_index("ix_signup_request_networks", "signup_request")
    for name in TAGS:
        op.execute(f"ALTER TABLE signup_request DROP COLUMN {name}")
