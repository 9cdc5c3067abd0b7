"""The edits, the proposal, and the corrections of each edition carry a seal. A proposal's number is its edition's, as before.

These rows are sealed with those of 0060, when the installation is opened. Where that was done before, drafts are made again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0066"
down_revision = "0063"
branch_labels = None
depends_on = None

TABLES = ("edit", "proposal", "correction")


def upgrade() -> None:
    op.execute("ALTER TABLE proposal RENAME COLUMN edition_id TO id")
    for table in TABLES:
        op.add_column(table, sa.Column("seal", sa.String(90), nullable=False, server_default=""))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "seal")
    op.execute("ALTER TABLE proposal RENAME COLUMN id TO edition_id")
