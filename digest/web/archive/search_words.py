"""Where the words of a search stand in a text, for the reader to see. Pure."""

import re
import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

_WORD = re.compile(r"\w+")
_ENDINGS = ("ings", "ing", "ies", "ied", "ers", "es", "ed", "er", "s", "y", "e")
_MIN_STEM = 3  # letters


def mark_words(text: str, words: Iterable[str]) -> Markup:
    """Return a text as HTML with what fits the words in `mark`: the same word, or another ending of it."""
    stems = {_stem(word) for word in words}
    marked, end = [], 0
    for found in _WORD.finditer(text):
        if _stem(found[0]) in stems:
            marked += [escape(text[end : found.start()]), Markup("<mark>{}</mark>").format(found[0])]
            end = found.end()
    return Markup("").join([*marked, escape(text[end:])])


def _stem(word: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))
    ending = next((e for e in _ENDINGS if plain.endswith(e) and len(plain) - len(e) >= _MIN_STEM), "")
    return plain.removesuffix(ending) if ending else plain
