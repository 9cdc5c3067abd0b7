"""The key file on the disk: written whole or not at all, readable for its owner alone, changed by one process at a time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def create_file(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all, and never in place of another.

    Raises:
        FileExistsError: the name is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _write_draft(path, text)
    try:
        os.link(draft, path)  # unlike rename, it fails where the name is taken
    finally:
        draft.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, text: str) -> None:
    """Put a new text in place of a file's: whoever reads sees the old one or the new one, after a crash too."""
    draft = _write_draft(path, text)
    draft.replace(path)
    sync_folder(path.parent)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Be the only one to change a file, for the length of the block; what a killed writer left behind is removed.

    The lock is on the folder: the file itself is replaced by another. It ends with the process, however that ends.
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
    """Have a name that was given or taken away in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
