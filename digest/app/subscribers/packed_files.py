"""Lists that come in a ZIP file or a spreadsheet: unpacked by the sandbox into a CSV file that its owner alone can read."""

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
MAX_PACKED_BYTES = 90_000_000  # what the sandbox takes in one message, with room for its head


def is_packed(file: Path) -> bool:
    """Return whether a file is a ZIP file or a spreadsheet, by its first bytes."""
    with file.open("rb") as opened:
        return opened.read(4) in PACKED_STARTS


def unpack_list_file(file: Path, target: Path) -> None:
    """Write the list in a ZIP file or a spreadsheet to a new CSV file.

    Raises:
        ListFileError: there's none, it's too large or too complex, or the sandbox failed.
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
    """Make a folder that the service's user alone can read, also if it exists and others can read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def make_upload_folder(folder: Path) -> None:
    """Make the folder of one upload in the folder of all uploads, both private.

    Raises:
        FileExistsError: there's one of that name.
    """
    make_private_folder(folder.parent)
    folder.mkdir(mode=0o700)


@contextmanager
def lend_readable_list(file: Path, folder: Path) -> Iterator[Path]:
    """Lend the file itself, or what was unpacked from it below `folder`, which is deleted afterwards.

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
    with tempfile.TemporaryDirectory(dir=folder) as private:  # one that's left behind goes with the old uploads
        table = Path(private) / f"{file.name}.csv"
        unpack_list_file(file, table)
        yield table
