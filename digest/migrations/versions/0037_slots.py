"""Fragments have slots: positions beside the text that only templates create, in place of markers that any text could contain.

Fragments from before keep NULL. What was approved with them must be approved again, so the open approvals of coming editions end, and an
edition that is going out is paused: see decision 0052.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

TABLES = ("fragment", "approved_fragment")
EDITION = sa.table(
    "edition",
    sa.column("id", sa.Integer()),
    sa.column("state", sa.String()),
    sa.column("approved_by", sa.String()),
    sa.column("approved_at", UtcDateTime()),
    sa.column("paused_at", UtcDateTime()),
    sa.column("paused_because", sa.Text()),
)
APPROVAL = sa.table(
    "approval",
    sa.column("edition_id", sa.Integer()),
    sa.column("state", sa.String()),
    sa.column("ended_at", UtcDateTime()),
    sa.column("ended_because", sa.Text()),
)
PAUSE_REASON = "the upgrade changed how placeholders work: cancel the rest, or finish sending with the version before"
REASON = "the upgrade changed how placeholders work, so it must be drafted and approved again"


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("slots", sa.JSON(), nullable=True))
    coming = sa.select(EDITION.c.id).where(EDITION.c.state.in_(("draft", "held", "approved")))
    op.execute(
        sa.update(APPROVAL)
        .where(APPROVAL.c.edition_id.in_(coming), APPROVAL.c.state.in_(("waiting", "standing")))
        .values(state="taken back", ended_at=datetime.now(UTC), ended_because=REASON)
    )
    op.execute(
        sa.update(EDITION)
        .where(EDITION.c.state == "sending", EDITION.c.paused_at.is_(None))
        .values(paused_at=datetime.now(UTC), paused_because=PAUSE_REASON)
    )
    op.execute(
        sa.update(EDITION)
        .where(EDITION.c.state == "approved")
        .values(state="draft", approved_by=None, approved_at=None)
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "slots")
