"""People and events can be `removed`, which a process of an earlier version couldn't read: it refuses this revision instead."""

revision = "0084"
down_revision = "0083"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change nothing: the states are texts."""


def downgrade() -> None:
    """Change nothing."""
