"""Lists in ZIP files and spreadsheets, which a process without keys unpacks into a single table.

A ZIP file from Mailchimp contains a file per status, with the status in its name. In the table, the
status is a column.
"""

import csv
import io
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import islice

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

from subscribers.transfer.formats import ColumnLayout, ImportedSubscriberStatus, normalize_heading, recognize_layout
from subscribers.transfer.list_file import (
    SAMPLE_ROWS,
    ListFileError,
    detect_layout,
    hash_and_detect_encoding,
    parse_rows,
)

MAX_ENTRIES = 1000
MAX_UNPACKED_BYTES = 512_000_000
# The bytes of the table that a child process returns at a time.
PIECE_BYTES = 32_000_000
ZIP_START, OLE_START = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
PACKED_STARTS = (ZIP_START, OLE_START)
_TEXT_ENDINGS = (".csv", ".tsv", ".txt")
_WORKBOOK_FILES = frozenset({"xl/workbook.xml", "xl/workbook.bin", "content.xml"})
STATUS_HEADING = "File status"
_STATUS_WORDS = {
    ImportedSubscriberStatus.SUBSCRIBED: "subscribed",
    ImportedSubscriberStatus.UNCONFIRMED: "unconfirmed",
    ImportedSubscriberStatus.LEFT: "unsubscribed",
    ImportedSubscriberStatus.BOUNCED: "bounced",
}

# The errors raised by `zipfile` and its decompressors. Each file is read to its end before a row is
# used, so its checksum is verified.
_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, ValueError, struct.error, zlib.error, lzma.LZMAError)

RowReader = Callable[[], Iterator[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class PackedTable:
    """A file or sheet with addresses: its headings (empty if it has none), its layout, and a function that reads it."""

    headings: tuple[str, ...]
    layout: ColumnLayout
    read_rows: RowReader


def unpack_list(body: bytes, *, start: int) -> tuple[bytes, bool]:
    """Return the bytes of the table as CSV (UTF-8), starting at `start`, and whether more follow.

    At most `PIECE_BYTES` are returned.

    Raises:
        ListFileError: the file is damaged, too large, or locked, or no table in it has
            addresses.
    """
    tables = _find_tables(body)
    if not tables:
        raise ListFileError(
            "No table in this file has a column of email addresses. Check that you chose the right file."
        )
    piece = io.BytesIO()
    place = 0
    for block in _write_csv(tables):
        skipped = max(0, start - place)
        piece.write(block[skipped:])
        place += len(block)
        if place > MAX_UNPACKED_BYTES:
            raise _too_large()
        if piece.tell() > PIECE_BYTES:
            return piece.getvalue()[:PIECE_BYTES], True
    return piece.getvalue(), False


def _too_large() -> ListFileError:
    size = MAX_UNPACKED_BYTES // 1_000_000
    return ListFileError(f"The file unpacks to more than {size} MB. Split the list into smaller files.")


def _find_tables(body: bytes) -> list[PackedTable]:
    if not body.startswith(ZIP_START):
        return _find_sheets(body)
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
        _check_entries(archive.infolist())
        is_workbook = not _WORKBOOK_FILES.isdisjoint(archive.namelist())
        return _find_sheets(body) if is_workbook else _find_text_tables(archive)
    except NotImplementedError:
        raise ListFileError(
            "The ZIP file uses an unsupported compression method. Unpack it and choose the CSV file."
        ) from None
    except _ZIP_ERRORS:
        raise ListFileError("The ZIP file is damaged. Download or export it again.") from None


def _check_entries(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raise an error if an archive's declared entries can't be read safely.

    `zipfile` never reads more bytes of an entry than declared.

    Raises:
        ListFileError: it has too many entries or bytes, or a password.
    """
    if len(entries) > MAX_ENTRIES:
        raise ListFileError(
            f"The ZIP file contains more than {MAX_ENTRIES:,} files. Unpack it and choose the CSV file with the list."
        )
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise _too_large()
    if any(entry.flag_bits & 1 for entry in entries):
        raise ListFileError("The file is password-protected. Unpack it, or save it without a password.")


def _find_text_tables(archive: zipfile.ZipFile) -> list[PackedTable]:
    """Return the lists in the topmost folder that contains any.

    Those in deeper folders are reports on sent emails.
    """
    names = [name for name in archive.namelist() if _is_text_file(name)]
    for depth in sorted({name.count("/") for name in names}):
        found = [_read_text_table(archive, name) for name in names if name.count("/") == depth]
        if tables := [table for table in found if table is not None]:
            return tables
    return []


def _is_text_file(name: str) -> bool:
    is_hidden = name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")
    return name.lower().endswith(_TEXT_ENDINGS) and not is_hidden


def _read_text_table(archive: zipfile.ZipFile, name: str) -> PackedTable | None:
    path = zipfile.Path(archive, name)
    try:
        with path.open("rb") as file:
            _, encoding = hash_and_detect_encoding(file)
        separator, layout = detect_layout(path, encoding)
    except ListFileError:  # other files may be lists
        return None

    def read_rows() -> Iterator[Sequence[str]]:
        return parse_rows(path, encoding, separator, layout)

    return _make_table(layout, read_rows)


def _make_table(layout: ColumnLayout, read_rows: RowReader) -> PackedTable:
    rows = (row for row in read_rows() if any(row))
    headings = tuple(next(rows)) if layout.has_heading else ()
    return PackedTable(headings, layout, read_rows)


def _find_sheets(body: bytes) -> list[PackedTable]:
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(body))
        names = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible is SheetVisibleEnum.Visible]
        tables = [_read_sheet(workbook, name) for name in names[:MAX_ENTRIES]]
    except PasswordError:
        raise ListFileError("The file is password-protected. Unpack it, or save it without a password.") from None
    except CalamineError:
        raise ListFileError("The spreadsheet can't be read. Save it as .xlsx or CSV (UTF-8).") from None
    return [table for table in tables if table is not None][:1]


def _read_sheet(workbook: CalamineWorkbook, name: str) -> PackedTable | None:
    sheet = workbook.get_sheet_by_name(name)

    def read_rows() -> Iterator[Sequence[str]]:
        return (list(map(_cell_text, row)) for row in sheet.iter_rows())

    rows = list(islice((row for row in read_rows() if any(row)), SAMPLE_ROWS))
    layout = recognize_layout(rows[0], rows[1:]) if rows else None
    return _make_table(layout, read_rows) if layout is not None else None


def _cell_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _write_csv(tables: Sequence[PackedTable]) -> Iterator[bytes]:
    """Yield the rows of all tables, under a single heading, as blocks of bytes."""
    columns = [_name_columns(table) for table in tables]
    heading = list(dict.fromkeys(name for names in columns for name in names))
    named = zip(tables, columns, strict=True)
    labels = {name: text for table, names in named for name, text in zip(names, table.headings, strict=False)}
    has_status = any(table.layout.file_status is not ImportedSubscriberStatus.SUBSCRIBED for table in tables)
    block = io.StringIO(newline="")
    escape = "\\" if any(table.layout.backslash_quotes for table in tables) else None
    writer = csv.writer(block, escapechar=escape)
    if labels:
        writer.writerow([*(labels.get(name, "") for name in heading), *[STATUS_HEADING] * has_status])
    for table, names in zip(tables, columns, strict=True):
        places = [heading.index(name) for name in names]
        status = [_STATUS_WORDS[table.layout.file_status]] * has_status
        rows = (row for row in table.read_rows() if any(row))
        for row in islice(rows, int(table.layout.has_heading), None):
            merged = [""] * len(heading)
            for place, text in zip(places, row, strict=False):
                merged[place] = text
            # A row with additional fields is rejected because of them.
            surplus = filter(str.strip, row[len(places) :])
            writer.writerow([*merged, *status, *surplus])
            if block.tell() > 1 << 20:
                yield block.getvalue().encode("utf-8", "replace")
                block.seek(0)
                block.truncate()
    yield block.getvalue().encode("utf-8", "replace")


def _name_columns(table: PackedTable) -> list[tuple[str, int]]:
    """Return the names of a table's columns, as pairs of a heading and the number of its earlier occurrences.

    Tables may have names in common.
    """
    seen: Counter[str] = Counter()
    names = []
    for text in table.headings or [""] * table.layout.width:
        heading = normalize_heading(text)
        names.append((heading, seen[heading]))
        seen[heading] += 1
    return names
