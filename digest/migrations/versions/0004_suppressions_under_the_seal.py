"""Suppressions are appended only, and seals cover them. No row moves: each one there stands for an address that is suppressed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("suppression", schema=None) as batch_op:
        batch_op.drop_constraint("uq_suppression_one_row_an_address", type_="unique")
    op.create_index("ix_suppression_hash", "suppression", ["hash", "key_id"])
    op.add_column("seal", sa.Column("suppressions_through", sa.Integer(), nullable=True))
    op.add_column("seal", sa.Column("suppressions", sa.Integer(), nullable=True))
    op.add_column("seal", sa.Column("suppressions_root", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("seal", "suppressions_root")
    op.drop_column("seal", "suppressions")
    op.drop_column("seal", "suppressions_through")
    op.drop_index("ix_suppression_hash", "suppression")
    op.execute(
        "DELETE FROM suppression WHERE reason = 'lifted' "
        "OR id NOT IN (SELECT max(id) FROM suppression GROUP BY hash, key_id)"
    )
    with op.batch_alter_table("suppression", schema=None) as batch_op:
        batch_op.create_unique_constraint("uq_suppression_one_row_an_address", ["hash", "key_id"])
