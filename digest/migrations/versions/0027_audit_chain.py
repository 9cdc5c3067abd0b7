"""The audit log is chained, and the nightly seals cover it. The rows of before are chained in their order; none moves."""

import hashlib
import json
from datetime import UTC

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_PAGE_SIZE = 1000


def upgrade() -> None:
    op.add_column("seal", sa.Column("log_through", sa.Integer()))
    op.add_column("seal", sa.Column("log_head", sa.String(64)))
    with op.batch_alter_table("audit") as batch:
        batch.add_column(sa.Column("seq", sa.Integer()))
        batch.add_column(sa.Column("previous", sa.String(64), nullable=False, server_default=""))
        batch.add_column(sa.Column("hash", sa.String(64), nullable=False, server_default=""))
    _chain_rows()
    with op.batch_alter_table("audit") as batch:
        batch.create_unique_constraint("uq_audit_seq", ["seq"])
    op.create_index("ix_audit_at", "audit", ["at", "seq"])
    op.create_index("ix_audit_actor", "audit", ["actor", "at"])
    op.create_index("ix_audit_subject", "audit", ["subject", "at"])


def _chain_rows() -> None:
    """Chain the rows that are there, by their ids, as `digest.store.audit` does since."""
    audit = sa.table(
        "audit",
        sa.column("id", sa.Integer),
        sa.column("at", sa.DateTime(timezone=True)),
        *(sa.column(name, sa.String) for name in ("actor", "act", "subject", "previous", "hash")),
        sa.column("detail", sa.JSON),
        sa.column("seq", sa.Integer),
    )
    connection, last, seq, head = op.get_bind(), -1, 0, ""
    chained = (
        audit.update()
        .where(audit.c.id == sa.bindparam("row"))
        .values(seq=sa.bindparam("place"), previous=sa.bindparam("before"), hash=sa.bindparam("own"))
    )
    while rows := connection.execute(
        sa.select(audit).where(audit.c.id > last).order_by(audit.c.id).limit(_PAGE_SIZE)
    ).all():
        places = []
        for row in rows:
            seq += 1
            moment = row.at if row.at.tzinfo is None else row.at.astimezone(UTC)
            said = {
                "seq": seq,
                "at": f"{moment:%Y-%m-%d %H:%M:%S.%f}",
                "actor": row.actor,
                "act": row.act,
                "subject": row.subject,
                "detail": row.detail,
                "previous": head,
            }
            text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            own = hashlib.sha256(text.encode()).hexdigest()
            places.append({"row": row.id, "place": seq, "before": head, "own": own})
            head, last = own, row.id
        connection.execute(chained, places)


def downgrade() -> None:
    for name in ("ix_audit_subject", "ix_audit_actor", "ix_audit_at"):
        op.drop_index(name, "audit")
    with op.batch_alter_table("audit") as batch:
        batch.drop_constraint("uq_audit_seq", type_="unique")
        for name in ("hash", "previous", "seq"):
            batch.drop_column(name)
    with op.batch_alter_table("seal") as batch:
        for name in ("log_head", "log_through"):
            batch.drop_column(name)
