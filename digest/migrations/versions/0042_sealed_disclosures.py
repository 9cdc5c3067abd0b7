"""Deliveries and other disclosures are sealed by a log of their own. No row moves: the nights from here on seal what's there."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

UNSEALED = "sealed_in IS NULL"
# The tables whose rows are sealed, each with the condition of those that the night looks for.
SEALED_TABLES = {
    "delivery": f"{UNSEALED} AND substr(purpose, 1, 8) <> 'edition:'",
    "disclosure": UNSEALED,
    "list_export": UNSEALED,
}


def upgrade() -> None:
    op.create_table(
        "disclosure_log",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("batch", sa.Integer()),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("rows", "folded", "erased", "added")),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.UniqueConstraint("previous", name="uq_disclosure_log_follows_once"),
    )
    op.create_index("ix_disclosure_log_batch", "disclosure_log", ["batch", "id"])
    for table, unsealed in SEALED_TABLES.items():
        op.add_column(table, sa.Column("salt", sa.LargeBinary()))
        op.add_column(table, sa.Column("commitment", sa.String(64)))
        op.add_column(table, sa.Column("sealed_in", sa.Integer()))
        _create_partial_index(f"ix_{table}_sealed_in", table, "sealed_in", "sealed_in IS NOT NULL")
        _create_partial_index(f"ix_{table}_unsealed", table, "id", unsealed)
    op.add_column("list_export", sa.Column("parts_hash", sa.String(64)))
    op.add_column("disclosure_total", sa.Column("salt", sa.LargeBinary()))
    op.add_column("disclosure_total", sa.Column("commitment", sa.String(64)))
    op.add_column("seal", sa.Column("disclosures_through", sa.Integer()))
    op.add_column("seal", sa.Column("disclosures_head", sa.String(64)))


def _create_partial_index(name: str, table: str, column: str, condition: str) -> None:
    rows = sa.text(condition)
    op.create_index(name, table, [column], sqlite_where=rows, postgresql_where=rows)


def downgrade() -> None:
    op.drop_column("seal", "disclosures_head")
    op.drop_column("seal", "disclosures_through")
    for column in ("commitment", "salt"):
        op.drop_column("disclosure_total", column)
    op.drop_column("list_export", "parts_hash")
    for table in SEALED_TABLES:
        for index in (f"ix_{table}_unsealed", f"ix_{table}_sealed_in"):
            op.drop_index(index, table_name=table)
        for column in ("sealed_in", "commitment", "salt"):
            op.drop_column(table, column)
    op.drop_table("disclosure_log")
