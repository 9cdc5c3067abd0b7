"""Readers listed by import and the place where they asked. No row moves."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_COLUMNS = {"ix_person_batch": "batch", "ix_person_asked_where": "asked_where"}


def upgrade() -> None:
    for name, column in _COLUMNS.items():
        op.create_index(name, "person", [column, "number"])


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_index(name, "person")
