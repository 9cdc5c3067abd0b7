"""The files of uploaded lists, and unpacking them.

Each upload has a private folder below `uploads` in the home folder. The folder contains the file,
its state (`upload.json`), and the results of its rows by number. Only the service's user can read
it. It contains addresses, so it's never backed up, and it's deleted a week after its last use.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import TypeAdapter

from digest.collect.sandbox.client import DocumentLimitError, DocumentRejectedError, SandboxError, unpack_list_in_child
from digest.installation.opened_installation import Installation
from subscribers.loggers import get_logger
from subscribers.transfer.formats import MASKED_ADDRESS, STATUS_WORDS, ColumnMeaning, list_column_meanings
from subscribers.transfer.list_file import FileSurvey, ListFileError, read_rows
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.packed_lists import PACKED_STARTS
from subscribers.transfer.rows import parse_row_time

log = get_logger("uploads")

MAX_PACKED_BYTES = 90_000_000  # limit of a message to the sandbox, with room for its header
UPLOAD_LIFETIME = timedelta(days=7)  # since the last change
EXAMPLE_ROWS = 200  # that are read for examples
EXAMPLES_SHOWN = 3
_NOTE_FILE = "upload.json"
_NEW_NOTE_FILE = "upload.new"  # while it's being written
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]+")
# Times, with or without a zone, and numbers of up to three digits. Longer numbers could be phone
# numbers or IP addresses.
_CLEAR_EXAMPLE = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d?(:\d\d){1,2}(\.\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?|\d{1,2}/\d{1,2}/\d{4}( \d\d?(:\d\d){1,2})?|\d{1,3}"
)
_NUMBER_LIKE = re.compile(r"(?=.*\d)[\d\s:.,/+()TZ-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")
_LONGEST_SHAPE = 20  # characters, in numbers whose shape is shown


UploadKind = Literal[
    "list", "suppressions"
]  # the second is an encrypted suppression file, for which `found` is a report


class UploadStage(StrEnum):
    """The state of an upload's processing."""

    NEW = "new"  # read, but not checked
    TRYING = "trying"
    TRIED = "tried"
    IMPORTING = "importing"
    STOPPED = "stopped"  # during an import, which can be resumed
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class UploadColumn:
    """A column of an uploaded file: its heading, masked examples, and the meaning of its heading.

    `has_times` is True if most of its first non-empty cells are times.
    """

    heading: str
    examples: tuple[str, ...]
    meaning: ColumnMeaning
    has_times: bool = False


@dataclass(frozen=True, slots=True)
class ListUpload:
    """An uploaded list, and how far it has been processed.

    `found` is the result of the last survey, dry run, or import, as plain values. `problem` is the
    reason that it failed, and `reached` is the last row processed. `packed_name` is the name of the
    ZIP file or spreadsheet that `file` was unpacked from.
    """

    name: str
    file: Path
    actor: str
    at: datetime
    columns: tuple[UploadColumn, ...]
    stage: UploadStage = UploadStage.NEW
    options: ImportOptions = field(default_factory=ImportOptions)
    found: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    reached: int = 0
    rows: int = 0
    kind: UploadKind = "list"
    packed_name: str = ""

    @property
    def uploaded_name(self) -> str:
        """The name of the uploaded file, possibly the archive or workbook that `file` was unpacked from."""
        return self.packed_name or self.file.name

    @property
    def is_running(self) -> bool:
        """True if the upload is being processed."""
        return self.stage in (UploadStage.TRYING, UploadStage.IMPORTING)

    @property
    def meanings(self) -> tuple[ColumnMeaning, ...]:
        """The meaning of each column, as mapped by an admin, or else as derived from its heading."""
        return self.options.columns or tuple(column.meaning for column in self.columns)


_NOTE = TypeAdapter(ListUpload)


def read_upload_columns(survey: FileSurvey) -> tuple[UploadColumn, ...]:
    """Return the columns of a file, with masked examples from its first rows."""
    headings = survey.layout.headings or survey.layout.numbered_columns
    values: list[list[str]] = [[] for _ in range(survey.layout.width)]
    filled, times = [0] * survey.layout.width, [0] * survey.layout.width
    for _, fields in islice(read_rows(survey), EXAMPLE_ROWS):
        for place, (column, text) in enumerate(zip(values, fields, strict=False)):
            filled[place] += bool(text.strip())
            times[place] += _is_time(text)
            example = mask_example(text)
            if example and example not in column and len(column) < EXAMPLES_SHOWN:
                column.append(example)
    meanings = list_column_meanings(survey.layout)
    are_times = (count * 2 > whole for count, whole in zip(times, filled, strict=True))
    pairs = zip(headings, map(tuple, values), meanings, are_times, strict=False)
    return tuple(UploadColumn(*each) for each in pairs)


def _is_time(text: str) -> bool:
    try:
        return parse_row_time(text) is not None
    except ValueError:
        return False


def mask_example(text: str) -> str:
    """Return a field masked so that it can be shown as an example.

    Times, short numbers, and status words are shown in full. Longer numbers and IP addresses are
    reduced to their shape, and anything else to its first letter.
    """
    stripped = text.strip()
    if not stripped:
        return ""
    if "@" in stripped:
        return MASKED_ADDRESS
    if _CLEAR_EXAMPLE.fullmatch(stripped) or stripped.lower().replace("_", " ") in STATUS_WORDS:
        return stripped
    if _NUMBER_LIKE.fullmatch(stripped):
        return re.sub(r"[0-9A-Fa-f]", "•", stripped[:_LONGEST_SHAPE])
    return f"{stripped[0]}••" if stripped[0].isalnum() else "•••"


def delete_stale_uploads(installation: Installation, now: datetime) -> str:
    """Delete uploads that haven't been used for a week, and return a summary."""
    folder, removed = installation.settings.uploads_folder, 0
    for each in list(folder.iterdir()) if folder.is_dir() else []:
        note = each / _NOTE_FILE
        touched = (note if note.exists() else each).stat().st_mtime
        if touched < (now - UPLOAD_LIFETIME).timestamp():
            shutil.rmtree(each)
            removed += 1
    return f"{removed:,} old uploads removed"


def make_safe_file_name(file_name: str) -> str:
    """Return the name of a file without its folder, or a default if the name could contain an address.

    The name is kept because Mailchimp's file names say what the file contains.
    """
    bare = file_name.replace("\\", "/").rpartition("/")[2]
    name = _UNSAFE.sub("_", "" if "@" in bare else bare).strip(". ")[:100]
    return "list.csv" if not name or name in (_NOTE_FILE, _NEW_NOTE_FILE) else name


def create_private_file(path: Path) -> int:
    """Create a new file that only its owner can read from the start, and return its descriptor."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)


def save_upload(stream: IO[bytes], file: Path) -> None:
    """Write an uploaded stream to a new file that only its owner can read."""
    with os.fdopen(create_private_file(file), "wb") as target_file:
        shutil.copyfileobj(stream, target_file, 1 << 20)


def save_upload_state(upload: ListUpload) -> None:
    """Save the state of an upload atomically."""
    fields = _NOTE.dump_python(upload, mode="json", by_alias=True) | {"file": upload.file.name}
    note = upload.file.parent / _NOTE_FILE
    partial = note.with_name(_NEW_NOTE_FILE)
    partial.write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
    partial.replace(note)


def read_upload_state(folder: Path) -> ListUpload | None:
    """Return the state of the upload in a folder, or None if there's none."""
    try:
        fields = json.loads((folder / _NOTE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    note: ListUpload = _NOTE.validate_python(fields | {"file": folder / fields["file"]})
    return note


def is_packed(file: Path) -> bool:
    """Return True if the first bytes of a file are those of a ZIP file or a spreadsheet."""
    with file.open("rb") as opened:
        return opened.read(4) in PACKED_STARTS


def unpack_list_file(file: Path, target: Path) -> None:
    """Write the list in a ZIP file or a spreadsheet to a new CSV file.

    Raises:
        ListFileError: the file contains no list, is too large or too complex, or the sandbox
            failed.
    """
    size = file.stat().st_size
    if size > MAX_PACKED_BYTES:
        raise ListFileError(
            f"The file is {size // 1_000_000:,} MB, over the limit of {MAX_PACKED_BYTES // 1_000_000} MB for ZIP files "
            "and spreadsheets. Unpack it, or save it as CSV."
        )
    descriptor = create_private_file(target)
    try:
        with os.fdopen(descriptor, "wb") as table:
            for piece in unpack_list_in_child(file.read_bytes()):
                table.write(piece)
    except DocumentLimitError:
        raise ListFileError(
            "The file takes too much time or memory to open. Save it as CSV, or split it into smaller files."
        ) from None
    except DocumentRejectedError as exc:
        raise ListFileError(str(exc)) from None
    except SandboxError as exc:
        log.error("couldn't unpack a list", error=type(exc).__name__)  # noqa: TRY400 - its text may quote the file
        raise ListFileError(
            "The file can't be opened, because the process that unpacks files failed. Try again, or save the list as CSV."
        ) from None


def make_private_folder(folder: Path) -> None:
    """Create a folder that only the service's user can read.

    If the folder already exists, its permissions are changed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def make_upload_folder(folder: Path) -> None:
    """Create the private folder of an upload, inside the private folder of all uploads.

    Raises:
        FileExistsError: an upload has this name.
    """
    make_private_folder(folder.parent)
    folder.mkdir(mode=0o700)


@contextmanager
def prepare_readable_list(file: Path, folder: Path) -> Iterator[Path]:
    """Yield the file itself, or the list that was unpacked from it.

    The unpacked list is below `folder` and is deleted afterward.

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
    # A leftover folder is deleted together with old uploads.
    with tempfile.TemporaryDirectory(dir=folder) as private:
        table = Path(private) / f"{file.name}.csv"
        unpack_list_file(file, table)
        yield table
