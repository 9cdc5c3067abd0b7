"""Where bounces of one delivery come back to (VERP): `bounce+<delivery>.<mac>@<domain>`.

The delivery's opaque id tells which message bounced, and the MAC that it was ours: who makes bounces up cannot
get anybody off the list.
"""

import hmac
import re
from base64 import b32encode
from itertools import islice

from subscribers.vault import Key, Keys

_MAC = 16  # characters of base32: 80 bits
# Base32 in small letters, for mail systems change the case of what stands before the @.
_LOCAL = re.compile(rf"bounce\+([a-z2-7]{{1,32}})\.([a-z2-7]{{{_MAC}}})(?![a-z2-7])")
_MOST = 5_000  # characters of a text that are searched
_TRIED = 10  # paths in it


def make(keys: Keys, delivery: str, domain: str) -> str:
    """Give the return path of a delivery, at most 64 characters before the @ (RFC 5321, 4.5.3.1.1)."""
    return f"bounce+{delivery}.{_mac(keys.current('return-path'), delivery)}@{domain}"


def read(keys: Keys, address: str) -> str | None:
    """Give the id of the delivery that a bounce's recipient names, or None where we never wrote that address.

    Return paths made with earlier keys stay good. The domain is not looked at: mail may be forwarded.
    """
    found = _LOCAL.fullmatch(address.strip().strip("<>").partition("@")[0].lower())
    return _proved(keys, *found.groups()) if found else None


def find(keys: Keys, text: str) -> frozenset[str]:
    """Name the deliveries whose return paths stand anywhere in a text, a header's value for instance.

    Forwarders wrap a return path into one of their own (SRS), so what stands around it does not matter.
    """
    found = islice(_LOCAL.finditer(text[:_MOST].lower()), _TRIED)
    return frozenset(delivery for path in found if (delivery := _proved(keys, *path.groups())))


def _proved(keys: Keys, delivery: str, said: str) -> str | None:
    known = any(hmac.compare_digest(_mac(key, delivery), said) for key in keys.of("return-path"))
    return delivery if known else None


def _mac(key: Key, delivery: str) -> str:
    digest = hmac.digest(key.secret, b"return path\0" + delivery.encode(), "sha256")
    return b32encode(digest[:10]).decode("ascii").lower()
