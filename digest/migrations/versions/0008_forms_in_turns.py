"""Forms in turns: which of its network's forms a sign-up form is, and tags of mailboxes in place of addresses."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In place, on both databases: rows that wait and mails that were counted keep their tags.
    op.execute("ALTER TABLE signup_request RENAME COLUMN address_tag TO mailbox_tag")
    op.add_column("signup_request", sa.Column("turn", sa.Integer(), server_default="1", nullable=False))
    op.drop_index("ix_signup_mail_address", "signup_mail")
    op.execute("ALTER TABLE signup_mail RENAME COLUMN address_tag TO mailbox_tag")
    op.create_index("ix_signup_mail_mailbox", "signup_mail", ["mailbox_tag", "at"])


def downgrade() -> None:
    op.drop_index("ix_signup_mail_mailbox", "signup_mail")
    op.execute("ALTER TABLE signup_mail RENAME COLUMN mailbox_tag TO address_tag")
    op.create_index("ix_signup_mail_address", "signup_mail", ["address_tag", "at"])
    op.execute("ALTER TABLE signup_request DROP COLUMN turn")
    op.execute("ALTER TABLE signup_request RENAME COLUMN mailbox_tag TO address_tag")
