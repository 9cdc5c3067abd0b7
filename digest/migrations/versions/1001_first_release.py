"""The complete schema of the first release, for both SQLite and PostgreSQL.

It doesn't refer to any model, because it must stay the same when the models change. Later changes
are separate migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "1001"  # development builds had revisions up to 0085
down_revision = None

MOMENT = sa.DateTime(timezone=True)

# FTS5 doesn't store another copy of the texts, so three triggers tell it about changes
# (https://sqlite.org/fts5.html, 4.4.3).
FULL_TEXT_ON_SQLITE = (
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
FULL_TEXT_ON_POSTGRESQL = (
    """
    CREATE INDEX ix_archived_story_fts ON archived_story
    USING gin (to_tsvector('english', headline || ' ' || summary || ' ' || topic || ' ' || source))
    """,
)

# Each delivery is rewritten twice when it's sent. By default, a vacuum starts when a fifth of the
# table is outdated, which, given a year of editions, is after ten more. With these values, one
# large edition is enough. Pages are filled completely, because no rewrite can stay within its page
# (heap-only), as the state is indexed.
DELIVERY_STORAGE = {
    "fillfactor": "100",
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "20000",
    "autovacuum_analyze_scale_factor": "0.02",
}

# Triggers record the rows that change during a backup, so that the backup can read most rows before
# its snapshot.
RECORD_DELIVERY = "INSERT INTO changed_row (backup, source, key) SELECT id, 'delivery', OLD.id FROM running_backup;"
RECORD_EVENT = (
    "INSERT INTO changed_row (backup, source, key)"
    " SELECT id, 'event', CAST({row}.id AS text) FROM running_backup WHERE last_event >= {row}.id;"
)
IS_SEALED = "OLD.sealed_in IS NOT NULL"
TRIGGERS_ON_SQLITE = {
    "delivery_changed": f"UPDATE ON delivery WHEN {IS_SEALED} BEGIN {RECORD_DELIVERY} END",
    "delivery_deleted": f"DELETE ON delivery WHEN {IS_SEALED} BEGIN {RECORD_DELIVERY} END",
    "event_changed": f"UPDATE ON event BEGIN {RECORD_EVENT.format(row='OLD')} END",
    "event_deleted": f"DELETE ON event BEGIN {RECORD_EVENT.format(row='OLD')} END",
}
TRIGGERS_ON_POSTGRESQL = {
    "delivery_changed": (f"UPDATE OR DELETE ON delivery FOR EACH ROW WHEN ({IS_SEALED})", RECORD_DELIVERY),
    "event_changed": ("UPDATE OR DELETE ON event FOR EACH ROW", RECORD_EVENT.format(row="OLD")),
    # A number can appear after a higher one.
    "event_added": ("INSERT ON event FOR EACH ROW", RECORD_EVENT.format(row="NEW")),
}


def upgrade() -> None:
    _create_subscribers()
    _create_disclosures()
    _create_signup()
    _create_sources()
    _create_editions()
    _create_approvals()
    _create_deliveries()
    _create_events()
    _create_team()
    _create_operations()
    _create_full_text_index()
    _create_backup_triggers()
    if not _is_sqlite():
        _tune_delivery_storage()


def _create_subscribers() -> None:
    op.create_table(
        "import_batch",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("origin", sa.String(40), nullable=False),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("reached", sa.Integer, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_import_batch"),
    )
    op.create_index("ix_import_batch_file", "import_batch", ["file_hash"])
    op.create_table(
        "person",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("lookup", sa.String(64)),
        sa.Column("lookup_key", sa.String(16)),
        sa.Column("domain_tag", sa.String(32)),
        sa.Column("ciphertext", sa.LargeBinary),
        sa.Column("key_id", sa.String(16)),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("choices", sa.JSON, nullable=False),
        sa.Column("chain_head", sa.String(64), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("asked_where", sa.String(200), nullable=False),
        sa.Column("batch", sa.Integer),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("link_generation", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("number", name="pk_person"),
        sa.ForeignKeyConstraint(["batch"], ["import_batch.id"], name="fk_person_batch"),
        sa.UniqueConstraint("lookup", name="uq_person_one_row_an_address"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_person_asked_where", "person", ["asked_where", "number"])
    op.create_index("ix_person_batch", "person", ["batch", "number"])
    op.create_index("ix_person_roll", "person", ["state", "number"])
    # This must come after the index by state, because SQLite uses the newest of several that start
    # with the same columns.
    _create_preference_index("ix_person_breaking_news", "breaking_news", ["state", "batch"])
    _create_preference_index("ix_person_paused", "pause_until", ["state", "number"])
    op.create_table(
        "consent_event",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("commitment", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consent_event"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_consent_event_person"),
        sa.UniqueConstraint("person", "seq", name="uq_consent_event_one_link_a_place"),
    )
    op.create_table(
        "consent_trace",
        sa.Column("event", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("keep_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("event", name="pk_consent_trace"),
        sa.ForeignKeyConstraint(["event"], ["consent_event.id"], name="fk_consent_trace_event"),
    )
    op.create_index("ix_consent_trace_keep_until", "consent_trace", ["keep_until"])
    op.create_table(
        "consent_day",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("way", sa.String(200), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "way", name="pk_consent_day"),
    )
    op.create_table(
        "wording",
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("language", sa.String(35), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("first_used_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_wording"),
        sa.UniqueConstraint("hash", "language", name="uq_wording_one_row_a_text"),
    )
    op.create_table(
        "seal",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("through", sa.Integer, nullable=False),
        sa.Column("people", sa.Integer, nullable=False),
        sa.Column("links", sa.Integer, nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("suppressions_through", sa.Integer, nullable=False),
        sa.Column("suppressions", sa.Integer, nullable=False),
        sa.Column("suppressions_root", sa.String(64), nullable=False),
        sa.Column("log_through", sa.Integer),
        sa.Column("log_head", sa.String(64)),
        sa.Column("disclosures_through", sa.Integer, nullable=False),
        sa.Column("disclosures_head", sa.String(64), nullable=False),
        sa.Column("wordings_through", sa.Integer, nullable=False),
        sa.Column("wordings", sa.Integer, nullable=False),
        sa.Column("wordings_root", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_seal"),
        sa.UniqueConstraint("previous", name="uq_seal_follows_once"),
    )
    op.create_table(
        "suppression",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suppression"),
    )
    op.create_index("ix_suppression_hash", "suppression", ["hash", "key_id"])
    op.create_table(
        "suppression_adoption",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("file_id", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("reached", sa.Integer, nullable=False),
        sa.Column("people_reached", sa.Integer, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suppression_adoption"),
        sa.UniqueConstraint("file_id", name="uq_suppression_adoption_file_id"),
    )


def _create_disclosures() -> None:
    op.create_table(
        "disclosure",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person", sa.Integer),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("to_whom", sa.String(200), nullable=False),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.String(64)),
        sa.Column("sealed_in", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_disclosure"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_disclosure_person"),
    )
    op.create_index("ix_disclosure_person", "disclosure", ["person", "at"])
    _create_partial_index("ix_disclosure_sealed_in", "disclosure", ["sealed_in"], "sealed_in IS NOT NULL")
    _create_partial_index("ix_disclosure_unsealed", "disclosure", ["id"], "sealed_in IS NULL")
    op.create_table(
        "disclosure_total",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person", sa.Integer),
        sa.Column("to_whom", sa.String(200), nullable=False),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_disclosure_total"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_disclosure_total_person"),
        sa.UniqueConstraint("person", "to_whom", "why", name="uq_disclosure_total_one_row_a_recipient"),
    )
    op.create_table(
        "disclosure_log",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("batch", sa.Integer),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("folded", sa.Integer, nullable=False),
        sa.Column("erased", sa.Integer, nullable=False),
        sa.Column("added", sa.Integer, nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_disclosure_log"),
        sa.UniqueConstraint("previous", name="uq_disclosure_log_follows_once"),
    )
    op.create_index("ix_disclosure_log_batch", "disclosure_log", ["batch", "id"])
    op.create_table(
        "list_export",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("to_whom", sa.String(200), nullable=False),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("people", sa.Integer, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.String(64)),
        sa.Column("sealed_in", sa.Integer),
        sa.Column("parts_hash", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_list_export"),
    )
    _create_partial_index("ix_list_export_sealed_in", "list_export", ["sealed_in"], "sealed_in IS NOT NULL")
    _create_partial_index("ix_list_export_unsealed", "list_export", ["id"], "sealed_in IS NULL")
    op.create_table(
        "list_export_part",
        sa.Column("export", sa.Integer, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("bits", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("export", "first", name="pk_list_export_part"),
        sa.ForeignKeyConstraint(["export"], ["list_export.id"], name="fk_list_export_part_export"),
    )


def _create_signup() -> None:
    op.create_table(
        "signup_request",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("mailbox_tag", sa.String(64), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False, server_default="1"),
        sa.Column("wide_tag", sa.String(64), nullable=False, server_default=""),
        sa.Column("middle_tag", sa.String(64), nullable=False, server_default=""),
        sa.Column("network_tag", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_signup_request"),
    )
    op.create_index("ix_signup_request_networks", "signup_request", ["wide_tag", "middle_tag", "network_tag"])
    op.create_table(
        "signup_mail",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("mailbox_tag", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signup_mail"),
    )
    op.create_index("ix_signup_mail_at", "signup_mail", ["at"])
    op.create_index("ix_signup_mail_mailbox", "signup_mail", ["mailbox_tag", "at"])
    op.create_table(
        "signup_allowance",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("first", sa.Double, nullable=False),
        sa.Column("further", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signup_allowance"),
    )
    op.create_table(
        "limit_count",
        sa.Column("scope", sa.String(20), nullable=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("began", MOMENT, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("scope", "tag", "began", name="pk_limit_count"),
    )
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alarm"),
    )
    op.create_index("ix_alarm_open", "alarm", ["kind", "ended_at"])
    op.create_table(
        "one_time",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("person", sa.Integer),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("used", sa.Boolean, nullable=False),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.Column("bound_to", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_one_time"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_one_time_person"),
        sa.UniqueConstraint("hash", name="uq_one_time_one_row_a_token"),
    )
    op.create_index("ix_one_time_expiry", "one_time", ["purpose", "ended_at", "expires_at"])
    op.create_index("ix_one_time_person", "one_time", ["person", "purpose"])
    op.create_table(
        "address_move",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("person", sa.Integer, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("stop_hash", sa.String(64), nullable=False),
        sa.Column("old_lookup", sa.String(64), nullable=False),
        sa.Column("changed_at", MOMENT),
        sa.PrimaryKeyConstraint("hash", name="pk_address_move"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_address_move_person"),
    )
    op.create_index("ix_address_move_old_lookup", "address_move", ["old_lookup"])
    op.create_index("ix_address_move_person", "address_move", ["person"])


def _create_sources() -> None:
    op.create_table(
        "source",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("moved_to", sa.Text),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("publisher", sa.String(200), nullable=False),
        sa.Column("section", sa.String(40), nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("primary", sa.Boolean, nullable=False),
        sa.Column("own", sa.Boolean, nullable=False),
        sa.Column("images", sa.String(10), nullable=False),
        sa.Column("topics", sa.JSON, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("kind", sa.String(20)),
        sa.Column("etag", sa.Text),
        sa.Column("last_modified", sa.Text),
        sa.Column("health", sa.String(40), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", MOMENT),
        sa.Column("good_at", MOMENT),
        sa.Column("tried_at", MOMENT),
        sa.Column("next_try_at", MOMENT),
        sa.Column("default_topic", sa.String(100), nullable=False, server_default=""),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("moved_from", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_source"),
        sa.UniqueConstraint("url", name="uq_source_listed_once"),
    )
    op.create_table(
        "source_day",
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("found", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "day", name="pk_source_day"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_source_day_source_id"),
    )
    op.create_table(
        "host_claim",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_host_claim"),
    )
    op.create_table(
        "article",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("author", sa.String(200)),
        sa.Column("credit", sa.String(200)),
        sa.Column("categories", sa.JSON, nullable=False),
        sa.Column("language", sa.String(20)),
        sa.Column("image_url", sa.Text),
        sa.Column("image_alt", sa.Text),
        sa.Column("dated_at", MOMENT, nullable=False),
        sa.Column("date_basis", sa.String(40), nullable=False),
        sa.Column("updated_at", MOMENT),
        sa.Column("found_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("withdrawn_at", MOMENT),
        sa.Column("starts_at", MOMENT),
        sa.Column("ends_at", MOMENT),
        sa.Column("all_day", sa.Boolean, nullable=False),
        sa.Column("place", sa.String(200)),
        sa.Column("closes_on", sa.Date),
        sa.Column("featured", sa.Boolean, nullable=False),
        sa.Column("views", sa.Integer),
        sa.Column("closes_clock", sa.Time),
        sa.Column("closes_zone", sa.String(60), nullable=False, server_default=""),
        sa.Column("closes_label", sa.String(40), nullable=False, server_default=""),
        sa.Column("announced_at", MOMENT),
        sa.Column("announced_until", MOMENT),
        sa.Column("event_zone", sa.String(60), nullable=False, server_default=""),
        sa.Column("superseded", sa.String(100), nullable=False, server_default=""),
        sa.Column("summary_basis", sa.String(20), nullable=False, server_default=""),
        sa.Column("publisher", sa.String(200), nullable=False, server_default=""),
        sa.Column("image_credit", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name="pk_article"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_article_source_id"),
        sa.UniqueConstraint("source_id", "key", name="uq_article_one_row_an_item"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_article_url", "article", ["url"])
    op.create_index("ix_article_window", "article", ["dated_at"])
    op.create_table(
        "article_change",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("article_id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("field", sa.String(40), nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_article_change"),
        sa.ForeignKeyConstraint(["article_id"], ["article.id"], name="fk_article_change_article_id"),
    )
    op.create_index("ix_article_change_article", "article_change", ["article_id"])
    op.create_table(
        "word_table",
        sa.Column("opens_at", MOMENT, nullable=False),
        sa.Column("article_count", sa.Integer, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("opens_at", name="pk_word_table"),
    )
    op.create_table(
        "media",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("source_url", sa.Text, nullable=False),
        sa.Column("content_type", sa.String(40), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_media"),
    )
    op.create_index("ix_media_source_url", "media", ["source_url"])


def _create_editions() -> None:
    op.create_table(
        "edition",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("slot", sa.String(40), nullable=False),
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("opens_at", MOMENT, nullable=False),
        sa.Column("cut_off", MOMENT, nullable=False),
        sa.Column("release_at", MOMENT, nullable=False),
        sa.Column("drafted_at", MOMENT, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("preheader", sa.Text, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("held_because", sa.Text, nullable=False),
        sa.Column("approved_by", sa.String(200)),
        sa.Column("approved_at", MOMENT),
        sa.Column("planned_at", MOMENT),
        sa.Column("planned", sa.Integer),
        sa.Column("sent_at", MOMENT),
        sa.Column("paused_at", MOMENT),
        sa.Column("paused_because", sa.Text, nullable=False, server_default=""),
        sa.Column("resumed_at", MOMENT),
        sa.Column("canary", sa.Integer),
        sa.Column("canary_until", MOMENT),
        sa.Column("written_parts", sa.JSON),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("acknowledged_refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("set_aside", sa.JSON),
        sa.Column("send_requested_at", MOMENT),
        sa.Column("merged", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_edition"),
        sa.UniqueConstraint("name", name="uq_edition_name"),
        sa.UniqueConstraint("slot", name="uq_edition_one_a_slot"),
    )
    op.create_table(
        "release_change",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("regular_on", sa.Date),
        sa.Column("release_at", MOMENT),
        sa.Column("skipped", sa.Boolean, nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("set_aside", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_release_change"),
        sa.ForeignKeyConstraint(["set_aside"], ["edition.id"], name="fk_release_change_set_aside", ondelete="SET NULL"),
        sa.UniqueConstraint("regular_on", name="uq_release_changed_once"),
        sa.UniqueConstraint("release_at", name="uq_release_one_a_moment"),
    )
    op.create_table(
        "story",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("section", sa.String(40)),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("terms", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("members", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_story"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_story_edition_id"),
    )
    op.create_index("ix_story_edition", "story", ["edition_id", "section", "position"])
    op.create_table(
        "proposal",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_proposal"),
        sa.ForeignKeyConstraint(["id"], ["edition.id"], name="fk_proposal_id", ondelete="CASCADE"),
    )
    op.create_table(
        "edit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("undoes", sa.Integer),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_edit"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_edit_edition_id", ondelete="CASCADE"),
        sa.UniqueConstraint("edition_id", "seq", name="uq_edit_one_a_number"),
    )
    op.create_table(
        "clipping",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("target", sa.String(2000), nullable=False),
        sa.Column("field", sa.String(20), nullable=False, server_default=""),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clipping"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_clipping_edition_id", ondelete="CASCADE"),
        sa.UniqueConstraint("owner", "edition_id", "target", "field", name="uq_clipping_kept_once"),
    )
    op.create_table(
        "fragment",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("slots", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fragment"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_fragment_edition_id"),
        sa.UniqueConstraint("edition_id", "kind", "name", name="uq_fragment_one_a_place"),
    )
    op.create_table(
        "archived_story",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("released_at", MOMENT, nullable=False),
        sa.Column("anchor", sa.String(40), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("headline", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("topic", sa.String(100), nullable=False),
        sa.Column("topic_key", sa.String(100), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("dated", sa.String(100), nullable=False),
        sa.Column("sources", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_archived_story"),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name="fk_archived_story_edition_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_archived_story_edition_id", "archived_story", ["edition_id"])
    op.create_index("ix_archived_story_topic", "archived_story", ["topic_key", "released_at"])
    op.create_table(
        "past_edition",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("released_at", MOMENT, nullable=False),
        sa.Column("imported_at", MOMENT, nullable=False),
        sa.Column("imported_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_past_edition"),
        sa.UniqueConstraint("address", name="uq_past_edition_imported_once"),
    )
    op.create_table(
        "past_story",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("past_edition_id", sa.Integer, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("headline", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_past_story"),
        sa.ForeignKeyConstraint(
            ["past_edition_id"], ["past_edition.id"], name="fk_past_story_past_edition_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_past_story_past_edition_id", "past_story", ["past_edition_id"])


def _create_approvals() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("statement", sa.JSON, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("edit_seq", sa.Integer, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("stood_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_by", sa.String(200)),
        sa.Column("ended_by_edit", sa.Integer),
        sa.Column("ended_because", sa.Text, nullable=False, server_default=""),
        sa.Column("editor_counts", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_approval"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_approval_edition_id", ondelete="CASCADE"),
        sa.UniqueConstraint("edition_id", "version", name="uq_approval_one_a_version"),
    )
    _create_partial_index("ix_approval_one_standing", "approval", ["edition_id"], "state = 'standing'", unique=True)
    op.create_table(
        "approval_signature",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("approval_id", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approval_signature"),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name="fk_approval_signature_approval_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("approval_id", "actor", name="uq_approval_signature_one_a_person"),
    )
    op.create_table(
        "approved_fragment",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("approval_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("slots", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approved_fragment"),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name="fk_approved_fragment_approval_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("approval_id", "kind", "name", name="uq_approved_fragment_one_a_place"),
    )
    op.create_table(
        "sent_back_note",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("done_by", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name="pk_sent_back_note"),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name="fk_sent_back_note_edition_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_sent_back_note_edition", "sent_back_note", ["edition_id"])
    op.create_table(
        "correction",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("signed", sa.String(200), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("section", sa.String(40), nullable=False),
        sa.Column("headline", sa.Text, nullable=False),
        sa.Column("field", sa.String(20), nullable=False),
        sa.Column("was", sa.Text, nullable=False),
        sa.Column("becomes", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("is_carried", sa.Boolean, nullable=False),
        sa.Column("mail_asked_at", MOMENT),
        sa.Column("mail_asked_by", sa.String(200), nullable=False, server_default=""),
        sa.Column("mail_planned_at", MOMENT),
        sa.Column("mail_statement", sa.JSON),
        sa.Column("mail_approved_at", MOMENT),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_correction"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_correction_edition_id", ondelete="CASCADE"),
        sa.UniqueConstraint("edition_id", "seq", name="uq_correction_one_a_number"),
    )
    op.create_index("ix_correction_at", "correction", ["at"])
    op.create_table(
        "correction_signature",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("correction_id", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_correction_signature"),
        sa.ForeignKeyConstraint(
            ["correction_id"], ["correction.id"], name="fk_correction_signature_correction_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("correction_id", "actor", name="uq_correction_signature_one_a_person"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("purpose", sa.String(80), nullable=False),
        sa.Column("person", sa.Integer),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(80)),
        sa.Column("lease_until", MOMENT),
        sa.Column("domain_tag", sa.String(32)),
        sa.Column("message_id", sa.String(200), nullable=False),
        sa.Column("transport", sa.String(20), nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("handed_at", MOMENT),
        sa.Column("first_handed_at", MOMENT),
        sa.Column("variant", sa.Text),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.String(64)),
        sa.Column("sealed_in", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.ForeignKeyConstraint(["person"], ["person.number"], name="fk_delivery_person"),
        sa.UniqueConstraint("purpose", "person", name="uq_delivery_one_message_a_person"),
    )
    op.create_index("ix_delivery_next", "delivery", ["state", "purpose", "next_try_at"])
    op.create_index("ix_delivery_person", "delivery", ["person"])
    _create_partial_index("ix_delivery_sealed_in", "delivery", ["sealed_in"], "sealed_in IS NOT NULL")
    _create_partial_index(
        "ix_delivery_unsealed", "delivery", ["id"], "sealed_in IS NULL AND substr(purpose, 1, 8) <> 'edition:'"
    )
    _create_partial_index("ix_delivery_waiting", "delivery", ["purpose", "next_try_at", "person"], "state = 'waiting'")
    op.create_table(
        "notice",
        sa.Column("delivery", sa.String(26), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("delivery", name="pk_notice"),
        sa.ForeignKeyConstraint(["delivery"], ["delivery.id"], name="fk_notice_delivery"),
    )
    _create_partial_index("ix_notice_urgent", "notice", ["delivery"], "kind <> 'correction'")
    op.create_table(
        "delivery_total",
        sa.Column("purpose", sa.String(80), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("purpose", "state", name="pk_delivery_total"),
    )
    op.create_table(
        "edition_figures",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("handed_over", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("complained", sa.Integer, nullable=False),
        sa.Column("release_at", MOMENT, nullable=False),
        sa.Column("counted_at", MOMENT, nullable=False),
        sa.Column("hours", sa.JSON, nullable=False),
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_edition_figures"),
        sa.UniqueConstraint("name", name="uq_edition_figures_name"),
    )
    op.create_index("ix_edition_figures_release_at", "edition_figures", ["release_at"])
    op.create_table(
        "queued_mail",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("delivery", sa.String(26), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_queued_mail"),
    )
    op.create_table(
        "run_lease",
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("beat_at", sa.Double, nullable=False),
        sa.Column("home", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_run_lease"),
    )
    op.create_table(
        "spaced_limit",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("ready_at", MOMENT, nullable=False),
        sa.Column("recent", sa.JSON),
        sa.PrimaryKeyConstraint("name", name="pk_spaced_limit"),
    )
    op.create_table(
        "domain_group",
        sa.Column("domain_tag", sa.String(32), nullable=False),
        sa.Column("group_tag", sa.String(32), nullable=False),
        sa.Column("fresh_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("domain_tag", name="pk_domain_group"),
    )
    op.create_table(
        "handed",
        sa.Column("minute", MOMENT, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("minute", name="pk_handed"),
    )


def _create_events() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("delivery", sa.String(26)),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("cause", sa.String(20), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("provider_mark", sa.String(64)),
        sa.Column("unsettled_since", MOMENT),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.UniqueConstraint("fingerprint", name="uq_event_counted_once"),
        sa.UniqueConstraint("provider_mark", name="uq_event_one_row_a_provider_mark"),
    )
    _create_partial_index(
        "ix_event_alarms", "event", ["received_at"], "cause IN ('no mailbox', 'hard', 'policy') OR kind = 'complained'"
    )
    op.create_index("ix_event_delivery", "event", ["delivery"])
    _create_partial_index("ix_event_strikes", "event", ["at"], "cause IN ('hard', 'soft')")
    _create_partial_index("ix_event_unsettled", "event", ["unsettled_since"], "unsettled_since IS NOT NULL")
    op.create_table(
        "inbound",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("applied_at", MOMENT),
        sa.Column("origin", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inbound"),
        sa.UniqueConstraint("body_hash", name="uq_inbound_one_row_a_body"),
    )
    op.create_index("ix_inbound_at", "inbound", ["at"])
    _create_partial_index("ix_inbound_unapplied", "inbound", ["id"], "applied_at IS NULL")
    op.create_table(
        "provider_erasure",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(20), nullable=False),
        sa.Column("mark", sa.String(26), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_provider_erasure"),
    )


def _create_team() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.Column("added_by", sa.String(200), nullable=False),
        sa.Column("proven_at", MOMENT),
        sa.Column("removed_at", MOMENT),
        sa.Column("name", sa.String(80), nullable=False, server_default=""),
        sa.Column("password_hash", sa.String(200)),
        sa.Column("password_at", MOMENT),
        sa.Column("failures_seen_at", MOMENT),
        sa.Column("letter_keys", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_staff"),
        sa.UniqueConstraint("email", name="uq_staff_one_row_an_address"),
    )
    op.create_table(
        "staff_session",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=False),
        sa.Column("fresh_at", MOMENT, nullable=False),
        sa.Column("network", sa.String(50), nullable=False),
        sa.Column("browser", sa.String(60), nullable=False),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_staff_session"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_staff_session_staff"),
        sa.UniqueConstraint("hash", name="uq_staff_session_one_row_a_token"),
    )
    op.create_index("ix_staff_session_staff", "staff_session", ["staff"])
    op.create_table(
        "passkey",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_passkey"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_passkey_staff"),
        sa.UniqueConstraint("credential", name="uq_passkey_one_row_a_credential"),
    )
    op.create_index("ix_passkey_staff", "passkey", ["staff"])
    op.create_table(
        "code_app",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("confirmed_at", MOMENT),
        sa.Column("last_step", sa.BigInteger),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_code_app"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_code_app_staff"),
    )
    op.create_index("ix_code_app_staff", "code_app", ["staff"])
    op.create_table(
        "recovery_code",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("used_at", MOMENT),
        sa.Column("seal", sa.String(90), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_recovery_code"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_recovery_code_staff"),
        sa.UniqueConstraint("staff", "hash", name="uq_recovery_code_one_row_a_code"),
    )
    op.create_table(
        "used_challenge",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_used_challenge"),
    )
    op.create_table(
        "sign_in",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("passkey", sa.String(60), nullable=False),
        sa.Column("succeeded", sa.Boolean, nullable=False),
        sa.Column("network", sa.String(50), nullable=False),
        sa.Column("browser", sa.String(60), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_sign_in_staff"),
    )
    op.create_index("ix_sign_in_at", "sign_in", ["at"])
    op.create_index("ix_sign_in_staff", "sign_in", ["staff", "at"])
    op.create_table(
        "presence",
        sa.Column("staff", sa.Integer, nullable=False),
        sa.Column("edition_id", sa.Integer, nullable=False),
        sa.Column("place", sa.String(40), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("staff", "edition_id", name="pk_presence"),
        sa.ForeignKeyConstraint(["edition_id"], ["edition.id"], name="fk_presence_edition_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["staff"], ["staff.id"], name="fk_presence_staff"),
    )
    op.create_table(
        "address_use",
        sa.Column("words", sa.String(100), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("words", "actor", name="pk_address_use"),
    )


def _create_operations() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("act", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("seq", sa.Integer),
        sa.Column("previous", sa.String(64), nullable=False, server_default=""),
        sa.Column("hash", sa.String(64), nullable=False, server_default=""),
        sa.Column("mac", sa.String(90), nullable=False, server_default=""),
        sa.Column("access_seq", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("seq", name="uq_audit_seq"),
    )
    op.create_index("ix_audit_act", "audit", ["act", "at"])
    op.create_index("ix_audit_actor", "audit", ["actor", "at"])
    op.create_index("ix_audit_at", "audit", ["at", "seq"])
    op.create_index("ix_audit_subject", "audit", ["subject", "at"])
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("job", sa.String(20), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("taken_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_slot"),
        sa.UniqueConstraint("job", "at", name="uq_slot_taken_once"),
    )
    op.create_table(
        "memo",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_memo"),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("opened_at", MOMENT),
        sa.Column("missing_since", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alert_ended", "alert", ["ended_at"])
    _create_partial_index("uq_alert_one_open", "alert", ["kind", "subject"], "ended_at IS NULL", unique=True)
    op.create_table(
        "alert_post",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("alert_id", sa.Integer, nullable=False),
        sa.Column("event", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try_at", MOMENT),
        sa.Column("done_at", MOMENT),
        sa.Column("trouble", sa.Text, nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_post"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name="fk_alert_post_alert_id", ondelete="CASCADE"),
        sa.UniqueConstraint("alert_id", "event", "channel", name="uq_alert_post_once"),
    )
    op.create_index("ix_alert_post_next", "alert_post", ["next_try_at"])
    op.create_table(
        "running_backup",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_running_backup"),
    )
    op.create_table(
        "changed_row",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("backup", sa.Integer, nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("key", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changed_row"),
    )
    op.create_index("ix_changed_row_backup", "changed_row", ["backup", "source"])


def _create_full_text_index() -> None:
    for statement in FULL_TEXT_ON_SQLITE if _is_sqlite() else FULL_TEXT_ON_POSTGRESQL:
        op.execute(statement)


def _create_backup_triggers() -> None:
    if _is_sqlite():
        for name, action in TRIGGERS_ON_SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} AFTER {action}")
        return
    for name, (action, statement) in TRIGGERS_ON_POSTGRESQL.items():
        body = f"BEGIN {statement} RETURN NULL; END"
        op.execute(f"CREATE FUNCTION note_{name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        op.execute(f"CREATE TRIGGER {name} AFTER {action} EXECUTE FUNCTION note_{name}()")


def _tune_delivery_storage() -> None:
    storage = ", ".join(f"{name} = {value}" for name, value in DELIVERY_STORAGE.items())
    op.execute(f"ALTER TABLE delivery SET ({storage})")


def _create_partial_index(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _create_preference_index(name: str, preference: str, columns: list[str]) -> None:
    value = f"(choices ->> '{preference}')"
    if _is_sqlite():
        value = f"CASE WHEN json_valid(choices) THEN json_extract(choices, '$.' || '{preference}') END"
    _create_partial_index(name, "person", columns, f"{value} IS NOT NULL")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
