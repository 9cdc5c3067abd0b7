"""The imports of the server from which sending processes are forked. It sends once, which fills a process's caches.

Mappers are configured, providers and PostgreSQL's dialect imported and statements compiled (those of SQLite): else each process
would do it again.
"""

import gc
import importlib
import io
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.sample_installation import create_ready_database
from tests.deliver.send_process import SendOptions, send_what_is_due


def send_to_one_subscriber() -> None:
    """Send an edition to one reader, into files."""
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        options = SendOptions(Path(folder), f"sqlite:///{folder}/digest.db", "outbox:")
        create_ready_database(options.settings, 1, kilobytes=1).close()
        assert send_what_is_due(options) == 0


send_to_one_subscriber()
importlib.import_module("sqlalchemy.dialects.postgresql.psycopg")
# What is here now lives as long as any process: no child looks for garbage in it, and seldom for new (see `tests/conftest.py`).
gc.freeze()
gc.set_threshold(35_000, 20, 20)
