"""Files of any make: their encoding, their separator, their rows. Read as a stream, never held whole."""

import codecs
import csv
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from subscribers.transfer.formats import Claim, Layout, recognise

_LONGEST_LINE = 1_000_000  # characters; a line of text that is longer is no line of a table
_END = (
    "\x1eend of file\x1e"  # no file holds it; it comes back as a row of its own where all quotes are closed
)
_SEPARATORS = ",;\t"
_PIECE = 1 << 20

Record = tuple[int, list[str]]


class FileError(Exception):
    """The file cannot be read as a list; the message says which row and what to do, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first look at the whole file shows. `rows` counts without the heading; `stamp` tells a change."""

    path: Path
    encoding: str
    separator: str
    layout: Layout
    file_hash: str
    rows: int
    stamp: tuple[int, int, int]
    warnings: tuple[str, ...] = ()


def survey(path: Path, *, whole: Claim | None = None) -> Survey:
    """Look through a file once before anything is done with it: a fault at its end must not show half-way.

    Args:
        path: the file.
        whole: what the operator says that every row is.

    Raises:
        FileError: it is no file of rows, or no column of it holds addresses.
    """
    try:
        with path.open("rb") as file:
            stamp = _stamp(file)
            file_hash, encoding = _hash_and_encoding(file)
    except OSError as exc:
        raise FileError(f"{path}: cannot be read: {exc.strerror}") from None
    separator, layout = _first_row(path, encoding, whole)
    rows = sum(1 for _ in _body(path, encoding, separator, layout))
    warnings = []
    if encoding == "latin-1":
        warnings.append("The file is not in UTF-8; it was read as Latin-1. Look at names with accents.")
    return Survey(path, encoding, separator, layout, file_hash, rows, stamp, tuple(warnings))


def records(found: Survey) -> Iterator[Record]:
    """Give the rows that follow the heading, each with its number as a spreadsheet counts.

    Raises:
        FileError: the file changed since it was surveyed.
    """
    yield from _body(found.path, found.encoding, found.separator, found.layout)
    with found.path.open("rb") as file:
        if _stamp(file) != found.stamp:
            raise FileError(
                "the file changed while it was read: nothing of it counts. Run the command again."
            )


def headings(found: Survey) -> list[str]:
    """Give the file's own headings; none for a bare list."""
    rows = _parsed(found.path, found.encoding, found.separator, found.layout)
    return next((fields for fields in rows if any(fields)), []) if found.layout.headed else []


def _stamp(file: IO[bytes]) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _hash_and_encoding(file: IO[bytes]) -> tuple[str, str]:
    head = file.read(_PIECE)
    _refuse_what_is_no_text(head)
    encoding = _encoding(head)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder(encoding)()
    piece = head
    while piece:
        digest.update(piece)
        if encoding != "latin-1":
            encoding = _still(encoding, decoder, piece)
        piece = file.read(_PIECE)
    if encoding != "latin-1":
        encoding = _still(encoding, decoder, b"", final=True)
    return digest.hexdigest(), encoding


def _still(encoding: str, decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False) -> str:
    """Say by which encoding the file can still be read: what is no UTF-8 is taken for Latin-1."""
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        if encoding != "utf-8-sig":
            raise FileError("the file begins as UTF-16 and breaks off: export it again, as UTF-8.") from None
        return "latin-1"
    return encoding


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = head[:200]
    if start[1::2].count(0) > len(start) // 4:
        return "utf-16-le"  # without its mark: every other byte of Latin text is zero
    return "utf-16-be" if start[::2].count(0) > len(start) // 4 else "utf-8-sig"


def _refuse_what_is_no_text(head: bytes) -> None:
    if not head.strip():
        raise FileError("the file is empty.")
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"%PDF")):
        raise FileError("this is a spreadsheet or an archive: unpack it, or save the sheet as CSV (UTF-8).")


def _first_row(path: Path, encoding: str, whole: Claim | None) -> tuple[str, Layout]:
    """Find the separator: the one by which the first row falls into the most columns with an address among them."""
    found: list[tuple[str, Layout]] = []
    for separator in _SEPARATORS:
        first = next((fields for fields in _parsed(path, encoding, separator, None) if any(fields)), [])
        layout = recognise(first, name=path.name, whole=whole)
        if layout is not None:
            found.append((separator, layout))
    if not found:
        raise FileError(
            "no column holds addresses. The first row must name the columns, one of them 'email' "
            "(a file with nothing but addresses, one a line, needs no names)."
        )
    return max(found, key=lambda each: each[1].width)


def _body(path: Path, encoding: str, separator: str, layout: Layout) -> Iterator[Record]:
    """Give the rows below the heading, which is the first that is not blank."""
    below = not layout.headed
    for number, fields in enumerate(_parsed(path, encoding, separator, layout), start=1):
        if below:
            yield number, fields
        else:
            below = any(fields)


def _parsed(path: Path, encoding: str, separator: str, layout: Layout | None) -> Iterator[list[str]]:
    """Give every row, blank ones too.

    Raises:
        FileError: a line or a field is too long to be one, or a quotation mark is never closed.
    """
    with path.open(encoding=encoding, newline="") as file:
        rows = csv.reader(chain(_lines(file), [_END]), **_dialect(separator, layout))
        number = 0
        try:
            for fields in rows:
                if fields == [_END]:
                    return
                number += 1
                yield fields
        except csv.Error:
            raise FileError(
                f"row {number + 1}: a field of more than {csv.field_size_limit():,} characters. Is a quotation "
                f'mark (") there, or in a row before, that is never closed? Mend it, and run the command again.'
            ) from None
    raise FileError(
        f'row {number}: a quotation mark (") is opened there, or in a row before, and never closed. '
        "Mend it, and run the command again."
    )


def _dialect(separator: str, layout: Layout | None) -> dict[str, Any]:
    escape = "\\" if layout is not None and layout.backslash else None
    return {"delimiter": separator, "escapechar": escape, "skipinitialspace": True}


def _lines(file: IO[str]) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), start=1):
        if len(line) >= _LONGEST_LINE:
            raise FileError(f"line {number} has more than {_LONGEST_LINE:,} characters: this is no table.")
        yield line
