"""Sanitizing an edition's texts before they're rendered.

The texts come from feeds, and templates escape them. This module handles what escaping can't: URLs
that a browser would execute, and characters that hide, reorder, or break lines.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from digest.collect.texts.urls import ascii_host
from digest.edition.rendering.paragraphs import split_paragraphs
from subscribers.errors import ApplicationError

if TYPE_CHECKING:
    from digest.edition.content.edition_content import EditionContent

# Characters that stay unchanged in URLs: the unreserved and reserved characters of RFC 3986, section
# 2, and the percent sign, except for those that libxml2, unlike browsers, may encode itself.
_URL_SAFE_CHARACTERS = "-._~/?:@!&'()*+,;=#%"
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # unnecessary, because dir attributes do the same
# Unicode's categories Cc, Zl, and Zp. `_NO_CHARACTER` matches surrogates and the noncharacters that
# end each plane.
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_CHARACTER = re.compile(
    f"[\ud800-\udfff{''.join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))}]"
)


_UNCLEAN = re.compile(f"{_BIDI_CONTROLS.pattern}|{_CONTROL_CHARACTER.pattern}|{_NO_CHARACTER.pattern}|^ |  | $")


class RenderingError(ApplicationError):
    """Raised when an edition can't be rendered. The message says what to change."""


def sanitize_content(content: "EditionContent") -> "EditionContent":
    """Return an edition with all texts and URLs made safe. Only the intro keeps its paragraphs.

    Raises:
        RenderingError: a URL isn't a web URL.
    """
    clean: dict[str, Any] = _sanitize_value(content.as_json())
    paragraphs = map(sanitize_text, split_paragraphs(content.intro))
    clean["intro"] = "\n\n".join(filter(None, paragraphs))
    return type(content).from_json(clean)


def _sanitize_value(value: Any) -> Any:
    if isinstance(value, dict):
        clean = {key: _sanitize_value(part) for key, part in value.items()}
        if url := value.get("url"):  # empty if there's no page
            clean["url"] = sanitize_url(url)
        return clean
    if isinstance(value, list | tuple):
        return list(map(_sanitize_value, value))
    return sanitize_text(value) if isinstance(value, str) else value


def sanitize_text(text: str) -> str:
    """Return a text on one line, without control characters or characters that reorder text."""
    if not _UNCLEAN.search(text):
        return text
    text = _BIDI_CONTROLS.sub("", text)
    text = _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _CONTROL_CHARACTER.sub(" ", text))
    return re.sub(r" {2,}", " ", text).strip(" ")


@lru_cache(maxsize=1024)  # an edit changes few of an edition's links
def sanitize_url(url: str) -> str:
    """Return a web URL in ASCII (RFC 3986, section 2), with its host as an A-label.

    Raises:
        RenderingError: the URL isn't http or https.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        if not parts.netloc.isascii():
            name = ascii_host(host or "")
            parts = parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name)
    except ValueError:  # an unclosed IPv6 bracket, or a host that can't be an A-label
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise RenderingError(f"{url!r} isn't an http or https URL.", "Correct the entry's link, or remove the entry.")
    return quote(urlunsplit(parts), safe=_URL_SAFE_CHARACTERS, errors="replace")
