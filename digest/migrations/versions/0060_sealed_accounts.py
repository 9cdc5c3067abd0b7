"""Rows that let somebody in carry a seal. What is there is sealed when the installation is opened, once for each key file."""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0043"
branch_labels = None
depends_on = None

TABLES = ("staff", "staff_session", "passkey", "code_app", "recovery_code", "one_time")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("seal", sa.String(90), nullable=False, server_default=""))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "seal")
