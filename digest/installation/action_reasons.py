"""Why somebody acts on a reader or shows an address: words that stand in chains, disclosures and the audit log."""

import html
import unicodedata
from urllib.parse import unquote

from subscribers.errors import RefusalError

MAX_REASON_LENGTH = 150  # characters
_MAX_ENCODINGS = 3  # of one character: `%2540` has two


class ReasonError(RefusalError):
    """The text is no reason that could be kept."""


def read_reason(text: str) -> str:
    """Return a reason as it is kept: in one line, without an address in it.

    Raises:
        ReasonError: it is empty, too long, or may hold an address.
    """
    reason = " ".join(text.split())
    if might_contain_address(reason) or not reason or len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise ReasonError(
            "The reason is missing, is too long, or contains an address.",
            f"Enter a few words, {MAX_REASON_LENGTH} characters at most.",
        )
    return reason


def read_optional_reason(text: str) -> str:
    """Return a reason as `read_reason` does; empty where none is given.

    Raises:
        ReasonError: it's too long, or may hold an address.
    """
    return read_reason(text) if text.strip() else ""


def might_contain_address(text: str) -> bool:
    """Return whether there's an @ in a text, in any of its widths, as a character reference or percent-encoded."""
    for _ in range(_MAX_ENCODINGS):
        text = unquote(html.unescape(unicodedata.normalize("NFKC", text)))
    return "@" in unicodedata.normalize("NFKC", text)
