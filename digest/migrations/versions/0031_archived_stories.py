"""The stories of editions that went out, with a full-text index; filled from what the editions say."""

import hashlib
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# FTS5 keeps no second copy of the texts: three triggers tell it what changed (https://sqlite.org/fts5.html, 4.4.3).
_SQLITE = (
    """
    CREATE VIRTUAL TABLE archived_story_fts USING fts5(
        headline, summary, topic, source,
        content='archived_story', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER archived_story_added AFTER INSERT ON archived_story BEGIN
        INSERT INTO archived_story_fts(rowid, headline, summary, topic, source)
        VALUES (new.id, new.headline, new.summary, new.topic, new.source);
    END
    """,
    """
    CREATE TRIGGER archived_story_removed AFTER DELETE ON archived_story BEGIN
        INSERT INTO archived_story_fts(archived_story_fts, rowid, headline, summary, topic, source)
        VALUES ('delete', old.id, old.headline, old.summary, old.topic, old.source);
    END
    """,
    """
    CREATE TRIGGER archived_story_changed AFTER UPDATE ON archived_story BEGIN
        INSERT INTO archived_story_fts(archived_story_fts, rowid, headline, summary, topic, source)
        VALUES ('delete', old.id, old.headline, old.summary, old.topic, old.source);
        INSERT INTO archived_story_fts(rowid, headline, summary, topic, source)
        VALUES (new.id, new.headline, new.summary, new.topic, new.source);
    END
    """,
)
_POSTGRESQL = (
    """
    CREATE INDEX ix_archived_story_fts ON archived_story
    USING gin (to_tsvector('english', headline || ' ' || summary || ' ' || topic || ' ' || source))
    """,
)

EDITION = sa.table(
    "edition",
    sa.column("id", sa.Integer()),
    sa.column("state", sa.String()),
    sa.column("release_at", UtcDateTime()),
    sa.column("content", sa.JSON()),
)


def upgrade() -> None:
    archived = op.create_table(
        "archived_story",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("edition_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=False),
        sa.Column("anchor", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("topic", sa.String(length=100), nullable=False),
        sa.Column("topic_key", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("dated", sa.String(length=100), nullable=False),
        sa.Column("sources", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name=op.f("fk_archived_story_edition_id_edition"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archived_story")),
    )
    op.create_index("ix_archived_story_topic", "archived_story", ["topic_key", "released_at"])
    op.create_index("ix_archived_story_edition_id", "archived_story", ["edition_id"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    _fill(archived)


def _fill(archived: sa.Table) -> None:
    connection = op.get_bind()
    public = sa.select(EDITION).where(EDITION.c.state.in_(("sending", "sent"))).order_by(EDITION.c.release_at)
    for edition in connection.execute(public).all():
        entries = [entry for section in (edition.content or {}).get("sections", ()) for entry in section["entries"]]
        rows = [_row(edition, position, entry) for position, entry in enumerate(entries)]
        if rows:
            connection.execute(sa.insert(archived), rows)


def _row(edition: Any, position: int, entry: dict[str, Any]) -> dict[str, Any]:
    """Write a row as `digest.edition.archive.story_archive` did when this was written."""
    url, topic, when = entry.get("url", ""), entry.get("kicker", ""), entry.get("when")
    named = hashlib.sha256((url or entry["headline"]).encode()).hexdigest()[:8]
    dated = f"{when['label']}: {when['text']}" if when and when.get("label") else entry.get("date", "")
    return {
        "edition_id": edition.id,
        "position": position,
        "released_at": edition.release_at,
        "anchor": f"story-{named}",
        "url": url,
        "headline": entry["headline"],
        "summary": entry.get("summary", ""),
        "topic": topic[:100],
        "topic_key": re.sub(r"[^\w]+", "-", topic.casefold()).strip("-_")[:100],
        "source": entry.get("source", "")[:200],
        "dated": dated[:100],
        "sources": len(entry.get("also", ())) + bool(url),
    }


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE archived_story_fts")
    op.drop_table("archived_story")
