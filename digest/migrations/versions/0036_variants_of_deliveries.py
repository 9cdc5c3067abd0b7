"""A delivery of an edition says which variant its reader got. No row moves: of those before nobody noted it."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("variant", sa.Text()))


def downgrade() -> None:
    op.drop_column("delivery", "variant")
