"""Widths and line breaks in a message's text part.

Sending imports this module without the templates.
"""

import re
import unicodedata
from itertools import pairwise

TEXT_WIDTH = 72  # columns
_BLANKS = " \t\n\r\f\v"  # doesn't include no-break spaces
_TEXT_PIECES = re.compile(rf"([{_BLANKS}]*)([^{_BLANKS}]+)")


def wrap_text(text: str, column: int = 0) -> str:
    """Wrap a text for an email's text part at 72 columns.

    Lines break at spaces and between ideographs. Long URLs aren't broken. The first line starts at
    `column`, after existing text.
    """
    lines = [""]
    for separator, piece in _TEXT_PIECES.findall(text.strip(_BLANKS)):
        for position, part in enumerate(_split_ideographs(piece)):
            glue = " " if separator and not position else ""
            width = measure_text_width(glue + part)
            if lines[-1] and column + width > TEXT_WIDTH:
                lines.append(part)
                column = measure_text_width(part)
            else:
                lines[-1] += glue + part
                column += width
    return "\n".join(lines)


def measure_text_width(text: str) -> int:
    """Return the width of a text in terminal columns (UAX #11).

    Wide letters take two columns, and marks take none.
    """
    if text.isascii():
        return len(text)
    letters = [letter for letter in text if unicodedata.category(letter) not in {"Mn", "Me", "Cf"}]
    return len(letters) + sum(unicodedata.east_asian_width(letter) in {"W", "F"} for letter in letters)


def _split_ideographs(word: str) -> list[str]:
    """Split a word between its wide letters, because scripts with wide letters put no spaces between words.

    It's never split before a mark or punctuation.
    """
    if word.isascii():
        return [word]
    wide = [unicodedata.east_asian_width(c) == "W" and unicodedata.category(c) == "Lo" for c in word]
    cuts = [at for at, both in enumerate(pairwise(wide), 1) if all(both)]
    bounds = pairwise((0, *cuts, len(word)))
    return [word[start:end] for start, end in bounds]
