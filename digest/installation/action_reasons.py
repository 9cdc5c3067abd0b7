"""The reasons given for actions on subscribers and addresses.

They're stored in consent chains, disclosures, and the audit log.
"""

import html
import unicodedata
from urllib.parse import unquote

from subscribers.errors import RefusalError

MAX_REASON_LENGTH = 150  # characters
_MAX_ENCODINGS = 3  # nested encodings of a character; `%2540` has two


class ReasonError(RefusalError):
    """Raised if a text can't be stored as a reason."""


def read_reason(text: str) -> str:
    """Return a reason as a single line, after checking it for email addresses.

    Raises:
        ReasonError: the reason is empty, too long, or unprintable, or may contain an address.
    """
    reason = " ".join(text.split())
    if not reason:
        raise ReasonError("The reason is missing.", "Enter a few words.")
    if len(reason) > MAX_REASON_LENGTH:
        raise ReasonError("The reason is too long.", f"Enter {MAX_REASON_LENGTH} characters at most.")
    if might_contain_address(reason):
        raise ReasonError("The reason contains an address or an @.", "Remove the address or the @.")
    if not reason.isprintable():
        raise ReasonError("The reason contains characters that can't be shown.", "Type the reason again.")
    return reason


def read_optional_reason(text: str) -> str:
    """Return a reason as `read_reason` does, or an empty string if there's none.

    Raises:
        ReasonError: the reason is too long or unprintable, or may contain an address.
    """
    return read_reason(text) if text.strip() else ""


def might_contain_address(text: str) -> bool:
    """Return True if a text contains an @.

    The @ may be of any width, a character reference, or percent-encoded.
    """
    for _ in range(_MAX_ENCODINGS):
        text = unquote(html.unescape(unicodedata.normalize("NFKC", text)))
    return "@" in unicodedata.normalize("NFKC", text)
