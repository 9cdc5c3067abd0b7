"""The email of a correction is approved. Those that were queued before count as approved; one that was only requested needs an approval."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

CORRECTION = sa.table(
    "correction",
    sa.column("mail_asked_at", UtcDateTime()),
    sa.column("mail_approved_at", UtcDateTime()),
    sa.column("mail_planned_at", UtcDateTime()),
)


def upgrade() -> None:
    op.add_column("correction", sa.Column("mail_statement", sa.JSON(), nullable=True))
    op.add_column("correction", sa.Column("mail_approved_at", UtcDateTime(), nullable=True))
    op.create_table(
        "correction_signature",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("correction_id", sa.Integer(), sa.ForeignKey("correction.id", ondelete="CASCADE"), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.UniqueConstraint("correction_id", "actor", name="uq_correction_signature_one_a_person"),
    )
    queued = sa.update(CORRECTION).where(CORRECTION.c.mail_planned_at.is_not(None))
    op.execute(queued.values(mail_approved_at=CORRECTION.c.mail_asked_at))


def downgrade() -> None:
    op.drop_table("correction_signature")
    op.drop_column("correction", "mail_approved_at")
    op.drop_column("correction", "mail_statement")
