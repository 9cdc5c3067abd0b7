"""CSV files that contain no formulas in any spreadsheet program.

All CSV files with content from outside are written here. Spreadsheet programs treat a cell that
begins with = + - or @ as a formula, and guess the separator. In half of Europe, a file with commas
is read as one with semicolons. Therefore, all fields are quoted, and an apostrophe, which marks a
cell as text, is inserted wherever a separator could be followed by a formula.
"""

import csv
import re
from collections.abc import Iterable
from typing import IO

# First, anything that separates cells or rows; then, anything skipped by a spreadsheet program; and
# then, the start of a formula, including full-width characters. The second part has nothing in
# common with the first, so no text is scanned twice.
_FORMULA_START = re.compile(
    r"^(?=[\t\r\n])|(^|[,;|\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029])"
    r"(?=[ \"\x00-\x08\x0e-\x1b\x1f\xa0\u200b-\u200f\u2060\u3000\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
)

_ESCAPED_FORMULA = re.compile(r"(^|[,;|\t\n])'(?=[ \"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


class SpreadsheetCsvWriter:
    """A writer of rows to a text file that was opened with `newline=""`."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")

    def write_row(self, values: Iterable[object]) -> None:
        """Write a row, making each value harmless text.

        None is written as an empty field.
        """
        self._writer.writerow(["" if value is None else escape_formulas(str(value)) for value in values])


def escape_formulas(text: str) -> str:
    """Insert an apostrophe wherever a cell could begin with a formula. Pure.

    Escaped text isn't changed.
    """
    return _FORMULA_START.sub(r"\1'", text)


def unescape_formulas(text: str) -> str:
    """Remove the apostrophes that `escape_formulas` inserted from text in one of our own files. Pure."""
    return _ESCAPED_FORMULA.sub(r"\1", text)


def unescape_address(text: str) -> str:
    """Remove the apostrophe before an address in one of our own files. Pure.

    No mailbox has a name such as `'+ada`.
    """
    return text[1:] if text[:2] in _ESCAPED_STARTS else text


_ESCAPED_STARTS = frozenset({"'=", "'+", "'-"})
