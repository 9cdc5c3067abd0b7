"""A subscriber's email address for unsubscribing, `bounce+<token>@<domain>`, which List-Unsubscribe contains.

The token is the same as in the unsubscribe link, but in lowercase base32, because mail systems
change the case of letters before the @. It has no dot, so it can't be taken for a return path, and
it arrives in the same mailbox.
"""

import re
from itertools import islice

from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

_LOCAL_PART = re.compile(rf"(?<![\w.+-])bounce\+([a-z2-7]{{{link_tokens.BASE32_TOKEN_LENGTH}}})@")
_MAX_SEARCHED = 5_000  # number of characters of a text to search
_MAX_CANDIDATES = 10  # number of addresses in it to check


def make_prefix_and_suffix(domain: str) -> tuple[str, str]:
    """Return the parts of an unsubscribe address that precede and follow the base32 token."""
    return "bounce+", f"@{domain}"


def find_unsubscribing_people(keys: KeyRing, text: str) -> frozenset[int]:
    """Return the people whose unsubscribe addresses, with valid tokens, occur in a text such as a header's value."""
    tokens = map(link_tokens.convert_from_base32, _LOCAL_PART.findall(text[:_MAX_SEARCHED].lower()))
    owners = (link_tokens.read_link_token(keys, token, "leave") for token in islice(tokens, _MAX_CANDIDATES))
    return frozenset(owner.number for owner in owners if owner)
