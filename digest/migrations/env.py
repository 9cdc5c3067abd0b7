"""Alembic's environment.

The connection comes from `digest.store.engine.run_migrations_to_revision`, never from a file.
"""

from alembic import context

import digest.store.models  # noqa: F401  (its tables join the metadata)
from subscribers.store.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
