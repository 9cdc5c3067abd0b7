"""What editors changed of each approved version, counted. No row moves: a version of before has no counts."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("approval", sa.Column("editor_counts", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("approval") as batch:
        batch.drop_column("editor_counts")
