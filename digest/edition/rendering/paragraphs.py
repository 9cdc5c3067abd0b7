"""A text's paragraphs. Apart from its mark-up: who sends needs no parser of that."""

import re

_BLANK_LINES = re.compile(r"\n\s*\n")


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which blank lines part."""
    return [paragraph.strip() for paragraph in _BLANK_LINES.split(text) if paragraph.strip()]
