"""The lines of a message's text part: how wide a text is, and where it is folded. What sends imports this and no template."""

import re
import unicodedata
from itertools import pairwise

TEXT_WIDTH = 72  # columns of the text part
_BLANKS = " \t\n\r\f\v"  # a no-break space is none
_TEXT_PIECES = re.compile(rf"([{_BLANKS}]*)([^{_BLANKS}]+)")


def wrap_text(text: str, column: int = 0) -> str:
    """Fold a text of the text part at 72 columns, at blanks and between ideographs; a long address stays whole.

    The first line begins at `column`, behind what stands there already.
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
    """Count the columns of a text in a terminal's face: two for wide letters, none for marks (UAX #11)."""
    if text.isascii():
        return len(text)
    letters = [letter for letter in text if unicodedata.category(letter) not in {"Mn", "Me", "Cf"}]
    return len(letters) + sum(unicodedata.east_asian_width(letter) in {"W", "F"} for letter in letters)


def _split_ideographs(word: str) -> list[str]:
    """Split a word between its wide letters, which are written without blanks; never before a mark or punctuation."""
    if word.isascii():
        return [word]
    wide = [unicodedata.east_asian_width(c) == "W" and unicodedata.category(c) == "Lo" for c in word]
    cuts = [at for at, both in enumerate(pairwise(wide), 1) if all(both)]
    bounds = pairwise((0, *cuts, len(word)))
    return [word[start:end] for start, end in bounds]
