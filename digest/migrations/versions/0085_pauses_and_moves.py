"""An index of people with a pause, so that counting reads no one else; sources keep the URL that they had before."""

import sqlalchemy as sa
from alembic import op

revision = "0085"
down_revision = "0084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source", sa.Column("moved_from", sa.Text(), nullable=True))
    on_sqlite = sa.text(
        "CASE WHEN json_valid(choices) THEN json_extract(choices, '$.' || 'pause_until') END IS NOT NULL"
    )
    on_postgresql = sa.text("(choices ->> 'pause_until') IS NOT NULL")
    op.create_index(
        "ix_person_paused", "person", ["state", "number"], sqlite_where=on_sqlite, postgresql_where=on_postgresql
    )


def downgrade() -> None:
    op.drop_index("ix_person_paused", "person")
    op.execute("ALTER TABLE source DROP COLUMN moved_from")
