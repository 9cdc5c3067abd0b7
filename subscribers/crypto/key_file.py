"""The key file on disk.

It's written atomically, readable only by its owner, and changed by one process at a time.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def create_file(path: Path, text: str) -> None:
    """Create a file atomically.

    An existing file is never overwritten.

    Raises:
        FileExistsError: the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _write_draft(path, text)
    try:
        os.link(draft, path)  # fails if the name is taken, unlike renaming
    finally:
        draft.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, text: str) -> None:
    """Replace the content of a file atomically.

    Readers see the old or the new text, even after a crash.
    """
    draft = _write_draft(path, text)
    draft.replace(path)
    sync_folder(path.parent)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file against changes by others during the block, and remove anything that a killed writer left behind.

    The folder is locked, because the file itself is replaced. The lock ends with the process.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for draft in path.parent.glob(f".{path.name}.*"):
            draft.unlink()
        yield
    finally:
        os.close(folder)


def _write_draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that created and deleted names survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
