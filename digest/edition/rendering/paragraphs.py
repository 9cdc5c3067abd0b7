"""Splitting a text into paragraphs.

It's separate from markup so that sending doesn't import the parser.
"""

import re

_BLANK_LINES = re.compile(r"\n\s*\n")


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which are separated by blank lines."""
    return [paragraph.strip() for paragraph in _BLANK_LINES.split(text) if paragraph.strip()]
