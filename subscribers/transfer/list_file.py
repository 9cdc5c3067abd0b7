"""List files: their encoding, separator, and rows.

Files are streamed, never held in memory.
"""

import codecs
import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any
from zipfile import Path as ZipPath

from subscribers.errors import RefusalError
from subscribers.transfer.formats import (
    ColumnLayout,
    ImportedSubscriberStatus,
    assign_column_meanings,
    recognize_layout,
)
from subscribers.transfer.options import ImportOptions

# A line with more characters isn't from a table.
_MAX_LINE_LENGTH = 1_000_000
# No file contains this. It's returned as its own row if all quotes are closed.
_END_MARKER = "\x1eend of file\x1e"
_SEPARATORS = ",;\t|"
SAMPLE_ROWS = 200  # searched for addresses
_CHUNK_BYTES = 1 << 20

NumberedFields = tuple[int, list[str]]
ReadableFile = Path | ZipPath


class ListFileError(RefusalError):
    """Raised when a file can't be read as a list.

    The message says which row it is and what to do, without quoting it.
    """


@dataclass(frozen=True, slots=True)
class FileSurvey:
    """The result of scanning a whole file.

    `rows` doesn't include the heading. `stamp` is different if the file has changed.
    """

    path: Path
    encoding: str
    separator: str
    layout: ColumnLayout
    file_hash: str
    rows: int
    stamp: tuple[int, int, int]
    warnings: tuple[str, ...] = ()
    leave_out_slips: bool = False


def survey_file(
    path: Path,
    options: ImportOptions | None = None,
    *,
    part_keys: Mapping[str, str] | None = None,
) -> FileSurvey:
    """Scan a whole file before it's used, so that a fault near its end isn't found in the middle of an import.

    Args:
        path: the file.
        options: the operator's settings for all rows, columns, and unknown words.
        part_keys: keys of the publication's sections and topics, by tag in lowercase.

    Raises:
        ListFileError: it isn't a table, or no column contains addresses.
        ColumnMappingError: the columns mapped by the operator aren't those of the file.
    """
    try:
        with path.open("rb") as file:
            stamp = _file_stamp(file)
            file_hash, encoding = hash_and_detect_encoding(file)
    except OSError as exc:
        raise ListFileError(f"Can't read {path}: {exc.strerror}") from None
    options = options or ImportOptions()
    separator, layout = detect_layout(path, encoding, options.file_status)
    layout = replace(layout, part_keys=part_keys or {})
    if options.columns:
        layout = assign_column_meanings(layout, options.columns)
    if options.words:
        layout = replace(layout, status_words={**layout.status_words, **dict(options.words)})
    rows = sum(1 for _ in _read_body(path, encoding, separator, layout))
    warnings = []
    if encoding == "latin-1":
        warnings.append(
            "The file isn't UTF-8, so it was read as Latin-1. If headings have wrong letters, save the file as UTF-8."
        )
    if layout.guessed_heading and not options.columns:
        warnings.append(f"The addresses are in the column “{layout.guessed_heading}.” Check that it's the right one.")
    return FileSurvey(
        path, encoding, separator, layout, file_hash, rows, stamp, tuple(warnings), options.leave_out_slips
    )


def read_rows(survey: FileSurvey) -> Iterator[NumberedFields]:
    """Yield the rows below the heading, each with its number as shown in a spreadsheet.

    Raises:
        ListFileError: the file has changed since it was surveyed.
    """
    yield from _read_body(survey.path, survey.encoding, survey.separator, survey.layout)
    with survey.path.open("rb") as file:
        if _file_stamp(file) != survey.stamp:
            raise ListFileError("The file changed while it was being read, so it wasn't used. Run the command again.")


def read_headings(survey: FileSurvey) -> list[str]:
    """Return the file's own headings. Empty for a list without headings."""
    rows = parse_rows(survey.path, survey.encoding, survey.separator, survey.layout)
    return next((fields for fields in rows if any(fields)), []) if survey.layout.has_heading else []


def _file_stamp(file: IO[bytes]) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def hash_and_detect_encoding(file: IO[bytes]) -> tuple[str, str]:
    """Return a file's SHA-256, as 64 hex digits, and its encoding.

    Raises:
        ListFileError: it isn't text.
    """
    head = file.read(_CHUNK_BYTES)
    _refuse_binary_file(head)
    encoding = _guess_encoding(head)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder(encoding)()
    piece = head
    while piece:
        digest.update(piece)
        if encoding != "latin-1":
            encoding = _check_encoding(encoding, decoder, piece)
        piece = file.read(_CHUNK_BYTES)
    if encoding != "latin-1":
        encoding = _check_encoding(encoding, decoder, b"", final=True)
    return digest.hexdigest(), encoding


def _check_encoding(
    encoding: str,
    decoder: codecs.IncrementalDecoder,
    chunk: bytes,
    *,
    final: bool = False,
) -> str:
    """Return the encoding that fits the text read so far.

    Text that isn't UTF-8 is read as Latin-1.
    """
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        if encoding != "utf-8-sig":
            raise ListFileError(
                f"The file looks like {encoding.upper()} but is truncated. Export it again as UTF-8."
            ) from None
        return "latin-1"
    return encoding


def _guess_encoding(first_bytes: bytes) -> str:
    if first_bytes.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if first_bytes.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = first_bytes[:200]
    if start[1::2].count(0) > len(start) // 4:
        # Without a byte order mark, every other byte of Latin text is zero.
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) > len(start) // 4 else "utf-8-sig"


def _refuse_binary_file(first_bytes: bytes) -> None:
    if not first_bytes.strip():
        raise ListFileError("The file is empty. Choose another file.")
    kind = next((kind for magic, kind in _BINARY_FILES.items() if first_bytes.startswith(magic)), "")
    if kind:
        raise ListFileError(
            f"The file is {kind}, not a list. Export the list as CSV, Excel, or a ZIP file of CSV files."
        )


_BINARY_FILES = {
    b"PK\x03\x04": "an archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a document in an old Microsoft format",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"SQLite format 3": "a database",
    b"\x7fELF": "a program",
    b"MZ\x90\0": "a program",
}


def detect_layout(
    path: ReadableFile, encoding: str, file_status: ImportedSubscriberStatus | None = None
) -> tuple[str, ColumnLayout]:
    """Return the separator that splits the first row into the most columns, and the layout.

    One of the columns must have addresses.

    Raises:
        ListFileError: no separator does.
    """
    layouts: list[tuple[str, ColumnLayout]] = []
    for separator in _SEPARATORS:
        rows: list[list[str]] = []
        filled = (fields for fields in parse_rows(path, encoding, separator) if any(fields))
        with suppress(ListFileError):  # the whole file is read again later
            rows.extend(islice(filled, SAMPLE_ROWS))
        first = rows[0] if rows else []
        layout = recognize_layout(first, rows[1:], file_name=path.name, file_status=file_status)
        if layout is not None:
            layouts.append((separator, layout))
    if not layouts:
        for _ in parse_rows(path, encoding, _SEPARATORS[0]):
            pass  # a fault in the whole file is a better reason
        raise ListFileError("No column contains email addresses. Check that you chose the right file.")
    return max(layouts, key=lambda each: each[1].width)


def _read_body(path: Path, encoding: str, separator: str, layout: ColumnLayout) -> Iterator[NumberedFields]:
    """Yield the rows below the heading, which is the first row that isn't blank."""
    below = not layout.has_heading
    for number, fields in enumerate(parse_rows(path, encoding, separator, layout), start=1):
        if below:
            yield number, fields
        else:
            below = any(fields)


def parse_rows(
    path: ReadableFile, encoding: str, separator: str, layout: ColumnLayout | None = None
) -> Iterator[list[str]]:
    """Yield every row, including blank ones.

    Raises:
        ListFileError: a line or field is too long, or a quotation mark is never closed.
    """
    with path.open(encoding=encoding, newline="") as file:
        rows = csv.reader(chain(_read_lines(file), [_END_MARKER]), **_csv_options(separator, layout))
        number = 0
        try:
            for fields in rows:
                if fields == [_END_MARKER]:
                    return
                number += 1
                yield fields
        except csv.Error:
            raise ListFileError(
                f"Row {number + 1} has a field of more than {csv.field_size_limit():,} characters. Check for an "
                'unclosed quotation mark (") there or in an earlier row.'
            ) from None
    raise ListFileError(
        f'Row {number} or an earlier row has an unclosed quotation mark ("). Correct it and import the file again.'
    )


def _csv_options(separator: str, layout: ColumnLayout | None) -> dict[str, Any]:
    escape = "\\" if layout is not None and layout.backslash_quotes else None
    return {"delimiter": separator, "escapechar": escape, "skipinitialspace": True}


def _read_lines(file: IO[str]) -> Iterator[str]:
    for number, line in enumerate(iter(partial(file.readline, _MAX_LINE_LENGTH), ""), start=1):
        if len(line) >= _MAX_LINE_LENGTH:
            raise ListFileError(
                f"Line {number} has more than {_MAX_LINE_LENGTH:,} characters, so this isn't a table. Choose another "
                "file."
            )
        yield line
