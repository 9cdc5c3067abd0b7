"""Where bounces of one delivery come back to (VERP): `bounce+<delivery>.<mac>@<domain>`.

The delivery's opaque id tells which message bounced, and the MAC that it was ours: who makes bounces up cannot
get anybody off the list.
"""

import hmac
import re
from base64 import b32encode

from subscribers.vault import Key, Keys

_MAC = 16  # characters of base32: 80 bits
# Base32 in small letters, for mail systems change the case of what stands before the @.
_LOCAL = re.compile(rf"bounce\+([a-z2-7]{{1,32}})\.([a-z2-7]{{{_MAC}}})")


def make(keys: Keys, delivery: str, domain: str) -> str:
    """Give the return path of a delivery, at most 64 characters before the @ (RFC 5321, 4.5.3.1.1)."""
    return f"bounce+{delivery}.{_mac(keys.current('return-path'), delivery)}@{domain}"


def read(keys: Keys, address: str) -> str | None:
    """Give the id of the delivery that a bounce's recipient names, or None where we never wrote that address.

    Return paths made with earlier keys stay good. The domain is not looked at: mail may be forwarded.
    """
    found = _LOCAL.fullmatch(address.strip().strip("<>").partition("@")[0].lower())
    if found is None:
        return None
    delivery, said = found.groups()
    for key in keys.of("return-path"):
        if hmac.compare_digest(_mac(key, delivery), said):
            return delivery
    return None


def _mac(key: Key, delivery: str) -> str:
    digest = hmac.digest(key.secret, b"return path\0" + delivery.encode(), "sha256")
    return b32encode(digest[:10]).decode("ascii").lower()
