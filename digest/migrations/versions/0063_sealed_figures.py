"""Seals cover the register of wordings, from the next night on. What came of each edition carries a seal of its own.

These rows are sealed with those of 0060, when the installation is opened. Where that was done before, the next night counts them anew.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None


COUNTS = ("number", "handed_over", "refused", "complained")


def upgrade() -> None:
    _rebuild_figures(
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_edition_figures"),
        sa.UniqueConstraint("name", name="uq_edition_figures_name"),
    )
    op.add_column("seal", sa.Column("wordings_through", sa.Integer()))
    op.add_column("seal", sa.Column("wordings", sa.Integer()))
    op.add_column("seal", sa.Column("wordings_root", sa.String(64)))


def _rebuild_figures(*added: sa.schema.SchemaItem) -> None:
    """Make the table anew, with its rows: SQLite can't change a primary key, and there's one row an edition."""
    shared: list[sa.Column[Any]] = [
        sa.Column("name", sa.String(20), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("release_at", "counted_at")),
        sa.Column("hours", sa.JSON(), nullable=False),
    ]
    before = sa.table("edition_figures", *(sa.column(column.name, column.type) for column in shared))
    connection = op.get_bind()
    rows = [dict(row) for row in connection.execute(sa.select(before)).mappings()]
    op.drop_table("edition_figures")
    figures = op.create_table("edition_figures", *shared, *added)
    op.create_index("ix_edition_figures_release_at", "edition_figures", ["release_at"])
    if rows:
        connection.execute(sa.insert(figures), rows)


def downgrade() -> None:
    _rebuild_figures(sa.PrimaryKeyConstraint("name", name="pk_edition_figures"))
    op.drop_column("seal", "wordings_root")
    op.drop_column("seal", "wordings")
    op.drop_column("seal", "wordings_through")
