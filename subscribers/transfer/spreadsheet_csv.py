"""CSV that no spreadsheet executes, however it takes the file apart. Every CSV file with words of others in it is written here.

A spreadsheet takes a cell that begins with = + - or @ for a formula, and which character parts two cells it decides by itself: a
file with commas is read by semicolons on half of the continent. So all fields stand in quotation marks, and an apostrophe, which
makes a text of what follows, stands wherever any separator would let a formula begin.
"""

import csv
import re
from collections.abc import Iterable
from typing import IO

# Whatever parts cells or rows; then what a spreadsheet passes over; then what begins a formula, in full width too. The
# second holds nothing of the first: no text is looked through twice.
_FORMULA_START = re.compile(
    r"^(?=[\t\r\n])|(^|[,;|\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029])"
    r"(?=[ \"\x00-\x08\x0e-\x1b\x1f\xa0\u200b-\u200f\u2060\u3000\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
)

_ESCAPED_FORMULA = re.compile(r"(^|[,;|\t\n])'(?=[ \"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


class SpreadsheetCsvWriter:
    """Writes rows to a text file that was opened with `newline=""`."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")

    def write_row(self, values: Iterable[object]) -> None:
        """Write one row, each value as harmless text; None is an empty field."""
        self._writer.writerow(["" if value is None else escape_formulas(str(value)) for value in values])


def escape_formulas(text: str) -> str:
    """Put an apostrophe wherever a cell that begins there would be a formula. What is escaped stays as it is. Pure."""
    return _FORMULA_START.sub(r"\1'", text)


def unescape_formulas(text: str) -> str:
    """Take back the apostrophes of `escape_formulas` in a file of ours that comes in again. Pure."""
    return _ESCAPED_FORMULA.sub(r"\1", text)


def unescape_address(text: str) -> str:
    """Take back the apostrophe before an address in a file of ours that comes in again: no mailbox is named `'+ada`. Pure."""
    return text[1:] if text[:2] in _ESCAPED_STARTS else text


_ESCAPED_STARTS = frozenset({"'=", "'+", "'-"})
