"""Tables of words: in how many earlier articles each word stands, frozen for a window."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "word_table",
        sa.Column("opens_at", UtcDateTime(), nullable=False),
        sa.Column("article_count", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("opens_at", name=op.f("pk_word_table")),
    )


def downgrade() -> None:
    op.drop_table("word_table")
