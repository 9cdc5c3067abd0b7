"""Running a send: pauses, the first few hundred, limits; staff, totals, memos, erasures passed on."""

import sqlalchemy as sa
from alembic import op

import subscribers.store.models

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ALARMING = "cause IN ('no mailbox', 'hard', 'policy') OR kind = 'complained'"


def upgrade() -> None:
    op.create_table(
        "delivery_total",
        sa.Column("purpose", sa.String(length=80), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "handing over",
                "accepted",
                "refused",
                "uncertain",
                "withdrawn",
                "skipped",
                "cancelled",
                "expired",
                name="deliverystate",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "state", name=op.f("pk_delivery_total")),
    )
    op.create_table(
        "handed",
        sa.Column("minute", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("minute", name=op.f("pk_handed")),
    )
    op.create_table(
        "memo",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_memo")),
    )
    op.create_table(
        "provider_erasure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("mark", sa.String(length=26), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("asked_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_erasure")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("added_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=False),
        sa.Column("added_by", sa.String(length=200), nullable=False),
        sa.Column("proven_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=True),
        sa.Column("removed_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("email", name="uq_staff_one_row_an_address"),
    )
    with op.batch_alter_table("edition", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paused_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("paused_because", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("resumed_at", subscribers.store.models.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("canary", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("canary_until", subscribers.store.models.UtcDateTime(timezone=True), nullable=True)
        )
    # In place: a table that is made anew would let go of the rows that refer to it.
    op.execute("ALTER TABLE edition DROP COLUMN seen_through")

    op.create_index(
        "ix_event_alarms", "event", ["received_at"], sqlite_where=sa.text(ALARMING), postgresql_where=sa.text(ALARMING)
    )
    with op.batch_alter_table("inbound", schema=None) as batch_op:
        batch_op.add_column(sa.Column("origin", sa.String(length=20), server_default="sendgrid", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("inbound", schema=None) as batch_op:
        batch_op.drop_column("origin")
    op.drop_index("ix_event_alarms", "event")

    op.add_column("edition", sa.Column("seen_through", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("edition", schema=None) as batch_op:
        batch_op.drop_column("canary_until")
        batch_op.drop_column("canary")
        batch_op.drop_column("resumed_at")
        batch_op.drop_column("paused_because")
        batch_op.drop_column("paused_at")

    op.drop_table("staff")
    op.drop_table("provider_erasure")
    op.drop_table("memo")
    op.drop_table("handed")
    op.drop_table("delivery_total")
