"""An edition records who wrote what it shows. Older drafts have none until their next edit: each of their editors counts as an author."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("edition", sa.Column("written_parts", sa.JSON()))


def downgrade() -> None:
    op.drop_column("edition", "written_parts")
