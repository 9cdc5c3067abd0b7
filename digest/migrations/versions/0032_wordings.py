"""The register of what readers agreed to; filled with what forms and our own questions asked them by, the oldest first."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

EVENT = sa.table(
    "consent_event",
    sa.column("id", sa.Integer()),
    sa.column("kind", sa.String()),
    sa.column("at", UtcDateTime()),
    sa.column("body", sa.Text()),
)


def upgrade() -> None:
    wording = op.create_table(
        "wording",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("first_used_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_wording")),
        sa.UniqueConstraint("hash", "language", name="uq_wording_one_row_a_text"),
    )
    connection = op.get_bind()
    asked = sa.select(EVENT.c.at, EVENT.c.body).where(EVENT.c.kind.in_(("requested", "re-asked"))).order_by(EVENT.c.id)
    first_uses: dict[tuple[str, str], object] = {}
    for event in connection.execute(asked.execution_options(yield_per=1000)):
        if words := _read_words(event.body):
            first_uses.setdefault(words, event.at)
    rows = [
        {
            "version": version,
            "language": language[:35],
            "text": text,
            "hash": hashlib.sha256(text.encode()).hexdigest(),
            "first_used_at": at,
        }
        for version, ((language, text), at) in enumerate(first_uses.items(), 1)
    ]
    if rows:
        connection.execute(sa.insert(wording), rows)


def _read_words(body: str) -> tuple[str, str] | None:
    """Return language and text that an event names; None of an event that was damaged, which 'subscribers verify' names."""
    try:
        said = json.loads(body)
        language, text = said["language"], said["wording"]
    except (ValueError, TypeError, KeyError):
        return None
    return (language, text) if isinstance(language, str) and isinstance(text, str) else None


def downgrade() -> None:
    op.drop_table("wording")
