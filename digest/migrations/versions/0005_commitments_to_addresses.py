"""Consents are bound to addresses. No row moves here: the first start with the keys binds the chains that are there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNSALTED = "salt IS NULL AND ciphertext IS NOT NULL"


def upgrade() -> None:
    op.add_column("person", sa.Column("salt", sa.LargeBinary(), nullable=True))
    op.add_column("consent_event", sa.Column("commitment", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_person_unsalted", "person", ["number"], sqlite_where=sa.text(UNSALTED), postgresql_where=sa.text(UNSALTED)
    )


def downgrade() -> None:
    op.drop_index("ix_person_unsalted", "person")
    op.drop_column("consent_event", "commitment")
    op.drop_column("person", "salt")
