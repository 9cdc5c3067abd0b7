"""Making an edition's words harmless before they meet a template.

The words come from feeds. Templates escape them. What escaping can't do is done here: a feed must not plant a URL that a browser
would run, or characters that hide, reorder, or break lines.
"""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from digest.collect.texts.urls import ascii_host
from digest.edition.rendering.paragraphs import split_paragraphs
from subscribers.errors import ApplicationError

if TYPE_CHECKING:
    from digest.edition.content.edition_content import EditionContent

# Left as they are in an address: the unreserved and reserved characters of RFC 3986, section 2, and the percent sign, without
# those that libxml2, other than browsers, has been known to encode itself.
_URL_SAFE_CHARACTERS = "-._~/?:@!&'()*+,;=#%"
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # bidi controls; dir attributes do their honest work
# Of Unicode's categories Cc, Zl and Zp; and halves of characters, and the last two code points of each plane, which are none.
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_CHARACTER = re.compile(
    f"[\ud800-\udfff{''.join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))}]"
)


class RenderingError(ApplicationError):
    """An edition cannot be rendered as it is; the message says what to change."""


def sanitize_content(content: "EditionContent") -> "EditionContent":
    """Return the same edition with every text and address made harmless; the intro alone keeps its paragraphs.

    Raises:
        RenderingError: an address is not one of the web.
    """
    clean: dict[str, Any] = _sanitise_value(content.as_json())
    paragraphs = map(sanitize_text, split_paragraphs(content.intro))
    clean["intro"] = "\n\n".join(filter(None, paragraphs))
    return type(content).from_json(clean)


def _sanitise_value(value: Any) -> Any:
    if isinstance(value, dict):
        clean = {key: _sanitise_value(part) for key, part in value.items()}
        if url := value.get("url"):  # what has no page of its own has an empty address
            clean["url"] = sanitize_url(url)
        return clean
    if isinstance(value, list | tuple):
        return list(map(_sanitise_value, value))
    return sanitize_text(value) if isinstance(value, str) else value


def sanitize_text(text: str) -> str:
    """Return a text on one line, without control or reordering characters."""
    text = _BIDI_CONTROLS.sub("", text)
    text = _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _CONTROL_CHARACTER.sub(" ", text))
    return re.sub(r" {2,}", " ", text).strip(" ")


def sanitize_url(url: str) -> str:
    """Return a web address in ASCII (RFC 3986, section 2), its host as an A-label.

    Raises:
        RenderingError: it is no http or https address.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        if not parts.netloc.isascii():
            name = ascii_host(host or "")
            parts = parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name)
    except ValueError:  # an unclosed [ of IPv6, or a host that no A-label can stand for
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise RenderingError(f"{url!r} isn't an http or https URL.", "Correct the entry's link, or remove the entry.")
    return quote(urlunsplit(parts), safe=_URL_SAFE_CHARACTERS, errors="replace")
