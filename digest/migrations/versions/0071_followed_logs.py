"""Messages in the queue of a mail server whose log is followed; and on PostgreSQL, deliveries are vacuumed by their own numbers.

Each delivery is rewritten twice when it's sent. By default, a vacuum starts when a fifth of the table is outdated: of a year of
editions, that's after ten of them. Here it's a hundredth, and 20,000 rows, so that one large edition is enough. Pages are filled,
because no rewrite can stay within its page for free (heap-only): the state is indexed.
"""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None

PARAMETERS = {
    "fillfactor": "100",
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "20000",
    "autovacuum_analyze_scale_factor": "0.02",
}


def upgrade() -> None:
    op.create_table(
        "queued_mail",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("delivery", sa.String(26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_queued_mail"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE delivery SET ({', '.join(f'{name} = {value}' for name, value in PARAMETERS.items())})")


def downgrade() -> None:
    op.drop_table("queued_mail")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE delivery RESET ({', '.join(PARAMETERS)})")
