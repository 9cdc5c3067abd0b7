"""Address changes keep the old address, encrypted, so that its owner can stop them or undo them for seven days."""

import sqlalchemy as sa
from alembic import op

revision = "0076"
down_revision = "0075"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("address_move") as batch_op:
        batch_op.add_column(sa.Column("stop_hash", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("old_lookup", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_address_move_old_lookup", ["old_lookup"])


def downgrade() -> None:
    with op.batch_alter_table("address_move") as batch_op:
        batch_op.drop_index("ix_address_move_old_lookup")
        batch_op.drop_column("changed_at")
        batch_op.drop_column("old_lookup")
        batch_op.drop_column("stop_hash")
