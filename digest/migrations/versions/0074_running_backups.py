"""Backups that run, and rows that change while they do: triggers note each, so a backup can read most rows before its snapshot."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0074"
down_revision = "0073"
branch_labels = None
depends_on = None

_DELIVERY = "INSERT INTO changed_row (backup, source, key) SELECT id, 'delivery', OLD.id FROM running_backup;"
_EVENT = (
    "INSERT INTO changed_row (backup, source, key)"
    " SELECT id, 'event', CAST({row}.id AS text) FROM running_backup WHERE last_event >= {row}.id;"
)
_IS_SEALED = "OLD.sealed_in IS NOT NULL"
_SQLITE = {
    "delivery_changed": f"AFTER UPDATE ON delivery WHEN {_IS_SEALED} BEGIN {_DELIVERY} END",
    "delivery_deleted": f"AFTER DELETE ON delivery WHEN {_IS_SEALED} BEGIN {_DELIVERY} END",
    "event_changed": f"AFTER UPDATE ON event BEGIN {_EVENT.format(row='OLD')} END",
    "event_deleted": f"AFTER DELETE ON event BEGIN {_EVENT.format(row='OLD')} END",
}
# On PostgreSQL, a number can turn up after a higher one.
_POSTGRESQL = {
    "delivery_changed": ("delivery", f"UPDATE OR DELETE ON delivery FOR EACH ROW WHEN ({_IS_SEALED})", _DELIVERY),
    "event_changed": ("event", "UPDATE OR DELETE ON event FOR EACH ROW", _EVENT.format(row="OLD")),
    "event_added": ("event", "INSERT ON event FOR EACH ROW", _EVENT.format(row="NEW")),
}


def upgrade() -> None:
    op.create_table(
        "running_backup",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_running_backup")),
    )
    op.create_table(
        "changed_row",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backup", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("key", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changed_row")),
    )
    op.create_index("ix_changed_row_backup", "changed_row", ["backup", "source"])
    if op.get_bind().dialect.name == "sqlite":
        for name, action in _SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {action}")
        return
    for name, (_, action, statement) in _POSTGRESQL.items():
        body = f"BEGIN {statement} RETURN NULL; END"
        op.execute(f"CREATE FUNCTION note_{name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        op.execute(f"CREATE TRIGGER {name} AFTER {action} EXECUTE FUNCTION note_{name}()")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in _SQLITE:
            op.execute(f"DROP TRIGGER {name}")
    else:
        for name, (table, _, _) in _POSTGRESQL.items():
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION note_{name}()")
    op.drop_table("changed_row")
    op.drop_table("running_backup")
