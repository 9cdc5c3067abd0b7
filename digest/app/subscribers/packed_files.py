"""Unpacking of lists in ZIP files and spreadsheets, by the sandbox, into private CSV files."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digest.collect.sandbox.client import DocumentLimitError, DocumentRefusedError, SandboxError, unpack_list_in_child
from subscribers.loggers import get_logger
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.packed_lists import PACKED_STARTS

log = get_logger("uploads")
MAX_PACKED_BYTES = 90_000_000  # limit of a message to the sandbox, with room for its header


def is_packed(file: Path) -> bool:
    """Return whether a file is a ZIP file or a spreadsheet, by its first bytes."""
    with file.open("rb") as opened:
        return opened.read(4) in PACKED_STARTS


def unpack_list_file(file: Path, target: Path) -> None:
    """Write the list in a ZIP file or a spreadsheet to a new CSV file.

    Raises:
        ListFileError: it contains no list, it's too large or too complex, or the sandbox failed.
    """
    size = file.stat().st_size
    if size > MAX_PACKED_BYTES:
        raise ListFileError(
            f"The file is {size // 1_000_000:,} MB, over the limit of {MAX_PACKED_BYTES // 1_000_000} MB for ZIP files "
            "and spreadsheets. Unpack it, or save it as CSV."
        )
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as table:
            for piece in unpack_list_in_child(file.read_bytes()):
                table.write(piece)
    except DocumentLimitError:
        raise ListFileError(
            "The file takes too much time or memory to open. Save it as CSV, or split it into smaller files."
        ) from None
    except DocumentRefusedError as exc:
        raise ListFileError(str(exc)) from None
    except SandboxError as exc:
        log.error("unpacking a list failed", error=type(exc).__name__)  # noqa: TRY400 - its text may quote the file
        raise ListFileError(
            "The file can't be opened, because the process that unpacks files failed. Try again, or save the list as CSV."
        ) from None


def make_private_folder(folder: Path) -> None:
    """Create a folder, or change an existing one, so that only the service's user can read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def make_upload_folder(folder: Path) -> None:
    """Create the folder of an upload, and the folder of all uploads if needed, both private.

    Raises:
        FileExistsError: an upload has this name.
    """
    make_private_folder(folder.parent)
    folder.mkdir(mode=0o700)


@contextmanager
def lend_readable_list(file: Path, folder: Path) -> Iterator[Path]:
    """Yield the file itself, or the list unpacked from it below `folder`, which is deleted afterwards.

    Raises:
        ListFileError: see `unpack_list_file`.
    """
    try:
        packed = is_packed(file)
    except OSError as exc:
        raise ListFileError(f"Can't read {file}: {exc.strerror}") from None
    if not packed:
        yield file
        return
    make_private_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder) as private:  # a leftover folder is deleted with the old uploads
        table = Path(private) / f"{file.name}.csv"
        unpack_list_file(file, table)
        yield table
