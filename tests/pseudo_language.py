"""A made-up language with every message in brackets, so that text without them was never translated.

It is written as the operator's own catalogue of a language that reads from right to left, so that the tests go the way that a publisher would.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import lxml.html
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from tests.message_extraction import extract_messages

OPENING, CLOSING = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
_ADDRESS = re.compile(r"\b(?:https?|mailto):\S+")
_VALUE = re.compile(r"(%\(\w+\)[sd]|%%|<[^>]*>|&\w+;)")
_ACCENTED = str.maketrans("AEIOUYaeiouycnsz", "ÅÉÎÖÛÝåéîöûýçñšž")
_LETTERS = re.compile(r"[^\W\d_]{2,}")


def texts_of(value: object) -> Iterator[str]:
    """List all texts in a nest of values."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        yield from (text for field in fields(value) for text in texts_of(getattr(value, field.name)))
    elif isinstance(value, tuple | list):
        yield from (text for part in value for text in texts_of(part))


def bracket(text: str) -> str:
    """Put a message in brackets."""
    return f"{OPENING}{text}{CLOSING}"


def lengthen(text: str) -> str:
    """Accent a message's letters, and make it longer by a third, as a translation into German or Finnish is.

    What stands for values (`%(day)s`) stays as it is.
    """
    parts = _VALUE.split(text)
    accented = "".join(part if at % 2 else part.translate(_ACCENTED) for at, part in enumerate(parts))
    return accented + " łőñǵ" * (len(text) // 15) + "ẽŕ" * (len(text) < 15)


def write_pseudo_catalogue(folder: Path, code: str, rewrite: Callable[[str], str] = bracket) -> None:
    """Write a catalogue in which every message is rewritten, as the operator's own below `folder`."""
    pseudo = Catalog(locale=code)
    for message in extract_messages():
        if not message.id:
            continue
        forms = [message.id] if isinstance(message.id, str) else list(message.id)
        bracketed = [rewrite(text) for text in forms]
        plural = [bracketed[0], *bracketed[-1:] * (pseudo.num_plurals - 1)]
        pseudo.add(message.id, bracketed[0] if isinstance(message.id, str) else tuple(plural), context=message.context)
    file = folder / "locale" / code / "LC_MESSAGES" / "digest.po"
    file.parent.mkdir(parents=True)
    with file.open("wb") as target:
        write_po(target, pseudo)


def read_visible_texts(html: str) -> str:
    """Return all that a reader of a page sees or hears: its text, and what is said by attributes."""
    page = lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding="utf-8"))
    for hidden in page.xpath("//style | //script | //comment()"):
        hidden.drop_tree()
    spoken = page.xpath("//@alt | //@title | //@aria-label | //@placeholder | //@content[../@name = 'description']")
    return " ".join([*page.itertext(), *map(str, spoken)])


def find_untranslated(text: str, content: Iterable[str]) -> str:
    """Return what is left of a text without what stands in brackets, addresses, and `content`: a publisher's or an article's words.

    Brackets in brackets are one passage. What has no two letters in a row is no word.
    """
    text = _ADDRESS.sub(" ", " ".join(text.split()))
    for words in sorted((" ".join(words.split()) for words in content), key=len, reverse=True):
        start, end = r"(?<!\w)" if words[:1].isalnum() else "", r"(?!\w)" if words[-1:].isalnum() else ""
        text = re.sub(f"{start}{re.escape(words)}{end}", " ", text, flags=re.IGNORECASE)
    text = "".join(letter for letter in text if unicodedata.category(letter) not in {"Cf", "Mn"})
    outside, depth = [], 0
    for letter in text:
        depth += letter == OPENING
        if not depth:
            outside.append(letter)
        depth -= letter == CLOSING
    left = "".join(outside)
    return " ".join(left.split()) if _LETTERS.search(left) else ""
