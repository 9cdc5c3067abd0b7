"""Staff accounts: sessions, passkeys, passwords with codes, and the log of sign-ins. No row moves: nobody could sign in before."""

import sqlalchemy as sa
from alembic import op

from subscribers.store.models import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STAFF_COLUMNS = ("name", "password_hash", "password_at", "failures_seen_at")


def upgrade() -> None:
    op.add_column("staff", sa.Column("name", sa.String(80), server_default="", nullable=False))
    op.add_column("staff", sa.Column("password_hash", sa.String(200)))
    op.add_column("staff", sa.Column("password_at", UtcDateTime()))
    op.add_column("staff", sa.Column("failures_seen_at", UtcDateTime()))
    op.create_table(
        "staff_session",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("fresh_at", UtcDateTime(), nullable=False),
        sa.Column("network", sa.String(50), nullable=False),
        sa.Column("browser", sa.String(60), nullable=False),
        sa.UniqueConstraint("hash", name="uq_staff_session_one_row_a_token"),
    )
    op.create_index("ix_staff_session_staff", "staff_session", ["staff"])
    op.create_table(
        "passkey",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime()),
        sa.UniqueConstraint("credential", name="uq_passkey_one_row_a_credential"),
    )
    op.create_index("ix_passkey_staff", "passkey", ["staff"])
    op.create_table(
        "code_app",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime()),
        sa.Column("last_step", sa.BigInteger()),
    )
    op.create_index("ix_code_app_staff", "code_app", ["staff"])
    op.create_table(
        "recovery_code",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("used_at", UtcDateTime()),
        sa.UniqueConstraint("staff", "hash", name="uq_recovery_code_one_row_a_code"),
    )
    op.create_table(
        "sign_in",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("staff", sa.Integer(), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("passkey", sa.String(60), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("network", sa.String(50), nullable=False),
        sa.Column("browser", sa.String(60), nullable=False),
    )
    op.create_index("ix_sign_in_staff", "sign_in", ["staff", "at"])
    op.create_index("ix_sign_in_at", "sign_in", ["at"])
    op.create_table(
        "used_challenge",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    for table in ("used_challenge", "sign_in", "recovery_code", "code_app", "passkey", "staff_session"):
        op.drop_table(table)
    for column in STAFF_COLUMNS:
        op.drop_column("staff", column)
