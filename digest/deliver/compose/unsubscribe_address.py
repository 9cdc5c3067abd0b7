"""The address for unsubscribing one subscriber by email: `bounce+<token>@<domain>`, in List-Unsubscribe.

The token is that of the unsubscribe link. It has no dot, so it can't be mistaken for a return path, and arrives in the
same mailbox.
"""

import re
from itertools import islice

from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

_LOCAL_PART = re.compile(rf"(?<![\w.+-])bounce\+([A-Za-z0-9_-]{{{link_tokens.TOKEN_LENGTH}}})@")
_MAX_SEARCHED = 5_000  # characters of a text to search
_MAX_CANDIDATES = 10  # addresses to check in it


def surround_token(domain: str) -> tuple[str, str]:
    """Return the texts before and after the token in an address."""
    return "bounce+", f"@{domain}"


def find_unsubscribing_people(keys: KeyRing, text: str) -> frozenset[int]:
    """Return the numbers of the people whose unsubscribe addresses, with a valid token, occur in a text."""
    tokens = islice(_LOCAL_PART.findall(text[:_MAX_SEARCHED]), _MAX_CANDIDATES)
    owners = (link_tokens.read_link_token(keys, token, "leave") for token in tokens)
    return frozenset(owner.number for owner in owners if owner)
