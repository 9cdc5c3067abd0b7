"""Posts of alerts name their channel: until now all of them went to the webhook."""

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0060"
branch_labels = None
depends_on = None

NAME = "uq_alert_post_once"


def upgrade() -> None:
    op.add_column("alert_post", sa.Column("channel", sa.String(20), nullable=False, server_default="webhook"))
    with op.batch_alter_table("alert_post") as batch:
        batch.alter_column("channel", server_default=None)
        batch.drop_constraint(NAME, type_="unique")
        batch.create_unique_constraint(NAME, ["alert_id", "event", "channel"])


def downgrade() -> None:
    op.execute("DELETE FROM alert_post WHERE channel <> 'webhook'")
    with op.batch_alter_table("alert_post") as batch:
        batch.drop_constraint(NAME, type_="unique")
        batch.create_unique_constraint(NAME, ["alert_id", "event"])
        batch.drop_column("channel")
