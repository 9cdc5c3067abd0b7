"""The subset of Markdown allowed in intros: *emphasis*, **strong emphasis**, and [links](https://…).

Everything else is plain text.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from digest.collect.texts.text_cleanup import split_sentences
from digest.edition.content.edition_content import truncate_text

_LINK_STARTS = ("https://", "http://", "mailto:")
# Share of the room that whole sentences must fill. "Good morning." alone isn't informative.
MIN_OPENING_SHARE = 1 / 4
# Share of the room that words up to the end of a clause must fill, so that a list isn't cut near its start.
MIN_CLAUSE_SHARE = 1 / 2
_CLAUSE_END = re.compile(r"[,;:](?= )|[،؛、，；：]|(?: ?—| –)(?= )")  # noqa: RUF001 - of other scripts


@lru_cache(maxsize=1)
def _open_parser() -> MarkdownIt:
    parser = MarkdownIt("zero").enable(["emphasis", "link"])
    parser.validateLink = lambda url: url.lower().startswith(_LINK_STARTS)  # type: ignore[method-assign]
    return parser


def render_inline_markup(text: str) -> Markup:
    """Return a text as HTML, with links styled for the email.

    Everything but our markup is escaped.
    """
    parser = _open_parser()
    tokens = parser.parseInline(text)
    for token in _inline_tokens(tokens):
        if token.type == "link_open":
            token.attrSet("class", "link")
            token.attrs.pop("title", None)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - the renderer escapes every text


def strip_inline_markup(text: str) -> str:
    """Return a text without its markup. A link's text is followed by its URL in parentheses."""
    parts: list[str] = []
    addresses: list[str] = []
    for token in _inline_tokens(_open_parser().parseInline(text)):
        if token.type == "link_open":
            addresses.append(str(token.attrs["href"]))
        elif token.type == "link_close":
            parts.append(f" ({addresses.pop()})")
        parts.append(token.content)
    return "".join(parts)


def split_links(text: str) -> tuple[str, list[str]]:
    """Return a text without markup, and the URLs of its links as in the email."""
    tokens = list(_inline_tokens(_open_parser().parseInline(text)))
    urls = [str(token.attrs["href"]) for token in tokens if token.type == "link_open"]
    return "".join(token.content for token in tokens), urls


def shorten_markup(text: str, max_length: int) -> str:
    """Return as many of a text's first sentences as fit in `max_length` characters.

    Markup doesn't count toward the length. If the first sentence is longer, or if the sentences are
    as short as a greeting, the words are cut at the end of a clause and lose their markup. They're
    cut elsewhere only if not even a greeting fits.
    """
    words = split_links(text)[0]
    if len(words) <= max_length:
        return text
    sentences = _take_sentences(text, words, max_length)
    if len(split_links(sentences)[0]) >= max_length * MIN_OPENING_SHARE:
        return sentences
    return _cut_at_clause(words, max_length) or sentences or truncate_text(words, max_length)


def _take_sentences(text: str, words: str, max_length: int) -> str:
    """Return as many of a text's first sentences as fit.

    `words` is the text without markup.
    """
    sentences = list(split_sentences(text))
    for count in range(len(sentences) - 1, 0, -1):
        opening = " ".join(sentences[:count])
        opening_words = split_links(opening)[0]
        # Otherwise, emphasis that ends in a later sentence would leave an asterisk behind.
        if len(opening_words) <= max_length and words.startswith(opening_words):
            return opening
    return ""


def _cut_at_clause(words: str, max_length: int) -> str:
    """Return the longest start of a text that ends with a clause, or "" if none is long enough."""
    ends = (match.start() for match in _CLAUSE_END.finditer(words, 0, max_length))
    end = max(ends, default=0)
    return f"{words[:end]}…" if end >= max_length * MIN_CLAUSE_SHARE else ""


def _inline_tokens(tokens: Sequence[Token]) -> Iterable[Token]:
    return (child for token in tokens for child in token.children or ())
