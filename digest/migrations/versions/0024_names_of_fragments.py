"""Names of fragments that several sections share: room for the keys of all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("fragment", "approved_fragment"):
        with op.batch_alter_table(table) as batch:
            batch.alter_column("name", type_=sa.String(length=500), existing_type=sa.String(length=60))
